"""Metrics of the process and the interpreter, through prometheus-client's collectors.

``process_*`` has the names of prometheus-client's ``ProcessCollector``, which lists ``/proc/self/fd`` to count
file descriptors: 15 ms with 20,000 connections, on the reactor's thread. Linux 6.2 and newer say the number in
the folder's size, so only older ones pay for the listing.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = resource.getpagesize()


class ProcessCollector(Collector):
    """``process_*``: CPU time, memory, start time and file descriptors, from ``/proc`` (proc(5)).

    What cannot be read (no ``/proc``, or one that hides things) is left out.
    """

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc

    def collect(self) -> Iterable[Metric]:
        """The families, for prometheus-client."""
        yield from self._stat()
        yield from self._descriptors()

    def _stat(self) -> Iterator[Metric]:
        try:
            stat = (self._proc / "self/stat").read_bytes()
            boot = self._boot()
        except OSError:
            return
        # The second field is the command in parentheses and may hold anything; the third follows the last ")".
        fields = stat[stat.rindex(b")") + 1 :].split()
        utime, stime, start, virtual, resident = (int(fields[i]) for i in (11, 12, 19, 20, 21))
        yield CounterMetricFamily(
            "process_cpu_seconds_total",
            "Total user and system CPU time spent in seconds.",
            value=(utime + stime) / _TICKS,
        )
        yield _gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.", virtual)
        yield _gauge("process_resident_memory_bytes", "Resident memory size in bytes.", resident * _PAGE)
        if boot:
            yield _gauge(
                "process_start_time_seconds",
                "Start time of the process since unix epoch in seconds.",
                boot + start / _TICKS,
            )

    def _boot(self) -> int:
        """When the machine started (seconds since the epoch), 0 if the kernel does not say."""
        for line in (self._proc / "stat").read_bytes().splitlines():
            if line.startswith(b"btime "):
                return int(line.split()[1])
        return 0

    def _descriptors(self) -> Iterator[Metric]:
        folder = self._proc / "self/fd"
        try:
            count = folder.stat().st_size or len(os.listdir(folder))
        except OSError:
            return
        yield _gauge("process_open_fds", "Number of open file descriptors.", count)
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        yield _gauge("process_max_fds", "Maximum number of open file descriptors.", soft)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


class Standard:
    """``process_*`` and ``python_*``: the few families that prometheus-client itself turns into text."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(ProcessCollector())
        # These register themselves with the registry they are given.
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def blocks(self) -> Iterator[str]:
        """All of them as one block."""
        yield generate_latest(self._registry).decode()
