"""Origins in the settings: what is read is what the CORS policy understands, and never more."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from ksproxyd.chain.cors import Cors
from ksproxyd.settings.kinds import read_origin


def cors(*origins: str) -> Cors:
    return Cors(
        SimpleNamespace(
            allowed_origins=origins,
            allowed_methods=("GET",),
            allowed_headers=(),
            exposed_headers=(),
            allow_credentials=False,
            max_age=60.0,
        )
    )


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("*", "*"),
        ("https://console.example.org", "https://console.example.org"),
        ("HTTPS://Console.Example.ORG:443", "https://console.example.org"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://localhost:080", "http://localhost"),
        ("https://*.apps.example.org", "https://*.apps.example.org"),
        ("https://*.Apps.example.org:8443", "https://*.apps.example.org:8443"),
        ("https://*.apps.example.org:443", "https://*.apps.example.org"),
        ("http://[2001:DB8:0::1]:8080", "http://[2001:db8::1]:8080"),
    ],
)
def test_origins_and_patterns(written: str, read: str) -> None:
    assert read_origin(written) == read
    assert read_origin(read) == read


@pytest.mark.parametrize(
    "written",
    [
        # A pattern names a domain of at least two labels, and the star is one whole label, the first.
        *("https://*", "https://*.org", "https://*.org:443", "https://a*.example.org", "https://a.*.example.org"),
        *("https://**.example.org", "https://*.", "https://*.*.example.org", "*.example.org", "**"),
        *("https://a..example.org", "https://.example.org", "https://a.example.org.", "https://-a.org", "https://a-"),
        *("https://a:0", "https://a:65536", "https://[::g]", "https://[1::2::3]", "https://::1", "https://[fe80::1%1]"),
        *("https://a\n", " https://a", "https://ä.example.org", ""),
    ],
)
def test_what_is_none(written: str) -> None:
    with pytest.raises(PydanticCustomError):
        read_origin(written)


def test_a_pattern_allows_the_names_below() -> None:
    policy = cors(read_origin("https://*.Apps.Example.org"))
    assert policy.allows(b"https://one.apps.example.org")
    assert policy.allows(b"https://two.one.apps.example.org")
    assert not policy.allows(b"https://apps.example.org")
    assert not policy.allows(b"https://one.apps.example.org.evil.test")


PIECES = st.sampled_from(
    ["a", "B", "1", "-", "_", "*", ".", "..", "*.", "org", "example.org", "[::1]", ":", ":80", ":443"]
)


@given(scheme=st.sampled_from(["http://", "https://", "HTTP://", "ftp://", ""]), rest=st.lists(PIECES, max_size=6))
def test_the_policy_takes_whatever_is_read(scheme: str, rest: list[str]) -> None:
    try:
        origin = read_origin(scheme + "".join(rest))
    except PydanticCustomError:
        return
    policy = cors(origin)
    if "*" not in origin:
        assert policy.allows(origin.encode())
