"""``/clusters/<name>/…``: requests for member clusters (spec 01, 3.3).

What is needed to reach a member is worked out when its Cluster object changes, never inside a request.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd.chain.request_info import rename_dry_run
from ksproxyd.kube.connection import present
from ksproxyd.kube.errors import AccessError
from ksproxyd.kube.stored_kubeconfig import stored_kubeconfig
from ksproxyd.model.status import StatusError, bad_request, service_unavailable
from ksproxyd.observe.cells import Upstreams
from ksproxyd.server.exchange import Exchange
from ksproxyd.state.kinds import CLUSTERS
from ksproxyd.state.state import State
from ksproxyd.state.store import Object
from ksproxyd.state.validation import field, name_of
from ksproxyd.tree.endpoint import EndpointError, resolve
from ksproxyd.tree.links import narrow_accept_encoding
from ksproxyd.tree.wrapped import OWN_FIELDS, WrappedTransport
from ksproxyd.upstream.plan import Answer, Plan
from ksproxyd.upstream.pools import Pools
from ksproxyd.upstream.relay import Proxy
from ksproxyd.upstream.target import Target

HOST_LABEL = "cluster-role.kubesphere.io/host"

#: Where a member's ks-apiserver is found behind its kube-apiserver.
SERVICE_PROXY = b"/api/v1/namespaces/kubesphere-system/services/:ks-apiserver:/proxy"


class MemberCluster:
    """One member: where its requests go, or why they cannot."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready = False
        self.problem = "its connection is still being prepared"
        self._plan: Plan | None = None
        self._proxy: Proxy | None = None
        self._by_service_proxy = False
        self._target: Target | None = None

    def connect(
        self, proxy: Proxy, pools: Pools, upstreams: Upstreams, target: Target, headers: Any, by_service_proxy: bool
    ) -> None:
        """The member can be reached at ``target``; ``headers`` authenticate us to its kube-apiserver, if it is that."""
        self.problem = ""
        self._proxy = proxy
        self._target = target
        self._by_service_proxy = by_service_proxy
        self._links = WrappedTransport(b"", target)
        credentials = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        self._plan = Plan(
            f"Cluster {self.name}",
            pools.hold(target),
            drop=OWN_FIELDS | {b"authorization"} if by_service_proxy else OWN_FIELDS,
            credentials=(lambda: credentials) if by_service_proxy else None,
            more=self._hop_lines if by_service_proxy else self._links.request_lines,
            codings=narrow_accept_encoding,
            on_answer=self._on_answer,
            cell=upstreams.cell("cluster", self.name),
        )

    def close(self, pools: Pools) -> None:
        """The Cluster changed or is gone."""
        if self._target is not None:
            pools.release(self._target)
            self._target = None

    def forward(self, exchange: Exchange, path: bytes) -> None:
        """Send ``exchange`` there. Raises a 503 where that is impossible."""
        if not self.ready:
            raise service_unavailable(f"cluster {self.name} is not ready")
        plan, proxy = self._plan, self._proxy
        if plan is None or proxy is None:
            raise service_unavailable(f"cluster {self.name} cannot be reached: {self.problem}")
        exchange.route(path)
        target = exchange.target
        if self._by_service_proxy:
            if b"dryRun" in exchange.query:
                # The service proxy refuses dry runs of its own; the far side puts the name back.
                target = path + b"?" + rename_dry_run(exchange.query, b"dryRun", b"dryrun")
            target = SERVICE_PROXY + target
        proxy.forward(exchange, plan, target)

    def _hop_lines(self, exchange: Exchange, target: bytes) -> bytes:
        """What the service proxy would drop, in fields that it passes on."""
        lines = [self._links.request_lines(exchange, target)]
        credentials = exchange.fields.get(b"authorization")
        if credentials is not None:
            lines.append(b"X-KubeSphere-Authorization: " + credentials + b"\r\n")
        if exchange.upgrade is not None and exchange.query:
            lines.append(b"X-KubeSphere-Rawquery: " + exchange.query + b"\r\n")
        return b"".join(lines)

    def _on_answer(self, exchange: Exchange, answer: Answer) -> None:
        if answer.status == 401:
            # The far side's trouble with us must not log the user out here.
            raise StatusError(
                511,
                "Network Authentication Required",
                "The request could not be authenticated due to a system issue.",
            )
        self._links.on_answer(exchange, answer)


