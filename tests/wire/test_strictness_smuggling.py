"""Other protocols on this port, requests hidden in requests, and upgrades that are none."""

from __future__ import annotations

import ssl

import pytest
from support_strictness import NO_METHOD, Case, Site, check_behind, check_bytewise, check_whole, site, table

from ksproxyd.testing import Authority, Backend, reverse_proxy
from ksproxyd.testing.backend import answer

__all__ = ["site"]

TLS = "this port speaks plain HTTP"


def hello() -> bytes:
    """What a TLS client says first."""
    outgoing = ssl.MemoryBIO()
    engine = Authority().client_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="g.example")
    with pytest.raises(ssl.SSLWantReadError):
        engine.do_handshake()
    return outgoing.read()


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12\x04\0\0\0\0\0" + b"\0\x03\0\0\0d" * 3

PROTOCOLS = [
    Case("TLS", hello(), 400, TLS),
    Case("TLS, its first byte", b"\x16", 400, TLS),
    Case("old SSL", b"\x80\x2e\x01\0\x02\0\x15\0\0\0\x10" + b"\x01\0\x80" * 7 + b"x" * 16, 400, NO_METHOD),
    Case("HTTP/2 with its settings", PREFACE, 505, "only HTTP/1.1"),
    Case("SSH", b"SSH-2.0-OpenSSH_9.6\r\n", 400, NO_METHOD),
    Case("SMTP", b"EHLO client.example\r\n", 501, "not known"),
    Case("PROXY protocol 1", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET / HTTP/1.1\r\n\r\n", 501, "not known"),
    Case("PROXY protocol 2", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + b"\1" * 12, 400, NO_METHOD),
    Case("Redis", b"*1\r\n$4\r\nPING\r\n", 400, NO_METHOD),
    Case("memcached", b"stats\r\n", 400, NO_METHOD),
    Case("PostgreSQL", b"\0\0\0\x08\x04\xd2\x16\x2f", 400, NO_METHOD),
    Case("zeros", b"\0" * 100, 400, NO_METHOD),
    Case("ones", b"\xff" * 100, 400, NO_METHOD),
    Case("garbage", b"garbage\r\n\r\n", 400, NO_METHOD),
    Case("JSON", b'{"kind":"Status"}\r\n', 400, NO_METHOD),
    Case("HTML", b"<html>\r\n", 400, NO_METHOD),
    Case("a shell", b"() { :; }; echo\r\n", 400, NO_METHOD),
]


@table(PROTOCOLS)
def test_other_protocols(site: Site, case: Case) -> None:
    check_whole(site, case)


@table(PROTOCOLS)
def test_other_protocols_byte_by_byte(site: Site, case: Case) -> None:
    check_bytewise(site, case)


@table(PROTOCOLS)
def test_other_protocols_behind_a_request(site: Site, case: Case) -> None:
    check_behind(site, case)


HIDDEN = b"GET /proxy/b/hidden HTTP/1.1\r\nHost: g.example\r\n\r\n"


@pytest.mark.parametrize(
    "upgrade",
    [
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
        b"Connection: upgrade\r\nUpgrade: h2c",
        b"Connection: upgrade\r\nUpgrade: H2C",
        b"Connection: upgrade\r\nUpgrade: websocket, h2c",
        b"Connection: upgrade\r\nUpgrade: h2c, websocket",
        b"Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c",
        b"Connection: upgrade\r\nUpgrade: TLS/1.2",
        b"Connection: upgrade\r\nUpgrade: HTTP/2.0",
        b"Proxy-Connection: upgrade\r\nUpgrade: websocket",
        b"Connection: x-upgrade\r\nUpgrade: websocket",
        b"Upgrade: websocket",
    ],
)
def test_no_tunnel_for_http_again(site: Site, upgrade: bytes) -> None:
    # The backend would switch to anything it is asked for; it is not asked.
    client = site.gateway.connect()
    client.send(b"GET /proxy/b/outer HTTP/1.1\r\nHost: g.example\r\n" + upgrade + b"\r\n\r\n" + HIDDEN)
    for path in ("outer", "hidden"):
        answer = client.answer()
        assert answer.status == 200
        assert answer.json()["target"] == f"/proxy/b/{path}"
        sent = {name.lower() for name, _ in answer.json()["headers"]}
        assert not sent & {"upgrade", "connection", "proxy-connection", "http2-settings"}
    client.close()
    assert not site.gateway.gateway.proxy.tunnels


def test_what_is_in_a_tunnel_is_no_request(site: Site) -> None:
    client = site.gateway.connect()
    head = b"GET /proxy/b/tunnel HTTP/1.1\r\nHost: g.example\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
    before = len(site.backend.requests)
    client.send(head + HIDDEN)
    assert client.answer().status == 101
    assert client.take() == HIDDEN, "the backend sends it back as it came"
    assert len(site.backend.requests) == before + 1
    client.close()
    site.gateway.reactor.settle()


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b"Content-Length: %d" % len(HIDDEN), HIDDEN),
        (b"Content-Length: 0%d" % len(HIDDEN), HIDDEN),
        (b"Transfer-Encoding: chunked", b"%x\r\n%b\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN)),
        (b"Transfer-Encoding: chunked", b"000%X;x=y\r\n%b\r\n0;z\r\nX: y\r\n\r\n" % (len(HIDDEN), HIDDEN)),
        (b"transfer-encoding: CHUNKED", b"%x\r\n%b\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN)),
    ],
)
@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"POST", b"DELETE", b"OPTIONS"])
def test_requests_in_bodies_stay_there(site: Site, head: bytes, body: bytes, method: bytes) -> None:
    client = site.gateway.connect()
    client.send(b"%b /proxy/b/outer HTTP/1.1\r\nHost: g.example\r\n%b\r\n\r\n" % (method, head) + body)
    client.send(b"GET /proxy/b/next HTTP/1.1\r\nHost: g.example\r\n\r\n")
    seen = site.backend.requests[-2:]
    assert [request.target for request in seen] == [b"/proxy/b/outer", b"/proxy/b/next"]
    assert seen[0].body == HIDDEN
    assert client.answer(method.decode()).status == 200
    assert client.answer().json()["target"] == "/proxy/b/next"
    client.close()


@pytest.mark.parametrize("early", [b"", HIDDEN, b"x" * 200_000])
def test_behind_an_upgrade_that_the_backend_refuses(site: Site, early: bytes) -> None:
    backend = site.gateway.serve("http://refusing.example", Backend(lambda conversation, request: answer(403, b"no")))
    site.gateway.apply(reverse_proxy("refusing", "/proxy/refusing/*", "http://refusing.example"))
    client = site.gateway.connect()
    before = len(site.backend.requests)
    head = b"GET /proxy/refusing/x HTTP/1.1\r\nHost: g.example\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    client.send(head + early)
    refusal = client.answer()
    assert (refusal.status, refusal.body, refusal.get("connection")) == (403, b"no", b"close")
    assert client.nothing_more()
    assert not client.open
    assert not client.reset
    client.close()
    assert len(backend.requests) == 1
    assert len(site.backend.requests) == before
