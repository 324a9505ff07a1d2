"""Regular expressions that come from outside: RE2 (linear time), with the replacement language of Go's ``regexp``."""

from __future__ import annotations

import re
from typing import Any

import re2

#: The largest compiled program, in instructions.
MAX_PROGRAM = 2000

#: What one substitution may cost, in steps of at most a few nanoseconds.
MAX_WORK = 2_000_000

_MAX_MEMORY = 1 << 20
_NUMBER = re.compile(r"0|[1-9][0-9]{0,8}")
_TEMPLATE = re.compile(r"\$(?:\$|\{(\w+)\}|(\w+))?")


class TooMuchWork(Exception):
    """A substitution was given up because it would hold the reactor for too long."""


def compile_re2(pattern: str, *, latin1: bool = False) -> Any:
    """``pattern`` compiled, matched against bytes: UTF-8, or with ``latin1`` each byte a character of its own.

    Raises ``ValueError`` with RE2's explanation, also for a pattern that becomes too large a program.
    """
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MAX_MEMORY
    if latin1:
        options.encoding = re2.Options.Encoding.LATIN1
    try:
        compiled = re2.compile(pattern.encode(), options)
    except re2.error as error:
        cause = error.args[0] if error.args else b""
        raise ValueError(cause.decode("utf-8", "replace") if isinstance(cause, bytes) else str(cause)) from None
    if compiled.programsize > MAX_PROGRAM:
        raise ValueError(f"pattern too large ({compiled.programsize} instructions, at most {MAX_PROGRAM})")
    return compiled


def find_all(compiled: Any, text: bytes) -> list[Any]:
    """All matches that Go's ``ReplaceAll`` would replace: an empty one right behind another match does not count.

    One run over the text is linear in it, but each match begins another run, which may have to look at all the rest.
    Raises :class:`TooMuchWork` when that could add up to more than ``MAX_WORK``.
    """
    size = len(text)
    program = compiled.programsize
    if size * program > MAX_WORK:
        raise TooMuchWork
    # Without a repetition a match is short, and so is the look beyond its end. A small program runs as an automaton,
    # one step a byte; a large one may have to be simulated.
    cost = 0 if _REPETITION.isdisjoint(compiled.pattern) else 1 if program <= 64 else program
    found = []
    end = -1
    work = 0
    for match in compiled.finditer(text):
        start, stop = match.span()
        if stop > end or start == 0:
            found.append(match)
        end = stop
        work += _EACH + (size - stop) * cost
        if work > MAX_WORK:
            raise TooMuchWork
    return found


_REPETITION = frozenset(b"*+{")

#: The cost of a match as such.
_EACH = 1000


def parse_template(text: str, compiled: Any) -> list[str | int]:
    """A replacement in Go's syntax as literal texts and numbers of groups of ``compiled``.

    ``$1``, ``${1}``, ``$name`` and ``${name}`` refer to groups (a name is as long as it can be, so ``$1x`` is the group
    ``1x``); a group that does not exist inserts nothing. ``$$`` is a dollar sign, and so is ``$`` before anything else.
    """
    parts: list[str | int] = []
    position = 0
    for found in _TEMPLATE.finditer(text):
        parts.append(text[position : found.start()])
        position = found.end()
        name = found.group(1) or found.group(2)
        if name is None:
            parts.append("$")
        elif _NUMBER.fullmatch(name):
            if int(name) <= compiled.groups:
                parts.append(int(name))
        elif name.encode() in compiled.groupindex:
            parts.append(compiled.groupindex[name.encode()])
    parts.append(text[position:])
    return [part for part in parts if part != ""]
