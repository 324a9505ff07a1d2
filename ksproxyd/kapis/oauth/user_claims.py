"""What an id token and ``/oauth/userinfo`` say of a user (OpenID Connect Core, 5.1; spec 02, 2.2 and D-27). Pure."""

from __future__ import annotations

from typing import Any

from ksproxyd.authn.user_record import UserRecord

OPENID, EMAIL, PROFILE = "openid", "email", "profile"

#: The scopes that mean something, as the discovery document lists them.
SCOPES = (OPENID, EMAIL, PROFILE)

#: What may be said, likewise.
CLAIMS = ("email", "locale", "name", "preferred_username")


def user_claims(record: UserRecord, scopes: tuple[str, ...] | None, *, url: bool) -> dict[str, Any]:
    """What may be said of the user of ``record`` where ``scopes`` were granted; with None, everything.

    Empty values are left out. ``url``: the user's name is there once more as ``url``, as in ks-apiserver's answers.
    """
    claims: dict[str, Any] = {}
    if scopes is None or PROFILE in scopes:
        claims["name"] = record.display_name or record.name
        claims["preferred_username"] = record.name
        if record.lang:
            claims["locale"] = record.lang
    if (scopes is None or EMAIL in scopes) and record.email:
        claims["email"] = record.email
    if url:
        claims["url"] = record.name
    return claims
