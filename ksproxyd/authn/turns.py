"""One after the other, for each key."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from types import TracebackType

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from ksproxyd.kube.pacing import pause


class Turns:
    """Locks by key, which exist while somebody has or wants them."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        #: Who waits, by the key that somebody has.
        self._waiting: dict[Hashable, deque[Deferred[None]]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def turn(self, key: Hashable) -> _Turn:
        """``async with`` this: what is inside runs for nobody else with the same key meanwhile."""
        return _Turn(self, key)


class _Turn:
    """One who has a key, or wants it."""

    def __init__(self, turns: Turns, key: Hashable) -> None:
        self._turns = turns
        self._key = key

    async def __aenter__(self) -> None:
        turns, key = self._turns, self._key
        waiting = turns._waiting.get(key)
        if waiting is None:
            turns._waiting[key] = deque()
            return
        mine: Deferred[None] = Deferred(waiting.remove)
        waiting.append(mine)
        await mine
        try:
            # Not inside the call by which the one before gave it back: they may be many.
            await pause(turns._clock, 0)
        except BaseException:
            self._give_back()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._give_back()

    def _give_back(self) -> None:
        waiting = self._turns._waiting[self._key]
        if waiting:
            waiting.popleft().callback(None)
        else:
            del self._turns._waiting[self._key]
