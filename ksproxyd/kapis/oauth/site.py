"""Under which addresses the pages are, as a browser sees them."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from ksproxyd.model.percent import UNRESERVED, quote
from ksproxyd.server.client_address import client_facing
from ksproxyd.server.exchange import Exchange
from ksproxyd.settings import Settings

_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)*")


class Site:
    """``issuer`` is the URL that tokens name; its path, if it has one, stands before every path of ours."""

    def __init__(self, settings: Settings) -> None:
        self.issuer = settings.authentication.issuer.url
        path = _path_of(self.issuer)
        self.root = f"{path}/oauth"
        configured = settings.ksproxyd.oauth.sign_in_url
        self.sign_in_url = configured or f"{self.root}/login"
        #: Whether people sign in on our own page.
        self.own_sign_in = not configured

    def at(self, path: str, **query: str) -> bytes:
        """The address of ``path`` below ``/oauth``, with the parameters that are not empty."""
        return _with_query(self.root + path, query)

    def terminal(self, query: str = "") -> bytes:
        """The address of the page with a terminal. ``query`` is well-formed and without ``?``."""
        page = self.root.removesuffix("/oauth") + "/terminal/"
        return (f"{page}?{query}" if query else page).encode("ascii", "ignore")

    def sign_in(self, resume: str, **query: str) -> bytes:
        """Where people sign in, with the handle of what they want to go on with."""
        return _with_query(self.sign_in_url, {"resume": resume, **query})

    def secure(self, exchange: Exchange) -> bool:
        """Whether the browser speaks TLS, to us or to a proxy that we trust."""
        return client_facing(exchange)[0] == b"https"

    def is_own_origin(self, exchange: Exchange, origin: bytes) -> bool:
        """Whether a page of ours has this ``Origin``: that of the request, or the issuer's where a proxy hides it."""
        scheme, host = client_facing(exchange)
        own = {scheme + b"://" + host.lower()} if host else set()
        parts = urlsplit(self.issuer)
        if parts.scheme and parts.netloc:
            own.add(f"{parts.scheme}://{parts.netloc}".lower().encode())
        return origin.lower() in own


def _path_of(url: str) -> str:
    path = urlsplit(url).path.rstrip("/")
    return path if _PATH.fullmatch(path) else ""


def _with_query(address: str, query: dict[str, str]) -> bytes:
    given = [(name.encode(), quote(value.encode(), UNRESERVED)) for name, value in query.items() if value]
    pairs = b"&".join(name + b"=" + value for name, value in given)
    base = address.encode("ascii", "ignore")
    if not pairs:
        return base
    return base + (b"&" if b"?" in base else b"?") + pairs
