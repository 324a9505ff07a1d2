"""Everything below ``/oauth``, and the discovery documents, as routes (spec 02, 3.1).

Programs' endpoints are made here; those that browsers come to, and what identity providers send people back to, are
made elsewhere and joined by :func:`oauth_routes`.
"""

from __future__ import annotations

from collections.abc import Iterable

from ksproxyd.kapis.oauth.device_authorization import DeviceAuthorizationEndpoint
from ksproxyd.kapis.oauth.introspection import Introspection
from ksproxyd.kapis.oauth.metadata import Metadata
from ksproxyd.kapis.oauth.review import TokenReviews
from ksproxyd.kapis.oauth.revocation import Revocation
from ksproxyd.kapis.oauth.token import TokenEndpoint
from ksproxyd.kapis.oauth.userinfo import UserInfo
from ksproxyd.kapis.router import Route, Router

#: Where the two routers are in the tree.
PREFIX, WELL_KNOWN = "/oauth", "/.well-known"


def program_routes(
    *,
    token: TokenEndpoint,
    device: DeviceAuthorizationEndpoint,
    revocation: Revocation,
    introspection: Introspection,
    userinfo: UserInfo,
    reviews: TokenReviews,
    metadata: Metadata,
) -> tuple[Route, ...]:
    """The endpoints that programs call, below :data:`PREFIX`."""
    return (
        Route("POST", "/token", token.post, "Get tokens for a code, a refresh token, a device or a password"),
        Route("POST", "/device_authorization", device.post, "Begin a login of a device without a browser"),
        Route("POST", "/revoke", revocation.post, "Revoke a token"),
        Route("POST", "/introspect", introspection.post, "Ask about a token"),
        Route("GET", "/userinfo", userinfo.answer, "Who the bearer is"),
        Route("POST", "/userinfo", userinfo.answer, "Who the bearer is"),
        Route("POST", "/authenticate", reviews.post, "Review a token, as Kubernetes' webhooks do"),
        Route("GET", "/keys", metadata.keys, "The keys that verify id tokens"),
    )


def oauth_routes(*parts: Iterable[Route]) -> Router:
    """The node at ``/oauth``, of the routes of all ``parts``. Raises :class:`ValueError` if one is there twice."""
    return Router(PREFIX, "OAuth 2.0 and OpenID Connect", [route for part in parts for route in part])


def well_known_routes(metadata: Metadata) -> Router:
    """The node at ``/.well-known``."""
    return Router(
        WELL_KNOWN,
        "discovery documents",
        (
            Route("GET", "/openid-configuration", metadata.discovery, "The OpenID Connect discovery document"),
            Route("GET", "/oauth-authorization-server", metadata.discovery, "The OAuth 2.0 server metadata"),
        ),
    )
