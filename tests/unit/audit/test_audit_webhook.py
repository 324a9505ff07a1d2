"""The webhook: batches on their way, receivers in trouble, the end."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from ksproxyd.audit.event import Event, Place
from ksproxyd.audit.form import kubesphere_writer
from ksproxyd.audit.queue import FULL, REFUSED, STOPPED, TOO_OLD, Bounds
from ksproxyd.audit.webhook import Framing, Webhook, framing
from ksproxyd.audit.writing import Writing
from ksproxyd.kube.pacing import Pacer
from ksproxyd.model.message import Fields
from ksproxyd.upstream.client import Answer
from ksproxyd.upstream.errors import UpstreamError
from ksproxyd.upstream.target import Target

from .test_audit_forms import event

TARGET = Target("http", "audit.example", 8080)


@dataclass
class Delivery:
    timeout: float = 10.0
    retry_first: float = 1.0
    retry_most: float = 8.0
    give_up: float = 0.0
    refusals: int = 3


@dataclass
class Post:
    path: bytes
    headers: dict[bytes, bytes]
    body: bytes
    done: Deferred[Answer]
    cancelled: bool = False

    @property
    def ids(self) -> list[str]:
        return [item["AuditID"] for item in objects(self.body)]

    def answer(self, status: int) -> None:
        self.done.callback(Answer(status, Fields(), b""))

    def fail(self, kind: str = "timeout") -> None:
        self.done.errback(UpstreamError(kind, "no answer"))


@dataclass
class Receiver:
    """In a client's place."""

    posts: list[Post] = field(default_factory=list)

    def request(self, target: Target, method: bytes, path: bytes, headers: Any, body: bytes, **more: Any) -> Any:
        assert (target, method) == (TARGET, b"POST")

        def cancelled(_: Any) -> None:
            post.cancelled = True
            post.done.errback(UpstreamError("cancelled", "given up"))

        post = Post(path, dict(headers), body, Deferred(cancelled))
        self.posts.append(post)
        return post.done

    @property
    def open(self) -> list[Post]:
        return [post for post in self.posts if not post.done.called]


def objects(body: bytes) -> list[Any]:
    """JSON objects back to back."""
    found, text, at = [], body.decode(), 0
    while at < len(text):
        value, at = json.JSONDecoder().raw_decode(text, at)
        found.append(value)
    return found


class World:
    def __init__(self, frame: str = "concatenated", senders: int = 3, **bounds: Any) -> None:
        self.clock = Clock()
        self.receiver = Receiver()
        self.delivery = Delivery()
        self.made = 0
        limits = {"events": 1000, "batch": 2, "interval": 3.0, **bounds}
        self.hook = Webhook(
            self.clock,
            self.receiver,  # type: ignore[arg-type]
            TARGET,
            b"/audit?x=1",
            Writing(kubesphere_writer(Place()), self.clock, lambda: Pacer(self.clock, timer=self.clock.seconds)),
            framing(frame, "kubesphere"),
            Bounds(**limits),
            senders,
            self.delivery,
            lambda: 0.0,
        )

    def put(self, count: int) -> None:
        for _ in range(count):
            made = event(id=str(self.made))
            made.weigh()
            self.made += 1
            self.hook.queue.put(made)
        self.clock.advance(0)

    def names(self) -> list[str]:
        return [name for post in self.receiver.posts for name in post.ids]

    @property
    def dropped(self) -> dict[str, int]:
        return dict(self.hook.queue.dropped)


def test_three_events_of_a_batch_are_three_objects_back_to_back() -> None:
    """Fact T62."""
    world = World(batch=3)
    world.put(3)
    (post,) = world.receiver.posts
    assert post.path == b"/audit?x=1"
    assert post.headers[b"Content-Type"] == b"application/json"
    assert post.body.startswith(b'{"Workspace":') and post.body.count(b'}{"Workspace":') == 2
    assert post.ids == ["0", "1", "2"]
    post.answer(200)
    assert (world.hook.queue.delivered, world.hook.queue.events, world.hook.in_flight) == (3, 0, 0)
    assert world.clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("name", "format", "wanted"),
    [
        ("auto", "kubesphere", b"12"),
        ("auto", "kubernetes", b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[1,2]}'),
        ("list", "kubesphere", b"[1,2]"),
        ("list", "kubernetes", b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[1,2]}'),
        ("lines", "kubesphere", b"1\n2\n"),
        ("concatenated", "kubernetes", b"12"),
    ],
)
def test_framings(name: str, format: str, wanted: bytes) -> None:
    frame: Framing = framing(name, format)
    assert frame.before + frame.between.join([b"1", b"2"]) + frame.after == wanted
    assert frame.content_type == (b"application/x-ndjson" if name == "lines" else b"application/json")


