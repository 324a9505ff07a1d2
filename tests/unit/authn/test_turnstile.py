"""One in each turn of the reactor."""

from __future__ import annotations

from twisted.internet.task import Clock

from ksproxyd.authn.turnstile import CROWD, Turnstile


def test_one_a_turn_in_order() -> None:
    clock, told = Clock(), list[str]()
    turnstile = Turnstile(clock)

    def through(_: None, name: str) -> None:
        told.append(name)
        # What somebody else has asked for meanwhile comes before the next one.
        clock.callLater(0, told.append, "other")

    for name in ("a", "b", "c"):
        turnstile.turn().addCallback(through, name)
    assert told == [] and len(turnstile) == 3
    clock.callLater(0, told.append, "other")
    clock.advance(0)
    assert told == ["a", "other", "b", "other", "c", "other", "other"]
    assert not clock.getDelayedCalls()


def test_who_comes_while_one_goes_through() -> None:
    clock, told = Clock(), list[str]()
    turnstile = Turnstile(clock)

    def again(_: None) -> None:
        told.append("first")
        turnstile.turn().addCallback(lambda _: told.append("second"))

    turnstile.turn().addCallback(again)
    clock.advance(0)
    assert told == ["first", "second"] and len(turnstile) == 0


def test_who_gives_up() -> None:
    clock, told = Clock(), list[str]()
    turnstile = Turnstile(clock)
    turnstile.turn().addErrback(lambda _: told.append("gone"))
    gone = turnstile.turn().addErrback(lambda _: told.append("gone"))
    turnstile.turn().addCallback(lambda _: told.append("last"))
    gone.cancel()
    assert told == ["gone"] and len(turnstile) == 2
    clock.advance(0)
    clock.advance(0)
    assert told == ["gone", "last"]


def test_many_go_faster() -> None:
    clock, told = Clock(), list[int]()
    turnstile = Turnstile(clock)
    for number in range(3 * CROWD):
        turnstile.turn().addCallback(lambda _, number=number: told.append(number))
    turns = 0
    while len(turnstile):
        # One round of a reactor: what is due now, not what that asks for.
        clock.calls[0].func()
        turns += 1
    assert told == list(range(3 * CROWD)) and turns < 2 * CROWD
