"""Small messages wait for the end of the reactor's turn, and nothing is lost, changed or kept in between."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ksproxyd.transport.outbox import SMALL, Outbox, outbox
from tests.unit.transport.test_stream import Producing, Recording, connect


@pytest.fixture(autouse=True)
def collecting() -> Iterator[None]:
    outbox.collect()
    yield
    outbox.release()
    assert outbox.senders == []


class Telling(Recording):
    """Keeps what was queued when it was told to be backed up."""

    backlog = 0

    def backed_up(self) -> None:
        self.backlog = self.queued()


def test_small_messages_wait_and_leave_together() -> None:
    stream = Recording()
    _, peer = connect(stream)
    outbox.collect()
    stream.send(b"one, ")
    stream.send(b"two")
    assert (peer.socket.waiting, stream.queued()) == (0, 0)
    outbox.release()
    assert peer.socket.recv(100) == b"one, two"
    assert outbox.senders == []


def test_nothing_waits_outside_of_a_turn() -> None:
    stream = Recording()
    _, peer = connect(stream)
    outbox.release()
    stream.send(b"hello")
    assert peer.socket.waiting == 5


@pytest.mark.parametrize("size", [SMALL - 2, SMALL])
def test_a_large_piece_goes_at_once_behind_what_waits(size: int) -> None:
    stream = Recording()
    _, peer = connect(stream, capacity=10 * SMALL)
    outbox.collect()
    stream.send(b"one")
    stream.send(b"x" * size)
    assert peer.socket.recv(10 * SMALL) == b"one" + b"x" * size
    assert stream._held == b""


def test_what_the_kernel_does_not_take_is_queued_in_order() -> None:
    stream, producer = Telling(), Producing()
    reactor, peer = connect(stream, capacity=10)
    stream.set_producer(producer)
    outbox.collect()
    stream.send(b"0123456789")
    stream.send(b"abc")
    outbox.empty()
    assert (stream.queued(), stream.backlog) == (3, 0)
    stream.send(b"def")
    outbox.empty()
    assert stream.queued() == 6
    reactor.settle()
    assert peer.take() == b"0123456789abcdef"


def test_a_producer_is_paused_when_what_waited_does_not_fit() -> None:
    stream, producer = Recording(), Producing()
    reactor, peer = connect(stream, capacity=10)
    stream.set_producer(producer)
    for _ in range(5):
        outbox.collect()
        stream.send(b"x" * SMALL)
        outbox.release()
    assert producer.told == ["pause"]
    reactor.settle()
    assert producer.told == ["pause", "resume"]
    assert len(peer.take()) == 5 * SMALL


def test_a_stream_that_nobody_feeds_is_told_that_it_is_backed_up() -> None:
    stream = Telling()
    connect(stream, capacity=10)
    outbox.collect()
    stream.send(b"0123456789abc")
    assert stream.backlog == 0
    outbox.release()
    assert stream.backlog == 3


@pytest.mark.parametrize("end", ["close", "half_close"])
def test_what_waits_is_sent_before_the_end(end: str) -> None:
    stream = Recording()
    reactor, peer = connect(stream)
    outbox.collect()
    stream.send(b"last words")
    getattr(stream, end)()
    reactor.settle()
    assert peer.take() == b"last words"
    assert peer.socket.finished_by_peer


def test_what_waits_reaches_the_kernel_before_an_abort() -> None:
    stream = Recording()
    reactor, peer = connect(stream)
    outbox.collect()
    stream.send(b"half of it")
    stream.abort()
    assert peer.socket.waiting == 10
    reactor.settle()
    assert peer.socket.reset


def test_a_connection_that_is_lost_meanwhile() -> None:
    stream = Recording()
    reactor, peer = connect(stream)
    outbox.collect()
    stream.send(b"too late")
    peer.socket.close()
    outbox.release()
    reactor.settle()
    stream.send(b"later still")
    assert len(stream.losses) == 1


def test_what_waits_under_tls_is_sealed_in_order() -> None:
    stream = Recording(tls=True)
    reactor, peer = connect(stream, tls=True)
    outbox.collect()
    stream.send(b"one, ")
    stream.send(b"two")
    reactor.settle()
    assert peer.take() == b"one, two"


def test_one_that_fails_does_not_keep_the_others(logged_errors: Any) -> None:
    sent = []

    class Failing:
        def send_held(self) -> None:
            raise ZeroDivisionError

    class Fine:
        def send_held(self) -> None:
            sent.append(1)

    box = Outbox()
    box.senders += [Fine(), Failing(), Fine()]
    box.empty()
    assert (sent, box.senders) == ([1, 1], [])
    assert len(logged_errors.take()) == 1
