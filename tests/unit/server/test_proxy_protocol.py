"""PROXY headers, whole and in pieces, and what a connection makes of them."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ksproxyd.server.client_address import TrustedProxies
from ksproxyd.server.proxy_protocol import (
    V1_BYTES,
    V2_REST_BYTES,
    Origin,
    ProxyHeader,
    ProxyProtocol,
    ProxyProtocolError,
)

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
IPV4 = IPv4Address("192.0.2.1").packed + IPv4Address("192.0.2.2").packed + struct.pack("!HH", 5555, 443)
IPV6 = IPv6Address("2001:db8::1").packed + IPv6Address("2001:db8::2").packed + struct.pack("!HH", 5555, 443)


def v2(command: int, family: int, rest: bytes, length: int | None = None) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(rest) if length is None else length) + rest


def read(data: bytes, *cuts: int) -> tuple[Origin | None, bytes]:
    """What a reader makes of ``data`` cut in pieces; pieces behind a complete header are left over."""
    header = ProxyHeader()
    edges = [0, *sorted(cuts), len(data)]
    for i in range(len(edges) - 1):
        origin, rest = header.feed(data[edges[i] : edges[i + 1]])
        if origin is not None:
            return origin, rest + data[edges[i + 1] :]
    return None, b""


def outcome(data: bytes, *cuts: int) -> Any:
    try:
        return read(data, *cuts)
    except ProxyProtocolError:
        return "refused"


GOOD = [
    (
        b"PROXY TCP4 192.0.2.1 192.0.2.2 5555 443\r\n",
        Origin(1, ("192.0.2.1", 5555), ("192.0.2.2", 443)),
    ),
    (
        b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
        Origin(1, ("255.255.255.255", 65535), ("255.255.255.255", 65535)),
    ),
    (
        b"PROXY TCP6 2001:DB8::1 2001:db8:0:0::2 0 443\r\n",
        Origin(1, ("2001:db8::1", 0), ("2001:db8::2", 443)),
    ),
    (
        b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:c000:202 5555 443\r\n",
        Origin(1, ("192.0.2.1", 5555), ("192.0.2.2", 443)),
    ),
    (b"PROXY UNKNOWN\r\n", Origin(1)),
    (b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", Origin(1)),
    (b"PROXY UNKNOWN " + b"x" * (V1_BYTES - 16) + b"\r\n", Origin(1)),
    (v2(0x21, 0x11, IPV4), Origin(2, ("192.0.2.1", 5555), ("192.0.2.2", 443))),
    (v2(0x21, 0x12, IPV4), Origin(2, ("192.0.2.1", 5555), ("192.0.2.2", 443))),
    (v2(0x21, 0x21, IPV6), Origin(2, ("2001:db8::1", 5555), ("2001:db8::2", 443))),
    (v2(0x21, 0x11, IPV4 + b"\x04\0\x03abc"), Origin(2, ("192.0.2.1", 5555), ("192.0.2.2", 443))),
    (v2(0x21, 0x11, IPV4 + b"\x20" * (V2_REST_BYTES - 12)), Origin(2, ("192.0.2.1", 5555), ("192.0.2.2", 443))),
    (
        v2(0x21, 0x21, IPv6Address("::ffff:192.0.2.1").packed + IPV6[16:]),
        Origin(2, ("192.0.2.1", 5555), ("2001:db8::2", 443)),
    ),
    (v2(0x20, 0x11, IPV4), Origin(2)),
    (v2(0x20, 0x00, b""), Origin(2)),
    (v2(0x20, 0x11, b"xy"), Origin(2)),
    (v2(0x21, 0x00, b""), Origin(2)),
    (v2(0x21, 0x00, b"\x04\0\0"), Origin(2)),
    (v2(0x21, 0x10, IPV4), Origin(2)),
    (v2(0x21, 0x31, b"/" * 216), Origin(2)),
]

BAD = [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"PROXY\r\n",
    b"proxy TCP4 192.0.2.1 192.0.2.2 5555 443\r\n",
    b" PROXY TCP4 192.0.2.1 192.0.2.2 5555 443\r\n",
    b"PROXY  TCP4 192.0.2.1 192.0.2.2 5555 443\r\n",
    b"PROXY TCP4  192.0.2.1 192.0.2.2 5555 443\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 5555 443 \r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 5555 443 x\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 5555\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 5555 443\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 5555 443\r\r\n",
    b"PROXY TCP4 192.0.2.1\r 192.0.2.2 5555 443\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 05555 443\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 65536 443\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 -1 443\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 +1 443\r\n",
    b"PROXY TCP4 192.0.2.01 192.0.2.2 5555 443\r\n",
    b"PROXY TCP4 192.0.2.256 192.0.2.2 5555 443\r\n",
    b"PROXY TCP4 192.0.2 192.0.2.2 5555 443\r\n",
    b"PROXY TCP4 2001:db8::1 2001:db8::2 5555 443\r\n",
    b"PROXY TCP6 192.0.2.1 192.0.2.2 5555 443\r\n",
    b"PROXY TCP6 fe80::1%eth0 2001:db8::2 5555 443\r\n",
    b"PROXY TCP6 2001:db8:::1 2001:db8::2 5555 443\r\n",
    b"PROXY UDP4 192.0.2.1 192.0.2.2 5555 443\r\n",
    b"PROXY UNKNOWNx\r\n",
    b"PROXY unknown\r\n",
    b"PROXY UNKNOWN " + b"x" * (V1_BYTES - 15) + b"\r\n",
    b"PROXY UNKNOWN " + b"x" * 1000,
    SIGNATURE[:-1] + b"\r" + bytes(4),
    v2(0x11, 0x11, IPV4),
    v2(0x22, 0x11, IPV4),
    v2(0x31, 0x11, IPV4),
    v2(0x21, 0x41, IPV4),
    v2(0x21, 0x13, IPV4),
    v2(0x21, 0x11, IPV4[:-1]),
    v2(0x21, 0x21, IPV4),
    v2(0x21, 0x31, b"/" * 215),
    v2(0x21, 0x11, IPV4, V2_REST_BYTES + 1),
    v2(0x20, 0x00, b"", 0xFFFF),
]


@pytest.mark.parametrize(("data", "origin"), GOOD)
@pytest.mark.parametrize("rest", [b"", b"GET / HTTP/1.1\r\n", b"\r\n", b"PROXY UNKNOWN\r\n"])
def test_a_header_and_what_is_behind_it(data: bytes, origin: Origin, rest: bytes) -> None:
    assert read(data + rest) == (origin, rest)
    assert read(data + rest, *range(1, len(data + rest))) == (origin, rest)


@pytest.mark.parametrize("data", [data for data, _ in GOOD])
def test_an_incomplete_header_waits(data: bytes) -> None:
    for end in range(len(data)):
        assert read(data[:end]) == (None, b"")


@pytest.mark.parametrize("data", BAD)
def test_anything_else_is_refused(data: bytes) -> None:
    assert outcome(data) == "refused"
    assert outcome(data, *range(1, len(data))) == "refused"


def test_a_client_that_speaks_http_is_refused_at_its_first_byte() -> None:
    with pytest.raises(ProxyProtocolError):
        ProxyHeader().feed(b"G")


PARTS = b"PROXY |TCP4 |TCP6 |UNKNOWN|1.2.3.4 |::1 |80|\r|\n|\r\n| |x".split(b"|")
STREAMS = st.one_of(
    st.sampled_from([data for data, _ in GOOD] + BAD),
    st.binary(max_size=40).map(lambda tail: b"PROXY " + tail),
    st.binary(max_size=60).map(lambda tail: SIGNATURE + tail),
    st.lists(st.sampled_from(PARTS), max_size=12).map(b"".join),
    st.binary(max_size=30),
)


@given(STREAMS, st.binary(max_size=10), st.lists(st.integers(0, 300), max_size=5))
@settings(max_examples=500, deadline=None)
def test_pieces_make_no_difference(data: bytes, rest: bytes, cuts: list[int]) -> None:
    data += rest
    whole = outcome(data)
    assert outcome(data, *[cut for cut in cuts if cut <= len(data)]) == whole
    assert outcome(data, *range(1, len(data))) == whole


class FakeServer:
    tls_context: object = None


class FakeConnection:
    """As much of a connection as the header sees."""

    def __init__(self, peer: str = "10.0.0.1") -> None:
        self.server = FakeServer()
        self.peer = self.client = peer
        self.log: list[Any] = []

    def received(self, data: bytes) -> None:
        self.log.append(data)

    def begin_tls(self) -> None:
        self.log.append("tls")
        self.dataReceived = lambda data: self.log.append(("sealed", data))

    def abort(self) -> None:
        self.log.append("aborted")

    def speak(self, protocol: ProxyProtocol, *pieces: bytes) -> list[Any]:
        self.received = protocol(self)  # type: ignore[method-assign, arg-type]
        self.dataReceived = self.received
        for piece in pieces:
            self.dataReceived(piece)
        return self.log


HEADER = b"PROXY TCP4 192.0.2.1 192.0.2.2 5555 443\r\n"


def test_a_connection_goes_on_as_its_client() -> None:
    protocol = ProxyProtocol(TrustedProxies([]))
    connection = FakeConnection()
    assert connection.speak(protocol, HEADER[:9], HEADER[9:] + b"GET", b" /") == [b"GET", b" /"]
    assert connection.peer == connection.client == "192.0.2.1"
    assert "received" not in vars(connection)
    assert (protocol.accepted, protocol.refused) == (1, 0)


def test_a_health_check_of_the_proxy_is_its_own() -> None:
    connection = FakeConnection()
    assert connection.speak(ProxyProtocol(TrustedProxies([])), v2(0x20, 0, b""), b"GET") == [b"GET"]
    assert connection.client == "10.0.0.1"


def test_tls_begins_behind_the_header() -> None:
    connection = FakeConnection()
    connection.server.tls_context = object()
    assert connection.speak(ProxyProtocol(TrustedProxies([])), HEADER + b"\x16\x03", b"more") == [
        "tls",
        ("sealed", b"\x16\x03"),
        ("sealed", b"more"),
    ]


def test_what_is_no_header_is_cut_off() -> None:
    protocol = ProxyProtocol(TrustedProxies([]))
    assert FakeConnection().speak(protocol, b"GET / HTTP/1.1\r\n") == ["aborted"]
    assert (protocol.accepted, protocol.refused) == (0, 1)


def test_only_trusted_proxies_may_send_one_where_some_are_named() -> None:
    protocol = ProxyProtocol(TrustedProxies([ip_network("10.0.0.0/8")]))
    assert FakeConnection("10.0.0.1").speak(protocol, HEADER + b"x") == [b"x"]
    stranger = FakeConnection("192.0.2.9")
    assert stranger.speak(protocol, HEADER + b"x") == ["aborted"]
    assert stranger.client == "192.0.2.9"
