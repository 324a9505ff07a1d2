"""Users on their way through: JSON from the Kubernetes API without password hashes (spec 02, D-32).

Two members go, wherever they stand: ``password``, and the annotation in which kubectl keeps what it has applied, if
that may hold a password. The text is not parsed: a quote inside of a JSON string has a backslash before it, so what
looks like one of these names with a colon behind it is one. Everything else stays byte for byte, as soon as it comes,
so that a watch is not held up; what is held back is never more than a name, or the annotation.
"""

from __future__ import annotations

import re

from ksproxyd.upstream.errors import UpstreamError

PASSWORD = b"password"
APPLIED = b"kubectl.kubernetes.io/last-applied-configuration"

#: A longer annotation goes in any case. Kubernetes allows 256 KiB for all annotations of an object together.
_MOST = 512 * 1024

_SPACE = b" \t\r\n"
_NAMES = (PASSWORD, APPLIED)
_MEMBER = re.compile(rb'"(%b|%b)"[ \t\r\n]*:' % (PASSWORD, re.escape(APPLIED)))
_SPACES = re.compile(rb"[ \t\r\n]*")
_IN_STRING = re.compile(rb'(?:[^"\\]+|\\.)*', re.DOTALL)
_SCALAR = re.compile(rb"[^,\]} \t\r\n]*")

# Where in the text we are: passing on, before the value of a member that goes, in it, or where a comma goes with it.
_COPY, _VALUE, _STRING, _OTHER, _COMMA = range(5)


class UserRedaction:
    """Takes the text in pieces of any length (a :class:`ksproxyd.tree.recode.Rewriter`).

    Raises :class:`UpstreamError` for a password that is an object or a list, which no API server sends.
    """

    __slots__ = ("_collected", "_held", "_last", "_lead", "_size", "_state", "_swallow")

    def __init__(self) -> None:
        self._state = _COPY
        self._held = b""
        #: The byte that was passed on last.
        self._last = 0
        #: Whether the comma behind the member goes with it; else the one before it has gone.
        self._swallow = False
        #: The beginning of an annotation that may be passed on after all, and what has come of its value.
        self._lead: bytes | None = None
        self._collected: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> bytes:
        """The next piece; what can be passed on of it."""
        text = self._held + data
        self._held = b""
        out: list[bytes] = []
        at = 0
        while at < len(text):
            at = self._steps[self._state](self, text, at, out)
        passed = b"".join(out)
        if passed:
            self._last = passed[-1]
        return passed

    def end(self) -> bytes:
        """The rest."""
        held, self._held = self._held, b""
        return held if self._state == _COPY else b""

    def _copy(self, text: bytes, at: int, out: list[bytes]) -> int:
        found = _MEMBER.search(text, at)
        while found is not None and self._escaped(text, found.start()):
            found = _MEMBER.search(text, found.start() + 1)
        if found is None:
            hold = _hold(text, at)
            out.append(text[at:hold])
            self._held = text[hold:]
            return len(text)
        before = text[at : found.start()]
        bare = before.rstrip(_SPACE)
        self._swallow = not bare.endswith(b",")
        kept = len(before) if self._swallow else len(bare) - 1
        out.append(before[:kept])
        if found[1] == APPLIED:
            self._lead = before[kept:] + found[0]
            self._collected.clear()
            self._size = 0
        self._state = _VALUE
        return found.end()

    def _escaped(self, text: bytes, at: int) -> bool:
        return (text[at - 1] if at else self._last) == 0x5C

    def _value(self, text: bytes, at: int, out: list[bytes]) -> int:
        at = _end(_SPACES, text, at)
        if at < len(text):
            first = text[at : at + 1]
            if first == b'"':
                self._state = _STRING
                return at + 1
            if first in (b"{", b"["):
                raise UpstreamError("protocol", "the Kubernetes API sent a user whose password is no text")
            self._lead = None
            self._state = _OTHER
        return at

    def _string(self, text: bytes, at: int, out: list[bytes]) -> int:
        end = _end(_IN_STRING, text, at)
        if self._lead is not None:
            self._size += end - at
            if self._size > _MOST:
                self._lead = None
            else:
                self._collected.append(text[at:end])
        if text[end : end + 1] != b'"':
            # Nothing, or a backslash whose other half is to come.
            self._held = text[end:]
            return len(text)
        self._over(out)
        return end + 1

    def _other(self, text: bytes, at: int, out: list[bytes]) -> int:
        at = _end(_SCALAR, text, at)
        if at < len(text):
            self._over(out)
        return at

    def _over(self, out: list[bytes]) -> None:
        """The value is complete."""
        lead, self._lead = self._lead, None
        value = b"".join(self._collected)
        self._collected.clear()
        # An escape could spell the word, too.
        if lead is not None and PASSWORD not in value.lower() and b"\\u" not in value:
            out += (lead, b'"', value, b'"')
            self._state = _COPY
        else:
            self._state = _COMMA if self._swallow else _COPY

    def _comma(self, text: bytes, at: int, out: list[bytes]) -> int:
        at = _end(_SPACES, text, at)
        if at < len(text):
            self._state = _COPY
            if text[at : at + 1] == b",":
                at += 1
        return at

    _steps = (_copy, _value, _string, _other, _comma)


def _end(pattern: re.Pattern[bytes], text: bytes, at: int) -> int:
    """Where the match of a pattern that matches everywhere ends."""
    found = pattern.match(text, at)
    assert found is not None
    return found.end()


def _hold(text: bytes, at: int) -> int:
    """From where on ``text`` may be the beginning of a member that goes, with the comma before it."""
    hold = len(text)
    quote = text.rfind(b'"', at)
    if quote >= 0:
        behind = text[quote + 1 :]
        closed = [name for name in _NAMES if text.endswith(b'"' + name, at, quote)]
        if closed and not behind.strip(_SPACE):
            hold = quote - len(closed[0]) - 1
        elif any(name.startswith(behind) for name in _NAMES):
            hold = quote
    bare = text[at:hold].rstrip(_SPACE)
    return at + len(bare) - 1 if bare.endswith(b",") else hold
