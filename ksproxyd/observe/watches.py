"""Metrics of the watch loops that keep the state of the cluster in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol
from weakref import WeakKeyDictionary

from ksproxyd.observe.exposition import Samples, labels


class Held(Protocol):
    """What is held in memory: a store of :mod:`ksproxyd.state`."""

    @property
    def kind(self) -> str:
        """The label. Several loops may follow objects of one kind; their numbers are put together."""

    @property
    def synced(self) -> bool:
        """Whether the first list has been read."""

    def age(self) -> float:
        """Seconds since the API server last proved that this is current; infinity before the first time."""

    def __len__(self) -> int:
        """Objects."""


class Watched(Protocol):
    """A watch loop: a reflector of :mod:`ksproxyd.state`."""

    @property
    def store(self) -> Held: ...

    @property
    def following(self) -> bool:
        """Whether a watch is open now."""

    @property
    def restarts(self) -> int:
        """Lists after the first."""

    @property
    def failures(self) -> int:
        """Requests that failed."""

    @property
    def lag(self) -> float:
        """Seconds the latest event waited here before it was in the store."""


class WatchMetrics:
    """The metrics of the loops that ``watches`` lists when it is called, by kind and never by object.

    Of several loops of a kind the worst counts: the oldest, the slowest, the one that is not synced.
    """

    def __init__(self, watches: Callable[[], Iterable[Watched]]) -> None:
        self._watches = watches

    def families(self) -> Iterable[tuple[str, str, str, Callable[[], Samples]]]:
        """Name, type, help and samples of each."""
        for name, text, together, value in _GAUGES:
            yield f"ksproxyd_{name}", "gauge", text, self._gauge(together, value)
        for name, text, value in _COUNTERS:
            yield f"ksproxyd_{name}_total", "counter", text, _Sum(self._watches, value)

    def _gauge(
        self, together: Callable[[Iterable[float]], float], value: Callable[[Watched], float]
    ) -> Callable[[], Samples]:
        def read() -> Samples:
            values: dict[str, list[float]] = {}
            for watch in self._watches():
                values.setdefault(watch.store.kind, []).append(value(watch))
            return [(labels(kind=kind), together(each)) for kind, each in values.items()]

        return read


class _Sum:
    """What the loops of a kind have counted together. Does not go down when one of them ends."""

    def __init__(self, watches: Callable[[], Iterable[Watched]], value: Callable[[Watched], int]) -> None:
        self._watches = watches
        self._value = value
        self._seen: WeakKeyDictionary[Watched, int] = WeakKeyDictionary()
        self._totals: dict[str, int] = {}

    def __call__(self) -> Samples:
        for watch in self._watches():
            now = self._value(watch)
            kind = watch.store.kind
            self._totals[kind] = self._totals.get(kind, 0) + now - self._seen.get(watch, 0)
            self._seen[watch] = now
        return [(labels(kind=kind), total) for kind, total in self._totals.items()]


_GAUGES: tuple[tuple[str, str, Callable[[Iterable[float]], float], Callable[[Watched], float]], ...] = (
    ("watch_synced", "1 when the kind has been listed.", min, lambda w: int(w.store.synced)),
    ("watch_following", "1 while a watch is open.", min, lambda w: int(w.following)),
    ("watch_age_seconds", "Since the watch last proved alive.", max, lambda w: w.store.age()),
    ("watch_lag_seconds", "How long the latest event waited here.", max, lambda w: w.lag),
    ("store_objects", "Objects held in memory.", sum, lambda w: len(w.store)),
)

_COUNTERS: tuple[tuple[str, str, Callable[[Watched], int]], ...] = (
    ("watch_restarts", "Lists after the first.", lambda w: w.restarts),
    ("watch_failures", "Lists and watches that failed.", lambda w: w.failures),
)
