"""The reactor's time among bodies that are being rewritten."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from ksproxyd.upstream.errors import UpstreamError
from ksproxyd.upstream.filtered import BUDGET, FilteredBody, FilterTurns
from ksproxyd.upstream.relay import Relay

#: Seconds that a step of the filters here takes: the third uses up the budget.
STEP = 0.00125
PER_TURN = 3


class Scene:
    """A clock whose turns are :meth:`turn`, and time that passes only in filters."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.now = 0.0
        self.turns = FilterTurns(self.clock, lambda: self.now)
        self.steps = 0

    def body(self, name: str = "") -> FakeRelay:
        return FakeRelay(self, name)

    def turn(self) -> int:
        """One turn of the reactor; how many steps it did. What it schedules is left to the next, as reactors do."""
        before = self.steps
        calls, self.clock.calls = self.clock.calls, []
        for call in calls:
            assert call.getTime() == 0
            call.called = 1
            call.func(*call.args, **call.kw)
        return self.steps - before


class Doubling:
    """Two steps for every byte; a ``!`` breaks it, a ``?`` is a mistake of ours."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def steps(self, data: bytes) -> Iterator[bytes]:
        for byte in data:
            for _ in range(2):
                self._scene.steps += 1
                self._scene.now += STEP
                if byte == b"!"[0]:
                    raise UpstreamError("protocol", "the body is broken")
                if byte == b"?"[0]:
                    raise ZeroDivisionError
                yield bytes((byte,))

    def end(self) -> bytes:
        return b"."


class FakeExchange:
    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data


class FakeRelay:
    def __init__(self, scene: Scene, name: str) -> None:
        self.name = name
        self.exchange = FakeExchange()
        self.sends = 0
        self.held = False
        self.ends: list[str] = []
        #: Pause as soon as something is sent, as a client's full buffers do.
        self.clogged = False
        self.body = FilteredBody(cast(Relay, self), Doubling(scene), scene.turns)

    @property
    def written(self) -> str:
        return self.exchange.written.decode()

    def send(self) -> None:
        self.sends += 1
        if self.clogged:
            self.body.pause()

    def hold(self) -> None:
        assert not self.held
        self.held = True

    def read_on(self) -> None:
        assert self.held
        self.held = False

    def finish(self) -> None:
        self.ends.append("finished")

    def give_up(self, reason: UpstreamError) -> None:
        self.ends.append(reason.message)

    def broken(self, failure: Failure) -> None:
        self.ends.append(type(failure.value).__name__)

    def arrives(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.body.data(piece)
        self.body.flush()


def test_a_little_is_done_at_once() -> None:
    scene = Scene()
    relay = scene.body()
    relay.arrives(b"a")
    assert (relay.written, relay.held, relay.ends) == ("aa", False, [])
    scene.turn()
    relay.body.end()
    assert (relay.written, relay.ends) == ("aa.", ["finished"])


def test_a_turn_does_no_more_than_its_budget() -> None:
    scene = Scene()
    relay = scene.body()
    relay.arrives(b"abc", b"de")
    counts = [scene.steps]
    assert relay.held
    while relay.held:
        counts.append(scene.turn())
    assert counts == [PER_TURN, PER_TURN, PER_TURN, 1]
    assert BUDGET <= PER_TURN * STEP <= BUDGET + STEP
    assert (relay.written, relay.ends) == ("aabbccddee", [])
    scene.turn()
    assert not scene.clock.getDelayedCalls()


def test_bodies_share_the_turn() -> None:
    scene = Scene()
    one, two, three = scene.body(), scene.body(), scene.body()
    one.arrives(b"aaaa")
    two.arrives(b"b")
    three.arrives(b"c")
    # The turn's time is used up by the first.
    assert (one.written, two.written, three.written) == ("aaa", "", "")
    scene.turn()
    assert (one.written, two.written, three.written) == ("aaaa", "b", "c")
    scene.turn()
    scene.turn()
    assert (one.written, two.written, three.written) == ("aaaaaaaa", "bb", "cc")
    assert not two.held and not three.held and one.held


def test_what_arrives_in_one_read_is_one_piece() -> None:
    scene = Scene()
    relay = scene.body()
    pieces: list[bytes] = []

    class Noting(Doubling):
        def steps(self, data: bytes) -> Iterator[bytes]:
            pieces.append(data)
            return iter((data,))

    relay.body = FilteredBody(cast(Relay, relay), Noting(scene), scene.turns)
    relay.arrives(b"a", b"b", b"c")
    assert pieces == [b"abc"]


def test_a_head_without_a_body_yet_goes_out() -> None:
    relay = Scene().body()
    relay.arrives()
    assert (relay.sends, relay.written, relay.held) == (1, "", False)


@pytest.mark.parametrize("how", ["end", "failure"])
def test_the_end_waits_for_what_came_before(how: str) -> None:
    scene = Scene()
    relay = scene.body()
    relay.body.data(b"abc")
    if how == "end":
        relay.body.end()
    else:
        relay.body.failed(UpstreamError("closed", "broke off"))
    assert relay.ends == []
    while not relay.ends:
        assert scene.turn() <= PER_TURN
    assert relay.written == ("aabbcc." if how == "end" else "aabbcc")
    assert relay.ends == ["finished" if how == "end" else "broke off"]


@pytest.mark.parametrize(("bad", "told"), [(b"!", "the body is broken"), (b"?", "ZeroDivisionError")])
@pytest.mark.parametrize("later", [False, True])
def test_a_filter_that_fails_ends_the_answer_once(bad: bytes, told: str, later: bool) -> None:
    scene = Scene()
    relay = scene.body()
    relay.body.data(b"abc" + bad + b"d" if later else bad)
    relay.body.end()
    for _ in range(20):
        scene.turn()
    assert relay.ends == [told]
    assert relay.written == ("aabbcc" if later else "")
    relay.body.end()
    assert relay.ends == [told]


def test_an_end_that_fails() -> None:
    scene = Scene()

    class Short(Doubling):
        def end(self) -> bytes:
            raise UpstreamError("protocol", "ends early")

    relay = scene.body()
    relay.body = FilteredBody(cast(Relay, relay), Short(scene), scene.turns)
    relay.body.data(b"a")
    relay.body.end()
    assert (relay.written, relay.ends) == ("aa", ["ends early"])


def test_nothing_is_done_for_a_client_that_does_not_keep_up() -> None:
    scene = Scene()
    relay = scene.body()
    relay.clogged = True
    relay.arrives(b"abc")
    for _ in range(5):
        scene.turn()
    assert (relay.written, relay.held) == ("a", True)
    relay.clogged = False
    assert relay.body.resume() is False
    while relay.held:
        scene.turn()
    assert relay.written == "aabbcc"


def test_the_backend_may_be_read_when_nothing_is_left() -> None:
    scene = Scene()
    relay = scene.body()
    relay.body.pause()
    assert relay.body.resume() is True


def test_the_end_of_a_body_waits_for_its_client() -> None:
    scene = Scene()
    relay = scene.body()
    relay.body.pause()
    relay.body.data(b"a")
    relay.body.end()
    scene.turn()
    assert (relay.written, relay.ends) == ("", [])
    relay.body.resume()
    assert (relay.written, relay.ends) == ("aa.", ["finished"])


def test_nobody_wants_the_rest() -> None:
    scene = Scene()
    relay, other = scene.body(), scene.body()
    relay.arrives(b"abc")
    other.arrives(b"d")
    relay.body.close()
    relay.body.end()
    for _ in range(5):
        scene.turn()
    assert (relay.written, relay.ends) == ("aab", [])
    assert other.written == "dd"
    assert not scene.clock.getDelayedCalls()


def test_work_that_comes_up_in_the_middle_of_work() -> None:
    scene = Scene()
    first, second = scene.body(), scene.body()

    def finish() -> None:
        # The client's next request is answered at once.
        second.body.data(b"b")
        second.body.end()

    cast(Any, first).finish = finish
    first.body.data(b"")
    first.body.end()
    assert (first.written, second.written, second.ends) == (".", "bb.", ["finished"])


EVENTS = st.lists(st.sampled_from(["data", "flush", "turn", "pause", "resume"]), max_size=40)


@given(events=EVENTS, failing=st.booleans())
def test_order_and_completeness(events: list[str], failing: bool) -> None:
    scene = Scene()
    relay = scene.body()
    cast(Any, relay).hold = lambda: None
    cast(Any, relay).read_on = lambda: None
    expected = ""
    for number, event in enumerate(events):
        if event == "data":
            byte = b"%c" % (ord("A") + number)
            relay.body.data(byte)
            expected += byte.decode() * 2
        elif event == "turn":
            assert scene.turn() <= PER_TURN
        else:
            getattr(relay.body, event)()
        assert expected.startswith(relay.written)
    if failing:
        relay.body.failed(UpstreamError("closed", "broke off"))
    else:
        relay.body.end()
    relay.body.resume()
    for _ in range(100):
        scene.turn()
    assert relay.written == expected + ("" if failing else ".")
    assert relay.ends == ["broke off" if failing else "finished"]
    assert not scene.clock.getDelayedCalls()
