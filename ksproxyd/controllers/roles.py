"""Roles that are put together from RoleTemplates, kept as their templates are (spec 03, 3.6 and D29)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

from ksproxyd.controllers.aggregation import Whole, assembling, names_of, note_of
from ksproxyd.controllers.changes import Changes
from ksproxyd.controllers.labels import (
    AGGREGATED,
    AUTO_AGGREGATE,
    CLUSTER,
    GLOBAL,
    NAMESPACE,
    POLICY,
    SCOPE,
    WORKSPACE,
    annotation,
    deleting,
    label,
)
from ksproxyd.kube.pacing import Pacer
from ksproxyd.state.kinds import CLUSTER_ROLES, GLOBAL_ROLES, ROLE_TEMPLATES, ROLES, WORKSPACE_ROLES
from ksproxyd.state.state import State
from ksproxyd.state.store import Object, key_of
from ksproxyd.state.validation import field, name_of

#: The kind of role at each level.
KINDS = {GLOBAL: GLOBAL_ROLES, WORKSPACE: WORKSPACE_ROLES, CLUSTER: CLUSTER_ROLES, NAMESPACE: ROLES}

#: What is to be looked at: one role, or all of a level whose templates have changed.
Add = Callable[[str, str, str], object]


class RoleAggregation:
    """``add(what, namespace, name)`` has :meth:`handle` called later; ``what`` is the level of a role, and an empty
    name stands for all roles of that level which are concerned.
    """

    log = Logger()

    def __init__(self, state: State, changes: Changes, pacer: Pacer, add: Add) -> None:
        self._stores = {level: state.store(kind) for level, kind in KINDS.items()}
        self._templates = state.store(ROLE_TEMPLATES)
        self._changes = changes
        self._pacer = pacer
        self._add = add
        #: Which templates have changed since the roles of a level were last looked through.
        self._changed: dict[str, set[str]] = {}
        self._said: set[tuple[str, str]] = set()

    def subscribe(self) -> list[Callable[[], None]]:
        """Hear of changes; returns what ends that."""
        ends = [self._templates.subscribe(self._template)]
        for level, store in self._stores.items():
            ends.append(store.subscribe(lambda old, new, level=level: self._role(level, new)))  # type: ignore[misc]
        return ends

    def everything(self) -> list[tuple[str, str, str]]:
        """Every role there is to look at."""
        return [(level, *key) for level, store in self._stores.items() for key in tuple(store.keys())]

    async def handle(self, level: str, namespace: str, name: str) -> None:
        """Look at one role, or find those that a change of templates concerns."""
        if not name:
            await self._concerned(level)
            return
        role = self._stores[level].get((namespace, name))
        if role is None or deleting(role) or not concerns(role):
            return
        if not len(self._templates) and note_of(role) is not None:
            # They are not all gone: the kind is not served just now.
            return
        templates = self._named()
        try:
            wanted = await self._assemble(role, level, templates)
        except ValueError as error:
            self._say(level, name, str(error))
            return
        if self._stores[level].get((namespace, name)) is not role or not self._still(templates):
            # Something has come between: what was put together would give what a template gives no more.
            self._add(level, namespace, name)
            return
        for each in wanted.skipped:
            self._say(level, name, each)
        patch = difference(role, wanted)
        if patch:
            await self._changes.patch(KINDS[level].resource, role, patch)

    async def _assemble(self, role: Object, level: str, templates: dict[str, Object]) -> Whole:
        """What ``role`` is to be with these templates, over as many turns of the reactor as that takes."""
        steps = assembling(role, level, templates)
        self._pacer.begin()
        while True:
            try:
                next(steps)
            except StopIteration as end:
                found: Whole = end.value
                return found
            if self._pacer.spent():
                await self._pacer.turn()

    def _still(self, templates: dict[str, Object]) -> bool:
        """Whether these are the templates there are."""
        there = self._templates.values()
        return len(there) == len(templates) and all(templates.get(name_of(each)) is each for each in there)

    def _named(self) -> dict[str, Object]:
        return {name_of(each): each for each in self._templates.values()}

    def _template(self, old: Object | None, new: Object | None) -> None:
        for value in (old, new):
            level = label(value, SCOPE) if value is not None else ""
            if level in self._stores:
                self._changed.setdefault(level, set()).add(name_of(value or {}))
                self._add(level, "", "")

    def _role(self, level: str, new: Object | None) -> None:
        if new is not None and concerns(new):
            self._add(level, *key_of(new))

    async def _concerned(self, level: str) -> None:
        changed = self._changed.pop(level, set())
        self._pacer.begin()
        for role in tuple(self._stores[level].values()):
            if concerns(role) and (annotation(role, AUTO_AGGREGATE) == "true" or changed & known_to(role)):
                self._add(level, *key_of(role))
            if self._pacer.spent():
                await self._pacer.turn()

    def _say(self, level: str, name: str, what: str) -> None:
        if (name, what) not in self._said:
            self._said.add((name, what))
            self.log.warn(
                "{kind} {name} lacks something of its templates: {what}", kind=KINDS[level].name, name=name, what=what
            )


def concerns(role: Object) -> bool:
    """Whether a role has anything to do with templates, or had."""
    return field(role, "aggregationRoleTemplates") is not None or bool(annotation(role, AGGREGATED))


def known_to(role: Object) -> set[str]:
    """The templates that a role has, or names."""
    note = note_of(role)
    return {*names_of(role), *(note.templates if note is not None else ())}


def difference(role: Object, wanted: Whole) -> dict[str, Any]:
    """The merge patch that makes ``role`` what is wanted; empty if it is so."""
    patch: dict[str, Any] = {}
    if (field(role, "rules") or []) != wanted.rules:
        patch["rules"] = wanted.rules
    if field(role, "aggregationRoleTemplates") is not None and names_of(role) != wanted.names:
        patch["aggregationRoleTemplates"] = {"templateNames": wanted.names}
    texts = {AGGREGATED: wanted.note, POLICY: wanted.policy}
    annotations = {key: text or None for key, text in texts.items() if annotation(role, key) != text}
    if annotations:
        patch["metadata"] = {"annotations": annotations}
    return patch
