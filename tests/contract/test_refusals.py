"""Bodies, names, paths and methods that are refused, and how."""

from __future__ import annotations

from typing import Any

import pytest

from contract.client import STRATEGIC, Client
from contract.objects import Widgets, config_map, config_maps, deployment, deployments


@pytest.mark.parametrize("body", ["{bad", "", "[]", '"text"'])
def test_body_that_is_no_object_is_bad_request(api: Client, namespace: str, body: str) -> None:
    answer = api.post(config_maps(namespace), body)
    assert (answer.status, answer.reason) == (400, "BadRequest")
    assert answer.message.startswith("the object provided is unrecognized (must be of type ConfigMap)")


def test_body_of_another_kind_is_bad_request(api: Client, namespace: str) -> None:
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}}
    answer = api.post(config_maps(namespace), body)
    assert (answer.status, answer.reason) == (400, "BadRequest")
    assert 'Secret in version "v1" cannot be handled as a ConfigMap' in answer.message


def test_body_of_another_version_is_bad_request(api: Client, namespace: str) -> None:
    body = {"apiVersion": "v2", "kind": "ConfigMap", "metadata": {"name": "a"}}
    answer = api.post(config_maps(namespace), body)
    assert (answer.status, answer.reason) == (400, "BadRequest")


def test_yaml_body_is_taken(api: Client, namespace: str) -> None:
    text = "metadata:\n  name: from-yaml\ndata:\n  x: '1'\n"
    answer = api.request("POST", config_maps(namespace), text, {"Content-Type": "application/yaml"})
    assert (answer.status, answer.json["data"]) == (201, {"x": "1"})


def test_body_of_an_unknown_type_is_unsupported(api: Client, namespace: str) -> None:
    answer = api.request("POST", config_maps(namespace), "a: b", {"Content-Type": "text/plain"})
    assert (answer.status, answer.reason) == (415, "UnsupportedMediaType")


def test_value_of_another_json_type_is_bad_request(api: Client, namespace: str) -> None:
    answer = api.post(config_maps(namespace), {"metadata": {"name": "a"}, "data": {"x": 1}})
    assert (answer.status, answer.reason) == (400, "BadRequest")
    assert "json: cannot unmarshal number into Go struct field ConfigMap.data of type string" in answer.message


def test_path_of_a_wrongly_typed_field_is_told(api: Client, namespace: str) -> None:
    body = deployment("a")
    body["spec"]["replicas"] = "three"
    answer = api.post(deployments(namespace), body)
    assert answer.status == 400
    assert "cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32" in answer.message


def test_secret_that_is_not_base64_is_bad_request(api: Client, namespace: str) -> None:
    answer = api.post(f"/api/v1/namespaces/{namespace}/secrets", {"metadata": {"name": "a"}, "data": {"k": "!"}})
    assert (answer.status, answer.reason) == (400, "BadRequest")
    assert "illegal base64 data" in answer.message


def test_bad_name_is_invalid(api: Client, namespace: str) -> None:
    answer = api.post(config_maps(namespace), config_map("Bad_Name"))
    assert (answer.status, answer.reason) == (422, "Invalid")
    assert answer.causes == {("FieldValueInvalid", "metadata.name")}
    assert 'ConfigMap "Bad_Name" is invalid: metadata.name: Invalid value: "Bad_Name"' in answer.message
    details = answer.json["details"]
    assert (details["name"], details["kind"]) == ("Bad_Name", "ConfigMap")


def test_no_name_is_invalid(api: Client, namespace: str) -> None:
    answer = api.post(config_maps(namespace), {"metadata": {}})
    assert answer.status == 422
    assert answer.message == (
        'ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required'
    )


def test_namespace_with_dots_is_invalid(api: Client) -> None:
    answer = api.post("/api/v1/namespaces", {"metadata": {"name": "a.b"}})
    assert (answer.status, answer.causes) == (422, {("FieldValueInvalid", "metadata.name")})


