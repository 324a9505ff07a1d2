"""GitHub and IDaaS, and the OAuth 2 client below them (spec 02, 4.4; RFC 6749, RFC 7636)."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from provider_parts import CannedWeb, error_of, provider, result_of

from ksproxyd.authn.providers.oauth2 import challenge_of, with_query
from ksproxyd.authn.providers.provider import External, Flow

FLOW = Flow("st", "no", "verifier-verifier-verifier-verifier-verifier", "https://ks.test/oauth/callback/corp")
USER = {"id": 583231, "login": "octocat", "name": "The Octocat", "email": "public@x.test"}
EMAILS = [
    {"email": "old@x.test", "primary": False, "verified": True},
    {"email": "octocat@x.test", "primary": True, "verified": True},
]
GITHUB: dict[str, Any] = {
    "https://github.com/login/oauth/access_token": {"access_token": "gho_x", "token_type": "bearer"},
    "https://api.github.com/user": USER,
    "https://api.github.com/user/emails": EMAILS,
}
ALIYUN = {
    "clientID": "c:1",
    "clientSecret": "s/ä",
    "endpoint": {
        "authURL": "https://idaas.test/authorize",
        "tokenURL": "https://idaas.test/token",
        "userInfoURL": "https://idaas.test/userinfo",
    },
}


def github(answers: dict[str, Any] | None = None, **options: Any) -> tuple[Any, CannedWeb]:
    web = CannedWeb({**GITHUB, **(answers or {})})
    return provider("GitHubIdentityProvider", {"clientID": "ks", "clientSecret": "shh", **options}, web), web


def finish(found: Any, **parameters: str) -> Any:
    return found.finish({"code": "the-code", "state": "st", **parameters}, FLOW)


def test_the_challenge_of_the_standard() -> None:
    # RFC 7636, appendix B.
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert challenge_of(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_parameters_go_behind_those_that_are_there() -> None:
    assert with_query("https://x/a?b=c", {"d": "e f&g"}) == "https://x/a?b=c&d=e+f%26g"
    assert with_query("https://x/a?", {"d": "e"}) == "https://x/a?d=e"
    assert with_query("https://x/a", {"d": "e"}) == "https://x/a?d=e"


def test_the_way_to_github() -> None:
    found, _ = github()
    address = urlsplit(result_of(found.begin(FLOW)))
    assert address.geturl().startswith("https://github.com/login/oauth/authorize?")
    assert dict(parse_qsl(address.query)) == {
        "response_type": "code",
        "client_id": "ks",
        "redirect_uri": "https://ks.test/oauth/callback/corp",
        "scope": "read:user user:email",
        "state": "st",
        "code_challenge": challenge_of(FLOW.verifier),
        "code_challenge_method": "S256",
    }


def test_the_way_back_from_github() -> None:
    found, web = github()
    assert result_of(finish(found)) == External("583231", "octocat", "octocat@x.test", True, "The Octocat")
    method, _, form, headers = web.asked[0]
    assert (method, form) == (
        "POST",
        {
            "grant_type": "authorization_code",
            "code": "the-code",
            "redirect_uri": "https://ks.test/oauth/callback/corp",
            "code_verifier": FLOW.verifier,
            "client_id": "ks",
            "client_secret": "shh",
        },
    )
    assert "Authorization" not in headers
    assert web.asked[1][3]["Authorization"] == "Bearer gho_x"


@pytest.mark.parametrize(
    "answer",
    [(404, {"message": "no scope"}), [], [{"email": "a@b", "primary": True, "verified": False}], [5], {"x": 1}],
)
def test_an_address_that_is_not_verified_is_none(answer: Any) -> None:
    found, _ = github({"https://api.github.com/user/emails": answer})
    assert result_of(finish(found)) == External("583231", "octocat", "", False, "The Octocat")


@pytest.mark.parametrize("number", [None, "583231", True, 0, -1, 1.5])
def test_a_user_without_a_number_is_nobody(number: Any) -> None:
    found, _ = github({"https://api.github.com/user": {**USER, "id": number}})
    error_of(finish(found), "answer")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((401, {"message": "Bad credentials"}), "credentials"),
        ((403, {"message": "forbidden"}), "credentials"),
        ((500, {}), "unavailable"),
        ((200, b"<html>"), "answer"),
        ((200, []), "answer"),
        ((302, b""), "answer"),
    ],
)
def test_the_status_of_the_users_address_counts(answer: Any, kind: str) -> None:
    found, _ = github({"https://api.github.com/user": answer})
    error_of(finish(found), kind)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((200, {"error": "bad_verification_code", "error_description": "expired"}), "credentials"),
        ((400, {"error": "invalid_grant"}), "credentials"),
        ((200, {"error": "incorrect_client_credentials"}), "unavailable"),
        ((401, {"error": "invalid_client"}), "unavailable"),
        ((200, {}), "answer"),
        ((200, {"access_token": 5}), "answer"),
        ((200, {"access_token": "a\r\nX: y"}), "answer"),
        ((500, {"access_token": "x"}), "unavailable"),
        ((200, b"access_token=x"), "answer"),
    ],
)
def test_what_the_token_endpoint_may_say(answer: Any, kind: str) -> None:
    found, _ = github({"https://github.com/login/oauth/access_token": answer})
    assert "shh" not in error_of(finish(found), kind).message


def test_without_a_code_nobody_is_asked() -> None:
    found, web = github()
    for code in ("", "x" * 5000):
        error_of(finish(found, code=code), "credentials")
    assert web.asked == []


# -- client authentication, by the provider that says nothing of it --------------------------------------------------


def aliyun(token: Any, userinfo: Any = None, **options: Any) -> tuple[Any, CannedWeb]:
    data = {"sub": "u-1", "username": "alice", "email": "a@x.test"}
    answers = {
        "https://idaas.test/token": token,
        "https://idaas.test/userinfo": userinfo or {"success": True, "code": "200", "data": data},
    }
    web = CannedWeb(answers)
    return provider("AliyunIDaaSProvider", {**ALIYUN, **options}, web), web


def test_basic_is_tried_first_and_then_the_form_and_that_is_remembered() -> None:
    def only_form(url: str, form: dict[str, str], headers: dict[str, str]) -> Any:
        return {"access_token": "t"} if "client_secret" in form else (401, {"error": "invalid_client"})

    found, web = aliyun(only_form)
    assert result_of(finish(found)) == External("u-1", "alice", "a@x.test", False)
    basic = base64.b64decode(web.asked[0][3]["Authorization"].removeprefix("Basic ")).decode()
    assert basic == "c%3A1:s%2F%C3%A4"
    assert (web.asked[1][2]["client_id"], web.asked[1][2]["client_secret"]) == ("c:1", "s/ä")
    result_of(finish(found))
    assert [form.get("client_secret", "") for method, _, form, _ in web.asked if method == "POST"] == ["", "s/ä", "s/ä"]


def test_one_way_only_if_the_options_say_so() -> None:
    found, web = aliyun((401, {"error": "invalid_client"}), clientAuth="client_secret_basic")
    error_of(finish(found), "unavailable")
    assert len(web.asked) == 1


def test_a_client_without_a_secret_says_who_it_is() -> None:
    found, web = aliyun({"access_token": "t"}, clientSecret="")
    result_of(finish(found))
    assert web.asked[0][2]["client_id"] == "c:1"
    assert "client_secret" not in web.asked[0][2]


@pytest.mark.parametrize(
    ("userinfo", "kind"),
    [
        ({"success": False, "message": "no such user"}, "unavailable"),
        ({"success": "true", "data": {"sub": "x"}}, "unavailable"),
        ({"success": True}, "answer"),
        ((500, {"success": True, "data": {"sub": "x"}}), "unavailable"),
    ],
)
def test_what_idaas_may_say(userinfo: Any, kind: str) -> None:
    found, _ = aliyun({"access_token": "t"}, userinfo)
    error_of(finish(found), kind)


def test_idaas_without_a_subject_gives_no_identifier() -> None:
    found, _ = aliyun({"access_token": "t"}, {"success": True, "data": {"username": "alice"}}, trustEmail=True)
    assert result_of(finish(found)).uid == ""


def test_walks() -> None:
    async def walk(found: Any) -> list[tuple[str, bool]]:
        return [(step.title, step.ok) async for step in found.walk("", "")]

    assert result_of(walk(github()[0])) == [("connect", True), ("redirect", True)]
    elsewhere = github(redirectURL="https://console.test/oauth/redirect/corp")[0]
    assert result_of(walk(elsewhere)) == [("connect", True), ("redirect", False)]
    assert result_of(walk(provider("GitHubIdentityProvider", {"clientID": "x"}, CannedWeb()))) == [("connect", False)]
    assert result_of(walk(aliyun({})[0])) == [("connect", True), ("redirect", True)]
