"""HTTP messages as values: header fields of a request or response, and a complete response."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

Pairs = list[tuple[bytes, bytes]]

#: A field: its name in lower case, as it was sent, and its value.
Item = tuple[bytes, bytes, bytes]

_encode = msgspec.json.encode


def index_of(items: Iterable[Item]) -> dict[bytes, bytes]:
    """Values by lower-case name; several lines joined by ``", "`` (RFC 9110, 5.3)."""
    index: dict[bytes, bytes] = {}
    for key, _, value in items:
        index[key] = index[key] + b", " + value if key in index else value
    return index


class Fields:
    """The header fields of one message, in the order they came.

    ``items`` holds ``(key, name, value)``: the lower-case name for look-ups, the name as it was sent, and the
    value without surrounding white space. Look-ups go through an index that is built at the first one.
    """

    __slots__ = ("_index", "items")

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self.items: Sequence[Item] = [(n.lower(), n, v) for n, v in pairs]
        self._index: dict[bytes, bytes] | None = None

    @classmethod
    def of(cls, items: Sequence[Item], index: dict[bytes, bytes] | None = None) -> Fields:
        """Fields that begin as ``items``. These and their ``index`` may be shared: changes replace them."""
        fields = cls.__new__(cls)
        fields.items = items
        fields._index = index
        return fields

    def add(self, name: bytes, value: bytes) -> None:
        """Append one field line."""
        # Anew rather than in place: the lines may be shared with other messages.
        self.items = [*self.items, (name.lower(), name, value)]
        self._index = None

    def get(self, key: bytes) -> bytes | None:
        """The value of the field ``key`` (lower case); several lines joined by ``", "`` (RFC 9110, 5.3)."""
        index = self._index
        return (self.index() if index is None else index).get(key)

    def index(self) -> dict[bytes, bytes]:
        """What :meth:`get` looks at, for many look-ups in a row; not to be changed, and stale after a change."""
        index = self._index
        if index is None:
            index = self._index = index_of(self.items)
        return index

    def all(self, key: bytes) -> list[bytes]:
        """Every value of the field ``key`` (lower case), one a line, in order."""
        return [value for k, _, value in self.items if k == key]

    def remove(self, key: bytes) -> None:
        """Delete every line of the field ``key`` (lower case)."""
        self.items = [item for item in self.items if item[0] != key]
        self._index = None

    def replace(self, name: bytes, value: bytes) -> None:
        """Set the field to exactly one line."""
        self.remove(name.lower())
        self.add(name, value)

    def pairs(self) -> Pairs:
        """The lines as ``(name as sent, value)``."""
        return [(name, value) for _, name, value in self.items]

    def __contains__(self, key: bytes) -> bool:
        return self.get(key) is not None

    def __iter__(self) -> Iterator[tuple[bytes, bytes, bytes]]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __repr__(self) -> str:
        # Values may be credentials; a repr ends up in logs and tracebacks.
        return f"<Fields {[name.decode('latin-1') for _, name, _ in self.items]}>"


class Response:
    """A complete answer: status, header pairs, body. ``Content-Length`` is added by whoever sends it."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: Iterable[tuple[bytes, bytes]] = (), body: bytes = b"") -> None:
        self.status = status
        self.headers: Pairs = list(headers)
        self.body = body

    @classmethod
    def json(cls, status: int, value: Any, headers: Iterable[tuple[bytes, bytes]] = ()) -> Response:
        """``value`` as compact ``application/json``."""
        return cls(status, [(b"Content-Type", b"application/json"), *headers], _encode(value))

    @classmethod
    def text(cls, status: int, text: str, headers: Iterable[tuple[bytes, bytes]] = ()) -> Response:
        """``text`` as ``text/plain`` that browsers must not sniff."""
        plain = [(b"Content-Type", b"text/plain; charset=utf-8"), (b"X-Content-Type-Options", b"nosniff")]
        return cls(status, [*plain, *headers], text.encode())

    def __repr__(self) -> str:
        return f"<Response {self.status} {len(self.body)} bytes>"
