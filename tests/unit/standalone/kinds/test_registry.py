from __future__ import annotations

import pytest

from ksproxyd.standalone.kinds.builtin import builtin_kinds
from ksproxyd.standalone.kinds.registry import Kind, Kinds, priority
from ksproxyd.standalone.schema.nodes import OBJECT, Node


def kind(plural: str, version: str = "v1", group: str = "example.com") -> Kind:
    return Kind(group, version, plural, plural.title(), True, Node(OBJECT), stored_version="v1")


def test_versions_in_order_of_preference() -> None:
    versions = ["v1alpha1", "v2beta1", "foo", "v1", "v11", "v2", "v1beta2", "v2beta10", "v2alpha3"]
    expected = ["v11", "v2", "v1", "v2beta10", "v2beta1", "v1beta2", "v2alpha3", "v1alpha1", "foo"]
    assert sorted(versions, key=priority) == expected


def test_kinds_come_and_go_with_their_owner() -> None:
    kinds = Kinds([kind("builtins")])
    before = kinds.generation
    kinds.replace("one", [kind("things"), kind("things", "v2")])
    kinds.replace("two", [kind("others", "v2")])
    assert kinds.generation > before
    assert kinds.groups() == {"example.com": ["v2", "v1"]}
    assert [each.plural for each in kinds.at("example.com", "v1")] == ["builtins", "things"]
    assert {each.topic for each in kinds.stored()} == {
        f"example.com/{name}" for name in ("builtins", "things", "others")
    }
    assert kinds.by_name("example.com/v2", "Things") is kinds.find("example.com", "v2", "things")
    kinds.replace("one", [kind("things", "v2")])
    assert kinds.find("example.com", "v1", "things") is None
    kinds.replace("one", [])
    assert kinds.of_topic("example.com/things") is None
    assert kinds.of_topic("example.com/others") is not None
    kinds.replace("two", [])
    assert not kinds.serves("example.com", "v2")


@pytest.mark.parametrize("name", ["topic", "kind"])
def test_built_in_kinds_are_told_apart(name: str) -> None:
    found = [(each.group, getattr(each, name)) for each in builtin_kinds()]
    assert len(found) == len(set(found))
