"""What gateways that serve together must agree on: sessions, codes, lock-outs, states of logins.

It is kept in Redis or, where there is one gateway only, in memory; whoever uses it knows this protocol and no more.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import Deferred


class SharedStore(Protocol):
    """Values by key, each for a time. Every operation is atomic, whoever else is doing what.

    Keys are text and have no prefix here; values are bytes; a ``ttl`` is in seconds from now, None is for ever. What
    has expired is absent. Every method fails with :class:`ksproxyd.authn.rejection.SharedUnavailable` while the store
    cannot be asked, within ``ksproxyd.timeouts.redis``; then it is not known whether a write was done.
    """

    @property
    def common(self) -> bool:
        """Whether other gateways see the same; False: it is the memory of this process."""
        ...

    @property
    def away(self) -> str:
        """Why it cannot be asked at the moment, for the log: it may name addresses. Empty while it can."""
        ...

    def get(self, key: str) -> Deferred[bytes | None]:
        """The value, None if there is none."""
        ...

    def put(self, key: str, value: bytes, ttl: float | None) -> Deferred[None]:
        """Set the value, in place of any other."""
        ...

    def add(self, key: str, value: bytes, ttl: float | None) -> Deferred[bool]:
        """Set the value if there is none; whether there was none."""
        ...

    def take(self, key: str) -> Deferred[bytes | None]:
        """Remove the value and return it: of all who take it, one gets it."""
        ...

    def replace(self, key: str, expected: bytes, value: bytes, ttl: float | None) -> Deferred[bool]:
        """Set the value if it is ``expected`` now; whether it was."""
        ...

    def delete(self, *keys: str) -> Deferred[int]:
        """Remove values, counters or sets; how many there were."""
        ...

    def count(self, key: str, ttl: float) -> Deferred[int]:
        """Add one and return the new number. The time runs from the first."""
        ...

    def counted(self, key: str) -> Deferred[tuple[int, float]]:
        """The number and the seconds that are left of its time; ``(0, 0.0)`` if nothing was counted."""
        ...

    def add_member(self, key: str, member: str, ttl: float | None) -> Deferred[None]:
        """Put a member into a set, for a time of its own; a member that is there already gets this time."""
        ...

    def remove_member(self, key: str, member: str) -> Deferred[None]:
        """Take a member out of a set, if it is there."""
        ...

    def members(self, key: str) -> Deferred[list[str]]:
        """The members whose time is not over, in no order."""
        ...

    def find(self, beginning: str, end: str) -> Deferred[list[str]]:
        """The keys of values that begin and end like this, literally.

        It walks over everything there is, in small steps, and is only for keys that another program has made; what we
        keep ourselves has sets.
        """
        ...

    def verbatim(self) -> SharedStore:
        """The same store with keys as other programs write them, without our prefix."""
        ...

    def close(self) -> Deferred[None] | None:
        """Nobody asks any more: leave no connection and no timer. Fires when that is so."""
        ...
