"""The body of a watch as events."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_upstream import Asked, outcome
from turn_clock import TurnClock
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock

from ksproxyd.kube.errors import KubeError, KubeUnreachable
from ksproxyd.kube.pacing import Pacer
from ksproxyd.kube.watch import REFUSAL_LIMIT, BadEvent, Lines, Watch
from ksproxyd.model.message import Fields
from ksproxyd.upstream.errors import UpstreamError


class Listener:
    """Notes what a watch tells."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.fails = ""
        self.then: Any = None

    def opened(self) -> None:
        self.note("opened")

    def alive(self) -> None:
        self.note("alive")

    def event(self, kind: str, obj: dict[str, Any], received: float) -> None:
        self.note((kind, obj.get("n"), received))

    def note(self, what: Any) -> None:
        self.told.append(what)
        if self.then is not None:
            self.then()
        if self.fails and what[0] == self.fails:
            raise RuntimeError("the receiver is broken")

    @property
    def events(self) -> list[Any]:
        return [told[1] for told in self.told if isinstance(told, tuple)]


class Talk:
    """One watch. Every look at the time takes a millisecond of 10 that a turn has."""

    def __init__(self, silence: float = 0, limit: int = 1000) -> None:
        self.clock = TurnClock()
        self.listener = Listener()
        self.request = Asked(b"GET", b"/", (), b"", {})
        self.ticks = 0.0
        self.watch = Watch(
            self.listener,
            self.clock,
            Pacer(self.clock, 0.01, self.tick),
            head_timeout=30,
            lifetime=330,
            silence=silence,
            limit=limit,
        )
        self.watch.start(lambda sink: self.request)

    def tick(self) -> float:
        self.ticks += 0.001
        return self.ticks

    def open(self) -> Talk:
        self.watch.head(200, Fields())
        return self

    def error(self) -> Any:
        """What it failed with; nothing is left running then."""
        error = outcome(self.watch.done)
        assert self.clock.getDelayedCalls() == []
        return error


def event(number: int, type_: str = "ADDED", **more: Any) -> bytes:
    return msgspec.json.encode({"type": type_, "object": {"n": number, **more}}) + b"\n"


@given(st.lists(st.binary(max_size=20).map(lambda b: b.replace(b"\n", b"")), max_size=10), st.data())
def test_lines_come_out_as_they_went_in(lines: list[bytes], data: st.DataObject) -> None:
    body = b"".join(line + b"\n" for line in lines) + b"rest"
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=10).map(sorted))
    splitter, found = Lines(100), []
    for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True):
        splitter.feed(body[start:end])
        while (line := splitter.next()) is not None:
            found.append(bytes(line))
    assert found == lines
    assert splitter.unfinished


