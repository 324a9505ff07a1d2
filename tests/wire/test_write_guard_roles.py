"""Roles and bindings at the Kubernetes API: nobody gives themselves what they do not have (spec 03, 8.2; T75, T76)."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from support_guard import APPLY, MERGE, PATCH, STRATEGIC, GuardWorld
from support_rights import EVERY_RESOURCE, IAM, READING, binding, role, rule

from ksproxyd.testing import Answer

NATIVE = "rbac.authorization.k8s.io/v1"
N1 = f"/apis/{IAM}/namespaces/n1"
NATIVE_N1 = f"/apis/{NATIVE}/namespaces/n1"


@pytest.fixture
def world() -> Iterator[GuardWorld]:
    """``alice`` writes roles and bindings in n1, where she reads pods; so does ``bob``, who may bind ``admin``."""
    roles = rule(["iam.kubesphere.io", "rbac.authorization.k8s.io"], ["roles", "rolebindings"], WRITES)
    pods = rule([""], ["pods"], ["get", "list"])
    bind = rule(["iam.kubesphere.io"], ["roles"], ["bind"], ["admin"])
    world = GuardWorld(
        role("Role", "writer", [roles, pods], namespace="n1"),
        role("Role", "binder", [roles, bind], namespace="n1"),
        role("Role", "small", [pods], namespace="n1"),
        binding("RoleBinding", "alice", ("Role", "writer"), "alice", namespace="n1"),
        binding("RoleBinding", "bob", ("Role", "binder"), "bob", namespace="n1"),
        native("Role", "small", [pods]),
        native("Role", "all", EVERY_RESOURCE),
    )
    yield world
    world.close()


WRITES = ["get", "list", "create", "update", "patch", "delete", "deletecollection"]


def native(kind: str, name: str, rules: list[Any]) -> Any:
    metadata = {"name": name, **({"namespace": "n1"} if kind == "Role" else {})}
    return {"apiVersion": NATIVE, "kind": kind, "metadata": metadata, "rules": rules}


def native_binding(name: str, ref: str, *users: str) -> Any:
    subjects = [{"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"} for user in users]
    return {
        "apiVersion": NATIVE,
        "kind": "RoleBinding",
        "metadata": {"name": name, "namespace": "n1"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": ref},
        "subjects": subjects,
    }


def lacks(answer: Answer, *told: str) -> None:
    """The refusal says what is missing."""
    assert answer.status == 403, (answer.status, answer.body)
    message = answer.json()["message"]
    for each in ("is forbidden", *told):
        assert each in message, message


def ours(name: str, ref: str, *users: str) -> Any:
    return binding("RoleBinding", name, ("Role", ref), *users, namespace="n1")


@pytest.mark.parametrize("root", [N1, NATIVE_N1])
def test_roles_hold_no_more_than_who_writes_them(world: GuardWorld, root: str) -> None:
    pods, secrets = rule([""], ["pods"], ["get"]), rule([""], ["secrets"], ["get"])

    def made(name: str, *rules: Any) -> Any:
        return {"metadata": {"name": name}, "rules": list(rules), **world.kind(root, "Role")}

    assert world.ask("alice", "POST", f"{root}/roles", made("a", pods)).status == 201
    lacks(world.ask("alice", "POST", f"{root}/roles", made("b", pods, secrets)), '"secrets"', '"escalate"')
    stored = world.stored(f"{root}/roles/a")
    lacks(world.ask("alice", "PUT", f"{root}/roles/a", {**stored, "rules": [pods, secrets]}), '"secrets"')
    lacks(world.ask("alice", "PATCH", f"{root}/roles/a", {"rules": [secrets]}, MERGE), '"secrets"')
    add = [{"op": "add", "path": "/rules/-", "value": secrets}]
    lacks(world.ask("alice", "PATCH", f"{root}/roles/a", add, PATCH), '"secrets"')
    lacks(
        world.ask("alice", "PATCH", f"{root}/roles/a?fieldManager=me&force=true", made("a", secrets), APPLY), "secrets"
    )
    lacks(world.ask("alice", "PATCH", f"{root}/roles/c?fieldManager=me", made("c", secrets), APPLY), "secrets")
    assert world.stored(f"{root}/roles/a")["rules"] == [pods]
    assert world.names(f"{root}/roles") & {"b", "c"} == set()
    # What is held already, in every way; and what is not about rules.
    assert world.ask("alice", "PATCH", f"{root}/roles/a", {"metadata": {"labels": {"x": "y"}}}, MERGE).status == 200
    assert world.ask("alice", "PATCH", f"{root}/roles/c?fieldManager=me", made("c", pods), APPLY).status == 201
    assert world.ask("alice", "DELETE", f"{root}/roles/c").status == 200
    assert world.ask("pa", "POST", f"{root}/roles", made("d", pods, secrets)).status == 201
    # Somebody else's work may be kept, and taken away.
    wide = world.stored(f"{root}/roles/d")
    wide["metadata"]["labels"] = {"x": "y"}
    assert world.ask("alice", "PUT", f"{root}/roles/d", wide).status == 200
    assert world.ask("alice", "PATCH", f"{root}/roles/d", {"rules": [secrets]}, MERGE).status == 200


def test_a_strategic_patch_is_looked_at_as_well(world: GuardWorld) -> None:
    path = f"{NATIVE_N1}/roles/small"
    lacks(world.ask("alice", "PATCH", path, {"rules": EVERY_RESOURCE}, STRATEGIC))
    for tricky in ({"metadata": {"$patch": "replace"}}, {"$patch": "replace"}, {"metadata": {"$retainKeys": ["name"]}}):
        assert world.ask("alice", "PATCH", path, tricky, STRATEGIC).status == 400
    assert world.ask("alice", "PATCH", path, {"metadata": {"labels": {"x": "y"}}}, STRATEGIC).status == 200


def test_a_role_is_given_by_who_has_it_or_may_bind_it(world: GuardWorld) -> None:
    lacks(world.ask("alice", "POST", f"{N1}/rolebindings", ours("x", "admin", "alice")), '"*"', '"bind"')
    assert world.ask("alice", "POST", f"{N1}/rolebindings", ours("y", "small", "joe")).status == 201
    lacks(world.ask("bob", "POST", f"{N1}/rolebindings", ours("w", "operator", "joe")))
    assert world.ask("bob", "POST", f"{N1}/rolebindings", ours("z", "admin", "bob")).status == 201
    lacks(world.ask("alice", "POST", f"{N1}/rolebindings", ours("v", "not-yet", "alice")), "does not exist")
    assert world.names(f"{N1}/rolebindings") & {"w", "x", "v"} == set()


def test_bindings_of_others_are_not_widened_nor_turned(world: GuardWorld) -> None:
    path = f"{N1}/rolebindings/pa"
    eve = {"kind": "User", "name": "alice"}
    lacks(world.ask("alice", "PATCH", path, [{"op": "add", "path": "/subjects/-", "value": eve}], PATCH))
    lacks(world.ask("alice", "PATCH", path, {"subjects": [eve]}, MERGE))
    to_admin = {"roleRef": {"kind": "Role", "name": "admin"}}
    assert world.ask("alice", "POST", f"{N1}/rolebindings", ours("y", "small", "alice")).status == 201
    turned = world.ask("pa", "PATCH", f"{N1}/rolebindings/y", to_admin, MERGE)
    assert turned.status == 422 and "roleRef" in turned.json()["message"]
    assert world.ask("alice", "PATCH", path, {"metadata": {"labels": {"x": "y"}}}, MERGE).status == 200
    assert world.ask("alice", "PATCH", path, {"subjects": []}, MERGE).status == 200


def test_roles_of_other_kinds_are_not_given_in_namespaces(world: GuardWorld) -> None:
    odd = binding("RoleBinding", "odd", ("GlobalRole", "platform-admin"), "pa", namespace="n1")
    answer = world.ask("pa", "POST", f"{N1}/rolebindings", odd)
    assert answer.status == 422 and "GlobalRole" in answer.json()["message"]


def test_native_bindings_are_to_what_one_has(world: GuardWorld) -> None:
    lacks(world.ask("alice", "POST", f"{NATIVE_N1}/rolebindings", native_binding("x", "all", "alice")))
    lacks(world.ask("alice", "POST", f"{NATIVE_N1}/rolebindings", native_binding("x", "ghost", "alice")), "not exist")
    assert world.ask("alice", "POST", f"{NATIVE_N1}/rolebindings", native_binding("y", "small", "joe")).status == 201
    assert world.ask("pa", "POST", f"{NATIVE_N1}/rolebindings", native_binding("z", "all", "joe")).status == 201


@pytest.mark.parametrize(
    ("plural", "kind", "ref"),
    [("globalrolebindings", "GlobalRoleBinding", "platform-admin"), ("globalroles", "GlobalRole", "")],
)
def test_the_administrator_of_the_cluster_makes_nobody_that_of_the_platform(
    world: GuardWorld, plural: str, kind: str, ref: str
) -> None:
    made = binding(kind, "x", ("GlobalRole", ref), "ca") if ref else role(kind, "x", EVERY_RESOURCE)
    assert world.ask("ca", "POST", f"/apis/{IAM}/{plural}", made).status == 403
    assert world.ask("admin", "POST", f"/apis/{IAM}/{plural}", made).status == 201


def test_templates_are_written_by_those_who_have_their_rules_everywhere(world: GuardWorld) -> None:
    made = {
        "apiVersion": IAM,
        "kind": "RoleTemplate",
        "metadata": {"name": "x", "labels": {"iam.kubesphere.io/aggregate-to-authenticated": ""}},
        "spec": {"rules": READING},
    }
    lacks(world.ask("ca", "POST", f"/apis/{IAM}/roletemplates", made))
    assert world.ask("admin", "POST", f"/apis/{IAM}/roletemplates", made).status == 201


def test_who_joins_a_group_gets_what_it_has(world: GuardWorld) -> None:
    world.gateway.apply(
        binding("ClusterRoleBinding", "gs", ("ClusterRole", "groups"), "alice"),
        role("ClusterRole", "groups", [rule(["iam.kubesphere.io"], ["groupbindings"], ["*"])]),
    )
    world.gateway.wait(1.0)
    path = f"/apis/{IAM}/groupbindings/devs"
    lacks(world.ask("alice", "PATCH", path, {"users": ["dev", "joe"]}, MERGE), "pods/log")
    assert world.ask("alice", "PATCH", path, {"metadata": {"labels": {"x": "y"}}}, MERGE).status == 200
    assert world.ask("admin", "PATCH", path, {"users": ["dev", "joe"]}, MERGE).status == 200


def test_all_roles_at_once_are_for_who_may_do_everything(world: GuardWorld) -> None:
    lacks(world.ask("alice", "DELETE", f"{N1}/roles"))
    assert world.ask("pa", "DELETE", f"{N1}/roles").status == 200


# -- forms -----------------------------------------------------------------------------------------------------


def test_what_cannot_be_looked_at_is_not_written(world: GuardWorld) -> None:
    good = role("Role", "x", [], namespace="n1")
    for kind in ("application/vnd.kubernetes.protobuf", "application/yaml", "text/plain"):
        assert world.ask("pa", "POST", f"{N1}/roles", good, kind).status == 415
    assert world.ask("pa", "PATCH", f"{N1}/roles/admin", good).status == 415
    for body in (b"{", b"[]", b"\xff", b"3"):
        assert world.ask("pa", "POST", f"{N1}/roles", body).status == 400
    upgrade = [(b"Connection", b"upgrade"), (b"Upgrade", b"websocket")]
    assert world.ask("pa", "DELETE", f"{N1}/roles/viewer", headers=upgrade).status == 400
    odd = role("Role", "x", [{"verbs": ["get", None], "apiGroups": [""], "resources": ["pods"]}], namespace="n1")
    assert world.ask("pa", "POST", f"{N1}/roles", odd).status == 400
    assert world.ask("pa", "POST", f"{NATIVE_N1}/roles", {**odd, "apiVersion": NATIVE}).status == 400
    huge = role("Role", "x", [], namespace="n1")
    huge["metadata"]["annotations"] = {"x": "y" * 1024 * 1024}
    assert world.ask("pa", "POST", f"{N1}/roles", huge).status == 413


def test_a_name_that_is_there_twice_says_what_was_read(world: GuardWorld) -> None:
    body = (
        b'{"apiVersion":"iam.kubesphere.io/v1beta1","kind":"Role","metadata":{"name":"x"},'
        b'"rules":[{"verbs":["*"],"apiGroups":["*"],"resources":["*"]}],"rules":[]}'
    )
    assert world.ask("alice", "POST", f"{N1}/roles", body).status == 201
    assert world.stored(f"{N1}/roles/x")["rules"] == []


def test_a_dry_run_stays_one(world: GuardWorld) -> None:
    answer = world.ask("alice", "PATCH", f"{N1}/roles/small?dryRun=All", {"rules": []}, MERGE)
    assert answer.status == 200 and answer.json()["rules"] == []
    assert world.stored(f"{N1}/roles/small")["rules"]
    lacks(world.ask("alice", "PATCH", f"{N1}/roles/small?dryRun=All", {"rules": READING}, MERGE))


def test_what_the_server_says_of_a_patch_is_said(world: GuardWorld) -> None:
    path = f"{N1}/roles/small"
    assert world.ask("alice", "PATCH", f"{N1}/roles/none", {"rules": []}, MERGE).status == 404
    assert world.ask("alice", "PATCH", path, [{"op": "test", "path": "/kind", "value": "x"}], PATCH).status == 422
    assert world.ask("alice", "PATCH", path, {"rules": "x"}, MERGE).status in (400, 422)
    stale = {"metadata": {"resourceVersion": "1"}, "rules": []}
    for kind in (MERGE, APPLY):
        body = {**role("Role", "small", []), **stale} if kind == APPLY else stale
        assert world.ask("alice", "PATCH", f"{path}?fieldManager=me", body, kind).status == 409
    put = {**world.stored(path), "metadata": {"name": "small", "resourceVersion": "1"}}
    assert world.ask("alice", "PUT", path, put).status == 409
    assert world.stored(path)["rules"]


# -- what was looked at is what is done ------------------------------------------------------------------------


def test_a_role_that_changes_meanwhile_is_looked_at_again(world: GuardWorld) -> None:
    """The role is widened between the look and the write: the patch would give its subjects what nobody looked at."""
    path = f"{N1}/rolebindings"
    assert world.ask("alice", "POST", path, ours("y", "small", "joe")).status == 201
    tries: list[str] = []

    def meanwhile(method: str, target: str) -> None:
        """Between our look at the binding and the dry run, twice."""
        if method == "PATCH" and "dryRun" in target and len(tries) < 2:
            tries.append(target)
            world.gateway.embedded.call("PATCH", f"{path}/y", {"metadata": {"labels": {"n": str(len(tries))}}}, MERGE)

    world.before(meanwhile)
    answer = world.ask("alice", "PATCH", f"{path}/y", {"metadata": {"labels": {"x": "y"}}}, MERGE)
    assert answer.status == 200 and len(tries) == 2
    assert world.stored(f"{path}/y")["metadata"]["labels"]["n"] == "2"


@pytest.mark.parametrize("kind", [MERGE, PATCH, APPLY, "PUT"])
def test_a_write_is_of_the_version_that_was_looked_at(world: GuardWorld, kind: str) -> None:
    path = f"{N1}/roles/small"
    before = world.stored(path)
    done: list[str] = []

    def meanwhile(method: str, target: str) -> None:
        """Behind the look, before the write itself."""
        if method in ("PATCH", "PUT") and "dryRun" not in target and not done:
            done.append(target)
            world.gateway.embedded.call("PATCH", path, {"metadata": {"labels": {"n": "1"}}}, MERGE)

    world.before(meanwhile)
    bodies: dict[str, Any] = {
        MERGE: {"rules": []},
        PATCH: [{"op": "replace", "path": "/rules", "value": []}],
        APPLY: {"metadata": {"name": "small"}, "rules": [], **world.kind(N1, "Role")},
        "PUT": {**before, "metadata": {"name": "small", "namespace": "n1"}, "rules": []},
    }
    if kind == "PUT":
        answer = world.ask("pa", "PUT", path, bodies[kind])
    else:
        force = "&force=true" if kind == APPLY else ""
        answer = world.ask("pa", "PATCH", f"{path}?fieldManager=me{force}", bodies[kind], kind)
    assert done and answer.status in (409, 422), answer.body
    assert world.stored(path)["rules"] == before["rules"]


def test_other_objects_are_not_looked_at(world: GuardWorld) -> None:
    asked: list[str] = []
    world.before(lambda method, target: asked.append(f"{method} {target}"))
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s"},
        "data": {"a": base64.b64encode(b"b").decode()},
    }
    assert world.ask("pa", "POST", "/api/v1/namespaces/n1/secrets", secret).status == 201
    assert world.ask("pa", "GET", f"{N1}/roles").status == 200
    assert [each for each in asked if "watch" not in each] == [
        "POST /api/v1/namespaces/n1/secrets",
        f"GET {N1}/roles",
    ]
