"""Certificates of listeners: what is accepted, what is said of the rest, and when files are read again."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from twisted.internet.task import Clock

from ksproxyd.server.certificates import INTERVAL, Certificate, CertificateError, server_context
from ksproxyd.testing import Authority
from ksproxyd.transport.tls import TLSLayer

AUTHORITY = Authority()


def shown(context: ssl.SSLContext, client: ssl.SSLContext | None = None) -> bytes | None:
    """The certificate that a client gets to see."""
    server = TLSLayer(context, server_side=True)
    far = TLSLayer(client or AUTHORITY.client_context(), server_side=False, server_name="a.example")
    data = far.handshake()
    while not (server.ready and far.ready):
        data = far.handshake(server.handshake(data))
    return far.peer_certificate()


def test_a_context(tmp_path: Path) -> None:
    issued = AUTHORITY.issue("a.example")
    context = server_context(*issued.write(tmp_path))
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.verify_mode == ssl.CERT_NONE
    assert shown(context) == ssl.PEM_cert_to_DER_cert(issued.certificate.decode())


def test_client_certificates_are_asked_for_and_checked(tmp_path: Path) -> None:
    ca = tmp_path / "ca.crt"
    ca.write_bytes(AUTHORITY.pem)
    context = server_context(*AUTHORITY.issue("a.example").write(tmp_path), str(ca))
    assert shown(context), "without one a client is served"
    assert shown(context, AUTHORITY.client_context(AUTHORITY.issue("joe", client=True)))
    stranger = AUTHORITY.client_context(Authority("another").issue("joe", client=True))
    with pytest.raises(ssl.SSLCertVerificationError):
        shown(context, stranger)


def encrypted(folder: Path) -> tuple[str, str]:
    issued = AUTHORITY.issue("a.example")
    cert, key = issued.write(folder)
    plain = serialization.load_pem_private_key(issued.key, None)
    Path(key).write_bytes(
        plain.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    return cert, key


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    one = AUTHORITY.issue("a.example").write(tmp_path, "one")
    other = AUTHORITY.issue("a.example").write(tmp_path, "other")
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    missing = str(tmp_path / "missing")
    locked = encrypted(tmp_path)
    for files, says in [
        ((missing, one[1]), "No such file"),
        ((one[0], missing), "No such file"),
        ((one[0], other[1]), "key values mismatch"),
        ((str(empty), one[1]), str(empty)),
        ((one[1], one[0]), one[1]),
        (locked, "encrypted"),
        ((str(tmp_path), one[1]), str(tmp_path)),
    ]:
        with pytest.raises(CertificateError) as caught:
            server_context(*files)
        assert says in str(caught.value)
        assert files[0] in str(caught.value)
    for ca in (missing, str(empty)):
        with pytest.raises(CertificateError, match=ca):
            server_context(*one, ca)


def test_read_again_when_the_files_change(tmp_path: Path) -> None:
    clock = Clock()
    loaded: list[ssl.SSLContext] = []
    first = AUTHORITY.issue("a.example")
    files = first.write(tmp_path)
    certificate = Certificate(*files, "", clock, loaded.append)
    certificate.start()
    clock.pump([INTERVAL] * 5)
    assert loaded == []
    second = AUTHORITY.issue("a.example")
    second.write(tmp_path)
    clock.advance(INTERVAL)
    assert loaded == [certificate.context]
    assert shown(certificate.context) == ssl.PEM_cert_to_DER_cert(second.certificate.decode())
    clock.pump([INTERVAL] * 5)
    assert len(loaded) == 1
    certificate.stop()
    certificate.stop()
    assert not clock.getDelayedCalls()


def test_replaced_by_a_link_as_kubernetes_does_it(tmp_path: Path) -> None:
    # Mounted Secrets: the files are links through a directory that is exchanged as a whole.
    clock = Clock()
    loaded: list[ssl.SSLContext] = []
    for name in ("old", "new"):
        folder = tmp_path / name
        folder.mkdir()
        AUTHORITY.issue("a.example").write(folder)
    data = tmp_path / "..data"
    data.symlink_to("old")
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).symlink_to(Path("..data") / name)
    certificate = Certificate(str(tmp_path / "tls.crt"), str(tmp_path / "tls.key"), "", clock, loaded.append)
    certificate.start()
    next_ = tmp_path / "..data_tmp"
    next_.symlink_to("new")
    next_.rename(data)
    clock.advance(INTERVAL)
    assert len(loaded) == 1
    certificate.stop()


def test_what_cannot_be_loaded_leaves_the_old_in_use(tmp_path: Path) -> None:
    clock = Clock()
    loaded: list[ssl.SSLContext] = []
    files = AUTHORITY.issue("a.example").write(tmp_path)
    certificate = Certificate(*files, "", clock, loaded.append)
    certificate.start()
    before = certificate.context
    key = Path(files[1]).read_bytes()
    # In the middle of being replaced: first the one file, then the other.
    fresh = AUTHORITY.issue("a.example")
    Path(files[0]).write_bytes(fresh.certificate)
    clock.advance(INTERVAL)
    assert certificate.context is before
    Path(files[1]).unlink()
    clock.advance(INTERVAL)
    Path(files[1]).write_bytes(key[:100])
    clock.advance(INTERVAL)
    assert certificate.context is before
    Path(files[1]).write_bytes(fresh.key)
    clock.advance(INTERVAL)
    assert loaded == [certificate.context]
    assert certificate.context is not before
    certificate.stop()


def test_reload_does_not_wait_for_a_change(tmp_path: Path) -> None:
    loaded: list[ssl.SSLContext] = []
    certificate = Certificate(*AUTHORITY.issue("a.example").write(tmp_path), "", Clock(), loaded.append)
    certificate.reload()
    assert loaded == [certificate.context]
