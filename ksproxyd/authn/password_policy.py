"""What a password must be, and what a password hash looks like (spec 02, 5.2 and D-34). Pure."""

from __future__ import annotations

import re

#: bcrypt takes so many bytes; what comes after them would not matter.
MOST_BYTES = 72
SHORTEST, LONGEST = 8, 64

#: Cost of new hashes, and the highest that is compared with: each step doubles the work of one compare.
COST, HIGHEST_COST = 10, 14

_HASH = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}", re.ASCII)
_LOWER, _UPPER, _DIGIT = re.compile("[a-z]"), re.compile("[A-Z]"), re.compile("[0-9]")


def problem_of(password: str, name: str) -> str | None:
    """Why ``password`` cannot be that of user ``name``, as a sentence that does not hold it; None if it can."""
    if not password:
        return "the password is empty"
    if not SHORTEST <= len(password) <= LONGEST:
        return f"the password must have {SHORTEST} to {LONGEST} characters"
    raw = encoded(password)
    if raw is None:
        return "the password has characters that cannot be typed (NUL, or halves of others)"
    if len(raw) > MOST_BYTES:
        return f"the password must not be longer than {MOST_BYTES} bytes of UTF-8"
    if not (_LOWER.search(password) and _UPPER.search(password) and _DIGIT.search(password)):
        return "the password needs a lower-case letter, an upper-case letter and a digit"
    if password.casefold() == name.casefold():
        return "the password must not be the user's name"
    if is_hash(password):
        return "the password must not be a password hash"
    return None


def is_hash(value: str) -> bool:
    """Whether ``value`` is a bcrypt hash, as it may be stored instead of a password."""
    return _HASH.fullmatch(value) is not None


def cost_of(value: str) -> int:
    """The cost of a hash; 0 for what is none."""
    match = _HASH.fullmatch(value)
    return int(match.group(1)) if match is not None else 0


def encoded(password: str) -> bytes | None:
    """The bytes that are hashed; None for what bcrypt cannot take."""
    try:
        raw = password.encode("utf-8")
    except UnicodeEncodeError:
        return None
    return None if b"\0" in raw else raw
