from __future__ import annotations

from typing import Any

import pytest
from contract.client import APPLY
from contract.in_memory import MemoryClient
from contract.objects import config_map, config_maps

PATH = f"{config_maps('default')}/a"


@pytest.fixture
def api() -> MemoryClient:
    return MemoryClient()


def apply(api: MemoryClient, manager: str, config: Any, query: str = "") -> Any:
    return api.request("PATCH", f"{PATH}?fieldManager={manager}{query}", config, {"Content-Type": APPLY})


def managers(api: MemoryClient) -> dict[str, Any]:
    entries = api.get(PATH).json["metadata"].get("managedFields", [])
    return {f"{entry['operation']} {entry['manager']}": entry for entry in entries}


def test_times_say_when_the_fields_last_changed_hands(api: MemoryClient) -> None:
    apply(api, "one", config_map("a", x="1"))
    first = managers(api)["Apply one"]["time"]
    api.clock.advance(60)
    apply(api, "one", config_map("a", x="2"))
    assert managers(api)["Apply one"]["time"] == first
    apply(api, "one", config_map("a", x="2", y="1"))
    assert managers(api)["Apply one"]["time"] > first


def test_manager_that_owns_nothing_any_more_is_forgotten(api: MemoryClient) -> None:
    apply(api, "one", config_map("a", x="1"))
    apply(api, "two", config_map("a", x="2"), "&force=true")
    assert managers(api).keys() == {"Apply two"}


def test_object_that_nobody_managed_gets_a_manager_at_the_first_apply(api: MemoryClient) -> None:
    api.make(config_maps("default"), config_map("a", x="1"))
    api.patch(PATH, {"metadata": {"managedFields": [{}]}})
    assert managers(api) == {}
    api.patch(PATH, {"data": {"z": "1"}})
    assert managers(api) == {}
    assert apply(api, "one", config_map("a", x="2")).status == 409
    assert apply(api, "one", config_map("a", y="2")).status == 200
    found = managers(api)
    assert found["Update before-first-apply"]["fieldsV1"] == {"f:data": {".": {}, "f:x": {}, "f:z": {}}}
    assert found["Apply one"]["fieldsV1"] == {"f:data": {"f:y": {}}}


def test_managers_that_a_client_sends_count(api: MemoryClient) -> None:
    made = api.make(config_maps("default"), config_map("a", x="1", y="1"))
    made["metadata"]["managedFields"][0]["manager"] = "renamed"
    assert api.put(PATH, made).status == 200
    assert managers(api).keys() == {"Update renamed"}


@pytest.mark.parametrize(
    "entries",
    [
        [{"manager": "x", "operation": "Nonsense", "fieldsType": "FieldsV1"}],
        [{"manager": "x", "operation": "Update", "fieldsType": "FieldsV2"}],
        [{"manager": "x", "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": {"bad": {}}}],
    ],
)
def test_managers_that_make_no_sense_are_ignored(api: MemoryClient, entries: Any) -> None:
    api.make(config_maps("default"), config_map("a", x="1"))
    before = managers(api)
    answer = api.patch(PATH, {"metadata": {"managedFields": entries}})
    assert answer.status == 200
    assert managers(api) == before


def test_kubectl_may_go_back_from_server_side_apply(api: MemoryClient) -> None:
    body = config_map("a", x="1")
    body["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": "old"}
    api.make(config_maps("default"), body)
    answer = apply(api, "kubectl", config_map("a", x="1", y="2"))
    kept = answer.json["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"]
    assert '"y":"2"' in kept
    answer = apply(api, "other", config_map("a", z="2"))
    again = answer.json["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"]
    assert again == kept
