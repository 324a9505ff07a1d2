"""What becomes of a client's fields, one by one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.model.identity import ANONYMOUS, Identity
from ksproxyd.upstream.headers import FORWARDED, HOP, IDENTITY, KEEP, fate, identity_lines, named_hops

DROPPED = [
    *(b"x-remote-user", b"x-remote-uid", b"x-remote-group", b"x-remote-groups", b"x-remote-extra-a", b"x-remote-x"),
    *(b"impersonate-user", b"impersonate-group", b"impersonate-uid", b"impersonate-extra-scopes"),
    *(b"x-kubesphere-authorization", b"x-kubesphere-rawquery"),
    *(b"x-forwarded-user", b"x-forwarded-groups", b"x-forwarded-email", b"x-forwarded-access-token"),
    *(b"x-forwarded-preferred-username", b"x-forwarded-client-cert", b"x-forwarded-"),
]
OURS = [
    *(b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-port", b"x-forwarded-uri"),
    *(b"x-forwarded-prefix", b"x-forwarded-ssl", b"x-forwarded-scheme", b"x-forwarded-server"),
    *(b"forwarded", b"x-real-ip", b"x-client-ip"),
]
HOPS = [
    *(b"connection", b"proxy-connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade"),
    *(b"proxy-authenticate", b"proxy-authorization", b"expect", b"host", b"http2-settings"),
]
KEPT = [
    *(b"accept", b"accept-encoding", b"authorization", b"content-length", b"content-type", b"cookie", b"date"),
    *(b"user-agent", b"range", b"origin", b"sec-websocket-key", b"x-stream-protocol-version", b"x-request-id"),
    *(b"x-remote", b"x-forwarded", b"impersonate", b"xx-remote-user", b"via", b"x-kubesphere", b""),
]


@pytest.mark.parametrize(
    ("keys", "expected"), [(DROPPED, IDENTITY), (OURS, FORWARDED), (HOPS, HOP), (KEPT, KEEP)], ids=str
)
def test_fate(keys: list[bytes], expected: int) -> None:
    assert {key: fate(key) for key in keys} == dict.fromkeys(keys, expected)


@pytest.mark.parametrize("key", [*DROPPED, *OURS, *HOPS])
def test_underscores_are_hyphens(key: bytes) -> None:
    """CGI and WSGI backends cannot tell them apart."""
    assert fate(key.replace(b"-", b"_")) == fate(key)
    assert fate(key.replace(b"-", b"_", 1)) == fate(key)


@given(st.binary(max_size=80))
def test_fate_does_not_depend_on_what_was_asked_before(key: bytes) -> None:
    assert fate(key) == fate(key)
    if fate(key) == KEEP:
        assert not key.replace(b"_", b"-").startswith((b"x-remote-", b"impersonate-", b"x-forwarded-"))


def test_what_is_remembered_has_bounds() -> None:
    for n in range(10_000):
        fate(b"x-made-up-%d" % n)
        fate(b"x-remote-extra-%d" % n)
    from ksproxyd.upstream import headers

    assert len(headers.fates) <= headers._FATES
    for n in range(10_000):
        identity_lines(Identity(f"user-{n}"))
    assert len(headers._identities) <= headers._IDENTITIES


# -- identity ----------------------------------------------------------------------------------------------------


def test_anonymous() -> None:
    assert identity_lines(ANONYMOUS) == (
        b"X-Remote-User: system:anonymous\r\nX-Remote-Group: system:unauthenticated\r\n"
    )


def test_everything_that_is_known() -> None:
    user = Identity("alice", ("dev", "ops"), "42", (("scopes", ("a", "b")), ("Example.org/Foo", ("c",))))
    assert identity_lines(user).decode().split("\r\n") == [
        "X-Remote-User: alice",
        "X-Remote-Uid: 42",
        "X-Remote-Group: dev",
        "X-Remote-Group: ops",
        "X-Remote-Extra-scopes: a",
        "X-Remote-Extra-scopes: b",
        "X-Remote-Extra-example.org%2ffoo: c",
        "",
    ]


@pytest.mark.parametrize(
    ("key", "escaped"),
    [
        ("plain", "plain"),
        ("100%", "100%25"),
        ("a b", "a%20b"),
        ("a:b", "a%3ab"),
        ("ä", "%c3%a4"),
        ("!#$&'*+-.^_`|~", "!#$&'*+-.^_`|~"),
        ("x\r\ny", "x%0d%0ay"),
    ],
)
def test_keys_are_escaped(key: str, escaped: str) -> None:
    lines = identity_lines(Identity("u", extra=((key, ("v",)),)))
    assert f"X-Remote-Extra-{escaped}: v\r\n".encode() in lines


def test_what_cannot_be_sent_becomes_nobody_elses_name() -> None:
    for name in ("adm\nin", "admin\x00", "\x7fadmin", "\ud800admin"):
        assert identity_lines(Identity(name)) != identity_lines(Identity("admin"))


TEXT = st.text(max_size=20)
EXTRA = st.tuples(st.tuples(TEXT, st.tuples(TEXT)))


@given(st.builds(Identity, TEXT, st.tuples(TEXT, TEXT), TEXT, EXTRA))
def test_no_name_makes_a_field_of_its_own(user: Identity) -> None:
    lines = identity_lines(user)
    assert lines.endswith(b"\r\n")
    fields = lines[:-2].split(b"\r\n")
    # One line each: the user, the uid if there is one, the groups and the extra value.
    assert len(fields) == 4 + bool(user.uid)
    for field in fields:
        name, colon, value = field.partition(b": ")
        assert colon
        assert name.startswith(b"X-Remote-")
        assert not any(byte < 0x20 or byte == 0x7F for byte in value)


# -- Connection ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (None, None),
        (b"close", None),
        (b"Keep-Alive", None),
        (b"X-A", {b"x-a"}),
        (b"keep-alive, X-A,x-b ,, close", {b"x-a", b"x-b", b""}),
        (b"Upgrade", set()),
        (b"content-length, host, content-type, authorization, X-A", {b"x-a"}),
    ],
)
def test_named_hops(value: bytes | None, named: set[bytes] | None) -> None:
    assert named_hops(value) == named
