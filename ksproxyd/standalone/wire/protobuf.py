"""Kubernetes' protobuf, as clients send it in request bodies.

A body is four magic bytes and an ``Unknown`` message: apiVersion and kind, and the object as a message of its own.
What its fields are the type tables say (``schema/types``). Answers are JSON; clients that send protobuf accept it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from ksproxyd.standalone.schema.nodes import ANY, LEAF, LIST, MAP, Node, Numbered, Numbers

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"

_MAGIC = b"k8s\x00"

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

#: Messages nested deeper are refused.
_DEPTH = 64

_SIGNED = 1 << 63


def kind_of(body: bytes) -> tuple[str, str, bytes]:
    """apiVersion, kind and message of a body. Raises ``ValueError`` if it is not one."""
    if not body.startswith(_MAGIC):
        raise ValueError("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    api_version = kind = ""
    raw = b""
    for number, value in _fields(body[len(_MAGIC) :]):
        if number == 1:
            for inner, text in _fields(_message(value)):
                if inner == 1:
                    api_version = _text(text)
                elif inner == 2:
                    kind = _text(text)
        elif number == 2:
            raw = _message(value)
        elif number in (3, 4) and value:
            # Content encoding and type: only plain protobuf is defined.
            raise ValueError("encoded content is not supported")
    return api_version, kind, raw


def decode(node: Node, message: bytes) -> dict[str, Any]:
    """The object that ``message`` is, by the type ``node``. Raises ``ValueError`` for nonsense."""
    return _object(node.numbers, message, 0)


def _object(numbers: Numbers, message: bytes, depth: int) -> dict[str, Any]:
    if depth > _DEPTH:
        raise ValueError("the message is nested too deep")
    if not numbers:
        raise ValueError("this type has no protobuf form here, send JSON")
    found: dict[str, Any] = {}
    for number, raw in _fields(message):
        field = numbers.get(number)
        if field is None:
            # A field of a newer version.
            continue
        if isinstance(field, dict):
            found |= _object(field, _message(raw), depth + 1)
        else:
            _enter(found, field, raw, depth)
    return found


def _enter(found: dict[str, Any], field: Numbered, raw: int | bytes, depth: int) -> None:
    name, node, pointer = field
    if node.shape == LIST and node.items is not None:
        if node.items.shape == LEAF and node.items.kind in _PACKABLE and isinstance(raw, bytes):
            found.setdefault(name, []).extend(_number(node.items.kind, each) for each in _packed(raw))
        else:
            found.setdefault(name, []).append(_value(node.items, raw, depth))
    elif node.shape == MAP and node.additional is not None:
        key, value = _entry(node.additional, _message(raw), depth)
        found.setdefault(name, {})[key] = value
    else:
        value = _value(node, raw, depth)
        # What is never absent in Go is sent even if it is empty.
        if pointer or value not in _EMPTY:
            found[name] = value


_EMPTY: tuple[Any, ...] = (None, "", 0, False, {})
_PACKABLE = ("int32", "int64", "bool")


def _value(node: Node, raw: int | bytes, depth: int) -> Any:
    if node.shape == LEAF:
        return _leaf(node.kind, raw)
    if node.shape == ANY:
        return _json(_message(raw))
    if node.shape == LIST and node.items is not None:
        # A list inside a map or list is a message of its own.
        return [_value(node.items, each, depth + 1) for _, each in _fields(_message(raw))]
    # A type without any fields is an empty object.
    return _object(node.numbers, _message(raw), depth + 1) if raw else {}


def _entry(node: Node, message: bytes, depth: int) -> tuple[str, Any]:
    key, value = "", _zero(node)
    for number, raw in _fields(message):
        if number == 1:
            key = _text(raw)
        elif number == 2:
            value = _value(node, raw, depth + 1)
    return key, value


def _zero(node: Node) -> Any:
    if node.shape == LEAF:
        return {"bool": False, "int32": 0, "int64": 0}.get(node.kind, "")
    return [] if node.shape == LIST else {}


def _leaf(kind: str, raw: int | bytes) -> Any:
    if kind == "string":
        return _text(raw)
    if kind == "bytes":
        return msgspec.to_builtins(_message(raw))
    if kind in ("time", "microtime"):
        return _time(_message(raw), kind == "microtime")
    if kind == "quantity":
        return _text(dict(_fields(_message(raw))).get(1, b""))
    if kind == "intstr":
        parts = dict(_fields(_message(raw)))
        return _text(parts.get(3, b"")) if parts.get(1) else _number("int32", parts.get(2, 0))
    return _number(kind, raw)


def _number(kind: str, raw: int | bytes) -> Any:
    if kind == "number":
        if not isinstance(raw, bytes) or len(raw) != 8:
            raise ValueError("a double has eight bytes")
        return struct.unpack("<d", raw)[0]
    if not isinstance(raw, int):
        raise ValueError(f"a field of type {kind} is not a number")
    if kind == "bool":
        return bool(raw)
    return raw - 2 * _SIGNED if raw >= _SIGNED else raw


def _time(message: bytes, micro: bool) -> str | None:
    parts = dict(_fields(message))
    seconds, nanos = _number("int64", parts.get(1, 0)), _number("int32", parts.get(2, 0))
    if not parts:
        return None
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        raise ValueError("a time is out of range") from None
    text = moment.strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{nanos // 1000:06d}Z" if micro else f"{text}Z"


def _json(message: bytes) -> Any:
    """A RawExtension, FieldsV1 or the like: a message that holds JSON."""
    raw = dict(_fields(message)).get(1, b"")
    if not raw:
        return None
    try:
        return msgspec.json.decode(_message(raw))
    except msgspec.DecodeError as error:
        raise ValueError(f"JSON inside the message cannot be read: {error}") from None


def _message(raw: int | bytes) -> bytes:
    if not isinstance(raw, bytes):
        raise ValueError("a number stands where a message is expected")
    return raw


def _text(raw: int | bytes) -> str:
    try:
        return _message(raw).decode()
    except UnicodeDecodeError:
        raise ValueError("a string is not UTF-8") from None


def _packed(raw: bytes) -> Iterator[int]:
    place = 0
    while place < len(raw):
        value, place = _varint(raw, place)
        yield value


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message: number, and an integer or bytes. Raises ``ValueError`` if it breaks off."""
    place, end = 0, len(message)
    while place < end:
        tag, place = _varint(message, place)
        kind = tag & 7
        if kind == _VARINT:
            value, place = _varint(message, place)
            yield tag >> 3, value
            continue
        if kind == _BYTES:
            size, place = _varint(message, place)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"unknown wire type {kind}")
        if place + size > end:
            raise ValueError("the message breaks off")
        yield tag >> 3, message[place : place + size]
        place += size


def _varint(message: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(message) and shift < 70:
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (2 * _SIGNED - 1), place
        shift += 7
    raise ValueError("the message breaks off in a number")
