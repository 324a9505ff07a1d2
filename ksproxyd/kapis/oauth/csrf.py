"""Forms are accepted only from pages of ours, in the browser that was given the page.

Every form carries a token that is an HMAC of what the form is for. Its key is a secret that only this browser has as a
cookie (before signing in) or only the gateway has beside the session (afterwards), so a page of another origin cannot
know the token. What the browser itself says of a form's origin is checked besides: a cookie can be planted by a
neighbouring host name, ``Sec-Fetch-Site`` and ``Origin`` cannot (RFC 6265, 8.6).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets

from ksproxyd.kapis.oauth.cookies import cookie, set_cookie
from ksproxyd.kapis.oauth.site import Site
from ksproxyd.model.message import Pairs
from ksproxyd.server.exchange import Exchange

#: Name of the cookie of a browser that has not signed in.
LOGIN_COOKIE = "ksproxyd_login"

_OWN = (b"same-origin", b"none")


class Csrf:
    """Makes and checks the tokens."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def browser_secret(self, exchange: Exchange) -> tuple[str, Pairs]:
        """The secret of a browser that has not signed in, and the field that gives it one if it has none yet."""
        known = self.known_secret(exchange)
        if known:
            return known, []
        fresh = secrets.token_urlsafe(32)
        return fresh, [set_cookie(self._site, exchange, LOGIN_COOKIE, fresh)]

    def known_secret(self, exchange: Exchange) -> str:
        """The secret that the browser has shown, empty without."""
        return cookie(self._site, exchange, LOGIN_COOKIE)

    def from_own_page(self, exchange: Exchange) -> bool:
        """Whether the browser says that the form was on a page of ours, or is none that says such things."""
        fields = exchange.fields
        site = fields.get(b"sec-fetch-site")
        if site is not None:
            # Scripts of a page may send forms, too; ours have none.
            return site in _OWN and fields.get(b"sec-fetch-mode") in (None, b"navigate")
        origin = fields.get(b"origin")
        return origin is None or self._site.is_own_origin(exchange, origin)

    def accepts(self, exchange: Exchange, secret: str, purpose: str, given: str) -> bool:
        """Whether a form may be carried out: ``given`` is its token, ``secret`` the browser's or the session's."""
        if not secret or not self.from_own_page(exchange):
            return False
        return hmac.compare_digest(token(secret, purpose).encode(), given.encode("utf-8", "replace"))


def token(secret: str, purpose: str) -> str:
    """The token of a form. ``purpose`` says what it is for, so that no form's token fits another."""
    digest = hmac.digest(secret.encode(), purpose.encode("utf-8", "replace"), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
