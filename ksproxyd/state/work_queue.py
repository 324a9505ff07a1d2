"""Things to look at, one after the other, again after a failure."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd.kube.pacing import pause
from ksproxyd.state.backoff import Backoff

Key = TypeVar("Key")

#: Seconds before the first and between the last of the attempts at something that fails.
FIRST_RETRY, LAST_RETRY = 1.0, 300.0


class WorkQueue(Generic[Key]):
    """Calls ``handle(key)`` for every key that was added: one at a time, in the order they were added in.

    A key is in the queue at most once. One that is added while it is being handled is handled again. What ``handle``
    raises is given to ``failed(key, failure)``, which says whether to try again; that is done after a growing wait,
    until the key is handled without an error. ``random`` gives numbers from 0 up to 1.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        random: Callable[[], float],
        handle: Callable[[Key], Coroutine[Deferred[Any], Any, None]],
        failed: Callable[[Key, Failure], bool],
    ) -> None:
        self._clock = clock
        self._random = random
        self._handle = handle
        self._failed = failed
        # A dict for its order.
        self._waiting: dict[Key, None] = {}
        self._later: dict[Key, IDelayedCall] = {}
        self._backoffs: dict[Key, Backoff] = {}
        self._work: Deferred[None] | None = None
        self._stopped = False

    def __len__(self) -> int:
        """How many keys wait for their turn now, without those that wait for a time."""
        return len(self._waiting)

    def add(self, key: Key) -> None:
        """Handle ``key`` as soon as it is its turn. Nothing after :meth:`stop`."""
        if self._stopped:
            return
        later = self._later.pop(key, None)
        if later is not None and later.active():
            later.cancel()
        self._waiting[key] = None
        if self._work is None:
            self._work = Deferred.fromCoroutine(self._run())
            self._work.addErrback(self._ended)

    def add_after(self, key: Key, seconds: float) -> None:
        """Add ``key`` in ``seconds``, unless it is to come sooner anyway."""
        if self._stopped or key in self._waiting:
            return
        later = self._later.get(key)
        if later is not None:
            if later.getTime() - self._clock.seconds() <= seconds:
                return
            later.cancel()
        self._later[key] = self._clock.callLater(seconds, self.add, key)

    def forget(self, key: Key) -> None:
        """``key`` is of no interest any more."""
        self._waiting.pop(key, None)
        self._backoffs.pop(key, None)
        later = self._later.pop(key, None)
        if later is not None:
            later.cancel()

    def stop(self) -> None:
        """Handle nothing any more; what is being handled is cancelled."""
        self._stopped = True
        self._waiting.clear()
        for later in self._later.values():
            later.cancel()
        self._later.clear()
        if self._work is not None:
            self._work.cancel()

    def _ended(self, failure: Failure) -> None:
        failure.trap(CancelledError)

    async def _run(self) -> None:
        # In a turn of its own: whoever adds a key is in the middle of something else.
        await pause(self._clock, 0)
        while self._waiting:
            key = next(iter(self._waiting))
            del self._waiting[key]
            try:
                await self._handle(key)
            except CancelledError:
                if self._stopped:
                    raise
                self._try_again(key, Failure())
            except Exception:
                self._try_again(key, Failure())
            else:
                self._backoffs.pop(key, None)
        self._work = None

    def _try_again(self, key: Key, failure: Failure) -> None:
        if self._stopped or not self._failed(key, failure):
            return
        backoff = self._backoffs.get(key)
        if backoff is None:
            backoff = self._backoffs[key] = Backoff(FIRST_RETRY, LAST_RETRY, self._random)
        self.add_after(key, backoff.next())
