"""What is counted, when it locks whom, and for how long."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from login_site import Counters
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from ksproxyd.authn.lockout import ACCOUNT_FACTOR, DAY, SOURCE_FACTOR, Locked, Lockout
from ksproxyd.authn.rejection import SharedUnavailable
from ksproxyd.authn.shared.memory import MemoryStore

TRIES, DURATION = 3, 600.0


class Bench:
    def __init__(self, memory: bool = False) -> None:
        self.clock = Clock()
        self.store: Any = MemoryStore(self.clock, 3600.0) if memory else Counters(self.clock)
        self.lockout = Lockout(self.store, TRIES, DURATION)

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        results: list[Any] = []
        Deferred.fromCoroutine(coroutine).addBoth(results.append)
        (result,) = results
        if hasattr(result, "raiseException"):
            result.raiseException()
        return result

    def wrong(self, subject: str = "user:alice", source: str = "a") -> list[Any] | float:
        """One wrong attempt: the locks that it brings, or the seconds for which it is not looked at."""
        try:
            counted = self.run(self.lockout.reserve(subject, source))
        except Locked as locked:
            return locked.seconds
        found: list[Any] = self.run(self.lockout.failed(counted))
        return found

    def right(self, subject: str = "user:alice", source: str = "a") -> float:
        """One right attempt: 0, or the seconds for which it is not looked at."""
        try:
            counted = self.run(self.lockout.reserve(subject, source))
        except Locked as locked:
            return locked.seconds
        self.run(self.lockout.succeeded(counted))
        return 0.0

    def lock(self, **where: str) -> float:
        """Wrong attempts until it locks; for how long."""
        for _ in range(TRIES):
            found = self.wrong(**where)
            assert isinstance(found, list)
        return float(found[0].seconds)


@pytest.fixture(params=[False, True], ids=["plain", "memory"])
def bench(request: Any) -> Bench:
    return Bench(request.param)


def test_a_lock_begins_with_the_last_attempt(bench: Bench) -> None:
    assert bench.wrong() == []
    bench.clock.advance(DURATION - 1)
    assert bench.wrong() == []
    assert bench.wrong() == [("a", DURATION)]
    bench.clock.advance(DURATION - 1)
    assert bench.wrong() == 1.0
    bench.clock.advance(1)
    assert bench.wrong() == []


def test_attempts_are_forgotten_after_a_while(bench: Bench) -> None:
    for _ in range(10):
        assert bench.wrong() == []
        bench.clock.advance(DURATION / 2 + 1)


def test_longer_every_time(bench: Bench) -> None:
    lengths = []
    for _ in range(10):
        lengths.append(bench.lock())
        bench.clock.advance(lengths[-1])
        if lengths[-1] == DAY:
            break
    assert lengths[:4] == [DURATION, 2 * DURATION, 4 * DURATION, 8 * DURATION]


def test_a_success_begins_anew(bench: Bench) -> None:
    bench.clock.advance(bench.lock())
    assert bench.right() == 0.0
    assert bench.lock() == DURATION


def test_from_everywhere(bench: Bench) -> None:
    """Each network may try less than what locks it out, and still there is an end."""
    assert bench.right(source="home") == 0.0
    found: list[Any] = []
    for n in range(TRIES * ACCOUNT_FACTOR):
        result = bench.wrong(source=f"net-{n}")
        assert isinstance(result, list)
        found += result
    assert found == [(None, DURATION)]
    assert bench.wrong(source="another") == DURATION
    assert bench.right(source="another") == DURATION
    # Where the user has been before, they still are themselves.
    assert bench.right(source="home") == 0.0


def test_one_network_tries_everybody(bench: Bench) -> None:
    assert bench.right(subject="user:alice") == 0.0
    for n in range(TRIES * SOURCE_FACTOR):
        assert bench.wrong(subject=f"user:{n}") == []
    assert bench.wrong(subject="user:x") == DURATION
    assert bench.right(subject="user:x", source="b") == 0.0
    assert bench.right(subject="user:alice") == 0.0


def test_reserved_at_once(bench: Bench) -> None:
    """All are counted before the first is told what became of it, here or by another gateway."""
    other = Lockout(bench.store, TRIES, DURATION)
    found = []
    for n in range(50):
        try:
            found.append(bench.run((bench.lockout, other)[n % 2].reserve("user:alice", "a")))
        except Locked as locked:
            assert 0 < locked.seconds <= DURATION
    assert len(found) == TRIES


def test_given_up_attempts_stay_counted(bench: Bench) -> None:
    for _ in range(TRIES):
        bench.run(bench.lockout.reserve("user:alice", "a"))
    assert bench.right() == DURATION


def test_forgiven(bench: Bench) -> None:
    for n in range(TRIES * ACCOUNT_FACTOR):
        bench.wrong(source=f"net-{n % ACCOUNT_FACTOR}")
    assert bench.wrong(source="net-0") == DURATION
    bench.run(bench.lockout.forgive("user:alice"))
    assert bench.lock(source="net-0") == DURATION


def test_nobody_is_to_forgive(bench: Bench) -> None:
    bench.run(bench.lockout.forgive("user:nobody"))


@pytest.mark.parametrize(("tries", "duration"), [(0, 600.0), (3, 0.0)])
def test_off(tries: int, duration: float) -> None:
    bench = Bench()
    bench.lockout = Lockout(bench.store, tries, duration)
    for _ in range(100):
        assert bench.wrong() == []
    assert bench.right() == 0.0
    assert not bench.store.values


def test_the_store_is_away() -> None:
    bench = Bench()
    bench.store.error = SharedUnavailable("away")
    lockout = bench.lockout
    for call in (lockout.check("user:a", "s"), lockout.reserve("user:a", "s"), lockout.forgive("user:a")):
        with pytest.raises(SharedUnavailable):
            bench.run(call)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.floats(0, 300)), max_size=80))
def test_never_more_than_allowed(attempts: list[tuple[str, bool, float]]) -> None:
    """Whatever happens: within ``DURATION`` no network is looked at more often than TRIES without a success between."""
    bench = Bench()
    looked: dict[str, list[float]] = {}
    for source, success, pause in attempts:
        bench.clock.advance(pause)
        now = bench.clock.seconds()
        if success:
            if bench.right(source=source) == 0.0:
                looked[source] = []
        elif isinstance(bench.wrong(source=source), list):
            times = [time for time in looked.get(source, []) if time > now - DURATION] + [now]
            looked[source] = times
            # A window that starts with the first attempt lets the end of one and the beginning of the next meet.
            assert len(times) <= 2 * TRIES - 1


@given(st.text())
def test_any_name(subject: str) -> None:
    bench = Bench()
    assert bench.lock(subject=subject) == DURATION
    assert all(len(key) < 100 for key in bench.store.values)
