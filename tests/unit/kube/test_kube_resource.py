"""Paths of resources."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.kube.resource import Resource

WIDGETS = Resource("example.com", "v1", "widgets", "Widget", namespaced=True)
CLUSTERS = Resource("cluster.kubesphere.io", "v1alpha1", "clusters", "Cluster")
SECRETS = Resource("", "v1", "secrets", "Secret", namespaced=True)


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        (WIDGETS.path(), "/apis/example.com/v1/widgets"),
        (WIDGETS.path("ns"), "/apis/example.com/v1/namespaces/ns/widgets"),
        (WIDGETS.path("ns", "a"), "/apis/example.com/v1/namespaces/ns/widgets/a"),
        (WIDGETS.path("ns", "a", "status"), "/apis/example.com/v1/namespaces/ns/widgets/a/status"),
        (CLUSTERS.path(name="host"), "/apis/cluster.kubesphere.io/v1alpha1/clusters/host"),
        (SECRETS.path("ns", "a"), "/api/v1/namespaces/ns/secrets/a"),
        (CLUSTERS.path(name="system:a"), "/apis/cluster.kubesphere.io/v1alpha1/clusters/system:a"),
    ],
)
def test_paths(path: str, wanted: str) -> None:
    assert path == wanted


@pytest.mark.parametrize(
    ("resource", "address"),
    [
        (CLUSTERS, ("ns", "a")),
        (CLUSTERS, ("ns",)),
        (WIDGETS, ("", "a")),
        (WIDGETS, ("ns", "", "status")),
        (WIDGETS, ("ns", "..")),
        (WIDGETS, (".", "a")),
        (WIDGETS, ("ns", "a", "..")),
    ],
)
def test_addresses_that_cannot_exist(resource: Resource, address: tuple[str, ...]) -> None:
    with pytest.raises(ValueError):
        resource.path(*address)


@given(st.text(min_size=1).filter(lambda name: name not in (".", "..")))
def test_a_name_is_always_one_segment(name: str) -> None:
    path = CLUSTERS.path(name=name)
    assert path.count("/") == 5
    assert path.isascii()
    assert not set(path) & set("?# \r\n")


def test_names_of_resources() -> None:
    assert (WIDGETS.api_version, SECRETS.api_version) == ("example.com/v1", "v1")
    assert (str(WIDGETS), str(SECRETS)) == ("widgets.example.com", "secrets")
