"""GET and POST ``/oauth/userinfo``: who the bearer of a token is (OpenID Connect Core, 5.3; spec 02, 3.4 and D-28)."""

from __future__ import annotations

from typing import Any

from ksproxyd.authn.directory import Directory
from ksproxyd.authn.rejection import REALM, SharedUnavailable
from ksproxyd.kapis.bodies import NO_STORE
from ksproxyd.kapis.oauth.errors import OAuthError, for_programs
from ksproxyd.kapis.oauth.user_claims import OPENID, user_claims
from ksproxyd.kapis.router import Handler
from ksproxyd.model.identity import ANONYMOUS
from ksproxyd.model.message import Response
from ksproxyd.server.exchange import Exchange


class UserInfo:
    """Any accepted credential will do, as in ks-apiserver. ``url``: see :func:`user_claims`."""

    def __init__(self, directory: Directory, *, url: bool) -> None:
        self._directory = directory
        self._url = url
        self.answer: Handler = for_programs(self._answer)

    async def _answer(self, exchange: Exchange) -> Response:
        if exchange.user.name == ANONYMOUS.name:
            raise OAuthError(401, "login_required", "", headers=[_challenge()])
        claims: Any = exchange.claims
        scopes: tuple[str, ...] | None = None
        if claims is not None and claims.scopes:
            scopes = claims.scopes
            if OPENID not in claims.scopes:
                error, why = "insufficient_scope", "The access token was not issued with the scope openid."
                raise OAuthError(403, error, why, headers=[_challenge(error, "openid")])
        if not self._directory.synced:
            raise SharedUnavailable("the users are not known yet")
        record = self._directory.find(exchange.user.name)
        if record is None:
            raise OAuthError(403, "access_denied", "The credential is not that of a user.")
        return Response.json(200, {"sub": record.name, **user_claims(record, scopes, url=self._url)}, NO_STORE)


def _challenge(error: str = "", scope: str = "") -> tuple[bytes, bytes]:
    """RFC 6750, 3."""
    value = f'Bearer realm="{REALM}"'
    if error:
        value += f', error="{error}", scope="{scope}"'
    return b"WWW-Authenticate", value.encode("ascii")
