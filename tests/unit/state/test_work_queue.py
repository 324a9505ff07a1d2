"""The work queue: order, one at a time, repetition."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from ksproxyd.state.work_queue import FIRST_RETRY, LAST_RETRY, WorkQueue


class Work:
    """A queue whose work ends when we say so."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.queue: WorkQueue[str] = WorkQueue(self.clock, lambda: 0.0, self.handle, self.failed)
        self.begun: list[str] = []
        self.doing: Deferred[None] | None = None
        self.failures: list[str] = []
        self.again = True

    async def handle(self, key: str) -> None:
        assert self.doing is None
        self.begun.append(key)
        self.doing = Deferred()
        try:
            await self.doing
        finally:
            self.doing = None

    def failed(self, key: str, failure: Failure) -> bool:
        self.failures.append(f"{key}: {failure.value}")
        return self.again

    def turn(self) -> None:
        self.clock.advance(0)

    def done(self) -> None:
        assert self.doing is not None
        self.doing.callback(None)

    def fail(self, error: Exception) -> None:
        assert self.doing is not None
        self.doing.errback(error)


def test_one_at_a_time_in_order() -> None:
    work = Work()
    for key in ("b", "a", "b", "c"):
        work.queue.add(key)
    assert not work.begun and len(work.queue) == 3
    work.turn()
    assert work.begun == ["b"] and len(work.queue) == 2
    work.done()
    work.done()
    assert work.begun == ["b", "a", "c"]
    work.done()
    work.queue.add("d")
    work.turn()
    assert work.begun[3:] == ["d"]


def test_added_while_it_is_handled() -> None:
    work = Work()
    work.queue.add("a")
    work.turn()
    work.queue.add("a")
    work.queue.add("a")
    work.done()
    work.done()
    assert work.begun == ["a", "a"] and work.doing is None


def test_failures_are_tried_again_with_growing_waits() -> None:
    work = Work()
    work.queue.add("a")
    wait = FIRST_RETRY
    for count in range(1, 12):
        work.turn()
        assert len(work.begun) == count
        work.fail(ValueError("no"))
        work.clock.advance(wait - 0.01)
        assert work.doing is None
        work.clock.advance(0.01)
        wait = min(2 * wait, LAST_RETRY)
    assert work.failures == ["a: no"] * 11
    work.turn()
    work.done()
    work.queue.add("a")
    work.turn()
    work.fail(ValueError("no"))
    work.clock.advance(FIRST_RETRY)
    work.turn()
    assert work.doing is not None


def test_a_failure_holds_nobody_up() -> None:
    work = Work()
    work.queue.add("a")
    work.queue.add("b")
    work.turn()
    work.fail(ValueError("no"))
    assert work.begun == ["a", "b"]


def test_a_failure_may_be_final() -> None:
    work = Work()
    work.again = False
    work.queue.add("a")
    work.turn()
    work.fail(ValueError("no"))
    assert not work.clock.getDelayedCalls()


def test_later() -> None:
    work = Work()
    work.queue.add_after("a", 10)
    work.queue.add_after("a", 20)
    work.queue.add_after("a", 5)
    assert len(work.clock.getDelayedCalls()) == 1
    work.clock.advance(5)
    work.turn()
    assert work.begun == ["a"]
    work.done()
    assert not work.clock.getDelayedCalls()


def test_now_instead_of_later() -> None:
    work = Work()
    work.queue.add_after("a", 10)
    work.queue.add("a")
    work.queue.add_after("a", 20)
    work.turn()
    work.done()
    assert work.begun == ["a"] and not work.clock.getDelayedCalls()


def test_forgotten() -> None:
    work = Work()
    work.queue.add_after("a", 10)
    work.queue.add("b")
    work.queue.forget("a")
    work.queue.forget("b")
    work.clock.advance(20)
    assert not work.begun


def test_stopping() -> None:
    for turns in range(2):
        work = Work()
        work.queue.add("a")
        work.queue.add("b")
        work.queue.add_after("c", 10)
        for _ in range(turns):
            work.turn()
        work.queue.stop()
        work.queue.add("d")
        work.queue.add_after("e", 1)
        assert not work.clock.getDelayedCalls()
        assert work.begun == ["a"] * turns and work.doing is None and not work.failures


def test_work_that_was_cancelled_by_itself_is_a_failure() -> None:
    work = Work()
    work.queue.add("a")
    work.turn()
    doing: Any = work.doing
    doing.cancel()
    assert len(work.failures) == 1
    work.clock.advance(FIRST_RETRY)
    work.turn()
    assert work.begun == ["a", "a"]
