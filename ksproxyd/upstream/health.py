"""Whether an upstream is well: active probes, and the answers to real requests.

:class:`Thresholds` and :class:`OutlierDetector` are the rules, pure. :class:`Prober` asks the upstream at
intervals and feeds the thresholds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import msgspec
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd.model.message import Pairs
from ksproxyd.upstream.errors import UpstreamError
from ksproxyd.upstream.target import Target

#: Largest answer to a probe that is read.
PROBE_ANSWER_BYTES = 1 << 20

#: The part of the interval by which probes are spread, so that those of many upstreams do not fall together.
JITTER = 0.1


class ActiveCheck(msgspec.Struct, frozen=True):
    """How an upstream is probed; times in seconds. ``expected`` holds ranges of statuses, both ends included."""

    path: str = "/"
    method: str = "GET"
    hostname: str = ""
    interval: float = 10.0
    timeout: float = 5.0
    healthy_threshold: int = 1
    unhealthy_threshold: int = 3
    expected: tuple[tuple[int, int], ...] = ((200, 399),)

    def expects(self, status: int) -> bool:
        """Whether ``status`` is a good answer."""
        return any(low <= status <= high for low, high in self.expected)


class PassiveCheck(msgspec.Struct, frozen=True):
    """When real traffic ejects an upstream; times in seconds."""

    consecutive_errors: int = 5
    window: float = 30.0
    ejection_time: float = 30.0
    max_ejection_time: float = 300.0


class Thresholds:
    """Turns single results into a verdict: so many in a row against the verdict change it.

    An upstream is taken to be well until it has failed often enough: a gateway that starts must not refuse
    everything for the length of a probe.
    """

    __slots__ = ("_healthy", "_run", "_unhealthy", "known", "well")

    def __init__(self, healthy: int, unhealthy: int) -> None:
        self._healthy = healthy
        self._unhealthy = unhealthy
        self._run = 0
        self.well = True
        #: Whether anything has been recorded that supports the verdict.
        self.known = False

    def record(self, ok: bool) -> bool:
        """Take one result; whether the verdict, or that there is one, has changed."""
        if ok == self.well:
            self._run = 0
            first, self.known = not self.known, True
            return first
        self._run += 1
        if self._run < (self._healthy if ok else self._unhealthy):
            return False
        self._run = 0
        self.well = ok
        self.known = True
        return True


class OutlierDetector:
    """Ejects an upstream for a while when its answers to real requests are errors in a row.

    The n-th ejection in a row lasts n times as long, up to the limit. The count starts again when the upstream has
    been back for as long as its last ejection was.
    """

    __slots__ = ("_errors", "_now", "_row", "_until", "cause", "ejections", "limits")

    def __init__(self, limits: PassiveCheck, now: Callable[[], float]) -> None:
        self.limits = limits
        #: How often the upstream was ejected.
        self.ejections = 0
        #: What the last error before the ejection was, in words a client may read.
        self.cause = ""
        self._now = now
        self._errors: deque[float] = deque(maxlen=limits.consecutive_errors)
        self._row = 0
        self._until = float("-inf")

    def wait(self) -> float:
        """Seconds until the upstream is back; 0 if it is not ejected."""
        return max(0.0, self._until - self._now())

    def record(self, ok: bool, cause: str = "") -> bool:
        """Take the result of one request; whether it ejected the upstream.

        What was under way when the upstream was ejected does not count.
        """
        if ok:
            self._errors.clear()
            return False
        now = self._now()
        if now < self._until:
            return False
        errors = self._errors
        errors.append(now)
        if len(errors) < self.limits.consecutive_errors or now - errors[0] > self.limits.window:
            return False
        errors.clear()
        if now - self._until > self._length():
            self._row = 0
        self._row += 1
        self._until = now + self._length()
        self.ejections += 1
        self.cause = cause
        return True

    def _length(self) -> float:
        return min(self._row * self.limits.ejection_time, self.limits.max_ejection_time)


class ProbeAnswer(Protocol):
    """What is looked at of a probe's answer."""

    @property
    def status(self) -> int: ...


