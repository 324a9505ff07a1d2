"""Which ReverseProxy a request is for.

A matcher path is exact, or a prefix if it ends with ``*`` (a ``*`` elsewhere is an ordinary character). Of all that
match, an exact path wins over a prefix, a longer prefix over a shorter one, a named method over ``*``, then the older
object, then the smaller name; a path whose methods do not fit leaves the request to the next best.

Prefixes are kept by their directory (the part up to the last slash), so a look-up asks once per directory of the
request's path, whatever the number of entries.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")

#: Requests outside of this are never for a ReverseProxy.
ROOT = "/proxy"

#: The longest matcher path that is accepted, in characters.
MAX_PATH = 2048


#: How many requests are remembered with what was found for them, and how long their path and method may be.
_MOST_FOUND, _LONGEST_FOUND = 4096, 256


class ProxyTable(Generic[Value]):
    """Values by method and path. Changes while requests are matched are fine: each is complete before the next look-up.

    ``add`` under a key that is there replaces it.
    """

    def __init__(self) -> None:
        self._entries: dict[Hashable, tuple[_Entry[Value], str]] = {}
        self._exact: dict[str, _Slot[Value]] = {}
        self._directories: dict[str, _Directory[Value]] = {}
        self._depths = _Lengths()
        #: What was found lately, by path and method; emptied at every change.
        self._found: dict[tuple[str, str], Value] = {}

    def add(self, key: Hashable, method: str, path: str, value: Value, created: str, name: str) -> None:
        """Let requests for ``method`` and ``path`` (as in ``spec.matcher``) find ``value``.

        ``created`` is the object's creationTimestamp (RFC 3339 in UTC; empty sorts last), ``name`` its name. A
        matcher without a method or path matches nothing. Raises ``ValueError`` for a path that is too long.
        """
        self.remove(key)
        if len(path) > MAX_PATH:
            raise ValueError(f"spec.matcher.path has more than {MAX_PATH} characters")
        entry = _Entry((not created, created, name, str(key)), key, method, value)
        self._entries[key] = (entry, path)
        self._found.clear()
        if not method or not path:
            return
        if path.endswith("*"):
            prefix = path.rstrip("*")
            directory = prefix[: prefix.rfind("/") + 1]
            held = self._directories.get(directory)
            if held is None:
                held = self._directories[directory] = _Directory()
                self._depths.add(len(directory))
            held.slot(prefix[len(directory) :]).add(entry)
        else:
            self._exact.setdefault(path, _Slot()).add(entry)

    def remove(self, key: Hashable) -> None:
        """Forget what was added under ``key``, if anything was."""
        found = self._entries.pop(key, None)
        if found is None:
            return
        entry, path = found
        self._found.clear()
        if not entry.method or not path:
            return
        if path.endswith("*"):
            prefix = path.rstrip("*")
            directory = prefix[: prefix.rfind("/") + 1]
            held = self._directories[directory]
            held.discard(prefix[len(directory) :], entry)
            if not held.slots:
                del self._directories[directory]
                self._depths.discard(len(directory))
        elif not self._exact[path].discard(entry):
            del self._exact[path]

    def match(self, method: str, path: str) -> Value | None:
        """The value for a request with this method (exactly as sent) and decoded path, None if nothing matches."""
        known = self._found.get((path, method))
        if known is not None:
            return known
        found = self._match(method, path)
        if found is not None and len(path) + len(method) <= _LONGEST_FOUND:
            if len(self._found) >= _MOST_FOUND:
                self._found.clear()
            self._found[path, method] = found
        return found

    def _match(self, method: str, path: str) -> Value | None:
        if not path.startswith(ROOT):
            return None
        slot = self._exact.get(path)
        if slot is not None:
            found = slot.find(method)
            if found is not None:
                return found
        directories = self._directories
        end = self._depths.longest
        while True:
            end = path.rfind("/", 0, end) + 1
            held = directories.get(path[:end])
            if held is not None:
                found = held.find(method, path, end)
                if found is not None:
                    return found
            if end == 0:
                return None
            end -= 1

    def __len__(self) -> int:
        return len(self._entries)


class _Entry(Generic[Value]):
    """One value and what its turn is decided by."""

    __slots__ = ("key", "method", "rank", "value")

    def __init__(self, rank: tuple[bool, str, str, str], key: Hashable, method: str, value: Value) -> None:
        self.rank = rank
        self.key = key
        self.method = method
        self.value = value


class _Slot(Generic[Value]):
    """The entries of one path: for every method the one that wins."""

    __slots__ = ("entries", "winners")

    def __init__(self) -> None:
        self.entries: list[_Entry[Value]] = []
        self.winners: dict[str, Value] = {}

    def add(self, entry: _Entry[Value]) -> None:
        self._settle([*self.entries, entry])

    def discard(self, entry: _Entry[Value]) -> bool:
        """Whether anything is left."""
        self._settle([other for other in self.entries if other is not entry])
        return bool(self.entries)

    def _settle(self, entries: list[_Entry[Value]]) -> None:
        entries.sort(key=lambda entry: entry.rank)
        self.entries = entries
        self.winners = {entry.method: entry.value for entry in reversed(entries)}

    def find(self, method: str) -> Value | None:
        found = self.winners.get(method)
        return self.winners.get("*") if found is None else found


class _Directory(Generic[Value]):
    """The prefixes with one directory, by what they have behind it (nothing, for most)."""

    __slots__ = ("lengths", "slots")

    def __init__(self) -> None:
        self.slots: dict[str, _Slot[Value]] = {}
        self.lengths = _Lengths()

    def slot(self, rest: str) -> _Slot[Value]:
        found = self.slots.get(rest)
        if found is None:
            found = self.slots[rest] = _Slot()
            self.lengths.add(len(rest))
        return found

    def discard(self, rest: str, entry: _Entry[Value]) -> None:
        if not self.slots[rest].discard(entry):
            del self.slots[rest]
            self.lengths.discard(len(rest))

    def find(self, method: str, path: str, at: int) -> Value | None:
        """The winner among the prefixes that continue like ``path`` does from ``at``, the longest first."""
        for length in self.lengths.present:
            slot = self.slots.get(path[at : at + length])
            if slot is not None:
                found = slot.find(method)
                if found is not None:
                    return found
        return None


class _Lengths:
    """Which lengths some strings have, the longest first."""

    __slots__ = ("_counts", "longest", "present")

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self.present: tuple[int, ...] = ()
        self.longest = 0

    def add(self, length: int) -> None:
        self._counts[length] = self._counts.get(length, 0) + 1
        if self._counts[length] == 1:
            self._order()

    def discard(self, length: int) -> None:
        self._counts[length] -= 1
        if not self._counts[length]:
            del self._counts[length]
            self._order()

    def _order(self) -> None:
        self.present = tuple(sorted(self._counts, reverse=True))
        self.longest = self.present[0] if self.present else 0
