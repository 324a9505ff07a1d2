"""Members of the cluster, of workspaces and of namespaces: what differs between them, and the bindings that make them
(spec 03, 3.5 and 4.1 to 4.4). Pure.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from ksproxyd.authn.records import LONGEST_LABEL, USER_REF
from ksproxyd.kapis.iam.global_roles import ROLE_REF
from ksproxyd.model.request_info import WORKSPACE_LABEL
from ksproxyd.model.status import StatusError, bad_request, not_found
from ksproxyd.state.kinds import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    NAMESPACE,
    ROLE_BINDINGS,
    ROLES,
    WORKSPACE_ROLE_BINDINGS,
    WORKSPACE_ROLES,
    Kind,
)
from ksproxyd.state.validation import field, text

Object = dict[str, Any]

GROUP = "iam.kubesphere.io"

#: The account by which the native copies of bindings name a user.
_ACCOUNT = "kubesphere.users."

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")

#: So many other names are tried when the name of a binding is taken by another.
_OTHER_NAMES = 4


class Member(msgspec.Struct, frozen=True, rename="camel"):
    """A user and their role."""

    username: str = ""
    role_ref: str = ""


class Scope(msgspec.Struct, frozen=True):
    """Where one can be a member. ``parameter`` is the query's word for a role; ``words`` is what members are called."""

    bindings: Kind
    roles: Kind
    parameter: str
    words: str

    @property
    def annotation(self) -> str:
        """The annotation of a listed member with their role."""
        return f"iam.kubesphere.io/{self.parameter}"

    @property
    def role_kind(self) -> str:
        """The kind of the roles."""
        return self.roles.resource.kind

    def of(self, place: str) -> dict[str, str]:
        """``place`` as authorization's questions have it."""
        if self is IN_NAMESPACE:
            return {"namespace": place}
        return {"workspace": place} if self is IN_WORKSPACE else {}

    def namespace(self, place: str) -> str:
        """The namespace of the bindings; empty where they have none."""
        return place if self is IN_NAMESPACE else ""


IN_CLUSTER = Scope(CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, "clusterrole", "clustermembers")
IN_WORKSPACE = Scope(WORKSPACE_ROLE_BINDINGS, WORKSPACE_ROLES, "workspacerole", "workspacemembers")
IN_NAMESPACE = Scope(ROLE_BINDINGS, ROLES, "role", "namespacemembers")


# -- what is asked for -------------------------------------------------------------------------------------------


def members_from(body: Any) -> list[Member]:
    """The members in a body. Raises a 400 for anything but an array of them."""
    if not isinstance(body, list):
        raise bad_request('the body is not a JSON array of members: send [{"username": "…", "roleRef": "…"}]')
    return [member_from(each) for each in body]


def member_from(value: Any) -> Member:
    """One member. Raises a 400 for anything else."""
    if not isinstance(value, dict):
        raise bad_request('a member is a JSON object: send {"username": "…", "roleRef": "…"}')
    found = {}
    for key in ("username", "roleRef"):
        each = value.get(key)
        if each is not None and not isinstance(each, str):
            raise bad_request(f"{key} of a member is not a string in the JSON body")
        found[key] = each or ""
    return Member(found["username"], found["roleRef"])


def check_username(name: str, what: str = "username") -> None:
    """Raises a 422 for a name that no user can have, or no label: a selector with it would find others (D13)."""
    _check(name, what)


def check_role(name: str) -> None:
    """The same for the name of a role."""
    _check(name, "roleRef")


def _check(name: str, what: str) -> None:
    if not name:
        raise StatusError(422, "Invalid", f"{what}: Required value: it is empty")
    if len(name) > LONGEST_LABEL or _NAME.fullmatch(name) is None:
        shown = name if len(name) <= 100 else name[:100] + "…"
        rule = f"use at most {LONGEST_LABEL} lower-case letters, digits, - and . (RFC 1123)"
        raise StatusError(422, "Invalid", f'{what}: Invalid value: "{shown}": {rule}')


