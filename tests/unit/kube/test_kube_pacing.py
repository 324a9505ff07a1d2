"""Loops that leave the reactor its turn."""

from __future__ import annotations

from turn_clock import TurnClock
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from ksproxyd.kube.pacing import Pacer, pause


def test_a_loop_is_interrupted_when_its_time_is_spent() -> None:
    clock, now = TurnClock(), [0.0]
    pacer = Pacer(clock, 0.002, lambda: now[0])
    done: list[int] = []

    async def loop() -> None:
        pacer.begin()
        for step in range(6):
            done.append(step)
            now[0] += 0.001
            if pacer.spent():
                await pacer.turn()

    Deferred.fromCoroutine(loop())
    assert done == [0, 1]
    now[0] += 5
    clock.turn()
    assert done == [0, 1, 2, 3]
    clock.turn()
    assert done == [0, 1, 2, 3, 4, 5]
    clock.turn()
    assert done == [0, 1, 2, 3, 4, 5]
    assert clock.getDelayedCalls() == []


def test_a_pause() -> None:
    clock = Clock()
    fired: list[None] = []
    pause(clock, 5).addCallback(fired.append)
    clock.advance(4.9)
    assert fired == []
    clock.advance(0.1)
    assert fired == [None]


def test_a_cancelled_pause_leaves_no_timer() -> None:
    clock = Clock()
    waiting = pause(clock, 5)
    waiting.cancel()
    waiting.addErrback(lambda failure: failure.trap(CancelledError))
    assert clock.getDelayedCalls() == []
