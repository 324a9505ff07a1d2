"""Logins at a fixed rate, whether or not the ones before are answered."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator
from statistics import median

from bench.load import LoadError
from bench.login_gateway import LoginGateway

LOGINS = 200
"""Logins a second that are asked for."""


class Flood:
    """:data:`LOGINS` logins a second, of the users in ``names``, for as long as the ``with`` lasts.

    ``outcomes`` counts the statuses (0: no answer), ``told_when`` the refusals that say when to come again. ``seconds``
    are what each answer took, by status.
    """

    def __init__(self, gateway: LoginGateway, names: Iterator[str]) -> None:
        self.outcomes: Counter[int] = Counter()
        self.seconds: dict[int, list[float]] = {}
        self.told_when = 0
        self._exhausted = False
        self._gateway = gateway
        self._names = names
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="logins")

    def __enter__(self) -> Flood:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()
        if self._exhausted:
            raise LoadError("there were not enough users for so many logins: what was measured had none beside it")

    def typical(self, status: int) -> float:
        """The median of what answers with this status took; 0 if there are none."""
        return median(self.seconds.get(status, [0.0]))

    async def _run(self) -> None:
        begun = time.monotonic()
        under_way: set[asyncio.Task[None]] = set()
        sent = 0
        while not self._over.is_set():
            while sent < (time.monotonic() - begun) * LOGINS:
                name = next(self._names, None)
                if name is None:
                    self._exhausted = True
                    self._over.set()
                    break
                task = asyncio.create_task(self._one(name))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
                sent += 1
            await asyncio.sleep(1 / LOGINS)
        for task in tuple(under_way):
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        for _, writer in self._free:
            writer.close()

    async def _one(self, name: str) -> None:
        begun = time.monotonic()
        status, head = 0, b""
        try:
            # As they come from a console, or from a proxy before us: over connections that are kept.
            reader, writer = (
                self._free.pop() if self._free else await asyncio.open_connection("127.0.0.1", self._gateway.port)
            )
            writer.write(_request(self._gateway.form(name)))
            head = await reader.readuntil(b"\r\n\r\n")
            status = int(head.split(b" ", 2)[1])
            await reader.readexactly(_length(head))
            self._free.append((reader, writer))
        except (OSError, asyncio.IncompleteReadError):
            status = 0
        self.outcomes[status] += 1
        self.seconds.setdefault(status, []).append(time.monotonic() - begun)
        if status in (429, 503) and b"\r\nretry-after:" in head.lower():
            self.told_when += 1


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        if line[:15].lower() == b"content-length:":
            return int(line[15:])
    return 0


def _request(body: bytes) -> bytes:
    head = (
        "POST /oauth/token HTTP/1.1\r\nHost: bench\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
