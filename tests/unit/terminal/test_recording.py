"""Recordings of sessions."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, execute, succeed
from twisted.internet.task import Clock

from ksproxyd.model.identity import Identity
from ksproxyd.settings.terminal import RecordingSettings
from ksproxyd.terminal.endings import Where
from ksproxyd.terminal.recording import SWEEP, WAITING, Recorder, Recordings


class Session:
    """What a recorder looks at of one."""

    def __init__(self, name: str = "joe") -> None:
        self.id = "0123456789abcdef" * 2
        self.owner = Identity(name)
        self.where = Where("pod", "demo", "web-0")
        self.size = (132, 40)
        self.ends: list[Any] = []

    def end(self, *arguments: Any) -> None:
        self.ends.append(arguments)


class Disk:
    """Runs at once, or when it is told to."""

    def __init__(self) -> None:
        self.held: list[Callable[[], None]] | None = None
        self.broken: Exception | None = None

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        def run() -> Any:
            if self.broken is not None:
                raise self.broken
            return function(*arguments)

        if self.held is None:
            return execute(run)
        done: Deferred[Any] = Deferred()
        self.held.append(lambda: execute(run).chainDeferred(done))
        return done

    def go(self) -> None:
        held, self.held = self.held or [], None
        for each in held:
            each()


class Place:
    """A folder with recordings."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.clock = Clock()
        self.clock.advance(1_735_689_600)
        self.disk = Disk()
        settings = RecordingSettings(enabled=True, directory=str(folder), **options)
        self.recordings = Recordings(self.clock, settings, self.disk)  # type: ignore[arg-type]
        self.recordings.start()
        self.folder = folder

    def begin(self, session: Any) -> Recorder:
        recorder = self.recordings.recorder()
        assert recorder is not None
        recorder.began(session)
        return recorder

    def lines(self) -> list[Any]:
        (path,) = self.folder.iterdir()
        return [json.loads(line) for line in path.read_text().splitlines()]

    def stop(self) -> None:
        done = Deferred.fromCoroutine(self.recordings.stop())
        assert done.called
        assert not self.recordings.open
        assert not self.clock.getDelayedCalls()


def test_a_recording(tmp_path: Path) -> None:
    place = Place(tmp_path)
    session: Any = Session()
    recorder = place.begin(session)
    place.clock.advance(0.25)
    recorder.output(b"$ \xe2\x82")
    place.clock.advance(0.25)
    recorder.output(b"\xac\r\n")
    recorder.resized(80, 24)
    recorder.output(b"\xff")
    recorder.output(b"\xe2")
    recorder.ended(session, None)  # type: ignore[arg-type]
    place.stop()
    head, *events = place.lines()
    assert head == {
        "version": 2,
        "width": 132,
        "height": 40,
        "timestamp": 1735689600,
        "title": "joe: pod demo/web-0",
        "env": {"TERM": "xterm"},
    }
    assert events == [
        [0.25, "o", "$ "],
        [0.5, "o", "\u20ac\r\n"],
        [0.5, "r", "80x24"],
        [0.5, "o", "\ufffd"],
        [0.5, "o", "\ufffd"],
    ]
    (path,) = tmp_path.iterdir()
    assert path.name == f"20250101T000000Z-joe-{session.id}.cast"
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["../../etc/x", ".hidden", "a/b", "\u20ac", "", "x" * 300, "a\nb"])
def test_names_lead_nowhere_else(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "in"
    place = Place(folder)
    session: Any = Session(name)
    place.begin(session).ended(session, None)  # type: ignore[arg-type]
    place.stop()
    assert len(os.listdir(folder)) == 1
    assert os.listdir(tmp_path) == ["in"]
    assert not os.listdir(folder)[0].startswith(".")


@pytest.mark.parametrize("policy", ["open", "closed"])
@pytest.mark.parametrize("how", ["broken", "slow", "large"])
def test_what_cannot_be_recorded(tmp_path: Path, policy: str, how: str) -> None:
    place = Place(tmp_path, failure_policy=policy, max_bytes=20_000_000 if how != "large" else 4096)
    session: Any = Session()
    recorder = place.begin(session)
    if how == "broken":
        place.disk.broken = OSError("no space left")
    elif how == "slow":
        place.disk.held = []
    for _ in range(5):
        recorder.output(b"x" * (WAITING // 4 if how == "slow" else 2000))
    place.disk.go()
    place.clock.advance(0)
    assert len(session.ends) == (policy == "closed")
    assert place.recordings.failures == 1
    recorder.output(b"more")
    place.disk.broken = None
    recorder.ended(session, None)  # type: ignore[arg-type]
    place.stop()


def test_the_end_waits_for_the_disk(tmp_path: Path) -> None:
    place = Place(tmp_path)
    session: Any = Session()
    recorder = place.begin(session)
    place.disk.held = []
    recorder.output(b"a")
    recorder.output(b"b")
    recorder.ended(session, None)  # type: ignore[arg-type]
    done = Deferred.fromCoroutine(place.recordings.stop())
    assert not done.called
    place.disk.go()
    assert done.called
    assert [event[2] for event in place.lines()[1:]] == ["a", "b"]


def test_old_recordings_go(tmp_path: Path) -> None:
    for name, age in (("old.cast", 100), ("new.cast", 10), ("other.txt", 100)):
        (tmp_path / name).write_text("x")
        os.utime(tmp_path / name, (1_735_689_600 - age, 1_735_689_600 - age))
    place = Place(tmp_path, retention=50.0)
    assert sorted(os.listdir(tmp_path)) == ["new.cast", "other.txt"]
    place.clock.advance(SWEEP)
    assert os.listdir(tmp_path) == ["other.txt"]
    place.stop()


def test_nothing_is_recorded_where_nothing_is_to_be() -> None:
    recordings = Recordings(Clock(), RecordingSettings(), lambda *_: succeed(None))  # type: ignore[arg-type]
    recordings.start()
    assert recordings.recorder() is None


def test_without_a_folder_nothing_starts(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    settings = RecordingSettings(enabled=True, directory=str(tmp_path / "file" / "in"))
    with pytest.raises(OSError, match="file"):
        Recordings(Clock(), settings, lambda *_: succeed(None)).start()  # type: ignore[arg-type]
