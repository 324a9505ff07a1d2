"""Events in a file, one a line (spec 03, 6.4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd.audit.event import Event
from ksproxyd.audit.queue import BROKEN, STOPPED, Bounds, Queue
from ksproxyd.audit.writing import Writing
from ksproxyd.kube.pacing import pause
from ksproxyd.state.backoff import Backoff

#: Seconds between attempts while the disk does not take what is written, at first and at most.
FIRST_WAIT, LAST_WAIT = 0.5, 10.0


class Writable(Protocol):
    """A :class:`~ksproxyd.audit.rotation.RotatingFile`, or what stands in its place. Its methods block."""

    def open(self) -> None: ...

    def write(self, data: bytes) -> None: ...

    def close(self) -> None: ...


class FileSink:
    """The sink. Writes in a thread (``in_thread``), one batch at a time; ``random`` gives numbers from 0 up to 1."""

    log = Logger()
    name = "file"

    def __init__(
        self,
        clock: IReactorTime,
        file: Writable,
        writing: Writing,
        bounds: Bounds,
        in_thread: Callable[..., Deferred[Any]],
        random: Callable[[], float],
    ) -> None:
        self.queue = Queue(self.name, clock, bounds, self._pump)
        #: Attempts that came to nothing.
        self.failures = 0
        self._clock = clock
        self._file = file
        self._writing = writing
        self._in_thread = in_thread
        self._backoff = Backoff(FIRST_WAIT, LAST_WAIT, random)
        self._work: Deferred[None] | None = None
        self._ended: Deferred[None] | None = None

    def open(self) -> None:
        """Open the file, at start. Raises :class:`OSError`: what is to be recorded must not get lost unnoticed."""
        self._file.open()

    @property
    def in_flight(self) -> int:
        """Batches that are being written."""
        return 0 if self._work is None else 1

    def stop(self, seconds: float) -> Deferred[None]:
        """Take no more, write what waits within ``seconds``, close the file. Fires when all is over."""
        self.queue.close()
        ended: Deferred[None] = Deferred()
        self._ended = ended
        late = self._clock.callLater(seconds, self._abandon)

        def over(_: None) -> Any:
            if late.active():
                late.cancel()
            return self._in_thread(self._file.close)

        ended.addCallback(over)
        self._pump()
        self._look_for_end()
        return ended

    def _pump(self) -> None:
        if self._work is None and self.queue.due:
            self._work = work = Deferred.fromCoroutine(self._run())
            work.addBoth(self._rested)

    def _rested(self, result: Any) -> None:
        self._work = None
        if isinstance(result, Failure) and not result.check(CancelledError):
            self.log.failure("writing audit events failed", result)
        self._look_for_end()

    async def _run(self) -> None:
        while self.queue.due:
            await self._write(self.queue.take())

    async def _write(self, batch: list[Event]) -> None:
        lost = BROKEN
        try:
            lines = await self._writing.lines(batch)
            data = b"".join([line + b"\n" for line in lines])
            while not await self._attempt(data):
                await pause(self._clock, self._backoff.next())
            lost = ""
        except CancelledError:
            lost = STOPPED
            raise
        finally:
            self.queue.settle(batch, lost)

    async def _attempt(self, data: bytes) -> bool:
        try:
            await self._in_thread(self._file.write, data)
        except OSError as error:
            self.failures += 1
            if not self._backoff.attempts:
                self.log.error("the audit log cannot be written: {error}; it is tried again", error=error)
            return False
        if self._backoff.attempts:
            self._backoff.reset()
            self.log.info("the audit log is written again")
        self.queue.recovered()
        return True

    def _abandon(self) -> None:
        self.queue.abandon()
        if self._work is not None:
            self._work.cancel()
        self._look_for_end()

    def _look_for_end(self) -> None:
        if self._ended is not None and not self._ended.called and self._work is None and not len(self.queue):
            self._ended.callback(None)
