from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.standalone.schema.nodes import drop_nulls, json_type, prune, set_defaults
from ksproxyd.standalone.schema.structural import root_node

SCHEMA = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "properties": {
                "size": {"type": "integer", "default": 1},
                "note": {"type": "string", "nullable": True},
                "deep": {
                    "type": "object",
                    "default": {},
                    "properties": {"a": {"type": "string", "default": "A"}},
                },
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "map": {
                    "type": "object",
                    "additionalProperties": {"type": "object", "properties": {"x": {"type": "integer"}}},
                },
                "list": {
                    "type": "array",
                    "items": {"type": "object", "properties": {"x": {"type": "integer", "default": 5}}},
                },
                "pod": {
                    "type": "object",
                    "x-kubernetes-embedded-resource": True,
                    "properties": {"spec": {"type": "object"}},
                },
            },
        }
    },
}
NODE = root_node(SCHEMA)

KEYS = st.sampled_from(["size", "note", "deep", "free", "map", "list", "pod", "a", "x", "other", "spec", "metadata"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


def pruned(value: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    unknown: list[str] = []
    prune(NODE, value, "", unknown)
    return value, unknown


def test_unknown_fields_are_removed_with_their_paths() -> None:
    value = {
        "spec": {
            "size": 1,
            "other": 1,
            "free": {"other": {"more": 1}},
            "map": {"k": {"x": 1, "y": 2}},
            "list": [{"x": 1}, {"z": 1}],
            "pod": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "bad": 1}, "spec": {}, "bad": 1},
        },
        "top": 1,
    }
    found, unknown = pruned(value)
    assert found == {
        "spec": {
            "size": 1,
            "free": {"other": {"more": 1}},
            "map": {"k": {"x": 1}},
            "list": [{"x": 1}, {}],
            "pod": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {}},
        }
    }
    assert set(unknown) == {
        "spec.other",
        "spec.map.k.y",
        "spec.list[1].z",
        "spec.pod.bad",
        "spec.pod.metadata.bad",
        "top",
    }


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_pruning_twice_is_pruning_once(value: dict[str, Any]) -> None:
    found, _ = pruned(value)
    again, unknown = pruned(found)
    assert unknown == []
    assert again == found


def test_defaults_come_from_the_outside_in() -> None:
    value: dict[str, Any] = {"spec": {"list": [{}, {"x": 1}]}}
    set_defaults(NODE, value)
    assert value["spec"] == {"size": 1, "deep": {"a": "A"}, "list": [{"x": 5}, {"x": 1}]}


def test_defaults_are_copies() -> None:
    first: dict[str, Any] = {"spec": {}}
    second: dict[str, Any] = {"spec": {}}
    set_defaults(NODE, first)
    first["spec"]["deep"]["a"] = "changed"
    set_defaults(NODE, second)
    assert second["spec"]["deep"] == {"a": "A"}


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_defaulting_twice_is_defaulting_once(value: dict[str, Any]) -> None:
    set_defaults(NODE, value)
    before = repr(value)
    set_defaults(NODE, value)
    assert repr(value) == before


def test_nulls_go_unless_they_may_stay() -> None:
    value: dict[str, Any] = {"spec": {"size": None, "note": None, "free": {"x": None}, "list": [{"x": None}]}}
    drop_nulls(NODE, value)
    assert value == {"spec": {"note": None, "free": {"x": None}, "list": [{}]}}


def test_json_types() -> None:
    found = [json_type(value) for value in (None, True, 1, 1.0, 1.5, "a", [], {})]
    assert found == ["null", "boolean", "integer", "integer", "number", "string", "array", "object"]
