"""The PROXY protocol before everything else, TLS included."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from support_server import get, path_back

from ksproxyd.server.client_address import ClientAddress, TrustedProxies
from ksproxyd.server.limits import Timeouts
from ksproxyd.server.proxy_protocol import ProxyProtocol
from ksproxyd.testing import Authority, Client, MemoryServer

AUTHORITY = Authority()
V1 = b"PROXY TCP4 198.51.100.9 192.0.2.1 4711 443\r\n"
V2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes([198, 51, 100, 9, 192, 0, 2, 1]) + b"\x12\x67\x01\xbb"


def serving(*trusted: str, tls: bool = False, timeouts: Timeouts | None = None) -> MemoryServer:
    context = AUTHORITY.issue("gateway.example").server_context() if tls else None
    server = MemoryServer(path_back, tls=context, timeouts=timeouts)
    proxies = TrustedProxies(ip_network(network) for network in trusted)
    server.server.proxy_protocol = ProxyProtocol(proxies)
    if trusted:
        server.server.addresses = ClientAddress(proxies)
    return server


@pytest.mark.parametrize("header", [V1, V2])
@pytest.mark.parametrize("at_once", [0, 1, 13])
def test_plain(header: bytes, at_once: int) -> None:
    with serving() as server:
        client = server.connect("192.0.2.99")
        client.send(header + get("/1"), at_once=at_once)
        assert client.answer().body == b"/1"
        client.send(get("/2"), at_once=at_once)
        assert client.answer().body == b"/2"
        assert [exchange.client for exchange in server.finished] == ["198.51.100.9", "198.51.100.9"]
        assert [exchange.peer for exchange in server.finished] == ["198.51.100.9", "198.51.100.9"]


@pytest.mark.parametrize("header", [V1, V2])
@pytest.mark.parametrize("at_once", [0, 1, 13])
def test_before_tls(header: bytes, at_once: int) -> None:
    with serving(tls=True) as server:
        client = server.connect("192.0.2.99")
        client.send(header[:-5], at_once=at_once)
        client.write(header[-5:])
        client.start_tls(AUTHORITY.client_context(), server_side=False, server_name="gateway.example")
        server.reactor.settle()
        assert client.secured
        client.send(get("/1") + get("/2"))
        assert [client.answer().body, client.answer().body] == [b"/1", b"/2"]
        assert server.finished[0].client == "198.51.100.9"


def test_a_refusal_knows_the_client_too() -> None:
    with serving() as server:
        client = server.connect("192.0.2.99")
        client.send(V1 + b"nonsense\r\n\r\n")
        assert client.answer().status == 400
        assert server.finished[0].client == "198.51.100.9"


@pytest.mark.parametrize(
    "first", [get(), b"PROXY nonsense\r\n", b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c", b"\x16\x03\x01"]
)
@pytest.mark.parametrize("tls", [False, True])
def test_without_it_nothing_is_served(first: bytes, tls: bool) -> None:
    with serving(tls=tls) as server:
        client = server.connect()
        client.send(first)
        assert not client.transport.connected
        assert not client.received
        assert not server.handled


def test_only_trusted_proxies_may_say_so() -> None:
    with serving("192.0.2.99/32") as server:
        stranger = server.connect("192.0.2.98")
        stranger.send(V1 + get())
        assert not stranger.transport.connected
        assert not server.handled
        client = server.connect("192.0.2.99")
        client.send(V1 + get())
        assert client.answer().status == 200
        assert server.finished[0].client == "198.51.100.9"


@pytest.mark.parametrize("local", [b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", b"PROXY UNKNOWN\r\n"])
def test_the_proxys_own_connections(local: bytes) -> None:
    with serving() as server:
        client: Client = server.connect("192.0.2.99")
        client.send(local + get())
        assert client.answer().status == 200
        assert server.finished[0].client == "192.0.2.99"


def test_one_that_does_not_come() -> None:
    with serving(timeouts=Timeouts(header=10)) as server:
        client = server.connect()
        client.send(V1[:10])
        server.wait(11.5)
        assert not client.transport.connected
        assert server.server.counters.timeouts == {"idle": 1}
