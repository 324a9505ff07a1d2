"""Request bodies: as they come, held back, asked for, refused, or not wanted at all."""

from __future__ import annotations

from typing import Any

import pytest
from support_server import Later, Sink, body_back, chunked, get, path_back, post
from twisted.internet.defer import Deferred

from ksproxyd.model.message import Response
from ksproxyd.model.status import StatusError
from ksproxyd.server.exchange import Exchange
from ksproxyd.server.limits import Limits
from ksproxyd.testing import MemoryServer


def outcome(done: Deferred[Any]) -> Any:
    results: list[Any] = []
    done.addCallbacks(results.append, lambda failure: results.append(failure.value))
    assert len(results) == 1
    return results[0]


@pytest.mark.parametrize("at_once", [0, 1, 7])
def test_bodies_of_both_kinds(at_once: int) -> None:
    with MemoryServer(body_back) as server:
        client = server.connect()
        client.send(post(b"hello world"), at_once=at_once)
        assert client.answer().body == b"hello world"
        client.send(chunked([b"hello", b" ", b"world"]), at_once=at_once)
        assert client.answer().body == b"hello world"
        client.send(post(b""), at_once=at_once)
        assert client.answer().body == b""
        assert [exchange.received for exchange in server.finished] == [11, 11, 0]
        assert [exchange.length for exchange in server.finished] == [11, -1, 0]
        assert client.open


def test_a_body_comes_as_it_comes() -> None:
    sinks: list[Sink] = []
    with MemoryServer(lambda exchange: sinks.append(Sink(exchange))) as server:
        client = server.connect()
        body = post(b"0123456789")
        client.send(body[:-10])
        (sink,) = sinks
        for count in range(1, 11):
            client.send(body[-11 + count : -10 + count or None])
            assert sink.body == b"0123456789"[:count]
            assert sink.complete == (count == 10)
        sink.exchange.respond(Response(200))
        server.reactor.settle()
        assert client.answer().status == 200


def test_a_small_body_that_came_with_its_head_waits_without_stopping_the_connection() -> None:
    later = Later()
    with MemoryServer(later) as server:
        client = server.connect()
        client.send(post(b"body"))
        assert client.transport.pauses == 0
        assert later.last.body_done
        sink = Sink(later.last)
        assert (sink.body, sink.complete) == (b"body", 1)
        later.last.respond(Response(200, (), sink.body))
        server.reactor.settle()
        assert client.answer().body == b"body"
        # And the connection goes on being read.
        client.send(post(b"more"))
        body_back(later.last)
        server.reactor.settle()
        assert client.answer().body == b"more"


def test_nobody_wants_it_yet_so_little_is_kept() -> None:
    later = Later()
    with MemoryServer(later) as server:
        client = server.connect()
        size = 10_000_000
        client.write(get("/", f"Content-Length: {size}", method="POST"))
        client.write(b"x" * size)
        server.reactor.settle()
        exchange = later.last
        assert exchange.received <= 65536
        assert not client.transport.reading
        assert client.unsent > size - 200_000
        # Its patience is not measured while it is us who do not read.
        server.wait(1000)
        sink = Sink(exchange)
        server.reactor.settle()
        assert len(sink.body) == size
        assert sink.complete == 1
        exchange.respond(Response(200))
        server.reactor.settle()
        assert client.answer().status == 200
        assert client.open


def test_back_pressure_from_the_reader() -> None:
    class Slow(Sink):
        def body_data(self, data: bytes) -> None:
            super().body_data(data)
            self.exchange.pause_body()

    sinks: list[Slow] = []
    with MemoryServer(lambda exchange: sinks.append(Slow(exchange))) as server:
        client = server.connect()
        client.write(post(b"x" * 1_000_000))
        server.reactor.settle()
        (sink,) = sinks
        seen = [0]
        while not sink.complete:
            assert len(sink.body) > seen[-1]
            assert len(sink.body) - seen[-1] <= 65536
            seen.append(len(sink.body))
            assert not client.transport.reading
            server.wait(300)
            sink.exchange.resume_body()
            server.reactor.settle()
        assert len(sink.body) == 1_000_000
        sink.exchange.respond(Response(200))
        client.send(get("/next"))
        assert client.answer().status == 200
        assert sinks[-1].exchange.path == b"/next"
        sinks[-1].exchange.respond(Response(200))
        server.reactor.settle()
        assert client.answer().status == 200


