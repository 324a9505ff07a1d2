"""POST ``/oauth/introspect``: whether a token is good, and what it says (RFC 7662; spec 02, D-25).

A client is told about its own tokens, a trusted one about all. About anything else it is told what it is told about a
token that there never was: that it is not active.
"""

from __future__ import annotations

from typing import Any, Protocol

from ksproxyd.authn.clients import OAuthClient
from ksproxyd.authn.directory import Directory
from ksproxyd.authn.rejection import Rejected, SharedUnavailable
from ksproxyd.authn.tokens.claims import ACCESS, REFRESH, STATIC, Claims
from ksproxyd.authn.tokens.service import Tokens
from ksproxyd.authn.user_record import DISABLED
from ksproxyd.kapis.bodies import NO_STORE
from ksproxyd.kapis.oauth.client_auth import ClientAuthentication
from ksproxyd.kapis.oauth.errors import for_programs, invalid_request
from ksproxyd.kapis.router import Handler
from ksproxyd.model.message import Response
from ksproxyd.server.exchange import Exchange

_ANY = frozenset({ACCESS, REFRESH, STATIC})
_INACTIVE: dict[str, Any] = {"active": False}


class ServiceAccounts(Protocol):
    """Whether the ServiceAccount of a static token is there."""

    def __call__(self, claims: Claims) -> bool: ...


class Introspection:
    """Only clients with a secret may ask: another's name is no proof of anything (RFC 7662, 2.1).

    ``users`` is whether the user of a token must be one of ours (not on a member cluster).
    """

    def __init__(
        self,
        authentication: ClientAuthentication,
        tokens: Tokens,
        directory: Directory,
        service_account: ServiceAccounts,
        *,
        users: bool,
    ) -> None:
        self._authentication = authentication
        self._tokens = tokens
        self._directory = directory
        self._service_account = service_account
        self._users = users
        self.post: Handler = for_programs(self._post)

    async def _post(self, exchange: Exchange) -> Response:
        form = await self._authentication.read(exchange, public=False)
        token = form.get("token")
        if not token:
            raise invalid_request("The parameter token is missing.")
        try:
            claims = await self._tokens.examine(token, types=_ANY)
        except Rejected:
            return Response.json(200, _INACTIVE, NO_STORE)
        active = self._may_know(form.client, claims) and self._is_somebody(claims) and await self._tokens.alive(claims)
        return Response.json(200, _said(claims) if active else _INACTIVE, NO_STORE)

    def _may_know(self, client: OAuthClient, claims: Claims) -> bool:
        return client.trusted or (bool(claims.client_id) and claims.client_id == client.name)

    def _is_somebody(self, claims: Claims) -> bool:
        """Whether whoever the token is of would be let in."""
        if claims.token_type == STATIC:
            return self._service_account(claims)
        if not self._users:
            return True
        if not self._directory.synced:
            raise SharedUnavailable("the users are not known yet")
        record = self._directory.find(claims.username)
        return record is not None and record.state != DISABLED


def _said(claims: Claims) -> dict[str, Any]:
    """RFC 7662, 2.2; ``token_use`` tells a refresh token apart."""
    refresh = claims.token_type == REFRESH
    said: dict[str, Any] = {
        "active": True,
        "token_type": None if refresh else "Bearer",
        "token_use": "refresh" if refresh else "access",
        "sub": claims.sub,
        "username": claims.username,
        "client_id": claims.client_id,
        "scope": " ".join(claims.scopes),
        "iss": claims.iss,
        "iat": claims.iat,
        "exp": claims.exp,
        "aud": list(claims.aud),
        "jti": claims.jti,
    }
    return {name: value for name, value in said.items() if value}
