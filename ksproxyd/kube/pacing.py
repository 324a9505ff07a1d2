"""Long loops that leave the reactor its turn."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from weakref import WeakKeyDictionary

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: How long a loop may run before others get their turn, in seconds. A request comes by twice, with its answer, and may
#: find a loop busy both times: this is not much more than what the request itself takes. A step of the loop (decoding
#: one object, say) comes on top.
BUDGET = 0.0005

#: For loops that nobody waits for: they take a tenth of a processor at most.
REST = 0.005


class Pacer:
    """Measures how long a loop has held the reactor.

    A loop asks :meth:`spent` after each step; when it says so, the loop awaits :meth:`turn`, or goes on by
    itself in a later turn of the reactor and calls :meth:`begin` there.

    ``rest`` are the seconds that nobody's loop, one for which nobody waits, leaves to others after each budget.
    """

    def __init__(
        self,
        clock: IReactorTime,
        budget: float = BUDGET,
        timer: Callable[[], float] = time.perf_counter,
        *,
        rest: float = 0.0,
    ) -> None:
        self._clock = clock
        self._budget = budget
        self._rest = rest
        self._timer = timer
        self._end = 0.0

    def begin(self) -> None:
        """The loop starts, or goes on after a turn of the reactor."""
        self._end = self._timer() + self._budget

    def spent(self) -> bool:
        """Whether the loop has had its time."""
        return self._timer() >= self._end

    async def turn(self) -> None:
        """Let the reactor do everything else that waits, then begin anew.

        Of the loops that wait one goes on in a turn of the reactor, the one that has waited longest: many loops
        together hold the reactor no longer than one does.
        """
        if self._rest:
            await pause(self._clock, self._rest)
        line = _lines.get(self._clock)
        if line is None:
            line = _lines[self._clock] = _Line()
        await line.join(self._clock)
        self.begin()


class _Line:
    """The loops of one clock that wait for their turn."""

    def __init__(self) -> None:
        self._waiting: deque[Deferred[None]] = deque()
        self._call: IDelayedCall | None = None

    def join(self, clock: IReactorTime) -> Deferred[None]:
        """Fires in a turn of the reactor that is this loop's; cancelling it leaves the line."""
        mine: Deferred[None] = Deferred(self._leave)
        self._waiting.append(mine)
        if self._call is None:
            self._call = clock.callLater(0, self._next, clock)
        return mine

    def _next(self, clock: IReactorTime) -> None:
        first = self._waiting.popleft()
        self._call = clock.callLater(0, self._next, clock) if self._waiting else None
        first.callback(None)

    def _leave(self, mine: Deferred[None]) -> None:
        self._waiting.remove(mine)
        if not self._waiting and self._call is not None:
            self._call.cancel()
            self._call = None


#: A line knows no clock, so that it ends with its own.
_lines: WeakKeyDictionary[IReactorTime, _Line] = WeakKeyDictionary()


def pause(clock: IReactorTime, seconds: float) -> Deferred[None]:
    """Fires after ``seconds``; cancelling it takes the timer away."""

    def cancelled(_: Deferred[None]) -> None:
        call.cancel()

    done: Deferred[None] = Deferred(cancelled)
    call = clock.callLater(seconds, done.callback, None)
    return done
