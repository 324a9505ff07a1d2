"""User objects as they are shown, checked and changed at the API (spec 02, 6). Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from email.utils import parseaddr
from typing import Any

from ksproxyd.authn.passwords import Passwords
from ksproxyd.authn.tokens.claims import is_reserved
from ksproxyd.model.status import StatusError, bad_request, forbidden
from ksproxyd.state.validation import field, text

Object = dict[str, Any]

API_VERSION, KIND = "iam.kubesphere.io/v1beta1", "User"
GLOBAL_ROLE = "iam.kubesphere.io/globalrole"
UNINITIALIZED = "iam.kubesphere.io/uninitialized"
PASSWORD_CHANGED = "iam.kubesphere.io/last-password-change-time"
IDENTITY = "iam.kubesphere.io/identity-provider."
APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_ALIAS = "kubesphere.io/alias-name"

#: What people may change of themselves without the right to manage users (D-16).
_OWN_SPEC = frozenset(["email", "lang", "description", "displayName"])
_OWN_ANNOTATIONS = frozenset([_ALIAS])

_OURS = "iam.kubesphere.io/"
#: Annotations of ours that a new user may be given without further ado; a role is looked at by itself.
_PLAIN = frozenset([GLOBAL_ROLE, UNINITIALIZED])
_LISTS = ("finalizers", "ownerReferences")

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_ADDRESS = re.compile(r"[^\s@,<>\"]+@[^\s@,<>\"]+")


def shown(value: Object) -> Object:
    """A User as anybody may see it: without its hash, and without the annotation in which kubectl may have kept it."""
    spec, metadata = field(value, "spec"), field(value, "metadata")
    found = {"kind": KIND, "apiVersion": API_VERSION, **value}
    if isinstance(spec, dict) and "password" in spec:
        found["spec"] = {name: each for name, each in spec.items() if name != "password"}
    if isinstance(metadata, dict):
        annotations = metadata.get("annotations")
        kept = {name: each for name, each in metadata.items() if name != "managedFields"}
        if isinstance(annotations, dict) and APPLIED in annotations:
            kept["annotations"] = {name: each for name, each in annotations.items() if name != APPLIED}
        found["metadata"] = kept
    return found


def invalid(name: str, problem: str) -> StatusError:
    """422, in Kubernetes' words."""
    details = {"name": name, "group": "iam.kubesphere.io", "kind": KIND}
    return StatusError(422, "Invalid", f'{KIND}.iam.kubesphere.io "{name}" is invalid: {problem}', details)


def missing(name: str) -> StatusError:
    """404."""
    details = {"name": name, "group": "iam.kubesphere.io", "kind": "users"}
    return StatusError(404, "NotFound", f'{KIND}.iam.kubesphere.io "{name}" not found', details)


def decoded(body: Any) -> Object:
    """``body`` as a User whose parts have the shapes they must have. Raises a 400."""
    if not isinstance(body, dict):
        raise bad_request("the body is not a JSON object")
    if body.get("kind", KIND) not in (KIND, ""):
        raise bad_request(f"the body is not an object of kind {KIND}")
    for path in (("metadata",), ("metadata", "annotations"), ("metadata", "labels"), ("spec",), ("status",)):
        found = field(body, *path)
        if found is not None and not isinstance(found, dict):
            raise bad_request(f"{'.'.join(path)} of the body is not a JSON object")
    return body


def check_name(name: str) -> None:
    """Raises a 422 for a name that no user may have."""
    if not name:
        raise invalid("", "metadata.name: Required value: name is required")
    if is_reserved(name) or ":" in name:
        raise invalid(name, "metadata.name: names that begin with system: or kubesphere: belong to the platform")
    if len(name) > 253 or _NAME.fullmatch(name) is None:
        raise invalid(name, "metadata.name: use lower-case letters, digits, - and . (RFC 1123)")


def check_email(name: str, email: Any) -> None:
    """Raises a 422 for what is no address; an empty one is allowed."""
    if not isinstance(email, str):
        raise invalid(name, "spec.email: Required value: it may be empty")
    if email and (_ADDRESS.fullmatch(email) is None or parseaddr(email)[1] != email):
        raise invalid(name, "spec.email: write an address such as somebody@example.org")


