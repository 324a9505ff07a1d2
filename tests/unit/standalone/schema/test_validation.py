from __future__ import annotations

from typing import Any

import pytest

from ksproxyd.standalone.schema.structural import structural_node
from ksproxyd.standalone.schema.validation import FORMATS, validate


def found(schema: dict[str, Any], value: Any) -> list[str]:
    return [f"{error.field}: {error.message}" for error in validate(structural_node(schema), value, "p")]


@pytest.mark.parametrize(
    ("schema", "good", "bad", "told"),
    [
        ({"type": "string"}, "a", 1, 'p: Invalid value: "integer": p in body must be of type string: "integer"'),
        ({"type": "number"}, 1, "x", 'p: Invalid value: "string": p in body must be of type number: "string"'),
        ({"type": "boolean"}, True, 1, 'p: Invalid value: "integer": p in body must be of type boolean: "integer"'),
        ({"type": "integer"}, 2.0, 2.5, 'p: Invalid value: "number": p in body must be of type integer: "number"'),
        (
            {"type": "string", "minLength": 2},
            "ab",
            "a",
            'p: Invalid value: "a": p in body should be at least 2 chars long',
        ),
        ({"type": "string", "maxLength": 2}, "ab", "abc", "p: Too long: may not be more than 2 bytes"),
        ({"type": "string", "pattern": "^a"}, "ab", "b", "p: Invalid value: \"b\": p in body should match '^a'"),
        (
            {"type": "integer", "minimum": 2},
            2,
            1,
            "p: Invalid value: 1: p in body should be greater than or equal to 2",
        ),
        (
            {"type": "integer", "minimum": 2, "exclusiveMinimum": True},
            3,
            2,
            "p: Invalid value: 2: p in body should be greater than 2",
        ),
        ({"type": "integer", "maximum": 2}, 2, 3, "p: Invalid value: 3: p in body should be less than or equal to 2"),
        (
            {"type": "integer", "maximum": 2, "exclusiveMaximum": True},
            1,
            2,
            "p: Invalid value: 2: p in body should be less than 2",
        ),
        (
            {"type": "number", "multipleOf": 0.5},
            1.5,
            1.7,
            "p: Invalid value: 1.7: p in body should be a multiple of 0.5",
        ),
        (
            {"type": "array", "items": {"type": "integer"}, "minItems": 1},
            [1],
            [],
            "p: Invalid value: 0: p in body should have at least 1 items",
        ),
        (
            {"type": "array", "items": {"type": "integer"}, "maxItems": 1},
            [1],
            [1, 2],
            "p: Too many: 2: must have at most 1 item",
        ),
        (
            {"type": "array", "items": {"type": "integer"}, "uniqueItems": True},
            [1, 2],
            [1, 1],
            "p: Invalid value: [1,1]: p in body shouldn't contain duplicates",
        ),
        (
            {"type": "object", "minProperties": 1},
            {"a": 1},
            {},
            "p: Invalid value: 0: p in body should have at least 1 properties",
        ),
        (
            {"type": "object", "maxProperties": 1},
            {"a": 1},
            {"a": 1, "b": 2},
            "p: Too many: 2: must have at most 1 item",
        ),
        ({"type": "object", "required": ["a"]}, {"a": 1}, {}, "p.a: Required value"),
        ({"type": "string", "enum": ["x", "y"]}, "x", "z", 'p: Unsupported value: "z": supported values: "x", "y"'),
        ({"type": "integer", "enum": [1, 2]}, 1, 3, 'p: Unsupported value: 3: supported values: "1", "2"'),
        (
            {"type": "string", "anyOf": [{"pattern": "^a"}, {"pattern": "^b"}]},
            "b",
            "c",
            'p: Invalid value: "c": "p" must validate at least one schema (anyOf)',
        ),
        (
            {"type": "string", "oneOf": [{"pattern": "^a"}, {"pattern": "b$"}]},
            "a",
            "ab",
            'p: Invalid value: "ab": "p" must validate one and only one schema (oneOf). Found 2 valid alternatives',
        ),
        (
            {"type": "string", "not": {"enum": ["x"]}},
            "y",
            "x",
            'p: Invalid value: "x": "p" must not validate the schema (not)',
        ),
        (
            {"type": "string", "allOf": [{"minLength": 2}]},
            "ab",
            "a",
            'p: Invalid value: "a": p in body should be at least 2 chars long',
        ),
    ],
)
def test_rules(schema: dict[str, Any], good: Any, bad: Any, told: str) -> None:
    assert found(schema, good) == []
    assert told in found(schema, bad)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("byte", "YWJj", "Y"),
        ("cidr", "10.0.0.0/8", "10.0.0.0/33"),
        ("date", "2020-02-29", "2021-02-29"),
        ("date-time", "2020-01-01T00:00:00Z", "2020-01-01"),
        ("date-time", "2020-01-01T00:00:00.5+02:00", "2020-13-01T00:00:00Z"),
        ("duration", "1h30m", "1x"),
        ("email", "a@b.c", "a"),
        ("hostname", "a.example.com", "-a"),
        ("ipv4", "1.2.3.4", "1.2.3"),
        ("ipv6", "::1", "1.2.3.4"),
        ("uuid", "123e4567-e89b-42d3-a456-426614174000", "123"),
    ],
)
def test_formats(name: str, good: str, bad: str) -> None:
    schema = {"type": "string", "format": name}
    assert name in FORMATS
    assert found(schema, good) == []
    assert found(schema, bad) == [f'p: Invalid value: "{bad}": p in body must be of type {name}: "{bad}"']


def test_unknown_format_is_a_comment() -> None:
    assert found({"type": "string", "format": "haiku"}, "anything") == []


def test_elements_of_sets_and_keyed_lists() -> None:
    a_set = {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"}
    assert found(a_set, ["a", "b", "a"]) == ['p[2]: Duplicate value: "a"']
    keyed = {
        "type": "array",
        "items": {"type": "object", "properties": {"k": {"type": "string"}}},
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["k"],
    }
    assert found(keyed, [{"k": "a"}, {"k": "a"}, {}]) == ['p[1]: Duplicate value: {"k":"a"}']
    assert "p[0]: Invalid value: 5: must be an object for an array of list-type map" in found(keyed, [5])


def test_errors_are_where_the_value_is() -> None:
    schema = {
        "type": "object",
        "properties": {
            "list": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "integer"}}}}
        },
        "additionalProperties": False,
    }
    assert [text.partition(":")[0] for text in found(schema, {"list": [{"n": 1}, {"n": "x"}]})] == ["p.list[1].n"]


def test_nullable_value_may_be_null() -> None:
    assert found({"type": "string", "nullable": True}, None) == []
    assert len(found({"type": "string"}, None)) == 1
