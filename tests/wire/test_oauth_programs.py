"""Discovery, keys, userinfo, TokenReview (spec 02, 8.3), revocation, introspection and the device flow."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet
from support_oauth import (
    FORM,
    ISSUER,
    KUBESPHERE,
    RP1,
    RP2,
    SCOPES,
    World,
    assert_not_kept,
    basic,
    bearer,
    oauth_client,
    payload,
    read,
    refused,
    user,
)

from ksproxyd.kapis.oauth.device import ALPHABET, GUESSES, TooMany
from ksproxyd.kapis.oauth.grants import DEVICE_CODE
from ksproxyd.testing import Answer

CLI = {"client_id": "ksproxyd-cli"}


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.gateway.close()


# -- discovery and keys ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"])
def test_t050_discovery(world: World, path: str) -> None:
    answer = world.get(path)
    assert (answer.status, answer.get("Cache-Control")) == (200, b"public, max-age=300")
    found = read(answer)
    assert found["issuer"] == ISSUER
    assert found["jwks_uri"] == f"{ISSUER}/oauth/keys"
    assert found["code_challenge_methods_supported"] == ["S256"]
    assert found["id_token_signing_alg_values_supported"] == ["RS256"]
    assert found["authorization_response_iss_parameter_supported"] is True
    assert set(found["token_endpoint_auth_methods_supported"]) == {"client_secret_basic", "client_secret_post", "none"}
    assert set(found["scopes_supported"]) == set(SCOPES)
    for name, where in found.items():
        if name.endswith(("_endpoint", "_uri")):
            assert where.startswith(f"{ISSUER}/oauth/"), name
    assert found["response_types_supported"] == ["code"]


def test_every_address_of_the_discovery_document_that_programs_use_is_served(world: World) -> None:
    found = read(world.get("/.well-known/openid-configuration"))
    for name in ("token", "revocation", "introspection", "device_authorization"):
        path = found[f"{name}_endpoint"].removeprefix(ISSUER)
        assert world.post(path, {}).status == 401
    assert world.get(found["userinfo_endpoint"].removeprefix(ISSUER)).status == 401
    assert world.get(found["jwks_uri"].removeprefix(ISSUER)).status == 200


def test_t051_other_methods(world: World) -> None:
    head = world.gateway.request("HEAD", "/.well-known/openid-configuration")
    assert (head.status, head.body) == (200, b"")
    posted = world.post("/.well-known/openid-configuration", {})
    assert (posted.status, posted.get("Allow")) == (405, b"GET, HEAD")
    assert world.get("/oauth/token").status == 405


def test_discovery_is_not_what_a_request_says_it_is(world: World) -> None:
    head = b"GET /.well-known/openid-configuration HTTP/1.1\r\nHost: evil.test\r\nX-Forwarded-Host: evil.test\r\n\r\n"
    assert b"evil" not in world.gateway.exchange(head).body


@pytest.mark.parametrize("issuer", [f"{ISSUER}/", f"{ISSUER}/base/"])
def test_an_issuer_with_a_slash_at_its_end(issuer: str) -> None:
    world = World(issuer=issuer)
    found = read(world.get("/.well-known/openid-configuration"))
    assert found["issuer"] == issuer
    assert found["token_endpoint"] == f"{issuer}oauth/token"
    assert payload(world.logged_in()["access_token"])["iss"] == issuer
    world.gateway.close()


def test_an_issuer_without_a_name_has_no_document() -> None:
    world = World(issuer="")
    answer = world.get("/.well-known/openid-configuration")
    assert answer.status == 404
    assert "authentication.issuer.url" in answer.json()["message"]
    assert world.password().status == 200
    # A program that logs in by device is told where it has come to itself.
    begun = read(world.post("/oauth/device_authorization", CLI))
    assert begun["verification_uri"] == "http://gateway.example/oauth/device"
    world.gateway.close()


def test_t052_keys_verify_id_tokens_and_nothing_private_is_there(world: World) -> None:
    answer = world.get("/oauth/keys")
    keys = read(answer)
    assert answer.get("Cache-Control") == b"public, max-age=300"
    (key,) = keys["keys"]
    assert set(key) == {"use", "kid", "alg", "kty", "n", "e"}
    assert (key["use"], key["alg"], key["kty"]) == ("sig", "RS256", "RSA")
    token = read(world.redeem(world.code()))["id_token"]
    decoded = jwt.decode(token, KeySet.import_key_set(keys), algorithms=["RS256"])
    assert decoded.header["kid"] == key["kid"]
    assert decoded.claims["sub"] == "alice"


# -- userinfo ----------------------------------------------------------------------------------------------


def test_t054_userinfo_anonymous(world: World) -> None:
    answer = world.get("/oauth/userinfo")
    refused(answer, 401, "login_required")
    assert (answer.get("WWW-Authenticate") or b"").startswith(b"Bearer ")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_t055_userinfo(world: World, method: str) -> None:
    answer = world.gateway.request(method, "/oauth/userinfo", [bearer(world.logged_in()["access_token"])])
    assert answer.status == 200
    assert_not_kept(answer)
    assert read(answer) == {
        "sub": "alice",
        "name": "alice",
        "preferred_username": "alice",
        "locale": "en",
        "email": "alice@ks.test",
        "url": "alice",
    }


def test_userinfo_with_a_password(world: World) -> None:
    answer = world.gateway.request("GET", "/oauth/userinfo", [basic("alice", "Passw0rdX")])
    assert read(answer)["sub"] == "alice"


def test_userinfo_says_what_was_granted(world: World) -> None:
    def info(*scopes: str) -> Answer:
        return world.get("/oauth/userinfo", read(world.redeem(world.code(scopes=scopes)))["access_token"])

    assert set(read(info("openid"))) == {"sub", "url"}
    assert set(read(info("openid", "email"))) == {"sub", "url", "email"}
    answer = info("email")
    refused(answer, 403, "insufficient_scope")
    assert b'error="insufficient_scope"' in (answer.get("WWW-Authenticate") or b"")


def test_t056_userinfo_of_a_service_account(world: World) -> None:
    token = service_account(world)
    refused(world.get("/oauth/userinfo", token), 403, "access_denied")


def test_userinfo_of_somebody_without_an_account(world: World) -> None:
    issued = registering(world)
    refused(world.get("/oauth/userinfo", issued.access_token), 403, "access_denied")


# -- TokenReview -------------------------------------------------------------------------------------------


def review(world: World, token: Any, *, by: str | None = None, **more: Any) -> Answer:
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}, **more}
    caller = [bearer(world.logged_in("admin")["access_token"])] if by is None else [bearer(by)] if by else []
    headers = [(b"Content-Type", b"application/json"), *caller]
    return world.gateway.request("POST", "/oauth/authenticate", headers, msgspec.json.encode(body))


def test_t057_review(world: World) -> None:
    world.gateway.apply(user("alice", spec={"groups": ["team"]}))
    answer = review(world, world.logged_in()["access_token"], apiVersion="authentication.k8s.io/v1beta1")
    assert answer.status == 200
    assert_not_kept(answer)
    found = read(answer)
    assert (found["kind"], found["apiVersion"]) == ("TokenReview", "authentication.k8s.io/v1beta1")
    status = found["status"]
    assert status["authenticated"] is True
    assert (status["user"]["username"], status["user"]["groups"]) == ("alice", ["team", "system:authenticated"])
    uid = world.gateway.embedded.call("GET", "/apis/iam.kubesphere.io/v1beta1/users/alice")["metadata"]["uid"]
    assert status["user"]["uid"] == uid


def test_t057_review_of_a_service_account(world: World) -> None:
    status = read(review(world, service_account(world)))["status"]
    assert status["user"]["username"] == "kubesphere:serviceaccount:demo:robot"


def test_t058_review_of_what_is_not_good(world: World) -> None:
    tokens = world.logged_in()
    dave = world.logged_in("dave")
    never_good = [tokens["refresh_token"], "nonsense", "a.b.c", "with blank", "é"]
    world.post("/oauth/revoke", {"token": tokens["access_token"], **KUBESPHERE})
    world.gateway.apply(user("dave", "Disabled"))
    for token in [*never_good, tokens["access_token"], dave["access_token"]]:
        answer = review(world, token)
        assert answer.status == 200
        status = read(answer)["status"]
        assert status["authenticated"] is False and status["error"] and "user" not in status


@pytest.mark.parametrize(
    "body", [b'{"spec":{}}', b"{}", b"[]", b'{"spec":{"token":7}}', b'{"spec":{"token":""}}', b"{"]
)
def test_t059_review_of_nothing(world: World, body: bytes) -> None:
    headers = [(b"Content-Type", b"application/json"), bearer(world.logged_in("admin")["access_token"])]
    answer = world.gateway.request("POST", "/oauth/authenticate", headers, body)
    assert (answer.status, answer.json()["kind"]) == (400, "Status")


def test_t060_review_as_a_form(world: World) -> None:
    answer = world.post("/oauth/authenticate", {}, bearer(world.logged_in("admin")["access_token"]))
    assert answer.status == 415


def test_reviews_are_for_who_is_somebody(world: World) -> None:
    token = world.logged_in()["access_token"]
    anonymous = review(world, token, by="")
    assert anonymous.status == 401 and anonymous.all("WWW-Authenticate")
    assert review(world, token, by=registering(world).access_token).status == 403


# -- revocation --------------------------------------------------------------------------------------------


def test_revoke_an_access_token(world: World) -> None:
    tokens, others = world.logged_in(), world.logged_in()
    answer = world.post("/oauth/revoke", {"token": tokens["access_token"], **KUBESPHERE})
    assert (answer.status, answer.body) == (200, b"")
    assert_not_kept(answer)
    assert not world.alive(tokens["access_token"])
    assert world.alive(others["access_token"])
    assert world.refresh(tokens["refresh_token"]).status == 200


def test_revoke_a_refresh_token(world: World) -> None:
    tokens = world.logged_in()
    more = {"token": tokens["refresh_token"], "token_type_hint": "access_token"}
    assert world.post("/oauth/revoke", more, basic("kubesphere", "kubesphere")).status == 200
    assert not world.alive(tokens["access_token"])
    refused(world.refresh(tokens["refresh_token"]), 400, "invalid_grant")
    # Once more is no error.
    assert world.post("/oauth/revoke", more, basic("kubesphere", "kubesphere")).status == 200


def test_revoke_what_is_nothing_or_somebody_elses(world: World) -> None:
    tokens = world.logged_in()
    assert world.post("/oauth/revoke", {"token": "nonsense", **RP1}).status == 200
    refused(world.post("/oauth/revoke", {"token": tokens["access_token"], **RP1}), 400, "invalid_grant")
    refused(world.post("/oauth/revoke", {"token": tokens["refresh_token"], **RP1}), 400, "invalid_grant")
    assert world.alive(tokens["access_token"])
    refused(world.post("/oauth/revoke", RP1), 400, "invalid_request")
    refused(world.post("/oauth/revoke", {"token": tokens["access_token"]}), 401, "invalid_client")
    identity = read(world.redeem(world.code()))["id_token"]
    refused(world.post("/oauth/revoke", {"token": identity, **RP1}), 400, "unsupported_token_type")
    refused(world.post("/oauth/revoke", {"token": service_account(world), **RP1}), 400, "unsupported_token_type")


# -- introspection -----------------------------------------------------------------------------------------


def introspect(world: World, token: str, **client: str) -> dict[str, Any]:
    answer = world.post("/oauth/introspect", {"token": token, **(client or KUBESPHERE)})
    assert answer.status == 200, answer.body
    assert_not_kept(answer)
    return read(answer)


def test_introspection(world: World) -> None:
    tokens = read(world.redeem(world.code()))
    said = introspect(world, tokens["access_token"], **RP1)
    claims = payload(tokens["access_token"])
    assert said["active"] is True
    assert (said["token_type"], said["client_id"], said["username"]) == ("Bearer", "rp1", "alice")
    assert said["scope"] == "openid email profile"
    assert (said["exp"], said["iat"], said["jti"]) == (claims["exp"], claims["iat"], claims["jti"])
    refresh = introspect(world, tokens["refresh_token"], **RP1)
    assert (refresh["active"], refresh["token_use"], "token_type" in refresh) == (True, "refresh", False)


def test_introspection_tells_nobody_of_others(world: World) -> None:
    mine = read(world.redeem(world.code()))
    for token in (mine["access_token"], mine["refresh_token"], mine["id_token"], "nonsense", service_account(world)):
        assert introspect(world, token, **RP2) == {"active": False}
    # A trusted client is an administrator's own.
    assert introspect(world, mine["access_token"])["active"] is True
    robot = introspect(world, service_account(world, "other"))
    assert (robot["username"], robot["active"]) == ("kubesphere:serviceaccount:demo:other", True)


def test_introspection_of_what_has_ended(world: World) -> None:
    tokens, dave = world.logged_in(), world.logged_in("dave")
    world.gateway.apply(user("dave", "Disabled"))
    assert introspect(world, dave["access_token"]) == {"active": False}
    second = read(world.refresh(tokens["refresh_token"]))
    assert introspect(world, tokens["refresh_token"]) == {"active": False}
    assert introspect(world, second["refresh_token"])["active"] is True
    world.post("/oauth/revoke", {"token": second["refresh_token"], **KUBESPHERE})
    assert introspect(world, second["access_token"]) == {"active": False}
    world.gateway.wait(7300)
    assert introspect(world, tokens["access_token"]) == {"active": False}


def test_introspection_is_for_clients_with_a_secret(world: World) -> None:
    token = world.logged_in()["access_token"]
    for client in ({"client_id": "app"}, {"client_id": "kubesphere"}, {"client_id": "rp1", "client_secret": "x"}, {}):
        refused(world.post("/oauth/introspect", {"token": token, **client}), 401, "invalid_client")
    refused(world.post("/oauth/introspect", KUBESPHERE), 400, "invalid_request")


# -- devices -----------------------------------------------------------------------------------------------


def begin(world: World, **more: str) -> dict[str, Any]:
    answer = world.post("/oauth/device_authorization", {**CLI, **more})
    assert answer.status == 200, answer.body
    assert_not_kept(answer)
    return read(answer)


def poll(world: World, begun: dict[str, Any], **client: str) -> Answer:
    return world.token(grant_type=DEVICE_CODE, device_code=begun["device_code"], **(client or CLI))


def decide(world: World, code: str, *, by: str = "alice", approved: bool = True) -> bool:
    at = world.gateway.reactor.seconds()
    decided: bool = world.gateway.run(world.programs.devices.decide(code, by, approved, auth_time=at))
    return decided


def test_a_device_is_let_in(world: World) -> None:
    begun = begin(world, scope="openid email")
    assert re.fullmatch(f"[{ALPHABET}]{{4}}-[{ALPHABET}]{{4}}", begun["user_code"])
    assert begun["verification_uri"] == f"{ISSUER}/oauth/device"
    assert begun["verification_uri_complete"] == f"{ISSUER}/oauth/device?user_code={begun['user_code']}"
    assert (begun["expires_in"], begun["interval"]) == (600, 5)
    world.gateway.wait(5)
    refused(poll(world, begun), 400, "authorization_pending")
    typed = begun["user_code"].lower().replace("-", " ")
    question = world.gateway.run(world.programs.devices.by_user_code(typed, "alice"))
    assert (question.client, question.scopes) == ("ksproxyd-cli", ("openid", "email"))
    assert question.user_code == begun["user_code"]
    assert question.source == "192.0.2.7"
    assert decide(world, typed)
    assert not decide(world, typed), "a code is good once"
    answer = poll(world, begun)
    assert answer.status == 200
    tokens = read(answer)
    assert world.alive(tokens["access_token"])
    said = payload(tokens["id_token"])
    assert (said["sub"], said["aud"], said["email"]) == ("alice", ["ksproxyd-cli"], "alice@ks.test")
    refused(poll(world, begun), 400, "invalid_grant")
    assert world.refresh(tokens["refresh_token"], **CLI).status == 200


def test_a_device_is_refused(world: World) -> None:
    begun = begin(world)
    assert decide(world, begun["user_code"], approved=False)
    refused(poll(world, begun), 400, "access_denied")
    refused(poll(world, begun), 400, "invalid_grant")


def test_a_device_asks_too_often(world: World) -> None:
    begun = begin(world)
    refused(poll(world, begun), 400, "slow_down")
    world.gateway.wait(5)
    refused(poll(world, begun), 400, "slow_down")
    world.gateway.wait(15)
    refused(poll(world, begun), 400, "authorization_pending")


def test_a_device_is_too_late(world: World) -> None:
    begun = begin(world)
    world.gateway.wait(601)
    assert not decide(world, begun["user_code"])
    refused(poll(world, begun), 400, "expired_token")


def test_a_device_code_is_its_clients(world: World) -> None:
    begun = begin(world)
    decide(world, begun["user_code"])
    refused(poll(world, begun, **RP1), 400, "invalid_grant")
    refused(poll(world, {"device_code": "nonsense"}), 400, "invalid_grant")
    refused(poll(world, {"device_code": ""}), 400, "invalid_request")
    assert poll(world, begun).status == 200


def test_who_let_a_device_in_may_not_log_in_any_more(world: World) -> None:
    begun = begin(world)
    decide(world, begun["user_code"])
    world.gateway.apply(user("alice", "Disabled"))
    refused(poll(world, begun), 400, "access_denied")


def test_devices_of_clients_that_may_not(world: World) -> None:
    refused(world.post("/oauth/device_authorization", {"client_id": "nobody"}), 401, "invalid_client")
    refused(world.post("/oauth/device_authorization", {"client_id": "rp1"}), 401, "invalid_client")
    denied = {"client_id": "rp-deny", "client_secret": "s4"}
    refused(world.post("/oauth/device_authorization", denied), 400, "unauthorized_client")
    refused(world.post("/oauth/device_authorization", {**CLI, "scope": "openid admin"}), 400, "invalid_scope")


def test_the_built_in_client_can_be_replaced(world: World) -> None:
    begin(world)
    world.gateway.apply(oauth_client("ksproxyd-cli", public=True, grantMethod="deny"))
    refused(world.post("/oauth/device_authorization", CLI), 400, "unauthorized_client")


def test_user_codes_are_not_guessed(world: World) -> None:
    begun = begin(world)
    look = world.programs.devices.by_user_code
    for number in range(GUESSES):
        letters = "".join(ALPHABET[(number // 20**place) % 20] for place in range(8))
        assert world.gateway.run(look(letters, "mallory")) is None
    with pytest.raises(TooMany) as stopped:
        world.gateway.run(look(begun["user_code"], "mallory"))
    assert 0 < stopped.value.retry_after <= 900
    with pytest.raises(TooMany):
        world.gateway.run(world.programs.devices.decide(begun["user_code"], "mallory", True))
    # Nobody else is kept out.
    assert decide(world, begun["user_code"])


def test_devices_begin_only_so_often(world: World) -> None:
    head = b"POST /oauth/device_authorization HTTP/1.1\r\nHost: ks.test\r\n%b: %b\r\nContent-Length: 22\r\n\r\n" % FORM
    client = world.gateway.connect()
    answers = []
    for _ in range(101):
        client.send(head + b"client_id=ksproxyd-cli")
        answers.append(client.answer("POST"))
    assert [answer.status for answer in answers] == [200] * 100 + [429]
    refused(answers[-1], 429, "temporarily_unavailable")
    assert int(answers[-1].get("Retry-After") or b"") > 0
    assert world.post("/oauth/device_authorization", CLI, host="198.51.100.1").status == 200


# -- others ------------------------------------------------------------------------------------------------


def registering(world: World) -> Any:
    """The tokens of somebody who has no account yet."""
    extra = (("idp", ("corp",)), ("uid", ("42",)))
    opening = world.logins.tokens.open_session("system:pre-registration", "kubesphere", extra=extra, registration=True)
    return world.gateway.run(opening)


def service_account(world: World, name: str = "robot") -> str:
    """The token of a ServiceAccount in ``demo``, as it is in its Secret."""
    world.gateway.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "demo"}},
        {
            "apiVersion": "kubesphere.io/v1alpha1",
            "kind": "ServiceAccount",
            "metadata": {"name": name, "namespace": "demo"},
        },
    )
    uid = world.gateway.embedded.call("GET", f"/apis/kubesphere.io/v1alpha1/namespaces/demo/serviceaccounts/{name}")
    token: str = world.logins.tokens.static_token("demo", name, uid["metadata"]["uid"], f"{name}-token")
    world.gateway.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubesphere.io/service-account-token",
            "metadata": {
                "name": f"{name}-token",
                "namespace": "demo",
                "annotations": {"kubesphere.io/service-account.name": name},
            },
            "stringData": {"token": token},
        }
    )
    return token
