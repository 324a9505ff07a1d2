"""Who may make, change and delete workspaces, on the whole way: spec 03, 5.4, 5.5, and T46 to T52."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support_rights import binding, role, rule
from support_tenants import MERGE, PATCH, STORED, TENANT, TenantWorld, cluster, refused

CREATOR = "kubesphere.io/creator"


@pytest.fixture
def world() -> Iterator[TenantWorld]:
    found = TenantWorld()
    yield found
    found.close()


def template(name: str, manager: str = "alice", placement: Any = None, **metadata: Any) -> Any:
    where = {"clusters": [{"name": "open"}]} if placement is None else placement
    return {
        "metadata": {"name": name, **metadata},
        "spec": {"template": {"spec": {"manager": manager}}, "placement": where},
    }


def stored(world: TenantWorld, name: str = "ws1") -> Any:
    return world.stored(f"{STORED}/workspacetemplates/{name}")


def there(world: TenantWorld, name: str) -> bool:
    items = world.stored(f"{STORED}/workspacetemplates")["items"]
    return name in [each["metadata"]["name"] for each in items]


# -- creating ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("collection", ["/workspaces", "/workspacetemplates"])
def test_who_may_make_workspaces_makes_their_own(world: TenantWorld, collection: str) -> None:
    """T46."""
    answer = world.tell("alice", collection, "POST", template("new"))
    assert answer.status == 200, answer.body
    found = answer.json()
    assert "kind" not in found and "apiVersion" not in found
    assert found["metadata"]["annotations"] == {CREATOR: "alice"}
    assert found["spec"]["template"]["spec"] == {"manager": "alice"}
    assert world.names("admin", "/workspacetemplates?name=new") == ["new"], "heard of at once"
    refused(world.tell("alice", collection, "POST", template("new")), 409, "already exists")


def test_managers_of_others_workspaces_are_for_others_to_name(world: TenantWorld) -> None:
    refused(world.tell("alice", "/workspaces", "POST", template("new", "joe")), 403, "manager")
    refused(world.tell("alice", "/workspaces", "POST", template("new", "")), 403, "manager")
    assert not there(world, "new")
    assert world.tell("bob", "/workspaces", "POST", template("new", "joe")).status == 200


@pytest.mark.parametrize(
    ("placement", "status", "told"),
    [
        ({"clusters": [{"name": "far"}]}, 403, 'clusters.cluster.kubesphere.io "far" is forbidden'),
        ({"clusters": [{"name": "open"}, {"name": "gone"}]}, 404, 'Cluster.cluster.kubesphere.io "gone" not found'),
        ({"clusterSelector": {"matchLabels": {"region": "eu"}}}, 403, "not allowed to use the cluster far"),
        ({"clusterSelector": {}}, 403, "all clusters"),
        # What is not demanded of clusters is not demanded of those to come either.
        (
            {"clusterSelector": {"matchExpressions": [{"key": "region", "operator": "NotIn", "values": ["eu", ""]}]}},
            403,
            "all clusters",
        ),
        (
            {
                "clusterSelector": {
                    "matchExpressions": [
                        {"key": "region", "operator": "Exists"},
                        {"key": "region", "operator": "NotIn", "values": ["eu"]},
                    ]
                }
            },
            200,
            "",
        ),
        ({"clusters": "open"}, 400, "spec.placement.clusters"),
        ({"clusterSelector": {"matchLabels": {"region": "us"}}}, 200, ""),
        ({}, 200, ""),
    ],
)
def test_clusters_must_be_ones_own_to_use(world: TenantWorld, placement: Any, status: int, told: str) -> None:
    """D8."""
    answer = world.tell("alice", "/workspaces", "POST", template("new", placement=placement))
    assert answer.status == status, answer.body
    if status != 200:
        refused(answer, status, told)
    assert there(world, "new") is (status == 200)
    assert (
        world.tell("admin", "/workspaces", "POST", template("other", placement={"clusterSelector": {}})).status == 200
    )


def test_nobody_says_who_else_made_it(world: TenantWorld) -> None:
    """D19."""
    body = template("new", annotations={CREATOR: "admin", "a": "b"})
    assert world.tell("alice", "/workspaces", "POST", body).json()["metadata"]["annotations"] == {
        CREATOR: "alice",
        "a": "b",
    }
    body = template("other", annotations={CREATOR: "joe"})
    made = world.tell("admin", "/workspaces", "POST", body).json()
    assert made["metadata"]["annotations"] == {CREATOR: "joe"}


@pytest.mark.parametrize(
    ("body", "kind", "told"),
    [
        ([], "application/json", "JSON object"),
        ({"kind": "Workspace", "metadata": {"name": "new"}}, "application/json", "kind"),
        ({"metadata": 7}, "application/json", "metadata"),
        (b"{", "application/json", "JSON"),
        (b"", "application/json", "JSON"),
        (b"{}", "text/plain", "Unable to unmarshal content of type:text/plain"),
    ],
)
def test_what_is_no_workspace(world: TenantWorld, body: Any, kind: str, told: str) -> None:
    refused(world.tell("admin", "/workspaces", "POST", body, kind), 400, told)


def test_what_kubernetes_refuses_keeps_its_code(world: TenantWorld) -> None:
    """D28."""
    refused(world.tell("admin", "/workspaces", "POST", template("No Name")), 422)


# -- replacing -----------------------------------------------------------------------------------------------------


def test_names_must_match(world: TenantWorld) -> None:
    """T47."""
    answer = world.tell("admin", "/workspaces/ws1", "PUT", template("ws2"))
    refused(answer, 400, "the name of the object (ws2) does not match the name on the URL (ws1)")
    refused(world.tell("admin", "/workspaces/no", "PUT", template("no")), 404, "WorkspaceTemplate")


def test_an_administrator_of_a_workspace_replaces_it(world: TenantWorld) -> None:
    value = stored(world)
    value["metadata"]["annotations"] = {"kubesphere.io/description": "d"}
    refused(world.tell("wa", "/workspaces/ws1", "PUT", value), 403, "not allowed to use the cluster host")
    value["spec"]["placement"] = {"clusters": [{"name": "open"}]}
    refused(world.tell("wa", "/workspaces/ws1", "PUT", value), 403, "not allowed to use the cluster host")
    world.gateway.apply(binding("ClusterRoleBinding", "wa", ("ClusterRole", "cluster-admin"), "wa"))
    answer = world.tell("wa", "/workspaces/ws1", "PUT", value)
    assert answer.status == 200, answer.body
    assert answer.json()["kind"] == "WorkspaceTemplate"
    assert stored(world)["spec"]["placement"] == {"clusters": [{"name": "open"}]}
    refused(world.tell("admin", "/workspaces/ws1", "PUT", value), 409)
    refused(world.tell("wv", "/workspaces/ws1", "PUT", value), 403)


def test_nobody_has_a_workspace_made_again_for_somebody_else(world: TenantWorld) -> None:
    value = stored(world)
    value["metadata"] |= {"finalizers": ["kubesphere.io/cascading-deletion"], "annotations": {CREATOR: "joe"}}
    value["spec"]["placement"] = {"clusters": [{"name": "open"}]}
    assert world.tell("admin", "/workspaces/ws1", "PUT", value).status == 200
    for part in ("finalizers", "annotations"):
        value = stored(world)
        del value["metadata"][part]
        refused(world.tell("wa", "/workspaces/ws1", "PUT", value), 403, "finalizer")
    value = stored(world)
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "7"}
    value["metadata"]["ownerReferences"] = [owner]
    refused(world.tell("wa", "/workspaces/ws1", "PUT", value), 403, "owners")
    value = stored(world)
    del value["metadata"]["finalizers"]
    assert world.tell("bob", "/workspaces/ws1", "PUT", value).status == 200


# -- patching ------------------------------------------------------------------------------------------------------


def op(kind: str, path: str, *value: Any) -> Any:
    return {"op": kind, "path": path, **({"value": value[0]} if value else {})}


LABEL = op("add", "/metadata/labels", {"a": "b"})


def test_a_patch_is_an_array(world: TenantWorld) -> None:
    """T50."""
    for kind in (MERGE, PATCH, "application/json"):
        refused(world.tell("admin", "/workspaces/ws1", "PATCH", {"metadata": {}}, kind), 400, "JSON Patch")


def test_other_types_are_not_supported(world: TenantWorld) -> None:
    """T52."""
    refused(world.tell("admin", "/workspaces/ws1", "PATCH", [], "text/plain"), 415)
    refused(world.ask("admin", "PATCH", TENANT + "/workspaces/ws1"), 415)


def test_placements_are_added_and_removed(world: TenantWorld) -> None:
    """T51."""
    patch = [op("replace", "/spec/placement/clusters", [])]
    refused(world.tell("admin", "/workspaces/ws1", "PATCH", patch, PATCH), 400, "not support operation type")


@pytest.mark.parametrize("kind", [MERGE, PATCH, "application/json"])
def test_who_manages_workspaces_patches_what_they_like(world: TenantWorld, kind: str) -> None:
    patch = [LABEL, op("replace", "/spec/template/spec/manager", "joe")]
    answer = world.tell("bob", "/workspacetemplates/ws1", "PATCH", patch, kind)
    assert answer.status == 200, answer.body
    found = answer.json()
    assert (found["kind"], found["metadata"]["labels"], found["spec"]["template"]["spec"]["manager"]) == (
        "WorkspaceTemplate",
        {"a": "b"},
        "joe",
    )


@pytest.mark.parametrize("user", ["joe", "wv", "pa", "alice"])
def test_who_does_not_change_a_workspace_does_not_patch_it(world: TenantWorld, user: str) -> None:
    """D6, D7: everybody who is logged in is let in here."""
    for patch in (
        [LABEL],
        [],
        [op("remove", "/spec/placement/clusters/0", {"name": "open"})],
        [op("add", "/spec/placement", {"clusterSelector": {}})],
    ):
        refused(world.tell(user, "/workspacetemplates/ws1", "PATCH", patch, PATCH), 403, "ws1")
    assert stored(world)["spec"]["placement"] == {"clusters": [{"name": "host"}]}


def test_an_administrator_of_a_workspace_patches_its_placement(world: TenantWorld) -> None:
    path = "/workspaces/ws1"
    refused(world.tell("wa", path, "PATCH", [LABEL], PATCH), 403, "only the placement")
    added = [op("add", "/spec/placement/clusters/-", {"name": "open"})]
    answer = world.tell("wa", path, "PATCH", added, PATCH)
    assert answer.status == 200, answer.body
    assert answer.json()["spec"]["placement"] == {"clusters": [{"name": "host"}, {"name": "open"}]}
    removed = [op("remove", "/spec/placement/clusters/1")]
    assert world.tell("wa", path, "PATCH", removed, PATCH).status == 200


@pytest.mark.parametrize(
    ("patch", "told"),
    [
        ([op("remove", "/spec/placement/clusters/0", {"name": "open"})], "host"),
        ([op("add", "/spec/placement/clusters/-", {"name": "far"})], "far"),
        ([op("add", "/spec/placement", {"clusterSelector": {}})], "all clusters"),
        ([op("add", "/spec/placement", {"clusterSelector": {"matchLabels": {"region": "eu"}}})], "far"),
        (
            [
                op("add", "/spec/placement/clusterSelector", {"matchLabels": {"region": "eu"}}),
                op("remove", "/spec/placement/clusters"),
            ],
            "far",
        ),
        ([op("add", "/spec/placement", {"clusters": [{"name": "open"}]})], "host"),
    ],
)
def test_clusters_that_come_and_go_must_be_ones_own(world: TenantWorld, patch: Any, told: str) -> None:
    """D7."""
    before = stored(world)
    refused(world.tell("wa", "/workspaces/ws1", "PATCH", patch, PATCH), 403, told)
    assert stored(world) == before
    assert world.tell("admin", "/workspaces/ws1", "PATCH", patch, PATCH).status == 200


def test_clusters_that_are_gone_do_not_hold_a_workspace(world: TenantWorld) -> None:
    patch = [op("add", "/spec/placement/clusters/-", {"name": "gone"})]
    refused(world.tell("admin", "/workspaces/ws1", "PATCH", patch, PATCH), 404, "gone")
    world.gateway.apply(cluster("gone"))
    assert world.tell("admin", "/workspaces/ws1", "PATCH", patch, PATCH).status == 200
    world.gateway.delete(cluster("gone"))
    assert (
        world.tell("wa", "/workspaces/ws1", "PATCH", [op("remove", "/spec/placement/clusters/1")], PATCH).status == 200
    )


def test_patches_that_cannot_be(world: TenantWorld) -> None:
    def tell(*patch: Any) -> Any:
        return world.tell("admin", "/workspaces/ws1", "PATCH", list(patch), PATCH)

    refused(tell(op("add", "/metadata/name", "ws2")), 400, "does not match")
    refused(tell(op("remove", "/metadata/nothing")), 422, "cannot be applied")
    refused(tell(op("add", "", {"metadata": {"name": "ws1"}, "kind": "User"})), 400, "kind")
    refused(tell(op("add", "/metadata/resourceVersion", "1")), 409)
    refused(world.tell("admin", "/workspaces/none", "PATCH", [LABEL], PATCH), 404, "WorkspaceTemplate")


# -- deleting ------------------------------------------------------------------------------------------------------


def test_deleting_takes_a_body(world: TenantWorld) -> None:
    """T48."""
    refused(world.ask("admin", "DELETE", TENANT + "/workspaces/ws1"), 400, "Unable to unmarshal content of type:")
    refused(world.tell("admin", "/workspaces/ws1", "DELETE", []), 400, "DeleteOptions")
    refused(world.tell("admin", "/workspaces/ws1", "DELETE", {"propagationPolicy": "Never"}), 400, "Orphan")
    refused(world.tell("admin", "/workspaces/ws1", "DELETE", {"dryRun": ["All"]}), 400, "dryRun")
    refused(world.tell("wv", "/workspaces/ws1", "DELETE", {}), 403)
    answer = world.tell("wa", "/workspaces/ws1", "DELETE", {})
    assert (answer.status, answer.json()) == (200, {"message": "success"})
    assert not there(world, "ws1")
    refused(
        world.tell("admin", "/workspaces/ws1", "DELETE", {}),
        404,
        'WorkspaceTemplate.tenant.kubesphere.io "ws1" not found',
    )


@pytest.mark.parametrize("more", [{}, {"preconditions": True}])
def test_what_becomes_of_namespaces_is_noted(world: TenantWorld, more: Any) -> None:
    """T49."""
    value = stored(world)
    value["metadata"]["finalizers"] = ["kubesphere.io/cascading-deletion"]
    value = world.tell("admin", "/workspaces/ws1", "PUT", value).json()
    if more:
        known = {"uid": value["metadata"]["uid"], "resourceVersion": value["metadata"]["resourceVersion"]}
        more = {"preconditions": known}
    answer = world.tell("admin", "/workspaces/ws1", "DELETE", {"propagationPolicy": "Orphan", **more})
    assert answer.status == 200, answer.body
    found = stored(world)["metadata"]
    assert found["annotations"]["kubesphere.io/deletion-propagation"] == "Orphan"
    assert found["deletionTimestamp"]


def test_preconditions_are_kept(world: TenantWorld) -> None:
    for known in ({"uid": "other"}, {"resourceVersion": "1"}):
        for policy in ({}, {"propagationPolicy": "Orphan"}):
            body = {"preconditions": known, **policy}
            refused(world.tell("admin", "/workspaces/ws1", "DELETE", body), 409)
    assert "annotations" not in stored(world)["metadata"]


# -- clusters of a workspace -----------------------------------------------------------------------------------------


def test_clusters_of_a_workspace(world: TenantWorld) -> None:
    path = "/workspaces/ws1/clusters"
    found = world.tell("wa", path).json()
    assert [each["metadata"]["name"] for each in found["items"]] == ["host"] and found["totalItems"] == 1
    assert found["items"][0]["spec"] == {"enable": True, "connection": {"type": "direct"}}
    selector = {"matchExpressions": [{"key": "region", "operator": "In", "values": ["eu", "us"]}]}
    patch = [op("add", "/spec/placement", {"clusterSelector": selector})]
    assert world.tell("admin", "/workspaces/ws1", "PATCH", patch, PATCH).status == 200
    assert world.names("wa", path) == ["far", "open"], "D30: the whole selector"
    refused(world.tell("admin", "/workspaces/none/clusters"), 404, "WorkspaceTemplate")


def test_managing_the_clusters_is_enough_to_use_them(world: TenantWorld) -> None:
    world.gateway.apply(
        role("GlobalRole", "clusters", [rule(["cluster.kubesphere.io"], ["clusters"], ["delete"])]),
        binding("GlobalRoleBinding", "wa", ("GlobalRole", "clusters"), "wa"),
    )
    patch = [op("add", "/spec/placement", {"clusterSelector": {}})]
    assert world.tell("wa", "/workspaces/ws1", "PATCH", patch, PATCH).status == 200
