"""What the API says when it refuses, in the words and shapes of kube-apiserver.

``kubectl`` and controllers read these: the reason decides what they do next, the message is shown as it is, the
causes of a 422 point at fields.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ksproxyd.model.status import StatusError

_json = msgspec.json.Encoder()


def shown(value: Any) -> str:
    """``value`` as an error message shows it: JSON."""
    return _json.encode(value).decode()


class FieldError(msgspec.Struct, frozen=True):
    """One thing that is wrong with one field: a cause of a 422.

    ``field`` is the path as in ``spec.ports[0].name``; ``message`` begins with what kind of error it is.
    """

    reason: str
    field: str
    message: str

    def cause(self) -> dict[str, str]:
        return {"reason": self.reason, "message": self.message, "field": self.field}


def required(field: str, detail: str = "") -> FieldError:
    """The field must be given."""
    return FieldError("FieldValueRequired", field, _join("Required value", detail))


def invalid_value(field: str, value: Any, detail: str) -> FieldError:
    """The field's value cannot be."""
    return FieldError("FieldValueInvalid", field, _join(f"Invalid value: {shown(value)}", detail))


def wrong_type(field: str, found: str, detail: str) -> FieldError:
    """The field's value is of another JSON type (or format) than the schema says."""
    return FieldError("FieldValueTypeInvalid", field, _join(f"Invalid value: {shown(found)}", detail))


def not_supported(field: str, value: Any, supported: list[str]) -> FieldError:
    """The field's value is not one of those there are."""
    values = ", ".join(shown(each) for each in supported)
    return FieldError("FieldValueNotSupported", field, f"Unsupported value: {shown(value)}: supported values: {values}")


def duplicate(field: str, value: Any) -> FieldError:
    """The value stands in the list already."""
    return FieldError("FieldValueDuplicate", field, f"Duplicate value: {shown(value)}")


def too_long(field: str, limit: int) -> FieldError:
    """The text has more than ``limit`` bytes."""
    return FieldError("FieldValueTooLong", field, f"Too long: may not be more than {limit} bytes")


def too_many(field: str, count: int, limit: int) -> FieldError:
    """The list or map has more than ``limit`` entries."""
    noun = "item" if limit == 1 else "items"
    return FieldError("FieldValueTooMany", field, f"Too many: {count}: must have at most {limit} {noun}")


def forbidden_field(field: str, detail: str) -> FieldError:
    """The field may not be set or changed."""
    return FieldError("FieldValueForbidden", field, _join("Forbidden", detail))


def _join(what: str, detail: str) -> str:
    return f"{what}: {detail}" if detail else what


def qualified(resource: str, group: str) -> str:
    """``deployments.apps``, or just ``pods`` in the core group."""
    return f"{resource}.{group}" if group else resource


def details(name: str, group: str, kind: str, causes: list[dict[str, str]] | None = None) -> dict[str, Any]:
    """The ``details`` of a Status, without what is empty."""
    found: dict[str, Any] = {"name": name, "group": group, "kind": kind, "causes": causes}
    return {key: value for key, value in found.items() if value}


def invalid(kind: str, group: str, name: str, errors: list[FieldError]) -> StatusError:
    """422 for an object (or options) of ``kind`` whose fields are wrong."""
    texts = [f"{error.field}: {error.message}" for error in errors]
    text = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    causes = [error.cause() for error in errors]
    message = f'{qualified(kind, group)} "{name}" is invalid: {text}'
    return StatusError(422, "Invalid", message, details(name, group, kind, causes))


def invalid_options(kind: str, errors: list[FieldError]) -> StatusError:
    """422 for wrong query parameters or delete options."""
    return invalid(kind, "meta.k8s.io", "", errors)


def no_such_object(resource: str, group: str, name: str) -> StatusError:
    """404 for an object."""
    message = f'{qualified(resource, group)} "{name}" not found'
    return StatusError(404, "NotFound", message, details(name, group, resource))


def no_such_resource() -> StatusError:
    """404 for a path below a group and version that exist."""
    return StatusError(404, "NotFound", "the server could not find the requested resource", {})


def already_exists(resource: str, group: str, name: str) -> StatusError:
    """409 for a create."""
    message = f'{qualified(resource, group)} "{name}" already exists'
    return StatusError(409, "AlreadyExists", message, details(name, group, resource))


def conflict(resource: str, group: str, name: str, why: str) -> StatusError:
    """409 for a write that was made from another state than there is."""
    message = f'Operation cannot be fulfilled on {qualified(resource, group)} "{name}": {why}'
    return StatusError(409, "Conflict", message, details(name, group, resource))


#: Why a write with an old resourceVersion conflicts.
MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


def forbidden(resource: str, group: str, name: str, why: str, cause: FieldError | None = None) -> StatusError:
    """403 for what the state of the cluster (not a lack of rights) forbids."""
    message = f'{qualified(resource, group)} "{name}" is forbidden: {why}'
    causes = None if cause is None else [cause.cause()]
    return StatusError(403, "Forbidden", message, details(name, group, resource, causes))


def method_not_allowed() -> StatusError:
    """405 for a verb that the resource does not have."""
    message = "the server does not allow this method on the requested resource"
    return StatusError(405, "MethodNotAllowed", message, {})


def unsupported_media_type(accepted: tuple[str, ...]) -> StatusError:
    """415 for a request body of a type that is not among ``accepted``."""
    types = ", ".join(accepted)
    message = f"the body of the request was in an unknown format - accepted media types include: {types}"
    return StatusError(415, "UnsupportedMediaType", message)


def not_acceptable(available: tuple[str, ...]) -> StatusError:
    """406 for an ``Accept`` that none of ours satisfies."""
    message = f"only the following media types are accepted: {', '.join(available)}"
    return StatusError(406, "NotAcceptable", message)


def too_large_resource_version(asked: int, current: int) -> StatusError:
    """504 for a resourceVersion that is yet to come."""
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    message = f"Timeout: Too large resource version: {asked}, current: {current}"
    return StatusError(504, "Timeout", message, {"causes": [cause]}, retry_after=1)


def expired_resource_version(asked: int, oldest: int) -> StatusError:
    """410 for a watch from a resourceVersion whose events are forgotten."""
    return StatusError(410, "Expired", f"too old resource version: {asked} ({oldest})")
