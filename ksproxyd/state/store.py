"""What is known of one kind, in memory.

Objects are the decoded JSON as it came, without ``metadata.managedFields``. They are shared by everybody who asks and
must not be changed; a change on the server brings a new object.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, KeysView, ValuesView
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

Object = dict[str, Any]

#: Namespace (empty for cluster-scoped kinds) and name.
Key = tuple[str, str]

#: An object with so many values is not noted under each of them, but asked whether it has one.
LONG = 1000

Subscriber = Callable[[Object | None, Object | None], None]


class Kept(Protocol):
    """What is kept current with a store's objects. It raises nothing."""

    def change(self, key: Key, old: Object | None, new: Object | None) -> None:
        """An object changed; None is one that is not there. For the store only."""


Keeping = TypeVar("Keeping", bound=Kept)


def key_of(obj: Object) -> Key:
    """The key of ``obj``. Raises :class:`ValueError` if its metadata does not name it."""
    metadata = obj.get("metadata")
    if isinstance(metadata, dict):
        namespace, name = metadata.get("namespace", ""), metadata.get("name")
        if isinstance(namespace, str) and isinstance(name, str) and name:
            return namespace, name
    raise ValueError("an object without a usable name in its metadata")


class Store:
    """The objects of one kind, by key.

    ``synced`` becomes true once the collection has been read completely and stays so; what the store holds afterwards
    is the last known state, however old: :meth:`age`.
    """

    log = Logger()

    def __init__(self, kind: str, clock: IReactorTime) -> None:
        self.kind = kind
        self.synced = False
        self._clock = clock
        self._heard: float | None = None
        self._objects: dict[Key, Object] = {}
        self._indexes: list[Kept] = []
        self._subscribers: list[Subscriber] = []
        self._waiting: list[Deferred[None]] = []

    def get(self, key: Key) -> Object | None:
        """The object at ``(namespace, name)``; the namespace is empty for cluster-scoped kinds."""
        return self._objects.get(key)

    def values(self) -> ValuesView[Object]:
        """Every object, as a live view: not to be iterated over across turns of the reactor."""
        return self._objects.values()

    def keys(self) -> KeysView[Key]:
        """Every key, as a live view."""
        return self._objects.keys()

    def __len__(self) -> int:
        return len(self._objects)

    def __contains__(self, key: Key) -> bool:
        return key in self._objects

    def age(self) -> float:
        """Seconds since the server last proved that what is here is current; infinity before the first time."""
        return float("inf") if self._heard is None else self._clock.seconds() - self._heard

    def subscribe(self, callback: Subscriber, *, replay: bool = False) -> Callable[[], None]:
        """Have ``callback(old, new)`` called for every change; returns what ends that.

        ``old`` is None for a new object and ``new`` is None for one that is gone; an object that was replaced by
        another of the same name goes first and comes then. For each key the ``old`` of a call is the ``new`` of the one
        before. With ``replay`` the objects that are there already are announced first, before this returns. What a
        callback raises is logged and disturbs nobody else.
        """
        self._subscribers.append(callback)
        if replay:
            for obj in tuple(self._objects.values()):
                self._call(callback, None, obj)

        def unsubscribe() -> None:
            if callback in self._subscribers:
                self._subscribers.remove(callback)

        return unsubscribe

    def index(self, values_of: Callable[[Object], Iterable[Hashable]]) -> Index:
        """A look-up by what ``values_of`` finds in an object; kept current before subscribers are called."""
        return self.keep(Index(self.kind, values_of))

    def keep(self, index: Keeping) -> Keeping:
        """The same for ``index``, a look-up of its own kind; returns it."""
        for key, obj in self._objects.items():
            index.change(key, None, obj)
        self._indexes.append(index)
        return index

    def when_synced(self) -> Deferred[None]:
        """Fires when the store is synced, at once if it is; may be cancelled."""
        done: Deferred[None] = Deferred(self._waiting.remove)
        if self.synced:
            done.callback(None)
        else:
            self._waiting.append(done)
        return done

    def put(self, obj: Object) -> None:
        """The server has ``obj``. For the reflector only."""
        key = key_of(obj)
        old = self._objects.get(key)
        # The whole object is compared: after a restored backup an old resourceVersion may name new contents.
        if old == obj:
            return
        if old is not None and _uid(old) != _uid(obj):
            self._change(key, old, None)
            old = None
        self._change(key, old, obj)

    def remove(self, key: Key) -> None:
        """The server has nothing at ``key``. For the reflector only."""
        old = self._objects.get(key)
        if old is not None:
            self._change(key, old, None)

    def heard(self) -> None:
        """The server gave a sign of life. For the reflector only."""
        self._heard = self._clock.seconds()

    def mark_synced(self) -> None:
        """The store now holds what the server has. For the reflector only."""
        if self.synced:
            return
        self.synced = True
        waiting, self._waiting = self._waiting, []
        for done in waiting:
            done.callback(None)

    def _change(self, key: Key, old: Object | None, new: Object | None) -> None:
        if new is None:
            del self._objects[key]
        else:
            self._objects[key] = new
        for index in self._indexes:
            index.change(key, old, new)
        for callback in tuple(self._subscribers):
            if callback in self._subscribers:
                self._call(callback, old, new)

    def _call(self, callback: Subscriber, old: Object | None, new: Object | None) -> None:
        try:
            callback(old, new)
        except Exception:
            name = "/".join(filter(None, key_of(new or old or {})))
            self.log.failure("a subscriber failed at {kind} {name}", kind=self.kind, name=name)


class Index:
    """Objects of a store by a value found in them, such as the group and version an APIService serves."""

    log = Logger()

    def __init__(self, kind: str, values_of: Callable[[Object], Iterable[Hashable]]) -> None:
        self._kind = kind
        self._values_of = values_of
        self._objects: dict[Hashable, dict[Key, Object]] = {}
        self._values: dict[Key, tuple[Hashable, ...]] = {}
        self._long: dict[Key, tuple[frozenset[Hashable], Object]] = {}

    def get(self, value: Hashable) -> tuple[Object, ...]:
        """The objects that have ``value``, in no particular order."""
        found = self._objects.get(value)
        objects = tuple(found.values()) if found else ()
        if self._long:
            objects += tuple([obj for values, obj in self._long.values() if value in values])
        return objects

    def change(self, key: Key, old: Object | None, new: Object | None) -> None:
        """An object changed. For the store only."""
        self._long.pop(key, None)
        for value in self._values.pop(key, ()):
            entries = self._objects[value]
            del entries[key]
            if not entries:
                del self._objects[value]
        if new is None:
            return
        try:
            values = tuple(self._values_of(new))
            if len(values) >= LONG:
                self._long[key] = frozenset(values), new
                return
            values = tuple(dict.fromkeys(values))
        except Exception:
            self.log.failure("{kind} {name} cannot be indexed", kind=self._kind, name="/".join(filter(None, key)))
            return
        for value in values:
            self._objects.setdefault(value, {})[key] = new
        if values:
            self._values[key] = values


def _uid(obj: Object) -> Any:
    return obj["metadata"].get("uid")
