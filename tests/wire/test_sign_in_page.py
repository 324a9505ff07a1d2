"""The sign-in page: what it shows, what it accepts, where it leads; and the page for devices."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from support_browser import PASSWORD, Browser, BrowserSite, authorize, location, told, user

from ksproxyd.authn.login import Kind, LoginRefused
from ksproxyd.authn.registration import Registration
from ksproxyd.authn.rejection import SharedUnavailable
from ksproxyd.kapis.oauth.device import GUESSES


@pytest.fixture
def site() -> Iterator[BrowserSite]:
    with BrowserSite() as running:
        yield running


@pytest.fixture
def browser(site: BrowserSite) -> Browser:
    return Browser(site)


def test_what_browsers_are_told_of_a_page(browser: Browser) -> None:
    browser.follow(browser.get(authorize()))
    page = browser.get(browser.action)
    policy = (page.get("Content-Security-Policy") or b"").decode()
    assert policy == (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self' https://rp1.test; "
        "frame-ancestors 'none'; base-uri 'none'"
    )
    assert page.get("X-Frame-Options") == b"DENY"
    assert page.get("X-Content-Type-Options") == b"nosniff"
    assert page.get("Cache-Control") == b"no-store"
    assert page.get("Referrer-Policy") == b"same-origin"
    text = page.body.decode()
    assert "<script" not in text and "style=" not in text and " on" not in re.sub(r">[^<]*<", "><", text).lower()


def test_signing_in(site: BrowserSite, browser: Browser) -> None:
    answer = browser.sign_in()
    assert answer.status == 303 and location(answer) == "/oauth/login"
    assert [(name, password, a.source, p) for name, password, a, p in site.logins.asked] == [
        ("alice", PASSWORD, "192.0.2.7", "")
    ]
    page = browser.follow(answer)
    assert page.status == 200 and b"signed in as alice" in page.body


def test_a_new_cookie_with_every_sign_in(site: BrowserSite, browser: Browser) -> None:
    """Whatever the browser had before, and the session from before is over (session fixation)."""
    planted = "A" * 43
    browser.cookies["ksproxyd_session"] = planted
    browser.sign_in()
    first = browser.cookies["ksproxyd_session"]
    assert first != planted
    browser.follow(browser.get(authorize(prompt="login")))
    site.server.wait(1)
    old = Browser(site)
    old.cookies["ksproxyd_session"] = first
    assert "code" in told(old.get(authorize(prompt="none")))
    browser.follow(browser.get(authorize(prompt="login")))
    browser.submit(username="alice", password=PASSWORD)
    assert browser.cookies["ksproxyd_session"] != first
    assert told(old.get(authorize(prompt="none")))["error"] == "login_required"


def test_over_tls_the_cookies_are_for_tls_only() -> None:
    with BrowserSite() as site:
        answer = site.ask("GET", "/oauth/login")
        (line,) = answer.all("Set-Cookie")
        assert b"Secure" not in line
        site.server.server.addresses = lambda exchange: setattr(exchange, "trusted", True)  # type: ignore[assignment]
        (line,) = site.ask("GET", "/oauth/login", {"X-Forwarded-Proto": "https"}).all("Set-Cookie")
        assert line.startswith(b"__Secure-ksproxyd_login=") and line.endswith(b"; Secure")


def test_two_cookies_of_one_name_are_none(site: BrowserSite, browser: Browser) -> None:
    browser.sign_in()
    value = browser.cookies["ksproxyd_session"]
    fields = {"Cookie": f"ksproxyd_session={'B' * 43}; ksproxyd_session={value}"}
    assert told(site.ask("GET", authorize(prompt="none"), fields))["error"] == "login_required"
    fields = {"Cookie": f"a=b; ksproxyd_session={value}; c"}
    assert "code" in told(site.ask("GET", authorize(prompt="none"), fields))


@pytest.mark.parametrize(
    ("kind", "status", "english", "chinese"),
    [
        ("password", 400, "The user name or the password is wrong.", "用户名或密码错误"),
        ("limited", 429, "locked; try again in 10 min (at ", "该账户已被暂时锁定"),
        ("suspended", 403, "This account is suspended.", "该账户已被停用"),
        ("busy", 503, "Too many people are signing in", "当前登录人数过多"),
        ("provider", 502, "cannot be reached at the moment", "暂时无法连接"),
        ("unknown-provider", 400, "cannot be used here any more", "已不能在这里使用"),
        ("mapping", 403, "does not belong to a user here", "不属于这里的任何用户"),
    ],
)
def test_why_somebody_is_not_let_in(
    site: BrowserSite, browser: Browser, kind: Kind, status: int, english: str, chinese: str
) -> None:
    site.logins.refuse = LoginRefused(kind, "for the log", 599 if kind == "limited" else 0)
    for words, language in ((english, "en-GB,en;q=0.9"), (chinese, "zh-CN,zh;q=0.9,en;q=0.5")):
        browser.fields["Accept-Language"] = language
        browser.get("/oauth/login")
        page = browser.submit(username="al<i>ce", password="wrong-one")
        text = page.body.decode()
        assert page.status == status
        assert words in text and 'role="alert"' in text
        assert "al&lt;i&gt;ce" in text and "<i>" not in text
        assert "wrong-one" not in text and "for the log" not in text
        assert "ksproxyd_session" not in browser.cookies
        assert page.get("Retry-After") == {429: b"599", 503: b"1"}.get(status)
        assert f'lang="{"zh-CN" if language.startswith("zh") else "en"}"' in text


def test_a_wrong_password_is_told_of_the_fields(browser: Browser) -> None:
    text = browser.sign_in(password="x").body.decode()
    assert text.count('aria-invalid="true" aria-describedby="problem"') == 2


@pytest.mark.parametrize("typed", [("", "x"), ("alice", ""), ("  ", "x"), ("a" * 255, "x"), ("alice", "x" * 513)])
def test_what_is_no_name_or_password_is_not_looked_up(
    site: BrowserSite, browser: Browser, typed: tuple[str, str]
) -> None:
    assert browser.sign_in(*typed).status == 400
    assert not site.logins.asked


def test_forms_that_are_not_from_our_page(site: BrowserSite, browser: Browser) -> None:
    """Login CSRF: nobody is signed in as somebody else's choice."""
    browser.get("/oauth/login")
    good = {**browser.form, "username": "alice", "password": PASSWORD}
    action = browser.action
    for form, origin in (
        ({**good, "csrf": ""}, "same-origin"),
        ({**good, "csrf": good["csrf"][::-1]}, "same-origin"),
        (good, "cross-site"),
        (good, "same-site"),
    ):
        page = browser.post(action, form, site=origin)
        assert page.status == 403 and b"try again" in page.body
    # A token is good for one request only, and in one browser only.
    other = Browser(site)
    other.get("/oauth/login")
    assert other.post(action, good).status == 403
    assert other.post("/oauth/login", {**good}).status == 403
    without = Browser(site)
    assert without.post(action, good).status == 403
    assert not site.logins.asked
    assert browser.post(action, good).status == 303


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://ks.test", 303),
        ("http://ks.test", 303),
        ("https://evil.test", 403),
        ("null", 403),
        ("https://ks.test.evil.test", 403),
        ("https://ks.test:8443", 403),
    ],
)
def test_browsers_that_only_tell_the_origin(site: BrowserSite, browser: Browser, origin: str, status: int) -> None:
    browser.get("/oauth/login")
    form = {**browser.form, "username": "alice", "password": PASSWORD}
    fields = {"Cookie": f"ksproxyd_login={browser.cookies['ksproxyd_login']}", "Origin": origin}
    assert site.ask("POST", browser.action, {**fields, "Accept": "text/html"}, form).status == status


