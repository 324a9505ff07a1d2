"""Kinds without an API of their own below ``/kapis``: what is read (spec 04, 10; spec 03, T71; D1, D2, D5)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support_dynamic import DynamicWorld, thing
from support_rights import IAM, binding, role

from ksproxyd.testing import Answer

ROOT = "/kapis/example.io/v1"


@pytest.fixture
def world() -> Iterator[DynamicWorld]:
    world = DynamicWorld()
    world.make(
        thing("Foo", "a", workspace="ws1"),
        thing("Foo", "b", workspace="ws2"),
        thing("Foo", "c"),
        thing("Bar", "x", namespace="n1"),
        thing("Bar", "y", namespace="n1", workspace="ws1"),
        thing("Bar", "x", namespace="n2"),
        thing("Hidden", "h"),
    )
    yield world
    world.close()


def names(answer: Answer) -> list[str]:
    assert answer.status == 200, answer.body
    return [each["metadata"]["name"] for each in answer.json()["items"]]


def absent(answer: Answer) -> None:
    assert answer.status == 404, answer.body
    assert answer.json()["message"].startswith("404: Page Not Found")


def test_one_object(world: DynamicWorld) -> None:
    found = world.ask("admin", "GET", f"{ROOT}/foos/a")
    assert found.status == 200 and found.json() == world.stored("/apis/example.io/v1/foos/a")
    assert world.ask("admin", "GET", f"{ROOT}/foos/none").json()["message"] == 'Foo.example.io "none" not found'
    assert world.ask("pv", "GET", f"{ROOT}/namespaces/n1/bars/x").status == 200
    assert world.ask("pv", "GET", f"{ROOT}/namespaces/n2/bars/x").status == 403
    assert world.ask("admin", "HEAD", f"{ROOT}/foos/a").status == 200


def test_a_list_is_one_of_kubernetes_and_says_how_many_there_are(world: DynamicWorld) -> None:
    answer = world.ask("admin", "GET", f"{ROOT}/foos?limit=1&sortBy=name&ascending=true")
    found = answer.json()
    assert (found["kind"], found["apiVersion"]) == ("FooList", "example.io/v1")
    version = found["metadata"].pop("resourceVersion")
    assert int(version) and found["metadata"] == {"continue": "3", "remainingItemCount": 2}
    assert names(answer) == ["a"] and found["items"][0]["kind"] == "Foo"
    for query, metadata in (
        ("limit=2&page=2", {"continue": "3", "remainingItemCount": 0}),
        ("limit=2&page=7", {"continue": "3", "remainingItemCount": 3}),
        ("limit=0", {"continue": "3", "remainingItemCount": 3}),
        ("name=b&limit=1", {"continue": "1", "remainingItemCount": 0}),
    ):
        told = world.ask("admin", "GET", f"{ROOT}/foos?{query}").json()["metadata"]
        assert {**told, "resourceVersion": ""} == {**metadata, "resourceVersion": ""}, query


def test_kinds_that_are_known_say_less(world: DynamicWorld) -> None:
    found = world.ask("admin", "GET", "/kapis/iam.kubesphere.io/v1beta1/globalroles?name=platform-admin").json()
    assert set(found) == {"metadata", "items"}
    assert found["metadata"] == {"continue": "1", "remainingItemCount": 0}
    assert [each["kind"] for each in found["items"]] == ["GlobalRole"]
    assert names(world.ask("admin", "GET", "/kapi/v1/namespaces/n1/configmaps")) == []
    assert world.ask("admin", "GET", "/kapi/v1/namespaces/n1").json()["metadata"]["name"] == "n1"


def test_filters(world: DynamicWorld) -> None:
    for query, found in (
        ("", ["c", "b", "a"]),
        ("labelSelector=kubesphere.io/workspace", ["b", "a"]),
        ("fieldSelector=metadata.name%3Db", ["b"]),
        ("names=a,c&ascending=true", ["a", "c"]),
        ("label=kubesphere.io/workspace=ws2", ["b"]),
    ):
        assert names(world.ask("admin", "GET", f"{ROOT}/foos?sortBy=name&{query}")) == found, query
    for query in ("labelSelector=a%20b", "fieldSelector=a", "page=0"):
        assert world.ask("admin", "GET", f"{ROOT}/foos?{query}").status == 400


@pytest.mark.parametrize("query", ["", "labelSelector=a!=b", "labelSelector=x%20notin%20(y)", "labelSelector=!nothing"])
def test_a_workspace_sees_what_belongs_to_it_and_nothing_else(world: DynamicWorld, query: str) -> None:
    """T71."""
    assert names(world.ask("wv", "GET", f"{ROOT}/workspaces/ws1/foos?{query}")) == ["a"]
    assert names(world.ask("wv", "GET", f"{ROOT}/workspaces/ws1/bars?{query}")) == ["y"]
    assert names(world.ask("wv", "GET", f"/kapi/v1/workspaces/ws1/secrets?{query}")) == []
    other = "labelSelector=kubesphere.io/workspace=ws2"
    assert names(world.ask("wv", "GET", f"{ROOT}/workspaces/ws1/foos?{other}")) == []


def test_what_belongs_to_another_workspace_is_not_there(world: DynamicWorld) -> None:
    assert world.ask("wv", "GET", f"{ROOT}/workspaces/ws1/foos/a").status == 200
    for path, told in (
        ("foos/b", 'foos.example.io "b" not found'),
        ("foos/c", 'foos.example.io "c" not found'),
        ("foos/b/status", 'foos.example.io "b" not found'),
    ):
        answer = world.ask("wv", "GET", f"{ROOT}/workspaces/ws1/{path}")
        assert (answer.status, answer.json()["message"]) == (404, told)
    roles = "/kapis/iam.kubesphere.io/v1beta1/workspaces/ws1/workspaceroles"
    assert world.ask("wv", "GET", f"{roles}/ws1-viewer").status == 200
    assert world.ask("wv", "GET", f"{roles}/ws2-viewer").status == 404
    assert set(names(world.ask("wv", "GET", roles))) == {f"ws1-{x}" for x in ("admin", "viewer", "regular", *SELF)}


SELF = ["self-provisioner"]


def test_a_path_is_of_the_kind_that_it_looks_like(world: DynamicWorld) -> None:
    """D1, D2: rights in a namespace or workspace are none to what has neither."""
    for path in (
        "/kapi/v1/namespaces/n1/nodes",
        "/kapi/v1/namespaces/n1/nodes/x",
        "/kapi/v1/namespaces/n1/persistentvolumes",
        "/kapis/rbac.authorization.k8s.io/v1/namespaces/n1/clusterrolebindings",
        "/kapis/iam.kubesphere.io/v1beta1/namespaces/n1/clusterroles",
        f"{ROOT}/namespaces/n1/foos/c",
        f"{ROOT}/namespaces/n1/foos",
        f"{ROOT}/namespaces/n1/nothing",
    ):
        absent(world.ask("pa", "GET", path))
    for path in (
        "/kapis/cluster.kubesphere.io/v1alpha1/workspaces/ws1/clusters",
        "/kapis/iam.kubesphere.io/v1beta1/workspaces/ws1/globalroles",
        "/kapis/iam.kubesphere.io/v1beta1/workspaces/ws1/users",
        f"{ROOT}/workspaces/ws1/namespaces/n2/bars",
    ):
        assert world.ask("wa", "GET", path).status in (403, 404), path
        assert world.ask("admin", "GET", path).status == 404, path
    absent(world.ask("admin", "GET", f"{ROOT}/bars/x"))
    absent(world.ask("admin", "GET", f"{ROOT}/namespaces/n1"))
    absent(world.ask("admin", "GET", f"{ROOT}/workspaces/ws1"))


def test_what_is_not_served(world: DynamicWorld) -> None:
    for path in (
        f"{ROOT}/hiddens",
        f"{ROOT}/hiddens/h",
        f"{ROOT}/none",
        "/kapis/other.io/v1/things",
        "/kapis/apps/v9/deployments",
        "/kapis/apps/v1%3Fx/deployments",
        "/kapis/apps/v1%23/deployments",
        "/kapi/v1/nothing",
        f"{ROOT}/foos/a/scale",
        f"{ROOT}/foos/a/exec",
        f"{ROOT}/foos/a/status/more",
        "/kapis/iam.kubesphere.io/v1alpha2/users",
        "/kapis/iam.kubesphere.io/v1beta1/users/alice/nothing",
        ROOT,
        "/kapis",
    ):
        absent(world.ask("admin", "GET", path))


def test_no_hash_comes_out_here_either(world: DynamicWorld) -> None:
    for path in ("/kapis/iam.kubesphere.io/v1beta1/users", "/kapis/iam.kubesphere.io/v1alpha2/users/alice"):
        answer = world.ask("admin", "GET", path)
        assert b"$2" not in answer.body and b"password" not in answer.body


def test_subresources(world: DynamicWorld) -> None:
    assert world.ask("admin", "GET", f"{ROOT}/foos/a/status").json()["metadata"]["name"] == "a"
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d", "namespace": "n1"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
        },
    }
    world.make(deployment)
    scale = world.ask("pa", "GET", "/kapis/apps/v1/namespaces/n1/deployments/d/scale").json()
    assert (scale["kind"], scale["spec"]["replicas"]) == ("Scale", 2)


def test_what_is_asked_in_other_ways(world: DynamicWorld) -> None:
    for method, path in (("DELETE", "foos"), ("OPTIONS", "foos"), ("POST", "proxy/foos/a"), ("DELETE", "watch/foos")):
        answer = world.ask("admin", method, f"{ROOT}/{path}")
        assert answer.status in (400, 405), (method, path, answer.body)
    for method, path in (("POST", "foos/a"), ("PUT", "foos"), ("PATCH", "foos"), ("DELETE", "foos/a/status")):
        answer = world.ask("admin", method, f"{ROOT}/{path}", {})
        assert answer.status == 405 and b"GET" in (answer.get("Allow") or b""), (method, path)
    assert world.names("/apis/example.io/v1/foos") == {"a", "b", "c"}


def test_own_apis_hand_on_what_they_do_not_have(world: DynamicWorld) -> None:
    assert names(world.ask("admin", "GET", "/kapis/iam.kubesphere.io/v1beta1/roletemplates")) == []
    assert world.ask("admin", "GET", "/kapis/iam.kubesphere.io/v1beta1/clustermembers/x").status == 405
    extra = [role("GlobalRole", "mine", []), binding("GlobalRoleBinding", "mine", ("GlobalRole", "mine"), "joe")]
    world.make(*extra)
    found = world.ask("admin", "GET", f"/kapis/{IAM}/globalrolebindings?name=mine")
    assert names(found) == ["mine"]


def test_extensions_have_filters_of_their_own(world: DynamicWorld) -> None:
    def extension(name: str, title: str, state: str = "", enabled: bool = False) -> Any:
        made: dict[str, Any] = {
            "apiVersion": "kubesphere.io/v1alpha1",
            "kind": "Extension",
            "metadata": {"name": name},
            "spec": {"displayName": {"en": title, "zh": f"{title}-zh"}},
        }
        if state:
            made["status"] = {"state": state, "enabled": enabled}
        return made

    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "extensions.kubesphere.io"},
        "spec": {
            "group": "kubesphere.io",
            "names": {"kind": "Extension", "plural": "extensions", "singular": "extension", "listKind": "Extensions"},
            "scope": "Cluster",
            "versions": [
                {
                    "name": "v1alpha1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
                }
            ],
        },
    }
    world.make(crd)
    world.make(
        extension("on", "Logging", "Installed", True),
        extension("off", "Metrics", "Installed", False),
        extension("new", "Blogs"),
    )
    for query, found in (
        ("status=notInstalled", {"new"}),
        ("status=installed", {"on", "off"}),
        ("q=LOG", {"on", "new"}),
        ("q=-zh", {"on", "off", "new"}),
        ("enabled=true", {"on"}),
        ("enabled=false", {"off"}),
        ("enabled=perhaps", set()),
        ("available=whatever&name=o", {"on", "off"}),
    ):
        answer = world.ask("admin", "GET", f"/kapis/kubesphere.io/v1alpha1/extensions?{query}")
        assert set(names(answer)) == found, query


class Watcher:
    """Somebody who watches."""

    def __init__(self, world: DynamicWorld, who: str, target: str) -> None:
        self._world = world
        self._client = world.gateway.connect()
        head = f"GET {target} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {world.token(who)}\r\n\r\n"
        self._client.send(head.encode())
        self._all = b""
        assert b"HTTP/1.1 200" in self.seen()

    def seen(self) -> bytes:
        self._world.gateway.wait(1.0)
        self._all += self._client.take()
        return self._all

    def close(self) -> None:
        self._client.close()


def test_watches_stream(world: DynamicWorld) -> None:
    every = Watcher(world, "admin", f"{ROOT}/foos?watch=true&limit=1&name=x")
    mine = Watcher(world, "wv", f"{ROOT}/workspaces/ws1/foos?watch=true&labelSelector=a!=b&timeoutSeconds=60")
    one = Watcher(world, "admin", f"{ROOT}/watch/foos/c")
    world.make(thing("Foo", "new1", workspace="ws1"), thing("Foo", "new2", workspace="ws2"))
    assert b'"new1"' in every.seen() and b'"new2"' in every.seen() and b'"ADDED"' in every.seen()
    assert b'"new1"' in mine.seen() and b'"a"' in mine.seen()
    assert b'"new2"' not in mine.seen() and b'"b"' not in mine.seen()
    assert b'"c"' in one.seen() and b'"new1"' not in one.seen()
    for each in (every, mine, one):
        each.close()


def test_a_watch_that_cannot_be(world: DynamicWorld) -> None:
    for query in ("labelSelector=a%20b", "fieldSelector=a"):
        assert world.ask("admin", "GET", f"{ROOT}/foos?watch=1&{query}").status == 400
    assert world.ask("wv", "GET", f"{ROOT}/workspaces/ws2/foos?watch=1").status == 403
    assert world.ask("pa", "GET", f"{ROOT}/namespaces/n1/foos?watch=1").status == 404
