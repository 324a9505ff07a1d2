"""Addresses that a browser is sent to with an answer: how the answer is put into them, and how a page may lead there.

Which addresses may be used at all is decided in :mod:`ksproxyd.authn.redirect_uris`. Here the answer's parameters are
added to the query (or fragment) that the address has, which itself stays as it is (RFC 6749, 3.1.2).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from ksproxyd.model.percent import UNRESERVED, quote

_WEB = ("http", "https")
_SOURCE_HOST = re.compile(r"[A-Za-z0-9.-]+(?::[0-9]{1,5})?")


def with_parameters(uri: str, parameters: Iterable[tuple[str, str]], *, fragment: bool = False) -> bytes:
    """``uri`` with ``parameters`` added to its query, or as its fragment, as the value of a ``Location`` field.

    Names and values are encoded once; what they hold can therefore not end the field or change the address.
    """
    pairs = b"&".join(_form(name) + b"=" + _form(value) for name, value in parameters)
    address = uri.encode("ascii")
    if not pairs:
        return address
    if fragment:
        return address + b"#" + pairs
    if b"?" not in address:
        return address + b"?" + pairs
    joint = b"" if address.endswith((b"?", b"&")) else b"&"
    return address + joint + pairs


def _form(text: str) -> bytes:
    """``application/x-www-form-urlencoded``: RFC 6749 prescribes it for both queries and fragments."""
    return quote(text.encode("utf-8", "replace"), UNRESERVED | {0x20}).replace(b" ", b"+")


def form_source(uri: str) -> str:
    """``uri`` as a source of a Content-Security-Policy: its origin, or its scheme where that cannot be written.

    Browsers let a form's answer redirect only to where ``form-action`` lets forms go, so the client's address must be
    in it. The grammar has no place for IPv6 addresses.
    """
    parts = urlsplit(uri)
    scheme = parts.scheme.lower()
    if scheme in _WEB and _SOURCE_HOST.fullmatch(parts.netloc):
        return f"{scheme}://{parts.netloc.lower()}"
    return f"{scheme}:"