@pytest.mark.parametrize("pieces", [1, 3, 200])
@pytest.mark.parametrize("ended", [True, False])
def test_a_line_has_a_limit(pieces: int, ended: bool) -> None:
    splitter = Lines(100)
    data = b"x" * 101 + (b"\n" if ended else b"")
    with pytest.raises(BadEvent, match="larger than 100 bytes"):
        for start in range(0, len(data), max(1, len(data) // pieces)):
            splitter.feed(data[start : start + max(1, len(data) // pieces)])
            splitter.next()


def test_a_line_at_the_limit() -> None:
    splitter = Lines(100)
    splitter.feed(b"x" * 100)
    assert splitter.next() is None
    splitter.feed(b"\n")
    assert splitter.next() == b"x" * 100
    assert not splitter.unfinished


def test_from_the_beginning_to_the_end() -> None:
    talk = Talk().open()
    talk.clock.advance(5)
    talk.watch.data(event(1) + event(2, "MODIFIED"))
    talk.clock.advance(5)
    talk.watch.data(event(3, "DELETED") + b"\n" + event(4, "BOOKMARK"))
    talk.watch.end()
    assert outcome(talk.watch.done) is None
    assert talk.listener.told == [
        "opened",
        "alive",
        ("ADDED", 1, 5.0),
        ("MODIFIED", 2, 5.0),
        "alive",
        ("DELETED", 3, 10.0),
        ("BOOKMARK", 4, 10.0),
    ]
    assert (talk.request.cancelled, talk.clock.getDelayedCalls()) == (0, [])


def test_an_error_event_is_the_servers_word() -> None:
    talk = Talk().open()
    talk.watch.data(event(1) + event(2, "ERROR", kind="Status", code=410, reason="Expired") + event(3))
    error = talk.error()
    assert isinstance(error, KubeError)
    assert error.expired
    assert talk.listener.events == [1]
    assert talk.request.cancelled == 1


def test_a_refused_watch() -> None:
    talk = Talk()
    talk.watch.head(410, Fields([(b"Retry-After", b"4")]))
    talk.watch.data(b'{"kind":"Status",')
    talk.watch.data(b'"reason":"Expired","message":"too old"}')
    talk.watch.end()
    error = talk.error()
    assert (error.code, error.message, error.retry_after) == (410, "too old", 4)
    assert talk.listener.told == []


def test_a_refusal_without_end() -> None:
    talk = Talk()
    talk.watch.head(500, Fields())
    for _ in range(3):
        talk.watch.data(b"x" * (REFUSAL_LIMIT // 2))
    assert talk.error().code == 500
    assert talk.request.cancelled == 1


def test_a_refusal_that_never_completes() -> None:
    talk = Talk()
    talk.watch.head(500, Fields())
    talk.clock.advance(31)
    assert talk.error().kind == "timeout"


def test_a_watch_that_is_not_answered() -> None:
    talk = Talk()
    talk.clock.advance(29)
    assert talk.request.cancelled == 0
    talk.clock.advance(1)
    assert (talk.error().kind, talk.request.cancelled) == ("timeout", 1)


def test_a_watch_that_breaks_off() -> None:
    talk = Talk().open()
    talk.watch.data(event(1))
    talk.watch.failed(UpstreamError("closed", "lost", "10.0.0.1 lost"))
    error = talk.error()
    assert isinstance(error, KubeUnreachable)
    assert (error.kind, error.message, error.detail) == ("closed", "lost", "10.0.0.1 lost")
    assert talk.listener.events == [1]


def test_a_watch_that_ends_within_an_event() -> None:
    talk = Talk().open()
    talk.watch.data(event(1) + event(2)[:-1])
    talk.watch.end()
    assert "middle of an event" in talk.error().message


@pytest.mark.parametrize(
    "line",
    [b"x", b"[]", b"{}", b'{"type":"ADDED"}', b'{"type":"ADDED","object":[]}', b'{"type":null,"object":{}}', b"\xff"],
)
def test_what_is_no_event(line: bytes) -> None:
    talk = Talk().open()
    talk.watch.data(event(1) + line + b"\n" + event(2))
    assert isinstance(talk.error(), BadEvent)
    assert (talk.listener.events, talk.request.cancelled) == ([1], 1)


def test_an_event_without_end() -> None:
    talk = Talk().open()
    for _ in range(30):
        talk.watch.data(b"x" * 50)
    assert isinstance(talk.error(), BadEvent)


def test_silence() -> None:
    talk = Talk(silence=10).open()
    for _ in range(5):
        talk.clock.advance(9)
        talk.watch.data(b"\n")
    assert talk.request.cancelled == 0
    talk.clock.advance(9.9)
    assert talk.request.cancelled == 0
    talk.clock.advance(0.2)
    error = talk.error()
    assert (error.kind, error.message) == ("silent", "the watch was silent for 10 s")
    assert talk.request.cancelled == 1


def test_silence_may_be_expected_later_or_no_longer() -> None:
    talk = Talk().open()
    talk.clock.advance(100)
    talk.watch.data(b"\n")
    talk.watch.expect(10)
    talk.clock.advance(9)
    talk.watch.expect(0)
    talk.clock.advance(100)
    assert talk.request.cancelled == 0
    talk.watch.data(b"\n")
    talk.watch.expect(10)
    talk.clock.advance(11)
    assert talk.error().kind == "silent"


def test_silence_counts_from_the_head_on() -> None:
    talk = Talk(silence=10)
    talk.clock.advance(20)
    talk.open()
    talk.clock.advance(9)
    assert talk.request.cancelled == 0
    talk.clock.advance(2)
    assert talk.error().kind == "silent"


def test_a_watch_that_does_not_end() -> None:
    talk = Talk().open()
    for _ in range(329):
        talk.clock.advance(1)
        talk.watch.data(b"\n")
    assert talk.request.cancelled == 0
    talk.clock.advance(1)
    assert talk.error().kind == "silent"


def test_many_events_at_once_leave_the_reactor_its_turns() -> None:
    talk = Talk().open()
    talk.watch.data(b"".join(event(number) for number in range(35)))
    assert 0 < len(talk.listener.events) <= 10
    assert talk.request.paused == [True]
    talk.watch.data(event(35))
    seen = len(talk.listener.events)
    while talk.request.paused[-1]:
        talk.clock.turn()
        assert len(talk.listener.events) - seen <= 10
        seen = len(talk.listener.events)
    assert talk.listener.events == list(range(36))
    assert talk.request.paused == [True, False]


def test_an_end_waits_for_the_events_before_it() -> None:
    talk = Talk().open()
    talk.watch.data(b"".join(event(number) for number in range(35)))
    talk.watch.end()
    assert not talk.watch.done.called
    for _ in range(5):
        talk.clock.advance(0)
    assert outcome(talk.watch.done) is None
    assert talk.listener.events == list(range(35))


def test_a_loss_ends_the_events_that_wait() -> None:
    """They come again: the watch is resumed from the last one that was told."""
    talk = Talk().open()
    talk.watch.data(b"".join(event(number) for number in range(35)))
    talk.watch.failed(UpstreamError("closed", "lost"))
    seen = len(talk.listener.events)
    assert talk.error().kind == "closed"
    talk.clock.advance(1)
    assert len(talk.listener.events) == seen


@pytest.mark.parametrize("moment", ["opened", "alive", "ADDED"])
def test_what_the_receiver_raises_ends_the_watch(moment: str) -> None:
    talk = Talk()
    talk.listener.fails = moment if moment == "ADDED" else moment[0]
    talk.open()
    talk.watch.data(event(1) + event(2))
    assert isinstance(talk.error(), RuntimeError)
    assert talk.request.cancelled == 1
    assert len(talk.listener.events) <= 1


@pytest.mark.parametrize("moment", ["start", "opened", "alive", "event", "pause"])
def test_cancelling_at_any_moment(moment: str) -> None:
    talk = Talk()
    talk.watch.done.addErrback(lambda failure: failure.trap(CancelledError))
    if moment in ("opened", "alive", "event"):
        count = {"opened": 1, "alive": 2, "event": 3}[moment]

        def cancel() -> None:
            if len(talk.listener.told) == count:
                talk.watch.done.cancel()

        talk.listener.then = cancel
    if moment == "start":
        talk.watch.done.cancel()
    talk.open()
    talk.watch.data(b"".join(event(number) for number in range(35)))
    if moment == "pause":
        talk.watch.done.cancel()
    told = len(talk.listener.told)
    talk.watch.data(event(99))
    talk.watch.end()
    talk.watch.failed(UpstreamError("closed", "lost"))
    talk.watch.expect(5)
    talk.clock.advance(1000)
    assert len(talk.listener.told) == told
    assert talk.request.cancelled == 1
    assert talk.clock.getDelayedCalls() == []


def test_a_request_that_fails_at_once() -> None:
    talk = Talk()
    watch = Watch(talk.listener, talk.clock, Pacer(talk.clock), head_timeout=30, lifetime=330)
    request = Asked(b"GET", b"/", (), b"", {})

    def start(sink: Any) -> Asked:
        sink.failed(UpstreamError("connect", "refused"))
        return request

    watch.start(start)
    assert outcome(watch.done).kind == "connect"
    assert request.cancelled == 1


def test_a_request_that_cannot_be_made() -> None:
    clock = Clock()
    watch = Watch(Listener(), clock, Pacer(clock), head_timeout=30, lifetime=330)

    def start(sink: Any) -> Asked:
        raise RuntimeError("no target")

    with pytest.raises(RuntimeError):
        watch.start(start)
    assert clock.getDelayedCalls() == []
