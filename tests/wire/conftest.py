"""What several wire tests share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer

import ksproxyd.gateway
from ksproxyd.chain import Outcome, Step
from ksproxyd.chain.authenticate import authenticate_step
from ksproxyd.model.identity import Identity
from ksproxyd.server.exchange import Exchange

ALICE = Identity("alice", ("system:authenticated",))


@pytest.fixture
def alice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever shows the bearer token ``T`` is alice; everybody else is who the gateway itself thinks they are."""

    def with_alice(*arguments: Any) -> Step:
        authenticate = authenticate_step(*arguments)

        def step(exchange: Exchange) -> Outcome:
            if exchange.fields.get(b"authorization") == b"Bearer T":
                exchange.user = ALICE
                return None
            return authenticate(exchange)

        return step

    monkeypatch.setattr(ksproxyd.gateway, "authenticate_step", with_alice)


@pytest.fixture
def warnings_logged() -> Iterator[list[str]]:
    """The warnings that are logged during a test, as text."""
    lines: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event["log_level"] is LogLevel.warn:
            lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)
