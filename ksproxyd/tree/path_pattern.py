"""The path patterns of ``rewrite`` rules.

``*`` alone matches every path. ``*text*``, ``*text`` and ``text*`` match what contains, ends with or begins with the
text, across slashes. Any other pattern is a glob for the whole path: ``*`` is a run without slash, ``?`` one character
that is no slash, ``[a-z]`` and ``[^a]`` one of (not of) those, ``\\x`` just ``x``. Case does not matter. A pattern is
compared with the decoded path, dot segments resolved and repeated slashes merged (unless the pattern has ``//``).

A pattern with ``%`` is a glob that sees how the path is encoded: ``%2f`` is exactly that escape, ``%*`` a run in which
an encoded slash is no slash; other characters match encoded or not.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from ksproxyd.model.patterns import compile_re2
from ksproxyd.model.percent import unquote
from ksproxyd.tree.placeholders import Parts, Placeholder
from ksproxyd.tree.raw_path import cleaned, decoded

#: Gives the value of a placeholder for the request at hand.
Lookup = Callable[[str], bytes]

# Private-use characters: before a character that was escaped in the path, and where a placeholder is in a pattern.
_MARK, _HOLE = "\ue000", "\ue001"
_PRIVATE = str.maketrans(dict.fromkeys((_MARK, _HOLE), "\ufffd"))

_META = re.compile(r"[*?\[\\%]")


class PathPattern:
    """A compiled pattern, of texts and placeholders.

    The value of a placeholder is compared as it is, ``*`` in it means nothing. Raises ``ValueError`` for a pattern that
    is malformed and could not match anything.
    """

    __slots__ = ("_encoded", "_merge", "_names", "_needle", "_regexp", "_test", "_texts")

    def __init__(self, parts: Parts) -> None:
        text = "".join(part.translate(_PRIVATE) if isinstance(part, str) else _HOLE for part in parts).lower()
        self._names = [part.name for part in parts if isinstance(part, Placeholder)]
        self._merge = "//" not in text
        self._encoded = "%" in text
        self._regexp: Any = None
        self._test: Callable[[bytes, bytes], bool] = bytes.__eq__
        stars = 0 if self._encoded else text.count("*")
        if not text:
            raise ValueError("the pattern is empty")
        if text == "*" or (stars == 2 and text[0] == text[-1] == "*"):
            self._test, text = bytes.__contains__, text[1:-1]
        elif stars == 1 and text[0] == "*":
            self._test, text = bytes.endswith, text[1:]
        elif stars == 1 and text[-1] == "*":
            self._test, text = bytes.startswith, text[:-1]
        elif _META.search(text):
            if self._names:
                raise ValueError(
                    "with a placeholder, a pattern has '*' only at its ends and no other special character"
                )
            self._regexp = compile_re2(_glob(text, self._encoded))
        self._texts = [piece.encode() for piece in text.split(_HOLE)]
        self._needle = self._texts[0]

    def matches(self, path: bytes, lookup: Lookup) -> bool:
        """Whether the pattern matches this raw path."""
        if self._encoded:
            return self._regexp.fullmatch(_marked(cleaned(path, self._merge))) is not None
        subject = cleaned(_lowered(decoded(path)), self._merge)
        if self._regexp is not None:
            return self._regexp.fullmatch(subject) is not None
        needle = self._needle
        for name, text in zip(self._names, self._texts[1:], strict=True):
            needle += _lowered(lookup(name)) + text
        return self._test(subject, needle)


def _lowered(text: bytes) -> bytes:
    return text.lower() if text.isascii() else text.decode("utf-8", "replace").lower().encode()


def _marked(path: bytes) -> bytes:
    """The path decoded, in lower case, with a mark before every character that was escaped."""
    pieces = [
        _marked_run(piece) if i % 2 else piece.decode("utf-8", "replace").translate(_PRIVATE)
        for i, piece in enumerate(_ESCAPED_RUN.split(path))
    ]
    return "".join(pieces).lower().encode()


@lru_cache(maxsize=256)
def _marked_run(run: bytes) -> str:
    return "".join(_MARK + char for char in unquote(run).decode("utf-8", "replace").translate(_PRIVATE))


# Bounded, so that what is remembered of other people's paths is small; a longer run is two runs, at worst of U+FFFD.
_ESCAPED_RUN = re.compile(rb"((?:%[0-9A-Fa-f]{2}){1,64})")


# -- globs as RE2 ----------------------------------------------------------------------------------------------

_RE2_MARK = r"\x{e000}"
_ESCAPES = re.compile(r"(?:%[0-9a-f]{2})+")


def _glob(text: str, encoded: bool) -> str:
    """The RE2 pattern for a glob in lower case; with ``encoded`` it is to be matched against :func:`_marked` paths."""
    optional, never = (f"{_RE2_MARK}?", _RE2_MARK) if encoded else ("", "")
    pieces = ["(?s)"]
    at = 0
    while at < len(text):
        char = text[at]
        at += 1
        if char == "*":
            pieces.append(f"(?:{optional}[^/{never}])*")
        elif char == "?":
            pieces.append(f"{optional}[^/{never}]")
        elif char == "[":
            members, at = _class(text, at, never)
            pieces.append(optional + members)
        elif char == "%":
            if text[at : at + 1] == "*":
                pieces.append(f"(?:{_RE2_MARK}/|[^/])*")
                at += 1
                continue
            run = _ESCAPES.match(text, at - 1)
            if run is None:
                raise ValueError("in a pattern, '%' is followed by two hexadecimal digits or '*'")
            at = run.end()
            decoded_run = unquote(run.group().encode()).decode().lower()
            pieces.extend(_RE2_MARK + _literal(escaped) for escaped in decoded_run)
        else:
            if char == "\\":
                char, at = _escaped(text, at)
            pieces.append(optional + _literal(char))
    return "".join(pieces)


def _class(text: str, at: int, never: str) -> tuple[str, int]:
    """The character class that begins at ``at`` (behind its bracket), and where it ends."""
    negated = text[at : at + 1] == "^"
    at += negated
    ranges = ""
    empty = True
    while empty or text[at : at + 1] != "]":
        low, at = _member(text, at)
        high = low
        if text[at : at + 1] == "-":
            high, at = _member(text, at + 1)
        if low <= high:
            ranges += f"{_literal(low)}-{_literal(high)}"
        empty = False
    if negated:
        return f"[^{never}{ranges}]" if never or ranges else ".", at + 1
    return f"[{ranges}]" if ranges else r"[^\x{0}-\x{10ffff}]", at + 1


def _member(text: str, at: int) -> tuple[str, int]:
    char = text[at : at + 1]
    if char == "" or char in "-]":
        raise ValueError("in a pattern, '[' begins a class that is not well-formed")
    return _escaped(text, at + 1) if char == "\\" else (char, at + 1)


def _escaped(text: str, at: int) -> tuple[str, int]:
    if at == len(text):
        raise ValueError("the pattern ends with a backslash")
    return text[at], at + 1


def _literal(char: str) -> str:
    return char if char.isascii() and char.isalnum() else f"\\x{{{ord(char):x}}}"
