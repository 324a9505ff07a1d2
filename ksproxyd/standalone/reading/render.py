"""How objects go out: as they are, as Tables for people, or as metadata only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ksproxyd.model.status import StatusError
from ksproxyd.standalone.kinds.columns import AGE, NAME
from ksproxyd.standalone.kinds.registry import Column, Kind
from ksproxyd.standalone.storage.store import Event

_encode = msgspec.json.encode
_decode = msgspec.json.decode

#: How every stored object begins.
_START = b'{"apiVersion":"'

#: The annotation of the bookmark that ends the present objects of a streaming list.
INITIAL_EVENTS_END = "k8s.io/initial-events-end"

#: What a Table's rows carry besides their cells.
INCLUDE_METADATA = "Metadata"
INCLUDE_OBJECT = "Object"
INCLUDE_NONE = "None"


def frame(type_: bytes, value: bytes) -> bytes:
    """One watch event on the wire."""
    return b'{"type":"%b","object":%b}\n' % (type_, value)


def error_frame(error: StatusError) -> bytes:
    """The event that ends a watch that cannot go on."""
    return frame(b"ERROR", _encode(error.status_object()))


class Renderer:
    """Objects of one kind as they are, in the version that was asked for.

    Bodies come as they are stored, apiVersion first: that is all that differs between versions.
    ``lead`` and ``tail`` stand around the elements of a list.
    """

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self._start = _START + kind.group_version.encode() + b'"'

    def one(self, body: bytes) -> bytes:
        """A single object."""
        return self.element(body)

    def element(self, body: bytes) -> bytes:
        """An object in a list."""
        if body.startswith(self._start):
            return body
        return self._start + body[body.index(b'"', len(_START)) + 1 :]

    def event(self, body: bytes) -> bytes:
        """An object in a watch event."""
        return self.element(body)

    def lead(self) -> bytes:
        """What begins a list."""
        return self._lead(self.kind.many, self.kind.group_version)

    def tail(self, metadata: dict[str, Any]) -> bytes:
        """What ends a list."""
        return b'],"metadata":%b}\n' % _encode(metadata)

    def bookmark(self, rv: int, initial_end: bool) -> bytes:
        """The object of a BOOKMARK event."""
        return self.event(_encode(self._mark(rv, initial_end)))

    def departed(self, event: Event) -> bytes:
        """The object of an event by which it left the watch's selection: its old self at the new resourceVersion."""
        value = {**(event.previous or event.object)}
        value["metadata"] = {**value["metadata"], "resourceVersion": str(event.rv)}
        return self.event(_encode(value))

    def _mark(self, rv: int, initial_end: bool) -> dict[str, Any]:
        metadata: dict[str, Any] = {"resourceVersion": str(rv)}
        if initial_end:
            metadata["annotations"] = {INITIAL_EVENTS_END: "true"}
        return {"apiVersion": self.kind.group_version, "kind": self.kind.kind, "metadata": metadata}

    @staticmethod
    def _lead(kind: str, api_version: str) -> bytes:
        return _encode({"kind": kind, "apiVersion": api_version})[:-1] + b',"items":['


class MetadataRenderer(Renderer):
    """``PartialObjectMetadata`` instead of the objects."""

    def one(self, body: bytes) -> bytes:
        return _partial(_decode(body))

    element = event = one

    def lead(self) -> bytes:
        return self._lead("PartialObjectMetadataList", "meta.k8s.io/v1")


def _partial(value: dict[str, Any]) -> bytes:
    partial = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": value["metadata"]}
    return _encode(partial)


class TableRenderer(Renderer):
    """Rows of cells, as ``kubectl get`` shows them. ``now`` gives the seconds since the epoch."""

    def __init__(self, kind: Kind, include: str, now: Callable[[], float]) -> None:
        super().__init__(kind)
        self._include = include
        self._now = now
        columns = kind.columns or (AGE,)
        named = any(column.name == NAME.name for column in columns)
        self._columns: tuple[Column, ...] = columns if named else (NAME, *columns)
        self._defined = False

    def one(self, body: bytes) -> bytes:
        return self._table(body, self._definitions())

    def element(self, body: bytes) -> bytes:
        value = _decode(body)
        now = self._now()
        cells = _encode([column.cell(value, now) for column in self._columns])
        if self._include == INCLUDE_NONE:
            return b'{"cells":%b,"object":null}' % cells
        shown = super().element(body) if self._include == INCLUDE_OBJECT else _partial(value)
        return b'{"cells":%b,"object":%b}' % (cells, shown)

    def event(self, body: bytes) -> bytes:
        table = self._table(body, None if self._defined else self._definitions())
        self._defined = True
        return table

    def lead(self) -> bytes:
        head = _encode({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "columnDefinitions": self._definitions()})
        return head[:-1] + b',"rows":['

    def _table(self, body: bytes, definitions: list[dict[str, Any]] | None) -> bytes:
        """A table of one row."""
        metadata = {"resourceVersion": _decode(body)["metadata"].get("resourceVersion", "")}
        head = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "columnDefinitions": definitions}
        return b'%b,"rows":[%b]}' % (_encode(head)[:-1], self.element(body))

    def _definitions(self) -> list[dict[str, Any]]:
        return [
            {
                "name": column.name,
                "type": column.type,
                "format": column.format,
                "description": column.description,
                "priority": column.priority,
            }
            for column in self._columns
        ]
