"""CustomResourceDefinitions, and the checks of custom objects."""

from __future__ import annotations

from typing import Any

import pytest

from contract.client import Client
from contract.fixtures import fresh
from contract.objects import CRDS, Widgets, definition


@pytest.mark.parametrize(
    ("spec", "cause"),
    [
        ({}, ("FieldValueRequired", "spec.name")),
        ({"name": None}, ("FieldValueRequired", "spec.name")),
        ({"name": "a"}, ("FieldValueInvalid", "spec.name")),
        ({"name": "abcdef"}, ("FieldValueTooLong", "spec.name")),
        ({"name": "A1"}, ("FieldValueInvalid", "spec.name")),
        ({"name": 5}, ("FieldValueTypeInvalid", "spec.name")),
        ({"name": "abc", "size": 11}, ("FieldValueInvalid", "spec.size")),
        ({"name": "abc", "size": "x"}, ("FieldValueTypeInvalid", "spec.size")),
        ({"name": "abc", "color": "pink"}, ("FieldValueNotSupported", "spec.color")),
        ({"name": "abc", "tags": ["a", "a"]}, ("FieldValueDuplicate", "spec.tags[1]")),
        ({"name": "abc", "tags": "a"}, ("FieldValueTypeInvalid", "spec.tags")),
        ({"name": "abc", "parts": [{"key": "a"}, {"key": "a"}]}, ("FieldValueDuplicate", "spec.parts[1]")),
        ({"name": "abc", "parts": [{"key": k} for k in "abc"]}, ("FieldValueTooMany", "spec.parts")),
        ({"name": "abc", "parts": [{"value": "a"}]}, ("FieldValueRequired", "spec.parts[0].key")),
        ({"name": "abc", "limits": {"a": 1, "b": 2}}, ("FieldValueTooMany", "spec.limits")),
        ({"name": "abc", "limits": {"a": "x"}}, ("FieldValueTypeInvalid", "spec.limits.a")),
        ({"name": "abc", "when": "yesterday"}, ("FieldValueTypeInvalid", "spec.when")),
        ({"name": "abc", "port": True}, ("FieldValueTypeInvalid", "spec.port")),
        (None, ("FieldValueRequired", "spec")),
        ("text", ("FieldValueTypeInvalid", "spec")),
    ],
)
def test_schema_is_enforced(api: Client, widgets: Widgets, spec: Any, cause: tuple[str, str]) -> None:
    answer = api.post(widgets.path, widgets.bare("a", spec))
    assert (answer.status, answer.reason) == (422, "Invalid")
    assert cause in answer.causes
    assert answer.message.startswith(f'Widget.{widgets.group} "a" is invalid: ')
    details = answer.json["details"]
    assert (details["name"], details["group"], details["kind"]) == ("a", widgets.group, "Widget")


def test_every_mistake_is_told(api: Client, widgets: Widgets) -> None:
    answer = api.post(widgets.path, widgets.new("a", name="a", size=11, color="pink"))
    assert {field for _, field in answer.causes} == {"spec.name", "spec.size", "spec.color"}


def test_messages_of_the_schema(api: Client, widgets: Widgets) -> None:
    def message(**spec: Any) -> str:
        return api.post(widgets.path, widgets.new("a", **spec)).message.partition("is invalid: ")[2]

    assert message(size=11) == "spec.size: Invalid value: 11: spec.size in body should be less than or equal to 10"
    assert message(name="a") == 'spec.name: Invalid value: "a": spec.name in body should be at least 2 chars long'
    assert message(name="A1") == "spec.name: Invalid value: \"A1\": spec.name in body should match '^[a-z]+$'"
    assert message(color="pink") == 'spec.color: Unsupported value: "pink": supported values: "red", "blue"'
    assert message(tags=["a", "a"]) == 'spec.tags[1]: Duplicate value: "a"'
    assert message(limits={"a": 1, "b": 2}) == "spec.limits: Too many: 2: must have at most 1 item"
    assert message(name="abcdef") == "spec.name: Too long: may not be more than 5 bytes"
    wrong = 'spec.tags: Invalid value: "string": spec.tags in body must be of type array: "string"'
    assert message(tags="a") == wrong


@pytest.mark.parametrize("port", [80, "http"])
def test_int_or_string_takes_both(api: Client, widgets: Widgets, port: Any) -> None:
    assert api.make(widgets.path, widgets.new("a", port=port))["spec"]["port"] == port


def test_defaults_of_the_schema(api: Client, widgets: Widgets) -> None:
    made = api.make(widgets.path, widgets.new("a", parts=[{"key": "p"}]))
    assert made["spec"] == {"name": "abc", "size": 1, "parts": [{"key": "p", "value": "none"}]}


def test_nulls_give_way_to_defaults(api: Client, widgets: Widgets) -> None:
    made = api.make(widgets.path, widgets.new("a", size=None, color=None, note=None))
    assert made["spec"] == {"name": "abc", "size": 1, "note": None}


def test_unknown_fields_are_pruned(api: Client, widgets: Widgets) -> None:
    body = widgets.new("a", unknown=1, free={"x": {"y": 1}}, parts=[{"key": "p", "more": 1}])
    answer = api.post(widgets.path, {**body, "top": 1})
    assert answer.status == 201
    assert "top" not in answer.json
    assert answer.json["spec"]["free"] == {"x": {"y": 1}}
    assert "unknown" not in answer.json["spec"]
    assert answer.json["spec"]["parts"] == [{"key": "p", "value": "none"}]
    assert 'unknown field \\"spec.unknown\\"' in answer.headers["warning"]


