"""Content that the gateway serves itself: validators, conditional requests, gzip (RFC 9110, 8.8, 12.5.3, 13)."""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred

from ksproxyd.model.message import Fields, Pairs, Response
from ksproxyd.model.status import StatusError

#: Bodies below this many bytes are not compressed: they fit into one packet anyway.
GZIP_FROM = 1400
_GZIP_LEVEL = 6

_ENTITY_TAG = re.compile(rb'[ \t,]*(W/)?("[\x21\x23-\x7e\x80-\xff]*")[ \t]*(?=,|\Z)')
_CODING = re.compile(
    rb"[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*(?:;[ \t]*[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?[ \t]*"
)


_Result = TypeVar("_Result")


class InThread(Protocol):
    """Runs a function in a thread; ``deferToThreadPool`` with its reactor and pool filled in."""

    def __call__(self, function: Callable[..., _Result], /, *args: Any) -> Deferred[_Result]: ...


class Representation:
    """One body with everything that is answered about it, computed once.

    Building one hashes and compresses: about 1 ms for 32 KiB, so larger ones belong into a thread. It is immutable
    and may be shared. ``headers`` (``Content-Type`` and the like) go out with every 200; ``cache_control`` with
    304 as well.
    """

    __slots__ = ("_gzip", "_identity")

    def __init__(self, body: bytes, headers: Pairs, cache_control: bytes) -> None:
        digest = hashlib.sha256(body).hexdigest()[:32].encode()
        caching: Pairs = [(b"Cache-Control", cache_control), (b"Vary", b"Accept-Encoding")]
        self._identity = _Form(body, b'"' + digest + b'"', headers, caching)
        self._gzip: _Form | None = None
        if len(body) >= GZIP_FROM:
            # mtime=0: equal content makes equal bytes, on every replica.
            packed = gzip.compress(body, _GZIP_LEVEL, mtime=0)
            if len(packed) < len(body):
                encoded = [*headers, (b"Content-Encoding", b"gzip")]
                self._gzip = _Form(packed, b'"' + digest + b'-gzip"', encoded, caching)

    @property
    def etag(self) -> bytes:
        """The entity tag of the uncompressed form."""
        return self._identity.etag

    @property
    def body(self) -> bytes:
        """The uncompressed body."""
        return self._identity.body

    def answer(self, method: str, fields: Fields) -> Response:
        """The response to a request with these ``fields``: 200, or 304 where the client has it already.

        A HEAD request gets the response of the same GET, and a 304 comes with the body of its 200: whoever sends
        them says how long it is and leaves it out (RFC 9110, 8.6).

        :raises StatusError: 412 where ``If-Match`` demands something else.
        """
        form = self._identity
        if self._gzip is not None and prefers_gzip(fields.get(b"accept-encoding")):
            form = self._gzip
        wanted = fields.get(b"if-match")
        if wanted is not None and not names_entity(wanted, form.etag, weak=False):
            raise StatusError(412, "PreconditionFailed", "the content is not what If-Match names: fetch it again")
        if method in ("GET", "HEAD"):
            known = fields.get(b"if-none-match")
            if known is not None and names_entity(known, form.etag, weak=True):
                return Response(304, form.unchanged, form.body)
        return Response(200, form.headers, form.body)


class _Form:
    """A representation in one content coding."""

    __slots__ = ("body", "etag", "headers", "unchanged")

    def __init__(self, body: bytes, etag: bytes, headers: Pairs, caching: Pairs) -> None:
        self.body = body
        self.etag = etag
        # What a 304 must repeat of the 200 (RFC 9110, 15.4.5).
        self.unchanged: Pairs = [(b"ETag", etag), *caching]
        self.headers: Pairs = [*headers, *self.unchanged]


def names_entity(value: bytes, etag: bytes, *, weak: bool) -> bool:
    """Whether an ``If-Match`` or ``If-None-Match`` field covers the strong tag ``etag``.

    Compared strongly or ``weak``-ly (RFC 9110, 8.8.3.2). What does not parse covers nothing from there on.
    """
    if value.strip(b" \t") == b"*":
        return True
    position = 0
    while match := _ENTITY_TAG.match(value, position):
        if match[2] == etag and (weak or match[1] is None):
            return True
        position = match.end()
    return False


@lru_cache(maxsize=256)
def prefers_gzip(accept_encoding: bytes | None) -> bool:
    """Whether gzip is acceptable, and no less than the unencoded form (RFC 9110, 12.5.3).

    Elements that do not parse are skipped. Remembered, because clients send a handful of values.
    """
    if not accept_encoding:
        return False
    weights: dict[bytes, float] = {}
    for element in accept_encoding.split(b","):
        match = _CODING.fullmatch(element)
        if match is not None:
            coding = match[1].lower()
            weight = float(match[2]) if match[2] is not None else 1.0
            weights[b"gzip" if coding == b"x-gzip" else coding] = weight
    packed = weights.get(b"gzip", weights.get(b"*", 0.0))
    return packed > 0 and packed >= weights.get(b"identity", 0.0)
