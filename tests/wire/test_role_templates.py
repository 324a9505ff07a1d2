"""What the roles of a user are made of (spec 03, 4.5; T37, T38)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support_iam import Cluster, binding, iam

TEMPLATES = (
    "global-everything",
    "cluster-all",
    "workspace-all",
    "workspace-view",
    "namespace-all",
    "namespace-view",
)


@pytest.fixture(scope="module")
def world() -> Iterator[Cluster]:
    found = Cluster()
    found.gateway.apply(
        *(iam("RoleTemplate", name, spec={"rules": []}) for name in TEMPLATES),
        binding("GlobalRoleBinding", "joe", "User joe", "GlobalRole platform-admin"),
        binding("GlobalRoleBinding", "nm", "User nm", "GlobalRole gone"),
        binding("ClusterRoleBinding", "joe", "User joe", "ClusterRole cluster-admin"),
        binding("WorkspaceRoleBinding", "joe1", "User joe", "WorkspaceRole ws1-admin", workspace="ws1"),
        binding("WorkspaceRoleBinding", "joe2", "User joe", "WorkspaceRole ws2-viewer", workspace="ws2"),
        binding("WorkspaceRoleBinding", "nm", "User nm", "WorkspaceRole gone", workspace="ws1"),
        # These give nothing.
        binding("WorkspaceRoleBinding", "odd1", "User cv", "WorkspaceRole ws2-admin", workspace="ws1"),
        binding("RoleBinding", "odd2", "User cv", "GlobalRole platform-admin", namespace="n1"),
        binding("RoleBinding", "joe1", "User joe", "Role admin", namespace="n1"),
        binding("RoleBinding", "joe2", "User joe", "Role viewer", namespace="n1"),
        binding("RoleBinding", "devs", "Group system:authenticated", "Role viewer", namespace="n1"),
    )
    yield found
    found.gateway.close()


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("scope=global", ["global-everything"]),
        ("scope=cluster", ["cluster-all"]),
        ("scope=workspace", ["workspace-all", "workspace-view"]),
        ("scope=workspace&workspace=ws2", ["workspace-view"]),
        ("scope=workspace&workspace=none", []),
        ("scope=namespace", ["namespace-all", "namespace-view", "namespace-view"]),
        ("scope=namespace&namespace=n1", ["namespace-all", "namespace-view", "namespace-view"]),
        ("scope=namespace&namespace=n2", []),
        ("scope=Global", []),
        ("", []),
        ("scope=global&limit=0&name=none", ["global-everything"]),
    ],
)
def test_ones_own(world: Cluster, query: str, found: list[str]) -> None:
    answer = world.call("joe", "GET", f"/users/joe/roletemplates?{query}")
    assert answer.status == 200, answer.body
    body = answer.json()
    assert (sorted(each["metadata"]["name"] for each in body["items"]), body["totalItems"]) == (found, len(found))
    assert all(each["kind"] == "RoleTemplate" for each in body["items"])


def test_the_order_is_that_of_the_role(world: Cluster) -> None:
    world.gateway.apply(binding("RoleBinding", "pa", "User pa", "Role admin", namespace="n1"))
    items = world.call("admin", "GET", "/users/pa/roletemplates?scope=namespace").json()["items"]
    assert [each["metadata"]["name"] for each in items] == ["namespace-all", "namespace-view"]


def test_roles_that_are_gone(world: Cluster) -> None:
    path = "/users/nm/roletemplates?scope="
    assert world.call("nm", "GET", path + "global").json() == {"items": [], "totalItems": 0}
    answer = world.call("nm", "GET", path + "workspace&workspace=ws1")
    assert (answer.status, answer.message()) == (404, 'WorkspaceRole.iam.kubesphere.io "gone" not found')


def test_bindings_that_give_nothing_show_nothing(world: Cluster) -> None:
    for query in ("scope=workspace", "scope=namespace"):
        answer = world.call("cv", "GET", f"/users/cv/roletemplates?{query}")
        assert answer.json() == {"items": [], "totalItems": 0}


def test_those_of_others_are_for_who_gets_users_of_every_group(world: Cluster) -> None:
    path = "/users/joe/roletemplates?scope=global"
    assert world.call("admin", "GET", path).json()["totalItems"] == 1
    answer = world.call("uma", "GET", path)
    assert answer.status == 403
    assert answer.message() == 'users.iam.kubesphere.io "joe" is forbidden: not allow to get users'
    assert answer.json()["details"] == {"name": "joe", "group": "iam.kubesphere.io", "kind": "users"}
