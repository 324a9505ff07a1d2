"""A write that is bound to a version does nothing to another one, whatever the server is sent in between.

What :mod:`ksproxyd.tree.pinned` relies on, at a real kube-apiserver: for Kubernetes' own kinds and for defined ones.
"""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from ksproxyd.tree.pinned import APPLY, JSON_PATCH, MERGE, STRATEGIC, pinned, version_of

from .client import ApiClient, ApiError
from .cluster import Cluster
from .objects import namespace as namespace_object

NATIVE = "rbac.authorization.k8s.io/v1"
IAM = "iam.kubesphere.io/v1beta1"
PUT = b"application/json"
RULES = [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]
MORE = [{"verbs": ["list"], "apiGroups": [""], "resources": ["pods"]}]


@pytest.fixture(scope="module")
def place(bare_cluster: Cluster) -> str:
    name = f"t-{secrets.token_hex(4)}"
    bare_cluster.api.create("/api/v1/namespaces", namespace_object(name))
    return name


def role(version: str, name: str, rules: Any) -> Any:
    return {"apiVersion": version, "kind": "Role", "metadata": {"name": name}, "rules": rules}


def send(api: ApiClient, path: str, media: bytes, body: Any, query: str = "") -> Any:
    manager = "fieldManager=me&force=true" if media == APPLY else "fieldManager=me"
    method = "PUT" if media == PUT else "PATCH"
    return api.request(method, f"{path}?{manager}{query}", body, media.decode())


@pytest.mark.parametrize("version", [NATIVE, IAM])
@pytest.mark.parametrize("media", [PUT, MERGE, JSON_PATCH, STRATEGIC, APPLY])
def test_only_what_was_looked_at_is_changed(bare_cluster: Cluster, place: str, version: str, media: bytes) -> None:
    if version == IAM and media == STRATEGIC:
        pytest.skip("defined kinds have no strategic merge patch")
    api = bare_cluster.api
    collection = f"/apis/{version}/namespaces/{place}/roles"
    name = f"r-{secrets.token_hex(4)}"
    path = f"{collection}/{name}"
    looked_at = api.create(collection, role(version, name, RULES))
    bodies: dict[bytes, Any] = {
        PUT: role(version, name, MORE),
        MERGE: {"rules": MORE},
        STRATEGIC: {"rules": MORE},
        JSON_PATCH: [{"op": "replace", "path": "/rules", "value": MORE}],
        APPLY: role(version, name, MORE),
    }
    bound = pinned(media, bodies[media], version_of(looked_at), name)

    tried = send(api, path, media, bound, "&dryRun=All")
    assert tried["rules"] == MORE and api.get(path)["rules"] == RULES

    api.patch(path, {"metadata": {"labels": {"changed": "meanwhile"}}})
    for query in ("&dryRun=All", ""):
        with pytest.raises(ApiError) as caught:
            send(api, path, media, bound, query)
        assert caught.value.code == (422 if media == JSON_PATCH else 409)
    assert api.get(path)["rules"] == RULES

    again = pinned(media, bodies[media], version_of(api.get(path)), name)
    assert send(api, path, media, again)["rules"] == MORE
