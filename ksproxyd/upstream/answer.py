"""The head of a backend's answer, as a value."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ksproxyd.model.memory import Memory
from ksproxyd.model.message import Item
from ksproxyd.model.status_lines import status_line


class AnswerHead:
    """The head of a final answer: end-to-end fields only.

    ``length`` None: known at the end. ``dated``: there is a ``Date`` among the fields. ``reusable``: the connection may
    serve another request afterwards. ``lines`` are the fields, ready to send; ``whole`` is the head as most clients
    get it (see :meth:`ksproxyd.server.exchange.Exchange.start_lines`), empty where it is not so simple. Heads with the
    same bytes may be one object, so it is not to be changed.
    """

    __slots__ = ("dated", "items", "length", "lines", "reusable", "status", "whole")

    def __init__(
        self,
        status: int,
        items: tuple[Item, ...],
        length: int | None,
        dated: bool,
        reusable: bool,
        lines: bytes | None = None,
    ) -> None:
        """``lines`` are :func:`field_lines` of ``items``, where they are there already."""
        self.status = status
        self.items = items
        self.length = length
        self.dated = dated
        self.reusable = reusable
        self.lines = lines = field_lines(items) if lines is None else lines
        if dated and length is not None and status not in (204, 304):
            self.whole = b"%b%bContent-Length: %d\r\n\r\n" % (status_line(status), lines, length)
        else:
            self.whole = b""


def field_lines(items: Iterable[Item]) -> bytes:
    """Fields as they are sent."""
    lines: list[bytes] = []
    for _, name, value in items:
        lines += (name, b": ", value, b"\r\n")
    return b"".join(lines)


#: Heads of answers that had a length and came in one piece with their bodies. The same bytes mean the same again: a
#: busy backend's answers to one question differ in their Date, once a second.
known_heads: Memory[AnswerHead] = Memory()

#: A value that means the same in whatever field it stands, as far as messages are told apart: visible ASCII, and spaces
#: in it.
_PLAIN = re.compile(rb"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?").fullmatch
_LENGTH = b"content-length: "
#: Digits of a length; more are none that anybody has.
_DIGITS = 15


class KnownLines:
    """Reads heads that differ from earlier ones in values only: another length, another ``Audit-Id``.

    It knows nothing that the parser has not shown: :meth:`learn` is told what the parser made of a head, and
    :meth:`read` takes a head only if each of its lines is one of those, or one of those names with another plain value.
    Whatever else a head has, it is the parser's to read.
    """

    def __init__(self) -> None:
        self._statuses: Memory[int] = Memory()
        #: Fields, by their lines, and their names in lower case, by the names as they are written.
        self._fields: Memory[Item] = Memory()
        self._names: Memory[bytes] = Memory()

    def clear(self) -> None:
        """Begin anew."""
        for memory in (self._statuses, self._fields, self._names):
            memory.clear()

    def learn(self, head: bytes, parsed: AnswerHead) -> None:
        """What ``head``, up to its empty line, was parsed to; it has a length."""
        first, *lines = head[:-4].split(b"\r\n")
        fields = [line for line in lines if line[:16].lower() != _LENGTH]
        # A line break may be less than both characters, a field may be folded, or have no space or many: only what
        # looks as it would be sent is known.
        if len(fields) != len(lines) - 1 or fields != [name + b": " + value for _, name, value in parsed.items]:
            return
        # Of HTTP/1.1, that is, and without options.
        if parsed.reusable and parsed.status not in (204, 304):
            self._statuses.keep(first, parsed.status)
            for line, item in zip(fields, parsed.items, strict=True):
                self._fields.keep(line, item)
                self._names.keep(item[1], item[0])

    def read(self, head: bytes) -> tuple[AnswerHead, bool] | None:
        """A head up to its empty line, and whether it may come again; None if it has to be parsed."""
        lines = head[:-4].split(b"\r\n")
        status = self._statuses.get(lines[0])
        if status is None:
            return None
        known, names = self._fields, self._names
        length: int | None = None
        dated, again = False, True
        items: list[Item] = []
        place = 0
        for position in range(1, len(lines)):
            line = lines[position]
            item = known.get(line)
            if item is None:
                name, _, value = line.partition(b": ")
                key = names.get(name)
                if key is None:
                    if line[:16].lower() != _LENGTH or not value.isdigit() or len(value) > _DIGITS:
                        return None
                    if length is not None:
                        return None
                    length, place = int(value), position
                    continue
                if not _PLAIN(value):
                    return None
                item = (key, name, value)
                again = again and key == b"date"
            if item[0] == b"date":
                dated = True
            items.append(item)
        if length is None:
            return None
        del lines[place]
        lines[0] = b""
        fields = b"\r\n".join(lines)[2:] + b"\r\n" if items else b""
        return AnswerHead(status, tuple(items), length, dated, True, fields), again


known_lines = KnownLines()
