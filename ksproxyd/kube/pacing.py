"""Long loops that leave the reactor its turn."""

from __future__ import annotations

import time
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

#: How long a loop may run before others get their turn, in seconds. The house's limit is 5 ms; a step of the
#: loop (decoding one object, say) comes on top.
BUDGET = 0.002


class Pacer:
    """Measures how long a loop has held the reactor.

    A loop asks :meth:`spent` after each step; when it says so, the loop awaits :meth:`turn`, or goes on by
    itself in a later turn of the reactor and calls :meth:`begin` there.
    """

    def __init__(
        self, clock: IReactorTime, budget: float = BUDGET, timer: Callable[[], float] = time.perf_counter
    ) -> None:
        self._clock = clock
        self._budget = budget
        self._timer = timer
        self._end = 0.0

    def begin(self) -> None:
        """The loop starts, or goes on after a turn of the reactor."""
        self._end = self._timer() + self._budget

    def spent(self) -> bool:
        """Whether the loop has had its time."""
        return self._timer() >= self._end

    async def turn(self) -> None:
        """Let the reactor do everything else that waits, then begin anew."""
        await pause(self._clock, 0)
        self.begin()


def pause(clock: IReactorTime, seconds: float) -> Deferred[None]:
    """Fires after ``seconds``; cancelling it takes the timer away."""

    def cancelled(_: Deferred[None]) -> None:
        call.cancel()

    done: Deferred[None] = Deferred(cancelled)
    call = clock.callLater(seconds, done.callback, None)
    return done
