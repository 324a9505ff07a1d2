"""The token endpoint, row by row of spec 02, 8.4, and what RFC 6749, 7636 and 9700 ask for beyond that."""

from __future__ import annotations

import base64
import hashlib
import urllib.parse
from collections.abc import Iterator
from typing import Any

import bcrypt
import pytest
from support_oauth import (
    CB1,
    FORM,
    KUBESPHERE,
    PASSWORD,
    RP1,
    RP2,
    World,
    assert_not_kept,
    basic,
    bearer,
    oauth_client,
    payload,
    pkce,
    read,
    refused,
    user,
)

BAD_PASSWORD = "Invalid username or password."
BAD_CODE = "The authorization code is invalid or expired."
BAD_REFRESH = "The refresh token is invalid or expired."


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.gateway.close()


@pytest.fixture
def single() -> Iterator[World]:
    """A gateway without ``multipleLogin``."""
    world = World(multiple=False)
    yield world
    world.gateway.close()


# -- passwords ---------------------------------------------------------------------------------------------


def test_t070_password(world: World) -> None:
    answer = world.password()
    assert answer.status == 200
    assert_not_kept(answer)
    tokens = read(answer)
    assert set(tokens) == {"access_token", "token_type", "refresh_token", "expires_in"}
    assert (tokens["token_type"], tokens["expires_in"]) == ("Bearer", 7200)
    assert world.alive(tokens["access_token"])
    (record,) = world.records("alice")
    assert (record["spec"]["type"], record["spec"]["success"]) == ("Token", True)


def test_password_with_an_email_address(world: World) -> None:
    tokens = world.logged_in("alice@ks.test")
    assert payload(tokens["access_token"])["sub"] == "alice"


def test_t071_json_body(world: World) -> None:
    answer = world.gateway.request("POST", "/oauth/token", [(b"Content-Type", b"application/json")], b"{}")
    assert answer.status == 415
    assert_not_kept(answer)


def test_t072_parameters_in_the_query(world: World) -> None:
    query = urllib.parse.urlencode({"grant_type": "password", "username": "alice", "password": PASSWORD, **KUBESPHERE})
    refused(world.post(f"/oauth/token?{query}", b""), 401, "invalid_client")


def test_t073_t074_unknown_clients_and_wrong_secrets_are_answered_the_same(world: World) -> None:
    unknown = world.password(client_id="nobody")
    wrong = world.password(client_secret="nonsense")
    none = world.password(client_secret="")
    refused(unknown, 401, "invalid_client")
    assert unknown.body == wrong.body == none.body
    assert [answer.get("WWW-Authenticate") for answer in (unknown, wrong, none)] == [None] * 3
    in_header = world.token(basic("kubesphere", "nonsense"), grant_type="password", username="alice", password=PASSWORD)
    refused(in_header, 401, "invalid_client")
    assert in_header.body == unknown.body
    assert (in_header.get("WWW-Authenticate") or b"").startswith(b"Basic ")


def test_t075_only_trusted_clients_log_in_with_passwords(world: World) -> None:
    refused(world.password(**RP1), 400, "unauthorized_client")


@pytest.mark.parametrize("kind", ["otp", "client_credentials", "implicit", "Password"])
def test_t076_unknown_grants(world: World, kind: str) -> None:
    refused(world.token(grant_type=kind, **KUBESPHERE), 400, "unsupported_grant_type")


def test_t076_no_grant(world: World) -> None:
    refused(world.token(**KUBESPHERE), 400, "invalid_request")
    refused(world.token(grant_type="", **KUBESPHERE), 400, "invalid_request")


def test_t077_to_t081_nothing_is_told_before_the_password_is_right(world: World) -> None:
    wrong = world.password(password="wrong")
    refused(wrong, 400, "invalid_grant", BAD_PASSWORD)
    for answer in (
        world.password("nobody"),
        world.password(password=""),
        world.password(username=""),
        world.password("bob", "wrong"),
    ):
        assert (answer.status, answer.body) == (wrong.status, wrong.body)
    (record,) = world.records("alice")
    assert (record["spec"]["success"], record["spec"]["reason"]) == (False, "incorrect password")
    assert world.records("nobody") == []


def test_t080_suspended_is_told_to_who_has_the_password(world: World) -> None:
    refused(world.password("bob"), 400, "invalid_grant", "Account suspended.")
    refused(world.password("erin"), 400, "invalid_grant", "Account suspended.")


