"""Labels, annotations and finalizers that the controllers read and write (spec 03, 3.2), and names they give (3.5)."""

from __future__ import annotations

from typing import Any

from ksproxyd.state.store import Object
from ksproxyd.state.validation import field, text

SCOPE = "iam.kubesphere.io/scope"
GLOBAL, CLUSTER, WORKSPACE, NAMESPACE = "global", "cluster", "workspace", "namespace"

AUTO_AGGREGATE = "iam.kubesphere.io/auto-aggregate"
POLICY = "iam.kubesphere.io/rego-override"
#: What of a role came from templates: JSON, see :mod:`ksproxyd.controllers.aggregation`.
AGGREGATED = "ksproxyd.io/aggregated"

OWNER = "kubesphere.io/workspace"
USER_REF, ROLE_REF = "iam.kubesphere.io/user-ref", "iam.kubesphere.io/role-ref"
CREATOR = "kubesphere.io/creator"
PROTECTED = "kubesphere.io/protected-resource"
PROPAGATION = "kubesphere.io/deletion-propagation"
FINALIZER = "kubesphere.io/cascading-deletion"

#: Longest value of a label, and longest name of a role that is put together.
LONGEST = 63


def label(value: Object, key: str) -> str:
    """The label ``key``, or an empty string."""
    return text(value, "metadata", "labels", key)


def annotation(value: Object, key: str) -> str:
    """The annotation ``key``, or an empty string."""
    return text(value, "metadata", "annotations", key)


def labels(value: Object) -> dict[str, str]:
    """All labels that are text."""
    return strings(field(value, "metadata", "labels"))


def strings(value: Any) -> dict[str, str]:
    """What of a map of text is text."""
    if not isinstance(value, dict):
        return {}
    return {key: found for key, found in value.items() if isinstance(found, str)}


def deleting(value: Object) -> bool:
    """Whether it is being deleted."""
    return bool(field(value, "metadata", "deletionTimestamp"))


def finalizers(value: Object) -> list[str]:
    """Who has something to do before it may go."""
    found = field(value, "metadata", "finalizers")
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []


def version(value: Object) -> str:
    """The state of the object that a change is about; a change of another state is refused by the server."""
    return text(value, "metadata", "resourceVersion")


def workspace_role(workspace: str, role: str) -> str:
    """The name of a role of a workspace."""
    name = f"{workspace}-{role}"
    return name if len(name) <= LONGEST else f"{role}.{short_hash(workspace)}"


def short_hash(text: str) -> str:
    """16 digits that tell ``text`` from others."""
    return f"{_fnv64a(text.encode()):016x}"


def _fnv64a(data: bytes) -> int:
    """FNV-1a of 64 bits, by which names that would be too long are told apart."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value
