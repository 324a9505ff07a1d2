"""What the gateway knows of a user, read from a User object of any shape. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from ksproxyd.authn.lock_note import LockNote, read_lock
from ksproxyd.state.validation import field, text

ACTIVE, DISABLED, LIMITED = "Active", "Disabled", "AuthLimitExceeded"

#: Prefix of the annotations that link a user with an identity provider's; the provider's name follows.
LINK = "iam.kubesphere.io/identity-provider."
#: The password is one that somebody else has chosen, and is to be changed.
UNINITIALIZED = "iam.kubesphere.io/uninitialized"

#: Names that begin so are not a person's (RFC 9700, 4.15; spec 02, D-38).
RESERVED = ("system:", "kubesphere:")


class UserRecord(msgspec.Struct, frozen=True):
    """A user. ``groups`` are those of the object and of GroupBindings, sorted; none of Kubernetes' own.

    ``links`` are pairs of a provider's name and the user's identifier there. ``lock`` says who is kept out, where
    ``state`` is ``AuthLimitExceeded``.
    """

    name: str
    uid: str = ""
    email: str = ""
    lang: str = ""
    display_name: str = ""
    groups: tuple[str, ...] = ()
    state: str = ""
    password_hash: str = ""
    uninitialized: str = ""
    links: tuple[tuple[str, str], ...] = ()
    deleting: bool = False
    created: str = ""
    lock: LockNote = LockNote()

    def __repr__(self) -> str:
        # Without the hash: a record may end up in an error.
        return f"UserRecord(name={self.name!r}, state={self.state!r})"

    __str__ = __repr__


def read_user(obj: dict[str, Any], bound: tuple[str, ...] = ()) -> UserRecord | None:
    """The record of a User object; None for a name that no person may have. ``bound`` are groups of GroupBindings."""
    name = text(obj, "metadata", "name")
    if not name or name.startswith(RESERVED):
        return None
    annotations = field(obj, "metadata", "annotations")
    annotations = annotations if isinstance(annotations, dict) else {}
    state = text(obj, "status", "state")
    return UserRecord(
        name=name,
        uid=text(obj, "metadata", "uid"),
        email=text(obj, "spec", "email"),
        lang=text(obj, "spec", "lang"),
        display_name=text(obj, "spec", "displayName"),
        groups=groups_of(obj, bound),
        state=state,
        password_hash=text(obj, "spec", "password"),
        uninitialized=text(annotations, UNINITIALIZED),
        links=_links(annotations),
        deleting=bool(field(obj, "metadata", "deletionTimestamp")),
        created=text(obj, "metadata", "creationTimestamp"),
        lock=read_lock(obj) if state == LIMITED else LockNote(),
    )


def groups_of(obj: dict[str, Any], bound: tuple[str, ...]) -> tuple[str, ...]:
    """The groups of a User object's record; ``bound`` are those of GroupBindings."""
    return tuple(sorted({*texts(field(obj, "spec", "groups")), *bound}))


def _links(annotations: dict[Any, Any]) -> tuple[tuple[str, str], ...]:
    found = [
        (key[len(LINK) :], value)
        for key, value in annotations.items()
        if isinstance(key, str) and key.startswith(LINK) and isinstance(value, str)
    ]
    return tuple(sorted((provider, uid) for provider, uid in found if provider and uid))


def texts(value: Any) -> list[str]:
    """The names of groups or users in a list of anything, without those that are Kubernetes' own."""
    if not isinstance(value, list):
        return []
    return [item for item in value if isinstance(item, str) and item and not item.startswith(RESERVED)]
