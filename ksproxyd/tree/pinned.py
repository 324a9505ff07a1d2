"""Having a write do what was looked at, and nothing else: it succeeds on the version that was looked at only.

Whoever sends a version with a write means it, too: another one than that is a conflict at once.
"""

from __future__ import annotations

from typing import Any

from ksproxyd.model.status import StatusError, bad_request, conflict
from ksproxyd.state.store import Object

MERGE, JSON_PATCH = b"application/merge-patch+json", b"application/json-patch+json"
STRATEGIC, APPLY = b"application/strategic-merge-patch+json", b"application/apply-patch+yaml"

_VERSION = "resourceVersion"
# Directives of a strategic merge patch that are about the mapping they are in: they could take the version out again.
_DIRECTIVES = frozenset(["$patch", "$retainKeys"])


def pinned(media: bytes, value: Any, version: str, what: str) -> Any:
    """``value``, a body of the type ``media``, bound to ``version``; a whole object for any other type.

    Raises :class:`StatusError`: 409 for one that is bound to another version, 400 for what cannot be bound. ``what`` is
    what messages call the object.
    """
    if media == JSON_PATCH:
        if not isinstance(value, list):
            raise bad_request("a JSON patch is a list of operations")
        # The rest of the patch is applied to that version or not at all.
        return [{"op": "test", "path": f"/metadata/{_VERSION}", "value": version}, *value]
    if not isinstance(value, dict):
        raise bad_request("the body is not an object")
    metadata = value.get("metadata", {})
    if not isinstance(metadata, dict):
        raise bad_request("metadata is not an object")
    if media == STRATEGIC and (_DIRECTIVES & value.keys() or _DIRECTIVES & metadata.keys()):
        raise bad_request("$patch and $retainKeys are not taken at the top of an object or in its metadata here")
    given = metadata.get(_VERSION)
    # No version, and versions that are nothing, mean whichever there is.
    if isinstance(given, str) and given.strip("0") and given != version:
        raise modified(what)
    return {**value, "metadata": {**metadata, _VERSION: version}}


def is_pinned(media: bytes, value: Any) -> bool:
    """Whether a client has bound a write to a version by itself, so that it is not for us to try another."""
    if media == JSON_PATCH:
        return isinstance(value, list) and any(_VERSION in str(each) for each in value)
    metadata = value.get("metadata") if isinstance(value, dict) else None
    return isinstance(metadata, dict) and bool(metadata.get(_VERSION))


def version_of(value: Object) -> str:
    """The version of an object that came from the server."""
    return str(value["metadata"][_VERSION])


def modified(what: str) -> StatusError:
    """The conflict, in Kubernetes' words."""
    why = "the object has been modified; please apply your changes to the latest version and try again"
    return conflict(f"Operation cannot be fulfilled on {what}: {why}")
