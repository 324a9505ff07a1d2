"""POST ``/oauth/device_authorization``: a program without a browser begins to log somebody in (RFC 8628, 3.1)."""

from __future__ import annotations

from ksproxyd.authn.clients import OAuthClient
from ksproxyd.kapis.bodies import NO_STORE
from ksproxyd.kapis.oauth.client_auth import ClientAuthentication
from ksproxyd.kapis.oauth.device import Devices, TooMany
from ksproxyd.kapis.oauth.errors import OAuthError, for_programs
from ksproxyd.kapis.oauth.site import Site
from ksproxyd.kapis.router import Handler
from ksproxyd.model.message import Response
from ksproxyd.server.client_address import client_facing
from ksproxyd.server.exchange import Exchange

#: The page on which people enter the code, below ``/oauth``.
PAGE = "/device"


class DeviceAuthorizationEndpoint:
    """Hands out the codes that :class:`Devices` makes."""

    def __init__(self, authentication: ClientAuthentication, devices: Devices, site: Site) -> None:
        self._authentication = authentication
        self._devices = devices
        self._site = site
        self.post: Handler = for_programs(self._post)

    async def _post(self, exchange: Exchange) -> Response:
        form = await self._authentication.read(exchange)
        if form.client.grant_method == "deny":
            raise OAuthError(400, "unauthorized_client", "Nobody may let this client in.")
        scopes = _scopes(form.client, form.get("scope"))
        try:
            begun = await self._devices.begin(form.client.name, scopes, exchange.client)
        except TooMany as many:
            error, why = "temporarily_unavailable", "Too many programs have begun to log in; try again later."
            raise OAuthError(429, error, why, retry_after=many.retry_after) from None
        page = self._origin(exchange) + self._site.at(PAGE).decode("ascii")
        answer = {
            "device_code": begun.device_code,
            "user_code": begun.user_code,
            "verification_uri": page,
            "verification_uri_complete": f"{page}?user_code={begun.user_code}",
            "expires_in": begun.expires_in,
            "interval": begun.interval,
        }
        return Response.json(200, answer, NO_STORE)

    def _origin(self, exchange: Exchange) -> str:
        """Scheme and host of our addresses: the issuer's or, if it has no name, those that the program has come by.

        It is the program itself that is told, so nothing can be done to anybody else by a wrong name.
        """
        scheme, slashes, rest = self._site.issuer.partition("://")
        if slashes:
            return f"{scheme}://{rest.partition('/')[0]}"
        own, host = client_facing(exchange)
        return f"{own.decode('ascii')}://{host.decode('ascii', 'replace')}"


def _scopes(client: OAuthClient, asked: str) -> tuple[str, ...]:
    """RFC 6749, 3.3. Nothing asked for is nothing in particular: tokens that are not limited, as with a password."""
    scopes = tuple(dict.fromkeys(asked.split()))
    if not set(scopes) <= set(client.scopes):
        raise OAuthError(400, "invalid_scope", "The requested scope is invalid or not supported.")
    return scopes
