"""Namespaces and workspaces at the Kubernetes API: whose they are (spec 03, D6, D18, D19; T72), and the modes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support_guard import APPLY, MERGE, PATCH, STRATEGIC, GuardWorld
from support_rights import IAM, RightsWorld, binding, namespace, role, rule, workspace_template

from ksproxyd.tree.namespace_checks import CREATOR, FINALIZER

NAMESPACES = "/api/v1/namespaces"
TENANT = "/apis/tenant.kubesphere.io/v1beta1"
WORKSPACE = "kubesphere.io/workspace"


@pytest.fixture
def world() -> Iterator[GuardWorld]:
    """``bob`` is administrator in both workspaces."""
    world = GuardWorld(
        binding("WorkspaceRoleBinding", "bob1", ("WorkspaceRole", "ws1-admin"), "bob", workspace="ws1"),
        binding("WorkspaceRoleBinding", "bob2", ("WorkspaceRole", "ws2-admin"), "bob", workspace="ws2"),
    )
    yield world
    world.close()


def labels(value: str | None) -> Any:
    return {"metadata": {"labels": {WORKSPACE: value}}}


@pytest.mark.parametrize("who", ["pa", "wa", "op"])
@pytest.mark.parametrize("kind", [MERGE, STRATEGIC])
def test_a_project_is_not_taken_along(world: GuardWorld, who: str, kind: str) -> None:
    assert world.ask(who, "PATCH", f"{NAMESPACES}/n1", labels("ws2"), kind).status == 403
    assert world.ask(who, "PATCH", f"{NAMESPACES}/n1", labels(None), kind).status == 403
    assert world.stored(f"{NAMESPACES}/n1")["metadata"]["labels"][WORKSPACE] == "ws1"
    assert world.ask(who, "PATCH", f"{NAMESPACES}/n1", {"metadata": {"labels": {"x": "y"}}}, kind).status == 200


def test_in_every_way(world: GuardWorld) -> None:
    path = f"{NAMESPACES}/n1"
    steps = [{"op": "replace", "path": "/metadata/labels/kubesphere.io~1workspace", "value": "ws2"}]
    assert world.ask("pa", "PATCH", path, steps, PATCH).status == 403
    applied = {"apiVersion": "v1", "kind": "Namespace", **labels("ws2")}
    assert world.ask("pa", "PATCH", f"{path}?fieldManager=me&force=true", applied, APPLY).status == 403
    stored = world.stored(path)
    stored["metadata"]["labels"][WORKSPACE] = "ws2"
    assert world.ask("pa", "PUT", path, stored).status == 403
    assert world.ask("pa", "PUT", f"{path}/status", stored).status == 403
    # This server leaves all but the status as it is, as the dry run has shown.
    assert world.ask("pa", "PATCH", f"{path}/status", labels("ws2"), MERGE).status == 200
    assert world.ask("pa", "PUT", f"{path}/finalize", stored).status == 403
    assert world.stored(path)["metadata"]["labels"][WORKSPACE] == "ws1"


def test_who_may_delete_here_and_create_there_moves_it(world: GuardWorld) -> None:
    assert world.ask("bob", "PATCH", f"{NAMESPACES}/n1", labels("ws2"), MERGE).status == 200
    assert world.stored(f"{NAMESPACES}/n1")["metadata"]["labels"][WORKSPACE] == "ws2"
    # Out of workspaces, and into one, goes whoever may do so in all of them.
    assert world.ask("bob", "PATCH", f"{NAMESPACES}/n2", labels(None), MERGE).status == 403
    assert world.ask("ca", "PATCH", f"{NAMESPACES}/n2", labels(None), MERGE).status == 200


def test_it_is_not_set_up_anew_for_somebody_else(world: GuardWorld) -> None:
    path = f"{NAMESPACES}/n1"
    named = {"metadata": {"annotations": {CREATOR: "op"}}}
    assert world.ask("op", "PATCH", path, named, MERGE).status == 403
    assert world.ask("op", "PATCH", path, {"metadata": {"finalizers": [FINALIZER]}}, MERGE).status == 403
    assert world.ask("wa", "PATCH", path, named, MERGE).status == 200


def test_who_creates_it_is_its_creator(world: GuardWorld) -> None:
    made = namespace("n3", "ws1")
    made["metadata"]["annotations"] = {CREATOR: "eve", "a": "b"}
    assert world.ask("ca", "POST", NAMESPACES, made).status == 201
    assert world.stored(f"{NAMESPACES}/n3")["metadata"]["annotations"] == {CREATOR: "ca", "a": "b"}
    applied = {"apiVersion": "v1", "kind": "Namespace", **labels("ws1")}
    applied["metadata"]["name"] = "n4"
    assert world.ask("ca", "PATCH", f"{NAMESPACES}/n4?fieldManager=me", applied, APPLY).status == 201
    assert world.stored(f"{NAMESPACES}/n4")["metadata"]["annotations"] == {CREATOR: "ca"}
    made = namespace("n5", "ws1")
    made["metadata"]["annotations"] = {CREATOR: "eve"}
    assert world.ask("admin", "POST", NAMESPACES, made).status == 201
    assert world.stored(f"{NAMESPACES}/n5")["metadata"]["annotations"] == {CREATOR: "eve"}
    assert world.ask("ca", "POST", NAMESPACES, namespace("n6")).status == 201
    assert CREATOR not in world.stored(f"{NAMESPACES}/n6")["metadata"].get("annotations", {})


def test_workspaces_are_written_by_those_who_may_everywhere(world: GuardWorld) -> None:
    taken = {"spec": {"template": {"spec": {"manager": "wa"}}}}
    for who in ("joe", "wa", "ca"):
        assert world.ask(who, "PATCH", f"{TENANT}/workspacetemplates/ws1", taken, MERGE).status == 403
        assert world.ask(who, "PATCH", f"{TENANT}/workspaces/ws1", {"metadata": {"labels": {}}}, MERGE).status == 403
        assert world.ask(who, "DELETE", f"{TENANT}/workspacetemplates/ws1").status == 403
        assert world.ask(who, "POST", f"{TENANT}/workspacetemplates", workspace_template("ws3")).status == 403
    assert world.ask("admin", "PATCH", f"{TENANT}/workspacetemplates/ws1", taken, MERGE).status == 200


def test_modes() -> None:
    grabbing = binding("RoleBinding", "x", ("Role", "admin"), "alice", namespace="n1")
    write = role("Role", "w", [rule(["iam.kubesphere.io"], ["rolebindings"], ["create", "patch"])], namespace="n1")
    more = (write, binding("RoleBinding", "alice", ("Role", "w"), "alice", namespace="n1"))
    path = f"/apis/{IAM}/namespaces/n1/rolebindings"
    for mode in ("warn", "off"):
        world = GuardWorld(*more, mode=mode)  # type: ignore[arg-type]
        assert world.ask("alice", "POST", path, grabbing).status == 201
        world.close()


def test_where_everybody_may_do_everything_there_is_nothing_to_guard() -> None:
    """``AlwaysAllow``, as the gateway is wired."""
    world = RightsWorld(mode="AlwaysAllow")
    try:
        made = binding("GlobalRoleBinding", "x", ("GlobalRole", "platform-admin"), "joe")
        assert world.ask("joe", "POST", f"/apis/{IAM}/globalrolebindings", made).status == 201
        assert world.ask("joe", "PATCH", f"{NAMESPACES}/n1", labels("ws2"), MERGE).status == 200
    finally:
        world.close()
