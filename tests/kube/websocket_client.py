"""A blocking WebSocket client for tests, and one that speaks a terminal's JSON messages.

It reads no more than it is asked to, so that a test decides how fast a browser is.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import ssl
import struct
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from ksproxyd.terminal.frames import BINARY, CLOSE, PING, PONG, TEXT, Frame, Reader, close_payload, frame

LIMIT = 20.0
"""Seconds that a test waits for anything, unless it says otherwise."""


class Refused(Exception):
    """The answer was not 101."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"HTTP {status}: {body[:500]!r}")
        self.status = status
        self.body = body


class WebSocketClient:
    """One connection. ``closed`` is the code and reason of the server's close frame, (1006, "") if there was none."""

    def __init__(
        self,
        url: str,
        target: str,
        token: str = "",
        *,
        fields: Iterable[tuple[str, str]] = (),
        protocols: Iterable[str] = (),
        window: int = 0,
        context: ssl.SSLContext | None = None,
    ) -> None:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 80
        self.socket = socket.socket()
        if window:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        self.socket.settimeout(LIMIT)
        self.closed: tuple[int, str] | None = None
        self._reader = Reader(1 << 24)
        self._frames: list[Frame] = []
        try:
            self.socket.connect((host, port))
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if context is not None:
                self.socket = context.wrap_socket(self.socket, server_hostname=host)
            self.socket.sendall(_head(f"{host}:{port}", target, token, fields, protocols))
            self.protocol = self._read_head()
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self) -> WebSocketClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.socket.close()

    def _read_head(self) -> str:
        data = b""
        while b"\r\n\r\n" not in data:
            more = self.socket.recv(65536)
            if not more:
                raise Refused(0, data)
            data += more
        head, _, rest = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        status = int(lines[0].split()[1])
        if status != 101:
            length = int(fields.get("content-length", "0"))
            while len(rest) < length and (more := self.socket.recv(65536)):
                rest += more
            raise Refused(status, rest)
        self._reader.feed(rest, self._frames.append)
        return fields.get("sec-websocket-protocol", "")

    def send(self, payload: bytes, opcode: int = TEXT) -> None:
        self.socket.sendall(frame(opcode, payload, os.urandom(4)))

    def next(self, seconds: float = LIMIT) -> Frame | None:
        """The next message; None at the end. Raises :class:`TimeoutError`."""
        deadline = time.monotonic() + seconds
        while True:
            while self._frames:
                found = self._frames.pop(0)
                if found.opcode == PING:
                    self.send(found.payload, PONG)
                elif found.opcode == CLOSE:
                    self._goodbye(found.payload)
                elif found.opcode in (TEXT, BINARY):
                    return found
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("nothing came")
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(65536)
            except ConnectionError:
                data = b""
            if not data:
                self.closed = self.closed or (1006, "")
                return None
            self._reader.feed(data, self._frames.append)

    def _goodbye(self, payload: bytes) -> None:
        code = struct.unpack("!H", payload[:2])[0] if len(payload) >= 2 else 1005
        if self.closed is None:
            self.closed = code, payload[2:].decode()
            with contextlib.suppress(OSError):
                self.send(payload[:2], CLOSE)

    def close(self, code: int = 1000) -> None:
        """Say goodbye and wait for the server's."""
        self.send(close_payload(code), CLOSE)
        while self.next() is not None:
            pass


def _head(host: str, target: str, token: str, fields: Iterable[tuple[str, str]], protocols: Iterable[str]) -> bytes:
    offered = ", ".join(protocols)
    lines = [
        f"GET {target} HTTP/1.1",
        f"Host: {host}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        *([f"Authorization: Bearer {token}"] if token else []),
        *([f"Sec-WebSocket-Protocol: {offered}"] if offered else []),
        *(f"{name}: {value}" for name, value in fields),
    ]
    return "\r\n".join([*lines, "", ""]).encode()


class Terminal(WebSocketClient):
    """A terminal as a page has it. ``shown`` is all output, ``toasts`` what the gateway itself said."""

    def __init__(self, url: str, target: str, token: str = "", **options: Any) -> None:
        self.shown = ""
        self.toasts: list[str] = []
        super().__init__(url, target, token, **options)

    def type(self, text: str) -> None:
        self.send(json.dumps({"Op": "stdin", "Data": text}).encode())

    def resize(self, columns: int, rows: int) -> None:
        self.send(json.dumps({"Op": "resize", "Cols": columns, "Rows": rows}).encode())

    def take(self, seconds: float = LIMIT) -> str | None:
        """The next output, "" for another message, None at the end."""
        found = self.next(seconds)
        if found is None:
            return None
        message = json.loads(found.payload)
        if message["Op"] == "stdout":
            self.shown += message["Data"]
            return str(message["Data"])
        if message["Op"] == "toast":
            self.toasts.append(message["Data"])
        return ""

    def expect(self, wanted: str, seconds: float = LIMIT) -> str:
        """Read until ``wanted`` is shown; what was shown up to its end is returned and forgotten."""
        deadline = time.monotonic() + seconds
        while wanted not in self.shown:
            try:
                more = self.take(max(0.001, deadline - time.monotonic()))
            except TimeoutError:
                raise AssertionError(f"{wanted!r} was not shown, but {self.shown[-500:]!r} {self.toasts}") from None
            if more is None:
                raise AssertionError(f"{self.closed} before {wanted!r}: {self.shown[-500:]!r} {self.toasts}")
        at = self.shown.index(wanted) + len(wanted)
        seen, self.shown = self.shown[:at], self.shown[at:]
        return seen

    def end(self, seconds: float = LIMIT) -> tuple[int, str]:
        """Read to the end; how it was closed."""
        deadline = time.monotonic() + seconds
        while self.take(max(0.001, deadline - time.monotonic())) is not None:
            pass
        assert self.closed is not None
        return self.closed