def test_no_more_than_the_senders_are_on_their_way() -> None:
    world = World(senders=2)
    world.put(10)
    assert len(world.receiver.open) == 2
    world.receiver.open[0].answer(204)
    assert len(world.receiver.open) == 2
    while world.receiver.open:
        world.receiver.open[0].answer(200)
    assert sorted(map(int, world.names())) == list(range(10))
    assert world.hook.queue.delivered == 10


@pytest.mark.parametrize("trouble", ["500", "503", "429", "timeout"])
def test_what_is_not_taken_is_sent_again_one_at_a_time_until_it_is(trouble: str) -> None:
    """Fact T63."""
    world = World(senders=3)
    world.put(10)
    assert len(world.receiver.open) == 3
    for post in world.receiver.open:
        post.answer(int(trouble)) if trouble.isdecimal() else post.fail()
    assert world.receiver.open == []
    assert world.hook.queue.events == 10
    for wait in (1, 2, 4, 8, 8):
        world.clock.advance(wait - 0.01)
        assert world.receiver.open == []
        world.clock.advance(0.02)
        (post,) = world.receiver.open
        post.fail()
    world.clock.advance(8.1)
    world.receiver.open[0].answer(200)
    assert len(world.receiver.open) == 3, "it takes them again: as many as may be"
    while world.receiver.open:
        world.receiver.open[0].answer(200)
    assert (world.hook.queue.delivered, world.dropped) == (10, {})
    assert set(map(int, world.names())) == set(range(10))
    assert world.hook.failures == 8
    assert world.clock.getDelayedCalls() == []


def test_a_stalled_receiver_costs_bounded_memory_and_the_rest_arrives() -> None:
    world = World(senders=3, events=20)
    world.put(200)
    assert world.hook.queue.events == 20
    assert world.dropped == {FULL: 180}
    for post in world.receiver.open:
        post.fail()
    world.clock.advance(1)
    while world.receiver.open:
        world.receiver.open[0].answer(200)
    assert world.hook.queue.delivered == 20
    world.put(2)
    world.receiver.open[0].answer(200)
    assert world.hook.queue.delivered == 22


def test_a_batch_that_is_refused_is_dropped_after_some_attempts_and_others_go_on() -> None:
    world = World(senders=1)
    world.put(2)
    for _ in range(3):
        world.put(0)
        world.receiver.open[0].answer(400)
        world.clock.advance(10)
    assert world.dropped == {REFUSED: 2}
    world.put(2)
    world.receiver.open[0].answer(200)
    assert world.hook.queue.delivered == 2


def test_a_batch_that_always_fails_does_not_hold_the_others_up() -> None:
    world = World(senders=1)
    world.put(6)
    poison = ["0", "1"]
    for _ in range(40):
        for post in world.receiver.open:
            post.answer(500 if post.ids == poison else 200)
        world.clock.advance(1)
    assert world.hook.queue.delivered == 4
    assert world.hook.queue.events == 2


def test_too_old() -> None:
    world = World(senders=1)
    world.delivery.give_up = 20.0
    world.put(2)
    for _ in range(100):
        for post in world.receiver.open:
            post.fail()
        world.clock.advance(1)
    assert world.dropped == {TOO_OLD: 2}
    assert world.receiver.open == []


def test_the_end_sends_what_waits() -> None:
    world = World(batch=10)
    world.put(3)
    assert world.receiver.posts == []
    ended = world.hook.stop(5.0)
    (post,) = world.receiver.open
    assert not ended.called
    post.answer(200)
    assert ended.called
    assert (world.hook.queue.delivered, world.clock.getDelayedCalls()) == (3, [])


def test_the_end_tries_at_once_what_was_waiting_for_its_turn() -> None:
    world = World(senders=1)
    world.put(2)
    world.receiver.open[0].fail()
    assert world.receiver.open == []
    ended = world.hook.stop(5.0)
    world.receiver.open[0].answer(200)
    assert ended.called


def test_the_end_does_not_wait_for_ever() -> None:
    world = World(senders=2)
    world.put(9)
    ended = world.hook.stop(5.0)
    assert len(world.receiver.open) == 2
    world.clock.advance(4.9)
    assert not ended.called
    world.clock.advance(0.2)
    assert ended.called
    assert all(post.cancelled for post in world.receiver.posts)
    assert world.dropped == {STOPPED: 9}
    assert (world.hook.queue.events, world.clock.getDelayedCalls()) == (0, [])
    world.put(1)
    assert world.dropped == {STOPPED: 10}


def test_an_end_with_nothing_to_do_is_over_at_once() -> None:
    world = World()
    assert world.hook.stop(5.0).called
    assert world.clock.getDelayedCalls() == []


def test_an_event_that_cannot_be_written_does_not_keep_the_others(logged_errors: Any) -> None:
    world = World(batch=2)
    broken: Event = event(id="x", received=float("nan"))
    broken.weigh()
    world.hook.queue.put(broken)
    world.put(1)
    (post,) = world.receiver.posts
    assert post.ids == ["0"]
    (said,) = logged_errors.take()
    assert "cannot be written" in said["log_format"]