def test_bad_labels_and_annotations_are_invalid(api: Client, namespace: str) -> None:
    metadata = {"name": "a", "labels": {"a b": "c d"}, "annotations": {"x y": ""}}
    answer = api.post(config_maps(namespace), {"metadata": metadata})
    assert answer.status == 422
    fields = [cause["field"] for cause in answer.json["details"]["causes"]]
    assert sorted(fields) == ["metadata.annotations", "metadata.labels", "metadata.labels"]


def test_bad_key_of_a_config_map_is_invalid(api: Client, namespace: str) -> None:
    answer = api.post(config_maps(namespace), {"metadata": {"name": "a"}, "data": {"bad key": "x"}})
    assert (answer.status, answer.causes) == (422, {("FieldValueInvalid", "data[bad key]")})


def test_incomplete_owner_reference_is_invalid(api: Client, namespace: str) -> None:
    metadata = {"name": "a", "ownerReferences": [{"name": "x"}]}
    answer = api.post(config_maps(namespace), {"metadata": metadata})
    assert answer.status == 422
    assert {field for _, field in answer.causes} >= {
        "metadata.ownerReferences.apiVersion",
        "metadata.ownerReferences.kind",
        "metadata.ownerReferences.uid",
    }


def test_finalizer_without_a_domain_is_invalid(api: Client, namespace: str) -> None:
    answer = api.post(config_maps(namespace), {"metadata": {"name": "a", "finalizers": ["bare"]}})
    assert (answer.status, answer.causes) == (422, {("FieldValueInvalid", "metadata.finalizers[0]")})


def test_pod_without_containers_is_invalid(api: Client, namespace: str) -> None:
    answer = api.post(f"/api/v1/namespaces/{namespace}/pods", {"metadata": {"name": "a"}, "spec": {}})
    assert (answer.status, answer.causes) == (422, {("FieldValueRequired", "spec.containers")})


def test_deployment_whose_selector_misses_its_pods_is_invalid(api: Client, namespace: str) -> None:
    body = deployment("a")
    body["spec"]["template"]["metadata"]["labels"] = {"app": "other"}
    answer = api.post(deployments(namespace), body)
    assert (answer.status, answer.causes) == (422, {("FieldValueInvalid", "spec.template.metadata.labels")})


def test_selector_of_a_deployment_is_immutable(api: Client, namespace: str) -> None:
    made = api.make(deployments(namespace), deployment("a"))
    made["spec"]["selector"] = {"matchLabels": {"app": "a", "tier": "x"}}
    made["spec"]["template"]["metadata"]["labels"]["tier"] = "x"
    answer = api.put(f"{deployments(namespace)}/a", made)
    assert (answer.status, answer.causes) == (422, {("FieldValueInvalid", "spec.selector")})


def test_unknown_field_is_warned_of_and_dropped(api: Client, namespace: str) -> None:
    answer = api.post(config_maps(namespace), {**config_map("a"), "foo": 1})
    assert answer.status == 201
    assert answer.headers["warning"] == '299 - "unknown field \\"foo\\""'
    assert "foo" not in answer.json


def test_unknown_field_is_refused_if_asked_so(api: Client, namespace: str) -> None:
    body = config_map("a")
    body["metadata"]["bar"] = 1
    answer = api.post(f"{config_maps(namespace)}?fieldValidation=Strict", {**body, "foo": 1})
    assert (answer.status, answer.reason) == (400, "BadRequest")
    assert "strict decoding error:" in answer.message
    assert 'unknown field "metadata.bar"' in answer.message
    assert 'unknown field "foo"' in answer.message


def test_unknown_field_is_dropped_silently_if_asked_so(api: Client, namespace: str) -> None:
    answer = api.post(f"{config_maps(namespace)}?fieldValidation=Ignore", {**config_map("a"), "foo": 1})
    assert answer.status == 201
    assert "warning" not in answer.headers
    assert "foo" not in answer.json


def test_unknown_field_deep_in_a_list_is_told_with_its_index(api: Client, namespace: str) -> None:
    body = deployment("a")
    body["spec"]["template"]["spec"]["containers"][0]["imagee"] = "x"
    answer = api.post(f"{deployments(namespace)}?fieldValidation=Strict", body)
    assert answer.status == 400
    assert 'unknown field "spec.template.spec.containers[0].imagee"' in answer.message


