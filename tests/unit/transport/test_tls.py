"""One end of a TLS connection: bytes in, bytes out."""

from __future__ import annotations

import ssl

import pytest

from ksproxyd.testing import Authority
from ksproxyd.transport.tls import TLSLayer

AUTHORITY = Authority()
ISSUED = AUTHORITY.issue("server.example")
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]

pytestmark = pytest.mark.parametrize("version", VERSIONS)


def pair(version: ssl.TLSVersion) -> tuple[TLSLayer, TLSLayer]:
    """Server and client, shaken hands."""
    context = AUTHORITY.client_context()
    context.minimum_version = context.maximum_version = version
    server = TLSLayer(ISSUED.server_context(), server_side=True)
    client = TLSLayer(context, server_side=False, server_name="server.example")
    data = client.handshake()
    while not (server.ready and client.ready):
        data = client.handshake(server.handshake(data))
    if data:
        server.handshake(data)
    return server, client


def test_handshake(version: ssl.TLSVersion) -> None:
    server, client = pair(version)
    assert server.protocol() == client.protocol() == "http/1.1"
    assert client.peer_certificate() == ssl.PEM_cert_to_DER_cert(ISSUED.certificate.decode())
    assert server.peer_certificate() is None


def test_handshake_in_pieces(version: ssl.TLSVersion) -> None:
    context = AUTHORITY.client_context()
    context.minimum_version = context.maximum_version = version
    server = TLSLayer(ISSUED.server_context(), server_side=True)
    client = TLSLayer(context, server_side=False, server_name="server.example")
    towards_server, towards_client = client.handshake(), b""
    while not (server.ready and client.ready):
        for byte in towards_server:
            towards_client += server.handshake(bytes((byte,)))
        towards_server = b""
        for byte in towards_client:
            towards_server += client.handshake(bytes((byte,))) if not client.ready else b""
        towards_client = b""
    assert server.ready
    assert client.ready


@pytest.mark.parametrize("size", [1, 100, 16384, 16385, 1_000_000])
def test_data(version: ssl.TLSVersion, size: int) -> None:
    server, client = pair(version)
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]
    assert server.decrypt(client.encrypt(data)) == data
    assert client.decrypt(server.encrypt(data)) == data
    sealed = client.encrypt(data)
    opened = b"".join(server.decrypt(sealed[begin : begin + 7919]) for begin in range(0, len(sealed), 7919))
    assert opened == data
    assert server.pending() == b""


def test_what_comes_with_the_end_of_the_handshake(version: ssl.TLSVersion) -> None:
    server, client = pair(version)
    assert server.decrypt(client.encrypt(b"one") + client.encrypt(b"two") + client.close()) == b"onetwo"
    assert server.closed


def test_each_end_says_goodbye_by_itself(version: ssl.TLSVersion) -> None:
    server, client = pair(version)
    assert client.decrypt(server.close()) == b""
    assert client.closed
    assert not server.closed
    # The other direction is open still.
    assert server.decrypt(client.encrypt(b"more")) == b"more"
    assert server.decrypt(client.close()) == b""
    assert server.closed
    assert server.decrypt(b"") == b""


def test_goodbye_twice(version: ssl.TLSVersion) -> None:
    server, client = pair(version)
    first = server.close()
    assert first
    assert client.decrypt(first + server.close()) == b""
    assert client.closed


def test_nothing_is_said_behind_the_goodbye(version: ssl.TLSVersion) -> None:
    server, _ = pair(version)
    server.close()
    with pytest.raises(ssl.SSLError):
        server.encrypt(b"more")


def test_bad_records(version: ssl.TLSVersion) -> None:
    server, client = pair(version)
    sealed = bytearray(client.encrypt(b"hello"))
    sealed[-1] ^= 1
    with pytest.raises(ssl.SSLError):
        server.decrypt(bytes(sealed))
    assert server.alert(), "the peer is told why"


def test_goodbye_before_the_handshake(version: ssl.TLSVersion) -> None:
    server = TLSLayer(ISSUED.server_context(), server_side=True)
    assert server.close() == b""


def test_what_is_no_handshake(version: ssl.TLSVersion) -> None:
    server = TLSLayer(ISSUED.server_context(), server_side=True)
    with pytest.raises(ssl.SSLError):
        server.handshake(b"GET / HTTP/1.1\r\n\r\n")
    assert not server.ready


def test_an_unknown_authority(version: ssl.TLSVersion) -> None:
    context = Authority("another").client_context()
    context.minimum_version = context.maximum_version = version
    server = TLSLayer(ISSUED.server_context(), server_side=True)
    client = TLSLayer(context, server_side=False, server_name="server.example")
    with pytest.raises(ssl.SSLCertVerificationError):
        client.handshake(server.handshake(client.handshake()))
    assert client.alert()
