"""Requests at a fixed rate, whether or not the ones before are answered, and how long each took.

A generator that waits for an answer before it asks again asks less the slower the answers are, and saturates whatever
it measures. This one has the moments at which it asks from a seed, so that two measurements ask at the same moments,
and counts from the moment that was meant: what waits for a connection or for the generator itself has waited.

Run as a program: ``python -m bench.open_loop``, with its orders as JSON in the one argument. It shares nothing with
the benchmark but the processors.
"""

from __future__ import annotations

import gc
import heapq
import json
import random
import select
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from bench.accounting import cpu_seconds
from bench.contenders import Running

CONNECTIONS = 32


class OpenLoopError(Exception):
    """Requests failed, so what was measured means nothing."""


@dataclass(frozen=True)
class Orders:
    """``rate`` is requests a second on average, as if they came from many people who know nothing of each other."""

    port: int
    path: str
    headers: list[str]
    rate: float
    seconds: float
    seed: int


@dataclass(frozen=True)
class Latencies:
    """``seconds`` of every request, sorted; ``late`` is the 99th percentile of how late the generator itself was.

    ``cpu`` is the CPU time of the whole gateway process, as a part of one processor.
    """

    seconds: list[float]
    late: float
    cpu: float

    def at(self, percent: float) -> float:
        """A percentile, in seconds."""
        return percentile(self.seconds, percent)


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The value below which ``percent`` % of them are."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def open_loop(
    running: Running, path: str, rate: float, seconds: float, headers: Sequence[str] = (), *, seed: int = 1
) -> Latencies:
    """Ask ``running`` for ``path``. Raises :class:`OpenLoopError` if any request is not answered 200."""
    orders = Orders(running.port, path, list(headers), rate, seconds, seed)
    argv = [sys.executable, "-m", "bench.open_loop", json.dumps(asdict(orders))]
    before, begun = cpu_seconds(running.pid), time.monotonic()
    done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds + 60, check=False)
    used = (cpu_seconds(running.pid) - before) / (time.monotonic() - begun)
    if done.returncode:
        raise OpenLoopError(f"{running.process.name}: {done.stderr}; its log ends with:\n{running.process.tail()}")
    found = json.loads(done.stdout)
    return Latencies(found["seconds"], found["late"], used)


class _Connections:
    """Kept connections, each with at most one request under way."""

    def __init__(self, orders: Orders) -> None:
        lines = [f"GET {orders.path} HTTP/1.1", "Host: bench", *orders.headers]
        self._request = ("\r\n".join(lines) + "\r\n\r\n").encode()
        self._poll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._received: dict[int, bytes] = {}
        self._meant: dict[int, float] = {}
        self.free: list[int] = []
        self.seconds: list[float] = []
        for _ in range(CONNECTIONS):
            one = socket.create_connection(("127.0.0.1", orders.port))
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets[one.fileno()] = one
            self._poll.register(one.fileno(), select.EPOLLIN)
            self.free.append(one.fileno())

    def ask(self, meant: float) -> None:
        """Send a request that was to be sent at ``meant``."""
        number = self.free.pop()
        self._meant[number] = meant
        self._sockets[number].send(self._request)

    @property
    def under_way(self) -> int:
        return len(self._meant)

    def wait(self, seconds: float) -> None:
        """Take the answers that come within so long; returns after the first ones."""
        # epoll counts in whole milliseconds, select in microseconds.
        if select.select([self._poll], (), (), max(0.0, seconds))[0]:
            for number, _ in self._poll.poll(0):
                self._take(number)

    def _take(self, number: int) -> None:
        data = self._sockets[number].recv(65536)
        whole = self._received.pop(number, b"") + data
        head, end, body = whole.partition(b"\r\n\r\n")
        if not data:
            raise OpenLoopError("the connection was closed")
        if not end or len(body) < _length(head):
            self._received[number] = whole
            return
        if not head.startswith(b"HTTP/1.1 200 "):
            raise OpenLoopError(whole[:300].decode(errors="replace"))
        self.seconds.append(time.perf_counter() - self._meant.pop(number))
        self.free.append(number)


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        if line[:15].lower() == b"content-length:":
            return int(line[15:])
    raise OpenLoopError("an answer does not say how long it is")


def _run(orders: Orders) -> dict[str, object]:
    draw = random.Random(orders.seed)
    moments, moment = [], 0.0
    while (moment := moment + draw.expovariate(orders.rate)) < orders.seconds:
        moments.append(moment)
    connections = _Connections(orders)
    # Collecting garbage takes longer than an answer.
    gc.disable()
    begun = time.perf_counter() + 0.01
    ahead = deque(begun + moment for moment in moments)
    late: list[float] = []
    limit = begun + orders.seconds + 30
    while ahead or connections.under_way:
        now = time.perf_counter()
        if now > limit:
            raise OpenLoopError(f"{connections.under_way} requests are not answered")
        while ahead and connections.free and ahead[0] <= now:
            late.append(now - ahead[0])
            connections.ask(ahead.popleft())
        connections.wait(ahead[0] - time.perf_counter() if ahead and connections.free else 1.0)
    return {"seconds": sorted(connections.seconds), "late": min(heapq.nlargest(max(1, len(late) // 100), late))}


if __name__ == "__main__":
    print(json.dumps(_run(Orders(**json.loads(sys.argv[1])))))
