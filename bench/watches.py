"""Many idle watches through one gateway: how long opening them takes, and what each of them keeps in memory."""

from __future__ import annotations

import selectors
import socket
import time
from contextlib import ExitStack
from pathlib import Path

from bench.accounting import resident
from bench.contenders import Gateway
from bench.load import LoadError
from bench.site import Site
from bench.table import table

PATH = "/api/v1/pods?watch=true"

AT_ONCE = 100
"""Watches that are being opened at a time."""

LIMIT = 120.0
"""Seconds that opening all of them may take."""

_FILES = 200
"""Files that a process has open beside connections."""


def most(files: int, count: int) -> int:
    """How many of ``count`` watches a limit of open files allows; the gateway needs two files each."""
    return min(count, (files - _FILES) // 2)


class Watches:
    """``count`` watches of the Kubernetes API, each on a connection of its own."""

    def __init__(self, site: Site, folder: Path, count: int) -> None:
        self._site = site
        self._folder = folder
        self.count = count
        self.seconds = 0.0
        self.memory = 0
        self.ready_seconds = 0.0

    def measure(self) -> None:
        """Open them all, look, close them."""
        with ExitStack() as stack:
            gateway = stack.enter_context(Gateway(self._site, self._folder, stub=True))
            request = f"GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1:{gateway.port}\r\n\r\n".encode()
            idle = resident(gateway.pid)
            begun = time.monotonic()
            self._open(stack, gateway.port, request)
            self.seconds = time.monotonic() - begun
            # Buffers of what has just been done are given back.
            time.sleep(1.0)
            self.memory = resident(gateway.pid) - idle
            # The gateway watches its own kinds, too.
            if self._site.count("watching") < self.count:
                raise LoadError(f"the backend has only {self._site.count('watching')} of {self.count} watches")
            begun = time.monotonic()
            if not gateway.answers("/readyz"):
                raise LoadError(f"with {self.count} watches open the gateway is not ready")
            self.ready_seconds = time.monotonic() - begun

    def _open(self, stack: ExitStack, port: int, request: bytes) -> None:
        selector = stack.enter_context(selectors.DefaultSelector())
        opened = begun = 0
        deadline = time.monotonic() + LIMIT
        while opened < self.count:
            while begun < self.count and begun - opened < AT_ONCE:
                connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
                connection.sendall(request)
                selector.register(connection, selectors.EVENT_READ, bytearray())
                begun += 1
            for key, _ in selector.select(1.0):
                assert isinstance(key.fileobj, socket.socket)
                piece = key.fileobj.recv(65536)
                key.data.extend(piece)
                if not piece or not key.data.startswith(b"HTTP/1.1 200 "[: len(key.data)]):
                    raise LoadError(f"watch {opened} was answered {bytes(key.data[:200])!r}")
                if b"BOOKMARK" in key.data:
                    selector.unregister(key.fileobj)
                    opened += 1
            if time.monotonic() > deadline:
                raise LoadError(f"only {opened} of {self.count} watches were open after {LIMIT:g} s")

    def report(self) -> str:
        """The table."""
        line = [
            f"{self.count:,} idle watches",
            f"{self.seconds:.2f} s",
            f"{self.memory / self.count / 1024:.1f} KiB",
            f"{self.ready_seconds * 1e3:.0f} ms",
        ]
        return table(["one process", "opened in", "memory each", "/readyz meanwhile"], [line])
