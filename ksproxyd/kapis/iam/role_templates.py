"""``/kapis/iam.kubesphere.io/v1beta1/users/{user}/roletemplates``: what the roles of a user are made of (spec 03, 4.5),
which the console turns into what it shows them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from twisted.internet.interfaces import IReactorTime

from ksproxyd.authz.bindings import MAY_REFER, Bindings, role_ref
from ksproxyd.kapis.listing import encoded, envelope
from ksproxyd.kapis.router import Route
from ksproxyd.kube.pacing import Pacer
from ksproxyd.model.identity import Identity
from ksproxyd.model.message import Response
from ksproxyd.model.query import parameters
from ksproxyd.model.request_info import GLOBAL, WORKSPACE_LABEL
from ksproxyd.model.status import forbidden, not_found, service_unavailable
from ksproxyd.server.exchange import Exchange
from ksproxyd.state.kinds import (
    CLUSTER_ROLE_BINDINGS,
    GLOBAL_ROLE_BINDINGS,
    ROLE_BINDINGS,
    ROLE_KINDS,
    ROLE_TEMPLATES,
    WORKSPACE_ROLE_BINDINGS,
    WORKSPACE_ROLES,
    Kind,
)
from ksproxyd.state.state import State
from ksproxyd.state.validation import field, text

Object = dict[str, Any]

_KINDS = {kind.name: kind for kind in ROLE_KINDS}


class Rights(Protocol):
    """The part of :class:`ksproxyd.authz.rights.Rights` that is needed here."""

    def allowed(self, user: Identity, verb: str, group: str, resource: str, *, scope: str = "") -> bool: ...


class RoleTemplates:
    """The endpoint; :meth:`routes` are relative to the group's version."""

    def __init__(self, clock: IReactorTime, state: State, bindings: Bindings, rights: Rights) -> None:
        self._clock = clock
        self._state = state
        self._bindings = bindings
        self._rights = rights

    def routes(self) -> list[Route]:
        """The routes."""
        return [Route("GET", "/users/{user}/roletemplates", self.list, "Role templates of a user's roles")]

    async def list(self, exchange: Exchange, user: str) -> Response:
        """The templates, in the order in which roles name them; none of a scope that is not known."""
        caller = exchange.user
        # The group is empty here, as it has always been: who gets users of the one group only does not see this.
        if caller.name != user and not self._rights.allowed(caller, "get", "", "users", scope=GLOBAL):
            details = {"name": user, "group": "iam.kubesphere.io", "kind": "users"}
            raise forbidden(f'users.iam.kubesphere.io "{user}" is forbidden: not allow to get users', details)
        templates = self._state.store(ROLE_TEMPLATES)
        if not (templates.synced and self._bindings.synced):
            raise service_unavailable("roles are not known yet; try again in a moment", 1)
        asked = {name: values[0] for name, values in parameters(exchange.query).items()}
        scope, workspace, namespace = (asked.get(key, "") for key in ("scope", "workspace", "namespace"))
        roles = self._roles(Identity(user), scope, workspace, namespace)
        found = [
            {"apiVersion": ROLE_TEMPLATES.resource.api_version, "kind": ROLE_TEMPLATES.resource.kind, **template}
            for role in roles
            for name in _named(role)
            if (template := templates.get(("", name))) is not None
        ]
        items = await encoded(found, Pacer(self._clock))
        return Response(200, [(b"Content-Type", b"application/json")], envelope(items, len(found)))

    def _roles(self, user: Identity, scope: str, workspace: str, namespace: str) -> Iterator[Object]:
        """The user's roles; groups do not count. Raises a 404 for one of a workspace or namespace that is not there."""
        if scope in ("global", "cluster"):
            kind = GLOBAL_ROLE_BINDINGS if scope == "global" else CLUSTER_ROLE_BINDINGS
            for binding in self._bindings.of(kind, user)[:1]:
                role = self._role(kind, binding)
                if role is not None:
                    yield role
        elif scope in ("workspace", "namespace"):
            kind = WORKSPACE_ROLE_BINDINGS if scope == "workspace" else ROLE_BINDINGS
            place = {"workspace": workspace} if scope == "workspace" else {"namespace": namespace}
            wanted = workspace if scope == "workspace" else namespace
            for binding in self._bindings.of(kind, user, **place) if wanted else self._bindings.everywhere(kind, user):
                role = self._role(kind, binding)
                if role is not None:
                    if _counts(role, binding):
                        yield role
                elif role_ref(binding)[0] in MAY_REFER[kind]:
                    of, name = role_ref(binding)
                    raise not_found(f'{of}.iam.kubesphere.io "{name}" not found', {"name": name, "kind": of})

    def _role(self, kind: Kind, binding: Object) -> Object | None:
        """The role that a binding refers to; None for what a binding of its kind cannot give."""
        of, name = role_ref(binding)
        if of not in MAY_REFER[kind]:
            return None
        roles = _KINDS[of]
        namespace = text(binding, "metadata", "namespace") if roles.resource.namespaced else ""
        return self._state.store(roles).get((namespace, name))


def _counts(role: Object, binding: Object) -> bool:
    """Roles of one workspace give nothing in another."""
    if role_ref(binding)[0] != WORKSPACE_ROLES.name:
        return True
    return text(role, "metadata", "labels", WORKSPACE_LABEL) == text(binding, "metadata", "labels", WORKSPACE_LABEL)


def _named(role: Object) -> list[str]:
    names = field(role, "aggregationRoleTemplates", "templateNames")
    return [each for each in names if isinstance(each, str)] if isinstance(names, list) else []
