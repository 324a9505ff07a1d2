"""Namespaces and definitions that are being deleted are emptied first; new namespaces get their default account."""

from __future__ import annotations

import msgspec

from ksproxyd.model.status import StatusError
from ksproxyd.standalone.controllers.chores import Chores
from ksproxyd.standalone.controllers.collector import drop_finalizer
from ksproxyd.standalone.kinds.definitions import CLEANUP_FINALIZER
from ksproxyd.standalone.kinds.definitions import TOPIC as DEFINITIONS
from ksproxyd.standalone.kinds.registry import Kinds, Object
from ksproxyd.standalone.storage.log import Log
from ksproxyd.standalone.storage.store import ADDED, DELETED, Event, Key, Store
from ksproxyd.standalone.wire.options import BACKGROUND, DeleteOptions, WriteOptions
from ksproxyd.standalone.writing import namespaces
from ksproxyd.standalone.writing.deleter import Deleter
from ksproxyd.standalone.writing.writer import Writer

_ACCOUNTS = "/serviceaccounts"

#: So many objects are one portion of work.
_OBJECTS = 20

_DELETE = DeleteOptions(propagation=BACKGROUND)

#: The manager of what is created here.
_MANAGER = WriteOptions(manager="ksproxyd-standalone")


class Purger:
    """Follows ``log``, and empties what is being deleted through ``deleter``."""

    def __init__(self, store: Store, log: Log, kinds: Kinds, writer: Writer, deleter: Deleter, chores: Chores) -> None:
        self._store = store
        self._kinds = kinds
        self._writer = writer
        self._deleter = deleter
        self._chores = chores
        #: What is being emptied: a namespace or definition, by key, and whether its objects are being gone through.
        self._passing: dict[Key, bool] = {}
        log.listen(self._notice)

    def start(self) -> None:
        """Go on with what was being emptied when the last process ended."""
        for topic in (namespaces.TOPIC, DEFINITIONS):
            for row in self._store.page(topic, None, None, -1):
                key = Key(topic, row.namespace, row.name)
                if _terminating(row.body):
                    self._begin(key)
                elif topic == namespaces.TOPIC:
                    self._chores.later(self._give_account, row.name)

    def _notice(self, event: Event) -> None:
        key = event.key
        if key.topic in (namespaces.TOPIC, DEFINITIONS):
            if event.type == DELETED:
                self._passing.pop(key, None)
            elif event.type == ADDED and key.topic == namespaces.TOPIC:
                self._chores.later(self._give_account, key.name)
            elif key not in self._passing and _terminating(event.body):
                self._begin(key)
        if event.type == DELETED and self._passing:
            for holder in (namespaces.key_of(key.namespace), self._definition_of(key.topic)):
                if self._passing.get(holder) is False:
                    self._chores.later(self._settle, holder)

    def _begin(self, holder: Key) -> None:
        self._passing[holder] = True
        self._chores.later(self._empty, holder, 0, None)

    def _places(self, holder: Key) -> list[tuple[str, str | None]]:
        """Where the objects are that go with a namespace or definition: (topic, namespace)."""
        if holder.topic == namespaces.TOPIC:
            return [(kind.topic, holder.name) for kind in self._kinds.stored() if kind.namespaced]
        plural, _, group = holder.name.partition(".")
        return [(f"{group}/{plural}", None)]

    @staticmethod
    def _definition_of(topic: str) -> Key:
        group, _, plural = topic.partition("/")
        return Key(DEFINITIONS, "", f"{plural}.{group}")

    # -- portions of work ----------------------------------------------------------------------------------

    def _empty(self, holder: Key, index: int, after: tuple[str, str] | None) -> None:
        """Delete a few objects of one place, and go on behind them or at the next place."""
        places = self._places(holder)
        if index >= len(places):
            self._passing[holder] = False
            self._settle(holder)
            return
        topic, namespace = places[index]
        kind = self._kinds.of_topic(topic)
        rows = self._store.page(topic, namespace, after, _OBJECTS)
        for row in rows:
            if kind is not None and not _terminating(row.body):
                self._deleter.delete(kind, Key(topic, row.namespace, row.name), _DELETE)
        if len(rows) == _OBJECTS:
            self._chores.later(self._empty, holder, index, (rows[-1].namespace, rows[-1].name))
        else:
            self._chores.later(self._empty, holder, index + 1, None)

    def _settle(self, holder: Key) -> None:
        """Let a namespace or definition go if nothing is left of it; else finalizers hold some object."""
        if any(self._store.page(topic, namespace, None, 1) for topic, namespace in self._places(holder)):
            return
        kind = self._kinds.of_topic(holder.topic)
        if kind is not None:
            self._writer.rewrite(kind, holder, _finalize if holder.topic == namespaces.TOPIC else _clean)

    def _give_account(self, namespace: str) -> None:
        """Create the service account that pods of a namespace have by default."""
        kind = self._kinds.of_topic(_ACCOUNTS)
        if kind is None or self._store.get(Key(_ACCOUNTS, namespace, "default")) is not None:
            return
        try:
            self._writer.create(kind, namespace, {"metadata": {"name": "default"}}, _MANAGER)
        except StatusError as error:
            # The namespace has been deleted in the meantime.
            if error.code not in (403, 404):
                raise


def _terminating(body: bytes) -> bool:
    if b'"deletionTimestamp"' not in body:
        return False
    return bool(msgspec.json.decode(body)["metadata"].get("deletionTimestamp"))


def _clean(value: Object) -> None:
    drop_finalizer(value, CLEANUP_FINALIZER)


def _finalize(value: Object) -> None:
    finalizers = [each for each in value["spec"].get("finalizers") or () if each != "kubernetes"]
    value["spec"]["finalizers"] = finalizers
