"""Waits between attempts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.state.backoff import Backoff


def test_waits_double_up_to_the_cap() -> None:
    backoff = Backoff(0.5, 30, lambda: 0.0)
    assert [backoff.next() for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert backoff.attempts == 8
    backoff.reset()
    assert (backoff.attempts, backoff.next()) == (0, 0.5)


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=200))
def test_every_wait_is_between_half_and_the_whole(numbers: list[float]) -> None:
    draws = iter(numbers)
    backoff = Backoff(1, 60, lambda: next(draws))
    for attempt in range(len(numbers)):
        whole = min(60, 2.0**attempt)
        assert whole / 2 <= backoff.next() <= whole
