"""What people see and do, in a real browser, with a real gateway."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import pytest

from browser.chromium import Chromium
from browser.place import PASSWORD, Place

Opener = Callable[..., Chromium]

#: Set to a folder to have the pictures of docs/ made anew there.
PICTURES = os.environ.get("KSPROXYD_PICTURES", "")

_TAB, _ENTER = "\ue004", "\ue007"


def picture(browser: Chromium, name: str) -> None:
    if PICTURES:
        browser.screenshot(Path(PICTURES) / f"{name}.png")


def sign_in(browser: Chromium, name: str, password: str = PASSWORD) -> None:
    browser.type("#username", name)
    browser.type("#password", password)
    browser.click("main form button")


def code_of(place: Place, client: str) -> dict[str, object]:
    """Have the client redeem the code of its last call; returns the tokens."""
    call = place.client.calls[-1]
    assert call["state"] == "af0ifjsldkj" and call["iss"] == place.base, call
    status, tokens = place.ask(
        "/oauth/token",
        grant_type="authorization_code",
        code=call["code"],
        redirect_uri=f"{place.client.base}/cb",
        client_id=client,
        client_secret=f"{client}-secret",
    )
    assert status == 200, tokens
    return dict(tokens)


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
def test_sign_in_and_back_to_the_client(place: Place, browse: Opener, scripts: bool) -> None:
    browser = browse(scripts=scripts)
    browser.open(place.authorize("portal"))
    assert browser.url.startswith(f"{place.base}/oauth/login?resume=")
    assert browser.title == "Sign in · KubeSphere"
    assert "go on to portal" in browser.text()
    picture(browser, "sign-in")
    sign_in(browser, "alice")
    assert browser.url.startswith(f"{place.client.base}/cb?code=")
    assert "id_token" in code_of(place, "portal")
    browser.open(f"{place.base}/oauth/login")
    assert "signed in as alice" in browser.text()
    cookie = browser.cookies()["ksproxyd_session"]
    assert cookie["httpOnly"] and cookie["sameSite"] == "Lax" and cookie["path"] == "/oauth"
    # The style was let in, and nothing was turned away.
    assert browser.style("main", "border-radius") == "12px"
    assert browser.console() == []


def test_by_keyboard_and_screen_reader(place: Place, browse: Opener) -> None:
    browser = browse()
    browser.open(place.authorize("portal"))
    assert browser.attribute("html", "lang") == "en"
    assert browser.role("#username") == ("textbox", "User name or e-mail address")
    assert browser.role("#password")[1] == "Password"
    assert browser.role("main form button") == ("button", "Sign in")
    assert browser.role(".providers a") == ("link", "Sign in with GitHub")
    assert browser.role("main")[0] == "main" and browser.role("h1")[0] == "heading"
    assert browser.focused() == "username"
    for letter in "alice":
        browser.press(letter)
    browser.press(_TAB)
    assert browser.focused() == "password"
    for letter in PASSWORD:
        browser.press(letter)
    with browser.leaving():
        browser.press(_ENTER)
    assert browser.url.startswith(f"{place.client.base}/cb?code=")


def test_a_wrong_password(place: Place, browse: Opener) -> None:
    browser = browse()
    browser.open(place.authorize("portal"))
    sign_in(browser, "bob", "not this one")
    assert browser.text("#problem") == "The user name or the password is wrong."
    assert browser.role("#problem")[0] == "alert"
    assert browser.attribute("#username", "aria-invalid") == "true"
    assert browser.attribute("#username", "value") == "bob" and browser.focused() == "password"
    picture(browser, "wrong-password")
    sign_in(browser, "nobody-at-all", "not this one")
    assert browser.text("#problem") == "The user name or the password is wrong."
    sign_in(browser, "bob")
    assert browser.url.startswith(f"{place.client.base}/cb?code=")


def test_locked(place: Place, browse: Opener) -> None:
    browser = browse()
    browser.open(f"{place.base}/oauth/login")
    for _ in range(3):
        sign_in(browser, "carol", "not this one")
    sign_in(browser, "carol")
    assert "There were too many attempts." in browser.text("#problem")
    assert re.search(r"try again in 1[01] min \(at [0-2][0-9]:[0-5][0-9] UTC\)", browser.text("#problem"))
    picture(browser, "locked")
    browser.click("footer a")
    sign_in(browser, "carol")
    assert "该账户已被暂时锁定" in browser.text("#problem")


def test_in_chinese(place: Place, browse: Opener) -> None:
    browser = browse("zh-CN,zh")
    browser.open(place.authorize("portal"))
    assert browser.attribute("html", "lang") == "zh-CN" and browser.title == "登录 · KubeSphere"
    assert browser.role("#username")[1] == "用户名或邮箱"
    picture(browser, "sign-in-zh")
    sign_in(browser, "alice", "not this one")
    assert browser.text("#problem") == "用户名或密码错误。"
    browser.click("footer a")
    assert browser.attribute("html", "lang") == "en" and browser.role("main form button")[1] == "Sign in"
    sign_in(browser, "alice")
    assert browser.url.startswith(f"{place.client.base}/cb?code=")


def test_consent(place: Place, browse: Opener) -> None:
    browser = browse()
    browser.open(place.authorize("reports"))
    sign_in(browser, "alice")
    assert browser.title == "Allow access? · KubeSphere"
    assert "see your e-mail address" in browser.text(".scopes")
    assert "127.0.0.1" in browser.text() and "signed in as alice" in browser.text()
    picture(browser, "consent")
    browser.click("button[value=deny]")
    assert browser.url.startswith(f"{place.client.base}/cb?error=access_denied&")
    browser.open(place.authorize("reports"))
    browser.click("button[value=allow]")
    assert browser.url.startswith(f"{place.client.base}/cb?code=")
    assert "access_token" in code_of(place, "reports")
    # Not asked again, until it is taken back.
    browser.open(place.authorize("reports"))
    assert browser.url.startswith(f"{place.client.base}/cb?code=")
    browser.open(f"{place.base}/oauth/login")
    assert browser.role(".consents button") == ("button", "Take back what reports may do")
    browser.click(".consents button")
    browser.open(place.authorize("reports"))
    assert browser.has("button[value=allow]")


def test_a_device(place: Place, browse: Opener) -> None:
    status, device = place.ask(
        "/oauth/device_authorization", client_id="terminal", client_secret="terminal-secret", scope="openid"
    )
    assert status == 200, device
    browser = browse()
    browser.open(device["verification_uri"])
    sign_in(browser, "alice")
    browser.type("#user_code", "BBBB-BBBB")
    browser.click("main form button")
    assert "There is no such code" in browser.text("#problem")
    browser.type("#user_code", device["user_code"].lower().replace("-", ""))
    browser.click("main form button")
    assert browser.title == "Connect this device? · KubeSphere"
    assert browser.text("#code") == device["user_code"] and "terminal" in browser.text()
    picture(browser, "device")
    browser.click("button[value=allow]")
    assert browser.text("h1") == "Device connected"
    status, tokens = place.ask(
        "/oauth/token",
        grant_type="urn:ietf:params:oauth:grant-type:device_code",
        device_code=device["device_code"],
        client_id="terminal",
        client_secret="terminal-secret",
    )
    assert status == 200, json.dumps(tokens)
    assert tokens["access_token"]


def test_logout(place: Place, browse: Opener) -> None:
    browser = browse()
    browser.open(place.authorize("portal"))
    sign_in(browser, "alice")
    tokens = code_of(place, "portal")
    # A link of whoever signs nobody out.
    browser.open(f"{place.base}/oauth/logout")
    assert "Do you want to sign out" in browser.text()
    query = {"post_logout_redirect_uri": f"{place.client.base}/bye", "state": "x y"}
    browser.open(f"{place.base}/oauth/logout?" + urlencode({"client_id": "portal", **query}))
    browser.click("main form button")
    assert browser.url.startswith(f"{place.client.base}/bye?") and place.client.calls[-1] == {"state": "x y"}
    browser.open(place.authorize("portal", prompt="none"))
    assert place.client.calls[-1]["error"] == "login_required"
    # The client itself, with the token that it got.
    browser.open(place.authorize("portal"))
    sign_in(browser, "alice")
    browser.open(f"{place.base}/oauth/logout?" + urlencode({"id_token_hint": str(tokens["id_token"]), **query}))
    assert browser.url.startswith(f"{place.client.base}/bye?")
    browser.open(f"{place.base}/oauth/login")
    assert browser.has("#password")
    # And on the page itself.
    sign_in(browser, "alice")
    browser.click("main form button")
    assert browser.text("h1") == "You are signed out"


def test_errors(place: Place, browse: Opener) -> None:
    browser = browse()
    browser.open(f"{place.base}/oauth/authorize?client_id=%3Cb%3Enobody")
    assert browser.text("h1") == "This did not work" and "Request " in browser.text()
    browser.open(f"{place.base}/oauth/login?resume=xyz")
    assert browser.text("h1") == "This sign-in has expired"


def test_no_other_page_may_show_ours(place: Place, browse: Opener, tmp_path: Path) -> None:
    """In a frame, where people click on what they do not see."""
    browser = browse()
    page = tmp_path / "frame.html"
    page.write_text(f'<title>frame</title><iframe src="{place.base}/oauth/login"></iframe>')
    browser.open(page.as_uri())
    assert any("frame-ancestors" in line or "X-Frame-Options" in line for line in browser.console())


def test_no_other_page_can_sign_anybody_in(place: Place, browse: Opener, tmp_path: Path) -> None:
    browser = browse()
    browser.open(f"{place.base}/oauth/login")
    page = tmp_path / "evil.html"
    page.write_text(
        f'<form method="post" action="{place.base}/oauth/login"><input name="username" value="bob">'
        f'<input name="password" value="{PASSWORD}"><input name="csrf" value="x"><button>go</button></form>'
    )
    browser.open(page.as_uri())
    browser.click("button")
    assert "try again" in browser.text("#problem")
    assert "ksproxyd_session" not in browser.cookies()


def test_on_a_telephone(place: Place, browse: Opener) -> None:
    browser = browse()
    browser.size(500, 800)
    browser.open(place.authorize("portal"))
    width = float(browser.style("main", "width").removesuffix("px"))
    assert width <= 500 and float(browser.style("main form button", "min-height").removesuffix("px")) >= 44
