"""The values of a configuration file with the places they stand at."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace

_PLAIN_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_SHOWN = 60
#: Plain values that need no quotes to be told from words.
_BARE = re.compile(r"[+-]?[0-9.]{1,40}|true|false")


@dataclass(frozen=True, slots=True)
class Position:
    """Line and column (both from 1) in a file; line 0 in something that has no lines, such as a variable."""

    file: str
    line: int = 0
    column: int = 0


@dataclass(frozen=True, slots=True)
class Scalar:
    """A single value as text. ``plain`` if it stood there without quotes, so that it may also be a number or null."""

    text: str = field(repr=False)
    position: Position
    plain: bool = False
    hidden: bool = False

    @property
    def is_null(self) -> bool:
        return self.plain and self.text in _PLAIN_NULLS

    def hide(self) -> Scalar:
        """The same value, never shown in a problem."""
        return replace(self, hidden=True)


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list of values."""

    items: tuple[Node, ...] = field(repr=False)
    position: Position


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a mapping and its value."""

    key: str
    position: Position
    value: Node = field(repr=False)


@dataclass(frozen=True, slots=True)
class Mapping:
    """Keys with values, in file order, each key once."""

    entries: tuple[Entry, ...] = field(repr=False)
    position: Position

    def get(self, key: str) -> Node | None:
        """The value of exactly this key."""
        return next((entry.value for entry in self.entries if entry.key == key), None)


Node = Scalar | Sequence | Mapping


def describe(node: object) -> str:
    """What a problem says was found: short, on one line, without secrets."""
    match node:
        case Scalar(hidden=True):
            return "a value that is not shown"
        case Scalar() if node.is_null:
            return "nothing"
        case Scalar(text=text):
            return text if node.plain and _BARE.fullmatch(text) else quote(text)
        case Sequence():
            return "a list"
        case Mapping():
            return "a mapping"
        case None:
            return "nothing"
        case _:
            return f"a {type(node).__name__}"


def quote(text: str) -> str:
    """The text in double quotes, control characters escaped, the middle of a long one left out."""
    if len(text) > _SHOWN:
        text = f"{text[:_SHOWN]}…"
    return json.dumps(text, ensure_ascii=False)