def test_disabled_while_signing_in(site: BrowserSite, browser: Browser) -> None:
    site.logins.result = site.directory.find("bob")
    browser.get("/oauth/login")
    site.users.put(user("bob", state="Disabled"))
    page = browser.submit(username="bob", password=PASSWORD)
    assert page.status == 403 and b"suspended" in page.body
    assert "ksproxyd_session" not in browser.cookies


def test_somebody_without_an_account(site: BrowserSite, browser: Browser) -> None:
    site.logins.result = Registration("corp", "1", "<b>new")
    page = browser.sign_in("new")
    assert page.status == 403 and b"signed in at corp as &lt;b&gt;new" in page.body


def test_identity_providers(site: BrowserSite, browser: Browser) -> None:
    site.providers.shown = [("corp/1", "Corp & <Co>"), ("github", "")]
    site.providers.typed = [("ldap", "Company LDAP")]
    browser.follow(browser.get(authorize()))
    page = browser.get(browser.action).body.decode()
    handle = browser.action.partition("resume=")[2]
    assert f'href="/oauth/login/corp%2F1?resume={handle}"' in page
    assert "Sign in with Corp &amp; &lt;Co&gt;" in page and "Sign in with github" in page
    assert '<option value="ldap">Company LDAP</option>' in page
    browser.submit(username="alice", password=PASSWORD, provider="ldap")
    assert site.logins.asked[0][3] == "ldap"


