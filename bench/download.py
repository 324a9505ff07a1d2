"""A big body: how fast it goes through, what CPU it takes, and how much memory is held meanwhile."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench.accounting import cpu_seconds, forget_peak, peak_resident, resident
from bench.contenders import Gateway, Running, go_proxy, nginx_proxy
from bench.load import LoadError
from bench.requests import NGINX
from bench.site import GIB, Site
from bench.table import mebibytes, table, times

_BUFFER = 1 << 20
TIMEOUT = 60.0
"""Seconds without a byte after which a download is given up."""

GO = "Go httputil.ReverseProxy"


def ask(running: Running, path: str) -> tuple[socket.socket, bytes, int]:
    """Ask for ``path``: the connection, what came of the body with the head, and the length of the body."""
    connection = socket.create_connection(("127.0.0.1", running.port), timeout=TIMEOUT)
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{running.port}\r\n\r\n".encode())
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(65536)
        if not piece:
            raise LoadError(f"{running.process.name} closed the connection without an answer")
        received += piece
    head, _, rest = received.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
    if b" 200 " not in status + b" ":
        raise LoadError(f"{running.process.name} answers {status.decode('latin-1')}")
    return connection, rest, int(fields[b"content-length"])


@dataclass
class Row:
    """One proxy: bytes a second, seconds of CPU time a GiB, bytes of memory over idle."""

    name: str
    running: Running
    path: str
    rates: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)

    def run(self) -> None:
        """Download once."""
        pid = self.running.pid
        forget_peak(pid)
        idle, used, begun = resident(pid), cpu_seconds(pid), time.monotonic()
        connection, rest, length = ask(self.running, self.path)
        with connection:
            left = length - len(rest)
            buffer = memoryview(bytearray(_BUFFER))
            while left:
                count = connection.recv_into(buffer)
                if not count:
                    raise LoadError(f"{self.running.process.name} broke off {left} bytes before the end")
                left -= count
        self.rates.append(length / (time.monotonic() - begun))
        self.cpu.append((cpu_seconds(pid) - used) * GIB / length)
        self.memory.append(peak_resident(pid) - idle)


class Downloads:
    """All proxies that stream well, over one kind of upstream."""

    def __init__(self, site: Site, folder: Path, go: Path | None, *, tls: bool) -> None:
        self._site = site
        self._folder = folder
        self._go = go
        self._tls = tls
        self.rows: list[Row] = []

    def measure(self, rounds: int) -> None:
        """Start them, let each have its turn in every round, stop them."""
        site, folder, tls = self._site, self._folder, self._tls
        path = site.big_path
        with ExitStack() as stack:
            front = nginx_proxy(site, folder, tls=tls)
            if front is not None:
                self.rows.append(Row(NGINX, stack.enter_context(front), path))
            gateway = Gateway(site, folder, tls=tls)
            # stripPathPrefix leaves the path that the backend has.
            proxied = (site.tls_route if tls else site.plain_route).proxy_prefix + path
            self.rows.append(Row("ksproxyd", stack.enter_context(gateway), proxied))
            if self._go is not None:
                program = go_proxy(site, folder, self._go, tls=tls)
                self.rows.append(Row(GO, stack.enter_context(program), path))
            for number in range(rounds):
                first = number % len(self.rows)
                for row in (*self.rows[first:], *self.rows[:first]):
                    row.run()

    def ratio(self, name: str, to: str) -> float | None:
        """The median of ``name``'s rate over ``to``'s; None if one of them was not there."""
        found = {row.name: row.rates for row in self.rows}
        if name not in found or to not in found:
            return None
        return median(ours / theirs for ours, theirs in zip(found[name], found[to], strict=True))

    def report(self) -> str:
        """The table."""
        lines = [
            [
                row.name,
                f"{median(row.rates) / 1e6:,.0f} MB/s",
                times(self.ratio(row.name, NGINX)),
                times(self.ratio(row.name, GO)),
                f"{median(row.cpu):.2f} s",
                mebibytes(max(row.memory)),
            ]
            for row in self.rows
        ]
        what = f"{self._site.big >> 20} MiB, {'TLS' if self._tls else 'plain'} upstream"
        return table([what, "rate", "to nginx's", "to Go's", "CPU a GiB", "memory over idle"], lines)
