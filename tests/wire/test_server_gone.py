"""Clients that leave: the work behind them ends, once, and is counted."""

from __future__ import annotations

from typing import Any

import pytest
from support_server import Feeder, Later, Sink, chunked, get, path_back, post

from ksproxyd.model.message import Response
from ksproxyd.server.exchange import CLIENT_GONE, Exchange
from ksproxyd.server.reading import LOOK
from ksproxyd.testing import Client, MemoryServer

LEAVING = [Client.close, Client.cut, Client.finish]


@pytest.mark.parametrize("leave", LEAVING)
@pytest.mark.parametrize("request_", [get(), post(b"hello"), post(b"hello")[:-1], chunked([b"x"], end=b"")])
def test_before_the_answer(leave: Any, request_: bytes) -> None:
    later = Later()
    with MemoryServer(later) as server:
        client = server.connect()
        client.send(request_)
        leave(client)
        # Where the body is not wanted yet nothing is read, and it takes a look now and then to see it.
        server.wait(0 if later.last.body_done else LOOK + 1.5)
        exchange = later.last
        assert later.gone == [exchange]
        assert server.finished == [exchange]
        assert (exchange.status, exchange.finished) == (CLIENT_GONE, True)
        # Whoever answers now need not know.
        exchange.respond(Response(200, (), b"too late"))
        exchange.start(200, [], None)
        exchange.write(b"x")
        exchange.flush()
        exchange.finish()
        exchange.abort()
        exchange.interim(103)
        assert exchange.status == CLIENT_GONE
        assert (exchange.sent, server.finished) == (0, [exchange])


@pytest.mark.parametrize("leave", LEAVING)
def test_in_the_middle_of_the_answer(leave: Any) -> None:
    feeders: list[Feeder] = []
    gone: list[Exchange] = []

    def handle(exchange: Exchange) -> None:
        exchange.on_gone = lambda: gone.append(exchange)
        feeders.append(Feeder(exchange, 1_000_000))
        feeders[-1].run()

    with MemoryServer(handle) as server:
        client = server.connect()
        client.reading = False
        client.send(get())
        leave(client)
        assert gone == [feeders[0].exchange]
        assert (gone[0].status, len(server.finished)) == (200, 1)


@pytest.mark.parametrize("leave", LEAVING)
def test_in_the_middle_of_the_body(leave: Any) -> None:
    sinks: list[Sink] = []
    with MemoryServer(lambda exchange: sinks.append(Sink(exchange))) as server:
        client = server.connect()
        client.send(post(b"hello")[:-1])
        leave(client)
        assert (sinks[0].aborted, sinks[0].complete) == (1, 0)
        assert server.finished[0].status == CLIENT_GONE


def test_with_requests_that_wait() -> None:
    later = Later()
    with MemoryServer(later) as server:
        client = server.connect()
        client.send(get("/1") + get("/2") + post(b"x", "/3"))
        client.close()
        server.wait(LOOK + 1.5)
        # Those that had not begun reached nobody, and nobody hears of their end.
        assert [exchange.path for exchange in later.exchanges] == [b"/1"]
        assert later.gone == server.finished == later.exchanges


def test_after_the_answer_nobody_is_told() -> None:
    later = Later()
    with MemoryServer(later) as server:
        client = server.connect()
        client.send(get())
        later.last.respond(Response(200))
        client.close()
        assert later.gone == []
        assert later.last.status == 200
        assert len(server.finished) == 1


@pytest.mark.parametrize("leave", LEAVING)
def test_in_the_middle_of_a_head(leave: Any) -> None:
    with MemoryServer(path_back) as server:
        client = server.connect()
        client.send(get()[:20])
        leave(client)
        assert not server.finished
        assert not client.transport.connected


def test_half_closed_behind_a_request_that_is_answered_at_once() -> None:
    with MemoryServer(path_back) as server:
        client = server.connect()
        client.write(get("/1") + get("/2"))
        client.finish()
        assert [client.answer().body, client.answer().body] == [b"/1", b"/2"]
        assert not client.open
        assert not client.reset


def test_half_closed_while_a_long_last_answer_is_on_its_way() -> None:
    with MemoryServer(lambda exchange: exchange.respond(Response(200, (), b"x" * 1_000_000))) as server:
        for request in (get("/", "Connection: close"), get("/"), post(b"x" * 100)[:-1]):
            client = server.connect()
            client.reading = False
            client.send(request)
            client.finish()
            client.reading = True
            server.reactor.settle()
            assert len(client.answer().body) == 1_000_000
            assert not client.reset


def test_work_that_fails_while_it_is_cancelled_is_logged(logged_errors: Any) -> None:
    def handle(exchange: Exchange) -> None:
        def broken() -> None:
            raise ZeroDivisionError

        exchange.on_gone = broken

    with MemoryServer(handle) as server:
        client = server.connect()
        client.send(get())
        client.close()
        assert not server.server.connections
    assert [event["log_failure"].type for event in logged_errors.take()] == [ZeroDivisionError]


def test_an_answer_that_is_cut_is_seen_to_be() -> None:
    later = Later()
    with MemoryServer(later) as server:
        for length in (None, 100):
            client = server.connect()
            client.send(get("/1") + get("/2"))
            later.last.start(200, [], length)
            later.last.write(b"some of it")
            later.last.abort()
            server.reactor.settle()
            assert client.next_answer() is None
            assert client.reset
        assert later.gone == []
        assert [exchange.path for exchange in later.exchanges] == [b"/1", b"/1"]
        assert len(server.finished) == 2
