"""The cookies of the pages: opaque secrets, sent back to the pages only (RFC 6265bis, 4.1)."""

from __future__ import annotations

import re

from ksproxyd.kapis.oauth.site import Site
from ksproxyd.server.exchange import Exchange

_VALUE = re.compile(rb"[A-Za-z0-9_-]{43}")


def set_cookie(site: Site, exchange: Exchange, name: str, value: str) -> tuple[bytes, bytes]:
    """The field that gives the browser a cookie until it is closed. An empty ``value`` takes it away.

    ``SameSite=Lax``: people come here by links of other sites, and are to be known then; forms of other sites come
    without. Over TLS the name's prefix keeps anybody without TLS from setting it.
    """
    secure = site.secure(exchange)
    parts = [f"{_full(name, secure)}={value}", f"Path={site.root}", "HttpOnly", "SameSite=Lax"]
    if secure:
        parts.append("Secure")
    if not value:
        parts.append("Max-Age=0")
    return b"Set-Cookie", "; ".join(parts).encode("ascii")


def cookie(site: Site, exchange: Exchange, name: str) -> str:
    """The value of the cookie ``name``; empty if there is none, it cannot be ours, or there are two.

    Another host of the same domain can add a cookie of the same name; which of the two is ours nobody can tell.
    """
    wanted = _full(name, site.secure(exchange)).encode()
    found = []
    for line in exchange.fields.all(b"cookie"):
        for pair in line.split(b";"):
            key, _, value = pair.strip().partition(b"=")
            if key == wanted and value not in found:
                found.append(value)
    if len(found) != 1 or _VALUE.fullmatch(found[0]) is None:
        return ""
    return found[0].decode("ascii")


def _full(name: str, secure: bool) -> str:
    return f"__Secure-{name}" if secure else name
