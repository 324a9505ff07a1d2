"""Values walked along their schema: which fields they have, how two differ, how one is merged into the other.

This is what server-side apply is made of. The rules are those of Kubernetes' structured merge: an object or map is
merged field by field and a list by its keys (or as a set), unless the schema says that it has one owner (``atomic``).
Where the schema knows nothing, maps are merged and lists are not.
"""

from __future__ import annotations

from typing import Any

from ksproxyd.standalone.ownership import fieldset
from ksproxyd.standalone.ownership.fieldset import SELF, Tree
from ksproxyd.standalone.schema.nodes import ANY, KEYED, LIST, MAP, MISSING, OBJECT, SET, Node, copied

_UNKNOWN = Node(ANY)


class SchemaError(Exception):
    """A value that does not fit its schema; the message says where."""


def _below(node: Node, key: str) -> Node:
    return node.child(key) or _UNKNOWN


def _granular_map(node: Node, value: Any) -> bool:
    return isinstance(value, dict) and not node.atomic and node.shape in (OBJECT, MAP, ANY)


def _granular_list(node: Node, value: Any) -> bool:
    return isinstance(value, list) and node.shape == LIST and node.list_type in (SET, KEYED)


def _elements(node: Node, values: list[Any]) -> dict[str, Any]:
    """The elements of a granular list by path element. Raises :class:`SchemaError` for one that has no name or two."""
    found: dict[str, Any] = {}
    for index, value in enumerate(values):
        element = fieldset.scalar(value) if node.list_type == SET else _key(node, value, index)
        if element in found:
            raise SchemaError(f"duplicate entries for key {fieldset.shown((element,))}")
        found[element] = value
    return found


def _key(node: Node, value: Any, index: int) -> str:
    if not isinstance(value, dict):
        raise SchemaError(f"element {index}: an element of a list with keys has to be an object")
    keys = {}
    for key in node.keys:
        child = node.items.child(key) if node.items is not None else None
        given = value.get(key, child.default if child is not None else MISSING)
        if given is not MISSING and given is not None:
            keys[key] = given
    if not keys:
        raise SchemaError(f"element {index}: associative list with keys has an element that omits all keys")
    return fieldset.keyed(keys)


def _parts(node: Node, value: Any) -> dict[str, tuple[Node, Any]] | None:
    """What a merged value consists of, by path element; None for a value that has one owner.

    A stored list whose elements cannot be told apart (Kubernetes admits, say, two variables of one name) has one.
    """
    if _granular_map(node, value):
        return {fieldset.field(key): (_below(node, key), each) for key, each in value.items()}
    if _granular_list(node, value):
        items = node.items or _UNKNOWN
        try:
            return {element: (items, each) for element, each in _elements(node, value).items()}
        except SchemaError:
            return None
    return None


def check(node: Node, value: Any, path: str = "") -> None:
    """That ``value`` has only fields its schema knows and values of their types. Raises :class:`SchemaError`."""
    if value is None or node.shape == ANY:
        return
    if node.shape in (OBJECT, MAP):
        if not isinstance(value, dict):
            raise SchemaError(f"{path or '.'}: expected map, got {_go_type(value)}")
        for key, each in value.items():
            child = node.child(key)
            if child is None:
                if not node.preserve:
                    raise SchemaError(f"{path}.{key}: field not declared in schema")
            else:
                check(child, each, f"{path}.{key}")
    elif node.shape == LIST:
        if not isinstance(value, list):
            raise SchemaError(f"{path}: expected list, got {_go_type(value)}")
        if node.list_type in (SET, KEYED):
            try:
                _elements(node, value)
            except SchemaError as error:
                raise SchemaError(f"{path}: {error}") from None
        if node.items is not None:
            for index, each in enumerate(value):
                check(node.items, each, f"{path}[{index}]")
    elif (wanted := _LEAF_TYPES.get(node.kind)) is not None:
        types, name = wanted
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise SchemaError(f"{path}: expected {name}, got {_go_type(value)}")


