"""OAuth clients out of Secrets: what is understood, what is refused, and who wins."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from ksproxyd.authn.clients import LARGEST, Clients, OAuthClient, has_secret, read_client
from ksproxyd.authn.tokens.claims import Lifetimes
from ksproxyd.state.store import Store

GOOD = "name: rp\nsecret: s\n"
KEY = ("kubesphere-system", "c")


def secret(text: str | bytes = GOOD, name: str = "c", created: str = "2026-01-01T00:00:00Z", own: str = "") -> Any:
    raw = text if isinstance(text, bytes) else text.encode()
    data = {"configuration.yaml": base64.b64encode(raw).decode()}
    if own:
        data["ksproxyd.yaml"] = base64.b64encode(own.encode()).decode()
    return {
        "metadata": {
            "name": name,
            "namespace": "kubesphere-system",
            "creationTimestamp": created,
            "labels": {"config.kubesphere.io/type": "oauthclient"},
        },
        "type": "config.kubesphere.io/oauthclient",
        "data": data,
    }


def read(text: str, own: str = "", **more: Any) -> OAuthClient:
    return read_client(secret(text, own=own), [], **more)


class Place:
    def __init__(self, *secrets: Any, **more: Any) -> None:
        self.store = Store("LoginConfig", Clock())
        for value in secrets:
            self.store.put(value)
        self.lines: list[str] = []
        globalLogPublisher.addObserver(self._observe)
        try:
            self.clients = Clients(self.store, built_in=(), **more)
        finally:
            globalLogPublisher.removeObserver(self._observe)

    def _observe(self, event: LogEvent) -> None:
        self.lines.append(formatEvent(event))


def test_everything_that_a_client_has() -> None:
    found = read(
        "name: rp\nsecret: s\ntrusted: true\ngrantMethod: prompt\nscopeRestrictions: [openid, email]\n"
        "redirectURIs: [https://rp.test/cb]\npostLogoutRedirectURIs: ['https://rp.test/bye']\n"
        "accessTokenMaxAgeSeconds: 600\naccessTokenInactivityTimeoutSeconds: 60\nrespondWithChallenges: true\n"
    )
    assert (found.name, found.secret, found.trusted, found.grant_method) == ("rp", "s", True, "prompt")
    assert (found.scopes, found.redirect_uris) == (("openid", "email"), ("https://rp.test/cb",))
    assert found.post_logout_redirect_uris == ("https://rp.test/bye",)
    assert found.lifetimes == Lifetimes(600, 60)
    assert not found.public


def test_what_is_left_out() -> None:
    assert read(GOOD) == OAuthClient("rp", "s")
    # Both, or neither.
    assert read(GOOD + "accessTokenMaxAgeSeconds: 600\n").lifetimes is None
    assert read(GOOD + "grantMethod: ''\n").grant_method == "auto"


def test_yaml_that_looks_like_a_number_is_its_text() -> None:
    found = read("name: 0123\nsecret: 2026-01-01\n")
    assert (found.name, found.secret) == ("0123", "2026-01-01")


def test_our_own_field_survives_a_webhook_that_writes_the_other() -> None:
    own = "public: true\npostLogoutRedirectURIs: ['https://rp.test/bye']\n"
    found = read("name: rp\nsecret: made-by-the-webhook\n", own)
    assert (found.public, found.secret) == (True, "")
    assert found.post_logout_redirect_uris == ("https://rp.test/bye",)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("secret: s", "`name`"),
        ("name: ''\nsecret: s", "`name`"),
        ("name: 'a b'\nsecret: s", "`name`"),
        ("name: system:x\nsecret: s", "system:"),
        ("name: kubesphere:x\nsecret: s", "kubesphere:"),
        ("name: rp", "no `secret`"),
        ("name: rp\nsecret: ''", "no `secret`"),
        ("name: rp\nsecret: [a]", "`secret`"),
        ("name: rp\nsecret: sha256:zz", "sha256"),
        ("name: rp\npublic: true\ntrusted: true", "trusted"),
        ("name: rp\nsecret: s\ntrusted: 'yes'", "`trusted`"),
        ("name: rp\nsecret: s\ngrantMethod: always", "`grantMethod`"),
        ("name: rp\nsecret: s\ngrantMethod: [auto]", "`grantMethod`"),
        ("name: rp\nsecret: s\nredirectURIs: https://x", "`redirectURIs`"),
        ("name: rp\nsecret: s\nscopeRestrictions: [1]", "`scopeRestrictions`"),
        ("name: rp\nsecret: s\nscopeRestrictions: ['a b']", "`scopeRestrictions`"),
        ("name: rp\nsecret: s\naccessTokenMaxAgeSeconds: -1", "`accessTokenMaxAgeSeconds`"),
        ("name: rp\nsecret: s\naccessTokenMaxAgeSeconds: true", "`accessTokenMaxAgeSeconds`"),
        ("name: rp\nsecret: s\naccessTokenMaxAgeSeconds: 1.5", "`accessTokenMaxAgeSeconds`"),
        ("- a", "no mapping"),
        ("a: [", "not YAML"),
        ("!!python/object/apply:os.system ['true']", "not YAML"),
        ("x: " + "y" * LARGEST, "larger"),
    ],
)
def test_what_is_no_client(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        read(text)


@pytest.mark.parametrize("data", [None, {}, {"configuration.yaml": 7}, {"configuration.yaml": "!"}, [], "x"])
def test_secrets_of_any_shape(data: Any) -> None:
    place = Place({**secret(), "data": data})
    assert place.clients.find("rp") is None
    assert KEY in place.clients.problems


@given(st.binary(max_size=200))
def test_any_bytes_are_a_client_or_a_problem(raw: bytes) -> None:
    with contextlib.suppress(ValueError):
        read_client(secret(raw), [])


def test_problems_show_no_secret() -> None:
    place = Place(secret("name: rp\nsecret: top-secret\n  broken: ["), secret("name: 'x y'\nsecret: top-secret", "d"))
    assert len(place.clients.problems) == 2
    assert len(place.lines) == 2
    assert "top-secret" not in "".join([*place.lines, *place.clients.problems.values()])
    client = read("name: rp\nsecret: top-secret\n")
    assert "top-secret" not in f"{client!r} {client}"


def test_addresses_that_cannot_be_used_are_passed_over() -> None:
    warnings: list[str] = []
    text = GOOD + "redirectURIs: [/cb, 'https://rp.test/cb', 'javascript:x']\n"
    found = read_client(secret(text), warnings)
    assert found.redirect_uris == ("https://rp.test/cb",)
    assert len(warnings) == 2


def test_the_oldest_of_a_name_counts_whatever_the_order() -> None:
    old = secret("name: rp\nsecret: old", "z", "2025-01-01T00:00:00Z")
    new = secret("name: rp\nsecret: new", "a", "2026-01-01T00:00:00Z")
    for order in ((old, new), (new, old)):
        place = Place(*order)
        found = place.clients.find("rp")
        assert found is not None and found.secret == "old"
        assert set(place.clients.problems) == {("kubesphere-system", "a")}
    # Of the same age, the first by name.
    place = Place(secret("name: rp\nsecret: b", "b"), secret("name: rp\nsecret: a", "a"))
    found = place.clients.find("rp")
    assert found is not None and found.secret == "a"


def test_the_next_takes_its_place() -> None:
    old, new = secret("name: rp\nsecret: old", "z", "2025-01-01T00:00:00Z"), secret("name: rp\nsecret: new", "a")
    place = Place(old, new)
    place.store.remove(("kubesphere-system", "z"))
    found = place.clients.find("rp")
    assert found is not None and found.secret == "new"
    assert place.clients.problems == {}
    # Under another name both are there.
    place.store.put(secret("name: other\nsecret: old", "z", "2025-01-01T00:00:00Z"))
    assert place.clients.names() == ["other", "rp"]
    place.store.put(secret("name: [", "a"))
    assert place.clients.names() == ["other"]
    place.clients.stop()
    place.store.remove(("kubesphere-system", "z"))
    assert place.clients.names() == ["other"]


def test_other_secrets_are_no_clients() -> None:
    provider = secret()
    provider["metadata"]["labels"]["config.kubesphere.io/type"] = "identityprovider"
    wrong_type = {**secret(name="d"), "type": "Opaque"}
    place = Place(provider, wrong_type)
    assert place.clients.names() == [] and place.clients.problems == {}


def test_the_secret_that_everybody_knows() -> None:
    given = secret("name: kubesphere\nsecret: kubesphere\n")
    place = Place(given, secret("name: another\nsecret: kubesphere\n", "d"))
    assert place.clients.find("kubesphere") is not None
    assert sum("SECURITY" in line for line in place.lines) == 1, "once"
    strict = Place(given, default_secret=False)
    assert strict.clients.find("kubesphere") is None
    assert "everybody knows" in strict.clients.problems[KEY]


def test_a_built_in_client_gives_way() -> None:
    store = Store("LoginConfig", Clock())
    clients = Clients(store)
    built_in = clients.find("ksproxyd-cli")
    assert built_in is not None and built_in.public and not built_in.trusted and not built_in.redirect_uris
    store.put(secret("name: ksproxyd-cli\npublic: true\ngrantMethod: deny\n"))
    found = clients.find("ksproxyd-cli")
    assert found is not None and found.grant_method == "deny"


class Compares:
    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    async def verify(self, password: str, hash: str) -> bool:
        self.asked.append((password, hash))
        return password == "right"


def shows(client: OAuthClient, shown: str, compares: Any = None) -> bool:
    results: list[Any] = []
    Deferred.fromCoroutine(has_secret(client, shown, compares or Compares())).addBoth(results.append)
    return results == [True]


@pytest.mark.parametrize("stored", ["s3cret", "sha256:" + hashlib.sha256(b"s3cret").hexdigest()])
def test_secrets(stored: str) -> None:
    client = OAuthClient("rp", stored)
    assert shows(client, "s3cret")
    for wrong in ("", "s3cre", "s3cret ", "S3cret", stored + "x", "\udcff"):
        assert not shows(client, wrong)


def test_secrets_as_bcrypt_hashes_are_compared_where_it_does_not_block() -> None:
    compares = Compares()
    client = OAuthClient("rp", "$2b$10$" + "a" * 53)
    assert shows(client, "right", compares) and not shows(client, "wrong", compares)
    assert [asked[0] for asked in compares.asked] == ["right", "wrong"]


def test_who_has_no_secret_shows_none() -> None:
    assert not shows(OAuthClient("app", public=True), "")
    assert not shows(OAuthClient("odd", ""), "")
