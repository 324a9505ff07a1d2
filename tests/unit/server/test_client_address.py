"""Whose word is taken for where a request is from."""

from __future__ import annotations

import time
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.model.message import Fields
from ksproxyd.server.client_address import (
    MAX_HOPS,
    ClientAddress,
    TrustedProxies,
    client_facing,
    normal_address,
)

PROXIES = TrustedProxies(map(ip_network, ["10.0.0.0/8", "2001:db8:1::/48"]))


class FakeExchange:
    trusted = False
    secure = False

    def __init__(self, peer: str = "10.0.0.1", **fields: str) -> None:
        pairs = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in fields.items()]
        self.fields = Fields(pairs)
        self.peer = self.client = peer


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "client"),
    [
        ("10.0.0.1", "192.0.2.1", "192.0.2.1"),
        # The right-most that is not trusted; whatever is left of it may be anybody's invention.
        ("10.0.0.1", "198.51.100.9, 192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", "198.51.100.9, 192.0.2.1, 10.1.1.1,10.2.2.2", "192.0.2.1"),
        ("10.0.0.1", "10.3.3.3, 192.0.2.1, 10.1.1.1", "192.0.2.1"),
        ("10.0.0.1", "10.3.3.3, 10.1.1.1", "10.3.3.3"),
        # A chain that breaks off ends at the last hop that is known.
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", " , ", "10.0.0.1"),
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", "192.0.2.1, _hidden, 10.1.1.1", "10.1.1.1"),
        ("10.0.0.1", "192.0.2.1, , 10.1.1.1", "10.1.1.1"),
        ("10.0.0.1", "192.0.2.1 x", "10.0.0.1"),
        ("10.0.0.1", "192.0.2.01", "10.0.0.1"),
        ("10.0.0.1", "3221225985", "10.0.0.1"),
        ("10.0.0.1", "fe80::1%eth0", "10.0.0.1"),
        ("10.0.0.1", "\xb9.1.1.1", "10.0.0.1"),
        # Spellings.
        ("10.0.0.1", "192.0.2.1:4711", "192.0.2.1"),
        ("10.0.0.1", "192.0.2.1:", "10.0.0.1"),
        ("10.0.0.1", "[2001:DB8::1]:4711", "2001:db8::1"),
        ("10.0.0.1", "[2001:db8::1]", "2001:db8::1"),
        ("10.0.0.1", "[2001:db8::1", "10.0.0.1"),
        ("10.0.0.1", "[2001:db8::1]x", "10.0.0.1"),
        ("10.0.0.1", "2001:db8:0:0::1", "2001:db8::1"),
        ("10.0.0.1", "::ffff:192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", "192.0.2.1, ::ffff:10.1.1.1", "192.0.2.1"),
        ("::ffff:10.0.0.1", "192.0.2.1", "192.0.2.1"),
        ("2001:db8:1::5", "192.0.2.1", "192.0.2.1"),
    ],
)
def test_behind_a_trusted_proxy(peer: str, forwarded_for: str | None, client: str) -> None:
    exchange = FakeExchange(peer, **({} if forwarded_for is None else {"X_Forwarded_For": forwarded_for}))
    ClientAddress(PROXIES)(exchange)
    assert (exchange.client, exchange.trusted) == (client, True)


@pytest.mark.parametrize("peer", ["192.0.2.9", "2001:db8:2::5", "", "unix", "11.0.0.1"])
def test_anybody_else_is_the_client(peer: str) -> None:
    exchange = FakeExchange(peer, X_Forwarded_For="10.0.0.1", X_Real_Ip="10.0.0.2", Forwarded="for=10.0.0.3")
    ClientAddress(PROXIES)(exchange)
    assert (exchange.client, exchange.trusted) == (peer, False)


def test_other_fields_are_not_read() -> None:
    exchange = FakeExchange(X_Real_Ip="192.0.2.1", X_Client_Ip="192.0.2.2", Forwarded="for=192.0.2.3")
    ClientAddress(PROXIES)(exchange)
    assert exchange.client == "10.0.0.1"


