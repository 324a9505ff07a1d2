"""Logging out: RP-Initiated Logout, and the programs that know nothing of it (spec 02, 3.8.2 and T-133 to T-136)."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlencode

import pytest
from support_browser import Browser, BrowserSite, authorize, location, told

from ksproxyd.authn.rejection import Rejected
from ksproxyd.authn.tokens.claims import Claims


@pytest.fixture
def site() -> Iterator[BrowserSite]:
    with BrowserSite() as running:
        yield running


def logout(**query: str) -> str:
    return "/oauth/logout?" + urlencode(query) if query else "/oauth/logout"


def bearer(site: BrowserSite, client: str = "kubesphere") -> tuple[dict[str, str], str, str]:
    issued = site.bearer("alice", client)
    return {"Authorization": f"Bearer {issued.access_token}"}, issued.access_token, issued.refresh_token


def refused(site: BrowserSite, access: str, refresh: str, client: str = "kubesphere") -> None:
    with pytest.raises(Rejected):
        site.run(site.tokens.verify(access))

    def same(claims: Claims) -> str:
        return claims.username

    with pytest.raises(Rejected):
        site.run(site.tokens.refresh(refresh, client, check=same))


def signed_in(browser: Browser) -> bool:
    return "code" in told(browser.get(authorize(prompt="none")))


# -- programs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_nobody(site: BrowserSite, method: str) -> None:
    answer = site.ask(method, "/oauth/logout")
    assert (answer.status, answer.json()) == (200, {"message": "success"})
    assert answer.get("Content-Type") == b"application/json"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_whole_session_ends(site: BrowserSite, method: str) -> None:
    fields, access, refresh = bearer(site)
    _, other, _ = bearer(site)
    answer = site.ask(method, "/oauth/logout", fields)
    assert (answer.status, answer.json()) == (200, {"message": "success"})
    refused(site, access, refresh)
    assert site.run(site.tokens.verify(other)).username == "alice"
    # Once more is no error.
    assert site.ask(method, "/oauth/logout", fields).status == 200


def test_with_an_expired_token(site: BrowserSite) -> None:
    fields, access, refresh = bearer(site)
    site.server.wait(7300)
    with pytest.raises(Rejected):
        site.run(site.tokens.verify(access))
    assert site.ask("GET", "/oauth/logout", fields).status == 200
    refused(site, access, refresh)


def test_with_what_is_no_token(site: BrowserSite) -> None:
    access = bearer(site)[1]
    answer = site.ask("GET", "/oauth/logout", {"Authorization": "Bearer " + access[:-3] + "AAA"})
    assert answer.status == 401 and answer.json()["kind"] == "Status"
    assert b'error="invalid_token"' in (answer.get("WWW-Authenticate") or b"")
    refresh = bearer(site)[2]
    assert site.ask("GET", "/oauth/logout", {"Authorization": f"Bearer {refresh}"}).status == 401


def test_an_address_that_is_not_registered(site: BrowserSite) -> None:
    for uri in ("https://evil.test", "https://rp1.test/bye/", "//evil.test", "/bye", "bye"):
        fields, access, refresh = bearer(site, "rp1")
        answer = site.ask("GET", logout(post_logout_redirect_uri=uri, state="q"), fields)
        assert answer.status == 400 and answer.get("Location") is None
        assert answer.json()["error"] == "invalid_request"
        refused(site, access, refresh, "rp1")


def test_a_registered_address(site: BrowserSite) -> None:
    fields, access, refresh = bearer(site, "rp1")
    answer = site.ask("GET", logout(post_logout_redirect_uri="https://rp1.test/bye", state="q ä"), fields)
    assert answer.status == 302 and location(answer) == "https://rp1.test/bye?state=q+%C3%A4"
    refused(site, access, refresh, "rp1")
    form = {"post_logout_redirect_uri": "https://rp1.test/bye?x=y", "state": "q", "client_id": "rp1"}
    answer = site.ask("POST", "/oauth/logout", None, form)
    assert answer.status == 303 and location(answer) == "https://rp1.test/bye?x=y&state=q"
    # Another client's address, or a client that has none.
    for client in ("rp2", "kubesphere", "nobody", ""):
        query = {"post_logout_redirect_uri": "https://rp1.test/bye", "client_id": client}
        answer = site.ask("GET", logout(**query))
        assert answer.status == 400 and answer.get("Location") is None


# -- hints -----------------------------------------------------------------------------------------------------


def test_a_hint_ends_the_session_it_belongs_to(site: BrowserSite) -> None:
    issued = site.bearer("alice", "rp1")
    hint = site.hint(session=issued.session)
    site.server.wait(30000)
    answer = site.ask("GET", logout(id_token_hint=hint, post_logout_redirect_uri="https://rp1.test/bye"))
    assert location(answer) == "https://rp1.test/bye"
    refused(site, issued.access_token, issued.refresh_token, "rp1")


def test_hints_that_are_none(site: BrowserSite) -> None:
    good = site.hint()
    access = bearer(site, "rp1")[1]
    for query in (
        {"id_token_hint": "x.y.z"},
        {"id_token_hint": good[:-4] + "AAAA"},
        {"id_token_hint": access},
        {"id_token_hint": good, "client_id": "rp2"},
    ):
        answer = site.ask("GET", logout(post_logout_redirect_uri="https://rp1.test/bye", **query))
        assert answer.status == 400 and answer.get("Location") is None, query
    assert site.run(site.tokens.verify(access)).username == "alice"


# -- browsers --------------------------------------------------------------------------------------------------


def test_a_link_does_not_sign_anybody_out(site: BrowserSite) -> None:
    browser = Browser(site)
    browser.sign_in()
    page = browser.get("/oauth/logout")
    assert page.status == 200 and b"Do you want to sign out" in page.body
    assert signed_in(browser)
    for form in ({}, {"csrf": "x"}):
        page = browser.post("/oauth/logout", form, site="cross-site")
        assert b"Do you want to sign out" in page.body
    assert signed_in(browser)
    browser.get("/oauth/logout")
    page = browser.submit()
    assert page.status == 200 and b"You have signed out" in page.body
    assert "ksproxyd_session" not in browser.cookies


def test_a_session_that_was_signed_out_is_over(site: BrowserSite) -> None:
    browser = Browser(site)
    browser.sign_in()
    kept = dict(browser.cookies)
    browser.get("/oauth/logout")
    browser.submit()
    browser.cookies = kept
    assert not signed_in(browser)


def test_from_the_page_that_says_who_is_signed_in(site: BrowserSite) -> None:
    browser = Browser(site)
    browser.follow(browser.sign_in())
    assert b"You have signed out" in browser.submit().body


def test_a_client_with_a_hint_signs_its_user_out(site: BrowserSite) -> None:
    browser = Browser(site)
    browser.sign_in()
    query = {"post_logout_redirect_uri": "https://rp1.test/bye", "state": "q"}
    answer = browser.get(logout(id_token_hint=site.hint("alice"), **query))
    assert location(answer) == "https://rp1.test/bye?state=q"
    assert not signed_in(browser)


def test_a_client_with_somebody_elses_hint_does_not(site: BrowserSite) -> None:
    browser = Browser(site)
    browser.sign_in()
    query = {"post_logout_redirect_uri": "https://rp1.test/bye", "state": "q"}
    page = browser.get(logout(id_token_hint=site.hint("bob"), **query))
    assert page.status == 200 and signed_in(browser)


def test_a_client_without_a_hint_asks_the_person(site: BrowserSite) -> None:
    browser = Browser(site)
    browser.sign_in()
    page = browser.get(logout(client_id="rp1", post_logout_redirect_uri="https://rp1.test/bye", state='"q'))
    assert b"form-action 'self' https://rp1.test;" in (page.get("Content-Security-Policy") or b"")
    answer = browser.submit()
    assert answer.status == 303 and location(answer) == "https://rp1.test/bye?state=%22q"
    assert not signed_in(browser)


def test_the_page_cannot_be_made_to_lead_elsewhere(site: BrowserSite) -> None:
    browser = Browser(site)
    browser.sign_in()
    browser.get(logout(client_id="rp1", post_logout_redirect_uri="https://rp1.test/bye"))
    page = browser.submit(post_logout_redirect_uri="https://evil.test/")
    assert page.status == 400 and page.get("Location") is None
