"""One after the other, for each key."""

from __future__ import annotations

from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

from twisted.internet.defer import DeferredLock
from twisted.internet.interfaces import IReactorTime

from ksproxyd.kube.pacing import pause


class Turns:
    """Locks by key, which exist while somebody has or wants them."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._locks: dict[Hashable, DeferredLock] = {}

    def __len__(self) -> int:
        return len(self._locks)

    @asynccontextmanager
    async def turn(self, key: Hashable) -> AsyncIterator[None]:
        """``async with`` this: what is inside runs for nobody else with the same key meanwhile."""
        lock = self._locks.setdefault(key, DeferredLock())
        waited = lock.locked
        await lock.acquire()
        try:
            if waited:
                # Not inside the call by which the one before gave it back: they may be many.
                await pause(self._clock, 0)
            yield
        finally:
            lock.release()
            if not lock.locked:
                del self._locks[key]
