"""Work that is done in small portions between requests."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

from ksproxyd.standalone.storage.log import Clock

_log = Logger()

#: So many portions are done in one turn of the reactor.
PORTIONS = 10

#: Seconds until a portion that failed is tried again.
RETRY = 10.0


class Chores:
    """A queue of calls, each of them short. The same call waits in it only once."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._queue: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._queued: set[tuple[Callable[..., None], tuple[Any, ...]]] = set()
        self._timers: set[Any] = set()
        self._working: Any = None
        self._stopped = False

    @property
    def idle(self) -> bool:
        """Whether nothing is left to do (but what failed and waits for another try)."""
        return not self._queue

    def later(self, action: Callable[..., None], *arguments: Any) -> None:
        """Have ``action(*arguments)`` called in one of the next turns of the reactor; the arguments are hashable."""
        work = (action, arguments)
        if self._stopped or work in self._queued:
            return
        self._queued.add(work)
        self._queue.append(work)
        if self._working is None:
            self._working = self._clock.callLater(0, self._step)

    def stop(self) -> None:
        """Drop what is queued; the store is about to be closed."""
        self._stopped = True
        self._queue.clear()
        for timer in [*self._timers, self._working]:
            if timer is not None and timer.active():
                timer.cancel()

    def _step(self) -> None:
        self._working = None
        for _ in range(min(PORTIONS, len(self._queue))):
            work = self._queue.popleft()
            self._queued.discard(work)
            action, arguments = work
            try:
                action(*arguments)
            except Exception:
                # Nobody waits for the outcome, and the rest of the queue must not suffer.
                _log.failure("a chore failed, it is tried again in {seconds} s", seconds=RETRY)
                self._retry(action, arguments)
        if self._queue and self._working is None:
            self._working = self._clock.callLater(0, self._step)

    def _retry(self, action: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        def again() -> None:
            self._timers.discard(timer)
            self.later(action, *arguments)

        timer = self._clock.callLater(RETRY, again)
        self._timers.add(timer)
