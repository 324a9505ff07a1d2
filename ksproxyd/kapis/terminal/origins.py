"""Which pages may open terminals (spec 05, D1): browsers let any page open a WebSocket anywhere, and say whose."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ksproxyd.chain.cors import Cors
from ksproxyd.model.status import StatusError, bad_request, forbidden
from ksproxyd.server.client_address import client_facing
from ksproxyd.server.exchange import Exchange

_OWN_PORTS = {b"http": b":80", b"https": b":443"}


class _Rules(msgspec.Struct, frozen=True):
    """What an allow-list of origins needs besides the origins."""

    allowed_origins: Sequence[str]
    allowed_methods: Sequence[str] = ()
    allowed_headers: Sequence[str] = ()
    exposed_headers: Sequence[str] = ()
    allow_credentials: bool = False
    max_age: float = 0.0


class Origins:
    """The gateway's own origin, and those of ``terminal.allowedOrigins`` (:data:`ksproxyd.settings.kinds.Origin`)."""

    def __init__(self, allowed: Sequence[str]) -> None:
        self._others = Cors(_Rules(allowed))

    def check(self, exchange: Exchange) -> str:
        """The request's origin; empty where no browser has sent it. Raises the 403 for one that may not.

        A page without an origin of its own (``null``) is nobody's and may not.
        """
        given = exchange.fields.all(b"origin")
        if not given:
            return ""
        if len(given) > 1:
            raise bad_request("the request has more than one Origin field")
        if not self.allows(exchange, given[0]):
            raise _not_allowed(given[0])
        return given[0].decode("ascii")

    def allows(self, exchange: Exchange, origin: bytes) -> bool:
        """Whether a page of ``origin`` may open a terminal at the gateway as ``exchange`` has addressed it."""
        return is_own(exchange, origin) or self._others.allows(origin)


def is_own(exchange: Exchange, origin: bytes) -> bool:
    """Whether ``origin`` is the gateway's as the client addresses it, through proxies that are trusted."""
    scheme, host = client_facing(exchange)
    if not host:
        return False
    return _shortest(scheme + b"://" + host.lower()) == _shortest(origin.lower())


def only_own_page(exchange: Exchange) -> str:
    """The origin of the gateway's own page that has sent ``exchange``. Raises the 403 for anybody else.

    Every browser sends ``Origin`` with POST, and JSON makes it ask first whether another site may send this at all.
    """
    origin = exchange.fields.get(b"origin")
    site = exchange.fields.get(b"sec-fetch-site")
    if origin is None or not is_own(exchange, origin) or site not in (None, b"same-origin"):
        raise forbidden("only a page of the gateway's own may trade its sign-in")
    return origin.decode("ascii")


def _shortest(origin: bytes) -> bytes:
    """``origin`` without the port that its scheme has anyway."""
    return origin.removesuffix(_OWN_PORTS.get(origin.partition(b":")[0], b":"))


def _not_allowed(origin: bytes) -> StatusError:
    shown = ascii(origin[:200].decode("latin-1"))
    return forbidden(
        f"pages of {shown} may not open terminals here; if they should, name that origin in terminal.allowedOrigins"
    )
