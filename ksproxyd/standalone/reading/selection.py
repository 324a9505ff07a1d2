"""Which objects a list, watch or deletecollection is about."""

from __future__ import annotations

from typing import Any

import msgspec

from ksproxyd.model.selectors import FieldSelector, LabelSelector, parse_fields, parse_labels
from ksproxyd.model.status import bad_request
from ksproxyd.standalone.kinds.registry import Kind
from ksproxyd.standalone.paths import look
from ksproxyd.standalone.storage.store import Key
from ksproxyd.standalone.wire.errors import shown

_NAME: dict[str, tuple[str, ...]] = {"metadata.name": ("metadata", "name")}
_NAMESPACE: dict[str, tuple[str, ...]] = {"metadata.namespace": ("metadata", "namespace")}


class Selection(msgspec.Struct, frozen=True):
    """Objects of one kind in ``scope`` (namespace and name, None for any) that the selectors match."""

    scope: tuple[str | None, str | None]
    labels: LabelSelector = LabelSelector()
    fields: FieldSelector = FieldSelector()
    #: Where the fields of ``fields`` are found.
    paths: dict[str, tuple[str, ...]] = {}

    @property
    def everything(self) -> bool:
        """Whether every object in scope is selected."""
        return not self.labels and not self.fields

    def in_scope(self, key: Key) -> bool:
        """Whether the scope covers an object."""
        namespace, name = self.scope
        return (namespace is None or namespace == key.namespace) and (name is None or name == key.name)

    def matches(self, value: dict[str, Any]) -> bool:
        """Whether an object in scope is selected."""
        if self.labels and not self.labels.matches(value["metadata"].get("labels") or {}):
            return False
        if not self.fields:
            return True
        return self.fields.matches({name: _text(look(value, path)) for name, path in self.paths.items()})

    def matches_body(self, body: bytes) -> bool:
        """:meth:`matches` for an object that is still encoded."""
        return self.everything or self.matches(msgspec.json.decode(body))


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def selection(kind: Kind, namespace: str | None, labels: str, fields: str) -> Selection:
    """The selection of a request. 400 for selectors that cannot be read or name a field the kind does not offer.

    Terms on name and namespace narrow the scope, so that a watch of one object is woken for that one only.
    """
    try:
        by_label = parse_labels(labels)
    except ValueError as error:
        raise bad_request(str(error)) from None
    try:
        by_field = parse_fields(fields)
    except ValueError as error:
        raise bad_request(str(error)) from None
    known = _NAME | (_NAMESPACE if kind.namespaced else {}) | kind.selectable
    paths: dict[str, tuple[str, ...]] = {}
    for field, _, _ in by_field.terms:
        if field not in known:
            offered = ", ".join(shown(each) for each in sorted(known))
            raise bad_request(f"{shown(field)} is not a known field selector: only {offered}")
        paths[field] = known[field]
    name = by_field.exact("metadata.name")
    if namespace is None and kind.namespaced:
        namespace = by_field.exact("metadata.namespace")
    return Selection((namespace, name), by_label, by_field, paths)
