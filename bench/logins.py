"""What logins cost: requests with a known token beside ones without, bad tokens, many logins beside other requests.

The gateway runs on its embedded Kubernetes API, with the user that is made at first start and an OAuth client, and
forwards to the site's backend.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import ssl
import sys
import threading
import time
import urllib.parse
import urllib.request
from base64 import b64decode, b64encode
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from bench.contenders import Running
from bench.load import Sample, load
from bench.objects import Route
from bench.processes import Process, free_port
from bench.site import Site
from bench.table import micros, millis, spread, table, times

LOGINS = 200
"""Logins a second that are asked for, whether or not the ones before are answered."""

_CLIENT = "bench"
_PLAIN, _KNOWN, _GARBAGE = "no token", "known token", "garbage token (401)"


class LoginGateway(Running):
    """``ksproxyd run --standalone`` with one user, one client, one APIService."""

    def __init__(self, folder: Path, route: Route) -> None:
        self.password = f"Aa1{secrets.token_urlsafe(12)}"
        self._secret = secrets.token_urlsafe(24)
        self._state = folder / "state"
        self._route = route
        port = free_port()
        given = folder / "admin.password"
        given.touch(mode=0o600)
        given.write_text(self.password)
        settings = {
            "authentication": {
                "multipleLogin": True,
                "issuer": {"url": f"http://127.0.0.1:{port}", "jwtSecret": secrets.token_hex(32)},
            },
            "authorization": {"mode": "AlwaysAllow"},
            "multicluster": {"clusterRole": "host"},
            "ksproxyd": {
                "stateDir": str(self._state),
                "extensions": {"manageStatus": False},
                "standalone": {
                    "enabled": True,
                    "listen": f"tcp:{free_port()}:interface=127.0.0.1",
                    "adminPasswordFile": str(given),
                },
            },
        }
        file = folder / "logins.yaml"
        file.touch(mode=0o600)
        file.write_text(json.dumps(settings))
        listen = f"tcp:{port}:interface=127.0.0.1:backlog=4096"
        argv = [sys.executable, "-m", "ksproxyd.cli", "run", "--config", str(file), "--listen", listen]
        super().__init__(Process("ksproxyd logins", argv, folder), port)

    def ready(self) -> None:
        self.process.wait_until(lambda: self.status("/readyz") == 200, "ready")
        self._install()
        self.process.wait_until(lambda: self.status(self._route.api_path) == 200, "serving the extension")
        self.process.wait_until(lambda: bool(self.log_in()), "letting somebody log in")

    def status(self, path: str) -> int:
        """The status of a GET; 0 if nobody answers."""
        try:
            with urllib.request.urlopen(self.url(path), timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def _install(self) -> None:
        known = yaml.safe_load((self._state / "admin.kubeconfig").read_text())
        cluster, user = known["clusters"][0]["cluster"], known["users"][0]["user"]
        context = ssl.create_default_context(cadata=b64decode(cluster["certificate-authority-data"]).decode())
        configuration = json.dumps({"name": _CLIENT, "secret": self._secret, "trusted": True, "grantMethod": "auto"})
        client = {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "config.kubesphere.io/oauthclient",
            "metadata": {"name": "oauthclient-bench", "labels": {"config.kubesphere.io/type": "oauthclient"}},
            "data": {"configuration.yaml": b64encode(configuration.encode()).decode()},
        }
        for path, value in (
            ("/api/v1/namespaces/kubesphere-system/secrets", client),
            ("/apis/extensions.kubesphere.io/v1alpha1/apiservices", self._route.api_service()),
        ):
            # What exists has a version, what is created has none.
            value["metadata"].pop("resourceVersion", None)
            headers = {"Authorization": f"Bearer {user['token']}", "Content-Type": "application/json"}
            request = urllib.request.Request(cluster["server"] + path, json.dumps(value).encode(), headers)
            with urllib.request.urlopen(request, timeout=10, context=context):
                pass

    def form(self) -> bytes:
        """What a login sends."""
        fields = {
            "grant_type": "password",
            "username": "admin",
            "password": self.password,
            "client_id": _CLIENT,
            "client_secret": self._secret,
        }
        return urllib.parse.urlencode(fields).encode()

    def log_in(self) -> str:
        """A new token; empty if there is none yet."""
        try:
            with urllib.request.urlopen(self.url("/oauth/token"), self.form(), timeout=10) as answer:
                return str(json.load(answer)["access_token"])
        except OSError:
            return ""


class Flood:
    """:data:`LOGINS` logins a second for as long as the ``with`` lasts; ``outcomes`` counts the statuses."""

    def __init__(self, gateway: LoginGateway) -> None:
        self.outcomes: Counter[int] = Counter()
        self._port = gateway.port
        body = gateway.form()
        head = (
            "POST /oauth/token HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n"
            f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._request = head.encode() + body
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="logins")

    def __enter__(self) -> Flood:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    async def _run(self) -> None:
        begun = time.monotonic()
        under_way: set[asyncio.Task[None]] = set()
        sent = 0
        while not self._over.is_set():
            while sent < (time.monotonic() - begun) * LOGINS:
                task = asyncio.create_task(self._one())
                under_way.add(task)
                task.add_done_callback(under_way.discard)
                sent += 1
            await asyncio.sleep(1 / LOGINS)
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    async def _one(self) -> None:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            self.outcomes[0] += 1
            return
        try:
            writer.write(self._request)
            answer = await reader.read()
            self.outcomes[int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/") else 0] += 1
        except OSError:
            self.outcomes[0] += 1
        finally:
            writer.close()


class Logins:
    """Measured with :meth:`measure`, told with :meth:`report`."""

    def __init__(self, site: Site, folder: Path) -> None:
        self._site = site
        self._folder = folder
        self.samples: dict[str, list[Sample]] = {_PLAIN: [], _KNOWN: [], _GARBAGE: []}
        self.alone: list[Sample] = []
        self.beside: list[Sample] = []
        self.outcomes: Counter[int] = Counter()

    def measure(self, rounds: int, seconds: float) -> None:
        """Each kind of request has its turn in every round; then requests alone, and beside many logins, in turn."""
        with ExitStack() as stack:
            gateway = stack.enter_context(LoginGateway(self._folder, self._site.plain_route))
            path = (self._site.plain_route.api_path,)
            known = [f"Authorization: Bearer {gateway.log_in()}"]
            kinds: dict[str, Any] = {
                _PLAIN: {},
                _KNOWN: {"headers": known},
                _GARBAGE: {"headers": ["Authorization: Bearer not.a.token"], "refused": True},
            }
            load(gateway, path, 1, known)
            for _ in range(rounds):
                for name, more in kinds.items():
                    self.samples[name].append(load(gateway, path, seconds, **more))
            for _ in range(rounds):
                self.alone.append(load(gateway, path, seconds, known))
                with Flood(gateway) as flood:
                    self.beside.append(load(gateway, path, seconds, known))
                self.outcomes += flood.outcomes

    @property
    def token_seconds(self) -> float:
        """CPU seconds that a known token adds to a request."""
        pairs = zip(self.samples[_KNOWN], self.samples[_PLAIN], strict=True)
        return median(known.cpu - plain.cpu for known, plain in pairs)

    @property
    def tail(self) -> float:
        """The 99th percentile beside logins over the one without."""
        return median(beside.p99 / alone.p99 for beside, alone in zip(self.beside, self.alone, strict=True))

    def report(self) -> str:
        """The tables."""
        rows = []
        for name, samples in self.samples.items():
            ratios = [sample.cpu / plain.cpu for sample, plain in zip(samples, self.samples[_PLAIN], strict=True)]
            rows.append(
                [name, micros(median(s.cpu for s in samples)), times(median(ratios)), spread(ratios)]
            )
        first = table(["APIService, plain upstream", "CPU a request", "to no token", "lowest–highest"], rows)
        alone, beside = (median(s.p99 for s in samples) for samples in (self.alone, self.beside))
        told = ", ".join(f"{count} × {status or 'no answer'}" for status, count in sorted(self.outcomes.items()))
        second = table(
            ["requests with a known token", "p99"],
            [["alone", millis(alone)], [f"beside {LOGINS} logins a second ({told})", millis(beside)]],
        )
        return f"{first}\n\n{second}"
