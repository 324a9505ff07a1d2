"""What the tenant API asks of RBAC beside the request itself, each question once (spec 03, 5.3 to 5.8 and 8.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from ksproxyd.model.identity import Identity
from ksproxyd.model.request_info import CLUSTER, GLOBAL, WORKSPACE
from ksproxyd.state.kinds import Kind

TENANT = "tenant.kubesphere.io"
CLUSTER_GROUP = "cluster.kubesphere.io"

Object = dict[str, Any]


class Rights(Protocol):
    """The part of :class:`ksproxyd.authz.rights.Rights` that is needed here."""

    def allowed(
        self,
        user: Identity,
        verb: str,
        group: str,
        resource: str,
        *,
        subresource: str = "",
        name: str = "",
        namespace: str = "",
        workspace: str = "",
        scope: str = "",
    ) -> bool: ...


class Bindings(Protocol):
    """The part of :class:`ksproxyd.authz.bindings.Bindings` that is needed here."""

    def of(self, kind: Kind, user: Identity, *, namespace: str = "", workspace: str = "") -> Sequence[Object]: ...

    def workspaces(self, user: Identity) -> list[str]: ...

    def namespaces(self, user: Identity) -> list[str]: ...

    def in_workspace(self, workspace: str) -> Sequence[Object]: ...


class Permissions:
    """The questions. None of them is about the request that is being answered: that has been let through already."""

    def __init__(self, rights: Rights) -> None:
        self._allowed = rights.allowed

    # -- who sees everything (5.3) -----------------------------------------------------------------------------

    def sees_all_workspaces(self, user: Identity) -> bool:
        """Only a rule for the group ``*`` says so; one that names ``tenant.kubesphere.io`` does not."""
        return self._allowed(user, "list", "*", "workspaces", scope=GLOBAL)

    def sees_all_namespaces(self, user: Identity, workspace: str = "") -> bool:
        """Those of all workspaces and of none, or those of ``workspace``."""
        if workspace:
            return self._allowed(user, "list", "", "namespaces", workspace=workspace, scope=WORKSPACE)
        return self._allowed(user, "list", "", "namespaces", scope=CLUSTER)

    def sees_all_clusters(self, user: Identity) -> bool:
        """Every Cluster."""
        return self._allowed(user, "list", CLUSTER_GROUP, "clusters", scope=GLOBAL)

    def reads_workspace(self, user: Identity, workspace: str) -> bool:
        """Whether a role says so, in this workspace or everywhere, for workspaces of any group (as lists ask)."""
        return self._allowed(user, "get", "*", "workspaces", name=workspace, workspace=workspace, scope=WORKSPACE)

    def reads_members(self, user: Identity, workspace: str) -> bool:
        """Who the members of a workspace are."""
        return self._allowed(
            user, "list", "iam.kubesphere.io", "workspacemembers", workspace=workspace, scope=WORKSPACE
        )

    def lists(self, user: Identity, group: str, resource: str) -> bool:
        """All objects of a global resource."""
        return self._allowed(user, "list", group, resource, scope=GLOBAL)

    # -- who may change what (5.4, 5.6) ------------------------------------------------------------------------

    def manages_cluster(self, user: Identity, name: str) -> bool:
        """Who may delete a cluster may do with it what they like; an empty name is all clusters, even later ones."""
        return self._allowed(user, "delete", CLUSTER_GROUP, "clusters", name=name, scope=GLOBAL)

    def manages_templates(self, user: Identity) -> bool:
        """Who may delete any workspace may also say whose they are."""
        return self._allowed(user, "delete", TENANT, "workspacetemplates", scope=GLOBAL)

    def updates_workspace(self, user: Identity, workspace: str) -> bool:
        """Whether a role says so, of the workspace or of its template."""
        return any(
            self._allowed(user, "update", TENANT, resource, name=workspace, workspace=workspace, scope=WORKSPACE)
            for resource in ("workspaces", "workspacetemplates")
        )

    def moves_namespaces(self, user: Identity, workspace: str) -> bool:
        """Who may bring namespaces into a workspace and take them out of it (D18)."""
        return all(
            self._allowed(user, verb, TENANT, "namespaces", workspace=workspace, scope=WORKSPACE)
            for verb in ("create", "delete")
        )

    def may_everything(self, user: Identity) -> bool:
        """A platform administrator, whatever the role is called."""
        return self._allowed(user, "*", "*", "*", scope=GLOBAL)
