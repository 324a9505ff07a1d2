from __future__ import annotations

import pytest
from contract.client import MERGE
from contract.in_memory import MemoryClient
from contract.objects import config_map, config_maps
from hypothesis import given
from hypothesis import strategies as st

PATH = config_maps("default")


@pytest.fixture
def api() -> MemoryClient:
    return MemoryClient()


def test_root_lists_paths(api: MemoryClient) -> None:
    paths = api.get("/").json["paths"]
    assert {"/api/v1", "/apis/apps/v1", "/healthz", "/openapi/v3", "/version"} <= set(paths)


def test_slashes_do_not_matter(api: MemoryClient) -> None:
    assert api.get("/api/v1/").json["kind"] == "APIResourceList"
    assert api.get("//apis/apps//v1/").json["groupVersion"] == "apps/v1"


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/configmaps/a",
        "/api/v1/namespaces/default/namespaces",
        "/api/v1/namespaces/default/nodes",
        "/api/v1/namespaces/default/configmaps/a/b/c",
        "/api/v1/namespaces/default/configmaps/a/scale",
        "/api/v1/namespaces/default/status/more",
        "/api/v2",
        "/apis/apps/v1/namespaces/default",
    ],
)
def test_paths_that_mean_nothing(api: MemoryClient, path: str) -> None:
    answer = api.get(path)
    assert (answer.status, answer.reason) == (404, "NotFound")


@pytest.mark.parametrize("path", ["/version", "/healthz", "/api", "/apis", "/apis/apps/v1", "/openapi/v3"])
def test_what_is_only_read_cannot_be_written(api: MemoryClient, path: str) -> None:
    assert api.post(path, {}).status == 405


def test_reviews_are_only_created(api: MemoryClient) -> None:
    assert api.get("/apis/authentication.k8s.io/v1/selfsubjectreviews").status == 405


def test_status_of_a_namespace_is_a_subresource(api: MemoryClient) -> None:
    assert api.get("/api/v1/namespaces/default/status").json["kind"] == "Namespace"


def test_scale_cannot_be_applied(api: MemoryClient) -> None:
    path = "/apis/apps/v1/namespaces/default/deployments/a/scale?fieldManager=x"
    answer = api.request("PATCH", path, {}, {"Content-Type": "application/apply-patch+yaml"})
    assert (answer.status, answer.reason) == (400, "BadRequest")


@pytest.mark.parametrize("replicas", ["3", 1.5, True])
def test_scale_wants_a_number(api: MemoryClient, replicas: object) -> None:
    body = {"metadata": {"name": "a"}, "spec": {"template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}}}
    body["spec"] |= {"selector": {"a": "b"}}  # type: ignore[operator]
    path = "/api/v1/namespaces/default/replicationcontrollers"
    api.make(path, body)
    assert api.patch(f"{path}/a/scale", {"spec": {"replicas": replicas}}).status == 400


def test_names_with_odd_letters_are_just_not_there(api: MemoryClient) -> None:
    for name in ("%00", "%F0%9F%98%80", "..", "a%2Fb", "%27%20OR%201=1"):
        assert api.get(f"{PATH}/{name}").status == 404


def test_collection_of_stale_tokens_is_refused(api: MemoryClient) -> None:
    assert api.delete(f"{PATH}?continue=zzz").status == 400


@given(
    method=st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE"]),
    tail=st.sampled_from(["", "/a", "/a/status", "/a/scale", "/b"]),
    resource=st.sampled_from(["api/v1/namespaces/default/configmaps", "apis/apps/v1/namespaces/default/deployments"]),
    query=st.sampled_from(["", "?dryRun=All", "?limit=1", "?fieldManager=m", "?resourceVersion=3", "?force=1"]),
    kind=st.sampled_from(["application/json", MERGE, "application/apply-patch+yaml", "application/yaml"]),
    body=st.recursive(
        st.none() | st.booleans() | st.integers(-1, 3) | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                ["metadata", "name", "labels", "finalizers", "ownerReferences", "managedFields", "spec", "data",
                 "apiVersion", "kind", "template", "containers", "selector", "replicas", "uid", "status"]
            ),
            inner,
            max_size=4,
        ),
        max_leaves=12,
    ),
)  # fmt: skip
def test_no_request_meets_a_mistake_of_ours(
    method: str, tail: str, resource: str, query: str, kind: str, body: object
) -> None:
    api = SHARED
    answer = api.request(method, f"/{resource}{tail}{query}", body, {"Content-Type": kind})
    assert 200 <= answer.status < 600
    if answer.status == 500:
        # These two are the client's, but kube-apiserver answers them so.
        assert "typed patch object" in answer.message or "resourceVersion should not be set" in answer.message


SHARED = MemoryClient()
SHARED.make(PATH, config_map("a", x="1"))
