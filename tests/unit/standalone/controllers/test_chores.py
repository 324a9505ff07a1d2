from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock

from ksproxyd.standalone.controllers.chores import RETRY, Chores


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def chores(clock: Clock) -> Chores:
    return Chores(clock)


def test_work_is_done_later_and_in_order(chores: Chores, clock: Clock) -> None:
    done: list[int] = []
    for number in range(30):
        chores.later(done.append, number)
    assert done == []
    assert not chores.idle
    clock.advance(0)
    assert done == list(range(30))
    assert chores.idle
    assert clock.getDelayedCalls() == []


def test_same_work_waits_only_once(chores: Chores, clock: Clock) -> None:
    done: list[int] = []
    chores.later(done.append, 1)
    chores.later(done.append, 1)
    clock.advance(0)
    chores.later(done.append, 1)
    clock.advance(0)
    assert done == [1, 1]


def test_work_may_make_work(chores: Chores, clock: Clock) -> None:
    done: list[int] = []

    def count(number: int) -> None:
        done.append(number)
        if number:
            chores.later(count, number - 1)

    chores.later(count, 3)
    clock.advance(0)
    assert done == [3, 2, 1, 0]


def test_work_that_fails_is_logged_and_tried_again(chores: Chores, clock: Clock, logged_errors: Any) -> None:
    done: list[str] = []

    def fail() -> None:
        if len(logged_errors.events) < 2:
            raise RuntimeError("not yet")
        done.append("at last")

    chores.later(fail)
    chores.later(done.append, "other")
    clock.advance(0)
    assert done == ["other"]
    clock.advance(RETRY)
    clock.advance(RETRY)
    assert done == ["other", "at last"]
    assert len(logged_errors.take()) == 2


def test_nothing_is_done_once_it_is_stopped(chores: Chores, clock: Clock, logged_errors: Any) -> None:
    done: list[int] = []

    def fail() -> None:
        raise RuntimeError("always")

    chores.later(fail)
    clock.advance(0)
    chores.later(done.append, 1)
    chores.stop()
    chores.later(done.append, 2)
    clock.advance(10 * RETRY)
    assert done == []
    assert clock.getDelayedCalls() == []
    logged_errors.take()
