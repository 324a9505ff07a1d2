"""Gives tickets to pages, and takes them back (spec 05, 12.4).

::

    POST /kapis/terminal.kubesphere.io/v1alpha2/tickets   for whoever shows a token
    POST /oauth/terminal_ticket                           for the browser of somebody who has signed in

    {"path": "/kapis/terminal.kubesphere.io/v1alpha2/namespaces/demo/pods/web-0/exec?container=app"}
    201 {"ticket": "...", "expiresIn": 30}

A ticket is good once, for 30 seconds, for exactly that address, from the page that has asked for it. It stands for its
user's login and ends with it; it gives no right that the user does not have.

The sign-in cookie is good below ``/oauth`` only and stays so: a page trades it there, by a request that only a page of
the gateway's own origin can send. So no cookie ever opens a terminal, and no other site can use one (spec 05, D1).
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from ksproxyd.authn.rejection import INVALID, Rejected, SharedUnavailable, credentials_required
from ksproxyd.authn.tokens.claims import Claims, Sealed
from ksproxyd.kapis.bodies import NO_STORE, media_type, unsupported_media_type
from ksproxyd.kapis.terminal.origins import Origins, only_own_page
from ksproxyd.model.identity import ANONYMOUS, Identity
from ksproxyd.model.message import Response
from ksproxyd.model.status import StatusError, bad_request, forbidden, unauthorized
from ksproxyd.server.exchange import Exchange

if TYPE_CHECKING:
    from ksproxyd.authn.shared.store import SharedStore

#: Seconds.
LIFETIME = 30

#: Where terminals are, also those of other clusters.
_ADDRESS = re.compile(
    r"/(?:clusters/[^/?]+/)?kapis/(?:clusters/[^/?]+/)?terminal\.kubesphere\.io/v1alpha2/[!-~]{1,2000}"
)

#: Largest request for a ticket, in bytes.
_BODY = 16 * 1024


class SignedIn(Protocol):
    """The part of :class:`ksproxyd.kapis.oauth.browser.BrowserSession` that is needed here."""

    @property
    def user(self) -> str: ...

    @property
    def id(self) -> str: ...


class BrowserSessions(Protocol):
    """The part of :class:`ksproxyd.kapis.oauth.browser.Browsers` that is needed here."""

    async def find(self, exchange: Exchange) -> Any: ...

    async def standing(self, id: str) -> bool: ...


class Redeemed(msgspec.Struct, frozen=True):
    """Whose ticket it was. ``browser`` is the sign-in it was traded for, empty if it was a token."""

    user: Identity
    claims: Claims | None = None
    certificate: bool = False
    browser: str = ""


class _Wanted(msgspec.Struct):
    path: str
    #: For a server that asks on behalf of a page: that page's origin.
    origin: str = ""


class _Stored(msgspec.Struct, frozen=True):
    user: Identity
    target: str
    origin: str
    claims: dict[str, Any] | None = None
    whole: str = ""
    certificate: bool = False
    browser: str = ""


class Tickets:
    """``random_bytes(n)`` are unpredictable. ``identity_of`` says who a user of that name is; None if nobody."""

    def __init__(
        self,
        store: SharedStore,
        origins: Origins,
        browsers: BrowserSessions,
        identity_of: Callable[[str], Identity | None],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._store = store
        self._origins = origins
        self._browsers = browsers
        self._identity_of = identity_of
        self._random_bytes = random_bytes

    async def for_token(self, exchange: Exchange) -> Response:
        """``POST …/tickets``."""
        if exchange.user == ANONYMOUS:
            raise credentials_required(basic=False)
        origin = self._origins.check(exchange)
        wanted = await _read(exchange)
        if wanted.origin and not origin:
            if not self._origins.allows(exchange, wanted.origin.encode("utf-8", "replace")):
                raise forbidden("pages of that origin may not open terminals here")
            origin = wanted.origin
        claims = exchange.claims
        return await self._give(
            _Stored(
                exchange.user,
                wanted.path,
                origin,
                None if claims is None else _plain(claims),
                "" if claims is None or claims.whole is None else claims.whole.reveal(),
                exchange.connection.certificate is not None,
                exchange.browser_session,
            )
        )

    async def for_browser(self, exchange: Exchange) -> Response:
        """``POST /oauth/terminal_ticket``. Only for pages of our own origin."""
        origin = only_own_page(exchange)
        wanted = await _read(exchange)
        try:
            found: SignedIn | None = await self._browsers.find(exchange)
        except SharedUnavailable as error:
            raise error.error() from None
        user = None if found is None else self._identity_of(found.user)
        if found is None or user is None:
            raise unauthorized("nobody has signed in in this browser; sign in first")
        return await self._give(_Stored(user, wanted.path, origin, browser=found.id))

    async def redeem(self, exchange: Exchange, ticket: str) -> Redeemed:
        """Whose ticket ``exchange`` shows; it is used up. Raises the 401 for one that is not good here and now."""
        try:
            raw = await self._store.take(_key(ticket))
        except SharedUnavailable as error:
            raise error.error() from None
        if raw is None:
            raise _not_good("it is not there any more: a ticket is good once, and for half a minute")
        stored = msgspec.json.decode(raw, type=_Stored)
        if stored.target.encode() != exchange.head.target:
            raise _not_good("it is for another address")
        if stored.origin.encode() != (exchange.fields.get(b"origin") or b""):
            raise _not_good("it is for another page")
        claims = None
        if stored.claims is not None:
            claims = msgspec.convert(stored.claims, Claims, strict=False)
            if stored.whole:
                claims = msgspec.structs.replace(claims, whole=Sealed(stored.whole))
        return Redeemed(stored.user, claims, stored.certificate, stored.browser)

    async def _give(self, stored: _Stored) -> Response:
        ticket = base64.urlsafe_b64encode(self._random_bytes(32)).rstrip(b"=").decode()
        try:
            await self._store.put(_key(ticket), msgspec.json.encode(stored), LIFETIME)
        except SharedUnavailable as error:
            raise error.error() from None
        return Response.json(201, {"ticket": ticket, "expiresIn": LIFETIME}, NO_STORE)


async def _read(exchange: Exchange) -> _Wanted:
    if media_type(exchange) != b"application/json":
        raise unsupported_media_type("application/json")
    body = await exchange.read_body(_BODY)
    try:
        wanted = msgspec.json.decode(body, type=_Wanted)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise bad_request(f"the body is no request for a ticket: {error}") from None
    if _ADDRESS.fullmatch(wanted.path) is None:
        raise bad_request("path is to be the path and query of a terminal, as it will be asked for")
    return wanted


def _plain(claims: Claims) -> dict[str, Any]:
    found = msgspec.structs.asdict(claims)
    del found["whole"]
    return found


def _not_good(why: str) -> StatusError:
    return Rejected(INVALID, f"the ticket is not good: {why}", token=False).error()


def _key(ticket: str) -> str:
    # Who can read the store can still not use what is in there.
    return "terminal-ticket:" + hashlib.sha256(ticket.encode()).hexdigest()
