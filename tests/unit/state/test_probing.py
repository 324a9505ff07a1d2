"""Probes for statuses: when they are sent, and what becomes of their results."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from ksproxyd.state.probing import FAILURES, Probes

KEY = ("APIService", "x")
INTERVAL = 30.0


class Backend:
    """Probes that we answer ourselves."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.asked: list[tuple[str, Any, Deferred[str]]] = []
        self.cancelled = 0
        self.changes: list[Any] = []
        self.nothing = False
        self.probes: Probes[tuple[str, str]] = Probes(self.clock, self.probe, INTERVAL, self.changes.append)

    def probe(self, kind: str, value: Any) -> Deferred[str] | None:
        if self.nothing:
            return None
        done: Deferred[str] = Deferred(self.cancel)
        self.asked.append((kind, value, done))
        return done

    def cancel(self, _: Any) -> None:
        self.cancelled += 1

    def watch(self, spec: str = "s") -> None:
        self.probes.watch(KEY, "APIService", {"spec": spec})

    def answer(self, why: str = "") -> None:
        self.asked.pop()[2].callback(why)

    @property
    def verdict(self) -> str | None:
        return self.probes.verdict(KEY)


def test_the_first_answer_counts() -> None:
    for why in ("", "refused"):
        backend = Backend()
        assert backend.verdict == ""
        backend.watch()
        assert backend.verdict is None
        kind, value, _ = backend.asked[0]
        assert (kind, value) == ("APIService", {"spec": "s"})
        backend.answer(why)
        assert backend.verdict == why and backend.changes == [KEY]


def test_one_that_is_well_is_probed_now_and_then() -> None:
    backend = Backend()
    backend.watch()
    backend.answer()
    for _ in range(3):
        backend.clock.advance(INTERVAL - 0.1)
        assert not backend.asked
        backend.clock.advance(0.1)
        backend.answer()
    assert backend.changes == [KEY]


def test_some_failures_in_a_row_make_it_unwell_and_one_answer_well() -> None:
    backend = Backend()
    backend.watch()
    backend.answer()
    backend.clock.advance(INTERVAL)
    wait = 1.0
    for _ in range(FAILURES - 1):
        backend.answer("refused")
        assert backend.verdict == ""
        backend.clock.advance(wait)
        wait *= 2
    backend.answer("refused")
    assert backend.verdict == "refused" and len(backend.changes) == 2
    backend.clock.advance(wait)
    backend.answer("timed out")
    assert backend.verdict == "timed out"
    backend.clock.advance(wait * 2)
    backend.answer()
    assert backend.verdict == ""
    # The count begins anew.
    backend.clock.advance(INTERVAL)
    backend.answer("refused")
    assert backend.verdict == ""


def test_waits_grow_up_to_the_interval() -> None:
    backend = Backend()
    backend.watch()
    for wait in (1, 2, 4, 8, 16, 30, 30, 30):
        backend.answer("refused")
        backend.clock.advance(wait - 0.1)
        assert not backend.asked
        backend.clock.advance(0.1)


def test_a_changed_spec_is_probed_at_once() -> None:
    backend = Backend()
    backend.watch()
    backend.watch()
    assert len(backend.asked) == 1
    backend.answer()
    backend.watch("other")
    assert backend.verdict is None and backend.asked[0][1] == {"spec": "other"}


def test_the_newest_object_is_probed() -> None:
    backend = Backend()
    backend.watch()
    backend.answer()
    backend.probes.watch(KEY, "APIService", {"spec": "s", "more": 1})
    backend.clock.advance(INTERVAL)
    assert backend.asked[0][1] == {"spec": "s", "more": 1}


def test_nothing_to_probe() -> None:
    backend = Backend()
    backend.nothing = True
    backend.watch()
    assert backend.verdict == "" and not backend.clock.getDelayedCalls()
    assert not backend.changes


def test_forgetting_ends_everything() -> None:
    backend = Backend()
    backend.watch()
    backend.probes.forget(KEY)
    assert backend.cancelled == 1 and backend.verdict == "" and not backend.changes
    backend.watch()
    backend.answer()
    backend.probes.stop()
    assert not backend.clock.getDelayedCalls()


def test_a_probe_that_breaks_is_a_failure_and_logged(logged_errors: Any) -> None:
    backend = Backend()
    backend.watch()
    backend.asked.pop()[2].errback(ZeroDivisionError())
    assert backend.verdict == "the probe itself failed"
    assert len(logged_errors.take()) == 1
    backend.clock.advance(1)
    backend.answer()
    assert backend.verdict == ""
