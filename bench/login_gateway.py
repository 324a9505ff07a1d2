"""A gateway with users, whose Kubernetes API is another process (:mod:`bench.accounts`)."""

from __future__ import annotations

import json
import secrets
import sys
import time
import urllib.parse
import urllib.request
from base64 import b64encode
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import bcrypt

from bench.accounting import thread_seconds
from bench.contenders import Running
from bench.load import LoadError
from bench.objects import Route
from bench.processes import Process, free_port

COST = 10
"""Of the stored hashes; KubeSphere's are the same."""

PEOPLE = 15000
"""Users, of whom nobody logs in twice while the crowd is there."""

QUIET, QUIET_LIMIT = 6.0, 120.0
"""Seconds without a write about users, after which none is left to do (a login's history is looked at 5 seconds after
it), and for how long that is waited for."""

_CLIENT = "bench"
_IAM = "/apis/iam.kubesphere.io/v1beta1"


def user(number: int) -> str:
    """A user's name."""
    return f"user-{number:05}"


class LoginGateway(Running):
    """``ksproxyd run`` with :data:`PEOPLE` users, one client, one APIService.

    ``mode`` is ``authorization.mode``.
    """

    def __init__(self, folder: Path, route: Route, mode: str = "AlwaysAllow") -> None:
        self.password = f"Aa1{secrets.token_urlsafe(12)}"
        self._secret = secrets.token_urlsafe(24)
        fields = {
            "grant_type": "password",
            "password": self.password,
            "client_id": _CLIENT,
            "client_secret": self._secret,
            "username": "",
        }
        self._form = urllib.parse.urlencode(fields).encode()
        self.route = route
        self._stack = ExitStack()
        self._api = free_port()
        objects = folder / "accounts.json"
        objects.touch(mode=0o600)
        objects.write_text(json.dumps(self._objects()))
        argv = [sys.executable, "-m", "bench.accounts", str(objects), str(self._api)]
        self._cluster = Process("accounts", argv, folder)
        port = free_port()
        settings = {
            "authentication": {
                "multipleLogin": True,
                "issuer": {"url": f"http://127.0.0.1:{port}", "jwtSecret": secrets.token_hex(32)},
            },
            "authorization": {"mode": mode},
            "multicluster": {"clusterRole": "host"},
            "kubernetes": {"kubeconfig": str(self._kubeconfig(folder))},
            "ksproxyd": {"extensions": {"manageStatus": False}},
        }
        file = folder / "logins.yaml"
        file.touch(mode=0o600)
        file.write_text(json.dumps(settings))
        listen = f"tcp:{port}:interface=127.0.0.1:backlog=4096"
        argv = [sys.executable, "-m", "ksproxyd.cli", "run", "--config", str(file), "--listen", listen]
        super().__init__(Process("ksproxyd logins", argv, folder), port)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self._cluster).wait_for_port(self._api)
            super().__enter__()
            stack.callback(super().__exit__)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def ready(self) -> None:
        self.process.wait_until(lambda: self.status("/readyz") == 200, "ready")
        self.process.wait_until(lambda: self.status(self.route.api_path) == 200, "serving the extension")

    def status(self, path: str, line: str = "") -> int:
        """The status of a GET, with one more field if there is a ``line``; 0 if nobody answers."""
        name, _, value = line.partition(": ")
        request = urllib.request.Request(self.url(path), headers={name: value} if name else {})
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def _objects(self) -> dict[str, list[dict[str, Any]]]:
        # Everybody has the same password: what takes the time is comparing, not what is compared.
        hashed = bcrypt.hashpw(self.password.encode(), bcrypt.gensalt(COST)).decode()
        configuration = json.dumps({"name": _CLIENT, "secret": self._secret, "trusted": True, "grantMethod": "auto"})
        client = {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "config.kubesphere.io/oauthclient",
            "metadata": _metadata("oauthclient-bench", labels={"config.kubesphere.io/type": "oauthclient"}),
            "data": {"configuration.yaml": b64encode(configuration.encode()).decode()},
        }
        return {
            "/api/v1/namespaces/kubesphere-system/secrets": [client],
            "/apis/extensions.kubesphere.io/v1alpha1/apiservices": [self.route.api_service()],
            **self.accounts(hashed),
        }

    def accounts(self, hashed: str) -> dict[str, list[dict[str, Any]]]:
        """The collections with the users, whose password has the hash ``hashed``, and with what they may do."""
        return {f"{_IAM}/users": [_user(user(number), hashed) for number in range(PEOPLE)]}

    def _kubeconfig(self, folder: Path) -> Path:
        path = folder / "accounts.kubeconfig"
        known = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "bench", "cluster": {"server": f"http://127.0.0.1:{self._api}"}}],
            "users": [{"name": "bench", "user": {"token": "bench"}}],
            "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
            "current-context": "bench",
        }
        path.write_text(json.dumps(known))
        return path

    def form(self, name: str) -> bytes:
        """What the login of a user sends. It costs next to nothing: who sends it shares the processors."""
        return self._form + name.encode()

    def log_in(self, name: str) -> str:
        """A new token."""
        with urllib.request.urlopen(self.url("/oauth/token"), self.form(name), timeout=10) as answer:
            return str(json.load(answer)["access_token"])

    def reactor_seconds(self) -> float:
        """CPU seconds of the thread that serves requests."""
        return thread_seconds(self.pid, self.pid)

    def settle(self) -> None:
        """Wait until all is done that logins leave to do: records, histories. Raises :class:`LoadError`."""
        begun = since = time.monotonic()
        before = self.done()
        while (now := time.monotonic()) - since < QUIET:
            if now - begun > QUIET_LIMIT:
                raise LoadError(f"login records are still written after {QUIET_LIMIT:g} s")
            time.sleep(0.5)
            after = self.done()
            if any(after.get(what) != before.get(what) for what in after if "loginrecords" in what or "users" in what):
                before, since = after, time.monotonic()

    def done(self) -> dict[str, int]:
        """How often the Kubernetes API was asked for what."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._api}/counts", timeout=10) as answer:
            return dict(json.load(answer))


def _metadata(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "resourceVersion": "1000", "creationTimestamp": "2025-01-01T00:00:00Z", **more}


def _user(name: str, hashed: str) -> dict[str, Any]:
    return {
        "apiVersion": "iam.kubesphere.io/v1beta1",
        "kind": "User",
        "metadata": _metadata(name, finalizers=["finalizers.kubesphere.io/users"]),
        "spec": {"email": f"{name}@bench.example", "password": hashed},
        "status": {"state": "Active"},
    }
