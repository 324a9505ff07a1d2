"""The messages of a terminal in the browser: one JSON object in each WebSocket message (spec 05, 7).

::

    browser → gateway   {"Op": "stdin", "Data": "ls\\r"}            typed or pasted
                        {"Op": "resize", "Cols": 132, "Rows": 40}  the size of the window
                        {"Op": "pause"}, {"Op": "resume"}          no more output for now; go on
    gateway → browser   {"Op": "stdout", "Data": "...", "Rows": 0, "Cols": 0}
                        {"Op": "toast", "Data": "...", "Rows": 0, "Cols": 0}   text about the session, for the user

Names of members are read without regard to case. Every message to the browser has all four members, as clients print
``Data`` of whatever comes.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

#: Sizes of a window that are passed on.
LEAST, MOST = 1, 1000

_LARGEST = 65535


class Malformed(Exception):
    """A message that cannot be meant: ``code`` is the WebSocket close code, the text says what is wrong."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Stdin(NamedTuple):
    """Something to be typed."""

    data: bytes


class Resize(NamedTuple):
    """The window has this size."""

    columns: int
    rows: int


class Pace(NamedTuple):
    """Whether the page can show more: scripts cannot leave a WebSocket unread, so they have to say it."""

    going: bool


class Ignored(NamedTuple):
    """A message that means nothing here: an operation of another version, or a size that is none."""

    operation: str


Message = Stdin | Resize | Pace | Ignored

_decode = json.JSONDecoder().raw_decode


def parse(payload: bytes) -> Message:
    """What a browser has sent, in a text or a binary message. Only its first JSON value counts.

    Raises :class:`Malformed`: 1007 for what is no JSON object, 1002 for members of the wrong type.
    """
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed(1007, "the message is not UTF-8") from None
    try:
        value, _ = _decode(text.lstrip(" \t\r\n"))
    except (ValueError, RecursionError):
        raise Malformed(1007, "the message is not JSON") from None
    if not isinstance(value, dict):
        raise Malformed(1007, "the message is not a JSON object")
    members = lower(value)
    operation = members.get("op", "")
    if not isinstance(operation, str):
        raise Malformed(1002, "Op is not a string")
    if operation == "stdin":
        data = members.get("data", "")
        if not isinstance(data, str):
            raise Malformed(1002, "Data is not a string")
        # A lone half of a surrogate pair is no character.
        return Stdin(data.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode())
    if operation == "resize":
        return size(members, "cols", "rows")
    if operation in ("pause", "resume"):
        return Pace(operation == "resume")
    return Ignored(operation)


def lower(value: dict[str, Any]) -> dict[str, Any]:
    """The members of an object with their names in lower case; ``null`` is as if there were none."""
    return {key.lower(): member for key, member in value.items() if member is not None}


def size(members: dict[str, Any], columns: str, rows: str) -> Resize | Ignored:
    """The size in two of the members, which are named in lower case. Raises :class:`Malformed` 1002."""
    found = _size(members, columns), _size(members, rows)
    if not all(found):
        return Ignored("resize")
    return Resize(min(found[0], MOST), min(found[1], MOST))


def _size(members: dict[str, Any], name: str) -> int:
    value = members.get(name, 0)
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int or not 0 <= value <= _LARGEST:
        raise Malformed(1002, f"{name.capitalize()} is not a number from 0 to {_LARGEST}")
    return int(value)


def stdout(text: str) -> str:
    """The message with output of the process."""
    return _message("stdout", text)


def toast(text: str) -> str:
    """The message with a line about the session; it stands for itself wherever the cursor was."""
    return _message("toast", f"\r\n[{text}]\r\n")


def session(credential: str) -> str:
    """The message that tells a page how to come back to its session. It is a secret of that page."""
    return _message("session", credential)


#: What may end a script or a line in places where messages end up in a page.
_ESCAPES = tuple((character, f"\\u{ord(character):04x}") for character in "<>&\u2028\u2029")


def _message(operation: str, text: str) -> str:
    data = json.dumps(text, ensure_ascii=False)
    # One after the other is ten times as fast as a table for all of them.
    for character, escape in _ESCAPES:
        data = data.replace(character, escape)
    return f'{{"Op":"{operation}","Data":{data},"Rows":0,"Cols":0}}'
