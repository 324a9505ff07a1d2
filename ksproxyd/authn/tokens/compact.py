"""Signed tokens as text: three parts of base64url with dots between them (RFC 7515, 7.1), read without any latitude.

What two readers could understand differently is refused: other characters, padding, bits that belong to no byte, names
that occur twice, numbers that JSON does not have.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any, NamedTuple

import msgspec

#: JSON without blanks.
_written = msgspec.json.Encoder().encode

#: The longest token that is looked at; ``ksproxyd.limits.headBytes`` is for everything in a request's head.
MAX_TOKEN = 16384

#: The longest header of a token.
MAX_HEADER = 4096


class Malformed(ValueError):
    """A text is no token. The message says what is wrong with it and holds none of it."""


class Parts(NamedTuple):
    """A token that has been taken apart; nothing of it is verified. ``signed`` is what the signature is of."""

    header: str
    payload: str
    signature: bytes
    signed: bytes


def split(token: str, most: int = MAX_TOKEN) -> Parts:
    """Take a token apart. Raises :class:`Malformed`."""
    if len(token) > most:
        raise Malformed("it is too long")
    first = token.find(".")
    second = token.find(".", first + 1)
    if first < 0 or second < 0 or token.find(".", second + 1) >= 0:
        raise Malformed("it has not exactly three parts")
    if not token.isascii():
        raise Malformed("it is not base64url")
    return Parts(token[:first], token[first + 1 : second], decode(token[second + 1 :]), token[:second].encode("ascii"))


def decode(part: str) -> bytes:
    """The bytes of one part (RFC 7515, 2: base64url without padding). Raises :class:`Malformed`."""
    try:
        data = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except (binascii.Error, ValueError):
        raise Malformed("it is not base64url") from None
    # The decoder passes over what is no base64url and over bits at the end that belong to no byte. Only one text
    # stands for these bytes, and this must be it.
    if encode(data) != part:
        raise Malformed("it is not base64url without padding")
    return data


def encode(data: bytes) -> str:
    """The reverse of :func:`decode`."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def read_object(data: bytes) -> dict[str, Any]:
    """A JSON object in which no name occurs twice, at any depth (RFC 7515, 4). Raises :class:`Malformed`."""
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_number)
        if b"\\" in data:
            # Escapes can spell half of a surrogate pair, which is no text and cannot be written down again.
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except Malformed:
        raise
    except (ValueError, RecursionError):
        raise Malformed("it holds no JSON") from None
    if not isinstance(value, dict):
        raise Malformed("it holds no JSON object")
    return value


def write_object(value: dict[str, Any]) -> str:
    """A part that holds ``value``."""
    return encode(_written(value))


def read_header(part: str) -> dict[str, Any]:
    """The header of a token whose ``crit`` is empty and whose ``alg`` is a text. Raises :class:`Malformed`.

    RFC 7515, 4.1.11: whoever does not understand what ``crit`` names refuses the token, and we understand none.
    """
    if len(part) > MAX_HEADER:
        raise Malformed("its header is too long")
    header = read_object(decode(part))
    if "crit" in header and header["crit"] != []:
        raise Malformed("its header has critical extensions, which are not supported")
    if "b64" in header:
        raise Malformed("its header has b64, which is not supported")
    if not isinstance(header.get("alg"), str):
        raise Malformed("its header names no algorithm")
    return header


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise Malformed("a name occurs twice in it")
    return value


def _no_number(text: str) -> Any:
    raise Malformed("it holds a number that JSON does not have")
