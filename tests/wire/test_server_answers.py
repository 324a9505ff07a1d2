"""Answers: framing, persistence, order, and what becomes of mistakes."""

from __future__ import annotations

from typing import Any

import pytest
from support_server import Later, Sink, body_back, chunked, get, path_back, post

from ksproxyd.model.message import Response
from ksproxyd.server.exchange import Exchange
from ksproxyd.server.limits import Limits
from ksproxyd.testing import Client, MemoryServer


def test_a_connection_is_kept() -> None:
    with MemoryServer(path_back) as server:
        client = server.connect()
        for number in range(3):
            client.send(get(f"/{number}"))
            answer = client.answer()
            assert (answer.status, answer.body) == (200, b"/%d" % number)
            assert answer.get("connection") is None
        assert client.open
        assert server.server.counters.requests == 3


@pytest.mark.parametrize(
    ("version", "options", "kept"),
    [
        ("1.1", (), True),
        ("1.1", ("Connection: close",), False),
        ("1.1", ("Connection: Close",), False),
        ("1.1", ("Connection: x, close",), False),
        ("1.1", ("Connection: x", "Connection: close"), False),
        ("1.1", ("Connection: keep-alive, close",), False),
        ("1.1", ("Connection: closed",), True),
        ("1.0", (), False),
        ("1.0", ("Connection: keep-alive",), True),
        ("1.0", ("Connection: Keep-Alive, x",), True),
        ("1.0", ("Connection: keep-alive, close",), False),
    ],
)
def test_persistence(version: str, options: tuple[str, ...], kept: bool) -> None:
    with MemoryServer(path_back) as server:
        client = server.connect()
        client.send(get("/", *options, version=version))
        answer = client.answer()
        assert answer.body == b"/"
        assert client.open is kept
        assert not client.reset
        said = answer.get("connection")
        assert said == (b"close" if not kept else b"keep-alive" if version == "1.0" else None)
        if kept:
            client.send(get("/again", *options, version=version))
            assert client.answer().body == b"/again"


def test_unknown_length_is_chunked_and_on_10_ends_with_the_connection() -> None:
    def handle(exchange: Exchange) -> None:
        exchange.start(200, [], None)
        exchange.write(b"one")
        exchange.flush()
        exchange.write(b"two")
        exchange.finish()

    with MemoryServer(handle) as server:
        client = server.connect()
        client.send(get())
        answer = client.answer()
        assert (answer.framing, answer.body) == ("chunked", b"onetwo")
        client.send(get("/", "Connection: keep-alive", version="1.0"))
        answer = client.answer()
        assert (answer.framing, answer.body, answer.get("connection")) == ("close", b"onetwo", b"close")
        assert not client.open


@pytest.mark.parametrize("length", [5, None])
@pytest.mark.parametrize("status", [200, 204, 304, 404])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_answers_without_a_body(method: str, status: int, length: int | None) -> None:
    def handle(exchange: Exchange) -> None:
        exchange.start(status, [(b"X", b"y")], length)
        exchange.write(b"hello")
        exchange.finish()

    with MemoryServer(handle) as server:
        client = server.connect()
        client.send(get(method=method) + get(method=method))
        for _ in range(2):
            answer = client.answer(method)
            silent = method == "HEAD" or status in (204, 304)
            assert answer.body == (b"" if silent else b"hello")
            # RFC 9110, 8.6: a 304 and a HEAD may say how long the body would be, a 204 must not.
            expected = None if status == 204 or length is None else b"5"
            assert answer.get("content-length") == expected
            assert answer.get("x") == b"y"
        assert client.nothing_more()
        assert client.open
        assert {exchange.sent for exchange in server.finished} == {0 if silent else 5}


def test_one_date_always() -> None:
    def handle(exchange: Exchange) -> None:
        dated = [(b"Date", b"then")] if exchange.path == b"/dated" else []
        exchange.respond(Response(200, dated))

    with MemoryServer(handle) as server:
        client = server.connect()
        client.send(get("/dated") + get("/"))
        assert client.answer().all("date") == [b"then"]
        assert client.answer().all("date") == [b"Wed, 01 Jan 2020 00:00:01 GMT"]
        server.wait(5)
        client.send(get("/"))
        assert client.answer().all("date") == [b"Wed, 01 Jan 2020 00:00:06 GMT"]


def test_options_of_the_server_itself() -> None:
    later = Later()
    with MemoryServer(later) as server:
        client = server.connect()
        client.send(get("*", method="OPTIONS"))
        answer = client.answer("OPTIONS")
        assert (answer.status, answer.body) == (200, b"")
        assert not later.exchanges
        assert client.open


