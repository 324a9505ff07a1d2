"""Percent-encoding (RFC 3986, 2.1) on bytes, read strictly, as the Kubernetes API server reads it."""

from __future__ import annotations

import re
from string import ascii_letters, digits, hexdigits

#: Bytes that stand for themselves in a form value (RFC 3986, 2.3).
UNRESERVED = frozenset((ascii_letters + digits + "-._~").encode())

#: Bytes that stand for themselves in a path (RFC 3986, 3.3, and the brackets, which Go's servers leave alone).
PATH_SAFE = UNRESERVED | frozenset(b"!$&'()*+,;=:@/[]")

#: Bytes that stand for themselves in a query (RFC 3986, 3.4).
QUERY_SAFE = PATH_SAFE | frozenset(b"?")

_ESCAPE = re.compile(rb"(%[0-9A-Fa-f]{2})")
_STRAY = re.compile(rb"%(?![0-9A-Fa-f]{2})")
#: The byte that two hexadecimal digits stand for.
DECODED = {(a + b).encode(): bytes([int(a + b, 16)]) for a in hexdigits for b in hexdigits}
_TABLES: dict[frozenset[int], list[bytes]] = {}


def unquote(raw: bytes) -> bytes:
    """``raw`` with every ``%XX`` replaced by its byte, once. Raises ``ValueError`` for a ``%`` that is no escape."""
    if b"%" not in raw:
        return raw
    first, *rest = raw.split(b"%")
    pieces = [first]
    for piece in rest:
        byte = DECODED.get(piece[:2])
        if byte is None:
            raise ValueError(f"invalid URL escape {'%' + piece[:2].decode('latin-1')!r}")
        pieces.append(byte)
        pieces.append(piece[2:])
    return b"".join(pieces)


def well_formed(raw: bytes) -> bool:
    """Whether every ``%`` in ``raw`` begins an escape."""
    return b"%" not in raw or _STRAY.search(raw) is None


def quote(text: bytes, safe: frozenset[int] = PATH_SAFE) -> bytes:
    """``text`` with every byte outside ``safe`` as ``%XX``; a ``%`` too, unless it is in ``safe``."""
    if safe.issuperset(text):
        return text
    table = _TABLES.get(safe)
    if table is None:
        table = _TABLES[safe] = [bytes((byte,)) if byte in safe else b"%%%02X" % byte for byte in range(256)]
    return b"".join(map(table.__getitem__, text))


def requote(raw: bytes, safe: frozenset[int] = PATH_SAFE) -> bytes:
    """As :func:`quote`, but what is an escape in ``raw`` already stays as it is."""
    if b"%" not in raw:
        return quote(raw, safe)
    return b"".join(piece if i % 2 else quote(piece, safe) for i, piece in enumerate(_ESCAPE.split(raw)))
