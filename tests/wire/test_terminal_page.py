"""The terminal page as HTTP: what browsers are told of it, who signs in for it, and what a sign-in is worth there."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator

import msgspec
import pytest
from support_oauth import FORM, PASSWORD, World

from ksproxyd.testing import Answer
from ksproxyd.web import terminal

ORIGIN = (b"Origin", b"http://gateway.example")
JSON = (b"Content-Type", b"application/json")

needs_xterm = pytest.mark.skipif(bool(terminal.missing()), reason="not got from npm: make vendor")


@pytest.fixture
def world() -> Iterator[World]:
    made = World(issuer="http://gateway.example", mode="RBAC")
    yield made
    made.gateway.close()


def header(answer: Answer, name: str) -> str:
    return (answer.get(name) or b"").decode()


def cookie_of(world: World, user: str = "alice") -> tuple[bytes, bytes]:
    """Sign in on the page; the field with the browser's cookies."""
    page = world.gateway.get("/oauth/login")
    first = header(page, "Set-Cookie").partition(";")[0]
    csrf = re.search(r'name="csrf" value="([^"]+)"', page.body.decode())
    assert csrf is not None
    answer = world.post(
        "/oauth/login",
        {"csrf": csrf[1], "username": user, "password": PASSWORD},
        (b"Cookie", first.encode()),
        ORIGIN,
    )
    assert answer.status == 303, answer.body
    return b"Cookie", header(answer, "Set-Cookie").partition(";")[0].encode()


@needs_xterm
def test_the_page_and_what_it_loads(world: World) -> None:
    page = world.gateway.get("/terminal/")
    assert page.status == 200 and header(page, "Content-Type") == "text/html; charset=utf-8"
    policy = header(page, "Content-Security-Policy")
    assert policy.startswith(
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-ancestors 'none'; "
        "base-uri 'none'"
    )
    assert "unsafe" not in policy and "*" not in policy
    assert header(page, "X-Content-Type-Options") == "nosniff"
    assert header(page, "Referrer-Policy") == "no-referrer"
    assert header(page, "Cross-Origin-Opener-Policy") == "same-origin"
    assert header(page, "Cache-Control") == "no-cache"
    text = page.body.decode()
    # No script and no style in the page itself, and nothing of another host.
    assert re.findall(r"<script(?![^>]* src=)|<style| style=| on[a-z]+=|https?://", text) == []
    loaded = re.findall(r'(?:src|href)="(assets/[^"]+)"', text)
    assert len(loaded) >= 3
    for name in loaded:
        asset = world.gateway.get(f"/terminal/{name}")
        assert asset.status == 200 and "immutable" in header(asset, "Cache-Control"), name
        assert header(asset, "X-Content-Type-Options") == "nosniff"
        assert header(asset, "Content-Security-Policy") == policy
    again = world.gateway.get("/terminal/", [(b"If-None-Match", header(page, "ETag").encode())])
    assert again.status == 304 and not again.body


@needs_xterm
def test_files_are_packed_for_who_can_unpack_them(world: World) -> None:
    text = world.gateway.get("/terminal/").body.decode()
    found = re.search(r"assets/[0-9a-f]{16}", text)
    assert found is not None
    folder = f"/terminal/{found[0]}"
    plain = world.gateway.get(f"{folder}/xterm.mjs")
    packed = world.gateway.get(f"{folder}/xterm.mjs", [(b"Accept-Encoding", b"br;q=1, gzip;q=0.8")])
    assert header(plain, "Content-Type") == header(packed, "Content-Type") == "text/javascript; charset=utf-8"
    assert header(plain, "Content-Encoding") == "" and header(packed, "Content-Encoding") == "gzip"
    assert gzip.decompress(packed.body) == plain.body and len(packed.body) < len(plain.body) / 3
    refused = world.gateway.get(f"{folder}/xterm.mjs", [(b"Accept-Encoding", b"gzip;q=0")])
    assert header(refused, "Content-Encoding") == ""
    # Of another version: what there is, but not to be kept under that name.
    other = world.gateway.get("/terminal/assets/0000000000000000/xterm.mjs")
    assert other.body == plain.body and header(other, "Cache-Control") == "no-cache"
    # Licences come along.
    assert b"MIT" in world.gateway.get(f"{folder}/xterm.license.txt").body
    assert world.gateway.get(f"{folder}/vendor.py").status == 404
    assert world.gateway.get(f"{folder}/..%2Fvendor.json").status in (400, 404)


def test_without_the_slash(world: World) -> None:
    answer = world.gateway.get("/terminal?namespace=demo&pod=web-0")
    assert answer.status == 308 and header(answer, "Location") == "terminal/?namespace=demo&pod=web-0"


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "missing", lambda: ["@xterm/xterm 6.0.0"])
    world = World(issuer="http://gateway.example")
    answer = world.gateway.get("/terminal/")
    assert answer.status == 503
    assert b"@xterm/xterm 6.0.0" in answer.body and b"make vendor" in answer.body
    assert world.gateway.get("/terminal/assets/x/xterm.mjs").status == 404
    world.gateway.close()


