"""Coarse timeouts for many connections.

A ``callLater`` a request costs more than the request's own bookkeeping. Here a connection writes a number
into its ``deadline`` and one timer looks at all connections once a second, a quarter of them at a time.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

#: How often one of the slots is looked at, in seconds; times ``SLOTS`` it is the precision of a deadline.
TICK = 0.25
SLOTS = 4


class Timed(Protocol):
    """Something with a deadline.

    ``deadline`` is in the wheel's seconds (:attr:`Wheel.now`), 0 for none. When it has passed,
    :meth:`timed_out` is called once a second until the deadline is moved or the object is forgotten.
    """

    deadline: float

    def timed_out(self) -> None: ...


class Wheel:
    """Looks at every watched object about once a second and tells those whose deadline has passed.

    ``now`` is the clock's reading at the last tick: good enough to compute deadlines from, and free.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self.now = clock.seconds()
        self._slots: list[set[Timed]] = [set() for _ in range(SLOTS)]
        self._hand = 0
        self._call: IDelayedCall | None = None

    def start(self) -> None:
        """Begin to tick. Called once, before connections come."""
        self.now = self._clock.seconds()
        self._call = self._clock.callLater(TICK, self._tick)

    def stop(self) -> None:
        """Stop ticking; deadlines no longer have an effect."""
        call, self._call = self._call, None
        if call is not None and call.active():
            call.cancel()

    def watch(self, timed: Timed) -> None:
        """Look at ``timed`` from now on."""
        self._slots[id(timed) // 64 % SLOTS].add(timed)

    def forget(self, timed: Timed) -> None:
        """Look at ``timed`` no longer. Harmless if it was not watched."""
        self._slots[id(timed) // 64 % SLOTS].discard(timed)

    def _tick(self) -> None:
        self.now = now = self._clock.seconds()
        self._call = self._clock.callLater(TICK, self._tick)
        self._hand = hand = (self._hand + 1) % SLOTS
        slot = self._slots[hand]
        late = [timed for timed in slot if 0.0 < timed.deadline <= now]
        for timed in late:
            if timed not in slot or not 0.0 < timed.deadline <= now:
                # One of those before has moved its deadline, or ended it: a backend's timeout is a client's answer.
                continue
            try:
                timed.timed_out()
            except Exception:
                # One connection's trouble must not take the others' timeouts away.
                self.log.failure("a timeout handler failed")