# -- order ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [0, 1])
def test_pipelined_requests_are_answered_in_order(at_once: int) -> None:
    later = Later()
    with MemoryServer(later) as server:
        client = server.connect()
        client.send(b"".join(get(f"/{number}") for number in range(4)), at_once=at_once)
        # One after the other: the second is not begun before the first has its answer.
        for number in range(4):
            assert [exchange.path for exchange in later.exchanges] == [b"/%d" % n for n in range(number + 1)]
            assert client.next_answer() is None
            later.last.respond(Response(200, (), later.last.path))
            server.reactor.settle()
            assert client.answer().body == b"/%d" % number


def test_pipelined_bodies() -> None:
    with MemoryServer(body_back) as server:
        client = server.connect()
        client.send(post(b"one") + get() + chunked([b"two", b"three"]) + post(b"") + post(b"four"))
        assert [client.answer().body for _ in range(5)] == [b"one", b"", b"twothree", b"", b"four"]
        assert client.open


@pytest.mark.parametrize("count", [9, 24, 25, 100, 900])
def test_many_at_once(count: int) -> None:
    with MemoryServer(path_back) as server:
        client = server.connect()
        client.send(b"".join(get(f"/{number}") for number in range(count)))
        for number in range(count):
            assert client.answer().body == b"/%d" % number
        assert client.open


def test_what_waits_is_bounded_and_nothing_is_read_meanwhile() -> None:
    later = Later()
    with MemoryServer(later, limits=Limits(pipelined=3)) as server:
        client = server.connect()
        requests = [get(f"/{number}") if number % 3 else post(b"%d" % number, f"/{number}") for number in range(200)]
        client.send(b"".join(requests))
        connection = client.transport.protocol
        assert len(connection._waiting) == 3
        assert not client.transport.reading
        client.send(get("/last"))
        assert not client.transport.reading
        for number in range(200):
            assert later.last.path == b"/%d" % number
            later.last.respond(Response(200, (), later.last.path))
            server.reactor.settle()
            assert client.answer().body == b"/%d" % number
            assert len(connection._waiting or ()) <= 3
        later.last.respond(Response(200, (), later.last.path))
        server.reactor.settle()
        assert client.answer().body == b"/last"
        assert client.transport.reading


def test_what_waits_behind_chunked_bodies_is_bounded_too() -> None:
    later = Later()
    with MemoryServer(later, limits=Limits(pipelined=2)) as server:
        client = server.connect()
        requests = [chunked([b"0\r\n\r\n"] * number, f"/{number}") for number in range(10)]
        client.send(b"".join(requests))
        assert len(client.transport.protocol._waiting) == 2
        for number in range(10):
            assert later.last.path == b"/%d" % number
            body_back(later.last)
            server.reactor.settle()
            assert client.answer().body == b"0\r\n\r\n" * number
        assert client.open


def test_too_much_behind_a_body_that_began_earlier_is_not_served_but_what_waits_is() -> None:
    # Where the request behind that body begins is not known to the byte, so it cannot be put off.
    later = Later()
    with MemoryServer(later, limits=Limits(pipelined=2)) as server:
        client = server.connect()
        first = chunked([b"x"], "/0")
        client.send(first[:-6])
        Sink(later.last)
        client.send(first[-6:] + b"".join(get(f"/{number}") for number in range(1, 10)))
        for number in range(3):
            assert later.last.path == b"/%d" % number
            later.last.respond(Response(200, (), later.last.path))
            server.reactor.settle()
            answer = client.answer()
            assert answer.body == b"/%d" % number
            assert answer.get("connection") == (b"close" if number == 2 else None)
        assert len(later.exchanges) == 3
        assert not client.open
        assert not client.reset


def test_requests_behind_the_last_one_are_not_served() -> None:
    later = Later()
    with MemoryServer(later) as server:
        client = server.connect()
        client.send(get("/1", "Connection: close") + get("/2"))
        client.send(get("/3"))
        later.last.respond(Response(200, (), later.last.path))
        server.reactor.settle()
        assert client.answer().body == b"/1"
        assert client.nothing_more()
        assert not client.open
        assert not client.reset
        assert [exchange.path for exchange in later.exchanges] == [b"/1"]
        assert len(server.finished) == 1


# -- mistakes ------------------------------------------------------------------------------------------------------


