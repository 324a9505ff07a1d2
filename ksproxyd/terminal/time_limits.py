"""How long something may last, with a word before the end."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: Seconds between the word and the end (spec 05, 7.4).
WARNING = 60.0


class TimeLimit:
    """``end`` is called ``seconds`` after :meth:`start` or the last :meth:`touch`, and ``warn`` a minute before.

    0 seconds are no limit. A limit that is not longer than the minute has no warning.
    """

    def __init__(
        self, clock: IReactorTime, seconds: float, warn: Callable[[], object], end: Callable[[], object]
    ) -> None:
        self._clock = clock
        self._seconds = seconds
        self._warn = warn
        self._end = end
        self._since = 0.0
        self._warned = False
        self._call: IDelayedCall | None = None

    def start(self) -> None:
        """It begins."""
        if self._seconds and self._call is None:
            self.touch()
            self._wait()

    def touch(self) -> None:
        """Count from now. Costs nothing: the clock is looked at when the time would have come."""
        self._since = self._clock.seconds()
        self._warned = False

    def stop(self) -> None:
        """It is over before its time."""
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None

    def _wait(self) -> None:
        due = self._since + self._seconds
        if not self._warned and self._seconds > WARNING:
            due -= WARNING
        self._call = self._clock.callLater(max(0.0, due - self._clock.seconds()), self._look)

    def _look(self) -> None:
        left = self._since + self._seconds - self._clock.seconds()
        if left <= 0.0:
            self._call = None
            self._end()
            return
        if left <= WARNING and not self._warned and self._seconds > WARNING:
            self._warned = True
            self._warn()
        if self._call is not None:
            # The warning has not ended it.
            self._wait()
