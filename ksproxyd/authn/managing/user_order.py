"""What is to be changed in a User object. Pure: objects in, objects out; those that come in are left as they are.

A state is only ever set where it is certain that nobody else has decided on it: a user becomes ``Active`` together with
the first password that is hashed here, or without one; who is locked becomes so again when the lock has ended. A user
with a hash and no state was left so by whoever wrote the hash.
"""

from __future__ import annotations

import copy
from typing import Any

from ksproxyd.authn.lock_note import LOCKED, LockNote, read_lock, write_lock, write_time
from ksproxyd.authn.password_policy import is_hash
from ksproxyd.authn.user_record import ACTIVE, LIMITED
from ksproxyd.state.store import Object
from ksproxyd.state.validation import field, text

#: Keeps a user until what belongs to them is gone.
FINALIZER = "finalizers.kubesphere.io/users"
CHANGED = "iam.kubesphere.io/last-password-change-time"
#: kubectl keeps here what it was given, the password with it.
APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
GLOBAL_ROLE = "iam.kubesphere.io/globalrole"


def deleting(obj: Object) -> bool:
    """Whether the user is to go."""
    return bool(field(obj, "metadata", "deletionTimestamp"))


def has_finalizer(obj: Object) -> bool:
    """Whether they wait for us to do so."""
    found = field(obj, "metadata", "finalizers")
    return isinstance(found, list) and FINALIZER in found


def plaintext(obj: Object) -> str:
    """A password that is not hashed yet, or an empty string."""
    password = text(obj, "spec", "password")
    return "" if is_hash(password) else password


def without_state(obj: Object) -> bool:
    """Whether nobody has given this user a state yet, and it is ours to give."""
    if text(obj, "status", "state") or plaintext(obj):
        return False
    # Hashed here (or by another controller) without the state having been written.
    return not text(obj, "spec", "password") or bool(_annotation(obj, CHANGED))


def lock_ends_in(obj: Object, now: float, duration: float) -> float | None:
    """Seconds until a lock ends; None where there is none, or none that ends by itself."""
    if text(obj, "status", "state") != LIMITED:
        return None
    note = read_lock(obj)
    return None if note.since is None else note.left(now, duration)


def stale_note(obj: Object) -> bool:
    """Whether the note of a lock is left over."""
    return bool(_annotation(obj, LOCKED)) and text(obj, "status", "state") != LIMITED


def urgent(obj: Object) -> bool:
    """Whether there is something to do now, besides the finalizer and locks."""
    if deleting(obj):
        return has_finalizer(obj)
    return bool(plaintext(obj)) or without_state(obj) or stale_note(obj)


def in_order(obj: Object, hashed: str | None, now: float, duration: float) -> Object | None:
    """The object as it should be, None if it is. It is not being deleted.

    ``hashed`` is the hash of its plaintext; empty for one that cannot be hashed, which then goes; None without one.
    """
    new = copy.deepcopy(obj)
    metadata = new["metadata"]
    if not has_finalizer(new):
        found = metadata.get("finalizers")
        metadata["finalizers"] = [*(found if isinstance(found, list) else ()), FINALIZER]
    annotations = metadata.get("annotations")
    annotations = annotations if isinstance(annotations, dict) else {}
    if hashed is not None and plaintext(new):
        if hashed:
            new["spec"]["password"] = hashed
            annotations[CHANGED] = write_time(now)
        else:
            del new["spec"]["password"]
        annotations.pop(APPLIED, None)
    if without_state(new):
        _set_state(new, ACTIVE, now)
    left = lock_ends_in(new, now, duration)
    if left is not None and left <= 0.0:
        _set_state(new, ACTIVE, now)
    if text(new, "status", "state") != LIMITED:
        annotations.pop(LOCKED, None)
    if annotations or "annotations" in metadata:
        metadata["annotations"] = annotations
    return None if new == obj else new


def locked(obj: Object, locks: dict[str | None, float], reason: str, now: float) -> Object | None:
    """The object with further locks: by network (None: for everybody), until when. None if it stays as it is.

    A user who is locked by somebody else, or not in use at all, stays as they are.
    """
    state = text(obj, "status", "state")
    current: list[tuple[str, float]] = []
    account: float | None = locks.get(None)
    if state == LIMITED:
        note = read_lock(obj)
        if note.until is None:
            return None
        if note.sources is None:
            account = max(note.until, account or 0.0)
        else:
            current = [pair for pair in note.sources if pair[1] > now]
    elif state != ACTIVE:
        return None
    new = copy.deepcopy(obj)
    ends = dict(current)
    for source, end in locks.items():
        if source is not None:
            ends[source] = max(end, ends.get(source, 0.0))
    if account is not None:
        note = LockNote(None, account)
    else:
        note = LockNote(None, max(ends.values()), tuple(ends.items()))
    value, since = write_lock(now, note)
    _set_state(new, LIMITED, now)
    new["status"] |= {"lastTransitionTime": since, "reason": reason}
    annotations = new["metadata"].get("annotations")
    new["metadata"]["annotations"] = {**(annotations if isinstance(annotations, dict) else {}), LOCKED: value}
    return new


def with_role(obj: Object, role: str | None) -> Object | None:
    """The object with the mirror of its user's global role; None if it is that already."""
    if _annotation(obj, GLOBAL_ROLE) == (role or ""):
        return None
    new = copy.deepcopy(obj)
    annotations = new["metadata"].get("annotations")
    annotations = annotations if isinstance(annotations, dict) else {}
    annotations.pop(GLOBAL_ROLE, None)
    new["metadata"]["annotations"] = annotations | ({GLOBAL_ROLE: role} if role else {})
    return new


def without_finalizer(obj: Object) -> Object:
    """The object that waits for nothing of ours any more."""
    new = copy.deepcopy(obj)
    new["metadata"]["finalizers"] = [each for each in new["metadata"]["finalizers"] if each != FINALIZER]
    return new


def _set_state(obj: Object, state: str, now: float) -> None:
    status: Any = obj.get("status")
    status = dict(status) if isinstance(status, dict) else {}
    status.pop("reason", None)
    obj["status"] = status | {"state": state, "lastTransitionTime": write_time(now)}


def _annotation(obj: Object, name: str) -> str:
    annotations = field(obj, "metadata", "annotations")
    found = annotations.get(name) if isinstance(annotations, dict) else None
    return found if isinstance(found, str) else ""
