"""The wrapped transport: what a backend learns of the outside, and its links brought back to the gateway.

A backend that is mounted below a prefix writes links as if it stood at the root of its own host. With
``wrapTransport``, and always for member clusters, ``Location`` and the link attributes of HTML pages are rewritten to
paths below that prefix, on the gateway; the backend's own host never reaches the client.
"""

from __future__ import annotations

import posixpath
import re
from functools import lru_cache

from ksproxyd.model.message import Fields, Pairs
from ksproxyd.tree.html import LINK_HEAD_BYTES, HtmlRewriter
from ksproxyd.tree.recode import CODINGS, BodyRewriter, NoBody

# Scheme and authority of an http URL as browsers read it (WHATWG URL, 4.4): any number of slashes from two on,
# a backslash being one.
_ABSOLUTE = re.compile(rb"(?:https?:)?[/\\]{2,}([^/\\?#]*)", re.IGNORECASE)
# Spaces and controls in front of a URL are not part of it (the same), nor are tabs and line ends anywhere in it.
_MARGIN = re.compile(rb"[\x00-\x20]*")
_OBSCURE = re.compile(rb"[&\t\n\r]")
_SLASHES = (b"/", b"\\")

# Character references (HTML 13.5) of what a URL's scheme and authority are made of: ASCII by number, and by name the
# few that spell a delimiter.
_REFERENCE = re.compile(rb"&(?:#0*([0-9]{1,3})(?![0-9])|#[xX]0*([0-9a-fA-F]{1,2})(?![0-9a-fA-F])|([A-Za-z]+););?")
_NAMED = {b"sol": b"/", b"colon": b":", b"bsol": b"\\", b"period": b".", b"Tab": b"\t", b"NewLine": b"\n"}

# What stands in a path as it is (RFC 3986, 3.3), less the quote and the ampersand, which are markup in HTML.
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$()*+,;=:@/%")

# Charsets in which a byte of ASCII markup may mean something else; pages in them stay as they are.
_NOT_ASCII = re.compile(rb"charset\s*=\s*[\"']?(?:utf-?(?:7|16|32)|ucs-|iso-2022)", re.IGNORECASE)

# Fields that describe the bytes of a body and are wrong once it is rewritten. Accept-Ranges: a range of the
# backend's page is not a range of ours.
_OF_THE_BYTES = (
    b"content-length",
    b"accept-ranges",
    b"content-md5",
    b"digest",
    b"content-digest",
    b"repr-digest",
)


class LinkRewriter:
    """Rewrites the links of one backend, for one way of reaching it.

    ``prefix`` is what the gateway takes off the path before it forwards (``b""`` if nothing).
    ``internal_hosts`` are the authorities the backend goes by inside, ``host`` or ``host:port``. ``gateway_host`` and
    ``gateway_scheme`` are the client-facing ones; the backend is told them, so its links to them are its own, too.
    """

    __slots__ = ("_below", "_own", "gateway_host", "gateway_scheme", "prefix")

    def __init__(
        self, prefix: bytes, internal_hosts: frozenset[bytes], gateway_host: bytes, gateway_scheme: bytes
    ) -> None:
        self.prefix = _clean_prefix(prefix)
        self.gateway_host = gateway_host
        self.gateway_scheme = gateway_scheme
        self._below = self.prefix + b"/"
        self._own = _spellings(internal_hosts, gateway_host)

    def request_fields(self, path: bytes) -> Pairs:
        """The fields that tell the backend how it was reached; ``path`` is the one it is sent, without query.

        They replace any that the client has sent. The host is left out where it is not known.
        """
        fields = [(b"X-Forwarded-Uri", clean_path(path)), (b"X-Forwarded-Proto", self.gateway_scheme)]
        if self.gateway_host:
            fields.append((b"X-Forwarded-Host", self.gateway_host))
        return fields

    def response(self, method: str, status: int, fields: Fields) -> BodyRewriter | NoBody | None:
        """Rewrite the header ``fields`` of the answer to a ``method`` request; what its body must go through, or None.

        With a rewriter the body's length is not known in advance. There is one for pages that are ``text/html``,
        complete, without a ``Location``, and in a content coding that can be undone.
        """
        for key in {key for key, _, _ in fields if key.startswith(b"access-control-allow-")}:
            fields.remove(key)
        location = fields.get(b"location")
        if location is not None:
            fields.replace(b"Location", self.location(location))
            return None
        media_type = fields.get(b"content-type")
        if media_type is None or not _is_html(media_type) or status == 206 or fields.get(b"content-range"):
            return None
        coding = (fields.get(b"content-encoding") or b"").strip().lower()
        if coding not in CODINGS:
            return None
        for key in _OF_THE_BYTES:
            fields.remove(key)
        tag = fields.get(b"etag")
        if tag is not None and not tag.startswith(b"W/"):
            # Not the same bytes any more, but the same page (RFC 9110, 8.8.1).
            fields.replace(b"ETag", b"W/" + tag)
        if method == "HEAD" or status in (204, 304):
            return NoBody()
        return BodyRewriter(HtmlRewriter(self.link), coding)

    def location(self, value: bytes) -> bytes:
        """The value of a ``Location`` field, rewritten."""
        change = self._change(value)
        return value if change is None else change[0] + value[change[1] :]

    def link(self, value: bytes) -> bytes:
        """The value of a link attribute as it stands in HTML, rewritten.

        Of a value longer than :data:`~ksproxyd.tree.html.LINK_HEAD_BYTES` only that much decides.
        """
        head = value[:LINK_HEAD_BYTES]
        if _OBSCURE.search(head) is None:
            return self.location(value)
        clear, origins = _reveal(head)
        change = self._change(clear)
        return value if change is None else change[0] + value[origins[change[1]] :]

    def _change(self, url: bytes) -> tuple[bytes, int] | None:
        """What to put in front of ``url`` from which index on; None if it stays."""
        margin = _MARGIN.match(url)
        start = margin.end() if margin is not None else 0
        match = _ABSOLUTE.match(url, start)
        if match is not None:
            rest = match.end()
            host = match[1].rpartition(b"@")[2].lower()
            if host.rstrip() not in self._own:
                return None
            if url[rest : rest + 1] not in _SLASHES:
                return self._below, rest
        elif url[start : start + 1] in _SLASHES:
            rest = start
        else:
            return None
        # From here on url[rest] is the first slash of the path; it is written anew, for it may be a backslash.
        if self.prefix and not self._has_prefix(url, rest):
            return self._below, rest + 1
        if url[rest + 1 : rest + 2] in _SLASHES:
            # Two slashes at the start would name another host; this is the same path (RFC 3986, 4.2 and 5.2.4).
            return b"/./", rest + 1
        return None if match is None else (b"/", rest + 1)

    def _has_prefix(self, url: bytes, rest: int) -> bool:
        end = rest + len(self.prefix)
        return url.startswith(self.prefix, rest) and url[end : end + 1] in (b"", b"/", b"\\", b"?", b"#")


