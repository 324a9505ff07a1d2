"""JWK sets of others (identity providers)."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import ECKey, RSAKey

from ksproxyd.authn.tokens.compact import Malformed, encode
from ksproxyd.authn.tokens.jws import BadSignature, JWKSet, UnknownKey, UnusableKey, read_key, verify_compact
from tests.unit.authn.tokens.issuing import rsa_pem

RSA = RSAKey.import_key(rsa_pem(), {"kid": "one"})
OTHER = RSAKey.import_key(rsa_pem(1), {"kid": "two"})
EC = ECKey.generate_key("P-256", {"kid": "three"})


def public(*keys: Any, **more: Any) -> dict[str, Any]:
    return {"keys": [{**key.as_dict(private=False), **more} for key in keys]}


def token(key: Any, alg: str, kid: str | None = None, payload: bytes = b"{}") -> str:
    header = {"alg": alg} | ({"kid": kid} if kid is not None else {})
    return jws.serialize_compact(header, payload, key, algorithms=[alg])


@pytest.mark.parametrize(("key", "alg"), [(RSA, "RS256"), (RSA, "PS256"), (EC, "ES256")])
def test_signed_by_another_implementation(key: Any, alg: str) -> None:
    keys = JWKSet.read(public(RSA, OTHER, EC))
    header, payload = verify_compact(token(key, alg, key.kid, b"hello"), keys)
    assert header["kid"] == key.kid and payload == b"hello"
    verify_compact(token(key, alg), keys)
    with pytest.raises(UnknownKey):
        verify_compact(token(key, alg, "four"), keys)
    with pytest.raises(BadSignature):
        verify_compact(token(key, alg, key.kid), JWKSet.read(public(OTHER, kid=key.kid)))


def test_the_caller_says_which_algorithms() -> None:
    keys = JWKSet.read(public(RSA, EC))
    with pytest.raises(BadSignature):
        verify_compact(token(RSA, "RS512", "one"), keys)
    verify_compact(token(RSA, "RS512", "one"), keys, {"RS512"})
    with pytest.raises(BadSignature):
        verify_compact(token(RSA, "RS256", "one"), JWKSet.read(public(RSA, alg="PS256")))


def test_keys_without_names() -> None:
    nameless = public(RSA, OTHER)
    for key in nameless["keys"]:
        del key["kid"]
    keys = JWKSet.read(nameless)
    verify_compact(token(OTHER, "RS256"), keys)
    verify_compact(token(OTHER, "RS256", "any"), keys)


def test_two_keys_with_one_name() -> None:
    with pytest.raises(BadSignature):
        verify_compact(token(RSA, "RS256", "x"), JWKSet.read(public(RSA, OTHER, kid="x")))
    # Keys for something else may have it.
    mixed = public(RSA, kid="x")
    mixed["keys"] += public(OTHER, kid="x", use="enc")["keys"]
    verify_compact(token(RSA, "RS256", "x"), JWKSet.read(mixed))


@pytest.mark.parametrize("document", [None, [], "x", {"keys": {}}, {"keys": None}])
def test_no_set(document: Any) -> None:
    with pytest.raises(UnusableKey):
        JWKSet.read(document)


def test_one_that_cannot_be_used_spoils_no_others() -> None:
    document = public(RSA)
    bad: list[Any] = [None, 1, {}, {"kty": "RSA"}, {"kty": "OKP", "crv": "Ed25519", "x": "AA"}, {"kty": ["RSA"]}]
    document["keys"] = [*bad, *document["keys"], *bad]
    assert len(JWKSet.read(document)) == 1


def test_small_keys() -> None:
    numbers = rsa.generate_private_key(65537, 1024).public_key().public_numbers()
    with pytest.raises(UnusableKey):
        read_key({"kty": "RSA", "n": encode(numbers.n.to_bytes(128)), "e": "AQAB"})
    with pytest.raises(UnusableKey):
        read_key({"kty": "oct", "k": encode(b"x" * 31)})


def test_a_private_key_gives_its_public_half() -> None:
    key = read_key(RSA.as_dict(private=True))
    assert not key.symmetric


def test_what_is_no_token() -> None:
    keys = JWKSet.read(public(RSA))
    for text in (b"\xff.a.b", "a.b", "a.b.c.d", "", "e30.e30.e30"):
        with pytest.raises(Malformed):
            verify_compact(text, keys)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["kty", "kid", "use", "alg", "n", "e", "crv", "x", "y", "k", "keys", "key_ops"]),
            inner | st.sampled_from(["RSA", "EC", "oct", "AQAB", "P-256", "sig", "RS256", "verify"]),
            max_size=6,
        )
    ),
    max_leaves=12,
)


@given(_JSON)
def test_any_document_is_a_set_or_refused(document: Any) -> None:
    with contextlib.suppress(UnusableKey):
        JWKSet.read(document)


@given(st.binary(max_size=60))
def test_any_header_is_refused_in_one_of_our_ways(header: bytes) -> None:
    keys = JWKSet.read(public(RSA))
    with pytest.raises((Malformed, BadSignature)):
        verify_compact(f"{encode(header)}.e30.{encode(b'x' * 256)}", keys)
    with pytest.raises((Malformed, BadSignature)):
        text = json.dumps({"alg": "RS256", "kid": header.decode("latin-1")})
        verify_compact(f"{encode(text.encode())}.e30.{encode(b'x' * 256)}", keys)
