"""One in each turn of the reactor."""

from __future__ import annotations

from twisted.internet.task import Clock

from ksproxyd.authn.turnstile import ALONE, Turnstile


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


def test_who_comes_alone_does_not_wait() -> None:
    clock, told = Clock(), list[str]()
    clock.advance(1000)
    turnstile = Turnstile(clock)
    assert turnstile.alone()
    # The second of a crowd does, and so does whoever comes while it waits, however late.
    assert not turnstile.alone()
    turnstile.turn().addCallback(lambda _: told.append("second"))
    clock.rightNow += 2 * ALONE
    assert not turnstile.alone()
    clock.advance(0)
    assert told == ["second"] and not turnstile.alone()
    clock.advance(2 * ALONE)
    assert turnstile.alone()
    # A clock that was set back keeps nobody out.
    clock.rightNow -= 500
    assert turnstile.alone()
