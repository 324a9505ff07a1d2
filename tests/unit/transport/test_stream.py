"""Streams on Twisted's transport: eager writes, producers, half-closes, ends."""

from __future__ import annotations

import gc
import ssl
import weakref
from typing import Any

import pytest
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from ksproxyd.testing import Authority, MemoryReactor, Peer
from ksproxyd.testing.reactor import address
from ksproxyd.transport.stream import Stream
from ksproxyd.transport.tls import TLSLayer

AUTHORITY = Authority()
ISSUED = AUTHORITY.issue("server.example")


class Recording(Stream):
    """Keeps what happens."""

    def __init__(self, tls: bool = False) -> None:
        self.data = b""
        self.ends = 0
        self.losses: list[Failure] = []
        self.failures: list[ssl.SSLError] = []
        self._tls = tls
        self.order: list[str] = []

    def opened(self) -> None:
        self.order.append("opened")
        if self._tls:
            self.start_tls(TLSLayer(ISSUED.server_context(), server_side=True), client=False)

    def secured(self) -> None:
        self.order.append("secured")

    def received(self, data: bytes) -> None:
        self.data += data

    def ended(self) -> None:
        self.ends += 1

    def lost(self, reason: Failure) -> None:
        self.losses.append(reason)

    def tls_failed(self, error: ssl.SSLError) -> None:
        self.failures.append(error)


