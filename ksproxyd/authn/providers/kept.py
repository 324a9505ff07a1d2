"""Something that is fetched when it is first needed, and kept for a while."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd.authn.providers.provider import ProviderError

T = TypeVar("T")

#: Seconds after a failed attempt until the next, at first and at most.
FIRST_WAIT, LAST_WAIT = 1.0, 60.0


class Kept(Generic[T]):
    """The value of ``fetch()``, which raises :class:`ProviderError` where it cannot be had.

    It is fetched again when somebody needs it and it is older than ``fresh`` seconds; if that fails, what was there
    stays in use. Many who need it at once wait for one attempt. After a failure there is none for a while, that grows
    with every further one, and whoever needs it is told at once what was wrong the last time.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime, title: str, fetch: Callable[[], Awaitable[T]], fresh: float) -> None:
        self._clock = clock
        self._title = title
        self._fetch = fetch
        self._fresh = fresh
        self._value: T | None = None
        self._fetched = 0.0
        self._problem: ProviderError | None = None
        self._wait = 0.0
        self._tried = 0.0
        self._task: Deferred[T] | None = None
        self._waiting: list[Deferred[T]] = []
        self._closed = False

    async def get(self) -> T:
        """The value. Raises :class:`ProviderError`."""
        value = self._value
        if value is not None and self._clock.seconds() - self._fetched < self._fresh:
            return value
        try:
            return await self._attempt()
        except ProviderError as error:
            if value is None:
                raise
            self.log.warn("{title} is used as it was before: {why}", title=self._title, why=error.message)
            return value

    async def newer(self, least: float) -> T | None:
        """A value that was fetched just now; None if the last attempt is less than ``least`` seconds ago.

        Raises :class:`ProviderError`.
        """
        if self._task is None and self._clock.seconds() - max(self._fetched, self._tried) < least:
            return None
        return await self._attempt()

    def close(self) -> None:
        """Fetch nothing any more."""
        self._closed = True
        task = self._task
        if task is not None:
            task.cancel()

    def _attempt(self) -> Deferred[T]:
        waiter: Deferred[T] = Deferred(self._waiting.remove)
        now = self._clock.seconds()
        problem = self._problem
        if self._closed:
            waiter.errback(ProviderError("unavailable", f"{self._title}: the provider has been changed"))
            return waiter
        if self._task is None and problem is not None and now - self._tried < self._wait:
            left = self._wait - (now - self._tried)
            again = f"{problem.message} (not tried again for another {left:.0f} s)"
            waiter.errback(ProviderError(problem.kind, again))
            return waiter
        self._waiting.append(waiter)
        if self._task is None:
            self._tried = now
            # Kept before the callback is added: it may be called at once.
            self._task = task = Deferred.fromCoroutine(self._run())
            task.addBoth(self._done)
        return waiter

    async def _run(self) -> T:
        return await self._fetch()

    def _done(self, result: T | Failure) -> None:
        self._task = None
        now = self._clock.seconds()
        if isinstance(result, Failure):
            if result.check(CancelledError):
                result = Failure(ProviderError("unavailable", f"{self._title}: the provider has been changed"))
            elif not result.check(ProviderError):
                self.log.failure("fetching {title} failed", result, title=self._title)
                result = Failure(ProviderError("unavailable", f"{self._title}: it could not be fetched"))
            assert isinstance(result.value, ProviderError)
            self._problem = result.value
            self._wait = min(max(self._wait * 2, FIRST_WAIT), LAST_WAIT)
            self._tried = now
        else:
            self._value = result
            self._fetched = now
            self._problem = None
            self._wait = 0.0
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if isinstance(result, Failure):
                waiter.errback(result)
            else:
                waiter.callback(result)
