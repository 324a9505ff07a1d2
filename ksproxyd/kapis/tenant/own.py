"""What somebody's own bindings show them of one kind, in the orders in which lists are asked for.

It is remembered until a binding of theirs, or what there is, changes: people page through what they see, and the
console asks for the same lists again and again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ksproxyd.authz.bindings import Principal, named_among, principals_of
from ksproxyd.kapis.ordered import Ordered, SortKey, sort_key
from ksproxyd.model.identity import Identity
from ksproxyd.state.store import Object, Store

#: So many names are remembered, of all people together.
MOST_NAMES = 100_000


class Part(Ordered):
    """Some of a store's objects, sorted; ``names`` are those that there are. It hears of no changes itself."""

    def __init__(self, whole: Ordered, names: Sequence[str]) -> None:
        self.store = whole.store
        self._whole = whole
        self._names = names
        self._orders: dict[bool, list[SortKey]] = {}

    def __len__(self) -> int:
        return len(self._names)

    def stop(self) -> None:
        """Nothing is heard of."""

    def keys(self, by_name: bool) -> Sequence[SortKey]:
        """The objects' places, ascending."""
        order = self._orders.get(by_name)
        if order is None:
            order = self._orders[by_name] = self._order(by_name)
        return order

    def _order(self, by_name: bool) -> list[SortKey]:
        if len(self._names) * 8 > len(self._whole):
            names = frozenset(self._names)
            return [key for key in self._whole.keys(by_name) if key[1] in names]
        get = self.store.get
        return sorted(sort_key(each, by_name) for name in self._names if (each := get(("", name))) is not None)


class Own:
    """For one kind, that of ``whole``: ``names_of`` finds the names of what somebody is bound to in ``bindings``."""

    def __init__(self, whole: Ordered, bindings: Store, names_of: Callable[[Identity], list[str]]) -> None:
        self._whole = whole
        self._names_of = names_of
        self._parts: dict[tuple[str, tuple[str, ...]], Part] = {}
        #: Who is remembered under what bindings may call them.
        self._named: dict[Principal, set[tuple[str, tuple[str, ...]]]] = {}
        self._weight = 0
        self._ends = [bindings.subscribe(self._bound), whole.store.subscribe(self._changed)]

    def stop(self) -> None:
        """Hear of no more changes."""
        for end in self._ends:
            end()

    def of(self, user: Identity) -> Part:
        """What ``user`` sees; not to be kept across turns of the reactor."""
        key = (user.name, user.groups)
        part = self._parts.get(key)
        if part is None:
            part = self._remember(key, user)
        return part

    def _remember(self, key: tuple[str, tuple[str, ...]], user: Identity) -> Part:
        store = self._whole.store
        part = Part(self._whole, [name for name in self._names_of(user) if ("", name) in store])
        # Who sees nothing is remembered, too.
        self._weight += len(part) + 1
        if self._weight > MOST_NAMES:
            self._forget()
            self._weight = len(part) + 1
        self._parts[key] = part
        for who in principals_of(user):
            self._named.setdefault(who, set()).add(key)
        return part

    def _forget(self) -> None:
        self._parts.clear()
        self._named.clear()
        self._weight = 0

    def _bound(self, old: Object | None, new: Object | None) -> None:
        for binding in (old, new):
            for who in named_among(binding, self._named) if binding is not None else ():
                for key in self._named.pop(who, ()):
                    part = self._parts.pop(key, None)
                    self._weight -= 0 if part is None else len(part) + 1

    def _changed(self, old: Object | None, new: Object | None) -> None:
        if old is None or new is None or sort_key(old, False) != sort_key(new, False):
            self._forget()
