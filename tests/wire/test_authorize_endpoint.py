"""The authorization endpoint, request by request (spec 02, 3.6 and T-110 to T-126)."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from support_browser import CHALLENGE, CLIENTS, ISSUER, Browser, BrowserSite, authorize, location, told, user

from ksproxyd.testing.messages import Answer


@pytest.fixture
def site() -> Iterator[BrowserSite]:
    with BrowserSite() as running:
        yield running


@pytest.fixture
def alice(site: BrowserSite) -> dict[str, str]:
    return {"Authorization": f"Bearer {site.bearer().access_token}"}


def error_of(answer: Answer, status: int = 400) -> str:
    assert answer.status == status, answer.body
    assert answer.get("Location") is None
    assert answer.get("Cache-Control") == b"no-store"
    found: str = answer.json()["error"]
    return found


# -- where no one is sent anywhere -----------------------------------------------------------------------------


def test_unknown_client(site: BrowserSite, alice: dict[str, str]) -> None:
    answer = site.ask("GET", authorize("nobody"), alice)
    assert error_of(answer) == "invalid_client"
    assert answer.json()["error_description"] == "The provided client_id is invalid or does not exist."
    assert error_of(site.ask("GET", "/oauth/authorize")) == "invalid_client"


@pytest.mark.parametrize(
    "uri",
    [
        "https://rp1.test/cb/",
        "https://rp1.test/c",
        "https://rp1.test/cb?",
        "https://rp1.test/cb?a=1&b=2",
        "https://rp1.test/cb#",
        "https://RP1.test/cb",
        "https://rp1.test:443/cb",
        "https://x.rp1.test/cb",
        "https://rp1.test.evil.test/cb",
        "https://rp1.test@evil.test/cb",
        "http://rp1.test/cb",
        "https://rp2.test/cb",
        "https://rp1.test/cb\r\nX: y",
        " https://rp1.test/cb",
    ],
)
def test_an_address_must_be_exactly_a_registered_one(site: BrowserSite, alice: dict[str, str], uri: str) -> None:
    answer = site.ask("GET", authorize(redirect_uri=uri), alice)
    assert error_of(answer) == "invalid_request"
    assert answer.json()["error_description"] == "Redirect URI is not allowed."


def test_a_client_without_addresses(site: BrowserSite, alice: dict[str, str]) -> None:
    assert error_of(site.ask("GET", authorize("kubesphere"), alice)) == "invalid_request"


def test_of_several_addresses_one_must_be_named(site: BrowserSite, alice: dict[str, str]) -> None:
    assert error_of(site.ask("GET", authorize(redirect_uri=None), alice)) == "invalid_request"
    answer = site.ask("GET", authorize("rp2", redirect_uri=None), alice)
    assert location(answer).startswith("https://rp2.test/cb?code=")


@pytest.mark.parametrize("twice", ["client_id=rp1", "redirect_uri=https://rp1.test/cb"])
def test_who_is_asked_for_must_not_be_ambiguous(site: BrowserSite, alice: dict[str, str], twice: str) -> None:
    error_of(site.ask("GET", authorize() + "&" + twice, alice))


def test_a_form_counts_and_not_the_query(site: BrowserSite, alice: dict[str, str]) -> None:
    assert error_of(site.ask("POST", authorize(), alice, {})) == "invalid_client"
    assert site.ask("POST", authorize(), alice).status == 415


def test_a_person_is_shown_a_page(site: BrowserSite) -> None:
    answer = Browser(site).get(authorize("<script>alert(1)</script>"))
    assert answer.status == 400
    assert (answer.get("Content-Type") or b"").startswith(b"text/html")
    assert b'role="alert"' in answer.body and b"<script" not in answer.body


# -- what goes back to the client ------------------------------------------------------------------------------


def back(answer: Answer, status: int = 302) -> dict[str, str]:
    assert answer.status == status, answer.body
    assert location(answer).startswith("https://rp1.test/cb?"), location(answer)
    assert answer.get("Referrer-Policy") == b"no-referrer"
    assert answer.get("Cache-Control") == b"no-store"
    found = told(answer)
    assert found["iss"] == ISSUER and found["state"] == "st/ä &1"
    return found


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"scope": None}, "invalid_scope"),
        ({"scope": "openid admin"}, "invalid_scope"),
        ({"response_type": "code id_token"}, "unsupported_response_type"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": "id_token", "nonce": "n"}, "unsupported_response_type"),
        ({"response_type": None}, "unsupported_response_type"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"response_mode": "form_post"}, "invalid_request"),
        ({"code_challenge": CHALLENGE}, "invalid_request"),
        ({"code_challenge": CHALLENGE, "code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge": "short", "code_challenge_method": "S256"}, "invalid_request"),
        ({"code_challenge_method": "S256"}, "invalid_request"),
        ({"prompt": "none login"}, "invalid_request"),
        ({"max_age": "soon"}, "invalid_request"),
        ({"max_age": "-1"}, "invalid_request"),
        ({"request": "x.y.z"}, "request_not_supported"),
        ({"request_uri": "https://evil.test/"}, "request_uri_not_supported"),
        ({"id_token_hint": "x.y.z"}, "invalid_request"),
    ],
)
def test_errors_go_back(site: BrowserSite, more: dict[str, Any], error: str) -> None:
    """Also when nobody is signed in: what is wrong with a request is no matter of who asks."""
    assert back(site.ask("GET", authorize(**more)))["error"] == error


def test_a_parameter_twice(site: BrowserSite) -> None:
    assert back(site.ask("GET", authorize() + "&nonce=a&nonce=b"))["error"] == "invalid_request"


def test_a_denied_client(site: BrowserSite, alice: dict[str, str]) -> None:
    answer = site.ask("GET", authorize("rp-deny", redirect_uri="https://deny.test/cb"), alice)
    assert told(answer)["error"] == "access_denied"


def test_the_query_that_is_registered_stays(site: BrowserSite, alice: dict[str, str]) -> None:
    answer = site.ask("GET", authorize(redirect_uri="https://rp1.test/cb?a=1", scope="x"), alice)
    assert location(answer).startswith("https://rp1.test/cb?a=1&error=invalid_scope&")
    answer = site.ask("GET", authorize(redirect_uri="https://rp1.test/cb?a=1"), alice)
    assert location(answer).startswith("https://rp1.test/cb?a=1&code=")
    assert back(answer)["a"] == "1"


def test_nobody_is_signed_in(site: BrowserSite) -> None:
    assert back(site.ask("GET", authorize(prompt="none")))["error"] == "login_required"
    answer = site.ask("GET", authorize())
    assert answer.status == 302
    where = location(answer)
    path, _, handle = where.partition("?resume=")
    assert path == "/oauth/login" and len(handle) == 43
    assert "rp1" not in where


def test_another_sign_in_page() -> None:
    with BrowserSite("signInURL: 'https://console.test/login?lang=zh'") as site:
        where = location(site.ask("GET", authorize()))
        assert where.startswith("https://console.test/login?lang=zh&resume=")
        handle = where.partition("resume=")[2]
        # It signs people in by itself and comes back with their token.
        bearer = {"Authorization": f"Bearer {site.bearer().access_token}"}
        assert "code" in told(site.ask("GET", f"/oauth/authorize?resume={handle}", bearer))


def test_a_code(site: BrowserSite, alice: dict[str, str]) -> None:
    site.server.wait(5)
    found = back(site.ask("GET", authorize(nonce="n1", scope="openid email openid"), alice))
    grant = site.run(site.codes.redeem(found["code"]))
    assert (grant.client, grant.user, grant.nonce, grant.scopes) == ("rp1", "alice", "n1", ("openid", "email"))
    assert grant.redirect_uri == "https://rp1.test/cb" and grant.challenge == ""
    assert int(grant.auth_time) == int(site.clock.seconds()) - 5


def test_a_code_after_a_form(site: BrowserSite, alice: dict[str, str]) -> None:
    query = dict(part.split("=", 1) for part in ["client_id=rp1", "response_type=code", "scope=openid"])
    form = {**query, "redirect_uri": "https://rp1.test/cb", "state": "st/ä &1"}
    assert "code" in back(site.ask("POST", "/oauth/authorize", alice, form), 303)


def test_pkce_goes_into_the_grant(site: BrowserSite, alice: dict[str, str]) -> None:
    answer = site.ask("GET", authorize(code_challenge=CHALLENGE, code_challenge_method="S256"), alice)
    assert site.run(site.codes.redeem(told(answer)["code"])).challenge == CHALLENGE


def test_public_clients_need_pkce(site: BrowserSite, alice: dict[str, str]) -> None:
    target = authorize("app", redirect_uri="com.example.app:/cb")
    answer = site.ask("GET", target, alice)
    assert location(answer).startswith("com.example.app:/cb?error=invalid_request")
    answer = site.ask("GET", target + f"&code_challenge={CHALLENGE}&code_challenge_method=S256", alice)
    assert location(answer).startswith("com.example.app:/cb?code=")


def test_everybody_may_be_made_to_use_pkce() -> None:
    with BrowserSite("requirePKCE: true") as site:
        assert told(site.ask("GET", authorize()))["error"] == "invalid_request"


def test_the_implicit_flow() -> None:
    with BrowserSite("implicitFlow: true") as site:
        site.run(site.keys.prepare(site.store))
        bearer = {"Authorization": f"Bearer {site.bearer().access_token}"}
        answer = site.ask("GET", authorize(response_type="id_token"), bearer)
        assert location(answer).startswith("https://rp1.test/cb#error=invalid_request&")
        assert "state=st%2F%C3%A4+%261&" in location(answer)
        answer = site.ask("GET", authorize(response_type="id_token", response_mode="query", nonce="n1"), bearer)
        assert location(answer).startswith("https://rp1.test/cb#error=invalid_request&")
        answer = site.ask("GET", authorize(response_type="id_token", nonce="n1", scope="openid email"), bearer)
        assert location(answer).startswith("https://rp1.test/cb#id_token=")
        found = dict(parse_qsl(urlsplit(location(answer)).fragment))
        assert found["state"] == "st/ä &1" and "access_token" not in found
        part = found["id_token"].split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        assert (claims["sub"], claims["nonce"], claims["email"]) == ("alice", "n1", "alice@ks.test")
        assert claims["aud"] in ("rp1", ["rp1"])


@pytest.mark.parametrize(
    "name", ["kubesphere:serviceaccount:demo:robot", "system:pre-registration", "system:admin", "ghost"]
)
def test_only_users_grant_anything(site: BrowserSite, name: str) -> None:
    assert back(site.ask("GET", authorize(), {"Authorization": f"Identity {name}"}))["error"] == "access_denied"


def test_a_disabled_user_grants_nothing(site: BrowserSite, alice: dict[str, str]) -> None:
    site.users.put(user("alice", state="Disabled"))
    assert back(site.ask("GET", authorize(), alice))["error"] == "access_denied"


def test_consent_is_never_silent(site: BrowserSite, alice: dict[str, str]) -> None:
    target = authorize("rp-prompt", redirect_uri="https://prompt.test/cb")
    assert told(site.ask("GET", target + "&prompt=none", alice))["error"] == "interaction_required"
    answer = site.ask("GET", target, alice)
    assert location(answer).startswith("/oauth/consent?resume=")


def test_a_page_asks_with_accept_html_only(site: BrowserSite) -> None:
    assert site.ask("GET", authorize(), {"Accept": "text/html"}).status == 302


def test_a_request_with_a_lot_to_remember(site: BrowserSite) -> None:
    assert error_of(site.ask("GET", authorize(state="x" * 9000))) == "invalid_request"


# -- with a browser that has signed in -------------------------------------------------------------------------


def test_sign_in_and_go_on(site: BrowserSite) -> None:
    browser = Browser(site)
    page = browser.follow(browser.get(authorize()))
    assert page.status == 200 and b'autocomplete="current-password"' in page.body
    answer = browser.submit(username="alice", password="Passw0rdX")
    assert answer.status == 303 and location(answer).startswith("/oauth/authorize?resume=")
    assert "code" in back(browser.follow(answer))
    # The next client is answered at once.
    assert "code" in told(browser.get(authorize("rp2")))


def test_a_handle_is_good_once(site: BrowserSite) -> None:
    browser = Browser(site)
    handle = location(browser.get(authorize())).partition("resume=")[2]
    browser.sign_in()
    assert "code" in told(browser.get(f"/oauth/authorize?resume={handle}"))
    again = browser.get(f"/oauth/authorize?resume={handle}")
    assert again.status == 400 and again.get("Location") is None
    assert "expired" in again.body.decode()


def test_a_handle_expires(site: BrowserSite) -> None:
    browser = Browser(site)
    browser.follow(browser.get(authorize()))
    site.server.wait(601)
    assert browser.submit(username="alice", password="Passw0rdX").status == 400
    assert not site.logins.asked


def test_what_waits_is_checked_again(site: BrowserSite) -> None:
    browser = Browser(site)
    browser.follow(browser.get(authorize()))
    answer = browser.submit(username="alice", password="Passw0rdX")
    rp1 = next(client for client in CLIENTS if client["name"] == "rp1")
    site.put_client({**rp1, "redirectURIs": ["https://rp1.test/other"]})
    answer = browser.follow(answer)
    assert answer.status == 400 and answer.get("Location") is None


def test_a_form_of_another_page_grants_nothing_by_itself(site: BrowserSite) -> None:
    """The browser comes again by a link of ours, with the cookie that it would send with any link."""
    browser = Browser(site)
    browser.sign_in()
    form = {"client_id": "rp1", "redirect_uri": "https://rp1.test/cb", "response_type": "code", "scope": "openid"}
    answer = browser.post("/oauth/authorize", form, site="cross-site")
    assert answer.status == 303 and location(answer).startswith("/oauth/authorize?resume=")
    assert "code" in told(browser.follow(answer))


def test_prompt_login_and_max_age(site: BrowserSite) -> None:
    browser = Browser(site)
    browser.sign_in()
    site.server.wait(100)
    for more in ({"prompt": "login"}, {"prompt": "select_account"}, {"max_age": "60"}, {"max_age": "0"}):
        answer = browser.get(authorize(**more))
        assert location(answer).startswith("/oauth/login?resume="), more
        browser.follow(answer)
        site.server.wait(3)
        answer = browser.follow(browser.submit(username="alice", password="Passw0rdX"))
        assert "code" in told(answer), more
        site.server.wait(100)
    assert told(browser.get(authorize(max_age="60", prompt="none")))["error"] == "login_required"
    assert "code" in told(browser.get(authorize(max_age="3600", prompt="none")))


def test_a_hint_of_who_is_expected(site: BrowserSite) -> None:
    browser = Browser(site)
    browser.sign_in("bob")
    assert "code" in told(browser.get(authorize(id_token_hint=site.hint("bob"), prompt="none")))
    site.server.wait(10)
    assert told(browser.get(authorize(id_token_hint=site.hint("alice"), prompt="none")))["error"] == "login_required"
    browser.follow(browser.get(authorize(id_token_hint=site.hint("alice"))))
    # Somebody else again: that is told the client, and nobody goes round in circles.
    answer = browser.follow(browser.submit(username="bob", password="Passw0rdX"))
    assert told(answer)["error"] == "login_required"


def test_a_session_ends_with_what_it_rests_on(site: BrowserSite) -> None:
    for change in (
        lambda: site.users.put(user("alice", state="Disabled")),
        lambda: site.users.put(user("alice", password="$2a$04$" + "y" * 53)),
        lambda: site.users.put(user("alice", uid="another")),
        lambda: site.users.remove(("", "alice")),
        lambda: site.run(site.front.browsers.end_user("alice")),
        lambda: site.server.wait(28801),
    ):
        site.users.put(user("alice"))
        browser = Browser(site)
        browser.sign_in()
        assert "code" in told(browser.get(authorize(prompt="none")))
        change()
        assert told(browser.get(authorize(prompt="none")))["error"] == "login_required"
        # And does not come back.
        site.users.put(user("alice"))
        assert told(browser.get(authorize(prompt="none")))["error"] == "login_required"


def test_the_end_of_a_users_sessions_is_not_the_end_of_others(site: BrowserSite) -> None:
    browser = Browser(site)
    browser.sign_in("bob")
    site.run(site.front.browsers.end_user("alice"))
    assert "code" in told(browser.get(authorize(prompt="none")))


# -- consent ---------------------------------------------------------------------------------------------------


def test_consent(site: BrowserSite) -> None:
    target = authorize("rp-prompt", redirect_uri="https://prompt.test/cb", scope="openid email")
    browser = Browser(site)
    browser.follow(browser.get(target))
    page = browser.follow(browser.submit(username="alice", password="Passw0rdX"))
    text = page.body.decode()
    assert page.status == 200 and "rp-prompt" in text and "prompt.test" in text and "e-mail" in text
    assert b"form-action 'self' https://prompt.test;" in (page.get("Content-Security-Policy") or b"")
    answer = browser.submit(decision="allow")
    assert answer.status == 303 and "code" in told(answer)
    # It is remembered, for these scopes and fewer.
    assert "code" in told(browser.get(target + "&prompt=none"))
    fewer = authorize("rp-prompt", redirect_uri="https://prompt.test/cb")
    assert "code" in told(browser.get(fewer))
    more = authorize("rp-prompt", redirect_uri="https://prompt.test/cb", scope="openid email profile")
    assert location(browser.get(more)).startswith("/oauth/consent?")
    # Who asks for consent gets the page all the same.
    assert location(browser.get(target + "&prompt=consent")).startswith("/oauth/consent?")


def test_no_consent(site: BrowserSite) -> None:
    browser = Browser(site)
    browser.sign_in()
    target = authorize("rp-prompt", redirect_uri="https://prompt.test/cb")
    browser.follow(browser.get(target))
    answer = browser.submit(decision="deny")
    assert answer.status == 303 and told(answer)["error"] == "access_denied" and told(answer)["state"] == "st/ä &1"
    assert location(browser.get(target)).startswith("/oauth/consent?")


@pytest.mark.parametrize("broken", [{"csrf": "x"}, {"csrf": ""}, {"decision": "maybe"}, {"decision": ""}])
def test_consent_needs_our_form(site: BrowserSite, broken: dict[str, str]) -> None:
    browser = Browser(site)
    browser.sign_in()
    browser.follow(browser.get(authorize("rp-prompt", redirect_uri="https://prompt.test/cb")))
    answer = browser.submit(**{"decision": "allow", **broken})
    assert answer.status == 403 and answer.get("Location") is None


@pytest.mark.parametrize(
    "fields",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"},
    ],
)
def test_a_form_with_the_right_token_from_a_wrong_page(site: BrowserSite, fields: dict[str, str]) -> None:
    browser = Browser(site)
    browser.sign_in()
    browser.follow(browser.get(authorize("rp-prompt", redirect_uri="https://prompt.test/cb")))
    form, action = {**browser.form, "decision": "allow"}, browser.action
    fetch = {**fields}
    answer = browser.post(action, form, site=fetch.pop("Sec-Fetch-Site"), **fetch)
    assert answer.status == 403


def test_consent_is_taken_back(site: BrowserSite) -> None:
    target = authorize("rp-prompt", redirect_uri="https://prompt.test/cb")
    browser = Browser(site)
    browser.sign_in()
    browser.follow(browser.get(target))
    browser.submit(decision="allow")
    page = browser.get("/oauth/login")
    assert b"rp-prompt" in page.body and browser.action == "/oauth/consents"
    form = {**browser.form, "client_id": "rp-prompt"}
    assert browser.post("/oauth/consents", {**form, "csrf": "x"}).status == 403
    assert browser.post("/oauth/consents", form).status == 303
    assert b"rp-prompt" not in browser.get("/oauth/login").body
    assert location(browser.get(target)).startswith("/oauth/consent?")


def test_a_consent_is_not_inherited(site: BrowserSite) -> None:
    """By another user of the same name."""
    target = authorize("rp-prompt", redirect_uri="https://prompt.test/cb")
    browser = Browser(site)
    browser.sign_in()
    browser.follow(browser.get(target))
    browser.submit(decision="allow")
    site.users.put(user("alice", uid="another"))
    browser.sign_in()
    assert location(browser.get(target)).startswith("/oauth/consent?")
