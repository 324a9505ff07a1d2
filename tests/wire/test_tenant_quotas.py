"""Quotas of workspaces, clusters and numbers, on the whole way: spec 03, 5.5, 5.7, 5.8, D28, D30, T42, T56."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support_rights import binding
from support_tenants import WORKSPACE, TenantWorld, cluster, refused

ALL = "/workspaces/ws1/resourcequotas"
ONE = ALL + "/q1"
STORED = "/apis/quota.kubesphere.io/v1alpha2/resourcequotas"


@pytest.fixture
def world() -> Iterator[TenantWorld]:
    found = TenantWorld()
    yield found
    found.close()


# -- quotas ----------------------------------------------------------------------------------------------------------


def quota(name: str = "q1", **more: Any) -> Any:
    return {"metadata": {"name": name}, "spec": {"quota": {"hard": {"limits.cpu": "4"}}}, **more}


def test_a_quota_counts_what_is_in_its_workspace(world: TenantWorld) -> None:
    """T56."""
    body = quota(spec={"selector": {WORKSPACE: "ws2", "a": "b"}, "quota": {"hard": {"limits.cpu": "4"}}})
    body["metadata"]["labels"] = {WORKSPACE: "ws2", "c": "d"}
    answer = world.tell("wa", ALL, "POST", body)
    assert answer.status == 200, answer.body
    assert "kind" not in answer.json()
    found = world.stored(f"{STORED}/q1")
    assert found["metadata"]["labels"] == {WORKSPACE: "ws1", "c": "d"}
    assert found["spec"] == {"selector": {WORKSPACE: "ws1"}, "quota": {"hard": {"limits.cpu": "4"}}}
    assert world.tell("wv", ONE).json()["kind"] == "ResourceQuota"
    refused(
        world.tell("admin", ONE.replace("ws1", "ws2")),
        404,
        'resourcequota.quota.kubesphere.io "q1" not found',
    )
    refused(world.tell("admin", ALL + "/none"), 404, 'ResourceQuota.quota.kubesphere.io "none" not found')


def test_changing_and_deleting_quotas(world: TenantWorld) -> None:
    made = world.tell("wa", ALL, "POST", quota()).json()
    made["spec"] = {"quota": {"hard": {"limits.cpu": "8"}}, "selector": {WORKSPACE: "ws2"}}
    made["metadata"]["labels"] = {WORKSPACE: "ws2"}
    refused(world.tell("wv", ONE, "PUT", made), 403)
    refused(world.tell("admin", ALL + "/q2", "PUT", made), 400, "(q1) does not match the name on the URL (q2)")
    refused(world.tell("admin", ONE.replace("ws1", "ws2"), "PUT", made), 404, "resourcequota.quota")
    answer = world.tell("wa", ONE, "PUT", made)
    assert answer.status == 200, answer.body
    assert answer.json()["spec"] == {"quota": {"hard": {"limits.cpu": "8"}}, "selector": {WORKSPACE: "ws1"}}
    assert world.stored(f"{STORED}/q1")["metadata"]["labels"] == {WORKSPACE: "ws1"}
    refused(world.tell("wa", ONE, "PUT", made), 409)
    refused(world.tell("wv", ONE, "DELETE"), 403)
    refused(world.tell("admin", ONE.replace("ws1", "ws2"), "DELETE"), 404, "resourcequota.quota")
    assert world.tell("wa", ONE, "DELETE").json() == {"message": "success"}
    refused(world.tell("wa", ONE, "DELETE"), 404, 'ResourceQuota.quota.kubesphere.io "q1" not found')


def test_what_is_no_quota(world: TenantWorld) -> None:
    refused(world.tell("wa", ALL, "POST", b"x"), 400, "JSON")
    refused(world.tell("wa", ALL, "POST", quota(spec=[])), 400, "spec")
    assert world.tell("wa", ALL, "POST", quota()).status == 200
    refused(world.tell("wa", ALL, "POST", quota()), 409, "already exists")
    refused(world.tell("wa", ALL.replace("ws1", "ws2"), "POST", quota("q2")), 403)


def test_quotas_of_others_can_be_hidden() -> None:
    world = TenantWorld(more="  tenancy: {hideForeign: true}")
    assert world.tell("wa", ALL, "POST", quota()).status == 200
    refused(world.tell("joe", ONE), 404, 'ResourceQuota.quota.kubesphere.io "q1" not found')
    assert world.tell("wv", ONE).status == 200
    world.close()


# -- clusters --------------------------------------------------------------------------------------------------------


def test_clusters_that_are_granted_are_seen_without_their_kubeconfig(world: TenantWorld) -> None:
    """T42."""
    assert world.names("joe", "/clusters") == []
    joe = world.stored("/apis/iam.kubesphere.io/v1beta1/users/joe")
    joe["metadata"]["annotations"] = {"iam.kubesphere.io/granted-clusters": "far,gone"}
    world.gateway.apply(joe)
    found = world.tell("joe", "/clusters").json()
    assert [each["metadata"]["name"] for each in found["items"]] == ["far"] and found["totalItems"] == 1
    # Who manages clusters sets up their agents, with this token.
    for user, shown in (("joe", {"type": "direct"}), ("admin", {"type": "direct", "token": "t0ken"})):
        answer = world.tell(user, "/clusters?names=far")
        assert b"kubeconfig" not in answer.body and b"c2VjcmV0" not in answer.body
        assert answer.json()["items"][0]["spec"]["connection"] == shown
    assert world.names("joe", "/clusters?labelSelector=region=us") == []
    assert world.names("admin", "/clusters?label=region=us") == ["open"]


def test_this_cluster_is_seen_by_who_is_bound_in_it(world: TenantWorld) -> None:
    assert world.names("cv", "/clusters") == ["host"]
    assert world.names("pa", "/clusters") == []
    assert world.names("pa", "/clusters?roleBindingExists=true") == ["host"]
    assert world.names("pa", "/clusters?roleBindingExists=false") == []
    assert world.names("joe", "/clusters?roleBindingExists=true") == []
    refused(world.tell("pa", "/clusters?roleBindingExists=perhaps"), 400, "roleBindingExists")
    lost = cluster("host")
    lost["metadata"]["labels"] = {"cluster-role.kubesphere.io/host": ""}
    lost["status"]["conditions"][0]["status"] = "False"
    world.gateway.apply(lost)
    assert world.names("pa", "/clusters?roleBindingExists=1") == []


# -- numbers ---------------------------------------------------------------------------------------------------------


def numbers(world: TenantWorld, user: str, path: str) -> dict[str, int]:
    answer = world.tell(user, path)
    assert answer.status == 200, answer.body
    found = {}
    for each in answer.json()["results"]:
        assert each["data"]["resultType"] == "vector"
        (sample,) = each["data"]["result"]
        when, count = sample["value"]
        assert when == int(world.gateway.reactor.seconds())
        found[each["metric_name"]] = count
    return found


def test_numbers_of_a_workspace(world: TenantWorld) -> None:
    """D30."""
    path = "/workspaces/ws1/metrics"
    of_members = {"workspace_workspacerolebinding_count": 5, "workspace_workspacerole_count": 4}
    assert numbers(world, "wa", path) == {**of_members, "workspace_namespace_count": 1}
    assert numbers(world, "wsp", path) == {**of_members, "workspace_namespace_count": 0}
    assert numbers(world, "joe", path) == {"workspace_namespace_count": 0}
    assert numbers(world, "admin", "/workspaces/none/metrics") == {
        "workspace_workspacerolebinding_count": 0,
        "workspace_workspacerole_count": 0,
        "workspace_namespace_count": 0,
    }


def test_numbers_of_the_platform(world: TenantWorld) -> None:
    found = numbers(world, "admin", "/metrics")
    assert found == {"platform_user_count": 24, "platform_installplan_count": 0, "platform_workspace_count": 2}
    assert numbers(world, "joe", "/metrics") == {"platform_user_count": 24}
    assert numbers(world, "wa", "/metrics") == {"platform_user_count": 24, "platform_workspace_count": 1}
    managed = cluster("far")
    managed["metadata"]["labels"] = {"kubesphere.io/managed": "true"}
    world.gateway.apply(managed, binding("WorkspaceRoleBinding", "j", ("WorkspaceRole", "x"), "joe", workspace="ws2"))
    assert numbers(world, "admin", "/metrics")["platform_cluster_count"] == 1
    assert numbers(world, "joe", "/metrics") == {"platform_user_count": 24, "platform_workspace_count": 1}
