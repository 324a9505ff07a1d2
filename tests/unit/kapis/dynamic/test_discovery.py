"""What is served below ``/kapis``, and how long that is known."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock

from ksproxyd.kapis.dynamic.discovery import AGAIN, FRESH, MOST, Discovery, Found
from ksproxyd.kube.errors import KubeError, failure_status
from ksproxyd.kube.resource import Resource
from ksproxyd.model.status import StatusError


class Server:
    """Documents by path, definitions by name; counts what it is asked."""

    def __init__(self) -> None:
        self.documents: dict[str, Any] = {
            "/apis/apps/v1": listed(
                ("deployments", "Deployment", True),
                ("deployments/status", "Deployment", True),
                ("deployments/scale", "Scale", True, "autoscaling", "v1"),
                ("odd/status", "Odd", True),
            ),
            "/api/v1": listed(
                ("nodes", "Node", False),
                ("nodes/status", "Node", False),
                ("pods", "Pod", True),
                ("pods/eviction", "Eviction", True, "policy", "v1"),
                ("replicationcontrollers", "ReplicationController", True),
            ),
            "/apis/example.io/v1": listed(("foos", "Foo", False)),
            "/apis/broken.io/v1": {"resources": [None, {"name": 3}, {"name": "x"}]},
        }
        self.definitions: dict[str, Any] = {"foos.example.io": {"kubesphere.io/resource-served": "true"}}
        self.asked: list[str] = []
        self.code = 404

    def _none(self) -> KubeError:
        return KubeError(failure_status(self.code, "Reason", "no"))

    async def read(self, path: str) -> Any:
        self.asked.append(path)
        if self.code != 404 or path not in self.documents:
            raise self._none()
        return self.documents[path]

    async def get(self, resource: Resource, name: str) -> Any:
        self.asked.append(name)
        if self.code != 404 or name not in self.definitions:
            raise self._none()
        return {"metadata": {"labels": self.definitions[name]}}


def listed(*entries: Any) -> Any:
    found = []
    for name, kind, namespaced, *of in entries:
        more = {"group": of[0], "version": of[1]} if of else {}
        found.append({"name": name, "kind": kind, "namespaced": namespaced, **more})
    return {"kind": "APIResourceList", "resources": found}


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def discovery(clock: Clock, server: Server) -> Discovery:
    return Discovery(clock, server)


def find(discovery: Discovery, group: str, version: str, plural: str) -> Found | None:
    """The coroutine waits for nobody."""
    try:
        discovery.find(group, version, plural).send(None)
    except StopIteration as end:
        found: Found | None = end.value
        return found
    raise AssertionError("it waits")


def test_kinds_with_their_scope_and_parts(discovery: Discovery) -> None:
    found = find(discovery, "apps", "v1", "deployments")
    assert found == Found(
        Resource("apps", "v1", "deployments", "Deployment", namespaced=True),
        {"status": ("apps/v1", "Deployment"), "scale": ("autoscaling/v1", "Scale")},
        True,
    )
    node = find(discovery, "", "v1", "nodes")
    assert node is not None and not node.resource.namespaced and node.subresources == {"status": ("v1", "Node")}
    pod = find(discovery, "", "v1", "pods")
    assert pod is not None and pod.subresources == {"eviction": ("policy/v1", "Eviction")}


def test_what_is_not_there(discovery: Discovery, server: Server) -> None:
    assert find(discovery, "apps", "v1", "odd") is None
    assert find(discovery, "apps", "v2", "deployments") is None
    server.definitions["things.broken.io"] = {"kubesphere.io/resource-served": "true"}
    assert find(discovery, "broken.io", "v1", "things") is None


@pytest.mark.parametrize("labels", [None, {}, {"kubesphere.io/resource-served": "false"}, []])
def test_what_is_not_to_be_served(discovery: Discovery, server: Server, labels: Any) -> None:
    server.definitions["foos.example.io"] = labels
    assert find(discovery, "example.io", "v1", "foos") is None
    assert server.asked == ["foos.example.io"]


def test_somebody_elses_kind_is_served_if_its_definition_says_so(discovery: Discovery) -> None:
    found = find(discovery, "example.io", "v1", "foos")
    assert found is not None and not found.known and found.resource.kind == "Foo"


@pytest.mark.parametrize(
    ("group", "version", "plural"),
    [
        ("apps", "v1?x", "deployments"),
        ("apps", "v1#", "deployments"),
        ("apps", "", "deployments"),
        ("apps", "..", "deployments"),
        ("apps", "v1", ""),
        ("apps", "v1", "deployments/status"),
        ("a%2Fb", "v1", "x"),
        ("ä", "v1", "x"),
    ],
)
def test_what_is_no_part_of_a_path_is_not_asked_for(
    discovery: Discovery, server: Server, group: str, version: str, plural: str
) -> None:
    assert find(discovery, group, version, plural) is None
    assert server.asked == []


def test_answers_are_good_for_a_while(discovery: Discovery, server: Server, clock: Clock) -> None:
    for _ in range(3):
        assert find(discovery, "example.io", "v1", "foos")
    assert server.asked == ["foos.example.io", "/apis/example.io/v1"]
    clock.advance(FRESH)
    server.definitions.clear()
    assert find(discovery, "example.io", "v1", "foos") is None


def test_what_was_missing_is_looked_for_again_soon(discovery: Discovery, server: Server, clock: Clock) -> None:
    assert find(discovery, "example.io", "v1", "bars") is None
    assert find(discovery, "apps", "v1", "things") is None
    server.definitions["bars.example.io"] = {"kubesphere.io/resource-served": "true"}
    server.documents["/apis/example.io/v1"] = listed(("bars", "Bar", True))
    server.documents["/apis/apps/v1"] = listed(("things", "Thing", True))
    assert find(discovery, "example.io", "v1", "bars") is None
    assert find(discovery, "apps", "v1", "things") is None
    clock.advance(AGAIN)
    assert find(discovery, "example.io", "v1", "bars") is not None
    assert find(discovery, "apps", "v1", "things") is not None


def test_a_server_that_cannot_say_is_no_answer(discovery: Discovery, server: Server) -> None:
    server.code = 503
    for group, plural in (("example.io", "foos"), ("apps", "deployments")):
        with pytest.raises(StatusError, match="does not say what it serves"):
            find(discovery, group, "v1", plural)
    server.code = 404
    assert find(discovery, "apps", "v1", "deployments") is not None


def test_what_is_remembered_is_bounded(discovery: Discovery, server: Server) -> None:
    for number in range(2 * MOST):
        find(discovery, "apps", f"v{number + 2}", "x")
        find(discovery, "example.io", "v1", f"x{number}")
    assert len(discovery._versions) <= MOST and len(discovery._served) <= MOST
