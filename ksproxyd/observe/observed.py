"""What metrics and logs look at in a request.

The exchange belongs to the server, which stands above this package; these protocols name the attributes of it
(and of its request info) that are read here, and nothing else of it is touched.
"""

from __future__ import annotations

from typing import Any, Protocol

from ksproxyd.model.query import parameters

#: What is reported for a request whose client left before there was an answer. Nobody's error.
CLIENT_GONE = 499

#: The status of a request whose connection became a tunnel.
SWITCHED = 101


class Classified(Protocol):
    """The request info: what the path and method stand for (spec 01, 2)."""

    @property
    def verb(self) -> str: ...
    @property
    def api_group(self) -> str: ...
    @property
    def api_version(self) -> str: ...
    @property
    def resource(self) -> str: ...
    @property
    def subresource(self) -> str: ...
    @property
    def namespace(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def cluster(self) -> str: ...
    @property
    def is_resource(self) -> bool: ...


class Named(Protocol):
    """The identity a request is from."""

    @property
    def name(self) -> str: ...


class Counted(Protocol):
    """The head of a request, which may serve many: what one with this info and status was counted in."""

    counted: tuple[object, int, Any]


class Observed(Protocol):
    """An exchange. ``info`` is None until the request has been classified."""

    @property
    def head(self) -> Counted: ...

    @property
    def id(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def target(self) -> bytes: ...
    @property
    def query(self) -> bytes: ...
    @property
    def minor(self) -> int: ...
    @property
    def client(self) -> str: ...
    @property
    def user(self) -> Named: ...
    @property
    def info(self) -> Any: ...
    @property
    def started(self) -> float: ...
    @property
    def status(self) -> int: ...
    @property
    def sent(self) -> int: ...
    @property
    def received(self) -> int: ...
    @property
    def node(self) -> str: ...
    @property
    def upstream_seconds(self) -> float: ...
    @property
    def notes(self) -> dict[str, Any] | None: ...


def long_running(exchange: Observed) -> bool:
    """Whether the request stays open by design: a watch, a followed log, a switched connection (spec 01, D4).

    An upgrade counts once it has happened: clients that offer ``h2c`` on every request do not switch.
    """
    if exchange.status == SWITCHED:
        return True
    info: Classified | None = exchange.info
    if info is None:
        return False
    return info.verb == "watch" or (info.subresource == "log" and follows(exchange.query))


def follows(query: bytes) -> bool:
    """Whether a log request's raw query asks to follow, as kube-apiserver reads it.

    The first ``follow`` counts; present without a value means true, only ``false`` and ``0`` mean false.
    """
    if b"follow" not in query and b"%" not in query:
        return False
    values = parameters(query).get("follow")
    return values is not None and values[0].lower() not in ("false", "0")
