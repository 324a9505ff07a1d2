"""Strategic merge patch: RFC 7386 with lists that are merged by key, and directives.

Which lists are merged, and by which key, the type tables say. Directives are ``$patch`` (``replace``, ``delete``,
``merge``), ``$retainKeys``, ``$deleteFromPrimitiveList/FIELD`` and ``$setElementOrder/FIELD``.
"""

from __future__ import annotations

from typing import Any

from ksproxyd.model.status import bad_request
from ksproxyd.standalone.schema.nodes import ANY, LIST, Node, copied

_PATCH = "$patch"
_RETAIN = "$retainKeys"
_DELETE_FROM = "$deleteFromPrimitiveList/"
_ORDER = "$setElementOrder/"

_UNKNOWN = Node(ANY)


def strategic_merge(node: Node, value: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """``value`` with ``patch`` applied; a new value. 400 for a patch that makes no sense for the schema."""
    directive = patch.get(_PATCH)
    if directive == "replace":
        return _plain({key: each for key, each in patch.items() if key != _PATCH})
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise bad_request(f"unknown directive in a patch: {_PATCH}: {directive}")
    merged = dict(value)
    for key, each in patch.items():
        if key in (_PATCH, _RETAIN) or key.startswith(_ORDER):
            continue
        if key.startswith(_DELETE_FROM):
            field = key.removeprefix(_DELETE_FROM)
            if isinstance(merged.get(field), list) and isinstance(each, list):
                merged[field] = [item for item in merged[field] if item not in each]
            continue
        child = node.child(key) or _UNKNOWN
        if each is None:
            merged.pop(key, None)
        elif isinstance(each, dict):
            present = merged.get(key)
            merged[key] = strategic_merge(child, present if isinstance(present, dict) else {}, each)
        elif isinstance(each, list) and child.shape == LIST and child.merge:
            present = merged.get(key)
            before = present if isinstance(present, list) else []
            merged[key] = _merge_list(child, before, each, patch.get(_ORDER + key), key)
        else:
            merged[key] = _plain(each)
    for key, order in patch.items():
        if key.startswith(_ORDER) and key.removeprefix(_ORDER) not in patch:
            _reorder(node, merged, key.removeprefix(_ORDER), order)
    if _RETAIN in patch:
        if not isinstance(patch[_RETAIN], list):
            raise bad_request(f"{_RETAIN} in a patch is a list of field names")
        return {key: each for key, each in merged.items() if key in patch[_RETAIN]}
    return merged


def _merge_list(node: Node, before: list[Any], patch: list[Any], order: Any, field: str) -> list[Any]:
    if not node.merge_key:
        new = [item for item in patch if item not in before]
        return _ordered([*before, *new], before, order if isinstance(order, list) else patch, "")
    key = node.merge_key
    items = node.items or _UNKNOWN
    entries = []
    replace = False
    for entry in patch:
        if not isinstance(entry, dict):
            raise bad_request(f"an element of {field} in the patch is not an object; the list is merged by {key}")
        if entry.get(_PATCH) == "replace" and key not in entry:
            replace = True
        else:
            entries.append(entry)
            if key not in entry:
                raise bad_request(f"map: {entry} does not contain declared merge key: {key}")
    if replace:
        return [_plain(entry) for entry in entries]
    merged = list(before)
    for entry in entries:
        place = next((i for i, item in enumerate(merged) if _name(item, key) == entry[key]), None)
        if entry.get(_PATCH) == "delete":
            merged = [item for item in merged if _name(item, key) != entry[key]]
        elif place is None:
            merged.append(strategic_merge(items, {}, entry))
        else:
            merged[place] = strategic_merge(items, merged[place], entry)
    return _ordered(merged, before, order if isinstance(order, list) else entries, key)


def _name(item: Any, key: str) -> Any:
    """What tells an element from others: its key's value, itself in a list of scalars."""
    if not key:
        return item
    return item.get(key) if isinstance(item, dict) else None


def _ordered(merged: list[Any], before: list[Any], order: list[Any], key: str) -> list[Any]:
    """``merged`` with the elements that ``order`` names in that order, the others where they stood among those."""
    wanted = [_name(entry, key) for entry in order]
    named = sorted((i for i in merged if _name(i, key) in wanted), key=lambda item: wanted.index(_name(item, key)))
    others = [item for item in merged if _name(item, key) not in wanted]
    stood = [_name(item, key) for item in before]
    result: list[Any] = []
    while named and others:
        left, right = _name(others[0], key), _name(named[0], key)
        first = left in stood and right in stood and stood.index(left) < stood.index(right)
        result.append((others if first else named).pop(0))
    return [*result, *named, *others]


def _reorder(node: Node, merged: dict[str, Any], field: str, order: Any) -> None:
    child = node.child(field)
    present = merged.get(field)
    if child is not None and child.merge and isinstance(present, list) and isinstance(order, list):
        merged[field] = _ordered(present, present, order, child.merge_key)


def _plain(value: Any) -> Any:
    """A value of a patch that replaces what was there: without nulls in objects and without directives."""
    if isinstance(value, dict):
        return {
            key: _plain(each)
            for key, each in value.items()
            if each is not None and key not in (_PATCH, _RETAIN) and not key.startswith((_ORDER, _DELETE_FROM))
        }
    return [_plain(each) for each in value] if isinstance(value, list) else copied(value)
