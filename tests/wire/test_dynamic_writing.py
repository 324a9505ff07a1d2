"""Kinds without an API of their own below ``/kapis``: what is written (spec 04, 10; spec 03, T67 to T70; D1 to D4)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support_dynamic import DynamicWorld, thing
from support_guard import APPLY, MERGE, PATCH, STRATEGIC
from support_rights import EVERY_RESOURCE, IAM, binding, namespace, role, rule

from ksproxyd.testing import Answer
from ksproxyd.tree.namespace_checks import CREATOR

ROOT, STORED = "/kapis/example.io/v1", "/apis/example.io/v1"
WORKSPACE = "kubesphere.io/workspace"


@pytest.fixture
def world() -> Iterator[DynamicWorld]:
    world = DynamicWorld()
    world.make(
        thing("Foo", "a", workspace="ws1", size=1),
        thing("Foo", "b", workspace="ws2", size=1),
        thing("Foo", "c", size=1),
        thing("Bar", "x", namespace="n1", size=1),
    )
    yield world
    world.close()


def refused(answer: Answer, status: int, told: str = "") -> None:
    assert answer.status == status, answer.body
    message = answer.json()["message"]
    assert told in message, message


def spec(world: DynamicWorld, path: str) -> Any:
    return world.stored(f"{STORED}/{path}")["spec"]


# -- what is done ----------------------------------------------------------------------------------------------


def test_an_object_comes_changes_and_goes(world: DynamicWorld) -> None:
    path = f"{ROOT}/namespaces/n1/bars"
    made = world.ask("pa", "POST", path, thing("Bar", "y", size=1))
    assert made.status == 200 and made.json() == world.stored(f"{STORED}/namespaces/n1/bars/y")
    put = world.ask("pa", "PUT", f"{path}/y", {**made.json(), "spec": {"size": 2}})
    assert put.status == 200 and put.json()["spec"] == {"size": 2}
    refused(world.ask("pa", "PUT", f"{path}/y", {**made.json(), "spec": {"size": 3}}), 409)
    refused(world.ask("pa", "PUT", f"{path}/none", thing("Bar", "none")), 404, 'Bar.example.io "none" not found')
    gone = world.ask("pa", "DELETE", f"{path}/y")
    assert gone.status == 200
    refused(world.ask("pa", "DELETE", f"{path}/y"), 404)
    refused(world.ask("pa", "POST", path, thing("Bar", "x")), 409)


@pytest.mark.parametrize(
    ("kind", "body", "left"),
    [
        ("application/json", {"spec": {"more": 2}}, {"size": 1, "more": 2}),
        (MERGE, {"spec": {"size": None, "more": 2}}, {"more": 2}),
        (PATCH, [{"op": "replace", "path": "/spec/size", "value": 2}], {"size": 2}),
        (APPLY, thing("Bar", "x", more=2), {"size": 1, "more": 2}),
        ("application/json", thing("Bar", "x", namespace="n1", more=2), {"size": 1, "more": 2}),
    ],
)
def test_a_patch_is_what_it_says_it_is(world: DynamicWorld, kind: str, body: Any, left: Any) -> None:
    path = f"{ROOT}/namespaces/n1/bars/x?fieldManager=me"
    answer = world.ask("pa", "PATCH", path, body, kind)
    assert answer.status == 200 and answer.json()["spec"] == left, answer.body
    assert spec(world, "namespaces/n1/bars/x") == left


def test_strategic_patches_are_for_kinds_that_have_them(world: DynamicWorld) -> None:
    body = {"metadata": {"labels": {"x": "y"}}}
    assert world.ask("admin", "PATCH", "/kapi/v1/namespaces/n1", body, STRATEGIC).status == 200
    refused(world.ask("admin", "PATCH", f"{ROOT}/foos/c", body, STRATEGIC), 415)
    refused(world.ask("admin", "PATCH", f"{ROOT}/foos/c", body, "text/plain"), 415)


def test_options_are_passed_on(world: DynamicWorld) -> None:
    path = f"{ROOT}/namespaces/n1/bars"
    assert world.ask("pa", "POST", f"{path}?dryRun=All", thing("Bar", "y")).status == 200
    assert world.ask("pa", "DELETE", f"{path}/x?dryRun=All").status == 200
    assert world.ask("pa", "DELETE", f"{path}/x", {"dryRun": ["All"]}).status == 200
    assert world.ask("wa", "PATCH", f"{ROOT}/workspaces/ws1/foos/a?dryRun=All", {"spec": None}).status == 200
    assert world.names(f"{STORED}/namespaces/n1/bars") == {"x"}
    assert spec(world, "foos/a") == {"size": 1}
    refused(world.ask("pa", "DELETE", f"{path}/x", {"preconditions": {"uid": "another"}}), 409)
    refused(world.ask("pa", "DELETE", f"{path}/x?gracePeriodSeconds=soon"), 400)
    put = world.ask("pa", "PATCH", f"{path}/x?fieldManager=me", {"spec": {"size": 3}})
    assert put.json()["metadata"]["managedFields"][-1]["manager"] == "me"


def test_subresources_are_written_alone(world: DynamicWorld) -> None:
    body = {"spec": {"size": 9}, "status": {"ok": True}}
    answer = world.ask("pa", "PATCH", f"{ROOT}/namespaces/n1/bars/x/status", body)
    assert answer.status == 200 and answer.json()["status"] == {"ok": True}
    assert spec(world, "namespaces/n1/bars/x") == {"size": 1}


# -- what it must be -------------------------------------------------------------------------------------------


def test_it_is_what_the_path_says(world: DynamicWorld) -> None:
    """T69, D3."""
    path = f"{ROOT}/namespaces/n1/bars"
    elsewhere = thing("Bar", "y", namespace="n2")
    refused(world.ask("pa", "POST", path, elsewhere), 400, "metadata.namespace")
    for kind in ("application/json", MERGE, APPLY):
        refused(world.ask("pa", "PATCH", f"{path}/x?fieldManager=me", elsewhere, kind), 400)
        other = thing("Bar", "other", namespace="n1")
        refused(world.ask("pa", "PATCH", f"{path}/x?fieldManager=me", other, kind), 400, "metadata.name")
    refused(world.ask("pa", "PUT", f"{path}/x", elsewhere), 400)
    refused(world.ask("pa", "PUT", f"{path}/x", thing("Bar", "other")), 400, "metadata.name")
    move = [{"op": "replace", "path": "/metadata/namespace", "value": "n2"}]
    assert world.ask("pa", "PATCH", f"{path}/x", move, PATCH).status in (400, 422)
    refused(world.ask("admin", "POST", f"{ROOT}/foos", thing("Foo", "d", namespace="n1")), 400, "metadata.namespace")
    for odd in ({"kind": "Foo"}, {"apiVersion": "v1"}, {"kind": None}):
        refused(world.ask("pa", "POST", path, {**thing("Bar", "y"), **odd}), 400, "wrong resource GroupVersionKind")
    refused(world.ask("pa", "POST", path, {"metadata": {"name": "y"}}), 400, "wrong resource GroupVersionKind")
    for body in (b"{", b"[]", b"3", b"", b"\xff"):
        refused(world.ask("pa", "POST", path, body), 400)
    refused(world.ask("pa", "POST", path, {**thing("Bar", "y"), "metadata": []}), 400)
    refused(world.ask("pa", "POST", path, thing("Bar", "y"), "text/plain"), 415)
    assert world.names(f"{STORED}/namespaces/n1/bars") == {"x"}
    assert world.names(f"{STORED}/namespaces/n2/bars") == set()


def test_a_kind_without_namespaces_is_not_written_with_rights_in_one(world: DynamicWorld) -> None:
    """T67, D1."""
    made = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "grab"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "User", "name": "pa", "apiGroup": "rbac.authorization.k8s.io"}],
    }
    refused(world.ask("pa", "POST", "/kapis/rbac.authorization.k8s.io/v1/namespaces/n1/clusterrolebindings", made), 404)
    ours = binding("ClusterRoleBinding", "grab", ("ClusterRole", "cluster-admin"), "pa")
    refused(world.ask("pa", "POST", f"/kapis/{IAM}/namespaces/n1/clusterrolebindings", ours), 404)
    refused(world.ask("pa", "DELETE", f"{ROOT}/namespaces/n1/foos/c"), 404)
    refused(world.ask("pa", "DELETE", "/kapi/v1/namespaces/n1/namespaces/n2"), 404)
    refused(world.ask("admin", "POST", f"{ROOT}/bars", thing("Bar", "y", namespace="n1")), 404)
    assert "grab" not in world.names("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings")
    assert "grab" not in world.names(f"/apis/{IAM}/clusterrolebindings")


def test_what_is_the_platforms_is_not_written_with_rights_in_a_workspace(world: DynamicWorld) -> None:
    """T68, D2."""
    grab = binding("GlobalRoleBinding", "grab", ("GlobalRole", "platform-admin"), "wa")
    assert world.ask("wa", "POST", f"/kapis/{IAM}/workspaces/ws1/globalrolebindings", grab).status in (403, 404)
    ours = binding("ClusterRoleBinding", "grab", ("ClusterRole", "cluster-admin"), "wa")
    refused(world.ask("wa", "POST", f"/kapis/{IAM}/workspaces/ws1/clusterrolebindings", ours), 404)
    volume = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "grab"}, "spec": {}}
    refused(world.ask("wa", "POST", "/kapi/v1/workspaces/ws1/persistentvolumes", volume), 404)
    refused(world.ask("wa", "POST", "/kapi/v1/workspaces/ws1/secrets", {"apiVersion": "v1", "kind": "Secret"}), 404)
    assert world.names(f"/apis/{IAM}/globalrolebindings") & {"grab"} == set()


# -- workspaces ------------------------------------------------------------------------------------------------


def test_what_is_made_in_a_workspace_belongs_to_it(world: DynamicWorld) -> None:
    path = f"{ROOT}/workspaces/ws1/foos"
    assert world.ask("wa", "POST", path, thing("Foo", "d")).status == 200
    assert world.ask("wa", "POST", path, thing("Foo", "e", workspace="ws1")).status == 200
    refused(world.ask("wa", "POST", path, thing("Foo", "f", workspace="ws2")), 403)
    for name in ("d", "e"):
        assert world.stored(f"{STORED}/foos/{name}")["metadata"]["labels"] == {WORKSPACE: "ws1"}
    # Without it in the object, it stays; an update is of the whole object.
    assert world.ask("wa", "PUT", f"{path}/d", thing("Foo", "d", size=2)).status == 200
    assert world.stored(f"{STORED}/foos/d")["metadata"]["labels"] == {WORKSPACE: "ws1"}
    applied = world.ask("wa", "PATCH", f"{path}/f?fieldManager=me", thing("Foo", "f"), APPLY)
    assert applied.status == 200 and applied.json()["metadata"]["labels"] == {WORKSPACE: "ws1"}


@pytest.mark.parametrize("name", ["b", "c"])
def test_what_does_not_belong_to_it_is_not_there(world: DynamicWorld, name: str) -> None:
    """T70, D4."""
    path = f"{ROOT}/workspaces/ws1/foos/{name}"
    refused(world.ask("wa", "DELETE", path), 404, f'foos.example.io "{name}" not found')
    refused(world.ask("wa", "PUT", path, thing("Foo", name)), 404)
    for kind, body in ((MERGE, {"spec": {"size": 2}}), (PATCH, []), (APPLY, thing("Foo", name))):
        refused(world.ask("wa", "PATCH", f"{path}?fieldManager=me", body, kind), 404)
    assert spec(world, f"foos/{name}") == {"size": 1}
    role_of_others = f"/kapis/{IAM}/workspaces/ws1/workspaceroles/ws2-admin"
    refused(world.ask("wa", "DELETE", role_of_others), 404)
    assert "ws2-admin" in world.names(f"/apis/{IAM}/workspaceroles")


def test_nothing_is_moved_out_of_it(world: DynamicWorld) -> None:
    path = f"{ROOT}/workspaces/ws1/foos/a"
    for kind, body in (
        ("application/json", {"metadata": {"labels": {WORKSPACE: "ws2"}}}),
        (MERGE, {"metadata": {"labels": {WORKSPACE: None}}}),
        (MERGE, {"metadata": {"labels": None}}),
        (PATCH, [{"op": "remove", "path": "/metadata/labels"}]),
        (PATCH, [{"op": "replace", "path": "/metadata/labels/kubesphere.io~1workspace", "value": "ws2"}]),
        (APPLY, thing("Foo", "a", workspace="ws2")),
    ):
        refused(world.ask("wa", "PATCH", f"{path}?fieldManager=me&", body, kind), 403, "'ws1'")
    refused(world.ask("wa", "PUT", path, thing("Foo", "a", workspace="ws2")), 403)
    assert world.stored(f"{STORED}/foos/a")["metadata"]["labels"] == {WORKSPACE: "ws1"}
    assert world.ask("wa", "PATCH", path, {"spec": {"size": 2}}).status == 200
    assert world.ask("wa", "DELETE", path).status == 200


@pytest.mark.parametrize("method", ["DELETE", "PUT", "PATCH"])
def test_what_leaves_meanwhile_is_not_touched(world: DynamicWorld, method: str) -> None:
    done: list[str] = []

    def meanwhile(sent: str, target: str) -> None:
        if sent == method and "dryRun" not in target and not done:
            done.append(target)
            leave = {"metadata": {"labels": {WORKSPACE: "ws2"}}}
            world.gateway.embedded.call("PATCH", f"{STORED}/foos/a", leave, MERGE)

    world.before(meanwhile)
    body = None if method == "DELETE" else thing("Foo", "a", size=2)
    answer = world.ask("wa", method, f"{ROOT}/workspaces/ws1/foos/a", body)
    assert done and answer.status in (404, 409), answer.body
    assert spec(world, "foos/a") == {"size": 1}


# -- rights ----------------------------------------------------------------------------------------------------


def test_nobody_gives_what_they_do_not_have(world: DynamicWorld) -> None:
    write = rule(["iam.kubesphere.io"], ["roles", "rolebindings"], ["get", "create", "update", "patch"])
    world.make(
        role("Role", "writer", [write], namespace="n1"),
        binding("RoleBinding", "alice", ("Role", "writer"), "alice", namespace="n1"),
    )
    root = f"/kapis/{IAM}/namespaces/n1"
    grab = binding("RoleBinding", "grab", ("Role", "admin"), "alice", namespace="n1")
    refused(world.ask("alice", "POST", f"{root}/rolebindings", grab), 403, '"bind"')
    refused(world.ask("alice", "PATCH", f"{root}/roles/writer", {"rules": EVERY_RESOURCE}), 403, '"escalate"')
    wide = [{"op": "add", "path": "/rules/-", "value": EVERY_RESOURCE[0]}]
    refused(world.ask("alice", "PATCH", f"{root}/roles/writer", wide, PATCH), 403)
    stored = world.stored(f"/apis/{IAM}/namespaces/n1/roles/writer")
    refused(world.ask("alice", "PUT", f"{root}/roles/writer", {**stored, "rules": EVERY_RESOURCE}), 403)
    assert world.stored(f"/apis/{IAM}/namespaces/n1/roles/writer")["rules"] == [write]
    assert world.ask("pa", "POST", f"{root}/rolebindings", grab).status == 200


def test_workspace_roles_are_made_and_given_in_their_workspace(world: DynamicWorld) -> None:
    root = f"/kapis/{IAM}/workspaces/ws1"
    made = role("WorkspaceRole", "ws1-mine", EVERY_RESOURCE)
    assert world.ask("wa", "POST", f"{root}/workspaceroles", made).status == 200
    given = binding("WorkspaceRoleBinding", "given", ("WorkspaceRole", "ws1-mine"), "joe")
    given["metadata"].pop("labels")
    # The gateway hears of the role first.
    world.gateway.wait(1.0)
    assert world.ask("wa", "POST", f"{root}/workspacerolebindings", given).status == 200
    assert world.stored(f"/apis/{IAM}/workspacerolebindings/given")["metadata"]["labels"] == {WORKSPACE: "ws1"}
    foreign = binding("WorkspaceRoleBinding", "x", ("WorkspaceRole", "ws2-viewer"), "joe")
    assert world.ask("wv", "POST", f"{root}/workspacerolebindings", foreign).status == 403
    provisioner = role("WorkspaceRole", "w", [rule(["*"], ["workspacerolebindings"], ["create"])], workspace="ws1")
    world.make(provisioner, binding("WorkspaceRoleBinding", "bob", ("WorkspaceRole", "w"), "bob", workspace="ws1"))
    grab = binding("WorkspaceRoleBinding", "grab", ("WorkspaceRole", "ws1-admin"), "bob")
    refused(world.ask("bob", "POST", f"{root}/workspacerolebindings", grab), 403, '"bind"')


def test_namespaces_have_their_creator(world: DynamicWorld) -> None:
    made = namespace("n9")
    made["metadata"]["annotations"] = {CREATOR: "eve"}
    answer = world.ask("wa", "POST", "/kapi/v1/workspaces/ws1/namespaces", made)
    assert answer.status == 200, answer.body
    stored = world.stored("/api/v1/namespaces/n9")["metadata"]
    assert stored["labels"][WORKSPACE] == "ws1" and stored["annotations"] == {CREATOR: "wa"}
    moved = {"metadata": {"labels": {WORKSPACE: "ws2"}}}
    refused(world.ask("pa", "PATCH", "/kapi/v1/namespaces/n1", moved), 403)


def test_users_are_written_by_their_own_api_only(world: DynamicWorld) -> None:
    made = {"apiVersion": IAM, "kind": "User", "metadata": {"name": "eve"}, "spec": {"password": "x"}}
    for path in ("workspaces/ws1/users", "namespaces/n1/users"):
        assert world.ask("admin", "POST", f"/kapis/{IAM}/{path}", made).status == 404
