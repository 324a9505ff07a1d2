"""The bounds of a queue, its batches, and what it says of losses."""

from __future__ import annotations

import random
from typing import Any

import pytest
from twisted.internet.task import Clock

from ksproxyd.audit.event import Event
from ksproxyd.audit.queue import FULL, STOPPED, TOO_BIG, TOO_OLD, Bounds, Queue

from .test_audit_forms import event


class Taker:
    """A sink that takes what is due, unless it is busy."""

    def __init__(self, **bounds: Any) -> None:
        self.clock = Clock()
        self.busy = False
        self.told = 0
        self.batches: list[list[Event]] = []
        self.queue = Queue("test", self.clock, Bounds(**bounds), self.ready)

    def ready(self) -> None:
        self.told += 1
        while not self.busy and self.queue.due:
            self.batches.append(self.queue.take())

    def put(self, count: int, weight: int = 1000) -> None:
        for _ in range(count):
            made = event()
            made.weight = weight
            self.queue.put(made)

    @property
    def sizes(self) -> list[int]:
        return [len(batch) for batch in self.batches]


def test_a_batch_is_complete_by_number_in_a_turn_of_its_own() -> None:
    taker = Taker(batch=3, interval=5.0)
    taker.put(3)
    assert taker.sizes == []
    taker.clock.advance(0)
    assert taker.sizes == [3]
    assert taker.clock.getDelayedCalls() == []


def test_or_by_time() -> None:
    taker = Taker(batch=3, interval=5.0)
    taker.put(2)
    taker.clock.advance(4.9)
    assert taker.sizes == []
    taker.clock.advance(0.2)
    assert taker.sizes == [2]
    taker.put(1)
    taker.clock.advance(4.9)
    assert taker.sizes == [2]
    taker.clock.advance(0.2)
    assert taker.sizes == [2, 1]


def test_or_by_size() -> None:
    taker = Taker(batch=100, batch_bytes=2500, interval=5.0)
    taker.put(4)
    taker.clock.advance(0)
    assert taker.sizes == [2]
    taker.clock.advance(5)
    assert taker.sizes == [2, 2]
    taker.put(1, weight=9000)
    taker.clock.advance(0)
    assert taker.sizes == [2, 2, 1]


def test_what_is_left_behind_a_batch_does_not_wait_for_ever() -> None:
    taker = Taker(batch=3, interval=5.0)
    taker.put(7)
    taker.clock.advance(0)
    assert taker.sizes == [3, 3]
    taker.clock.advance(5.0)
    assert taker.sizes == [3, 3, 1]


def test_a_busy_sink_is_told_once() -> None:
    taker = Taker(batch=3, interval=5.0)
    taker.busy = True
    for _ in range(20):
        taker.put(1)
        taker.clock.advance(0)
    assert taker.told == 1
    taker.clock.advance(60)
    assert taker.told <= 2
    taker.busy = False
    taker.ready()
    assert sum(taker.sizes) >= 18


def test_bounds_hold_for_what_is_given_out() -> None:
    taker = Taker(events=100, bytes=10**6, batch=10)
    taker.put(150)
    assert (taker.queue.events, taker.queue.dropped) == (100, {FULL: 50})
    batches = [taker.queue.take() for _ in range(10)]
    assert (len(taker.queue), taker.queue.events) == (0, 100)
    taker.put(1)
    assert taker.queue.dropped[FULL] == 51
    taker.queue.settle(batches[0])
    taker.put(20)
    assert (taker.queue.events, taker.queue.dropped[FULL], taker.queue.delivered) == (100, 61, 10)
    taker.queue.settle(batches[1], TOO_OLD)
    assert taker.queue.dropped[TOO_OLD] == 10


def test_bytes_are_bounded() -> None:
    taker = Taker(events=1000, bytes=10_000)
    taker.put(5, weight=3000)
    assert (taker.queue.events, taker.queue.bytes, taker.queue.dropped) == (3, 9000, {TOO_BIG: 2})


def test_the_end() -> None:
    taker = Taker(batch=3)
    taker.put(5)
    taker.queue.close()
    assert taker.clock.getDelayedCalls() == []
    assert taker.queue.due
    first = taker.queue.take()
    taker.put(1)
    assert taker.queue.dropped == {STOPPED: 1}
    taker.queue.abandon()
    assert taker.queue.dropped == {STOPPED: 3}
    taker.queue.settle(first)
    assert (taker.queue.events, taker.queue.bytes, len(taker.queue)) == (0, 0, 0)


@pytest.mark.parametrize("seed", range(20))
def test_every_event_is_somewhere(seed: int) -> None:
    chance = random.Random(seed)
    taker = Taker(events=100, bytes=150_000, batch=7, batch_bytes=20_000, interval=1.0)
    put = 0
    out: list[list[Event]] = []
    for _ in range(300):
        count = chance.randrange(6)
        put += count
        taker.put(count, weight=chance.randrange(1000, 5000))
        taker.busy = chance.random() < 0.5
        taker.clock.advance(chance.choice([0, 0, 0.5]))
        if not taker.busy and chance.random() < 0.3:
            taker.ready()
        out += taker.batches
        taker.batches.clear()
        while out and chance.random() < 0.4:
            taker.queue.settle(out.pop(0), chance.choice(["", "", TOO_OLD]))
        queue = taker.queue
        given = sum(len(batch) for batch in out)
        assert queue.events == len(queue) + given
        assert queue.events <= 100 and queue.bytes <= 150_000
        assert put == queue.events + queue.delivered + sum(queue.dropped.values())
    taker.busy = False
    taker.ready()
    taker.clock.advance(1.1)
    taker.ready()
    assert len(taker.queue) == 0


def test_a_busy_sink_without_an_interval_is_not_told_for_ever_and_takes_the_rest_later() -> None:
    taker = Taker(batch=2, interval=0.0)
    taker.busy = True
    taker.put(3)
    taker.clock.advance(0)
    assert taker.clock.getDelayedCalls() == []
    taker.busy = False
    taker.ready()
    taker.clock.advance(0)
    assert taker.sizes == [2, 1]


def test_what_a_busy_sink_leaves_is_taken_after_the_interval() -> None:
    taker = Taker(batch=2, interval=5.0)
    taker.busy = True
    taker.put(3)
    taker.clock.advance(0)
    taker.busy = False
    taker.ready()
    assert taker.sizes == [2]
    taker.clock.advance(5.1)
    assert taker.sizes == [2, 1]
