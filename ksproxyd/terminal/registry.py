"""All terminals of this process: who may begin one, who comes back to one, and how they all end (spec 05, 7.4, D24)."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd.model.identity import Identity
from ksproxyd.model.status import StatusError
from ksproxyd.settings.terminal import TerminalSettings
from ksproxyd.terminal import endings, shells
from ksproxyd.terminal.endings import Where
from ksproxyd.terminal.limits import Seat, Seats
from ksproxyd.terminal.session import Allowed, Begin, Session, Witness
from ksproxyd.terminal.shells import Command

_REVOKED = {
    endings.NOT_LOGGED_IN: ("login ended", "session closed: your login has ended"),
    endings.FORBIDDEN: ("no longer allowed", "session closed: you may not have this terminal any more"),
}


class Registry:
    """The sessions of this process. ``random_bytes(n)`` are unpredictable. :meth:`stop` at the end.

    A session is begun in three steps, as a refusal needs HTTP: :meth:`admit` before the upgrade, :meth:`open` after it
    (or :meth:`ksproxyd.terminal.limits.Seat.leave`), and then :meth:`~ksproxyd.terminal.session.Session.attach`.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime, settings: TerminalSettings, random_bytes: Callable[[int], bytes]) -> None:
        self._clock = clock
        self._settings = settings
        self._random_bytes = random_bytes
        self._seats = Seats(
            clock.seconds, settings.max_sessions, settings.max_sessions_per_user, settings.starts_per_minute
        )
        self._checks: dict[str, _Check] = {}
        self._stopping = False
        self._emptied: Deferred[None] | None = None
        #: Those that are not over, by id.
        self.sessions: dict[str, Session] = {}

    def admit(self, user: str) -> Seat:
        """Room for one more session of ``user``. Raises a ``StatusError``: 429, or 503 when the gateway stops."""
        if self._stopping:
            raise StatusError(503, "ServiceUnavailable", "the gateway is being shut down: try again", retry_after=1)
        return self._seats.take(user)

    def open(
        self,
        seat: Seat,
        owner: Identity,
        where: Where,
        begin: Begin,
        witnesses: Sequence[Witness] = (),
        commands: tuple[Command, ...] = (),
    ) -> Session:
        """A new session in ``seat``, which it leaves in the end.

        ``commands`` are what is tried; without them what ``where.shell`` means.
        """
        id, key = self._random_bytes(16).hex(), self._random_bytes(16).hex()
        commands = commands or shells.commands(where.shell, self._settings.shells, id)
        session = Session(self._clock, self._settings, id, key, owner, where, commands, begin, witnesses)
        self.sessions[id] = session
        check = self._checks[id] = _Check(self._clock, session, self._settings.recheck)

        def over(session: Session) -> None:
            check.stop()
            del self._checks[id], self.sessions[id]
            seat.leave()
            if not self.sessions and self._emptied is not None:
                emptied, self._emptied = self._emptied, None
                emptied.callback(None)

        session.on_end(over)
        return session

    def resume(self, credential: str, user: Identity, where: Where) -> Session | None:
        """The session that a page comes back to with what it was told (:func:`~ksproxyd.terminal.dialects.resume_of`).

        ``where`` is what ``user`` has asked for now, and was found to be allowed. None if there is no such session, if
        it is another's or elsewhere. Raises 429 if the user comes back too often. :meth:`Session.attach` comes next.
        """
        self._seats.come_back(user.name)
        id, _, key = credential.partition(".")
        session = self.sessions.get(id)
        if session is None or not hmac.compare_digest(session.key.encode(), key.encode("utf-8", "replace")):
            return None
        owner = session.owner
        if (owner.name, owner.uid) != (user.name, user.uid) or not session.where.is_same(where) or not session.going_on:
            return None
        return session

    async def stop(self) -> None:
        """No more sessions; those there are go on for ``terminal.shutdownGrace`` at most, hanging up included.

        Browsers are told at once. May be cancelled: then they are ended at once.
        """
        self._stopping = True
        if not self.sessions:
            return
        # Hanging up takes twice the time if signals are needed.
        grace = self._settings.shutdown_grace - 2 * self._settings.hang_up
        if grace > 0.0:
            for session in tuple(self.sessions.values()):
                session.preparing(f"the gateway is being shut down: this session will be closed in {grace:.0f} seconds")
            try:
                await self._empty(grace)
            except CancelledError:
                self.log.info("sessions end before their time")
        for session in tuple(self.sessions.values()):
            session.end(endings.GOING_AWAY, "shutting down", "session closed: the gateway is being shut down")
        await self._empty(None)

    async def _empty(self, seconds: float | None) -> None:
        """Wait until there are no sessions, or for so long."""
        if not self.sessions:
            return
        emptied = self._emptied = Deferred(self._not_emptied)
        call: IDelayedCall | None = None
        if seconds is not None:
            call = self._clock.callLater(seconds, self._enough)
        try:
            await emptied
        finally:
            if call is not None and call.active():
                call.cancel()

    def _enough(self) -> None:
        emptied, self._emptied = self._emptied, None
        if emptied is not None:
            emptied.callback(None)

    def _not_emptied(self, deferred: Deferred[None]) -> None:
        self._emptied = None


def revoke(session: Session, code: int) -> None:
    """End a session whose user may not have it any more; ``code`` is what :data:`.session.Allowed` has said."""
    reason, text = _REVOKED.get(code, _REVOKED[endings.FORBIDDEN])
    session.end(code, reason, text)


class _Check:
    """Asks again and again whether a session's user may still have it (D14). What cannot be asked ends nothing."""

    log = Logger()

    def __init__(self, clock: IReactorTime, session: Session, interval: float) -> None:
        self._clock = clock
        self._session = session
        self._interval = interval
        self._asking: Deferred[int] | None = None
        self._call: IDelayedCall | None = clock.callLater(interval, self._ask)

    def stop(self) -> None:
        """It is over."""
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None
        asking, self._asking = self._asking, None
        if asking is not None:
            asking.cancel()

    def _ask(self) -> None:
        self._call = None
        allowed = self._session.allowed
        if allowed is None:
            self._again()
            return
        asking = self._asking = Deferred.fromCoroutine(_answer(allowed))
        asking.addBoth(self._answered, allowed)

    def _answered(self, answer: int | Failure, allowed: Allowed) -> None:
        self._asking = None
        if isinstance(answer, Failure):
            if answer.check(CancelledError):
                return
            if not answer.check(StatusError):
                self.log.failure("whether a terminal may go on could not be asked", answer)
        elif answer and self._session.allowed is allowed and self._session.going_on:
            revoke(self._session, answer)
        if self._session.going_on:
            self._again()

    def _again(self) -> None:
        self._call = self._clock.callLater(self._interval, self._ask)


async def _answer(allowed: Allowed) -> int:
    return await allowed()
