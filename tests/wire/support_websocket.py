"""A WebSocket client in a test's hands: it can also send what no client may."""

from __future__ import annotations

import struct
from typing import NamedTuple

from ksproxyd.terminal.frames import masked
from ksproxyd.testing.messages import Answer
from ksproxyd.testing.server import Client

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

_MASK = b"\x11\x22\x33\x44"


class Got(NamedTuple):
    """A frame of the server's."""

    opcode: int
    payload: bytes

    @property
    def code(self) -> int:
        """The code of a close frame, 0 without."""
        return int.from_bytes(self.payload[:2], "big")

    @property
    def reason(self) -> str:
        """The reason of a close frame."""
        return self.payload[2:].decode()


def handshake(
    target: str = "/", *more: str, key: str = KEY, version: str = "13", host: str = "gateway.example"
) -> bytes:
    """The request of a WebSocket client."""
    lines = [f"GET {target} HTTP/1.1", f"Host: {host}", "Connection: Upgrade", "Upgrade: websocket"]
    if version:
        lines.append(f"Sec-WebSocket-Version: {version}")
    if key:
        lines.append(f"Sec-WebSocket-Key: {key}")
    return "\r\n".join([*lines, *more, "", ""]).encode("latin-1")


def frame(opcode: int, payload: bytes = b"", *, final: bool = True, mask: bytes | None = _MASK, rsv: int = 0) -> bytes:
    """A frame of a client; ``mask`` None: one that is not masked."""
    first = (0x80 if final else 0) | rsv << 4 | opcode
    size, bit = len(payload), 0x80 if mask is not None else 0
    if size < 126:
        head = bytes([first, bit | size])
    elif size < 65536:
        head = struct.pack("!BBH", first, bit | 126, size)
    else:
        head = struct.pack("!BBQ", first, bit | 127, size)
    return head + payload if mask is None else head + mask + masked(payload, mask)


class Browser:
    """Speaks WebSocket on ``client`` once :meth:`open` has been answered."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.head: Answer | None = None
        self._buffer = b""

    def open(self, request: bytes) -> Answer:
        """Send a handshake; the answer, whatever it is."""
        self.client.send(request)
        got = self.client.take()
        head, _, rest = got.partition(b"\r\n\r\n")
        if head.startswith(b"HTTP/1.1 101 "):
            lines = [line.partition(b": ")[::2] for line in head.split(b"\r\n")[1:]]
            self.head = Answer(101, [(n, v) for n, v in lines])
            self._buffer = rest
            return self.head
        self.client._answers.buffer += got
        return self.client.answer()

    def send(self, payload: str | bytes, *, opcode: int = 0, at_once: int = 0) -> None:
        """Send a message: text for a string, binary for bytes."""
        kind = opcode or (TEXT if isinstance(payload, str) else BINARY)
        self.client.send(frame(kind, payload.encode() if isinstance(payload, str) else payload), at_once=at_once)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Say goodbye."""
        self.client.send(frame(CLOSE, struct.pack("!H", code) + reason.encode()))

    def read_some(self, size: int) -> None:
        """Take a few bytes although :attr:`Peer.reading` is not set."""
        self._buffer += self.client.socket.recv(size)
        self.client.reactor.settle()

    def frames(self) -> list[Got]:
        """What has come since."""
        self.client.reactor.settle()
        self._buffer += self.client.take()
        data, found = self._buffer, []
        while len(data) >= 2:
            assert data[0] & 0x80, "servers of ours send messages in one piece"
            assert not data[0] & 0x70
            assert not data[1] & 0x80, "servers do not mask"
            opcode, size, at = data[0] & 15, data[1], 2
            if size == 126:
                size, at = int.from_bytes(data[2:4], "big"), 4
            elif size == 127:
                size, at = int.from_bytes(data[2:10], "big"), 10
            if len(data) < at + size:
                break
            found.append(Got(opcode, data[at : at + size]))
            data = data[at + size :]
        self._buffer = data
        return found

    def texts(self) -> list[str]:
        """The text messages that have come since; fails if something else has."""
        got = self.frames()
        assert all(each.opcode == TEXT for each in got), got
        return [each.payload.decode() for each in got]
