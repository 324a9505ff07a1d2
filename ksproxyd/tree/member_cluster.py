"""``/clusters/<name>/…``: requests for member clusters (spec 01, 3.3).

What is needed to reach a member is worked out when its Cluster object changes, never inside a request.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, NamedTuple

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd.chain.request_info import rename_dry_run
from ksproxyd.kube.connection import Connection, Presentation, present
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

#: Below it are the pages of extensions (spec 01, 3.7), which may have sign-ins of their own.
_PAGES = b"/proxy"

_COOKIES = frozenset([b"cookie"])


class Way(NamedTuple):
    """How a member is reached: straight, or (with a ``prefix``) by its kube-apiserver's service proxy.

    ``headers`` authenticate us to the kube-apiserver.
    """

    target: Target
    prefix: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()


class MemberCluster:
    """One member: where its requests go, or why they cannot."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready = False
        self.problem = "its connection is still being prepared"
        self._plan: Plan | None = None
        self._upgrades_plan: Plan | None = None
        self._proxy: Proxy | None = None
        self._prefix = b""
        self._target: Target | None = None

    def connect(self, proxy: Proxy, pools: Pools, upstreams: Upstreams, way: Way) -> None:
        """The member can be reached."""
        self.problem = ""
        self._proxy = proxy
        self._target = way.target
        self._prefix = way.prefix
        self._links = WrappedTransport(b"", way.target)
        credentials = b"".join(name + b": " + value + b"\r\n" for name, value in way.headers)
        by_service_proxy = bool(way.prefix)
        pool = pools.hold(way.target)
        drop = OWN_FIELDS | {b"authorization"} if by_service_proxy else OWN_FIELDS
        # Who it is a token says there. Not every member keeps back from what runs in a pod, or sits behind a tunnel,
        # the cookies by which somebody is signed in elsewhere (spec 05, 11.3).
        self._plan, self._upgrades_plan = (
            Plan(
                f"Cluster {self.name}",
                pool,
                drop=dropped,
                credentials=(lambda: credentials) if by_service_proxy else None,
                more=self._hop_lines if by_service_proxy else self._links.request_lines,
                codings=narrow_accept_encoding,
                on_answer=self._on_answer,
                cell=upstreams.cell("cluster", self.name),
            )
            for dropped in (drop, drop | _COOKIES)
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
        if exchange.upgrade is not None and not path.startswith(_PAGES):
            plan = self._upgrades_plan
        if plan is None or proxy is None:
            raise service_unavailable(f"cluster {self.name} cannot be reached: {self.problem}")
        exchange.route(path)
        target = exchange.target
        if self._prefix:
            if b"dryRun" in exchange.query:
                # The service proxy refuses dry runs of its own; the far side puts the name back.
                target = path + b"?" + rename_dry_run(exchange.query, b"dryRun", b"dryrun")
            target = self._prefix + target
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
        self._building: dict[str, Deferred[Any]] = {}
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
        member = self._members.get(name_of(value))
        if member is None:
            raise service_unavailable(f"cluster {name_of(value)} cannot be reached: its connection is not known")
        return member

    def _apply(self, old: Object | None, new: Object | None) -> None:
        name = name_of(new or old or {})
        if new is None:
            self._give_up(name)
            self._specs.pop(name, None)
            member = self._members.pop(name, None)
            if member is not None:
                member.close(self._pools)
            self._upstreams.forget("cluster", name)
            return
        spec = field(new, "spec", "connection")
        if name not in self._members:
            self._members[name] = MemberCluster(name)
        elif self._specs[name] == spec:
            self._members[name].ready = _is_ready(new)
            return
        # The old way is used until it is known where the new one leads.
        self._members[name].ready = _is_ready(new)
        self._specs[name] = spec
        self._give_up(name)
        self._building[name] = building = Deferred.fromCoroutine(self._find_way(name, spec))
        building.addBoth(self._found, name, building)

    def _give_up(self, name: str) -> None:
        """Whatever way is being looked for, it is not wanted any more."""
        building = self._building.pop(name, None)
        if building is not None:
            building.cancel()

    async def _find_way(self, name: str, connection: Any) -> Way:
        endpoint = field(connection, "kubesphereAPIEndpoint")
        if field(connection, "type") != "direct" or endpoint:
            try:
                return Way(resolve({"url": endpoint}).target)
            except EndpointError as error:
                raise _NoWay("its kubesphereAPIEndpoint is unusable", str(error)) from error
        origin = f"cluster {name}"
        encoded = field(connection, "kubeconfig")
        try:
            text = base64.b64decode(encoded if isinstance(encoded, str) else "", validate=True)
        except (binascii.Error, ValueError) as error:
            raise _NoWay("its kubeconfig is unusable", f"it is not base64: {error}") from error
        pool = self._reactor.getThreadPool()
        try:
            kubeconfig, presented = await deferToThreadPool(self._reactor, pool, _read_kubeconfig, text, origin)
        except AccessError as error:
            raise _NoWay("its kubeconfig is unusable", str(error)) from error
        target, prefix = presented.target, kubeconfig.address.prefix
        server = field(connection, "kubernetesAPIEndpoint")
        if server:
            try:
                found = resolve({"url": server}, join_path=True)
            except EndpointError as error:
                raise _NoWay("its kubernetesAPIEndpoint is unusable", str(error)) from error
            elsewhere = (found.target.host, found.target.port) != (target.host, target.port)
            path = found.path.rstrip(b"/")
            if elsewhere or path:
                prefix = path
            # The endpoint says where, the kubeconfig whom to trust there.
            trust = None if found.target.scheme == "http" else target.trust or found.target.trust
            target = msgspec.structs.replace(found.target, trust=trust)
        return Way(target, prefix + SERVICE_PROXY, presented.headers)

    def _found(self, result: Way | Failure, name: str, building: Deferred[Any]) -> None:
        if isinstance(result, Failure) and result.check(CancelledError):
            return
        if self._building.get(name) is building:
            del self._building[name]
        old = self._members[name]
        self._members[name] = member = MemberCluster(name)
        member.ready = old.ready
        if isinstance(result, Way):
            member.connect(self._proxy, self._pools, self._upstreams, result)
        elif isinstance(result.value, _NoWay):
            self._fail(member, result.value.detail, result.value.problem)
        else:
            self.log.failure("preparing cluster {name} failed", result, name=name)
            member.problem = "the gateway failed to prepare its connection"
        old.close(self._pools)

    def _fail(self, member: MemberCluster, detail: str, problem: str) -> None:
        member.problem = problem
        if HOST_LABEL in (field(self._store.get(("", member.name)), "metadata", "labels") or {}):
            # Nobody needs a way to where we are.
            return
        self.log.warn("cluster {name} cannot be reached: {detail}", name=member.name, detail=detail)


class _NoWay(Exception):
    """A member cannot be reached: ``problem`` is for clients, ``detail`` for the log."""

    def __init__(self, problem: str, detail: str) -> None:
        super().__init__(problem, detail)
        self.problem = problem
        self.detail = detail


def _read_kubeconfig(text: bytes, origin: str) -> tuple[Connection, Presentation]:
    """In a thread: certificates are loaded, which takes its time."""
    connection = stored_kubeconfig(text, origin)
    return connection, present(connection, None)


def _is_ready(value: Object) -> bool:
    conditions = field(value, "status", "conditions")
    if not isinstance(conditions, list):
        return False
    return any(field(c, "type") == "Ready" and field(c, "status") == "True" for c in conditions)
