"""Strings that have led other servers to redirect where they must not, in every parameter that redirects depend on.

The public ones are read from ``../shared/vectors``, where a checkout has it; ours are here. None may be accepted, lead
a browser to another origin than a registered one, or end a header field.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote, urlsplit

import pytest
from support_browser import CLIENTS, PASSWORD, Browser, BrowserSite, location

from ksproxyd.kapis.oauth.csrf import token
from ksproxyd.testing.messages import Answer

VECTORS = Path(__file__).resolve().parents[3] / "shared/vectors/openredirects.txt"

#: What the public list has not, or not against addresses like ours.
OWN = [
    "https://rp1.test/cb\\",
    "https://rp1.test\\@evil.test/cb",
    "https://rp1.test/cb/../../evil",
    "https://rp1.test/./cb",
    "https://rp1.test/cb%2f..%2f..",
    "https://rp1.test/cb;x",
    "https://rp1.test/cb?a=1#@evil.test",
    "https://rp1.test/cb?a=1&redirect_uri=https://evil.test",
    "https://rp1.test/cb?A=1",
    "https://rp1.test/cb?a=%31",
    "https://rp1.test/%63b",
    "https://rp1.test/cb\u2025",
    "https://rp1。test/cb",
    "https://rp1.test/cb/",
    "https://rp1.tesţ/cb",
    "https://rp1.test\u0000.evil.test/cb",
    "https://rp1.test/cb\r\nSet-Cookie: ksproxyd_session=x",
    "https://rp1.test/cb%0d%0aSet-Cookie:%20a=b",
    "https://rp1.test/cb\nLocation: https://evil.test",
    "https://rp1.test/cb\x85X: y",
    "https://rp1.test/cb\u2028X: y",
    "https://rp1.test/cb\t",
    "\thttps://rp1.test/cb",
    "https:rp1.test/cb",
    "https:/rp1.test/cb",
    "https:///rp1.test/cb",
    "HTTPS://rp1.test/cb",
    "https://rp1.test./cb",
    "https://rp1.test:0443/cb",
    "https://user@rp1.test/cb",
    "https://rp1.test:@evil.test/cb",
    "https://[::ffff:1.2.3.4]/cb",
    "https://evil.test/?https://rp1.test/cb",
    "https://evil.test#https://rp1.test/cb",
    "https://evil.test/https://rp1.test/cb",
    "https://rp1.test/cb https://evil.test",
    "https://rp1.test/cb,https://evil.test",
    "view-source:https://rp1.test/cb",
    "blob:https://rp1.test/cb",
    "intent://rp1.test/cb#Intent;scheme=https;end",
    "javascript://rp1.test/cb%0aalert(1)",
    "data:text/html,<script>location='https://evil.test'</script>",
    "/oauth/login",
    "/oauth/authorize?resume=x",
    "//ks.test/oauth",
    "https://ks.test",
    "https://ks.test@evil.test/",
]

if VECTORS.exists():
    PUBLIC = [line for line in VECTORS.read_bytes().split(b"\n") if line.strip()]
else:
    print(f"{VECTORS} is not there: only our own strings are tried")
    PUBLIC = []

STRINGS = [*PUBLIC, *(text.encode() for text in OWN)]

BYE = "/oauth/logout?client_id=rp1&post_logout_redirect_uri=https://rp1.test/bye"

REGISTERED = {uri for client in CLIENTS for uri in client.get("redirectURIs", ())}

#: The only places that a browser may be sent to.
ORIGINS = {("https", "rp1.test"), ("https", "ks.test"), ("", "")}


@pytest.fixture
def site() -> Iterator[BrowserSite]:
    with BrowserSite() as running:
        yield running


def forms(raw: bytes) -> list[str]:
    """The string as a parameter's value, encoded as it should be and as it stands, where a request line can have it."""
    found = [quote_from_bytes(raw, safe="")]
    try:
        text = raw.decode("ascii")
    except UnicodeDecodeError:
        return found
    # A pair with a semicolon is none (as Go reads queries), and what stands for a registered address is one.
    if text.isprintable() and not any(c in text for c in ' "<>\\^`{|}#&;') and unquote(text) not in REGISTERED:
        found.append(text)
    return found


def harmless(answer: Answer, raw: bytes) -> None:
    """Whatever the answer is: it leads to no foreign place, and has no field that the string has made."""
    names = {name.lower() for name, _ in answer.headers}
    assert not names & {b"x", b"link", b"refresh"}, raw
    for name, value in answer.headers:
        assert b"\r" not in value and b"\n" not in value, (name, raw)
    for cookie in answer.all("Set-Cookie"):
        assert cookie.startswith((b"ksproxyd_login=", b"ksproxyd_session=")), raw
        assert len(cookie.partition(b"=")[2].partition(b";")[0]) in (0, 43), raw
    if answer.get("Location") is not None:
        parts = urlsplit(location(answer))
        assert (parts.scheme, parts.netloc) in ORIGINS, (raw, location(answer))
        assert parts.netloc or not location(answer).startswith(("//", "/\\")), raw


