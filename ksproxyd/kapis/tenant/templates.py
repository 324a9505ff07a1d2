"""Workspace templates, as they are written (spec 03, 5.4, D6, D7, D8, D19, D28)."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

from ksproxyd.kapis.echo import Written
from ksproxyd.kapis.router import Route
from ksproxyd.kapis.tenant.objects import (
    SUCCESS,
    Object,
    as_new,
    check_name,
    created,
    creator_of,
    made_again,
    missing,
    object_of,
    passed_on,
    read_body,
    read_patch,
    with_creator,
)
from ksproxyd.kapis.tenant.permissions import Permissions
from ksproxyd.kapis.tenant.placement import Placement
from ksproxyd.kapis.tenant.template_patch import of_placement, operations_of, patched
from ksproxyd.kube.client import KubeClient
from ksproxyd.kube.errors import KubeError
from ksproxyd.model.identity import Identity
from ksproxyd.model.message import Response
from ksproxyd.model.status import StatusError, bad_request, conflict, forbidden
from ksproxyd.server.exchange import Exchange
from ksproxyd.state.kinds import WORKSPACE_TEMPLATES
from ksproxyd.state.store import Store
from ksproxyd.state.validation import field, name_of, text

TEMPLATE = WORKSPACE_TEMPLATES.resource

#: What becomes of the namespaces of a workspace that is deleted; controllers read it (spec 03, 3.2).
PROPAGATION = "kubesphere.io/deletion-propagation"
_PROPAGATIONS = ("Orphan", "Foreground", "Background")

#: A patch is made again so often when somebody else writes the template at the same time.
_TRIES = 4


class Templates:
    """The writing endpoints. ``workspaces`` and ``workspacetemplates`` are two names for them."""

    def __init__(
        self, clock: IReactorTime, client: KubeClient, store: Store, permissions: Permissions, placement: Placement
    ) -> None:
        self._clock = clock
        self._client = client
        self._store = store
        self._permissions = permissions
        self._placement = placement

    def routes(self) -> list[Route]:
        """Of ``v1beta1``."""
        found = []
        for collection in ("/workspaces", "/workspacetemplates"):
            one = collection + "/{workspace}"
            found += [
                Route("POST", collection, self.create, "Create a workspace (its template)"),
                Route("PUT", one, self.put, "Replace a workspace's template"),
                Route("PATCH", one, self.patch, "Change a workspace's template (JSON Patch)"),
                Route("DELETE", one, self.delete, "Delete a workspace"),
            ]
        return found

    # -- creating ----------------------------------------------------------------------------------------------

    async def create(self, exchange: Exchange) -> Response:
        """A new workspace. Who does not manage workspaces is the manager of those they make."""
        user = exchange.user
        value = as_new(object_of(await read_body(exchange), TEMPLATE))
        self._placement.check(user, field(value, "spec", "placement"))
        if manager_of(value) != user.name and not self._permissions.manages_templates(user):
            raise self._refused(
                name_of(value), f'user "{user.name}" may make only workspaces whose manager they are themselves'
            )
        if not creator_of(value) or not self._permissions.may_everything(user):
            value = with_creator(value, user.name)
        try:
            stored = await self._client.create(TEMPLATE, value)
        except KubeError as error:
            raise passed_on(error) from error
        await self._heard(stored)
        return created(stored)

    # -- changing ----------------------------------------------------------------------------------------------

    async def put(self, exchange: Exchange, workspace: str) -> Response:
        """Replace a template. All clusters it is to be on, and those it leaves, must be the caller's to use."""
        value = object_of(await read_body(exchange), TEMPLATE)
        check_name(value, workspace)
        old = await self._read(workspace)
        self._check_change(exchange.user, old, value, unchanged=False)
        return await self._update(value)

    async def patch(self, exchange: Exchange, workspace: str) -> Response:
        """Apply a JSON Patch; it is judged by what it makes of the template, not by what it says."""
        user = exchange.user
        operations = operations_of(await read_patch(exchange))
        # Everybody gets this far (role ``authenticated``).
        if not self._permissions.updates_workspace(user, workspace):
            raise self._refused(workspace, f'user "{user.name}" may not change this workspace')
        if not all(map(of_placement, operations)) and not self._permissions.manages_templates(user):
            raise self._refused(
                workspace, f'user "{user.name}" may patch only the placement; send the whole template with PUT'
            )
        for left in range(_TRIES, 0, -1):
            old = await self._read(workspace)
            value = object_of(patched(old, operations), TEMPLATE)
            check_name(value, workspace)
            self._check_change(user, old, value, unchanged=True)
            try:
                return await self._update(value)
            except StatusError as error:
                if error.code != 409 or left == 1:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _check_change(self, user: Identity, old: Object, new: Object, *, unchanged: bool) -> None:
        """Raises unless ``user`` may make ``new`` of ``old``. ``unchanged``: clusters may stay that are not theirs."""
        before, after = field(old, "spec", "placement"), field(new, "spec", "placement")
        if not unchanged or before != after:
            self._placement.check(user, after, self._placement.names(before) if unchanged else ())
            stays = self._placement.names(after)
            leaves = [name_of(each) for each in self._placement.known_clusters(before) if name_of(each) not in stays]
            self._placement.check_named(user, leaves)
        again = made_again(old, new) or _owners(old) != _owners(new)
        if again and not self._permissions.manages_templates(user):
            raise self._refused(
                name_of(old),
                f'user "{user.name}" may not change its creator and owners, nor take away the finalizer of controllers',
            )

    async def _update(self, value: Object) -> Response:
        try:
            stored = await self._client.update(TEMPLATE, value)
        except KubeError as error:
            raise missing(TEMPLATE, name_of(value)) if error.code == 404 else passed_on(error) from error
        return Response.json(200, stored)

    # -- deleting ----------------------------------------------------------------------------------------------

    async def delete(self, exchange: Exchange, workspace: str) -> Response:
        """Delete a workspace. The body, ``DeleteOptions``, says what becomes of its namespaces."""
        options = await read_body(exchange)
        if not isinstance(options, dict):
            raise bad_request("the body is not a JSON object: send DeleteOptions, at least {}")
        if options.get("dryRun"):
            raise bad_request("workspaces are not deleted on trial: leave out dryRun")
        propagation = options.get("propagationPolicy")
        if propagation and propagation not in _PROPAGATIONS:
            raise bad_request(f"propagationPolicy is one of {', '.join(_PROPAGATIONS)}")
        old = await self._read(workspace)
        uid = text(old, "metadata", "uid")
        if text(options, "preconditions", "uid") not in ("", uid):
            raise conflict(f'workspace "{workspace}" is not the one with the uid of the preconditions')
        version = text(options, "preconditions", "resourceVersion")
        try:
            if propagation:
                noted: Object = {"metadata": {"uid": uid, "annotations": {PROPAGATION: propagation}}}
                if version:
                    noted["metadata"]["resourceVersion"] = version
                stored = await self._client.patch(TEMPLATE, workspace, noted)
                version = text(stored, "metadata", "resourceVersion") if version else ""
            await self._client.delete(TEMPLATE, workspace, uid=uid, resource_version=version)
        except KubeError as error:
            raise missing(TEMPLATE, workspace) if error.code == 404 else passed_on(error) from error
        return Response.json(200, SUCCESS)

    # -- parts -------------------------------------------------------------------------------------------------

    async def _read(self, name: str) -> Object:
        """The template as Kubernetes has it now."""
        try:
            return await self._client.get(TEMPLATE, name)
        except KubeError as error:
            raise missing(TEMPLATE, name) if error.code == 404 else passed_on(error) from error

    async def _heard(self, stored: Object) -> None:
        written = Written(self._store)
        written.stored(stored)
        await written.heard(self._clock)

    def _refused(self, name: str, why: str) -> StatusError:
        named = f' "{name}"' if name else ""
        details = {"name": name, "group": TEMPLATE.group, "kind": TEMPLATE.plural}
        return forbidden(f"{TEMPLATE}{named} is forbidden: {why}", {k: v for k, v in details.items() if v})


def manager_of(template: Object) -> str:
    """Who is to manage the workspace."""
    return text(template, "spec", "template", "spec", "manager")


def _owners(value: Object) -> list[object]:
    return field(value, "metadata", "ownerReferences") or []