def test_unknown_fields_of_a_custom_kind_are_refused_if_asked_so(api: Client, widgets: Widgets) -> None:
    answer = api.post(f"{widgets.path}?fieldValidation=Strict", widgets.new("a", unknown=1))
    assert (answer.status, answer.reason) == (400, "BadRequest")
    assert 'strict decoding error: unknown field "spec.unknown"' in answer.message


def test_update_of_a_custom_object_needs_a_resource_version(api: Client, widgets: Widgets) -> None:
    api.make(widgets.path, widgets.new("a"))
    answer = api.put(f"{widgets.path}/a", widgets.new("a", size=2))
    assert (answer.status, answer.causes) == (422, {("FieldValueInvalid", "metadata.resourceVersion")})
    assert "must be specified for an update" in answer.message


def test_definition_is_served_when_it_is_established(api: Client, widgets: Widgets) -> None:
    found = api.eventually(lambda: established(api, widgets.definition))
    assert found["status"]["acceptedNames"] == {
        "plural": "widgets",
        "singular": "widget",
        "kind": "Widget",
        "listKind": "WidgetList",
        "shortNames": ["wd"],
    }
    assert found["status"]["storedVersions"] == ["v1"]
    assert found["spec"]["conversion"] == {"strategy": "None"}
    resources = api.get(f"/apis/{widgets.group}/v1").json["resources"]
    assert {each["name"] for each in resources} == {"widgets", "widgets/status", "widgets/scale"}
    assert api.get(f"/apis/{widgets.group}/v1/namespaces/default/gadgets").status == 404


def established(api: Client, path: str) -> Any:
    found = api.get(path).json
    conditions = found.get("status", {}).get("conditions") or []
    true = {each["type"] for each in conditions if each["status"] == "True"}
    return found if {"Established", "NamesAccepted"} <= true else None


def test_schema_can_be_changed(api: Client, widgets: Widgets) -> None:
    api.make(widgets.path, widgets.new("a"))
    schema = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties"
    operations = [{"op": "add", "path": f"{schema}/extra", "value": {"type": "string", "default": "new"}}]
    answer = api.patch(widgets.definition, operations, "application/json-patch+json")
    assert answer.status == 200
    assert answer.json["metadata"]["generation"] == 2

    def written() -> bool:
        answer = api.patch(f"{widgets.path}/a", {"spec": {"extra": "x"}})
        return answer.status == 200 and answer.json["spec"].get("extra") == "x"

    api.eventually(written)


def test_two_versions_show_the_same_objects(api: Client, namespace: str) -> None:
    group = f"{fresh('g')}.example.com"
    body = definition(group)
    second = {**body["spec"]["versions"][0], "name": "v2", "storage": False}
    body["spec"]["versions"].append(second)
    api.make(CRDS, body)
    old = Widgets(group, namespace)
    new = old.path.replace("/v1/", "/v2/")
    api.eventually(lambda: api.get(old.path).status == 200 and api.get(new).status == 200)
    made = api.make(old.path, old.new("a"))
    seen = api.get(f"{new}/a")
    assert seen.json == {**made, "apiVersion": f"{group}/v2"}
    answer = api.patch(f"{new}/a", {"spec": {"size": 5}})
    assert (answer.status, answer.json["apiVersion"]) == (200, f"{group}/v2")
    answer = api.get(f"{old.path}/a")
    assert (answer.json["apiVersion"], answer.json["spec"]["size"]) == (f"{group}/v1", 5)
    assert api.get(new).json["items"][0]["apiVersion"] == f"{group}/v2"
    api.delete(old.definition)


def change(body: Any, *path: Any, value: Any = None) -> None:
    """Set what is at ``path``, or remove it."""
    for key in path[:-1]:
        body = body[key]
    if value is None:
        del body[path[-1]]
    else:
        body[path[-1]] = value


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (("spec", "group"), None, "spec.group"),
        (("spec", "scope"), "Everywhere", "spec.scope"),
        (("metadata", "name"), "other.example.com", "metadata.name"),
        (("spec", "names", "kind"), None, "spec.names.kind"),
        (("spec", "versions", 0, "storage"), False, "spec.versions"),
        (("spec", "versions"), [], "spec.versions"),
        (("spec", "versions", 0, "schema"), None, "spec.versions[0].schema.openAPIV3Schema"),
    ],
)
def test_bad_definition_is_invalid(api: Client, path: tuple[Any, ...], value: Any, field: str) -> None:
    body = definition(f"{fresh('g')}.example.com")
    change(body, *path, value=value)
    answer = api.post(CRDS, body)
    assert (answer.status, answer.reason) == (422, "Invalid")
    assert field in {each for _, each in answer.causes}


def test_scope_of_a_definition_is_immutable(api: Client, widgets: Widgets) -> None:
    answer = api.patch(widgets.definition, {"spec": {"scope": "Cluster"}})
    assert (answer.status, answer.causes) == (422, {("FieldValueInvalid", "spec.scope")})
