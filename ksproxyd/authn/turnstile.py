"""One at a time: work that takes a while and comes in crowds lets everything else go in between.

A request to a backend comes by twice, with what it asks and with its answer, a third of a millisecond apart. One piece
of work a millisecond is thus in the way of it once at most.
"""

from __future__ import annotations

from collections import deque

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: Seconds from one to the next.
APART = 0.001
#: For so many that wait another one goes through at a time: they must not come faster than they go.
CROWD = 32


class Turnstile:
    """Lets one through every :data:`APART` seconds, in the order in which they came; more if many wait."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._waiting: deque[Deferred[None]] = deque()
        self._call: IDelayedCall | None = None

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def turn(self) -> Deferred[None]:
        """Fires :data:`APART` seconds later at the earliest. Cancelling it gives up waiting."""
        mine: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(mine)
        if self._call is None:
            # Not at once even for one who comes alone: that they came was some work, too.
            self._call = self._clock.callLater(APART, self._next)
        return mine

    def _next(self) -> None:
        self._call = None
        for _ in range(1 + len(self._waiting) // CROWD):
            if not self._waiting:
                return
            first = self._waiting.popleft()
            if self._waiting and self._call is None:
                self._call = self._clock.callLater(APART, self._next)
            first.callback(None)
