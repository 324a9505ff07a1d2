"""What only real sockets show: the kernel's word on a peer that has left, and resets that spare the answer."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor as _reactor
from twisted.internet.task import deferLater

from ksproxyd.model.message import Response
from ksproxyd.server import connection, reading
from ksproxyd.server.exchange import Exchange
from ksproxyd.server.limits import Limits, Timeouts
from ksproxyd.server.server import Server
from ksproxyd.transport.wheel import Wheel

reactor: Any = _reactor


class Site:
    """A server on a free loopback port."""

    def __init__(self, handle: Callable[[Exchange], None]) -> None:
        self.wheel = Wheel(reactor)
        self.wheel.start()
        self.finished: list[Exchange] = []
        self.server = Server(
            reactor, self.wheel, handle, self.finished.append, Limits(), Timeouts(linger=1.0), time.time
        )
        self.port = reactor.listenTCP(0, self.server, interface="127.0.0.1")

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port.getHost().port), timeout=10)

    async def until(self, condition: Callable[[], object]) -> None:
        for _ in range(500):
            if condition():
                return
            await deferLater(reactor, 0.01)
        raise AssertionError("it does not come to that")

    async def close(self) -> None:
        await self.port.stopListening()
        for found in list(self.server.connections):
            found.abort()
        await self.until(lambda: not self.server.connections)
        self.wheel.stop()


@pytest_twisted.ensureDeferred
async def test_a_client_that_leaves_while_nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (reading, connection):
        monkeypatch.setattr(module, "LOOK", 0.2)
    gone: list[Exchange] = []

    def handle(exchange: Exchange) -> None:
        # It never asks for the body, so nothing behind the head is read.
        exchange.on_gone = lambda: gone.append(exchange)

    site = Site(handle)
    stays, leaves = site.connect(), site.connect()
    for client in (stays, leaves):
        client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nx")
        client.sendall(b"y" * 10)
    await site.until(lambda: len(site.server.connections) == 2 and all(c._holds for c in site.server.connections))
    leaves.close()
    await site.until(lambda: gone)
    await deferLater(reactor, 1.5)
    assert len(gone) == len(site.finished) == 1
    assert len(site.server.connections) == 1
    stays.close()
    await site.close()


@pytest_twisted.ensureDeferred
async def test_a_refusal_arrives_though_the_client_goes_on_sending() -> None:
    site = Site(lambda exchange: exchange.respond(Response(200, (), b"enough")))
    for head in (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 100000000\r\n\r\n",
    ):
        client = site.connect()
        client.sendall(head)
        for _ in range(50):
            client.sendall(b"x" * 10_000)
            await deferLater(reactor, 0.002)
        received = b""
        while piece := client.recv(65536):
            received += piece
        assert received.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 400 "))
        assert b"Connection: close" in received
        client.close()
    await site.close()
