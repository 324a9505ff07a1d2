"""What one user's terminals may take."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from ksproxyd.model.status import StatusError
from ksproxyd.terminal.limits import BURST, MESSAGES, Messages, Seats, Starts


def test_a_burst_of_messages_is_read_and_then_so_many_a_second() -> None:
    clock = Clock()
    messages = Messages(clock.seconds)
    assert [messages.take() for _ in range(BURST - 1)] == [0.0] * (BURST - 1)
    wait = messages.take()
    assert wait == pytest.approx(1 / MESSAGES)
    # One that comes before its time is waited for longer.
    assert messages.take() == pytest.approx(2 / MESSAGES)
    clock.advance(2 / MESSAGES + 0.0001)
    assert messages.take() == pytest.approx(1 / MESSAGES, rel=0.1)
    clock.advance(3600)
    assert [messages.take() for _ in range(BURST - 1)] == [0.0] * (BURST - 1)
    assert messages.take() > 0


@given(st.lists(st.floats(0, 0.02), min_size=1, max_size=400))
def test_whoever_waits_as_told_sends_no_more_than_the_rate(pauses: list[float]) -> None:
    clock = Clock()
    messages = Messages(clock.seconds)
    for _ in range(BURST):
        messages.take()
    begun, sent = clock.seconds(), 0
    for pause in pauses:
        clock.advance(pause)
        clock.advance(messages.take())
        sent += 1
    assert sent <= (clock.seconds() - begun) * MESSAGES + 1.01


def test_thirty_starts_in_a_minute_and_the_next_one_is_refused() -> None:
    clock = Clock()
    clock.advance(1000)
    seats = Seats(clock.seconds, 500, 20, 30)
    for _ in range(30):
        seats.take("ann").leave()
        clock.advance(1)
    for _ in range(3):
        with pytest.raises(StatusError) as caught:
            seats.take("ann")
        assert (caught.value.code, caught.value.retry_after) == (429, 30)
    seats.take("bob")
    clock.advance(30)
    seats.take("ann")
    with pytest.raises(StatusError):
        seats.take("ann")
    clock.advance(1)
    seats.take("ann")


def test_coming_back_is_no_start_but_limited_too() -> None:
    clock = Clock()
    seats = Seats(clock.seconds, 500, 20, 2)
    seats.take("ann")
    seats.come_back("ann")
    seats.come_back("ann")
    with pytest.raises(StatusError) as caught:
        seats.come_back("ann")
    assert (caught.value.code, caught.value.retry_after) == (429, 60)
    seats.take("ann")


def test_sessions_at_a_time() -> None:
    seats = Seats(Clock().seconds, 4, 3, 100)
    taken = [seats.take("ann") for _ in range(3)]
    with pytest.raises(StatusError, match="you have 3 terminals open") as caught:
        seats.take("ann")
    assert caught.value.code == 429
    seats.take("bob")
    with pytest.raises(StatusError, match="all terminals"):
        seats.take("eve")
    taken[0].leave()
    taken[0].leave()
    assert seats.total == 3
    seats.take("eve")
    with pytest.raises(StatusError, match="all terminals"):
        seats.take("ann")


def test_who_is_refused_for_their_sessions_has_begun_nothing() -> None:
    seats = Seats(Clock().seconds, 10, 1, 2)
    first = seats.take("ann")
    for _ in range(5):
        with pytest.raises(StatusError, match="open"):
            seats.take("ann")
    first.leave()
    seats.take("ann")


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 30))))
def test_never_more_than_allowed_in_any_minute_and_nobody_is_remembered_for_longer(
    calls: list[tuple[str, int]],
) -> None:
    clock = Clock()
    starts = Starts(clock.seconds, 3)
    begun: list[tuple[str, float]] = []
    for user, pause in calls:
        clock.advance(pause)
        now = clock.seconds()
        recent = Counter(name for name, when in begun if when > now - 60)
        wait = starts.take(user)
        if recent[user] < 3:
            assert wait == 0
            begun.append((user, now))
        else:
            assert 0 < wait <= 60
            assert wait == 60 + sorted(when for name, when in begun if name == user)[-3] - now
        assert len(starts) <= len({name for name, when in begun if when > now - 60})
