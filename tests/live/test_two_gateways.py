"""Two gateways that share Redis: whoever logs in at one is known to the other, whoever leaves is known to have left.

Redis is killed and started again under load, with somebody logged in.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from .process import Program, free_port, get, ksproxyd, until
from .redis_server import SECRET, RedisServer

PASSWORD = "Passw0rdX"

pytestmark = pytest.mark.timeout(240)


class Pair:
    """The two, and the Redis that they share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.redis = RedisServer(folder)
        self.ports = (free_port(), free_port())

    def settings(self, number: int, **more: Any) -> Path:
        """The file of one of them."""
        whole = {
            "authentication": {
                "multipleLogin": True,
                "issuer": {"url": "https://ks.test", "jwtSecret": SECRET},
            },
            "authorization": {"mode": "AlwaysAllow"},
            "multicluster": {"clusterRole": "host"},
            "cache": {"type": "redis", "options": {"host": "127.0.0.1", "port": self.redis.port}},
            **more,
        }
        whole["ksproxyd"] = {
            "listeners": [f"tcp:{self.ports[number]}:interface=127.0.0.1"],
            "timeouts": {"redis": "500ms"},
            **whole.get("ksproxyd", {}),
        }
        path = self.folder / f"{number}.yaml"
        path.write_text(json.dumps(whole))
        return path

    def ask(
        self, number: int, path: str, token: str = "", body: bytes | None = None, **headers: str
    ) -> tuple[int, Any]:
        """Status and body of a request to one of them."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.ports[number]}{path}", body, headers)
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def log_in(self, number: int) -> str:
        """A token; empty if there is none to be had."""
        fields = {
            "grant_type": "password",
            "username": "admin",
            "password": PASSWORD,
            "client_id": "tests",
            "client_secret": "secret-of-the-tests",
        }
        status, body = self.ask(number, "/oauth/token", body=urllib.parse.urlencode(fields).encode())
        return str(json.loads(body)["access_token"]) if status == 200 else ""


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    found = Pair(tmp_path)
    found.redis.start()
    (tmp_path / "password").write_text(PASSWORD)
    standalone = {
        "enabled": True,
        "listen": f"tcp:{free_port()}:interface=127.0.0.1",
        "adminPasswordFile": str(tmp_path / "password"),
    }
    ours = {"stateDir": str(tmp_path / "state"), "standalone": standalone}
    kubeconfig = {"kubeconfig": str(tmp_path / "state" / "admin.kubeconfig")}
    with ExitStack() as stack:
        stack.callback(found.redis.kill)
        for number, more in ((0, {"ksproxyd": ours}), (1, {"kubernetes": kubeconfig})):
            folder = tmp_path / f"gateway{number}"
            folder.mkdir()
            argv = ksproxyd("run", "--config", str(found.settings(number, **more)))
            program = stack.enter_context(Program(argv, folder))
            port = found.ports[number]
            until(lambda port=port: get(f"http://127.0.0.1:{port}/readyz")[0] == 200, "a start")  # type: ignore[misc]
            assert program.process.poll() is None
        client = {
            "kind": "Secret",
            "type": "config.kubesphere.io/oauthclient",
            "metadata": {"name": "tests", "labels": {"config.kubesphere.io/type": "oauthclient"}},
            "stringData": {
                "configuration.yaml": json.dumps(
                    {"name": "tests", "secret": "secret-of-the-tests", "trusted": True, "grantMethod": "auto"}
                )
            },
        }
        path = "/api/v1/namespaces/kubesphere-system/secrets"
        status, body = found.ask(0, path, body=json.dumps(client).encode(), **{"Content-Type": "application/json"})
        assert status == 201, body
        for number in (0, 1):
            until(lambda number=number: found.log_in(number), "a login")  # type: ignore[misc]
        yield found


def test_who_leaves_one_has_left_the_other_within_a_second(pair: Pair) -> None:
    token = pair.log_in(0)
    assert pair.ask(1, "/oauth/userinfo", token)[0] == 200
    assert pair.ask(0, "/oauth/logout", token)[0] == 200
    left = time.monotonic()
    while pair.ask(1, "/oauth/userinfo", token)[0] == 200:
        assert time.monotonic() - left < 1.0
    status, body = pair.ask(1, "/oauth/userinfo", token)
    assert status == 401 and b"token revoked" in body


class Load:
    """Requests without and with a token, one after the other, for as long as the ``with`` lasts."""

    def __init__(self, pair: Pair, token: str) -> None:
        self.statuses: Counter[tuple[bool, int]] = Counter()
        self.slowest = 0.0
        self._pair = pair
        self._token = token
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.is_set():
            for token in ("", self._token):
                begun = time.monotonic()
                status, _ = self._pair.ask(1, "/version", token)
                self.slowest = max(self.slowest, time.monotonic() - begun)
                self.statuses[bool(token), status] += 1


def test_redis_dies_under_load_and_comes_back(pair: Pair) -> None:
    token = pair.log_in(0)
    with Load(pair, token) as load:
        until(lambda: load.statuses[True, 200] > 20, "load")
        pair.redis.kill()
        until(lambda: load.statuses[True, 503] > 20, "a refusal")
        known = load.statuses[True, 200]
        # Nobody is let in on what was known before, and a login is not let in either.
        time.sleep(0.1)
        assert load.statuses[True, 200] == known
        assert pair.log_in(1) == ""
        pair.redis.start()
        # What it knew is gone with it, and so are the logins; new ones are good.
        again = until(lambda: pair.log_in(1), "a login")
        until(lambda: load.statuses[True, 401] > 5, "the old login's end")
        # The other one has noticed that it was away, and notices by itself that it is back.
        until(lambda: pair.ask(0, "/oauth/userinfo", again)[0] == 200, "the other gateway's recovery")
    assert {status for shown, status in load.statuses if not shown} == {200}
    assert {status for shown, status in load.statuses if shown} == {200, 401, 503}
    # The time-out for Redis, and what a busy machine adds: no request waits for Redis longer than that.
    assert load.slowest < 3.0