def test_languages(site: BrowserSite, browser: Browser) -> None:
    def language(target: str, accept: str = "") -> str:
        answer = Browser(site, **({"Accept-Language": accept} if accept else {})).get(target)
        found = re.search(r'<html lang="([^"]+)"', answer.body.decode())
        assert found
        return found[1]

    assert language("/oauth/login") == "en"
    assert language("/oauth/login", "fr, zh-TW;q=0.8, en;q=0.7") == "zh-CN"
    assert language("/oauth/login", "fr, zh;q=0") == "en"
    assert language("/oauth/login?lang=zh", "en") == "zh-CN"
    assert language("/oauth/login?lang=xx", "zh") == "zh-CN"
    browser.get(authorize(ui_locales="fr zh-Hans"))
    target = location(browser.get(authorize(ui_locales="fr zh-Hans")))
    page = browser.get(target)
    assert b'<html lang="zh-CN"' in page.body
    # The other language is one link away, and keeps what somebody came for.
    links = re.findall(r'hreflang="en" href="([^"]+)"', page.body.decode())
    assert links == [target + "&amp;lang=en"]
    assert b'<html lang="en"' in browser.get(target + "&lang=en").body
    # And the form goes on in the language that was chosen.
    assert b'<html lang="en"' in browser.submit(username="alice", password="x").body


def test_the_hint_of_a_client(browser: Browser) -> None:
    page = browser.follow(browser.get(authorize(login_hint='bob"><script>')))
    assert b'value="bob&quot;&gt;&lt;script&gt;"' in page.body


def test_handles_that_are_none(site: BrowserSite, browser: Browser) -> None:
    for handle in ("x", "A" * 43, "../../", "https://evil.test/"):
        for path in ("/oauth/login", "/oauth/consent", "/oauth/authorize"):
            page = browser.get(f"{path}?resume={handle}")
            assert page.status == 400 and page.get("Location") is None, path
            assert b"Request " in page.body


