"""Logins at a fixed rate, whether or not the ones before are answered.

Who logs in shares the processors with what is measured here, though nowhere else: so whoever does it for the benchmark
has to cost as little as can be.
"""

from __future__ import annotations

import select
import socket
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
        self._problem: Exception | None = None
        self._gateway = gateway
        self._names = names
        self._poll = select.epoll()
        # As they come from a console, or from a proxy before us: over connections that are kept.
        self._sockets: dict[int, socket.socket] = {}
        self._free: list[int] = []
        self._under_way: dict[int, tuple[float, bytes]] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="logins")

    def __enter__(self) -> Flood:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()
        for one in self._sockets.values():
            one.close()
        self._poll.close()
        if self._problem is not None:
            raise self._problem

    def typical(self, status: int) -> float:
        """The median of what answers with this status took; 0 if there are none."""
        return median(self.seconds.get(status, [0.0]))

    def _run(self) -> None:
        try:
            self._ask()
        except Exception as error:
            # It belongs to whoever waits for the end of the ``with``.
            self._problem = error

    def _ask(self) -> None:
        begun, sent = time.monotonic(), 0
        while not self._over.is_set():
            wait = begun + sent / LOGINS - time.monotonic()
            if wait <= 0:
                self._send()
                sent += 1
            # epoll counts in whole milliseconds, select in microseconds.
            elif select.select([self._poll], (), (), wait)[0]:
                for number, _ in self._poll.poll(0):
                    self._take(number)

    def _send(self) -> None:
        name = next(self._names, None)
        if name is None:
            raise LoadError("there were not enough users for so many logins: what was measured had none beside it")
        number = self._free.pop() if self._free else self._connect()
        self._under_way[number] = time.monotonic(), b""
        self._sockets[number].sendall(_request(self._gateway.form(name)))

    def _connect(self) -> int:
        one = socket.create_connection(("127.0.0.1", self._gateway.port))
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        number = one.fileno()
        self._sockets[number] = one
        self._poll.register(number, select.EPOLLIN)
        return number

    def _take(self, number: int) -> None:
        try:
            data = self._sockets[number].recv(65536)
        except OSError:
            data = b""
        if not data:
            # Closed: in the midst of an answer, or after one.
            if number in self._under_way:
                self._note(0, self._under_way.pop(number)[0], b"")
            else:
                self._free.remove(number)
            self._sockets.pop(number).close()
            return
        begun, before = self._under_way[number]
        whole = before + data
        head, end, body = whole.partition(b"\r\n\r\n")
        if not end or len(body) < _length(head):
            self._under_way[number] = begun, whole
            return
        del self._under_way[number]
        self._free.append(number)
        self._note(int(head.split(b" ", 2)[1]), begun, head)

    def _note(self, status: int, begun: float, head: bytes) -> None:
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
    return (
        b"POST /oauth/token HTTP/1.1\r\nHost: bench\r\n"
        b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    )
