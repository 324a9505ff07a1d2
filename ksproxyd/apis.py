"""Joins KubeSphere's own API groups below ``/kapis``: which classes serve them, and where they stand in the tree."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.interfaces import IReactorTime

from ksproxyd.authorization import Authorization
from ksproxyd.kapis.iam.access_review import AccessReviews
from ksproxyd.kapis.iam.members import Members
from ksproxyd.kapis.iam.role_templates import RoleTemplates
from ksproxyd.kapis.router import Route, Router
from ksproxyd.kapis.tenant import Tenant
from ksproxyd.kube.client import KubeClient
from ksproxyd.settings import Settings
from ksproxyd.state.state import State
from ksproxyd.tree import Tree

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

    def stop(self) -> None:
        """Hear of no more changes."""
        self._tenant.stop()
