"""Load on a proxy, and what it used meanwhile."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.accounting import cpu_seconds, resident
from bench.contenders import Running
from bench.processes import installed

CONNECTIONS = 32
_SCRIPT = Path(__file__).with_name("wrk.lua")


class LoadError(Exception):
    """Requests failed, so what was measured means nothing."""


@dataclass(frozen=True)
class Sample:
    """One short load. ``cpu`` is seconds of CPU time a request, ``p50`` and ``p99`` are seconds, ``memory`` bytes."""

    rate: float
    p50: float
    p99: float
    cpu: float
    memory: int


def generator() -> str | None:
    """The load generator, wrk; None when it is not installed."""
    return installed("wrk")


def load(
    running: Running, paths: Sequence[str], seconds: float, headers: Sequence[str] = (), *, refused: bool = False
) -> Sample:
    """:data:`CONNECTIONS` connections that are kept, each asking for the next as soon as it has its answer.

    ``paths`` are asked for in turn, with ``headers`` (lines) on each request. Raises :class:`LoadError` if any request
    fails, or, where all are to be ``refused``, if any does not.
    """
    wrk = generator()
    if wrk is None:
        raise FileNotFoundError("wrk is not installed")
    turns = list(paths) if len(paths) > 1 else []
    argv = [
        *(wrk, "-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s", "--timeout", "10s"),
        *(word for line in headers for word in ("-H", line)),
        *("-s", str(_SCRIPT), running.url(paths[0]), "--", *turns),
    ]
    before = cpu_seconds(running.pid)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds + 60, check=True)
    used = cpu_seconds(running.pid) - before
    counted = json.loads(done.stdout.strip().splitlines()[-1])
    name = running.process.name
    wanted = counted["requests"] if refused else 0
    if counted["broken"] or counted["not_2xx"] != wanted or not counted["requests"]:
        raise LoadError(f"{name}: {counted}; its log ends with:\n{running.process.tail()}")
    return Sample(
        rate=counted["requests"] / counted["seconds"],
        p50=counted["p50"] / 1e6,
        p99=counted["p99"] / 1e6,
        cpu=used / counted["requests"],
        memory=resident(running.pid),
    )
