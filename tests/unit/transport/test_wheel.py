"""Coarse timeouts: everything that is late is told, about once a second, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock

from ksproxyd.transport.wheel import SLOTS, TICK, Wheel


class Timed:
    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.told: list[float] = []
        self.clock: Clock | None = None

    def timed_out(self) -> None:
        assert self.clock is not None
        self.told.append(self.clock.seconds())


def wheel() -> tuple[Clock, Wheel]:
    clock = Clock()
    clock.advance(100)
    found = Wheel(clock)
    found.start()
    return clock, found


def turn(clock: Clock, seconds: float) -> None:
    clock.pump([TICK] * round(seconds / TICK))


def test_the_time_is_that_of_the_last_tick() -> None:
    clock, found = wheel()
    assert found.now == 100
    clock.advance(TICK / 2)
    assert found.now == 100
    clock.advance(TICK / 2)
    assert found.now == 100 + TICK


def test_deadlines_are_met_within_a_turn() -> None:
    clock, found = wheel()
    many = [Timed(102.0) for _ in range(50)]
    for timed in many:
        timed.clock = clock
        found.watch(timed)
    turn(clock, 1.75)
    assert not any(timed.told for timed in many)
    turn(clock, 0.25 + TICK * SLOTS)
    assert all(timed.told for timed in many)
    assert all(102.0 <= timed.told[0] <= 102.0 + TICK * SLOTS for timed in many)


def test_told_again_until_the_deadline_is_moved() -> None:
    clock, found = wheel()
    timed = Timed(101.0)
    timed.clock = clock
    found.watch(timed)
    turn(clock, 5)
    assert len(timed.told) in (4, 5)
    timed.deadline = 0.0
    turn(clock, 5)
    assert len(timed.told) in (4, 5)
    timed.deadline = found.now + 1
    turn(clock, 3)
    assert len(timed.told) > 5


def test_forgotten() -> None:
    clock, found = wheel()
    timed = Timed(101.0)
    timed.clock = clock
    found.watch(timed)
    found.forget(timed)
    found.forget(timed)
    turn(clock, 5)
    assert not timed.told


def test_what_is_told_may_change_the_wheel() -> None:
    clock, found = wheel()

    class Leaving(Timed):
        def timed_out(self) -> None:
            super().timed_out()
            for other in all_:
                found.forget(other)
            found.watch(late)

    late = Timed(0.0)
    all_ = [Leaving(101.0) for _ in range(20)]
    for timed in all_:
        timed.clock = clock
        found.watch(timed)
    turn(clock, 4)
    assert any(timed.told for timed in all_)


@pytest.mark.parametrize("forget", [False, True])
def test_what_is_told_may_give_others_more_time(forget: bool) -> None:
    """All of them are late in the same turn; the first to be told speaks for the rest."""
    clock, found = wheel()

    class First(Timed):
        def timed_out(self) -> None:
            super().timed_out()
            for other in all_:
                if forget:
                    found.forget(other)
                else:
                    other.deadline = 200.0

    all_ = [First(101.0) for _ in range(40)]
    for timed in all_:
        timed.clock = clock
        found.watch(timed)
    turn(clock, 5)
    assert sum(len(timed.told) for timed in all_) == 1


def test_one_that_raises_does_not_take_the_others_along(logged_errors: Any) -> None:
    clock, found = wheel()

    class Broken(Timed):
        def timed_out(self) -> None:
            raise ZeroDivisionError

    broken = [Broken(101.0) for _ in range(4)]
    fine = [Timed(101.0) for _ in range(20)]
    for timed in (*broken, *fine):
        timed.clock = clock
        found.watch(timed)
    turn(clock, 2.25)
    assert all(timed.told for timed in fine)
    assert {event["log_failure"].type for event in logged_errors.take()} == {ZeroDivisionError}


def test_stopping() -> None:
    clock, found = wheel()
    found.stop()
    found.stop()
    assert not clock.getDelayedCalls()
