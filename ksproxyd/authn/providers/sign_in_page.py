"""What ``check-idp`` says of providers that people sign in to on their own page."""

from __future__ import annotations

from urllib.parse import urlsplit

from ksproxyd.authn.providers.provider import Step


def checked_redirect(name: str, redirect_uri: str) -> Step:
    """Whether browsers come back to us."""
    if urlsplit(redirect_uri).path.endswith(f"/oauth/callback/{name}"):
        return Step("redirect", True, f"browsers come back to {redirect_uri}; it must be registered there")
    return Step(
        "redirect",
        False,
        f"browsers come back to {redirect_uri}, which is not our callback",
        f"Let redirectURL end with /oauth/callback/{name}, or leave it out; register the same address at the provider. "
        "Another page only works if it passes everything on, and needs ksproxyd.compat.legacyCallback.",
    )