def test_held_back_at_its_last_byte_the_next_request_is_still_read() -> None:
    class Stopping(Sink):
        def body_data(self, data: bytes) -> None:
            super().body_data(data)
            self.exchange.pause_body()

    sinks: list[Stopping] = []

    def handle(exchange: Exchange) -> None:
        if exchange.length:
            sinks.append(Stopping(exchange))
        else:
            path_back(exchange)

    with MemoryServer(handle) as server:
        client = server.connect()
        client.send(post(b"all of it"))
        assert sinks[0].complete == 1
        sinks[0].exchange.respond(Response(200))
        sinks[0].exchange.resume_body()
        client.send(get("/next"))
        assert client.answer().status == 200
        assert client.answer().body == b"/next"


# -- read_body -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_", [post(b"0123456789"), chunked([b"01234", b"56789"])])
@pytest.mark.parametrize("at_once", [0, 1])
def test_read_body(request_: bytes, at_once: int) -> None:
    bodies: list[Deferred[bytes]] = []
    with MemoryServer(lambda exchange: bodies.append(exchange.read_body(10))) as server:
        client = server.connect()
        client.send(request_, at_once=at_once)
        assert outcome(bodies[0]) == b"0123456789"
        server.handled[0].respond(Response(200))


@pytest.mark.parametrize("request_", [post(b"0123456789A"), chunked([b"01234", b"56789", b"A"])])
@pytest.mark.parametrize("at_once", [0, 1])
def test_read_body_has_a_limit(request_: bytes, at_once: int) -> None:
    def handle(exchange: Exchange) -> None:
        exchange.read_body(10).addCallbacks(
            lambda body: exchange.respond(Response(200)), lambda failure: exchange.refuse(failure.value)
        )

    with MemoryServer(handle) as server:
        client = server.connect()
        client.send(request_, at_once=at_once)
        answer = client.answer()
        assert answer.status == 413
        assert "10" in answer.message()
        assert not client.reset


def test_read_body_of_a_client_that_leaves() -> None:
    bodies: list[Deferred[bytes]] = []
    with MemoryServer(lambda exchange: bodies.append(exchange.read_body(100))) as server:
        client = server.connect()
        client.send(post(b"0123456789")[:-1])
        client.close()
        error = outcome(bodies[0])
        assert isinstance(error, StatusError)
        assert error.code == 400
        # And of one that has left before.
        assert outcome(server.handled[0].read_body(100)).code == 400


# -- Expect --------------------------------------------------------------------------------------------------------


def test_continue_is_sent_when_the_body_is_wanted() -> None:
    later = Later()
    with MemoryServer(later) as server:
        client = server.connect()
        client.send(post(b"hello", expect=True))
        assert client.next_answer() is None
        assert not client.received
        server.wait(1000)
        sink = Sink(later.last)
        server.reactor.settle()
        assert client.received == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"hello")
        assert sink.body == b"hello"
        later.last.respond(Response(200))
        server.reactor.settle()
        answer = client.answer()
        assert ([interim.status for interim in answer.interim], answer.status) == ([100], 200)
        assert client.open


def test_continue_is_not_sent_for_a_body_that_is_there() -> None:
    with MemoryServer(body_back) as server:
        client = server.connect()
        client.send(post(b"hello", expect=True) + b"hello")
        answer = client.answer()
        assert (answer.interim, answer.body) == ([], b"hello")


def test_a_final_answer_instead_of_continue_ends_the_connection() -> None:
    with MemoryServer(path_back) as server:
        client = server.connect()
        client.send(post(b"x" * 100, expect=True))
        answer = client.answer()
        assert (answer.status, answer.interim, answer.get("connection")) == (200, [], b"close")
        # Whether the body follows or not cannot be known, and neither can what is a request.
        client.send(get("/not-a-request"))
        assert client.nothing_more()
        assert len(server.handled) == 1


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_without_a_body_there_is_nothing_to_expect(version: str) -> None:
    with MemoryServer(path_back) as server:
        client = server.connect()
        client.send(get("/", "Expect: 100-continue", "Connection: keep-alive", version=version))
        answer = client.answer()
        assert (answer.status, answer.interim) == (200, [])
        assert client.open


