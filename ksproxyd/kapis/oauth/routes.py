"""The two nodes of the tree that OAuth has, of the routes that its parts bring (spec 02, 3.1)."""

from __future__ import annotations

from collections.abc import Iterable

from ksproxyd.kapis.router import Route, Router

#: Where they are.
PREFIX, WELL_KNOWN = "/oauth", "/.well-known"


def oauth_routes(*parts: Iterable[Route]) -> Router:
    """The node at ``/oauth``, of the routes of all ``parts``. Raises :class:`ValueError` if one is there twice."""
    return Router(PREFIX, "OAuth 2.0 and OpenID Connect", [route for part in parts for route in part])


def well_known_routes(*parts: Iterable[Route]) -> Router:
    """The node at ``/.well-known``."""
    return Router(WELL_KNOWN, "discovery documents", [route for part in parts for route in part])
