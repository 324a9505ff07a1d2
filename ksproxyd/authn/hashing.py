"""Computing password hashes outside the process that serves requests (:mod:`.hashing_worker`).

One hash takes some fifty milliseconds of a processor. A thread would do it without holding Python's lock, but needs
that lock before and after; and as it is to give way to everybody, whoever waits for the lock meanwhile, the reactor,
would give way with it. A process shares nothing with us but a pipe.
"""

from __future__ import annotations

import os
import sys
from base64 import b64encode
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall, IReactorProcess, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd.authn.hashing_worker import INSISTENT, answer

_WORKER = "ksproxyd.authn.hashing_worker"

#: Seconds after which a process that takes only what others leave is taken to get nothing, and for which its successors
#: insist on a share.
STARVED, INSISTING = 2.0, 600.0


class HashingFailed(Exception):
    """A hash could not be computed. The text says why, and holds nothing secret."""


class Hashers(Protocol):
    """Computes what :mod:`.hashing_worker` describes; the caller sees to it that not too many are asked for at once."""

    def ask(self, question: bytes) -> Deferred[bytes]:
        """The answer. Fails with :class:`HashingFailed`."""
        ...

    def close(self) -> Deferred[None]:
        """Fires when all has ended. Not to be called while something is computed."""
        ...


def check(password: bytes, hash: str) -> bytes:
    """The question whether ``password`` is what ``hash`` was made of: ``yes`` or ``no``."""
    return b"check %b %b" % (b64encode(password), hash.encode("ascii"))


def make(password: bytes, salt: bytes) -> bytes:
    """The question for the hash of ``password``."""
    return b"make %b %b" % (b64encode(password), salt)


def hashers(reactor: Any, limit: float) -> Hashers:
    """Processes, or where the reactor starts none (one in memory), its threads.

    A process that has nothing to say for ``limit`` seconds is killed.
    """
    return Processes(reactor, limit) if IReactorProcess.providedBy(reactor) else Threads(reactor)


def usual_number() -> int:
    """How many are good to have: a processor is left to the one that serves requests."""
    # A process of the least priority still keeps its processor for some milliseconds when another one wakes up there.
    return max(1, min(2, len(os.sched_getaffinity(0)) - 1))