def test_there_are_enough() -> None:
    assert len(set(OWN)) >= 40
    if VECTORS.exists():
        assert len(PUBLIC) >= 558, len(PUBLIC)


def test_redirect_uri(site: BrowserSite) -> None:
    bearer = {"Authorization": f"Bearer {site.bearer().access_token}"}
    rest = "client_id=rp1&response_type=code&scope=openid&state=s"
    for raw in STRINGS:
        for value in forms(raw):
            for fields in ({}, bearer):
                answer = site.ask("GET", f"/oauth/authorize?{rest}&redirect_uri={value}", fields)
                assert answer.status == 400 and answer.get("Location") is None, raw
                harmless(answer, raw)


def test_redirect_uri_of_a_form(site: BrowserSite) -> None:
    bearer = {"Authorization": f"Bearer {site.bearer().access_token}", "Accept": "text/html"}
    form = {"client_id": "rp1", "response_type": "code", "scope": "openid"}
    for raw in STRINGS:
        answer = site.ask("POST", "/oauth/authorize", bearer, {**form, "redirect_uri": raw})
        assert answer.status == 400 and answer.get("Location") is None, raw
        harmless(answer, raw)


def test_post_logout_redirect_uri(site: BrowserSite) -> None:
    hint = site.hint("alice")
    for raw in STRINGS:
        for value in forms(raw):
            for who in ("client_id=rp1", f"id_token_hint={hint}", ""):
                answer = site.ask("GET", f"/oauth/logout?{who}&state=s&post_logout_redirect_uri={value}")
                assert answer.status == 400 and answer.get("Location") is None, raw
                harmless(answer, raw)


def test_what_is_to_be_resumed(site: BrowserSite) -> None:
    browser = Browser(site)
    browser.sign_in()
    for raw in STRINGS:
        for value in forms(raw):
            for path in ("/oauth/authorize", "/oauth/login", "/oauth/consent"):
                answer = browser.get(f"{path}?resume={value}")
                assert answer.status == 400 and answer.get("Location") is None, (path, raw)
                harmless(answer, raw)


def test_after_signing_in(site: BrowserSite) -> None:
    """With the token that belongs to the string, as if the page had been made with it."""
    for raw in STRINGS[::7]:
        browser = Browser(site)
        browser.get("/oauth/login")
        text = raw.decode("utf-8", "replace")
        csrf = token(browser.cookies["ksproxyd_login"], f"sign-in {text}")
        form = {"username": "alice", "password": PASSWORD, "csrf": csrf, "resume": text, "next": text}
        answer = browser.post(f"/oauth/login?resume={quote_from_bytes(raw, safe='')}", form)
        assert answer.status == 400 and answer.get("Location") is None, raw
        harmless(answer, raw)


def test_other_names_for_where_to_go(site: BrowserSite) -> None:
    """Parameters that others redirect by mean nothing here."""
    names = ["next", "rd", "url", "return_to", "returnUrl", "continue", "target", "redirect", "RelayState", "from"]
    browser = Browser(site)
    browser.sign_in()
    for raw in STRINGS[::11]:
        value = quote_from_bytes(raw, safe="")
        query = "&".join(f"{name}={value}" for name in names)
        for path in ("/oauth/login", "/oauth/logout", "/oauth/device"):
            answer = browser.get(f"{path}?{query}")
            assert answer.status == 200, (path, raw)
            harmless(answer, raw)


def test_what_is_passed_on_stays_a_value(site: BrowserSite) -> None:
    """``state`` may be anything; it comes back as the value of ``state`` and nothing else, errors and codes alike."""
    bearer = {"Authorization": f"Bearer {site.bearer().access_token}"}
    rest = "client_id=rp1&response_type=code&redirect_uri=https://rp1.test/cb"
    for raw in STRINGS:
        value = quote_from_bytes(raw, safe="")
        for scope in ("openid", "wrong"):
            answer = site.ask("GET", f"/oauth/authorize?{rest}&scope={scope}&state={value}", bearer)
            assert answer.status == 302 and location(answer).startswith("https://rp1.test/cb?"), raw
            harmless(answer, raw)
            pairs = [pair.split("=") for pair in urlsplit(location(answer)).query.split("&")]
            names = ["code", "state", "iss"] if scope == "openid" else ["error", "error_description", "state", "iss"]
            assert [name for name, _ in pairs] == names, raw
        answer = site.ask("GET", f"{BYE}&state={value}")
        assert location(answer).startswith("https://rp1.test/bye?state="), raw
        assert location(answer).count("=") == 1, raw
        harmless(answer, raw)


def test_what_is_shown_on_pages_stays_text(site: BrowserSite) -> None:
    browser = Browser(site)
    browser.sign_in()
    for raw in STRINGS[::5]:
        value = quote_from_bytes(raw, safe="")
        for target in (
            f"/oauth/device?user_code={value}",
            f"/oauth/login?lang={value}",
            f"/oauth/authorize?client_id={value}",
            f"{BYE}&state={value}",
        ):
            answer = browser.get(target)
            harmless(answer, raw)
            text = answer.body.decode().lower()
            assert "<script" not in text and 'href="javascript' not in text, (target, raw)
