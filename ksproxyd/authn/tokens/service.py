"""Tokens of logins: issued, refreshed, verified, revoked (spec 02, 2; RFC 6749, RFC 9700).

A login of a user with a client is a *session*. It has one refresh token, which is good once: who refreshes gets the
next, and who shows one that was used has stolen it or was stolen from, so that the session ends (RFC 9700, 4.14.2).

On a member cluster (``accessTokenMaxAge`` 0) nothing is kept: signature and times decide, as with ks-apiserver.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from ksproxyd.authn.rejection import EXPIRED, INVALID, REVOKED, Rejected, SharedUnavailable
from ksproxyd.authn.shared.store import SharedStore
from ksproxyd.authn.tokens.claims import (
    ACCESS,
    PRE_REGISTRATION,
    REFRESH,
    STATIC,
    Claims,
    Extra,
    Issued,
    Lifetimes,
    is_reserved,
)
from ksproxyd.authn.tokens.keys import KeyRing
from ksproxyd.authn.tokens.kubesphere_keys import KubeSphereKeys
from ksproxyd.authn.tokens.reading import TokenReader, trust_of
from ksproxyd.authn.tokens.sessions import Session, Sessions
from ksproxyd.authn.tokens.writing import TokenWriter, random_name
from ksproxyd.settings import Settings

_BEARER = frozenset({ACCESS, STATIC})
_REFRESH = frozenset({REFRESH})

#: Whether a static token, by claims and digest, is the one in a Secret of its ServiceAccount.
StaticBound = Callable[[Claims, str], bool]

_GONE = "it has been used, revoked or replaced by a newer login; log in again"
_REUSED = "it was used before, so its login has been ended; log in again"


#: A change of a session that comes upon another this often in a row is given up.
_ATTEMPTS = 20


class _Refreshing(NamedTuple):
    """What :meth:`Tokens.refresh` was asked."""

    claims: Claims
    client_id: str
    lifetimes: Lifetimes | None
    check: Callable[[Claims], str | None]
    extra: Callable[[str, Extra], Extra] | None

    def extra_for(self, user: str, kept: Extra) -> Extra:
        """The attributes of the new tokens."""
        return self.extra(user, kept) if self.extra is not None else kept


class Tokens:
    """The tokens of this gateway.

    ``static_bound`` says whether a static token is in a Secret of its ServiceAccount (D-22); without it none is good,
    unless ``compat.unboundStaticTokens`` is set. Methods that ask the store raise :class:`SharedUnavailable` while it
    is away, and nothing is accepted then.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        settings: Settings,
        store: SharedStore,
        keys: KeyRing,
        static_bound: StaticBound | None = None,
    ) -> None:
        self._clock = clock
        self._keys = keys
        issuer = settings.authentication.issuer
        ours = settings.ksproxyd
        self.lifetimes = Lifetimes(issuer.access_token_max_age, issuer.access_token_inactivity_timeout)
        #: Nothing is kept, and nothing can be revoked.
        self.stateless = self.lifetimes.access == 0
        self._only = not settings.authentication.multiple_login
        self._session_lifetime = ours.oauth.session_lifetime
        self._registration_lifetime = ours.oauth.registration_lifetime
        if ours.compat.unbound_static_tokens:
            self._static_bound: StaticBound = lambda claims, digest: True
        else:
            self._static_bound = static_bound or (lambda claims, digest: False)
        legacy = ours.compat.kubesphere_token_store
        self._beside = KubeSphereKeys(store) if legacy else None
        self._store = store
        self._sessions = Sessions(store, clock.seconds)
        self._reader = TokenReader(clock, trust_of(settings), keys, whole=legacy)
        self._writer = TokenWriter(issuer.url, keys, legacy=legacy)
        self._revoked: list[Callable[[], None]] = []

    # -- issuing -----------------------------------------------------------------------------------------------

    async def open_session(
        self,
        user: str,
        client_id: str,
        *,
        scopes: tuple[str, ...] = (),
        extra: Extra = (),
        lifetimes: Lifetimes | None = None,
        auth_time: float = 0,
        registration: bool = False,
    ) -> Issued:
        """The tokens of a new login. ``auth_time`` is when the user proved who they are; 0 is now.

        Without ``multipleLogin`` the user's other session with this client ends. ``registration``: the tokens are of
        somebody who has no account yet and may only make one (D-12); ``user`` is then ``system:pre-registration``, and
        ``lifetimes`` do not count. Raises :class:`Rejected` for names that no user and no client may have.
        """
        if registration != (user == PRE_REGISTRATION) or (is_reserved(user) and not registration):
            raise Rejected(INVALID, "nobody who is called like this logs in", token=False)
        if is_reserved(client_id):
            raise Rejected(INVALID, "no client is called like this", token=False)
        now = int(self._clock.seconds())
        lifetime = self._registration_lifetime if registration else self._session_lifetime
        session = Session(
            user=user,
            client=client_id,
            started=now,
            ends=now + int(lifetime),
            auth_time=int(auth_time) or now,
            scopes=scopes,
            extra=extra,
            registration=registration,
        )
        sid = random_name()
        access, refresh, session = self._pair(sid, session, self._which(lifetimes, registration), now)
        if not self.stateless:
            replaced = await self._sessions.open(
                sid, session, refresh.exp, listed=not registration, only=self._only and not registration
            )
            await self._end(user, replaced)
        return await self._issue(access, refresh, now)

    async def refresh(
        self,
        refresh_token: str,
        client_id: str,
        *,
        lifetimes: Lifetimes | None = None,
        check: Callable[[Claims], str | None],
        extra: Callable[[str, Extra], Extra] | None = None,
    ) -> Issued:
        """New tokens for a refresh token, which is good no more (RFC 6749, 6).

        ``check`` is asked with the token's claims, when they are known to be true, for the user to issue for: the same,
        or the one that somebody has registered as; None refuses. ``extra`` is asked with that user and the attributes
        that the session has, for those that the new tokens have. Raises :class:`Rejected`.
        """
        claims = self._reader.read(refresh_token, _REFRESH)
        if claims.client_id != client_id and not (self._beside is not None and not claims.client_id):
            raise Rejected(INVALID, "it was issued to another client")
        asked = _Refreshing(claims, client_id, lifetimes, check, extra)
        if self.stateless:
            return await self._refresh_stateless(asked)
        spent = False
        for _ in range(_ATTEMPTS):
            found = await self._sessions.find_raw(claims.session)
            if found is None:
                return await self._refresh_foreign(asked)
            await self._check_session(asked, found[0])
            user = self._checked(asked)
            if self._beside is not None and not spent:
                # It is not there if ks-apiserver has ended it, or somebody else was faster.
                spent = await self._beside.spend(claims)
                if not spent:
                    await self._reused(claims, found[0])
            issued = await self._rotate(asked, user, *found)
            if issued is not None:
                return issued
        raise SharedUnavailable("a session is changed by too many at once")

    def id_token(
        self,
        *,
        subject: str,
        client: str,
        claims: Mapping[str, Any],
        nonce: str = "",
        access_token: str = "",
        auth_time: float = 0,
        scopes: tuple[str, ...] = (),
        lifetime: float = 0,
        session: str = "",
    ) -> str:
        """An id token (OpenID Connect Core, 2). ``claims`` are what the ``scopes`` ask for about the user.

        A ``lifetime`` of 0 is that of a refresh token. With ``session`` a logout that shows the token ends it.
        Raises :class:`SharedUnavailable` as long as the key that signs is not known.
        """
        return self._writer.id_token(
            subject,
            client,
            claims,
            nonce=nonce,
            access_token=access_token,
            auth_time=int(auth_time),
            session=session,
            now=int(self._clock.seconds()),
            lifetime=int(lifetime or sum(self.lifetimes)),
        )

    def static_token(self, namespace: str, name: str, uid: str, secret: str) -> str:
        """The token of a ServiceAccount, for the Secret ``secret``, in which it must be to be good (D-22)."""
        return self._writer.static_token(namespace, name, uid, secret, int(self._clock.seconds()))

    def hop_token(self, user: str, lifetime: float) -> str:
        """An access token of no session: for a member cluster, which keeps nothing about tokens. No good here."""
        now = int(self._clock.seconds())
        claims = Claims(
            iss="",
            sub=user,
            username=user,
            token_type=ACCESS,
            iat=now,
            exp=now + max(1, int(lifetime)),
            jti=random_name(),
            auth_time=now,
        )
        return self._writer.token(claims)

    # -- verifying ---------------------------------------------------------------------------------------------

    async def verify(self, token: str) -> Claims:
        """The claims of a token that is shown as a bearer's: an access or a static token, and good now.

        One question to the store at most. Raises :class:`Rejected`. Whether its user exists is not known here.
        """
        claims = self._reader.read(token, _BEARER)
        if not await self.still_good(claims):
            raise Rejected(REVOKED, "log in again")
        return claims

    async def still_good(self, claims: Claims) -> bool:
        """Whether a token that was verified has not been revoked; its times are not looked at."""
        if claims.token_type == STATIC:
            return self._static_bound(claims, claims.digest)
        if self.stateless:
            return True
        if self._beside is not None:
            return await self._beside.has(claims)
        session = await self._sessions.find(claims.session)
        return session is not None and session.user == claims.username and claims.jti in session.access

    async def standing(self, claims: Claims) -> bool:
        """Whether what was begun with a token that was good may go on: it has not been revoked, nor has its session.

        That its time has run out meanwhile ends nothing, as long as the session lasts.
        """
        if claims.token_type == STATIC or self.stateless:
            return await self.still_good(claims)
        ran_out = bool(claims.exp) and self._clock.seconds() >= claims.exp
        if self._beside is not None:
            return ran_out or await self._beside.has(claims)
        session = await self._sessions.find(claims.session)
        return session is not None and session.user == claims.username and (ran_out or claims.jti in session.access)

    async def examine(self, token: str, *, types: frozenset[str], expired_too: bool = False) -> Claims:
        """The claims of a token of one of ``types``, whether or not it has been revoked: ask :meth:`alive`.

        Raises :class:`Rejected` for what is no token of ours.
        """
        return self._reader.read(token, types, expired_too=expired_too)

    async def alive(self, claims: Claims) -> bool:
        """Whether an access, refresh or static token that was examined can still be used (RFC 7662, 2.2)."""
        if claims.exp and self._clock.seconds() >= claims.exp:
            return False
        if claims.token_type != REFRESH or self.stateless:
            return claims.token_type in (ACCESS, REFRESH, STATIC) and await self.still_good(claims)
        if self._beside is not None:
            return await self._beside.has(claims)
        session = await self._sessions.find(claims.session)
        return session is not None and session.user == claims.username and session.refresh == claims.jti

    # -- revoking ----------------------------------------------------------------------------------------------

    async def revoke(self, claims: Claims) -> None:
        """End one access token, or with a refresh token its whole session (RFC 7009, 2.1).

        A static token ends with its Secret, and nothing happens here; nor to what nothing is kept about.
        """
        if self.stateless or claims.token_type not in (ACCESS, REFRESH):
            return
        if claims.token_type == REFRESH and claims.session:
            await self.end_session(claims.session)
        elif claims.session:
            await self._sessions.drop_access(claims.session, claims.jti)
        if self._beside is not None:
            await self._beside.spend(claims)
        self._tell()

    async def end_session(self, session: str) -> None:
        """End a session with all its tokens, if it is there."""
        if self.stateless or not session:
            return
        found = await self._sessions.find(session)
        await self._sessions.end(session, found)
        if self._beside is not None and found is not None:
            await self._beside.end_sessions(found.user, [session])
        self._tell()

    async def end_user(self, user: str, *, keep: str = "") -> None:
        """End all sessions of a user, other than the one that is called ``keep``."""
        if self.stateless:
            return
        sids = [sid for sid, _ in await self._sessions.of_user(user) if sid != keep]
        await self._sessions.end_all(user, sids)
        if self._beside is not None:
            await self._beside.end_user(user, keep)
        self._tell()

    async def spend_registration(self, claims: Claims) -> bool:
        """Use the one time that somebody may make an account with this token (D-12); False if it was used before."""
        if not claims.session or self.stateless:
            raise Rejected(INVALID, "it is not from a login with an identity provider")
        return await self._store.add(f"registered:{claims.session}", b"", 2 * self._registration_lifetime)

    async def give_back_registration(self, claims: Claims) -> None:
        """The account was not made: the token may be used again."""
        await self._store.delete(f"registered:{claims.session}")

    def on_revoked(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called whenever this process has revoked something."""
        self._revoked.append(callback)

    # -- keys --------------------------------------------------------------------------------------------------

    def public_keys(self) -> dict[str, Any]:
        """The JWK set that verifies id tokens (RFC 7517, 5)."""
        return self._keys.public_keys()

    @property
    def signing_algorithms(self) -> tuple[str, ...]:
        """How id tokens are signed."""
        return self._keys.algorithms

    # -- within ------------------------------------------------------------------------------------------------

    def _which(self, lifetimes: Lifetimes | None, registration: bool) -> Lifetimes:
        if registration:
            return Lifetimes(self._registration_lifetime, 0)
        return lifetimes or self.lifetimes

    def _pair(self, sid: str, session: Session, lifetimes: Lifetimes, now: int) -> tuple[Claims, Claims, Session]:
        """The claims of a new pair of tokens, and the session with them. None of them outlives it."""
        total = sum(lifetimes)
        until = min(now + max(1, int(total)), session.ends) if total else session.ends
        end = min(now + max(1, int(lifetimes.access)), session.ends) if lifetimes.access else 0
        access = Claims(
            iss="",
            sub=session.user,
            username=session.user,
            token_type=ACCESS,
            iat=now,
            exp=end,
            jti=random_name(),
            client_id=session.client,
            session=sid,
            auth_time=session.auth_time,
            scopes=session.scopes,
            extra=session.extra,
        )
        refresh = msgspec.structs.replace(access, token_type=REFRESH, exp=until, jti=random_name())
        after = msgspec.structs.replace(session.with_access(access.jti, end, now), refresh=refresh.jti)
        return access, refresh, after

    async def _issue(self, access: Claims, refresh: Claims, now: int) -> Issued:
        first, second = self._writer.token(access), self._writer.token(refresh)
        if self._beside is not None and not self.stateless:
            await self._beside.keep(access.username, first, (access.exp or refresh.exp) - now)
            await self._beside.keep(access.username, second, refresh.exp - now)
        left = access.exp - now if access.exp else 0
        return Issued(first, second, left, access.session, access.scopes)

    async def _check_session(self, asked: _Refreshing, session: Session) -> None:
        """Whether the session may be refreshed with this token. Raises :class:`Rejected`."""
        claims = asked.claims
        if session.user != claims.username or session.client != asked.client_id:
            raise Rejected(REVOKED, _GONE)
        if session.refresh != claims.jti:
            await self._reused(claims, session)
        if self._clock.seconds() >= session.ends:
            await self.end_session(claims.session)
            raise Rejected(EXPIRED, "the login is too long ago; log in again")

    def _checked(self, asked: _Refreshing) -> str:
        """The user to issue for. Raises :class:`Rejected` if there is none."""
        before = asked.claims.username
        user = asked.check(asked.claims)
        if not user or (is_reserved(user) and user != before):
            raise Rejected(INVALID, "its user does not exist any more or may not log in")
        if user != before and before != PRE_REGISTRATION:
            raise ValueError("a session does not change hands")
        return user

    async def _rotate(self, asked: _Refreshing, user: str, session: Session, raw: bytes) -> Issued | None:
        """Give the session its next tokens; None if it has changed meanwhile."""
        claims, now = asked.claims, int(self._clock.seconds())
        becoming = session.registration and user != PRE_REGISTRATION
        after = msgspec.structs.replace(
            session, user=user, extra=asked.extra_for(user, () if becoming else session.extra)
        )
        if becoming:
            ends = now + int(self._session_lifetime)
            after = msgspec.structs.replace(after, registration=False, started=now, ends=ends, access={})
        access, refresh, after = self._pair(
            claims.session, after, self._which(asked.lifetimes, after.registration), now
        )
        if not await self._sessions.change(claims.session, raw, after, refresh.exp):
            return None
        if becoming:
            await self._end(user, await self._sessions.enlist(claims.session, after, only=self._only))
            self._tell()
        return await self._issue(access, refresh, now)

    async def _reused(self, claims: Claims, session: Session) -> None:
        self.log.warn(
            "a refresh token of {user} for {client} came a second time: the session is ended",
            user=session.user,
            client=session.client,
        )
        await self.end_session(claims.session)
        raise Rejected(REVOKED, _REUSED)

    async def _refresh_foreign(self, asked: _Refreshing) -> Issued:
        """A refresh token without a session: one of ks-apiserver's, where we run beside it, or one that has ended."""
        claims = asked.claims
        if self._beside is None or claims.session:
            raise Rejected(REVOKED, _GONE)
        if claims.iat + self._session_lifetime <= self._clock.seconds():
            raise Rejected(EXPIRED, "the login is too long ago; log in again")
        user = self._checked(asked)
        if user == PRE_REGISTRATION:
            raise Rejected(INVALID, "its user has not been created")
        if not await self._beside.spend(claims):
            raise Rejected(REVOKED, _GONE)
        return await self.open_session(
            user,
            asked.client_id,
            scopes=claims.scopes,
            extra=asked.extra_for(user, claims.extra if user == claims.username else ()),
            lifetimes=asked.lifetimes,
            auth_time=claims.auth_time or claims.iat,
        )

    async def _refresh_stateless(self, asked: _Refreshing) -> Issued:
        """Where nothing is kept, a refresh token is good until its end, and the login's time is in it."""
        claims, now = asked.claims, int(self._clock.seconds())
        started = claims.auth_time or claims.iat
        ends = started + int(self._session_lifetime)
        if now >= ends:
            raise Rejected(EXPIRED, "the login is too long ago; log in again")
        user = self._checked(asked)
        session = Session(
            user=user,
            client=claims.client_id,
            started=started,
            ends=ends,
            auth_time=started,
            scopes=claims.scopes,
            extra=asked.extra_for(user, claims.extra if user == claims.username else ()),
        )
        access, refresh, _ = self._pair(
            claims.session or random_name(), session, self._which(asked.lifetimes, user == PRE_REGISTRATION), now
        )
        return await self._issue(access, refresh, now)

    async def _end(self, user: str, sids: list[str]) -> None:
        if sids:
            await self._sessions.end_all(user, sids)
            if self._beside is not None:
                await self._beside.end_sessions(user, sids)
            self._tell()

    def _tell(self) -> None:
        for callback in self._revoked:
            callback()
