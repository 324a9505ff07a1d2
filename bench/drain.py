"""SIGTERM in the middle of many requests: all of them must be answered."""

from __future__ import annotations

import signal
import socket
import time
from contextlib import ExitStack
from pathlib import Path

from bench.contenders import Gateway
from bench.load import LoadError
from bench.objects import DOCUMENT
from bench.site import Site
from bench.table import table

LIMIT = 30.0
"""Seconds until all requests have reached the backend, and until the gateway has ended after its last answer."""


class Drain:
    """``count`` requests, each on a connection of its own, that the backend answers after the gateway's SIGTERM."""

    def __init__(self, site: Site, folder: Path, count: int) -> None:
        self._site = site
        self._folder = folder
        self.count = count
        self.whole = 0
        self.exit_code: int | None = None
        self.seconds = 0.0

    def measure(self) -> None:
        """Send them, end the gateway, let the backend answer, count."""
        path = f"{self._site.stub_route.proxy_prefix}/hold"
        with ExitStack() as stack:
            gateway = stack.enter_context(Gateway(self._site, self._folder))
            request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{gateway.port}\r\n\r\n".encode()
            connections: list[socket.socket] = []
            for _ in range(self.count):
                connection = stack.enter_context(socket.create_connection(("127.0.0.1", gateway.port), timeout=LIMIT))
                connection.sendall(request)
                connections.append(connection)
            deadline = time.monotonic() + LIMIT
            while self._site.count("held") < self.count:
                if time.monotonic() > deadline:
                    raise LoadError(f"not all of {self.count} requests reached the backend")
                time.sleep(0.05)
            gateway.process.signal(signal.SIGTERM)
            time.sleep(0.5)
            self._site.release()
            begun = time.monotonic()
            self.whole = sum(_whole(connection) for connection in connections)
            self.exit_code = gateway.process.wait(LIMIT)
            self.seconds = time.monotonic() - begun

    def report(self) -> str:
        """The table."""
        line = [
            f"{self.count} in flight",
            str(self.whole),
            str(self.count - self.whole),
            f"{self.seconds:.2f} s",
            str(self.exit_code),
        ]
        return table(["SIGTERM", "answered whole", "lost", "ended after", "exit code"], [line])


def _whole(connection: socket.socket) -> bool:
    """Whether the whole answer comes before the connection is closed."""
    received = b""
    try:
        while piece := connection.recv(65536):
            received += piece
    except OSError:
        return False
    head, _, body = received.partition(b"\r\n\r\n")
    return head.startswith(b"HTTP/1.1 200 ") and body == DOCUMENT
