"""GET ``/oauth/login/{provider}``: a browser leaves for the sign-in page of an identity provider (spec 02, D-07).

What it has to bring back is remembered under its ``state``, once: for which provider it left and with what to go on,
the nonce and the verifier (OpenID Connect Core, 3.1.2.1; RFC 7636), and a digest of a cookie, so that it must be the
same browser that comes back (RFC 6749, 10.12).
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from typing import TYPE_CHECKING

import msgspec
from twisted.logger import Logger

from ksproxyd.authn.providers.provider import Flow, ProviderError
from ksproxyd.authn.providers.registry import Providers
from ksproxyd.authn.source import network_of
from ksproxyd.kapis.oauth.answers import go_on
from ksproxyd.kapis.oauth.cookies import cookie, set_cookie
from ksproxyd.kapis.oauth.pages import Pages, wants_page
from ksproxyd.kapis.oauth.pending import Pending, TooManyWaiting
from ksproxyd.kapis.oauth.sign_in import SignIn
from ksproxyd.kapis.oauth.site import Site
from ksproxyd.model.message import Response
from ksproxyd.model.query import parameter
from ksproxyd.model.status import bad_request, not_found, service_unavailable
from ksproxyd.server.exchange import Exchange

if TYPE_CHECKING:
    from ksproxyd.authn.shared.store import SharedStore

#: For so long somebody may take to sign in at a provider, in seconds.
LIFETIME = 600.0

#: Sign-ins at providers that may be begun within :data:`LIFETIME` from one network, and that may come to an end without
#: having been begun here, where that is allowed at all: each of those makes us ask the provider.
MOST = 3000

#: Name of the cookie that says which browser has left.
LEFT_COOKIE = "ksproxyd_left"

_STATE = re.compile(r"[A-Za-z0-9_-]{43}")


class Departure(msgspec.Struct, frozen=True):
    """A browser that has left for ``provider``. ``handle`` is what it goes on with afterwards, or empty."""

    provider: str
    handle: str
    nonce: str
    verifier: str
    redirect_uri: str
    #: Digest of the cookie.
    browser: str

    def __repr__(self) -> str:
        return f"<Departure to {self.provider}>"

    def flow(self, state: str) -> Flow:
        """What the provider needs to know of it."""
        return Flow(state, self.nonce, self.verifier, self.redirect_uri)


class Departures:
    """Who has left and may come back. Methods fail with ``SharedUnavailable`` where the store cannot be asked."""

    def __init__(self, store: SharedStore, site: Site) -> None:
        self._store = store
        self._site = site

    async def keep(self, exchange: Exchange, provider: str, redirect_uri: str, handle: str) -> tuple[Flow, str]:
        """Remember a new departure; returns what the provider needs, and the value of the browser's cookie.

        Raises :class:`~ksproxyd.kapis.oauth.pending.TooManyWaiting`.
        """
        await self.count("left", exchange.client)
        # One browser may have left from several tabs.
        browser = cookie(self._site, exchange, LEFT_COOKIE) or secrets.token_urlsafe(32)
        flow = Flow(secrets.token_urlsafe(32), secrets.token_urlsafe(32), secrets.token_urlsafe(48), redirect_uri)
        left = Departure(provider, handle, flow.nonce, flow.verifier, redirect_uri, _digest(browser))
        await self._store.put(_key(flow.state), msgspec.json.encode(left), LIFETIME)
        return flow, browser

    async def count(self, what: str, source: str) -> None:
        """Count something that anybody may do. Raises ``TooManyWaiting`` if they have done it too often."""
        if await self._store.count(f"{what}-begun:{network_of(source)}", LIFETIME) > MOST:
            raise TooManyWaiting

    async def take(self, state: str) -> Departure | None:
        """The departure with this ``state``, once."""
        if _STATE.fullmatch(state) is None:
            return None
        raw = await self._store.take(_key(state))
        return None if raw is None else msgspec.json.decode(raw, type=Departure)

    def is_same(self, exchange: Exchange, left: Departure) -> bool:
        """Whether it is the browser that has left."""
        value = cookie(self._site, exchange, LEFT_COOKIE)
        return bool(value) and hmac.compare_digest(_digest(value), left.browser)


class ProviderLogin:
    """The start."""

    log = Logger()

    def __init__(
        self, providers: Providers, departures: Departures, site: Site, pending: Pending, pages: Pages, sign_in: SignIn
    ) -> None:
        self._providers = providers
        self._departures = departures
        self._site = site
        self._pending = pending
        self._pages = pages
        self._sign_in = sign_in

    async def get(self, exchange: Exchange, provider: str) -> Response:
        """Send the browser on. ``resume`` in the query is the handle of what it came for."""
        handle = parameter(exchange.query, "resume")
        if handle and await self._pending.look(handle) is None:
            if wants_page(exchange):
                return self._pages.failure(exchange, "expired_text", status=400, title="expired")
            raise bad_request("this sign-in has expired; begin again")
        try:
            found = self._providers.by_browser(provider)
            flow, browser = await self._departures.keep(exchange, provider, found.redirect_uri, handle)
            location = await found.begin(flow)
        except ProviderError as error:
            return await self._failed(exchange, provider, error, handle)
        left = set_cookie(self._site, exchange, LEFT_COOKIE, browser)
        return go_on(exchange, location.encode("ascii"), [left])

    async def _failed(self, exchange: Exchange, provider: str, error: ProviderError, handle: str) -> Response:
        self.log.warn("nobody can sign in at {provider}: {why}", provider=provider, why=error.message)
        if error.kind in ("unavailable", "answer"):
            if wants_page(exchange):
                return await self._sign_in.refused(exchange, handle, "provider")
            raise service_unavailable("the identity provider cannot be used at the moment; try again later", 5)
        return unknown(self._pages, exchange)


def unknown(pages: Pages, exchange: Exchange) -> Response:
    """The 404 for a provider that is not there, is switched off, or has no page to sign in at."""
    if wants_page(exchange):
        return pages.failure(exchange, "provider_unknown", status=404)
    raise not_found("there is no such identity provider to sign in at")


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


def _key(state: str) -> str:
    # Whoever reads the store cannot take part in a sign-in by it.
    return "left:" + _digest(state)
