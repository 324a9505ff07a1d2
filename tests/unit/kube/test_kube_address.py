"""The server line of a kubeconfig."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.kube.address import ServerAddress, parse_server


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("https://10.0.0.1:6443", ServerAddress("https", "10.0.0.1", 6443)),
        ("https://api.example.com", ServerAddress("https", "api.example.com", 443)),
        ("http://localhost", ServerAddress("http", "localhost", 80)),
        ("HTTPS://API.example.com/", ServerAddress("https", "api.example.com", 443)),
        ("10.0.0.1:6443", ServerAddress("https", "10.0.0.1", 6443)),
        ("api.example.com", ServerAddress("https", "api.example.com", 443)),
        ("localhost:8001/k8s", ServerAddress("https", "localhost", 8001, b"/k8s")),
        ("https://[fd00::1]:6443", ServerAddress("https", "fd00::1", 6443)),
        ("[::1]:6443", ServerAddress("https", "::1", 6443)),
        ("https://h/k8s/clusters/c-1/", ServerAddress("https", "h", 443, b"/k8s/clusters/c-1")),
        ("https://h/a%2Fb:c@d", ServerAddress("https", "h", 443, b"/a%2Fb:c@d")),
        ("https://h/a%2Fb:c", ServerAddress("https", "h", 443, b"/a%2Fb:c")),
        ("https://xn--bcher-kva.example:1", ServerAddress("https", "xn--bcher-kva.example", 1)),
    ],
)
def test_addresses(text: str, address: ServerAddress) -> None:
    assert parse_server(text) == address


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"),
        ("ftp://host", "scheme must be"),
        ("unix:///run/kube.sock", "scheme must be"),
        ("https://", "no usable host"),
        ("https://:6443", "no usable host"),
        ("https://ho st:1", "characters"),
        ("https://host\n", "characters"),
        ("https://bücher.example", "characters"),
        ("https://host:0", "port"),
        ("https://host:65536", "port"),
        ("https://host:port", "port"),
        ("https://host:", "port"),
        ("https://-host", "no usable host"),
        ("https://ho%73t", "no usable host"),
        ("https://[::1", "no usable host|Invalid"),
        ("https://[10.0.0.1]:1", "no usable host|address"),
        ("https://fd00::1:6443", "port|no usable host"),
        ("https://host/a?b=c", "query"),
        ("https://host/#a", "query or fragment"),
        ("https://host/?", "query"),
        ("https://host/a//b", "not usable as a prefix"),
        ("https://host/../a", "not usable as a prefix"),
        ("https://host/a/./b", "not usable as a prefix"),
        ("https://host/%zz", "not usable as a prefix"),
        ("https://host/a\\b", "not usable as a prefix"),
    ],
)
def test_what_is_wrong_is_said(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        parse_server(text)
    assert "\n" not in str(caught.value)


def test_credentials_in_the_address_are_not_repeated() -> None:
    with pytest.raises(ValueError, match="user name") as caught:
        parse_server("https://admin:hunter2@host")
    assert "hunter2" not in str(caught.value)


def test_text_of_an_address() -> None:
    assert str(ServerAddress("https", "::1", 6443, b"/a")) == "https://[::1]:6443/a"


@given(st.text(max_size=40) | st.from_regex(r"(https?://)?[a-z0-9.:\[\]-]{1,12}(:[0-9]{1,6})?(/[a-z./%?#]*)?"))
def test_whatever_is_accepted_reads_the_same_again(text: str) -> None:
    with contextlib.suppress(ValueError):
        address = parse_server(text)
        assert parse_server(str(address)) == address
        assert 0 < address.port < 65536
