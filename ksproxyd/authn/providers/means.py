"""What providers are made with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ksproxyd.authn.providers.web import Web
from ksproxyd.upstream.pool import Dialer


class Means(NamedTuple):
    """``timeout`` is ``ksproxyd.timeouts.identityProvider`` in seconds, ``http`` ``…identityProviders.allowHttp``.

    ``callback(name)`` is the address of our callback for the provider of that name; empty where we do not know our own
    address (``authentication.issuer.url``).
    """

    reactor: Any
    dialer: Dialer
    web: Web
    timeout: float
    http: bool
    callback: Callable[[str], str]
