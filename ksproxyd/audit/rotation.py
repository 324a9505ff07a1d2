"""A log file that is begun anew when it has become large, and of which old ones are kept for a while.

Everything here blocks and belongs in a thread. The names of old files are those that KubeSphere's own log has:
``audit-2025-01-31T12-30-00.000.log`` beside ``audit.log``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}(?:\.\d+)?")
_DAY = 86400.0


class RotatingFile:
    """Appends to the file at ``path``. ``most`` bytes make it old; of old ones at most ``backups`` are kept, and none
    longer than ``days``. ``now`` gives seconds of the epoch.

    The file is 0600, directories that are made for it are 0700. Every method may raise :class:`OSError`.
    """

    def __init__(self, path: Path, most: int, backups: int, days: float, now: Callable[[], float]) -> None:
        self._path = path
        self._most = most
        self._backups = backups
        self._days = days
        self._now = now
        self._file = -1
        self._size = 0

    def open(self) -> None:
        """Open the file, or make it. To be called before anything is written."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._file = os.open(self._path, flags, 0o600)
        self._size = os.fstat(self._file).st_size

    def write(self, data: bytes) -> None:
        """Append ``data`` whole: where that is not possible nothing of it stays."""
        if self._file < 0 or self._moved():
            self.close()
            self.open()
        if self._size and self._size + len(data) > self._most:
            self._rotate()
        before = self._size
        try:
            _write_all(self._file, data)
        except OSError:
            # What was written of it would be half a line that the next attempt goes on behind.
            with suppress(OSError):
                os.ftruncate(self._file, before)
            raise
        self._size = before + len(data)

    def close(self) -> None:
        """Let go of the file."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    def _moved(self) -> bool:
        """Whether somebody else has renamed or removed the file."""
        try:
            there, here = os.stat(self._path), os.fstat(self._file)
        except FileNotFoundError:
            return True
        self._size = here.st_size
        return (there.st_ino, there.st_dev) != (here.st_ino, here.st_dev)

    def _rotate(self) -> None:
        self.close()
        path = self._path
        stamp = datetime.fromtimestamp(self._now(), UTC).strftime("%Y-%m-%dT%H-%M-%S.%f")[:-3]
        old = path.with_name(f"{path.stem}-{stamp}{path.suffix}")
        number = 0
        while old.exists():
            number += 1
            old = path.with_name(f"{path.stem}-{stamp}.{number}{path.suffix}")
        path.rename(old)
        self.open()
        self._tidy()

    def _tidy(self) -> None:
        """Remove old files that are too many or too old. One that cannot be removed is tried again the next time."""
        path = self._path
        prefix, suffix = f"{path.stem}-", path.suffix
        old = sorted(
            (
                found
                for found in path.parent.iterdir()
                if found.name.startswith(prefix)
                and found.name.endswith(suffix)
                and _STAMP.fullmatch(found.name[len(prefix) : len(found.name) - len(suffix)])
            ),
            reverse=True,
        )
        oldest = self._now() - self._days * _DAY
        for place, found in enumerate(old):
            with suppress(OSError):
                if place >= self._backups or found.stat().st_mtime < oldest:
                    found.unlink()


class Output:
    """The standard output, in a file's place (``-``)."""

    def __init__(self, file: int) -> None:
        self._file = file

    def open(self) -> None:
        """It is open."""

    def write(self, data: bytes) -> None:
        """Write ``data``; whoever reads slowly holds only this thread up."""
        _write_all(self._file, data)

    def close(self) -> None:
        """It belongs to the process."""


def _write_all(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]
