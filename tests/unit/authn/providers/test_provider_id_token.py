"""id_tokens of providers (OpenID Connect Core, 3.1.3.7; spec 02, D-15)."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from ksproxyd.authn.providers.id_token import (
    ALGORITHMS,
    NoSuchKey,
    check_access_token,
    check_claims,
    signed_claims,
)
from ksproxyd.authn.providers.provider import ProviderError
from ksproxyd.authn.tokens.jws import JWKSet

NOW = 1_800_000_000.0
RSA = RSAKey.generate_key(2048, {"kid": "r1"})
EC = ECKey.generate_key("P-256", {"kid": "e1"})
KEYS = JWKSet.read({"keys": [RSA.as_dict(private=False), EC.as_dict(private=False)]})
CLAIMS: dict[str, Any] = {
    "iss": "https://idp.test",
    "sub": "u-1",
    "aud": "ks",
    "iat": int(NOW),
    "exp": int(NOW) + 600,
    "nonce": "n-1",
}


def check(changes: dict[str, Any], *, nonce: str = "n-1", issuer: str = "https://idp.test", skew: float = 300.0) -> str:
    claims = {key: value for key, value in {**CLAIMS, **changes}.items() if value is not None}
    return check_claims(claims, issuer=issuer, client_id="ks", nonce=nonce, now=NOW, skew=skew)


def test_a_good_one() -> None:
    assert check({}) == "u-1"
    assert check({"aud": ["ks"]}) == "u-1"
    assert check({"aud": ["ks", "other"], "azp": "ks"}) == "u-1"
    assert check({"nonce": None}, nonce="") == "u-1"
    assert check({"iss": "https://other.test"}, issuer="") == "u-1"
    assert check({"iat": NOW + 0.5, "exp": NOW + 0.9}) == "u-1"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"iss": "https://idp.test/"}, "its issuer is 'https://idp.test/', not 'https://idp.test'"),
        ({"iss": None}, "its issuer is None"),
        ({"iss": ["https://idp.test"]}, "its issuer is"),
        ({"aud": "other"}, "it is for 'other', not for 'ks'"),
        ({"aud": None}, "it is for None"),
        ({"aud": []}, "it is for []"),
        ({"aud": {"ks": 1}}, "it is for"),
        ({"aud": "ks2"}, "it is for"),
        ({"aud": ["ks", "other"]}, "does not say who has asked for it (azp)"),
        ({"aud": ["ks", "other"], "azp": "other"}, "'other' has asked for it"),
        ({"azp": "other"}, "'other' has asked for it"),
        ({"nonce": "n-2"}, "its nonce"),
        ({"nonce": None}, "its nonce"),
        ({"nonce": 5}, "its nonce"),
        ({"nonce": "é"}, "its nonce"),
        ({"sub": None}, "no subject"),
        ({"sub": ""}, "no subject"),
        ({"sub": 5}, "no subject"),
        ({"exp": None}, "does not say when"),
        ({"iat": None}, "does not say when"),
        ({"exp": "soon"}, "its exp is no time"),
        ({"exp": True}, "its exp is no time"),
        ({"exp": 1e300}, "its exp is no time"),
        ({"exp": float("nan")}, "its exp is no time"),
        ({"nbf": "x"}, "its nbf is no time"),
    ],
)
def test_bad_ones(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ProviderError) as caught:
        check(changes)
    assert said in caught.value.message
    assert caught.value.kind == "answer"


def test_clocks_may_differ_by_five_minutes_either_way_and_not_by_more() -> None:
    for ahead in (-300, 300):
        check({"iat": NOW + ahead, "nbf": NOW + ahead, "exp": NOW + ahead + 1})
    for changes in (
        {"iat": NOW + 301},
        {"nbf": NOW + 301},
        {"iat": NOW - 900, "exp": NOW - 300},
    ):
        with pytest.raises(ProviderError, match="clockSkew"):
            check(changes)
    with pytest.raises(ProviderError):
        check({"iat": NOW + 1}, skew=0.0)


# -- signatures ----------------------------------------------------------------------------------------------------


def token(key: Any = RSA, algorithm: str = "RS256", claims: Any = CLAIMS, **header: Any) -> str:
    return jwt.encode({"alg": algorithm, "kid": key.kid, **header}, claims, key, algorithms=[algorithm])


@pytest.mark.parametrize(("key", "algorithm"), [(RSA, "RS256"), (RSA, "RS512"), (RSA, "PS256"), (EC, "ES256")])
def test_signed_ones(key: Any, algorithm: str) -> None:
    assert signed_claims(token(key, algorithm), KEYS, ALGORITHMS) == (algorithm, CLAIMS)


def test_only_by_what_the_provider_announces() -> None:
    with pytest.raises(NoSuchKey):
        signed_claims(token(RSA, "PS256"), KEYS, frozenset({"RS256"}))


def by_public_key() -> str:
    """Signed with the published key as if it were a secret."""
    parts = [b'{"alg":"HS256","kid":"r1"}', b'{"sub":"u-1"}']
    text = ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
    signature = hmac.digest(RSA.as_pem(private=False), text.encode(), "sha256")
    return text + "." + base64.urlsafe_b64encode(signature).rstrip(b"=").decode()


def unsigned(header: str, signature: bytes = b"") -> str:
    parts = [header.encode(), b'{"sub":"u-1"}', signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.b",
        unsigned('{"alg":"none"}'),
        unsigned('{"alg":"None"}'),
        unsigned('{"alg":"RS256","kid":"r1"}', b"x" * 256),
        unsigned('{"alg":"RS256"}', b""),
        unsigned("{}"),
        token(RSAKey.generate_key(2048, {"kid": "r1"})),
        token(RSAKey.generate_key(2048, {"kid": "r2"})),
        by_public_key(),
        token(claims={**CLAIMS})[:-10],
    ],
)
def test_those_that_are_not_signed_by_the_provider(text: str) -> None:
    with pytest.raises((NoSuchKey, ProviderError)):
        signed_claims(text, KEYS, ALGORITHMS)


def test_secrets_among_the_published_keys_verify_nothing() -> None:
    secret = OctKey.generate_key(256, {"kid": "h1"})
    keys = JWKSet.read({"keys": [secret.as_dict(private=True)]})
    with pytest.raises(NoSuchKey):
        signed_claims(token(secret, "HS256"), keys, ALGORITHMS | {"HS256"})


# -- at_hash -------------------------------------------------------------------------------------------------------


def half(access: str, name: str = "sha256") -> str:
    digest = hashlib.new(name, access.encode()).digest()
    return base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()


def test_the_access_token_it_came_with() -> None:
    check_access_token({}, "RS256", "abc")
    check_access_token({"at_hash": half("abc")}, "ES256", "abc")
    check_access_token({"at_hash": half("abc", "sha512")}, "PS512", "abc")
    for wrong in (half("abd"), half("abc", "sha512"), "", 5, half("abc") + "="):
        with pytest.raises(ProviderError, match="at_hash"):
            check_access_token({"at_hash": wrong}, "RS256", "abc")
