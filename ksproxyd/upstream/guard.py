"""Everything that stands between a request and an upstream that it must not reach just now.

A :class:`Guard` joins the health check, the circuit breaker and the flow control of one proxy object. Where none of
them is configured there is no guard, and the data path pays for one test against None.

A request is let in with :meth:`Guard.admit`, judged with :meth:`Guard.answered` or :meth:`Guard.failed`, and given
back with :meth:`Guard.done`. The exchange itself is the ticket, so a second verdict, a second ``done``, or either for
an exchange that was not let in, does nothing: every clean-up path may call them.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Protocol

import msgspec
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from ksproxyd.model.status import StatusError, service_unavailable, too_many_requests
from ksproxyd.upstream.breaker import CLOSED, OPEN, BreakerLimits, CircuitBreaker
from ksproxyd.upstream.flow import Bucket, FlowControl, FlowLimits, Refusal
from ksproxyd.upstream.health import ActiveCheck, OutlierDetector, PassiveCheck, ProbeClient, Prober
from ksproxyd.upstream.target import Target

#: Statuses by which a gateway or an overloaded server says that the request was not served.
_GATEWAY_FAILURES = frozenset({502, 503, 504})


class Protection(msgspec.Struct, frozen=True):
    """What is configured; None where nothing is."""

    active: ActiveCheck | None = None
    passive: PassiveCheck | None = None
    breaker: BreakerLimits | None = None
    flow: FlowLimits | None = None

    def __bool__(self) -> bool:
        return any(part is not None for part in (self.active, self.passive, self.breaker, self.flow))


class Caller(Protocol):
    """Who a request is from; :attr:`name` is the user's."""

    @property
    def name(self) -> str: ...


class Admissible(Protocol):
    """The part of an exchange that a guard looks at."""

    @property
    def user(self) -> Caller: ...

    @property
    def client(self) -> str: ...


class Condition(msgspec.Struct, frozen=True):
    """A Kubernetes condition without its times, which belong to whoever writes it."""

    type: str
    status: str
    reason: str
    message: str


class Refusals:
    """How many requests were refused, by reason."""

    __slots__ = ("circuit_open", "concurrency", "ejected", "parallel", "rate", "unhealthy")

    def __init__(self) -> None:
        self.unhealthy = 0
        self.ejected = 0
        self.circuit_open = 0
        self.parallel = 0
        self.rate = 0
        self.concurrency = 0


class _Admission:
    """What an admitted request holds."""

    __slots__ = ("buckets", "epoch", "judged")

    def __init__(self, epoch: int, buckets: tuple[Bucket, ...]) -> None:
        self.epoch = epoch
        self.buckets = buckets
        self.judged = False


