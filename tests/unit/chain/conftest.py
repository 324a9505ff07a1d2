"""An exchange as the steps see it."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.python.failure import Failure

from ksproxyd.model.identity import ANONYMOUS, Identity
from ksproxyd.model.message import Fields, Response
from ksproxyd.model.request_info import classify
from ksproxyd.model.status import StatusError, render


class FakeExchange:
    """What the chain looks at, and what became of it."""

    def __init__(self, method: str = "GET", target: bytes = b"/x", **fields: str) -> None:
        self.method = method
        self.target = target
        self.path, mark, self.query = target.partition(b"?")
        self.has_query = bool(mark)
        #: As it was sent (a :class:`ksproxyd.server.head.RequestHead`).
        self.head = SimpleNamespace(path=self.path, query=self.query, info=None)
        self.fields = Fields((name.replace("_", "-").encode(), value.encode()) for name, value in fields.items())
        self.trusted = False
        self.upgrade: bytes | None = None
        self.user: Identity = ANONYMOUS
        self.info: Any = None
        self.cluster: Any = None
        self.status = 0
        self.finished = False
        self.aborted = False
        self.on_gone: Callable[[], object] | None = None
        self.answers: list[Response] = []
        self.failures: list[Failure] = []

    def classified(self) -> FakeExchange:
        self.info = classify(self.method, self.path, self.query)
        return self

    def route(self, path: bytes, query: bytes | None = None) -> None:
        self.path = path
        if query is not None:
            self.query, self.has_query = query, bool(query)
        self.target = path + b"?" + self.query if self.has_query else path

    def respond(self, response: Response) -> None:
        assert not self.status, "answered twice"
        self.status = response.status
        self.finished = True
        self.answers.append(response)

    def refuse(self, error: StatusError) -> None:
        self.respond(render(error, None, None, b""))

    def abort(self) -> None:
        self.finished = self.aborted = True

    def leave(self) -> None:
        """The client goes."""
        self.finished = True
        on_gone, self.on_gone = self.on_gone, None
        if on_gone is not None:
            on_gone()


@pytest.fixture
def exchange() -> Callable[..., FakeExchange]:
    return FakeExchange
