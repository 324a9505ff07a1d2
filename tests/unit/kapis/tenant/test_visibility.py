"""Who sees what: spec 03, 5.3, D27, T42, T43, T45."""

from __future__ import annotations

from typing import Any

import pytest
from support_tenant import HOST, FakeRights, FakeState, binding, thing

from ksproxyd.authz.bindings import Bindings
from ksproxyd.kapis.tenant.lists import each_of
from ksproxyd.kapis.tenant.permissions import Permissions
from ksproxyd.kapis.tenant.visibility import GRANTED_CLUSTERS, Seen, Visibility
from ksproxyd.model.identity import Identity
from ksproxyd.state.kinds import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTERS,
    NAMESPACES,
    ROLE_BINDINGS,
    USERS,
    WORKSPACE_ROLE_BINDINGS,
    WORKSPACE_TEMPLATES,
    WORKSPACES,
)
from ksproxyd.state.validation import name_of

WORKSPACE = "kubesphere.io/workspace"
ADMIN, JOE, EVE = Identity("admin"), Identity("joe", ("devs", "system:authenticated")), Identity("eve")


class Tenants:
    """ws1 (n1, m1), ws2 (n2), and n0 of no workspace; clusters host and far."""

    def __init__(self, *grants: tuple[str, ...]) -> None:
        self.state: Any = FakeState()
        for name in ("ws1", "ws2"):
            self.state.put(WORKSPACES, thing(name))
            self.state.put(WORKSPACE_TEMPLATES, thing(name))
        for name, workspace in (("n1", "ws1"), ("m1", "ws1"), ("n2", "ws2")):
            self.state.put(NAMESPACES, thing(name, {WORKSPACE: workspace}))
        self.state.put(NAMESPACES, thing("n0"))
        self.state.put(CLUSTERS, thing("host", HOST), thing("far"))
        self.visibility = Visibility(self.state, Permissions(FakeRights(*grants)), Bindings(self.state.stores))

    def bind(self, workspace: str, *subjects: str, name: str = "b") -> None:
        self.state.put(WORKSPACE_ROLE_BINDINGS, binding(name, "r", *subjects, labels={WORKSPACE: workspace}))

    def bind_in(self, namespace: str, *subjects: str, name: str = "b") -> None:
        self.state.put(ROLE_BINDINGS, binding(name, "r", *subjects, metadata={"namespace": namespace}))


def names(seen: Seen) -> list[str]:
    return sorted(map(name_of, each_of(seen)))


def test_an_administrator_sees_everything() -> None:
    tenants = Tenants()
    see = tenants.visibility
    assert names(see.workspaces(ADMIN)) == names(see.workspaces(ADMIN, WORKSPACE_TEMPLATES)) == ["ws1", "ws2"]
    assert names(see.namespaces(ADMIN)) == ["m1", "n0", "n1", "n2"]
    assert names(see.namespaces(ADMIN, "ws1")) == ["m1", "n1"]
    assert names(see.clusters(ADMIN)) == ["far", "host"]


def test_others_see_where_they_are_bound() -> None:
    tenants = Tenants()
    see = tenants.visibility
    for seen in (see.workspaces(JOE), see.namespaces(JOE), see.namespaces(JOE, "ws1"), see.clusters(JOE)):
        assert names(seen) == []
    tenants.bind("ws2", "joe")
    tenants.bind_in("n1", "joe")
    assert names(see.workspaces(JOE)) == names(see.workspaces(JOE, WORKSPACE_TEMPLATES)) == ["ws2"]
    assert names(see.namespaces(JOE)) == names(see.namespaces(JOE, "ws1")) == ["n1"]
    assert names(see.namespaces(JOE, "ws2")) == []
    assert names(see.workspaces(EVE)) == names(see.namespaces(EVE)) == []


def test_bindings_of_groups_count_and_nothing_is_seen_twice() -> None:
    tenants = Tenants()
    tenants.bind("ws1", "joe", name="a")
    tenants.bind("ws1", "@devs", "joe", name="b")
    tenants.bind_in("n1", "@devs", name="a")
    tenants.bind_in("n1", "joe", name="b")
    assert names(tenants.visibility.workspaces(JOE)) == ["ws1"]
    assert names(tenants.visibility.namespaces(JOE)) == ["n1"]
    assert len(tenants.visibility.workspaces(JOE)) == len(tenants.visibility.namespaces(JOE)) == 1


