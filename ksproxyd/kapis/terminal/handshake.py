"""What a WebSocket client asks for, and whether it may be answered with 101 (RFC 6455, 4.2; spec 05, 1.4).

Whoever asks without upgrading gets 400 and never 404, by which the stock console tells whether a route is there.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from typing import NamedTuple

from ksproxyd.model.status import StatusError, bad_request, method_not_allowed
from ksproxyd.server.exchange import Exchange

_VERSION = (b"Sec-WebSocket-Version", b"13")


class Handshake(NamedTuple):
    """A handshake that is good. ``offered`` are the subprotocols, in the client's order."""

    key: bytes
    offered: tuple[str, ...]


def check(exchange: Exchange) -> Handshake:
    """Raises the error for what is no handshake of a WebSocket client, in the order in which ks-apiserver looks."""
    fields = exchange.fields
    if b"upgrade" not in _tokens(fields.all(b"connection")):
        raise _bad("this is a terminal: it is opened as a WebSocket, with Connection: Upgrade")
    if b"websocket" not in _tokens(fields.all(b"upgrade")):
        headers = [_VERSION, (b"Upgrade", b"websocket")]
        raise StatusError(426, "UpgradeRequired", "terminals speak WebSocket and nothing else", headers=headers)
    if exchange.method != "GET":
        raise method_not_allowed(["GET"])
    if fields.all(b"sec-websocket-version") != [b"13"]:
        raise _bad("the version of WebSocket that is spoken here is 13")
    keys = fields.all(b"sec-websocket-key")
    if len(keys) != 1 or not _is_key(keys[0]):
        raise _bad("Sec-WebSocket-Key is not 16 bytes in base64")
    if exchange.upgrade is None:
        # HTTP/1.0, or a body behind which nobody knows what begins.
        raise _bad("a WebSocket begins with a GET of HTTP/1.1 without a body")
    offered = b",".join(fields.all(b"sec-websocket-protocol")).split(b",")
    # A name that is no ASCII is none of ours.
    names = (name.strip().decode("ascii", "replace") for name in offered)
    return Handshake(keys[0], tuple(dict.fromkeys(name for name in names if name)))


def _is_key(key: bytes) -> bool:
    try:
        return len(key) == 24 and len(base64.b64decode(key, validate=True)) == 16
    except binascii.Error:
        return False


def _tokens(values: Iterable[bytes]) -> set[bytes]:
    return {token.strip().lower() for value in values for token in value.split(b",")}


def _bad(message: str) -> StatusError:
    error = bad_request(message)
    error.headers.append(_VERSION)
    return error
