"""Logins with a password: of the gateway's own users, and of those whom an identity provider checks.

The order of things (spec 02, 5.1 and D-19):

1. A place among the passwords that wait; none is :class:`LoginRefused` ``busy``.
2. Attempts on one account from one network are looked at one after the other.
3. Locked: ``limited``, without looking at the password. This is so by what the gateways count
   (:mod:`ksproxyd.authn.lockout`), and by the user's ``status.state``, which ks-controller-manager may have set.
4. The attempt is counted, and one hash is compared, whether there is such a user or not.
5. Wrong: ``password``. Right: only now the state matters; an account that is not ``Active`` is ``suspended``.

A lock thus tells that an account is locked to whoever tries it. The alternative, comparing on and telling the right
password apart from a wrong one, would let a locked account be guessed at.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd.authn.directory import Directory, UserRecord
from ksproxyd.authn.lockout import Locked, Lockout
from ksproxyd.authn.password_policy import encoded
from ksproxyd.authn.passwords import Busy, Passwords, Place
from ksproxyd.authn.rejection import SharedUnavailable
from ksproxyd.authn.remembered_passwords import RememberedPasswords
from ksproxyd.authn.source import network_of
from ksproxyd.authn.turns import Turns
from ksproxyd.authn.turnstile import Turnstile
from ksproxyd.authn.user_record import ACTIVE, LIMITED

if TYPE_CHECKING:
    from ksproxyd.authn.registration import Registration

Kind = Literal["password", "suspended", "limited", "busy", "provider", "unknown-provider", "mapping"]

#: Reasons in login records (spec 02, 5.4).
SUCCEEDED, WRONG = "authenticated successfully", "incorrect password"

#: Logins with identity providers that may be under way at once.
_MOST_EXTERNAL = 256


class Attempt(NamedTuple):
    """Where a login comes from: the client's trustworthy address, and what its ``User-Agent`` says."""

    source: str
    user_agent: str = ""


class LoginRefused(Exception):
    """Nobody is logged in. ``kind`` says why; the text is for the log. ``retry_after`` are seconds, 0 for none.

    ``password``: the name or the password is wrong. ``suspended``: the password is right, but the account is not
    active. ``limited``: too many wrong passwords. ``busy``: too many passwords wait. ``provider``: the identity
    provider does not work. ``unknown-provider``: there is no such one with passwords. ``mapping``: the provider has
    accepted somebody who cannot be one of our users.
    """

    def __init__(self, kind: Kind, message: str, retry_after: int = 0) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.retry_after = retry_after


class Records(Protocol):
    """The part of :class:`ksproxyd.authn.records.LoginRecords` that is needed here."""

    def add(
        self, user: str, type: str, provider: str, source: str, user_agent: str, success: bool, reason: str
    ) -> None: ...


class ExternalLogins(Protocol):
    """Identity providers that check passwords; see :class:`ksproxyd.authn.external_logins.ProviderLogins`."""

    async def by_password(self, provider: str, username: str, password: str) -> UserRecord | Registration:
        """Who that is. Raises :class:`LoginRefused`, of kind ``password`` for one that is counted."""
        ...


