"""Objects of custom kinds checked against their schema, with kube-apiserver's words for what is wrong."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from datetime import date, datetime
from typing import Any

import msgspec

from ksproxyd.standalone.schema.nodes import KEYED, SET, Node, Rules, json_type
from ksproxyd.standalone.wire.errors import (
    FieldError,
    duplicate,
    invalid_value,
    not_supported,
    required,
    shown,
    too_long,
    too_many,
    wrong_type,
)


def validate(node: Node, value: Any, path: str = "") -> list[FieldError]:
    """What is wrong with ``value``; ``path`` is where it stands."""
    errors: list[FieldError] = []
    _validate(node, value, path, errors)
    return errors


def _validate(node: Node, value: Any, path: str, errors: list[FieldError]) -> None:
    rules = node.rules
    if value is None and node.nullable:
        return
    if rules is not None:
        _apply(rules, value, path, errors)
    if isinstance(value, dict):
        for key, each in value.items():
            child = node.child(key)
            if child is not None:
                _validate(child, each, f"{path}.{key}" if path else key, errors)
    elif isinstance(value, list) and node.items is not None:
        for index, each in enumerate(value):
            _validate(node.items, each, f"{path}[{index}]", errors)
        if node.list_type in (SET, KEYED):
            _check_elements(node, value, path, errors)


def _check_elements(node: Node, values: list[Any], path: str, errors: list[FieldError]) -> None:
    seen: set[bytes] = set()
    for index, value in enumerate(values):
        where = f"{path}[{index}]"
        if node.list_type == KEYED:
            if not isinstance(value, dict):
                errors.append(invalid_value(where, value, "must be an object for an array of list-type map"))
                continue
            value = {key: value[key] for key in node.keys if key in value}
            if not value:
                continue
        name = msgspec.json.encode(value, order="sorted")
        if name in seen:
            errors.append(duplicate(where, value))
        seen.add(name)


def _apply(rules: Rules, value: Any, path: str, errors: list[FieldError]) -> None:
    found = json_type(value)
    if rules.types and not _is(found, rules.types):
        wanted = ",".join(rules.types)
        errors.append(wrong_type(path, found, f"{path} in body must be of type {wanted}: {shown(found)}"))
        if rules.enum is not None and value not in rules.enum:
            errors.append(_unsupported(rules, value, path))
        return
    if rules.enum is not None and value not in rules.enum:
        errors.append(_unsupported(rules, value, path))
    if isinstance(value, str):
        _check_string(rules, value, path, errors)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        _check_number(rules, value, path, errors)
    elif isinstance(value, list):
        _check_list(rules, value, path, errors)
    elif isinstance(value, dict):
        _check_object(rules, value, path, errors)
    if rules.all_of or rules.any_of or rules.one_of or rules.negated is not None:
        _check_logic(rules, value, path, errors)


def _is(found: str, types: tuple[str, ...]) -> bool:
    return found in types or (found == "integer" and "number" in types)


def _unsupported(rules: Rules, value: Any, path: str) -> FieldError:
    supported = [each if isinstance(each, str) else shown(each) for each in rules.enum or ()]
    return not_supported(path, value, supported)


def _wrong(path: str, value: Any, detail: str) -> FieldError:
    return invalid_value(path, value, f"{path} in body {detail}")


def _check_string(rules: Rules, value: str, path: str, errors: list[FieldError]) -> None:
    if rules.max_length is not None and len(value) > rules.max_length:
        errors.append(too_long(path, rules.max_length))
    if rules.min_length is not None and len(value) < rules.min_length:
        errors.append(_wrong(path, value, f"should be at least {rules.min_length} chars long"))
    if rules.pattern is not None and not rules.pattern.search(value):
        errors.append(_wrong(path, value, f"should match '{rules.pattern_text}'"))
    check = FORMATS.get(rules.format)
    if check is not None and not check(value):
        errors.append(wrong_type(path, value, f"{path} in body must be of type {rules.format}: {shown(value)}"))


def _check_number(rules: Rules, value: float, path: str, errors: list[FieldError]) -> None:
    low, high, unit = rules.minimum, rules.maximum, rules.multiple_of
    if low is not None and (value < low or (rules.exclusive_minimum and value == low)):
        bound = "greater than" if rules.exclusive_minimum else "greater than or equal to"
        errors.append(_wrong(path, value, f"should be {bound} {shown(low)}"))
    if high is not None and (value > high or (rules.exclusive_maximum and value == high)):
        bound = "less than" if rules.exclusive_maximum else "less than or equal to"
        errors.append(_wrong(path, value, f"should be {bound} {shown(high)}"))
    if unit and abs(value / unit - round(value / unit)) > 1e-9:
        errors.append(_wrong(path, value, f"should be a multiple of {shown(unit)}"))


def _check_list(rules: Rules, value: list[Any], path: str, errors: list[FieldError]) -> None:
    if rules.max_items is not None and len(value) > rules.max_items:
        errors.append(too_many(path, len(value), rules.max_items))
    if rules.min_items is not None and len(value) < rules.min_items:
        errors.append(_wrong(path, len(value), f"should have at least {rules.min_items} items"))
    if rules.unique and len({msgspec.json.encode(each, order="sorted") for each in value}) < len(value):
        errors.append(_wrong(path, value, "shouldn't contain duplicates"))


def _check_object(rules: Rules, value: dict[str, Any], path: str, errors: list[FieldError]) -> None:
    for key in rules.required:
        if key not in value:
            errors.append(required(f"{path}.{key}" if path else key))
    if rules.max_properties is not None and len(value) > rules.max_properties:
        errors.append(too_many(path, len(value), rules.max_properties))
    if rules.min_properties is not None and len(value) < rules.min_properties:
        errors.append(_wrong(path, len(value), f"should have at least {rules.min_properties} properties"))


def _check_logic(rules: Rules, value: Any, path: str, errors: list[FieldError]) -> None:
    for node in rules.all_of:
        _validate(node, value, path, errors)
    if rules.any_of and all(validate(node, value, path) for node in rules.any_of):
        errors.append(_logical(path, value, "must validate at least one schema (anyOf)"))
    if rules.one_of:
        valid = sum(not validate(node, value, path) for node in rules.one_of)
        if valid != 1:
            found = f"{valid} valid alternatives" if valid else "none valid"
            errors.append(_logical(path, value, f"must validate one and only one schema (oneOf). Found {found}"))
    if rules.negated is not None and not validate(rules.negated, value, path):
        errors.append(_logical(path, value, "must not validate the schema (not)"))


def _logical(path: str, value: Any, detail: str) -> FieldError:
    return invalid_value(path, "" if isinstance(value, dict | list) else value, f"{shown(path)} {detail}")


# -- formats ---------------------------------------------------------------------------------------------------

_UUID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", re.IGNORECASE)
_HOST_PART = "[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"(?=.{{1,253}}\Z){_HOST_PART}(\.{_HOST_PART})*")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
_DURATION = re.compile(r"[-+]?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h|d|w))+|0")
_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[-+]\d\d:\d\d)", re.ASCII)


def _passes(check: Any, *wrong: type[Exception]) -> Any:
    def passes(text: str) -> bool:
        try:
            check(text)
        except wrong:
            return False
        return True

    return passes


def _is_date_time(text: str) -> bool:
    return bool(_DATE_TIME.fullmatch(text)) and _passes(datetime.fromisoformat, ValueError)(text.upper())


#: Checks of the formats that are enforced; others are taken as comments.
FORMATS = {
    "byte": _passes(lambda text: base64.b64decode(text, validate=True), binascii.Error, ValueError),
    "cidr": _passes(lambda text: ipaddress.ip_network(text, strict=False), ValueError),
    "date": _passes(date.fromisoformat, ValueError),
    "date-time": _is_date_time,
    "datetime": _is_date_time,
    "duration": lambda text: bool(_DURATION.fullmatch(text)),
    "email": lambda text: bool(_EMAIL.fullmatch(text)),
    "hostname": lambda text: bool(_HOST.fullmatch(text)),
    "ipv4": _passes(ipaddress.IPv4Address, ValueError),
    "ipv6": _passes(ipaddress.IPv6Address, ValueError),
    "uuid": lambda text: bool(_UUID.fullmatch(text)),
}