def test_t082_locked(world: World) -> None:
    answer = world.password("carol")
    refused(answer, 429, "invalid_grant", "Rate limit exceeded.")
    assert 0 < int(answer.get("Retry-After") or b"") <= 600


def test_t083_the_fourth_attempt_is_not_looked_at(world: World) -> None:
    for _ in range(3):
        refused(world.password(password="wrong"), 400, "invalid_grant", BAD_PASSWORD)
    answer = world.password()
    refused(answer, 429, "invalid_grant", "Rate limit exceeded.")
    world.gateway.wait(float(answer.get("Retry-After") or b"") + 1)
    assert world.password().status == 200


def test_t085_a_password_that_is_to_be_changed(world: World) -> None:
    tokens = world.logged_in("dave")
    assert payload(tokens["access_token"])["extra"] == {"uninitialized": ["true"]}
    again = read(world.refresh(tokens["refresh_token"]))
    assert payload(again["access_token"])["extra"] == {"uninitialized": ["true"]}
    # And when it was changed, new tokens do not say so any more.
    world.gateway.apply(user("dave"))
    last = read(world.refresh(again["refresh_token"]))
    assert "extra" not in payload(last["access_token"])


def test_t086_unknown_provider(world: World) -> None:
    refused(world.password(provider="nope"), 400, "invalid_request")


def test_what_a_client_shows_is_in_no_log(world: World) -> None:
    world.password(password="a-very-secret-password", client_secret="another-secret")
    world.token(grant_type="refresh_token", refresh_token="secret-token", **KUBESPHERE)
    world.redeem("secret-code")
    everything = b"".join(world.gateway.lines)
    assert not any(word in everything for word in (b"very-secret", b"another-secret", b"secret-token", b"secret-code"))


# -- clients -----------------------------------------------------------------------------------------------


def test_t088_the_client_in_the_header(world: World) -> None:
    answer = world.token(basic("kubesphere", "kubesphere"), grant_type="password", username="alice", password=PASSWORD)
    assert answer.status == 200


def test_names_and_secrets_in_the_header_are_form_encoded(world: World) -> None:
    world.gateway.apply(oauth_client("odd:name", secret="100% +:é", trusted=True) | {"metadata": _metadata("odd")})
    shown = basic("odd%3Aname", "100%25+%2B%3A%C3%A9")
    assert world.token(shown, grant_type="password", username="alice", password=PASSWORD).status == 200
    for broken in (basic("odd%3Aname", "100%"), (b"Authorization", b"Basic !!!"), (b"Authorization", b"Basic YQ==")):
        refused(world.token(broken, grant_type="password"), 401, "invalid_client")


def test_a_client_shows_its_secret_in_one_way(world: World) -> None:
    grant = {"grant_type": "password", "username": "alice", "password": PASSWORD}
    refused(world.token(basic("kubesphere", "kubesphere"), **grant, **KUBESPHERE), 400, "invalid_request")
    two = (basic("kubesphere", "kubesphere"), basic("rp1", "s1"))
    refused(world.token(*two, **grant), 400, "invalid_request")
    refused(world.token(basic("kubesphere", "kubesphere"), client_id="rp1", **grant), 401, "invalid_client")
    assert world.token(basic("kubesphere", "kubesphere"), client_id="kubesphere", **grant).status == 200


def test_a_parameter_is_there_once(world: World) -> None:
    body = urllib.parse.urlencode({"grant_type": "password", **KUBESPHERE}).encode() + b"&grant_type=refresh_token"
    refused(world.post("/oauth/token", body), 400, "invalid_request")


def test_hashed_secrets(world: World) -> None:
    hashed = "sha256:" + hashlib.sha256(b"hashed").hexdigest()
    slow = bcrypt.hashpw(b"slow", bcrypt.gensalt(4)).decode()
    world.gateway.apply(
        oauth_client("hashed", secret=hashed, trusted=True), oauth_client("slow", secret=slow, trusted=True)
    )
    assert world.password(client_id="hashed", client_secret="hashed").status == 200
    assert world.password(client_id="slow", client_secret="slow").status == 200
    # The hash is not the secret.
    refused(world.password(client_id="hashed", client_secret=hashed), 401, "invalid_client")
    refused(world.password(client_id="slow", client_secret=slow), 401, "invalid_client")


