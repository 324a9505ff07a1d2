"""Who sees which workspaces, namespaces and clusters (spec 03, 5.3).

Whoever may list them all sees them all; everybody else sees those in which they, or a group of theirs, are bound to
something. Each object is seen once, and bindings in what is gone show nothing (D27).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from ksproxyd.kapis.listing_filters import strings
from ksproxyd.kapis.ordered import Ordered
from ksproxyd.kapis.tenant.own import Own
from ksproxyd.kapis.tenant.permissions import Bindings, Permissions
from ksproxyd.model.identity import Identity
from ksproxyd.model.request_info import WORKSPACE_LABEL
from ksproxyd.state.kinds import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTERS,
    NAMESPACES,
    ROLE_BINDINGS,
    USERS,
    WORKSPACE_ROLE_BINDINGS,
    WORKSPACE_TEMPLATES,
    WORKSPACES,
    Kind,
)
from ksproxyd.state.state import State
from ksproxyd.state.store import Store
from ksproxyd.state.validation import field, name_of, text
from ksproxyd.tree.member_cluster import HOST_LABEL

Object = dict[str, Any]

#: What is seen: everything there is, in its orders, or just some of it.
Seen = Ordered | Collection[Object]

#: The annotation of a User that names the clusters in which they are bound to something.
GRANTED_CLUSTERS = "iam.kubesphere.io/granted-clusters"


class Visibility:
    """What somebody sees, from memory. :meth:`stop` when it is no longer asked."""

    def __init__(self, state: State, permissions: Permissions, bindings: Bindings) -> None:
        self._permissions = permissions
        self._bindings = bindings
        self._users = state.store(USERS)
        self._orders = {
            kind: Ordered(state.store(kind)) for kind in (WORKSPACES, WORKSPACE_TEMPLATES, NAMESPACES, CLUSTERS)
        }
        self._own = {
            **{
                kind: Own(self._orders[kind], state.store(WORKSPACE_ROLE_BINDINGS), bindings.workspaces)
                for kind in (WORKSPACES, WORKSPACE_TEMPLATES)
            },
            NAMESPACES: Own(self._orders[NAMESPACES], state.store(ROLE_BINDINGS), bindings.namespaces),
        }
        self._in_workspace = state.store(NAMESPACES).index(lambda each: [workspace_of(each)])

    def stop(self) -> None:
        """Hear of no more changes."""
        for own in self._own.values():
            own.stop()
        for order in self._orders.values():
            order.stop()

    def store(self, kind: Kind) -> Store:
        """Everything there is of a kind."""
        return self._orders[kind].store

    # -- lists -------------------------------------------------------------------------------------------------

    def workspaces(self, user: Identity, kind: Kind = WORKSPACES) -> Seen:
        """Workspaces, or (``kind``) their templates."""
        if self._permissions.sees_all_workspaces(user):
            return self._orders[kind]
        return self._own[kind].of(user)

    def namespaces(self, user: Identity, workspace: str = "", *, labelled: str | None = None) -> Seen:
        """Namespaces, those of one workspace only if that is given.

        ``labelled`` is the workspace that a selector demands: it saves looking at others, and gives no more rights.
        """
        everything = self._permissions.sees_all_namespaces(user, workspace)
        if not workspace and labelled is None:
            return self._orders[NAMESPACES] if everything else self._own[NAMESPACES].of(user)
        found = self._in_workspace.get(workspace or labelled)
        return found if everything else [each for each in found if self._is_bound_in(user, name_of(each))]

    def clusters(self, user: Identity, more: Iterable[str] = ()) -> Seen:
        """Clusters; ``more`` names some that are seen beside those which are granted."""
        if self._permissions.sees_all_clusters(user):
            return self._orders[CLUSTERS]
        return self._named(CLUSTERS, [*self.granted_clusters(user), *more])

    def manages_clusters(self, user: Identity) -> bool:
        """Whether ``user`` sees every cluster, as who manages them does."""
        return self._permissions.sees_all_clusters(user)

    def granted_clusters(self, user: Identity) -> list[str]:
        """The names of the clusters in which ``user`` is bound to something.

        Members' bindings are not known here: controllers note them at the User. Those of this cluster are known, also
        the ones of groups. Somebody without a User (a service account) has just these.
        """
        noted = text(self._users.get(("", user.name)), "metadata", "annotations", GRANTED_CLUSTERS)
        found = [name.strip() for name in noted.split(",") if name.strip()]
        if self._bindings.of(CLUSTER_ROLE_BINDINGS, user):
            found += self.hosts()
        return found

    def hosts(self) -> list[str]:
        """The name of the Cluster that is this one, if there is any."""
        clusters = self.store(CLUSTERS).values()
        return [name_of(each) for each in clusters if HOST_LABEL in strings(field(each, "metadata", "labels"))]

    def _named(self, kind: Kind, names: Iterable[str]) -> list[Object]:
        get = self.store(kind).get
        return [each for name in dict.fromkeys(names) if (each := get(("", name))) is not None]

    # -- single objects (D17) ----------------------------------------------------------------------------------

    def sees_workspace(self, user: Identity, workspace: str) -> bool:
        """Whether ``workspace`` is in the list of workspaces of ``user``, or of one of its projects."""
        if self._bindings.of(WORKSPACE_ROLE_BINDINGS, user, workspace=workspace):
            return True
        return self._permissions.reads_workspace(user, workspace) or bool(self.namespaces(user, workspace))

    def sees_namespace(self, user: Identity, namespace: Object) -> bool:
        """Whether ``namespace`` is in the list of namespaces of ``user``."""
        return self._is_bound_in(user, name_of(namespace)) or self._permissions.sees_all_namespaces(
            user, workspace_of(namespace)
        )

    def _is_bound_in(self, user: Identity, namespace: str) -> bool:
        return bool(self._bindings.of(ROLE_BINDINGS, user, namespace=namespace))


def workspace_of(value: Object) -> str:
    """The workspace that an object belongs to; empty for none."""
    return text(value, "metadata", "labels", WORKSPACE_LABEL)
