"""Namespaces of workspaces (spec 03, 5.6, D18, D19, D28)."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from msgspec.structs import replace
from twisted.internet.interfaces import IReactorTime

from ksproxyd.kapis.echo import Written
from ksproxyd.kapis.listing import Query, parse_query
from ksproxyd.kapis.router import Route
from ksproxyd.kapis.tenant.lists import PHASE, Lists
from ksproxyd.kapis.tenant.objects import (
    SUCCESS,
    Object,
    after_merge,
    as_new,
    check_name,
    created,
    creator_of,
    foreign,
    made_again,
    object_of,
    of_same_object,
    passed_on,
    read_body,
    read_patch,
    with_creator,
    with_label,
)
from ksproxyd.kapis.tenant.permissions import Permissions
from ksproxyd.kapis.tenant.visibility import Visibility, workspace_of
from ksproxyd.kube.client import KubeClient
from ksproxyd.kube.errors import KubeError
from ksproxyd.model.identity import Identity
from ksproxyd.model.message import Response
from ksproxyd.model.request_info import WORKSPACE_LABEL
from ksproxyd.model.status import bad_request, forbidden
from ksproxyd.server.exchange import Exchange
from ksproxyd.state.kinds import GROUP_BINDINGS, NAMESPACES, ROLE_BINDINGS
from ksproxyd.state.state import State
from ksproxyd.state.validation import field, text

NAMESPACE = NAMESPACES.resource

_ALL_OF_WORKSPACE = "/workspaces/{workspace}/namespaces"
_ONE_OF_WORKSPACE = _ALL_OF_WORKSPACE + "/{namespace}"


class Namespaces:
    """The endpoints. With ``strict``, namespaces that somebody has no part in are not there for them (D17)."""

    def __init__(
        self,
        clock: IReactorTime,
        state: State,
        client: KubeClient,
        lists: Lists,
        visibility: Visibility,
        permissions: Permissions,
        strict: bool,
    ) -> None:
        self._clock = clock
        self._client = client
        self._lists = lists
        self._visibility = visibility
        self._permissions = permissions
        self._strict = strict
        self._store = state.store(NAMESPACES)
        self._groups = state.store(GROUP_BINDINGS).index(_users_of)

    def routes(self) -> list[Route]:
        """Of ``v1beta1``."""
        return [
            *self.old_routes(),
            Route("POST", _ALL_OF_WORKSPACE, self.create, "Create a namespace in a workspace"),
            Route("PUT", _ONE_OF_WORKSPACE, self.put, "Replace a namespace"),
            Route("PATCH", _ONE_OF_WORKSPACE, self.patch, "Change a namespace (merge patch)"),
            Route("DELETE", _ONE_OF_WORKSPACE, self.delete, "Delete a namespace"),
            Route(
                "GET",
                "/workspaces/{workspace}/workspacemembers/{member}/namespaces",
                self.of_member,
                "Namespaces of a workspace that a member sees",
            ),
        ]

    def old_routes(self) -> list[Route]:
        """Of ``v1alpha3``."""
        return [
            Route("GET", "/namespaces", self.list, "Namespaces that one sees"),
            Route("GET", _ALL_OF_WORKSPACE, self.of_workspace, "Namespaces of a workspace that one sees"),
            Route("GET", _ONE_OF_WORKSPACE, self.get, "A namespace of a workspace"),
        ]

    # -- reading -----------------------------------------------------------------------------------------------

    def list(self, exchange: Exchange) -> Awaitable[Response]:
        """Namespaces, of whatever workspace."""
        return self._listed(exchange.user, "", parse_query(exchange.query))

    def of_workspace(self, exchange: Exchange, workspace: str) -> Awaitable[Response]:
        """Namespaces of one workspace. That restricts the labels already, so a filter ``label`` counts for nothing."""
        return self._listed(exchange.user, workspace, _without_label(parse_query(exchange.query)))

    def of_member(self, exchange: Exchange, workspace: str, member: str) -> Awaitable[Response]:
        """What somebody else sees: they are known by their name, and by the groups that they are bound to."""
        who, query = exchange.user, _without_label(parse_query(exchange.query))
        if self._strict and who.name != member and not self._permissions.reads_members(who, workspace):
            raise forbidden(f'user "{who.name}" may not see who the members of workspace "{workspace}" are')
        groups = {text(each, "groupRef", "name"): None for each in self._groups.get(member)}
        return self._listed(Identity(member, tuple(filter(None, groups))), workspace, query)

    def _listed(self, user: Identity, workspace: str, query: Query) -> Awaitable[Response]:
        self._lists.need(NAMESPACES, ROLE_BINDINGS)
        seen = self._visibility.namespaces(user, workspace, labelled=query.labels.exact(WORKSPACE_LABEL))
        return self._lists.answer(seen, query, more=PHASE)

    def get(self, exchange: Exchange, workspace: str, namespace: str) -> Response:
        """One namespace."""
        self._lists.need(NAMESPACES)
        value = self._store.get(("", namespace))
        if value is None or workspace_of(value) != workspace:
            raise foreign(NAMESPACE, namespace)
        if self._strict and not self._visibility.sees_namespace(exchange.user, value):
            raise foreign(NAMESPACE, namespace)
        return Response.json(200, value)

    # -- writing -----------------------------------------------------------------------------------------------

    async def create(self, exchange: Exchange, workspace: str) -> Response:
        """A new namespace in a workspace. Who makes it will administer it, so it is noted who that is."""
        value = as_new(object_of(await read_body(exchange), NAMESPACE))
        value = with_label(value, WORKSPACE_LABEL, workspace)
        if not creator_of(value) or not self._permissions.may_everything(exchange.user):
            value = with_creator(value, exchange.user.name)
        try:
            stored = await self._client.create(NAMESPACE, value)
        except KubeError as error:
            raise passed_on(error) from error
        # Until it is known which workspace it is in, its maker may do nothing with it.
        written = Written(self._store)
        written.stored(stored)
        await written.heard(self._clock)
        return created(stored)

    async def put(self, exchange: Exchange, workspace: str, namespace: str) -> Response:
        """Replace a namespace; it stays in its workspace."""
        value = object_of(await read_body(exchange), NAMESPACE)
        check_name(value, namespace)
        old = await self._read(workspace, namespace)
        value = of_same_object(old, with_label(value, WORKSPACE_LABEL, workspace))
        self._check_change(exchange.user, workspace, old, value)
        try:
            return Response.json(200, await self._client.update(NAMESPACE, value))
        except KubeError as error:
            raise foreign(NAMESPACE, namespace) if error.code == 404 else passed_on(error) from error

    async def patch(self, exchange: Exchange, workspace: str, namespace: str) -> Response:
        """Change some of a namespace: the body is a part of it, whatever kind of patch it is called."""
        body = await read_patch(exchange)
        if not isinstance(body, dict):
            raise bad_request("a namespace is changed by a part of it (a merge patch): send a JSON object")
        patch = object_of(body, NAMESPACE)
        old = await self._read(workspace, namespace)
        # A null would take away all of it.
        metadata = {key: each for key, each in patch["metadata"].items() if each is not None or key not in _KEPT}
        patch = of_same_object(old, {**patch, "metadata": {**metadata, "name": namespace}})
        if "labels" in metadata:
            patch = with_label(patch, WORKSPACE_LABEL, workspace)
        self._check_change(exchange.user, workspace, old, after_merge(old, patch))
        try:
            return Response.json(200, await self._client.patch(NAMESPACE, namespace, patch))
        except KubeError as error:
            raise foreign(NAMESPACE, namespace) if error.code == 404 else passed_on(error) from error

    async def delete(self, exchange: Exchange, workspace: str, namespace: str) -> Response:
        """Delete a namespace."""
        old = await self._read(workspace, namespace)
        try:
            await self._client.delete(NAMESPACE, namespace, uid=text(old, "metadata", "uid"))
        except KubeError as error:
            raise foreign(NAMESPACE, namespace) if error.code == 404 else passed_on(error) from error
        return Response.json(200, SUCCESS)

    async def _read(self, workspace: str, name: str) -> Object:
        """The namespace as Kubernetes has it now. Raises the 404 for one that is not there, or in another workspace."""
        try:
            value = await self._client.get(NAMESPACE, name)
        except KubeError as error:
            raise foreign(NAMESPACE, name) if error.code == 404 else passed_on(error) from error
        if workspace_of(value) != workspace:
            raise foreign(NAMESPACE, name)
        return value

    def _check_change(self, user: Identity, workspace: str, old: Object, new: Object) -> None:
        """Raises the 403 for what would make controllers give somebody the namespace anew (D18)."""
        if made_again(old, new) and not self._permissions.moves_namespaces(user, workspace):
            name = text(old, "metadata", "name")
            raise forbidden(
                f'namespaces "{name}" is forbidden: user "{user.name}" may not change its creator, nor take away the '
                f'finalizer of controllers, without the right to create and delete namespaces in "{workspace}"',
                {"name": name, "kind": "namespaces"},
            )


#: Parts of metadata that a patch changes, but does not take away.
_KEPT = ("labels", "annotations")


def _without_label(query: Query) -> Query:
    return replace(query, filters=tuple(each for each in query.filters if each[0] != "label"))


def _users_of(binding: Any) -> list[str]:
    users = field(binding, "users")
    return [each for each in users if isinstance(each, str)] if isinstance(users, list) else []