class Guard:
    """The guard of the proxy object ``name``, whose upstream is ``target``.

    :meth:`start` begins probing, :meth:`stop` ends it; the rest works in between and after. ``changed`` is called
    when :meth:`conditions` may have changed, also on the way of a request: it must do no more than note it.
    """

    def __init__(
        self,
        name: str,
        protection: Protection,
        target: Target,
        client: ProbeClient,
        clock: IReactorTime,
        random: Callable[[], float],
        changed: Callable[[], object] = lambda: None,
    ) -> None:
        self.name = name
        self.protection = protection
        self.target = target
        self.changed = changed
        self.refusals = Refusals()
        #: Requests that were let in since the start.
        self.admitted = 0
        self._clock = clock
        self._inside: dict[Admissible, _Admission] = {}
        self._return: IDelayedCall | None = None
        self._running = False
        now = clock.seconds
        part = protection
        self.prober = (
            None
            if part.active is None
            else Prober(name, client, target, part.active, clock, random, self._note)
        )
        self.outlier = None if part.passive is None else OutlierDetector(part.passive, now)
        self.breaker = None if part.breaker is None else CircuitBreaker(part.breaker, now, self._note)
        self.flow = None if part.flow is None else FlowControl(part.flow, now)

    def fits(self, name: str, protection: Protection, target: Target) -> bool:
        """Whether this guard is what these would make: then keep it when its object changes, with all it knows."""
        return (self.name, self.protection, self.target) == (name, protection, target)

    def start(self) -> None:
        """Begin probing, if probes are configured."""
        self._running = True
        if self.prober is not None:
            self.prober.start()

    def stop(self) -> None:
        """End whatever is timed. Requests that are inside live on and may still be judged and given back."""
        self._running = False
        if self.prober is not None:
            self.prober.stop()
        if self._return is not None:
            self._return.cancel()
            self._return = None

    # -- the way of a request --------------------------------------------------------------------------

    def admit(self, exchange: Admissible) -> StatusError | None:
        """Let ``exchange`` in (None), or say why not: a 503 or 429 with ``Retry-After``.

        One that is inside already stays so; nothing is counted twice.
        """
        if exchange in self._inside:
            return None
        prober = self.prober
        if prober is not None and not prober.well:
            self.refusals.unhealthy += 1
            return self._unavailable(f"its health check fails ({prober.cause})", prober.wait(), "next check")
        outlier = self.outlier
        if outlier is not None and (wait := outlier.wait()) > 0.0:
            self.refusals.ejected += 1
            errors = outlier.limits.consecutive_errors
            return self._unavailable(f"ejected after {errors} errors ({outlier.cause})", wait, "next try")
        breaker = self.breaker
        if breaker is not None:
            limit = breaker.limits.max_parallel_requests
            if limit and len(self._inside) >= limit:
                self.refusals.parallel += 1
                text = f"upstream {self.name} is not available: {limit} requests are in flight, which is its limit"
                return service_unavailable(text, retry_after=1)
            if (wait := breaker.wait()) > 0.0:
                self.refusals.circuit_open += 1
                failures = _count(breaker.limits.consecutive_failures, "failure")
                why = f"circuit open after {failures} ({breaker.cause})"
                return self._unavailable(why, wait, "next try")
        buckets: tuple[Bucket, ...] = ()
        if self.flow is not None:
            verdict = self.flow.admit(exchange.user.name, exchange.client)
            if isinstance(verdict, Refusal):
                return self._too_many(verdict)
            buckets = verdict
        # Nothing below refuses, so a probe of a half-open circuit is never taken and then not sent.
        epoch = 0 if breaker is None else breaker.enter()
        self._inside[exchange] = _Admission(epoch, buckets)
        self.admitted += 1
        return None

    def answered(self, exchange: Admissible, status: int) -> None:
        """The head of the final answer (or the 101) has come from the upstream."""
        admission = self._inside.get(exchange)
        if admission is not None:
            words = f"status {status}"
            self._judge(admission, status < 500, status not in _GATEWAY_FAILURES, words)

    def failed(self, exchange: Admissible, kind: str, message: str = "") -> None:
        """The upstream could not be reached, or its answer broke before its head was complete.

        ``kind`` and ``message`` are those of the :class:`~ksproxyd.upstream.errors.UpstreamError`.
        """
        admission = self._inside.get(exchange)
        if admission is not None and kind != "cancelled":
            self._judge(admission, False, False, f"{kind}: {message}" if message else kind)

    def done(self, exchange: Admissible, ok: bool | None = None, kind: str | None = None) -> None:
        """The exchange is over, whatever came of it.

        If there was no verdict before, ``ok`` and ``kind`` (an UpstreamError's, or a status such as ``503``) are it;
        without them the exchange counts neither way, as when the client has left.
        """
        admission = self._inside.get(exchange)
        if admission is None:
            return
        if ok is not None and not admission.judged:
            if ok or kind is None or kind.isdecimal():
                self.answered(exchange, int(kind) if kind else 200 if ok else 500)
            else:
                self.failed(exchange, kind)
        if not admission.judged and self.breaker is not None:
            self.breaker.cancel(admission.epoch)
        del self._inside[exchange]
        FlowControl.release(admission.buckets)

    @property
    def in_flight(self) -> int:
        """Requests, streams and tunnels that were let in and are not done."""
        return len(self._inside)

    def _judge(self, admission: _Admission, good: bool, served: bool, words: str) -> None:
        if admission.judged:
            return
        admission.judged = True
        if self.breaker is not None:
            self.breaker.judge(admission.epoch, served, words)
        outlier = self.outlier
        if outlier is not None and outlier.record(good, words):
            if self._return is not None:
                self._return.cancel()
                self._return = None
            if self._running:
                self._return = self._clock.callLater(outlier.wait(), self._returned)
            self._note()

    # -- what is seen of it ----------------------------------------------------------------------------

    def conditions(self) -> list[Condition]:
        """The conditions of what is configured. Messages hold no times: equal states have equal conditions."""
        found = []
        if self.prober is not None or self.outlier is not None:
            found.append(self._health())
        if self.breaker is not None:
            found.append(_circuit(self.breaker))
        return found

    def _health(self) -> Condition:
        prober, outlier = self.prober, self.outlier
        if prober is not None and not prober.well:
            count = prober.check.unhealthy_threshold
            text = f"{_count(count, 'probe')} in a row failed: {prober.detail}"
            return Condition("UpstreamHealthy", "False", "ProbeFailed", text)
        if outlier is not None and outlier.wait() > 0.0:
            count = outlier.limits.consecutive_errors
            text = f"left alone for a while after {_count(count, 'error')} in a row: {outlier.cause}"
            return Condition("UpstreamHealthy", "False", "Ejected", text)
        if prober is not None and not prober.known:
            return Condition("UpstreamHealthy", "Unknown", "NotProbed", "no probe has ended yet")
        if prober is not None:
            text = f"{prober.check.method} {prober.check.path} is answered as expected"
            return Condition("UpstreamHealthy", "True", "ProbeSucceeded", text)
        return Condition("UpstreamHealthy", "True", "NotEjected", "requests are let through")

    def _note(self) -> None:
        self.changed()

    def _returned(self) -> None:
        self._return = None
        self.changed()

    def _unavailable(self, why: str, wait: float, what: str) -> StatusError:
        seconds = _whole_seconds(wait)
        text = f"upstream {self.name} is not available: {why}, {what} in {seconds} s"
        return service_unavailable(text, retry_after=seconds)

    def _too_many(self, refusal: Refusal) -> StatusError:
        if refusal.concurrency:
            self.refusals.concurrency += 1
        else:
            self.refusals.rate += 1
        text = f"too many requests to upstream {self.name}: {refusal.limit} is its limit"
        return too_many_requests(text, _whole_seconds(refusal.retry_after))


def _circuit(breaker: CircuitBreaker) -> Condition:
    if breaker.state is CLOSED:
        return Condition("CircuitClosed", "True", CLOSED, "requests are let through")
    # Half-open shows as open: under load a broken upstream goes to and fro between the two.
    failures = _count(breaker.limits.consecutive_failures, "failure")
    return Condition("CircuitClosed", "False", OPEN, f"open after {failures} in a row: {breaker.cause}")


def _whole_seconds(wait: float) -> int:
    """``wait`` rounded up for a ``Retry-After``; sums of floats that are a trifle above a second are that second."""
    return max(1, ceil(wait - 1e-6))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
