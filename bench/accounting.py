"""What a program has used, by the kernel's own account (proc(5)): CPU time and memory, its children included."""

from __future__ import annotations

import os
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_KIB = 1024


def family(pid: int) -> set[int]:
    """``pid`` and all that descend from it."""
    parents: dict[int, int] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            fields = _stat(int(entry))
            if fields:
                parents[int(entry)] = int(fields[1])
    found = {pid}
    while True:
        more = {child for child, parent in parents.items() if parent in found} - found
        if not more:
            return found
        found |= more


def cpu_seconds(pid: int) -> float:
    """User and system time of ``pid`` and its descendants, threads and children that have ended included."""
    total = 0
    for member in family(pid):
        fields = _stat(member)
        if fields:
            # utime, stime, and those of children that were waited for.
            total += sum(int(field) for field in fields[11:15])
    return total / _TICK


def thread_seconds(pid: int, thread: int) -> float:
    """Time on a processor of one thread; the first of a process has its number."""
    # Not in ticks, as stat has it: the scheduler's own account, in nanoseconds.
    return int(Path(f"/proc/{pid}/task/{thread}/schedstat").read_text().split()[0]) / 1e9


def resident(pid: int) -> int:
    """Bytes of memory that are in use now (VmRSS)."""
    return _status(pid, "VmRSS:")


def peak_resident(pid: int) -> int:
    """The most bytes in use since :func:`forget_peak` (VmHWM)."""
    return _status(pid, "VmHWM:")


def forget_peak(pid: int) -> None:
    """Begin to measure the peak anew."""
    for member in family(pid):
        # proc(5), clear_refs: 5 sets the peak to what is in use now.
        Path(f"/proc/{member}/clear_refs").write_text("5")


def _stat(pid: int) -> list[str]:
    """The fields of ``stat`` from the state on; empty when the process has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    # The name before it may hold anything, parentheses too.
    return text.rpartition(")")[2].split()


def _status(pid: int, key: str) -> int:
    total = 0
    for member in family(pid):
        try:
            text = Path(f"/proc/{member}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        for line in text.splitlines():
            if line.startswith(key):
                total += int(line.split()[1]) * _KIB
    return total
