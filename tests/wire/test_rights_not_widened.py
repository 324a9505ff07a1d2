"""Small rights do not become large ones (spec 03, 8): ways around the checks of what is given and written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support_rights import EVERY_RESOURCE, IAM, RightsWorld, binding, role, rule

RAW = f"/apis/{IAM}"
NATIVE = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
TEMPLATES = "/apis/tenant.kubesphere.io/v1beta1/workspacetemplates"
MERGE = "application/merge-patch+json"


@pytest.fixture
def world() -> Iterator[RightsWorld]:
    made = RightsWorld()
    yield made
    made.close()


def given(world: RightsWorld, name: str, *rules: dict[str, Any], kind: str = "ClusterRole") -> None:
    """Let ``name`` have these rules."""
    world.gateway.apply(
        role(kind, f"of-{name}", list(rules)), binding(f"{kind}Binding", name, (kind, f"of-{name}"), name)
    )


def test_what_everybody_may_patch_at_one_place_is_not_handed_on(world: RightsWorld) -> None:
    """Templates are everybody's to patch at the API that looks at the patch, and only there (D6)."""
    writes = ["create", "update", "patch"]
    given(world, "bob", rule(["iam.kubesphere.io"], ["globalroles", "globalrolebindings"], writes), kind="GlobalRole")
    for groups in (["tenant.kubesphere.io"], ["*"]):
        mine = role("GlobalRole", "mine", [rule(groups, ["workspacetemplates"], ["patch"])])
        answer = world.ask("bob", "POST", f"{RAW}/globalroles", mine)
        assert answer.status == 403 and b"workspacetemplates" in answer.body
    # Somebody else may have made such a role.
    world.gateway.apply(mine)
    to_me = binding("GlobalRoleBinding", "mine", ("GlobalRole", "mine"), "bob")
    assert world.ask("bob", "POST", f"{RAW}/globalrolebindings", to_me).status == 403
    patch = {"spec": {"template": {"spec": {"manager": "bob"}}}}
    assert world.ask("bob", "PATCH", f"{TEMPLATES}/ws2", patch, MERGE).status == 403
    # What else everybody has may be handed on.
    fine = role("GlobalRole", "fine", [rule(["*"], ["nodes"], ["get", "list"])])
    assert world.ask("bob", "POST", f"{RAW}/globalroles", fine).status == 201


@pytest.mark.parametrize("said", [{}, {"kind": "ClusterRole"}, {"apiVersion": "rbac.authorization.k8s.io/v1"}])
def test_a_body_need_not_say_what_it_is(world: RightsWorld, said: dict[str, str]) -> None:
    """Kubernetes fills that in for kinds of its own; a role that takes up others is as strong as these."""
    given(world, "uma", rule(["rbac.authorization.k8s.io"], ["clusterroles"], ["create", "update", "get"]))
    wide = {**said, "metadata": {"name": "wide"}, "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {}}]}}
    assert world.ask("uma", "POST", NATIVE, wide).status == 403
    whole = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "wide"}}
    world.gateway.apply(whole)
    assert world.ask("uma", "PUT", f"{NATIVE}/wide", wide).status == 403
    assert world.ask("admin", "PUT", f"{NATIVE}/wide", {**whole, **wide}).status == 200


def test_the_right_to_write_one_kind_of_roles_is_not_that_to_write_another(world: RightsWorld) -> None:
    """What a body calls itself does not say on what ``escalate`` is needed."""
    given(
        world,
        "uma",
        rule(["rbac.authorization.k8s.io"], ["clusterroles"], ["create"]),
        rule(["rbac.authorization.k8s.io"], ["roles"], ["escalate"]),
        rule(["iam.kubesphere.io"], ["clusterroles", "roles"], ["escalate"]),
    )
    for kind in ("Role", "ClusterRole", ""):
        for version in ("rbac.authorization.k8s.io/v1", IAM):
            wide = {"apiVersion": version, "kind": kind, "metadata": {"name": "w"}, "rules": EVERY_RESOURCE}
            assert world.ask("uma", "POST", NATIVE, wide).status == 403, (kind, version)