def test_clients_come_change_and_go(world: World) -> None:
    one = oauth_client("later", secret="first", trusted=True)
    later = {"client_id": "later", "client_secret": "first"}
    refused(world.password(**later), 401, "invalid_client")
    world.gateway.apply(one)
    assert world.password(**later).status == 200
    world.gateway.apply(oauth_client("later", secret="second", trusted=True))
    refused(world.password(**later), 401, "invalid_client")
    assert world.password(client_id="later", client_secret="second").status == 200
    world.gateway.delete(one)
    refused(world.password(client_id="later", client_secret="second"), 401, "invalid_client")


def test_a_public_client_only_says_its_name(world: World) -> None:
    verifier, challenge = pkce()
    code = world.code(client="app", redirect_uri="http://127.0.0.1:4711/cb", challenge=challenge)
    fields = {"redirect_uri": "http://127.0.0.1:4711/cb", "code_verifier": verifier, "client_id": "app"}
    refused(world.redeem(code, **fields, client_secret="guess"), 401, "invalid_client")
    assert world.redeem(code, **fields, client_secret="").status == 200


# -- refresh tokens ----------------------------------------------------------------------------------------


def test_t089_refresh_tokens_are_good_once(world: World) -> None:
    first = world.logged_in()
    answer = world.refresh(first["refresh_token"])
    assert answer.status == 200
    assert_not_kept(answer)
    second = read(answer)
    assert second["refresh_token"] != first["refresh_token"]
    assert world.alive(second["access_token"])
    # Somebody has a copy: whoever they are, the session is over for both.
    refused(world.refresh(first["refresh_token"]), 400, "invalid_grant", BAD_REFRESH)
    refused(world.refresh(second["refresh_token"]), 400, "invalid_grant", BAD_REFRESH)
    assert not world.alive(second["access_token"])


@pytest.mark.parametrize("token", ["", "x", "a.b.c"])
def test_refresh_with_garbage(world: World, token: str) -> None:
    refused(world.refresh(token), 400, "invalid_grant", BAD_REFRESH)


def test_t090_an_access_token_is_no_refresh_token(world: World) -> None:
    refused(world.refresh(world.logged_in()["access_token"]), 400, "invalid_grant", BAD_REFRESH)


def test_t091_refresh_tokens_are_their_clients(world: World) -> None:
    tokens = world.logged_in()
    refused(world.refresh(tokens["refresh_token"], **RP1), 400, "invalid_grant", BAD_REFRESH)
    # That others try does not end it.
    assert world.refresh(tokens["refresh_token"]).status == 200


@pytest.mark.parametrize("state", ["Disabled", ""])
def test_t092_refresh_of_somebody_who_was_disabled(world: World, state: str) -> None:
    tokens = world.logged_in()
    world.gateway.apply(user("alice", state or "Unknown"))
    refused(world.refresh(tokens["refresh_token"]), 400, "invalid_grant", BAD_REFRESH)


def test_refresh_of_somebody_who_is_gone_or_only_locked(world: World) -> None:
    alice, admin = world.logged_in(), world.logged_in("admin")
    world.gateway.apply(user("alice", "AuthLimitExceeded"))
    assert world.refresh(alice["refresh_token"]).status == 200
    world.gateway.delete(user("admin"))
    refused(world.refresh(admin["refresh_token"]), 400, "invalid_grant", BAD_REFRESH)


def test_t093_a_stale_bearer_header_means_nothing_here(world: World) -> None:
    tokens = world.logged_in()
    assert world.refresh(tokens["refresh_token"], bearer("stale")).status == 200


def test_t094_one_login_at_a_time_for_each_client(single: World) -> None:
    first = single.logged_in()
    elsewhere = read(single.redeem(single.code()))
    assert single.alive(first["access_token"]) and single.alive(elsewhere["access_token"])
    second = single.logged_in()
    assert not single.alive(first["access_token"])
    refused(single.refresh(first["refresh_token"]), 400, "invalid_grant", BAD_REFRESH)
    assert single.alive(second["access_token"]) and single.alive(elsewhere["access_token"])


