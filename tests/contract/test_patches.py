"""JSON merge patch, JSON patch and strategic merge patch."""

from __future__ import annotations

import json

import pytest

from contract.client import JSON_PATCH, MERGE, STRATEGIC, Client
from contract.objects import Widgets, config_map, config_maps, deployment, deployments


def test_merge_patch_sets_and_removes(api: Client, namespace: str) -> None:
    api.make(config_maps(namespace), config_map("a", x="1", y="1"))
    patch = {"data": {"x": None, "z": "3"}, "metadata": {"labels": {"l": "v"}}}
    answer = api.patch(f"{config_maps(namespace)}/a", patch)
    assert answer.status == 200
    assert answer.json["data"] == {"y": "1", "z": "3"}
    assert answer.json["metadata"]["labels"] == {"l": "v"}


def test_patch_that_changes_nothing_keeps_the_resource_version(api: Client, namespace: str) -> None:
    made = api.make(config_maps(namespace), config_map("a", x="1"))
    answer = api.patch(f"{config_maps(namespace)}/a", {"data": {"x": "1"}})
    assert (answer.status, answer.rv) == (200, made["metadata"]["resourceVersion"])


def test_merge_patch_replaces_lists(api: Client, namespace: str) -> None:
    api.make(deployments(namespace), deployment("a"))
    containers = [{"name": "other", "image": "b:1"}]
    patch = {"spec": {"template": {"spec": {"containers": containers}}}}
    answer = api.patch(f"{deployments(namespace)}/a", patch)
    assert answer.status == 200
    assert [each["name"] for each in answer.json["spec"]["template"]["spec"]["containers"]] == ["other"]


def test_patch_of_nothing_is_not_found(api: Client, namespace: str) -> None:
    answer = api.patch(f"{config_maps(namespace)}/a", {})
    assert (answer.status, answer.reason) == (404, "NotFound")


def test_patch_with_an_old_resource_version_conflicts(api: Client, namespace: str) -> None:
    made = api.make(config_maps(namespace), config_map("a", x="1"))
    assert api.patch(f"{config_maps(namespace)}/a", {"data": {"x": "2"}}).status == 200
    patch = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}, "data": {"x": "3"}}
    answer = api.patch(f"{config_maps(namespace)}/a", patch)
    assert (answer.status, answer.reason) == (409, "Conflict")


def test_patch_cannot_rename(api: Client, namespace: str) -> None:
    api.make(config_maps(namespace), config_map("a"))
    answer = api.patch(f"{config_maps(namespace)}/a", {"metadata": {"name": "b"}})
    assert (answer.status, answer.reason) == (400, "BadRequest")
    answer = api.patch(f"{config_maps(namespace)}/a", {"metadata": {"namespace": "default"}})
    assert (answer.status, answer.reason) == (400, "BadRequest")


def test_patch_cannot_change_the_uid(api: Client, namespace: str) -> None:
    api.make(config_maps(namespace), config_map("a"))
    answer = api.patch(f"{config_maps(namespace)}/a", {"metadata": {"uid": "other"}})
    assert (answer.status, answer.causes) == (422, {("FieldValueInvalid", "metadata.uid")})


def test_patch_to_a_wrong_type_is_invalid(api: Client, namespace: str) -> None:
    api.make(config_maps(namespace), config_map("a"))
    answer = api.patch(f"{config_maps(namespace)}/a", {"data": {"x": 1}})
    assert (answer.status, answer.causes) == (422, {("FieldValueInvalid", "patch")})
    assert "cannot unmarshal number into Go struct field ConfigMap.data of type string" in answer.message


def test_patch_with_an_unknown_field(api: Client, namespace: str) -> None:
    api.make(config_maps(namespace), config_map("a"))
    answer = api.patch(f"{config_maps(namespace)}/a", {"foo": 1})
    assert answer.status == 200
    assert answer.headers["warning"] == '299 - "unknown field \\"foo\\""'
    answer = api.patch(f"{config_maps(namespace)}/a?fieldValidation=Strict", {"foo": 1})
    assert (answer.status, answer.causes) == (422, {("FieldValueInvalid", "patch")})