def test_the_store_is_away(site: BrowserSite, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    browser.sign_in()

    def away(*args: object) -> None:
        raise SharedUnavailable("10.1.2.3:6379 refused")

    monkeypatch.setattr(site.store, "get", away)
    page = browser.get(authorize())
    assert page.status == 503 and page.get("Retry-After") == b"2"
    assert b"10.1.2.3" not in page.body and b"text/html" in (page.get("Content-Type") or b"")
    plain = site.ask("GET", "/oauth/consent?resume=" + "A" * 43)
    assert plain.status == 503 and plain.json()["kind"] == "Status"


def test_too_many_begin_to_sign_in(site: BrowserSite, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ksproxyd.kapis.oauth.pending.MOST", 2)
    assert [browser.get(authorize()).status for _ in range(3)] == [302, 302, 429]
    page = browser.get("/oauth/device")
    assert page.status == 429 and page.get("Retry-After") == b"60" and b"from your network" in page.body
    plain = site.ask("GET", authorize())
    assert plain.status == 429 and plain.json()["kind"] == "Status" and plain.get("Retry-After") == b"60"


def test_what_pages_load(site: BrowserSite, browser: Browser) -> None:
    page = browser.get("/oauth/login").body.decode()
    (style,) = re.findall(r'rel="stylesheet" href="([^"]+)"', page)
    answer = site.ask("GET", style)
    assert answer.status == 200 and answer.get("Content-Type") == b"text/css; charset=utf-8"
    assert b"immutable" in (answer.get("Cache-Control") or b"")
    tag = (answer.get("ETag") or b"").decode()
    assert site.ask("GET", style, {"If-None-Match": f'"x", W/{tag}'}).status == 304
    assert site.ask("GET", "/oauth/assets/style.css").status == 404
    assert site.ask("GET", "/oauth/assets/words.en.json").status == 404


def test_a_path_before_ours() -> None:
    """``authentication.issuer.url`` has one, where a proxy puts it before the gateway's paths."""
    with BrowserSite(issuer="https://ks.test/gate") as site:
        answer = site.ask("GET", authorize())
        assert location(answer).startswith("/gate/oauth/login?resume=")
        page = site.ask("GET", "/oauth/login")
        assert b"Path=/gate/oauth" in page.all("Set-Cookie")[0]
        assert b'action="/gate/oauth/login"' in page.body and b'href="/gate/oauth/login?lang=zh"' in page.body


# -- devices ---------------------------------------------------------------------------------------------------


def begin(site: BrowserSite) -> tuple[str, str]:
    found = site.run(site.devices.begin("app", ("openid",), "198.51.100.9"))
    return found.device_code, found.user_code


def test_a_device(site: BrowserSite, browser: Browser) -> None:
    device_code, user_code = begin(site)
    # By a link with the code in it, which survives the sign-in.
    page = browser.follow(browser.get(f"/oauth/device?user_code={user_code.lower()}"))
    assert b'name="password"' in page.body
    page = browser.follow(browser.submit(username="alice", password=PASSWORD))
    text = page.body.decode()
    assert page.status == 200 and user_code in text and "app" in text and "198.51.100.9" in text
    assert "Nobody else should ask you for it" in text
    assert site.run(site.devices.poll(device_code, "app")) in ("authorization_pending", "slow_down")
    page = browser.submit(decision="allow")
    assert page.status == 200 and b"Device connected" in page.body
    site.server.wait(30)
    approved = site.run(site.devices.poll(device_code, "app"))
    assert (approved.user, approved.scopes) == ("alice", ("openid",))


def test_a_device_is_kept_out(site: BrowserSite, browser: Browser) -> None:
    device_code, user_code = begin(site)
    browser.sign_in()
    page = browser.get("/oauth/device")
    assert b'name="user_code"' in page.body
    browser.get(f"/oauth/device?user_code={user_code}")
    page = browser.submit(decision="deny")
    assert page.status == 200 and b"not been let in" in page.body
    site.server.wait(30)
    assert site.run(site.devices.poll(device_code, "app")) == "access_denied"


def test_a_device_needs_our_form(site: BrowserSite, browser: Browser) -> None:
    device_code, user_code = begin(site)
    _, other = begin(site)
    browser.sign_in()
    browser.get(f"/oauth/device?user_code={user_code}")
    form = browser.form
    assert browser.post("/oauth/device", {**form, "decision": "allow", "csrf": ""}).status == 403
    assert browser.post("/oauth/device", {**form, "decision": "allow", "user_code": other}).status == 403
    assert browser.post("/oauth/device", {**form, "decision": "allow"}, site="cross-site").status == 403
    site.server.wait(30)
    assert site.run(site.devices.poll(device_code, "app")) == "authorization_pending"


def test_codes_cannot_be_guessed(site: BrowserSite, browser: Browser) -> None:
    _, user_code = begin(site)
    browser.sign_in()
    for _ in range(GUESSES):
        page = browser.get("/oauth/device?user_code=BBBB-BBBB")
        assert page.status == 400 and b"There is no such code" in page.body
    page = browser.get(f"/oauth/device?user_code={user_code}")
    assert page.status == 429 and b"too many wrong codes" in page.body and page.get("Retry-After")
