"""Making an account after signing in at a provider, with a browser (``mappingMethod: manual``; spec 02, 4.5, T-132)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support_browser import Browser, authorize, location, told
from support_idp import IdPSite
from test_callback import leave

from ksproxyd.authn.rejection import SharedUnavailable
from ksproxyd.authn.user_record import LINK
from ksproxyd.testing.messages import Answer


@pytest.fixture
def site() -> Iterator[IdPSite]:
    with IdPSite(mapping="manual") as found:
        found.idp.claims["email_verified"] = True
        yield found


@pytest.fixture
def browser(site: IdPSite) -> Browser:
    return Browser(site)


def arrive(browser: Browser) -> Answer:
    """Sign in at the provider, and come to the page."""
    back = browser.get(leave(browser))
    assert back.status == 302 and location(back).startswith("/oauth/register?resume=")
    return browser.follow(back)


def made(site: IdPSite) -> list[str]:
    return [each["metadata"]["name"] for each in site.kube.created]


def test_an_account_is_made(site: IdPSite, browser: Browser) -> None:
    page = arrive(browser)
    assert page.status == 200 and made(site) == []
    text = page.body.decode()
    assert "Create your account" in text and "corp as zoe" in text and "zoe@corp.test" in text
    assert 'value="zoe"' in text, "the name that the provider knows is proposed"
    assert page.get("Cache-Control") == b"no-store"
    assert b"default-src 'none'" in (page.get("Content-Security-Policy") or b"")
    done = browser.follow(browser.submit(username="zoe-2"))
    assert done.status == 200 and b"You are signed in as zoe-2" in done.body
    (kept,) = site.kube.created
    assert kept["metadata"]["annotations"] == {LINK + "corp": "u-42"}
    assert kept["spec"] == {"email": "zoe@corp.test"} and kept["status"] == {"state": "Active"}
    assert site.recorded.succeeded_ == [("zoe-2", "192.0.2.7", "corp")]
    # From now on they are that user.
    other = Browser(site)
    assert b"signed in as zoe-2" in other.follow(other.get(leave(other))).body
    assert made(site) == ["zoe-2"]


def test_on_to_the_application(site: IdPSite, browser: Browser) -> None:
    resume = location(browser.get(authorize())).partition("resume=")[2]
    back = browser.get(site.idp.visit(location(browser.get(f"/oauth/login/corp?resume={resume}"))))
    browser.follow(back)
    answer = browser.follow(browser.submit(username="zoe"))
    assert location(answer).startswith("https://rp1.test/cb?") and "code" in told(answer)


@pytest.mark.parametrize("name", ["", "Zoe!", "-zoe", "zo e", "system:admin", "z" * 64, "zoë", "kubesphere:x"])
def test_names_that_nobody_can_have(site: IdPSite, browser: Browser, name: str) -> None:
    arrive(browser)
    page = browser.submit(username=name)
    assert page.status == 400 and b'aria-invalid="true"' in page.body and made(site) == []
    # The form is good for another try.
    assert browser.submit(username="zoe").status == 303 and made(site) == ["zoe"]


def test_a_name_that_somebody_has(site: IdPSite, browser: Browser) -> None:
    """Whose name it is, is nothing of theirs: nobody becomes alice by it (D-14)."""
    arrive(browser)
    for name in ("alice", "Alice", " alice "):
        page = browser.submit(username=name)
        assert page.status == 409 and b"There is a user of this name already" in page.body
    assert made(site) == [] and "ksproxyd_session" not in browser.cookies


def test_somebody_is_faster_with_the_name(site: IdPSite, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    from ksproxyd.authn.providers.mapper import MappingRefused

    arrive(browser)

    async def taken(*arguments: Any) -> Any:
        raise MappingRefused("there is a user zoe already")

    monkeypatch.setattr(site.mapper, "register", taken)
    assert browser.submit(username="zoe").status == 409
    monkeypatch.undo()
    assert browser.submit(username="zoe-2").status == 303 and made(site) == ["zoe-2"]


def test_one_account_for_each_however_often_they_come(site: IdPSite) -> None:
    one, other = Browser(site), Browser(site)
    arrive(one)
    arrive(other)
    form, action = {**one.form, "username": "third"}, one.action
    assert one.submit(username="first").status == 303
    # Who has become somebody meanwhile is that.
    done = other.follow(other.submit(username="second"))
    assert b"signed in as first" in done.body and made(site) == ["first"]
    assert one.post(action, form).status == 400, "the form is good once"
    assert made(site) == ["first"]


def test_another_browser_gets_nothing(site: IdPSite, browser: Browser) -> None:
    arrive(browser)
    stranger = Browser(site)
    assert stranger.get(browser.action).status == 400
    stranger.get("/oauth/login")
    assert stranger.get(browser.action).status == 400
    assert stranger.post(browser.action, {**browser.form, "username": "mallory"}).status == 400
    assert made(site) == []


def test_a_form_of_another_page(site: IdPSite, browser: Browser) -> None:
    arrive(browser)
    page = browser.post(browser.action, {**browser.form, "username": "zoe"}, site="cross-site")
    assert page.status == 403 and made(site) == []
    page = browser.post(browser.action, {**browser.form, "csrf": "x", "username": "zoe"})
    assert page.status == 403 and made(site) == []


def test_too_late_and_none(site: IdPSite, browser: Browser) -> None:
    arrive(browser)
    site.clock.wait(601)
    assert browser.submit(username="zoe").status == 400
    for handle in ("", "x", "A" * 43):
        assert browser.get(f"/oauth/register?resume={handle}").status == 400
    assert made(site) == []


def test_the_cluster_is_away(site: IdPSite, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    arrive(browser)

    async def away(*arguments: Any) -> Any:
        raise SharedUnavailable("10.0.0.1:6443 refused")

    monkeypatch.setattr(site.mapper, "register", away)
    form, action = {**browser.form, "username": "zoe"}, browser.action
    page = browser.post(action, form)
    assert page.status == 503 and b"10.0.0.1" not in page.body
    monkeypatch.undo()
    assert browser.post(action, form).status == 303 and made(site) == ["zoe"]


def test_in_chinese(site: IdPSite) -> None:
    browser = Browser(site, **{"Accept-Language": "zh-CN,zh;q=0.9"})
    assert "创建您的账户" in arrive(browser).body.decode()
    page = browser.submit(username="alice")
    assert "该用户名已被使用" in page.body.decode()
    english = browser.get(browser.action + "&lang=en")
    assert b"Create your account" in english.body


def test_what_the_provider_says_is_shown_as_text(site: IdPSite, browser: Browser) -> None:
    site.idp.claims["preferred_username"] = "<script>alert(1)</script>"
    page = arrive(browser)
    assert b"<script" not in page.body and b"&lt;script&gt;" in page.body
