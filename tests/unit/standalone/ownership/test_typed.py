from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.standalone.ownership import fieldset
from ksproxyd.standalone.ownership.typed import SchemaError, check, compare, field_set, merge, remove
from ksproxyd.standalone.schema.structural import root_node

NODE = root_node(
    {
        "type": "object",
        "properties": {
            "n": {"type": "integer"},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "set": {"type": "array", "items": {"type": "integer"}, "x-kubernetes-list-type": "set"},
            "plain": {"type": "array", "items": {"type": "integer"}},
            "whole": {
                "type": "object",
                "x-kubernetes-map-type": "atomic",
                "properties": {"x": {"type": "integer"}, "y": {"type": "integer"}},
            },
            "inner": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}},
            "keyed": {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["k"],
                "items": {
                    "type": "object",
                    "properties": {"k": {"type": "string"}, "v": {"type": "integer"}},
                },
            },
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        },
    }
)

SMALL = st.integers(0, 3)
NAMES = st.sampled_from("pqr")
VALUES = st.fixed_dictionaries(
    {},
    optional={
        "n": SMALL,
        "labels": st.dictionaries(NAMES, st.sampled_from(["x", "y"]), min_size=1, max_size=3),
        "set": st.lists(SMALL, unique=True, min_size=1, max_size=3),
        "plain": st.lists(SMALL, max_size=3),
        "whole": st.fixed_dictionaries({}, optional={"x": SMALL, "y": SMALL}).filter(bool),
        "inner": st.fixed_dictionaries({}, optional={"a": SMALL, "b": SMALL}).filter(bool),
        "keyed": st.dictionaries(NAMES, SMALL, min_size=1, max_size=3).map(
            lambda items: [{"k": key, "v": value} for key, value in items.items()]
        ),
        "free": st.dictionaries(NAMES, SMALL | st.dictionaries(NAMES, SMALL, min_size=1), min_size=1, max_size=2),
    },
)
Value = dict[str, Any]


def normal(value: Value) -> Value:
    """A value whose order does not matter where it does not."""
    found = dict(value)
    if "set" in found:
        found["set"] = sorted(found["set"])
    if "keyed" in found:
        found["keyed"] = sorted(found["keyed"], key=lambda item: str(item["k"]))
    return found


def shown(tree: fieldset.Tree) -> set[str]:
    return {fieldset.shown(path) for path in fieldset.paths(tree)}


def test_fields_of_a_value() -> None:
    value = {
        "n": 1,
        "labels": {"p": "x"},
        "set": [1, 2],
        "plain": [1],
        "whole": {"x": 1},
        "inner": {"a": 1},
        "keyed": [{"k": "p", "v": 1}],
        "free": {"p": {"q": 1}},
    }
    assert fieldset.encoded(field_set(NODE, value)) == {
        "f:n": {},
        "f:labels": {"f:p": {}},
        "f:set": {"v:1": {}, "v:2": {}},
        "f:plain": {},
        "f:whole": {},
        "f:inner": {"f:a": {}},
        "f:keyed": {'k:{"k":"p"}': {".": {}, "f:k": {}, "f:v": {}}},
        "f:free": {"f:p": {".": {}, "f:q": {}}},
    }


@given(VALUES)
def test_value_does_not_differ_from_itself(value: Value) -> None:
    assert compare(NODE, value, value).same


@given(VALUES, VALUES)
def test_difference_is_seen_from_both_sides(one: Value, other: Value) -> None:
    there, back = compare(NODE, one, other), compare(NODE, other, one)
    assert shown(there.added) == shown(back.removed)
    assert shown(there.removed) == shown(back.added)
    assert shown(there.modified) == shown(back.modified)
    assert there.same is (normal(one) == normal(other))


@given(VALUES)
def test_merging_a_value_into_itself_changes_nothing(value: Value) -> None:
    assert merge(NODE, value, value) == value


@given(VALUES, VALUES)
def test_merging_twice_is_merging_once(live: Value, config: Value) -> None:
    once = merge(NODE, live, config)
    assert normal(merge(NODE, once, config)) == normal(once)


@given(VALUES, VALUES)
def test_merged_value_says_what_the_configuration_says(live: Value, config: Value) -> None:
    merged = merge(NODE, live, config)
    change = compare(NODE, config, merged)
    assert change.removed == {}
    assert change.modified == {}


@given(VALUES, VALUES)
def test_what_only_a_configuration_added_can_be_taken_back(live: Value, config: Value) -> None:
    merged = merge(NODE, live, config)
    mine = fieldset.difference(field_set(NODE, config), field_set(NODE, live))
    left = remove(NODE, merged, mine, field_set(NODE, live))
    change = compare(NODE, live, left)
    assert change.added == {}
    assert change.removed == {}


@given(VALUES)
def test_removing_everything_leaves_nothing(value: Value) -> None:
    assert remove(NODE, value, field_set(NODE, value), {}) == {}


@given(VALUES)
def test_removing_nothing_changes_nothing(value: Value) -> None:
    everything = field_set(NODE, value)
    assert remove(NODE, value, {}, {}) == value
    assert remove(NODE, value, everything, everything) == value


@given(VALUES, VALUES)
def test_arguments_stay_as_they_are(live: Value, config: Value) -> None:
    before = repr((live, config))
    merge(NODE, live, config)
    remove(NODE, live, field_set(NODE, config), {})
    compare(NODE, live, config)
    assert repr((live, config)) == before


def test_element_goes_with_what_others_did_not_claim() -> None:
    live = {"keyed": [{"k": "p", "v": 1}, {"k": "q", "v": 2}]}
    mine = field_set(NODE, {"keyed": [{"k": "p"}]})
    assert remove(NODE, live, mine, {}) == {"keyed": [{"k": "q", "v": 2}]}
    kept = field_set(NODE, {"keyed": [{"k": "p", "v": 1}]})
    assert remove(NODE, live, mine, kept) == live


def test_list_whose_elements_cannot_be_told_apart_has_one_owner() -> None:
    twins = {"keyed": [{"k": "p", "v": 1}, {"k": "p", "v": 2}]}
    assert fieldset.encoded(field_set(NODE, twins)) == {"f:keyed": {}}
    change = compare(NODE, twins, {"keyed": [{"k": "p", "v": 1}]})
    assert shown(change.modified) == {".keyed"}


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"n": "x"}, ".n: expected numeric (int or float), got string"),
        ({"labels": []}, ".labels: expected map, got list"),
        ({"plain": {}}, ".plain: expected list, got map"),
        ({"other": 1}, ".other: field not declared in schema"),
        ({"inner": {"c": 1}}, ".inner.c: field not declared in schema"),
        ({"set": [1, 1]}, ".set: duplicate entries for key [=1]"),
        ({"keyed": [{"k": "a"}, {"k": "a"}]}, '.keyed: duplicate entries for key [k="a"]'),
        ({"keyed": [{"v": 1}]}, "associative list with keys has an element that omits all keys"),
        ({"keyed": [5]}, "has to be an object"),
    ],
)
def test_configuration_that_does_not_fit_is_told(value: Value, told: str) -> None:
    with pytest.raises(SchemaError) as caught:
        check(NODE, value)
    assert told in str(caught.value)


@given(VALUES)
def test_good_configurations_fit(value: Value) -> None:
    check(NODE, value)
