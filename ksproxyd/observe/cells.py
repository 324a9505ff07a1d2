"""Plain counters of what happens to a request on its way: a method call that adds to integers."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

from ksproxyd.observe.exposition import Latency, Samples, labels
from ksproxyd.observe.requests import OTHER

#: Upper bounds of the time to the head of an upstream's answer, in seconds.
UPSTREAM_BOUNDS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)

_FASTEST = UPSTREAM_BOUNDS[0]

#: Upper bounds of the time a step of the chain takes, in seconds.
STEP_BOUNDS = (2e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 1e-3, 5e-3, 0.025, 0.1, 1.0, 10.0)


class UpstreamCell:
    """Requests to one upstream. Whoever forwards to it keeps the cell and calls one method a request."""

    __slots__ = ("_classes", "_failures", "latency", "text")

    def __init__(self, kind: str, name: str) -> None:
        self.text = labels(kind=kind, name=name)
        self.latency = Latency(UPSTREAM_BOUNDS)
        self._classes = [0] * 6
        self._failures: dict[str, int] = {}

    def answered(self, status: int, seconds: float) -> None:
        """The head of an answer has come, ``seconds`` after the request was handed to the pool."""
        self._classes[status // 100 if status < 600 else 0] += 1
        latency = self.latency
        # Most are among the fastest, and comparing once is cheaper than a search.
        latency.buckets[0 if seconds <= _FASTEST else bisect_left(UPSTREAM_BOUNDS, seconds)] += 1
        latency.total += seconds

    def failed(self, kind: str) -> None:
        """The request failed; ``kind`` is the ``UpstreamError``'s (connect, tls, timeout, protocol, closed)."""
        self._failures[kind] = self._failures.get(kind, 0) + 1

    def responses(self) -> Samples:
        """Answers by class of their status."""
        return [
            (f'{self.text},class="{digit}xx"' if digit else f'{self.text},class="{OTHER}"', count)
            for digit, count in enumerate(self._classes)
            if count
        ]

    def failures(self) -> Samples:
        """Failures by what went wrong."""
        return [(f"{self.text},{labels(reason=kind)}", count) for kind, count in self._failures.items()]


class Upstreams:
    """The cells of all upstreams, by kind of their target and name of the object that declares it.

    ``kind`` is ``kube``, ``apiservice``, ``reverseproxy``, ``jsbundle`` or ``cluster``. There are as many as
    there are such objects, but at most ``most``; the rest share one per kind, named ``other``.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._cells: dict[tuple[str, str], UpstreamCell] = {}

    def cell(self, kind: str, name: str) -> UpstreamCell:
        """The cell of an upstream, made at the first call. For when a node is mounted, not for each request."""
        cell = self._cells.get((kind, name))
        if cell is None:
            if len(self._cells) >= self._most:
                name = OTHER
            cell = self._cells.setdefault((kind, name), UpstreamCell(kind, name))
        return cell

    def forget(self, kind: str, name: str) -> None:
        """The object is gone; its series end. Streams that still hold the cell may go on using it."""
        self._cells.pop((kind, name), None)

    def all(self) -> list[UpstreamCell]:
        """Every cell there is."""
        return list(self._cells.values())

    def latencies(self) -> Iterable[tuple[str, Latency]]:
        """For the histogram."""
        return [(cell.text, cell.latency) for cell in self.all()]


class StepTimes:
    """How long the steps of the chain take, in those requests of which the chain takes the time."""

    __slots__ = ("_steps",)

    def __init__(self) -> None:
        self._steps: dict[str, tuple[str, Latency]] = {}

    def observe(self, step: str, seconds: float) -> None:
        """The step of that name has taken ``seconds``, without what it waited for."""
        found = self._steps.get(step)
        if found is None:
            found = self._steps[step] = (labels(step=step), Latency(STEP_BOUNDS))
        found[1].observe(seconds)

    def latencies(self) -> Iterable[tuple[str, Latency]]:
        """For the histogram."""
        return list(self._steps.values())
