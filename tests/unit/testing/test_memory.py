"""What the tests stand on: memory sockets as strict as TCP, messages read to the letter, leftovers found."""

from __future__ import annotations

import base64
import socket
import struct
from typing import Any

import pytest
from twisted.internet.protocol import Protocol

from ksproxyd.model.message import Response
from ksproxyd.testing import (
    Authority,
    Backend,
    Malformed,
    MemoryGateway,
    MemoryReactor,
    MemoryServer,
    api_service,
    js_bundle,
    reverse_proxy,
)
from ksproxyd.testing.backend import answer, scripted
from ksproxyd.testing.messages import AnswerReader, RequestReader
from ksproxyd.testing.reactor import address
from ksproxyd.testing.sockets import socket_pair

# -- sockets -------------------------------------------------------------------------------------------------------


def test_bytes_cross_and_buffers_fill() -> None:
    one, other = socket_pair(10)
    assert one.send(b"0123456789abc") == 10
    assert not one.writable
    with pytest.raises(BlockingIOError):
        one.send(b"x")
    assert other.recv(4) == b"0123"
    assert one.send(b"abcdef") == 4
    assert other.recv(100) == b"456789abcd"
    assert not other.readable
    with pytest.raises(BlockingIOError):
        other.recv(1)


def test_a_fin_is_read_behind_the_data() -> None:
    one, other = socket_pair()
    one.send(b"x")
    one.shutdown(socket.SHUT_WR)
    assert other.recv(10) == b"x"
    assert other.recv(10) == b""
    other.send(b"y")
    assert one.recv(10) == b"y"
    with pytest.raises(BrokenPipeError):
        one.send(b"z")


@pytest.mark.parametrize("why", ["unread", "linger"])
def test_a_reset_takes_along_what_was_not_read(why: str) -> None:
    one, other = socket_pair()
    one.send(b"the answer")
    if why == "unread":
        other.send(b"more of the request")
    else:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    one.close()
    assert other.reset
    with pytest.raises(ConnectionResetError):
        other.recv(10)
    with pytest.raises(ConnectionResetError):
        other.send(b"x")


def test_writing_to_one_that_has_gone_is_answered_with_a_reset() -> None:
    one, other = socket_pair()
    one.close()
    assert other.recv(1) == b""
    assert other.send(b"x") == 1
    assert other.reset


# -- messages ------------------------------------------------------------------------------------------------------


def read(data: bytes, method: str = "GET", closed: bool = False) -> Any:
    reader = AnswerReader()
    reader.buffer += data
    return reader.next(method, closed)


