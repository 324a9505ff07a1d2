"""Members on the whole way (spec 03, 4.1 to 4.4; T25 to T36, T74 to T76)."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from support_iam import Cluster, binding, role

OK = {"message": "success"}
USER_REF, ROLE_REF = "iam.kubesphere.io/user-ref", "iam.kubesphere.io/role-ref"
CLUSTER, WS1, N1 = "/clustermembers", "/workspaces/ws1/workspacemembers", "/namespaces/n1/namespacemembers"


@pytest.fixture
def world() -> Iterator[Cluster]:
    found = Cluster()
    yield found
    found.gateway.close()


def members(world: Cluster, path: str, query: str = "") -> list[tuple[str, str]]:
    answer = world.call("admin", "GET", path + query)
    assert answer.status == 200, answer.body
    return [(each["metadata"]["name"], *each["metadata"]["annotations"].values()) for each in answer.json()["items"]]


def add(world: Cluster, path: str, user: str, role: str, who: str = "admin") -> Any:
    return world.call(who, "POST", path, [{"username": user, "roleRef": role}])


# -- what is written ---------------------------------------------------------------------------------------------


def test_a_cluster_member(world: Cluster) -> None:
    answer = add(world, CLUSTER, "bob", "cluster-viewer")
    assert (answer.status, answer.json()) == (200, [{"username": "bob", "roleRef": "cluster-viewer"}])
    found = world.stored("clusterrolebindings")["bob-cluster-viewer"]
    assert found["metadata"]["labels"] == {USER_REF: "bob", ROLE_REF: "cluster-viewer"}
    assert found["roleRef"] == {"apiGroup": "iam.kubesphere.io", "kind": "ClusterRole", "name": "cluster-viewer"}
    assert found["subjects"] == [
        {"apiGroup": "iam.kubesphere.io", "kind": "User", "name": "bob"},
        {"kind": "ServiceAccount", "name": "kubesphere.users.bob", "namespace": "kubesphere-system"},
    ]


def test_another_role_takes_the_place_of_the_one_before(world: Cluster) -> None:
    add(world, CLUSTER, "bob", "cluster-viewer")
    assert add(world, CLUSTER, "bob", "cluster-admin").status == 200
    assert set(world.stored("clusterrolebindings")) == {"cv", "bob-cluster-admin"}
    # Who wrote it reads it.
    assert members(world, CLUSTER, "?name=bob") == [("bob", "cluster-admin")]


def test_the_same_role_again_changes_nothing(world: Cluster) -> None:
    add(world, CLUSTER, "bob", "cluster-viewer")
    before = world.stored("clusterrolebindings")
    assert add(world, CLUSTER, "bob", "cluster-viewer").status == 200
    assert world.stored("clusterrolebindings") == before


def test_a_workspace_member(world: Cluster) -> None:
    assert add(world, WS1, "bob", "ws1-viewer").status == 200
    found = world.stored("workspacerolebindings")["bob-ws1-viewer"]
    assert found["metadata"]["labels"] == {
        USER_REF: "bob",
        ROLE_REF: "ws1-viewer",
        "kubesphere.io/workspace": "ws1",
    }
    assert [each["kind"] for each in found["subjects"]] == ["User"]
    assert members(world, WS1) == [("wa", "ws1-admin"), ("bob", "ws1-viewer")]
    assert members(world, WS1.replace("ws1", "ws2")) == []


def test_a_namespace_member(world: Cluster) -> None:
    assert add(world, N1, "bob", "viewer").status == 200
    found = world.stored("rolebindings", "n1")["bob-viewer"]
    assert found["roleRef"]["kind"] == "Role" and len(found["subjects"]) == 2
    answer = world.call("admin", "PUT", f"{N1}/bob", {"username": "bob", "roleRef": "admin"})
    assert (answer.status, answer.json()) == (200, OK)
    assert set(world.stored("rolebindings", "n1")) == {"nm", "nb", "bob-admin"}
    assert world.call("admin", "DELETE", f"{N1}/bob").json() == OK
    assert set(world.stored("rolebindings", "n1")) == {"nm", "nb"}
    assert ("bob", "admin") not in members(world, N1)


def test_who_is_no_member_is_removed_all_the_same(world: Cluster) -> None:
    answer = world.call("admin", "DELETE", f"{CLUSTER}/nobody")
    assert (answer.status, answer.json()) == (200, OK)


def test_roles_elsewhere_stay(world: Cluster) -> None:
    for ws in ("ws1", "ws2"):
        add(world, f"/workspaces/{ws}/workspacemembers", "bob", f"{ws}-viewer")
    world.call("admin", "DELETE", f"{WS1}/bob")
    assert set(world.stored("workspacerolebindings")) == {"wa", "bob-ws2-viewer"}


def test_a_name_that_is_taken_by_another_is_gone_round(world: Cluster) -> None:
    world.gateway.apply(binding("ClusterRoleBinding", "a-b-cluster-viewer", "User a", "ClusterRole cluster-viewer"))
    assert add(world, CLUSTER, "a-b", "cluster-viewer").status == 200
    mine = [each for name, each in world.stored("clusterrolebindings").items() if name.startswith("a-b-cluster")]
    assert sorted(each["subjects"][0]["name"] for each in mine) == ["a", "a-b"]
    assert add(world, CLUSTER, "a-b", "cluster-viewer").status == 200
    assert len(world.stored("clusterrolebindings")) == 3


def test_bindings_without_labels_and_of_several_count(world: Cluster) -> None:
    shared = binding("ClusterRoleBinding", "shared", "User bob", "ClusterRole cluster-viewer")
    shared["subjects"].append({"kind": "Group", "name": "devs"})
    world.gateway.apply(shared, binding("ClusterRoleBinding", "plain", "User bob", "ClusterRole cluster-admin"))
    assert add(world, CLUSTER, "bob", "cluster-viewer").status == 200
    found = world.stored("clusterrolebindings")
    assert set(found) == {"cv", "shared", "bob-cluster-viewer"}
    assert [each["name"] for each in found["shared"]["subjects"]] == ["devs"]
    assert world.call("admin", "DELETE", f"{CLUSTER}/bob").status == 200
    assert members(world, CLUSTER) == [("cv", "cluster-viewer")]


def test_labels_that_lie_remove_nobody(world: Cluster) -> None:
    other = binding("ClusterRoleBinding", "other", "User al", "ClusterRole cluster-viewer")
    other["metadata"]["labels"] = {USER_REF: "bob"}
    world.gateway.apply(other)
    assert world.call("admin", "DELETE", f"{CLUSTER}/bob").status == 200
    assert "other" in world.stored("clusterrolebindings")


def test_of_many_at_once_one_role_remains(world: Cluster) -> None:
    token = world.logged_in("admin")["access_token"].encode()
    clients = []
    for name in ["cluster-viewer", "cluster-admin"] * 5:
        body = msgspec.json.encode([{"username": "bob", "roleRef": name}])
        client = world.gateway.connect()
        client.send(
            b"POST /kapis/iam.kubesphere.io/v1beta1/clustermembers HTTP/1.1\r\nHost: gateway.example\r\n"
            b"Authorization: Bearer %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (token, len(body), body)
        )
        clients.append(client)
    assert [client.answer().status for client in clients] == [200] * 10
    for client in clients:
        client.close()
    assert len(world.stored("clusterrolebindings")) == 2
    assert len(members(world, CLUSTER, "?name=bob")) == 1


# -- what is refused ---------------------------------------------------------------------------------------------


def test_roles_that_are_not_there(world: Cluster) -> None:
    answer = add(world, CLUSTER, "bob", "x")
    assert (answer.status, answer.message()) == (404, 'ClusterRole.iam.kubesphere.io "x" not found')
    answer = add(world, N1, "bob", "x")
    assert (answer.status, answer.message()) == (404, 'Role.iam.kubesphere.io "x" not found')
    answer = add(world, WS1, "bob", "nosuch")
    assert (answer.status, answer.message()) == (404, 'WorkspaceRole.iam.kubesphere.io "nosuch" not found')
    answer = add(world, WS1, "bob", "ws2-admin")
    assert (answer.status, answer.message()) == (404, 'workspacerole.iam.kubesphere.io "ws2-admin" not found')


def test_a_role_that_was_made_just_now_can_be_given(world: Cluster) -> None:
    # The gateway has not heard of it when the request comes.
    world.gateway.embedded.apply(role("ClusterRole", "fresh"))
    assert add(world, CLUSTER, "bob", "fresh").status == 200
    assert members(world, CLUSTER, "?name=bob") == [("bob", "fresh")]


def test_those_before_the_one_that_is_refused_are_members(world: Cluster) -> None:
    two = [{"username": "bob", "roleRef": "cluster-viewer"}, {"username": "al", "roleRef": "nosuch"}]
    assert world.call("admin", "POST", CLUSTER, two).status == 404
    assert members(world, CLUSTER) == [("cv", "cluster-viewer"), ("bob", "cluster-viewer")]


def test_updates_are_of_members_by_their_name(world: Cluster) -> None:
    answer = world.call("admin", "PUT", f"{CLUSTER}/bob", {"username": "al", "roleRef": "cluster-viewer"})
    told = "incorrect username bob, the username must equal to the member"
    assert (answer.status, answer.message()) == (400, told)
    answer = world.call("admin", "PUT", f"{CLUSTER}/bob", {"username": "bob", "roleRef": "nosuch"})
    assert (answer.status, answer.message()) == (400, "member bob not exist")


@pytest.mark.parametrize("name", ["a@b", "A", "a" * 64, "a,b", "a%3Db", "-a", "system:admin"])
def test_names_that_no_selector_can_have_touch_nobody(world: Cluster, name: str) -> None:
    before = world.stored("clusterrolebindings")
    assert world.call("admin", "DELETE", f"{CLUSTER}/{name}").status == 422
    plain = name.replace("%3D", "=")
    two = [{"username": "bob", "roleRef": "cluster-viewer"}, {"username": plain, "roleRef": "cluster-viewer"}]
    answer = world.call("admin", "POST", CLUSTER, two)
    assert answer.status == 422 and "username" in answer.message()
    odd = [{"username": "bob", "roleRef": plain}]
    assert world.call("admin", "POST", CLUSTER, odd).status == 422
    assert world.stored("clusterrolebindings") == before


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"username": "bob"}, "array"),
        (["bob"], "JSON object"),
        ([{"username": 7}], "username"),
        (b"[", "not JSON"),
        (b"", "not JSON"),
        (b"[" * 5000, "not JSON"),
        ([{"roleRef": "cluster-viewer"}], "username: Required"),
        ([{"username": "bob"}], "roleRef: Required"),
    ],
)
def test_what_is_no_list_of_members(world: Cluster, body: Any, told: str) -> None:
    answer = world.call("admin", "POST", CLUSTER, body)
    assert answer.status in (400, 422) and told in answer.message()


def test_bodies_say_what_they_are(world: Cluster) -> None:
    answer = world.call("admin", "POST", CLUSTER, [], kind=None)
    assert answer.status == 400
    assert answer.message().startswith("[ServiceError:400] Unable to unmarshal content of type:")
    assert world.call("admin", "POST", CLUSTER, [], kind=b"text/plain").status == 400
    assert world.call("admin", "POST", CLUSTER, [], kind=b"application/json; charset=utf-8").json() == []


def test_bodies_may_be_packed(world: Cluster) -> None:
    token = world.logged_in("admin")["access_token"]
    body = gzip.compress(msgspec.json.encode([{"username": "bob", "roleRef": "cluster-viewer"}]))
    headers = [
        (b"Authorization", b"Bearer " + token.encode()),
        (b"Content-Type", b"application/json"),
        (b"Content-Encoding", b"gzip"),
    ]
    path = "/kapis/iam.kubesphere.io/v1beta1/clustermembers"
    assert world.gateway.request("POST", path, headers, body).status == 200
    assert world.gateway.request("POST", path, headers, body[:-9]).status == 400
    assert world.gateway.request("POST", path, headers, b"plain").status == 400
    assert world.gateway.request("POST", path, headers, gzip.compress(b" " * 4_000_000)).status == 413


def test_other_methods(world: Cluster) -> None:
    answer = world.call("admin", "GET", f"{CLUSTER}/bob")
    assert answer.status == 405
    assert set((answer.get("Allow") or b"").split(b", ")) == {b"PUT", b"DELETE"}
    assert world.call("admin", "GET", f"{N1}/bob").status == 405


# -- nobody gives what they do not have --------------------------------------------------------------------------


def test_nobody_makes_themselves_stronger(world: Cluster) -> None:
    answer = add(world, N1, "nm", "admin", who="nm")
    assert answer.status == 403 and "Verbs" in answer.message()
    assert set(world.stored("rolebindings", "n1")) == {"nm", "nb"}
    answer = world.call("nm", "PUT", f"{N1}/nm", {"username": "nm", "roleRef": "admin"})
    assert answer.status == 403


def test_what_one_holds_may_be_given(world: Cluster) -> None:
    assert add(world, N1, "bob", "viewer", who="nm").status == 200


def test_who_may_bind_a_role_may_give_it(world: Cluster) -> None:
    assert add(world, N1, "bob", "viewer", who="nb").status == 403
    assert add(world, N1, "bob", "admin", who="nb").status == 200


def test_who_manages_a_workspace_gives_its_roles(world: Cluster) -> None:
    assert add(world, WS1, "bob", "ws1-admin", who="wa").status == 200
    assert add(world, "/workspaces/ws2/workspacemembers", "bob", "ws2-viewer", who="wa").status == 403
    assert add(world, CLUSTER, "bob", "cluster-viewer", who="wa").status == 403


def test_what_somebody_has_already_may_stay(world: Cluster) -> None:
    add(world, N1, "bob", "admin")
    assert add(world, N1, "bob", "admin", who="nm").status == 200


# -- lists -------------------------------------------------------------------------------------------------------


@pytest.fixture
def three(world: Cluster) -> Cluster:
    world.gateway.delete(world.stored("clusterrolebindings")["cv"])
    for name in "abc":
        add(world, CLUSTER, name, "cluster-viewer")
    return world


@pytest.mark.parametrize(
    ("query", "found", "total"),
    [
        ("", "cba", 3),
        ("?ascending=true", "abc", 3),
        ("?sortBy=name&ascending=1", "abc", 3),
        ("?limit=2&page=2", "a", 3),
        ("?limit=0", "", 3),
        ("?limit=-2", "", 3),
        ("?limit=2&page=9", "", 3),
        ("?name=zzz", "", 0),
        ("?name=b", "b", 1),
        ("?clusterrole=cluster-viewer", "cba", 3),
        ("?clusterrole=cluster-admin", "", 0),
        ("?fieldSelector=metadata.name%3Da", "a", 1),
    ],
)
def test_pages(three: Cluster, query: str, found: str, total: int) -> None:
    answer = three.call("admin", "GET", CLUSTER + query)
    body = answer.json()
    assert ("".join(each["metadata"]["name"] for each in body["items"]), body["totalItems"]) == (found, total)


@pytest.mark.parametrize("query", ["?page=0&limit=2", "?page=-1", "?labelSelector=%25", "?fieldSelector=a"])
def test_lists_that_cannot_be_meant(world: Cluster, query: str) -> None:
    assert world.call("admin", "GET", CLUSTER + query).status == 400


def test_a_listed_member(world: Cluster) -> None:
    (found,) = world.call("admin", "GET", f"{CLUSTER}").json()["items"]
    assert found == {
        "metadata": {
            "name": "cv",
            "creationTimestamp": None,
            "annotations": {"iam.kubesphere.io/clusterrole": "cluster-viewer"},
        },
        "spec": {"email": ""},
        "status": {},
    }


def test_groups_are_not_listed_and_places_that_are_not_there_have_nobody(world: Cluster) -> None:
    world.gateway.apply(binding("ClusterRoleBinding", "devs", "Group devs", "ClusterRole cluster-viewer"))
    assert members(world, CLUSTER) == [("cv", "cluster-viewer")]
    for path in ("/workspaces/none/workspacemembers", "/namespaces/none/namespacemembers"):
        assert world.call("admin", "GET", path).json() == {"items": [], "totalItems": 0}


def test_one_member_of_a_workspace(world: Cluster) -> None:
    answer = world.call("admin", "GET", f"{WS1}/wa")
    found = answer.json()
    assert (found["kind"], found["metadata"]["name"]) == ("User", "wa")
    assert found["metadata"]["annotations"]["iam.kubesphere.io/workspacerole"] == "ws1-admin"
    assert "password" not in found["spec"]
    answer = world.call("admin", "GET", f"{WS1}/joe")
    assert (answer.status, answer.message()) == (400, "member joe not exist")
    add(world, WS1, "ghost", "ws1-viewer")
    answer = world.call("admin", "GET", f"{WS1}/ghost")
    assert (answer.status, answer.message()) == (404, 'User.iam.kubesphere.io "ghost" not found')


def test_what_cannot_be_written_is_said_with_its_code(world: Cluster) -> None:
    answer = add(world, "/namespaces/none/namespacemembers", "bob", "viewer")
    assert answer.status == 404
