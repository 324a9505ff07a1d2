"""From what is to be said to a token (spec 02, 2.2).

Everything that ks-apiserver puts into its tokens is there, so that it accepts ours; beside it, a random ``jti`` in each
(no two tokens are the same), the client that it was made for and the session that it belongs to.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from typing import Any

from ksproxyd.authn.rejection import SharedUnavailable
from ksproxyd.authn.tokens.claims import ACCESS, ID, SERVICE_ACCOUNT_PREFIX, STATIC, Claims
from ksproxyd.authn.tokens.compact import encode, write_object
from ksproxyd.authn.tokens.keys import KeyRing

#: Bytes of randomness in a ``jti`` or the name of a session.
_RANDOM = 16


def random_name() -> str:
    """128 bits that nobody can guess, as text."""
    return secrets.token_urlsafe(_RANDOM)


class TokenWriter:
    """Makes tokens. ``legacy`` has all headers say ``JWT``, as ks-apiserver's do, instead of ``at+jwt`` (RFC 9068)."""

    def __init__(self, issuer: str, keys: KeyRing, *, legacy: bool = False) -> None:
        self._issuer = issuer
        self._keys = keys
        self._plain = write_object({"alg": "HS256", "typ": "JWT"})
        self._access = self._plain if legacy else write_object({"alg": "HS256", "typ": "at+jwt"})

    def token(self, claims: Claims) -> str:
        """An access or refresh token that says ``claims``; ``iss`` is filled in."""
        payload: dict[str, Any] = {"sub": claims.sub, "username": claims.username, "token_type": claims.token_type}
        for name, value in (
            ("client_id", claims.client_id),
            ("sid", claims.session),
            ("exp", claims.exp),
            ("auth_time", claims.auth_time),
            ("scopes", claims.scopes),
            ("extra", dict(claims.extra)),
        ):
            if value:
                payload[name] = value
        return self._signed(self._access if claims.token_type == ACCESS else self._plain, payload, claims)

    def static_token(self, namespace: str, name: str, uid: str, secret: str, now: int) -> str:
        """A token of a ServiceAccount. It has no end; ``uid`` and ``secret`` say which one it was made for."""
        subject = f"{SERVICE_ACCOUNT_PREFIX}{namespace}:{name}"
        claims = Claims("", subject, subject, STATIC, now, 0, random_name())
        payload: dict[str, Any] = {"sub": subject, "username": subject, "token_type": STATIC}
        payload |= {key: value for key, value in (("uid", uid), ("secret", secret)) if value}
        return self._signed(self._plain, payload, claims)

    def id_token(
        self,
        subject: str,
        client: str,
        claims: Mapping[str, Any],
        *,
        nonce: str,
        access_token: str,
        auth_time: int,
        session: str,
        now: int,
        lifetime: int,
    ) -> str:
        """An id token (OpenID Connect Core, 2); ``claims`` are further ones and replace none.

        Raises :class:`SharedUnavailable` as long as the key that signs is not known.
        """
        key = self._keys.signing
        payload: dict[str, Any] = dict(claims)
        payload |= {
            "iss": self._issuer,
            "sub": subject,
            "username": subject,
            "aud": [client],
            "iat": now,
            "exp": now + max(1, lifetime),
            "jti": random_name(),
            "token_type": ID,
        }
        if nonce:
            payload["nonce"] = nonce
        if auth_time:
            payload["auth_time"] = auth_time
        if session:
            payload["sid"] = session
        if access_token:
            # OpenID Connect Core, 3.1.3.6: the left half of the hash that the signature is made with.
            payload["at_hash"] = encode(hashlib.sha256(access_token.encode("ascii")).digest()[:16])
        return key.sign(payload)

    def _signed(self, header: str, payload: dict[str, Any], claims: Claims) -> str:
        if not self._keys.secret:
            raise SharedUnavailable("tokens cannot be signed: set authentication.issuer.jwtSecret")
        if self._issuer:
            payload["iss"] = self._issuer
        payload["iat"] = claims.iat
        payload["jti"] = claims.jti
        signed = header + "." + write_object(payload)
        return signed + "." + encode(self._keys.mac(signed.encode("ascii")))
