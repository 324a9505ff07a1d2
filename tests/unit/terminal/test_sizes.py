"""Sizes on their way to the cluster."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from ksproxyd.terminal.sizes import Sizes


class Cluster:
    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.advance(100)
        self.sizes = Sizes(self.clock)
        self.taken: list[tuple[int, int]] = []
        #: Times of what was taken since the last connection.
        self.times: list[float] = []

    def take(self, columns: int, rows: int) -> None:
        assert not self.times or self.clock.seconds() - self.times[-1] >= 0.0249
        self.times.append(self.clock.seconds())
        self.taken.append((columns, rows))

    def connect(self) -> None:
        self.times.clear()
        self.sizes.connect(self.take)


def test_a_size_goes_out_at_once() -> None:
    cluster = Cluster()
    cluster.connect()
    cluster.sizes.set(132, 40)
    cluster.sizes.set(132, 40)
    cluster.clock.advance(1)
    assert cluster.taken == [(132, 40)]


def test_before_there_is_anyone_the_newest_is_kept() -> None:
    cluster = Cluster()
    cluster.sizes.set(1, 1)
    cluster.sizes.set(80, 24)
    cluster.connect()
    cluster.sizes.disconnect()
    cluster.sizes.set(90, 30)
    cluster.clock.advance(1)
    assert cluster.taken == [(80, 24)]
    cluster.connect()
    assert cluster.taken == [(80, 24), (90, 30)]


def test_whoever_is_new_is_told_though_nothing_changed() -> None:
    cluster = Cluster()
    cluster.connect()
    cluster.sizes.set(80, 24)
    cluster.sizes.disconnect()
    cluster.connect()
    cluster.clock.advance(1)
    assert cluster.taken == [(80, 24), (80, 24)]


def test_a_thousand_in_a_second() -> None:
    cluster = Cluster()
    cluster.connect()
    for number in range(1000):
        cluster.sizes.set(number + 1, 24)
        cluster.clock.advance(0.001)
    cluster.clock.advance(1)
    assert 10 < len(cluster.taken) <= 50
    assert cluster.taken[-1] == (1000, 24)


def test_while_nothing_is_taken_nothing_is_sent() -> None:
    cluster = Cluster()
    cluster.connect()
    cluster.sizes.hold(True)
    for columns in range(1, 9):
        cluster.sizes.set(columns, 1)
        cluster.clock.advance(1)
    assert cluster.taken == []
    cluster.sizes.hold(False)
    assert cluster.taken == [(8, 1)]


@pytest.mark.parametrize(("rows", "between"), [(24, 23), (1, 2)])
def test_a_nudge(rows: int, between: int) -> None:
    cluster = Cluster()
    cluster.connect()
    cluster.sizes.set(80, rows)
    cluster.clock.advance(1)
    cluster.sizes.nudge()
    cluster.sizes.set(80, rows)
    cluster.clock.advance(1)
    assert cluster.taken == [(80, rows), (80, between), (80, rows)]
    cluster.sizes.nudge()
    cluster.sizes.set(81, rows)
    cluster.sizes.set(81, rows)
    cluster.clock.advance(1)
    assert cluster.taken[3:] == [(81, rows)]


steps = st.one_of(
    st.tuples(st.just("set"), st.integers(1, 3)),
    st.tuples(st.just("advance"), st.sampled_from([0.001, 0.01, 0.02, 0.1])),
    st.tuples(st.just("hold"), st.booleans()),
    st.tuples(st.just("connect"), st.booleans()),
    st.tuples(st.just("nudge"), st.none()),
)


@given(st.lists(steps))
def test_the_newest_arrives_last_whatever_happens(happening: list[tuple[str, object]]) -> None:
    cluster = Cluster()
    newest = None
    for what, value in happening:
        if what == "set":
            assert isinstance(value, int)
            newest = (value, 24)
            cluster.sizes.set(*newest)
        elif what == "advance":
            assert isinstance(value, float)
            cluster.clock.advance(value)
        elif what == "hold":
            cluster.sizes.hold(bool(value))
        elif what == "nudge":
            cluster.sizes.nudge()
        elif value:
            cluster.connect()
        else:
            cluster.sizes.disconnect()
    cluster.sizes.hold(False)
    cluster.connect()
    cluster.clock.pump([0.02] * 10)
    assert newest is None or cluster.taken[-1] == newest
    assert cluster.clock.getDelayedCalls() == []
