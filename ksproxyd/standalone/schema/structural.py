"""Structural schemas of custom kinds (``openAPIV3Schema``) become nodes."""

from __future__ import annotations

from typing import Any

import re2

from ksproxyd.standalone.schema.nodes import ANY, ATOMIC, KEYED, LEAF, LIST, MAP, MISSING, OBJECT, SET, Node, Rules
from ksproxyd.standalone.schema.typetable import type_node
from ksproxyd.standalone.wire.errors import FieldError, invalid_value, not_supported, required

_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_LIST_TYPES = ("atomic", "set", "map")
_MAP_TYPES = ("atomic", "granular")
_PRESERVE = "x-kubernetes-preserve-unknown-fields"
_INT_OR_STRING = "x-kubernetes-int-or-string"

#: Deeper schemas are refused.
_DEPTH = 100

_NUMBERS = {
    "minimum": "minimum",
    "maximum": "maximum",
    "multipleOf": "multiple_of",
    "minLength": "min_length",
    "maxLength": "max_length",
    "minItems": "min_items",
    "maxItems": "max_items",
    "minProperties": "min_properties",
    "maxProperties": "max_properties",
}


def root_node(schema: dict[str, Any]) -> Node:
    """The node of a custom kind's objects, from a schema that :func:`check_schema` has nothing against."""
    node = structural_node(schema)
    properties = {
        "apiVersion": Node(LEAF, "string"),
        "kind": Node(LEAF, "string"),
        "metadata": type_node("meta", "ObjectMeta"),
    }
    node.properties = {**node.properties, **properties}
    node.shape = OBJECT
    return node


def structural_node(schema: dict[str, Any]) -> Node:
    """The node of one place of a structural schema."""
    kind = schema.get("type") or ""
    if schema.get(_INT_OR_STRING):
        node = Node(LEAF, "intstr")
    elif kind == "array":
        node = Node(LIST)
        node.list_type = schema.get("x-kubernetes-list-type") or ATOMIC
        if node.list_type == KEYED:
            node.keys = tuple(schema.get("x-kubernetes-list-map-keys") or ())
        elif node.list_type != SET:
            node.list_type = ATOMIC
    elif kind == "object":
        node = _object(schema)
    elif kind:
        node = Node(LEAF, kind)
    else:
        node = Node(ANY)
    items = schema.get("items")
    if isinstance(items, dict):
        node.items = structural_node(items)
    node.preserve = bool(schema.get(_PRESERVE))
    node.nullable = bool(schema.get("nullable"))
    node.default = schema.get("default", MISSING)
    node.rules = _rules(schema)
    return node


def _object(schema: dict[str, Any]) -> Node:
    additional = schema.get("additionalProperties")
    node = Node(OBJECT if additional in (None, False) else MAP)
    if isinstance(additional, dict):
        node.additional = structural_node(additional)
    elif additional:
        node.preserve = True
    node.properties = {key: structural_node(each) for key, each in (schema.get("properties") or {}).items()}
    node.atomic = schema.get("x-kubernetes-map-type") == "atomic"
    if schema.get("x-kubernetes-embedded-resource"):
        node.embedded = True
        node.properties = {
            "apiVersion": Node(LEAF, "string"),
            "kind": Node(LEAF, "string"),
            "metadata": type_node("meta", "ObjectMeta"),
            **node.properties,
        }
    return node


def _rules(schema: dict[str, Any]) -> Rules:
    rules = Rules()
    kind = schema.get("type")
    if schema.get(_INT_OR_STRING):
        rules.types = ("integer", "string")
    elif kind:
        rules.types = (kind,)
    rules.required = tuple(schema.get("required") or ())
    if schema.get("x-kubernetes-embedded-resource"):
        rules.required = (*rules.required, *(key for key in ("apiVersion", "kind") if key not in rules.required))
    rules.enum = schema.get("enum")
    rules.format = schema.get("format") or ""
    if schema.get("pattern"):
        rules.pattern_text = schema["pattern"]
        rules.pattern = re2.compile(rules.pattern_text)
    for key, slot in _NUMBERS.items():
        setattr(rules, slot, schema.get(key))
    rules.exclusive_minimum = bool(schema.get("exclusiveMinimum"))
    rules.exclusive_maximum = bool(schema.get("exclusiveMaximum"))
    rules.unique = bool(schema.get("uniqueItems"))
    rules.all_of = tuple(map(structural_node, schema.get("allOf") or ()))
    rules.any_of = tuple(map(structural_node, schema.get("anyOf") or ()))
    rules.one_of = tuple(map(structural_node, schema.get("oneOf") or ()))
    if isinstance(schema.get("not"), dict):
        rules.negated = structural_node(schema["not"])
    return rules


