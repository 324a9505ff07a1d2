"""Reading what a request brings: forms and JSON, with limits, and the answers to what is neither."""

from __future__ import annotations

import zlib
from typing import Any

import msgspec

from ksproxyd.model.query import parameters
from ksproxyd.model.status import StatusError, bad_request, too_large
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


#: What KAPIs take for JSON, whatever a patch would mean by it (spec 04, 0.2).
_KAPI_JSON = frozenset([b"application/json", b"application/merge-patch+json", b"application/json-patch+json"])


async def read_document(exchange: Exchange) -> Any:
    """The JSON document in the body of a request to a KAPI (spec 04, 0.2), unpacked if it is gzip or deflate.

    Raises :class:`StatusError`: 400 for another media type or none, as it always was there, and for what is no JSON;
    413 above :data:`JSON_LIMIT`, packed or unpacked.
    """
    given = media_type(exchange)
    if given not in _KAPI_JSON:
        shown = given.decode("latin-1")
        raise bad_request(f"[ServiceError:400] Unable to unmarshal content of type:{shown} (send application/json)")
    coding = (exchange.fields.get(b"content-encoding") or b"").strip().lower()
    body = await exchange.read_body(JSON_LIMIT)
    if coding in (b"gzip", b"deflate"):
        body = _unpacked(body)
    elif coding not in (b"", b"identity"):
        raise bad_request(f"the body is packed as {coding.decode('latin-1')}: send it plain, or as gzip or deflate")
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_request(f"the body is not JSON: {error}") from None


def _unpacked(body: bytes) -> bytes:
    # 32: either of the two headers.
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        found = unpacker.decompress(body, JSON_LIMIT + 1)
    except zlib.error as error:
        raise bad_request(f"the body cannot be unpacked: {error}") from None
    if len(found) > JSON_LIMIT:
        raise too_large(f"the request body has more than the {JSON_LIMIT} bytes that are allowed")
    if not unpacker.eof:
        raise bad_request("the body cannot be unpacked: it breaks off")
    return found
