from __future__ import annotations

from typing import Any

import pytest
from contract.client import TABLE
from contract.in_memory import MemoryClient
from contract.objects import CRDS, Widgets, definition

GROUP = "things.example.com"


@pytest.fixture
def api() -> MemoryClient:
    return MemoryClient()


def widgets() -> Widgets:
    return Widgets(GROUP, "default")


def make(api: MemoryClient, change: Any = None) -> Any:
    body = definition(GROUP)
    if change is not None:
        change(body["spec"])
    return api.post(CRDS, body)


def test_definition_is_served_at_once(api: MemoryClient) -> None:
    assert make(api).status == 201
    assert api.post(widgets().path, widgets().new("a")).status == 201


def test_same_kind_cannot_be_defined_twice(api: MemoryClient) -> None:
    make(api)
    body = definition(GROUP)
    body["metadata"]["name"] = f"gadgets.{GROUP}"
    body["spec"]["names"] = {"plural": "gadgets", "kind": "Widget"}
    answer = api.post(CRDS, body)
    assert (answer.status, answer.causes) == (422, {("FieldValueInvalid", "spec.versions[0].name")})


def test_conversion_by_webhook_is_refused(api: MemoryClient) -> None:
    answer = make(api, lambda spec: spec.update(conversion={"strategy": "Webhook"}))
    assert (answer.status, answer.causes) == (422, {("FieldValueNotSupported", "spec.conversion.strategy")})


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda v: v.update(name="V1"), "name"),
        (lambda v: v["additionalPrinterColumns"][0].update(jsonPath="x["), "additionalPrinterColumns[0].jsonPath"),
        (lambda v: v["additionalPrinterColumns"][0].update(type="color"), "additionalPrinterColumns[0].type"),
        (
            lambda v: v["subresources"]["scale"].update(specReplicasPath=".status.x"),
            "subresources.scale.specReplicasPath",
        ),
        (lambda v: v.update(selectableFields=[{"jsonPath": "x["}]), "selectableFields[0].jsonPath"),
    ],
)
def test_bad_versions_are_told(api: MemoryClient, change: Any, field: str) -> None:
    answer = make(api, lambda spec: change(spec["versions"][0]))
    assert answer.status == 422
    assert f"spec.versions[0].{field}" in {each for _, each in answer.causes}


def test_stored_versions_are_remembered(api: MemoryClient) -> None:
    make(api)
    path = f"{CRDS}/widgets.{GROUP}"
    api.make(widgets().path, widgets().new("a"))
    second = {**definition(GROUP)["spec"]["versions"][0], "name": "v2", "storage": False}
    operations = [
        {"op": "add", "path": "/spec/versions/-", "value": second},
        {"op": "replace", "path": "/spec/versions/0/storage", "value": False},
        {"op": "replace", "path": "/spec/versions/1/storage", "value": True},
    ]
    answer = api.patch(path, operations, "application/json-patch+json")
    assert answer.status == 200
    assert answer.json["status"]["storedVersions"] == ["v1", "v2"]
    # What was stored before is shown in either version all the same.
    for version in ("v1", "v2"):
        found = api.get(f"/apis/{GROUP}/{version}/namespaces/default/widgets/a")
        assert found.json["apiVersion"] == f"{GROUP}/{version}"
    answer = api.patch(path, [{"op": "remove", "path": "/spec/versions/0"}], "application/json-patch+json")
    assert (answer.status, answer.causes) == (422, {("FieldValueInvalid", "status.storedVersions[0]")})


def test_version_that_is_not_served_any_more(api: MemoryClient) -> None:
    make(api)
    operations = [{"op": "replace", "path": "/spec/versions/0/served", "value": False}]
    assert api.patch(f"{CRDS}/widgets.{GROUP}", operations, "application/json-patch+json").status == 200
    assert api.get(widgets().path).status == 404


def test_deprecated_version_warns(api: MemoryClient) -> None:
    make(api, lambda spec: spec["versions"][0].update(deprecated=True))
    answer = api.get(widgets().path)
    assert answer.headers["warning"] == f'299 - "{GROUP}/v1 Widget is deprecated"'
    operations = [{"op": "add", "path": "/spec/versions/0/deprecationWarning", "value": 'use "v2"'}]
    api.patch(f"{CRDS}/widgets.{GROUP}", operations, "application/json-patch+json")
    assert api.get(widgets().path).headers["warning"] == '299 - "use \\"v2\\""'


def test_selectable_fields(api: MemoryClient) -> None:
    make(api, lambda spec: spec["versions"][0].update(selectableFields=[{"jsonPath": ".spec.color"}]))
    api.make(widgets().path, widgets().new("a", color="red"))
    api.make(widgets().path, widgets().new("b", color="blue"))
    answer = api.get(f"{widgets().path}?fieldSelector=spec.color%3Dred")
    assert [item["metadata"]["name"] for item in answer.json["items"]] == ["a"]


def test_cells_of_columns(api: MemoryClient) -> None:
    columns = [
        {"name": "Tags", "type": "string", "jsonPath": ".spec.tags[*]"},
        {"name": "All", "type": "string", "jsonPath": ".spec.tags"},
        {"name": "Bad", "type": "integer", "jsonPath": ".spec.name"},
        {"name": "Since", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        {"name": "Flag", "type": "boolean", "jsonPath": ".spec.free.flag"},
    ]
    make(api, lambda spec: spec["versions"][0].update(additionalPrinterColumns=columns))
    api.make(widgets().path, widgets().new("a", tags=["x", "y"], free={"flag": True}))
    api.clock.advance(90)
    answer = api.get(widgets().path, TABLE)
    assert answer.json["rows"][0]["cells"] == ["a", "x,y", '["x","y"]', None, "90s", True]


def test_cluster_scoped_kind(api: MemoryClient) -> None:
    make(api, lambda spec: spec.update(scope="Cluster"))
    path = f"/apis/{GROUP}/v1/widgets"
    body = widgets().new("a")
    body["metadata"]["namespace"] = "default"
    answer = api.post(path, body)
    assert answer.status == 201
    assert "namespace" not in answer.json["metadata"]
    assert api.get(f"{path}/a").status == 200
    assert api.get(f"/apis/{GROUP}/v1/namespaces/default/widgets").status == 404


def test_kind_that_is_being_removed_takes_nothing_new(api: MemoryClient) -> None:
    make(api)
    body = widgets().new("a")
    body["metadata"]["finalizers"] = ["example.com/hold"]
    api.make(widgets().path, body)
    assert api.delete(f"{CRDS}/widgets.{GROUP}").status == 200
    assert api.post(widgets().path, widgets().new("b")).status == 405
    assert api.get(f"{CRDS}/widgets.{GROUP}").status == 200
    api.patch(f"{widgets().path}/a", {"metadata": {"finalizers": None}})
    assert api.get(f"{CRDS}/widgets.{GROUP}").status == 404


def test_kind_that_is_defined_again_has_no_old_objects(api: MemoryClient) -> None:
    make(api)
    made = api.make(widgets().path, widgets().new("a"))
    api.delete(f"{CRDS}/widgets.{GROUP}")
    assert make(api).status == 201
    assert api.get(widgets().path).json["items"] == []
    watch = api.watch(f"{widgets().path}?watch=1&resourceVersion={made['metadata']['resourceVersion']}")
    assert watch.take(1)[0]["object"]["code"] == 410
