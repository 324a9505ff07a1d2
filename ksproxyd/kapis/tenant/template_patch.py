"""JSON Patches of workspace templates (RFC 6902; spec 03, 5.4): what they touch, and what they make. Pure."""

from __future__ import annotations

from typing import Any

import jsonpatch
import msgspec
from jsonpointer import JsonPointer, JsonPointerException

from ksproxyd.model.status import StatusError, bad_request

Object = dict[str, Any]

PLACEMENT = "/spec/placement"

#: So many operations a patch may have, and so many bytes it may copy: copies of a whole into its part double it.
OPERATIONS = 1000
COPIED = 256 * 1024


def operations_of(body: Any) -> list[Object]:
    """The operations in a body. Raises a 400 for what is no JSON Patch, and for one that replaces a placement.

    An operation on placements adds or removes, and what it adds is an object: the console, and what else speaks to this
    API, say so which clusters come and go.
    """
    if not isinstance(body, list):
        raise bad_request(
            "a workspace template is changed by a JSON Patch: send an array of operations (RFC 6902), "
            'such as [{"op": "add", "path": "/metadata/labels/a", "value": "b"}]'
        )
    if len(body) > OPERATIONS:
        raise bad_request(f"the JSON Patch has more than {OPERATIONS} operations")
    for each in body:
        if not isinstance(each, dict) or not isinstance(each.get("path"), str) or not isinstance(each.get("op"), str):
            raise bad_request("an operation of a JSON Patch is an object with op and path")
        if of_placement(each) and each["op"] not in ("add", "remove"):
            raise bad_request(f"not support operation type: {each['op']} below {PLACEMENT}, use add and remove")
    return body


def of_placement(operation: Object) -> bool:
    """Whether an operation is on a placement, or a part of one, alone."""
    path: str = operation["path"]
    return path == PLACEMENT or path.startswith(PLACEMENT + "/")


def patched(value: Object, operations: list[Object]) -> Object:
    """``value`` after ``operations``; it is not changed itself. Raises a 422 for those that cannot be applied."""
    made = msgspec.json.decode(msgspec.json.encode(value))
    budget = COPIED
    try:
        for operation in operations:
            if operation["op"] == "copy":
                budget -= len(msgspec.json.encode(JsonPointer(operation["from"]).resolve(made)))
                if budget < 0:
                    raise _cannot(f"it copies more than {COPIED} bytes")
            made = jsonpatch.JsonPatch([operation]).apply(made, in_place=True)
    except (jsonpatch.JsonPatchException, JsonPointerException, LookupError, TypeError, ValueError) as error:
        raise _cannot(str(error)) from None
    if not isinstance(made, dict):
        raise _cannot("it leaves something that is not an object")
    return made


def _cannot(why: str) -> StatusError:
    return StatusError(422, "Invalid", f"the JSON Patch cannot be applied: {why}", {})
