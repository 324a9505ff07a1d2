"""Workspaces: what a WorkspaceTemplate leads to, and what is left when it goes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support_controllers import FINALIZER, IAM, TENANT, WORKSPACE, World


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


ROLES = ["ws1-admin", "ws1-regular", "ws1-self-provisioner", "ws1-viewer"]


def roles(world: World, workspace: str = "ws1") -> list[str]:
    return world.names(f"{IAM}/workspaceroles?labelSelector={WORKSPACE}%3D{workspace}")


def test_a_new_workspace(world: World) -> None:
    world.workspace("ws1", "ann", metadata={"labels": {"x": "y"}, "annotations": {"kubesphere.io/creator": "ann"}})
    template, made = world.have(f"{TENANT}/workspacetemplates/ws1"), world.have(f"{TENANT}/workspaces/ws1")
    assert template["metadata"]["finalizers"] == made["metadata"]["finalizers"] == [FINALIZER]
    assert made["spec"] == {"manager": "ann"}
    assert made["metadata"]["labels"] == {"x": "y"}
    assert made["metadata"]["annotations"] == {"kubesphere.io/creator": "ann"}
    assert roles(world) == ROLES
    binding = world.have(f"{IAM}/workspacerolebindings/ws1-admin")
    assert binding["subjects"] == [{"apiGroup": "iam.kubesphere.io", "kind": "User", "name": "ann"}]
    assert binding["roleRef"] == {"apiGroup": "iam.kubesphere.io", "kind": "WorkspaceRole", "name": "ws1-admin"}
    assert binding["metadata"]["labels"] == {
        WORKSPACE: "ws1",
        "iam.kubesphere.io/user-ref": "ann",
        "iam.kubesphere.io/role-ref": "ws1-admin",
    }
    # And its roles have what their templates grant.
    regular = world.have(f"{IAM}/workspaceroles/ws1-regular")
    assert any(rule["resources"] == ["workspacemembers"] for rule in regular["rules"])
    world.quiet()


def test_the_systems_workspace_is_like_any_other(world: World) -> None:
    assert world.have(f"{TENANT}/workspaces/system-workspace")["spec"] == {"manager": "admin"}
    assert world.have(f"{IAM}/workspacerolebindings/system-workspace-admin")
    assert world.names(f"{IAM}/namespaces/kubesphere-system/roles") == ["admin", "operator", "viewer"]
    world.quiet()


def test_what_is_removed_later_is_not_made_again(world: World) -> None:
    world.workspace("ws1", "ann")
    world.delete(f"{IAM}/workspaceroles/ws1-viewer")
    world.delete(f"{IAM}/workspacerolebindings/ws1-admin")
    world.patch(f"{TENANT}/workspacetemplates/ws1", {"spec": {"template": {"spec": {"manager": "bob"}}}})
    # Another manager is shown, and gets nothing.
    assert world.have(f"{TENANT}/workspaces/ws1")["spec"] == {"manager": "bob"}
    assert world.get(f"{IAM}/workspacerolebindings/ws1-admin") is None
    assert "ws1-viewer" not in roles(world)


def test_long_names(world: World) -> None:
    long = "w" * 60
    world.workspace(long, "ann")
    found = roles(world, long)
    assert sorted(name.split(".")[0] for name in found) == ["admin", "regular", "self-provisioner", "viewer"]
    (binding,) = (name for name in world.names(f"{IAM}/workspacerolebindings") if name.startswith("admin."))
    assert world.have(f"{IAM}/workspacerolebindings/{binding}")["roleRef"]["name"] == binding


def test_a_role_of_that_name_in_another_workspace_is_left_alone(world: World) -> None:
    world.role("WorkspaceRole", "ws1-admin", [], annotations={"a": "b"})
    world.workspace("ws1", "ann")
    assert world.have(f"{IAM}/workspaceroles/ws1-admin")["metadata"]["annotations"] == {"a": "b"}
    assert world.get(f"{IAM}/workspacerolebindings/ws1-admin") is None
    assert roles(world) == ROLES[1:]


def test_a_binding_of_the_managers_name_is_overwritten(world: World) -> None:
    binding = {
        "apiVersion": "iam.kubesphere.io/v1beta1",
        "kind": "WorkspaceRoleBinding",
        "metadata": {"name": "ws1-admin"},
        "roleRef": {"apiGroup": "iam.kubesphere.io", "kind": "WorkspaceRole", "name": "other"},
        "subjects": [{"apiGroup": "iam.kubesphere.io", "kind": "User", "name": "eve"}],
    }
    world.apply(binding)
    world.workspace("ws1", "ann")
    found = world.have(f"{IAM}/workspacerolebindings/ws1-admin")
    assert found["roleRef"]["name"] == "ws1-admin" and [each["name"] for each in found["subjects"]] == ["ann"]
    assert found["metadata"]["labels"][WORKSPACE] == "ws1"


def test_a_member_of_another_workspace_stays_one(world: World) -> None:
    """``ann-ws`` may be a workspace while ``ann`` has a role in ``ws``: the names of both bindings come to the same."""
    world.workspace("ws", "ann")
    taken = {
        "apiVersion": "iam.kubesphere.io/v1beta1",
        "kind": "WorkspaceRoleBinding",
        "metadata": {"name": "ann-ws-admin", "labels": {WORKSPACE: "ws"}},
        "roleRef": {"apiGroup": "iam.kubesphere.io", "kind": "WorkspaceRole", "name": "ws-admin"},
        "subjects": [{"apiGroup": "iam.kubesphere.io", "kind": "User", "name": "ann"}],
    }
    world.apply(taken)
    world.workspace("ann-ws", "eve")
    found = world.have(f"{IAM}/workspacerolebindings/ann-ws-admin")
    assert (found["subjects"], found["metadata"]["labels"]) == (taken["subjects"], {WORKSPACE: "ws"})
    (name,) = (each for each in world.names(f"{IAM}/workspacerolebindings") if each.startswith("ann-ws-admin-"))
    made = world.have(f"{IAM}/workspacerolebindings/{name}")
    assert made["roleRef"]["name"] == "ann-ws-admin" and made["metadata"]["labels"][WORKSPACE] == "ann-ws"
    assert [each["name"] for each in made["subjects"]] == ["eve"]
    world.quiet()


# -- placement -------------------------------------------------------------------------------------------------


def test_only_what_is_placed_here(world: World) -> None:
    world.workspace("elsewhere", "ann", {"clusters": [{"name": "member"}]})
    world.workspace("nowhere", "ann", {"clusterSelector": None})
    world.workspace("labelled", "ann", {"clusterSelector": {"matchLabels": {"zone": "a"}}})
    world.workspace("everywhere", "ann", {"clusterSelector": {}})
    assert world.names(f"{TENANT}/workspaces") == ["everywhere", "system-workspace"]
    # Roles are the template's.
    assert roles(world, "elsewhere")
    world.patch("/apis/cluster.kubesphere.io/v1alpha1/clusters/host", {"metadata": {"labels": {"zone": "a"}}})
    assert "labelled" in world.names(f"{TENANT}/workspaces")
    world.quiet()


def test_a_workspace_that_is_moved_away(world: World) -> None:
    world.user("ann")
    world.workspace("ws1", "ann")
    world.namespace("n1", "ws1", "ann")
    assert world.names(f"{IAM}/namespaces/n1/rolebindings") == ["ann-admin"]
    world.patch(f"{TENANT}/workspacetemplates/ws1", {"spec": {"placement": {"clusters": [{"name": "member"}]}}})
    assert world.get(f"{TENANT}/workspaces/ws1") is None
    space = world.have("/api/v1/namespaces/n1")["metadata"]
    assert WORKSPACE not in space.get("labels", {}) and "finalizers" not in space
    assert world.names(f"{IAM}/namespaces/n1/rolebindings") == world.names(f"{IAM}/namespaces/n1/roles") == []
    assert roles(world) == ROLES
    world.quiet()


def test_without_a_cluster_that_is_this_one_nothing_is_taken_away(world: World) -> None:
    world.workspace("ws1", "ann")
    world.workspace(
        "labelled", "ann", {"clusterSelector": {"matchExpressions": [{"key": "zone", "operator": "DoesNotExist"}]}}
    )
    before = world.names(f"{TENANT}/workspaces")
    assert before == ["labelled", "system-workspace", "ws1"]
    world.delete("/apis/cluster.kubesphere.io/v1alpha1/clusters/host")
    world.patch(f"{TENANT}/workspacetemplates/ws1", {"spec": {"placement": {"clusters": [{"name": "member"}]}}})
    assert world.names(f"{TENANT}/workspaces") == before
    world.workspace("ws2", "ann")
    assert world.get(f"{TENANT}/workspaces/ws2")


# -- the end ---------------------------------------------------------------------------------------------------


def end(world: World, propagation: str | None) -> None:
    world.user("ann")
    world.workspace("ws1", "ann")
    world.namespace("n1", "ws1", "ann")
    world.namespace("n2", "ws1", **{"kubesphere.io/protected-resource": "true"})
    if propagation is not None:
        annotations = {"kubesphere.io/deletion-propagation": propagation}
        world.patch(f"{TENANT}/workspacetemplates/ws1", {"metadata": {"annotations": annotations}})
    world.delete(f"{TENANT}/workspacetemplates/ws1")
    world.wait(60.0)
    assert world.get(f"{TENANT}/workspacetemplates/ws1") is None
    assert world.get(f"{TENANT}/workspaces/ws1") is None
    assert roles(world) == []
    assert world.names(f"{IAM}/workspacerolebindings") == ["system-workspace-admin"]
    assert world.names(f"{TENANT}/workspaces") == ["system-workspace"]
    world.quiet()


@pytest.mark.parametrize("propagation", [None, "", "Orphan"])
def test_namespaces_stay_when_their_workspace_goes(world: World, propagation: str | None) -> None:
    end(world, propagation)
    for name in ("n1", "n2"):
        metadata = world.have(f"/api/v1/namespaces/{name}")["metadata"]
        assert WORKSPACE not in metadata.get("labels", {}) and "finalizers" not in metadata
        assert world.names(f"{IAM}/namespaces/{name}/roles") == []
        assert world.names(f"{IAM}/namespaces/{name}/rolebindings") == []


@pytest.mark.parametrize("propagation", ["Foreground", "Background"])
def test_namespaces_go_with_their_workspace(world: World, propagation: str) -> None:
    end(world, propagation)
    assert world.get("/api/v1/namespaces/n1") is None
    # It may not be deleted.
    assert WORKSPACE not in world.have("/api/v1/namespaces/n2")["metadata"].get("labels", {})


def test_an_unknown_propagation_changes_no_namespace(world: World) -> None:
    end(world, "Sideways")
    for name in ("n1", "n2"):
        assert world.have(f"/api/v1/namespaces/{name}")["metadata"]["labels"][WORKSPACE] == "ws1"


def test_a_workspace_in_the_foreground_waits_for_its_namespaces(world: World) -> None:
    world.workspace("ws1", "ann")
    world.namespace("n1", "ws1")
    world.patch("/api/v1/namespaces/n1", {"metadata": {"finalizers": ["example.com/hold", FINALIZER]}})
    annotations = {"kubesphere.io/deletion-propagation": "Foreground"}
    world.patch(f"{TENANT}/workspacetemplates/ws1", {"metadata": {"annotations": annotations}})
    world.delete(f"{TENANT}/workspacetemplates/ws1")
    assert world.get(f"{TENANT}/workspaces/ws1") and world.get(f"{TENANT}/workspacetemplates/ws1")
    world.quiet()
    world.patch("/api/v1/namespaces/n1", {"metadata": {"finalizers": None}})
    world.wait(30.0)
    assert world.get("/api/v1/namespaces/n1") is None
    assert world.get(f"{TENANT}/workspaces/ws1") is None and world.get(f"{TENANT}/workspacetemplates/ws1") is None
