"""What tenants see, on the whole way: spec 03, 5.1 to 5.3, 7, and T42 to T45, T54, T57, T58."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support_rights import binding, group, namespace, workspace
from support_tenants import OLD, TENANT, TenantWorld, refused

ORDER = "sortBy=name&ascending=true"

#: Those of the cluster itself, and those of the examples.
NAMESPACES = ["default", "kube-node-lease", "kube-public", "kube-system", "kubesphere-system", "n0", "n1", "n2"]


@pytest.fixture
def world() -> Iterator[TenantWorld]:
    found = TenantWorld()
    yield found
    found.close()


@pytest.fixture
def strict() -> Iterator[TenantWorld]:
    found = TenantWorld(more="  tenancy: {hideForeign: true}")
    yield found
    found.close()


def test_an_administrator_sees_everything(world: TenantWorld) -> None:
    assert world.names("admin", f"/workspaces?{ORDER}") == ["ws1", "ws2"]
    assert world.names("admin", f"/workspacetemplates?{ORDER}") == ["ws1", "ws2"]
    assert world.names("admin", f"/namespaces?{ORDER}") == NAMESPACES
    assert world.names("admin", f"/workspaces/ws1/namespaces?{ORDER}") == ["n1"]
    assert world.names("admin", f"/clusters?{ORDER}") == ["far", "host", "open"]


def test_who_is_bound_to_nothing_sees_nothing(world: TenantWorld) -> None:
    """T42."""
    for path in ("/workspaces", "/workspacetemplates", "/namespaces", "/clusters", "/workspaces/ws1/namespaces"):
        answer = world.tell("joe", path)
        assert answer.json() == {"items": [], "totalItems": 0}, path
        assert answer.get("Content-Type") == b"application/json"


@pytest.mark.parametrize(
    ("user", "workspaces", "namespaces", "of_ws1", "of_ws2"),
    [
        ("wa", ["ws1"], [], ["n1"], []),
        ("wv", ["ws1"], [], ["n1"], []),
        ("wsp", ["ws1"], [], [], []),
        ("pa", [], ["n1"], ["n1"], []),
        ("dev", [], ["n1"], ["n1"], []),
        ("nl", [], [], [], []),
        ("cv", [], NAMESPACES, ["n1"], ["n2"]),
        ("bob", ["ws1", "ws2"], [], [], []),
    ],
)
def test_others_see_their_own(
    world: TenantWorld, user: str, workspaces: list[str], namespaces: list[str], of_ws1: list[str], of_ws2: list[str]
) -> None:
    assert world.names(user, f"/workspaces?{ORDER}") == workspaces
    assert world.names(user, f"/workspacetemplates?{ORDER}") == workspaces
    assert world.names(user, f"/namespaces?{ORDER}") == namespaces
    assert world.names(user, f"/workspaces/ws1/namespaces?{ORDER}") == of_ws1
    assert world.names(user, f"/workspaces/ws2/namespaces?{ORDER}") == of_ws2


def test_a_label_filter_does_not_replace_the_workspace(world: TenantWorld) -> None:
    """T44."""
    world.gateway.apply(namespace("m1", "ws1"))
    assert world.names("wv", f"/workspaces/ws1/namespaces?label=x=y&{ORDER}") == ["m1", "n1"]
    assert world.names("wv", f"/workspaces/ws1/namespaces?label=kubesphere.io/workspace=ws2&{ORDER}") == ["m1", "n1"]
    assert world.names("wv", "/workspaces/ws1/namespaces?labelSelector=kubesphere.io/workspace=ws2") == []
    for word in ("label", "labelSelector"):
        assert world.names("admin", f"/namespaces?{word}=kubesphere.io/workspace=ws2") == ["n2"]
        assert world.names("pa", f"/namespaces?{word}=kubesphere.io/workspace=ws2") == []
        assert world.names("pa", f"/namespaces?{word}=kubesphere.io/workspace=ws1") == ["n1"]
        assert world.names("admin", f"/namespaces?{word}=kubesphere.io/workspace=") == []


def test_two_bindings_show_a_workspace_once(world: TenantWorld) -> None:
    """T45."""
    world.gateway.apply(
        binding("WorkspaceRoleBinding", "wv-2", ("WorkspaceRole", "ws1-regular"), "wv", workspace="ws1"),
        binding("RoleBinding", "pa-2", ("Role", "viewer"), "pa", namespace="n1"),
    )
    assert world.tell("wv", "/workspaces").json()["totalItems"] == 1
    assert world.tell("pa", "/namespaces").json()["totalItems"] == 1


def test_bindings_of_groups_show_what_they_are_in(world: TenantWorld) -> None:
    world.gateway.apply(
        binding("WorkspaceRoleBinding", "devs", ("WorkspaceRole", "ws2-regular"), group("devs"), workspace="ws2")
    )
    assert world.names("dev", "/workspaces") == ["ws2"]


def test_pages_filters_and_selectors(world: TenantWorld) -> None:
    many = [workspace(f"x{n}") for n in range(5)]
    many[3]["metadata"]["annotations"] = {"kubesphere.io/alias-name": "Books"}
    many[4]["metadata"]["labels"] = {"tier": "gold"}
    world.gateway.apply(*many)
    page = world.tell("admin", f"/workspaces?name=x&limit=2&page=2&{ORDER}").json()
    assert ([each["metadata"]["name"] for each in page["items"]], page["totalItems"]) == (["x2", "x3"], 5)
    page = world.tell("admin", f"/workspaces?limit=2&page=3&{ORDER}").json()
    assert ([each["metadata"]["name"] for each in page["items"]], page["totalItems"]) == (["x2", "x3"], 7)
    assert world.names("admin", "/workspaces?sortBy=name&limit=2") == ["x4", "x3"]
    assert world.names("admin", "/workspaces?name=Books") == ["x3"]
    assert world.names("admin", "/workspaces?name=books") == []
    assert world.names("admin", "/workspaces?labelSelector=tier in (gold)".replace(" ", "%20")) == ["x4"]
    assert world.names("admin", "/workspaces?fieldSelector=metadata.name=x1") == ["x1"]
    assert world.names("admin", "/workspaces?names=x1,ws2&sortBy=name") == ["x1", "ws2"]
    assert world.tell("admin", "/workspaces?limit=0").json() == {"items": [], "totalItems": 7}
    refused(world.tell("admin", "/workspaces?labelSelector=a=b=c"), 400, "selector")
    refused(world.tell("admin", "/workspaces?page=0"), 400, "page")


def test_namespaces_by_phase(world: TenantWorld) -> None:
    value = namespace("dying", "ws1")
    value["status"] = {"phase": "Terminating"}
    world.gateway.apply(value)
    assert "dying" in world.names("admin", "/namespaces")
    found = world.names("admin", "/namespaces?status=Active")
    assert "n1" in found and world.names("admin", "/namespaces?status=") == []
    assert world.names("wa", "/workspaces/ws1/namespaces?status=Nothing") == []


def test_single_objects(world: TenantWorld) -> None:
    found = world.tell("joe", "/workspaces/ws1").json()
    assert (found["kind"], found["metadata"]["name"]) == ("Workspace", "ws1")
    found = world.tell("joe", "/workspacetemplates/ws1").json()
    assert (found["kind"], found["spec"]["placement"]) == ("WorkspaceTemplate", {"clusters": [{"name": "host"}]})
    assert world.tell("joe", "/workspaces/ws1/namespaces/n1").json()["kind"] == "Namespace"
    refused(world.tell("admin", "/workspaces/none"), 404, 'Workspace.tenant.kubesphere.io "none" not found')
    refused(world.tell("admin", "/workspacetemplates/x"), 404, 'WorkspaceTemplate.tenant.kubesphere.io "x" not found')


def test_a_namespace_is_in_its_workspace_only(world: TenantWorld) -> None:
    """T54."""
    for name in ("n2", "n0", "ghost"):
        refused(world.tell("admin", f"/workspaces/ws1/namespaces/{name}"), 404, f'namespace "{name}" not found')


def test_the_old_version_speaks_of_templates(world: TenantWorld) -> None:
    """T58."""
    for path in ("/workspaces", "/workspacetemplates"):
        items = world.ask("admin", "GET", OLD + path).json()["items"]
        assert {each["kind"] for each in items} == {"WorkspaceTemplate"}
        assert world.ask("admin", "GET", f"{OLD}{path}/ws1").json()["kind"] == "WorkspaceTemplate"
    assert {each["kind"] for each in world.tell("admin", "/workspaces").json()["items"]} == {"Workspace"}
    assert world.names("wa", "/workspaces/ws1/namespaces", OLD) == ["n1"]
    assert world.names("pa", "/namespaces", OLD) == ["n1"]
    assert world.names("admin", "/workspaces/ws1/clusters", OLD) == ["host"]
    assert world.ask("admin", "GET", OLD + "/workspaces/ws1/namespaces/n1").status == 200
    assert world.ask("admin", "GET", OLD + "/clusters").json()["totalItems"] == 3
    refused(world.ask("admin", "POST", OLD + "/workspaces", {}), 405)


def test_methods_that_are_not_there(world: TenantWorld) -> None:
    """T57."""
    answer = world.tell("admin", "/workspaces/ws1/resourcequotas")
    assert (answer.status, answer.get("Allow")) == (405, b"POST")
    assert world.tell("admin", "/workspaces/ws1/nothing").status == 404
    assert world.tell("", "/workspaces").status == 403


def test_namespaces_of_a_member(world: TenantWorld) -> None:
    path = "/workspaces/ws1/workspacemembers/{}/namespaces"
    assert world.names("wa", path.format("pa")) == ["n1"]
    assert world.names("wa", path.format("dev")) == ["n1"], "also what their groups are bound to"
    assert world.names("wa", path.format("wa")) == ["n1"]
    assert world.names("wa", path.format("joe")) == []
    assert world.names("wa", path.format("ghost")) == []
    assert world.names("wa", path.replace("ws1", "ws2").format("pa")) == []


def test_what_is_foreign_can_be_hidden(strict: TenantWorld) -> None:
    """D17."""
    for path in ("/workspaces/ws1", "/workspacetemplates/ws1", "/workspaces/ws1/namespaces/n1"):
        refused(strict.tell("joe", path), 404, "not found")
        assert strict.tell("wa", path).status == strict.tell("pa", path).status == strict.tell("cv", path).status == 200
    refused(strict.ask("joe", "GET", OLD + "/workspaces/ws1"), 404)
    refused(strict.tell("joe", "/workspaces/ws1/clusters"), 404)
    refused(strict.tell("wa", "/workspaces/ws2"), 404)
    assert strict.tell("bob", "/workspaces/ws2").status == 200
    path = "/workspaces/ws1/workspacemembers/pa/namespaces"
    refused(strict.tell("joe", path), 403, "members")
    assert strict.tell("pa", path).status == strict.tell("wa", path).status == 200


def test_heads(world: TenantWorld) -> None:
    answer = world.ask("admin", "HEAD", TENANT + "/workspaces")
    assert (answer.status, answer.body) == (200, b"")
