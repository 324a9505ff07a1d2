"""Who may change what of whom at the users' API (spec 02, 6.3, 6.5, 6.6 and D-12, D-16): authorization has let the
request through, and says no to what goes beyond it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from support_oauth import PASSWORD, World, bearer

from ksproxyd.authn.tokens.claims import PRE_REGISTRATION
from ksproxyd.model.identity import Identity
from ksproxyd.testing import Answer

IAM = "/kapis/iam.kubesphere.io/v1beta1"
USERS = f"{IAM}/users"
STORED = "/apis/iam.kubesphere.io/v1beta1/users"
ROLE = "iam.kubesphere.io/globalrole"
LINK = "iam.kubesphere.io/identity-provider.corp"
STRONG = "Passw0rdZ"


class Rights:
    """admin may everything; eve manages users and may give the role ``platform-regular``; nobody else may anything."""

    def may(self, user: Identity, verb: str, resource: str) -> bool:
        assert verb == "update" and resource in ("users", "users/password")
        return user.name in ("admin", "eve")

    def may_grant(self, user: Identity, role: str) -> bool:
        return user.name == "admin" or (user.name == "eve" and role == "platform-regular")

    def may_become(self, user: Identity, other: Identity) -> bool:
        return True

    def may_join(self, user: Identity, group: str) -> bool:
        return user.name == "admin" or group == "devs"


@pytest.fixture
def world() -> Iterator[World]:
    found = World(more="  iam: {manageUsers: false}")
    found.logins._users._authority = Rights()
    for role in ("platform-admin", "platform-regular"):
        found.gateway.apply(
            {"apiVersion": "iam.kubesphere.io/v1beta1", "kind": "GlobalRole", "metadata": {"name": role}, "rules": []}
        )
    assert call(found, "admin", "POST", "", new("eve")).status == 200
    bound = new("boss", annotations={ROLE: "platform-admin", LINK: "7"})
    assert call(found, "admin", "POST", "", bound).status == 200
    yield found
    found.gateway.close()


def new(name: str, annotations: dict[str, str] | None = None, **spec: Any) -> Any:
    metadata = {"name": name, "annotations": annotations or {}}
    return {"metadata": metadata, "spec": {"email": f"{name}@ks.test", "password": PASSWORD, **spec}}


def send(world: World, token: str, method: str, path: str, body: Any = None, kind: str = "application/json") -> Answer:
    headers = [bearer(token)]
    if body is not None:
        headers.append((b"Content-Type", kind.encode()))
    return world.gateway.request(method, USERS + path, headers, b"" if body is None else msgspec.json.encode(body))


def call(world: World, name: str, method: str, path: str, body: Any = None, kind: str = "application/json") -> Answer:
    return send(world, world.logged_in(name)["access_token"], method, path, body, kind)


def stored(world: World, name: str) -> Any:
    return world.gateway.embedded.call("GET", f"{STORED}/{name}")


def bindings(world: World) -> list[str]:
    found: Any = world.gateway.embedded.call("GET", STORED.replace("/users", "/globalrolebindings"))
    return sorted(each["metadata"]["name"] for each in found["items"])


def forbidden(answer: Answer) -> None:
    assert answer.status == 403, answer.body
    assert answer.json()["kind"] == "Status" and answer.json()["reason"] == "Forbidden"


# -- oneself -------------------------------------------------------------------------------------------------


def test_people_change_their_own_particulars(world: World) -> None:
    value = call(world, "alice", "GET", "/alice").json()
    value["spec"] |= {"email": "new@ks.test", "displayName": "Alice"}
    value["metadata"]["annotations"] = {"kubesphere.io/alias-name": "Al"}
    assert call(world, "alice", "PUT", "/alice", value).status == 200
    assert stored(world, "alice")["spec"]["email"] == "new@ks.test"


@pytest.mark.parametrize(
    "patch",
    [
        {"metadata": {"annotations": {ROLE: "platform-admin"}}},
        {"metadata": {"annotations": {LINK: "7"}}},
        {"spec": {"groups": ["x"]}},
        {"status": {"state": "Disabled"}},
        {"metadata": {"finalizers": ["x.org/y"]}},
        {"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "u"}]}},
        {"metadata": {"labels": {"a": "b"}}},
    ],
)
def test_but_nothing_that_says_what_they_are(world: World, patch: Any) -> None:
    """T-152, T-153, T-155: refused, and nothing of it is stored."""
    before = stored(world, "alice")
    whole = call(world, "alice", "GET", "/alice").json()
    for part, change in patch.items():
        whole[part] = {**whole.get(part, {}), **change}
    whole["spec"]["lang"] = "de"
    forbidden(call(world, "alice", "PUT", "/alice", whole))
    forbidden(call(world, "alice", "PATCH", "/alice", patch, "application/merge-patch+json"))
    assert stored(world, "alice") == before and "alice-platform-admin" not in bindings(world)


def test_what_a_put_does_not_speak_of_is_not_taken_away(world: World) -> None:
    """Finalizers are what belongs to a user being removed with it: whoever leaves them out does not mean them."""
    world.gateway.embedded.call(
        "PATCH", f"{STORED}/alice", {"metadata": {"finalizers": ["finalizers.kubesphere.io/users"]}}, MERGE
    )
    value = call(world, "alice", "GET", "/alice").json()
    del value["metadata"]["finalizers"]
    assert call(world, "alice", "PUT", "/alice", value).status == 200
    assert stored(world, "alice")["metadata"]["finalizers"] == ["finalizers.kubesphere.io/users"]


MERGE = "application/merge-patch+json"


def test_a_password_is_changed_by_who_knows_it(world: World) -> None:
    """T-156, T-157, T-159."""
    for body in ({"password": STRONG}, {"currentPassword": "", "password": STRONG}, {"currentPassword": 7}, []):
        answer = call(world, "alice", "PUT", "/alice/password", body)
        assert (answer.status, answer.message()) == (400, "incorrect old password")
    assert call(world, "alice", "PUT", "/erin/password", {"password": STRONG}).status == 400
    token = world.logged_in("alice")["access_token"]
    weak = send(world, token, "PUT", "/alice/password", {"currentPassword": PASSWORD, "password": "weakpassword"})
    assert weak.status == 422 and b"weakpassword" not in weak.body
    assert send(world, token, "GET", "/alice").status == 200
    done = send(world, token, "PUT", "/alice/password", {"currentPassword": PASSWORD, "password": STRONG})
    assert done.json() == {"message": "success"}
    assert world.password("alice", STRONG).status == 200


def test_a_change_of_password_is_not_in_the_way_of_other_changes(world: World) -> None:
    """Logging in is noted in the same object a moment later."""
    token = world.logged_in("alice")["access_token"]
    client = world.gateway.connect()
    body = msgspec.json.encode({"currentPassword": PASSWORD, "password": STRONG})
    head = f"PUT {USERS}/alice/password HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {token}\r\n"
    client.send(f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    world.gateway.embedded.call(
        "PATCH", f"{STORED}/alice", {"status": {"lastLoginTime": "2030-01-01T00:00:00Z"}}, MERGE
    )
    assert client.answer("PUT").status == 200
    client.close()
    kept = stored(world, "alice")
    assert kept["status"]["lastLoginTime"] == "2030-01-01T00:00:00Z"
    assert "iam.kubesphere.io/last-password-change-time" in kept["metadata"]["annotations"]


# -- managing others -----------------------------------------------------------------------------------------


def test_managers_manage(world: World) -> None:
    made = call(world, "eve", "POST", "", new("zoe", {ROLE: "platform-regular", LINK: "9"}, groups=["devs"]))
    assert made.status == 200 and made.json()["spec"]["groups"] == ["devs"]
    value = made.json()
    value["status"]["state"] = "Disabled"
    assert call(world, "eve", "PUT", "/zoe", value).status == 200
    assert call(world, "eve", "PUT", "/zoe/password", {"password": STRONG}).status == 200
    assert call(world, "eve", "DELETE", "/zoe").status == 200


def test_managers_make_nobody_stronger_than_they_are(world: World) -> None:
    forbidden(call(world, "eve", "POST", "", new("zoe", {ROLE: "platform-admin"})))
    assert call(world, "admin", "GET", "/zoe").status == 404
    value = call(world, "eve", "GET", "/alice").json()
    value["metadata"]["annotations"] = {ROLE: "platform-admin"}
    value["spec"]["lang"] = "de"
    forbidden(call(world, "eve", "PUT", "/alice", value))
    own = call(world, "eve", "GET", "/eve").json()
    own["metadata"]["annotations"][ROLE] = "platform-admin"
    forbidden(call(world, "eve", "PUT", "/eve", own))
    assert stored(world, "alice")["spec"]["lang"] == "en"
    assert bindings(world) == ["boss-platform-admin"]


def test_managers_do_not_become_somebody_stronger(world: World) -> None:
    """Whose password, address or links one can change, that one can be."""
    before = stored(world, "boss")
    forbidden(call(world, "eve", "PUT", "/boss/password", {"password": STRONG}))
    forbidden(call(world, "eve", "PATCH", "/boss", {"metadata": {"annotations": {LINK: "666"}}}, MERGE))
    forbidden(call(world, "eve", "PUT", "/boss", call(world, "eve", "GET", "/boss").json()))
    forbidden(call(world, "eve", "DELETE", "/boss"))
    assert stored(world, "boss") == before
    assert call(world, "admin", "PUT", "/boss/password", {"password": STRONG}).status == 200


@pytest.mark.parametrize(
    "body",
    [
        new("zoe", {LINK: "7"}),
        new("zoe", {"iam.kubesphere.io/anything": "x"}),
        new("zoe", groups=["x"]),
        {**new("zoe"), "status": {"state": "Disabled"}},
    ],
)
def test_who_may_only_create_creates_plain_users(world: World, body: Any) -> None:
    forbidden(call(world, "alice", "POST", "", body))
    assert call(world, "alice", "POST", "", new("zoe")).status == 200


def test_an_address_is_given_once_however_many_ask_at_once(world: World) -> None:
    """Hashing takes a while, in which the other is not known yet."""
    token = world.logged_in("admin")["access_token"]
    clients = []
    for name in ("zoe", "zara"):
        body = msgspec.json.encode(new(name, email="same@ks.test"))
        client = world.gateway.connect()
        head = (
            f"POST {USERS} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
        )
        clients.append((client, f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body))
    for client, data in clients:
        client.write(data)
    world.gateway.reactor.settle()
    assert sorted(client.answer("POST").status for client, _ in clients) == [200, 409]
    for client, _ in clients:
        client.close()
    # It is free again with its user.
    left = [name for name in ("zoe", "zara") if call(world, "admin", "GET", f"/{name}").status == 200]
    assert call(world, "admin", "DELETE", f"/{left[0]}").status == 200
    assert call(world, "admin", "POST", "", new("zelda", email="same@ks.test")).status == 200


# -- people from identity providers --------------------------------------------------------------------------


def registration(world: World, **extra: str) -> str:
    """The token of somebody whom an identity provider has let in, and who has no account."""
    pairs = tuple((name, (value,)) for name, value in {"idp": "corp", "uid": "4711", **extra}.items())
    issued = world.gateway.run(
        world.logins.tokens.open_session(PRE_REGISTRATION, "kubesphere", extra=pairs, registration=True)
    )
    token: str = issued.access_token
    return token


def test_they_make_one_account_without_rights(world: World) -> None:
    token = registration(world)
    body = new("nina", {ROLE: "platform-admin", LINK: "1", "kubesphere.io/creator": "admin"}, groups=["admins"])
    body["metadata"]["labels"] = {"a": "b"}
    body["metadata"]["finalizers"] = ["x.org/y"]
    body["status"] = {"state": "Active", "lastLoginTime": "2030-01-01T00:00:00Z"}
    made = send(world, token, "POST", "", body)
    assert made.status == 200
    kept = stored(world, "nina")
    changed = kept["metadata"]["annotations"].pop("iam.kubesphere.io/last-password-change-time")
    assert changed and kept["metadata"]["annotations"] == {LINK: "4711"}
    assert not kept["metadata"].get("labels") and not kept["metadata"].get("finalizers")
    assert "groups" not in kept["spec"] and bindings(world) == ["boss-platform-admin"]
    forbidden(send(world, token, "POST", "", new("nils")))
    assert call(world, "admin", "GET", "/nils").status == 404


def test_an_account_that_was_not_made_may_be_tried_again(world: World) -> None:
    token = registration(world)
    assert send(world, token, "POST", "", new("alice")).status == 409
    assert send(world, token, "POST", "", new("nina", email="alice@ks.test")).status == 409
    assert send(world, token, "POST", "", new("nina", password="weak")).status == 422
    assert send(world, token, "POST", "", new("nina")).status == 200


@pytest.mark.parametrize("extra", [{"idp": ""}, {"uid": ""}])
def test_a_login_that_does_not_say_whose(world: World, extra: dict[str, str]) -> None:
    answer = send(world, registration(world, **extra), "POST", "", new("nina"))
    assert (answer.status, answer.message()) == (400, "invalid registration token")


# -- lists ---------------------------------------------------------------------------------------------------


def test_login_records_are_the_users_whatever_the_filter_says(world: World) -> None:
    """T-163, and 6.2: the label that says whose they are is no filter's to change."""
    for _ in range(3):
        world.logged_in("alice")
        world.gateway.wait(2.0)
    world.logged_in("dave")
    world.gateway.wait(2.0)
    found = call(world, "admin", "GET", "/alice/loginrecords?limit=2&label=iam.kubesphere.io/user-ref%3Ddave").json()
    assert found["totalItems"] == 3 and len(found["items"]) == 2
    times = [each["metadata"]["creationTimestamp"] for each in found["items"]]
    assert times == sorted(times, reverse=True)
    assert all(each["metadata"]["labels"]["iam.kubesphere.io/user-ref"] == "alice" for each in found["items"])


