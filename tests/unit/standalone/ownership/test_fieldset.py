from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.standalone.ownership import fieldset
from ksproxyd.standalone.ownership.fieldset import Tree

PATHS = st.frozensets(
    st.lists(st.sampled_from(["f:a", "f:b", 'k:{"n":1}', 'v:"x"']), min_size=1, max_size=3).map(tuple), max_size=8
)
Paths = frozenset[tuple[str, ...]]


def tree(paths: Paths) -> Tree:
    made: Tree = {}
    for path in paths:
        fieldset.insert(made, path)
    return made


def members(found: Tree) -> set[tuple[str, ...]]:
    return set(fieldset.paths(found))


@given(PATHS)
def test_wire_form_and_back(paths: Paths) -> None:
    assert members(fieldset.decoded(fieldset.encoded(tree(paths)))) == paths


@given(PATHS, PATHS)
def test_trees_are_sets(one: Paths, other: Paths) -> None:
    assert members(fieldset.union(tree(one), tree(other))) == one | other
    assert members(fieldset.difference(tree(one), tree(other))) == one - other
    assert members(fieldset.intersection(tree(one), tree(other))) == one & other


@given(st.lists(PATHS, max_size=4))
def test_union_of_many(many: list[Paths]) -> None:
    assert members(fieldset.union_of(map(tree, many))) == frozenset().union(*many)


@given(PATHS, PATHS)
def test_operations_leave_their_arguments_alone(one: Paths, other: Paths) -> None:
    left, right = tree(one), tree(other)
    for operation in (fieldset.union, fieldset.difference, fieldset.intersection):
        operation(left, right)
        assert (members(left), members(right)) == (one, other)


@given(PATHS, PATHS)
def test_nothing_is_left_as_an_empty_branch(one: Paths, other: Paths) -> None:
    assert bool(fieldset.difference(tree(one), tree(other))) is bool(one - other)
    assert bool(fieldset.intersection(tree(one), tree(other))) is bool(one & other)


def test_wire_form() -> None:
    paths = frozenset({("f:a",), ("f:b",), ("f:b", "f:c"), ("f:d", 'k:{"n":1}', "f:e")})
    assert fieldset.encoded(tree(paths)) == {
        "f:a": {},
        "f:b": {".": {}, "f:c": {}},
        "f:d": {'k:{"n":1}': {"f:e": {}}},
    }


@pytest.mark.parametrize("wire", [None, [], "x", {"a": {}}, {"f:a": []}, {"f:a": {"b": {}}}, {"f:a": 5}])
def test_nonsense_is_refused(wire: object) -> None:
    with pytest.raises(ValueError, match=r"is not a path element|is an object"):
        fieldset.decoded(wire)


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (("f:spec", "f:replicas"), ".spec.replicas"),
        (("f:spec", 'k:{"name":"c"}', "f:image"), '.spec[name="c"].image'),
        (("f:ports", 'k:{"containerPort":80,"protocol":"TCP"}'), '.ports[containerPort=80,protocol="TCP"]'),
        (("f:finalizers", 'v:"a/b"'), '.finalizers[="a/b"]'),
    ],
)
def test_paths_for_people(path: tuple[str, ...], shown: str) -> None:
    assert fieldset.shown(path) == shown
