"""Projects: namespaces that a label puts into a workspace (spec 03, 3.6).

A namespace that is new in a workspace gets its roles, whoever has created it becomes its administrator, and a finalizer
says that this has been done. One that has left its workspace loses its roles and bindings, and the finalizer: in its
next workspace it begins anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

from ksproxyd.controllers.builtin import BuiltinRoles, binding_of, binds, role_from
from ksproxyd.controllers.changes import Changes
from ksproxyd.controllers.labels import (
    CREATOR,
    FINALIZER,
    NAMESPACE,
    OWNER,
    annotation,
    deleting,
    finalizers,
    label,
    labels,
    short_hash,
)
from ksproxyd.state.kinds import NAMESPACES, ROLE_BINDINGS, ROLES, USERS
from ksproxyd.state.state import State
from ksproxyd.state.store import Object
from ksproxyd.state.validation import field, name_of, text

WHAT = "project"
ADMIN = "admin"
#: Owners whose end is not the end of the namespace: what becomes of it then is said at the workspace.
_OWNERS = ("Workspace", "WorkspaceTemplate")


class Projects:
    """``add(what, namespace, name)`` has :meth:`handle` called later."""

    log = Logger()

    def __init__(
        self, state: State, changes: Changes, builtin: BuiltinRoles, add: Callable[[str, str, str], object]
    ) -> None:
        self._store = state.store(NAMESPACES)
        self._users = state.store(USERS)
        self._roles = state.store(ROLES).index(_namespace_of)
        self._bindings = state.store(ROLE_BINDINGS).index(_namespace_of)
        self._changes = changes
        self._builtin = builtin
        self._add = add
        self._said: set[str] = set()

    def subscribe(self) -> list[Callable[[], None]]:
        """Hear of changes; returns what ends that."""

        def event(old: Object | None, new: Object | None) -> None:
            if new is not None and _unfinished(new):
                self._add(WHAT, "", name_of(new))

        return [self._store.subscribe(event)]

    def everything(self) -> list[tuple[str, str, str]]:
        """Every namespace with which there is something to do."""
        return [(WHAT, "", name_of(each)) for each in self._store.values() if _unfinished(each)]

    async def handle(self, name: str) -> float:
        """Look at one namespace; returns in how many seconds to look again (0: when it changes)."""
        value = self._store.get(("", name))
        if value is None or not _unfinished(value):
            return 0.0
        if deleting(value):
            await self._finish(value)
        elif label(value, OWNER):
            if not self._builtin.any_of(NAMESPACE):
                return 0.0
            wait = self._builtin.unsettled()
            if wait:
                return wait
            await self._begin(value, name)
        else:
            await self._forget(name)
            await self._finish(value)
        return 0.0

    async def _begin(self, value: Object, name: str) -> None:
        made = set()
        for model in self._builtin.of(NAMESPACE, labels(value)):
            role = name_of(model)
            made.add(role)
            if self._role(name, role) is None:
                await self._changes.create(ROLES.resource, role_from(model, ROLES.resource, role, name))
        creator = annotation(value, CREATOR)
        if creator and ADMIN in made:
            if self._users.get(("", creator)) is not None:
                await self._bind(name, creator)
            elif name not in self._said:
                # Whoever gets the name later would find themselves an administrator.
                self._said.add(name)
                self.log.warn("{creator}, who has created {name}, is no user", creator=creator, name=name)
        metadata: dict[str, Any] = {"finalizers": [*finalizers(value), FINALIZER]}
        owners = field(value, "metadata", "ownerReferences")
        if isinstance(owners, list) and any(text(each, "kind") in _OWNERS for each in owners):
            metadata["ownerReferences"] = [each for each in owners if text(each, "kind") not in _OWNERS]
        await self._changes.patch(NAMESPACES.resource, value, {"metadata": metadata})

    async def _bind(self, namespace: str, creator: str) -> None:
        name = f"{creator}-{ADMIN}"
        if await self._changes.create(
            ROLE_BINDINGS.resource, binding_of(ROLE_BINDINGS, name, creator, ADMIN, namespace)
        ):
            return
        # It has been made before; or the names of another user and role come to the same.
        there = await self._changes.get(ROLE_BINDINGS.resource, name, namespace)
        if there is not None and not binds(there, creator):
            other = binding_of(ROLE_BINDINGS, f"{name}-{short_hash(creator)}", creator, ADMIN, namespace)
            await self._changes.create(ROLE_BINDINGS.resource, other)

    async def _forget(self, name: str) -> None:
        # Rights first.
        for each in self._bindings.get(name):
            await self._changes.delete(ROLE_BINDINGS.resource, each)
        for each in self._roles.get(name):
            await self._changes.delete(ROLES.resource, each)

    async def _finish(self, value: Object) -> None:
        left = [each for each in finalizers(value) if each != FINALIZER]
        await self._changes.patch(NAMESPACES.resource, value, {"metadata": {"finalizers": left or None}})

    def _role(self, namespace: str, name: str) -> Object | None:
        return next((each for each in self._roles.get(namespace) if name_of(each) == name), None)


def _unfinished(value: Object) -> bool:
    """Whether it has just come into a workspace, or left it, or goes."""
    done = FINALIZER in finalizers(value)
    return done if deleting(value) else done is not bool(label(value, OWNER))


def _namespace_of(value: Object) -> list[str]:
    return [text(value, "metadata", "namespace")]