def test_10_knows_no_expectation() -> None:
    with MemoryServer(body_back) as server:
        client = server.connect()
        client.send(post(b"hello", "/", "Connection: keep-alive", "Expect: a miracle", version="1.0")[:-5])
        assert not client.received
        client.send(b"hello")
        assert (client.answer().body, client.open) == (b"hello", True)


# -- early answers -------------------------------------------------------------------------------------------------


def test_a_short_rest_is_read_and_dropped() -> None:
    with MemoryServer(path_back) as server:
        client = server.connect()
        body = post(b"x" * 1000, "/first")
        client.send(body[:-900])
        answer = client.answer()
        assert (answer.body, answer.get("connection")) == (b"/first", None)
        client.send(body[-900:-1])
        client.send(body[-1:] + get("/second"))
        assert client.answer().body == b"/second"
        assert client.open


@pytest.mark.parametrize("request_", [post(b"x" * 1_000_000), chunked([b"x" * 1000] * 1000)])
def test_a_long_rest_is_not_waited_for_and_the_answer_arrives(request_: bytes) -> None:
    with MemoryServer(path_back) as server:
        client = server.connect()
        client.reading = False
        client.write(request_)
        server.reactor.settle()
        server.wait(1.0)
        # The client sends on for a while before it looks at the answer; a reset would have taken it away.
        assert not client.socket.reset
        client.reading = True
        server.reactor.settle()
        answer = client.answer()
        assert (answer.status, answer.get("connection")) == (200, b"close")
        client.finish()
        assert not client.reset


def test_a_client_that_sends_forever_is_cut_off_in_the_end() -> None:
    with MemoryServer(path_back) as server:
        client = server.connect()
        client.send(get("/", "Content-Length: 1000000000", method="POST"))
        assert client.answer().status == 200
        for _ in range(100):
            client.write(b"x" * 50_000)
            server.wait(0.1)
            if not client.transport.connected:
                break
        assert client.reset
        assert server.server.counters.timeouts == {"linger": 1}


def test_an_early_answer_that_is_not_complete_keeps_the_body_coming() -> None:
    # Both at once: what goes up comes down.
    def handle(exchange: Exchange) -> None:
        exchange.start(200, [], None)
        exchange.flush()

        class Back(Sink):
            def body_data(self, data: bytes) -> None:
                exchange.write(data.upper())
                exchange.flush()

        Back(exchange, lambda exchange, body: exchange.finish())

    with MemoryServer(handle) as server:
        client = server.connect()
        client.send(chunked([b"one"], end=b""))
        assert client.next_answer() is None
        partial = client.partial
        assert partial is not None
        assert partial.body == b"ONE"
        client.send(b"3\r\ntwo\r\n")
        client.next_answer()
        assert partial.body == b"ONETWO"
        client.send(b"0\r\n\r\n")
        assert client.answer().body == b"ONETWO"


# -- bodies that break ---------------------------------------------------------------------------------------------


def test_broken_framing_in_the_piece_the_request_began_in_reaches_nobody() -> None:
    later = Later()
    with MemoryServer(later) as server:
        client = server.connect()
        client.send(get("/", "Transfer-Encoding: chunked", method="POST") + b"5\r\nhelloXX")
        answer = client.answer()
        assert answer.status == 400
        assert "chunk" in answer.message()
        assert not later.exchanges
        assert not client.open
        assert not client.reset


def test_broken_framing_later_on_ends_the_work_and_is_answered() -> None:
    later = Later()
    with MemoryServer(later) as server:
        client = server.connect()
        client.send(chunked([b"hello"], end=b""))
        sink = Sink(later.last)
        client.send(b"XX\r\n")
        assert client.answer().status == 400
        assert (sink.aborted, len(later.gone), sink.complete) == (1, 1, 0)
        assert not client.open


