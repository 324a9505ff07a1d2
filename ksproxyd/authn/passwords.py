"""Comparing and making password hashes, in threads.

One compare takes some fifty milliseconds of a processor: a few threads of their own do it, with what the reactor leaves
of the processors, and only so many may wait. Whoever gives up (a client that is gone) leaves the queue.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any, Protocol, TypeVar

import bcrypt
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorThreads
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from ksproxyd.authn.password_policy import COST, HIGHEST_COST, MOST_BYTES, cost_of, encoded, problem_of

Result = TypeVar("Result")

#: The niceness of the threads: who waits for the reactor comes before who waits for a login. It is the highest there
#: is, which still leaves a login a seventieth of a processor that is busy with requests; an idle class would not.
_NICENESS = 19


class Pool(Protocol):
    """The part of Twisted's thread pools that is needed here."""

    def callInThreadWithCallback(
        self, onResult: Callable[[bool, Any], object] | None, func: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> object: ...


class Busy(Exception):
    """Too many passwords wait to be compared."""


def password_pool(reactor: Any, threads: int) -> Pool:
    """A pool of ``threads`` threads of its own; :meth:`Passwords.close` ends it.

    A reactor that has no threads but a pool (one in memory) has its pool used.
    """
    if not IReactorThreads.providedBy(reactor):
        pool: Pool = reactor.getThreadPool()
        return pool
    own = ThreadPool(0, threads, "passwords")
    own.start()
    return own


class Passwords:
    """Compares and makes hashes: at most ``threads`` at once, and ``queue`` more that wait.

    ``reactor`` is only used to come back from a thread. ``make_salt`` gives the salt of a new hash of a cost.
    """

    log = Logger()

    #: See :func:`ksproxyd.authn.password_policy.problem_of`.
    problem_of = staticmethod(problem_of)

    def __init__(
        self,
        reactor: Any,
        pool: Pool,
        threads: int,
        queue: int,
        *,
        cost: int = COST,
        make_salt: Callable[[int], bytes] = bcrypt.gensalt,
    ) -> None:
        #: Compares that were done, with dummies.
        self.compares = 0
        #: Passwords that were sent away because too many waited.
        self.refused = 0
        self._reactor = reactor
        self._pool = pool
        self._threads = threads
        self._most = threads + queue
        self._cost = cost
        self._make_salt = make_salt
        #: What is compared with where there is nothing to compare with, so that it takes as long. Nothing matches it.
        # Its digest is made up instead of computed, which nobody can tell.
        self._dummy = make_salt(cost) + secrets.token_hex(16)[:31].encode("ascii")
        self._places = 0
        self._running = 0
        self._waiting: deque[_Job] = deque()
        self._idle: list[Deferred[None]] = []
        self._closed = False

    @property
    def waiting(self) -> int:
        """Passwords that are being looked at, or wait."""
        return self._places

    def place(self) -> Place:
        """A place in the queue, to be had before an attempt is counted. Raises :class:`Busy` if there is none.

        It is a context manager: leaving it gives the place back.
        """
        if self._closed or self._places >= self._most:
            self.refused += 1
            raise Busy
        self._places += 1
        return Place(self)

    async def verify(self, password: str, hash: str) -> bool:
        """Whether ``password`` is what ``hash`` was made of. Raises :class:`Busy`.

        For an empty hash, or one that is none, it takes as long to find out that it is not. A password that bcrypt
        cannot take whole (more than 72 bytes) is nobody's.
        """
        with self.place() as place:
            return await place.verify(password, hash)

    async def hash(self, password: str) -> str:
        """A new hash. Raises :class:`Busy`, and :class:`ValueError` for a password that cannot be hashed."""
        raw = encoded(password)
        if raw is None or len(raw) > MOST_BYTES:
            raise ValueError(f"a password of more than {MOST_BYTES} bytes, or with NUL in it, cannot be hashed")
        with self.place():
            salt = self._make_salt(self._cost)
            return (await self._submit(bcrypt.hashpw, raw, salt)).decode("ascii")

    def close(self) -> Deferred[None]:
        """Take no more, forget what waits, and fire when the threads have ended."""
        self._closed = True
        for job in tuple(self._waiting):
            job.done.cancel()
        done: Deferred[None] = Deferred()
        self._idle.append(done)
        self._rest()
        return done

    async def _compare(self, password: str, hash: str) -> bool:
        raw = encoded(password)
        cost = cost_of(hash)
        usable = raw is not None and len(raw) <= MOST_BYTES and 4 <= cost <= HIGHEST_COST
        if cost > HIGHEST_COST:
            self.log.warn(
                "a user's password hash has cost {cost}, which keeps a processor busy for too long; it is refused. "
                "Set the password again",
                cost=cost,
            )
        against = hash.encode("ascii") if usable else self._dummy
        self.compares += 1
        same = await self._submit(bcrypt.checkpw, (raw or b"")[:MOST_BYTES], against)
        return bool(same) and usable

    def _submit(self, function: Callable[..., Result], *args: Any) -> Deferred[Result]:
        job = _Job(self._forget, function, args)
        self._waiting.append(job)
        self._next()
        return job.done

    def _forget(self, job: _Job) -> None:
        # One that runs runs on; nobody hears of its result.
        if job in self._waiting:
            self._waiting.remove(job)

    def _next(self) -> None:
        while self._waiting and self._running < self._threads:
            job = self._waiting.popleft()
            self._running += 1
            ended = partial(self._reactor.callFromThread, self._ended, job)
            self._pool.callInThreadWithCallback(ended, _politely, job.function, *job.args)

    def _ended(self, job: _Job, success: bool, result: Any) -> None:
        self._running -= 1
        if not job.done.called:
            if success:
                job.done.callback(result)
            else:
                job.done.errback(result if isinstance(result, Failure) else Failure(result))
        elif not success:
            self.log.failure("comparing a password that nobody waits for failed", result)
        self._next()
        self._rest()

    def _rest(self) -> None:
        if not self._idle or self._running:
            return
        if isinstance(self._pool, ThreadPool):
            # All of its threads are idle: this only joins them.
            self._pool.stop()
        waiting, self._idle = self._idle, []
        for done in waiting:
            done.callback(None)


class Place:
    """One of the places in the queue. Good for one compare after the other, until it is left."""

    def __init__(self, passwords: Passwords) -> None:
        self._passwords = passwords

    async def verify(self, password: str, hash: str) -> bool:
        """See :meth:`Passwords.verify`; it is never too busy here."""
        return await self._passwords._compare(password, hash)

    def __enter__(self) -> Place:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._passwords._places -= 1


class _Job:
    """A function that waits for a thread, or is in one."""

    def __init__(self, forget: Callable[[_Job], None], function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.function = function
        self.args = args
        self.done: Deferred[Any] = Deferred(lambda _: forget(self))


_polite = threading.local()


def _politely(function: Callable[..., Result], *args: Any) -> Result:
    """Call ``function`` in a thread that gives way to the others of the process, where the system knows such."""
    if threading.current_thread() is not threading.main_thread() and not getattr(_polite, "done", False):
        _polite.done = True
        if hasattr(os, "setpriority"):
            # On Linux this is the thread's own, by its number.
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
    return function(*args)
