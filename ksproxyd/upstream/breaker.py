"""A circuit breaker: stop sending requests to an upstream that fails, and try it again with a few.

::

    closed ──N failures in a row──► open ──after openDuration──► half-open ──M successes──► closed
                                      ▲                              │
                                      └────────── one failure ───────┘

Pure: time comes in through a function, nothing is scheduled. The change from open to half-open happens when a
request asks for it.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

CLOSED, OPEN, HALF_OPEN = "Closed", "Open", "HalfOpen"


class BreakerLimits(msgspec.Struct, frozen=True):
    """When the circuit opens and how it closes; times in seconds.

    ``half_open_requests`` is both how many requests are let through while half-open and how many of them must
    succeed for the circuit to close. ``max_parallel_requests`` caps what is in flight in any state; 0 is no cap.
    """

    consecutive_failures: int = 5
    open_duration: float = 30.0
    half_open_requests: int = 1
    max_parallel_requests: int = 0


class CircuitBreaker:
    """The state of one circuit.

    A request is let in with :meth:`enter`, which gives it the number of the current *epoch*; it is judged once
    with :meth:`judge` or given back unjudged with :meth:`cancel`, both with that number. The epoch changes with
    the state, so the late end of a request from before never decides about a circuit that has moved on.

    ``changed`` is called after each change of state. ``opened`` counts openings.
    """

    __slots__ = (
        "_epoch",
        "_failures",
        "_now",
        "_probes",
        "_renewal",
        "_retry_at",
        "_successes",
        "cause",
        "changed",
        "limits",
        "opened",
        "state",
    )

    def __init__(
        self, limits: BreakerLimits, now: Callable[[], float], changed: Callable[[], object] = lambda: None
    ) -> None:
        self.limits = limits
        self.changed = changed
        self.state = CLOSED
        self.opened = 0
        #: What the failure that opened the circuit was, in words a client may read.
        self.cause = ""
        self._now = now
        self._epoch = 1
        self._failures = 0
        self._retry_at = 0.0
        self._renewal = 0.0
        self._probes = 0
        self._successes = 0

    def wait(self) -> float:
        """Seconds until :meth:`enter` may succeed; 0 if it does now. Changes nothing."""
        if self.state is CLOSED:
            return 0.0
        now = self._now()
        if self.state is OPEN:
            return max(0.0, self._retry_at - now)
        if self._probes + self._successes < self.limits.half_open_requests:
            return 0.0
        return max(0.0, self._renewal - now)

    def enter(self) -> int:
        """Let one request in: its epoch, or 0 if the circuit refuses it (exactly when :meth:`wait` is not 0)."""
        if self.state is CLOSED:
            return self._epoch
        if self.wait() > 0.0:
            return 0
        now = self._now()
        if self.state is OPEN:
            self._become(HALF_OPEN)
        elif self._probes + self._successes >= self.limits.half_open_requests:
            # Every probe has been out for openDuration without a verdict. One that hangs, or whose client sends
            # its body a byte at a time, must not keep the circuit half-open: write them off and try anew.
            self._epoch += 1
            self._probes = 0
            self._successes = 0
        self._probes += 1
        self._renewal = now + self.limits.open_duration
        return self._epoch

    def judge(self, epoch: int, ok: bool, cause: str = "") -> None:
        """The request that entered in ``epoch`` has succeeded or failed (for ``cause``)."""
        if epoch != self._epoch:
            return
        if self.state is CLOSED:
            if ok:
                self._failures = 0
                return
            self._failures += 1
            if self._failures >= self.limits.consecutive_failures:
                self._open(cause)
            return
        self._probes -= 1
        if not ok:
            self._open(cause)
            return
        self._successes += 1
        if self._successes >= self.limits.half_open_requests:
            self._become(CLOSED)

    def cancel(self, epoch: int) -> None:
        """The request that entered in ``epoch`` is over and says nothing about the upstream."""
        if epoch == self._epoch and self.state is HALF_OPEN:
            self._probes -= 1

    def _open(self, cause: str) -> None:
        self.cause = cause
        self.opened += 1
        self._retry_at = self._now() + self.limits.open_duration
        self._become(OPEN)

    def _become(self, state: str) -> None:
        self.state = state
        self._epoch += 1
        self._probes = 0
        self._successes = 0
        if state is CLOSED:
            self._failures = 0
        self.changed()

    def __repr__(self) -> str:
        return f"<CircuitBreaker {self.state} failures={self._failures}>"
