"""Back-pressure towards clients: memory stays bounded, nothing is lost, and writing at once is not overtaken."""

from __future__ import annotations

import pytest
from support_server import Feeder, Sink, get

from ksproxyd.model.message import Response
from ksproxyd.server.exchange import Exchange
from ksproxyd.testing import Authority, MemoryServer


def pattern(size: int) -> bytes:
    return b"".join(b"%08d" % number for number in range(size // 8))


@pytest.mark.parametrize(
    ("capacity", "tls"),
    [(1, False), *((capacity, tls) for capacity in (1000, 65536, 10_000_000) for tls in (False, True))],
)
def test_everything_arrives_in_order(capacity: int, tls: bool) -> None:
    body = pattern(16_000 if capacity == 1 else 4_000_000)
    authority = Authority()
    context = authority.issue("gateway.example").server_context() if tls else None

    def handle(exchange: Exchange) -> None:
        exchange.start(200, [], None)
        for begin in range(0, len(body), 50_000):
            exchange.write(body[begin : begin + 50_000])
            exchange.flush()
        exchange.finish()

    with MemoryServer(handle, tls=context) as server:
        client = server.connect(capacity=capacity, tls=authority.client_context() if tls else None)
        client.send(get() + get())
        assert client.answer().body == body
        assert client.answer().body == body
        assert client.open


@pytest.mark.parametrize("tls", [False, True])
def test_memory_is_bounded_by_the_reader(tls: bool) -> None:
    size = 50_000_000
    feeders: list[Feeder] = []
    authority = Authority()
    context = authority.issue("gateway.example").server_context() if tls else None

    def handle(exchange: Exchange) -> None:
        feeders.append(Feeder(exchange, size))
        feeders[-1].run()

    with MemoryServer(handle, tls=context) as server:
        client = server.connect(tls=authority.client_context() if tls else None)
        client.reading = False
        client.write(get())
        client.reading = tls
        server.reactor.settle()
        if tls:
            # The handshake needs both ends.
            client.reading = False
        (feeder,) = feeders
        read = 0
        for _ in range(10):
            assert client.transport.memory < 200_000
            client.reading = True
            client.turn()
            client.reading = False
            read += len(client.take())
            server.reactor.settle()
        assert feeder.pauses >= 1
        assert size - feeder.left - read < 400_000
        client.close()


def test_a_short_answer_never_waits_for_another_turn_of_the_reactor() -> None:
    with MemoryServer(lambda exchange: exchange.respond(Response(200, (), b"now"))) as server:
        client = server.connect()
        client.socket.send(get())
        server.reactor._turn()
        # The peer has its turn behind the reactor's events.
        assert client.answer().body == b"now"
        assert server.reactor.getWriters() == []


def test_what_is_written_at_once_does_not_overtake_what_is_queued() -> None:
    pieces = [b"a" * 1500, b"b" * 10, b"c" * 10]

    def handle(exchange: Exchange) -> None:
        exchange.start(200, [], 1520)
        for piece in pieces:
            exchange.write(piece)
            exchange.flush()
        exchange.finish()

    with MemoryServer(handle) as server:
        client = server.connect(capacity=1000)
        client.reading = False
        client.send(get())
        assert client.transport.memory > 500
        # Room in the kernel, but the queue goes first.
        client.socket.recv(1)
        client.reading = True
        server.reactor.settle()
        assert bytes(client.received).endswith(b"".join(pieces))


def test_a_producer_that_comes_late_is_paused_too() -> None:
    class Upload(Sink):
        paused = 0

        def pauseProducing(self) -> None:
            self.paused += 1

        def resumeProducing(self) -> None:
            self.paused -= 1

        def stopProducing(self) -> None:
            pass

    uploads: list[Upload] = []

    def handle(exchange: Exchange) -> None:
        uploads.append(Upload(exchange))
        exchange.start(200, [], None)
        exchange.write(b"x" * 200_000)
        exchange.flush()
        # Something is queued already when it begins.
        exchange.set_producer(uploads[-1])
        exchange.write(b"x")
        exchange.flush()

    with MemoryServer(handle) as server:
        client = server.connect()
        client.reading = False
        client.send(get())
        assert uploads[0].paused == 1
        client.reading = True
        server.reactor.settle()
        assert uploads[0].paused == 0
        uploads[0].exchange.finish()
        server.reactor.settle()
        assert len(client.answer().body) == 200_001


def test_a_producer_of_an_answer_that_is_over_hears_nothing() -> None:
    feeders: list[Feeder] = []

    def handle(exchange: Exchange) -> None:
        if exchange.path == b"/fed":
            feeders.append(Feeder(exchange, 10_000))
            feeders[-1].run()
        else:
            exchange.respond(Response(200, (), b"x" * 1_000_000))

    with MemoryServer(handle) as server:
        client = server.connect(capacity=1000)
        client.reading = False
        client.send(get("/fed") + get("/"))
        assert feeders[0].pauses == 0
        client.reading = True
        server.reactor.settle()
        assert len(client.answer().body) == 10_000
        assert len(client.answer().body) == 1_000_000
        assert feeders[0].pauses == 0
