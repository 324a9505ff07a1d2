"""What a client may get tokens for: a password, a code, a refresh token, a device that was let in (spec 02, 3.7).

Each grant takes the form of an authenticated client and returns :class:`Granted`, or raises
:class:`~ksproxyd.kapis.oauth.errors.OAuthError`. Whoever gets tokens is a user who is there and may log in at this
moment, whatever was true when the code or the token was made (D-10).
"""

from __future__ import annotations

from typing import NamedTuple

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from ksproxyd.authn.clients import OAuthClient
from ksproxyd.authn.code_challenge import verifies
from ksproxyd.authn.codes import CodeGrant, Codes, Replayed
from ksproxyd.authn.directory import Directory, UserRecord
from ksproxyd.authn.login import Attempt, Login, LoginRefused
from ksproxyd.authn.rejection import Rejected, SharedUnavailable
from ksproxyd.authn.tokens.claims import PRE_REGISTRATION, Claims, Extra, Issued
from ksproxyd.authn.tokens.service import Tokens
from ksproxyd.authn.user_record import ACTIVE, LIMITED
from ksproxyd.kapis.oauth.client_auth import Form
from ksproxyd.kapis.oauth.device import Approved, Devices
from ksproxyd.kapis.oauth.errors import OAuthError, invalid_grant, invalid_request, unavailable
from ksproxyd.kapis.oauth.id_tokens import IdTokens

DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"

#: Attribute of the tokens of a user whose password is to be changed (spec 02, 2.2).
UNINITIALIZED = "uninitialized"

BAD_PASSWORD = "Invalid username or password."
SUSPENDED = "Account suspended."
LIMITED_NOW = "Rate limit exceeded."
BAD_CODE = "The authorization code is invalid or expired."
BAD_REFRESH = "The refresh token is invalid or expired."
NO_USER = "Authenticated user does not exist."

_DEVICE = {
    "authorization_pending": "The request has not been allowed yet; ask again after the interval.",
    "slow_down": "Asked too early; the interval is now 5 seconds longer.",
    "expired_token": "The device code has expired; begin again.",
    "access_denied": "The request was not allowed.",
    "invalid_grant": "The device code is invalid, or was used.",
}


class Granted(NamedTuple):
    """Tokens for a client. ``scope`` is only set where it is not what the client asks for, or has asked for."""

    issued: Issued
    id_token: str = ""
    scope: str = ""


