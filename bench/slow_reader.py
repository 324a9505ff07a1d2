"""A client that reads slowly what a backend sends fast: how much of it the gateway holds meanwhile."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from pathlib import Path

from bench.accounting import forget_peak, peak_resident, resident
from bench.contenders import Gateway, Running
from bench.download import ask
from bench.load import LoadError
from bench.site import Site
from bench.table import mebibytes, table

READERS = 4
"""Clients that read at a time."""

_PIECE = 65536
_PAUSE = 0.02


@dataclass(frozen=True)
class Result:
    """Bytes of memory over idle at the worst moment, and bytes read meanwhile by all readers."""

    upstream: str
    memory: int
    read: int


class SlowReaders:
    """ksproxyd with :data:`READERS` slow clients, over each kind of upstream."""

    def __init__(self, site: Site, folder: Path) -> None:
        self._site = site
        self._folder = folder
        self.results: list[Result] = []

    def measure(self, seconds: float) -> None:
        """Read for so long over each, then leave in the middle."""
        site = self._site
        with Gateway(site, self._folder) as gateway:
            for upstream, route in (("plain", site.plain_route), ("TLS", site.tls_route)):
                self.results.append(self._read(gateway, upstream, route.proxy_prefix + site.big_path, seconds))

    def _read(self, gateway: Running, upstream: str, path: str, seconds: float) -> Result:
        forget_peak(gateway.pid)
        idle = resident(gateway.pid)
        connections: list[socket.socket] = []
        total = 0
        try:
            for _ in range(READERS):
                connections.append(ask(gateway, path)[0])
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                for connection in connections:
                    count = len(connection.recv(_PIECE))
                    if not count:
                        raise LoadError("the body ended early")
                    total += count
                time.sleep(_PAUSE)
        finally:
            for connection in connections:
                connection.close()
        return Result(upstream, peak_resident(gateway.pid) - idle, total)

    def report(self) -> str:
        """The table."""
        size = self._site.big >> 20
        lines = [[result.upstream, mebibytes(result.read), mebibytes(result.memory)] for result in self.results]
        return table([f"{READERS} slow readers of {size} MiB each, upstream", "read by all", "memory over idle"], lines)
