"""HTTP/1.1 messages, read strictly and apart from the parser the gateway uses.

What the gateway sends must be exactly right, so nothing doubtful is understood here: it raises :class:`Malformed`.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_FIELD = re.compile(rb"(%b):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*?)[ \t]*" % _TOKEN)
_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9]) ([\t\x20-\x7e\x80-\xff]*)")
_REQUEST_LINE = re.compile(rb"(%b) ([\x21-\x7e]+) HTTP/1\.1" % _TOKEN)
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,15})")

Pairs = list[tuple[bytes, bytes]]


class Malformed(AssertionError):
    """A message is not well-formed."""


class Message:
    """What requests and answers have in common."""

    def __init__(self, headers: Pairs) -> None:
        self.headers = headers
        self.body = b""
        #: Everything has arrived.
        self.complete = False
        #: Where the body ends: ``none``, ``length``, ``chunked`` or (answers only) ``close``.
        self.framing = "none"

    def all(self, name: str) -> list[bytes]:
        """Every value of the field ``name``, in order."""
        key = name.lower().encode("ascii")
        return [value for found, value in self.headers if found.lower() == key]

    def get(self, name: str) -> bytes | None:
        """The only value of the field ``name``, None without. Raises :class:`Malformed` if there are several."""
        values = self.all(name)
        if len(values) > 1:
            raise Malformed(f"{len(values)} {name} fields: {values}")
        return values[0] if values else None

    def json(self) -> Any:
        """The body as JSON."""
        return msgspec.json.decode(self.body)


class Request(Message):
    """A request as a backend gets it."""

    def __init__(self, method: bytes, target: bytes, headers: Pairs) -> None:
        super().__init__(headers)
        self.method = method
        self.target = target
        #: The gateway cut the connection before the request was complete.
        self.broken = False

    def __repr__(self) -> str:
        return f"<Request {self.method!r} {self.target!r} {len(self.body)} bytes{'' if self.complete else ', partial'}>"


class Answer(Message):
    """An answer as a client gets it."""

    def __init__(self, status: int, headers: Pairs) -> None:
        super().__init__(headers)
        self.status = status
        #: The 1xx answers before this one.
        self.interim: list[Answer] = []

    def message(self) -> str:
        """The message of a Kubernetes ``Status``; raises :class:`Malformed` if the body is none for this answer."""
        status = self.json()
        if status.get("kind") != "Status" or status.get("code") != self.status or not status.get("message"):
            raise Malformed(f"no Status of code {self.status}: {self.body!r}")
        return str(status["message"])

    def __repr__(self) -> str:
        return f"<Answer {self.status} {self.body[:200]!r}>"


class _Reader:
    """Reads messages off a growing buffer: head, then body."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self._left = 0

    def _head(self) -> tuple[bytes, Pairs] | None:
        """First line and fields of the next message, None while they are incomplete."""
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        lines = bytes(self.buffer[:end]).split(b"\r\n")
        del self.buffer[: end + 4]
        fields: Pairs = []
        for line in lines[1:]:
            match = _FIELD.fullmatch(line)
            if match is None:
                raise Malformed(f"the field line {line!r}")
            fields.append((match[1], match[2]))
        return lines[0], fields

    def _frame(self, message: Message, otherwise: str) -> None:
        length, coding = message.get("content-length"), message.get("transfer-encoding")
        if length is not None and coding is not None:
            raise Malformed("both Content-Length and Transfer-Encoding")
        if coding is not None:
            if coding != b"chunked":
                raise Malformed(f"Transfer-Encoding {coding!r}")
            message.framing = "chunked"
        elif length is not None:
            if not length.isdigit():
                raise Malformed(f"Content-Length {length!r}")
            message.framing = "length"
            self._left = int(length)
        else:
            message.framing = otherwise

    def _body(self, message: Message) -> bool:
        """Read what there is of the body; whether it is complete now."""
        if message.framing == "none":
            message.complete = True
        elif message.framing == "length":
            piece = bytes(self.buffer[: self._left])
            del self.buffer[: self._left]
            self._left -= len(piece)
            message.body += piece
            message.complete = not self._left
        elif message.framing == "close":
            message.body += bytes(self.buffer)
            self.buffer.clear()
        else:
            self._chunks(message)
        return message.complete

    def _chunks(self, message: Message) -> None:
        """Take the chunks that are complete."""
        buffer = self.buffer
        while (end := buffer.find(b"\r\n")) >= 0:
            match = _CHUNK.fullmatch(bytes(buffer[:end]))
            if match is None:
                raise Malformed(f"the chunk size {bytes(buffer[:end])!r}")
            begin, size = end + 2, int(match[1], 16)
            if len(buffer) < begin + size + 2:
                return
            if buffer[begin + size : begin + size + 2] != b"\r\n":
                raise Malformed("a chunk that is not as long as it says, or trailers")
            message.body += bytes(buffer[begin : begin + size])
            del buffer[: begin + size + 2]
            if not size:
                message.complete = True
                return


class RequestReader(_Reader):
    """Requests as a backend reads them."""

    current: Request | None = None

    def next(self) -> Request | None:
        """The next request when its head is complete, then the same until its body is; None while there is none."""
        if self.current is None:
            head = self._head()
            if head is None:
                return None
            match = _REQUEST_LINE.fullmatch(head[0])
            if match is None:
                raise Malformed(f"the request line {head[0]!r}")
            self.current = Request(match[1], match[2], head[1])
            if len(self.current.all("host")) != 1:
                raise Malformed(f"the request has {len(self.current.all('host'))} Host fields")
            self._frame(self.current, "none")
        found = self.current
        if self._body(found):
            self.current = None
        return found


class AnswerReader(_Reader):
    """Answers as a client reads them; it must say what the request's method was."""

    def __init__(self) -> None:
        super().__init__()
        self._current: Answer | None = None
        self._interim: list[Answer] = []

    def next(self, method: str, closed: bool) -> Answer | None:
        """The next answer, final and complete, or None while it is not. ``closed``: nothing more will come."""
        while self._current is None:
            head = self._head()
            if head is None:
                return None
            match = _STATUS_LINE.fullmatch(head[0])
            if match is None:
                raise Malformed(f"the status line {head[0]!r}")
            answer = Answer(int(match[1]), head[1])
            if answer.status < 200 and answer.status != 101:
                if answer.all("content-length") or answer.all("transfer-encoding"):
                    raise Malformed(f"a {answer.status} with a body")
                self._interim.append(answer)
                continue
            answer.interim, self._interim = self._interim, []
            self._current = answer
            if method == "HEAD" or answer.status in (101, 204, 304):
                if answer.status in (101, 204) and (answer.all("content-length") or answer.all("transfer-encoding")):
                    raise Malformed(f"a {answer.status} with a body")
            else:
                self._frame(answer, "close")
        found = self._current
        done = self._body(found)
        if found.framing == "close" and closed:
            done = found.complete = True
        if not done:
            return None
        self._current = None
        return found

    @property
    def partial(self) -> Answer | None:
        """The answer whose head has come and whose body has not."""
        return self._current
