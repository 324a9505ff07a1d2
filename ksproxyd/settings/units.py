"""Durations as Go writes them and sizes as Kubernetes writes them.

Durations follow Go's ``time.ParseDuration`` (``1h30m``, ``100ms``, ``1.5s``, ``0``), sizes the grammar of a Kubernetes
resource quantity (``100Mi``, ``1G``, ``1e6``) rounded up to whole bytes.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal
from fractions import Fraction

_NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "\u00b5s": 1_000,
    "\u03bcs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_TERM = re.compile(r"([0-9]*)(?:\.([0-9]*))?(ns|us|\u00b5s|\u03bcs|ms|s|m|h)")
_INT64 = 2**63 - 1
#: No duration or size that fits 64 bits needs more characters than this.
_LONGEST = 200

_QUANTITY = re.compile(r"(\+?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))(?:[eE]([+-]?[0-9]{1,2})|([KMGTPE]i|[numkMGTPE]))?")
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}


def parse_duration(text: str) -> float:
    """Seconds in a Go duration. Raises ``ValueError`` for anything that ``time.ParseDuration`` refuses."""
    if len(text) > _LONGEST:
        raise ValueError("too long for a duration")
    sign, rest = (-1, text[1:]) if text[:1] == "-" else (1, text[1:] if text[:1] == "+" else text)
    if rest == "0":
        return 0.0
    total, end = 0, 0
    while end < len(rest):
        term = _TERM.match(rest, end)
        if term is None or not (term[1] or term[2]):
            raise ValueError("not a duration")
        unit = _NANOSECONDS[term[3]]
        total += int(term[1] or "0") * unit
        if term[2]:
            total += int(term[2]) * unit // 10 ** len(term[2])
        end = term.end()
    if end == 0 or total > _INT64:
        raise ValueError("not a duration of 64 bits")
    return sign * total / 1_000_000_000


def format_duration(seconds: float) -> str:
    """The shortest Go duration of that many seconds, to the nanosecond: ``10m``, ``1h30m``, ``1.5s``, ``0s``."""
    total = round(Fraction(seconds) * 1_000_000_000)
    if total == 0:
        return "0s"
    # Rounding to a float may have gone past what Go can hold.
    sign, total = "-" if total < 0 else "", min(abs(total), _INT64)
    if total < 1_000_000_000:
        for unit in ("ms", "us", "ns"):
            if total >= _NANOSECONDS[unit]:
                return f"{sign}{_with_fraction(total, _NANOSECONDS[unit])}{unit}"
    minutes, rest = divmod(total, _NANOSECONDS["m"])
    hours, minutes = divmod(minutes, 60)
    parts = (
        f"{hours}h" if hours else "",
        f"{minutes}m" if minutes else "",
        f"{_with_fraction(rest, 1_000_000_000)}s" if rest else "",
    )
    return sign + "".join(parts)


def _with_fraction(amount: int, unit: int) -> str:
    whole, rest = divmod(amount, unit)
    digits = str(rest).zfill(len(str(unit)) - 1).rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)


def parse_size(text: str) -> int:
    """Bytes in a Kubernetes quantity, rounded up. Raises ``ValueError`` below zero, above 64 bits and otherwise."""
    quantity = _QUANTITY.fullmatch(text) if len(text) <= _LONGEST else None
    if quantity is None:
        raise ValueError("not a size")
    number, exponent, suffix = Decimal(quantity[1]), quantity[2], quantity[3]
    if exponent:
        number = number.scaleb(int(exponent))
    elif suffix in _BINARY:
        number *= _BINARY[suffix]
    elif suffix:
        number = number.scaleb(_DECIMAL[suffix])
    size = int(number.to_integral_value(ROUND_CEILING))
    if size > _INT64:
        raise ValueError("more than 64 bits of bytes")
    return size


def format_size(size: int) -> str:
    """The size with the largest binary suffix that divides it: ``100Mi``, ``128Ki``, ``1000``."""
    for suffix, factor in reversed(_BINARY.items()):
        if size and size % factor == 0:
            return f"{size // factor}{suffix}"
    return str(size)
