"""Third step: who the request is from.

Only anonymous requests are known as yet. One that shows credentials is refused rather than served as somebody else:
a client that believes itself logged in must not act as nobody, on whatever path (spec 01, 3.1).
"""

from __future__ import annotations

from ksproxyd.model.identity import ANONYMOUS
from ksproxyd.model.status import unauthorized
from ksproxyd.server.exchange import Exchange


def authenticate(exchange: Exchange) -> None:
    """Set ``exchange.user``. Raises a 401 :class:`~ksproxyd.model.status.StatusError` for credentials nobody knows."""
    credentials = exchange.fields.get(b"authorization")
    if credentials is not None and credentials.strip():
        raise unauthorized("The request cannot be authenticated.")
    exchange.user = ANONYMOUS