def test_bindings_in_what_is_gone_show_nothing() -> None:
    tenants = Tenants()
    tenants.bind("gone", "joe")
    tenants.bind_in("gone", "joe")
    assert names(tenants.visibility.workspaces(JOE)) == names(tenants.visibility.namespaces(JOE)) == []


def test_a_rule_for_workspaces_of_tenants_alone_shows_none() -> None:
    """T43."""
    assert names(Tenants(("joe", "list", "tenant.kubesphere.io", "workspaces")).visibility.workspaces(JOE)) == []
    assert names(Tenants(("joe", "list", "*", "workspaces")).visibility.workspaces(JOE)) == ["ws1", "ws2"]


def test_who_may_list_the_namespaces_of_a_workspace_sees_them() -> None:
    see = Tenants(("joe", "list", "", "namespaces", "ws1")).visibility
    assert names(see.namespaces(JOE, "ws1")) == ["m1", "n1"]
    assert names(see.namespaces(JOE, "ws2")) == names(see.namespaces(JOE)) == []


def test_clusters_are_those_noted_at_the_user_and_this_one_where_something_binds_them() -> None:
    tenants = Tenants()
    see = tenants.visibility
    tenants.state.put(USERS, thing("eve", metadata={"annotations": {GRANTED_CLUSTERS: "far, gone,far"}}))
    assert names(see.clusters(EVE)) == ["far"]
    assert names(see.clusters(JOE)) == []
    tenants.state.put(CLUSTER_ROLE_BINDINGS, binding("b", "cluster-viewer", "@devs"))
    assert names(see.clusters(JOE)) == ["host"]
    assert names(see.clusters(EVE, ["host"])) == ["far", "host"]


@pytest.mark.parametrize(
    ("grant", "ws1", "ws2"),
    [
        (("eve", "get", "*", "workspaces", "ws1"), True, False),
        (("eve", "get", "*", "workspaces"), True, True),
        (("eve", "list", "", "namespaces", "ws1"), True, False),
        (("eve", "get", "tenant.kubesphere.io", "workspaces"), False, False),
    ],
)
def test_single_workspaces(grant: tuple[str, ...], ws1: bool, ws2: bool) -> None:
    see = Tenants(grant).visibility
    assert (see.sees_workspace(EVE, "ws1"), see.sees_workspace(EVE, "ws2")) == (ws1, ws2)


def test_single_objects_are_seen_by_members() -> None:
    tenants = Tenants()
    see, namespaces = tenants.visibility, tenants.state.store(NAMESPACES)
    tenants.bind("ws2", "joe")
    tenants.bind_in("n1", "joe")
    assert see.sees_workspace(JOE, "ws2")
    assert see.sees_workspace(JOE, "ws1"), "who is in a project knows its workspace"
    assert not see.sees_workspace(EVE, "ws1")
    assert see.sees_namespace(JOE, namespaces.get(("", "n1")))
    assert not see.sees_namespace(JOE, namespaces.get(("", "m1")))
    assert see.sees_namespace(ADMIN, namespaces.get(("", "n0")))


def test_namespaces_follow_their_label() -> None:
    tenants = Tenants()
    tenants.state.put(NAMESPACES, thing("n1", {WORKSPACE: "ws2"}))
    assert names(tenants.visibility.namespaces(ADMIN, "ws1")) == ["m1"]
    assert names(tenants.visibility.namespaces(ADMIN, "ws2")) == ["n1", "n2"]


def test_a_label_narrows_and_gives_no_rights() -> None:
    tenants = Tenants(("eve", "list", "", "namespaces", "ws1"))
    tenants.bind_in("n1", "joe")
    see = tenants.visibility
    assert names(see.namespaces(ADMIN, labelled="ws1")) == ["m1", "n1"]
    assert names(see.namespaces(ADMIN, labelled="")) == ["n0"]
    assert names(see.namespaces(ADMIN, "ws1", labelled="ws2")) == ["m1", "n1"], "the selector comes on top"
    assert names(see.namespaces(JOE, labelled="ws1")) == ["n1"]
    assert names(see.namespaces(JOE, labelled="ws2")) == []
    assert names(see.namespaces(EVE, labelled="ws1")) == []
