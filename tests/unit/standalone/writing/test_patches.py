from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.model.status import StatusError
from ksproxyd.standalone.writing.patches import json_patch, merge_patch

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        # The examples of RFC 7386, appendix A.
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch(target: Any, patch: Any, result: Any) -> None:
    assert merge_patch(target, patch) == result


@given(JSON, JSON)
def test_merge_patch_twice_is_merge_patch_once(target: Any, patch: Any) -> None:
    once = merge_patch(target, patch)
    assert merge_patch(once, patch) == once


def test_copies_are_bounded() -> None:
    operations = [{"op": "add", "path": "/a", "value": ["x" * 1000]}]
    operations += [{"op": "copy", "from": "/a", "path": "/a/-"} for _ in range(40)]
    with pytest.raises(StatusError) as caught:
        json_patch({}, operations)
    assert caught.value.code == 413


def test_replacing_what_is_not_there_adds_it() -> None:
    assert json_patch({"a": {}}, [{"op": "replace", "path": "/a/b", "value": 1}]) == {"a": {"b": 1}}


@pytest.mark.parametrize(
    "operation",
    [
        {},
        {"op": "add"},
        {"op": "add", "path": "/a/b", "value": 1},
        {"op": "add", "path": "a", "value": 1},
        {"op": "replace", "path": "/list/9", "value": 1},
        {"op": "replace", "path": "/x/y", "value": 1},
        {"op": "copy", "from": "/nothing", "path": "/a"},
        {"op": "copy", "path": "/a"},
        {"op": "move", "from": "/nothing", "path": "/a"},
        {"op": "add", "path": "", "value": "text"},
        {"op": 5, "path": "/a"},
        {"op": ["add"], "path": "/a", "value": 1},
        {"op": "remove", "path": 5},
    ],
)
def test_operations_that_do_not_apply_are_invalid(operation: dict[str, Any]) -> None:
    value = {"list": [1]}
    with pytest.raises(StatusError) as caught:
        json_patch(value, [operation])
    assert (caught.value.code, caught.value.reason) == (422, "Invalid")
    assert value == {"list": [1]}


WORDS = st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "/a", "/a/b", "/list/0", "/list/-", ""])
OPERATIONS = st.lists(
    st.dictionaries(st.sampled_from(["op", "path", "from", "value"]), WORDS | JSON, max_size=4), max_size=4
)


@given(OPERATIONS)
def test_any_operations_are_either_refused_or_applied(operations: list[dict[str, Any]]) -> None:
    try:
        json_patch({"a": {"b": 1}, "list": [1, 2]}, operations)
    except StatusError as error:
        assert error.code in (413, 422)
