"""A shell whose browser is gone is made to end; the cluster does not do that (spec 05, 8.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from ksproxyd.terminal.execution import Output
from ksproxyd.terminal.exit_status import Ended

INTERRUPT, END_OF_FILE = b"\x03", b"\x04"


class Running(Protocol):
    """An exec (:class:`ksproxyd.terminal.execution.Execution`)."""

    def write(self, data: bytes) -> None: ...

    def resize(self, columns: int, rows: int) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def on_drain(self, callback: Callable[[bool], object]) -> None: ...

    def close(self) -> None: ...


class HangUp:
    """Ctrl-C and Ctrl-D; if that does not help within ``seconds``, ``kill`` (if there is one), and as long again.

    ``kill`` begins a second exec that signals the shell. ``over`` is called once unless :meth:`stop` comes first:
    nothing helped.
    """

    def __init__(
        self,
        clock: IReactorTime,
        execution: Running,
        seconds: float,
        kill: Callable[[Output], Running] | None,
        over: Callable[[], object],
    ) -> None:
        self._clock = clock
        self._execution = execution
        self._seconds = seconds
        self._kill = kill
        self._over = over
        self._killing: Running | None = None
        self._call: IDelayedCall | None = None

    def start(self) -> None:
        """Begin. What the process prints has to be read, or it may never come to what was typed."""
        self._execution.resume()
        self._execution.write(INTERRUPT)
        self._execution.write(END_OF_FILE)
        self._call = self._clock.callLater(self._seconds / 2, self._again)

    def stop(self) -> None:
        """The process has ended."""
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None
        killing, self._killing = self._killing, None
        if killing is not None:
            killing.close()

    # Of the second exec: what it was to end says whether it did.

    def started(self) -> None:
        """Of no interest."""

    def output(self, data: bytes, stderr: bool) -> None:
        """Of no interest."""

    def ended(self, result: Ended) -> None:
        """There is nothing left to close."""
        self._killing = None

    def _again(self) -> None:
        # A terminal that changes its mode between the two loses the second.
        self._execution.write(END_OF_FILE)
        self._call = self._clock.callLater(self._seconds / 2, self._waited)

    def _waited(self) -> None:
        if self._kill is None:
            self._give_up()
            return
        kill, self._kill = self._kill, None
        self._call = self._clock.callLater(self._seconds, self._give_up)
        self._killing = kill(self)

    def _give_up(self) -> None:
        self.stop()
        self._over()
