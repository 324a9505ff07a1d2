"""Namespaces of workspaces as they are written, on the whole way: spec 03, 5.6, D18, D19, and T53 to T55."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support_rights import binding
from support_tenants import MERGE, PATCH, TENANT, WORKSPACE, TenantWorld, refused

CREATOR = "kubesphere.io/creator"
FINALIZER = "kubesphere.io/cascading-deletion"
ALL, ONE = "/workspaces/ws1/namespaces", "/workspaces/ws1/namespaces/n1"


@pytest.fixture
def world() -> Iterator[TenantWorld]:
    found = TenantWorld()
    yield found
    found.close()


def stored(world: TenantWorld, name: str = "n1") -> Any:
    return world.stored(f"/api/v1/namespaces/{name}")


def new(name: str = "new", **metadata: Any) -> Any:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, **metadata}}


# -- creating ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("user", ["wa", "wsp", "admin"])
def test_a_new_namespace_is_in_its_workspace_and_known_at_once(world: TenantWorld, user: str) -> None:
    answer = world.tell(user, ALL, "POST", new())
    assert answer.status == 200, answer.body
    found = answer.json()
    assert "kind" not in found
    assert found["metadata"]["labels"][WORKSPACE] == "ws1"
    assert found["metadata"]["annotations"] == {CREATOR: user}
    assert world.tell("wa", ALL + "/new").status == 200
    assert world.tell("wa", ALL + "/new", "DELETE").json() == {"message": "success"}


def test_the_path_says_in_which_workspace(world: TenantWorld) -> None:
    """T53."""
    body = new(labels={WORKSPACE: "ws2", "a": "b"})
    assert world.tell("wa", ALL, "POST", body).status == 200
    labels = stored(world, "new")["metadata"]["labels"]
    assert (labels[WORKSPACE], labels["a"]) == ("ws1", "b")
    refused(world.tell("wa", ALL.replace("ws1", "ws2"), "POST", new("other")), 403)


def test_nobody_says_who_else_made_it(world: TenantWorld) -> None:
    """D19."""
    body = new(annotations={CREATOR: "admin", "a": "b"})
    assert world.tell("wsp", ALL, "POST", body).json()["metadata"]["annotations"] == {CREATOR: "wsp", "a": "b"}
    body = new("other", annotations={CREATOR: "wsp"})
    assert world.tell("admin", ALL, "POST", body).json()["metadata"]["annotations"] == {CREATOR: "wsp"}


def test_who_may_not_make_namespaces(world: TenantWorld) -> None:
    for user in ("joe", "wv", "pa", "alice"):
        answer = world.tell(user, ALL, "POST", new())
        refused(answer, 403, "namespaces.tenant.kubesphere.io is forbidden", "cannot create resource")


def test_what_kubernetes_refuses_keeps_its_code(world: TenantWorld) -> None:
    refused(world.tell("wa", ALL, "POST", new("n2")), 409, "already exists")
    refused(world.tell("wa", ALL, "POST", new("No Name")), 422)
    refused(world.tell("wa", ALL, "POST", {"kind": "Pod", "metadata": {"name": "x"}}), 400, "kind")
    refused(world.tell("wa", ALL, "POST", b"x"), 400, "JSON")


# -- replacing -----------------------------------------------------------------------------------------------------


def test_a_namespace_that_is_replaced_stays_where_it_is(world: TenantWorld) -> None:
    value = stored(world)
    value["metadata"]["labels"] = {WORKSPACE: "ws2", "tier": "gold"}
    answer = world.tell("pa", ONE, "PUT", value)
    assert answer.status == 200, answer.body
    assert answer.json()["kind"] == "Namespace"
    labels = stored(world)["metadata"]["labels"]
    assert (labels[WORKSPACE], labels["tier"]) == ("ws1", "gold")
    refused(world.tell("pa", ONE, "PUT", value), 409)


def test_what_is_not_to_be_replaced(world: TenantWorld) -> None:
    refused(world.tell("pa", ONE, "PUT", new("n2")), 400, "the name of the object (n2) does not match")
    for name in ("n2", "n0", "ghost"):
        refused(world.tell("admin", f"{ALL}/{name}", "PUT", new(name)), 404, f'namespace "{name}" not found')
    refused(world.tell("pv", ONE, "PUT", stored(world)), 403)


# -- patching ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [MERGE, PATCH, "application/json"])
def test_a_patch_is_a_part_of_a_namespace(world: TenantWorld, kind: str) -> None:
    """T55."""
    answer = world.tell("pa", ONE, "PATCH", {"metadata": {"annotations": {"a": "b"}}}, kind)
    assert answer.status == 200, answer.body
    found = stored(world)["metadata"]
    assert found["annotations"]["a"] == "b" and found["labels"][WORKSPACE] == "ws1"


@pytest.mark.parametrize(
    "metadata",
    [
        {"labels": {"a": "b"}},
        {"labels": {WORKSPACE: "ws2", "a": "b"}},
        {"labels": {WORKSPACE: None, "a": "b"}},
        {"labels": {"a": "b"}, "name": "n2"},
    ],
)
def test_a_patch_does_not_take_it_out_of_its_workspace(world: TenantWorld, metadata: Any) -> None:
    assert world.tell("pa", ONE, "PATCH", {"metadata": metadata}, MERGE).status == 200
    labels = stored(world)["metadata"]["labels"]
    assert (labels[WORKSPACE], labels["a"], labels["kubesphere.io/managed"]) == ("ws1", "b", "true")
    assert "a" not in stored(world, "n2")["metadata"]["labels"]


@pytest.mark.parametrize("patch", [{"metadata": {"labels": None}}, {"metadata": None}, {}])
def test_a_patch_does_not_take_all_labels_away(world: TenantWorld, patch: Any) -> None:
    before = stored(world)["metadata"]["labels"]
    assert world.tell("pa", ONE, "PATCH", patch, MERGE).status == 200
    assert stored(world)["metadata"]["labels"] == before


def test_what_is_no_patch_of_a_namespace(world: TenantWorld) -> None:
    refused(world.tell("pa", ONE, "PATCH", [{"op": "add", "path": "/a", "value": 1}], PATCH), 400, "merge patch")
    refused(world.tell("pa", ONE, "PATCH", {"metadata": 7}, MERGE), 400, "metadata")
    refused(world.tell("pa", ONE, "PATCH", {}, "text/plain"), 415)
    refused(world.tell("admin", f"{ALL}/n2", "PATCH", {}, MERGE), 404, 'namespace "n2" not found')
    refused(world.tell("pv", ONE, "PATCH", {}, MERGE), 403)


# -- making somebody its administrator (D18) -------------------------------------------------------------------------


def guarded(world: TenantWorld) -> None:
    """n1 is made by joe, and has its roles."""
    patch = {"metadata": {"annotations": {CREATOR: "joe"}, "finalizers": [FINALIZER]}}
    assert world.tell("admin", ONE, "PATCH", patch, MERGE).status == 200


@pytest.mark.parametrize(
    "metadata",
    [
        {"annotations": {CREATOR: "pa"}},
        {"annotations": {CREATOR: None}},
        {"annotations": None, "finalizers": []},
        {"finalizers": []},
        {"finalizers": None},
        {"finalizers": ["example.com/other"]},
    ],
)
def test_a_project_is_not_given_away_by_its_administrator(world: TenantWorld, metadata: Any) -> None:
    guarded(world)
    before = stored(world)
    for user in ("pa", "op"):
        assert world.tell(user, ONE, "PATCH", {"metadata": metadata}, MERGE).status == 403
    value = {**before, "metadata": {**before["metadata"], **metadata}}
    refused(world.tell("pa", ONE, "PUT", {**value, "metadata": {k: v for k, v in value["metadata"].items() if v}}), 403)
    assert stored(world) == before
    world.gateway.apply(binding("RoleBinding", "wsp", ("Role", "admin"), "wsp", namespace="n1"))
    refused(world.tell("wsp", ONE, "PATCH", {"metadata": metadata}, MERGE), 403, "create and delete namespaces")
    assert world.tell("wa", ONE, "PATCH", {"metadata": metadata}, MERGE).status == 200


def test_what_says_nothing_of_that_is_free(world: TenantWorld) -> None:
    guarded(world)
    patch = {"metadata": {"annotations": {CREATOR: "joe", "a": "b"}, "finalizers": [FINALIZER, "example.com/other"]}}
    assert world.tell("pa", ONE, "PATCH", patch, MERGE).status == 200
    assert world.tell("pa", ONE, "PUT", stored(world)).status == 200


# -- deleting ------------------------------------------------------------------------------------------------------


def test_deleting(world: TenantWorld) -> None:
    refused(world.tell("pv", ONE, "DELETE"), 403)
    refused(world.tell("admin", f"{ALL}/n2", "DELETE"), 404, 'namespace "n2" not found')
    assert world.tell("pa", ONE, "DELETE").json() == {"message": "success"}
    answer = world.ask("admin", "GET", TENANT + ONE)
    assert answer.status == 404 or answer.json()["metadata"].get("deletionTimestamp")
