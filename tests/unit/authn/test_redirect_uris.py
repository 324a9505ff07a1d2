"""Which addresses may be registered, and which are accepted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.authn.redirect_uris import accepted, problem_of

ONE, TWO = "https://rp.test/cb", "https://rp.test/cb?a=1"


@pytest.mark.parametrize(
    "uri",
    [
        *(ONE, TWO, "http://127.0.0.1:18080/callback", "http://[::1]/cb", "com.example.app:/oauth", "app://cb"),
        "http://localhost:3000/",
    ],
)
def test_what_may_be_registered(uri: str) -> None:
    assert problem_of(uri) is None


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("", "absolute"),
        ("/cb", "absolute"),
        ("rp.test/cb", "absolute"),
        ("https://rp.test/cb#f", "fragment"),
        ("https://rp.test/cb#", "fragment"),
        ("javascript:alert(1)", "scheme"),
        ("JavaScript:alert(1)", "scheme"),
        ("data:text/html,x", "scheme"),
        ("vbscript:x", "scheme"),
        ("file:///etc/passwd", "scheme"),
        ("https://", "host"),
        ("https:///cb", "host"),
        ("https://rp.test@evil.test/", "user"),
        ("https://rp.test:99999/", "absolute"),
        ("https://rp.test:0/", "port 0"),
        ("https://rp.test\\@evil.test/", "absolute"),
        ("https://rp.test/c b", "absolute"),
        ("https://rp.test/\r\nLocation: x", "absolute"),
        (" https://rp.test/", "absolute"),
        ("https://rp.test/é", "absolute"),
        ("https://[::1/", "absolute"),
        ("https://rp.test/" + "x" * 3000, "longer"),
    ],
)
def test_what_may_not(uri: str, why: str) -> None:
    assert why in (problem_of(uri) or "")


@pytest.mark.parametrize(
    "asked",
    [
        *(
            ONE + "/",
            ONE.upper(),
            "https://rp.test/cb?",
            "https://rp.test/cb%2f",
            "https://rp.test/c",
            "https://rp.test",
        ),
        *("http://rp.test/cb", "https://rp.test:443/cb", "https://a.rp.test/cb", "https://rp.test/x/../cb"),
        *("https://rp.test/cb#x", "https://rp.test/cb?a=1&b=2", "//rp.test/cb", ONE + "\n"),
    ],
)
def test_only_what_is_registered_byte_for_byte(asked: str) -> None:
    assert accepted(asked, (ONE, TWO)) is None
    assert accepted(asked, (ONE, TWO), any_loopback_port=True) is None


def test_nothing_asked_for_is_the_only_one() -> None:
    assert accepted("", (ONE,)) == ONE
    assert accepted("", (ONE, TWO)) is None
    assert accepted("", ()) is None


@pytest.mark.parametrize("registered", ["http://127.0.0.1/cb", "http://127.0.0.1:8000/cb"])
def test_the_port_of_loopback(registered: str) -> None:
    """RFC 8252, 7.3."""
    for asked in ("http://127.0.0.1:51004/cb", "http://127.0.0.1/cb"):
        assert accepted(asked, (registered,), any_loopback_port=True) == asked
        assert accepted(asked, (registered,)) == (asked if asked == registered else None)
    assert accepted("http://[::1]:51004/cb", ("http://[::1]/cb",), any_loopback_port=True) == "http://[::1]:51004/cb"


@pytest.mark.parametrize(
    "asked",
    [
        *("http://127.0.0.1:51004/other", "http://127.0.0.1:51004/cb?x=1", "https://127.0.0.1:51004/cb"),
        *("http://127.0.0.1.evil.test/cb", "http://127.0.0.1:80@evil.test/cb", "http://127.0.0.1:1:2/cb"),
        *("http://127.0.0.1:99999/cb", "http://127.0.0.1:0/cb", "http://127.0.0.2:80/cb", "http://localhost:80/cb"),
        *("http://127.0.0.1:/cb", "http://127.1:80/cb", "http://[::1]:80/cb", "http://127.0.0.1:80/cb#f"),
        *("http://127.0.0.1:80\\@evil.test/cb", "http://127.0.0.1:８０/cb"),
    ],
)
def test_nothing_but_the_port_of_loopback(asked: str) -> None:
    assert accepted(asked, ("http://127.0.0.1/cb",), any_loopback_port=True) is None


def test_loopback_by_name_has_its_port() -> None:
    assert accepted("http://localhost:2/cb", ("http://localhost:1/cb",), any_loopback_port=True) is None


@given(st.text(max_size=80), st.lists(st.sampled_from([ONE, TWO, "http://127.0.0.1/cb"]), max_size=3), st.booleans())
def test_what_is_accepted_is_registered(asked: str, registered: list[str], public: bool) -> None:
    found = accepted(asked, registered, any_loopback_port=public)
    assert found is None or found in registered or found.startswith("http://127.0.0.1:")
