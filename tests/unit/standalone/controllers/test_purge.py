from __future__ import annotations

from pathlib import Path

import pytest
from contract.in_memory import MemoryClient
from contract.objects import CRDS, Widgets, config_map, config_maps, definition

from ksproxyd.standalone.storage.store import Store

NAMESPACES = "/api/v1/namespaces"


@pytest.fixture
def api() -> MemoryClient:
    return MemoryClient()


def test_namespace_gets_its_default_account(api: MemoryClient) -> None:
    api.make(NAMESPACES, {"metadata": {"name": "n"}})
    answer = api.get(f"{NAMESPACES}/n/serviceaccounts")
    assert [item["metadata"]["name"] for item in answer.json["items"]] == ["default"]


def test_namespace_goes_with_all_its_contents(api: MemoryClient) -> None:
    api.make(NAMESPACES, {"metadata": {"name": "n"}})
    for number in range(120):
        api.make(config_maps("n"), config_map(f"c{number}"))
    api.make(f"{NAMESPACES}/n/secrets", {"metadata": {"name": "s"}})
    api.make("/apis/apps/v1/namespaces/n/controllerrevisions", {"metadata": {"name": "r"}, "revision": 1})
    kept = api.make(config_maps("default"), config_map("kept"))
    watch = api.watch(f"{config_maps('n')}?watch=1&resourceVersion={api.get(config_maps('n')).rv}")
    answer = api.delete(f"{NAMESPACES}/n")
    assert answer.json["status"]["phase"] == "Terminating"
    assert api.get(f"{NAMESPACES}/n").status == 404
    assert api.get(config_maps("n")).json["items"] == []
    assert {event["type"] for event in watch.take(120)} == {"DELETED"}
    assert api.get(f"{config_maps('default')}/kept").json == kept


def test_deleting_a_namespace_stops_nobody(api: MemoryClient) -> None:
    api.make(NAMESPACES, {"metadata": {"name": "n"}})
    for number in range(500):
        api.make(config_maps("n"), config_map(f"c{number}"))
    writes = []
    api.api.log.listen(lambda event: writes.append(event.key))
    request = api._handle("DELETE", f"{NAMESPACES}/n", None, None)
    assert request.status == 200
    # Only the namespace itself has been written when the answer is there.
    assert len(writes) == 1


def test_namespace_waits_for_finalizers(api: MemoryClient) -> None:
    api.make(NAMESPACES, {"metadata": {"name": "n"}})
    body = config_map("held")
    body["metadata"]["finalizers"] = ["example.com/hold"]
    api.make(config_maps("n"), body)
    api.make(config_maps("n"), config_map("free"))
    api.delete(f"{NAMESPACES}/n")
    assert [item["metadata"]["name"] for item in api.get(config_maps("n")).json["items"]] == ["held"]
    assert api.get(f"{NAMESPACES}/n").json["status"]["phase"] == "Terminating"
    api.patch(f"{config_maps('n')}/held", {"metadata": {"finalizers": None}})
    assert api.get(f"{NAMESPACES}/n").status == 404


def test_namespace_can_be_made_again(api: MemoryClient) -> None:
    api.make(NAMESPACES, {"metadata": {"name": "n"}})
    api.delete(f"{NAMESPACES}/n")
    api.make(NAMESPACES, {"metadata": {"name": "n"}})
    assert api.get(f"{NAMESPACES}/n").json["status"] == {"phase": "Active"}
    assert len(api.get(f"{NAMESPACES}/n/serviceaccounts").json["items"]) == 1


def test_custom_objects_go_with_their_namespace(api: MemoryClient) -> None:
    api.make(NAMESPACES, {"metadata": {"name": "n"}})
    api.make(CRDS, definition("things.example.com"))
    widgets = Widgets("things.example.com", "n")
    api.make(widgets.path, widgets.new("a"))
    api.delete(f"{NAMESPACES}/n")
    assert api.get(f"{NAMESPACES}/n").status == 404


def test_definition_goes_with_many_objects(api: MemoryClient) -> None:
    api.make(CRDS, definition("things.example.com"))
    widgets = Widgets("things.example.com", "default")
    for number in range(90):
        api.make(widgets.path, widgets.new(f"w{number}"))
    answer = api.delete(widgets.definition)
    assert answer.json["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
    assert api.get(widgets.definition).status == 404
    assert api.get(widgets.path).status == 404
    assert api.get("/apis/things.example.com").status == 404


def test_emptying_goes_on_after_a_restart(tmp_path: Path) -> None:
    path = str(tmp_path / "objects.db")
    api = MemoryClient(Store(path))
    api.make(NAMESPACES, {"metadata": {"name": "n"}})
    api.make(CRDS, definition("things.example.com"))
    widgets = Widgets("things.example.com", "default")
    for number in range(30):
        api.make(config_maps("n"), config_map(f"c{number}"))
        api.make(widgets.path, widgets.new(f"w{number}"))
    # The process ends between the answer and the work behind it.
    api.api.stop()
    api.delete(f"{NAMESPACES}/n")
    api.delete(widgets.definition)
    assert api.get(f"{NAMESPACES}/n").status == 200
    api.store.close()
    again = MemoryClient(Store(path))
    assert again.get(f"{NAMESPACES}/n").status == 404
    assert again.get(widgets.definition).status == 404
    again.store.close()
