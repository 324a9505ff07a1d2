"""The head of a backend's answer, as a value."""

from __future__ import annotations

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

    def __init__(self, status: int, items: tuple[Item, ...], length: int | None, dated: bool, reusable: bool) -> None:
        self.status = status
        self.items = items
        self.length = length
        self.dated = dated
        self.reusable = reusable
        self.lines = lines = field_lines(items)
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
