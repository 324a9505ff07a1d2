"""Connections to one target: who gets which, how long they are kept, and who waits for how long."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support_gate import PLAIN, RawBackend, ok
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ksproxyd.testing import MemoryDialer, MemoryReactor
from ksproxyd.transport.wheel import Wheel
from ksproxyd.upstream.answer import AnswerHead, Item
from ksproxyd.upstream.errors import UpstreamError
from ksproxyd.upstream.http1 import UpstreamConnection
from ksproxyd.upstream.pool import Pool, UpstreamTimeouts

PLACE = ("backend.example", 80)


class Sink:
    """Keeps an answer."""

    def __init__(self) -> None:
        self.body = b""
        self.ended = False
        self.failure: UpstreamError | None = None

    def interim(self, status: int, items: list[Item]) -> None: ...

    def head(self, head: AnswerHead) -> None: ...

    def data(self, data: bytes) -> None:
        self.body += data

    def flush(self) -> None: ...

    def end(self) -> None:
        self.ended = True

    def switched(self, items: list[Item], rest: bytes) -> None: ...

    def failed(self, reason: UpstreamError) -> None:
        self.failure = reason


class World:
    """A pool, its backend and time."""

    def __init__(self, *, max_idle: int = 100, max_connections: int = 0, **timeouts: float) -> None:
        self.reactor = MemoryReactor()
        self.wheel = Wheel(self.reactor)
        self.wheel.start()
        self.dialer = MemoryDialer(self.reactor)
        self.backend = RawBackend()
        self.dialer.serve("http://backend.example", self.backend)  # type: ignore[arg-type]
        self.emptied: list[Pool] = []
        self.pool = Pool(
            PLAIN, self.dialer, self.wheel, UpstreamTimeouts(**timeouts), max_idle, max_connections, self.emptied.append
        )

    def ask(self, fresh: bool = False) -> Asked:
        asked = Asked(self.pool.dial(fresh))
        self.reactor.settle()
        return asked

    def connect(self) -> UpstreamConnection:
        """A connection in use."""
        connection = self.ask().connection
        connection.begin(Sink(), b"GET / HTTP/1.1\r\n\r\n", bodiless=False, complete=True)
        return connection

    def answer(self, connection: UpstreamConnection, data: bytes = ok(b"x")) -> None:
        """Answer the request on ``connection``."""
        for peer in self.backend.peers:
            if peer.socket._other is connection.transport.socket:
                peer.send(data)
                return
        raise AssertionError("no such connection")

    def idle(self, count: int) -> list[UpstreamConnection]:
        """So many connections that have served a request, in the order in which they became idle."""
        connections = [self.connect() for _ in range(count)]
        for connection in connections:
            self.answer(connection)
        assert self.pool.idle == count
        return connections


class Asked:
    """What became of a wish for a connection."""

    def __init__(self, deferred: Deferred[UpstreamConnection]) -> None:
        self.deferred = deferred
        self.results: list[Any] = []
        deferred.addBoth(self.results.append)

    @property
    def waiting(self) -> bool:
        return not self.results

    @property
    def connection(self) -> UpstreamConnection:
        (result,) = self.results
        assert isinstance(result, UpstreamConnection), result
        return result

    @property
    def kind(self) -> str:
        (result,) = self.results
        assert isinstance(result, Failure), result
        assert isinstance(result.value, UpstreamError), result
        return result.value.kind


@pytest.fixture
def world() -> World:
    return World()


def test_latest_first(world: World) -> None:
    first, second, third = world.idle(3)
    taken = [world.pool.take() for _ in range(3)]
    assert taken == [third, second, first]
    assert world.pool.take() is None
    assert world.pool.size == 3


def test_unused_ones_grow_old() -> None:
    world = World(upstream_idle=10.0)
    first, second = world.idle(2)
    for _ in range(6):
        # The latest is used all the time.
        world.reactor.wait(3.0)
        connection = world.pool.take()
        assert connection is second
        connection.begin(Sink(), b"GET / HTTP/1.1\r\n\r\n", bodiless=False, complete=True)
        world.answer(connection)
    assert (world.pool.size, world.pool.idle) == (1, 1)
    assert not first.transport.connected
    world.reactor.wait(13.0)
    assert world.pool.size == 0
    assert world.pool.stale == 0
    assert world.emptied == [world.pool]


def test_unused_ones_are_not_kept_where_they_should_not_be() -> None:
    world = World(upstream_idle=0.0)
    connection = world.connect()
    world.answer(connection)
    assert world.pool.size == 0


def test_only_so_many_are_kept() -> None:
    world = World(max_idle=2)
    connections = [world.connect() for _ in range(4)]
    for connection in connections:
        world.answer(connection)
    assert (world.pool.size, world.pool.idle) == (2, 2)
    assert world.pool.take() is connections[1]


def test_an_idle_one_that_the_backend_closes_is_not_taken(world: World) -> None:
    first, second = world.idle(2)
    world.backend.peers[1].finish()
    assert world.pool.idle == 1
    assert world.pool.take() is first
    assert not second.transport.connected


def test_an_idle_one_that_is_closing_is_not_taken(world: World) -> None:
    """Between our close and its effect."""
    first, second = world.idle(2)
    second.close()
    assert world.pool.take() is first


def test_a_failed_attempt_counts(world: World) -> None:
    world.dialer.refusing.add(PLACE)
    assert world.ask().kind == "connect"
    assert (world.pool.size, world.pool.dials, world.pool.dial_failures) == (0, 1, 1)
    assert world.emptied == [world.pool]


def test_giving_up_an_attempt(world: World) -> None:
    world.dialer.silent.add(PLACE)
    asked = world.ask()
    asked.deferred.cancel()
    assert asked.kind == "cancelled"
    assert (world.pool.size, world.pool.dial_failures) == (0, 0)
    world.reactor.wait(20.0)
    assert not world.backend.peers


def test_closed_pools_finish_what_has_begun(world: World) -> None:
    busy = world.connect()
    (idle,) = world.idle(1)
    world.pool.close()
    world.reactor.settle()
    assert not idle.transport.connected
    assert busy.transport.connected
    world.answer(busy)
    assert not busy.transport.connected
    assert world.pool.size == 0
    # Whoever still holds it can go on.
    world.answer(world.connect())
    assert world.pool.size == 0


class TestLimit:
    """As many connections as are allowed."""

    @pytest.fixture
    def full(self) -> Iterator[World]:
        """Two connections are allowed and in use."""
        world = World(max_connections=2, connect=10.0)
        world.busy = [world.connect(), world.connect()]  # type: ignore[attr-defined]
        yield world
        assert world.pool.size <= 2

    def test_waiters_are_served_in_order(self, full: Any) -> None:
        asked = [full.ask() for _ in range(3)]
        assert all(a.waiting for a in asked)
        assert full.pool.waiting == 3
        full.answer(full.busy[1])
        assert asked[0].connection is full.busy[1]
        assert asked[1].waiting
        full.answer(full.busy[0])
        assert asked[1].connection is full.busy[0]
        assert asked[2].waiting
        assert full.pool.dials == 2
        asked[2].deferred.cancel()
        assert asked[2].kind == "cancelled"

    def test_whoever_gives_up_loses_no_connection(self, full: Any) -> None:
        first, second, third = (full.ask() for _ in range(3))
        second.deferred.cancel()
        assert second.kind == "cancelled"
        full.answer(full.busy[0])
        full.answer(full.busy[1])
        assert first.connection is full.busy[0]
        assert third.connection is full.busy[1]
        assert full.pool.waiting == 0

    def test_a_waiter_that_no_longer_needs_it_hands_it_on(self, full: Any) -> None:
        """Its client left in the turn in which the connection came."""
        first, second = full.ask(), full.ask()
        full.answer(full.busy[0])
        full.pool.give_back(first.connection)
        assert second.connection is first.connection

    def test_a_lost_connection_makes_room(self, full: Any) -> None:
        asked = full.ask()
        full.backend.peers[0].cut()
        assert asked.connection not in full.busy
        assert full.pool.dials == 3
        assert full.pool.size == 2

    def test_giving_up_while_it_is_connected_for(self, full: Any) -> None:
        first, second = full.ask(), full.ask()
        full.dialer.silent.add(PLACE)
        full.backend.peers[0].cut()
        assert full.pool.dials == 3
        assert first.waiting
        full.dialer.silent.clear()
        first.deferred.cancel()
        assert first.kind == "cancelled"
        full.reactor.settle()
        # The next in the queue gets the place.
        assert second.connection not in full.busy
        assert full.pool.size == 2

    def test_patience(self, full: Any) -> None:
        asked = full.ask()
        full.reactor.wait(9.0)
        assert asked.waiting
        full.reactor.wait(3.0)
        assert asked.kind == "timeout"
        full.answer(full.busy[0])
        assert full.pool.idle == 1

    def test_failures_are_each_waiters_own(self, full: Any) -> None:
        asked = [full.ask() for _ in range(3000)]
        full.dialer.refusing.add(PLACE)
        # Two places, and every attempt fails: the queue empties without one inside the other.
        full.backend.peers[0].cut()
        assert [a.kind for a in asked] == ["connect"] * 3000
        assert full.pool.size == 1

    def test_failures_at_once_do_not_nest(self, full: Any) -> None:
        """A dialer may also fail before it returns."""
        asked = [full.ask() for _ in range(3000)]

        def dial(*args: Any) -> Deferred[Any]:
            failed: Deferred[Any] = Deferred()
            failed.errback(OSError("no more sockets"))
            return failed

        full.dialer.dial = dial
        full.backend.peers[0].cut()
        assert [a.kind for a in asked] == ["connect"] * 3000
        assert full.pool.size == 1

    def test_who_needs_a_fresh_one_gets_a_fresh_one(self, full: Any) -> None:
        tunnel, request = full.ask(fresh=True), full.ask()
        full.answer(full.busy[0])
        assert tunnel.connection not in full.busy
        assert request.waiting
        full.answer(full.busy[1])
        assert request.connection is full.busy[1]

    def test_idle_ones_make_room_for_a_fresh_one(self) -> None:
        world = World(max_connections=2)
        oldest, newest = world.idle(2)
        tunnel = world.ask(fresh=True)
        assert tunnel.connection not in (oldest, newest)
        assert not oldest.transport.connected
        assert newest.transport.connected
        assert world.pool.size == 2

    def test_a_raised_limit_counts_at_once(self, full: Any) -> None:
        asked = full.ask()
        full.pool.max_connections = 3
        full.pool.serve_waiting()
        full.reactor.settle()
        assert asked.connection not in full.busy
        assert full.pool.size == 3
        asked.connection.abort()
        full.reactor.settle()
