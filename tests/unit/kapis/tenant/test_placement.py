"""Placements of workspaces: spec 03, 3.3, 5.4, 5.5, D7, D8, D30."""

from __future__ import annotations

from typing import Any

import pytest
from support_tenant import HOST, FakeRights, FakeState, binding, thing

from ksproxyd.authz.bindings import Bindings
from ksproxyd.kapis.tenant.permissions import Permissions
from ksproxyd.kapis.tenant.placement import Placement, parse_selector
from ksproxyd.kapis.tenant.visibility import Visibility
from ksproxyd.model.identity import Identity
from ksproxyd.model.status import StatusError
from ksproxyd.state.kinds import CLUSTER_ROLE_BINDINGS, CLUSTERS
from ksproxyd.state.validation import name_of

JOE = Identity("joe", ("devs",))


class Clusters:
    """host (this one), far (a member in europe), open (a public member)."""

    def __init__(self, *grants: tuple[str, ...]) -> None:
        self.state: Any = FakeState()
        self.state.put(
            CLUSTERS,
            thing("host", HOST),
            thing("far", {"region": "eu"}),
            thing("open", {"cluster.kubesphere.io/visibility": "public", "region": "us"}),
        )
        bindings = Bindings(self.state.stores)
        permissions = Permissions(FakeRights(*grants))
        self.placement = Placement(Visibility(self.state, permissions, bindings), permissions, bindings)

    def on(self, placement: Any) -> list[str]:
        return [name_of(each) for each in self.placement.clusters(placement)]

    def refused(self, placement: Any) -> int:
        """The status of the refusal; 0 for none."""
        try:
            self.placement.check(JOE, placement)
        except StatusError as error:
            return error.code
        return 0


@pytest.mark.parametrize(
    ("placement", "found"),
    [
        (None, []),
        ({}, []),
        ({"clusters": [{"name": "open"}, {"name": "gone"}, {"name": "host"}, {"name": "open"}]}, ["open", "host"]),
        ({"clusterSelector": {}}, ["far", "host", "open"]),
        ({"clusters": [], "clusterSelector": {"matchLabels": {"region": "eu"}}}, ["far"]),
        ({"clusters": [{"name": "host"}], "clusterSelector": {}}, ["host"]),
        ({"clusterSelector": {"matchExpressions": [{"key": "region", "operator": "NotIn", "values": ["eu"]}]}},
         ["host", "open"]),
        ({"clusterSelector": {"matchExpressions": [{"key": "region", "operator": "Exists"}]}}, ["far", "open"]),
        ({"clusterSelector": {"matchLabels": {"region": "eu"},
                              "matchExpressions": [{"key": "region", "operator": "DoesNotExist"}]}}, []),
    ],
)  # fmt: skip
def test_on_which_clusters(placement: Any, found: list[str]) -> None:
    assert Clusters().on(placement) == found


@pytest.mark.parametrize(
    "placement",
    [
        [],
        "host",
        {"clusters": "host"},
        {"clusters": ["host"]},
        {"clusters": [{"name": ""}]},
        {"clusterSelector": []},
        {"clusterSelector": {"matchLabels": ["a"]}},
        {"clusterSelector": {"matchLabels": {"a": 1}}},
        {"clusterSelector": {"matchLabels": {"a b": "c"}}},
        {"clusterSelector": {"matchExpressions": [{"key": "a", "operator": "Like", "values": ["b"]}]}},
        {"clusterSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}},
        {"clusterSelector": {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}},
    ],
)
def test_what_is_no_placement_is_refused_and_on_no_cluster(placement: Any) -> None:
    clusters = Clusters()
    assert clusters.refused(placement) == 400
    assert clusters.placement.known_clusters(placement) == []


@pytest.mark.parametrize(
    ("placement", "code"),
    [
        (None, 0),
        ({"clusters": [{"name": "open"}]}, 0),
        ({"clusters": [{"name": "far"}]}, 403),
        ({"clusters": [{"name": "open"}, {"name": "host"}]}, 403),
        ({"clusters": [{"name": "gone"}]}, 404),
        # D8: what a selector selects counts as if it were written out.
        ({"clusterSelector": {"matchLabels": {"region": "us"}}}, 0),
        ({"clusterSelector": {"matchLabels": {"region": "eu"}}}, 403),
        ({"clusterSelector": {}}, 403),
        ({"clusterSelector": {"matchLabels": {}, "matchExpressions": []}}, 403),
    ],
)
def test_who_may_use_clusters(placement: Any, code: int) -> None:
    assert Clusters().refused(placement) == code


def test_who_manages_clusters_may_use_them_all() -> None:
    clusters = Clusters(("joe", "delete", "cluster.kubesphere.io", "clusters"))
    assert clusters.refused({"clusters": [{"name": "far"}]}) == 0
    assert clusters.refused({"clusterSelector": {}}) == 0
    assert clusters.refused({"clusters": [{"name": "gone"}]}) == 404


@pytest.mark.parametrize(
    ("bound", "code"),
    [
        (binding("b", "cluster-admin", "joe"), 0),
        (binding("b", "cluster-admin", "@devs"), 0),
        (binding("b", "cluster-admin", "eve", "@ops"), 403),
        (binding("b", "cluster-viewer", "joe"), 403),
        (binding("b", "cluster-admin", "joe", kind="GlobalRole"), 403),
    ],
)
def test_administrators_of_this_cluster_may_use_it(bound: Any, code: int) -> None:
    clusters = Clusters()
    clusters.state.put(CLUSTER_ROLE_BINDINGS, bound)
    assert clusters.refused({"clusters": [{"name": "host"}]}) == code
    assert clusters.refused({"clusters": [{"name": "far"}]}) == 403, "a member's bindings are not this cluster's"


def test_the_refusal_says_which_cluster() -> None:
    with pytest.raises(StatusError) as refused:
        Clusters().placement.check_named(JOE, ["open", "far"])
    assert refused.value.message == (
        'clusters.cluster.kubesphere.io "far" is forbidden: user is not allowed to use the cluster far'
    )


def test_an_empty_selector_object_selects_everything() -> None:
    assert not parse_selector({}).requirements
    assert parse_selector({"matchLabels": {"a": "b"}}).matches({"a": "b"})
