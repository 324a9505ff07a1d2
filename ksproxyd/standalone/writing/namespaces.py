"""What namespaces mean for the objects in them."""

from __future__ import annotations

import msgspec

from ksproxyd.standalone.kinds.registry import Kind
from ksproxyd.standalone.storage.store import Key, Store
from ksproxyd.standalone.wire.errors import FieldError, forbidden, no_such_object

TOPIC = "/namespaces"

#: These cannot be deleted.
IMMORTAL = ("default", "kube-node-lease", "kube-public", "kube-system")


def key_of(name: str) -> Key:
    """The key of a namespace."""
    return Key(TOPIC, "", name)


class Namespaces:
    """The namespaces in ``store``."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def check_open(self, kind: Kind, namespace: str, name: str) -> None:
        """That an object may be created in ``namespace`` (empty for cluster-scoped kinds). Raises a 404 or 403."""
        if not namespace:
            return
        body = self._store.get(key_of(namespace))
        if body is None:
            raise no_such_object("namespaces", "", namespace)
        if b'"deletionTimestamp"' in body and msgspec.json.decode(body)["metadata"].get("deletionTimestamp"):
            cause = FieldError(
                "NamespaceTerminating", "metadata.namespace", f"namespace {namespace} is being terminated"
            )
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            raise forbidden(kind.plural, kind.group, name, why, cause)