_LEAF_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "string": ((str,), "string"),
    "bytes": ((str,), "string"),
    "time": ((str,), "string"),
    "microtime": ((str,), "string"),
    "bool": ((bool,), "boolean"),
    "boolean": ((bool,), "boolean"),
    "int32": ((int,), "numeric (int or float)"),
    "int64": ((int,), "numeric (int or float)"),
    "integer": ((int, float), "numeric (int or float)"),
    "number": ((int, float), "numeric (int or float)"),
}


def _go_type(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    return {str: "string", int: "int", float: "float", list: "list"}.get(type(value), "map")


def field_set(node: Node, value: Any) -> Tree:
    """The paths of everything that ``value`` (an applied configuration) says."""
    parts = _parts(node, value)
    if parts is None:
        return {SELF: {}}
    tree: Tree = {}
    for element, (child, each) in parts.items():
        below = field_set(child, each)
        # Keys of maps, elements of lists and what has nothing inside are members themselves.
        if not (element.startswith("f:") and element[2:] in node.properties) or each is None or each == {}:
            below = {**below, SELF: {}}
        if below:
            tree[element] = below
    return tree


class Comparison:
    """What distinguishes two values: paths that one of them lacks or that have another value."""

    __slots__ = ("added", "modified", "removed")

    def __init__(self) -> None:
        self.added: Tree = {}
        self.modified: Tree = {}
        self.removed: Tree = {}

    @property
    def same(self) -> bool:
        return not (self.added or self.modified or self.removed)


def compare(node: Node, old: Any, new: Any) -> Comparison:
    """How ``new`` differs from ``old``."""
    found = Comparison()
    _compare(node, old, new, (), found)
    return found


def _compare(node: Node, old: Any, new: Any, path: tuple[str, ...], found: Comparison) -> None:
    if old is not MISSING and new is not MISSING and old == new:
        return
    olds, news = _comparable(node, old), _comparable(node, new)
    granular = olds is not None and news is not None and bool(olds or news)
    if olds is not None and news is not None:
        for element in [*news, *(each for each in olds if each not in news)]:
            child, was = olds.get(element, (None, MISSING))
            other, becomes = news.get(element, (None, MISSING))
            _compare(child or other or _UNKNOWN, was, becomes, (*path, element), found)
    if not path:
        return
    if old is MISSING:
        fieldset.insert(found.added, path)
    elif new is MISSING:
        fieldset.insert(found.removed, path)
    elif not granular:
        fieldset.insert(found.modified, path)


def _comparable(node: Node, value: Any) -> dict[str, tuple[Node, Any]] | None:
    """The parts of ``value``; nothing has none."""
    return {} if value is MISSING or value is None else _parts(node, value)


def merge(node: Node, live: Any, config: Any) -> Any:
    """``config`` applied onto ``live``; a new value, the arguments stay as they are."""
    ours, theirs = _parts(node, live), _parts(node, config)
    if ours is None or theirs is None or isinstance(live, dict) is not isinstance(config, dict):
        return copied(config)
    merged = {element: each for element, (_, each) in ours.items()}
    for element, (child, each) in theirs.items():
        merged[element] = merge(child, merged[element], each) if element in merged else copied(each)
    return _assembled(live, merged)


def _assembled(like: Any, parts: dict[str, Any]) -> Any:
    if isinstance(like, dict):
        return {element[2:]: each for element, each in parts.items()}
    return list(parts.values())


def remove(node: Node, value: Any, gone: Tree, kept: Tree) -> Any:
    """``value`` without the paths in ``gone``, except where ``kept`` has the path or one below it."""
    parts = _parts(node, value)
    if parts is None:
        return value
    rest = {}
    for element, (child, each) in parts.items():
        left = _left(child, each, gone.get(element), kept.get(element, {}))
        if left is not MISSING:
            rest[element] = left
    return _assembled(value, rest)


def _left(node: Node, value: Any, gone: Tree | None, kept: Tree) -> Any:
    """What stays of ``value``, MISSING for nothing."""
    if not gone:
        return value
    if SELF in gone and not kept:
        return MISSING
    left = remove(node, value, gone, kept)
    # What was emptied by this goes too, unless somebody wants the empty thing.
    return MISSING if left in ({}, []) and value not in ({}, []) and not kept else left