def check_password(name: str, password: Any) -> None:
    """Raises a 422 for a password that does not meet the rules; the password is never part of the text."""
    problem = "it is not text" if not isinstance(password, str) else Passwords.problem_of(password, name)
    if problem:
        raise invalid(name, f"spec.password: the password does not meet the rules: {problem}")


def check_own_change(name: str, old: Object, new: Object) -> None:
    """Raises the 403 for a change that people may not make of themselves (D-16, T-152, T-153)."""
    for part, allowed in (("spec", _OWN_SPEC | {"password"}), ("status", frozenset())):
        before, after = field(old, part) or {}, field(new, part) or {}
        _same(name, part, before, after, allowed)
    for part, own in (("annotations", _OWN_ANNOTATIONS | {APPLIED}), ("labels", frozenset[str]())):
        before, after = field(old, "metadata", part) or {}, field(new, "metadata", part) or {}
        _same(name, f"metadata.{part}", before, after, own)
    for part in _LISTS:
        if (field(old, "metadata", part) or []) != (field(new, "metadata", part) or []):
            raise _not_own(name, f"metadata.{part}")


def with_lists_of(old: Object, new: Object) -> Object:
    """``new`` with what the metadata of ``old`` lists, where it does not speak of that at all."""
    kept = {part: found for part in _LISTS if (found := field(old, "metadata", part)) is not None}
    return {**new, "metadata": {**kept, **new["metadata"]}}


def check_plain(name: str, value: Object) -> None:
    """Raises the 403 for a new user of whom more is said than people may say of others without managing them (D-16)."""
    annotations = field(value, "metadata", "annotations") or {}
    said = [f"metadata.annotations.{each}" for each in annotations if each.startswith(_OURS) and each not in _PLAIN]
    said += [f"metadata.{part}" for part in _LISTS if field(value, "metadata", part)]
    said += ["spec.groups"] if field(value, "spec", "groups") else []
    said += ["status.state"] if text(value, "status", "state") not in ("", "Active") else []
    if said:
        raise forbidden(f'only who manages users may set {said[0]} of the new user "{name}"')


def _same(name: str, what: str, before: Object, after: Object, allowed: frozenset[str]) -> None:
    for key in {*before, *after} - allowed:
        if before.get(key) != after.get(key):
            raise _not_own(name, f"{what}.{key}")


def _not_own(name: str, what: str) -> StatusError:
    return forbidden(f'user "{name}" may not change {what} of itself; ask somebody who manages users')


def replaced(old: Object, new: Object, now: str) -> Object:
    """What is stored for ``new`` in place of ``old``: the hash stays, and of the status only the state can be set."""
    spec = dict(field(new, "spec") or {})
    spec.pop("password", None)
    password = text(old, "spec", "password")
    if password:
        spec["password"] = password
    status = dict(field(old, "status") or {})
    state = text(new, "status", "state")
    if state in ("Active", "Disabled") and state != status.get("state"):
        status |= {"state": state, "lastTransitionTime": now}
        status.pop("reason", None)
    metadata = dict(field(new, "metadata") or {})
    for name in ("uid", "creationTimestamp", "generation", "managedFields", "deletionTimestamp"):
        metadata.pop(name, None)
    return {**new, "apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec, "status": status}


def merged(old: Object, patch: Any) -> Object:
    """``old`` with a JSON merge patch applied (RFC 7396)."""
    if not isinstance(patch, dict):
        raise bad_request("a merge patch is a JSON object")
    return _merge(old, patch)


def _merge(old: Any, patch: Object) -> Object:
    found = dict(old) if isinstance(old, dict) else {}
    for name, value in patch.items():
        if value is None:
            found.pop(name, None)
        elif isinstance(value, dict):
            found[name] = _merge(found.get(name), value)
        else:
            found[name] = value
    return found


def with_annotations(value: Object, change: Callable[[dict[str, Any]], None]) -> Object:
    """``value`` with other annotations."""
    annotations = dict(field(value, "metadata", "annotations") or {})
    change(annotations)
    return {**value, "metadata": {**value["metadata"], "annotations": annotations}}