class Login:
    """``duration`` is ``authenticateRateLimiterDuration``, in seconds.

    ``locked(user, source, seconds)`` is told when an account gets locked: for the network ``source``, or for everybody
    (None).
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        directory: Directory,
        passwords: Passwords,
        lockout: Lockout,
        records: Records,
        *,
        duration: float,
        external: ExternalLogins | None = None,
        locked: Callable[[str, str | None, float], object] = lambda user, source, seconds: None,
        key: bytes | None = None,
    ) -> None:
        self._clock = clock
        self._directory = directory
        self._passwords = passwords
        self._lockout = lockout
        self._records = records
        self._duration = duration
        self._external = external
        self._locked = locked
        self._remembered = RememberedPasswords(clock, key or secrets.token_bytes(32))
        self._turns = Turns(clock)
        #: For all that is done about logins, so that it does not hold everything else up.
        self.turnstile = Turnstile(clock)
        self._outside = 0
        self._limited = {record.name for record in directory.records() if record.state == LIMITED}
        self._forgiving: set[Deferred[None]] = set()
        # Whose groups alone have changed has the password of before, and is locked or not as before.
        self._unsubscribe = directory.subscribe(self._changed, ())

    def stop(self) -> None:
        """Nobody logs in any more."""
        self._unsubscribe()
        for forgiving in tuple(self._forgiving):
            forgiving.cancel()

    @property
    def full(self) -> bool:
        """Whether one of our own users is :class:`LoginRefused` ``busy`` as things are."""
        return self._passwords.full

    def turn_away(self) -> None:
        """Somebody whose name and password were not looked at is told that it is :attr:`full`; that is counted."""
        self._passwords.refused += 1

    async def by_password(
        self, username: str, password: str, attempt: Attempt, *, provider: str = "", record_type: str = "Token"
    ) -> UserRecord | Registration:
        """Who has this password. ``username`` may be an e-mail address. An empty ``provider`` is our own users.

        ``record_type`` ``Password`` is HTTP Basic, whose successes are not recorded. Raises :class:`LoginRefused`, and
        :class:`~ksproxyd.authn.rejection.SharedUnavailable` where attempts cannot be counted or the users are not
        known yet.
        """
        if not username or not password:
            # Nobody has an empty one, so this is no attempt.
            raise LoginRefused("password", "the user name or the password is empty")
        if provider:
            return await self._by_provider(username, password, attempt, provider, record_type)
        once = record_type != "Password"
        record, right = await self._local(username, password, attempt, in_turn=once)
        if not right or record is None:
            if record is not None:
                self._record(record.name, record_type, "", attempt, success=False)
            raise LoginRefused("password", "the user name or the password is wrong")
        self._admit(record, attempt)
        if once:
            self._record(record.name, record_type, "", attempt, success=True)
        return record

    async def confirm(self, name: str, password: str, attempt: Attempt) -> None:
        """Have the user ``name`` show their password again, before it is changed; counted like a login.

        Raises :class:`LoginRefused` ``password``, ``limited`` or ``busy``, and as :meth:`by_password` else.
        """
        if not password:
            raise LoginRefused("password", "the password is empty")
        _, right = await self._local(name, password, attempt, by_name=True)
        if not right:
            raise LoginRefused("password", "the password is wrong")

    async def succeeded(self, record: UserRecord, attempt: Attempt, provider: str, record_type: str = "Token") -> None:
        """Somebody has logged in by other means, such as an identity provider's page: that is recorded."""
        self._record(record.name, record_type, provider, attempt, success=True)

    # -- our own users -----------------------------------------------------------------------------------------

    async def _local(
        self, username: str, password: str, attempt: Attempt, *, by_name: bool = False, in_turn: bool = False
    ) -> tuple[UserRecord | None, bool]:
        """Who ``username`` is, if anybody, and whether the password is theirs.

        ``in_turn`` lets whatever else waits go before and after: a login is followed and preceded by as much work as it
        is itself, and many come at once.
        """
        if not self._directory.synced:
            raise SharedUnavailable("the users are not known yet")
        try:
            place = self._passwords.place()
        except Busy:
            raise LoginRefused("busy", "too many passwords wait to be compared", 1) from None
        with place:
            if in_turn:
                await self.turnstile.turn()
            record = self._directory.find(username) if by_name else self._resolve(username)
            subject = f"user:{username if record is None else record.name}"
            source = network_of(attempt.source)
            async with self._turns.turn((subject, source)):
                if record is not None:
                    record = self._directory.find(record.name)
                try:
                    right = await self._compare(record, password, subject, source, place)
                except Locked as locked:
                    raise _limited(locked.seconds) from None
                except Busy:
                    raise LoginRefused("busy", "the password could not be compared", 1) from None
        if not right or record is None:
            return record, False
        if in_turn:
            await self.turnstile.turn()
        # It may have been changed while we were busy.
        now = self._directory.find(record.name)
        return now, now is not None and now.password_hash == record.password_hash

    async def _compare(self, record: UserRecord | None, password: str, subject: str, source: str, place: Place) -> bool:
        if record is not None:
            left = self._lock_left(record, source)
            if left > 0:
                raise Locked(left)
        raw = encoded(password)
        if record is not None and raw is not None and self._remembered.has(record.name, record.password_hash, raw):
            await self._lockout.check(subject, source)
            return True
        counted = await self._lockout.reserve(subject, source)
        if await place.verify(password, "" if record is None else record.password_hash):
            await self._lockout.succeeded(counted)
            if record is not None and raw is not None:
                self._remembered.put(record.name, record.password_hash, raw)
            return True
        if record is not None:
            # The next right one is looked at, and clears what was counted.
            self._remembered.drop(record.name)
        for lock in await self._lockout.failed(counted):
            if record is not None:
                self.log.warn(
                    "user {name} is locked for {seconds:.0f} s after too many wrong passwords, for {whom}",
                    name=record.name,
                    seconds=lock.seconds,
                    whom=lock.source or "everybody",
                )
                self._locked(record.name, lock.source, lock.seconds)
        return False

    def _resolve(self, username: str) -> UserRecord | None:
        # No name has an @ in it.
        return self._directory.by_email(username) if "@" in username else self._directory.find(username)

    def _lock_left(self, record: UserRecord, source: str) -> float:
        """Seconds for which the state of the user keeps attempts from ``source`` out."""
        if record.state != LIMITED:
            return 0.0
        return record.lock.left(self._clock.seconds(), self._duration, source)

    def _admit(self, record: UserRecord, attempt: Attempt) -> None:
        """Raises unless the account of somebody who has shown the right password is in use."""
        if record.deleting:
            raise LoginRefused("suspended", f"user {record.name} is being deleted")
        if record.state == LIMITED:
            left = self._lock_left(record, network_of(attempt.source))
            if left > 0:
                # Since we began.
                raise _limited(left)
        elif record.state != ACTIVE:
            raise LoginRefused("suspended", f"user {record.name} is in state {record.state or '(none)'}, not {ACTIVE}")

    # -- users of identity providers ---------------------------------------------------------------------------

    async def _by_provider(
        self, username: str, password: str, attempt: Attempt, provider: str, record_type: str
    ) -> UserRecord | Registration:
        if self._external is None:
            raise LoginRefused("unknown-provider", f"there is no identity provider {provider!r}")
        if self._outside >= _MOST_EXTERNAL:
            raise LoginRefused("busy", "too many logins wait for identity providers", 1)
        # Not the user of that name here: whoever knows a provider must not be able to lock others out.
        subject = f"provider:{provider}:{username}"
        source = network_of(attempt.source)
        self._outside += 1
        try:
            async with self._turns.turn((subject, source)):
                found = await self._ask(self._external, subject, source, provider, username, password)
        except Locked as locked:
            raise _limited(locked.seconds) from None
        finally:
            self._outside -= 1
        if isinstance(found, UserRecord) and record_type != "Password":
            self._record(found.name, record_type, provider, attempt, success=True)
        return found

    async def _ask(
        self, external: ExternalLogins, subject: str, source: str, provider: str, username: str, password: str
    ) -> UserRecord | Registration:
        await self._lockout.check(subject, source)
        try:
            found = await external.by_password(provider, username, password)
        except LoginRefused as refused:
            # Counted only now: that a provider cannot be reached is nobody's wrong password.
            if refused.kind == "password":
                await self._lockout.failed(await self._lockout.count(subject, source))
            raise
        await self._lockout.succeeded(await self._lockout.count(subject, source))
        return found

    # -- what follows ------------------------------------------------------------------------------------------

    def _record(self, name: str, type: str, provider: str, attempt: Attempt, *, success: bool) -> None:
        reason = SUCCEEDED if success else WRONG
        self._records.add(name, type, provider, attempt.source, attempt.user_agent, success, reason)

    def _changed(self, name: str) -> None:
        self._remembered.drop(name)
        record = self._directory.find(name)
        if record is not None and record.state == LIMITED:
            self._limited.add(name)
        elif name in self._limited:
            self._limited.discard(name)
            if record is not None and record.state == ACTIVE:
                # Somebody has unlocked the account: what was counted before does not lock it again.
                forgiving = Deferred.fromCoroutine(self._lockout.forgive(f"user:{name}"))
                self._forgiving.add(forgiving)
                forgiving.addBoth(self._forgiven, name, forgiving)

    def _forgiven(self, result: Any, name: str, forgiving: Deferred[None]) -> None:
        self._forgiving.discard(forgiving)
        if isinstance(result, Failure) and not result.check(CancelledError):
            if result.check(SharedUnavailable):
                why = str(result.value)
                self.log.warn("the failed logins of user {name} cannot be forgotten: {why}", name=name, why=why)
            else:
                self.log.failure("forgetting the failed logins of user {name} failed", result, name=name)


def _limited(seconds: float) -> LoginRefused:
    left = max(1, math.ceil(seconds))
    return LoginRefused("limited", f"too many wrong passwords; locked for another {left} s", left)
