"""The gateway's own keys: where they are from, what they are called, what is published (spec 02, 2.3)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from joserfc import jwt
from joserfc.jwk import KeySet
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from ksproxyd.authn.rejection import SharedUnavailable
from ksproxyd.authn.shared import MemoryStore
from ksproxyd.authn.tokens import ID, KeyProblem, KeyRing, Tokens
from ksproxyd.authn.tokens.keys import fnv1a
from ksproxyd.settings import Settings
from tests.unit.authn.tokens.issuing import (
    NOW,
    Issuing,
    claims_of,
    ec_pem,
    header_of,
    now_or_never,
    one_line,
    rsa_pem,
    settings,
)


def same_thread(make: Callable[[], bytes]) -> Deferred[bytes]:
    return succeed(make())


def never(make: Callable[[], bytes]) -> Deferred[bytes]:
    raise AssertionError("no key needs to be made")


def with_data(pem: bytes, more: str = "") -> Settings:
    return settings(issuer=f"    signKeyData: {one_line(pem)}", more=more)


def pkcs8(pem: bytes) -> bytes:
    return serialization.load_pem_private_key(pem, None).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def common_store(clock: Clock) -> MemoryStore:
    store = MemoryStore(clock, 60)
    store.common = True
    return store


def test_fnv() -> None:
    assert fnv1a(b"hello\n") == "4170400115"
    assert fnv1a(b"") == str(0x811C9DC5)


def test_052_053_published_and_verified_by_others() -> None:
    for pem, alg in ((rsa_pem(), "RS256"), (pkcs8(rsa_pem()), "RS256"), (ec_pem(), "ES256")):
        issuing = Issuing(with_data(pem))
        token = issuing.tokens.id_token(subject="alice", client="rp1", claims={}, lifetime=60)
        published = issuing.tokens.public_keys()
        assert [key["kid"] for key in published["keys"]] == [fnv1a(pem)]
        assert header_of(token) == {"alg": alg, "kid": fnv1a(pem), "typ": "JWT"}
        assert issuing.tokens.signing_algorithms == (alg,)
        theirs = jwt.decode(token, KeySet.import_key_set(json.loads(json.dumps(published))), algorithms=[alg])
        assert theirs.claims == claims_of(token)
        allowed = {"use", "kty", "kid", "alg", "n", "e", "crv", "x", "y"}
        assert all(set(key) <= allowed for key in published["keys"])


def test_the_file_wins(tmp_path: Path) -> None:
    path = tmp_path / "sign.pem"
    path.write_bytes(rsa_pem(1))
    both = settings(issuer=f"    signKey: {path}\n    signKeyData: {one_line(rsa_pem())}")
    assert KeyRing(both, never).signing.kid == fnv1a(rsa_pem(1))
    # Whitespace counts in the name, as it does upstream, and not in the key.
    path.write_bytes(b"\n" + rsa_pem(1) + b"\n")
    ring = KeyRing(both, never)
    assert ring.signing.kid == fnv1a(b"\n" + rsa_pem(1) + b"\n")


@pytest.mark.parametrize(
    ("pem", "says"),
    [
        (b"nothing", "no private key"),
        (rsa_pem().replace(b"MII", b"AAA", 1), "no private key"),
        (
            serialization.load_pem_private_key(rsa_pem(), None)
            .public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
            "no private key",
        ),
        (
            serialization.load_pem_private_key(rsa_pem(), None).private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"pass"),
            ),
            "not encrypted",
        ),
        (
            pkcs8(
                rsa.generate_private_key(65537, 1024).private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
                )
            ),
            "1024",
        ),
        (
            ed25519.Ed25519PrivateKey.generate().private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
            "neither",
        ),
        (
            ec.generate_private_key(ec.SECP384R1()).private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
            "P-256",
        ),
    ],
    ids=["text", "damaged", "public", "encrypted", "small", "ed25519", "p384"],
)
def test_keys_that_cannot_be_used(pem: bytes, says: str) -> None:
    with pytest.raises(KeyProblem, match=says) as problem:
        KeyRing(with_data(pem), never)
    assert "authentication.issuer.signKeyData" in str(problem.value)
    assert "BEGIN" not in str(problem.value) and "MII" not in str(problem.value)


def test_no_base64() -> None:
    with pytest.raises(KeyProblem, match="base64"):
        KeyRing(settings(issuer='    signKeyData: "%%%"'), never)


def test_retired_keys(tmp_path: Path) -> None:
    old = Issuing(with_data(rsa_pem(1)))
    token = old.tokens.id_token(subject="alice", client="rp1", claims={}, lifetime=60)
    # As a public key it has another name, so that its file is best kept as it was.
    whole = tmp_path / "old.pem"
    whole.write_bytes(rsa_pem(1))
    other = tmp_path / "other.pem"
    other.write_bytes(
        serialization.load_pem_private_key(ec_pem(), None)
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    new = Issuing(with_data(rsa_pem(), f"  oauth: {{retiredKeys: [{whole}, {other}]}}"))
    kids = [key["kid"] for key in new.tokens.public_keys()["keys"]]
    assert kids == [fnv1a(rsa_pem()), fnv1a(rsa_pem(1)), fnv1a(other.read_bytes())]
    assert now_or_never(new.tokens.examine(token, types=frozenset({ID}))).sub == "alice"
    assert "d" not in new.tokens.public_keys()["keys"][1]
    whole.write_bytes(b"x")
    with pytest.raises(KeyProblem, match="retiredKeys"):
        KeyRing(with_data(rsa_pem(), f"  oauth: {{retiredKeys: [{whole}]}}"), never)


def test_a_reload_keeps_the_key_of_before() -> None:
    issuing = Issuing(with_data(rsa_pem()))
    token = issuing.tokens.id_token(subject="alice", client="rp1", claims={}, lifetime=60)
    issuing.keys.reload(with_data(rsa_pem(1)))
    kids = [key["kid"] for key in issuing.tokens.public_keys()["keys"]]
    assert kids == [fnv1a(rsa_pem(1)), fnv1a(rsa_pem())]
    now_or_never(issuing.tokens.examine(token, types=frozenset({ID})))
    assert header_of(issuing.tokens.id_token(subject="a", client="b", claims={}, lifetime=60))["kid"] == kids[0]
    issuing.keys.reload(with_data(rsa_pem(1)))
    assert [key["kid"] for key in issuing.tokens.public_keys()["keys"]] == kids
    with pytest.raises(KeyProblem):
        issuing.keys.reload(with_data(b"nothing"))
    assert [key["kid"] for key in issuing.tokens.public_keys()["keys"]] == kids


def test_a_key_is_made() -> None:
    issuing = Issuing(settings())
    assert not issuing.keys.ready and issuing.tokens.public_keys() == {"keys": []}
    assert issuing.tokens.signing_algorithms == ("RS256",)
    with pytest.raises(SharedUnavailable):
        issuing.tokens.id_token(subject="alice", client="rp1", claims={})
    now_or_never(issuing.keys.prepare(issuing.store))
    assert issuing.keys.ready
    token = issuing.tokens.id_token(subject="alice", client="rp1", claims={})
    now_or_never(issuing.tokens.examine(token, types=frozenset({ID})))
    # The name is the key's thumbprint (RFC 7638).
    key = issuing.tokens.public_keys()["keys"][0]
    assert KeySet.import_key_set({"keys": [key]}).keys[0].thumbprint() == key["kid"]
    assert len(issuing.store) == 0


def test_replicas_make_one_key() -> None:
    clock = Clock()
    store = common_store(clock)
    rings = [KeyRing(settings(), same_thread) for _ in range(3)]
    now_or_never(rings[0].prepare(store))
    for ring in rings[1:]:
        now_or_never(ring.prepare(store))
    assert len({json.dumps(ring.public_keys()) for ring in rings}) == 1
    sealed = now_or_never(wait(store.get("sign-key")))
    assert sealed is not None and b"PRIVATE KEY" not in sealed
    # Who does not know the secret cannot read it, and who has another replaces it.
    other = KeyRing(settings(secret="y" * 40), same_thread)
    now_or_never(other.prepare(store))
    assert other.public_keys() != rings[0].public_keys()
    assert now_or_never(wait(store.get("sign-key"))) != sealed


async def wait(deferred: Deferred[Any]) -> Any:
    return await deferred


def test_of_two_who_make_one_at_once_one_is_used() -> None:
    store = common_store(Clock())
    first, second = KeyRing(settings(), same_thread), KeyRing(settings(), same_thread)
    add = store.add

    def racing(*given: Any) -> Deferred[bool]:
        store.add = add  # type: ignore[method-assign]
        now_or_never(second.prepare(store))
        return add(*given)

    store.add = racing  # type: ignore[method-assign]
    now_or_never(first.prepare(store))
    assert first.public_keys() == second.public_keys()


def test_without_a_secret_no_key_is_shared() -> None:
    store = common_store(Clock())
    ring = KeyRing(settings(secret=""), same_thread)
    now_or_never(ring.prepare(store))
    assert ring.ready and len(store) == 0


def test_it_is_tried_until_the_store_is_there() -> None:
    clock = Clock()
    clock.advance(NOW)
    store = common_store(clock)
    get = store.get
    store.get = lambda key: fail(SharedUnavailable("away"))  # type: ignore[method-assign]
    ring = KeyRing(settings(), same_thread)
    done: list[Any] = []
    Deferred.fromCoroutine(ring.keep_trying(clock, store)).addBoth(done.append)
    for _ in range(5):
        clock.advance(10)
    assert not done and not ring.ready
    store.get = get  # type: ignore[method-assign]
    clock.advance(10)
    assert done == [None] and ring.ready
    tokens = Tokens(clock, settings(), store, ring)
    tokens.id_token(subject="alice", client="rp1", claims={})


def test_giving_up_leaves_no_timer() -> None:
    clock = Clock()
    store = common_store(clock)
    store.get = lambda key: fail(SharedUnavailable("away"))  # type: ignore[method-assign]
    trying = Deferred.fromCoroutine(KeyRing(settings(), same_thread).keep_trying(clock, store))
    trying.addErrback(lambda failure: None)
    trying.cancel()
    assert not clock.getDelayedCalls()
