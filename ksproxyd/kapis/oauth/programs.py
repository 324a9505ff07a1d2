"""Everything below ``/oauth`` that programs call, put together."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

from ksproxyd.authn.clients import Clients
from ksproxyd.authn.codes import Codes
from ksproxyd.authn.directory import Directory
from ksproxyd.authn.login import Login
from ksproxyd.authn.passwords import Passwords
from ksproxyd.authn.shared.store import SharedStore
from ksproxyd.authn.tokens.service import Tokens
from ksproxyd.kapis.oauth.client_auth import ClientAuthentication
from ksproxyd.kapis.oauth.device import Devices
from ksproxyd.kapis.oauth.device_authorization import DeviceAuthorizationEndpoint
from ksproxyd.kapis.oauth.grants import Grants
from ksproxyd.kapis.oauth.id_tokens import IdTokens
from ksproxyd.kapis.oauth.introspection import Introspection, ServiceAccounts
from ksproxyd.kapis.oauth.metadata import Metadata
from ksproxyd.kapis.oauth.review import Authentication, TokenReviews
from ksproxyd.kapis.oauth.revocation import Revocation
from ksproxyd.kapis.oauth.site import Site
from ksproxyd.kapis.oauth.token import TokenEndpoint
from ksproxyd.kapis.oauth.userinfo import UserInfo
from ksproxyd.kapis.router import Route
from ksproxyd.settings import Settings


class Programs:
    """The endpoints; :meth:`routes` are relative to ``/oauth``, :meth:`well_known` to ``/.well-known``.

    ``codes`` and ``devices`` are what the pages need that give programs their codes. ``service_account`` tells whether
    the ServiceAccount of a static token is there.
    """

    def __init__(
        self,
        clock: IReactorTime,
        settings: Settings,
        store: SharedStore,
        directory: Directory,
        clients: Clients,
        passwords: Passwords,
        login: Login,
        tokens: Tokens,
        authentication: Authentication,
        service_account: ServiceAccounts,
    ) -> None:
        ours = settings.ksproxyd
        self.codes = Codes(store, ours.oauth.code_lifetime)
        self.devices = Devices(clock, store, ours.oauth.device_lifetime, ours.oauth.device_interval)
        own_users = settings.multicluster.cluster_role != "member"
        by_secret = ClientAuthentication(clients, passwords)
        id_tokens = IdTokens(tokens, url=ours.compat.url_claim)
        grants = Grants(clock, tokens, login, directory, self.codes, self.devices, id_tokens)
        self._token = TokenEndpoint(by_secret, grants, login.turnstile)
        self._device = DeviceAuthorizationEndpoint(by_secret, self.devices, Site(settings))
        self._revocation = Revocation(by_secret, tokens)
        self._introspection = Introspection(by_secret, tokens, directory, service_account, users=own_users)
        self._userinfo = UserInfo(directory, url=ours.compat.url_claim)
        self._reviews = TokenReviews(authentication, directory)
        self._metadata = Metadata(settings, tokens)

    def routes(self) -> list[Route]:
        """The routes below ``/oauth``."""
        return [
            Route("POST", "/token", self._token.post, "Get tokens for a code, a refresh token, a device, a password"),
            Route("POST", "/device_authorization", self._device.post, "Begin a login of a device (RFC 8628)"),
            Route("POST", "/revoke", self._revocation.post, "Revoke a token (RFC 7009)"),
            Route("POST", "/introspect", self._introspection.post, "Ask about a token (RFC 7662)"),
            Route("GET", "/userinfo", self._userinfo.answer, "Who the bearer of a token is"),
            Route("POST", "/userinfo", self._userinfo.answer, "Who the bearer of a token is"),
            Route("POST", "/authenticate", self._reviews.post, "Review a token, for API servers"),
            Route("GET", "/keys", self._metadata.keys, "The keys that verify id tokens"),
        ]

    def well_known(self) -> list[Route]:
        """The routes below ``/.well-known``."""
        return [
            Route("GET", "/openid-configuration", self._metadata.discovery, "The OpenID Connect discovery document"),
            Route("GET", "/oauth-authorization-server", self._metadata.discovery, "The same, by RFC 8414"),
        ]
