"""Reads a form as it comes (RFC 7578, RFC 2046 5.1): files of any size, in bounded memory."""

from __future__ import annotations

import re
from typing import NamedTuple, Protocol

#: Largest head of a part in bytes, most parts of a form, and bytes before the first of them.
HEAD = 8192
PARTS = 1000
PREAMBLE = 4096

_BOUNDARY = re.compile(rb"""(?i);\s*boundary=(?:"([^"\r\n]{1,70})"|([^\s";,]{1,70}))""")
_PARAMETER = re.compile(rb"""(?i);\s*(name|filename)=(?:"((?:[^"\\\r\n]|\\["\\]|\\)*)"|([^\s";]+))""")
_ESCAPED = re.compile(rb'\\(["\\])')


class Malformed(ValueError):
    """The body is no such form; the text says why."""


class Parts(Protocol):
    """Who hears of the parts, in order."""

    def part(self, name: str, filename: str | None, kind: str) -> None:
        """A part begins; without a file name it is a field. ``kind`` is its ``Content-Type``, in lower case."""

    def content(self, data: bytes) -> None:
        """Bytes of the part that began last."""

    def part_end(self) -> None:
        """The part is complete."""


def boundary_of(content_type: bytes) -> bytes:
    """The boundary in a ``Content-Type``. Raises :class:`Malformed`."""
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise Malformed("there is no boundary in the Content-Type")
    return found[1] or found[2]


class Reader:
    """Takes the body in pieces of any size. :attr:`done`: the last boundary has come; what follows means nothing.

    ``most`` are the parts that a form may have.
    """

    def __init__(self, boundary: bytes, parts: Parts, most: int = PARTS) -> None:
        self._mark = b"\r\n--" + boundary
        self._parts = parts
        self._most = most
        # As if a line had ended before: the first boundary may be the very beginning.
        self._buffer = b"\r\n"
        self._count = 0
        self._step = self._preamble
        self.done = False

    def feed(self, data: bytes) -> None:
        """The next bytes. Raises :class:`Malformed`, and whatever :class:`Parts` raises."""
        if self.done:
            return
        self._buffer += data
        while not self.done and self._step():
            pass

    def end(self) -> None:
        """The body is over. Raises :class:`Malformed` if the form is not."""
        if not self.done:
            raise Malformed("the form breaks off")

    # Each step does what it can with the buffer and says whether there is more to do with what is there.

    def _preamble(self) -> bool:
        at = self._buffer.find(self._mark)
        if at < 0:
            if len(self._buffer) > PREAMBLE:
                raise Malformed("the form does not begin with its boundary")
            return False
        self._buffer = self._buffer[at + len(self._mark) :]
        self._step = self._behind_mark
        return True

    def _behind_mark(self) -> bool:
        if len(self._buffer) < 2:
            return False
        if self._buffer.startswith(b"--"):
            self.done = True
            self._buffer = b""
            return False
        end = self._buffer.find(b"\r\n")
        if end < 0:
            if len(self._buffer) > HEAD:
                raise Malformed("a boundary does not end")
            return False
        if self._buffer[:end].strip(b" \t"):
            raise Malformed("a boundary is followed by something else than the end of its line")
        self._buffer = self._buffer[end:]
        self._step = self._head
        return True

    def _head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or end > HEAD:
            if len(self._buffer) > HEAD:
                raise Malformed("the head of a part is too long")
            return False
        head, self._buffer = self._buffer[:end], self._buffer[end + 4 :]
        self._count += 1
        if self._count > self._most:
            raise Malformed(f"the form has more than {self._most} parts")
        self._parts.part(*_described(head))
        # The content may be empty, and its end the line that ended the head.
        self._buffer = b"\r\n" + self._buffer if self._buffer.startswith(self._mark[2:]) else self._buffer
        self._step = self._content
        return True

    def _content(self) -> bool:
        at = self._buffer.find(self._mark)
        if at >= 0:
            content, self._buffer = self._buffer[:at], self._buffer[at + len(self._mark) :]
            if content:
                self._parts.content(content)
            self._parts.part_end()
            self._step = self._behind_mark
            return True
        # The end of what is there may be the beginning of a boundary.
        safe = len(self._buffer) - len(self._mark) + 1
        if safe > 0:
            content, self._buffer = self._buffer[:safe], self._buffer[safe:]
            self._parts.content(content)
        return False


def _described(head: bytes) -> tuple[str, str | None, str]:
    """Name, file name and type of a part."""
    fields: dict[bytes, bytes] = {}
    for line in head.split(b"\r\n"):
        field, _, value = line.partition(b":")
        fields.setdefault(field.strip().lower(), value.strip())
    disposition = fields.get(b"content-disposition")
    if disposition is None:
        raise Malformed("a part does not say what it is: Content-Disposition is missing")
    if not disposition.lower().startswith(b"form-data"):
        raise Malformed("a part is no form-data")
    said: dict[bytes, bytes] = {}
    for name, quoted, plain in _PARAMETER.findall(disposition):
        said.setdefault(name.lower(), _ESCAPED.sub(rb"\1", quoted) if quoted or not plain else plain)
    filename = said.get(b"filename")
    kind = fields.get(b"content-type", b"").partition(b";")[0].strip().lower()
    return (
        said.get(b"name", b"").decode("utf-8", "replace"),
        None if filename is None else filename.decode("utf-8", "replace"),
        kind.decode("latin-1"),
    )


class Part(NamedTuple):
    """One part of a form that is in memory; see :meth:`Parts.part`."""

    name: str
    filename: str | None
    kind: str
    content: bytes


class _Whole:
    """Keeps the parts."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self._head: tuple[str, str | None, str] = ("", None, "")
        self._content: list[bytes] = []

    def part(self, name: str, filename: str | None, kind: str) -> None:
        self._head, self._content = (name, filename, kind), []

    def content(self, data: bytes) -> None:
        self._content.append(data)

    def part_end(self) -> None:
        self.parts.append(Part(*self._head, b"".join(self._content)))


def read_parts(content_type: bytes, body: bytes, most: int) -> list[Part]:
    """The parts of a form that is in memory already, ``most`` of them. Raises :class:`Malformed`."""
    found = _Whole()
    reader = Reader(boundary_of(content_type), found, most)
    reader.feed(body)
    reader.end()
    return found.parts