class ProbeClient(Protocol):
    """The part of :class:`ksproxyd.upstream.client.Client` that probes need."""

    def request(
        self,
        target: Target,
        method: bytes,
        path: bytes,
        headers: Pairs,
        body: bytes,
        *,
        timeout: float,
        limit: int,
    ) -> Deferred[Any]: ...


class Prober:
    """Probes one upstream for as long as it is started.

    One probe at a time: the next is due an interval after the last one ended. ``changed`` is called when the
    verdict changes. ``random`` gives numbers from 0 to 1.
    """

    log = Logger()

    def __init__(
        self,
        name: str,
        client: ProbeClient,
        target: Target,
        check: ActiveCheck,
        clock: IReactorTime,
        random: Callable[[], float],
        changed: Callable[[], object] = lambda: None,
    ) -> None:
        self.check = check
        self.changed = changed
        #: Probes that ended, and those of them that failed.
        self.probes = 0
        self.failed = 0
        #: How the last failing probe failed: in words a client may read, and with what only operators may know.
        self.cause = ""
        self.detail = ""
        self._name = name
        self._client = client
        self._target = target
        self._headers: Pairs = [(b"User-Agent", b"ksproxyd-probe"), (b"Accept", b"*/*")]
        if check.hostname:
            self._headers.append((b"Host", check.hostname.encode("ascii")))
        self._clock = clock
        self._random = random
        self._thresholds = Thresholds(check.healthy_threshold, check.unhealthy_threshold)
        self._due: IDelayedCall | None = None
        self._probe: Deferred[Any] | None = None

    @property
    def well(self) -> bool:
        """The verdict; True until enough probes have failed."""
        return self._thresholds.well

    @property
    def known(self) -> bool:
        """Whether probes have confirmed the verdict."""
        return self._thresholds.known

    def wait(self) -> float:
        """Seconds until the next probe starts; 0 while one is under way or none is planned."""
        return 0.0 if self._due is None else max(0.0, self._due.getTime() - self._clock.seconds())

    def start(self) -> None:
        """Begin to probe, the first time within the first part of an interval. Nothing if begun already."""
        if self._due is None and self._probe is None:
            self._due = self._clock.callLater(self._random() * self.check.interval * JITTER, self._ask)

    def stop(self) -> None:
        """End probing; a probe under way is given up. May be started again."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        probe, self._probe = self._probe, None
        if probe is not None:
            probe.cancel()

    def _ask(self) -> None:
        self._due = None
        check = self.check
        asked: Deferred[Any] = maybeDeferred(
            self._client.request,
            self._target,
            check.method.encode("ascii"),
            check.path.encode("ascii"),
            self._headers,
            b"",
            timeout=check.timeout,
            limit=PROBE_ANSWER_BYTES,
        )
        # Held before the callbacks run: an answer that is there already must find it.
        self._probe = asked
        asked.addCallbacks(self._answered, self._failed)
        asked.addErrback(self._broken)

    def _answered(self, answer: ProbeAnswer) -> None:
        if self.check.expects(answer.status):
            self._ended(True)
        else:
            self._ended(False, f"status {answer.status}")

    def _failed(self, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, UpstreamError):
            self._ended(False, f"{error.kind}: {error.message}", error.detail)
            return
        if self._probe is not None:
            # Not the upstream's fault but ours, to be seen; the probe still counts as failed.
            self.log.failure("health probe of {upstream} went wrong", failure=failure, upstream=self._name)
        self._ended(False, "the probe went wrong", type(error).__name__)

    def _ended(self, ok: bool, cause: str = "", detail: str = "") -> None:
        if self._probe is None:
            return  # Stopped while the probe was under way.
        self._probe = None
        self.probes += 1
        if not ok:
            self.failed += 1
            self.cause = cause
            self.detail = detail or cause
        spread = 1.0 + JITTER * (2.0 * self._random() - 1.0)
        self._due = self._clock.callLater(self.check.interval * spread, self._ask)
        if self._thresholds.record(ok):
            self.log.info(
                "upstream {upstream} is {verdict}{reason}",
                upstream=self._name,
                verdict="healthy" if self.well else "unhealthy",
                reason="" if self.well else f": {self.detail}",
            )
            self.changed()

    def _broken(self, failure: Failure) -> None:
        self.log.failure("health check of {upstream} went wrong", failure=failure, upstream=self._name)