class Threads:
    """Computes in the reactor's own pool of threads."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def ask(self, question: bytes) -> Deferred[bytes]:
        """See :class:`Hashers`."""
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), answer, question).addCallback(_said)

    def close(self) -> Deferred[None]:
        """See :class:`Hashers`."""
        done: Deferred[None] = Deferred()
        done.callback(None)
        return done


class Processes:
    """Starts as many processes as are asked at once, and keeps them.

    One that dies over a question is replaced once, for the system may have chosen it to free memory. One that takes
    more than ``limit`` seconds over a question, or to end, is killed: somebody has stopped it, or it waits for a
    processor that it does not get. Where processors are busy with other things it would get none in any time: after
    :data:`STARVED` seconds a question is put to one that insists on a share.
    """

    log = Logger()

    def __init__(self, reactor: Any, limit: float) -> None:
        self._reactor = reactor
        self._limit = limit
        self._idle: list[_Worker] = []
        self._all: set[_Worker] = set()
        self._closing: Deferred[None] | None = None
        #: Until when they insist on a share.
        self._insisting = 0.0

    def ask(self, question: bytes) -> Deferred[bytes]:
        """See :class:`Hashers`."""
        done: Deferred[bytes] = Deferred()
        self._give(_Job(question, done))
        return done.addCallback(_said)

    def close(self) -> Deferred[None]:
        """See :class:`Hashers`."""
        done = self._closing = Deferred()
        for worker in tuple(self._all):
            worker.end()
        self._over()
        return done

    def _give(self, job: _Job) -> None:
        insistent = self._reactor.seconds() < self._insisting
        worker = None
        while self._idle and worker is None:
            worker = self._idle.pop()
            if worker.insistent != insistent:
                worker.end()
                worker = None
        worker = worker or self._start(job, insistent)
        if worker is not None:
            worker.work(job)

    def _start(self, job: _Job, insistent: bool) -> _Worker | None:
        limit = self._limit if insistent else min(self._limit, STARVED)
        worker = _Worker(self._reactor, limit, self._answered, self._ended, insistent=insistent)
        # It finds what we have found, wherever that was. Nothing else of our environment is any of its business.
        env = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "PYTHONDONTWRITEBYTECODE": "1"}
        args = [sys.executable, "-P", "-s", "-m", _WORKER, *([INSISTENT] if insistent else [])]
        try:
            self._reactor.spawnProcess(worker, sys.executable, args, env)
        except OSError as error:
            job.done.errback(HashingFailed(f"no process for it could be started: {error.strerror or error}"))
            return None
        self._all.add(worker)
        return worker

    def _answered(self, worker: _Worker, job: _Job, said: bytes) -> None:
        self._idle.append(worker)
        job.done.callback(said)

    def _ended(self, worker: _Worker, job: _Job | None, why: str) -> None:
        self._all.discard(worker)
        if worker in self._idle:
            self._idle.remove(worker)
        if self._closing is None and not worker.asked_to_end:
            self.log.warn("a process that compares passwords has ended: {why}", why=why)
        if job is not None:
            if worker.overdue and not worker.insistent:
                self._insisting = self._reactor.seconds() + INSISTING
            else:
                job.tries += 1
            if job.tries > 1 or self._closing is not None:
                job.done.errback(HashingFailed(f"the process for it has ended: {why}"))
            else:
                self._give(job)
        self._over()

    def _over(self) -> None:
        closing = self._closing
        if closing is not None and not self._all and not closing.called:
            closing.callback(None)


class _Job:
    """A question that a process has."""

    def __init__(self, question: bytes, done: Deferred[bytes]) -> None:
        self.question = question
        self.done = done
        self.tries = 0


class _Worker(ProcessProtocol):
    """One process. It has one question at a time."""

    def __init__(
        self,
        clock: IReactorTime,
        limit: float,
        answered: Callable[[_Worker, _Job, bytes], object],
        ended: Callable[[_Worker, _Job | None, str], object],
        *,
        insistent: bool,
    ) -> None:
        self.insistent = insistent
        #: It has been killed because it took too long.
        self.overdue = False
        self.asked_to_end = False
        self._clock = clock
        self._limit = limit
        self._late: IDelayedCall | None = None
        self._answered = answered
        self._ended = ended
        self._job: _Job | None = None
        self._received = b""
        self._complaints = b""

    def work(self, job: _Job) -> None:
        """Ask it."""
        self._job = job
        self._wait()
        assert self.transport is not None
        self.transport.write(job.question + b"\n")

    def end(self) -> None:
        """Let it end."""
        self.asked_to_end = True
        self._wait()
        assert self.transport is not None
        try:
            self.transport.closeStdin()
        except ProcessExitedAlready:
            return

    def outReceived(self, data: bytes) -> None:
        """Its answer, or a part of it."""
        self._received += data
        job = self._job
        if job is not None and self._received.endswith(b"\n"):
            said, self._received, self._job = self._received[:-1], b"", None
            self._waited()
            self._answered(self, job, said)

    def errReceived(self, data: bytes) -> None:
        """Why it is about to end."""
        self._complaints = (self._complaints + data)[-1000:]

    def processEnded(self, reason: Failure) -> None:
        """It is gone."""
        self._waited()
        job, self._job = self._job, None
        said = self._complaints.decode("utf-8", "replace").strip().rpartition("\n")[2]
        self._ended(self, job, f"{reason.getErrorMessage()} {said}".strip())

    def _wait(self) -> None:
        self._waited()
        self._late = self._clock.callLater(self._limit, self._kill)

    def _waited(self) -> None:
        late, self._late = self._late, None
        if late is not None:
            late.cancel()

    def _kill(self) -> None:
        self._late, self.overdue = None, True
        self._complaints = b"after %g seconds without an answer" % self._limit
        assert self.transport is not None
        try:
            self.transport.signalProcess("KILL")
        except ProcessExitedAlready:
            return


def _said(line: bytes) -> bytes:
    if line.startswith(b"error "):
        raise HashingFailed(line[6:].decode("ascii", "replace"))
    return line
