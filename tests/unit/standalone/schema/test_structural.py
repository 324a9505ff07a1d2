from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ksproxyd.standalone.schema.nodes import drop_nulls, prune, set_defaults
from ksproxyd.standalone.schema.structural import check_schema, root_node
from ksproxyd.standalone.schema.validation import validate

OBJECT = {"type": "object"}


def wrong(schema: Any) -> list[str]:
    return [error.field for error in check_schema({"type": "object", "properties": {"p": schema}}, "s")]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string"},
        {"x-kubernetes-int-or-string": True},
        {"x-kubernetes-preserve-unknown-fields": True},
        {"type": "array", "items": {"type": "string"}},
        {"type": "object", "additionalProperties": {"type": "string"}},
        {"type": "object", "additionalProperties": True},
        {"type": "object", "properties": {"a": {"type": "string"}}, "anyOf": [{"required": ["a"]}]},
        {"type": "string", "not": {"enum": ["x"]}},
    ],
)
def test_structural_schemas_are_taken(schema: Any) -> None:
    assert wrong(schema) == []
    root_node({"type": "object", "properties": {"p": schema}})


@pytest.mark.parametrize(
    ("schema", "field"),
    [
        ({}, "s.properties[p].type"),
        ("text", "s.properties[p]"),
        ({"type": "text"}, "s.properties[p].type"),
        ({"type": "array"}, "s.properties[p].items"),
        ({"type": "array", "items": {}}, "s.properties[p].items.type"),
        ({"$ref": "#/x", "type": "object"}, "s.properties[p].$ref"),
        ({"type": "string", "pattern": "("}, "s.properties[p].pattern"),
        ({"type": "string", "pattern": 5}, "s.properties[p].pattern"),
        ({"type": "string", "x-kubernetes-list-type": "set"}, "s.properties[p].type"),
        (
            {"type": "array", "items": OBJECT, "x-kubernetes-list-type": "map"},
            "s.properties[p].x-kubernetes-list-map-keys",
        ),
        ({"type": "array", "items": OBJECT, "x-kubernetes-list-type": "bag"}, "s.properties[p].x-kubernetes-list-type"),
        ({"type": "object", "x-kubernetes-map-type": "bag"}, "s.properties[p].x-kubernetes-map-type"),
        (
            {"type": "object", "properties": {"a": OBJECT}, "additionalProperties": OBJECT},
            "s.properties[p].additionalProperties",
        ),
        ({"type": "object", "required": "a"}, "s.properties[p].required"),
        ({"type": "object", "required": [["a"]]}, "s.properties[p].required"),
        ({"type": "object", "additionalProperties": 5}, "s.properties[p].additionalProperties"),
        ({"type": "integer", "minimum": "1"}, "s.properties[p].minimum"),
        ({"type": "object", "properties": []}, "s.properties[p].properties"),
        ({"type": "object", "properties": {"q": {}}}, "s.properties[p].properties[q].type"),
        ({"type": "string", "anyOf": [5]}, "s.properties[p].anyOf[0]"),
        ({"type": "string", "not": []}, "s.properties[p].not"),
    ],
)
def test_what_is_not_structural_is_told(schema: Any, field: str) -> None:
    assert field in wrong(schema)


def test_root_has_to_be_an_object() -> None:
    assert [error.field for error in check_schema({"type": "string"}, "s")] == ["s.type"]
    assert [error.reason for error in check_schema(None, "s")] == ["FieldValueRequired"]


def test_depth_is_bounded() -> None:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(500):
        schema = {"type": "object", "properties": {"p": schema}}
    assert any("nested deeper" in error.message for error in check_schema(schema, "s"))


WORDS = st.sampled_from(
    [
        "type",
        "properties",
        "items",
        "required",
        "enum",
        "pattern",
        "minimum",
        "allOf",
        "not",
        "additionalProperties",
        "x-kubernetes-list-type",
        "x-kubernetes-list-map-keys",
        "nullable",
        "default",
        "format",
    ]
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["object", "array", "string", "("]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.sampled_from(["a"]), inner, max_size=4),
    max_leaves=12,
)


#: Schemas whose type is good, with anything besides it.
SCHEMAS = st.builds(
    lambda kind, items, rest: {"items": items, **rest, "type": kind},
    st.sampled_from(["array", "boolean", "integer", "number", "object", "string"]),
    st.just({"type": "object", "properties": {"a": {"type": "integer"}}}),
    st.dictionaries(WORDS, ANYTHING, max_size=4),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["p", "a"]), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=500)
@given(ANYTHING | SCHEMAS, VALUES)
def test_any_schema_is_either_refused_or_works(schema: Any, value: Any) -> None:
    body = {"type": "object", "properties": {"p": schema}}
    if not check_schema(body, "s"):
        node = root_node(body)
        given_value = {"p": value}
        prune(node, given_value, "", [])
        drop_nulls(node, given_value)
        set_defaults(node, given_value)
        validate(node, given_value)
