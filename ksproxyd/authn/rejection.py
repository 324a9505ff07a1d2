"""Why a credential was not accepted, and the 401 that says so (RFC 6750, 3; spec 02, 1.6).

The message begins with one of five fixed phrases, by which programs tell the cases apart, and goes on for people. What
it says must be known to whoever holds the credential already: nothing about users is said before a password or a
token has proved that its bearer is one.
"""

from __future__ import annotations

from ksproxyd.model.status import StatusError, service_unavailable

#: The phrases. Each is followed by nothing, or by ``: `` and what to do.
EXPIRED = "token expired"
REVOKED = "token revoked"
MALFORMED = "token malformed"
INVALID = "invalid credentials"
UNAUTHENTICATED = "unauthenticated"

#: The realm of every challenge.
REALM = "kubesphere"

#: What is said of a header that no authenticator understands (spec 02, 1.3).
NOT_UNDERSTOOD = "The request cannot be authenticated."

_BEARER = b'Bearer realm="kubesphere"'
_INVALID_TOKEN = b'Bearer realm="kubesphere", error="invalid_token", error_description="'
_BASIC = b'Basic realm="kubesphere", charset="UTF-8"'


class Rejected(Exception):
    """A credential is not accepted. ``phrase`` is one of the five, ``hint`` goes on from it for a person.

    ``token`` tells that a bearer token was shown, which the challenge then names as the reason.
    """

    def __init__(self, phrase: str, hint: str = "", *, token: bool = True) -> None:
        super().__init__(f"{phrase}: {hint}" if hint else phrase)
        self.phrase = phrase
        self.token = token

    @property
    def message(self) -> str:
        """What the client is told."""
        return str(self.args[0])

    def error(self) -> StatusError:
        """The 401."""
        challenge = _BEARER
        if self.token:
            # RFC 6750, 3: a description has neither quotes nor backslashes.
            plain = "".join(c if " " <= c <= "~" and c not in '"\\' else "'" for c in self.message)
            challenge = _INVALID_TOKEN + plain.encode("ascii") + b'"'
        return StatusError(401, "Unauthorized", self.message, headers=[(b"WWW-Authenticate", challenge)])


def not_understood() -> StatusError:
    """The 401 for an ``Authorization`` field of an unknown scheme, or one that is broken."""
    return StatusError(401, "Unauthorized", NOT_UNDERSTOOD, headers=[(b"WWW-Authenticate", _BEARER)])


def credentials_required(basic: bool) -> StatusError:
    """The 401 for a request without credentials where one needs some."""
    headers = [(b"WWW-Authenticate", _BEARER)]
    if basic:
        headers.append((b"WWW-Authenticate", _BASIC))
    return StatusError(401, "Unauthorized", f"{UNAUTHENTICATED}: log in, or send a bearer token", headers=headers)


class SharedUnavailable(Exception):
    """What gateways share (Redis) cannot be asked. The text is for the log and may hold addresses."""

    def error(self) -> StatusError:
        """The 503: nobody is let in, and nobody is told that their credential is bad."""
        return service_unavailable("the store of tokens cannot be reached at the moment; try again", 2)