def check_schema(schema: Any, field: str) -> list[FieldError]:
    """What keeps a schema from being structural, or us from serving it."""
    if not isinstance(schema, dict):
        return [required(field)]
    errors: list[FieldError] = []
    if schema.get("type") != "object":
        errors.append(invalid_value(f"{field}.type", schema.get("type") or "", "must be object at the root"))
    _check(schema, field, errors, structural=True, depth=0)
    return errors


def _check(schema: Any, field: str, errors: list[FieldError], structural: bool, depth: int) -> None:
    """``structural`` is false inside logical operators, which must not say what a value is, only what it must obey."""
    if not isinstance(schema, dict):
        errors.append(invalid_value(field, schema, "must be a schema object"))
        return
    if depth > _DEPTH:
        errors.append(invalid_value(field, "", f"must not be nested deeper than {_DEPTH}"))
        return
    kind = schema.get("type") or ""
    if kind and kind not in _TYPES:
        errors.append(not_supported(f"{field}.type", kind, list(_TYPES)))
    if structural and not kind and not schema.get(_INT_OR_STRING) and not schema.get(_PRESERVE):
        errors.append(required(f"{field}.type", "must not be empty for specified object fields"))
    if "$ref" in schema:
        errors.append(_forbidden(f"{field}.$ref", "$ref is not supported"))
    if not _sound(schema, field, errors):
        return
    _check_words(schema, kind, field, errors)
    for key, each in (schema.get("properties") or {}).items():
        _check(each, f"{field}.properties[{key}]", errors, structural, depth + 1)
    if isinstance(schema.get("additionalProperties"), dict):
        _check(schema["additionalProperties"], f"{field}.additionalProperties", errors, structural, depth + 1)
        if structural and schema.get("properties"):
            detail = "additionalProperties and properties are mutual exclusive"
            errors.append(_forbidden(f"{field}.additionalProperties", detail))
    if kind == "array" and structural and not isinstance(schema.get("items"), dict):
        errors.append(required(f"{field}.items", "must be specified"))
    elif isinstance(schema.get("items"), dict):
        _check(schema["items"], f"{field}.items", errors, structural, depth + 1)
    for word in ("allOf", "anyOf", "oneOf"):
        for index, each in enumerate(schema.get(word) or ()):
            _check(each, f"{field}.{word}[{index}]", errors, False, depth + 1)
    if "not" in schema:
        _check(schema["not"], f"{field}.not", errors, False, depth + 1)


def _check_words(schema: dict[str, Any], kind: str, field: str, errors: list[FieldError]) -> None:
    pattern = schema.get("pattern")
    if pattern:
        try:
            re2.compile(pattern)
        except re2.error as error:
            detail = f"must be a valid regular expression, but isn't: {error}"
            errors.append(invalid_value(f"{field}.pattern", pattern, detail))
    list_type = schema.get("x-kubernetes-list-type")
    if list_type is not None:
        if list_type not in _LIST_TYPES:
            errors.append(not_supported(f"{field}.x-kubernetes-list-type", list_type, list(_LIST_TYPES)))
        if kind != "array":
            errors.append(invalid_value(f"{field}.type", kind, "must be array if x-kubernetes-list-type is specified"))
        if list_type == "map" and not schema.get("x-kubernetes-list-map-keys"):
            detail = "must not be empty if x-kubernetes-list-type is map"
            errors.append(required(f"{field}.x-kubernetes-list-map-keys", detail))
    map_type = schema.get("x-kubernetes-map-type")
    if map_type is not None and map_type not in _MAP_TYPES:
        errors.append(not_supported(f"{field}.x-kubernetes-map-type", map_type, list(_MAP_TYPES)))


def _sound(schema: dict[str, Any], field: str, errors: list[FieldError]) -> bool:
    """Whether the words of a schema have values of their JSON types."""
    before = len(errors)
    for word, types, what in _SHAPES:
        value = schema.get(word)
        if value is not None and (not isinstance(value, types) or isinstance(value, bool)):
            errors.append(invalid_value(f"{field}.{word}", value, f"must be {what}"))
    for word in ("required", "x-kubernetes-list-map-keys"):
        names = schema.get(word) or ()
        if isinstance(names, list) and not all(isinstance(name, str) for name in names):
            errors.append(invalid_value(f"{field}.{word}", names, "must be a list of strings"))
    additional = schema.get("additionalProperties")
    if additional is not None and not isinstance(additional, dict | bool):
        errors.append(invalid_value(f"{field}.additionalProperties", additional, "must be a schema or a boolean"))
    return len(errors) == before


_SHAPES: list[tuple[str, Any, str]] = [
    ("properties", dict, "an object"),
    ("pattern", str, "a string"),
    ("format", str, "a string"),
    *((word, list, "a list") for word in ("required", "enum", "allOf", "anyOf", "oneOf", "x-kubernetes-list-map-keys")),
    *((word, int | float, "a number") for word in _NUMBERS),
]


def _forbidden(field: str, detail: str) -> FieldError:
    return FieldError("FieldValueForbidden", field, f"Forbidden: {detail}")
