"""Users who log in at the gateway, with what gives them rights, for tests that give and take those."""

from __future__ import annotations

import http.client
import json
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any
from urllib.parse import urlencode, urlsplit

import bcrypt

from .client import ApiClient, ApiError, Object

PASSWORD = "Passw0rdX"
HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
IAM = "/apis/iam.kubesphere.io/v1beta1"
VERSION = "iam.kubesphere.io/v1beta1"


def user(name: str) -> Object:
    return {
        "apiVersion": VERSION,
        "kind": "User",
        "metadata": {"name": name},
        "spec": {"email": f"{name}@ks.test", "password": HASH},
        "status": {"state": "Active"},
    }


def oauth_client() -> Object:
    """The program that people log in with, in ``kubesphere-system``."""
    settings = {"name": "kubesphere", "secret": "kubesphere", "grantMethod": "auto", "trusted": True}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "oauthclient-kubesphere", "labels": {"config.kubesphere.io/type": "oauthclient"}},
        "type": "config.kubesphere.io/oauthclient",
        "stringData": {"configuration.yaml": json.dumps(settings)},
    }


def reader_role(namespace: str) -> Object:
    """Role ``reader``: everything in the namespace may be read."""
    rules = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"]}]
    metadata = {"name": "reader", "namespace": namespace}
    return {"apiVersion": VERSION, "kind": "Role", "metadata": metadata, "rules": rules}


def reader_binding(namespace: str, name: str) -> Object:
    """RoleBinding ``name`` of the user of that name to ``reader``."""
    return {
        "apiVersion": VERSION,
        "kind": "RoleBinding",
        "metadata": {"name": name, "namespace": namespace, "labels": {"iam.kubesphere.io/user-ref": name}},
        "roleRef": {"apiGroup": "iam.kubesphere.io", "kind": "Role", "name": "reader"},
        "subjects": [{"apiGroup": "iam.kubesphere.io", "kind": "User", "name": name}],
    }


def apply_user(api: ApiClient, name: str) -> None:
    made = api.create(f"{IAM}/users", user(name))
    if made.get("status", {}).get("state") != "Active":
        api.patch(f"{IAM}/users/{name}/status", {"status": {"state": "Active"}})


def log_in(url: str, name: str) -> str:
    """An access token; the gateway must know the user, which takes a moment after it was made."""
    form = {"grant_type": "password", "username": name, "password": PASSWORD}
    form |= {"client_id": "kubesphere", "client_secret": "kubesphere"}
    content = urlencode(form).encode()
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    deadline = time.monotonic() + 15
    while True:
        client = ApiClient(url)
        status, _, body = client.exchange("POST", "/oauth/token", content, kind)
        if status == 200:
            return str(json.loads(body)["access_token"])
        assert time.monotonic() < deadline, (name, status, body)
        time.sleep(0.1)


@dataclass
class Asked:
    """One request: when it was sent and answered (monotonic seconds), and how; ``why`` is what a refusal says."""

    sent: float
    answered: float
    status: int
    why: str = ""


@dataclass
class Asker:
    """Asks for one path with one token, again and again, in a thread of its own; ``asked`` is what came of it.

    Where there is no answer the status is 0, and ``why`` the error. Use with ``with``.
    """

    url: str
    path: str
    token: str
    period: float = 0.05
    asked: list[Asked] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Asker:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        assert self._thread is not None
        self._thread.join()

    def answers(self, since: float = 0.0) -> list[Asked]:
        """The answers to what was sent after then."""
        return [asked for asked in self.asked if asked.sent > since]

    def told(self, since: float) -> str:
        """The answers from then on for people: each run of equal ones in a line, with seconds since then."""
        lines: list[str] = []
        before = ""
        for asked in self.answers(since):
            now = f"{asked.status} {asked.why}".strip()
            if now != before:
                lines.append(f"  sent {asked.sent - since:+.3f} answered {asked.answered - since:+.3f}: {now}")
            before = now
        return "\n".join(lines) or "  nothing was asked"

    def _run(self) -> None:
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=20)
        headers = {"Authorization": f"Bearer {self.token}"}
        while not self._ended.wait(self.period):
            sent = time.monotonic()
            try:
                connection.request("GET", self.path, headers=headers)
                response = connection.getresponse()
                body = response.read()
                status = response.status
                why = "" if status == 200 else body[:300].decode(errors="replace")
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                status, why = 0, repr(error)
            self.asked.append(Asked(sent, time.monotonic(), status, why))
        connection.close()


class Watcher:
    """A watch with one token, read in a thread until it ends: ``ended`` is when (monotonic seconds), 0 before."""

    def __init__(self, url: str, path: str, token: str) -> None:
        self._watch: Any = ApiClient(url, token=token).watch(path, seconds=300)
        self.ended = 0.0
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        try:
            for _ in self._watch:
                pass
        except (OSError, http.client.HTTPException, ValueError, ApiError):
            pass
        self.ended = time.monotonic()

    def wait(self, seconds: float) -> None:
        self._thread.join(seconds)

    def close(self) -> None:
        self._watch.close()
        self._thread.join()
