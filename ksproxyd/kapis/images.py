"""Images that an administrator uploads, such as a logo: ``/static/images`` (spec 04, 8).

They are in the shared store, by the digest of their content, and for everybody to see. An SVG may hold scripts, so
none is allowed to do anything when it is opened by itself.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from email.utils import formatdate
from pathlib import PurePosixPath

from twisted.internet.interfaces import IReactorTime

from ksproxyd.authn.rejection import SharedUnavailable
from ksproxyd.authn.shared.store import SharedStore
from ksproxyd.kapis.bodies import media_type, unsupported_media_type
from ksproxyd.kapis.router import Route
from ksproxyd.model.message import Response
from ksproxyd.model.multipart import Malformed, read_parts
from ksproxyd.model.status import StatusError, bad_request, not_found, service_unavailable
from ksproxyd.server.exchange import Exchange

PREFIX = "/static/images"

#: Largest upload, form and all, in bytes.
LIMIT = 2 * 1024 * 1024

#: Parts that its form may have.
PARTS = 100

#: How long a browser may keep one, in seconds: the name says what is in it.
DAY = 86400

_KINDS = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".svg": "image/svg+xml",
    ".ico": "image/x-icon",
}
_ALLOWED = frozenset(_KINDS.values()) | {"image/vnd.microsoft.icon"}
_NAME = re.compile(r"[0-9a-f]{32}(\.[A-Za-z]{1,5})?")
_BEGINNINGS = ((b"\x89PNG", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"\0\0\1\0", "image/x-icon"))
_HARMLESS = [
    (b"X-Content-Type-Options", b"nosniff"),
    (b"Content-Security-Policy", b"default-src 'none'; style-src 'unsafe-inline'; sandbox"),
]


class Images:
    """The two requests. ``store`` is where all gateways find them; they stay there until somebody empties it."""

    def __init__(self, clock: IReactorTime, store: SharedStore) -> None:
        self._clock = clock
        # Named as ks-apiserver names them, so that those that it has kept in Redis are still there.
        self._store = store.verbatim()

    def routes(self) -> list[Route]:
        """Relative to :data:`PREFIX`."""
        return [
            Route("POST", "", self._upload, "Upload an image"),
            Route("GET", "/{file}", self._show, "An image that was uploaded"),
        ]

    async def _upload(self, exchange: Exchange) -> Response:
        if media_type(exchange) != b"multipart/form-data":
            raise unsupported_media_type("multipart/form-data")
        try:
            body = await exchange.read_body(LIMIT)
            parts = read_parts(exchange.fields.get(b"content-type") or b"", body, PARTS)
        except Malformed as error:
            raise bad_request(f"failed to parse multipart form: {error}") from None
        except StatusError as error:
            if error.code != 413:
                raise
            raise bad_request(f"failed to parse multipart form: it has more than {LIMIT} bytes") from None
        image = next((part for part in parts if part.name == "image" and part.filename is not None), None)
        if image is None:
            raise bad_request("invalid form data: there is no file in the field image")
        suffix = PurePosixPath(image.filename or "").suffix
        if _KINDS.get(suffix.lower(), "" if suffix else image.kind) not in _ALLOWED:
            raise bad_request("the provided file format is not allowed: it has to be png, jpeg, svg or ico")
        name = hashlib.md5(image.content, usedforsecurity=False).hexdigest() + suffix
        try:
            await self._store.put(_key(name), base64.b64encode(image.content), None)
        except SharedUnavailable:
            raise _not_now() from None
        return Response.json(200, {"image": name})

    async def _show(self, exchange: Exchange, file: str) -> Response:
        missing = not_found(f"image {file} not found")
        if _NAME.fullmatch(file) is None:
            raise missing
        try:
            kept = await self._store.get(_key(file))
        except SharedUnavailable:
            raise _not_now() from None
        if kept is None:
            raise missing
        try:
            content = base64.b64decode(kept, validate=True)
        except (binascii.Error, ValueError):
            raise missing from None
        headers = [
            (b"Content-Type", _kind(file, content).encode()),
            (b"Cache-Control", b"public, max-age=%d" % DAY),
            (b"Expires", formatdate(self._clock.seconds() + DAY, usegmt=True).encode()),
        ]
        return Response(200, [*headers, *_HARMLESS], content)


def _not_now() -> StatusError:
    return service_unavailable("the store of images cannot be reached at the moment; try again", 2)


def _key(name: str) -> str:
    return f"static:images:{name}"


def _kind(name: str, content: bytes) -> str:
    """The media type: what the name says, or else how the content begins."""
    said = _KINDS.get(PurePosixPath(name).suffix.lower())
    if said is not None:
        return said
    for beginning, kind in _BEGINNINGS:
        if content.startswith(beginning):
            return kind
    return "image/svg+xml"