def no_role(scope: Scope, name: str) -> StatusError:
    """404 for a role that does not exist."""
    return not_found(f'{scope.role_kind}.{GROUP} "{name}" not found', _details(scope, name))


def role_elsewhere(scope: Scope, name: str) -> StatusError:
    """404 for a role of another workspace."""
    return not_found(f'{scope.role_kind.lower()}.{GROUP} "{name}" not found', _details(scope, name))


def _details(scope: Scope, name: str) -> dict[str, str]:
    return {"name": name, "group": GROUP, "kind": scope.roles.resource.plural}


# -- bindings ----------------------------------------------------------------------------------------------------


def gives(scope: Scope, binding: Object, role: str) -> bool:
    """Whether ``binding`` gives that role."""
    return text(binding, "roleRef", "kind") == scope.role_kind and text(binding, "roleRef", "name") == role


def names_user(binding: Object, user: str) -> bool:
    """Whether ``user`` is a subject of ``binding``, whatever its labels say."""
    return any(_is_user(subject, user) for subject in _subjects(binding))


def first_user(binding: Object) -> str:
    """The first user among the subjects; empty if there is none."""
    for subject in _subjects(binding):
        if text(subject, "kind") == "User":
            return text(subject, "name")
    return ""


def is_at(scope: Scope, binding: Object, place: str) -> bool:
    """Whether a binding of this scope's kind is one of ``place``."""
    if scope is IN_WORKSPACE:
        return text(binding, "metadata", "labels", WORKSPACE_LABEL) == place
    return scope is IN_CLUSTER or text(binding, "metadata", "namespace") == place


def without_user(binding: Object, user: str) -> Object | None:
    """``binding`` for everybody else whom it names; None if that is nobody."""
    kept = [
        each
        for each in _subjects(binding)
        if not _is_user(each, user)
        and not (text(each, "kind") == "ServiceAccount" and text(each, "name") == _ACCOUNT + user)
    ]
    if not kept:
        return None
    metadata = dict(binding["metadata"])
    labels = field(metadata, "labels")
    if isinstance(labels, dict) and labels.get(USER_REF) == user:
        metadata["labels"] = {key: each for key, each in labels.items() if key != USER_REF}
    return {**binding, "metadata": metadata, "subjects": kept}


def new_binding(scope: Scope, place: str, user: str, role: str, name: str) -> Object:
    """The binding that makes ``user`` a member."""
    resource = scope.bindings.resource
    metadata: Object = {"name": name, "labels": {USER_REF: user, ROLE_REF: role}}
    subjects = [{"apiGroup": GROUP, "kind": "User", "name": user}]
    if scope is IN_WORKSPACE:
        metadata["labels"][WORKSPACE_LABEL] = place
    else:
        subjects.append({"kind": "ServiceAccount", "name": _ACCOUNT + user, "namespace": NAMESPACE})
    if scope is IN_NAMESPACE:
        metadata["namespace"] = place
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": metadata,
        "roleRef": {"apiGroup": GROUP, "kind": scope.role_kind, "name": role},
        "subjects": subjects,
    }


def binding_names(user: str, role: str) -> Iterator[str]:
    """Names for a binding, the usual one first: ``a`` and ``b-c`` would have the same as ``a-b`` and ``c``."""
    usual = f"{user}-{role}"
    yield usual
    for number in range(_OTHER_NAMES):
        digest = hashlib.sha256(f"{user}/{role}/{number}".encode()).hexdigest()
        yield f"{usual}-{digest[:8]}"


def shown_member(scope: Scope, user: str, role: str) -> Object:
    """A member as lists show them: what a user of that name would be, with the role."""
    metadata = {"name": user, "creationTimestamp": None, "annotations": {scope.annotation: role}}
    return {"metadata": metadata, "spec": {"email": ""}, "status": {}}


def _subjects(binding: Object) -> list[Any]:
    found = field(binding, "subjects")
    return found if isinstance(found, list) else []


def _is_user(subject: Any, user: str) -> bool:
    return text(subject, "kind") == "User" and text(subject, "name") == user
