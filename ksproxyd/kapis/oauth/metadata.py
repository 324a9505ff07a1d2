"""What the server says of itself: discovery documents and keys (spec 02, 3.2, 3.3 and D-25).

The same document is the one of OpenID Connect Discovery 1.0, 4 and of RFC 8414. All addresses begin with the issuer, as
it is configured: never with what a request says that our name is, or whoever can have a wrong document cached chooses
where people log in.
"""

from __future__ import annotations

from typing import Any

from ksproxyd.authn.code_challenge import METHODS as CHALLENGE_METHODS
from ksproxyd.authn.tokens.service import Tokens
from ksproxyd.kapis.oauth.client_auth import METHODS as CLIENT_METHODS
from ksproxyd.kapis.oauth.token import ADVERTISED
from ksproxyd.kapis.oauth.user_claims import CLAIMS, SCOPES
from ksproxyd.model.message import Response
from ksproxyd.model.status import not_found, service_unavailable
from ksproxyd.server.exchange import Exchange
from ksproxyd.settings import Settings

#: How long others may keep the documents, in seconds: a new key is published before anybody asks for it by name, and
#: whoever meets an unknown key asks again.
_MAX_AGE = 300

_TOKEN_CLAIMS = ("iss", "sub", "aud", "iat", "exp", "auth_time", "nonce", "at_hash", "sid")


class Metadata:
    """The documents. ``origin`` of addresses is the issuer without a slash at its end."""

    def __init__(self, settings: Settings, tokens: Tokens) -> None:
        self._issuer = settings.authentication.issuer.url
        self._implicit = settings.ksproxyd.oauth.implicit_flow
        self._url_claim = settings.ksproxyd.compat.url_claim
        self._tokens = tokens

    def discovery(self, exchange: Exchange) -> Response:
        """GET ``/.well-known/openid-configuration`` and ``/.well-known/oauth-authorization-server``."""
        if not self._issuer:
            raise not_found(
                "there is no discovery document, as the issuer has no name: set authentication.issuer.url to the URL "
                "by which people reach this gateway"
            )
        return Response.json(200, self.document(), _cacheable())

    def keys(self, exchange: Exchange) -> Response:
        """GET ``/oauth/keys``: what id tokens are verified with."""
        keys = self._tokens.public_keys()
        if not keys["keys"]:
            raise service_unavailable("the key that signs id tokens is not known yet; try again", 2)
        return Response.json(200, keys, _cacheable())

    def document(self) -> dict[str, Any]:
        """The discovery document."""
        oauth = self._issuer.rstrip("/") + "/oauth"
        shown = [method for method in CLIENT_METHODS if method != "none"]
        return {
            "issuer": self._issuer,
            "authorization_endpoint": f"{oauth}/authorize",
            "token_endpoint": f"{oauth}/token",
            "userinfo_endpoint": f"{oauth}/userinfo",
            "jwks_uri": f"{oauth}/keys",
            "end_session_endpoint": f"{oauth}/logout",
            "revocation_endpoint": f"{oauth}/revoke",
            "introspection_endpoint": f"{oauth}/introspect",
            "device_authorization_endpoint": f"{oauth}/device_authorization",
            "grant_types_supported": list(ADVERTISED) + (["implicit"] if self._implicit else []),
            "response_types_supported": ["code", "id_token"] if self._implicit else ["code"],
            "response_modes_supported": ["query", "fragment"] if self._implicit else ["query"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": list(self._tokens.signing_algorithms),
            "code_challenge_methods_supported": list(CHALLENGE_METHODS),
            "scopes_supported": list(SCOPES),
            "token_endpoint_auth_methods_supported": list(CLIENT_METHODS),
            "revocation_endpoint_auth_methods_supported": list(CLIENT_METHODS),
            "introspection_endpoint_auth_methods_supported": shown,
            "claims_supported": [*_TOKEN_CLAIMS, *CLAIMS, *(["url"] if self._url_claim else [])],
            "authorization_response_iss_parameter_supported": True,
            "request_parameter_supported": False,
            # Supported, if nothing is said (OpenID Connect Discovery, 3).
            "request_uri_parameter_supported": False,
        }


def _cacheable() -> list[tuple[bytes, bytes]]:
    return [(b"Cache-Control", b"public, max-age=%d" % _MAX_AGE)]