def test_answers() -> None:
    found = read(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 2\r\n\r\nhi")
    assert (found.status, found.body, found.get("a"), [i.status for i in found.interim]) == (200, b"hi", b"b", [100])
    assert read(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi") is None
    assert read(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "HEAD").body == b""
    assert read(b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n").body == b"hi"
    assert read(b"HTTP/1.1 200 OK\r\n\r\nhi") is None
    assert read(b"HTTP/1.1 200 OK\r\n\r\nhi", closed=True).body == b"hi"


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1 \r\nx\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxx\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_answers_that_are_not_to_the_letter(data: bytes) -> None:
    with pytest.raises(Malformed):
        read(data)


@pytest.mark.parametrize(
    "data",
    [
        b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n",
    ],
)
def test_requests_that_are_not_to_the_letter(data: bytes) -> None:
    reader = RequestReader()
    reader.buffer += data
    with pytest.raises(Malformed):
        reader.next()


def test_a_status_is_one_of_the_right_code() -> None:
    with pytest.raises(Malformed):
        read(b"HTTP/1.1 400 X\r\nContent-Length: 2\r\n\r\n{}").message()


# -- what is left over ---------------------------------------------------------------------------------------------


def test_a_timer() -> None:
    server = MemoryServer(lambda exchange: None)
    server.reactor.callLater(10_000, print)
    with pytest.raises(AssertionError, match="a timer"):
        server.close()


def test_a_connection() -> None:
    server = MemoryServer(lambda exchange: None)
    server.reactor.attach(Protocol(), address("192.0.2.1", 1), address("192.0.2.2", 2))
    with pytest.raises(AssertionError, match="a connection"):
        server.close()


def test_a_request_that_ends_twice() -> None:
    with (
        pytest.raises(AssertionError, match="ended 2 times"),
        MemoryServer(lambda e: e.respond(Response(200))) as server,
    ):
        client = server.connect()
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        server.finished.append(server.finished[0])


def test_connections_that_never_come_to_rest() -> None:
    reactor = MemoryReactor()

    class Restless(Protocol):
        def dataReceived(self, data: bytes) -> None:
            assert self.transport is not None
            self.transport.write(data)

    transports = [reactor.attach(Restless(), address("192.0.2.1", n), address("192.0.2.2", n)) for n in (1, 2)]
    # Each echoes what the other echoes.
    transports[0][0].socket._other, transports[1][0].socket._other = (
        transports[1][0].socket,
        transports[0][0].socket,
    )
    transports[0][0].write(b"x")
    with pytest.raises(AssertionError, match="come to rest"):
        reactor.settle()


# -- the gateway ---------------------------------------------------------------------------------------------------


def test_extensions_of_all_kinds() -> None:
    authority = Authority()
    with MemoryGateway() as gateway:
        plain = gateway.serve("http://plain.example:8000", Backend())
        secret = gateway.serve("https://tls.example", Backend(), authority.issue("tls.example").server_context())
        pem = base64.b64encode(authority.pem).decode()
        objects = [
            api_service("v1.a.example", url="http://plain.example:8000"),
            reverse_proxy("r", "/proxy/r/*", {"url": "https://tls.example", "caBundle": pem}),
            js_bundle("j", "/dist/j/index.js", raw=base64.b64encode(b"let x;").decode()),
        ]
        gateway.apply(*objects)
        assert gateway.get("/kapis/a.example/v1/x").status == 200
        assert gateway.get("/proxy/r/x").json()["target"] == "/proxy/r/x"
        assert gateway.get("/dist/j/index.js").body == b"let x;"
        assert (len(plain.complete), len(secret.complete)) == (1, 1)
        gateway.delete(*objects)
        for path in ("/kapis/a.example/v1/x", "/proxy/r/x", "/dist/j/index.js"):
            assert gateway.get(path).status == 404


def test_backends_that_are_not_there() -> None:
    with MemoryGateway(objects=[api_service("v1.a.example", url="http://gone.example")]) as gateway:
        assert gateway.get("/kapis/a.example/v1/x").status == 502
        gateway.serve("http://gone.example", Backend())
        assert gateway.get("/kapis/a.example/v1/x").status == 200
        gateway.dialer.refusing.add(("gone.example", 80))
        gateway.dialer.silent.add(("gone.example", 80))


def test_scripted_answers() -> None:
    with MemoryGateway(objects=[api_service("v1.a.example", url="http://b.example")]) as gateway:
        backend = Backend(scripted(answer(201, b"one"), None, answer(202, b"two")))
        gateway.serve("http://b.example", backend)
        assert gateway.get("/kapis/a.example/v1/x").status == 201
        client = gateway.connect()
        client.send(b"GET /kapis/a.example/v1/x HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.next_answer() is None
        backend.conversations[-1].answer(answer(203, b"later"))
        assert client.answer().body == b"later"
        assert gateway.get("/kapis/a.example/v1/x").body == b"two"


def test_what_the_gateway_sends_is_read_to_the_letter() -> None:
    with pytest.raises(AssertionError, match="Host fields"), MemoryGateway() as gateway:
        backend = gateway.serve("http://b.example", Backend())
        gateway.apply(api_service("v1.a.example", url="http://b.example"))
        assert gateway.get("/kapis/a.example/v1/x").status == 200
        backend.conversations[0].received(b"GET / HTTP/1.1\r\n\r\n")


def test_an_open_request_is_left_over() -> None:
    class Stuck:
        """Stands for a request nobody ends."""

    gateway = MemoryGateway()
    gateway.gateway.metrics.requests.open.add(Stuck())  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match="an open request"):
        gateway.close()


def test_errors_of_coroutines_are_raised() -> None:
    async def broken() -> None:
        raise ZeroDivisionError

    with MemoryGateway() as gateway, pytest.raises(ZeroDivisionError):
        gateway.run(broken())
