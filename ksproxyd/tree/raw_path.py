"""Changes to a path as it was sent that leave every byte alone that they do not mean.

What a rule says is about the decoded path; what is sent is the encoded one. These functions find the place in the
decoded path and cut in the encoded one, so ``%2F`` stays ``%2F``. A ``%`` that is no escape stands for itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ksproxyd.model.percent import DECODED

_DOT_SEGMENT = re.compile(rb"(?:[/\\]|%2[fF]|%5[cC])(?:\.|%2[eE]){1,2}(?:[/\\]|%2[fF]|%5[cC]|\Z)")


def decoded(raw: bytes) -> bytes:
    """``raw`` with its escapes decoded once."""
    if b"%" not in raw:
        return raw
    first, *rest = raw.split(b"%")
    pieces = [first]
    for piece in rest:
        byte = DECODED.get(piece[:2])
        pieces += (b"%", piece) if byte is None else (byte, piece[2:])
    return b"".join(pieces)


def located(raw: bytes) -> tuple[bytes, Sequence[int]]:
    """The decoded path, and for every position in it (its end included) the position in ``raw``."""
    if b"%" not in raw:
        return raw, range(len(raw) + 1)
    first, *rest = raw.split(b"%")
    pieces = [first]
    at = len(first)
    positions = list(range(at))
    for piece in rest:
        byte = DECODED.get(piece[:2])
        end = at + 1 + len(piece)
        if byte is None:
            pieces += (b"%", piece)
            positions.extend(range(at, end))
        else:
            pieces += (byte, piece[2:])
            positions.append(at)
            positions.extend(range(at + 3, end))
        at = end
    positions.append(at)
    return b"".join(pieces), positions


def without_prefix(raw: bytes, prefix: bytes) -> bytes:
    """``raw`` without ``prefix`` (decoded), if its decoded form begins so."""
    if raw.startswith(prefix) and b"%" not in prefix:
        return raw[len(prefix) :]
    # At most three bytes for each of the prefix matter.
    text, positions = located(raw[: 3 * len(prefix)])
    return raw[positions[len(prefix)] :] if text.startswith(prefix) else raw


def without_suffix(raw: bytes, suffix: bytes) -> bytes:
    """``raw`` without ``suffix`` (decoded), if its decoded form ends so."""
    start = max(0, len(raw) - 3 * len(suffix))
    escape = raw.find(b"%", max(0, start - 2), start)
    if escape >= 0:
        start = escape
    text, positions = located(raw[start:])
    return raw[: start + positions[len(text) - len(suffix)]] if text.endswith(suffix) else raw


def cleaned(path: bytes, merge: bool) -> bytes:
    """``path`` with dot segments resolved and, with ``merge``, repeated slashes merged. A slash at the end stays.

    Works on encoded and decoded paths alike; nothing gets above the root. The empty path becomes ``/``.
    """
    if b"/." not in path and not (merge and b"//" in path):
        return path or b"/"
    root = b"/" if path.startswith(b"/") else b""
    segments = path[len(root) :].split(b"/")
    last = len(segments) - 1
    kept: list[bytes] = []
    for i, segment in enumerate(segments):
        if segment == b"..":
            del kept[-1:]
        elif segment != b"." and (segment or not (merge or i == last)):
            kept.append(segment)
    slash = b"/" if kept and path.endswith(b"/") else b""
    return root + b"/".join(kept) + slash or b"/"


def has_dot_segment(raw: bytes) -> bool:
    """Whether the decoded path has a ``.`` or ``..`` segment, a backslash counting as a slash."""
    if b"/." not in raw and b"%" not in raw and b"\\" not in raw and not raw.startswith(b"."):
        return False
    return _DOT_SEGMENT.search(b"/" + raw) is not None
