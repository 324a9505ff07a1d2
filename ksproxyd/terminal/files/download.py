"""Gets files out of a container: its own tar packs them, or for one file its own tail reads it (spec 05, 6)."""

from __future__ import annotations

import posixpath
from typing import Protocol

from twisted.internet.defer import Deferred

from ksproxyd.terminal.execution import ExecRequest, Execution, Executions
from ksproxyd.terminal.exit_status import Ended
from ksproxyd.terminal.files.names import literally

#: Bytes that make an archive of nothing: what tar writes when it has found nothing, before it says so.
EMPTY = 10240

#: Bytes that must have come before anything is promised to the client: one block of an archive.
FIRST = 512
COMPLAINTS = 4096


def packing(path: str) -> tuple[str, ...]:
    """What packs ``path``; busybox understands it, too."""
    parent, base = posixpath.split(path)
    return ("tar", "cf", "-", *literally(path), "-C", parent, "--", base or ".")


def reading(path: str, begin: int) -> tuple[str, ...]:
    """What prints a file from byte ``begin`` on."""
    return ("tail", "-c", f"+{begin + 1}", "--", path)


def sizing(path: str) -> tuple[str, ...]:
    """What prints size, time of the last change and type of a file, links followed."""
    return ("stat", "-L", "-c", "%s %Y %F", "--", path)


class Taker(Protocol):
    """Who takes the bytes."""

    def begin(self) -> None:
        """There is something to take."""

    def take(self, data: bytes) -> None:
        """Bytes; :meth:`Download.pause` if they are too many."""


class Download:
    """One program's output on its way (an :class:`~ksproxyd.terminal.execution.Output`).

    ``limit`` are the most bytes (0: any number); with more the program is let go, and :attr:`too_large` is set.
    """

    def __init__(self, taker: Taker, limit: int = 0, first: int = FIRST) -> None:
        self._taker = taker
        self._limit = limit
        self._first = first
        self._held: bytes | None = b""
        self._execution: Execution | None = None
        self.complaints = b""
        self.size = 0
        self.too_large = False
        self.over: Deferred[Ended | None] = Deferred()

    def start(self, executions: Executions, namespace: str, pod: str, container: str, command: tuple[str, ...]) -> None:
        """Begin. :attr:`over` fires with how the program ended, or None if it was let go."""
        request = ExecRequest(namespace, pod, container, command, stdin=False, stdout=True, stderr=True, tty=False)
        self._execution = executions.begin(request, self)

    @property
    def begun(self) -> bool:
        """Whether bytes have been given on."""
        return self._held is None

    def pause(self) -> None:
        """Let the program wait."""
        if self._execution is not None:
            self._execution.pause()

    def resume(self) -> None:
        """Go on."""
        if self._execution is not None:
            self._execution.resume()

    def cancel(self) -> None:
        """Nobody takes it any more."""
        if self._execution is not None:
            self._execution.close()
        if not self.over.called:
            self.over.callback(None)

    def started(self) -> None:
        """The program may still not be there."""

    def output(self, data: bytes, stderr: bool) -> None:
        if stderr:
            self.complaints = (self.complaints + data)[-COMPLAINTS:]
            return
        self.size += len(data)
        if self._limit and self.size > self._limit:
            self.too_large = True
            self.cancel()
            return
        if self._held is not None:
            self._held += data
            if len(self._held) < self._first or (
                len(self._held) <= EMPTY and self._first == FIRST and not any(self._held)
            ):
                return
            data = self._let_go()
        if data:
            self._taker.take(data)

    def ended(self, result: Ended) -> None:
        if self._held and result.ran and result.code == 0:
            rest = self._let_go()
            self._taker.take(rest)
        if not self.over.called:
            self.over.callback(result)

    def _let_go(self) -> bytes:
        held, self._held = self._held or b"", None
        self._taker.begin()
        return held

    def said(self) -> str:
        """The last that the program complained of."""
        return self.complaints.decode("utf-8", "replace").strip()
