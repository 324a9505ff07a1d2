"""What a request shows: the header of spec 02, 1.3, and a token as a WebSocket subprotocol."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.authn.credentials import SUBPROTOCOL, BadSubprotocol, Basic, Bearer, read, websocket_token


def basic(text: bytes) -> bytes:
    return b"Basic " + base64.b64encode(text)


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (b"Bearer abc", Bearer("abc")),
        (b"bEaReR abc", Bearer("abc")),
        (b"  Bearer abc  ", Bearer("abc")),
        (basic(b"alice:secret"), Basic("alice", "secret")),
        (b"bAsIc " + base64.b64encode(b"alice:secret"), Basic("alice", "secret")),
        (basic(b"alice:a:b"), Basic("alice", "a:b")),
        (basic(b":"), Basic("", "")),
        (basic("müller:straße".encode()), Basic("müller", "straße")),
    ],
)
def test_understood(header: bytes, found: Basic | Bearer) -> None:
    assert read(header) == found


@pytest.mark.parametrize(
    "header",
    [
        b"Bearer",
        b"Bearer ",
        b"Bearer  tok",
        b"Bearer: tok",
        b"Bearer tok extra",
        b"Bearer tok, Bearer tok",
        b"Bearer tok\textra",
        b"Bearer t\xf6k",
        b"Digest x",
        b"Token x",
        b"Basic",
        b"Basic x",
        b"Basic " + base64.b64encode(b"alice:secret12").rstrip(b"="),
        b"Basic  " + base64.b64encode(b"alice:secret"),
        basic(b"no colon"),
        basic(b"\xff\xfe:x"),
        b"Basic YWxpY2U6c2VjcmV0 extra",
    ],
)
def test_not_understood(header: bytes) -> None:
    assert read(header) is None


def test_nothing_secret_is_shown() -> None:
    assert "secret" not in repr(read(basic(b"alice:secret")))
    assert "abc" not in repr(read(b"Bearer abc"))


@given(st.binary(max_size=200))
def test_anything_is_read(header: bytes) -> None:
    found = read(header)
    if isinstance(found, Bearer):
        assert found.token and " " not in found.token


@given(st.text(max_size=40), st.text(max_size=40))
def test_passwords_come_through(username: str, password: str) -> None:
    if ":" not in username:
        assert read(basic(f"{username}:{password}".encode())) == Basic(username, password)


def offered(token: bytes) -> bytes:
    return SUBPROTOCOL + base64.urlsafe_b64encode(token).rstrip(b"=")


def test_a_token_among_subprotocols() -> None:
    assert websocket_token(b"v4.channel.k8s.io, " + offered(b"a.b-c") + b",v5.channel.k8s.io") == (
        "a.b-c",
        b"v4.channel.k8s.io, v5.channel.k8s.io",
    )


def test_no_token_among_subprotocols() -> None:
    assert websocket_token(b"v4.channel.k8s.io") is None
    assert websocket_token(b"x-" + SUBPROTOCOL + b"YQ") is None


@pytest.mark.parametrize(
    "header",
    [
        offered(b"tok"),
        offered(b"tok") + b", ",
        offered(b"tok") + b", " + offered(b"tok") + b", v4.channel.k8s.io",
        SUBPROTOCOL + b", v4.channel.k8s.io",
        SUBPROTOCOL + b"YQ==, v4.channel.k8s.io",
        SUBPROTOCOL + b"Y, v4.channel.k8s.io",
        offered(b"two words") + b", v4.channel.k8s.io",
        offered(b"line\r\nbreak") + b", v4.channel.k8s.io",
        offered(b"\xff") + b", v4.channel.k8s.io",
    ],
)
def test_a_token_that_cannot_be_served(header: bytes) -> None:
    with pytest.raises(BadSubprotocol):
        websocket_token(header)


@given(st.binary(max_size=120))
def test_any_offer_is_read(tail: bytes) -> None:
    try:
        found = websocket_token(SUBPROTOCOL + tail)
    except BadSubprotocol:
        return
    assert found is None or (found[0].isascii() and found[1])