def test_several_lines_are_one_list() -> None:
    exchange = FakeExchange()
    for hop in (b"198.51.100.9", b"192.0.2.1", b"10.1.1.1"):
        exchange.fields.add(b"X-Forwarded-For", hop)
    ClientAddress(PROXIES)(exchange)
    assert exchange.client == "192.0.2.1"


def test_nobody_is_trusted_where_nothing_is_configured() -> None:
    nobody = TrustedProxies([])
    assert not nobody.any and not nobody.trusts("127.0.0.1")


def test_a_chain_without_end_is_cut_and_costs_little() -> None:
    chain = b"192.0.2.1, " + b",".join([b"10.1.1.1"] * MAX_HOPS)
    assert PROXIES.client("10.0.0.1", chain) == "10.1.1.1"
    assert PROXIES.client("10.0.0.1", chain.replace(b"10.1.1.1,", b"", 1)) == "192.0.2.1"
    started = time.process_time()
    PROXIES.client("10.0.0.1", b"10.1.1.1," * 14_000)
    assert time.process_time() - started < 0.05


def test_what_is_remembered_of_addresses_is_bounded() -> None:
    proxies = TrustedProxies([ip_network("10.0.0.0/8")])
    for n in range(10_000):
        assert not proxies.trusts(f"192.0.{n >> 8}.{n & 255}")
    assert len(proxies._known) <= 4096
    assert proxies.trusts("10.9.9.9")


HOPS = st.one_of(
    st.ip_addresses().map(str),
    st.sampled_from(["10.0.0.1", "10.2.3.4", "::ffff:10.1.1.1", "unknown", "", " ", "[::1]:80", "1.2.3.4:5"]),
    st.text(st.characters(max_codepoint=255, exclude_characters=","), max_size=12),
)


@given(st.lists(HOPS, max_size=8), st.lists(HOPS, max_size=8))
def test_what_stands_left_of_the_client_decides_nothing(left: list[str], right: list[str]) -> None:
    own = ["192.0.2.77", *right]
    client = PROXIES.client("10.0.0.1", ",".join(own).encode("latin-1"))
    assert PROXIES.client("10.0.0.1", ",".join([*left, *own]).encode("latin-1")) == client
    assert client == normal_address(client)


@pytest.mark.parametrize(
    ("address", "normal"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::FFFF:c000:201", "192.0.2.1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("::1", "::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("not an:address", "not an:address"),
        ("", ""),
    ],
)
def test_normal_addresses(address: str, normal: str) -> None:
    assert normal_address(address) == normal


class TestClientFacing:
    def facing(self, trusted: bool, secure: bool, **fields: str) -> tuple[bytes, bytes]:
        exchange = FakeExchange(**fields)
        exchange.trusted, exchange.secure = trusted, secure
        return client_facing(exchange)

    def test_host_and_tls_say_it(self) -> None:
        assert self.facing(False, False, Host="gw.example:9090") == (b"http", b"gw.example:9090")
        assert self.facing(False, True, Host="[2001:db8::1]:443") == (b"https", b"[2001:db8::1]:443")

    def test_clients_do_not(self) -> None:
        fields = {"Host": "gw.example", "X_Forwarded_Host": "evil.example", "X_Forwarded_Proto": "https"}
        assert self.facing(False, False, **fields) == (b"http", b"gw.example")

    def test_trusted_proxies_do_and_the_nearest_wins(self) -> None:
        fields = {"Host": "inner", "X_Forwarded_Host": "evil.example, gw.example", "X_Forwarded_Proto": "http, HTTPS"}
        assert self.facing(True, False, **fields) == (b"https", b"gw.example")
        assert self.facing(True, True, Host="inner", X_Forwarded_Proto="gopher") == (b"https", b"inner")

    @pytest.mark.parametrize(
        "host", ["", "a b", "a/b", "a@b", "a?b", "a\r\nb", "a%2fb", "[::1", "a:b", "a:123456", "é", '"']
    )
    def test_a_host_that_is_not_fit_for_a_url_is_none(self, host: str) -> None:
        assert self.facing(False, False, Host=host)[1] == b""
        assert self.facing(True, False, Host="gw", X_Forwarded_Host=host)[1] == (b"" if host else b"gw")
