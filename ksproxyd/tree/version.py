"""``/version`` and ``/kapis/version`` (spec 01, 1.6): what runs here and what Kubernetes it stands in front of."""

from __future__ import annotations

from typing import Protocol

import msgspec

from ksproxyd.model.message import Fields, Response
from ksproxyd.model.status import StatusError, method_not_allowed
from ksproxyd.observe.build import BuildInfo

_ALLOWED = ["GET", "HEAD"]


class Request(Protocol):
    """What the node reads of an exchange."""

    @property
    def method(self) -> str: ...
    @property
    def fields(self) -> Fields: ...


class Version:
    """The node of both paths; the body is made once, not for each request.

    ``kubernetes`` is the body of the API server's own ``/version``. Raises :class:`ValueError` unless it is a JSON
    object that has a ``gitVersion``, which the readers of this document rely on.
    """

    def __init__(self, build: BuildInfo, kubernetes: bytes) -> None:
        self._build = build
        self._body = b""
        self.refresh(kubernetes)

    def refresh(self, kubernetes: bytes) -> None:
        """The API server says something else: it was upgraded. Raises as the constructor, and then keeps the old."""
        version = msgspec.json.decode(kubernetes)
        if not isinstance(version, dict) or not isinstance(version.get("gitVersion"), str):
            raise ValueError("the API server's version has no gitVersion")
        document = {**msgspec.to_builtins(self._build), "kubernetes": version}
        self._body = msgspec.json.format(msgspec.json.encode(document), indent=1)

    def handle(self, exchange: Request) -> Response:
        """200 with the document. Raises a 405 or 406 :class:`~ksproxyd.model.status.StatusError`."""
        if exchange.method not in _ALLOWED:
            raise method_not_allowed(_ALLOWED)
        if not accepts_json(exchange.fields.get(b"accept")):
            raise StatusError(406, "NotAcceptable", "Available representations: application/json")
        return Response(200, [(b"Content-Type", b"application/json")], self._body)

    def describe(self) -> str:
        """One line for the list of routes."""
        return "version"


def accepts_json(accept: bytes | None) -> bool:
    """Whether an ``Accept`` field admits ``application/json`` (RFC 9110, 12.5.1); an absent or empty one does.

    The most specific range that matches decides, so that ``*/*, application/json;q=0`` refuses.
    """
    if accept is None or not accept.strip():
        return True
    best = (-1, False)
    for clause in accept.lower().split(b","):
        media, *params = [part.strip() for part in clause.split(b";")]
        if media in _RANGES:
            refused = any(param.replace(b" ", b"") in _REFUSED for param in params)
            best = max(best, (_RANGES[media], not refused))
    return best[1]


#: The media ranges that cover JSON, and how specific they are.
_RANGES = {b"*/*": 0, b"application/*": 1, b"application/json": 2}
_REFUSED = frozenset((b"q=0", b"q=0.", b"q=0.0", b"q=0.00", b"q=0.000"))
