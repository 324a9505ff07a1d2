"""Numbers for the console's overviews (spec 03, 5.8, D30): nobody is told more than the lists would show them."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

from ksproxyd.kapis.router import Route
from ksproxyd.kapis.tenant.clusters import is_managed
from ksproxyd.kapis.tenant.lists import Lists, each_of
from ksproxyd.kapis.tenant.objects import passed_on
from ksproxyd.kapis.tenant.permissions import Bindings, Permissions
from ksproxyd.kapis.tenant.visibility import Visibility, workspace_of
from ksproxyd.kube.client import KubeClient
from ksproxyd.kube.errors import KubeError
from ksproxyd.kube.resource import Resource
from ksproxyd.model.identity import Identity
from ksproxyd.model.message import Response
from ksproxyd.server.exchange import Exchange
from ksproxyd.state.kinds import (
    CLUSTERS,
    NAMESPACES,
    ROLE_BINDINGS,
    USERS,
    WORKSPACE_ROLE_BINDINGS,
    WORKSPACE_ROLES,
    WORKSPACE_TEMPLATES,
)
from ksproxyd.state.state import State
from ksproxyd.state.validation import field

_INSTALL_PLANS = Resource("kubesphere.io", "v1alpha1", "installplans", "InstallPlan")


class Metrics:
    """The endpoints."""

    def __init__(
        self,
        clock: IReactorTime,
        state: State,
        client: KubeClient,
        lists: Lists,
        visibility: Visibility,
        permissions: Permissions,
        bindings: Bindings,
    ) -> None:
        self._clock = clock
        self._client = client
        self._lists = lists
        self._visibility = visibility
        self._permissions = permissions
        self._bindings = bindings
        self._users = state.store(USERS)
        self._roles = state.store(WORKSPACE_ROLES).index(lambda each: [workspace_of(each)])

    def routes(self) -> list[Route]:
        """Of ``v1beta1``."""
        return [
            Route("GET", "/metrics", self.of_platform, "Numbers of the platform"),
            Route("GET", "/workspaces/{workspace}/metrics", self.of_workspace, "Numbers of a workspace"),
        ]

    def of_workspace(self, exchange: Exchange, workspace: str) -> Response:
        """Members and roles are counted for who has a part in the workspace."""
        self._lists.need(NAMESPACES, ROLE_BINDINGS, WORKSPACE_ROLE_BINDINGS, WORKSPACE_ROLES)
        found: dict[str, int] = {}
        if self._visibility.sees_workspace(exchange.user, workspace):
            found["workspace_workspacerolebinding_count"] = len(self._bindings.in_workspace(workspace))
            found["workspace_workspacerole_count"] = len(self._roles.get(workspace))
        found["workspace_namespace_count"] = len(self._visibility.namespaces(exchange.user, workspace))
        return self._answer(found)

    async def of_platform(self, exchange: Exchange) -> Response:
        """What the caller may list is counted; of workspaces and clusters, those that they see."""
        user = exchange.user
        self._lists.need(USERS, WORKSPACE_TEMPLATES, WORKSPACE_ROLE_BINDINGS, CLUSTERS)
        found: dict[str, int] = {}
        if self._permissions.lists(user, "iam.kubesphere.io", "users"):
            found["platform_user_count"] = len(self._users)
        if self._permissions.lists(user, _INSTALL_PLANS.group, _INSTALL_PLANS.plural):
            found["platform_installplan_count"] = await self._install_plans()
        found |= {name: count for name, count in self._seen(user) if count}
        return self._answer(found)

    def _seen(self, user: Identity) -> list[tuple[str, int]]:
        return [
            ("platform_workspace_count", len(self._visibility.workspaces(user, WORKSPACE_TEMPLATES))),
            ("platform_cluster_count", sum(map(is_managed, each_of(self._visibility.clusters(user))))),
        ]

    async def _install_plans(self) -> int:
        """Their number: the first one, and how many remain. A cluster that does not know them has none."""
        try:
            found = await self._client.read(_INSTALL_PLANS.path(), "limit=1")
        except KubeError as error:
            if error.code == 404:
                return 0
            raise passed_on(error) from error
        items, remaining = field(found, "items"), field(found, "metadata", "remainingItemCount")
        first = len(items) if isinstance(items, list) else 0
        return first + (remaining if isinstance(remaining, int) else 0)

    def _answer(self, found: dict[str, int]) -> Response:
        now = int(self._clock.seconds())
        return Response.json(200, {"results": [_sample(name, now, count) for name, count in found.items()]})


def _sample(name: str, now: int, count: int) -> dict[str, object]:
    return {"metric_name": name, "data": {"resultType": "vector", "result": [{"value": [now, count]}]}}
