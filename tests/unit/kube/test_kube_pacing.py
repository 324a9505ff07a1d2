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


def test_of_several_loops_one_goes_on_in_a_turn() -> None:
    clock = TurnClock()
    done: list[str] = []

    async def loop(name: str) -> None:
        pacer = Pacer(clock)
        for _ in range(2):
            await pacer.turn()
            done.append(name)

    for name in "abc":
        Deferred.fromCoroutine(loop(name))
    seen = []
    for _ in range(7):
        clock.turn()
        seen.append("".join(done))
    assert seen == ["a", "ab", "abc", "abca", "abcab", "abcabc", "abcabc"]
    assert clock.getDelayedCalls() == []


def test_who_is_cancelled_leaves_the_line() -> None:
    clock = TurnClock()
    done: list[str] = []

    async def loop(name: str) -> None:
        await Pacer(clock).turn()
        done.append(name)

    waiting = {name: Deferred.fromCoroutine(loop(name)) for name in "abc"}
    for name in "ab":
        waiting[name].addErrback(lambda failure: failure.trap(CancelledError))
        waiting[name].cancel()
    clock.turn()
    assert done == ["c"]
    last = Deferred.fromCoroutine(loop("d"))
    last.addErrback(lambda failure: failure.trap(CancelledError))
    last.cancel()
    assert clock.getDelayedCalls() == []


def test_clocks_have_lines_of_their_own() -> None:
    one, other = TurnClock(), TurnClock()
    done: list[str] = []

    async def loop(name: str, clock: TurnClock) -> None:
        await Pacer(clock).turn()
        done.append(name)

    Deferred.fromCoroutine(loop("one", one))
    Deferred.fromCoroutine(loop("other", other))
    other.turn()
    assert done == ["other"]
    one.turn()
    assert done == ["other", "one"]


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


def test_one_that_nobody_waits_for_rests() -> None:
    clock, told = Clock(), list[str]()

    async def loop() -> None:
        await Pacer(clock, rest=0.005).turn()
        told.append("went on")

    Deferred.fromCoroutine(loop())
    for _ in range(3):
        clock.advance(0.001)
    assert told == []
    clock.advance(0.002)
    clock.advance(0)
    assert told == ["went on"]
