"""Schema nodes: what a value at some place of an object may be, and how lists and maps there are merged.

Built-in kinds get theirs from the type tables (:mod:`~ksproxyd.standalone.schema.typetable`), custom kinds from the
structural schema of their definition (:mod:`~ksproxyd.standalone.schema.structural`). Pruning, defaulting, validation,
strategic merge patches and field ownership all walk the same nodes.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

#: The shapes of a node.
OBJECT: Final = "object"
MAP: Final = "map"
LIST: Final = "list"
LEAF: Final = "leaf"
ANY: Final = "any"

#: How a list is merged by server-side apply.
ATOMIC: Final = "atomic"
SET: Final = "set"
KEYED: Final = "map"


class Missing:
    """The type of :data:`MISSING`."""

    def __repr__(self) -> str:
        return "MISSING"


#: No value at all, where ``None`` would be a null.
MISSING: Final = Missing()


class Rules:
    """What a structural schema demands of a value beyond its type (the OpenAPI v3 value validations)."""

    __slots__ = (
        "all_of",
        "any_of",
        "enum",
        "exclusive_maximum",
        "exclusive_minimum",
        "format",
        "max_items",
        "max_length",
        "max_properties",
        "maximum",
        "min_items",
        "min_length",
        "min_properties",
        "minimum",
        "multiple_of",
        "negated",
        "one_of",
        "pattern",
        "pattern_text",
        "required",
        "types",
        "unique",
    )

    def __init__(self) -> None:
        #: JSON types that are allowed, empty for any.
        self.types: tuple[str, ...] = ()
        self.required: tuple[str, ...] = ()
        self.enum: list[Any] | None = None
        self.format = ""
        self.pattern: Any = None
        self.pattern_text = ""
        self.minimum: float | None = None
        self.maximum: float | None = None
        self.exclusive_minimum = False
        self.exclusive_maximum = False
        self.multiple_of: float | None = None
        self.min_length: int | None = None
        self.max_length: int | None = None
        self.min_items: int | None = None
        self.max_items: int | None = None
        self.min_properties: int | None = None
        self.max_properties: int | None = None
        self.unique = False
        #: Subordinate schemas of the logical operators.
        self.all_of: tuple[Node, ...] = ()
        self.any_of: tuple[Node, ...] = ()
        self.one_of: tuple[Node, ...] = ()
        self.negated: Node | None = None


class Numbered(NamedTuple):
    """A field of a protobuf message. ``pointer``: it distinguishes absent from empty."""

    name: str
    node: Node
    pointer: bool


#: Fields by number; a dict in place of a field is a message whose fields JSON has in line.
Numbers = dict[int, "Numbered | Numbers"]


class Node:
    """The schema of one place.

    ``properties`` are the fields of an OBJECT, ``additional`` the values of a MAP, ``items`` the elements of a LIST.
    ``kind`` names the type of a LEAF (``string``, ``int32``, ``bool``, ``bytes``, ``time``, ``intstr``, ``quantity``,
    ``number``, ``integer``); ``name`` is the name of the type in a type table, for messages and OpenAPI.
    """

    __slots__ = (
        "additional",
        "atomic",
        "default",
        "embedded",
        "items",
        "keys",
        "kind",
        "list_type",
        "merge",
        "merge_key",
        "name",
        "nullable",
        "numbers",
        "preserve",
        "properties",
        "required",
        "retain_keys",
        "rules",
        "shape",
    )

    def __init__(self, shape: str, kind: str = "", name: str = "") -> None:
        self.shape = shape
        self.kind = kind
        self.name = name
        self.properties: dict[str, Node] = {}
        self.additional: Node | None = None
        self.items: Node | None = None
        self.required: tuple[str, ...] = ()
        self.default: Any = MISSING
        self.nullable = False
        #: Unknown fields are kept.
        self.preserve = False
        #: The value is a Kubernetes object of its own, with apiVersion, kind and metadata.
        self.embedded = False
        #: A map or object that has one owner as a whole.
        self.atomic = False
        self.list_type = ATOMIC
        self.keys: tuple[str, ...] = ()
        #: Strategic merge: the list is merged (by ``merge_key``, or as a set of scalars without one).
        self.merge = False
        self.merge_key = ""
        #: Strategic merge: ``$retainKeys`` is honoured (fields of a union).
        self.retain_keys = False
        self.rules: Rules | None = None
        #: The fields of a built-in OBJECT by their protobuf number.
        self.numbers: Numbers = {}

    def child(self, key: str) -> Node | None:
        """The schema of the field or map value ``key``, None if there is none."""
        found = self.properties.get(key)
        return found if found is not None else self.additional

    def __repr__(self) -> str:
        return f"<Node {self.shape} {self.name or self.kind}>"


def json_type(value: Any) -> str:
    """The JSON type of a decoded value, as error messages name it; floats are ``number``."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "integer" if value.is_integer() else "number"
    if isinstance(value, list):
        return "array"
    return "object"


def prune(node: Node, value: Any, path: str, unknown: list[str]) -> None:
    """Remove from ``value`` (in place) the fields that ``node`` does not know; their paths go into ``unknown``."""
    if isinstance(value, dict):
        known = node.properties
        for key in list(value):
            child = known.get(key) or node.additional
            where = f"{path}.{key}" if path else key
            if child is not None:
                prune(child, value[key], where, unknown)
            elif not node.preserve and node.shape is not ANY and not (node.embedded and key in _TYPE_META):
                unknown.append(where)
                del value[key]
    elif isinstance(value, list) and node.items is not None:
        for index, item in enumerate(value):
            prune(node.items, item, f"{path}[{index}]", unknown)


_TYPE_META = ("apiVersion", "kind", "metadata")


#: What a null in a list stands for, as Kubernetes decodes it: the empty value of the element's type.
_EMPTY: dict[str, Any] = {"bool": False, "int32": 0, "int64": 0, "number": 0, "intstr": 0, "quantity": "0"}


def _empty(node: Node) -> Any:
    """The empty value of a built-in type; null where a structural schema will say whether it may stand there."""
    if node.rules is not None or node.shape is ANY:
        return None
    if node.shape is LEAF:
        return _EMPTY.get(node.kind, "")
    return [] if node.shape is LIST else {}


def drop_nulls(node: Node, value: Any) -> None:
    """Remove nulls that the schema does not allow (a default may then take their place).

    A list keeps its length: a null among the elements of a built-in type becomes an empty element.
    """
    if isinstance(value, dict):
        for key in list(value):
            child = node.child(key)
            if child is None:
                continue
            if value[key] is None:
                if not child.nullable and child.shape is not ANY:
                    del value[key]
            else:
                drop_nulls(child, value[key])
    elif isinstance(value, list) and node.items is not None:
        for index, item in enumerate(value):
            if item is None:
                value[index] = _empty(node.items)
            else:
                drop_nulls(node.items, item)


def set_defaults(node: Node, value: Any) -> None:
    """Give missing fields their defaults (in place), from the outside in."""
    if isinstance(value, dict):
        for key, child in node.properties.items():
            if key not in value and child.default is not MISSING:
                value[key] = copied(child.default)
            if key in value:
                set_defaults(child, value[key])
        if node.additional is not None:
            for key, each in value.items():
                if key not in node.properties:
                    set_defaults(node.additional, each)
    elif isinstance(value, list) and node.items is not None:
        for item in value:
            set_defaults(node.items, item)


def copied(value: Any) -> Any:
    """A deep copy of a JSON value."""
    if isinstance(value, dict):
        return {key: copied(each) for key, each in value.items()}
    if isinstance(value, list):
        return [copied(each) for each in value]
    return value
