"""PKCE (RFC 7636): a code is only good together with what the client has thought up for it. Pure.

Only ``S256``. ``plain`` proves nothing to whoever has seen the authorization request, and is neither offered nor
accepted (RFC 9700, 2.1.1; spec 02, D-02).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import urlsafe_b64encode

#: A challenge as it is in the request: 43 characters of base64url. Empty: none.
Challenge = str

METHODS = ("S256",)

_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
# RFC 7636, 4.1.
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")


def is_challenge(text: str) -> bool:
    """Whether ``text`` may be the ``code_challenge`` of a request (RFC 7636, 4.2)."""
    return _CHALLENGE.fullmatch(text) is not None


def challenge_of(verifier: str) -> Challenge:
    """The challenge that belongs to ``verifier``."""
    return urlsafe_b64encode(hashlib.sha256(verifier.encode("ascii")).digest()).rstrip(b"=").decode("ascii")


def verifies(challenge: Challenge, verifier: str) -> bool:
    """Whether ``verifier`` is what ``challenge`` was made of.

    Where there was no challenge there must be no verifier either: who sends one had sent a challenge, which somebody on
    the way has taken out (RFC 9700, 4.8).
    """
    if not challenge:
        return not verifier
    if _VERIFIER.fullmatch(verifier) is None:
        return False
    return hmac.compare_digest(challenge_of(verifier), challenge)