def test_a_list_of_thousands_leaves_others_their_turn(world: World) -> None:
    store = world.logins._users._users
    for number in range(3000):
        store.put(
            {"metadata": {"name": f"u{number:04}", "creationTimestamp": "2030-01-01T00:00:00Z"}, "spec": {"email": ""}}
        )
    found = call(world, "admin", "GET", "?sortBy=name&ascending=true&limit=2&name=u2").json()
    assert found["totalItems"] == 1000 and [u["metadata"]["name"] for u in found["items"]] == ["u2000", "u2001"]
    whole = call(world, "admin", "GET", "").json()
    assert whole["totalItems"] == len(whole["items"]) > 3000


@pytest.mark.parametrize("group", ["admins", "system:masters"])
def test_a_group_with_rights_is_not_given_by_who_has_them_not(world: World, group: str) -> None:
    """Nor is it with a new user. What somebody has already they keep; what is Kubernetes' own means nothing."""
    refused = group == "admins"
    answers = [
        call(world, "eve", "PATCH", "/eve", {"spec": {"groups": ["devs", group]}}, "application/merge-patch+json"),
        call(world, "eve", "POST", "", new("zoe", groups=[group])),
    ]
    assert [answer.status for answer in answers] == ([403, 403] if refused else [200, 200])
    if refused:
        assert "admins" in answers[0].json()["message"]
        assert "groups" not in stored(world, "eve")["spec"]
        assert call(world, "admin", "PATCH", "/eve", {"spec": {"groups": ["admins"]}}).status == 200
        assert call(world, "eve", "PATCH", "/eve", {"spec": {"groups": ["admins", "devs"]}}).status == 200
