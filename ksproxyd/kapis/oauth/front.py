"""Everything below ``/oauth`` that browsers come to, put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.interfaces import IReactorTime

from ksproxyd.authn.clients import OAuthClient
from ksproxyd.authn.tokens.service import Tokens
from ksproxyd.authn.user_record import UserRecord
from ksproxyd.kapis.oauth.answers import guarded
from ksproxyd.kapis.oauth.authorize import Authorize, ClientList, CodeMaker
from ksproxyd.kapis.oauth.browser import Browsers, Users
from ksproxyd.kapis.oauth.consent import ConsentPage
from ksproxyd.kapis.oauth.consents import Consents
from ksproxyd.kapis.oauth.csrf import Csrf
from ksproxyd.kapis.oauth.device import Devices
from ksproxyd.kapis.oauth.device_page import DevicePage
from ksproxyd.kapis.oauth.id_tokens import IdTokens
from ksproxyd.kapis.oauth.logout import Logout, hints
from ksproxyd.kapis.oauth.pages import Pages
from ksproxyd.kapis.oauth.pending import AuthorizeRequest, Pending
from ksproxyd.kapis.oauth.sign_in import Logins, ProviderList, SignIn
from ksproxyd.kapis.oauth.site import Site
from ksproxyd.kapis.router import Route
from ksproxyd.model.message import Response
from ksproxyd.server.exchange import Exchange
from ksproxyd.settings import Settings

if TYPE_CHECKING:
    from ksproxyd.authn.shared.store import SharedStore


class Front:
    """The pages and the endpoints that browsers come to; :meth:`routes` are relative to ``/oauth``.

    ``browsers``, ``pending``, ``pages``, ``csrf`` and ``sign_in`` are for who signs people in by other means:
    :meth:`SignIn.continue_after_sign_in` and :meth:`SignIn.refused`. Whatever ends a user's tokens ends their browsers
    as well: :meth:`Browsers.end_user`.
    """

    def __init__(
        self,
        clock: IReactorTime,
        settings: Settings,
        store: SharedStore,
        users: Users,
        clients: ClientList,
        codes: CodeMaker,
        devices: Devices,
        tokens: Tokens,
        logins: Logins,
        providers: ProviderList,
    ) -> None:
        ours = settings.ksproxyd
        self.site = Site(settings)
        self.pages = Pages(self.site)
        self.browsers = Browsers(clock, store, users, self.site, ours.oauth.browser_session)
        self.pending = Pending(store)
        csrf = self.csrf = Csrf(self.site)
        consents = Consents(store)
        self._id_tokens = IdTokens(tokens, url=ours.compat.url_claim)
        self._authorize = Authorize(
            clock,
            ours.oauth,
            self.site,
            clients,
            users,
            self.browsers,
            self.pending,
            consents,
            codes,
            self.pages,
            self._id_token,
            hints(tokens),
        )
        self.sign_in = SignIn(
            clock,
            self.site,
            users,
            clients,
            logins,
            providers,
            self.browsers,
            self.pending,
            consents,
            csrf,
            self.pages,
        )
        self._consent = ConsentPage(
            self.site, users, self.browsers, self.pending, consents, csrf, self.pages, self._authorize
        )
        self._device = DevicePage(self.site, devices, self.browsers, self.pending, csrf, self.pages)
        self._logout = Logout(self.site, tokens, clients, self.browsers, csrf, self.pages)

    def routes(self) -> list[Route]:
        """The routes."""
        found = [
            ("GET", "/authorize", self._authorize.get, "Authorization endpoint (RFC 6749)"),
            ("POST", "/authorize", self._authorize.post, "Authorization endpoint, the request as a form"),
            ("GET", "/login", self.sign_in.get, "Page to sign in"),
            ("POST", "/login", self.sign_in.post, "Sign in with a password"),
            ("GET", "/consent", self._consent.get, "Page that asks whether a client may act for somebody"),
            ("POST", "/consent", self._consent.post, "The answer"),
            ("POST", "/consents", self._consent.revoke, "Take back what a client may do"),
            ("GET", "/device", self._device.get, "Page to let a device in (RFC 8628)"),
            ("POST", "/device", self._device.post, "Let a device in, or not"),
            ("GET", "/logout", self._logout.get, "Log out (OpenID Connect RP-Initiated Logout)"),
            ("POST", "/logout", self._logout.post, "Log out, the request as a form"),
        ]
        routes = [
            Route(method, pattern, guarded(self.pages, handler), text) for method, pattern, handler, text in found
        ]
        return [*routes, Route("GET", "/assets/{name}", self._asset, "What pages load")]

    def _asset(self, exchange: Exchange, name: str) -> Response:
        return self.pages.asset(exchange, name)

    def _id_token(self, client: OAuthClient, user: UserRecord, request: AuthorizeRequest, auth_time: float) -> str:
        return self._id_tokens.make(client, user, request.scopes, auth_time=auth_time, nonce=request.nonce)
