"""Upgrades as far as the server goes: who may have the connection, and what becomes of it if nobody wants it."""

from __future__ import annotations

from typing import Any

import pytest
from support_server import Later, body_back, chunked, get, path_back, post
from twisted.python.failure import Failure

from ksproxyd.model.message import Response
from ksproxyd.server.exchange import Exchange
from ksproxyd.testing import MemoryServer

ASK = ("Connection: Upgrade", "Upgrade: websocket")
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


class Taker:
    """Takes connections over."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self.data = b""
        self.ends = 0
        self.losses: list[Failure] = []
        self.timeouts = 0

    def handle(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)

    def take(self) -> Any:
        exchange = self.exchanges[-1]
        self.stream = exchange.hijack(SWITCH)
        self.stream.take_over(self)
        self.received(exchange.leftover())
        return self.stream

    def received(self, data: bytes) -> None:
        self.data += data

    def ended(self) -> None:
        self.ends += 1

    def lost(self, reason: Failure) -> None:
        self.losses.append(reason)
        self.exchanges[-1].tunnel_closed()

    def idle_timeout(self) -> None:
        self.timeouts += 1


@pytest.mark.parametrize("at_once", [0, 1])
def test_a_connection_that_is_given_away(at_once: int) -> None:
    taker = Taker()
    with MemoryServer(taker.handle) as server:
        client = server.connect()
        client.send(get("/", *ASK) + b"early", at_once=at_once)
        assert taker.exchanges[0].upgrade == b"websocket"
        # Not a byte is looked at before somebody decides.
        client.send(b" bird")
        stream = taker.take()
        server.reactor.settle()
        assert taker.data == b"early bird"
        answer = client.answer()
        assert answer.status == 101
        client.send(b"\0\xff" * 1000)
        assert taker.data[10:] == b"\0\xff" * 1000
        stream.send(b"back")
        server.reactor.settle()
        assert client.take() == b"back"
        client.finish()
        assert (taker.ends, taker.losses) == (1, [])
        stream.send(b"still")
        server.reactor.settle()
        assert client.take() == b"still"
        stream.close()
        server.reactor.settle()
        assert len(taker.losses) == 1
        assert server.finished == taker.exchanges
        assert server.finished[0].status == 101


def test_one_that_is_cut() -> None:
    taker = Taker()
    with MemoryServer(taker.handle) as server:
        client = server.connect()
        client.send(get("/", *ASK))
        taker.take()
        client.cut()
        assert (taker.ends, len(taker.losses)) == (0, 1)
        assert len(server.finished) == 1


def test_time_is_the_takers_business() -> None:
    taker = Taker()
    with MemoryServer(taker.handle) as server:
        client = server.connect()
        client.send(get("/", *ASK))
        stream = taker.take()
        server.wait(10_000)
        assert client.open
        stream.deadline = server.wheel.now + 5
        server.wait(10)
        assert taker.timeouts == 1
        stream.close()


def test_a_client_that_leaves_before_anybody_decides() -> None:
    later = Later()
    with MemoryServer(later) as server:
        client = server.connect()
        client.send(get("/", *ASK) + b"early")
        client.close()
        server.wait(10)
        assert later.gone == later.exchanges == server.finished


@pytest.mark.parametrize("at_once", [0, 1])
def test_an_upgrade_that_nobody_makes_is_a_request(at_once: int) -> None:
    # RFC 9110, 7.8: it may be ignored, and the connection stays what it was.
    with MemoryServer(path_back) as server:
        client = server.connect()
        client.send(get("/1", *ASK) + get("/2", *ASK) + post(b"x", "/3") + get("/4"), at_once=at_once)
        assert [client.answer().body for _ in range(4)] == [b"/1", b"/2", b"/3", b"/4"]
        assert client.open


def test_an_upgrade_that_is_refused_later() -> None:
    later = Later()
    with MemoryServer(later) as server:
        client = server.connect()
        client.send(get("/1", *ASK))
        assert not client.transport.reading
        client.send(get("/2"))
        later.last.respond(Response(403))
        server.reactor.settle()
        assert client.answer().status == 403
        assert later.last.path == b"/2"
        later.last.respond(Response(200))
        server.reactor.settle()
        assert client.answer().status == 200
        assert client.transport.reading


@pytest.mark.parametrize(
    "offer",
    ["h2c", "H2C", "h2c, websocket", "websocket, h2c", "h2c ", "TLS/1.0", "HTTP/2.0", "websocket,TLS/1.2,x", "h2"],
)
@pytest.mark.parametrize("options", ["Upgrade, HTTP2-Settings", "upgrade", "close, upgrade"])
def test_protocols_that_would_be_http_again(offer: str, options: str) -> None:
    # What passes in such a tunnel would be seen by no check.
    later = Later()
    fields = (f"Connection: {options}", f"Upgrade: {offer}", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA")
    with MemoryServer(later) as server:
        client = server.connect()
        client.send(get("/1", *fields) + (b"" if "close" in options else get("/2")))
        assert later.last.upgrade is None
        later.last.respond(Response(200, (), later.last.path))
        server.reactor.settle()
        assert client.answer().body == b"/1"
        if "close" in options:
            assert not client.open
        else:
            assert later.last.path == b"/2"
            later.last.respond(Response(200))


@pytest.mark.parametrize("at_once", [0, 1])
@pytest.mark.parametrize("body", [post(b"hello", "/", *ASK), chunked([b"he", b"llo"], "/", *ASK)])
@pytest.mark.parametrize("offer", ["websocket", "h2c"])
def test_an_upgrade_with_a_body_is_a_request(body: bytes, offer: str, at_once: int) -> None:
    # Where the body would end and the other protocol begin is anybody's guess.
    with MemoryServer(body_back) as server:
        client = server.connect()
        asked = body.replace(b"websocket", offer.encode())
        client.send(asked + post(b"next") + asked + get(), at_once=at_once)
        assert [client.answer().body for _ in range(4)] == [b"hello", b"next", b"hello", b""]
        assert all(exchange.upgrade is None for exchange in server.finished)
        assert client.open


def test_an_upgrade_behind_other_requests() -> None:
    taker = Taker()
    with MemoryServer(taker.handle) as server:
        client = server.connect()
        client.send(get("/1") + get("/2", *ASK) + b"early")
        assert [exchange.path for exchange in taker.exchanges] == [b"/1"]
        taker.exchanges[0].respond(Response(200))
        server.reactor.settle()
        assert client.answer().status == 200
        stream = taker.take()
        server.reactor.settle()
        assert client.answer().status == 101
        assert taker.data == b"early"
        stream.close()


def test_10_cannot_upgrade() -> None:
    with MemoryServer(path_back) as server:
        client = server.connect()
        client.send(get("/", *ASK, "Connection: keep-alive", version="1.0") + get("/2"))
        assert [client.answer().body, client.answer().body] == [b"/", b"/2"]
        assert server.finished[0].upgrade is None


@pytest.mark.parametrize(
    "fields",
    [("Upgrade: websocket",), ("Connection: upgrade",), ("Connection: upgrade", "Upgrade:"), ("Connection: x",)],
)
def test_what_is_no_offer(fields: tuple[str, ...]) -> None:
    with MemoryServer(path_back) as server:
        client = server.connect()
        client.send(get("/", *fields) + get("/2"))
        assert [client.answer().body, client.answer().body] == [b"/", b"/2"]
        assert server.finished[0].upgrade is None


def test_proxy_connection_upgrades_nothing() -> None:
    # llhttp takes this for an upgrade; it is none.
    with MemoryServer(path_back) as server:
        client = server.connect()
        client.send(get("/", "Proxy-Connection: upgrade", "Upgrade: websocket") + get("/2"))
        assert [client.answer().body, client.answer().body] == [b"/", b"/2"]
        assert server.finished[0].upgrade is None


@pytest.mark.parametrize("fields", ["h2c", "nobody's"])
def test_hundreds_of_upgrades_in_one_piece(fields: str) -> None:
    with MemoryServer(path_back) as server:
        client = server.connect()
        offer = "h2c" if fields == "h2c" else "x"
        count = 700
        client.send(b"".join(get(f"/{number}", "Connection:upgrade", f"Upgrade:{offer}") for number in range(count)))
        assert [client.answer().body for _ in range(count)] == [b"/%d" % number for number in range(count)]
        assert client.open
