"""Server-side apply and the ownership of fields."""

from __future__ import annotations

from typing import Any

from contract.client import APPLY, Answer, Client
from contract.objects import Widgets, config_map, config_maps, deployment, deployments


def apply(api: Client, path: str, config: Any, manager: str, force: bool = False) -> Answer:
    query = f"?fieldManager={manager}" + ("&force=true" if force else "")
    return api.request("PATCH", path + query, config, {"Content-Type": APPLY})


def owned(answer: Answer, manager: str, subresource: str = "") -> dict[str, Any] | None:
    """What a manager owns, None if it is not there."""
    for entry in answer.json["metadata"].get("managedFields", []):
        if entry["manager"] == manager and entry.get("subresource", "") == subresource:
            return entry["fieldsV1"]
    return None


def test_apply_creates(api: Client, namespace: str) -> None:
    answer = apply(api, f"{config_maps(namespace)}/a", config_map("a", x="1"), "one")
    assert answer.status == 201
    assert answer.json["data"] == {"x": "1"}
    (entry,) = answer.json["metadata"]["managedFields"]
    assert (entry["manager"], entry["operation"], entry["apiVersion"]) == ("one", "Apply", "v1")
    assert entry["fieldsType"] == "FieldsV1"
    assert entry["fieldsV1"] == {"f:data": {"f:x": {}}}


def test_apply_takes_yaml(api: Client, namespace: str) -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  x: '1'\n"
    answer = apply(api, f"{config_maps(namespace)}/a", text, "one")
    assert (answer.status, answer.json["data"]) == (201, {"x": "1"})


def test_apply_again_changes_nothing(api: Client, namespace: str) -> None:
    path = f"{config_maps(namespace)}/a"
    first = apply(api, path, config_map("a", x="1"), "one")
    second = apply(api, path, config_map("a", x="1"), "one")
    assert (second.status, second.rv) == (200, first.rv)


def test_apply_removes_what_is_no_longer_said(api: Client, namespace: str) -> None:
    path = f"{config_maps(namespace)}/a"
    apply(api, path, config_map("a", x="1", y="2"), "one")
    answer = apply(api, path, config_map("a", x="1"), "one")
    assert answer.json["data"] == {"x": "1"}
    assert owned(answer, "one") == {"f:data": {"f:x": {}}}


def test_apply_keeps_what_another_manager_says_too(api: Client, namespace: str) -> None:
    path = f"{config_maps(namespace)}/a"
    apply(api, path, config_map("a", x="1", y="2"), "one")
    assert apply(api, path, config_map("a", y="2"), "two").status == 200
    answer = apply(api, path, config_map("a", x="1"), "one")
    assert answer.json["data"] == {"x": "1", "y": "2"}
    assert owned(answer, "two") == {"f:data": {"f:y": {}}}


def test_apply_against_another_managers_value_conflicts(api: Client, namespace: str) -> None:
    path = f"{config_maps(namespace)}/a"
    apply(api, path, config_map("a", x="1"), "one")
    answer = apply(api, path, config_map("a", x="2"), "two")
    assert (answer.status, answer.reason) == (409, "Conflict")
    assert answer.message == 'Apply failed with 1 conflict: conflict with "one": .data.x'
    assert answer.json["details"]["causes"] == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "one"', "field": ".data.x"}
    ]
    assert api.get(path).json["data"] == {"x": "1"}


def test_conflict_names_every_field(api: Client, namespace: str) -> None:
    path = f"{config_maps(namespace)}/a"
    apply(api, path, config_map("a", x="1", y="1"), "one")
    answer = apply(api, path, config_map("a", x="2", y="2"), "two")
    assert answer.status == 409
    assert answer.message.startswith('Apply failed with 2 conflicts: conflicts with "one":')
    assert answer.causes == {("FieldManagerConflict", ".data.x"), ("FieldManagerConflict", ".data.y")}


def test_forced_apply_takes_the_field(api: Client, namespace: str) -> None:
    path = f"{config_maps(namespace)}/a"
    apply(api, path, config_map("a", x="1", y="1"), "one")
    answer = apply(api, path, config_map("a", x="2"), "two", force=True)
    assert (answer.status, answer.json["data"]) == (200, {"x": "2", "y": "1"})
    assert owned(answer, "one") == {"f:data": {"f:y": {}}}
    assert owned(answer, "two") == {"f:data": {"f:x": {}}}


