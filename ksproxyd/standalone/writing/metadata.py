"""``metadata``: what the server sets on it, and what it must look like."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from ksproxyd.standalone.kinds.names import check_annotations, check_labels, qualified_name
from ksproxyd.standalone.kinds.registry import NEVER, WITH_SPEC, WITHOUT_STATUS, Kind, Object
from ksproxyd.standalone.wire.errors import FieldError, forbidden_field, invalid_value, required

#: Letters of generated names: none that make words, none that look alike.
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_SUFFIX = 5
_GENERATED_LIMIT = 63

#: Finalizers that need no domain.
ORPHAN_FINALIZER = "orphan"
FOREGROUND_FINALIZER = "foregroundDeletion"
_STANDARD_FINALIZERS = (ORPHAN_FINALIZER, FOREGROUND_FINALIZER, "kubernetes")

#: Set by the server, whatever a client sends.
_SERVER_SET = ("creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "uid", "generation")


def timestamp(seconds: float) -> str:
    """Seconds since the epoch as RFC 3339 in UTC, whole seconds."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def new_uid(source: random.Random) -> str:
    """A random (version 4) UUID."""
    return str(UUID(int=source.getrandbits(128), version=4))


def generated(base: str, source: random.Random) -> str:
    """A name made from a ``generateName``."""
    return base[: _GENERATED_LIMIT - _SUFFIX] + "".join(source.choices(_LETTERS, k=_SUFFIX))


def begin(kind: Kind, metadata: Object, now: str, uid: str) -> None:
    """Set what the server sets on an object that is being created (in place)."""
    generation = metadata.get("generation")
    for key in _SERVER_SET:
        metadata.pop(key, None)
    metadata["uid"] = uid
    metadata["creationTimestamp"] = now
    if kind.generation != NEVER:
        metadata["generation"] = 1
    elif generation:
        metadata["generation"] = generation


def carry_over(old: Object, new: Object) -> None:
    """Keep what the server has set when an object is updated (in place)."""
    for key in _SERVER_SET:
        if key in old:
            new[key] = old[key]
        else:
            new.pop(key, None)


def grown(kind: Kind, old: Object, new: Object) -> bool:
    """Whether an update changes what the generation counts."""
    if kind.generation == NEVER:
        return False
    if kind.generation == WITH_SPEC:
        return bool(old.get("spec") != new.get("spec"))
    ignored = {"metadata", "apiVersion"} | ({"status"} if kind.generation == WITHOUT_STATUS else set())
    return _but(old, ignored) != _but(new, ignored)


def _but(value: Object, keys: set[str]) -> Object:
    return {key: each for key, each in value.items() if key not in keys}


def check(kind: Kind, metadata: Object) -> list[FieldError]:
    """What is wrong with the metadata of an object."""
    errors: list[FieldError] = []
    name, base = metadata.get("name") or "", metadata.get("generateName") or ""
    if base and base != name:
        stem = base[:-1] + "a" if base.endswith(("-", ".")) else base
        errors += [invalid_value("metadata.generateName", base, wrong) for wrong in kind.name_rule(stem)]
    if not name:
        errors.append(required("metadata.name", "name or generateName is required"))
    else:
        errors += [invalid_value("metadata.name", name, wrong) for wrong in kind.name_rule(name)]
    errors += check_labels(metadata.get("labels") or {}, "metadata.labels")
    errors += check_annotations(metadata.get("annotations") or {}, "metadata.annotations")
    errors += _check_owners(metadata.get("ownerReferences") or [])
    for index, finalizer in enumerate(metadata.get("finalizers") or []):
        field = f"metadata.finalizers[{index}]"
        errors += [invalid_value(field, finalizer, wrong) for wrong in qualified_name(finalizer)]
        if kind.qualified_finalizers and "/" not in finalizer and finalizer not in _STANDARD_FINALIZERS:
            detail = "name is neither a standard finalizer name nor is it fully qualified"
            errors.append(invalid_value(field, finalizer, detail))
    return errors


def _check_owners(references: list[Any]) -> list[FieldError]:
    errors = []
    controllers = []
    for reference in references:
        field = "metadata.ownerReferences"
        if not reference.get("apiVersion"):
            errors.append(invalid_value(f"{field}.apiVersion", "", "version must not be empty"))
        for key in ("kind", "name", "uid"):
            if not reference.get(key):
                errors.append(invalid_value(f"{field}.{key}", "", "must not be empty"))
        if reference.get("controller"):
            controllers.append(f"{reference.get('kind')}/{reference.get('name')}")
    if len(controllers) > 1:
        detail = (
            "Only one reference can have Controller set to true. "
            f'Found "true" in references for {controllers[0]} and {controllers[1]}'
        )
        errors.append(invalid_value("metadata.ownerReferences", references, detail))
    return errors


def check_change(old: Object, new: Object) -> list[FieldError]:
    """What may not be changed by an update."""
    errors = []
    if old.get("deletionTimestamp"):
        added = [each for each in new.get("finalizers") or [] if each not in (old.get("finalizers") or [])]
        if added:
            listed = ", ".join(f'"{each}"' for each in added)
            detail = (
                "no new finalizers can be added if the object is being deleted, "
                f"found new finalizers []string{{{listed}}}"
            )
            errors.append(forbidden_field("metadata.finalizers", detail))
    return errors
