"""What a path may be about, kind by kind (spec 03, D1 and D2)."""

from __future__ import annotations

import pytest

from ksproxyd.kapis.dynamic.address import Address, address_of
from ksproxyd.kapis.dynamic.discovery import Found
from ksproxyd.kube.resource import Resource
from ksproxyd.model.request_info import classify

PARTS = {"status": ("v1", "X"), "scale": ("autoscaling/v1", "Scale"), "exec": ("v1", "X")}


def address(method: str, path: str, *, namespaced: bool, known: bool = True) -> Address | None:
    """Of a path whose kind is such a one; n1 is in the workspace ws1."""
    info = classify(method, path.encode(), b"")
    resource = Resource(info.api_group, info.api_version, info.resource, "X", namespaced=namespaced)
    return address_of(info, Found(resource, PARTS, known), lambda namespace, home: (namespace, home) == ("n1", "ws1"))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/kapis/g.io/v1/things"),
        ("POST", "/kapis/g.io/v1/things"),
        ("PUT", "/kapis/g.io/v1/things/x"),
        ("GET", "/kapis/g.io/v1/workspaces/ws1/things"),
        ("GET", "/kapis/g.io/v1/workspaces/ws1/things/x"),
        ("GET", "/kapi/v1/namespaces/n1"),
        ("GET", "/kapi/v1/namespaces/n1/status"),
        ("POST", "/kapi/v1/workspaces/ws1/namespaces"),
        ("DELETE", "/kapis/iam.kubesphere.io/v1beta1/workspaces/ws1/workspaceroles/x"),
        ("POST", "/kapis/application.kubesphere.io/v2/workspaces/ws1/applicationreleases"),
        ("GET", "/kapis/tenant.kubesphere.io/v1beta1/workspaces/ws1"),
        ("GET", "/kapis/tenant.kubesphere.io/v1beta1/workspacetemplates/ws1"),
    ],
)
def test_without_namespaces(method: str, path: str) -> None:
    assert address(method, path, namespaced=False) is not None


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/kapis/g.io/v1/namespaces/n1/things"),
        ("DELETE", "/kapis/g.io/v1/namespaces/n1/things/x"),
        ("GET", "/kapis/g.io/v1/namespaces/n1"),
        ("GET", "/kapis/g.io/v1/workspaces/ws1"),
        ("GET", "/kapi/v1/namespaces/n1/namespaces/n2"),
        ("GET", "/kapis/g.io/v1/workspaces/ws1/namespaces/n1/things"),
        ("POST", "/kapis/g.io/v1/workspaces/ws1/things"),
        ("PATCH", "/kapis/g.io/v1/workspaces/ws1/things/x"),
        ("POST", "/kapis/iam.kubesphere.io/v1beta1/workspaces/ws1/clusterrolebindings"),
        ("GET", "/kapis/iam.kubesphere.io/v1beta1/workspaces/ws1/globalroles"),
        ("GET", "/kapis/cluster.kubesphere.io/v1alpha1/workspaces/ws1/clusters"),
        ("GET", "/kapis/tenant.kubesphere.io/v1beta1/workspaces/ws1/workspacetemplates"),
        ("POST", "/kapis/tenant.kubesphere.io/v1beta1/workspaces/ws1/workspacetemplates"),
        ("GET", "/kapis/g.io/v1/things/x/exec"),
        ("GET", "/kapis/g.io/v1/things/x/status/more"),
        ("GET", "/kapis/g.io/v1/things/x/nothing"),
    ],
)
def test_not_without_namespaces(method: str, path: str) -> None:
    assert address(method, path, namespaced=False) is None


def test_a_definition_that_asks_to_be_served_is_written_in_workspaces() -> None:
    found = address("POST", "/kapis/g.io/v1/workspaces/ws1/things", namespaced=False, known=False)
    assert found is not None and found.workspace == "ws1"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/kapis/g.io/v1/things"),
        ("GET", "/kapis/g.io/v1/workspaces/ws1/things"),
        ("POST", "/kapis/g.io/v1/namespaces/n1/things"),
        ("DELETE", "/kapis/g.io/v1/namespaces/n1/things/x"),
        ("GET", "/kapis/g.io/v1/workspaces/ws1/namespaces/n1/things"),
        ("POST", "/kapis/g.io/v1/workspaces/ws1/namespaces/n1/things"),
    ],
)
def test_with_namespaces(method: str, path: str) -> None:
    assert address(method, path, namespaced=True) is not None


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/kapis/g.io/v1/things/x"),
        ("POST", "/kapis/g.io/v1/things"),
        ("PUT", "/kapis/g.io/v1/things/x"),
        ("POST", "/kapis/g.io/v1/workspaces/ws1/things"),
        ("DELETE", "/kapis/g.io/v1/workspaces/ws1/things/x"),
        ("GET", "/kapis/g.io/v1/workspaces/ws2/namespaces/n1/things"),
        ("GET", "/kapis/g.io/v1/workspaces/ws1/namespaces/n2/things"),
    ],
)
def test_not_with_namespaces(method: str, path: str) -> None:
    assert address(method, path, namespaced=True) is None


def test_what_an_address_says() -> None:
    found = address("GET", "/kapis/g.io/v1/workspaces/ws1/namespaces/n1/things/x/scale", namespaced=True)
    assert found is not None
    assert (found.namespace, found.name, found.subresource, found.workspace) == ("n1", "x", "scale", "ws1")
    assert (found.api_version, found.kind) == ("autoscaling/v1", "Scale")
    assert found.path == "/apis/g.io/v1/namespaces/n1/things/x/scale" and found.what == 'things.g.io "x"'
    itself = address("GET", "/kapi/v1/namespaces/n1", namespaced=False)
    assert itself is not None and (itself.namespace, itself.name) == ("", "n1")