@pytest.mark.parametrize("kind", [MERGE, JSON_PATCH, STRATEGIC])
@pytest.mark.parametrize("body", ["{bad", '"text"'])
def test_malformed_patch_is_bad_request(api: Client, namespace: str, kind: str, body: str) -> None:
    api.make(config_maps(namespace), config_map("a"))
    answer = api.patch(f"{config_maps(namespace)}/a", body, kind)
    assert (answer.status, answer.reason) == (400, "BadRequest")


def test_patch_without_a_patch_type_is_unsupported(api: Client, namespace: str) -> None:
    api.make(config_maps(namespace), config_map("a"))
    answer = api.patch(f"{config_maps(namespace)}/a", {}, "application/json")
    assert (answer.status, answer.reason) == (415, "UnsupportedMediaType")


def test_force_is_for_apply_only(api: Client, namespace: str) -> None:
    api.make(config_maps(namespace), config_map("a"))
    answer = api.patch(f"{config_maps(namespace)}/a?force=true", {})
    assert (answer.status, answer.causes) == (422, {("FieldValueForbidden", "force")})


def test_json_patch_operations(api: Client, namespace: str) -> None:
    api.make(config_maps(namespace), config_map("a", x="1", y="2"))
    operations = [
        {"op": "test", "path": "/data/x", "value": "1"},
        {"op": "replace", "path": "/data/x", "value": "3"},
        {"op": "copy", "from": "/data/x", "path": "/data/z"},
        {"op": "move", "from": "/data/y", "path": "/data/w"},
        {"op": "add", "path": "/metadata/labels", "value": {"l": "v"}},
    ]
    answer = api.patch(f"{config_maps(namespace)}/a", operations, JSON_PATCH)
    assert answer.status == 200
    assert answer.json["data"] == {"x": "3", "z": "3", "w": "2"}
    assert answer.json["metadata"]["labels"] == {"l": "v"}
    answer = api.patch(f"{config_maps(namespace)}/a", [{"op": "remove", "path": "/data/w"}], JSON_PATCH)
    assert answer.json["data"] == {"x": "3", "z": "3"}


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/data/x", "value": "2"},
        {"op": "remove", "path": "/data/nothing"},
        {"op": "nonsense", "path": "/data/x"},
    ],
)
def test_json_patch_that_does_not_apply_changes_nothing(api: Client, namespace: str, operation: dict[str, str]) -> None:
    made = api.make(config_maps(namespace), config_map("a", x="1"))
    first = {"op": "add", "path": "/data/y", "value": "1"}
    answer = api.patch(f"{config_maps(namespace)}/a", [first, operation], JSON_PATCH)
    assert (answer.status, answer.reason) == (422, "Invalid")
    assert api.get(f"{config_maps(namespace)}/a").json == made


def test_strategic_patch_merges_containers_by_name(api: Client, namespace: str) -> None:
    api.make(deployments(namespace), deployment("a"))
    containers = [{"name": "main", "image": "app:2"}, {"name": "side", "image": "b:1"}]
    patch = {"spec": {"template": {"spec": {"containers": containers}}}}
    answer = api.patch(f"{deployments(namespace)}/a", patch, STRATEGIC)
    assert answer.status == 200
    found = {each["name"]: each for each in answer.json["spec"]["template"]["spec"]["containers"]}
    assert found.keys() == {"main", "side"}
    assert found["main"]["image"] == "app:2"
    assert found["main"]["ports"] == [{"containerPort": 80, "protocol": "TCP"}]


