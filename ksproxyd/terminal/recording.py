"""Recordings of sessions in asciicast v2, a file each: what was shown, and never what was typed.

::

    {"version": 2, "width": 80, "height": 24, "timestamp": 1735689600, "title": "joe: pod demo/web-0"}
    [0.25, "o", "$ "]
    [1.5, "r", "132x40"]

Writing is done in a thread, one piece at a time; a session never waits for it. Where it fails, the setting
``recording.failurePolicy`` says whether the session goes on without.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd.settings.terminal import RecordingSettings
from ksproxyd.terminal import endings
from ksproxyd.terminal.decoding import Output
from ksproxyd.terminal.session import Session, Summary

InThread = Callable[..., "Deferred[Any]"]

#: Bytes that may wait for the disk; with more it is too slow, which is a failure like any other.
WAITING = 4 * 1024 * 1024

#: Seconds between looks for recordings that are old enough to go.
SWEEP = 3600.0

SUFFIX = ".cast"

_PLAIN = re.compile(r"[^A-Za-z0-9._-]+")


class Recordings:
    """Makes recorders. :meth:`start` at the beginning, :meth:`stop` when all sessions are over."""

    log = Logger()

    def __init__(self, clock: IReactorTime, settings: RecordingSettings, in_thread: InThread) -> None:
        self._clock = clock
        self.settings = settings
        self.in_thread = in_thread
        self._call: IDelayedCall | None = None
        self._sweeping: Deferred[None] | None = None
        #: Sessions of which nothing, or not all, was recorded.
        self.failures = 0
        self.open: set[Recorder] = set()

    def start(self) -> None:
        """Raises :class:`OSError` if there is no folder to record to: better now than in every session."""
        if not self.settings.enabled:
            return
        folder = Path(self.settings.directory)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(f"{folder} is not writable: recordings of terminals cannot be kept there")
        if self.settings.retention:
            self._sweep()

    async def stop(self) -> None:
        """Wait for what is being written."""
        if self._call is not None and self._call.active():
            self._call.cancel()
        if self._sweeping is not None:
            self._sweeping.cancel()
        for recorder in tuple(self.open):
            await recorder.closed()

    def recorder(self) -> Recorder | None:
        """The witness of one session; None if sessions are not recorded."""
        return Recorder(self._clock, self) if self.settings.enabled else None

    def _sweep(self) -> None:
        self._call = self._clock.callLater(SWEEP, self._sweep)
        oldest = self._clock.seconds() - self.settings.retention
        self._sweeping = self.in_thread(_delete_old, self.settings.directory, oldest)
        self._sweeping.addBoth(self._swept)

    def _swept(self, result: object) -> None:
        self._sweeping = None
        if isinstance(result, Failure) and not result.check(CancelledError):
            self.log.warn("deleting old recordings failed: {error}", error=result.getErrorMessage())


class Recorder:
    """Records one session (a :class:`~ksproxyd.terminal.session.Witness`)."""

    log = Logger()

    def __init__(self, clock: IReactorTime, recordings: Recordings) -> None:
        self._clock = clock
        self._recordings = recordings
        self._decoder = Output()
        self._pending: list[bytes] = []
        self._waiting = 0
        self._written = 0
        self._file: BinaryIO | None = None
        self._path = ""
        self._session: Session | None = None
        self._begun = 0.0
        self._work: Deferred[None] | None = None
        self._over = False
        self._failed = False
        self._closed: list[Deferred[None]] = []

    # -- what the session says ---------------------------------------------------------------------------------

    def began(self, session: Session) -> None:
        self._session = session
        self._begun = self._clock.seconds()
        self._recordings.open.add(self)
        self._path = os.path.join(self._recordings.settings.directory, file_name(session, self._begun))
        columns, rows = session.size or (80, 24)
        self._put(
            {
                "version": 2,
                "width": columns,
                "height": rows,
                "timestamp": int(self._begun),
                "title": f"{session.owner.name}: {session.where}",
                "env": {"TERM": "xterm"},
            }
        )

    def output(self, data: bytes) -> None:
        text = self._decoder.feed(data)
        if text:
            self._event("o", text)

    def resized(self, columns: int, rows: int) -> None:
        self._event("r", f"{columns}x{rows}")

    def ended(self, session: Session, summary: Summary) -> None:
        rest = self._decoder.end()
        if rest:
            self._event("o", rest)
        self._over = True
        self._go_on()

    # -- the file ----------------------------------------------------------------------------------------------

    def closed(self) -> Deferred[None]:
        """Fires when the recording is complete, or has failed."""
        done: Deferred[None] = Deferred(self._closed.remove)
        self._closed.append(done)
        self._go_on()
        return done

    def _event(self, kind: str, text: str) -> None:
        if self._session is not None:
            self._put([round(self._clock.seconds() - self._begun, 6), kind, text])

    def _put(self, value: object) -> None:
        if self._failed:
            return
        line = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"
        if self._written + self._waiting + len(line) > self._recordings.settings.max_bytes:
            self._fail(f"it has more than {self._recordings.settings.max_bytes} bytes")
            return
        if self._waiting + len(line) > WAITING:
            self._fail("the disk is too slow")
            return
        self._pending.append(line)
        self._waiting += len(line)
        self._go_on()

    def _go_on(self) -> None:
        """Write what waits; then, at the end, close."""
        if self._work is not None:
            return
        if self._pending and not self._failed:
            data, self._pending, self._waiting = b"".join(self._pending), [], 0
            self._written += len(data)
            self._work = self._recordings.in_thread(self._write, data)
            self._work.addBoth(self._wrote)
        elif self._over or self._failed or self._session is None:
            self._finish()

    def _write(self, data: bytes) -> None:
        """In a thread."""
        if self._file is None:
            handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            self._file = os.fdopen(handle, "wb", buffering=0)
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]

    def _wrote(self, result: object) -> None:
        self._work = None
        if isinstance(result, Failure):
            self._fail(result.getErrorMessage())
        self._go_on()

    def _fail(self, why: str) -> None:
        if self._failed:
            return
        self._failed = True
        self._pending, self._waiting = [], 0
        self._recordings.failures += 1
        session = self._session
        assert session is not None
        self.log.error("session {id} is not recorded any more: {why}", id=session.id, why=why)
        if self._recordings.settings.failure_policy == "closed":
            # Later, as whoever calls is in the middle of something of this session's.
            self._clock.callLater(
                0, session.end, endings.FAILED, "not recorded", "the session cannot be recorded, so it cannot go on"
            )
        if not self._work:
            self._go_on()

    def _finish(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            self._work = self._recordings.in_thread(file.close)
            self._work.addBoth(self._wrote)
            return
        self._recordings.open.discard(self)
        closed, self._closed = self._closed, []
        for done in closed:
            done.callback(None)


def file_name(session: Session, begun: float) -> str:
    """When, who, and which session; nothing in it leads to another folder."""
    when = datetime.fromtimestamp(begun, UTC).strftime("%Y%m%dT%H%M%SZ")
    who = _PLAIN.sub("_", session.owner.name)[:64].lstrip(".") or "_"
    return f"{when}-{who}-{session.id}{SUFFIX}"


def _delete_old(folder: str, oldest: float) -> None:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(SUFFIX) and entry.is_file(follow_symlinks=False) and entry.stat().st_mtime < oldest:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(entry.path)
