from __future__ import annotations

from pathlib import Path

import pytest
from contract.in_memory import MemoryClient
from contract.objects import CRDS, Widgets, definition

from ksproxyd import manifests
from ksproxyd.model.status import StatusError
from ksproxyd.standalone.bootstrap import fill
from ksproxyd.standalone.storage.store import Store

GROUP = "things.example.com"


def test_first_start_has_namespaces_with_accounts() -> None:
    api = MemoryClient()
    found = [item["metadata"]["name"] for item in api.get("/api/v1/namespaces").json["items"]]
    assert found == ["default", "kube-node-lease", "kube-public", "kube-system", "kubesphere-system"]
    for name in found:
        assert api.get(f"/api/v1/namespaces/{name}/serviceaccounts/default").status == 200


def test_shipped_definitions_are_served() -> None:
    api = MemoryClient(definitions=manifests.definitions())
    found = {item["metadata"]["name"] for item in api.get(CRDS).json["items"]}
    assert found == {each["metadata"]["name"] for each in manifests.definitions()}
    body = {
        "apiVersion": "extensions.kubesphere.io/v1alpha1",
        "kind": "APIService",
        "metadata": {"name": "v1.example.com"},
        "spec": {"group": "example.com", "version": "v1", "url": "http://127.0.0.1:1"},
    }
    assert api.post("/apis/extensions.kubesphere.io/v1alpha1/apiservices", body).status == 201


def test_second_start_changes_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "objects.db")
    api = MemoryClient(Store(path), [definition(GROUP)])
    widgets = Widgets(GROUP, "default")
    api.make(widgets.path, widgets.new("a"))
    before = api.store.revision
    api.store.close()
    again = MemoryClient(Store(path), [definition(GROUP)])
    assert again.store.revision == before
    assert again.get(f"{widgets.path}/a").status == 200
    again.store.close()


def test_newer_definition_replaces_the_stored_one(tmp_path: Path) -> None:
    path = str(tmp_path / "objects.db")
    api = MemoryClient(Store(path), [definition(GROUP)])
    widgets = Widgets(GROUP, "default")
    api.store.close()
    newer = definition(GROUP)
    spec = newer["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["properties"]["extra"] = {"type": "string", "default": "new"}
    again = MemoryClient(Store(path), [newer])
    assert again.make(widgets.path, widgets.new("a"))["spec"]["extra"] == "new"
    again.store.close()


def test_deleted_namespace_is_not_made_again_before_it_is_gone(tmp_path: Path) -> None:
    path = str(tmp_path / "objects.db")
    api = MemoryClient(Store(path))
    api.delete("/api/v1/namespaces/kubesphere-system")
    assert api.get("/api/v1/namespaces/kubesphere-system").status == 404
    api.store.close()
    again = MemoryClient(Store(path))
    assert again.get("/api/v1/namespaces/kubesphere-system").status == 200
    again.store.close()


def test_definition_that_cannot_be_served_is_named() -> None:
    api = MemoryClient()
    bad = definition(GROUP)
    del bad["spec"]["scope"]
    with pytest.raises(StatusError, match=rf"widgets\.{GROUP}: .*spec\.scope"):
        fill(api.api, [bad])
