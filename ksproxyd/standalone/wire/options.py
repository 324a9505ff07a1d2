"""Query parameters of writes, and the options of deletes, checked as kube-apiserver checks them."""

from __future__ import annotations

from typing import Any

import msgspec

from ksproxyd.model.status import bad_request
from ksproxyd.standalone.schema.typetable import type_node
from ksproxyd.standalone.wire import bodies
from ksproxyd.standalone.wire.errors import (
    FieldError,
    forbidden_field,
    invalid_options,
    invalid_value,
    not_supported,
    required,
    too_long,
)
from ksproxyd.standalone.wire.request import Request

MANAGER_LIMIT = 128

STRICT = "Strict"
WARN = "Warn"
IGNORE = "Ignore"


class WriteOptions(msgspec.Struct, frozen=True):
    """How to write: pretend only, who owns the fields, what to do about unknown ones."""

    dry_run: bool = False
    manager: str = ""
    validation: str = WARN
    force: bool = False

    @property
    def strict(self) -> bool:
        return self.validation == STRICT


def write_options(request: Request, kind: str, patch_type: str = "") -> WriteOptions:
    """The options of a create, update or patch; ``kind`` names them (``CreateOptions``…). Raises a 422."""
    errors: list[FieldError] = []
    dry_run = _dry_run(request.query.get("dryRun", []), errors)
    manager = request.parameter("fieldManager")
    apply = patch_type == bodies.APPLY_PATCH
    if len(manager.encode()) > MANAGER_LIMIT:
        errors.append(too_long("fieldManager", MANAGER_LIMIT))
    elif not manager.isprintable():
        errors.append(invalid_value("fieldManager", manager, "should only contain printable characters"))
    elif apply and not manager:
        errors.append(required("fieldManager", "is required for apply patch"))
    force = request.parameter("force")
    if force and kind == "PatchOptions" and not apply:
        errors.append(forbidden_field("force", "may not be specified for non-apply patch"))
    validation = request.parameter("fieldValidation")
    if validation not in ("", IGNORE, STRICT, WARN):
        errors.append(not_supported("fieldValidation", validation, ["", IGNORE, STRICT, WARN]))
    if errors:
        raise invalid_options(kind, errors)
    return WriteOptions(dry_run, manager or _agent(request), validation or WARN, request.flag("force"))


def _agent(request: Request) -> str:
    """The manager for a client that does not name one: the product in its User-Agent."""
    agent = request.field(b"user-agent").partition("/")[0]
    kept = "".join(letter for letter in agent if letter.isprintable())
    return kept.encode()[:MANAGER_LIMIT].decode("utf-8", "ignore") or "unknown"


def _dry_run(values: list[str], errors: list[FieldError]) -> bool:
    if any(value != "All" for value in values):
        errors.append(not_supported("dryRun", values, ["All"]))
    return bool(values)


ORPHAN = "Orphan"
BACKGROUND = "Background"
FOREGROUND = "Foreground"


class DeleteOptions(msgspec.Struct, frozen=True):
    """How to delete: pretend only, under which conditions, and what becomes of dependents (empty: the default)."""

    dry_run: bool = False
    propagation: str = ""
    uid: str = ""
    resource_version: str = ""


def delete_options(request: Request) -> DeleteOptions:
    """The options of a delete, from its body if it has one, else from the query. Raises a 400, 415 or 422."""
    if request.body or isinstance(request.document, dict):
        given = _delete_body(request)
    else:
        given = {"dryRun": request.query.get("dryRun", [])}
        if request.parameter("propagationPolicy"):
            given["propagationPolicy"] = request.parameter("propagationPolicy")
        if request.parameter("orphanDependents"):
            given["orphanDependents"] = request.flag("orphanDependents")
    errors: list[FieldError] = []
    dry_run = _dry_run(given.get("dryRun") or [], errors)
    policy = given.get("propagationPolicy")
    orphan = given.get("orphanDependents")
    if policy is not None and policy not in (ORPHAN, BACKGROUND, FOREGROUND):
        errors.append(not_supported("propagationPolicy", policy, [FOREGROUND, BACKGROUND, ORPHAN, "nil"]))
    elif policy is not None and orphan is not None:
        detail = "orphanDependents and deletionPropagation cannot be both set"
        errors.append(invalid_value("propagationPolicy", policy, detail))
    if errors:
        raise invalid_options("DeleteOptions", errors)
    if orphan is not None:
        policy = ORPHAN if orphan else BACKGROUND
    conditions = given.get("preconditions") or {}
    return DeleteOptions(dry_run, policy or "", conditions.get("uid") or "", conditions.get("resourceVersion") or "")


class _Preconditions(msgspec.Struct):
    uid: str | None = None
    resourceVersion: str | None = None


class _DeleteBody(msgspec.Struct):
    """What we read of a ``DeleteOptions``; the grace period means nothing without kubelets."""

    apiVersion: str | None = None
    kind: str | None = None
    dryRun: list[str] | None = None
    propagationPolicy: str | None = None
    orphanDependents: bool | None = None
    preconditions: _Preconditions | None = None


def _delete_body(request: Request) -> dict[str, Any]:
    value = bodies.decode_object(request, "DeleteOptions", type_node("meta", "DeleteOptions"))
    try:
        given = msgspec.convert(value, _DeleteBody)
    except msgspec.ValidationError as error:
        raise bad_request(f"couldn't get version/kind; {error}") from None
    if given.kind not in (None, "", "DeleteOptions"):
        raise bad_request(f'no kind "{given.kind}" is registered for version "{given.apiVersion or ""}" of options')
    found: dict[str, Any] = msgspec.to_builtins(given)
    return found
