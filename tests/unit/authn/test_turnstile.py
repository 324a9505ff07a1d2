"""One at a time, with time for others in between."""

from __future__ import annotations

from twisted.internet.task import Clock

from ksproxyd.authn.turnstile import APART, CROWD, Turnstile


def test_one_at_a_time_in_order() -> None:
    clock, told = Clock(), list[str]()
    turnstile = Turnstile(clock)
    for name in ("a", "b", "c"):
        turnstile.turn().addCallback(lambda _, name=name: told.append(name))
    assert told == [] and len(turnstile) == 3
    for so_far in ("a", "ab", "abc"):
        clock.advance(APART / 2)
        assert "".join(told) == so_far[:-1]
        clock.advance(APART / 2)
        assert "".join(told) == so_far
    assert not clock.getDelayedCalls()
    # Who comes alone lets others go first, too.
    turnstile.turn().addCallback(lambda _: told.append("d"))
    clock.advance(APART / 2)
    assert told[3:] == []
    clock.advance(APART / 2)
    assert told[3:] == ["d"]


def test_who_comes_while_one_goes_through() -> None:
    clock, told = Clock(), list[str]()
    turnstile = Turnstile(clock)

    def again(_: None) -> None:
        told.append("first")
        turnstile.turn().addCallback(lambda _: told.append("second"))

    turnstile.turn().addCallback(again)
    clock.advance(APART)
    assert told == ["first"]
    clock.advance(APART)
    assert told == ["first", "second"] and len(turnstile) == 0


def test_who_gives_up() -> None:
    clock, told = Clock(), list[str]()
    turnstile = Turnstile(clock)
    turnstile.turn().addErrback(lambda _: told.append("gone"))
    gone = turnstile.turn().addErrback(lambda _: told.append("gone"))
    turnstile.turn().addCallback(lambda _: told.append("last"))
    gone.cancel()
    assert told == ["gone"] and len(turnstile) == 2
    clock.advance(APART)
    clock.advance(APART)
    assert told == ["gone", "last"]


def test_many_go_faster() -> None:
    clock, told = Clock(), list[int]()
    turnstile = Turnstile(clock)
    for number in range(3 * CROWD):
        turnstile.turn().addCallback(lambda _, number=number: told.append(number))
    times = 0
    while len(turnstile):
        clock.advance(APART)
        times += 1
    assert told == list(range(3 * CROWD)) and times < 2 * CROWD
