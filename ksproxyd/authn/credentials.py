"""What a request shows to prove who it is from. Pure: header values in, values out.

``Authorization`` is read as spec 02, 1.3 says; a WebSocket client that cannot set it (a browser) may offer its token as
a subprotocol, in the form kube-apiserver reads.
"""

from __future__ import annotations

import base64
import binascii
from typing import NamedTuple


class Basic(NamedTuple):
    """A user name (or e-mail address) and a password (RFC 7617)."""

    username: str
    password: str

    def __repr__(self) -> str:
        return f"Basic({self.username!r}, …)"


class Bearer(NamedTuple):
    """A token (RFC 6750, 2.1)."""

    token: str

    def __repr__(self) -> str:
        return "Bearer(…)"


#: The prefix of the subprotocol that carries a token, base64url without padding behind it.
SUBPROTOCOL = b"base64url.bearer.authorization.k8s.io."


def read(header: bytes) -> Basic | Bearer | None:
    """What the value of an ``Authorization`` field is; None for what nobody understands.

    Call it with a value that is not blank.
    """
    scheme, space, rest = header.strip().partition(b" ")
    if not space:
        return None
    kind = scheme.lower()
    if kind == b"bearer":
        # One token and nothing else: what follows it would be looked at by nobody, or by somebody else.
        if not rest or b" " in rest or b"\t" in rest or not rest.isascii():
            return None
        return Bearer(rest.decode("ascii"))
    if kind == b"basic":
        return _basic(rest)
    return None


def _basic(encoded: bytes) -> Basic | None:
    try:
        text = base64.b64decode(encoded, validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return None
    username, colon, password = text.partition(":")
    return Basic(username, password) if colon else None


class BadSubprotocol(ValueError):
    """A token was offered as a subprotocol in a way that cannot be served. The text says what to do."""


class TwoTokens(BadSubprotocol):
    """Nobody can say whose request it is (spec 05, fact 58)."""


def websocket_token(offered: bytes) -> tuple[str, bytes] | None:
    """The token among the subprotocols that a WebSocket client offers, and the others; None if there is none.

    ``offered`` is the value of ``Sec-WebSocket-Protocol``. Raises :class:`BadSubprotocol` as kube-apiserver refuses:
    two tokens, one that is not base64url, or no other subprotocol, which leaves the server none to choose.
    """
    if SUBPROTOCOL not in offered:
        return None
    token: bytes | None = None
    others = []
    for name in (part.strip() for part in offered.split(b",")):
        if not name.startswith(SUBPROTOCOL):
            others.append(name)
        elif token is not None:
            raise TwoTokens("more than one token is offered as a subprotocol; offer one")
        else:
            token = name[len(SUBPROTOCOL) :]
    if token is None:
        return None
    try:
        decoded = base64.urlsafe_b64decode(token + b"=" * (-len(token) % 4)) if b"=" not in token else b""
        text = decoded.decode("ascii")
    except (binascii.Error, ValueError):
        text = ""
    if not text or not text.isprintable() or " " in text:
        raise BadSubprotocol("the token that is offered as a subprotocol is not base64url without padding")
    others = [name for name in others if name]
    if not others:
        raise BadSubprotocol("a token is offered as the only subprotocol; offer the one that is to be spoken, too")
    return text, b", ".join(others)
