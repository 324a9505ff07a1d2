"""Reading what a request brings: forms and JSON, with limits, and the answers to what is neither."""

from __future__ import annotations

from typing import Any

import msgspec

from ksproxyd.model.query import parameters
from ksproxyd.model.status import StatusError, bad_request
from ksproxyd.server.exchange import Exchange

#: Largest form and largest JSON document, in bytes.
FORM_LIMIT = 64 * 1024
JSON_LIMIT = 3 * 1024 * 1024

#: What must not be kept by anybody on the way (spec 02, D-37).
NO_STORE = [(b"Cache-Control", b"no-store"), (b"Pragma", b"no-cache")]


def media_type(exchange: Exchange) -> bytes:
    """The ``Content-Type`` of the request without its parameters, in lower case; empty if there is none."""
    return (exchange.fields.get(b"content-type") or b"").partition(b";")[0].strip().lower()


def unsupported_media_type(wanted: str) -> StatusError:
    """415."""
    return StatusError(415, "UnsupportedMediaType", f"415: Unsupported Media Type: send {wanted}")


async def read_form(exchange: Exchange) -> dict[str, list[str]]:
    """The fields of a form in the body, each with its values in order; the query is not looked at.

    Raises :class:`StatusError`: 415 for another media type, 413 above :data:`FORM_LIMIT`, 400 for a broken body.
    """
    if media_type(exchange) != b"application/x-www-form-urlencoded":
        raise unsupported_media_type("application/x-www-form-urlencoded")
    return parameters(await exchange.read_body(FORM_LIMIT))


async def read_json(exchange: Exchange) -> Any:
    """The JSON document in the body.

    Raises :class:`StatusError`: 415 for another media type, 413 above :data:`JSON_LIMIT`, 400 for what is no JSON.
    """
    if media_type(exchange) != b"application/json":
        raise unsupported_media_type("application/json")
    body = await exchange.read_body(JSON_LIMIT)
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise bad_request(f"the body is not JSON: {error}") from None
