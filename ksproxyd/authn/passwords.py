"""Comparing and making password hashes, outside this process.

One compare takes some fifty milliseconds of a processor: a few processes do it, with what the reactor leaves of the
processors, and only so many may wait. Whoever gives up (a client that is gone) leaves the queue.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable
from types import TracebackType

import bcrypt
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd.authn.hashing import Hashers, HashingFailed, check, make
from ksproxyd.authn.password_policy import COST, HIGHEST_COST, MOST_BYTES, cost_of, encoded, problem_of


class Busy(Exception):
    """Passwords cannot be compared now: too many wait, or what computes hashes does not work (which is logged)."""


class Passwords:
    """Compares and makes hashes: with ``hashers`` at most ``most`` at once, and ``queue`` more that wait.

    ``make_salt`` gives the salt of a new hash of a cost.
    """

    log = Logger()

    #: See :func:`ksproxyd.authn.password_policy.problem_of`.
    problem_of = staticmethod(problem_of)

    def __init__(
        self,
        hashers: Hashers,
        most: int,
        queue: int,
        *,
        cost: int = COST,
        make_salt: Callable[[int], bytes] = bcrypt.gensalt,
    ) -> None:
        #: Compares that were done, with dummies.
        self.compares = 0
        #: Passwords that were sent away because too many waited.
        self.refused = 0
        self._hashers = hashers
        self._at_once = most
        self._places_there_are = most + queue
        self._cost = cost
        self._make_salt = make_salt
        #: What is compared with where there is nothing to compare with, so that it takes as long. Nothing matches it.
        # Its digest is made up instead of computed, which nobody can tell.
        self._dummy = make_salt(cost).decode("ascii") + secrets.token_hex(16)[:31]
        self._places = 0
        self._running = 0
        self._waiting: deque[_Job] = deque()
        self._starting = False
        self._ending: Deferred[None] | None = None
        self._closed = False

    @property
    def waiting(self) -> int:
        """Passwords that are being looked at, or wait."""
        return self._places

    @property
    def full(self) -> bool:
        """Whether there is no place."""
        return self._closed or self._places >= self._places_there_are

    def place(self) -> Place:
        """A place in the queue, to be had before an attempt is counted. Raises :class:`Busy` if there is none.

        It is a context manager: leaving it gives the place back.
        """
        if self.full:
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
            return (await self._submit(make(raw, salt))).decode("ascii")

    def close(self) -> Deferred[None]:
        """Take no more, forget what waits, and fire when what is being computed, and then who computes, has ended."""
        self._closed = True
        for job in tuple(self._waiting):
            job.done.cancel()
        done = self._ending = Deferred()
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
        against = hash if usable else self._dummy
        self.compares += 1
        said = await self._submit(check((raw or b"")[:MOST_BYTES], against))
        return said == b"yes" and usable

    def _submit(self, question: bytes) -> Deferred[bytes]:
        job = _Job(self._forget, question)
        self._waiting.append(job)
        self._next()
        return job.done

    def _forget(self, job: _Job) -> None:
        # One that is computed is computed to its end; nobody hears of its result.
        if job in self._waiting:
            self._waiting.remove(job)

    def _next(self) -> None:
        if self._starting:
            # One has ended as soon as it was asked; the loop below goes on.
            return
        self._starting = True
        try:
            while self._waiting and self._running < self._at_once:
                job = self._waiting.popleft()
                self._running += 1
                self._hashers.ask(job.question).addErrback(self._failed).addBoth(self._ended, job)
        finally:
            self._starting = False

    def _failed(self, failure: Failure) -> Failure:
        failure.trap(HashingFailed)
        self.log.error("passwords cannot be compared: {why}", why=str(failure.value))
        return Failure(Busy(str(failure.value)))

    def _ended(self, result: bytes | Failure, job: _Job) -> None:
        self._running -= 1
        if not job.done.called:
            if isinstance(result, Failure):
                job.done.errback(result)
            else:
                job.done.callback(result)
        elif isinstance(result, Failure) and not result.check(Busy):
            self.log.failure("comparing a password that nobody waits for failed", result)
        self._next()
        self._rest()

    def _rest(self) -> None:
        if self._ending is None or self._running:
            return
        ending, self._ending = self._ending, None
        self._hashers.close().chainDeferred(ending)


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
    """A question that waits for its turn, or is being answered."""

    def __init__(self, forget: Callable[[_Job], None], question: bytes) -> None:
        self.question = question
        self.done: Deferred[bytes] = Deferred(lambda _: forget(self))