def test_scopes_of_a_refresh(world: World) -> None:
    tokens = read(world.redeem(world.code()))
    more = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"], **RP1}
    refused(world.token(**more, scope="openid admin"), 400, "invalid_scope")
    answer = world.token(**more, scope="openid")
    assert (answer.status, read(answer)["scope"]) == (200, "openid email profile")


def test_a_registration_becomes_a_login_when_the_user_is_there(world: World) -> None:
    extra = (("idp", ("corp",)), ("uid", ("42",)), ("username", ("zoe",)), ("email", ("zoe@corp.test",)))
    opening = world.logins.tokens.open_session("system:pre-registration", "kubesphere", extra=extra, registration=True)
    issued = world.gateway.run(opening)
    refused(world.refresh(issued.refresh_token), 400, "invalid_grant", "Authenticated user does not exist.")
    link = {"annotations": {"iam.kubesphere.io/identity-provider.corp": "42"}}
    world.gateway.apply(user("zoe", metadata=link))
    tokens = read(world.refresh(issued.refresh_token))
    said = payload(tokens["access_token"])
    assert (said["sub"], "extra" in said) == ("zoe", False)
    assert world.alive(tokens["access_token"])


def test_two_users_with_the_same_link_are_nobody(world: World) -> None:
    extra = (("idp", ("corp",)), ("uid", ("42",)))
    opening = world.logins.tokens.open_session("system:pre-registration", "kubesphere", extra=extra, registration=True)
    issued = world.gateway.run(opening)
    link = {"annotations": {"iam.kubesphere.io/identity-provider.corp": "42"}}
    world.gateway.apply(user("zoe", metadata=link), user("yve", metadata=link))
    refused(world.refresh(issued.refresh_token), 400, "invalid_grant", "Authenticated user does not exist.")


# -- codes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["authorization_code", "code"])
def test_t095_code_with_openid(world: World, kind: str) -> None:
    answer = world.redeem(world.code(), grant_type=kind)
    assert answer.status == 200
    assert_not_kept(answer)
    tokens = read(answer)
    said = payload(tokens["id_token"])
    assert said["iss"] == "https://ks.test" and said["sub"] == "alice"
    assert (said["aud"], said["nonce"]) == (["rp1"], "n-1")
    assert (said["email"], said["preferred_username"], said["name"]) == ("alice@ks.test", "alice", "alice")
    assert (said["locale"], said["url"]) == ("en", "alice")
    assert said["exp"] - said["iat"] == 9000
    assert said["iat"] - said["auth_time"] == 7
    digest = hashlib.sha256(tokens["access_token"].encode()).digest()[:16]
    assert said["at_hash"] == base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    assert world.alive(tokens["access_token"]) and not world.alive(tokens["id_token"])


def test_claims_follow_the_scopes(world: World) -> None:
    said = payload(read(world.redeem(world.code(scopes=("openid",))))["id_token"])
    assert not {"email", "name", "preferred_username", "locale"} & set(said)


def test_the_url_claim_can_be_switched_off() -> None:
    world = World(more="  compat: {urlClaim: false}")
    tokens = read(world.redeem(world.code()))
    assert "url" not in payload(tokens["id_token"])
    assert "url" not in read(world.get("/oauth/userinfo", tokens["access_token"]))
    world.gateway.close()


def test_t096_code_without_openid(world: World) -> None:
    assert "id_token" not in read(world.redeem(world.code(scopes=("email",))))


def test_t097_a_code_that_comes_again_ends_what_was_issued_from_it(world: World) -> None:
    code = world.code()
    tokens = read(world.redeem(code))
    other = read(world.redeem(world.code()))
    refused(world.redeem(code), 400, "invalid_grant", BAD_CODE)
    assert not world.alive(tokens["access_token"])
    refused(world.refresh(tokens["refresh_token"], **RP1), 400, "invalid_grant")
    assert world.alive(other["access_token"])
    refused(world.redeem(code), 400, "invalid_grant", BAD_CODE)


def test_t098_codes_are_their_clients(world: World) -> None:
    code = world.code()
    refused(world.redeem(code, **RP2), 400, "invalid_grant", BAD_CODE)
    # Somebody else has it: it is good for nobody any more.
    refused(world.redeem(code), 400, "invalid_grant", BAD_CODE)


@pytest.mark.parametrize(
    "address", ["https://evil.test/cb", CB1 + "/", CB1.upper(), CB1 + "?", "", "https://rp2.test/cb"]
)
def test_t099_t100_codes_are_redeemed_with_the_address_they_were_sent_to(world: World, address: str) -> None:
    refused(world.redeem(world.code(), redirect_uri=address), 400, "invalid_grant")