def test_an_exception_in_a_handler_is_a_500_and_logged(logged_errors: Any) -> None:
    def handle(exchange: Exchange) -> None:
        if exchange.path == b"/late":
            exchange.start(200, [], None)
            exchange.write(b"begun")
        elif exchange.path == b"/answered":
            exchange.respond(Response(200))
        raise ZeroDivisionError(exchange.path)

    with MemoryServer(handle) as server:
        client = server.connect()
        client.send(get("/early"))
        answer = client.answer()
        assert answer.status == 500
        assert server.finished[0].id in answer.message()
        assert client.open, "the next request is none the worse"
        client.send(get("/answered"))
        assert client.answer().status == 200
        client.send(get("/late"))
        assert client.next_answer() is None
        assert client.reset, "an answer that broke off must not look whole"
        assert server.server.counters.failed == 3
    errors = [event["log_failure"].value for event in logged_errors.take()]
    assert [error.args for error in errors] == [(b"/early",), (b"/answered",), (b"/late",)]


def test_answering_twice_is_a_mistake_of_ours() -> None:
    def handle(exchange: Exchange) -> None:
        exchange.start(200, [], 0)
        with pytest.raises(RuntimeError, match="answered already"):
            exchange.start(200, [], 0)
        exchange.finish()

    with MemoryServer(handle) as server:
        client = server.connect()
        client.send(get())
        assert client.answer().status == 200


@pytest.mark.parametrize(
    "pair", [(b"X", b"a\nY: b"), (b"X", b"a\r\n\r\nHTTP/1.1 200"), (b"X", b"a\rb"), (b"X\nY", b"z")]
)
def test_line_breaks_in_fields_go_nowhere(pair: tuple[bytes, bytes], logged_errors: Any) -> None:
    with MemoryServer(lambda exchange: exchange.respond(Response(200, [pair]))) as server:
        client = server.connect()
        client.send(get())
        assert client.answer().status == 500
        assert client.open
    assert [event["log_failure"].type for event in logged_errors.take()] == [ValueError]


def test_accounting_that_fails_does_not_disturb_the_client(logged_errors: Any) -> None:
    with MemoryServer(path_back) as server:
        finished = server.finished

        def broken(exchange: Exchange) -> None:
            finished.append(exchange)
            raise ZeroDivisionError

        server.server._on_finished = broken
        client = server.connect()
        client.send(get("/1") + get("/2"))
        assert [client.answer().body, client.answer().body] == [b"/1", b"/2"]
    assert len(logged_errors.take()) == 2


def refused(server: MemoryServer) -> Client:
    client = server.connect()
    client.send(get())
    return client


def test_connections_beyond_the_limit_get_503_and_old_ones_keep_working() -> None:
    with MemoryServer(path_back, limits=Limits(connections=2)) as server:
        old = [server.connect(), server.connect()]
        late = refused(server)
        answer = late.answer()
        assert answer.status == 503
        assert answer.get("retry-after") == b"5"
        assert "too many connections" in answer.message()
        assert not late.open
        idle = server.connect()
        for client in old:
            client.send(get("/still"))
            assert client.answer().body == b"/still"
        old[0].close()
        old[1].close()
        # There is room again, also for the one that came too early.
        idle.send(get("/now"))
        assert idle.answer().body == b"/now"
        assert refused(server).answer().status == 200
        assert not server.server._restricted


def test_interim_answers_are_for_11_only() -> None:
    def handle(exchange: Exchange) -> None:
        exchange.interim(103, b"Link: </a>\r\n")
        exchange.respond(Response(200))
        exchange.interim(103)

    with MemoryServer(handle) as server:
        client = server.connect()
        client.send(get() + get("/", "Connection: keep-alive", version="1.0"))
        answer = client.answer()
        assert [(hint.status, hint.get("link")) for hint in answer.interim] == [(103, b"</a>")]
        assert client.answer().interim == []
        assert client.nothing_more()


def test_head_is_told_in_the_form_it_asks_for() -> None:
    with MemoryServer(path_back) as server:
        client = server.connect()
        client.send(get("/\\", "Accept: application/yaml"))
        answer = client.answer()
        assert answer.status == 400
        assert answer.get("content-type") == b"application/yaml"
        client = server.connect()
        client.send(b"HEAD / HTTP/1.1\r\n\r\n")
        answer = client.answer("HEAD")
        assert answer.status == 400
        assert answer.body == b""
        assert client.nothing_more(), "an answer to HEAD has no body, refusals neither"
        # The log has something to go by.
        assert [(exchange.method, exchange.target) for exchange in server.finished] == [("GET", b"/\\"), ("HEAD", b"/")]