def test_it_may_be_switched_off() -> None:
    world = World(issuer="http://gateway.example", more="terminal: {page: false}")
    assert world.gateway.get("/terminal/").status == 404
    assert world.gateway.request("POST", "/oauth/terminal_token", [JSON, ORIGIN], b"{}").status == 404
    world.gateway.close()


def test_a_sign_in_is_worth_a_token(world: World) -> None:
    cookie = cookie_of(world)
    answer = world.gateway.request("POST", "/oauth/terminal_token", [JSON, ORIGIN, cookie], b"{}")
    assert answer.status == 201 and header(answer, "Cache-Control") == "no-store"
    found = msgspec.json.decode(answer.body)
    assert found["user"] == "alice" and found["expires_in"] == 600
    # No refresh token: what begins here ends with the sign-in.
    assert set(found) == {"user", "access_token", "expires_in"}
    bearer = (b"Authorization", b"Bearer " + found["access_token"].encode())
    info = world.gateway.get("/oauth/userinfo", [bearer])
    assert info.status == 200 and b'"alice"' in info.body
    world.gateway.wait(601.0)
    assert world.gateway.get("/oauth/userinfo", [bearer]).status == 401


@pytest.mark.parametrize(
    "headers",
    [
        [JSON],
        [JSON, (b"Origin", b"null")],
        [JSON, (b"Origin", b"https://gateway.example")],
        [JSON, (b"Origin", b"http://gateway.example.evil.example")],
        [JSON, (b"Origin", b"http://evil.example")],
        [JSON, ORIGIN, (b"Sec-Fetch-Site", b"cross-site")],
        [JSON, ORIGIN, (b"Sec-Fetch-Site", b"same-site")],
    ],
)
def test_not_for_other_sites(world: World, headers: list[tuple[bytes, bytes]]) -> None:
    cookie = cookie_of(world)
    answer = world.gateway.request("POST", "/oauth/terminal_token", [*headers, cookie], b"{}")
    assert answer.status == 403 and b"access_token" not in answer.body


def test_not_by_a_form_nor_by_nobody(world: World) -> None:
    cookie = cookie_of(world)
    assert world.gateway.request("POST", "/oauth/terminal_token", [FORM, ORIGIN, cookie], b"a=b").status == 415
    assert world.gateway.request("POST", "/oauth/terminal_token", [JSON, ORIGIN], b"{}").status == 401
    assert world.gateway.request("GET", "/oauth/terminal_token", [ORIGIN, cookie], b"").status == 405


def test_by_way_of_the_sign_in(world: World) -> None:
    begun = world.gateway.get("/oauth/terminal?namespace=demo&pod=web-0", [(b"Accept", b"text/html")])
    assert begun.status == 302
    address = header(begun, "Location")
    assert re.fullmatch(r"/oauth/login\?resume=[A-Za-z0-9_-]{43}", address)
    page = world.gateway.get(address)
    csrf = re.search(r'name="csrf" value="([^"]+)"', page.body.decode())
    assert csrf is not None
    browser = (b"Cookie", header(page, "Set-Cookie").partition(";")[0].encode())
    form = {"csrf": csrf[1], "username": "alice", "password": PASSWORD}
    answer = world.post(address, form, browser, ORIGIN)
    assert answer.status == 303 and header(answer, "Location") == "/terminal/?namespace=demo&pod=web-0"
    # Who has signed in is not asked again.
    cookie = (b"Cookie", header(answer, "Set-Cookie").partition(";")[0].encode())
    again = world.gateway.get("/oauth/terminal?node=n1", [cookie])
    assert again.status == 302 and header(again, "Location") == "/terminal/?node=n1"


@pytest.mark.parametrize("query", ["a=%22<", "a=\\b", "x=" + "y" * 3000, "a=\xff"])
def test_queries_that_no_address_has(world: World, query: str) -> None:
    answer = world.gateway.get(f"/oauth/terminal?{query}")
    assert answer.status in (400, 414, 302)
    assert answer.status == 400 or "resume=" in header(answer, "Location")


def test_another_sign_in_page_leaves_no_cookie_here() -> None:
    more = "  oauth: {signInURL: 'https://console.example/login'}"
    world = World(issuer="http://gateway.example", more=more)
    answer = world.gateway.get("/oauth/terminal?kubectl=")
    assert answer.status == 302 and header(answer, "Location").startswith("/oauth/login?resume=")
    assert world.gateway.get(header(answer, "Location")).status == 200
    world.gateway.close()