def clean_path(path: bytes) -> bytes:
    """``path`` without dot segments and double slashes; a slash at its end stays."""
    if b"//" not in path and b"/." not in path:
        return path
    cleaned = posixpath.normpath(b"/" + path.lstrip(b"/"))
    return cleaned + b"/" if path.endswith((b"/", b"/.", b"/..")) and cleaned != b"/" else cleaned


@lru_cache(maxsize=256)
def narrow_accept_encoding(value: bytes) -> bytes:
    """The ``Accept-Encoding`` to send where pages are to be rewritten: what we can undo of what the client takes.

    Codings keep their weights. ``identity`` when nothing else is left, which every server has. Remembered, because
    clients send a handful of values.
    """
    kept = [item.strip() for item in value.split(b",") if item.partition(b";")[0].strip().lower() in _ACCEPTABLE]
    return b", ".join(kept) or b"identity"


_ACCEPTABLE = frozenset(CODINGS - {b""} | {b"identity"})


def _is_html(media_type: bytes) -> bool:
    kind, _, parameters = media_type.partition(b";")
    return kind.strip().lower() == b"text/html" and _NOT_ASCII.search(parameters) is None


def _clean_prefix(prefix: bytes) -> bytes:
    stripped = prefix.strip(b"/")
    if not stripped:
        return b""
    # It goes into HTML and into a header as it is.
    return b"/" + b"".join(bytes((c,)) if c in _PLAIN else b"%%%02X" % c for c in stripped)


@lru_cache(maxsize=1024)
def _spellings(internal_hosts: frozenset[bytes], gateway_host: bytes) -> frozenset[bytes]:
    """The hosts, each also with a default port where it has none, and without one where it has."""
    found = set()
    for host in (*internal_hosts, gateway_host):
        host = host.lower()
        bare = host.removesuffix(b":80").removesuffix(b":443")
        found |= {host, bare}
        if b":" not in bare.rpartition(b"]")[2]:
            found |= {bare + b":80", bare + b":443"}
    return frozenset(found - {b""})


def _reveal(text: bytes) -> tuple[bytes, list[int]]:
    """``text`` as a browser's URL parser sees it, and for each of its bytes (and its end) where it came from."""
    clear = bytearray()
    origins: list[int] = []
    position = 0
    while position < len(text):
        match = _REFERENCE.match(text, position)
        byte = None if match is None else _referred(match)
        if match is None or byte is None:
            byte, end = text[position : position + 1], position + 1
        else:
            end = match.end()
        if byte not in (b"\t", b"\n", b"\r"):
            clear += byte
            origins.append(position)
        position = end
    origins.append(position)
    return bytes(clear), origins


def _referred(match: re.Match[bytes]) -> bytes | None:
    decimal, hexadecimal, name = match.groups()
    if name is not None:
        return _NAMED.get(name)
    number = int(decimal) if decimal is not None else int(hexadecimal, 16)
    return bytes((number,)) if 0 < number < 128 else None
