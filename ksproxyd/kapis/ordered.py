"""The objects of a store in the orders in which lists are asked for, so that no request has to sort them."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence

from ksproxyd.state.store import Object, Store
from ksproxyd.state.validation import text

#: What the objects of a list are sorted by: the creation time (empty where the order is by name), name and namespace.
SortKey = tuple[str, str, str]


def sort_key(value: Object, by_name: bool) -> SortKey:
    """The place of an object in a list (spec 03, 7)."""
    metadata = value.get("metadata")
    created = "" if by_name else text(metadata, "creationTimestamp")
    return created, text(metadata, "name"), text(metadata, "namespace")


class Ordered:
    """A store's objects, sorted. An order is made when it is first asked for, and kept from then on."""

    def __init__(self, store: Store) -> None:
        self.store = store
        #: By whether it is the order by name.
        self._orders: dict[bool, list[SortKey]] = {}
        self._end = store.subscribe(self._event)

    def __len__(self) -> int:
        return len(self.store)

    def stop(self) -> None:
        """Hear of no more changes."""
        self._end()

    def keys(self, by_name: bool) -> Sequence[SortKey]:
        """The objects' places, ascending: not to be kept across turns of the reactor."""
        order = self._orders.get(by_name)
        if order is None:
            order = self._orders[by_name] = sorted(sort_key(each, by_name) for each in self.store.values())
        return order

    def _event(self, old: Object | None, new: Object | None) -> None:
        for by_name, order in self._orders.items():
            before = None if old is None else sort_key(old, by_name)
            after = None if new is None else sort_key(new, by_name)
            if before == after:
                continue
            if before is not None:
                place = bisect_left(order, before)
                if place < len(order) and order[place] == before:
                    del order[place]
            if after is not None:
                insort(order, after)
