"""Roles that are put together from templates: what changes a template changes the roles, also by taking away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support_controllers import IAM, World

SCOPE, AUTO = "iam.kubesphere.io/scope", "iam.kubesphere.io/auto-aggregate"
POLICY = "iam.kubesphere.io/rego-override"


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


def rule(resource: str, *verbs: str) -> dict[str, Any]:
    return {"apiGroups": [""], "resources": [resource], "verbs": list(verbs or ("get",))}


def rules(world: World, path: str) -> list[Any]:
    found = world.have(f"{IAM}/{path}")["rules"]
    assert isinstance(found, list)
    return found


def names(world: World, path: str) -> list[str]:
    found = world.have(f"{IAM}/{path}")["aggregationRoleTemplates"]["templateNames"]
    assert isinstance(found, list)
    return found


def test_what_is_shipped_comes_to_rest(world: World) -> None:
    assert rules(world, "globalroles/platform-admin")[0]["verbs"] == ["*"]
    assert len(rules(world, "globalroles/platform-admin")) == 2
    assert "global-manage-users" in names(world, "globalroles/platform-admin")
    assert len(rules(world, "clusterroles/cluster-viewer")) == 2
    policy = world.have(f"{IAM}/globalroles/platform-admin")["metadata"]["annotations"][POLICY]
    assert "RoleTemplate global-manage-clusters" in policy
    assert "rules" in world.have(f"{IAM}/globalroles/platform-regular")
    world.quiet()


@pytest.mark.parametrize(
    ("kind", "plural", "scope", "namespace"),
    [
        ("GlobalRole", "globalroles", "global", ""),
        ("WorkspaceRole", "workspaceroles", "workspace", ""),
        ("ClusterRole", "clusterroles", "cluster", ""),
        ("Role", "namespaces/default/roles", "namespace", "default"),
    ],
)
def test_named_templates_of_every_kind(world: World, kind: str, plural: str, scope: str, namespace: str) -> None:
    world.template("t1", [rule("pods")], scope)
    world.template("other", [rule("nodes")], "global" if scope != "global" else "cluster")
    aggregation = {"templateNames": ["t1", "other", "t2"]}
    world.role(kind, "r", [rule("events")], namespace=namespace, aggregationRoleTemplates=aggregation)
    path = f"{plural}/r"
    assert rules(world, path) == [rule("events"), rule("pods")]
    # A template comes, changes, goes.
    world.template("t2", [rule("secrets")], scope)
    assert rules(world, path) == [rule("events"), rule("pods"), rule("secrets")]
    world.template("t1", [rule("services", "list")], scope)
    assert rules(world, path) == [rule("events"), rule("services", "list"), rule("secrets")]
    world.delete(f"{IAM}/roletemplates/t1")
    assert rules(world, path) == [rule("events"), rule("secrets")]
    assert names(world, path) == ["t1", "other", "t2"]
    # It is named no more; nothing is named at all any more.
    world.patch(f"{IAM}/{path}", {"aggregationRoleTemplates": {"templateNames": []}})
    assert rules(world, path) == [rule("events")]
    world.patch(f"{IAM}/{path}", {"aggregationRoleTemplates": {"templateNames": ["t2"]}})
    world.patch(f"{IAM}/{path}", {"aggregationRoleTemplates": None})
    assert rules(world, path) == [rule("events")]
    assert "ksproxyd.io/aggregated" not in (world.have(f"{IAM}/{path}")["metadata"].get("annotations") or {})
    world.quiet()


def selecting(world: World, **annotations: str) -> None:
    aggregation = {"roleSelector": {"matchLabels": {"hook": "x"}}}
    world.role("GlobalRole", "r", [], annotations=annotations, aggregationRoleTemplates=aggregation)


def test_a_selector_follows_labels(world: World) -> None:
    selecting(world, **{AUTO: "true"})
    assert rules(world, "globalroles/r") == []
    world.template("t1", [rule("pods")], hook="x")
    world.template("t2", [rule("nodes")], hook="y")
    assert (rules(world, "globalroles/r"), names(world, "globalroles/r")) == ([rule("pods")], ["t1"])
    world.template("t2", [rule("nodes")], hook="x")
    assert names(world, "globalroles/r") == ["t1", "t2"]
    world.template("t1", [rule("pods")], hook="z")
    assert (rules(world, "globalroles/r"), names(world, "globalroles/r")) == ([rule("nodes")], ["t2"])
    world.quiet()


def test_without_auto_aggregation_new_templates_wait_for_the_role(world: World) -> None:
    world.template("t1", [rule("pods")], hook="x")
    selecting(world)
    assert names(world, "globalroles/r") == ["t1"]
    world.template("t2", [rule("nodes")], hook="x")
    assert names(world, "globalroles/r") == ["t1"]
    # What it has goes on following its template.
    world.template("t1", [rule("services")], hook="x")
    assert rule("services") in rules(world, "globalroles/r")
    world.patch(f"{IAM}/globalroles/r", {"metadata": {"labels": {"touched": "yes"}}})
    assert names(world, "globalroles/r") == ["t1", "t2"]


def test_policies_come_and_go(world: World) -> None:
    own = 'package authz\n\ndefault allow = false\n\nallow = true {\n  input.Verb == "watch"\n}'
    aggregation = {"templateNames": ["global-view-clusters"]}
    world.role("GlobalRole", "r", [], annotations={POLICY: own}, aggregationRoleTemplates=aggregation)
    found = world.have(f"{IAM}/globalroles/r")["metadata"]["annotations"][POLICY]
    assert found.startswith(own) and "RoleTemplate global-view-clusters" in found
    world.patch(f"{IAM}/globalroles/r", {"aggregationRoleTemplates": {"templateNames": []}})
    assert world.have(f"{IAM}/globalroles/r")["metadata"]["annotations"][POLICY] == own
    world.quiet()


def test_a_selector_that_is_none_changes_nothing(world: World) -> None:
    bad = {"roleSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}, "templateNames": ["t"]}
    world.role("GlobalRole", "r", [rule("pods")], aggregationRoleTemplates=bad)
    assert rules(world, "globalroles/r") == [rule("pods")]
    world.quiet()


def test_templates_that_are_all_gone_at_once_take_nothing_along(world: World) -> None:
    """That is a kind which is not served: an upgrade, or somebody's mistake."""
    before = names(world, "globalroles/platform-self-provisioner")
    crd = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/roletemplates.iam.kubesphere.io"
    world.role("GlobalRole", "r", [], aggregationRoleTemplates={"templateNames": ["global-view-users"]})
    kept = rules(world, "globalroles/r")
    assert kept
    world.delete(crd)
    world.wait(200.0)
    assert world.get(crd) is None
    world.patch(f"{IAM}/globalroles/r", {"metadata": {"labels": {"touched": "yes"}}})
    assert rules(world, "globalroles/r") == kept
    assert names(world, "globalroles/platform-self-provisioner") == before


def test_who_changes_a_role_back_all_the_time_is_left_alone_for_a_while(world: World) -> None:
    world.template("t1", [rule("pods")])
    world.role("GlobalRole", "r", [], aggregationRoleTemplates={"templateNames": ["t1"]})
    for _ in range(20):
        world.embedded.call("PATCH", f"{IAM}/globalroles/r", {"rules": []}, "application/merge-patch+json")
        world.wait(1.0)
    assert rules(world, "globalroles/r") == []
    world.wait(90.0)
    assert rules(world, "globalroles/r") == [rule("pods")]
