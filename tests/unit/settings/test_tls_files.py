"""The TLS files of listeners: there, readable, and belonging together."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ksproxyd.settings import ListenerTLS, SettingsError, load_text

START = datetime.datetime(2020, 1, 1)


def make_key(path: Path, passphrase: bytes | None = None) -> ec.EllipticCurvePrivateKey:
    key = ec.generate_private_key(ec.SECP256R1())
    encryption = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    path.write_bytes(pem)
    return key


def make_certificate(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway.example.org")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, START, START + datetime.timedelta(days=36500))
    path.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))


@pytest.fixture
def files(tmp_path: Path) -> Path:
    make_certificate(tmp_path / "cert.pem", make_key(tmp_path / "key.pem"))
    make_key(tmp_path / "other.pem")
    make_key(tmp_path / "locked.pem", b"passphrase")
    (tmp_path / "text.pem").write_text("hello")
    return tmp_path


def load(folder: Path, cert: str, key: str, ca: str = "") -> ListenerTLS:
    name = {each: f"{folder}/{each}" if each else "" for each in (cert, key, ca)}
    text = f"""
ksproxyd:
  listeners:
  - tls:
      certFile: "{name[cert]}"
      keyFile: "{name[key]}"
      clientCAFile: "{name[ca]}"
"""
    tls = load_text(text, "x.yaml", {}).settings.ksproxyd.listeners[0].tls
    assert tls is not None
    return tls


def test_files_that_fit(files: Path) -> None:
    tls = load(files, "cert.pem", "key.pem", "cert.pem")
    assert (tls.cert_file, tls.key_file) == (f"{files}/cert.pem", f"{files}/key.pem")
    assert load(files, "cert.pem", "key.pem").client_ca_file == ""


@pytest.mark.parametrize(
    ("cert", "key", "ca", "line", "at", "end"),
    [
        ("none", "key.pem", "", 5, "certFile", "expected the path of a file that exists"),
        ("", "key.pem", "", 5, "certFile", "expected the path of a file that exists"),
        ("cert.pem", "none", "", 6, "keyFile", "expected the path of a file that exists"),
        ("cert.pem", "key.pem", "none", 7, "clientCAFile", "expected the path of a file that exists"),
        (
            "cert.pem",
            "other.pem",
            "",
            6,
            "keyFile",
            "the key of another certificate, expected the private key of certFile",
        ),
        ("cert.pem", "locked.pem", "", 6, "keyFile", "an encrypted key, expected a key that is not encrypted"),
        ("cert.pem", "cert.pem", "", 6, "keyFile", ", expected the private key of certFile"),
        ("text.pem", "key.pem", "", 6, "keyFile", ", expected the private key of certFile"),
        ("cert.pem", "key.pem", "text.pem", 7, "clientCAFile", ", expected certificates of authorities"),
    ],
)
def test_files_that_do_not(files: Path, cert: str, key: str, ca: str, line: int, at: str, end: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(files, cert, key, ca)
    (problem,) = caught.value.problems
    assert str(problem).startswith(f"x.yaml:{line}: ksproxyd.listeners[0].tls.{at}: found ")
    assert str(problem).endswith(end)


def test_all_missing_files_are_reported(files: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load(files, "a", "b", "c")
    assert [problem.line for problem in caught.value.problems] == [5, 6, 7]
