"""Every timeout of the server's by its name, and what does not count against a client."""

from __future__ import annotations

import pytest
from support_server import Feeder, Later, Sink, chunked, get, path_back, post

from ksproxyd.model.message import Response
from ksproxyd.server.exchange import Exchange
from ksproxyd.server.limits import Timeouts
from ksproxyd.testing import Authority, MemoryServer

#: A deadline is met within one turn of the wheel.
LATE = 1.5


def test_a_connection_that_says_nothing() -> None:
    with MemoryServer(path_back, timeouts=Timeouts(header=10, idle=120)) as server:
        client = server.connect()
        server.wait(9)
        assert client.open
        server.wait(1 + LATE)
        assert not client.open
        assert not client.received
        assert not client.reset
        assert server.server.counters.timeouts == {"idle": 1}


def test_a_connection_between_requests() -> None:
    with MemoryServer(path_back, timeouts=Timeouts(idle=120)) as server:
        client = server.connect()
        client.send(get())
        assert client.answer().status == 200
        server.wait(100)
        client.send(get())
        assert client.answer().status == 200
        server.wait(119)
        assert client.open
        server.wait(1 + LATE)
        assert not client.open
        assert not client.reset
        assert server.server.counters.timeouts == {"idle": 1}


def test_a_head_that_drips_in() -> None:
    with MemoryServer(path_back, timeouts=Timeouts(header=10)) as server:
        client = server.connect()
        head = get("/", "X: " + "x" * 1000)
        for byte in head[:22]:
            client.send(bytes([byte]))
            server.wait(0.5)
        # Every byte was soon behind the one before; it is the whole that takes too long.
        answer = client.answer()
        assert answer.status == 408
        assert "head" in answer.message()
        assert not client.open
        assert not client.reset
        assert server.server.counters.timeouts == {"header": 1}
        assert not server.handled


def test_a_head_that_drips_in_behind_another_request() -> None:
    later = Later()
    with MemoryServer(later, timeouts=Timeouts(header=10)) as server:
        client = server.connect()
        client.send(get("/first") + b"GET /sec")
        server.wait(10 + LATE)
        assert not client.received
        later.last.respond(Response(200))
        server.reactor.settle()
        assert [client.answer().status, client.answer().status] == [200, 408]
        assert not client.open


def test_the_time_for_a_head_runs_on_while_the_answer_before_it_is_not_read() -> None:
    feeders: list[Feeder] = []

    def handle(exchange: Exchange) -> None:
        feeders.append(Feeder(exchange, 1_000_000))
        feeders[-1].run()

    with MemoryServer(handle, timeouts=Timeouts(header=10, idle=1000)) as server:
        client = server.connect()
        client.reading = False
        client.send(get("/first"))
        client.send(b"GET /sec")
        server.wait(5)
        client.reading = True
        server.reactor.settle()
        assert len(client.answer().body) == 1_000_000
        assert client.open
        server.wait(5 + LATE)
        assert client.answer().status == 408


def test_blank_lines_are_no_request() -> None:
    with MemoryServer(path_back, timeouts=Timeouts(header=10, idle=120)) as server:
        client = server.connect()
        client.send(get())
        assert client.answer().status == 200
        for _ in range(4):
            client.send(b"\r\n")
            server.wait(30)
        server.wait(LATE)
        assert not client.open
        assert client.nothing_more()
        assert server.server.counters.timeouts == {"idle": 1}


@pytest.mark.parametrize("request_", [post(b"hello"), chunked([b"hello"])])
def test_a_body_that_stops(request_: bytes) -> None:
    sinks: list[Sink] = []
    with MemoryServer(lambda exchange: sinks.append(Sink(exchange)), timeouts=Timeouts(body=60)) as server:
        client = server.connect()
        client.send(request_[:-2])
        server.wait(59)
        client.send(request_[-2:-1])
        server.wait(59)
        assert not sinks[0].aborted
        server.wait(1 + LATE)
        answer = client.answer()
        assert answer.status == 408
        assert "body" in answer.message()
        assert sinks[0].aborted == 1
        assert not client.open
        assert server.server.counters.timeouts == {"body": 1}


def test_a_body_that_stops_while_it_is_dropped() -> None:
    with MemoryServer(path_back, timeouts=Timeouts(body=60)) as server:
        client = server.connect()
        client.send(post(b"hello")[:-2])
        assert client.answer().status == 200
        # There is no need to be patient with bytes nobody wants.
        for _ in range(3):
            server.wait(20)
            client.send(b"")
        server.wait(LATE)
        assert not client.open
        assert client.nothing_more()
        assert not client.reset


def test_a_handler_may_take_its_time() -> None:
    later = Later()
    with MemoryServer(later, timeouts=Timeouts(header=1, idle=1, body=1, write=1, linger=1)) as server:
        client = server.connect()
        client.send(get())
        server.wait(5000)
        later.last.respond(Response(200))
        server.reactor.settle()
        assert client.answer().status == 200
        assert not server.server.counters.timeouts


