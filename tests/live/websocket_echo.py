"""Echoes messages through the browser's end of terminals, for conformance suites: ``python websocket_echo.py PORT``.

The limits on sizes are those of terminals, times sixteen: suites send messages of 16 MiB in pieces of 64 bytes.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from twisted.internet import reactor as installed

from ksproxyd.server.exchange import Exchange
from ksproxyd.server.limits import Limits, Timeouts
from ksproxyd.server.server import Server
from ksproxyd.terminal import websocket
from ksproxyd.terminal.websocket import WebSocket, WebSockets
from ksproxyd.transport.wheel import Wheel

reactor: Any = installed


class Echo:
    """Sends back what comes; what is not taken any more makes it stop listening."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket

    def message(self, payload: bytes, binary: bool) -> None:
        if binary:
            self._socket.send_bytes(payload)
        else:
            self._socket.send(payload.decode())
        if self._socket.pending > 2**20:
            self._socket.pause()

    def browser_drained(self, below: bool) -> None:
        if below:
            self._socket.resume()

    def gone(self, code: int, reason: str) -> None:
        """Nothing to do."""


def main() -> None:
    """Serve until somebody ends us."""
    websocket.FRAGMENTS = 2**20
    sockets = WebSockets(reactor, max_message=2**24 + 1, ping_interval=25.0, pong_timeout=60.0, linger=5.0)

    def handle(exchange: Exchange) -> None:
        socket = sockets.accept(exchange, exchange.fields.get(b"sec-websocket-key") or b"")
        socket.begin(Echo(socket))

    wheel = Wheel(reactor)
    wheel.start()
    server = Server(reactor, wheel, handle, lambda exchange: None, Limits(), Timeouts(), time.time)
    port = reactor.listenTCP(int(sys.argv[1]), server, interface="127.0.0.1")
    sys.stdout.write(f"{port.getHost().port}\n")
    sys.stdout.flush()
    reactor.run()


if __name__ == "__main__":
    main()
