"""Addresses with answers in them, and what waits while somebody signs in."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock

from ksproxyd.authn.shared.memory import MemoryStore
from ksproxyd.kapis.oauth.csrf import token
from ksproxyd.kapis.oauth.pending import (
    LARGEST,
    MOST,
    AuthorizeRequest,
    DeviceRequest,
    Pending,
    TooLarge,
    TooManyWaiting,
    well_formed,
)
from ksproxyd.kapis.oauth.redirects import form_source, with_parameters
from ksproxyd.kapis.oauth.site import Site
from ksproxyd.settings import load_text


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("https://a.test/cb", b"https://a.test/cb?n=v"),
        ("https://a.test/cb?", b"https://a.test/cb?n=v"),
        ("https://a.test/cb?a=1", b"https://a.test/cb?a=1&n=v"),
        ("https://a.test/cb?a=1&", b"https://a.test/cb?a=1&n=v"),
        ("https://a.test/cb?b=%2F&a=+", b"https://a.test/cb?b=%2F&a=+&n=v"),
        ("app:/cb", b"app:/cb?n=v"),
    ],
)
def test_what_an_address_has_stays(uri: str, address: bytes) -> None:
    assert with_parameters(uri, [("n", "v")]) == address
    assert with_parameters(uri, []) == uri.encode()


@given(st.lists(st.tuples(st.text(min_size=1), st.text()), min_size=1), st.booleans())
def test_values_come_back_as_they_were(pairs: list[tuple[str, str]], fragment: bool) -> None:
    address = with_parameters("https://a.test/cb", pairs, fragment=fragment)
    assert not {0x0D, 0x0A, 0x20, 0x22, 0x3C} & set(address) and address.isascii()
    parts = urlsplit(address.decode())
    text = parts.fragment if fragment else parts.query
    assert parse_qsl(text, keep_blank_values=True, strict_parsing=True) == pairs


@pytest.mark.parametrize(
    ("uri", "source"),
    [
        ("https://a.test/cb?x=1", "https://a.test"),
        ("http://127.0.0.1:18080/callback", "http://127.0.0.1:18080"),
        ("HTTPS://A.test:8443/cb", "https://a.test:8443"),
        ("http://[::1]:8080/cb", "http:"),
        ("com.example.app:/cb", "com.example.app:"),
        ("https://a;script-src/cb", "https:"),
        ("https://a b/cb", "https:"),
    ],
)
def test_sources_of_a_policy(uri: str, source: str) -> None:
    assert form_source(uri) == source


def site_of(issuer: str, sign_in: str = "") -> Site:
    text = f"authentication: {{issuer: {{url: '{issuer}'}}}}\nksproxyd: {{oauth: {{signInURL: '{sign_in}'}}}}"
    return Site(load_text(text, "settings", {}).settings)


@pytest.mark.parametrize(
    ("issuer", "sign_in", "address"),
    [
        ("", "", b"/oauth/login?resume=h%20%26"),
        ("https://a.test/", "", b"/oauth/login?resume=h%20%26"),
        ("https://a.test/x/y/", "", b"/x/y/oauth/login?resume=h%20%26"),
        ("https://a.test/x/y", "/login", b"/login?resume=h%20%26"),
        ("https://a.test", "https://b.test/?a=b", b"https://b.test/?a=b&resume=h%20%26"),
    ],
)
def test_where_people_sign_in(issuer: str, sign_in: str, address: bytes) -> None:
    assert site_of(issuer, sign_in).sign_in("h &") == address


REQUEST = AuthorizeRequest("rp", "https://a.test/cb", True, "code", ("openid",), 5.0, state="s", prompt=("login",))


HERE = "192.0.2.7"


def now(coroutine: Any) -> Any:
    found: list[Any] = []
    ensureDeferred(coroutine).addBoth(found.append)
    if hasattr(found[0], "raiseException"):
        found[0].raiseException()
    return found[0]


def test_what_waits() -> None:
    clock = Clock()
    store = MemoryStore(clock, 60.0)
    pending = Pending(store)
    for request in (REQUEST, DeviceRequest("ABCD-EFGH")):
        handle = now(pending.keep(request, HERE))
        assert well_formed(handle)
        assert now(pending.look(handle)) == request
        assert now(pending.take(handle)) == request
        assert now(pending.take(handle)) is None and now(pending.look(handle)) is None
    handle = now(pending.keep(REQUEST, HERE))
    assert handle not in repr(list(store._entries))
    clock.advance(601)
    assert now(pending.look(handle)) is None
    for nonsense in ("", "x", handle + "x", handle[:-1] + "/", "é" * 43):
        assert now(pending.look(nonsense)) is None
    with pytest.raises(TooLarge):
        now(pending.keep(DeviceRequest("x" * LARGEST), HERE))
    store.close()


def test_nobody_makes_us_remember_without_end() -> None:
    clock = Clock()
    store = MemoryStore(clock, 60.0)
    pending = Pending(store)
    for _ in range(MOST):
        now(pending.keep(REQUEST, HERE))
    with pytest.raises(TooManyWaiting) as caught:
        now(pending.keep(REQUEST, "192.0.2.8"))
    assert caught.value.error().code == 429
    now(pending.keep(REQUEST, "198.51.100.1"))
    clock.advance(601)
    now(pending.keep(REQUEST, HERE))
    store.close()


def test_tokens_of_forms() -> None:
    assert token("secret", "sign-in x") == token("secret", "sign-in x")
    assert len({token("secret", "a"), token("secret", "b"), token("other", "a")}) == 3
    assert token("secret", "\ud800")