def test_an_address_that_was_not_named_need_not_be_named(world: World) -> None:
    assert world.redeem(world.code(redirect_uri=""), redirect_uri="").status == 200
    assert world.redeem(world.code(redirect_uri="")).status == 200
    refused(world.redeem(world.code(redirect_uri=""), redirect_uri="https://evil.test"), 400, "invalid_grant")


def test_t101_no_code(world: World) -> None:
    missing = "The authorization code is empty or missing."
    refused(world.redeem(""), 400, "invalid_request", missing)
    refused(world.token(grant_type="authorization_code", **RP1), 400, "invalid_request", missing)


def test_t102_pkce(world: World) -> None:
    verifier, challenge = pkce()
    other, _ = pkce()
    for wrong in (other, "", challenge, verifier + "x", "short"):
        refused(world.redeem(world.code(challenge=challenge), code_verifier=wrong), 400, "invalid_grant")
    assert world.redeem(world.code(challenge=challenge), code_verifier=verifier).status == 200
    # RFC 9700, 4.8: the challenge was taken out on the way.
    refused(world.redeem(world.code(), code_verifier=verifier), 400, "invalid_grant")


def test_the_verifier_is_not_guessed(world: World) -> None:
    verifier, challenge = pkce()
    code = world.code(challenge=challenge)
    refused(world.redeem(code, code_verifier="x" * 43), 400, "invalid_grant")
    refused(world.redeem(code, code_verifier=verifier), 400, "invalid_grant", BAD_CODE)


def test_a_public_client_without_pkce_gets_nothing(world: World) -> None:
    code = world.code(client="app", redirect_uri="http://127.0.0.1/cb")
    fields = {"redirect_uri": "http://127.0.0.1/cb", "client_id": "app", "client_secret": ""}
    refused(world.redeem(code, **fields), 400, "invalid_grant")


def test_t103_old_codes(world: World) -> None:
    code, late = world.code(), world.code()
    world.gateway.wait(58)
    assert world.redeem(code).status == 200
    world.gateway.wait(3)
    refused(world.redeem(late), 400, "invalid_grant", BAD_CODE)


def test_codes_of_users_who_may_not_log_in_any_more(world: World) -> None:
    code, gone = world.code(), world.code(user="admin")
    world.gateway.apply(user("alice", "Disabled"))
    world.gateway.delete(user("admin"))
    refused(world.redeem(code), 400, "invalid_grant", BAD_CODE)
    refused(world.redeem(gone), 400, "invalid_grant", BAD_CODE)


def test_lifetimes_of_a_client(world: World) -> None:
    ages = {"accessTokenMaxAgeSeconds": 600, "accessTokenInactivityTimeoutSeconds": 60}
    world.gateway.apply(oauth_client("rp1", secret="s1", redirectURIs=[CB1], **ages))
    tokens = read(world.redeem(world.code()))
    access, refresh, identity = (payload(tokens[f"{kind}_token"]) for kind in ("access", "refresh", "id"))
    assert tokens["expires_in"] == 600
    assert [said["exp"] - said["iat"] for said in (access, refresh, identity)] == [600, 660, 660]


def test_all_at_once_one_gets_it(world: World) -> None:
    """Fifty requests with one code, all of them sent before any is answered."""
    code = world.code()
    body = urllib.parse.urlencode(
        {"grant_type": "authorization_code", "code": code, "redirect_uri": CB1, **RP1}
    ).encode()
    head = b"POST /oauth/token HTTP/1.1\r\nHost: ks.test\r\n%b: %b\r\nContent-Length: %d\r\n\r\n" % (*FORM, len(body))
    clients = [world.gateway.connect() for _ in range(50)]
    for client in clients:
        client.send(head + body)
    answers: list[Any] = [client.answer("POST") for client in clients]
    assert [answer.status for answer in answers].count(200) <= 1
    for answer in answers:
        if answer.status == 200:
            assert not world.alive(read(answer)["access_token"])


def _metadata(name: str) -> dict[str, Any]:
    label = {"config.kubesphere.io/type": "oauthclient"}
    return {"name": name, "namespace": "kubesphere-system", "labels": label}
