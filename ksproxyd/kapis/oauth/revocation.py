"""POST ``/oauth/revoke``: a client has no more use for a token (RFC 7009; spec 02, D-25)."""

from __future__ import annotations

from ksproxyd.authn.rejection import Rejected
from ksproxyd.authn.tokens.claims import ACCESS, ID, REFRESH, STATIC
from ksproxyd.authn.tokens.service import Tokens
from ksproxyd.kapis.bodies import NO_STORE
from ksproxyd.kapis.oauth.client_auth import ClientAuthentication
from ksproxyd.kapis.oauth.errors import OAuthError, for_programs, invalid_grant, invalid_request
from ksproxyd.kapis.router import Handler
from ksproxyd.model.message import Response
from ksproxyd.server.exchange import Exchange

_ANY = frozenset({ACCESS, REFRESH, ID, STATIC})
_REVOCABLE = frozenset({ACCESS, REFRESH})


class Revocation:
    """A refresh token takes its whole login with it, an access token only itself."""

    def __init__(self, authentication: ClientAuthentication, tokens: Tokens) -> None:
        self._authentication = authentication
        self._tokens = tokens
        self.post: Handler = for_programs(self._post)

    async def _post(self, exchange: Exchange) -> Response:
        form = await self._authentication.read(exchange)
        token = form.get("token")
        if not token:
            raise invalid_request("The parameter token is missing.")
        try:
            # The hint of what it is (RFC 7009, 2.1) is not needed: tokens say it themselves.
            claims = await self._tokens.examine(token, types=_ANY, expired_too=True)
        except Rejected:
            # Nothing to be done is done (RFC 7009, 2.2).
            return Response(200, NO_STORE)
        if claims.token_type not in _REVOCABLE:
            raise OAuthError(400, "unsupported_token_type", "Only access and refresh tokens can be revoked.")
        if claims.client_id != form.client.name:
            raise invalid_grant("The token was issued to another client.")
        await self._tokens.revoke(claims)
        return Response(200, NO_STORE)
