"""The file: lines, rotation, trouble with the disk."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from ksproxyd.audit.event import Place
from ksproxyd.audit.file import FileSink, Writable
from ksproxyd.audit.form import kubesphere_writer
from ksproxyd.audit.queue import STOPPED, Bounds
from ksproxyd.audit.rotation import Output, RotatingFile
from ksproxyd.audit.writing import Writing
from ksproxyd.kube.pacing import Pacer

from .test_audit_forms import event


class Now:
    def __init__(self) -> None:
        self.seconds = 1735689600.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def now() -> Now:
    return Now()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_modes(tmp_path: Path, now: Now) -> None:
    path = tmp_path / "a" / "b" / "audit.log"
    file = RotatingFile(path, 1000, 2, 7, now)
    file.open()
    file.write(b"x\n")
    file.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_what_was_there_stays(tmp_path: Path, now: Now) -> None:
    path = tmp_path / "audit.log"
    path.write_bytes(b"old\n")
    file = RotatingFile(path, 1000, 2, 7, now)
    file.open()
    file.write(b"new\n")
    assert path.read_bytes() == b"old\nnew\n"


def test_rotation_by_size_keeps_so_many(tmp_path: Path, now: Now) -> None:
    path = tmp_path / "audit.log"
    (tmp_path / "audit-notes.log").write_text("somebody else's")
    file = RotatingFile(path, 10, 2, 7, now)
    file.open()
    for number in range(6):
        now.seconds += 1
        file.write(b"line %d.\n" % number)
    assert names(tmp_path) == [
        "audit-2025-01-01T00-00-05.000.log",
        "audit-2025-01-01T00-00-06.000.log",
        "audit-notes.log",
        "audit.log",
    ]
    assert path.read_bytes() == b"line 5.\n"
    assert (tmp_path / "audit-2025-01-01T00-00-06.000.log").read_bytes() == b"line 4.\n"


def test_two_rotations_in_one_moment_lose_nothing(tmp_path: Path, now: Now) -> None:
    file = RotatingFile(tmp_path / "audit.log", 4, 10, 7, now)
    file.open()
    for number in range(4):
        file.write(b"%d...\n" % number)
    assert len(names(tmp_path)) == 4


def test_rotation_by_age(tmp_path: Path, now: Now) -> None:
    path = tmp_path / "audit.log"
    file = RotatingFile(path, 10, 10, 7, now)
    file.open()
    old = tmp_path / "audit-2024-12-01T00-00-00.000.log"
    young = tmp_path / "audit-2024-12-31T00-00-00.000.log"
    for found, days in ((old, 8), (young, 6)):
        found.write_bytes(b"x")
        os.utime(found, (now.seconds - days * 86400, now.seconds - days * 86400))
    file.write(b"line 1.\n")
    now.seconds += 1
    file.write(b"line 2.\n")
    assert not old.exists()
    assert young.exists()


@pytest.mark.parametrize("change", [lambda path: path.unlink(), lambda path: path.rename(path.with_suffix(".1"))])
def test_a_file_that_somebody_else_rotates_is_begun_anew(
    tmp_path: Path, now: Now, change: Callable[[Path], object]
) -> None:
    path = tmp_path / "audit.log"
    file = RotatingFile(path, 1000, 2, 7, now)
    file.open()
    file.write(b"a\n")
    change(path)
    file.write(b"b\n")
    assert path.read_bytes() == b"b\n"


def test_half_a_batch_does_not_stay(tmp_path: Path, now: Now, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "audit.log"
    file = RotatingFile(path, 1000, 2, 7, now)
    file.open()
    file.write(b"a\n")
    real = os.write
    calls = []

    def full(number: int, data: Any) -> int:
        calls.append(1)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return real(number, bytes(data)[:3])

    monkeypatch.setattr("os.write", full)
    with pytest.raises(OSError, match="No space"):
        file.write(b"long line\n")
    monkeypatch.undo()
    assert path.read_bytes() == b"a\n"
    file.write(b"b\n")
    assert path.read_bytes() == b"a\nb\n"


def test_standard_output() -> None:
    near, far = os.pipe()
    output = Output(far)
    output.open()
    output.write(b"a\n")
    output.close()
    assert os.read(near, 10) == b"a\n"
    os.close(near)
    os.close(far)


# -- the sink --------------------------------------------------------------------------------------------------------


class Disk:
    """A file that fails as often as told, and is only done when told if ``slow``."""

    def __init__(self) -> None:
        self.written = b""
        self.failing = 0
        self.closed = False
        self.slow = False
        self.waiting: list[Deferred[None]] = []

    def open(self) -> None:
        """It is."""

    def write(self, data: bytes) -> Any:
        if self.slow:
            waiting: Deferred[None] = Deferred()
            self.waiting.append(waiting)
            return waiting.addCallback(lambda _: self._write(data))
        return self._write(data)

    def _write(self, data: bytes) -> None:
        if self.failing:
            self.failing -= 1
            raise OSError(28, "No space left on device")
        self.written += data

    def close(self) -> None:
        self.closed = True


class World:
    def __init__(self, **bounds: Any) -> None:
        self.clock = Clock()
        self.disk = Disk()
        file: Writable = self.disk
        self.sink = FileSink(
            self.clock,
            file,
            Writing(kubesphere_writer(Place()), self.clock, lambda: Pacer(self.clock, timer=self.clock.seconds)),
            Bounds(**{"events": 100, "batch": 2, **bounds}),
            maybeDeferred,
            lambda: 0.0,
        )
        self.made = 0

    def put(self, count: int) -> None:
        for _ in range(count):
            made = event(id=str(self.made), agent=b"line\nbreak")
            made.weigh()
            self.made += 1
            self.sink.queue.put(made)
        self.clock.advance(0)

    @property
    def names(self) -> list[str]:
        return [json.loads(line)["AuditID"] for line in self.disk.written.splitlines()]


def test_a_line_an_event() -> None:
    world = World()
    world.put(5)
    assert world.names == ["0", "1", "2", "3"]
    world.clock.advance(3)
    assert world.names == ["0", "1", "2", "3", "4"]
    assert world.sink.queue.delivered == 5


def test_a_full_disk_is_tried_again_and_order_stays() -> None:
    world = World(events=10)
    world.disk.failing = 3
    world.put(30)
    assert world.names == []
    assert sum(world.sink.queue.dropped.values()) == 20
    for _ in range(10):
        world.clock.advance(1)
    assert world.names == [str(number) for number in range(10)]
    assert world.sink.failures == 3


def test_one_write_at_a_time() -> None:
    world = World()
    world.disk.slow = True
    world.put(6)
    assert len(world.disk.waiting) == 1
    world.disk.waiting[0].callback(None)
    assert len(world.disk.waiting) == 2


def test_the_end_writes_what_waits_and_closes() -> None:
    world = World(batch=10)
    world.put(3)
    ended = world.sink.stop(5.0)
    assert ended.called
    assert world.names == ["0", "1", "2"]
    assert world.disk.closed
    assert world.clock.getDelayedCalls() == []


def test_the_end_does_not_wait_for_a_stuck_disk() -> None:
    world = World()
    world.disk.slow = True
    world.put(6)
    ended = world.sink.stop(5.0)
    assert not ended.called
    world.clock.advance(5.1)
    assert ended.called
    assert world.sink.queue.dropped == {STOPPED: 6}
    assert (world.sink.queue.events, world.clock.getDelayedCalls()) == (0, [])


def test_an_end_with_nothing_to_do() -> None:
    world = World()
    assert world.sink.stop(5.0).called
    assert world.disk.closed
