"""Who may have a terminal where (spec 05, 1.3): besides the right to the route, the right to run programs there.

The first layer is the gateway's own: the request's verb and resource in ``terminal.kubesphere.io``. The second is asked
here, of RBAC whatever ``authorization.mode`` is: may this user ``create`` an exec in what the terminal is on?
"""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.logger import Logger

from ksproxyd.authn.authenticator import Authenticator
from ksproxyd.authn.rejection import SharedUnavailable
from ksproxyd.authz.decision import Authorizer
from ksproxyd.authz.rights import Rights, asking
from ksproxyd.authz.streaming import decide
from ksproxyd.kapis.terminal.tickets import BrowserSessions
from ksproxyd.model.identity import Identity
from ksproxyd.model.request_info import CLUSTER, RequestInfo
from ksproxyd.model.status import StatusError, denied, forbidden
from ksproxyd.server.exchange import Exchange
from ksproxyd.terminal.endings import FORBIDDEN, NOT_LOGGED_IN

#: Where users' own pods are, and what their names begin with (spec 05, 3).
SYSTEM = "kubesphere-system"
KUBECTL_POD = "ks-managed-kubectl-"


class Grant(msgspec.Struct, frozen=True):
    """What a terminal was opened with, to be asked about again. ``execs`` is the second layer's question."""

    user: Identity
    claims: Any
    certificate: bool
    browser: str
    route: RequestInfo
    execs: RequestInfo
    upgrading: bool


class Access:
    """The second layer, at the beginning and again and again."""

    log = Logger()

    def __init__(
        self, rights: Rights, authorizer: Authorizer, authenticator: Authenticator, browsers: BrowserSessions
    ) -> None:
        self._rights = rights
        self._authorizer = authorizer
        self._authenticator = authenticator
        self._browsers = browsers

    def pod(self, exchange: Exchange, namespace: str, pod: str) -> Grant:
        """Who has sent ``exchange`` may run programs in this pod. Raises the 403 otherwise."""
        return self._grant(
            exchange, asking("create", "", "pods", subresource="exec", name=pod, namespace=namespace)
        )

    def kubectl(self, exchange: Exchange, user: str) -> Grant:
        """They may use their own pod, and ``user`` is who they are. Raises the 403 otherwise."""
        caller = exchange.user.name
        if user != caller:
            raise forbidden(f"the kubectl terminal is for its user only: {caller} cannot have that of {user}")
        return self.pod(exchange, SYSTEM, KUBECTL_POD + caller)

    def node(self, exchange: Exchange, node: str) -> Grant:
        """They may run programs on this node. Raises the 403 otherwise."""
        return self._grant(exchange, asking("create", "", "nodes", subresource="exec", name=node, scope=CLUSTER))

    def _grant(self, exchange: Exchange, execs: RequestInfo) -> Grant:
        decision = self._rights.decide(exchange.user, execs)
        if not decision.allowed:
            raise denied(exchange.user, execs, decision.reason)
        return Grant(
            exchange.user,
            exchange.claims,
            exchange.connection.certificate is not None,
            exchange.browser_session,
            exchange.info,
            execs,
            exchange.upgrade is not None,
        )

    async def objection(self, grant: Grant) -> int:
        """The close code for a terminal that must not go on; 0 if it may, or nobody can say now (spec 05, D14)."""
        try:
            if grant.browser and not await self._browsers.standing(grant.browser):
                return NOT_LOGGED_IN
            user = await self._authenticator.standing(grant.user, grant.claims, grant.certificate)
            if user is None:
                return NOT_LOGGED_IN
            route, _ = decide(self._authorizer, user, grant.route, grant.upgrading)
            if not route.allowed or not self._rights.decide(user, grant.execs).allowed:
                return FORBIDDEN
        except (SharedUnavailable, StatusError) as error:
            self.log.debug("whether {user} may go on cannot be asked: {error}", user=grant.user.name, error=error)
        return 0
