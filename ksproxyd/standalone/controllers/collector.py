"""Garbage collection: what becomes of objects whose owners are deleted.

Dependents go when their last owner is gone (background), before it is gone (foreground, while a finalizer holds the
owner), or stay and forget it (orphan). The work is done in portions after the request that causes it.
"""

from __future__ import annotations

from ksproxyd.standalone.controllers.chores import Chores
from ksproxyd.standalone.kinds.registry import Kind, Kinds, Object
from ksproxyd.standalone.storage.log import Log
from ksproxyd.standalone.storage.store import DELETED, Event, Key, Store
from ksproxyd.standalone.wire.options import BACKGROUND, FOREGROUND, DeleteOptions
from ksproxyd.standalone.writing.deleter import Deleter
from ksproxyd.standalone.writing.metadata import FOREGROUND_FINALIZER, ORPHAN_FINALIZER
from ksproxyd.standalone.writing.writer import Writer

#: So many objects are one portion of work.
_OBJECTS = 20

_MARKS = (b'"deletionTimestamp"', b'"ownerReferences"')


class Collector:
    """Follows ``log``, and cleans up through ``writer`` and ``deleter``."""

    def __init__(self, store: Store, log: Log, kinds: Kinds, writer: Writer, deleter: Deleter, chores: Chores) -> None:
        self._store = store
        self._kinds = kinds
        self._writer = writer
        self._deleter = deleter
        self._chores = chores
        log.listen(self._notice)

    def start(self) -> None:
        """Look through all objects once: work may have been left when the last process ended."""
        for kind in self._kinds.stored():
            self._chores.later(self._scan, kind.topic, ("", ""))

    def _scan(self, topic: str, after: tuple[str, str]) -> None:
        rows = self._store.page(topic, None, after, _OBJECTS)
        for row in rows:
            if any(mark in row.body for mark in _MARKS):
                self._chores.later(self._examine, Key(topic, row.namespace, row.name))
        if len(rows) == _OBJECTS:
            self._chores.later(self._scan, topic, (rows[-1].namespace, rows[-1].name))

    def _notice(self, event: Event) -> None:
        if event.type != DELETED:
            if any(mark in event.body for mark in _MARKS):
                self._chores.later(self._examine, event.key)
            return
        metadata = event.object["metadata"]
        self._chores.later(self._gone, metadata["uid"], None)
        for reference in metadata.get("ownerReferences") or ():
            owner = self._key_of(reference, event.key.namespace)
            if owner is not None:
                self._chores.later(self._examine, owner)

    # -- portions of work ----------------------------------------------------------------------------------

    def _examine(self, key: Key) -> None:
        """See what is to be done about an object that has owners, or is being deleted."""
        kind, value = self._find(key)
        if kind is None or value is None:
            return
        metadata = value["metadata"]
        finalizers = metadata.get("finalizers") or ()
        if not metadata.get("deletionTimestamp"):
            self._check_owners(kind, key, value, "")
        elif ORPHAN_FINALIZER in finalizers:
            self._let_go(key, metadata["uid"], None)
        elif FOREGROUND_FINALIZER in finalizers:
            self._await_dependents(kind, key, metadata["uid"], None)

    def _gone(self, uid: str, after: Key | None) -> None:
        """The object ``uid`` is gone: see to its dependents behind ``after``."""
        keys = self._store.dependents(uid, _OBJECTS, after)
        for key in keys:
            kind, value = self._find(key)
            if kind is not None and value is not None and not value["metadata"].get("deletionTimestamp"):
                self._check_owners(kind, key, value, uid)
        if len(keys) == _OBJECTS:
            self._chores.later(self._gone, uid, keys[-1])

    def _check_owners(self, kind: Kind, key: Key, value: Object, gone: str) -> None:
        """Delete an object that has no owner left, or have it forget those that are gone."""
        solid, waiting = [], False
        references = value["metadata"].get("ownerReferences") or []
        for reference in references:
            owner = None if reference["uid"] == gone else self._owner(reference, key.namespace)
            if owner is _UNKNOWN:
                solid.append(reference)
            elif isinstance(owner, dict):
                held = FOREGROUND_FINALIZER in (owner["metadata"].get("finalizers") or ())
                if owner["metadata"].get("deletionTimestamp") and held:
                    waiting = True
                else:
                    solid.append(reference)
        if len(solid) == len(references):
            return
        if solid:
            self._writer.rewrite(kind, key, lambda found: found["metadata"].update(ownerReferences=solid))
            return
        policy = FOREGROUND if waiting and self._store.dependents(value["metadata"]["uid"], 1) else BACKGROUND
        self._deleter.delete(kind, key, DeleteOptions(propagation=policy))

    def _let_go(self, owner: Key, uid: str, after: Key | None) -> None:
        """Have the dependents of an object (those behind ``after``) forget it, then let it go."""
        keys = self._store.dependents(uid, _OBJECTS, after)
        for key in keys:
            kind, _ = self._find(key)
            if kind is not None:
                self._writer.rewrite(kind, key, lambda found: _forget(found, uid))
        if len(keys) == _OBJECTS:
            self._chores.later(self._let_go, owner, uid, keys[-1])
        else:
            self._release(owner, ORPHAN_FINALIZER)

    def _await_dependents(self, kind: Kind, owner: Key, uid: str, after: Key | None) -> None:
        """Have the dependents of an object deleted; once none that blocks it is left, let it go."""
        keys = self._store.dependents(uid, _OBJECTS, after)
        blocked = False
        for key in keys:
            dependent_kind, value = self._find(key)
            if dependent_kind is None or value is None:
                continue
            references = value["metadata"].get("ownerReferences") or ()
            blocked |= any(each["uid"] == uid and each.get("blockOwnerDeletion") for each in references)
            if not value["metadata"].get("deletionTimestamp"):
                self._chores.later(self._examine, key)
        if len(keys) == _OBJECTS:
            self._chores.later(self._await_dependents, kind, owner, uid, keys[-1])
        elif not blocked and after is None:
            self._release(owner, FOREGROUND_FINALIZER)

    def _release(self, key: Key, finalizer: str) -> None:
        kind, _ = self._find(key)
        if kind is not None:
            self._writer.rewrite(kind, key, lambda found: drop_finalizer(found, finalizer))

    # -- looking things up ---------------------------------------------------------------------------------

    def _find(self, key: Key) -> tuple[Kind | None, Object | None]:
        kind = self._kinds.of_topic(key.topic)
        return kind, None if kind is None else self._writer.current(kind, key)

    def _key_of(self, reference: Object, namespace: str) -> Key | None:
        kind = self._kinds.by_name(reference["apiVersion"], reference["kind"])
        if kind is None:
            return None
        return Key(kind.topic, namespace if kind.namespaced else "", reference["name"])

    def _owner(self, reference: Object, namespace: str) -> Object | None:
        """The owner a reference means: None if it is gone, :data:`_UNKNOWN` if nobody can tell."""
        key = self._key_of(reference, namespace)
        if key is None:
            return _UNKNOWN
        _, value = self._find(key)
        return value if value is not None and value["metadata"]["uid"] == reference["uid"] else None


#: An owner of a kind that is not served (any more).
_UNKNOWN: Object = {}


def _forget(value: Object, uid: str) -> None:
    references = [each for each in value["metadata"].get("ownerReferences") or () if each["uid"] != uid]
    if references:
        value["metadata"]["ownerReferences"] = references
    else:
        value["metadata"].pop("ownerReferences", None)


def drop_finalizer(value: Object, finalizer: str) -> None:
    """Remove a finalizer from an object (in place)."""
    finalizers = [each for each in value["metadata"].get("finalizers") or () if each != finalizer]
    if finalizers:
        value["metadata"]["finalizers"] = finalizers
    else:
        value["metadata"].pop("finalizers", None)
