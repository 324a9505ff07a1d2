"""Objects as they come in and go out: bodies, names, who made them, and errors in Kubernetes' words (spec 03, 5)."""

from __future__ import annotations

from typing import Any

from ksproxyd.kapis.bodies import media_type, read_json, unsupported_media_type
from ksproxyd.kapis.iam.user_objects import merged
from ksproxyd.kube.errors import KubeError
from ksproxyd.kube.resource import Resource
from ksproxyd.model.message import Response
from ksproxyd.model.status import StatusError, bad_request, not_found
from ksproxyd.server.exchange import Exchange
from ksproxyd.state.validation import field, text

Object = dict[str, Any]

CREATOR = "kubesphere.io/creator"

#: Says that controllers have given a workspace or namespace its roles; without it they do so again (spec 03, 3.6).
INITIALISED = "kubesphere.io/cascading-deletion"

_JSON = b"application/json"
_PATCHES = (_JSON, b"application/merge-patch+json", b"application/json-patch+json")
_SERVER_SIDE = ("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink")


# -- bodies ------------------------------------------------------------------------------------------------------


async def read_body(exchange: Exchange) -> Any:
    """The JSON in the body. A body without its type is a 400 here, as it always was."""
    if media_type(exchange) not in _PATCHES:
        given = media_type(exchange).decode("latin-1")
        raise bad_request(f"Unable to unmarshal content of type:{given} (send the body as application/json)")
    return await _decoded(exchange)


async def read_patch(exchange: Exchange) -> Any:
    """The JSON of a patch, whatever kind of patch it says that it is. Another type, and none, is a 415."""
    if media_type(exchange) not in _PATCHES:
        raise unsupported_media_type(b", ".join(_PATCHES).decode())
    return await _decoded(exchange)


async def _decoded(exchange: Exchange) -> Any:
    exchange.fields.replace(b"Content-Type", _JSON)
    return await read_json(exchange)


def object_of(body: Any, resource: Resource) -> Object:
    """``body`` as an object of this resource: parts have the shapes they must have, kind and version are filled in.

    Raises a 400.
    """
    if not isinstance(body, dict):
        raise bad_request("the body is not a JSON object")
    for key, wanted in (("kind", resource.kind), ("apiVersion", resource.api_version)):
        if body.get(key) not in (None, "", wanted):
            raise bad_request(f"{key} of the body is not {wanted}")
    for path in (("metadata",), ("metadata", "labels"), ("metadata", "annotations"), ("spec",)):
        found = field(body, *path)
        if found is not None and not isinstance(found, dict):
            raise bad_request(f"{'.'.join(path)} of the body is not a JSON object")
    name = field(body, "metadata", "name")
    if name is not None and not isinstance(name, str):
        raise bad_request("metadata.name of the body is not text")
    return {**body, "kind": resource.kind, "apiVersion": resource.api_version, "metadata": body.get("metadata") or {}}


def check_name(value: Object, name: str) -> None:
    """Raises a 400 unless an object has the name that is on the URL."""
    named = text(value, "metadata", "name")
    if named != name:
        raise bad_request(f"the name of the object ({named}) does not match the name on the URL ({name})")


# -- parts of objects --------------------------------------------------------------------------------------------


def with_metadata(value: Object, **parts: Any) -> Object:
    """``value`` with these parts of its metadata."""
    return {**value, "metadata": {**value["metadata"], **parts}}


def with_label(value: Object, key: str, label: str) -> Object:
    """``value`` with a label."""
    return with_metadata(value, labels={**(field(value, "metadata", "labels") or {}), key: label})


def with_creator(value: Object, creator: str) -> Object:
    """``value`` with a note of who made it."""
    annotations = field(value, "metadata", "annotations") or {}
    return with_metadata(value, annotations={**annotations, CREATOR: creator})


def of_same_object(old: Object, new: Object) -> Object:
    """``new``, which is written only as long as ``old`` is what has its name, unless it says of what it is itself."""
    return new if text(new, "metadata", "uid") else with_metadata(new, uid=text(old, "metadata", "uid"))


def as_new(value: Object) -> Object:
    """``value`` without what only the server says of objects."""
    metadata = {key: each for key, each in value["metadata"].items() if key not in _SERVER_SIDE}
    return {key: each for key, each in {**value, "metadata": metadata}.items() if key != "status"}


def creator_of(value: Object) -> str:
    """Who an object says it was made by."""
    return text(value, "metadata", "annotations", CREATOR)


def made_again(old: Object, new: Object) -> bool:
    """Whether controllers would take ``new`` for just made, or for somebody else's, and ``old`` not (D6, D18)."""
    if creator_of(old) != creator_of(new):
        return True
    return INITIALISED in _finalizers(old) and INITIALISED not in _finalizers(new)


def _finalizers(value: Object) -> list[Any]:
    found = field(value, "metadata", "finalizers")
    return found if isinstance(found, list) else []


def after_merge(old: Object, patch: Object) -> Object:
    """What a merge patch makes of ``old``."""
    return merged(old, patch)


# -- answers -----------------------------------------------------------------------------------------------------

SUCCESS = {"message": "success"}


def created(value: Object) -> Response:
    """What was made. Kind and version are left out there, as they always were."""
    return Response.json(200, {key: each for key, each in value.items() if key not in ("kind", "apiVersion")})


def missing(resource: Resource, name: str) -> StatusError:
    """The 404 for what is not there: it is called by its kind."""
    called = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    return not_found(f'{called} "{name}" not found', _details(resource, name))


def foreign(resource: Resource, name: str) -> StatusError:
    """The 404 for what is there, but not in this workspace: it is called by its resource, in the singular."""
    singular = resource.kind.lower()
    called = f"{singular}.{resource.group}" if resource.group else singular
    return not_found(f'{called} "{name}" not found', _details(resource, name))


def _details(resource: Resource, name: str) -> dict[str, str]:
    found = {"name": name, "group": resource.group, "kind": resource.plural}
    return {key: value for key, value in found.items() if value}


def passed_on(error: KubeError) -> StatusError:
    """What Kubernetes said, with its code (D28)."""
    details = error.status_object.get("details")
    wait = None if error.retry_after is None else max(1, round(error.retry_after))
    return StatusError(
        error.code, error.reason, error.message, details if isinstance(details, dict) else None, retry_after=wait
    )
