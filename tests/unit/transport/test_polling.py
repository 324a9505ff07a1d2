"""The epoll reactor's iteration without a context around each event, on real descriptors."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.tcp import Connection

from ksproxyd.transport.outbox import MOST, outbox
from ksproxyd.transport.polling import poll_directly
from ksproxyd.transport.stream import Stream


class Receiving(Protocol):
    def __init__(self) -> None:
        self.data = b""
        self.lost = 0

    def dataReceived(self, data: bytes) -> None:
        if data == b"break":
            raise ZeroDivisionError
        self.data += data

    def connectionLost(self, reason: Any = None) -> None:
        self.lost += 1
        if self.data == b"break at the end":
            raise ZeroDivisionError


@pytest.fixture
def reactor() -> Iterator[Any]:
    reactor = EPollReactor()
    assert poll_directly(reactor)
    yield reactor
    for selectable in reactor.removeAll():
        if isinstance(selectable, Connection):
            selectable.abortConnection()
    reactor.runUntilCurrent()
    reactor._poller.close()


def attach(reactor: Any, protocol: Any = None) -> tuple[Any, socket.socket]:
    near, far = socket.socketpair()
    protocol = protocol or Receiving()
    transport = Connection(near, protocol, reactor)
    # A pair of UNIX sockets delays nothing, and says that it cannot.
    transport.setTcpNoDelay = lambda enabled: None  # type: ignore[method-assign]
    transport.connected = 1
    transport.protocol = protocol
    protocol.makeConnection(transport)
    transport.startReading()
    return protocol, far


def test_other_reactors_are_left_alone() -> None:
    assert not poll_directly(Clock())


def test_reading_and_writing(reactor: Any) -> None:
    protocol, far = attach(reactor)
    far.send(b"hello")
    reactor.doIteration(1)
    assert protocol.data == b"hello"
    protocol.transport.write(b"back")
    reactor.doIteration(1)
    assert far.recv(10) == b"back"
    far.close()


def test_nothing_to_do(reactor: Any) -> None:
    protocol, far = attach(reactor)
    reactor.doIteration(0)
    assert protocol.data == b""
    far.close()


def test_the_end(reactor: Any) -> None:
    protocol, far = attach(reactor)
    far.close()
    reactor.doIteration(1)
    assert protocol.lost == 1


def test_what_a_reader_raises_ends_its_connection_only(reactor: Any, logged_errors: Any) -> None:
    broken, far_broken = attach(reactor)
    fine, far_fine = attach(reactor)
    far_broken.send(b"break")
    far_fine.send(b"hello")
    reactor.doIteration(1)
    reactor.doIteration(0)
    assert (broken.lost, fine.lost, fine.data) == (1, 0, b"hello")
    assert len(logged_errors.take()) >= 1
    far_broken.close()
    far_fine.close()


def test_what_an_ending_raises_does_not_take_other_events_along(reactor: Any, logged_errors: Any) -> None:
    pairs = [attach(reactor) for _ in range(6)]
    for number, (protocol, far) in enumerate(pairs):
        protocol.data = b"break at the end" if number % 2 else b""
        far.close()
    reactor.doIteration(1)
    assert [protocol.lost for protocol, _ in pairs] == [1] * 6
    assert len(logged_errors.take()) == 3


def test_an_event_of_a_descriptor_that_was_closed_before_it(reactor: Any) -> None:
    first, far_first = attach(reactor)
    second, far_second = attach(reactor)

    def end_both(data: bytes) -> None:
        for protocol in (first, second):
            protocol.transport.stopReading()

    first.dataReceived = second.dataReceived = end_both  # type: ignore[method-assign]
    far_first.send(b"x")
    far_second.send(b"x")
    reactor.doIteration(1)
    assert (first.lost, second.lost) == (0, 0)
    far_first.close()
    far_second.close()


def test_streams_send_within_the_iteration(reactor: Any) -> None:
    class Echo(Stream):
        def received(self, data: bytes) -> None:
            self.send(data)
            held.append(self._held)

    held: list[bytes] = []
    pairs = [attach(reactor, Echo()) for _ in range(MOST + 3)]
    for number, (_, far) in enumerate(pairs):
        far.send(b"%d" % number)
    reactor.doIteration(1)
    assert sorted(held, key=int) == [b"%d" % number for number in range(MOST + 3)]
    for number, (_, far) in enumerate(pairs):
        assert far.recv(10, socket.MSG_DONTWAIT) == b"%d" % number
        far.close()
    assert outbox.senders == []
