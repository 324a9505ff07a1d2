"""Stands in for the upstream client: keeps what was asked, answers when told to."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.internet.defer import Deferred

from ksproxyd.model.message import Fields
from ksproxyd.upstream.errors import UpstreamError
from ksproxyd.upstream.target import Target

TARGET = Target("http", "127.0.0.1", 8001)


class Answer(msgspec.Struct):
    status: int
    fields: Fields
    body: bytes


class FixedAccess:
    def __init__(self, prefix: bytes = b"") -> None:
        self.target = TARGET
        self.path_prefix = prefix
        self.refusals = 0

    def headers(self) -> list[tuple[bytes, bytes]]:
        return [(b"Authorization", b"Bearer t")]

    def refused(self) -> None:
        self.refusals += 1


class Asked:
    """One request."""

    def __init__(self, method: bytes, path: bytes, headers: Any, body: bytes, limits: dict[str, Any]) -> None:
        self.line = f"{method.decode()} {path.decode()}"
        self.headers = {name.decode(): value.decode() for name, value in headers}
        self.body = msgspec.json.decode(body) if body else None
        self.limits = limits
        self.cancelled = 0
        self.paused: list[bool] = []
        self.deferred: Deferred[Any] = Deferred(lambda _: self.cancel())

    def answer(self, status: int, body: Any = b"", **fields: str) -> None:
        pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        self.deferred.callback(Answer(status, Fields(pairs), content))

    def break_off(self, kind: str, message: str = "broken", detail: str = "") -> None:
        self.deferred.errback(UpstreamError(kind, message, detail))

    def cancel(self) -> None:
        self.cancelled += 1

    def pause(self) -> None:
        self.paused.append(True)

    def resume(self) -> None:
        self.paused.append(False)


class ScriptedUpstream:
    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.sinks: list[Any] = []

    @property
    def last(self) -> Asked:
        return self.asked[-1]

    def request(
        self, target: Target, method: bytes, path: bytes, headers: Any = (), body: bytes = b"", **limits: Any
    ) -> Deferred[Any]:
        assert target is TARGET
        self.asked.append(Asked(method, path, headers, body, limits))
        return self.last.deferred

    def stream(self, target: Target, method: bytes, path: bytes, headers: Any, body: bytes, sink: Any) -> Asked:
        assert target is TARGET
        self.asked.append(Asked(method, path, headers, body, {}))
        self.sinks.append(sink)
        return self.last


def outcome(done: Deferred[Any]) -> Any:
    """What ``done`` fired with, or the exception it failed with."""
    results: list[Any] = []
    done.addCallbacks(results.append, lambda failure: results.append(failure.value))
    assert len(results) == 1, "it has not fired"
    return results[0]
