"""The shared store where nobody shares: the memory of this process."""

from __future__ import annotations

from itertools import islice

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime

_NEVER = float("inf")

#: Entries that are looked at in one turn of the reactor when expired ones are removed.
_STEP = 2000

#: Members a set has at least before it is looked through for expired ones. Afterwards it may have twice as many as were
#: left: whoever logs in all day has thousands of sessions, and another one must not cost as much as all of them.
_FULL = 32


class _Entry:
    __slots__ = ("expires", "full", "value")

    def __init__(self, value: bytes | int | dict[str, float], expires: float) -> None:
        self.value = value
        #: Of a set: not before its last member does.
        self.expires = expires
        #: So many members a set has when it is time to look for those that have expired.
        self.full = _FULL


class MemoryStore:
    """A :class:`ksproxyd.authn.shared.store.SharedStore` in a dictionary.

    Expired entries are absent at once; every ``cleanup_period`` seconds they are removed, so that what nobody asks for
    again does not stay. The timer runs only while there are entries. The times are those of ``clock``.
    """

    common = False
    #: It is never away.
    away = ""

    def __init__(self, clock: IReactorTime, cleanup_period: float) -> None:
        self._clock = clock
        self._period = cleanup_period
        self._entries: dict[str, _Entry] = {}
        self._timer: IDelayedCall | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str) -> Deferred[bytes | None]:
        """See the protocol."""
        entry = self._live(key)
        return succeed(None if entry is None else _bytes(entry))

    def put(self, key: str, value: bytes, ttl: float | None) -> Deferred[None]:
        """See the protocol."""
        self._set(key, value, ttl)
        return succeed(None)

    def add(self, key: str, value: bytes, ttl: float | None) -> Deferred[bool]:
        """See the protocol."""
        if self._live(key) is not None:
            return succeed(False)
        self._set(key, value, ttl)
        return succeed(True)

    def take(self, key: str) -> Deferred[bytes | None]:
        """See the protocol."""
        entry = self._live(key)
        if entry is None:
            return succeed(None)
        value = _bytes(entry)
        del self._entries[key]
        return succeed(value)

    def replace(self, key: str, expected: bytes, value: bytes, ttl: float | None) -> Deferred[bool]:
        """See the protocol."""
        entry = self._live(key)
        if entry is None or entry.value != expected:
            return succeed(False)
        self._set(key, value, ttl)
        return succeed(True)

    def delete(self, *keys: str) -> Deferred[int]:
        """See the protocol."""
        gone = 0
        for key in keys:
            if self._live(key) is not None:
                del self._entries[key]
                gone += 1
        return succeed(gone)

    def count(self, key: str, ttl: float) -> Deferred[int]:
        """See the protocol."""
        entry = self._live(key)
        if entry is None:
            self._set(key, 1, ttl)
            return succeed(1)
        assert isinstance(entry.value, int), "this key is no counter"
        entry.value += 1
        return succeed(entry.value)

    def counted(self, key: str) -> Deferred[tuple[int, float]]:
        """See the protocol."""
        entry = self._live(key)
        if entry is None:
            return succeed((0, 0.0))
        assert isinstance(entry.value, int), "this key is no counter"
        return succeed((entry.value, entry.expires - self._clock.seconds()))

    def add_member(self, key: str, member: str, ttl: float | None) -> Deferred[None]:
        """See the protocol."""
        now = self._clock.seconds()
        expires = _NEVER if ttl is None else now + ttl
        entry = self._live(key)
        if entry is None:
            self._keep(key, _Entry({member: expires}, expires))
            return succeed(None)
        members = _members(entry)
        members[member] = expires
        if expires > entry.expires:
            entry.expires = expires
        if len(members) >= entry.full:
            self._look_through(key, entry)
        return succeed(None)

    def remove_member(self, key: str, member: str) -> Deferred[None]:
        """See the protocol."""
        entry = self._live(key)
        if entry is not None:
            members = _members(entry)
            expires = members.pop(member, 0.0)
            if not members or expires == entry.expires:
                # The last one to expire, perhaps.
                self._look_through(key, entry)
        return succeed(None)

    def members(self, key: str) -> Deferred[list[str]]:
        """See the protocol."""
        entry = self._live(key)
        if entry is None:
            return succeed([])
        now = self._clock.seconds()
        return succeed([member for member, expires in _members(entry).items() if expires > now])

    def find(self, beginning: str, end: str) -> Deferred[list[str]]:
        """See the protocol."""
        found = [
            key
            for key in tuple(self._entries)
            if len(key) >= len(beginning) + len(end)
            and key.startswith(beginning)
            and key.endswith(end)
            and self._live(key) is not None
        ]
        return succeed(found)

    def verbatim(self) -> MemoryStore:
        """See the protocol; nobody else writes here, so that this is the store itself."""
        return self

    def close(self) -> None:
        """See the protocol."""
        self._closed = True
        self._entries.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- entries -----------------------------------------------------------------------------------------------

    def _live(self, key: str) -> _Entry | None:
        entry = self._entries.get(key)
        if entry is not None and entry.expires <= self._clock.seconds():
            del self._entries[key]
            return None
        return entry

    def _set(self, key: str, value: bytes | int, ttl: float | None) -> None:
        self._keep(key, _Entry(value, _NEVER if ttl is None else self._clock.seconds() + ttl))

    def _keep(self, key: str, entry: _Entry) -> None:
        self._entries[key] = entry
        if self._timer is None and not self._closed:
            self._timer = self._clock.callLater(self._period, self._clean, None)

    def _look_through(self, key: str, entry: _Entry) -> None:
        """Take the members out of a set that have expired, and the set itself if there are no others."""
        now = self._clock.seconds()
        left = {member: expires for member, expires in _members(entry).items() if expires > now}
        if not left:
            del self._entries[key]
            return
        entry.value, entry.expires, entry.full = left, max(left.values()), max(_FULL, 2 * len(left))

    def _clean(self, rest: list[str] | None) -> None:
        """Remove what has expired, so many in a turn that nobody has to wait for it."""
        rest = list(self._entries) if rest is None else rest
        now = self._clock.seconds()
        for key in islice(rest, _STEP):
            entry = self._entries.get(key)
            if entry is not None and entry.expires <= now:
                del self._entries[key]
        del rest[:_STEP]
        self._timer = None
        if rest:
            self._timer = self._clock.callLater(0, self._clean, rest)
        elif self._entries:
            self._timer = self._clock.callLater(self._period, self._clean, None)


def _members(entry: _Entry) -> dict[str, float]:
    assert isinstance(entry.value, dict), "this key is no set"
    return entry.value


def _bytes(entry: _Entry) -> bytes:
    """A value as a value; a counter reads as its digits, as in Redis."""
    if isinstance(entry.value, int):
        return str(entry.value).encode()
    assert isinstance(entry.value, bytes), "this key is a set"
    return entry.value
