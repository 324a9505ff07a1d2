"""Checks that hold for every test: no Deferred error unhandled, nothing logged as an error unnoticed."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings
from twisted.logger import LogEvent, globalLogPublisher

# The same examples every time, so that a change is judged by itself; HYPOTHESIS_PROFILE=search looks for new ones.
settings.register_profile("steady", derandomize=True, deadline=None)
settings.register_profile("search", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))


class ErrorTrap:
    """Collects critical log events; a test that expects some takes them with :meth:`take`."""

    def __init__(self) -> None:
        self.events: list[LogEvent] = []

    def __call__(self, event: LogEvent) -> None:
        if event.get("isError") or "log_failure" in event:
            self.events.append(event)

    def take(self) -> list[LogEvent]:
        events, self.events = self.events, []
        return events


@pytest.fixture(autouse=True)
def logged_errors() -> Iterator[ErrorTrap]:
    trap = ErrorTrap()
    globalLogPublisher.addObserver(trap)
    try:
        yield trap
        gc.collect(0)
    finally:
        globalLogPublisher.removeObserver(trap)
    if trap.events:
        pytest.fail("unhandled error: " + "\n".join(describe(e) for e in trap.events), pytrace=False)


def describe(event: dict[str, Any]) -> str:
    failure = event.get("log_failure") or event.get("failure")
    return failure.getTraceback() if failure is not None else str(event.get("log_format", event))
