"""What tokens say. Pure values."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

#: The classes of tokens, as the claim ``token_type`` names them (spec 02, 2.2). None is another (RFC 8725, 3.11).
ACCESS, REFRESH, STATIC, ID = "access_token", "refresh_token", "static_token", "id_token"

#: The user of a token whose bearer is known to an identity provider and has no account yet (spec 02, 4.4).
PRE_REGISTRATION = "system:pre-registration"

#: How the subject of a ServiceAccount's token begins; namespace and name follow.
SERVICE_ACCOUNT_PREFIX = "kubesphere:serviceaccount:"

#: What no user and no OAuth client may be called like (RFC 9700, 4.15).
RESERVED_PREFIXES = ("system:", "kubesphere:")

#: Further attributes, each key with its values.
Extra = tuple[tuple[str, tuple[str, ...]], ...]


class Sealed:
    """A text that must not be shown: it prints as nothing."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text."""
        return self._text

    def __repr__(self) -> str:
        return "…"


class Claims(msgspec.Struct, frozen=True):
    """What a verified token says. Times are seconds since 1970; an ``exp`` of 0 is never.

    ``digest`` is the SHA-256 of the whole token in hexadecimal, by which it may be named where it must not be kept.
    ``whole`` is the token itself, and only there where ks-apiserver's layout of the store asks for it. ``uid`` and
    ``secret`` are the ServiceAccount's uid and the Secret that a static token was made for.
    """

    iss: str
    sub: str
    username: str
    token_type: str
    iat: int
    exp: int
    jti: str = ""
    aud: tuple[str, ...] = ()
    client_id: str = ""
    session: str = ""
    auth_time: int = 0
    scopes: tuple[str, ...] = ()
    extra: Extra = ()
    digest: str = ""
    whole: Sealed | None = None
    uid: str = ""
    secret: str = ""


class Lifetimes(NamedTuple):
    """Seconds. With ``access`` 0 access tokens do not end, and nothing is kept about them.

    A refresh token lives for ``refresh`` longer than the access token beside it.
    """

    access: float
    refresh: float


class Issued(msgspec.Struct, frozen=True):
    """The tokens of a login. ``expires_in`` is that of the access token, in seconds; 0 is never."""

    access_token: str
    refresh_token: str
    expires_in: int
    session: str
    scopes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Issued(session={self.session!r}, expires_in={self.expires_in})"


def service_account_of(subject: str) -> tuple[str, str] | None:
    """Namespace and name of the ServiceAccount whose subject this is; None if it is another's."""
    if not subject.startswith(SERVICE_ACCOUNT_PREFIX):
        return None
    namespace, colon, name = subject[len(SERVICE_ACCOUNT_PREFIX) :].partition(":")
    return (namespace, name) if namespace and name and colon and ":" not in name else None


def is_reserved(name: str) -> bool:
    """Whether nobody may be called ``name``."""
    return name.startswith(RESERVED_PREFIXES)