def test_unknown_field_validation_is_invalid(api: Client, namespace: str) -> None:
    answer = api.post(f"{config_maps(namespace)}?fieldValidation=Maybe", config_map("a"))
    assert (answer.status, answer.causes) == (422, {("FieldValueNotSupported", "fieldValidation")})


def test_long_field_manager_is_invalid(api: Client, namespace: str) -> None:
    answer = api.post(f"{config_maps(namespace)}?fieldManager={'x' * 129}", config_map("a"))
    assert (answer.status, answer.causes) == (422, {("FieldValueTooLong", "fieldManager")})


@pytest.mark.parametrize("path", ["/api/v1/nothings", "/apis/apps/v1/nothings", "/apis/apps/v9/deployments"])
def test_unknown_resource_of_a_known_group_is_a_status(api: Client, path: str) -> None:
    answer = api.get(path)
    assert (answer.status, answer.reason) == (404, "NotFound")
    assert answer.message == "the server could not find the requested resource"


@pytest.mark.parametrize("path", ["/nothing", "/apis/nothing.example.com", "/apis/nothing.example.com/v1/things"])
def test_unknown_path_is_plain_text(api: Client, path: str) -> None:
    answer = api.get(path)
    assert (answer.status, answer.text) == (404, "404 page not found\n")
    assert answer.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize(("method", "tail"), [("PATCH", ""), ("PUT", ""), ("POST", "/a"), ("OPTIONS", "")])
def test_method_that_a_resource_does_not_have(api: Client, namespace: str, method: str, tail: str) -> None:
    headers = {"Content-Type": STRATEGIC} if method == "PATCH" else None
    answer = api.request(method, config_maps(namespace) + tail, {}, headers)
    assert (answer.status, answer.reason) == (405, "MethodNotAllowed")
    assert answer.message == "the server does not allow this method on the requested resource"


def test_create_in_all_namespaces_is_not_allowed(api: Client) -> None:
    assert api.post("/api/v1/configmaps", config_map("a")).status == 405


def test_custom_kind_wants_its_kind_and_version(api: Client, widgets: Widgets) -> None:
    answer = api.post(widgets.path, {"metadata": {"name": "a"}, "spec": {"name": "abc"}})
    assert answer.status == 400
    assert "Object 'Kind' is missing" in answer.message
    body = {**widgets.new("a"), "apiVersion": f"{widgets.group}/v2"}
    answer = api.post(widgets.path, body)
    assert answer.status == 400
    assert "does not match the expected API version" in answer.message
    answer = api.post(widgets.path, {**widgets.new("a"), "kind": "Gadget"})
    assert answer.status == 422
    assert "must be Widget" in answer.message


_REFERS = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}


@pytest.mark.parametrize(
    ("place", "body", "field"),
    [
        ("api/v1", ("configmaps", {"metadata": {"finalizers": [None]}}), "metadata.finalizers"),
        ("api/v1", ("configmaps", {"metadata": {"ownerReferences": [None]}}), "metadata.ownerReferences.uid"),
        ("apis/rbac.authorization.k8s.io/v1", ("roles", {"rules": [None]}), "rules[0].verbs"),
        (
            "apis/rbac.authorization.k8s.io/v1",
            ("rolebindings", {"roleRef": _REFERS, "subjects": [None]}),
            "subjects[0].name",
        ),
        ("api/v1", ("pods", {"spec": {"containers": [None]}}), "spec.containers[0].name"),
        ("api/v1", ("services", {"spec": {"ports": [None]}}), "spec.ports[0].port"),
    ],
)
def test_null_in_a_list_is_an_empty_element(
    api: Client, namespace: str, place: str, body: tuple[str, dict[str, Any]], field: str
) -> None:
    plural, value = body
    metadata = {"name": "nulls", **value.get("metadata", {})}
    answer = api.post(f"/{place}/namespaces/{namespace}/{plural}", {**value, "metadata": metadata})
    assert (answer.status, answer.reason) == (422, "Invalid")
    # Some versions of kube-apiserver say which element it is, some do not.
    assert field in {name.removesuffix("[0]") for _, name in answer.causes}
