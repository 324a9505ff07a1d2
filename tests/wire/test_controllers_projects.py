"""Projects: what a namespace gets when it comes into a workspace, and loses when it leaves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support_controllers import FINALIZER, IAM, WORKSPACE, World


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    made.user("joe")
    made.workspace("ws1", "ann")
    yield made
    made.close()


def test_a_new_project(world: World) -> None:
    world.namespace("n1", "ws1", "joe")
    assert world.have("/api/v1/namespaces/n1")["metadata"]["finalizers"] == [FINALIZER]
    assert world.names(f"{IAM}/namespaces/n1/roles") == ["admin", "operator", "viewer"]
    (binding,) = world.embedded.call("GET", f"{IAM}/namespaces/n1/rolebindings")["items"]
    assert binding["metadata"]["name"] == "joe-admin"
    assert binding["metadata"]["labels"] == {"iam.kubesphere.io/user-ref": "joe", "iam.kubesphere.io/role-ref": "admin"}
    assert binding["roleRef"] == {"apiGroup": "iam.kubesphere.io", "kind": "Role", "name": "admin"}
    assert binding["subjects"] == [{"apiGroup": "iam.kubesphere.io", "kind": "User", "name": "joe"}]
    operator = world.have(f"{IAM}/namespaces/n1/roles/operator")
    assert operator["metadata"]["annotations"]["iam.kubesphere.io/auto-aggregate"] == "true"
    assert "namespace-view-secrets" in operator["aggregationRoleTemplates"]["templateNames"]
    world.quiet()


def test_namespaces_of_no_workspace_and_such_as_want_nothing(world: World) -> None:
    world.namespace("n1", creator="joe")
    world.namespace("n2", "ws1", "joe", **{"kubesphere.io/managed": "false"})
    assert "finalizers" not in world.have("/api/v1/namespaces/n1")["metadata"]
    for name in ("n1", "n2"):
        assert world.names(f"{IAM}/namespaces/{name}/roles") == []
        assert world.names(f"{IAM}/namespaces/{name}/rolebindings") == []


def test_a_creator_who_is_no_user_gets_nothing(world: World) -> None:
    world.namespace("n1", "ws1", "ghost")
    assert world.names(f"{IAM}/namespaces/n1/roles") == ["admin", "operator", "viewer"]
    assert world.names(f"{IAM}/namespaces/n1/rolebindings") == []
    world.user("ghost")
    assert world.names(f"{IAM}/namespaces/n1/rolebindings") == []


def test_what_is_there_already_stays(world: World) -> None:
    world.namespace("n1")
    world.role("Role", "admin", [], namespace="n1", annotations={"a": "b"})
    # Of user "j" and role "oe-admin", say.
    other = {
        "apiVersion": "iam.kubesphere.io/v1beta1",
        "kind": "RoleBinding",
        "metadata": {"name": "joe-admin", "namespace": "n1"},
        "roleRef": {"apiGroup": "iam.kubesphere.io", "kind": "Role", "name": "viewer"},
        "subjects": [{"apiGroup": "iam.kubesphere.io", "kind": "User", "name": "j"}],
    }
    world.apply(other)
    world.namespace("n1", "ws1", "joe")
    assert world.have(f"{IAM}/namespaces/n1/roles/admin")["metadata"]["annotations"] == {"a": "b"}
    first, second = world.embedded.call("GET", f"{IAM}/namespaces/n1/rolebindings")["items"]
    assert first["subjects"][0]["name"] == "j" and second["subjects"][0]["name"] == "joe"
    assert second["metadata"]["name"].startswith("joe-admin-")


def test_leaving_ends_all_rights_and_coming_again_begins_anew(world: World) -> None:
    world.namespace("n1", "ws1", "joe")
    world.role("Role", "own", [], namespace="n1")
    world.patch("/api/v1/namespaces/n1", {"metadata": {"labels": {WORKSPACE: None}}})
    assert world.names(f"{IAM}/namespaces/n1/roles") == world.names(f"{IAM}/namespaces/n1/rolebindings") == []
    assert "finalizers" not in world.have("/api/v1/namespaces/n1")["metadata"]
    world.patch("/api/v1/namespaces/n1", {"metadata": {"labels": {WORKSPACE: "ws2"}}})
    assert world.names(f"{IAM}/namespaces/n1/roles") == ["admin", "operator", "viewer"]
    assert world.names(f"{IAM}/namespaces/n1/rolebindings") == ["joe-admin"]
    world.quiet()


def test_roles_of_namespaces_that_were_in_no_workspace_stay(world: World) -> None:
    world.namespace("n1")
    world.role("Role", "own", [], namespace="n1")
    world.patch("/api/v1/namespaces/n1", {"metadata": {"labels": {"a": "b"}}})
    assert world.names(f"{IAM}/namespaces/n1/roles") == ["own"]


def test_what_was_removed_is_not_made_again(world: World) -> None:
    world.namespace("n1", "ws1", "joe")
    world.delete(f"{IAM}/namespaces/n1/rolebindings/joe-admin")
    world.patch("/api/v1/namespaces/n1", {"metadata": {"annotations": {"kubesphere.io/creator": "ann"}}})
    assert world.names(f"{IAM}/namespaces/n1/rolebindings") == []


def test_a_project_can_be_deleted(world: World) -> None:
    world.namespace("n1", "ws1", "joe")
    world.delete("/api/v1/namespaces/n1")
    world.wait(30.0)
    assert world.get("/api/v1/namespaces/n1") is None


def test_owners_that_are_workspaces_own_no_more(world: World) -> None:
    uid = world.have("/apis/tenant.kubesphere.io/v1beta1/workspaces/ws1")["metadata"]["uid"]
    owner = {"apiVersion": "tenant.kubesphere.io/v1beta1", "kind": "Workspace", "name": "ws1", "uid": uid}
    kept = {"apiVersion": "v1", "kind": "Namespace", "name": "default"}
    kept["uid"] = world.have("/api/v1/namespaces/default")["metadata"]["uid"]
    world.namespace("n1")
    world.patch("/api/v1/namespaces/n1", {"metadata": {"ownerReferences": [owner, kept], "labels": {WORKSPACE: "ws1"}}})
    assert world.have("/api/v1/namespaces/n1")["metadata"]["ownerReferences"] == [kept]


def test_builtin_roles_that_come_one_by_one_are_waited_for() -> None:
    world = World(roles=False)
    try:
        world.namespace("n1", "ws1")
        world.workspace("ws1", "ann")
        # Without any there is nothing to begin with; the Workspace is there all the same.
        assert "finalizers" not in world.have("/api/v1/namespaces/n1")["metadata"]
        assert world.have("/apis/tenant.kubesphere.io/v1beta1/workspaces/ws1")
        world.embedded.install_roles()
        world.wait(10.0)
        assert world.names(f"{IAM}/namespaces/n1/roles") == ["admin", "operator", "viewer"]
        assert len([name for name in world.names(f"{IAM}/workspaceroles") if name.startswith("ws1-")]) == 4
        world.quiet()
    finally:
        world.close()
