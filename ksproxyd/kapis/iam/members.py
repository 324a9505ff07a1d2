"""``clustermembers``, ``workspacemembers`` and ``namespacemembers`` of ``/kapis/iam.kubesphere.io/v1beta1``
(spec 03, 4.1 to 4.4).

A member is a binding that names a user. Lists are answered from memory; who writes is answered once the gateway has
heard of what was written, so that it also reads it.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Any, Protocol

import msgspec
from twisted.internet.interfaces import IReactorTime

from ksproxyd.authz.bindings import Bindings
from ksproxyd.kapis.bodies import read_document
from ksproxyd.kapis.echo import is_ending, until
from ksproxyd.kapis.iam.assignments import Assignments, refused
from ksproxyd.kapis.iam.member_scopes import (
    IN_CLUSTER,
    IN_NAMESPACE,
    IN_WORKSPACE,
    Member,
    Object,
    Scope,
    check_role,
    check_username,
    first_user,
    member_from,
    members_from,
    no_role,
    role_elsewhere,
    shown_member,
)
from ksproxyd.kapis.iam.user_objects import missing, shown, with_annotations
from ksproxyd.kapis.listing import envelope, listed, parse_query
from ksproxyd.kapis.router import Route
from ksproxyd.kube.client import KubeClient
from ksproxyd.kube.errors import KubeError
from ksproxyd.kube.pacing import Pacer
from ksproxyd.model.identity import Identity
from ksproxyd.model.message import Response
from ksproxyd.model.query import parameter
from ksproxyd.model.request_info import WORKSPACE_LABEL
from ksproxyd.model.status import bad_request, service_unavailable
from ksproxyd.server.exchange import Exchange
from ksproxyd.state.kinds import USERS
from ksproxyd.state.state import State
from ksproxyd.state.validation import text

_SUCCESS = {"message": "success"}

#: The clock is looked at for every 64th binding.
_OFTEN = 63


class Escalation(Protocol):
    """The part of :class:`ksproxyd.authz.escalation.Escalation` that is needed here."""

    def check_binding(
        self, user: Identity, role_ref: Any, *, namespace: str = "", workspace: str = "", scope: str = ""
    ) -> None: ...


class Members:
    """The endpoints; :meth:`routes` are relative to the group's version."""

    def __init__(
        self, clock: IReactorTime, state: State, client: KubeClient, bindings: Bindings, escalation: Escalation
    ) -> None:
        self._clock = clock
        self._state = state
        self._client = client
        self._bindings = bindings
        self._escalation = escalation
        self._assignments = Assignments(clock, client, bindings)

    def routes(self) -> list[Route]:
        """The routes."""
        found = []
        for scope, where, title in (
            (IN_CLUSTER, "", "the cluster"),
            (IN_WORKSPACE, "/workspaces/{workspace}", "a workspace"),
            (IN_NAMESPACE, "/namespaces/{namespace}", "a namespace"),
        ):
            all_of_them = f"{where}/{scope.words}"
            one = f"{all_of_them}/{{member}}"
            found += [
                Route("GET", all_of_them, partial(self._list, scope), f"Members of {title}"),
                Route("POST", all_of_them, partial(self._create, scope), f"Add members to {title}"),
                Route("PUT", one, partial(self._update, scope), f"Give a member of {title} another role"),
                Route("DELETE", one, partial(self._remove, scope), f"Remove a member of {title}"),
            ]
            if scope is IN_WORKSPACE:
                found.append(Route("GET", one, self._get, f"A member of {title}"))
        return found

    # -- reading -----------------------------------------------------------------------------------------------

    async def _list(self, scope: Scope, exchange: Exchange, workspace: str = "", namespace: str = "") -> Response:
        """A page of the members. Places that do not exist have none."""
        self._need(scope)
        query = parse_query(exchange.query)
        role = parameter(exchange.query, scope.parameter)
        pacer = Pacer(self._clock)
        found = []
        pacer.begin()
        for index, binding in enumerate(tuple(self._at(scope, workspace or namespace))):
            given, user = text(binding, "roleRef", "name"), first_user(binding)
            if user and (not role or given == role) and not is_ending(binding):
                found.append(shown_member(scope, user, given))
            if not index & _OFTEN and pacer.spent():
                await pacer.turn()
        items, total = await listed(found, query, pacer)
        return Response(200, [(b"Content-Type", b"application/json")], envelope(items, total))

    def _at(self, scope: Scope, place: str) -> Collection[Object]:
        if scope is IN_WORKSPACE:
            return self._bindings.in_workspace(place)
        if scope is IN_NAMESPACE:
            return self._bindings.in_namespace(place)
        return self._bindings.store(scope.bindings).values()

    async def _get(self, exchange: Exchange, workspace: str, member: str) -> Response:
        """The user who is a member, with their role."""
        self._need(IN_WORKSPACE)
        users = self._state.store(USERS)
        if not users.synced:
            raise _not_yet()
        found = self._assignments.of(IN_WORKSPACE, workspace, member)
        if not found:
            raise _no_member(member)
        user = users.get(("", member))
        if user is None:
            raise missing(member)
        role = text(found[0], "roleRef", "name")
        answer = with_annotations(shown(user), lambda annotations: annotations.update({IN_WORKSPACE.annotation: role}))
        return Response.json(200, answer, [(b"Cache-Control", b"no-store")])

    # -- writing -----------------------------------------------------------------------------------------------

    async def _create(self, scope: Scope, exchange: Exchange, workspace: str = "", namespace: str = "") -> Response:
        """Add members, or give those that are there another role: one after the other, until one is refused."""
        members = members_from(await read_document(exchange))
        self._need(scope)
        for member in members:
            check_username(member.username)
            check_role(member.role_ref)
        for member in members:
            await self._assign(scope, workspace or namespace, exchange.user, member)
        return Response(200, [(b"Content-Type", b"application/json")], msgspec.json.encode(members))

    async def _update(
        self, scope: Scope, exchange: Exchange, member: str, workspace: str = "", namespace: str = ""
    ) -> Response:
        """Give a member another role."""
        wanted = member_from(await read_document(exchange))
        if wanted.username != member:
            raise bad_request(f"incorrect username {member}, the username must equal to the member")
        self._need(scope)
        check_username(member)
        check_role(wanted.role_ref)
        if not await self._assignments.exists(scope, workspace or namespace, member):
            raise _no_member(member)
        await self._assign(scope, workspace or namespace, exchange.user, wanted)
        return Response.json(200, _SUCCESS)

    async def _remove(
        self, scope: Scope, exchange: Exchange, member: str, workspace: str = "", namespace: str = ""
    ) -> Response:
        """Take all roles of a user there; who is no member is none afterwards, either."""
        check_username(member)
        self._need(scope)
        await self._assignments.remove(scope, workspace or namespace, member)
        return Response.json(200, _SUCCESS)

    async def _assign(self, scope: Scope, place: str, who: Identity, member: Member) -> None:
        await self._need_role(scope, place, member.role_ref)
        role_ref = {"kind": scope.role_kind, "name": member.role_ref}

        def check() -> None:
            self._escalation.check_binding(who, role_ref, **scope.of(place))

        await self._assignments.assign(scope, place, member.username, member.role_ref, check)

    async def _need_role(self, scope: Scope, place: str, name: str) -> None:
        """Raises a 404 for a role that is not there, or belongs to another workspace."""
        store, key = self._state.store(scope.roles), (scope.namespace(place), name)
        if key not in store:
            try:
                await self._client.get(scope.roles.resource, name, key[0])
            except KubeError as error:
                raise no_role(scope, name) if error.code == 404 else refused(error) from error
            # Made just now. What it grants is known when we have heard of it, and not before.
            await until(self._clock, store, lambda: key in store)
        role = store.get(key)
        if role is None:
            raise no_role(scope, name)
        if scope is IN_WORKSPACE and text(role, "metadata", "labels", WORKSPACE_LABEL) != place:
            raise role_elsewhere(scope, name)

    def _need(self, scope: Scope) -> None:
        if not (self._bindings.store(scope.bindings).synced and self._state.store(scope.roles).synced):
            raise _not_yet()


def _not_yet() -> Exception:
    return service_unavailable("roles and members are not known yet; try again in a moment", 1)


def _no_member(name: str) -> Exception:
    return bad_request(f"member {name} not exist")
