"""The types of the built-in kinds, read from the tables in ``types/``.

A table holds the names, types, merge keys and protobuf numbers of the Kubernetes API as its OpenAPI document and its
``.proto`` files publish them::

    Container
      3 command [string]
      7 env [EnvVar] merge=name keys=name
      1 name string !
      15 securityContext SecurityContext *

A type begins at the margin (``atomic`` after its name: one owner for the whole object); its fields are indented.
The number is the field's in protobuf: ``2.1`` is field 1 of the message in field 2, whose fields JSON has in line;
``-`` is none. ``[T]`` is a list, ``{T}`` a map. ``*`` marks a field that distinguishes absent from empty, ``!`` a
required one. ``merge=KEY`` / ``merge`` / ``retainKeys`` are patch strategies, ``keys=A,B`` / ``set`` / ``atomic`` are
list and map types, ``default=JSON`` is a default.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources

from ksproxyd.standalone.schema.nodes import ANY, KEYED, LEAF, LIST, MAP, OBJECT, SET, Node, Numbered, Numbers

#: Kinds of leaves, with the Go type that error messages name.
LEAVES = {
    "string": "string",
    "int32": "int32",
    "int64": "int64",
    "bool": "bool",
    "number": "float64",
    "bytes": "[]uint8",
    "time": "Time",
    "microtime": "MicroTime",
    "intstr": "IntOrString",
    "quantity": "Quantity",
}

#: Tables whose types every other table may use, in this order.
SHARED = ("meta", "core", "pod", "volume")

_Lines = dict[str, tuple[str, list[str]]]


@cache
def _table(name: str) -> _Lines:
    """The types of one table: name → (words after the name, field lines)."""
    text = resources.files("ksproxyd.standalone.schema").joinpath("types", f"{name}.txt").read_text()
    types: _Lines = {}
    fields: list[str] = []
    for line in text.splitlines():
        if line.startswith("  "):
            fields.append(line)
        elif line and not line.startswith("#"):
            type_name, _, words = line.partition(" ")
            fields = []
            types[type_name] = (words, fields)
    return types


@cache
def type_node(table: str, name: str) -> Node:
    """The node of type ``name`` as seen from ``table``. Raises ``KeyError`` if no table has it."""
    home = next((each for each in (table, *SHARED) if name in _table(each)), None)
    if home is None:
        raise KeyError(f"no type {name} in table {table}")
    if home != table:
        return type_node(home, name)
    words, lines = _table(home)[name]
    node = Node(OBJECT, name=name)
    node.atomic = "atomic" in words.split()
    required = []
    for line in lines:
        number, field, written, *flags = line.split(None, 3)
        options = flags[0].split() if flags else []
        child = node.properties[field] = _field(home, written, options)
        if "!" in options:
            required.append(field)
        if number != "-":
            _number(node.numbers, number, Numbered(field, child, "*" in options))
    node.required = tuple(required)
    return node


def _number(numbers: Numbers, number: str, numbered: Numbered) -> None:
    """Enter a field under its number, or its path of numbers."""
    first, dot, rest = number.partition(".")
    if not dot:
        numbers[int(first)] = numbered
        return
    inner = numbers.setdefault(int(first), {})
    if not isinstance(inner, dict):
        raise ValueError(f"field {first} is both a field and in line")
    _number(inner, rest, numbered)


def _field(table: str, written: str, options: list[str]) -> Node:
    node = _written(table, written)
    for option in options:
        name, _, value = option.partition("=")
        if name == "merge":
            node.merge, node.merge_key = True, value
        elif name == "keys":
            node.list_type, node.keys = KEYED, tuple(value.split(","))
        elif name == "set":
            node.list_type = SET
        elif name in ("atomic", "retainKeys"):
            # The node may be a type's own, which other fields share.
            node = _copy(node)
            node.atomic = node.atomic or name == "atomic"
            node.retain_keys = node.retain_keys or name == "retainKeys"
        elif name == "default":
            node.default = json.loads(value)
    return node


def _written(table: str, written: str) -> Node:
    if written.startswith("["):
        node = Node(LIST)
        node.items = _written(table, written[1:-1])
    elif written.startswith("{"):
        node = Node(MAP)
        node.additional = _written(table, written[1:-1])
    elif written == "any":
        node = Node(ANY)
    elif written in LEAVES:
        node = Node(LEAF, kind=written)
    else:
        return type_node(table, written)
    return node


def _copy(node: Node) -> Node:
    twin = Node(node.shape, node.kind, node.name)
    for slot in Node.__slots__:
        setattr(twin, slot, getattr(node, slot))
    return twin
