"""Where a browser may be sent: addresses that are registered, and nothing else (spec 02, 3.9.3; RFC 9700, 4.1 and 4.11).

An address is accepted only if it is, byte for byte, one that is registered. It is never repaired, decoded or compared
in parts, so that there is nothing to trick. The answer's own parameters are added to the query (or fragment) that the
address has, which itself stays as it is (RFC 6749, 3.1.2).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from ksproxyd.model.percent import UNRESERVED, quote

#: Longest address that is looked at, in characters.
LONGEST = 2048

# RFC 3986, 3.1, and no character that is not of a URI at all: no white space, control, backslash or non-ASCII.
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[A-Za-z0-9._~:/?\[\]@!$&'()*+,;=%-]+")
# Schemes whose "addresses" are programs or documents for the browser.
_ACTIVE = frozenset(("javascript", "data", "vbscript", "blob", "file", "about", "view-source", "filesystem"))
_WEB = ("http", "https")
_SOURCE_HOST = re.compile(r"[A-Za-z0-9.-]+(?::[0-9]{1,5})?")


def usable(uri: str) -> bool:
    """Whether a registered address may be used at all: absolute, without a fragment or user, not a script.

    A client's Secret may hold anything; what is not usable counts as not registered (RFC 6749, 3.1.2).
    """
    if len(uri) > LONGEST or _URI.fullmatch(uri) is None:
        return False
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        return False
    scheme = parts.scheme.lower()
    if scheme in _ACTIVE or port == 0:
        return False
    if scheme in _WEB:
        return bool(parts.hostname) and "@" not in parts.netloc
    return True


def registered(asked: str, uris: Iterable[str]) -> str | None:
    """``asked`` if it is one of the registered ``uris``, else None.

    Nothing asked for means the registered one, if there is only one (RFC 6749, 3.1.2.3).
    """
    known = [uri for uri in uris if usable(uri)]
    if not asked:
        return known[0] if len(known) == 1 else None
    return asked if asked in known else None


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
