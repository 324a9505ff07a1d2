"""What authorization says of things beside the request itself: what a list may show, what somebody may hand on."""

from __future__ import annotations

from ksproxyd.authz.bindings import MAY_REFER
from ksproxyd.authz.coverage import TooMany, missing
from ksproxyd.authz.decision import Authorizer, Decision
from ksproxyd.authz.rbac import RBAC, to_hand_on
from ksproxyd.authz.rules import ALL, Rule
from ksproxyd.model.identity import Identity
from ksproxyd.model.request_info import CLUSTER, GLOBAL, NAMESPACE, WORKSPACE, WORKSPACE_LABEL, RequestInfo
from ksproxyd.state.kinds import (
    BINDING_KINDS,
    CLUSTER_ROLE_BINDINGS,
    GLOBAL_ROLE_BINDINGS,
    WORKSPACE_ROLE_BINDINGS,
)
from ksproxyd.state.validation import text

_IAM = "iam.kubesphere.io"
_PLURALS = {
    "GlobalRole": "globalroles",
    "WorkspaceRole": "workspaceroles",
    "ClusterRole": "clusterroles",
    "Role": "roles",
}


class Rights:
    """Questions to RBAC. Whatever ``authorization.mode`` is, lists and reviews are about roles (spec 03, 1.2); whether
    something may be done at all (:meth:`may`, :meth:`may_grant`) is ``authorizer``'s to say, the one of the mode.
    """

    def __init__(self, rbac: RBAC, authorizer: Authorizer | None = None) -> None:
        self.rbac = rbac
        self._authorizer = authorizer or rbac.decide

    def decide(self, user: Identity, info: RequestInfo) -> Decision:
        """What RBAC alone says of a request. Raises the 503 of :meth:`RBAC.need_sync`."""
        return self.rbac.decide(user, info)

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
    ) -> bool:
        """Whether ``user`` may do ``verb`` there; ``scope`` is for what has neither a namespace nor a workspace."""
        info = asking(verb, group, resource, subresource, name, namespace, workspace, scope)
        return self.rbac.decide(user, info).allowed

    def held(self, user: Identity, *, namespace: str = "", workspace: str = "", scope: str = "") -> tuple[Rule, ...]:
        """All rules that ``user`` has there and may give to others, each once (spec 03, 8.2 rule 5).

        Policies count for nothing here.
        """
        self.rbac.need_sync()
        info = asking("", "", "", "", "", namespace, workspace, scope)
        rules: dict[Rule, None] = {}
        for grant in self.rbac.grants(user, info):
            rules.update(dict.fromkeys(to_hand_on(grant)))
        return tuple(rules)

    def may(self, user: Identity, verb: str, resource: str) -> bool:
        """Whether ``user`` may do ``verb`` with every user: ``update`` ``users`` or ``users/password``."""
        main, _, part = resource.partition("/")
        return self._authorizer(user, asking(verb, _IAM, main, part, "", "", "", GLOBAL)).allowed

    def may_grant(self, user: Identity, role: str) -> bool:
        """Whether ``user`` may give somebody the GlobalRole ``role``; without one, whether they may give any.

        Who may ``bind`` it may, and who has all of its rules already (spec 03, 8.2 rule 2).
        """
        return self._may_bind(user, "GlobalRole", role, scope=GLOBAL)

    def may_join(self, user: Identity, group: str) -> bool:
        """Whether ``user`` may put somebody in ``group``, who gets whatever it has been given: may give all of that."""
        members = Identity("", (group,))
        for kind in BINDING_KINDS:
            for binding in self.rbac.bindings.everywhere(kind, members):
                role_kind, role = text(binding, "roleRef", "kind"), text(binding, "roleRef", "name")
                if role_kind not in MAY_REFER[kind]:
                    # It grants nothing.
                    continue
                namespace = text(binding, "metadata", "namespace")
                workspace = (
                    "" if kind is not WORKSPACE_ROLE_BINDINGS else text(binding, "metadata", "labels", WORKSPACE_LABEL)
                )
                scope = GLOBAL if kind is GLOBAL_ROLE_BINDINGS else ""
                if not self._may_bind(user, role_kind, role, namespace=namespace, workspace=workspace, scope=scope):
                    return False
        return True

    def may_become(self, user: Identity, other: Identity) -> bool:
        """Whether ``user`` may give every ClusterRole that ``other`` is bound to in the cluster.

        Whoever sets somebody's password can be that somebody. Bindings of everybody who is logged in do not count.
        """
        for binding in self.rbac.bindings.of(CLUSTER_ROLE_BINDINGS, other):
            kind, role = text(binding, "roleRef", "kind"), text(binding, "roleRef", "name")
            if kind in MAY_REFER[CLUSTER_ROLE_BINDINGS] and not self._may_bind(user, kind, role):
                # One that does not exist yet may be made at any time.
                return False
        return True

    def _may_bind(
        self, user: Identity, kind: str, role: str, *, namespace: str = "", workspace: str = "", scope: str = ""
    ) -> bool:
        place = (namespace, workspace, scope)
        if self._authorizer(user, asking("bind", _IAM, _PLURALS[kind], "", role, *place)).allowed:
            return True
        found = self.rbac.roles.get(kind, namespace if kind == "Role" else "", role) if role else None
        if role and found is None:
            return False
        wanted = ALL if found is None else found.rules
        if found is not None and (found.policy is not None or found.foreign):
            wanted = ALL
        try:
            return not missing(wanted, self.held(user, namespace=namespace, workspace=workspace, scope=scope))
        except TooMany:
            # As where a binding is written.
            return False


def asking(
    verb: str,
    group: str,
    resource: str,
    subresource: str = "",
    name: str = "",
    namespace: str = "",
    workspace: str = "",
    scope: str = "",
) -> RequestInfo:
    """A request that nobody has sent, to ask about. A namespace or workspace decides its scope."""
    if namespace:
        scope = NAMESPACE
    elif workspace:
        scope = WORKSPACE
    return RequestInfo(
        "",
        verb,
        is_resource=True,
        api_group=group,
        resource=resource,
        subresource=subresource,
        name=name,
        namespace=namespace,
        workspace=workspace,
        scope=scope or CLUSTER,
    )
