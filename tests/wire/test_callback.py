"""Signing in at an identity provider: there and back (spec 02, 3.8.1, D-07, D-37; T-127 to T-132)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from support_browser import Browser, authorize, location, told
from support_idp import FIRST_KEY, SECOND_KEY, IdPSite
from twisted.logger import LogEvent, LogLevel, formatEvent, globalLogPublisher

from ksproxyd.authn.rejection import SharedUnavailable
from ksproxyd.testing.messages import Answer

LEGACY = "  compat: {legacyCallback: true}\n"


@pytest.fixture
def site() -> Iterator[IdPSite]:
    with IdPSite() as found:
        yield found


@pytest.fixture
def logged() -> Iterator[list[str]]:
    lines: list[str] = []

    def observe(event: LogEvent) -> None:
        if event["log_level"] in (LogLevel.warn, LogLevel.info):
            lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


def leave(browser: Browser, **changes: str) -> str:
    """Go to the provider and sign in there; returns where the browser is sent back to."""
    start = browser.get("/oauth/login/corp")
    assert start.status == 302
    idp = browser.site.idp  # type: ignore[attr-defined]
    return idp.visit(location(start), **changes)


def come_back(site: IdPSite, **changes: str) -> Answer:
    browser = Browser(site)
    return browser.get(leave(browser, **changes))


def not_stored(answer: Answer) -> bool:
    return answer.get("Cache-Control") == b"no-store"


# -- a sign-in that works ------------------------------------------------------------------------------------------


def test_from_an_application_through_the_provider_and_back(site: IdPSite) -> None:
    site.link("zoe", "u-42")
    browser = Browser(site)
    page = browser.follow(browser.get(authorize("rp1")))
    assert page.status == 200
    resume = browser.action.partition("resume=")[2]
    start = browser.get(f"/oauth/login/corp?resume={resume}")
    assert start.status == 302
    assert not_stored(start)
    back = browser.get(site.idp.visit(location(start)))
    assert back.status == 302
    assert not_stored(back)
    end = browser.follow(back)
    assert location(end).startswith("https://rp1.test/cb?")
    assert told(end)["state"] == "st/ä &1"
    assert "code" in told(end)
    assert site.recorded.succeeded_ == [("zoe", "192.0.2.7", "corp")]


def test_what_the_browser_brings_along(site: IdPSite) -> None:
    start = Browser(site).get("/oauth/login/corp")
    asked = told(start)
    assert asked["client_id"] == "ksproxyd"
    assert asked["redirect_uri"] == "https://ks.test/oauth/callback/corp"
    assert asked["response_type"] == "code"
    assert asked["scope"] == "openid"
    assert asked["code_challenge_method"] == "S256"
    assert len({asked["state"], asked["nonce"], asked["code_challenge"]}) == 3
    assert all(len(asked[name]) >= 43 for name in ("state", "nonce", "code_challenge"))
    again = told(Browser(site).get("/oauth/login/corp"))
    assert not {asked[name] for name in ("state", "nonce", "code_challenge")} & set(again.values())
    cookie = start.get("Set-Cookie")
    assert cookie is not None
    assert b"HttpOnly" in cookie and b"SameSite=Lax" in cookie
    assert start.get("Referrer-Policy") == b"no-referrer"


def test_the_code_is_redeemed_with_the_verifier_and_the_secret_stays_here(site: IdPSite) -> None:
    site.link("zoe", "u-42")
    back = come_back(site)
    assert back.status == 302
    form = site.idp.forms[0]
    assert form["grant_type"] == "authorization_code"
    assert form["redirect_uri"] == "https://ks.test/oauth/callback/corp"
    assert len(form["code_verifier"]) >= 43
    assert "client_secret" not in form


def test_without_an_application_a_page_says_who_one_is(site: IdPSite) -> None:
    site.link("zoe", "u-42")
    browser = Browser(site)
    end = browser.follow(browser.get(leave(browser)))
    assert end.status == 200
    assert b"zoe" in end.body
    assert "ksproxyd_left" not in browser.cookies


def test_two_tabs_of_one_browser(site: IdPSite) -> None:
    site.link("zoe", "u-42")
    browser = Browser(site)
    first, second = leave(browser), None
    nonce = site.idp.asked
    second = leave(browser)
    assert browser.get(second).status == 302
    # The first one's nonce is another, and its cookie is gone with the second's success.
    site.idp.asked = nonce
    assert browser.get(first).status == 400


# -- it must be the same browser, once, soon, and at the same provider ------------------------------------------------


def test_without_the_cookie(site: IdPSite, logged: list[str]) -> None:
    # T-128
    site.link("zoe", "u-42")
    back = leave(Browser(site))
    stranger = Browser(site)
    answer = stranger.get(back)
    assert answer.status == 400
    assert not_stored(answer)
    assert stranger.cookies == {}
    assert site.idp.forms == []
    # Nor may the right browser come afterwards: the state is used up.
    assert any("comes from another browser" in line for line in logged)


def test_with_the_cookie_of_another_departure(site: IdPSite) -> None:
    site.link("zoe", "u-42")
    attacker, victim = Browser(site), Browser(site)
    back = leave(attacker)
    leave(victim)
    assert victim.get(back).status == 400
    assert site.idp.forms == []


def test_a_state_is_good_once(site: IdPSite) -> None:
    site.link("zoe", "u-42")
    browser = Browser(site)
    back = leave(browser)
    kept = dict(browser.cookies)
    assert browser.get(back).status == 302
    browser.cookies.update(kept)
    assert browser.get(back).status == 400
    assert len(site.idp.forms) == 1


def test_a_state_is_good_for_ten_minutes(site: IdPSite) -> None:
    site.link("zoe", "u-42")
    browser = Browser(site)
    back = leave(browser)
    site.clock.wait(601)
    assert browser.get(back).status == 400


def test_a_state_is_good_for_its_provider(site: IdPSite) -> None:
    site.put_provider(name="other")
    browser = Browser(site)
    back = leave(browser).replace("/callback/corp", "/callback/other")
    assert browser.get(back).status == 400
    assert site.idp.forms == []


@pytest.mark.parametrize("state", ["", "x", "A" * 43, "../../etc", "%00" * 5, "é" * 43])
def test_states_that_are_none(site: IdPSite, state: str) -> None:
    browser = Browser(site)
    leave(browser)
    assert browser.get(f"/oauth/callback/corp?code=c&state={state}").status == 400


def test_parameters_that_are_there_twice(site: IdPSite) -> None:
    site.link("zoe", "u-42")
    for extra in ("&code=c-2", "&state=x", "&iss=https://idp.test"):
        browser = Browser(site)
        assert browser.get(leave(browser) + extra).status == 400
    assert site.idp.forms == []


def test_programs_are_told_by_a_status(site: IdPSite) -> None:
    answer = site.ask("GET", "/oauth/callback/corp?code=c&state=x")
    assert answer.status == 400
    assert answer.json()["kind"] == "Status"


# -- the provider's answers ----------------------------------------------------------------------------------------


def test_the_provider_says_who_it_is(site: IdPSite) -> None:
    # RFC 9207
    site.link("zoe", "u-42")
    for iss in ("", "https://evil.test", "https://idp.test/"):
        answer = come_back(site, iss=iss)
        assert answer.status == 400
    assert site.idp.forms == []
    assert come_back(site).status == 302
    # One that does not announce it need not say it, but may not lie.
    with IdPSite() as other:
        other.idp.metadata = {"authorization_response_iss_parameter_supported": False}
        other.link("zoe", "u-42")
        assert come_back(other, iss="").status == 302
        assert come_back(other, iss="https://evil.test").status == 400


@pytest.mark.parametrize("error", ["access_denied", "login_required", "<script>alert(1)</script>", "x" * 3000])
def test_the_provider_says_no(site: IdPSite, logged: list[str], error: str) -> None:
    answer = come_back(site, code="", error=quote(error), error_description="psst%0Ahere")
    assert answer.status == 400
    assert b"Signing in there did not work" in answer.body
    assert b"<script>" not in answer.body
    assert b"psst" not in answer.body
    assert any("psst here" in line for line in logged)


def test_the_provider_is_not_well(site: IdPSite) -> None:
    assert come_back(site, code="", error="temporarily_unavailable").status == 502
    assert come_back(site, code="", error="server_error").status == 502


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "another"},
        {"iss": "https://evil.test"},
        {"exp": 1},
        {"sub": None},
        {"sub": ""},
        {"sub": "x" * 257},
        {"azp": "another"},
        {"at_hash": "AAAA"},
    ],
)
def test_id_tokens_that_are_not_good(site: IdPSite, claims: dict[str, Any], logged: list[str]) -> None:
    # T-129 among them: no identifier is nobody, least of all a user without a link.
    site.link("zoe", "u-42")
    site.clock.wait(1000)
    site.idp.claims.update(claims)
    browser = Browser(site)
    answer = browser.get(leave(browser))
    assert answer.status in (400, 403)
    assert "ksproxyd_session" not in browser.cookies
    assert site.kube.created == []
    assert site.recorded.succeeded_ == []
    assert logged
    left = leave(browser)
    program = site.ask("GET", left, {"Cookie": cookies(browser)})
    assert program.status == 401
    assert program.json()["reason"] == "Unauthorized"


def cookies(browser: Browser) -> str:
    return "; ".join(f"{name}={value}" for name, value in browser.cookies.items())


def test_clocks_differ_by_five_minutes(site: IdPSite) -> None:
    site.link("zoe", "u-42")
    site.clock.wait(2000)
    for ahead in (-300, 300):
        site.idp.ahead = ahead
        assert come_back(site).status == 302
    site.idp.ahead = 305
    assert come_back(site).status == 400


def test_the_keys_are_changed(site: IdPSite) -> None:
    site.link("zoe", "u-42")
    assert come_back(site).status == 302
    site.clock.wait(60)
    site.idp.key = SECOND_KEY
    site.idp.published = [FIRST_KEY, SECOND_KEY]
    assert come_back(site).status == 302
    assert site.idp.paths.count("/keys") == 2
    site.idp.key = FIRST_KEY
    assert come_back(site).status == 302
    assert site.idp.paths.count("/keys") == 2
    # Afterwards the old one is withdrawn; what is signed by it is good until the keys are looked at again.
    site.idp.published = [SECOND_KEY]
    site.clock.wait(3700)
    assert come_back(site).status == 400


def test_unknown_keys_do_not_make_us_ask_again_and_again(site: IdPSite) -> None:
    site.link("zoe", "u-42")
    assert come_back(site).status == 302
    site.idp.key = SECOND_KEY
    for _ in range(5):
        assert come_back(site).status == 400
    assert site.idp.paths.count("/keys") == 1
    site.clock.wait(11)
    for _ in range(5):
        assert come_back(site).status == 400
    assert site.idp.paths.count("/keys") == 2


def test_userinfo_must_be_about_the_same_person() -> None:
    with IdPSite(getUserInfo=True) as site:
        site.link("zoe", "u-42")
        site.idp.userinfo = {"sub": "u-1", "email": "x@y.test"}
        assert come_back(site).status == 400
        site.idp.userinfo = {}
        assert come_back(site).status == 400
        site.idp.userinfo = {"sub": "u-42"}
        assert come_back(site).status == 302


def test_a_scope_that_is_given_already_is_asked_for_once() -> None:
    with IdPSite(scopes=["openid", "email", "profile"]) as site:
        assert told(Browser(site).get("/oauth/login/corp"))["scope"] == "openid email profile"


def test_a_provider_that_is_another_is_not_believed(site: IdPSite, logged: list[str]) -> None:
    site.idp.metadata = {"issuer": "https://other.test"}
    answer = Browser(site).get("/oauth/login/corp")
    assert answer.status == 502
    assert any("which is not the issuer 'https://idp.test'" in line for line in logged)


@pytest.mark.parametrize("address", ["http://idp.test/token", "file:///x", "https://u:p@idp.test/t", 5, None])
def test_end_points_that_nobody_should_talk_to(site: IdPSite, address: Any) -> None:
    site.idp.metadata = {"token_endpoint": address}
    assert Browser(site).get("/oauth/login/corp").status == 502


def test_a_provider_that_is_down_is_asked_again_when_it_is_up(site: IdPSite) -> None:
    site.dialer.refusing.add(("idp.test", 443))
    for _ in range(3):
        answer = Browser(site).get("/oauth/login/corp")
        assert answer.status == 502
        assert b"cannot be reached at the moment" in answer.body
    assert site.dialer.dials == 1
    program = site.ask("GET", "/oauth/login/corp")
    assert program.status == 503
    assert program.get("Retry-After") == b"5"
    site.dialer.refusing.clear()
    site.clock.wait(2)
    assert Browser(site).get("/oauth/login/corp").status == 302


def test_it_is_asked_for_nothing_before_somebody_comes(site: IdPSite) -> None:
    site.clock.wait(100)
    assert site.dialer.dials == 0


# -- which of our users --------------------------------------------------------------------------------------------


def test_a_new_user_is_made_and_linked(site: IdPSite) -> None:
    site.idp.claims["email_verified"] = True
    browser = Browser(site)
    assert browser.follow(browser.get(leave(browser))).status == 200
    assert [user["metadata"]["name"] for user in site.kube.created] == ["zoe"]
    assert site.kube.created[0]["spec"] == {"email": "zoe@corp.test"}
    assert come_back(site).status == 302
    assert len(site.kube.created) == 1


def test_nobody_becomes_a_user_who_is_there(site: IdPSite, logged: list[str]) -> None:
    # T-130
    site.users.put({"metadata": {"name": "admin", "uid": "uid-admin"}, "status": {"state": "Active"}})
    before = site.directory.find("admin")
    site.idp.claims["preferred_username"] = "Admin"
    browser = Browser(site)
    answer = browser.get(leave(browser))
    assert answer.status == 403
    assert "ksproxyd_session" not in browser.cookies
    assert site.directory.find("admin") == before
    assert site.ask("GET", leave(browser), {"Cookie": cookies(browser)}).status == 401
    assert any("there is a user admin already" in line for line in logged)


def test_a_disabled_user_is_not_let_in(site: IdPSite) -> None:
    site.link("zoe", "u-42", state="Disabled")
    browser = Browser(site)
    assert browser.get(leave(browser)).status == 403
    assert "ksproxyd_session" not in browser.cookies


def test_lookup_makes_nobody() -> None:
    with IdPSite(mapping="lookup") as site:
        assert come_back(site).status == 403
        assert site.kube.created == []


# -- providers that are not there ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nope", "..%2Fx", "%00", "a" * 300, "gone"])
def test_unknown_providers(site: IdPSite, name: str) -> None:
    # T-127
    site.put_provider(name="gone", disabled=True)
    answer = Browser(site).get(f"/oauth/login/{name}")
    assert answer.status in (400, 404)
    assert b"not exist" not in answer.body
    assert site.ask("GET", f"/oauth/callback/{name}?code=x&state=y").status in (400, 404)


def test_a_provider_that_is_switched_off_meanwhile(site: IdPSite) -> None:
    browser = Browser(site)
    back = leave(browser)
    site.put_provider(disabled=True)
    assert browser.get(back).status == 404
    assert site.idp.forms == []


def test_a_handle_that_is_none(site: IdPSite) -> None:
    for handle in ("x", "A" * 43, "https://evil.test"):
        answer = Browser(site).get(f"/oauth/login/corp?resume={handle}")
        assert answer.status == 400
        assert answer.get("Location") is None
    assert site.ask("GET", "/oauth/login/corp?resume=x").status == 400


def test_the_store_is_away(site: IdPSite, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*args: Any) -> Any:
        raise SharedUnavailable("connection refused by 10.0.0.9")

    monkeypatch.setattr(site.store, "put", away)
    answer = Browser(site).get("/oauth/login/corp")
    assert answer.status == 503
    assert b"10.0.0.9" not in answer.body


# -- as ks-apiserver -----------------------------------------------------------------------------------------------


def legacy(site: IdPSite, state: str = "the-consoles-own") -> Answer:
    return site.ask("GET", f"/oauth/callback/corp?code=c-1&iss=https://idp.test&state={state}")


def test_the_console_gets_tokens() -> None:
    with IdPSite(LEGACY) as site:
        site.link("zoe", "u-42")
        answer = legacy(site)
        assert answer.status == 200
        assert not_stored(answer)
        assert answer.get("Set-Cookie") is None
        found = answer.json()
        assert found["token_type"] == "Bearer"
        assert found["expires_in"] == 7200
        claims = site.run(site.tokens.verify(found["access_token"]))
        assert (claims.username, claims.client_id) == ("zoe", "kubesphere")
        assert site.recorded.succeeded_ == [("zoe", "192.0.2.7", "corp")]
        # And a browser that began here goes on as it should.
        assert come_back(site).status == 302


def test_the_console_gets_a_token_to_register_with() -> None:
    # T-131
    with IdPSite(LEGACY, mapping="manual") as site:
        found = legacy(site).json()
        claims = site.run(site.tokens.verify(found["access_token"]))
        assert claims.username == "system:pre-registration"
        extra = dict(claims.extra)
        assert extra == {"idp": ("corp",), "uid": ("u-42",), "username": ("zoe",), "email": ("",)}
        assert claims.exp - claims.iat <= 600
        assert site.recorded.succeeded_ == []


def test_the_console_is_told_no_more_than_it_needs() -> None:
    with IdPSite(LEGACY) as site:
        unknown = site.ask("GET", "/oauth/callback/nope?code=c")
        assert (unknown.status, unknown.body) == (401, b"Unauthorized: there is no such identity provider\n")
        site.idp.token_error = {"error": "invalid_grant", "error_description": "psst"}
        refused = legacy(site)
        assert (refused.status, refused.body) == (
            401,
            b"Unauthorized: the identity provider does not accept this sign-in\n",
        )
        assert refused.get("Content-Type") == b"text/plain; charset=utf-8"
        site.idp.token_error = None
        site.idp.claims["preferred_username"] = "alice"
        assert legacy(site).body == b"Unauthorized: this account cannot be used here\n"


def test_so_many_leave_from_one_network(monkeypatch: pytest.MonkeyPatch, site: IdPSite) -> None:
    monkeypatch.setattr("ksproxyd.kapis.oauth.provider_login.MOST", 2)
    browser = Browser(site)
    assert [browser.get("/oauth/login/corp").status for _ in range(3)] == [302, 302, 429]
    page = browser.get("/oauth/login/corp")
    assert page.get("Retry-After") is not None and b"<html" in page.body
    program = site.ask("GET", "/oauth/login/corp")
    assert (program.status, program.json()["reason"]) == (429, "TooManyRequests")
    # Others are not kept out by them, and after a while neither are they.
    assert site.ask("GET", "/oauth/login/corp", host="198.51.100.9").status == 302
    site.clock.wait(601)
    assert browser.get("/oauth/login/corp").status == 302


def test_so_many_come_back_without_having_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each makes us ask the provider."""
    monkeypatch.setattr("ksproxyd.kapis.oauth.provider_login.MOST", 2)
    with IdPSite(LEGACY) as site:
        site.link("zoe", "u-42")
        assert [legacy(site).status for _ in range(3)] == [200, 200, 429]
        assert len(site.idp.forms) == 2


def test_a_departure_from_here_needs_its_browser_all_the_same() -> None:
    with IdPSite(LEGACY) as site:
        site.link("zoe", "u-42")
        back = leave(Browser(site))
        assert Browser(site).get(back).status == 400