def test_a_client_that_does_not_read() -> None:
    feeders: list[Feeder] = []

    def handle(exchange: Exchange) -> None:
        feeders.append(Feeder(exchange, 10_000_000))
        feeders[-1].run()

    with MemoryServer(handle, timeouts=Timeouts(write=60)) as server:
        client = server.connect()
        client.reading = False
        client.send(get())
        (feeder,) = feeders
        assert feeder.paused
        written = 10_000_000 - feeder.left
        assert written < 300_000
        assert client.transport.memory < 200_000
        server.wait(59)
        assert client.transport.connected
        # A little progress is progress.
        client.socket.recv(10_000)
        server.wait(59)
        assert client.transport.connected
        server.wait(62)
        assert not client.transport.connected
        assert server.server.counters.timeouts == {"write": 1}
        assert server.finished[0].status == 200


def test_a_client_that_does_not_read_an_answer_that_is_complete() -> None:
    with MemoryServer(
        lambda exchange: exchange.respond(Response(200, (), b"x" * 1_000_000)), timeouts=Timeouts(write=60, idle=100)
    ) as server:
        client = server.connect()
        client.reading = False
        client.send(get())
        assert len(server.finished) == 1
        server.wait(58)
        client.socket.recv(65536)
        server.wait(59)
        assert client.transport.connected
        server.wait(60 + LATE)
        assert not client.transport.connected
        assert server.server.counters.timeouts == {"write": 1}


def test_a_client_that_sends_and_does_not_read() -> None:
    def handle(exchange: Exchange) -> None:
        Feeder(exchange, 10_000_000).run()
        Sink(exchange)

    with MemoryServer(handle, timeouts=Timeouts(write=20)) as server:
        client = server.connect()
        client.reading = False
        client.send(get("/", "Content-Length: 1000000", method="POST"))
        for _ in range(25):
            client.send(b"x")
            server.wait(1)
        assert not client.transport.connected
        assert server.server.counters.timeouts == {"write": 1}


def test_a_slow_reader_gets_everything_and_then_the_usual_time() -> None:
    with MemoryServer(
        lambda exchange: exchange.respond(Response(200, (), b"x" * 1_000_000)), timeouts=Timeouts(write=10, idle=100)
    ) as server:
        client = server.connect()
        client.reading = False
        client.send(get())
        taken = 0
        while client.transport.memory:
            server.wait(9)
            taken += len(client.socket.recv(65536))
            server.reactor.settle()
        client.reading = True
        server.reactor.settle()
        assert taken + len(client.received) > 1_000_000
        server.wait(99)
        assert client.open
        server.wait(11 + LATE)
        assert not client.open
        assert server.server.counters.timeouts == {"idle": 1}


@pytest.mark.parametrize("reads", [True, False])
def test_the_last_answer_is_waited_for(reads: bool) -> None:
    with MemoryServer(
        lambda exchange: exchange.respond(Response(200, (), b"x" * 1_000_000)), timeouts=Timeouts(write=60)
    ) as server:
        client = server.connect()
        client.reading = False
        client.send(get("/", "Connection: close"))
        server.wait(59)
        client.reading = reads
        server.wait(1 + LATE)
        if reads:
            assert len(client.answer().body) == 1_000_000
            assert not client.reset
        assert not client.transport.connected
        assert server.server.counters.timeouts == ({} if reads else {"write": 1})


def test_the_last_answer_is_waited_for_behind_a_refusal() -> None:
    # The answer is larger than what the kernel takes at once, and the rest of the body keeps coming.
    with MemoryServer(
        lambda exchange: exchange.respond(Response(400, (), b"x" * 1_000_000)), timeouts=Timeouts(write=60, linger=2)
    ) as server:
        client = server.connect()
        client.reading = False
        client.send(get("/", "Transfer-Encoding: chunked", method="POST") + b"ffffff\r\n")
        for _ in range(20):
            client.write(b"x" * 1000)
            server.wait(2)
        client.reading = True
        server.wait(1)
        assert len(client.answer().body) == 1_000_000
        server.wait(2 + LATE)
        assert not client.transport.connected
        assert server.server.counters.timeouts == {"linger": 1}


def test_a_client_that_goes_after_a_refusal_is_not_waited_for() -> None:
    with MemoryServer(path_back) as server:
        client = server.connect()
        client.send(b"GET / HTTP/1.1\r\n\r\n")
        assert client.answer().status == 400
        assert client.transport.connected
        client.finish()
        assert not client.transport.connected
        assert not server.server.counters.timeouts


def test_a_handshake_that_takes_too_long() -> None:
    context = Authority().issue("gateway.example").server_context()
    with MemoryServer(path_back, tls=context, timeouts=Timeouts(tls_handshake=5, header=100)) as server:
        client = server.connect()
        # The beginning of a record, and nothing more.
        client.send(b"\x16\x03\x01\x02\x00\x01")
        server.wait(5 + LATE)
        assert not client.transport.connected
        assert server.server.counters.timeouts == {"tls_handshake": 1}