def test_broken_framing_behind_an_answer_that_has_begun_cuts_it() -> None:
    later = Later()
    with MemoryServer(later) as server:
        client = server.connect()
        client.send(chunked([b"hello"], end=b""))
        sink = Sink(later.last)
        later.last.start(200, [], None)
        later.last.write(b"begun")
        later.last.flush()
        client.send(b"XX\r\n")
        assert client.next_answer() is None
        assert client.reset
        assert (sink.aborted, len(later.gone)) == (1, 1)


def test_broken_framing_of_a_request_that_waits() -> None:
    later = Later()
    with MemoryServer(later) as server:
        client = server.connect()
        client.send(get("/first") + chunked([b"hello"], end=b"XX\r\n"))
        assert [exchange.path for exchange in later.exchanges] == [b"/first"]
        later.last.respond(Response(200))
        server.reactor.settle()
        assert [client.answer().status, client.answer().status] == [200, 400]
        assert len(later.exchanges) == 1
        assert not client.open


def test_broken_framing_of_a_body_that_is_being_dropped() -> None:
    with MemoryServer(path_back, limits=Limits(drained_bytes=100)) as server:
        client = server.connect()
        client.send(get("/", "Content-Length: 50", method="POST"))
        assert client.answer().status == 200
        # It is 50 bytes of whatever; then comes a request that is none.
        client.send(b"\0" * 50 + b"\0\r\n\r\n")
        assert client.answer().status == 400
        assert not client.open


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_above_the_limit(declared: bool) -> None:
    sinks: list[Sink] = []
    with MemoryServer(lambda exchange: sinks.append(Sink(exchange)), limits=Limits(body_bytes=10)) as server:
        client = server.connect()
        client.send(post(b"x" * 10) if declared else chunked([b"x" * 10]))
        sinks[0].exchange.respond(Response(200))
        client.send(post(b"x" * 11) if declared else chunked([b"x" * 5], end=b""))
        assert client.answer().status == 200
        if not declared:
            client.send(b"6\r\nxxxxxx\r\n0\r\n\r\n")
            assert (sinks[1].aborted, len(sinks[1].body)) == (1, 5)
        else:
            assert len(sinks) == 1
        answer = client.answer()
        assert answer.status == 413
        assert "10" in answer.message()
        assert not client.open
        assert not client.reset


def test_a_reader_that_raises_is_a_500(logged_errors: Any) -> None:
    class Broken(Sink):
        def body_data(self, data: bytes) -> None:
            raise ZeroDivisionError

    with MemoryServer(Broken) as server:
        client = server.connect()
        client.send(post(b"hello")[:-5])
        client.send(b"hello")
        assert client.answer().status == 500
        assert not client.open
    assert [event["log_failure"].type for event in logged_errors.take()] == [ZeroDivisionError]


# -- what is dropped must end, too ---------------------------------------------------------------------------------


def test_chunk_extensions_without_end() -> None:
    with MemoryServer(Sink, limits=Limits(head_bytes=2000)) as server:
        client = server.connect()
        client.send(get("/", "Transfer-Encoding: chunked", method="POST"))
        client.send(b"5;a=")
        for _ in range(30):
            client.send(b"x" * 100)
        assert client.answer().status == 431
        assert not client.open


def test_trailers_without_end() -> None:
    with MemoryServer(Sink, limits=Limits(head_bytes=2000)) as server:
        client = server.connect()
        client.send(chunked([b"hello"], end=b"0\r\n"))
        for _ in range(300):
            client.send(b"X-Trailer: more\r\n")
        assert client.answer().status == 431
        assert not client.open


def test_extensions_and_trailers_are_dropped() -> None:
    with MemoryServer(body_back) as server:
        client = server.connect()
        head = get("/", "Transfer-Encoding: chunked", "Trailer: X", method="POST")
        client.send(head + b'5;a=b;c="d"\r\nhello\r\n0\r\nX: y\r\nHost: other\r\n\r\n' + get("/next"))
        assert client.answer().body == b"hello"
        assert client.answer().body == b""
        assert [field for exchange in server.finished for field in exchange.fields.all(b"x")] == []
        assert server.finished[0].fields.all(b"host") == [b"gateway.example"]
