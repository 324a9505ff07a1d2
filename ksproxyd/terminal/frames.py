"""WebSocket frames, on the side of a client (RFC 6455): ours are masked, what comes must not be. No sockets here."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
_CONTINUATION = 0

#: Largest message that is taken, in bytes. Kubernetes sends pieces of 32 KiB.
LIMIT = 4 * 1024 * 1024

_FIN = 0x80
_MASKED = 0x80


class FrameError(Exception):
    """The peer does not speak the protocol. ``code`` is the close code for it."""

    def __init__(self, message: str, code: int = 1002) -> None:
        super().__init__(message)
        self.code = code


class Frame(NamedTuple):
    """A whole message, or a control frame. ``opcode`` is one of the constants above."""

    opcode: int
    payload: bytes


def frame(opcode: int, payload: bytes, key: bytes) -> bytes:
    """One frame that is a message of its own; ``key`` are four random bytes (RFC 6455, 5.3)."""
    length = len(payload)
    if length < 126:
        head = bytes([_FIN | opcode, _MASKED | length])
    elif length < 65536:
        head = struct.pack("!BBH", _FIN | opcode, _MASKED | 126, length)
    else:
        head = struct.pack("!BBQ", _FIN | opcode, _MASKED | 127, length)
    return head + key + masked(payload, key)


def masked(payload: bytes, key: bytes) -> bytes:
    """``payload`` combined with ``key``, and the other way round."""
    length = len(payload)
    if not length:
        return b""
    # One operation on big numbers is a thousand times as fast as one for each byte.
    repeated = (key * (length // 4 + 1))[:length]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(repeated, "little")).to_bytes(length, "little")


def close_payload(code: int, reason: str = "") -> bytes:
    """The payload of a close frame; the reason is cut to what fits (RFC 6455, 5.5)."""
    return struct.pack("!H", code) + reason.encode()[:123].decode("utf-8", "ignore").encode()


class Reader:
    """Puts messages together. ``limit`` is the largest one in bytes."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._opcode = 0
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes, take: Callable[[Frame], object]) -> None:
        """Give every message that is complete with ``data`` to ``take``, in order. Raises :class:`FrameError`."""
        self._buffer += data
        for found in self._frames():
            take(found)

    def _frames(self) -> Iterator[Frame]:
        buffer = self._buffer
        while len(buffer) >= 2:
            first, second = buffer[0], buffer[1]
            opcode, final = first & 0x0F, bool(first & _FIN)
            if first & 0x70:
                raise FrameError("a frame of an extension that was not agreed upon")
            if second & _MASKED:
                raise FrameError("a masked frame of a server")
            length, at = second & 0x7F, 2
            if length == 126:
                if len(buffer) < 4:
                    return
                length, at = int.from_bytes(buffer[2:4], "big"), 4
            elif length == 127:
                if len(buffer) < 10:
                    return
                length, at = int.from_bytes(buffer[2:10], "big"), 10
            self._check(opcode, final, length)
            if len(buffer) < at + length:
                return
            payload = bytes(buffer[at : at + length])
            del buffer[: at + length]
            if opcode >= CLOSE:
                yield Frame(opcode, payload)
                continue
            if opcode != _CONTINUATION:
                if final:
                    yield Frame(opcode, payload)
                    continue
                self._opcode = opcode
            self._parts.append(payload)
            self._size += length
            if final:
                whole = Frame(self._opcode, b"".join(self._parts))
                self._opcode, self._parts, self._size = 0, [], 0
                yield whole

    def _check(self, opcode: int, final: bool, length: int) -> None:
        if opcode in (CLOSE, PING, PONG):
            if not final or length > 125:
                raise FrameError("a control frame that is too long or in pieces")
        elif opcode == _CONTINUATION:
            if not self._opcode:
                raise FrameError("the continuation of no message")
        elif opcode in (TEXT, BINARY):
            if self._opcode:
                raise FrameError("a message within another one")
        else:
            raise FrameError(f"a frame of kind {opcode}, which there is not")
        if self._size + length > self._limit:
            raise FrameError(f"a message of more than {self._limit} bytes", 1009)
