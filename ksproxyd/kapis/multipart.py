"""Forms with files in them (RFC 7578), read from a body that is in memory already."""

from __future__ import annotations

import re
from typing import NamedTuple

_BOUNDARY = re.compile(rb"""(?i);\s*boundary=(?:"([^"\r\n]{1,70})"|([^\s";,]{1,70}))""")
_PARAMETER = re.compile(rb"""(?i);\s*(name|filename)=(?:"((?:[^"\\\r\n]|\\.)*)"|([^\s";]+))""")
_ESCAPED = re.compile(rb'\\(["\\])')

#: Parts of one form, and bytes of one part's head.
PARTS = 100
HEAD_BYTES = 8192


class Malformed(ValueError):
    """The body is not such a form; the message says why."""


class Part(NamedTuple):
    """One part. ``filename`` is None for what is no file; ``kind`` is its ``Content-Type``, in lower case."""

    name: str
    filename: str | None
    kind: str
    content: bytes


def read_parts(content_type: bytes, body: bytes) -> list[Part]:
    """The parts of ``body``. Raises :class:`Malformed`."""
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise Malformed("there is no boundary in the Content-Type")
    mark = b"\r\n--" + (found[1] or found[2])
    # The first boundary may be at the very beginning; what stands before it means nothing.
    pieces = (b"\r\n" + body).split(mark, PARTS + 1)
    if len(pieces) > PARTS + 1:
        raise Malformed(f"there are more than {PARTS} parts")
    if len(pieces) == 1:
        raise Malformed("the boundary is not in the body")
    parts: list[Part] = []
    for piece in pieces[1:]:
        if piece[:2] == b"--":
            return parts
        rest = piece.lstrip(b" \t")
        if rest[:2] != b"\r\n":
            raise Malformed("a boundary is followed by something else than the end of its line")
        parts.append(_part(rest[2:]))
    raise Malformed("the body breaks off")


def _part(piece: bytes) -> Part:
    head, blank, content = (b"\r\n" + piece).partition(b"\r\n\r\n")
    if not blank or len(head) > HEAD_BYTES:
        raise Malformed("a part has no head, or one that is too long")
    fields: dict[bytes, bytes] = {}
    for line in head.split(b"\r\n")[1:]:
        name, colon, value = line.partition(b":")
        if not colon:
            raise Malformed("a line in the head of a part is no field")
        fields[name.strip().lower()] = value.strip()
    disposition = fields.get(b"content-disposition", b"")
    if not disposition.lower().startswith(b"form-data"):
        raise Malformed("a part is no form-data")
    said = {
        name.lower(): _ESCAPED.sub(rb"\1", quoted or plain) for name, quoted, plain in _PARAMETER.findall(disposition)
    }
    filename = said.get(b"filename")
    return Part(
        said.get(b"name", b"").decode("utf-8", "replace"),
        None if filename is None else filename.decode("utf-8", "replace"),
        fields.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1"),
        content,
    )
