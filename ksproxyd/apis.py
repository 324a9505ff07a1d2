"""Joins KubeSphere's own API groups below ``/kapis``: which classes serve them, and where they stand in the tree."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.interfaces import IReactorTime

from ksproxyd.authorization import Authorization
from ksproxyd.chain import Outcome
from ksproxyd.kapis.dynamic.node import Dynamic
from ksproxyd.kapis.iam.access_review import AccessReviews
from ksproxyd.kapis.iam.members import Members
from ksproxyd.kapis.iam.role_templates import RoleTemplates
from ksproxyd.kapis.router import Route, Router
from ksproxyd.kapis.tenant import Tenant
from ksproxyd.kube.client import KubeClient
from ksproxyd.model.request_info import WORKSPACE_LABEL
from ksproxyd.server.exchange import Exchange
from ksproxyd.settings import Settings
from ksproxyd.state.kinds import NAMESPACES
from ksproxyd.state.state import State
from ksproxyd.state.validation import text
from ksproxyd.tree import Tree
from ksproxyd.tree.write_checks import WriteChecks

IAM = "/kapis/iam.kubesphere.io/v1beta1"


class Apis:
    """The groups. ``users`` are the routes of users, which belong to logins (:mod:`ksproxyd.logins`)."""

    def __init__(
        self,
        clock: IReactorTime,
        settings: Settings,
        state: State,
        client: KubeClient,
        authorization: Authorization,
        users: Iterable[Route],
    ) -> None:
        self._clock, self._client = clock, client
        self._namespaces = state.store(NAMESPACES)
        rights, bindings = authorization.rights, authorization.bindings
        members = Members(clock, state, client, bindings, authorization.escalation)
        self._iam = Router(
            IAM,
            "users, members, roles",
            [
                *users,
                *members.routes(),
                *RoleTemplates(clock, state, bindings, rights).routes(),
                *AccessReviews(clock, rights).routes(),
            ],
        )
        self._tenant = Tenant(clock, state, client, rights, bindings, settings.ksproxyd.tenancy)

    def mount(self, tree: Tree) -> None:
        """Serve them."""
        for router in (self._iam, *self._tenant.routers()):
            tree.mount(router.prefix, router, subtree=True)

    def mount_rest(self, tree: Tree, checks: WriteChecks, pass_on: Callable[[Exchange, bytes], Outcome]) -> None:
        """Serve the kinds without an API of their own, and what those that have one do not serve.

        ``pass_on`` sends a request to the API server as it is.
        """
        rest = Dynamic(self._clock, self._client, checks, pass_on, self._workspace_of)
        for router in (self._iam, *self._tenant.routers()):
            router.fallback = rest.handle
        for path in ("/kapis", "/kapi"):
            tree.mount(path, rest, subtree=True)

    def _workspace_of(self, namespace: str) -> str:
        return text(self._namespaces.get(("", namespace)), "metadata", "labels", WORKSPACE_LABEL)

    def stop(self) -> None:
        """Hear of no more changes."""
        self._tenant.stop()
