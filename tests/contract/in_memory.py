"""A client for the embedded API without any sockets."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock

from contract.client import Answer, Client, Watch
from ksproxyd.model.message import Fields, Pairs
from ksproxyd.model.status import StatusError, render
from ksproxyd.standalone.api import StandaloneAPI
from ksproxyd.standalone.bootstrap import fill
from ksproxyd.standalone.reading.watch import WatchStream
from ksproxyd.standalone.storage.store import Store
from ksproxyd.standalone.wire.request import Request

#: When the clock of a test begins.
START = 1_800_000_000.0

#: Turns of the reactor after which it should have settled.
TURNS = 10_000


class MemoryClient(Client):
    """The embedded API with a clock of its own and nothing but what there is at first start."""

    def __init__(self, store: Store | None = None, definitions: list[dict[str, Any]] | None = None) -> None:
        self.clock = Clock()
        self.clock.advance(START)
        self.store = Store() if store is None else store
        self.api = StandaloneAPI(self.store, self.clock, random.Random(7))
        self.api.start()
        fill(self.api, definitions or [])
        self.settle()

    def settle(self) -> None:
        """Let everything happen that needs no time."""
        for _ in range(TURNS):
            if not any(call.getTime() <= self.clock.seconds() for call in self.clock.getDelayedCalls()):
                return
            self.clock.advance(0)
        raise AssertionError("the API does not come to rest")

    def _handle(self, method: str, path: str, body: Any, headers: dict[str, str] | None) -> Any:
        fields = Fields([(b"User-Agent", b"contract/1")])
        for name, value in (headers or {}).items():
            fields.replace(name.encode(), value.encode())
        if body is not None and not isinstance(body, bytes | str):
            body = json.dumps(body)
        if isinstance(body, str):
            body = body.encode()
        if body is not None and fields.get(b"content-type") is None:
            fields.add(b"Content-Type", b"application/json")
        place, _, query = path.partition("?")
        try:
            return self.api.handle(Request.of(method, place.encode(), query.encode(), fields, body or b""))
        except StatusError as error:
            return render(error, fields.get(b"accept"), fields.get(b"user-agent"), query.encode())

    def request(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        reply = self._handle(method, path, body, headers)
        assert not isinstance(reply, WatchStream), "the answer is a watch"
        chunks = getattr(reply, "chunks", None)
        text = (reply.body if chunks is None else b"".join(chunks)).decode()
        self.settle()
        try:
            value = json.loads(text)
        except ValueError:
            value = None
        return Answer(reply.status, _lowered(reply.headers), value, text)

    def watch(self, path: str, headers: dict[str, str] | None = None) -> MemoryWatch:
        reply = self._handle("GET", path, None, headers)
        assert isinstance(reply, WatchStream), reply.body
        return MemoryWatch(self, reply)

    def eventually(self, condition: Callable[[], Any]) -> Any:
        self.settle()
        value = condition()
        assert value, "it did not come about"
        return value


class MemoryWatch(Watch):
    def __init__(self, client: MemoryClient, stream: WatchStream) -> None:
        self._client = client
        self.stream = stream
        self._lines: list[str] = []
        self.status = 200
        self.headers = _lowered(stream.headers)

    def _pull(self) -> None:
        self._client.settle()
        while data := self.stream.read():
            self._lines += data.decode().splitlines()

    def take(self, count: int) -> list[dict[str, Any]]:
        self._pull()
        assert len(self._lines) >= count, f"{count} events were expected, {len(self._lines)} came"
        taken, self._lines = self._lines[:count], self._lines[count:]
        return [json.loads(line) for line in taken]

    def quiet(self) -> bool:
        self._pull()
        return not self._lines and not self.stream.ended

    def ended(self) -> bool:
        self._client.clock.advance(30)
        self._pull()
        return not self._lines and self.stream.ended

    def close(self) -> None:
        self.stream.close()


def _lowered(headers: Pairs) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in headers:
        key = name.decode().lower()
        found[key] = f"{found[key]}, {value.decode()}" if key in found else value.decode()
    return found
