"""Tokens without a gateway: a clock, memory, keys; and tokens that nobody has issued."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Coroutine
from functools import cache
from typing import Any, TypeVar

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from ksproxyd.authn.rejection import Rejected
from ksproxyd.authn.shared import MemoryStore
from ksproxyd.authn.tokens import KeyRing, Tokens
from ksproxyd.authn.tokens.compact import encode
from ksproxyd.authn.tokens.service import StaticBound
from ksproxyd.settings import Settings, load_text

SECRET = "0123456789abcdef0123456789abcdef01234567"
ISSUER = "https://ks.test"
NOW = 1_800_000_000

T = TypeVar("T")


@cache
def rsa_pem(which: int = 0) -> bytes:
    """An RSA key in PKCS#1, the same each time for the same number."""
    key = rsa.generate_private_key(65537, 2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


@cache
def ec_pem() -> bytes:
    """A P-256 key in PKCS#8."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def settings(
    *, issuer: str = "", more: str = "", role: str = "host", multiple: bool = True, secret: str = SECRET
) -> Settings:
    """``issuer`` are lines of ``authentication.issuer``, ``more`` of ``ksproxyd``, each indented as it stands there."""
    return load_text(
        f"""
authentication:
  multipleLogin: {str(multiple).lower()}
  issuer:
    url: {ISSUER}
    jwtSecret: "{secret}"
    accessTokenInactivityTimeout: 30m
{issuer}
multicluster: {{clusterRole: {role}}}
ksproxyd:
  stateDir: ""
{more}
""",
        "test.yaml",
        {},
    ).settings


def now_or_never(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that waits for nothing that is not there."""
    results: list[Any] = []
    Deferred.fromCoroutine(work).addBoth(results.append)
    assert results, "it waits for something"
    if isinstance(results[0], Failure):
        results[0].raiseException()
    found: T = results[0]
    return found


class Issuing:
    """A :class:`Tokens` with what is below it."""

    def __init__(
        self,
        given: Settings | None = None,
        *,
        store: MemoryStore | None = None,
        clock: Clock | None = None,
        static_bound: StaticBound | None = None,
    ) -> None:
        self.settings = given or settings(issuer=f"    signKeyData: {one_line(rsa_pem())}")
        self.clock = clock or Clock()
        if clock is None:
            self.clock.advance(NOW)
        self.store = store or MemoryStore(self.clock, 3600)
        self.keys = KeyRing(self.settings, lambda make: succeed(make()))
        self.tokens = Tokens(self.clock, self.settings, self.store, self.keys, static_bound)

    def open(self, user: str = "alice", client: str = "kubesphere", **more: Any) -> Any:
        return now_or_never(self.tokens.open_session(user, client, **more))

    def refresh(self, token: str, client: str = "kubesphere", **more: Any) -> Any:
        more.setdefault("check", lambda claims: claims.username)
        return now_or_never(self.tokens.refresh(token, client, **more))

    def verify(self, token: str) -> Any:
        return now_or_never(self.tokens.verify(token))

    def refusal(self, token: str) -> str:
        """The phrase that a bearer token is refused with; fails if it is accepted."""
        return phrase(lambda: self.verify(token))

    def known(self, *, header: dict[str, Any] | None = None, **changes: Any) -> str:
        """A token that differs from one that was issued and is in the store: all but its contents is in order.

        A change to None leaves the claim out.
        """
        payload = claims_of(self.open().access_token)
        payload.update(changes)
        return signed({k: v for k, v in payload.items() if v is not None}, header)


def one_line(pem: bytes) -> str:
    """As in ``signKeyData``."""
    return base64.b64encode(pem).decode("ascii")


def claims_of(token: str) -> dict[str, Any]:
    """What a token says, unverified."""
    part = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def header_of(token: str) -> dict[str, Any]:
    """The header of a token."""
    return claims_of("." + token.split(".")[0])


def signed(
    payload: dict[str, Any] | bytes,
    header: dict[str, Any] | bytes | None = None,
    secret: str | bytes = SECRET,
    digest: str = "sha256",
) -> str:
    """A token of whatever is given."""
    head = header if isinstance(header, bytes) else json.dumps(header or {"alg": "HS256", "typ": "JWT"}).encode()
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    text = f"{encode(head)}.{encode(body)}"
    key = secret if isinstance(secret, bytes) else secret.encode()
    return f"{text}.{encode(hmac.new(key, text.encode(), getattr(hashlib, digest)).digest())}"


def phrase(work: Any) -> str:
    """The phrase that something is refused with."""
    with pytest.raises(Rejected) as refused:
        work()
    return refused.value.phrase
