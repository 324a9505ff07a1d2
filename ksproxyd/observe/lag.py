"""How late the reactor is: the time events wait because something holds its thread."""

from __future__ import annotations

import time
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from ksproxyd.observe.exposition import Latency

#: Upper bounds of the lag, in seconds. 5 ms is what one piece of work may take.
LAG_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

#: How often the lag is measured, in seconds.
INTERVAL = 0.5

#: A lag that is worth a line in the log, in seconds.
ALARMING = 1.0


class ReactorLag:
    """Measures itself: a timer for every :data:`INTERVAL` seconds, and how much later than that it fires.

    ``monotonic`` must not follow the wall clock, which the reactor's own ``seconds()`` does: setting the time
    is no lag.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._call: IDelayedCall | None = None
        self._due = 0.0
        #: The last measurement, in seconds.
        self.last = 0.0
        #: All measurements.
        self.latency = Latency(LAG_BOUNDS)

    def start(self) -> None:
        """Begin to measure. Once, when the reactor runs."""
        self._due = self._monotonic() + INTERVAL
        self._call = self._clock.callLater(INTERVAL, self._tick)

    def stop(self) -> None:
        """Stop measuring."""
        call, self._call = self._call, None
        if call is not None and call.active():
            call.cancel()

    def _tick(self) -> None:
        self.last = lag = max(0.0, self._monotonic() - self._due)
        self.latency.observe(lag)
        if lag >= ALARMING:
            self.log.warn("the reactor was held up for {lag:.2f} s", lag=lag)
        self.start()