def test_update_takes_fields_from_an_applier(api: Client, namespace: str) -> None:
    path = f"{config_maps(namespace)}/a"
    apply(api, path, config_map("a", x="1", y="1"), "one")
    answer = api.patch(f"{path}?fieldManager=editor", {"data": {"x": "2"}})
    assert owned(answer, "one") == {"f:data": {"f:y": {}}}
    assert owned(answer, "editor") == {"f:data": {"f:x": {}}}
    answer = apply(api, path, config_map("a", x="1", y="1"), "one")
    assert answer.status == 409
    assert answer.json["details"]["causes"][0]["message"].startswith('conflict with "editor" using v1')


def test_create_records_its_manager(api: Client, namespace: str) -> None:
    answer = api.post(f"{config_maps(namespace)}?fieldManager=maker", config_map("a", x="1"))
    (entry,) = answer.json["metadata"]["managedFields"]
    assert (entry["manager"], entry["operation"]) == ("maker", "Update")
    assert entry["fieldsV1"] == {"f:data": {".": {}, "f:x": {}}}


def test_manager_is_taken_from_the_user_agent(api: Client, namespace: str) -> None:
    headers = {"User-Agent": "my-tool/1.2 (linux)", "Content-Type": "application/json"}
    answer = api.request("POST", config_maps(namespace), config_map("a", x="1"), headers)
    assert answer.json["metadata"]["managedFields"][0]["manager"] == "my-tool"


def test_what_was_there_before_is_owned_by_its_maker(api: Client, namespace: str) -> None:
    path = f"{config_maps(namespace)}/a"
    assert api.post(f"{config_maps(namespace)}?fieldManager=maker", config_map("a", x="1")).status == 201
    answer = apply(api, path, config_map("a", x="2"), "one")
    assert answer.status == 409
    answer = apply(api, path, config_map("a", y="2"), "one")
    assert answer.json["data"] == {"x": "1", "y": "2"}


def test_empty_managed_fields_wipe_the_managers(api: Client, namespace: str) -> None:
    path = f"{config_maps(namespace)}/a"
    apply(api, path, config_map("a", x="1"), "one")
    answer = api.patch(path, {"metadata": {"managedFields": [{}]}})
    assert answer.status == 200
    assert "managedFields" not in answer.json["metadata"]


def test_apply_without_a_manager_is_invalid(api: Client, namespace: str) -> None:
    answer = api.request("PATCH", f"{config_maps(namespace)}/a", config_map("a"), {"Content-Type": APPLY})
    assert (answer.status, answer.causes) == (422, {("FieldValueRequired", "fieldManager")})


def test_apply_of_another_kind_or_name_is_refused(api: Client, namespace: str) -> None:
    path = f"{config_maps(namespace)}/a"
    answer = apply(api, path, {"apiVersion": "v1", "kind": "Secret"}, "one")
    assert (answer.status, answer.message) == (400, "invalid object type: /v1, Kind=Secret")
    answer = apply(api, path, config_map("b"), "one")
    assert answer.status == 400
    assert "does not match the name on the URL" in answer.message


def test_apply_with_managed_fields_is_refused(api: Client, namespace: str) -> None:
    config = config_map("a")
    config["metadata"]["managedFields"] = [{"manager": "x"}]
    answer = apply(api, f"{config_maps(namespace)}/a", config, "one")
    assert (answer.status, answer.message) == (400, "metadata.managedFields must be nil")


def test_apply_of_malformed_yaml_is_refused(api: Client, namespace: str) -> None:
    answer = apply(api, f"{config_maps(namespace)}/a", "a: [", "one")
    assert (answer.status, answer.reason) == (400, "BadRequest")
    assert answer.message.startswith("error decoding YAML")


def test_apply_with_an_old_resource_version_conflicts(api: Client, namespace: str) -> None:
    path = f"{config_maps(namespace)}/a"
    old = apply(api, path, config_map("a", x="1"), "one").rv
    apply(api, path, config_map("a", x="2"), "one")
    config = config_map("a", x="3")
    config["metadata"]["resourceVersion"] = old
    answer = apply(api, path, config, "one")
    assert (answer.status, answer.reason) == (409, "Conflict")


