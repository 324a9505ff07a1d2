from __future__ import annotations

from typing import Any

import pytest
from contract.in_memory import MemoryClient
from contract.objects import CRDS, definition

GROUP = "things.example.com"


@pytest.fixture
def api() -> MemoryClient:
    client = MemoryClient()
    client.make(CRDS, definition(GROUP))
    return client


def document(api: MemoryClient, place: str) -> Any:
    url = api.get("/openapi/v3").json["paths"][place]["serverRelativeURL"]
    answer = api.get(url)
    assert answer.status == 200
    return answer.json


def references(value: Any) -> set[str]:
    """Every reference in a document."""
    if isinstance(value, dict):
        own = {value["$ref"]} if "$ref" in value else set()
        return own.union(*map(references, value.values())) if value else own
    return set().union(*map(references, value)) if isinstance(value, list) else set()


def test_every_reference_leads_somewhere(api: MemoryClient) -> None:
    for place in api.get("/openapi/v3").json["paths"]:
        found = document(api, place)
        schemas = found["components"]["schemas"]
        targets = {each.removeprefix("#/components/schemas/") for each in references(found)}
        assert targets <= schemas.keys(), place
        assert all(schemas.values())


def test_custom_kind_is_described_by_its_schema(api: MemoryClient) -> None:
    schemas = document(api, f"apis/{GROUP}/v1")["components"]["schemas"]
    widget = schemas["com.example.things.v1.Widget"]
    assert widget["properties"]["spec"]["properties"]["size"]["maximum"] == 10
    assert widget["x-kubernetes-group-version-kind"] == [{"group": GROUP, "version": "v1", "kind": "Widget"}]
    assert {"apiVersion", "kind", "metadata"} <= widget["properties"].keys()


def test_documents_follow_the_registry(api: MemoryClient) -> None:
    before = api.get("/openapi/v3").json["paths"]
    api.delete(f"{CRDS}/widgets.{GROUP}")
    after = api.get("/openapi/v3").json["paths"]
    assert before.keys() - after.keys() == {f"apis/{GROUP}/v1"}
    assert before["api/v1"] != after["api/v1"]
    assert api.get(f"/openapi/v3/apis/{GROUP}/v1").status == 404


def test_document_is_not_sent_twice(api: MemoryClient) -> None:
    tag = api.get("/openapi/v3/api/v1").headers["etag"]
    for known in (tag, f'"x", {tag}', f"W/{tag}", "*"):
        assert api.get("/openapi/v3/api/v1", {"If-None-Match": known}).status == 304
    assert api.get("/openapi/v3/api/v1", {"If-None-Match": '"x"'}).status == 200


def test_old_document_is_json_only(api: MemoryClient) -> None:
    answer = api.get("/openapi/v2")
    assert answer.json["swagger"] == "2.0"
    targets = {each.removeprefix("#/definitions/") for each in references(answer.json)}
    assert targets <= answer.json["definitions"].keys()
    protobuf = {"Accept": "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"}
    assert api.get("/openapi/v2", protobuf).status == 406


def test_unknown_document_is_not_found(api: MemoryClient) -> None:
    assert api.get("/openapi/v3/apis/nothing/v1").status == 404
    assert api.get("/openapi/v9").status == 404
