"""The connection to Redis, which comes back by itself.

::

                      ┌──── lost (a connection that has worked) ────┐
                      ▼                                             │
    at rest ──ask──► connecting ──signed in, PONG──► connected ─────┤
                      ▲      │                                      │ no answer in time
                      │      └──refused, too late──► away ◄─────────┘
                      └────────── after a while ───────┘

Who asks while it is *connecting* waits for that, but for no longer than ``timeout`` in all, the answer included. Who
asks while Redis is *away* is refused at once: nobody waits for what has just failed, nothing is queued, and one
connection at a time tries whether it is back, after waits that double and are random. What was asked on a connection
that is lost fails; whether it was done is not known.
"""

from __future__ import annotations

import random
from collections import deque
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, TimeoutError, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd.authn.rejection import SharedUnavailable
from ksproxyd.authn.shared.redis_protocol import RedisFactory, RedisProtocol, Refused
from ksproxyd.state.backoff import Backoff

#: Questions that are unanswered at the same time; more are refused.
_MOST_ASKED = 10_000

#: Seconds that a connection has worked for, to be replaced at once when it is lost.
_WORKED = 1.0

_FIRST_WAIT, _LONGEST_WAIT = 0.1, 5.0

#: Errors that mean that this server cannot serve us now, but it or another at its address will.
_NOT_NOW = frozenset({"LOADING", "MASTERDOWN", "READONLY", "NOAUTH", "CLUSTERDOWN", "TRYAGAIN"})


class SignIn:
    """What is said first on a connection: to whom it belongs and which database it is for. Shows no password."""

    def __init__(self, username: str, password: str, db: int) -> None:
        self._username = username
        self._password = password
        self._db = db

    def commands(self) -> list[tuple[str | int, ...]]:
        """The commands, each of which must be answered with no error."""
        commands: list[tuple[str | int, ...]] = []
        if self._username:
            commands.append(("AUTH", self._username, self._password))
        elif self._password:
            commands.append(("AUTH", self._password))
        if self._db:
            commands.append(("SELECT", self._db))
        return [*commands, ("PING",)]


class _Asked:
    __slots__ = ("arguments", "deadline", "done")

    def __init__(self, arguments: tuple[Any, ...], deadline: float) -> None:
        self.arguments = arguments
        self.deadline = deadline
        self.done: Deferred[Any] = Deferred()