class MemberClusters:
    """All Clusters. ``host_name`` is ``multicluster.hostClusterName``, which ``host`` stands for where nothing has
    that name.
    """

    log = Logger()

    def __init__(
        self, state: State, proxy: Proxy, pools: Pools, upstreams: Upstreams, host_name: str, reactor: Any
    ) -> None:
        self._store = state.store(CLUSTERS)
        self._proxy = proxy
        self._pools = pools
        self._upstreams = upstreams
        self._host_name = host_name
        self._reactor = reactor
        self._members: dict[str, MemberCluster] = {}
        self._specs: dict[str, Any] = {}
        self._building: dict[str, Deferred[None]] = {}
        self._unsubscribe = self._store.subscribe(self._apply, replay=True)

    def stop(self) -> None:
        """Follow no longer."""
        self._unsubscribe()
        for building in list(self._building.values()):
            building.cancel()

    def find(self, name: str) -> MemberCluster | None:
        """The member ``name``, or None where that is this cluster. Raises a 400 for a name nobody has."""
        value = self._store.get(("", name))
        if value is None and name == "host" and self._host_name:
            value = self._store.get(("", self._host_name))
        if value is None:
            if not self._store.synced:
                raise service_unavailable("the gateway is still reading the list of clusters, try again in a moment", 1)
            raise bad_request(f"cluster {name} not exists")
        labels = field(value, "metadata", "labels")
        if isinstance(labels, dict) and HOST_LABEL in labels:
            return None
        return self._members[name_of(value)]

    def _apply(self, old: Object | None, new: Object | None) -> None:
        name = name_of(new or old or {})
        if new is None:
            self._drop(name)
            self._upstreams.forget("cluster", name)
            return
        spec = field(new, "spec", "connection")
        if name not in self._members or self._specs.get(name) != spec:
            self._drop(name)
            self._members[name] = MemberCluster(name)
            self._specs[name] = spec
            self._prepare(name, spec)
        self._members[name].ready = _is_ready(new)

    def _drop(self, name: str) -> None:
        building = self._building.pop(name, None)
        if building is not None:
            building.cancel()
        member = self._members.pop(name, None)
        self._specs.pop(name, None)
        if member is not None:
            member.close(self._pools)

    def _prepare(self, name: str, connection: Any) -> None:
        member = self._members[name]
        endpoint = field(connection, "kubesphereAPIEndpoint")
        try:
            if field(connection, "type") == "direct" and not endpoint:
                building = Deferred.fromCoroutine(self._by_service_proxy(member, connection))
                self._building[name] = building
                building.addBoth(self._prepared, member)
                return
            target = resolve({"url": endpoint}).target
        except EndpointError as error:
            detail = f"spec.connection.kubesphereAPIEndpoint: {error}"
            self._fail(member, detail, "its kubesphereAPIEndpoint is unusable")
            return
        member.connect(self._proxy, self._pools, self._upstreams, target, (), False)

    async def _by_service_proxy(self, member: MemberCluster, connection: Any) -> None:
        origin = f"cluster {member.name}"
        encoded = field(connection, "kubeconfig")
        try:
            text = base64.b64decode(encoded if isinstance(encoded, str) else "", validate=True)
        except (binascii.Error, ValueError) as error:
            raise AccessError(f"{origin}: its kubeconfig is not base64") from error
        pool = self._reactor.getThreadPool()
        presented = await deferToThreadPool(
            self._reactor, pool, lambda: present(stored_kubeconfig(text, origin), None)
        )
        target = presented.target
        endpoint = field(connection, "kubernetesAPIEndpoint")
        if endpoint:
            found = resolve({"url": endpoint}).target
            target = Target(found.scheme, found.host, found.port, target.trust if found.scheme == "https" else None)
        member.connect(self._proxy, self._pools, self._upstreams, target, presented.headers, True)

    def _prepared(self, result: Any, member: MemberCluster) -> None:
        self._building.pop(member.name, None)
        if not isinstance(result, Failure) or result.check(CancelledError):
            return
        if result.check(AccessError):
            self._fail(member, result.getErrorMessage(), "its kubeconfig is unusable")
        elif result.check(EndpointError):
            text = f"spec.connection.kubernetesAPIEndpoint: {result.getErrorMessage()}"
            self._fail(member, text, "its kubernetesAPIEndpoint is unusable")
        else:
            self.log.failure("preparing cluster {name} failed", result, name=member.name)
            member.problem = "the gateway failed to prepare its connection"

    def _fail(self, member: MemberCluster, detail: str, problem: str) -> None:
        member.problem = problem
        self.log.warn("cluster {name} cannot be reached: {detail}", name=member.name, detail=detail)


def _is_ready(value: Object) -> bool:
    conditions = field(value, "status", "conditions")
    if not isinstance(conditions, list):
        return False
    return any(field(c, "type") == "Ready" and field(c, "status") == "True" for c in conditions)
