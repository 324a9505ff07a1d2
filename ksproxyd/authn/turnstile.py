"""One a turn: work that takes a while and comes in crowds lets everything else that waits go in between."""

from __future__ import annotations

from collections import deque

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: For so many that wait another one goes through in a turn: they must not come faster than they go.
CROWD = 32


class Turnstile:
    """Lets one through in each turn of the reactor, in the order in which they came; more if many wait."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._waiting: deque[Deferred[None]] = deque()
        self._call: IDelayedCall | None = None

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def turn(self) -> Deferred[None]:
        """Fires in a later turn of the reactor. Cancelling it gives up waiting."""
        mine: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(mine)
        if self._call is None:
            self._call = self._clock.callLater(0, self._next)
        return mine

    def _next(self) -> None:
        self._call = None
        for _ in range(1 + len(self._waiting) // CROWD):
            if not self._waiting:
                return
            first = self._waiting.popleft()
            if self._waiting and self._call is None:
                self._call = self._clock.callLater(0, self._next)
            first.callback(None)
