"""A request as metrics and logs see it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer

from ksproxyd.model.identity import ANONYMOUS, Identity
from ksproxyd.model.request_info import classify


class FakeExchange:
    """The attributes of an exchange that are observed, with an answer already given."""

    def __init__(self, method: str = "GET", target: bytes = b"/apis/apps/v1/deployments", **given: Any) -> None:
        self.id = "00c0ffee00c0ffee"
        self.method = method
        self.target = target
        self.path, _, self.query = target.partition(b"?")
        self.minor = 1
        self.head = SimpleNamespace(counted=(None, 0, None))
        self.client = "192.0.2.7"
        self.user: Identity = ANONYMOUS
        self.info: Any = classify(method, self.path, self.query)
        self.started = 0.0
        self.status = 200
        self.sent = 0
        self.received = 0
        self.node = ""
        self.upstream_seconds = 0.0
        self.notes: dict[str, Any] | None = None
        for name, value in given.items():
            if not hasattr(self, name):
                raise AttributeError(name)
            setattr(self, name, value)


@implementer(ILogObserver)
class Messages:
    """Keeps the text of our own log events."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, event: LogEvent) -> None:
        if str(event.get("log_namespace", "")).startswith("ksproxyd."):
            self.seen.append(formatEvent(event))


@pytest.fixture
def exchange() -> Callable[..., FakeExchange]:
    """Makes fake exchanges: ``exchange(method, target, status=404, …)``."""
    return FakeExchange


@pytest.fixture
def log_messages() -> Iterator[list[str]]:
    """The messages that ksproxyd logs with :mod:`twisted.logger` during the test."""
    messages = Messages()
    globalLogPublisher.addObserver(messages)
    yield messages.seen
    globalLogPublisher.removeObserver(messages)