def test_apply_of_an_unknown_field_is_refused(api: Client, namespace: str) -> None:
    answer = apply(api, f"{config_maps(namespace)}/a", {**config_map("a"), "foo": 1}, "one")
    assert answer.status == 500
    assert ".foo: field not declared in schema" in answer.message


def test_lists_are_owned_by_element(api: Client, namespace: str) -> None:
    path = f"{deployments(namespace)}/a"
    apply(api, path, deployment("a"), "one")
    other = deployment("a")
    other["spec"] = {"template": {"spec": {"containers": [{"name": "side", "image": "b:1"}]}}}
    answer = apply(api, path, other, "two")
    assert answer.status == 200
    assert {each["name"] for each in answer.json["spec"]["template"]["spec"]["containers"]} == {"main", "side"}
    fields = owned(answer, "two")
    assert fields is not None
    containers = fields["f:spec"]["f:template"]["f:spec"]["f:containers"]
    assert containers == {'k:{"name":"side"}': {".": {}, "f:image": {}, "f:name": {}}}
    other["spec"] = {}
    answer = apply(api, path, other, "two")
    assert [each["name"] for each in answer.json["spec"]["template"]["spec"]["containers"]] == ["main"]


def test_ports_are_owned_by_port_and_protocol(api: Client, namespace: str) -> None:
    answer = apply(api, f"{deployments(namespace)}/a", deployment("a"), "one")
    fields = owned(answer, "one")
    assert fields is not None
    container = fields["f:spec"]["f:template"]["f:spec"]["f:containers"]['k:{"name":"main"}']
    assert container["f:ports"] == {'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}}


def test_sets_and_keyed_lists_of_custom_kinds(api: Client, widgets: Widgets) -> None:
    api.make(widgets.path, widgets.new("a"))
    path = f"{widgets.path}/a"
    spec = {"tags": ["x", "y"], "parts": [{"key": "p", "value": "1"}], "free": {"deep": {"er": 1}}}
    answer = apply(api, path, widgets.config(spec=spec), "one")
    assert answer.status == 200
    fields = owned(answer, "one")
    assert fields == {
        "f:spec": {
            "f:free": {"f:deep": {".": {}, "f:er": {}}},
            "f:parts": {'k:{"key":"p"}': {".": {}, "f:key": {}, "f:value": {}}},
            "f:tags": {'v:"x"': {}, 'v:"y"': {}},
        }
    }
    answer = apply(api, path, widgets.config(spec={"tags": ["z"]}), "two")
    assert set(answer.json["spec"]["tags"]) == {"x", "y", "z"}
    answer = apply(api, path, widgets.config(spec={"tags": ["y"]}), "one")
    assert set(answer.json["spec"]["tags"]) == {"y", "z"}
    assert "parts" not in answer.json["spec"]
    assert "free" not in answer.json["spec"]


def test_apply_to_status_owns_status_only(api: Client, widgets: Widgets) -> None:
    api.make(widgets.path, widgets.new("a"))
    config = widgets.config(spec={"name": "xyz"}, status={"phase": "Good"})
    answer = apply(api, f"{widgets.path}/a/status", config, "controller")
    assert answer.status == 200
    assert answer.json["spec"]["name"] == "abc"
    assert answer.json["status"] == {"phase": "Good"}
    assert owned(answer, "controller", "status") == {"f:status": {"f:phase": {}}}
    answer = apply(api, f"{widgets.path}/a", widgets.config(status={"phase": "Bad"}), "controller")
    assert answer.json["status"] == {"phase": "Good"}


def test_dry_run_apply_stores_nothing(api: Client, namespace: str) -> None:
    path = f"{config_maps(namespace)}/a"
    headers = {"Content-Type": APPLY}
    answer = api.request("PATCH", f"{path}?fieldManager=one&dryRun=All", config_map("a", x="1"), headers)
    assert (answer.status, answer.json["data"]) == (201, {"x": "1"})
    assert api.get(path).status == 404
