"""Whose login was refused is in the record, and nothing else of what was typed in: it makes nobody of anybody."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from support_audit import Recorded
from support_oauth import CLIENTS, FORM, KUBESPHERE, USERS

from ksproxyd.observe.redact import REDACTED

WRONG = "wr0ng-Passw0rd"
NOBODY = {"username": "system:anonymous", "groups": ["system:unauthenticated"]}
TRIED, PROVIDER = "ksproxyd.io/tried-user", "ksproxyd.io/tried-provider"


@pytest.fixture
def world() -> Iterator[Recorded]:
    with Recorded("RequestResponse") as world:
        world.gateway.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kubesphere-system"}})
        world.gateway.apply(*USERS, *CLIENTS)
        world.gateway.wait(100.0)
        yield world


def token(world: Recorded, **fields: str) -> int:
    sent = {"grant_type": "password", "password": WRONG, **KUBESPHERE, **fields}
    return world.request("POST", "/oauth/token", urlencode(sent).encode(), FORM).status


def sign_in(world: Recorded, page: bool = True, **fields: str) -> int:
    """Through the page, or without having seen it."""
    shown = world.request("GET", "/oauth/login")
    (csrf,) = re.findall(rb'name="csrf" value="([^"]+)"', shown.body)
    (cookie,) = shown.all("Set-Cookie")
    sent = {"password": WRONG, **fields} | ({"csrf": csrf.decode()} if page else {})
    return world.request(
        "POST", "/oauth/login", urlencode(sent).encode(), FORM, (b"Cookie", cookie.partition(b";")[0])
    ).status


def noted(world: Recorded, uri: str, verb: str = "POST") -> dict[str, str]:
    """The annotations of the only event of a request, which is nobody's and tells no password."""
    (event,) = [each for each in world.events() if each["RequestURI"] == uri and each["ResponseStatus"]["code"] >= 400]
    assert event["User"] == NOBODY
    assert WRONG not in json.dumps(event)
    found: dict[str, str] = event["Annotations"] or {}
    return found


@pytest.mark.parametrize("name", ["alice", "nobody-here", "bob", "carol", "alice@ks.test"])
def test_a_password_at_the_token_endpoint(world: Recorded, name: str) -> None:
    # Carol is locked out.
    assert token(world, username=name) == (429 if name == "carol" else 400)
    assert noted(world, "/oauth/token") == {TRIED: name}


def test_at_the_page(world: Recorded) -> None:
    assert sign_in(world, username=" alice ") == 400
    assert noted(world, "/oauth/login") == {TRIED: "alice"}


def test_with_an_identity_provider(world: Recorded) -> None:
    assert token(world, username="alice", provider="ld\tap") == 400
    assert noted(world, "/oauth/token") == {TRIED: "alice", PROVIDER: r"ld\tap"}


def test_basic(world: Recorded) -> None:
    shown = base64.b64encode(f"alice:{WRONG}".encode())
    path = "/api/v1/namespaces"
    assert world.request("GET", path, None, (b"Authorization", b"Basic " + shown)).status == 401
    assert noted(world, path) == {TRIED: "alice"}


def test_a_page_of_somebody_elses_names_nobody(world: Recorded) -> None:
    assert sign_in(world, page=False, username="alice") == 403
    assert noted(world, "/oauth/login") == {}


def test_without_a_name(world: Recorded) -> None:
    assert token(world) == 400
    assert noted(world, "/oauth/token") == {}


def test_who_is_let_in_is_not_tried(world: Recorded) -> None:
    assert token(world, username="alice", password="Passw0rdX") == 200
    events: list[Any] = [each for each in world.events() if each["RequestURI"] == "/oauth/token"]
    assert [each["Annotations"] for each in events] == [None]


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("a\r\nb\x1b[31m\u202e", r"a\r\nb\x1b[31m\u202e"),
        ("a" * 5000, "a" * 128 + "..."),
        ("\u00e9l\u00e8ve \u5b66\u751f", "\u00e9l\u00e8ve \u5b66\u751f"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJlLW9m", REDACTED),
    ],
)
def test_whatever_was_typed_in_is_one_short_line(world: Recorded, typed: str, shown: str) -> None:
    assert token(world, username=typed) == 400
    assert noted(world, "/oauth/token") == {TRIED: shown}
