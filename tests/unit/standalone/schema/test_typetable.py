from __future__ import annotations

import pytest

from ksproxyd.standalone.kinds.builtin import builtin_kinds
from ksproxyd.standalone.schema.nodes import KEYED, LEAF, LIST, MAP, OBJECT, SET, Node, Numbered, Numbers
from ksproxyd.standalone.schema.typetable import LEAVES, type_node


def walk(node: Node, seen: set[int]) -> list[Node]:
    """Every node below ``node``."""
    if id(node) in seen:
        return []
    seen.add(id(node))
    below = [*node.properties.values(), *filter(None, (node.items, node.additional))]
    return [node, *(each for child in below for each in walk(child, seen))]


def numbered(numbers: Numbers) -> list[Numbered]:
    found: list[Numbered] = []
    for each in numbers.values():
        found += numbered(each) if isinstance(each, dict) else [each]
    return found


def test_fields_and_their_flags() -> None:
    container = type_node("core", "Container")
    env = container.properties["env"]
    assert (env.shape, env.merge, env.merge_key, env.list_type, env.keys) == (LIST, True, "name", KEYED, ("name",))
    ports = container.properties["ports"]
    assert (ports.merge_key, ports.keys) == ("containerPort", ("containerPort", "protocol"))
    assert container.required == ("name",)
    assert container.properties["image"].kind == "string"
    meta = type_node("meta", "ObjectMeta")
    assert meta.properties["finalizers"].list_type == SET
    assert meta.properties["labels"].shape == MAP
    assert type_node("meta", "LabelSelector").atomic
    assert type_node("apps", "DeploymentSpec").properties["strategy"].retain_keys


def test_flags_of_a_field_do_not_change_the_type_it_is_of() -> None:
    assert not type_node("apps", "DeploymentStrategy").retain_keys
    assert not type_node("core", "Container").properties["command"].merge


def test_types_are_shared_between_tables() -> None:
    assert type_node("apps", "ObjectMeta") is type_node("meta", "ObjectMeta")
    assert type_node("core", "EndpointPort") is not type_node("discovery", "EndpointPort")


def test_unknown_type_is_an_error() -> None:
    with pytest.raises(KeyError, match="no type Nothing in table core"):
        type_node("core", "Nothing")


@pytest.mark.parametrize("kind", builtin_kinds(), ids=lambda kind: kind.topic)
def test_every_kind_is_complete(kind: object) -> None:
    schema = kind.schema  # type: ignore[attr-defined]
    assert {"apiVersion", "kind", "metadata"} <= schema.properties.keys()
    for node in walk(schema, set()):
        if node.shape == LEAF:
            assert node.kind in LEAVES
        if node.shape == LIST:
            assert node.items is not None
            if node.list_type == KEYED:
                assert node.items.shape == OBJECT
                assert set(node.keys) <= node.items.properties.keys()
            if node.merge_key:
                assert node.merge_key in node.items.properties
        if node.shape == OBJECT and node.numbers:
            names = [each.name for each in numbered(node.numbers)]
            assert len(names) == len(set(names))
            assert set(names) == node.properties.keys() - {"apiVersion", "kind"} or names == [*node.properties]
            for each in numbered(node.numbers):
                assert each.node is node.properties[each.name]
