"""``tenant.kubesphere.io``: workspaces, their namespaces, clusters and quotas (spec 03, 5).

What is read comes from memory: :mod:`.visibility` says who sees what, :mod:`.lists` makes pages of it. What is written
goes to Kubernetes, after :mod:`.placement` and :mod:`.permissions` have said what authorization by path cannot.
"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

from ksproxyd.kapis.router import Router
from ksproxyd.kapis.tenant.clusters import Clusters
from ksproxyd.kapis.tenant.lists import Lists
from ksproxyd.kapis.tenant.metrics import Metrics
from ksproxyd.kapis.tenant.namespaces import Namespaces
from ksproxyd.kapis.tenant.permissions import Bindings, Permissions, Rights
from ksproxyd.kapis.tenant.placement import Placement
from ksproxyd.kapis.tenant.quotas import Quotas
from ksproxyd.kapis.tenant.templates import Templates
from ksproxyd.kapis.tenant.visibility import Visibility
from ksproxyd.kapis.tenant.workspaces import Workspaces
from ksproxyd.kube.client import KubeClient
from ksproxyd.settings.tenancy import TenancySettings
from ksproxyd.state.kinds import WORKSPACE_TEMPLATES
from ksproxyd.state.state import State

ROOT = "/kapis/tenant.kubesphere.io"


class Tenant:
    """The API group in its two versions. :meth:`stop` when nothing is asked of it any more."""

    def __init__(
        self,
        clock: IReactorTime,
        state: State,
        client: KubeClient,
        rights: Rights,
        bindings: Bindings,
        settings: TenancySettings,
    ) -> None:
        permissions, lists, strict = Permissions(rights), Lists(clock, state), settings.hide_foreign
        self._visibility = visibility = Visibility(state, permissions, bindings)
        placement = Placement(visibility, permissions, bindings)
        self._workspaces = Workspaces(lists, visibility, strict)
        self._clusters = Clusters(lists, visibility, bindings, placement, self._workspaces)
        self._namespaces = Namespaces(clock, state, client, lists, visibility, permissions, strict)
        self._templates = Templates(clock, client, state.store(WORKSPACE_TEMPLATES), permissions, placement)
        self._quotas = Quotas(client, visibility, strict)
        self._metrics = Metrics(clock, state, client, lists, visibility, permissions, bindings)

    def routers(self) -> list[Router]:
        """What to mount in the tree, each at its ``prefix``."""
        current = [
            *self._workspaces.routes(),
            *self._templates.routes(),
            *self._clusters.routes(),
            *self._namespaces.routes(),
            *self._quotas.routes(),
            *self._metrics.routes(),
        ]
        old = [*self._workspaces.old_routes(), *self._clusters.routes(), *self._namespaces.old_routes()]
        return [
            Router(f"{ROOT}/v1beta1", "tenants", current),
            Router(f"{ROOT}/v1alpha3", "tenants (old)", old),
        ]

    def stop(self) -> None:
        """Hear of no more changes."""
        self._visibility.stop()