class RedisLink:
    """Asks Redis. ``name`` is what it is called in logs; ``timeout`` are seconds."""

    log = Logger()

    def __init__(
        self, clock: IReactorTime, endpoint: IStreamClientEndpoint, sign_in: SignIn, timeout: float, name: str
    ) -> None:
        self._clock = clock
        self._endpoint = endpoint
        self._sign_in = sign_in
        self._timeout = timeout
        self._name = name
        self._factory = RedisFactory(self._lost)
        self._backoff = Backoff(_FIRST_WAIT, _LONGEST_WAIT, random.random)
        self._protocol: RedisProtocol | None = None
        self._connected_at = 0.0
        self._attempt: Deferred[RedisProtocol] | None = None
        self._retry: IDelayedCall | None = None
        self._timer: IDelayedCall | None = None
        self._waiting: list[_Asked] = []
        self._asked: deque[_Asked] = deque()
        self._away = ""
        self._since = 0.0
        self._closed: Deferred[None] | None = None

    @property
    def away(self) -> str:
        """Why Redis cannot be asked now; empty if it can, or if that is not known yet."""
        return self._away

    def ask(self, *arguments: str | bytes | int) -> Deferred[Any]:
        """The answer to a command: bytes, a number, a list of these, or None.

        Fails with :class:`SharedUnavailable`, or with :class:`Refused` if the answer is an error.
        """
        if self._closed is not None:
            return fail(SharedUnavailable("the gateway is stopping"))
        if self._away:
            return fail(SharedUnavailable(f"Redis at {self._name} is away: {self._away}"))
        if len(self._waiting) + len(self._asked) >= _MOST_ASKED:
            return fail(SharedUnavailable(f"Redis at {self._name} is asked too much at once"))
        asked = _Asked(arguments, self._clock.seconds() + self._timeout)
        if self._protocol is not None:
            self._send(self._protocol, asked)
        else:
            self._waiting.append(asked)
            self._connect()
        return asked.done

    def close(self) -> Deferred[None]:
        """End it; whoever waits for an answer is refused. Fires when nothing is left."""
        if self._closed is None:
            self._closed = Deferred()
            for timer in (self._retry, self._timer):
                if timer is not None:
                    timer.cancel()
            self._retry = self._timer = None
            protocol = self._protocol
            if self._attempt is not None:
                self._attempt.cancel()
            if protocol is not None:
                protocol.transport.abortConnection()
            else:
                self._closed.callback(None)
            self._refuse_waiting("the gateway is stopping")
        return self._closed

    # -- asking ------------------------------------------------------------------------------------------------

    def _send(self, protocol: RedisProtocol, asked: _Asked) -> None:
        self._asked.append(asked)
        if self._timer is None:
            self._timer = self._clock.callLater(max(0.0, asked.deadline - self._clock.seconds()), self._look)
        protocol.execute_command(*asked.arguments).addBoth(self._answered, asked)

    def _answered(self, answer: Any, asked: _Asked) -> None:
        # Answers come in the order of the questions, and so does the end of a connection.
        assert self._asked[0] is asked
        self._asked.popleft()
        if isinstance(answer, Failure):
            error = answer.value
            if not isinstance(error, Refused):
                why = self._away or "the connection was lost"
                answer = Failure(SharedUnavailable(f"Redis at {self._name}: {why}"))
            elif error.code in _NOT_NOW:
                self._give_up(f"it answers {error.code}")
                answer = Failure(SharedUnavailable(f"Redis at {self._name} answers {error.code}"))
        if not asked.done.called:
            # Failures of who has cancelled have an owner: it was told of its cancelling.
            asked.done.callback(answer)

    def _look(self) -> None:
        """One timer for all questions: the oldest is the first that is too late."""
        self._timer = None
        if not self._asked:
            return
        left = self._asked[0].deadline - self._clock.seconds()
        if left > 0:
            self._timer = self._clock.callLater(left, self._look)
        else:
            self._give_up(f"no answer within {self._timeout:g}s")

    def _give_up(self, reason: str) -> None:
        """Redis is there and does not do its work: nobody else is to wait for it."""
        self._is_away(reason)
        if self._protocol is not None:
            self._protocol.transport.abortConnection()

    # -- connecting --------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        self._retry = None
        if self._attempt is not None or self._closed is not None:
            return
        attempt = self._attempt = Deferred.fromCoroutine(self._dial())
        attempt.addTimeout(self._timeout, self._clock)
        attempt.addCallbacks(self._connected, self._failed)

    async def _dial(self) -> RedisProtocol:
        protocol = await self._endpoint.connect(self._factory)
        assert isinstance(protocol, RedisProtocol)
        try:
            for command in self._sign_in.commands():
                try:
                    await protocol.execute_command(*command)
                except Refused as error:
                    raise _NotSignedIn(f"it answers {error.code} to {command[0]}") from None
            if protocol.reason:
                raise _NotSignedIn(protocol.reason)
        except BaseException as error:
            lost = protocol.reason
            protocol.transport.abortConnection()
            if lost and not isinstance(error, CancelledError):
                raise _NotSignedIn(lost) from None
            raise
        return protocol

    def _connected(self, protocol: RedisProtocol) -> None:
        self._attempt = None
        self._protocol = protocol
        self._connected_at = self._clock.seconds()
        if self._away:
            self.log.info(
                "Redis at {name} is back after {seconds:.1f}s",
                name=self._name,
                seconds=self._connected_at - self._since,
            )
            self._away = ""
        waiting, self._waiting = self._waiting, []
        for asked in waiting:
            if not asked.done.called:
                self._send(protocol, asked)

    def _failed(self, failure: Failure) -> None:
        self._attempt = None
        if self._closed is not None:
            return
        if failure.check(TimeoutError):
            reason = f"no connection within {self._timeout:g}s"
        elif failure.check(_NotSignedIn):
            reason = str(failure.value)
        else:
            reason = f"it cannot be connected to: {failure.getErrorMessage()}"
        self._is_away(reason)
        self._retry = self._clock.callLater(self._backoff.next(), self._connect)

    def _lost(self, protocol: RedisProtocol, why: Failure) -> None:
        if protocol is not self._protocol:
            # Of an attempt that has failed, which has been dealt with.
            return
        self._protocol = None
        if self._closed is not None:
            self._closed.callback(None)
            return
        if not self._away and self._clock.seconds() - self._connected_at >= _WORKED:
            self._backoff.reset()
            self._connect()
            return
        if self._clock.seconds() - self._connected_at >= _WORKED:
            self._backoff.reset()
        self._is_away(self._away or protocol.reason)
        self._retry = self._clock.callLater(self._backoff.next(), self._connect)

    def _is_away(self, reason: str) -> None:
        if not self._away:
            self._since = self._clock.seconds()
            self.log.warn("Redis at {name} is away: {reason}", name=self._name, reason=reason)
        elif reason != self._away:
            self.log.info("Redis at {name} is still away: {reason}", name=self._name, reason=reason)
        self._away = reason
        self._refuse_waiting(f"Redis at {self._name} is away: {reason}")

    def _refuse_waiting(self, reason: str) -> None:
        waiting, self._waiting = self._waiting, []
        for asked in waiting:
            if not asked.done.called:
                asked.done.errback(SharedUnavailable(reason))


class _NotSignedIn(Exception):
    """The connection is there and of no use. The text says why."""
