"""What a client sends becomes an object: checked for kind and types, without unknown fields, with defaults."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from ksproxyd.model.status import StatusError, bad_request
from ksproxyd.standalone.kinds.registry import Kind, Object
from ksproxyd.standalone.schema.nodes import ANY, LEAF, LIST, MAP, Node, drop_nulls, json_type, prune, set_defaults
from ksproxyd.standalone.schema.typetable import LEAVES, type_node
from ksproxyd.standalone.wire.bodies import unrecognized
from ksproxyd.standalone.wire.errors import FieldError, invalid, invalid_value, required, shown
from ksproxyd.standalone.wire.options import IGNORE, STRICT
from ksproxyd.standalone.writing import metadata


class TypeMismatch(Exception):
    """A value of another JSON type than the field of a built-in kind has."""


def check_identity(kind: Kind, value: Object) -> None:
    """That ``value`` says it is of ``kind``. Built-in kinds need not say it; it is filled in. Raises a 400 or 422."""
    found_version, found_kind = value.get("apiVersion"), value.get("kind")
    expected = kind.group_version
    if kind.custom:
        if not found_kind:
            raise unrecognized(kind.kind, f"Object 'Kind' is missing in '{shown(value)[:100]}'")
        if found_version != expected:
            said = "" if found_version is None else found_version
            message = f"the API version in the data ({said}) does not match the expected API version ({expected})"
            raise bad_request(message)
        if found_kind != kind.kind:
            error = invalid_value("kind", found_kind, f"must be {kind.kind}")
            name = value["metadata"].get("name") if isinstance(value.get("metadata"), dict) else None
            raise invalid(str(found_kind), kind.group, str(name or ""), [error])
    elif found_version or found_kind:
        said_version, said_kind = str(found_version or expected), str(found_kind or kind.kind)
        if said_version != expected or said_kind != kind.kind:
            version = said_version.rpartition("/")[2]
            raise _unusable(said_kind, version, kind, f'it is "{said_kind}" of "{said_version}"')
    value["apiVersion"] = expected
    value["kind"] = kind.kind


def _unusable(said_kind: str, version: str, kind: Kind, why: str) -> StatusError:
    return bad_request(f'{said_kind} in version "{version}" cannot be handled as a {kind.kind}: {why}')


def admit(kind: Kind, value: Object, validation: str, warnings: list[str], as_patch: bool = False) -> Object:
    """``value`` (changed in place and returned) as an object of ``kind`` with all defaults.

    Unknown fields are removed and, as ``validation`` says, ignored, put into ``warnings`` or refused. ``as_patch``:
    the value is what a patch made, so complaints are 422 about the patch instead of 400.
    """
    if not isinstance(value.get("metadata"), dict):
        if value.get("metadata") is not None and not kind.custom:
            raise _refused(kind, value, _mismatch(value["metadata"], kind.kind, "metadata", "v1.ObjectMeta"), as_patch)
        value["metadata"] = {}
    before = shown(value) if as_patch and validation == STRICT else ""
    try:
        check_types(kind, value)
    except TypeMismatch as error:
        raise _refused(kind, value, str(error), as_patch) from None
    unknown: list[str] = []
    prune(kind.schema, value, "", unknown)
    if unknown and validation != IGNORE:
        complaints = [f'unknown field "{field}"' for field in unknown]
        if validation == STRICT:
            raise _refused(kind, before or value, f"strict decoding error: {', '.join(complaints)}", as_patch)
        warnings += complaints
    drop_nulls(kind.schema, value)
    set_defaults(kind.schema, value)
    kind.default(value)
    return value


def _refused(kind: Kind, value: Any, why: str, as_patch: bool) -> StatusError:
    if not as_patch:
        return _unusable(kind.kind, kind.version, kind, why)
    text = value if isinstance(value, str) else shown(value)
    return invalid("", "", "", [invalid_value("patch", text, why)])


_OBJECT_META = type_node("meta", "ObjectMeta")


def check_types(kind: Kind, value: Object) -> None:
    """That every known field has a value of its type. Raises :class:`TypeMismatch`.

    For custom kinds only the metadata is checked here; the rest is validation's.
    """
    if kind.custom:
        _check_types(_OBJECT_META, value["metadata"], "", "ObjectMeta")
    else:
        _check_types(kind.schema, value, "", kind.kind)


def _check_types(node: Node, value: Any, path: str, owner: str) -> None:
    if value is None or node.shape == ANY:
        return
    if node.shape == LEAF:
        if not _fits(node.kind, value):
            raise TypeMismatch(_mismatch(value, owner, path, LEAVES[node.kind]))
        if node.kind == "bytes":
            _check_base64(value)
    elif node.shape == LIST:
        if not isinstance(value, list):
            raise TypeMismatch(_mismatch(value, owner, path, "slice"))
        if node.items is not None:
            for each in value:
                _check_types(node.items, each, path, owner)
    elif not isinstance(value, dict):
        raise TypeMismatch(_mismatch(value, owner, path, "map" if node.shape == MAP else node.name))
    else:
        for key, each in value.items():
            child = node.properties.get(key)
            if child is not None:
                _check_types(child, each, f"{path}.{key}" if path else key, node.name or owner)
            elif node.additional is not None:
                _check_types(node.additional, each, path, owner)


_FITTING: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "bytes": (str,),
    "time": (str,),
    "microtime": (str,),
    "bool": (bool,),
    "int32": (int,),
    "int64": (int,),
    "number": (int, float),
    "intstr": (int, str),
    "quantity": (int, float, str),
}


def _fits(kind: str, value: Any) -> bool:
    if isinstance(value, bool):
        return kind == "bool"
    if kind == "int32" and isinstance(value, int):
        return -(2**31) <= value < 2**31
    return isinstance(value, _FITTING[kind])


def _mismatch(value: Any, owner: str, path: str, wanted: str) -> str:
    found = {"boolean": "bool", "integer": "number"}.get(json_type(value), json_type(value))
    return f"json: cannot unmarshal {found} into Go struct field {owner}.{path} of type {wanted}"


def _check_base64(value: str) -> None:
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise TypeMismatch("illegal base64 data") from None


def check_object(kind: Kind, value: Object, old: Object | None) -> list[FieldError]:
    """Everything that is wrong with a complete object; ``old`` is what it replaces, None when it is created."""
    errors = metadata.check(kind, value["metadata"])
    if old is not None:
        errors += metadata.check_change(old["metadata"], value["metadata"])
    if not kind.custom:
        _check_required(kind.schema, {key: each for key, each in value.items() if key != "status"}, "", errors)
    seen = {error.field for error in errors}
    errors += [error for error in kind.check(value) if error.field not in seen or error.reason != "FieldValueRequired"]
    if old is not None:
        errors += kind.check_update(value, old)
    return errors


def _check_required(node: Node, value: Any, path: str, errors: list[FieldError]) -> None:
    if isinstance(value, dict):
        for key in node.required:
            if value.get(key) is None and f"{path}.{key}".lstrip(".") not in _OPTIONAL:
                errors.append(required(f"{path}.{key}" if path else key))
        for key, each in value.items():
            child = node.child(key)
            if child is not None and key != "metadata":
                _check_required(child, each, f"{path}.{key}" if path else key, errors)
    elif isinstance(value, list) and node.items is not None:
        for index, each in enumerate(value):
            _check_required(node.items, each, f"{path}[{index}]", errors)


#: Required by the published types, yet kube-apiserver does without.
_OPTIONAL = ("metadata", "endpoints", "spec.template", "spec.jobTemplate", "spec.limits")
