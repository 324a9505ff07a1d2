"""The other patch types: JSON merge patch (RFC 7386) and JSON patch (RFC 6902)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jsonpatch
import msgspec
from jsonpointer import JsonPointer, JsonPointerException

from ksproxyd.model.status import StatusError, bad_request
from ksproxyd.standalone.kinds.registry import Kind
from ksproxyd.standalone.schema.nodes import copied
from ksproxyd.standalone.wire import bodies
from ksproxyd.standalone.wire.bodies import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH
from ksproxyd.standalone.wire.errors import unsupported_media_type
from ksproxyd.standalone.wire.request import Request
from ksproxyd.standalone.writing.strategic import strategic_merge

#: A JSON patch has at most this many operations, and copies at most this many bytes.
OPERATIONS = 10_000
COPIED = 3 * 1024 * 1024

Change = Callable[[dict[str, Any]], dict[str, Any]]


def patch_type(request: Request, kind: Kind) -> str:
    """The media type of a patch. 415 unless the kind takes it; custom kinds have no strategic merge patch."""
    accepted: tuple[str, ...] = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH)
    if kind.custom:
        accepted = (JSON_PATCH, MERGE_PATCH, APPLY_PATCH)
    media = bodies.content_type(request)
    if media not in accepted:
        raise unsupported_media_type(accepted)
    return media


def change(request: Request, kind: Kind, media: str) -> Change:
    """The function that a patch (other than apply) is. 400 for a body that is not such a patch."""
    try:
        patch = bodies.decode(request)
    except ValueError as error:
        raise bad_request(f"error decoding patch: {error}") from None
    if media == JSON_PATCH:
        if not isinstance(patch, list) or not all(isinstance(operation, dict) for operation in patch):
            raise bad_request("error decoding patch: a JSON patch is a list of operations")
        if len(patch) > OPERATIONS:
            message = f"The allowed maximum operations in a JSON patch is {OPERATIONS}, got {len(patch)}"
            raise StatusError(413, "RequestEntityTooLarge", message)
        return lambda value: json_patch(value, patch)
    if not isinstance(patch, dict):
        raise bad_request("error decoding patch: a merge patch is an object")
    if media == STRATEGIC_PATCH:
        return lambda value: strategic_merge(kind.schema, value, patch)
    return lambda value: merge_patch(value, patch)


def merge_patch(value: Any, patch: Any) -> Any:
    """``value`` with an RFC 7386 patch applied; a new value."""
    if not isinstance(patch, dict):
        return copied(patch)
    merged = dict(value) if isinstance(value, dict) else {}
    for key, each in patch.items():
        if each is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), each)
    return merged


def json_patch(value: dict[str, Any], operations: list[dict[str, Any]]) -> dict[str, Any]:
    """``value`` with an RFC 6902 patch applied; a new value. 422 if an operation cannot be applied."""
    patched: Any = copied(value)
    budget = COPIED
    try:
        # All of them, before any is applied.
        jsonpatch.JsonPatch(operations)
        for operation in operations:
            if operation["op"] == "copy":
                # A few copies of a whole into its part double a document to any size.
                budget -= len(msgspec.json.encode(JsonPointer(operation["from"]).resolve(patched)))
                if budget < 0:
                    raise StatusError(413, "RequestEntityTooLarge", f"the JSON patch copies more than {COPIED} bytes")
            step = {**operation, "op": "add"} if _replaces_nothing(patched, operation) else operation
            patched = jsonpatch.JsonPatch([step]).apply(patched, in_place=True)
    except (jsonpatch.JsonPatchException, JsonPointerException, KeyError, TypeError) as error:
        raise StatusError(422, "Invalid", f"the JSON patch cannot be applied: {error}", {}) from None
    if not isinstance(patched, dict):
        raise StatusError(422, "Invalid", "the JSON patch leaves something that is not an object", {})
    return patched


def _replaces_nothing(value: Any, operation: dict[str, Any]) -> bool:
    """Whether a ``replace`` is of a member that is not there, which kube-apiserver lets pass."""
    if operation["op"] != "replace":
        return False
    part, key = JsonPointer(operation["path"]).to_last(value)
    return isinstance(part, dict) and key is not None and key not in part