class Grants:
    """All of them. Every method may raise :class:`~ksproxyd.authn.rejection.SharedUnavailable`."""

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        tokens: Tokens,
        login: Login,
        directory: Directory,
        codes: Codes,
        devices: Devices,
        id_tokens: IdTokens,
    ) -> None:
        self._clock = clock
        self._tokens = tokens
        self._login = login
        self._directory = directory
        self._codes = codes
        self._devices = devices
        self._id_tokens = id_tokens

    # -- passwords ---------------------------------------------------------------------------------------------

    @property
    def full(self) -> bool:
        """Whether a login with a password of the gateway's own is refused as things are."""
        return self._login.full

    def turn_away(self) -> OAuthError:
        """The refusal of such a login, whoever it is."""
        self._login.turn_away()
        return _busy(1)

    async def password(self, form: Form, attempt: Attempt) -> Granted:
        """RFC 6749, 4.3; spec 02, 3.7.1. Scopes are not looked at, as in ks-apiserver."""
        if not form.client.trusted:
            raise OAuthError(400, "unauthorized_client", "The client may not log people in by their passwords.")
        try:
            found = await self._login.by_password(
                form.get("username"), form.get("password"), attempt, provider=form.get("provider")
            )
        except LoginRefused as refused:
            raise _refusal(refused) from None
        now, lifetimes = self._clock.seconds(), form.client.lifetimes
        if isinstance(found, UserRecord):
            issued = await self._tokens.open_session(
                found.name, form.client.name, extra=extra_of(found), lifetimes=lifetimes, auth_time=now
            )
        else:
            issued = await self._tokens.open_session(
                PRE_REGISTRATION, form.client.name, extra=found.extra(), auth_time=now, registration=True
            )
        return Granted(issued)

    # -- refresh tokens ----------------------------------------------------------------------------------------

    async def refresh(self, form: Form) -> Granted:
        """RFC 6749, 6; spec 02, 3.7.2. A registration becomes a login of the user who was created."""
        scopes = form.get("scope").split()
        token = form.get("refresh_token")
        unregistered = beyond = False

        def check(claims: Claims) -> str | None:
            nonlocal unregistered, beyond
            beyond = not set(scopes) <= set(claims.scopes)
            record = self._user_of(claims)
            unregistered = record is None and claims.username == PRE_REGISTRATION
            return None if record is None or beyond else record.name

        self._synced()
        try:
            issued = await self._tokens.refresh(
                token, form.client.name, lifetimes=form.client.lifetimes, check=check, extra=self._extra_now
            )
        except Rejected as rejected:
            self.log.info(
                "a refresh token of client {client} is not accepted: {why}",
                client=form.client.name,
                why=rejected.message,
            )
            if unregistered:
                raise invalid_grant(NO_USER) from None
            if beyond:
                raise OAuthError(400, "invalid_scope", "The scope is more than was granted before.") from None
            raise invalid_grant(BAD_REFRESH) from None
        # RFC 6749, 3.3: told where it is not what was asked for. What was granted once is not taken apart.
        different = bool(scopes) and set(scopes) != set(issued.scopes)
        return Granted(issued, scope=" ".join(issued.scopes) if different else "")

    def _user_of(self, claims: Claims) -> UserRecord | None:
        """The user whose session it is (now), if they may log in."""
        if claims.username != PRE_REGISTRATION:
            return self._usable(claims.username)
        said = {key: values[0] for key, values in claims.extra if len(values) == 1}
        idp, uid = said.get("idp"), said.get("uid")
        found = self._directory.by_link(idp, uid) if idp and uid else ()
        return self._usable(found[0].name) if len(found) == 1 else None

    def _extra_now(self, user: str, kept: Extra) -> Extra:
        """The attributes of new tokens: whether the password is to be changed is asked again."""
        record = self._directory.find(user)
        others = tuple(pair for pair in kept if pair[0] != UNINITIALIZED)
        return others if record is None else (*others, *extra_of(record))

    # -- codes -------------------------------------------------------------------------------------------------

    async def code(self, form: Form) -> Granted:
        """RFC 6749, 4.1.3; RFC 7636, 4.6; spec 02, 3.7.3 and D-03."""
        code = form.get("code")
        if not code:
            raise invalid_request("The authorization code is empty or missing.")
        self._synced()
        try:
            grant = await self._codes.redeem(code)
        except Replayed as replayed:
            self.log.warn(
                "client {client} has sent an authorization code that was used before: what was issued from it ends",
                client=form.client.name,
            )
            await self._tokens.end_session(replayed.session)
            raise invalid_grant(BAD_CODE) from None
        if grant is None or grant.client != form.client.name:
            raise invalid_grant(BAD_CODE)
        record = self._redeemable(grant, form)
        issued = await self._open(record, form.client, grant.scopes, grant.auth_time)
        if not await self._codes.redeemed(code, grant, issued.session):
            await self._tokens.end_session(issued.session)
            raise invalid_grant(BAD_CODE)
        return await self._with_id_token(issued, form.client, record, grant.scopes, grant.auth_time, grant.nonce)

    def _redeemable(self, grant: CodeGrant, form: Form) -> UserRecord:
        """Whose grant it is, if everything about it fits. Raises ``invalid_grant``."""
        asked = form.get("redirect_uri")
        if grant.redirect_uri:
            fits = asked == grant.redirect_uri
        else:
            # The request had named none: there was only one.
            fits = not asked or form.client.redirect_to(asked) is not None
        if not fits:
            raise invalid_grant("Redirect URI is not allowed.")
        if form.client.public and not grant.challenge:
            raise invalid_grant(BAD_CODE)
        if not verifies(grant.challenge, form.get("code_verifier")):
            raise invalid_grant("The code_verifier does not fit the authorization request.")
        record = self._usable(grant.user)
        if record is None:
            raise invalid_grant(BAD_CODE)
        return record

    # -- devices -----------------------------------------------------------------------------------------------

    async def device(self, form: Form) -> Granted:
        """RFC 8628, 3.4 and 3.5."""
        code = form.get("device_code")
        if not code:
            raise invalid_request("The device_code is empty or missing.")
        self._synced()
        outcome = await self._devices.poll(code, form.client.name)
        if not isinstance(outcome, Approved):
            raise OAuthError(400, outcome, _DEVICE[outcome])
        record = self._usable(outcome.user)
        if record is None:
            raise OAuthError(400, "access_denied", "Whoever has allowed it may not log in any more.")
        issued = await self._open(record, form.client, outcome.scopes, outcome.auth_time)
        return await self._with_id_token(issued, form.client, record, outcome.scopes, outcome.auth_time, "")

    # -- within ------------------------------------------------------------------------------------------------

    def _synced(self) -> None:
        # Before everything is read, nobody is known not to exist.
        if not self._directory.synced:
            raise SharedUnavailable("the users are not known yet")

    def _usable(self, name: str) -> UserRecord | None:
        record = self._directory.find(name)
        # An account that is locked for wrong passwords is not locked for who is logged in (T-038).
        if record is None or record.deleting or record.state not in (ACTIVE, LIMITED):
            return None
        return record

    async def _open(self, record: UserRecord, client: OAuthClient, scopes: tuple[str, ...], auth_time: float) -> Issued:
        return await self._tokens.open_session(
            record.name,
            client.name,
            scopes=scopes,
            extra=extra_of(record),
            lifetimes=client.lifetimes,
            auth_time=auth_time,
        )

    async def _with_id_token(
        self,
        issued: Issued,
        client: OAuthClient,
        record: UserRecord,
        scopes: tuple[str, ...],
        auth_time: float,
        nonce: str,
    ) -> Granted:
        try:
            id_token = self._id_tokens.make(
                client,
                record,
                scopes,
                auth_time=auth_time,
                nonce=nonce,
                access_token=issued.access_token,
                session=issued.session,
            )
        except SharedUnavailable:
            # Nobody will hear of these tokens.
            await self._tokens.end_session(issued.session)
            raise
        return Granted(issued, id_token)


def extra_of(record: UserRecord) -> Extra:
    """What the tokens of a user say besides who it is."""
    return ((UNINITIALIZED, (record.uninitialized,)),) if record.uninitialized else ()


def _busy(retry_after: int) -> OAuthError:
    """Too many log in."""
    return unavailable("Too many people are logging in; try again.", retry_after)


def _refusal(refused: LoginRefused) -> OAuthError:
    """The answer to a login that was refused. Its own text is for the log."""
    if refused.kind == "limited":
        return OAuthError(429, "invalid_grant", LIMITED_NOW, retry_after=max(1, refused.retry_after))
    if refused.kind == "busy":
        return _busy(max(1, refused.retry_after))
    if refused.kind == "provider":
        return unavailable("The identity provider cannot be asked at the moment; try again.", 5)
    if refused.kind == "unknown-provider":
        return invalid_request("There is no such provider with passwords.")
    if refused.kind == "suspended":
        return invalid_grant(SUSPENDED)
    if refused.kind == "mapping":
        return invalid_grant("This account cannot be used here; ask an administrator.")
    return invalid_grant(BAD_PASSWORD)