class Producing:
    """A producer that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.told.append("resume")

    def stopProducing(self) -> None:
        self.told.append("stop")


def connect(stream: Recording, capacity: int = 1000, tls: bool = False) -> tuple[MemoryReactor, Peer]:
    reactor = MemoryReactor()
    _, socket = reactor.attach(stream, address("192.0.2.1", 1), address("192.0.2.2", 2), capacity)
    peer = Peer(reactor, socket)
    if tls:
        peer.start_tls(AUTHORITY.client_context(), server_side=False, server_name="server.example")
    reactor.settle()
    return reactor, peer


def test_a_write_reaches_the_kernel_at_once() -> None:
    stream = Recording()
    _, peer = connect(stream)
    stream.send(b"hello")
    assert peer.socket.waiting == 5
    assert stream.queued() == 0
    assert stream.transport not in stream.transport.reactor.getWriters()


def test_what_does_not_fit_is_queued_in_order() -> None:
    stream = Recording()
    reactor, peer = connect(stream, capacity=10)
    stream.send(b"0123456789abc")
    assert (peer.socket.waiting, stream.queued()) == (10, 3)
    # There is room again, but the queue is first.
    assert peer.socket.recv(10) == b"0123456789"
    stream.send(b"def")
    assert stream.queued() == 6
    reactor.settle()
    assert peer.take() == b"abcdef"
    assert stream.queued() == 0


def test_a_producer_is_paused_and_resumed() -> None:
    stream, producer = Recording(), Producing()
    reactor, peer = connect(stream)
    stream.set_producer(producer)
    stream.send(b"x" * 1000)
    assert producer.told == []
    peer.reading = False
    stream.send(b"x" * 100_000)
    assert producer.told == ["pause"]
    peer.reading = True
    reactor.settle()
    assert producer.told == ["pause", "resume"]
    assert len(peer.take()) == 101_000


def test_a_producer_that_came_late_is_paused_with_the_next_write() -> None:
    stream, producer = Recording(), Producing()
    reactor, peer = connect(stream)
    peer.reading = False
    stream.send(b"x" * 100_000)
    stream.set_producer(producer)
    stream.send(b"x")
    assert producer.told == ["pause"]
    other = Producing()
    stream.set_producer(other)
    stream.send(b"x")
    assert other.told == ["pause"]
    stream.clear_producer()
    stream.clear_producer()
    peer.reading = True
    reactor.settle()
    assert (producer.told, other.told) == (["pause"], ["pause"])


def test_a_producer_of_a_connection_that_is_lost() -> None:
    stream, producer = Recording(), Producing()
    _, peer = connect(stream)
    peer.reading = False
    stream.set_producer(producer)
    stream.send(b"x" * 100_000)
    peer.cut()
    assert producer.told == ["pause", "stop"]
    assert len(stream.losses) == 1
    stream.set_producer(producer)
    stream.send(b"into the void")
    assert stream.queued() == 0 or not stream.transport.connected


def test_pausing() -> None:
    stream = Recording()
    reactor, peer = connect(stream)
    stream.pause()
    peer.send(b"hello")
    assert stream.data == b""
    stream.resume()
    reactor.settle()
    assert stream.data == b"hello"


def test_a_fin_is_read_once() -> None:
    stream = Recording()
    reactor, peer = connect(stream)
    peer.finish()
    assert stream.ends == 1
    # Somebody's back-pressure ends only now.
    stream.pause()
    stream.resume()
    reactor.settle()
    assert stream.ends == 1
    stream.send(b"still")
    reactor.settle()
    assert peer.take() == b"still"
    stream.close()
    reactor.settle()
    assert stream.losses[0].check(ConnectionDone)


def test_half_close() -> None:
    stream = Recording()
    reactor, peer = connect(stream)
    stream.send(b"x" * 5000)
    stream.half_close()
    reactor.settle()
    assert len(peer.take()) == 5000
    assert peer.ended
    peer.send(b"more")
    assert stream.data == b"more"
    peer.finish()
    assert stream.ends == 1
    stream.close()
    reactor.settle()
    assert len(stream.losses) == 1
    assert not peer.reset


def test_close_sends_what_is_queued() -> None:
    stream = Recording()
    reactor, peer = connect(stream)
    peer.reading = False
    stream.send(b"x" * 5000)
    stream.close()
    stream.close()
    stream.send(b"too late")
    reactor.settle()
    assert not stream.losses
    peer.reading = True
    reactor.settle()
    assert peer.take() == b"x" * 5000
    assert peer.ended
    assert stream.losses[0].check(ConnectionDone)


def test_abort_drops_it() -> None:
    stream = Recording()
    reactor, peer = connect(stream)
    peer.reading = False
    stream.send(b"x" * 5000)
    stream.abort()
    stream.abort()
    stream.send(b"too late")
    reactor.settle()
    assert peer.reset
    assert stream.losses[0].check(ConnectionAborted)
    assert len(stream.losses) == 1


def test_nothing_is_written_behind_an_abort() -> None:
    stream = Recording()
    reactor, peer = connect(stream)
    stream.send(b"before")
    stream.abort()
    # The reset goes out with the reactor's next turn; until then the socket would take more.
    stream.send(b"after")
    assert peer.socket.waiting == 6
    reactor.settle()


def test_a_reset() -> None:
    stream = Recording()
    _, peer = connect(stream)
    peer.cut()
    assert stream.ends == 0
    assert stream.losses[0].check(ConnectionLost)


def test_a_dead_socket_is_found_on_the_reactors_turn() -> None:
    stream = Recording()
    reactor, peer = connect(stream)
    peer.socket._was_reset()
    stream.transport.socket._was_reset()
    stream.send(b"hello")
    assert stream.losses == [], "whoever writes is not surprised in the middle"
    reactor.settle()
    assert len(stream.losses) == 1


@pytest.mark.parametrize("leave", ["finish", "cut"])
def test_a_peer_that_leaves_while_nothing_is_read(leave: str) -> None:
    stream = Recording()
    _, peer = connect(stream)
    stream.pause()
    peer.send(b"more")
    assert not stream.peer_left()
    getattr(peer, leave)()
    assert stream.peer_left()
    assert stream.ends == 0


def test_taken_over() -> None:
    class Receiver:
        data = b""
        ends = 0
        losses = 0

        def received(self, data: bytes) -> None:
            self.data += data

        def ended(self) -> None:
            self.ends += 1

        def lost(self, reason: Failure) -> None:
            self.losses += 1

        def idle_timeout(self) -> None: ...

    for tls in (False, True):
        stream, receiver = Recording(tls), Receiver()
        reactor, peer = connect(stream, tls=tls)
        peer.send(b"one")
        stream.take_over(receiver)
        peer.send(b"two")
        peer.finish()
        assert (stream.data, stream.ends) == (b"one", 0)
        assert (receiver.data, receiver.ends, receiver.losses) == (b"two", 1, 0)
        stream.close()
        reactor.settle()
        assert (receiver.losses, len(stream.losses)) == (1, 1)


def test_tls() -> None:
    stream = Recording(tls=True)
    reactor, peer = connect(stream, tls=True)
    assert stream.order == ["opened", "secured"]
    peer.send(b"x" * 100_000)
    assert stream.data == b"x" * 100_000
    stream.send(b"y" * 100_000)
    reactor.settle()
    assert peer.take() == b"y" * 100_000
    stream.half_close()
    reactor.settle()
    assert peer.notified
    peer.send(b"z")
    assert stream.data.endswith(b"z")
    peer.finish()
    assert stream.ends == 1
    assert not stream.failures


def test_tls_that_is_cut_says_so() -> None:
    stream = Recording(tls=True)
    _, peer = connect(stream, tls=True)
    peer.truncate()
    assert stream.ends == 1
    assert stream.tls is not None
    assert not stream.tls.closed


def test_tls_that_fails() -> None:
    stream = Recording(tls=True)
    _, peer = connect(stream)
    peer.send(b"GET / HTTP/1.1\r\n\r\n")
    assert len(stream.failures) == 1
    assert len(stream.losses) == 1


def test_a_handshake_that_is_cut() -> None:
    stream = Recording(tls=True)
    _, peer = connect(stream)
    peer.finish()
    assert (stream.ends, len(stream.losses)) == (0, 1)


def test_nothing_keeps_a_lost_stream_alive() -> None:
    # Ten thousands of connections must not wait for the garbage collector.
    def lose(tls: bool) -> weakref.ref[Stream]:
        stream = Recording(tls)
        reactor, peer = connect(stream, tls=tls)
        stream.set_producer(Producing())
        peer.cut()
        found: weakref.ref[Stream] = weakref.ref(stream)
        assert not reactor.transports
        return found

    gc.disable()
    try:
        assert lose(False)() is None
        assert lose(True)() is None
    finally:
        gc.enable()


def test_a_stream_needs_a_reader() -> None:
    with pytest.raises(RuntimeError):
        Stream().received(b"x")


def test_defaults_close() -> None:
    class Plain(Stream):
        lost_for: Any = None

        def received(self, data: bytes) -> None: ...

        def lost(self, reason: Failure) -> None:
            self.lost_for = reason

    for act in ("ended", "timed_out"):
        reactor = MemoryReactor()
        stream = Plain()
        reactor.attach(stream, address("192.0.2.1", 1), address("192.0.2.2", 2))
        getattr(stream, act)()
        reactor.settle()
        assert stream.lost_for is not None
