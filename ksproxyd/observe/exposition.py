"""The Prometheus text format 0.0.4, written in slices so that a scrape never holds the reactor.

Each request counts into plain Python attributes; this module turns them into text when a scraper asks.
prometheus-client's own encoder spends 5 to 10 µs on a sample, which is 20 ms for a gateway with 2,000 of them,
so only the few families of its collectors go through it (see :mod:`ksproxyd.observe.process`). Here a sample's
labels are rendered once, when its cell is made, and a scrape is a generator that stops when its time is up.
"""

from __future__ import annotations

import math
import time
import zlib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

#: Text is compressed and the time looked at after about this many characters.
_CHUNK = 32 * 1024

_LABEL_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_HELP_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n"})

Samples = Iterable[tuple[str, float]]


def labels(**values: str) -> str:
    """``a="x",b="y"``, escaped; the form in which a cell keeps its labels. Sorted by name."""
    return ",".join(f'{name}="{values[name].translate(_LABEL_ESCAPES)}"' for name in sorted(values))


def number(value: float) -> str:
    """A sample's value: integers without a point, everything else as the shortest exact decimal."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if isinstance(value, float) and not value.is_integer():
        return repr(value)
    return str(int(value))


class Latency:
    """The cells of one histogram: how many observations fell into each bucket, and their sum in seconds.

    ``buckets[i]`` counts the observations that are above ``bounds[i - 1]`` and at most ``bounds[i]``; the last
    one, those above every bound. A caller on the hot path does the three lines of :meth:`observe` itself.
    """

    __slots__ = ("bounds", "buckets", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count one observation."""
        self.buckets[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds

    @property
    def count(self) -> int:
        """Observations so far."""
        return sum(self.buckets)


class Family:
    """One metric: its name, type (``counter`` or ``gauge``), help and where its samples are read from.

    ``read`` is called once a scrape and returns ``(labels, value)`` pairs, the labels as :func:`labels` makes
    them or ``""``. What it returns must not change when the reactor runs on: a list, not a view of a dict.
    """

    __slots__ = ("_head", "name", "read")

    def __init__(self, name: str, kind: str, text: str, read: Callable[[], Samples]) -> None:
        self.name = name
        self.read = read
        self._head = head(name, kind, text)

    def blocks(self) -> Iterator[str]:
        """The family's text, a sample at a time. A family without samples is left out."""
        name = self.name
        prefix = self._head
        for text, value in self.read():
            if text:
                yield f"{prefix}{name}{{{text}}} {number(value)}\n"
            else:
                yield f"{prefix}{name} {number(value)}\n"
            prefix = ""


class Histogram:
    """A histogram metric over :class:`Latency` cells that share ``bounds`` (ascending, without +Inf)."""

    __slots__ = ("_head", "_suffixes", "name", "read")

    def __init__(
        self, name: str, text: str, bounds: Sequence[float], read: Callable[[], Iterable[tuple[str, Latency]]]
    ) -> None:
        self.name = name
        self.read = read
        self._head = head(name, "histogram", text)
        self._suffixes = [*(f'le="{number(bound)}"}} ' for bound in bounds), 'le="+Inf"} ']

    def blocks(self) -> Iterator[str]:
        """The family's text, one histogram at a time: a scrape sees each of them whole."""
        name = self.name
        prefix = self._head
        for text, cell in self.read():
            bucket = f"{name}_bucket{{{text}," if text else f"{name}_bucket{{"
            braces = f"{{{text}}}" if text else ""
            lines = [prefix]
            prefix = ""
            running = 0
            for suffix, count in zip(self._suffixes, cell.buckets, strict=True):
                running += count
                lines.append(f"{bucket}{suffix}{running}\n")
            lines.append(f"{name}_sum{braces} {number(cell.total)}\n{name}_count{braces} {running}\n")
            yield "".join(lines)


def head(name: str, kind: str, text: str) -> str:
    """The ``# HELP`` and ``# TYPE`` lines of a metric."""
    return f"# HELP {name} {text.translate(_HELP_ESCAPES)}\n# TYPE {name} {kind}\n"


class Scrape:
    """One answer to ``GET /metrics``, made in slices.

    Call :meth:`advance` until it returns True, letting the reactor run in between, then take :attr:`parts`: the
    body, not joined, because copying some megabytes takes milliseconds as well.
    """

    def __init__(self, blocks: Iterator[str], gzip: bool, monotonic: Callable[[], float] = time.perf_counter) -> None:
        self._blocks = blocks
        self._monotonic = monotonic
        # Level 1: a scrape has a few repeated patterns, and this runs on the reactor's thread.
        self._gzip = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS) if gzip else None
        self.parts: list[bytes] = []

    def advance(self, budget: float) -> bool:
        """Go on for about ``budget`` seconds. True when :attr:`parts` holds all of the text."""
        deadline = self._monotonic() + budget
        chunk: list[str] = []
        size = 0
        for block in self._blocks:
            chunk.append(block)
            size += len(block) or _CHUNK
            if size >= _CHUNK:
                self._take(chunk)
                chunk, size = [], 0
                if self._monotonic() >= deadline:
                    return False
        self._take(chunk)
        if self._gzip is not None:
            self.parts.append(self._gzip.flush())
        return True

    def _take(self, chunk: list[str]) -> None:
        data = "".join(chunk).encode("utf-8", "replace")
        if self._gzip is not None:
            data = self._gzip.compress(data)
        if data:
            self.parts.append(data)
