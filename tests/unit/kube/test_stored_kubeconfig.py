"""Kubeconfigs that come from the cluster: values, and nothing that would reach into this machine."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ksproxyd.kube.errors import AccessError
from ksproxyd.kube.stored_kubeconfig import LIMIT, stored_kubeconfig


def config(cluster: dict[str, Any] | None = None, user: dict[str, Any] | None = None, **top: Any) -> dict[str, Any]:
    return {
        "current-context": "c",
        "contexts": [{"name": "other", "context": {}}, {"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": "https://k.example:6443/prefix", **(cluster or {})}}],
        "users": [{"name": "u", "user": user if user is not None else {"token": "T"}}],
        **top,
    }


def read(value: Any) -> Any:
    return stored_kubeconfig(yaml.safe_dump(value).encode(), "cluster m")


def refusal(value: Any) -> str:
    with pytest.raises(AccessError) as caught:
        read(value)
    return str(caught.value)


def test_what_it_holds() -> None:
    ca = base64.b64encode(b"pem").decode()
    found = read(config({"certificate-authority-data": ca, "tls-server-name": "inner"}))
    assert (found.address.host, found.address.port, found.address.prefix) == ("k.example", 6443, b"/prefix")
    assert (found.token, found.ca, found.server_name) == (b"T", b"pem", "inner")
    assert not found.has_files
    assert found.plugin is None


def test_nobody_in_particular() -> None:
    value = config()
    del value["contexts"][1]["context"]["user"]
    assert read(value).token is None


FORBIDDEN = [
    (None, {"exec": {"command": "sh", "apiVersion": "client.authentication.k8s.io/v1"}}, "exec"),
    (None, {"exec": None}, "exec"),
    (None, {"auth-provider": {"name": "oidc"}}, "auth-provider"),
    (None, {"tokenFile": "/etc/passwd"}, "tokenFile"),
    (None, {"token": "T", "tokenFile": ""}, "tokenFile"),
    (None, {"client-certificate": "/a", "client-key-data": "eA=="}, "client-certificate"),
    (None, {"client-certificate-data": "eA==", "client-key": "/a"}, "client-key"),
    ({"certificate-authority": "/a"}, None, "certificate-authority"),
    ({"proxy-url": "http://evil"}, None, "proxy-url"),
]


@pytest.mark.parametrize(("cluster", "user", "key"), FORBIDDEN)
def test_what_it_must_not_hold(cluster: Any, user: Any, key: str) -> None:
    assert f"{key} is not allowed" in refusal(config(cluster, user))


BROKEN = [
    ([], "is not a kubeconfig"),
    ("text", "is not a kubeconfig"),
    (None, "is not a kubeconfig"),
    ({}, "names no context"),
    (config(**{"current-context": None}), "names no context"),
    (config(**{"current-context": "nope"}), "has no context 'nope'"),
    (config(**{"current-context": ["c"]}), "has no context"),
    (config(contexts={"c": {}}), "has no context"),
    (config(contexts=[{"name": "c"}]), "has no context"),
    (config(contexts=[{"context": {"cluster": "k"}}], **{"current-context": None}), "names no context"),
    (config(clusters=[]), "has no cluster 'k'"),
    (config(users=[]), "has no user 'u'"),
    (config({"server": "ftp://x"}), "scheme"),
    (config({"server": ""}), "server"),
    (config({"server": 5}), "server"),
    (config({"certificate-authority-data": "%"}), "not base64"),
]


@pytest.mark.parametrize(("value", "why"), BROKEN)
def test_what_is_none(value: Any, why: str) -> None:
    message = refusal(value)
    assert message.startswith("cluster m")
    assert why in message


@pytest.mark.parametrize(
    "text",
    [
        *(b"a: [", b"\xff\xfe\x00", b"a: !!python/object:os.system x", b"? {}", b"a: &a [*a]"),
        *(b"a: !!int ''", b"a: !!float ''", b"a: !!bool x", b"a: !!timestamp x", b"a: !!timestamp 2020-99-99"),
        *(b"a: !!binary x", b"a: !!set x", b"a: !!omap x", b"[" * 5000, b"a: " + b"9" * 5000, b"<<: x"),
    ],
)
def test_text_that_is_none(text: bytes) -> None:
    with pytest.raises(AccessError):
        stored_kubeconfig(text, "cluster m")


def test_too_large() -> None:
    with pytest.raises(AccessError, match="larger than"):
        stored_kubeconfig(b"#" * (LIMIT + 1), "cluster m")


def test_aliases_do_not_multiply() -> None:
    """A few lines of YAML can stand for billions of values; they are never spelt out."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    with pytest.raises(AccessError, match="names no context"):
        stored_kubeconfig("\n".join(lines).encode(), "cluster m")


def test_secrets_are_not_in_messages() -> None:
    for user in ({"token": "SECRET\nx"}, {"token": "SECRET", "tokenFile": "x"}, {"username": "u", "password": 5}):
        try:
            read(config(None, user))
        except AccessError as error:
            assert "SECRET" not in str(error)


SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=10), st.just("c"), st.just("k"))
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
)
TOP = st.dictionaries(st.sampled_from(["current-context", "contexts", "clusters", "users"]), ANYTHING)


@settings(max_examples=200, deadline=None)
@given(TOP, ANYTHING, ANYTHING)
def test_anything(top: dict[str, Any], cluster: Any, user: Any) -> None:
    for value in (top, config(**top), config() | {"clusters": [{"name": "k", "cluster": cluster}]}, config(None, user)):
        try:
            found = read(value)
        except AccessError:
            continue
        assert not found.has_files
        assert found.plugin is None


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=100))
def test_any_bytes(text: bytes) -> None:
    with pytest.raises(AccessError):
        stored_kubeconfig(text, "cluster m")
