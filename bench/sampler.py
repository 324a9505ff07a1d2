"""Runs ksproxyd and looks, while it works, at which function it is in.

Run as a program: ``python -m bench.sampler FILE run …`` is ``ksproxyd run …``. The first SIGUSR2 begins to take
samples, a few hundred in a second of CPU time; the second writes what was found to FILE. Time in C code, system calls
included, counts for the Python function that called it.
"""

from __future__ import annotations

import json
import signal
import sys
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType

from ksproxyd.cli import main

INTERVAL = 0.001
"""Seconds of CPU time between two samples that are asked for; the kernel's tick may be longer."""


class Sampler:
    """Counts functions at the end of the stack, and anywhere on it."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._running = False
        self._last: Counter[CodeType] = Counter()
        self._anywhere: Counter[CodeType] = Counter()

    def toggle(self, number: int, frame: FrameType | None) -> None:
        """Begin, or end and write."""
        self._running = not self._running
        if self._running:
            signal.signal(signal.SIGPROF, self._sample)
            signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)
            return
        signal.setitimer(signal.ITIMER_PROF, 0)
        taken = self._last.total()
        found = {
            "samples": taken,
            "last": [(_name(code), count) for code, count in self._last.most_common()],
            "anywhere": [(_name(code), count) for code, count in self._anywhere.most_common()],
        }
        self._file.write_text(json.dumps(found))

    def _sample(self, number: int, frame: FrameType | None) -> None:
        if frame is None:
            return
        self._last[frame.f_code] += 1
        seen = set()
        while frame is not None:
            seen.add(frame.f_code)
            frame = frame.f_back
        self._anywhere.update(seen)


def _name(code: CodeType) -> str:
    """Module and function."""
    path = Path(code.co_filename)
    for root in ("ksproxyd", "twisted"):
        if root in path.parts:
            start = len(path.parts) - 1 - path.parts[::-1].index(root)
            path = Path(*path.parts[start:])
            break
    else:
        path = Path(path.name)
    return f"{path}:{code.co_firstlineno} {code.co_qualname}"


if __name__ == "__main__":
    signal.signal(signal.SIGUSR2, Sampler(Path(sys.argv[1])).toggle)
    raise SystemExit(main(sys.argv[2:]))
