"""Deleting objects, and what becomes of those that depend on them."""

from __future__ import annotations

from ksproxyd.standalone.kinds.registry import NEVER, Kind, Object
from ksproxyd.standalone.schema.nodes import copied
from ksproxyd.standalone.storage.store import Key
from ksproxyd.standalone.wire import errors
from ksproxyd.standalone.wire.options import FOREGROUND, ORPHAN, DeleteOptions
from ksproxyd.standalone.writing.metadata import FOREGROUND_FINALIZER, ORPHAN_FINALIZER
from ksproxyd.standalone.writing.namespaces import IMMORTAL, TOPIC
from ksproxyd.standalone.writing.writer import Writer, finished


class Deleter:
    """Deletes through ``writer``. Dependents, contents of namespaces and the like are the collector's."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def delete(self, kind: Kind, key: Key, options: DeleteOptions) -> tuple[Object, bool]:
        """Delete an object: its last state, and whether it is gone already (else finalizers hold it).

        Raises a 404, 409 if a precondition fails, 403 for what cannot be deleted.
        """
        value = self._writer.current(kind, key)
        if value is None:
            raise errors.no_such_object(kind.plural, kind.group, key.name)
        if key.topic == TOPIC and key.name in IMMORTAL:
            raise errors.forbidden(kind.plural, kind.group, key.name, "this namespace may not be deleted")
        self._check_conditions(kind, key, value, options)
        doomed = copied(value)
        self._mark(kind, doomed, options)
        if options.dry_run:
            return doomed, finished(doomed)
        if finished(doomed):
            if not kind.graceful:
                doomed = value
            self._writer.remove(kind, key, doomed)
            return doomed, True
        if doomed == value:
            return value, False
        saved = self._writer.rewrite(kind, key, lambda found: _become(found, doomed))
        return saved or doomed, False

    def _check_conditions(self, kind: Kind, key: Key, value: Object, options: DeleteOptions) -> None:
        meta = value["metadata"]
        if options.uid and options.uid != meta["uid"]:
            why = (
                f"the UID in the precondition ({options.uid}) does not match the UID in record ({meta['uid']}). "
                "The object might have been deleted and then recreated"
            )
            raise errors.conflict(kind.kind, kind.group, key.name, why)
        if options.resource_version and options.resource_version != meta["resourceVersion"]:
            why = (
                f"the ResourceVersion in the precondition ({options.resource_version}) does not match "
                f"the ResourceVersion in record ({meta['resourceVersion']}). The object might have been modified"
            )
            raise errors.conflict(kind.kind, kind.group, key.name, why)

    def _mark(self, kind: Kind, value: Object, options: DeleteOptions) -> None:
        """Make ``value`` (in place) an object that is being deleted."""
        meta = value["metadata"]
        if not meta.get("deletionTimestamp"):
            kind.condemn(value)
        finalizers = list(meta.get("finalizers") or [])
        propagation = options.propagation
        if not propagation and not finalizers:
            propagation = kind.propagation
        if propagation:
            wanted = {ORPHAN: ORPHAN_FINALIZER, FOREGROUND: FOREGROUND_FINALIZER}.get(propagation)
            finalizers = [each for each in finalizers if each not in (ORPHAN_FINALIZER, FOREGROUND_FINALIZER)]
            if wanted is not None:
                finalizers.append(wanted)
        if finalizers:
            meta["finalizers"] = finalizers
        else:
            meta.pop("finalizers", None)
        if meta.get("deletionTimestamp"):
            return
        meta["deletionTimestamp"] = self._writer.now()
        if kind.topic == TOPIC:
            value.setdefault("status", {})["phase"] = "Terminating"
            return
        meta["deletionGracePeriodSeconds"] = 0
        if kind.generation != NEVER and meta.get("generation"):
            meta["generation"] += 1


def _become(value: Object, other: Object) -> None:
    value.clear()
    value.update(other)
