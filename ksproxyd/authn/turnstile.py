"""One a turn: work that is short but comes in crowds lets everything else that waits go in between.

Who comes alone need not wait for a turn of the reactor, which is work as well.
"""

from __future__ import annotations

from collections import deque

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: Seconds after which the next one is no crowd. Each takes a fraction of that.
ALONE = 0.002


class Turnstile:
    """Lets one through in each turn of the reactor, in the order in which they came."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._last = float("-inf")
        self._waiting: deque[Deferred[None]] = deque()
        self._call: IDelayedCall | None = None

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def alone(self) -> bool:
        """Go through at once, if nobody waits and nobody has gone through in the last :data:`ALONE` seconds.

        If not, wait for :meth:`turn`.
        """
        now = self._clock.seconds()
        # The clock may have been set back.
        if self._call is not None or 0 <= now - self._last < ALONE:
            return False
        self._last = now
        return True

    def turn(self) -> Deferred[None]:
        """Fires in a later turn of the reactor, in which it fires for nobody else. Cancelling it gives up waiting."""
        mine: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(mine)
        if self._call is None:
            self._call = self._clock.callLater(0, self._next)
        return mine

    def _next(self) -> None:
        self._call = None
        if not self._waiting:
            return
        first = self._waiting.popleft()
        self._last = self._clock.seconds()
        if self._waiting:
            self._call = self._clock.callLater(0, self._next)
        first.callback(None)
