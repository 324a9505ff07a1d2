"""Which addresses a client may be answered at (spec 02, 3.9.3; RFC 6749, 3.1.2; RFC 8252, 7.3). Pure.

Addresses are compared as they are written, byte for byte, and never decoded or repaired. There is one exception: a
program on somebody's own machine listens on whatever port is free, so that the port of a public client's loopback
address is not looked at, if it is registered by number, ``http://127.0.0.1/…`` or ``http://[::1]/…``. A client with a
secret is a server, which knows its port; and ``localhost`` may be anybody's (RFC 8252, 8.3).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

#: Longest address that is looked at, in characters.
LONGEST = 2048

# RFC 3986, 3.1, and nothing that is not of a URI: no white space, control, backslash, fragment or non-ASCII.
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[A-Za-z0-9._~:/?\[\]@!$&'()*+,;=%-]+")
# Schemes whose "addresses" are programs or documents for the browser.
_ACTIVE = frozenset(
    ("javascript", "data", "vbscript", "blob", "file", "about", "view-source", "filesystem", "mhtml", "jar")
)
_WEB = ("http", "https")
_LOOPBACK = re.compile(r"(http://(?:127\.0\.0\.1|\[::1\]))(?::[0-9]{1,5})?((?:[/?].*)?)")


def problem_of(uri: str) -> str | None:
    """Why ``uri`` cannot be registered; None if it can."""
    if len(uri) > LONGEST:
        return f"is longer than {LONGEST} characters"
    if "#" in uri:
        return "has a fragment"
    if _URI.fullmatch(uri) is None:
        return "is no absolute URI"
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        return "is no absolute URI"
    scheme = parts.scheme.lower()
    if scheme in _ACTIVE:
        return f"has the scheme {scheme}, which is nobody's address"
    if port == 0:
        return "has port 0"
    if scheme in _WEB and not parts.hostname:
        return "names no host"
    if scheme in _WEB and "@" in parts.netloc:
        return "names a user"
    return None


def accepted(asked: str, registered: Iterable[str], *, any_loopback_port: bool = False) -> str | None:
    """Where to answer a request that names ``asked``; None if it may not be answered anywhere.

    Nothing asked for means the registered address, if there is only one (RFC 6749, 3.1.2.3).
    """
    known = tuple(registered)
    if not asked:
        return known[0] if len(known) == 1 else None
    if asked in known:
        return asked
    if any_loopback_port and problem_of(asked) is None:
        wanted = _LOOPBACK.fullmatch(asked)
        for uri in known if wanted else ():
            found = _LOOPBACK.fullmatch(uri)
            if wanted and found and wanted.groups() == found.groups():
                return asked
    return None
