from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.model.status import StatusError
from ksproxyd.standalone.schema.typetable import type_node
from ksproxyd.standalone.writing.strategic import strategic_merge

POD = type_node("core", "PodSpec")


def containers(*pairs: tuple[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "image": image} for name, image in pairs]


@pytest.mark.parametrize(
    ("before", "patch", "after"),
    [
        ({"hostNetwork": True}, {"hostNetwork": None}, {}),
        ({"nodeSelector": {"a": "1"}}, {"nodeSelector": {"b": "2"}}, {"nodeSelector": {"a": "1", "b": "2"}}),
        ({"nodeSelector": {"a": "1"}}, {"nodeSelector": {"$patch": "replace", "b": "2"}}, {"nodeSelector": {"b": "2"}}),
        ({"nodeSelector": {"a": "1"}}, {"nodeSelector": {"$patch": "delete"}}, {"nodeSelector": {}}),
        (
            {"containers": containers(("a", "1"), ("b", "1"))},
            {"containers": containers(("b", "2"))},
            {"containers": containers(("a", "1"), ("b", "2"))},
        ),
        (
            {"containers": containers(("a", "1"))},
            {"containers": containers(("b", "1"))},
            {"containers": containers(("b", "1"), ("a", "1"))},
        ),
        (
            {"containers": containers(("a", "1"), ("b", "1"))},
            {"containers": [{"name": "a", "$patch": "delete"}]},
            {"containers": containers(("b", "1"))},
        ),
        (
            {"containers": containers(("a", "1"), ("b", "1"))},
            {"containers": [{"$patch": "replace"}, *containers(("c", "1"))]},
            {"containers": containers(("c", "1"))},
        ),
        (
            {"containers": containers(("a", "1"), ("b", "1"), ("c", "1"))},
            {"$setElementOrder/containers": [{"name": "c"}, {"name": "a"}, {"name": "b"}]},
            {"containers": containers(("c", "1"), ("a", "1"), ("b", "1"))},
        ),
        ({}, {"nodeSelector": {"a": None, "b": "1"}}, {"nodeSelector": {"b": "1"}}),
        ({}, {"containers": [{"name": "a", "command": ["x"]}]}, {"containers": [{"name": "a", "command": ["x"]}]}),
        (
            {"volumes": [{"name": "v", "emptyDir": {}}]},
            {"volumes": [{"name": "v", "$retainKeys": ["name", "secret"], "secret": {"secretName": "s"}}]},
            {"volumes": [{"name": "v", "secret": {"secretName": "s"}}]},
        ),
        (
            {"tolerations": [{"key": "a"}]},
            {"tolerations": [{"key": "b"}]},
            {"tolerations": [{"key": "b"}]},
        ),
    ],
)
def test_patches(before: dict[str, Any], patch: dict[str, Any], after: dict[str, Any]) -> None:
    assert strategic_merge(POD, before, patch) == after


def test_scalars_are_merged_and_removed() -> None:
    meta = type_node("meta", "ObjectMeta")
    before = {"finalizers": ["a", "b"]}
    assert strategic_merge(meta, before, {"finalizers": ["b", "c"]})["finalizers"] == ["a", "b", "c"]
    assert strategic_merge(meta, before, {"$deleteFromPrimitiveList/finalizers": ["a"]})["finalizers"] == ["b"]


@pytest.mark.parametrize(
    ("patch", "told"),
    [
        ({"$patch": "nonsense"}, "unknown directive"),
        ({"containers": [{"image": "x"}]}, "does not contain declared merge key: name"),
        ({"containers": ["a"]}, "is not an object"),
    ],
)
def test_patches_without_sense_are_refused(patch: dict[str, Any], told: str) -> None:
    with pytest.raises(StatusError) as caught:
        strategic_merge(POD, {"containers": containers(("a", "1"))}, patch)
    assert caught.value.code == 400
    assert told in caught.value.message


PATCHES = st.fixed_dictionaries(
    {},
    optional={
        "hostNetwork": st.none() | st.booleans(),
        "nodeSelector": st.none() | st.dictionaries(st.sampled_from("ab"), st.none() | st.text(max_size=2), max_size=2),
        "containers": st.dictionaries(st.sampled_from("abc"), st.text(max_size=2), max_size=3).map(
            lambda pairs: containers(*pairs.items())
        ),
        "tolerations": st.lists(st.fixed_dictionaries({"key": st.sampled_from("ab")}), max_size=2),
    },
)


@given(PATCHES, PATCHES)
def test_patching_twice_is_patching_once(before: dict[str, Any], patch: dict[str, Any]) -> None:
    start = strategic_merge(POD, {}, before)
    once = strategic_merge(POD, start, patch)
    assert strategic_merge(POD, once, patch) == once


@given(PATCHES, PATCHES)
def test_arguments_stay_as_they_are(before: dict[str, Any], patch: dict[str, Any]) -> None:
    text = repr((before, patch))
    strategic_merge(POD, before, patch)
    assert repr((before, patch)) == text


WORDS = st.sampled_from(
    [
        "containers",
        "name",
        "volumes",
        "$patch",
        "$retainKeys",
        "$setElementOrder/containers",
        "$deleteFromPrimitiveList/x",
    ]
)
NONSENSE = st.recursive(
    st.none() | st.booleans() | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(WORDS, NONSENSE, max_size=4))
def test_any_patch_is_either_refused_or_applied(patch: dict[str, Any]) -> None:
    try:
        strategic_merge(POD, {"containers": containers(("a", "1")), "x": ["y"]}, patch)
    except StatusError as error:
        assert error.code == 400
