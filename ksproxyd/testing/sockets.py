"""Sockets without a kernel: two ends, a bounded buffer each way, and TCP's rules for closing.

Only what :class:`twisted.internet.tcp.Connection` calls is here, with the errors a non-blocking socket raises. Two
rules make mistakes visible that loopback tests only meet by chance: closing an end that has unread data resets the
connection, and a reset takes everything with it that the other end has not read yet.
"""

from __future__ import annotations

import errno
import socket
import struct

#: Bytes a direction holds before a write takes no more; what a small kernel buffer holds.
CAPACITY = 65536


class MemorySocket:
    """One end of a connection. Made in pairs by :func:`socket_pair`."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._incoming = bytearray()
        self._other: MemorySocket = self
        self._linger_reset = False
        #: The other end has sent its FIN; this one reads it behind what is in the buffer.
        self.finished_by_peer = False
        #: This end has sent its FIN.
        self.finished = False
        self.closed = False
        #: The connection was reset by either end.
        self.reset = False

    # -- what a reactor asks ---------------------------------------------------------------------------

    @property
    def readable(self) -> bool:
        """Whether :meth:`recv` would return or raise something other than "try later"."""
        return not self.closed and (bool(self._incoming) or self.finished_by_peer or self.reset)

    @property
    def writable(self) -> bool:
        """Whether :meth:`send` would take something, or fail for good."""
        return not self.closed and (self.reset or self._other.closed or self.room > 0)

    @property
    def room(self) -> int:
        """Bytes the direction away from here still takes."""
        return self._other.capacity - len(self._other._incoming)

    @property
    def waiting(self) -> int:
        """Bytes that have arrived here and have not been read."""
        return len(self._incoming)

    # -- the interface of a socket ---------------------------------------------------------------------

    def fileno(self) -> int:
        """Some number; no kernel stands behind it."""
        return id(self) & 0x7FFFFFFF

    def setblocking(self, blocking: bool) -> None:
        """Never blocks."""

    def setsockopt(self, level: int, option: int, value: int | bytes) -> None:
        """Only SO_LINGER with time 0 means something here: the close is a reset."""
        if level == socket.SOL_SOCKET and option == socket.SO_LINGER and isinstance(value, bytes):
            self._linger_reset = struct.unpack("ii", value) == (1, 0)

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        """Only the state in TCP_INFO: ESTABLISHED, CLOSE_WAIT or CLOSE."""
        if (level, option, size) != (socket.IPPROTO_TCP, socket.TCP_INFO, 1):
            raise OSError(errno.ENOPROTOOPT, "Protocol not available")
        return bytes((7 if self.reset else 8 if self.finished_by_peer else 1,))

    def recv(self, size: int) -> bytes:
        """Up to ``size`` bytes, or ``b""`` at the end. Raises :class:`OSError` as a kernel does."""
        if self._incoming:
            data = bytes(self._incoming[:size])
            del self._incoming[:size]
            return data
        if self.reset:
            raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
        if self.finished_by_peer:
            return b""
        raise BlockingIOError(errno.EWOULDBLOCK, "nothing to read")

    def send(self, data: bytes | memoryview) -> int:
        """As much of ``data`` as there is room for. Raises :class:`OSError` as a kernel does."""
        if self.closed or self.reset:
            raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
        if self.finished:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")
        other = self._other
        if other.closed:
            # Nobody is there any more: the kernel over there answers with a reset.
            self._was_reset()
            return len(data)
        taken = bytes(data[: self.room])
        if data and not taken:
            raise BlockingIOError(errno.EWOULDBLOCK, "no room")
        other._incoming += taken
        return len(taken)

    def shutdown(self, how: int) -> None:
        """Send a FIN (``SHUT_WR`` or ``SHUT_RDWR``)."""
        if self.closed or self.reset:
            raise OSError(errno.ENOTCONN, "not connected")
        if how != socket.SHUT_RD and not self.finished:
            self.finished = True
            self._other.finished_by_peer = True

    def close(self) -> None:
        """Let go of this end: a FIN, or a reset if data is unread or SO_LINGER says so."""
        if self.closed:
            return
        if self.reset or self._linger_reset or self._incoming:
            self._other._was_reset()
        elif not self.finished:
            self.shutdown(socket.SHUT_WR)
        self.closed = True
        self._incoming.clear()

    def _was_reset(self) -> None:
        if not self.closed:
            self.reset = True
            self._incoming.clear()


def socket_pair(capacity: int = CAPACITY) -> tuple[MemorySocket, MemorySocket]:
    """Two connected ends that hold ``capacity`` bytes each way."""
    one, other = MemorySocket(capacity), MemorySocket(capacity)
    one._other, other._other = other, one
    return one, other
