"""A steady load on a few paths, every answer of which is judged."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Probe:
    """A path to ask for, and what is a right answer to it."""

    path: str
    right: Callable[[int, bytes], bool]


@dataclass(frozen=True)
class Wrong:
    """An answer that should not have been; ``status`` is 0 where there was none, and ``what`` the error then."""

    at: float
    path: str
    status: int
    what: bytes


class Load:
    """Threads that ask for each probe in turn over keep-alive connections, ``period`` seconds apart each.

    Use with ``with``; afterwards ``counts`` has the answers by path and status, ``wrong`` the first wrong ones (all of
    them counted in ``wrong_count``), and ``slowest`` the longest any answer took.
    """

    def __init__(self, url: str, probes: Sequence[Probe], threads: int = 8, period: float = 0.01) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "", parts.port or 80)
        self._probes = probes
        self._period = period
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(threads)]
        self.counts: Counter[tuple[str, int]] = Counter()
        self.wrong: list[Wrong] = []
        self.wrong_count = 0
        self.slowest = 0.0

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def answered(self, path: str) -> int:
        with self._lock:
            return sum(count for (asked, _), count in self.counts.items() if asked == path)

    def _run(self, number: int) -> None:
        connection = http.client.HTTPConnection(*self._address, timeout=20)
        turn = number
        while not self._ended.wait(self._period):
            probe = self._probes[turn % len(self._probes)]
            turn += 1
            started = time.monotonic()
            try:
                connection.request("GET", probe.path)
                response = connection.getresponse()
                status, body = response.status, response.read()
                right = probe.right(status, body)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                status, body, right = 0, repr(error).encode(), False
            self._count(probe.path, status, body, right, time.monotonic() - started)
        connection.close()

    def _count(self, path: str, status: int, body: bytes, right: bool, took: float) -> None:
        with self._lock:
            self.counts[path, status] += 1
            self.slowest = max(self.slowest, took)
            if not right:
                self.wrong_count += 1
                if len(self.wrong) < 20:
                    self.wrong.append(Wrong(time.monotonic(), path, status, body[:300]))
