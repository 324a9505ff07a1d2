"""Metrics of health checks, circuit breakers and flow control, read from the guards when scraped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from ksproxyd.observe.exposition import Samples, labels


class Guarding(Protocol):
    """The part of :class:`ksproxyd.upstream.guard.Guard` that is read here."""

    name: str
    admitted: int
    refusals: Any
    breaker: Any
    outlier: Any
    prober: Any

    @property
    def in_flight(self) -> int: ...


Guards = Callable[[], Iterable[tuple[str, Guarding]]]

_REFUSALS = ("unhealthy", "ejected", "circuit_open", "parallel", "rate", "concurrency")


class GuardMetrics:
    """The families. ``guards`` gives every guard with the kind of its object."""

    def __init__(self, guards: Guards) -> None:
        self._guards = guards

    def families(self) -> Iterator[tuple[str, str, str, Callable[[], Samples]]]:
        """Name, kind, help and reader of each, for :meth:`ksproxyd.observe.metrics.Registry.add`."""
        yield (
            "ksproxyd_guard_admitted_total",
            "counter",
            "Requests let through to a guarded upstream.",
            lambda: self._each(lambda guard: guard.admitted),
        )
        yield (
            "ksproxyd_guard_in_flight",
            "gauge",
            "Requests at a guarded upstream now.",
            lambda: self._each(lambda guard: guard.in_flight),
        )
        yield (
            "ksproxyd_guard_refused_total",
            "counter",
            "Requests kept from a guarded upstream, by reason.",
            self._refused,
        )
        yield (
            "ksproxyd_guard_circuit_closed",
            "gauge",
            "1 while requests pass the circuit breaker.",
            lambda: self._each(lambda guard: int(guard.breaker.state == "Closed"), lambda guard: guard.breaker),
        )
        yield (
            "ksproxyd_guard_circuit_opened_total",
            "counter",
            "Times the circuit breaker opened.",
            lambda: self._each(lambda guard: guard.breaker.opened, lambda guard: guard.breaker),
        )
        yield (
            "ksproxyd_guard_ejections_total",
            "counter",
            "Times the upstream was left alone after errors.",
            lambda: self._each(lambda guard: guard.outlier.ejections, lambda guard: guard.outlier),
        )
        yield (
            "ksproxyd_guard_probe_success",
            "gauge",
            "1 while the health check passes.",
            lambda: self._each(lambda guard: int(guard.prober.well), lambda guard: guard.prober),
        )
        yield (
            "ksproxyd_guard_probes_failed_total",
            "counter",
            "Health probes that failed.",
            lambda: self._each(lambda guard: guard.prober.failed, lambda guard: guard.prober),
        )

    def _each(
        self, value: Callable[[Guarding], float], part: Callable[[Guarding], object] = lambda guard: guard
    ) -> Samples:
        return [
            (labels(kind=kind, name=guard.name), value(guard))
            for kind, guard in self._guards()
            if part(guard) is not None
        ]

    def _refused(self) -> Samples:
        return [
            (labels(kind=kind, name=guard.name, reason=reason), getattr(guard.refusals, reason))
            for kind, guard in self._guards()
            for reason in _REFUSALS
            if getattr(guard.refusals, reason)
        ]
