"""From a token to what it says, if it is one of ours and says it now (spec 02, 2.4).

The class of a token decides how it must be signed: access, refresh and static tokens by HMAC with ``jwtSecret``, id
tokens by the key that is published. So no class passes for another, and a public key is never taken for a secret
(RFC 8725, 3.1 and 3.11). Whether a token has been revoked is not known here.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any, NamedTuple

from twisted.internet.interfaces import IReactorTime

from ksproxyd.authn.rejection import EXPIRED, INVALID, MALFORMED, Rejected
from ksproxyd.authn.tokens.claims import (
    ACCESS,
    ID,
    PRE_REGISTRATION,
    REFRESH,
    STATIC,
    Claims,
    Extra,
    Sealed,
    is_reserved,
    service_account_of,
)
from ksproxyd.authn.tokens.compact import Malformed, Parts, decode, read_header, read_object, split
from ksproxyd.authn.tokens.jws import BadSignature, verify_compact
from ksproxyd.authn.tokens.keys import KeyRing
from ksproxyd.settings import Settings

_BY_SECRET = frozenset({ACCESS, REFRESH, STATIC})
_PUBLIC = frozenset({"RS256", "ES256"})

#: Times are whole seconds that every JSON parser reads as the same number (RFC 8259, 6).
_MOST_SECONDS = 2**53

_LONGEST_NAME = 512
_MOST_ITEMS = 100

#: Headers that have been read: all of our own tokens share two of them.
_MOST_HEADERS = 64


class Trust(NamedTuple):
    """What tokens are believed. ``issuers`` None is any; ``skew`` is how far clocks may be apart, seconds."""

    issuer: str
    issuers: frozenset[str] | None
    skew: float


def trust_of(settings: Settings) -> Trust:
    """What the settings say. A member believes the host, whose name it does not know (spec 02, 2.4)."""
    issuer = settings.authentication.issuer
    named = settings.ksproxyd.credentials.trusted_issuers
    if named:
        issuers: frozenset[str] | None = frozenset((issuer.url, *named))
    elif settings.multicluster.cluster_role == "member":
        issuers = None
    else:
        issuers = frozenset((issuer.url,))
    return Trust(issuer.url, issuers, issuer.maximum_clock_skew)


class TokenReader:
    """Reads tokens. ``whole`` has the claims keep the token itself."""

    def __init__(self, clock: IReactorTime, trust: Trust, keys: KeyRing, *, whole: bool = False) -> None:
        self._clock = clock
        self._trust = trust
        self._keys = keys
        self._whole = whole
        self._headers: dict[str, tuple[str, bool]] = {}

    def read(self, token: str, types: frozenset[str], *, expired_too: bool = False) -> Claims:
        """The claims of a token of one of ``types``. Raises :class:`Rejected`.

        With ``expired_too`` a token is also read after its end.
        """
        try:
            parts = split(token)
            algorithm, for_access = self._header(parts.header)
            payload = read_object(self._payload(token, parts, algorithm, types))
        except Malformed as error:
            raise Rejected(MALFORMED, str(error)) from None
        except BadSignature:
            raise Rejected(INVALID, "it was not signed here") from None
        kind = payload.get("token_type")
        if not isinstance(kind, str) or kind not in types or (kind == ID) != (algorithm != "HS256"):
            raise Rejected(INVALID, "a token of this type cannot be used for this")
        if for_access and kind != ACCESS:
            raise Rejected(INVALID, "its header is that of an access token, and it is none")
        try:
            claims, begins = self._claims(token, kind, payload), _time(payload, "nbf")
        except Malformed as error:
            raise Rejected(MALFORMED, str(error)) from None
        self._check(claims, begins, expired_too)
        return claims

    def _header(self, part: str) -> tuple[str, bool]:
        """The algorithm, and whether ``typ`` says that it is an access token (RFC 9068, 2.1)."""
        known = self._headers.get(part)
        if known is not None:
            return known
        header = read_header(part)
        typ = header.get("typ")
        if not isinstance(typ, str) or typ.lower() not in ("jwt", "at+jwt", "application/at+jwt"):
            raise Malformed("its typ is neither JWT nor at+jwt")
        found = header["alg"], typ.lower() != "jwt"
        if len(self._headers) >= _MOST_HEADERS:
            del self._headers[next(iter(self._headers))]
        self._headers[part] = found
        return found

    def _payload(self, token: str, parts: Parts, algorithm: str, types: frozenset[str]) -> bytes:
        """The payload, after its signature has been verified."""
        if algorithm == "HS256":
            if not self._keys.secret or types.isdisjoint(_BY_SECRET):
                raise BadSignature
            if not hmac.compare_digest(self._keys.mac(parts.signed), parts.signature):
                raise BadSignature
            return decode(parts.payload)
        if algorithm not in _PUBLIC or ID not in types:
            raise BadSignature
        return verify_compact(token, self._keys.verifying, _PUBLIC)[1]

    def _claims(self, token: str, kind: str, payload: dict[str, Any]) -> Claims:
        sub = _text(payload, "sub")
        return Claims(
            iss=_text(payload, "iss"),
            sub=sub,
            username=_text(payload, "username", sub if kind == ID else ""),
            token_type=kind,
            iat=_time(payload, "iat"),
            exp=_time(payload, "exp"),
            jti=_text(payload, "jti"),
            aud=_audience(payload),
            client_id=_text(payload, "client_id"),
            session=_text(payload, "sid"),
            auth_time=_time(payload, "auth_time"),
            scopes=_texts(payload.get("scopes", []), "scopes"),
            extra=_extra(payload),
            digest=hashlib.sha256(token.encode("ascii")).hexdigest(),
            whole=Sealed(token) if self._whole else None,
            uid=_text(payload, "uid"),
            secret=_text(payload, "secret"),
        )

    def _check(self, claims: Claims, begins: int, expired_too: bool) -> None:
        """Whether it says this of somebody who can be, to us, and now. Raises :class:`Rejected`."""
        trust = self._trust
        now = self._clock.seconds()
        if not claims.sub or claims.sub != claims.username:
            raise Rejected(INVALID, "its subject is not its user")
        if claims.token_type == STATIC:
            if service_account_of(claims.sub) is None:
                raise Rejected(INVALID, "a token without end is only for ServiceAccounts")
        elif claims.token_type != ID and is_reserved(claims.sub) and claims.sub != PRE_REGISTRATION:
            raise Rejected(INVALID, "its subject is nobody who logs in")
        if trust.issuers is not None and claims.iss not in trust.issuers:
            raise Rejected(INVALID, "it was issued by another server")
        if claims.token_type != ID and any(each not in (trust.issuer, claims.iss) for each in claims.aud):
            raise Rejected(INVALID, "it is for somebody else")
        # The end has no latitude: upstream has none either, and it is by our own clock that it was set.
        if claims.exp and now >= claims.exp and not expired_too:
            raise Rejected(EXPIRED, f"it ended {_ago(now - claims.exp)} ago; log in again, or refresh it")
        if claims.iat > now + trust.skew:
            raise Rejected(INVALID, f"it was issued {_ago(claims.iat - now)} ahead of now; are the clocks right?")
        if begins > now + trust.skew:
            raise Rejected(INVALID, "it is not good yet")


def _text(payload: dict[str, Any], name: str, absent: str = "") -> str:
    value = payload.get(name, absent)
    if not isinstance(value, str) or len(value) > _LONGEST_NAME:
        raise Malformed(f"its {name} is no text of a sensible length")
    return value


def _time(payload: dict[str, Any], name: str) -> int:
    """Seconds; 0 where it is absent, and only there: what ended in 1970 is not what never ends."""
    if name not in payload:
        return 0
    value = payload[name]
    # Exactly int: true is none, and 1e9 is one for some readers only.
    if type(value) is not int or not 0 < value < _MOST_SECONDS:
        raise Malformed(f"its {name} is no time in whole seconds")
    return value


def _texts(value: Any, name: str) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > _MOST_ITEMS or not all(isinstance(each, str) for each in value):
        raise Malformed(f"its {name} is no list of texts of a sensible length")
    return tuple(value)


def _audience(payload: dict[str, Any]) -> tuple[str, ...]:
    """RFC 7519, 4.1.3: one text or a list of them."""
    value = payload.get("aud", [])
    return (value,) if isinstance(value, str) else _texts(value, "aud")


def _extra(payload: dict[str, Any]) -> Extra:
    value = payload.get("extra", {})
    if not isinstance(value, dict) or len(value) > _MOST_ITEMS:
        raise Malformed("its extra is no object of a sensible size")
    return tuple((name, _texts(each, "extra")) for name, each in value.items())


def _ago(seconds: float) -> str:
    """A duration for people."""
    if seconds < 120:
        return f"{int(seconds)}s"
    return f"{int(seconds / 60)}m" if seconds < 7200 else f"{int(seconds / 3600)}h"
