"""``/api`` and ``/apis``: the Kubernetes API behind the gateway (spec 01, 3.9).

Requests go on as they came, with the gateway's credentials in place of the client's. Whether the user is impersonated
is a setting: the gateway's own authorization has decided already. Users go through :mod:`ksproxyd.tree.user_secrets`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from ksproxyd.chain import Outcome
from ksproxyd.model.query import parameters
from ksproxyd.model.status import bad_request
from ksproxyd.server.exchange import Exchange
from ksproxyd.tree.user_secrets import DROP, PLURAL, UserSecrets, concerns
from ksproxyd.tree.write_checks import GUARDED, guarded
from ksproxyd.tree.write_guard import READS, WriteGuard
from ksproxyd.upstream.headers import impersonation_lines
from ksproxyd.upstream.plan import Answer, Cell, Plan
from ksproxyd.upstream.pools import Pools
from ksproxyd.upstream.relay import Proxy
from ksproxyd.upstream.target import Target

#: What a connection to the Kubernetes API may become.
UPGRADES = (b"websocket", b"spdy/3.1")

_WRITES = frozenset(["create", "update"])


_REFUSED = frozenset([401])
_OURS = frozenset([b"authorization"])
_COOKIES = frozenset([b"cookie"])


class Access(Protocol):
    """Where the API server is and who we are there (:class:`ksproxyd.kube.access.ClusterAccess`)."""

    path_prefix: bytes

    @property
    def target(self) -> Target: ...

    def headers(self) -> tuple[tuple[bytes, bytes], ...]: ...

    def subscribe(self, callback: Callable[[Target, Target], None]) -> Callable[[], None]: ...

    def refused(self) -> None: ...


def _chosen(query: bytes) -> bool:
    """Whether the request says itself how its fields are to be validated."""
    # Most queries are empty, or hold neither the name nor an escape that could spell it.
    return (b"fieldValidation" in query or b"%" in query) and "fieldValidation" in parameters(query)


class KubeAPI:
    """The node. ``validation`` is ``experimental.validationDirective``: empty, or what ``fieldValidation`` becomes.

    Without ``users`` nobody writes User objects here. ``impersonation`` is None, or the groups that users are put in
    when requests are sent in their names.
    """

    def __init__(
        self,
        proxy: Proxy,
        pools: Pools,
        access: Access,
        validation: str,
        cell: Cell,
        users: UserSecrets | None = None,
        impersonation: tuple[str, ...] | None = None,
    ) -> None:
        self._proxy = proxy
        self._groups = impersonation
        self._pools = pools
        self._access = access
        self._prefix = access.path_prefix
        self._validation = validation.encode("ascii")
        self._cell = cell
        self.users = users or UserSecrets()
        #: Looks at what is written that gives rights to somebody, if there is such a one.
        self.guard: WriteGuard | None = None
        self._lines: tuple[object, bytes] = (None, b"")
        self._plan, self._upgrades_plan, self._users_plan = self._make_plans(access.target)
        self._unsubscribe = access.subscribe(self._retarget)

    def _make_plans(self, target: Target) -> tuple[Plan, Plan, Plan]:
        """The plan for requests, the one for upgrades, and the one for users."""
        pool = self._pools.hold(target)
        # A page behind a Service's proxy may have cookies of its own; what runs in a pod or sits behind a tunnel must
        # not get those by which somebody is signed in elsewhere (spec 05, 11.3).
        plan, upgrades = (
            Plan(
                "kubernetes",
                pool,
                drop=drop,
                credentials=self._credentials,
                more=None if self._groups is None else self._in_the_name_of,
                on_answer=self._watch_refusals,
                on_statuses=_REFUSED,
                cell=self._cell,
                proven=True,
            )
            for drop in (_OURS, _OURS | _COOKIES)
        )
        users = Plan(
            "kubernetes",
            pool,
            drop=_OURS | _COOKIES | DROP,
            credentials=self._credentials,
            more=self.users.request_lines if self._groups is None else self._users_lines,
            on_answer=self._answered_users,
            cell=self._cell,
        )
        return plan, upgrades, users

    def _retarget(self, old: Target, new: Target) -> None:
        """Credentials for TLS have changed: new connections use them, streams on old ones live on."""
        self._plan, self._upgrades_plan, self._users_plan = self._make_plans(new)
        self._pools.release(old)

    def close(self) -> None:
        """Let go of the pool."""
        self._unsubscribe()
        self._pools.release(self._plan.pool.target)

    def _credentials(self) -> bytes:
        headers = self._access.headers()
        known, lines = self._lines
        if known is not headers:
            lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
            self._lines = (headers, lines)
        return lines

    def _in_the_name_of(self, exchange: Exchange, target: bytes) -> bytes:
        return impersonation_lines(exchange.user, self._groups or ())

    def _users_lines(self, exchange: Exchange, target: bytes) -> bytes:
        return self._in_the_name_of(exchange, target) + self.users.request_lines(exchange, target)

    def _watch_refusals(self, exchange: Exchange, answer: Answer) -> None:
        if answer.status == 401:
            self._access.refused()

    def _answered_users(self, exchange: Exchange, answer: Answer) -> None:
        self._watch_refusals(exchange, answer)
        self.users.on_answer(exchange, answer)

    def handle(self, exchange: Exchange) -> Outcome:
        target = exchange.target
        info = exchange.info
        offered = exchange.fields.get(b"upgrade")
        if offered is not None:
            _check_upgrade(exchange, offered)
        if self._validation and info.verb in _WRITES and not _chosen(exchange.query):
            joint = b"&" if exchange.has_query else b"?"
            target = target + joint + b"fieldValidation=" + self._validation
        if self._prefix:
            target = self._prefix + target
        if info.resource == PLURAL and concerns(info):
            return self.users.admit(exchange, partial(self._forward_users, exchange, target))
        if info.resource in GUARDED and exchange.method not in READS and self.guard is not None and guarded(info):
            return self.guard.admit(exchange, partial(self._forward, exchange, target))
        return self._forward(exchange, target)

    def _forward(self, exchange: Exchange, target: bytes) -> Outcome:
        return self._proxy.forward(exchange, self._plan if exchange.upgrade is None else self._upgrades_plan, target)

    def _forward_users(self, exchange: Exchange, target: bytes) -> Outcome:
        return self._proxy.forward(exchange, self._users_plan, target)

    def pass_on(self, exchange: Exchange, target: bytes) -> Outcome:
        """Send a request that was for another path as ``target``: one that writes nothing, and is not about users."""
        return self._forward(exchange, self._prefix + target)

    def describe(self) -> str:
        return f"Kubernetes API at {self._plan.pool.target}"


def _check_upgrade(exchange: Exchange, offered: bytes) -> None:
    """Raises the answer to an offer that no API server of Kubernetes takes up (spec 05, 11.3).

    Elsewhere such an offer is passed over (RFC 9110, 7.8). Here what is asked for is often nothing without it.
    """
    connection = b",".join(exchange.fields.all(b"connection")).lower()
    if b"upgrade" not in [token.strip() for token in connection.split(b",")]:
        return
    if offered.strip().lower() not in UPGRADES:
        raise bad_request("the Kubernetes API is served over HTTP/1.1, and after an Upgrade over websocket or SPDY/3.1")
    if exchange.upgrade is None and exchange.method == "GET":
        raise bad_request("a request with a body cannot be upgraded; leave out the body")