def test_strategic_patch_deletes_elements(api: Client, namespace: str) -> None:
    body = deployment("a")
    main = body["spec"]["template"]["spec"]["containers"][0]
    main["env"] = [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    api.make(deployments(namespace), body)
    change = {"name": "main", "env": [{"name": "A", "$patch": "delete"}, {"name": "B", "value": "3"}]}
    patch = {"spec": {"template": {"spec": {"containers": [change]}}}}
    answer = api.patch(f"{deployments(namespace)}/a", patch, STRATEGIC)
    container = answer.json["spec"]["template"]["spec"]["containers"][0]
    assert container["env"] == [{"name": "B", "value": "3"}]


def test_strategic_patch_replaces_a_list_if_told_to(api: Client, namespace: str) -> None:
    api.make(deployments(namespace), deployment("a"))
    change = {"name": "main", "ports": [{"$patch": "replace"}, {"containerPort": 90}]}
    patch = {"spec": {"template": {"spec": {"containers": [change]}}}}
    answer = api.patch(f"{deployments(namespace)}/a", patch, STRATEGIC)
    ports = answer.json["spec"]["template"]["spec"]["containers"][0]["ports"]
    assert [port["containerPort"] for port in ports] == [90]


def test_strategic_patch_orders_elements_as_told(api: Client, namespace: str) -> None:
    api.make(deployments(namespace), deployment("a"))
    pod = {
        "$setElementOrder/containers": [{"name": "main"}, {"name": "side"}],
        "containers": [{"name": "side", "image": "b:1"}],
    }
    patch = {"spec": {"template": {"spec": pod}}}
    answer = api.patch(f"{deployments(namespace)}/a", patch, STRATEGIC)
    assert [each["name"] for each in answer.json["spec"]["template"]["spec"]["containers"]] == ["main", "side"]


def test_strategic_patch_retains_keys(api: Client, namespace: str) -> None:
    made = api.make(deployments(namespace), deployment("a"))
    assert "rollingUpdate" in made["spec"]["strategy"]
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    answer = api.patch(f"{deployments(namespace)}/a", patch, STRATEGIC)
    assert answer.json["spec"]["strategy"] == {"type": "Recreate"}


def test_strategic_patch_merges_and_prunes_finalizers(api: Client, namespace: str) -> None:
    body = config_map("a")
    body["metadata"]["finalizers"] = ["example.com/a"]
    api.make(config_maps(namespace), body)
    patch = {"metadata": {"finalizers": ["example.com/b"]}}
    answer = api.patch(f"{config_maps(namespace)}/a", patch, STRATEGIC)
    assert set(answer.json["metadata"]["finalizers"]) == {"example.com/a", "example.com/b"}
    patch = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["example.com/a", "example.com/b"]}}
    answer = api.patch(f"{config_maps(namespace)}/a", patch, STRATEGIC)
    assert not answer.json["metadata"].get("finalizers")


def test_custom_kinds_have_no_strategic_patch(api: Client, widgets: Widgets) -> None:
    api.make(widgets.path, widgets.new("a"))
    answer = api.patch(f"{widgets.path}/a", {}, STRATEGIC)
    assert (answer.status, answer.reason) == (415, "UnsupportedMediaType")
    assert "application/merge-patch+json" in answer.message


def test_patch_of_a_custom_object_is_validated(api: Client, widgets: Widgets) -> None:
    api.make(widgets.path, widgets.new("a"))
    answer = api.patch(f"{widgets.path}/a", {"spec": {"color": "pink"}})
    assert (answer.status, answer.causes) == (422, {("FieldValueNotSupported", "spec.color")})
    answer = api.patch(f"{widgets.path}/a", [{"op": "remove", "path": "/spec/name"}], JSON_PATCH)
    assert (answer.status, answer.causes) == (422, {("FieldValueRequired", "spec.name")})
    answer = api.patch(f"{widgets.path}/a", {"kind": "Gadget"})
    assert (answer.status, answer.reason) == (422, "Invalid")


def test_dry_run_patch_stores_nothing(api: Client, namespace: str) -> None:
    made = api.make(config_maps(namespace), config_map("a", x="1"))
    answer = api.patch(f"{config_maps(namespace)}/a?dryRun=All", {"data": {"x": "2"}})
    assert (answer.status, answer.json["data"]) == (200, {"x": "2"})
    assert api.get(f"{config_maps(namespace)}/a").json == made


def test_patched_generation_follows_the_spec(api: Client, namespace: str) -> None:
    made = api.make(deployments(namespace), deployment("a"))
    assert made["metadata"]["generation"] == 1
    path = f"{deployments(namespace)}/a"
    assert api.patch(path, {"metadata": {"labels": {"l": "v"}}}).json["metadata"]["generation"] == 1
    assert api.patch(path, {"spec": {"replicas": 3}}).json["metadata"]["generation"] == 2
    assert json.dumps(api.get(path).json["spec"]["replicas"]) == "3"
