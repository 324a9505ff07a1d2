"""Where requests go, and whom they trust there."""

from __future__ import annotations

import os
import ssl
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from support_gate import PLAIN

from ksproxyd.testing import Authority
from ksproxyd.upstream.target import Target, TrustPolicy, client_context, load_key_pair

AUTHORITY = Authority()
SHOWN = AUTHORITY.issue("gateway", client=True)


@pytest.mark.parametrize(
    ("scheme", "host", "port", "authority"),
    [
        ("http", "a.example", 80, "a.example"),
        ("http", "a.example", 443, "a.example:443"),
        ("https", "a.example", 443, "a.example"),
        ("https", "a.example", 80, "a.example:80"),
        ("https", "192.0.2.1", 6443, "192.0.2.1:6443"),
        ("http", "2001:db8::1", 80, "[2001:db8::1]"),
        ("http", "2001:db8::1", 81, "[2001:db8::1]:81"),
    ],
)
def test_authority(scheme: str, host: str, port: int, authority: str) -> None:
    target = Target(scheme, host, port)
    assert target.authority == authority
    assert target.host_field == authority.encode()
    assert str(target) == f"{scheme}://{authority}"


def test_equal_targets_are_one_key() -> None:
    one = Target("https", "a", 443, TrustPolicy(ca_pem=b"x"))
    same = Target("https", "a", 443, TrustPolicy(ca_pem=b"x"))
    assert one == same
    assert hash(one) == hash(same)
    assert one != Target("https", "a", 443, TrustPolicy(ca_pem=b"y"))
    assert Target("http", "backend.example", 81) != PLAIN


def test_verified_by_default() -> None:
    context = client_context(TrustPolicy())
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert context.get_ca_certs()


def test_a_bundle_takes_the_place_of_the_systems_roots() -> None:
    context = client_context(TrustPolicy(ca_pem=AUTHORITY.pem))
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert len(context.get_ca_certs()) == 1


def test_insecure_is_asked_for() -> None:
    context = client_context(TrustPolicy(insecure=True))
    assert context.verify_mode is ssl.CERT_NONE
    assert not context.check_hostname


def test_contexts_are_kept() -> None:
    assert client_context(TrustPolicy(ca_pem=AUTHORITY.pem)) is client_context(TrustPolicy(ca_pem=AUTHORITY.pem))
    assert client_context(TrustPolicy(insecure=True)) is not client_context(TrustPolicy())


@pytest.mark.parametrize(
    "trust",
    [
        TrustPolicy(ca_pem=b"nothing"),
        TrustPolicy(ca_pem=b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        TrustPolicy(ca_pem=b"\xff"),
        TrustPolicy(client_cert_pem=b"nothing", client_key_pem=b"nothing"),
        TrustPolicy(client_cert_pem=SHOWN.certificate, client_key_pem=AUTHORITY.issue("another").key),
        TrustPolicy(client_cert_pem=SHOWN.certificate),
    ],
)
def test_what_does_not_load(trust: TrustPolicy) -> None:
    with pytest.raises((ssl.SSLError, ValueError)):
        client_context(trust)


def test_certificate_and_key_may_stand_together() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    both = SHOWN.certificate + SHOWN.key
    load_key_pair(context, both, both)
    client_context(TrustPolicy(client_cert_pem=both))


def test_encrypted_keys_are_refused_and_nobody_is_asked(monkeypatch: Any) -> None:
    key = serialization.load_pem_private_key(SHOWN.key, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    )
    with pytest.raises(ssl.SSLError):
        load_key_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), SHOWN.certificate, encrypted)


def test_keys_touch_no_disk_and_leave_nothing_open(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(3):
        load_key_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), SHOWN.certificate, SHOWN.key)
        with pytest.raises(ssl.SSLError):
            load_key_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), b"nothing", b"nothing")
    assert set(os.listdir("/proc/self/fd")) == before
    assert not list(tmp_path.iterdir())


def test_secrets_are_not_shown() -> None:
    trust = TrustPolicy(client_cert_pem=SHOWN.certificate, client_key_pem=b"SECRET KEY")
    for value in (trust, Target("https", "a", 443, trust)):
        assert "SECRET" not in f"{value!r} {value!s} {value}"
