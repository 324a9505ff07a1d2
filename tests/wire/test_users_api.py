"""The users' API on the whole way: spec 02, 8.6."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import bcrypt
import msgspec
import pytest
from support_oauth import PASSWORD, World, basic, bearer

USERS = "/kapis/iam.kubesphere.io/v1beta1/users"
STORED = "/apis/iam.kubesphere.io/v1beta1/users"
JSON = (b"Content-Type", b"application/json")


@pytest.fixture
def world() -> Iterator[World]:
    found = World(more="  iam: {manageUsers: false}")
    yield found
    found.gateway.close()


class Caller:
    """Somebody with a token."""

    def __init__(self, world: World, name: str = "admin") -> None:
        self.world = world
        self.token = world.logged_in(name)["access_token"]

    def __call__(self, method: str, path: str, body: Any = None, kind: bytes = b"application/json") -> Any:
        headers = [bearer(self.token)]
        if body is not None:
            headers.append((b"Content-Type", kind))
        content = b"" if body is None else msgspec.json.encode(body)
        return self.world.gateway.request(method, USERS + path, headers, content)


@pytest.fixture
def admin(world: World) -> Caller:
    return Caller(world)


def new(name: str, **spec: Any) -> Any:
    return {"metadata": {"name": name}, "spec": {"email": f"{name}@ks.test", "password": "Passw0rdY", **spec}}


def stored(world: World, name: str) -> Any:
    return world.gateway.embedded.call("GET", f"{STORED}/{name}")


def test_lists_have_no_hashes(admin: Caller) -> None:
    answer = admin("GET", "")
    assert answer.status == 200
    found = answer.json()
    assert found["totalItems"] == len(found["items"]) == 6
    assert b"$2b$" not in answer.body and b"password" not in answer.body.replace(b"last-password", b"")


def test_pages(admin: Caller) -> None:
    answer = admin("GET", "?limit=1&page=2&sortBy=name&ascending=true").json()
    assert ([u["metadata"]["name"] for u in answer["items"]], answer["totalItems"]) == (["alice"], 6)


def test_a_hash_cannot_be_guessed_by_filters(world: World, admin: Caller) -> None:
    hashed = stored(world, "alice")["spec"]["password"]
    answer = admin("GET", f"?fieldSelector=spec.password={hashed}").json()
    assert answer == {"items": [], "totalItems": 0}
    assert admin("GET", "?fieldSelector=spec.email=alice@ks.test").json()["totalItems"] == 1


def test_who_is_not_there_is_told_so(admin: Caller) -> None:
    answer = admin("GET", "/ghost")
    assert (answer.status, answer.message()) == (404, 'User.iam.kubesphere.io "ghost" not found')
    assert admin("DELETE", "/ghost").status == 404


def test_a_new_user_can_log_in_at_once_and_nothing_is_stored_in_clear(world: World, admin: Caller) -> None:
    answer = admin("POST", "", new("zoe"))
    assert answer.status == 200
    made = answer.json()
    assert (made["kind"], made["apiVersion"], made["status"]["state"]) == (
        "User",
        "iam.kubesphere.io/v1beta1",
        "Active",
    )
    assert "password" not in made["spec"]
    kept = stored(world, "zoe")["spec"]["password"]
    assert bcrypt.checkpw(b"Passw0rdY", kept.encode())
    assert world.password("zoe", "Passw0rdY").status == 200


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        (new("zoe", password="short"), 422, "password"),
        (new("zoe", password="alllowercase1"), 422, "password"),
        (new("alice"), 409, "already exists"),
        (new("zoe", email="alice@ks.test"), 409, "e-mail"),
        (new("zoe", email="no address"), 422, "spec.email"),
        (new("system:admin"), 422, "belong to the platform"),
        (new("Zoe"), 422, "lower-case"),
        ({"spec": {}}, 422, "metadata.name"),
        ({"metadata": {"name": "zoe", "annotations": 7}}, 400, "metadata.annotations"),
        ([], 400, "JSON object"),
        ({"kind": "Role", "metadata": {"name": "zoe"}}, 400, "kind User"),
    ],
)
def test_what_is_no_new_user(world: World, admin: Caller, body: Any, status: int, told: str) -> None:
    answer = admin("POST", "", body)
    assert answer.status == status and told in answer.message()
    assert b"short" not in answer.body and b"alllowercase1" not in answer.body
    assert world.logins.directory.find("zoe") is None


def test_a_role_that_is_not_there_makes_no_user(world: World, admin: Caller) -> None:
    body = new("zoe")
    body["metadata"]["annotations"] = {"iam.kubesphere.io/globalrole": "nothing"}
    assert admin("POST", "", body).status == 404
    assert world.logins.directory.find("zoe") is None


def test_a_role_is_bound(world: World, admin: Caller) -> None:
    for role in ("platform-admin", "platform-regular"):
        world.gateway.apply(
            {"apiVersion": "iam.kubesphere.io/v1beta1", "kind": "GlobalRole", "metadata": {"name": role}, "rules": []}
        )
    body = new("zoe")
    body["metadata"]["annotations"] = {"iam.kubesphere.io/globalrole": "platform-regular"}
    made = admin("POST", "", body).json()
    found = admin("GET", "?globalrole=platform-regular").json()
    assert (found["totalItems"], found["items"][0]["metadata"]["name"]) == (1, "zoe")
    made["metadata"]["annotations"]["iam.kubesphere.io/globalrole"] = "platform-admin"
    assert admin("PUT", "/zoe", made).status == 200
    assert admin("GET", "?globalrole=platform-regular").json()["totalItems"] == 0
    assert admin("GET", "?globalrole=platform-admin").json()["totalItems"] == 1


def test_put_keeps_the_hash_and_needs_the_version(world: World, admin: Caller) -> None:
    hashed = stored(world, "alice")["spec"]["password"]
    alice = admin("GET", "/alice").json()
    alice["spec"] |= {"password": "Passw0rdZ", "displayName": "Alice"}
    assert admin("PUT", "/bob", alice).status == 400
    answer = admin("PUT", "/alice", alice)
    assert answer.status == 200 and answer.json()["spec"]["displayName"] == "Alice"
    assert stored(world, "alice")["spec"]["password"] == hashed
    assert admin("PUT", "/alice", alice).status == 409
    del alice["metadata"]["resourceVersion"]
    assert admin("PUT", "/alice", alice).status == 422


def test_a_merge_patch_follows_the_same_rules(world: World, admin: Caller) -> None:
    hashed = stored(world, "alice")["spec"]["password"]
    patch = {"spec": {"lang": "zh", "password": "Passw0rdZ"}}
    answer = admin("PATCH", "/alice", patch, b"application/merge-patch+json")
    assert answer.status == 200 and answer.json()["spec"]["lang"] == "zh"
    assert stored(world, "alice")["spec"]["password"] == hashed
    assert admin("PATCH", "/alice", patch, b"application/json-patch+json").status == 415


def test_who_is_disabled_is_logged_out(world: World, admin: Caller) -> None:
    alice = Caller(world, "alice")
    assert alice("GET", "/alice").status == 200
    value = admin("GET", "/alice").json()
    value["status"]["state"] = "Disabled"
    assert admin("PUT", "/alice", value).status == 200
    assert alice("GET", "/alice").status == 401
    value = admin("GET", "/alice").json()
    value["status"]["state"] = "Active"
    assert admin("PUT", "/alice", value).status == 200
    assert alice("GET", "/alice").status == 401, "the session has ended, not only paused"
    assert world.password("alice").status == 200


def test_who_is_deleted_is_logged_out(world: World, admin: Caller) -> None:
    alice = Caller(world, "alice")
    assert admin("DELETE", "/alice").json() == {"message": "success"}
    assert alice("GET", "").status == 401


def test_a_new_password_ends_other_sessions(world: World) -> None:
    one, other = Caller(world, "alice"), Caller(world, "alice")
    wrong = one("PUT", "/alice/password", {"currentPassword": "wrong", "password": "Passw0rdZ"})
    assert (wrong.status, wrong.message()) == (400, "incorrect old password")
    answer = one("PUT", "/alice/password", {"currentPassword": PASSWORD, "password": "Passw0rdZ"})
    assert answer.json() == {"message": "success"}
    assert one("GET", "/alice").status == 200
    assert other("GET", "/alice").status == 401
    assert world.password("alice", "Passw0rdZ").status == 200
    assert world.password("alice").status == 400


def test_wrong_current_passwords_are_counted(world: World) -> None:
    alice = Caller(world, "alice")
    statuses = [
        alice("PUT", "/alice/password", {"currentPassword": f"wrong{n}", "password": "Passw0rdZ"}).status
        for n in range(4)
    ]
    assert statuses == [400, 400, 400, 429]


def test_an_administrator_need_not_know_it(world: World, admin: Caller) -> None:
    assert admin("PUT", "/dave/password", {"password": "Passw0rdZ"}).status == 200
    assert admin("PUT", "/dave/password", {"currentPassword": "wrong", "password": "Passw0rdZ"}).status == 400
    assert admin("PUT", "/dave/password", {"password": ""}).status == 400
    assert admin("PUT", "/dave/password", {"password": "weak"}).status == 422
    assert admin("PUT", "/ghost/password", {"password": "Passw0rdZ"}).status == 404


def test_who_changes_the_first_password_is_initialized(world: World) -> None:
    dave = Caller(world, "dave")
    dave("PUT", "/dave/password", {"currentPassword": PASSWORD, "password": "Passw0rdZ"})
    assert "iam.kubesphere.io/uninitialized" not in stored(world, "dave")["metadata"].get("annotations", {})


def test_login_records(world: World, admin: Caller) -> None:
    world.gateway.request("GET", USERS + "/alice", [basic("alice", "wrong")])
    world.logged_in("alice")
    world.gateway.wait(2.0)
    found = admin("GET", "/alice/loginrecords?limit=1").json()
    assert (found["totalItems"], len(found["items"])) == (2, 1)
    assert admin("GET", "/ghost/loginrecords").json() == {"items": [], "totalItems": 0}


def test_methods(admin: Caller) -> None:
    answer = admin("DELETE", "")
    assert (answer.status, answer.get("Allow")) == (405, b"GET, HEAD, POST")
