"""Redis' protocol on one connection: txredisapi's commands and reply queue, with a reader of our own.

What we need it to do differently:

- txredisapi signs in by itself and stops for ever when it is refused; here whoever has the connection does.
- It goes to the reactor once for every value it reads, the global one at that; here all replies that have arrived are
  handed out at once.
- It reads what looks like a number as one; here values are bytes.

Importing it installs the global reactor, as importing txredisapi does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from txredisapi import BaseRedisProtocol, ResponseError

#: The largest value and the longest list that are read; we write none that come near.
_MOST_BYTES = 2**24
_MOST_ITEMS = 2**20
_MOST_LINE = 65536


class Refused(ResponseError):
    """Redis' answer is an error. It prints as its code only: the rest may repeat what was asked, passwords too."""

    def __init__(self, line: str) -> None:
        super().__init__(line.partition(" ")[0])

    @property
    def code(self) -> str:
        """Such as ``NOAUTH``."""
        return str(self.args[0])


class NotRedis(Exception):
    """What came is not Redis' protocol."""


class _Incomplete(Exception):
    """The rest is still on its way."""


class RedisProtocol(BaseRedisProtocol):
    """One connection. ``made`` and ``lost`` are called when it is there and when it is gone."""

    def __init__(self, lost: Callable[[RedisProtocol, Failure], None]) -> None:
        super().__init__(charset=None, convertNumbers=False)
        self._data = bytearray()
        self._lost = lost
        #: Why the connection is gone; empty while it is there.
        self.reason = ""

    def connectionMade(self) -> None:
        """Nothing is said before somebody asks."""
        self.transport.setTcpNoDelay(True)
        self.transport.setTcpKeepAlive(True)

    def dataReceived(self, data: bytes, unpause: bool = False) -> None:
        """Hand out every reply that is complete."""
        self._data += data
        at = 0
        try:
            while at < len(self._data):
                reply, at = read_reply(self._data, at)
                self.replyReceived(reply)
        except _Incomplete:
            pass
        except NotRedis as error:
            self.reason = str(error)
            self.transport.abortConnection()
        del self._data[:at]

    def connectionLost(self, why: Failure) -> None:
        """Whoever has the connection is told, then whoever waits for a reply, who may ask again at once."""
        self.reason = self.reason or why.getErrorMessage()
        self._lost(self, why)
        super().connectionLost(why)


class RedisFactory(Factory):
    """Makes protocols that report to ``lost``."""

    noisy = False

    def __init__(self, lost: Callable[[RedisProtocol, Failure], None]) -> None:
        self._report = lost

    def buildProtocol(self, addr: IAddress | None) -> RedisProtocol:
        """One for a new connection."""
        return RedisProtocol(self._report)


def read_reply(data: bytearray, at: int, depth: int = 0) -> tuple[Any, int]:
    """The reply (RESP 2) that begins at ``at``, and where the next one does. Raises :class:`NotRedis`."""
    end = data.find(b"\r\n", at)
    if end < 0:
        if len(data) - at > _MOST_LINE:
            raise NotRedis("a line of the answer has no end")
        raise _Incomplete
    kind, line = data[at : at + 1], bytes(data[at + 1 : end])
    at = end + 2
    if kind == b"+":
        return line, at
    if kind == b"-":
        return Refused(line.decode("utf-8", "replace")), at
    try:
        number = int(line)
    except ValueError:
        raise NotRedis("the answer is not Redis' protocol") from None
    if kind == b":":
        return number, at
    if kind == b"$":
        if number < 0:
            return None, at
        if number > _MOST_BYTES:
            raise NotRedis("a value in the answer is too large")
        if len(data) < at + number + 2:
            raise _Incomplete
        return bytes(data[at : at + number]), at + number + 2
    if kind != b"*" or number > _MOST_ITEMS or depth > 8:
        raise NotRedis("the answer is not Redis' protocol")
    if number < 0:
        return None, at
    items = []
    for _ in range(number):
        item, at = read_reply(data, at, depth + 1)
        items.append(item)
    return items, at