def test_a_strong_role_is_not_put_into_others(world: RightsWorld) -> None:
    """By a label that others take up its rules by."""
    given(world, "uma", rule(["rbac.authorization.k8s.io"], ["clusterroles"], ["get", "update", "patch"]))
    strong = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "strong"},
        "rules": EVERY_RESOURCE,
    }
    world.gateway.apply(strong)
    label = {"metadata": {"labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}}}
    assert world.ask("uma", "PATCH", f"{NATIVE}/strong", label, MERGE).status == 403
    note = {"metadata": {"annotations": {"a": "b"}}}
    assert world.ask("uma", "PATCH", f"{NATIVE}/strong", note, MERGE).status == 200
    assert world.ask("admin", "PATCH", f"{NATIVE}/strong", label, MERGE).status == 200


def test_groups_that_kubernetes_gives_are_nobodys_to_join(world: RightsWorld) -> None:
    """Whoever is said to be in them is not."""
    given(world, "cr", rule(["iam.kubesphere.io"], ["groupbindings"], ["create"]))
    joining = {
        "apiVersion": IAM,
        "kind": "GroupBinding",
        "metadata": {"name": "cr"},
        "groupRef": {"apiGroup": "iam.kubesphere.io", "kind": "Group", "name": "system:masters"},
        "users": ["cr"],
    }
    assert world.ask("cr", "POST", f"{RAW}/groupbindings", joining).status == 201
    joining["metadata"], joining["groupRef"]["name"] = {"name": "cr2"}, "plain"
    assert world.ask("cr", "POST", f"{RAW}/groupbindings", joining).status == 201
    logins = world.gateway.gateway.logins
    assert logins is not None
    record = logins.directory.find("cr")
    assert record is not None and record.groups == ("plain",)


def test_parameters_that_others_leave_out(world: RightsWorld) -> None:
    """Go understands no parameter at all where there are more than 10,000: neither a selector nor ``dryRun``."""
    many = "&" * 10_001
    for who, method, target, body in (
        ("wv", "GET", "/api/v1/secrets?watch=true&labelSelector=kubesphere.io/workspace%3Dws1", None),
        ("nm", "GET", "/api/v1/namespaces/n1/configmaps?fieldSelector=metadata.name%3Dapp", None),
        ("ca", "PATCH", f"{RAW}/clusterroles/cluster-viewer?a=b", {"rules": EVERY_RESOURCE}),
    ):
        asked = len(world.gateway.embedded.requests)
        answer = world.ask(who, method, target + many, body, MERGE)
        assert answer.status == 400 and b"parameters" in answer.body
        assert len(world.gateway.embedded.requests) == asked


def test_workspaces_of_others_are_no_workspaces(world: RightsWorld) -> None:
    """A foreign kind that happens to be called so is not its namesake's administrator's."""
    assert world.ask("wa", "DELETE", "/apis/foo.io/v1/workspaces/ws1").status == 403
    assert world.ask("wa", "GET", "/apis/foo.io/v1/workspaces/ws1/console").status == 403
    assert world.ask("wa", "GET", "/apis/tenant.kubesphere.io/v1beta1/workspaces/ws1").status == 200
    assert world.ask("ca", "DELETE", "/apis/foo.io/v1/workspaces/ws1").status == 404


def test_a_role_too_long_to_compare_is_not_given(world: RightsWorld) -> None:
    given(world, "uma", rule(["iam.kubesphere.io"], ["users"], ["create", "update", "get", "patch"]), kind="GlobalRole")
    names = [f"n{number}" for number in range(25_000)]
    world.gateway.apply(role("GlobalRole", "long", [rule(["*"], ["nodes"], ["get"], names)]))
    new = {"metadata": {"annotations": {"iam.kubesphere.io/globalrole": "long"}}}
    answer = world.ask("uma", "PATCH", f"/kapis/{IAM}/users/bob", new, MERGE)
    assert answer.status == 403, answer.body


@pytest.mark.parametrize("kind", ["WorkspaceRole", "GlobalRole", "Robot"])
def test_what_new_workspaces_get_is_decided_by_a_label(world: RightsWorld, kind: str) -> None:
    """Whatever the role in a BuiltinRole calls itself, it takes up the templates of the label's scope."""
    given(world, "bob", rule(["iam.kubesphere.io"], ["builtinroles"], ["create"]))
    template = {
        "apiVersion": IAM,
        "kind": "RoleTemplate",
        "metadata": {"name": "secrets", "labels": {"iam.kubesphere.io/scope": "workspace"}},
        "spec": {"rules": [rule([""], ["secrets"], ["get"])]},
    }
    world.gateway.apply(template)
    made: dict[str, Any] = {"apiVersion": IAM, "kind": kind, "metadata": {"name": "regular"}, "rules": []}
    made["aggregationRoleTemplates"] = {"roleSelector": {}}
    built = {
        "apiVersion": IAM,
        "kind": "BuiltinRole",
        "metadata": {"name": "workspace-regular", "labels": {"iam.kubesphere.io/scope": "workspace"}},
        "role": made,
    }
    answer = world.ask("bob", "POST", f"{RAW}/builtinroles", built)
    assert answer.status == 403 and b"secrets" in answer.body
    del made["aggregationRoleTemplates"]
    assert world.ask("bob", "POST", f"{RAW}/builtinroles", built).status == 201
