"""Moving the write-ahead log into the database file, which waits for the disk and so is for a thread."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd.standalone.storage.log import Log
from ksproxyd.standalone.storage.store import Event, checkpoint

#: It happens so many seconds after a write, or after so many writes if they come faster.
SECONDS = 30.0
WRITES = 500


class Checkpoints:
    """Follows the writes to the database at ``path``. Nothing happens while nothing is written."""

    log = Logger()

    def __init__(self, path: str, log: Log, reactor: Any) -> None:
        self._path = path
        self._reactor = reactor
        self._writes = 0
        self._timer: Any = None
        self._moving: Deferred[None] | None = None
        self._stopped = False
        log.listen(self._written)

    def stop(self) -> Deferred[None] | None:
        """Begin no more. Fires when no thread uses the database any longer; None if none does."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._moving is None:
            return None
        done: Deferred[None] = Deferred()
        self._moving.addCallback(done.callback)
        return done

    def _written(self, _: Event) -> None:
        self._writes += 1
        if self._stopped:
            return
        if self._timer is None:
            self._timer = self._reactor.callLater(SECONDS, self._move)
        elif self._writes == WRITES:
            self._timer.reset(0)

    def _move(self) -> None:
        if self._moving is not None:
            self._timer = self._reactor.callLater(SECONDS, self._move)
            return
        self._timer = None
        self._writes = 0
        self._moving = deferToThreadPool(self._reactor, self._reactor.getThreadPool(), checkpoint, self._path)
        self._moving.addErrback(self._failed)
        self._moving.addCallback(self._moved)

    def _failed(self, failure: Failure) -> None:
        self.log.failure("the database could not be checkpointed; the next write tries again", failure)

    def _moved(self, _: None) -> None:
        self._moving = None
