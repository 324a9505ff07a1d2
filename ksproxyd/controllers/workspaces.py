"""Workspaces: from a WorkspaceTemplate to its Workspace on this cluster, its roles and its manager, and back
(spec 03, 3.6).

A template that is new gets its roles; its manager becomes administrator; a finalizer says that this has been done. Who
manages it afterwards is said by bindings alone: another manager in the template is a name that is shown, as with the
original, so that whoever may write templates cannot make themselves administrators of them.

The Workspace follows the placement. When it goes, its namespaces leave it, or go as well, as the annotation
``kubesphere.io/deletion-propagation`` says. Rights in the workspace end with its template.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

from ksproxyd.controllers.builtin import BuiltinRoles, binding_of, binds, role_from
from ksproxyd.controllers.changes import Changes
from ksproxyd.controllers.labels import (
    FINALIZER,
    OWNER,
    PROPAGATION,
    PROTECTED,
    WORKSPACE,
    annotation,
    deleting,
    finalizers,
    label,
    labels,
    short_hash,
    strings,
    workspace_role,
)
from ksproxyd.controllers.placing import Here, wanted_workspace
from ksproxyd.state.kinds import (
    CLUSTERS,
    NAMESPACES,
    WORKSPACE_ROLE_BINDINGS,
    WORKSPACE_ROLES,
    WORKSPACE_TEMPLATES,
    WORKSPACES,
)
from ksproxyd.state.state import State
from ksproxyd.state.store import Object
from ksproxyd.state.validation import field, name_of, text

#: A template and its Workspace; a Workspace that goes.
TEMPLATE, GOING = "workspace template", "going workspace"
ADMIN = "admin"
ORPHAN, FOREGROUND, BACKGROUND = ("", "Orphan"), "Foreground", "Background"


class Workspaces:
    """``add(what, namespace, name)`` has :meth:`handle` called later."""

    log = Logger()

    def __init__(
        self,
        state: State,
        changes: Changes,
        builtin: BuiltinRoles,
        host_name: str,
        add: Callable[[str, str, str], object],
    ) -> None:
        self._templates = state.store(WORKSPACE_TEMPLATES)
        self._workspaces = state.store(WORKSPACES)
        self._clusters = state.store(CLUSTERS)
        self._roles = state.store(WORKSPACE_ROLES).index(_workspace_of)
        self._bindings = state.store(WORKSPACE_ROLE_BINDINGS).index(_workspace_of)
        self._namespaces = state.store(NAMESPACES)
        self._in = self._namespaces.index(_workspace_of)
        self._here = Here(self._clusters, host_name)
        self._changes = changes
        self._builtin = builtin
        self._add = add
        self._said: set[tuple[str, str]] = set()

    def subscribe(self) -> list[Callable[[], None]]:
        """Hear of changes; returns what ends that."""

        def changed(old: Object | None, new: Object | None) -> None:
            name = name_of(new or old or {})
            self._add(TEMPLATE, "", name)
            if new is not None and deleting(new):
                self._add(GOING, "", name)

        def moved(old: Object | None, new: Object | None) -> None:
            # What a Workspace may be waiting for.
            if old is not None and label(old, OWNER):
                self._add(GOING, "", label(old, OWNER))

        def placed(old: Object | None, new: Object | None) -> None:
            if old is None or new is None or labels(old) != labels(new):
                for name in self._names():
                    self._add(TEMPLATE, "", name)

        return [
            self._templates.subscribe(changed),
            self._workspaces.subscribe(changed),
            self._namespaces.subscribe(moved),
            self._clusters.subscribe(placed),
        ]

    def everything(self) -> list[tuple[str, str, str]]:
        """Every workspace."""
        going = [(GOING, "", name_of(each)) for each in self._workspaces.values() if deleting(each)]
        return [(TEMPLATE, "", name) for name in self._names()] + going

    def _names(self) -> list[str]:
        return list(dict.fromkeys([*map(name_of, self._templates.values()), *map(name_of, self._workspaces.values())]))

    async def handle(self, what: str, name: str) -> float:
        """Look at one workspace; returns in how many seconds to look again (0: when it changes)."""
        workspace = self._workspaces.get(("", name))
        if what == GOING:
            if workspace is not None and deleting(workspace) and FINALIZER in finalizers(workspace):
                await self._go(workspace, name)
            return 0.0
        if workspace is not None and not deleting(workspace) and FINALIZER not in finalizers(workspace):
            await self._keep(workspace)
        template = self._templates.get(("", name))
        if template is None:
            # On a member the templates are elsewhere.
            return 0.0
        if deleting(template):
            await self._end(template, workspace, name)
            return 0.0
        wait = 0.0
        if FINALIZER not in finalizers(template) and self._builtin.any_of(WORKSPACE):
            wait = self._builtin.unsettled()
            if not wait:
                await self._begin(template, name)
        await self._place(template, workspace, name)
        return wait

    # -- a new one ---------------------------------------------------------------------------------------------

    async def _begin(self, template: Object, name: str) -> None:
        have = {name_of(each) for each in self._roles.get(name)}
        admin = workspace_role(name, ADMIN)
        made = set()
        for model in self._builtin.of(WORKSPACE, labels(template)):
            role = workspace_role(name, name_of(model))
            made.add(role)
            if role not in have and not await self._create_role(model, role, name):
                made.discard(role)
        manager = text(template, "spec", "template", "spec", "manager")
        if manager and admin in made:
            await self._bind(name, admin, manager)
        patch = {"metadata": {"finalizers": [*finalizers(template), FINALIZER]}}
        await self._changes.patch(WORKSPACE_TEMPLATES.resource, template, patch)

    async def _create_role(self, model: Object, role: str, workspace: str) -> bool:
        """Whether the role is there, and the workspace's."""
        resource = WORKSPACE_ROLES.resource
        if await self._changes.create(resource, role_from(model, resource, role, workspace=workspace)):
            return True
        there = await self._changes.get(resource, role)
        if there is not None and label(there, OWNER) == workspace:
            return True
        self._say(
            workspace, "WorkspaceRole {role} of the workspace {name} cannot be made: there is one of another", role=role
        )
        return False

    async def _bind(self, workspace: str, role: str, user: str) -> None:
        resource = WORKSPACE_ROLE_BINDINGS.resource
        binding = binding_of(WORKSPACE_ROLE_BINDINGS, role, user, role, workspace=workspace)
        if await self._changes.create(resource, binding):
            return
        there = await self._changes.get(resource, role)
        if there is None or (binds(there, user) and label(there, OWNER) == workspace):
            return
        if label(there, OWNER) not in ("", workspace):
            # The names of a workspace and a member of another one come to the same: that one's rights are not ours.
            binding["metadata"]["name"] = f"{role}-{short_hash(workspace)}"
            await self._changes.create(resource, binding)
            return
        patch = {"metadata": {"labels": binding["metadata"]["labels"]}, "subjects": binding["subjects"]}
        await self._changes.patch(resource, there, patch | {"roleRef": binding["roleRef"]})

    # -- where it is -------------------------------------------------------------------------------------------

    async def _place(self, template: Object, workspace: Object | None, name: str) -> None:
        here = self._here.has(field(template, "spec", "placement"))
        if here is None:
            return
        if not here:
            if workspace is not None and not deleting(workspace):
                await self._changes.delete(WORKSPACES.resource, workspace)
            return
        wanted = wanted_workspace(template)
        if workspace is None:
            metadata: dict[str, Any] = {"name": name, "finalizers": [FINALIZER]}
            for key in ("labels", "annotations"):
                if found := strings(wanted[key]):
                    metadata[key] = found
            api = WORKSPACES.resource
            value = {
                "apiVersion": api.api_version,
                "kind": api.kind,
                "metadata": metadata,
                "spec": wanted["spec"] or {},
            }
            await self._changes.create(api, value)
            return
        if deleting(workspace):
            return
        patch: dict[str, Any] = {}
        if (field(workspace, "spec", "manager") or "") != (field(wanted["spec"], "manager") or ""):
            patch["spec"] = {"manager": field(wanted["spec"], "manager")}
        for key in ("labels", "annotations"):
            have = strings(field(workspace, "metadata", key))
            new = {each: value for each, value in strings(wanted[key]).items() if have.get(each) != value}
            if new:
                patch.setdefault("metadata", {})[key] = new
        if patch:
            await self._changes.patch(WORKSPACES.resource, workspace, patch)

    async def _keep(self, workspace: Object) -> None:
        patch = {"metadata": {"finalizers": [*finalizers(workspace), FINALIZER]}}
        await self._changes.patch(WORKSPACES.resource, workspace, patch)

    # -- the end -----------------------------------------------------------------------------------------------

    async def _end(self, template: Object, workspace: Object | None, name: str) -> None:
        if FINALIZER not in finalizers(template):
            return
        if workspace is not None:
            await self._delete(workspace, annotation(template, PROPAGATION))
            # It is looked at again when the Workspace is gone.
            return
        for each in self._bindings.get(name):
            await self._changes.delete(WORKSPACE_ROLE_BINDINGS.resource, each)
        for each in self._roles.get(name):
            await self._changes.delete(WORKSPACE_ROLES.resource, each)
        left = [each for each in finalizers(template) if each != FINALIZER]
        await self._changes.patch(WORKSPACE_TEMPLATES.resource, template, {"metadata": {"finalizers": left or None}})

    async def _delete(self, workspace: Object, propagation: str) -> None:
        if annotation(workspace, PROPAGATION) != propagation:
            patch = {"metadata": {"annotations": {PROPAGATION: propagation or None}}}
            await self._changes.patch(WORKSPACES.resource, workspace, patch)
            # And deleted with it: the change is seen, and the template looked at again.
        elif not deleting(workspace):
            await self._changes.delete(WORKSPACES.resource, workspace)

    async def _go(self, workspace: Object, name: str) -> None:
        propagation = annotation(workspace, PROPAGATION)
        members = self._in.get(name)
        if propagation in ORPHAN:
            for each in members:
                await self._leave(each)
        elif propagation in (FOREGROUND, BACKGROUND):
            for each in members:
                if label(each, PROTECTED) == "true":
                    # An admission webhook would refuse it, where there is one.
                    await self._leave(each)
                elif not deleting(each):
                    await self._changes.delete(NAMESPACES.resource, each)
            if propagation == FOREGROUND and members:
                return
        else:
            self._say(
                name,
                "the namespaces of the workspace {name} stay in it: its deletion-propagation {value!r} is none of "
                "Orphan, Foreground, Background",
                value=propagation,
            )
        left = [each for each in finalizers(workspace) if each != FINALIZER]
        await self._changes.patch(WORKSPACES.resource, workspace, {"metadata": {"finalizers": left or None}})

    async def _leave(self, namespace: Object) -> None:
        await self._changes.patch(NAMESPACES.resource, namespace, {"metadata": {"labels": {OWNER: None}}})

    def _say(self, name: str, message: str, **values: Any) -> None:
        if (name, message) not in self._said:
            self._said.add((name, message))
            self.log.warn(message, name=name, **values)


def _workspace_of(value: Object) -> list[str]:
    found = label(value, OWNER)
    return [found] if found else []
