"""From what a request shows to who it is from. The one place where that is decided.

Who shows nothing is anonymous; a client certificate speaks where no ``Authorization`` does. A password is checked by
:class:`Logins`, a token by :class:`TokenService`; what a token proves of a user holds only while the user is there and
not disabled (spec 02, 1.5). Nothing here fails open: what cannot be asked is a 503.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd.authn.credentials import Basic, Bearer, read
from ksproxyd.authn.directory import Directory, UserRecord
from ksproxyd.authn.login import Attempt, LoginRefused
from ksproxyd.authn.rejection import INVALID, Rejected, SharedUnavailable, not_understood
from ksproxyd.authn.remembered import NEVER, Entry, Remembered
from ksproxyd.authn.tokens.claims import PRE_REGISTRATION, STATIC, Claims
from ksproxyd.authn.x509 import AUTHENTICATED, certificate_identity
from ksproxyd.model.identity import ANONYMOUS, Identity
from ksproxyd.model.status import service_unavailable

if TYPE_CHECKING:
    from ksproxyd.authn.registration import Registration

DISABLED = "Disabled"

#: The part of ``believed_for`` after which the store is asked again in the background.
_REFRESH = 0.5


class TokenService(Protocol):
    """The part of :class:`ksproxyd.authn.tokens.service.Tokens` that is needed here."""

    async def verify(self, token: str) -> Claims: ...

    async def still_good(self, claims: Claims) -> bool: ...

    async def standing(self, claims: Claims) -> bool: ...


class Logins(Protocol):
    """The part of :class:`ksproxyd.authn.login.Login` that is needed here."""

    async def by_password(
        self, username: str, password: str, attempt: Attempt, *, provider: str = "", record_type: str = "Token"
    ) -> UserRecord | Registration: ...


class Rules(NamedTuple):
    """What the settings say. ``users`` is whether a token's user must exist here (not on a member, spec 02, 1.5).

    ``believed_for`` are seconds; None where the store is this process's own memory and tells of every change.
    """

    basic: bool
    groups: bool
    users: bool
    believed_for: float | None


class Authenticated(NamedTuple):
    """``claims`` are those of a bearer token; ``password`` tells that one was shown."""

    identity: Identity
    claims: Claims | None = None
    password: bool = False


class Authenticator:
    """Decides. ``directory`` knows the users, ``service_account`` whether the account of a static token is there."""

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        rules: Rules,
        tokens: TokenService,
        logins: Logins,
        directory: Directory,
        service_account: Callable[[Claims], bool],
        most: int,
    ) -> None:
        self._clock = clock
        self.rules = rules
        self._tokens = tokens
        self._logins = logins
        self._directory = directory
        self._service_account = service_account
        self.remembered = Remembered(most)
        #: Who waits for what the store says of a token, by the round in which it was asked and the header.
        self._waiting: dict[tuple[int, bytes], list[Deferred[Entry]]] = {}
        self._asking: set[Deferred[Any]] = set()
        self._round = 0
        self._unsubscribe = directory.subscribe(self.remembered.drop_user, self.remembered.users)

    def stop(self) -> None:
        """Nobody asks any more."""
        self._unsubscribe()
        for asking in tuple(self._asking):
            asking.cancel()

    def doubt(self) -> None:
        """Something was revoked here: have the store asked again before any token is believed."""
        self._round += 1

    def known(self, header: bytes) -> Entry | None:
        """The entry of a token that was verified before and need not be looked at again now."""
        entry = self.remembered.get(header)
        if entry is None:
            return None
        now = self._clock.seconds()
        if now >= entry.until or entry.round != self._round:
            return None
        if now >= entry.refresh and not entry.confirming:
            self._confirm_ahead(header, entry)
        return entry

    async def by_header(self, header: bytes, source: str, user_agent: str) -> Authenticated:
        """Who shows this ``Authorization``. Raises the :class:`StatusError` for who is nobody."""
        credential = read(header)
        try:
            if isinstance(credential, Bearer):
                entry = await self._bearer(header, credential.token)
                return Authenticated(entry.identity, entry.claims)
            if isinstance(credential, Basic) and self.rules.basic:
                return await self._basic(credential, Attempt(source, user_agent))
        except Rejected as rejected:
            raise rejected.error() from None
        except SharedUnavailable as error:
            raise error.error() from None
        raise not_understood()

    def by_certificate(self, der: bytes) -> Identity:
        """Who has this client certificate. Raises the :class:`StatusError` for one that names nobody."""
        try:
            identity = certificate_identity(der)
            record = self._directory.find(identity.name)
            if record is not None and record.state == DISABLED:
                raise Rejected(INVALID, "the account is disabled; ask an administrator", token=False)
        except Rejected as rejected:
            raise rejected.error() from None
        return identity

    async def standing(self, user: Identity, claims: Claims | None, certificate: bool) -> Identity | None:
        """Who began something as ``user``, now: with the groups of today, or None if they may not go on at all.

        ``certificate``: a client certificate said who it is. Raises :class:`SharedUnavailable` where nobody knows.
        """
        if user == ANONYMOUS:
            return user
        if claims is None:
            record = self._directory.find(user.name)
            if record is None:
                # Certificates are also issued to whoever is no User here.
                return user if certificate or not self._directory.synced else None
            if record.state == DISABLED:
                return None
            return user if certificate else Identity(record.name, (*record.groups, AUTHENTICATED))
        if not await self._tokens.standing(claims):
            return None
        try:
            return self._identity(claims)
        except Rejected:
            return None

    def identity_of(self, name: str) -> Identity | None:
        """Who a user would be with a token; None if there is no such user."""
        record = self._directory.find(name)
        if record is None:
            return None
        return Identity(name, (*(record.groups if self.rules.groups else ()), AUTHENTICATED))

    # -- passwords ---------------------------------------------------------------------------------------------

    async def _basic(self, shown: Basic, attempt: Attempt) -> Authenticated:
        try:
            found = await self._logins.by_password(shown.username, shown.password, attempt, record_type="Password")
        except LoginRefused as refused:
            if refused.kind == "busy":
                raise service_unavailable("too many passwords are being checked; try again", 1) from None
            # Whether the name, the password or the account is the trouble is told at the sign-in page, to whoever
            # has the right password.
            hint = "user name or password is wrong, or the account is locked or disabled"
            raise Rejected(INVALID, hint, token=False) from None
        if not isinstance(found, UserRecord):
            raise Rejected(INVALID, "the account is not created yet; sign in with a browser", token=False)
        return Authenticated(Identity(found.name, (*found.groups, AUTHENTICATED)), password=True)

    # -- tokens ------------------------------------------------------------------------------------------------

    async def _bearer(self, header: bytes, token: str) -> Entry:
        """The entry for a token; whoever asks for the same one meanwhile waits for the same answer."""
        # An answer from before a revocation is none for whoever comes after it.
        place = (self._round, header)
        known = self._waiting.get(place)
        waiting = self._waiting[place] = [] if known is None else known
        mine: Deferred[Entry] = Deferred(waiting.remove)
        waiting.append(mine)
        if known is None:
            asking = Deferred.fromCoroutine(self._look(header, token))
            self._asking.add(asking)
            asking.addBoth(self._looked, place, waiting, asking)
        return await mine

    def _looked(
        self, result: Entry | Failure, place: tuple[int, bytes], waiting: list[Deferred[Entry]], asking: Deferred[Any]
    ) -> None:
        self._asking.discard(asking)
        del self._waiting[place]
        for each in tuple(waiting):
            if isinstance(result, Failure):
                each.errback(result)
            else:
                each.callback(result)

    async def _look(self, header: bytes, token: str) -> Entry:
        entry = self.remembered.get(header)
        asked = self._round
        if entry is not None and self._clock.seconds() < entry.expires:
            if await self._tokens.still_good(entry.claims):
                self._believe(entry, asked)
                return entry
            self.remembered.drop(header)
        claims = await self._tokens.verify(token)
        identity = self._identity(claims)
        entry = Entry(identity, claims, float(claims.exp) if claims.exp else NEVER, 0.0, 0.0)
        self._believe(entry, asked)
        self.remembered.put(header, entry)
        return entry

    def _believe(self, entry: Entry, asked: int) -> None:
        """``asked`` is the round in which the store was asked: what was revoked since then, it did not know."""
        believed = self.rules.believed_for
        entry.round = asked
        if believed is None or entry.claims.token_type == STATIC:
            entry.until, entry.refresh = entry.expires, NEVER
        else:
            now = self._clock.seconds()
            entry.until = min(entry.expires, now + believed)
            entry.refresh = now + believed * _REFRESH

    def _confirm_ahead(self, header: bytes, entry: Entry) -> None:
        entry.confirming = True
        asking = Deferred.fromCoroutine(self._tokens.still_good(entry.claims))
        self._asking.add(asking)
        asking.addBoth(self._confirmed, header, entry, self._round, asking)

    def _confirmed(
        self, result: bool | Failure, header: bytes, entry: Entry, asked: int, asking: Deferred[Any]
    ) -> None:
        self._asking.discard(asking)
        entry.confirming = False
        if isinstance(result, Failure):
            # Not confirmed is not refuted: the entry ends at its time, and whoever comes then is told.
            if not result.check(SharedUnavailable, CancelledError):
                self.log.failure("asking about a token failed", result)
        elif not result:
            self.remembered.drop(header)
        elif asked >= entry.round:
            self._believe(entry, asked)

    def _identity(self, claims: Claims) -> Identity:
        if claims.token_type == STATIC:
            if not self._service_account(claims):
                raise Rejected(INVALID, "its ServiceAccount does not exist any more")
            return Identity(claims.username, (), "", claims.extra)
        if claims.username == PRE_REGISTRATION:
            return Identity(claims.username, (), "", claims.extra)
        if not self.rules.users:
            return Identity(claims.username, (AUTHENTICATED,))
        if not self._directory.synced:
            raise SharedUnavailable("the users are not known yet")
        record = self._directory.find(claims.username)
        if record is None:
            raise Rejected(INVALID, "its user does not exist any more")
        if record.state == DISABLED:
            raise Rejected(INVALID, "the account is disabled; ask an administrator")
        return self.identity_of(claims.username) or Identity(claims.username)
