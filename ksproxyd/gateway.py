"""Joins the parts: what is started in which order, what a reload changes, and how it all ends.

Start: where the cluster is → what it says of itself → the watch loops → the tree → the chain → the listeners.
"""

from __future__ import annotations

import random
import secrets
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from ksproxyd import __version__
from ksproxyd.api_server import ApiServer, Unusable
from ksproxyd.apis import Apis
from ksproxyd.audit.audit import Audit
from ksproxyd.audit.sinks import AuditProblem, Means
from ksproxyd.authn.tokens.keys import KeyProblem
from ksproxyd.authorization import Authorization
from ksproxyd.chain import Chain, Outcome, Step
from ksproxyd.chain.authenticate import authenticate_step
from ksproxyd.chain.authorize import authorize_step
from ksproxyd.chain.dispatch import dispatch_step
from ksproxyd.chain.recheck import Recheck
from ksproxyd.chain.request_info import request_info_step
from ksproxyd.chain.synced import synced_step
from ksproxyd.controllers import Controllers
from ksproxyd.kapis.images import PREFIX as IMAGES
from ksproxyd.kapis.images import Images
from ksproxyd.kapis.router import Router
from ksproxyd.kapis.terminal import Terminals
from ksproxyd.kapis.terminal.accounting import Accounts
from ksproxyd.kapis.terminal.page import TerminalPage
from ksproxyd.kapis.terminal.page_tokens import PageTokens
from ksproxyd.kube.access import ClusterAccess, load_access
from ksproxyd.kube.client import KubeClient
from ksproxyd.logins import Logins
from ksproxyd.observe.access import AccessLog
from ksproxyd.observe.guards import GuardMetrics
from ksproxyd.observe.known import KnownResources
from ksproxyd.observe.lag import ReactorLag
from ksproxyd.observe.logging import LogOutput
from ksproxyd.observe.metrics import Registry
from ksproxyd.observe.notify import InheritedSocket, Notifier
from ksproxyd.readiness import Readiness
from ksproxyd.server.client_address import ClientAddress, TrustedProxies
from ksproxyd.server.exchange import CLIENT_GONE, Exchange
from ksproxyd.server.listeners import Listeners
from ksproxyd.server.server import Server
from ksproxyd.settings import Settings, diff
from ksproxyd.state.election import Alone, Leadership, LeaseElection
from ksproxyd.state.kinds import API_SERVICES, JS_BUNDLES, NAMESPACE, REVERSE_PROXIES
from ksproxyd.state.reflector import Timing
from ksproxyd.state.state import State
from ksproxyd.state.status_writer import StatusWriter
from ksproxyd.transport.wheel import Wheel
from ksproxyd.tree import Tree
from ksproxyd.tree.explain import Explain
from ksproxyd.tree.extensions import Extensions, Workshop, problems_of
from ksproxyd.tree.health import healthz, livez
from ksproxyd.tree.kube_api import KubeAPI
from ksproxyd.tree.member_cluster import MemberClusters
from ksproxyd.tree.metrics import Metrics
from ksproxyd.tree.openapi import OpenAPI, OpenAPINode
from ksproxyd.tree.own_routes import ROUTES
from ksproxyd.tree.reserved import reserved
from ksproxyd.tree.routes import Routes
from ksproxyd.tree.status_probe import StatusProbe
from ksproxyd.tree.user_secrets import UserSecrets
from ksproxyd.tree.version import Version
from ksproxyd.tree.write_guard import WriteGuard
from ksproxyd.tuning import client_timeouts, cors, limits, upstream_timeouts
from ksproxyd.upstream.client import Client
from ksproxyd.upstream.guard import Condition
from ksproxyd.upstream.pool import Dialer, TCPDialer
from ksproxyd.upstream.pools import Pools
from ksproxyd.upstream.relay import Proxy

#: Groups that a user gets towards the Kubernetes API, by ``ksproxyd.authorization.impersonation``.
_IMPERSONATED: dict[str, tuple[str, ...] | None] = {"off": None, "restricted": (), "trusted": ("system:masters",)}


class StartError(Exception):
    """The gateway cannot start; the message is one line that says why and what to do."""


class Gateway:
    """One gateway. ``settings`` are checked; ``dialer`` may be another than TCP's in tests."""

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        output: LogOutput,
        environ: Mapping[str, str],
        *,
        dialer: Dialer | None = None,
        rng: random.Random | None = None,
        monotonic: Any = time.perf_counter,
    ) -> None:
        self.settings = settings
        ours = settings.ksproxyd
        self._reactor = reactor
        self._output = output
        self._environ = environ
        self._dialer = dialer or TCPDialer(reactor)
        self._random = (rng or random.SystemRandom()).random
        self.wheel = Wheel(reactor)
        self.known = KnownResources()
        self.metrics = Registry(self.known, ours.metrics.max_series)
        self.pools = Pools(
            self._dialer,
            self.wheel,
            upstream_timeouts(ours),
            ours.pool.max_idle_per_target,
            ours.pool.max_connections_per_target,
        )
        self.client = Client(self.pools, reactor)
        self.proxy = Proxy(reactor, monotonic)
        self.tree = Tree()
        self.access_log = AccessLog(ours.logging, reactor, output)
        self.notifier = Notifier(environ, reactor)
        self.lag = ReactorLag(reactor)
        self.trusted = TrustedProxies(ours.trusted_proxies)
        self.listeners = Listeners(reactor, self._server, self.trusted)
        self.access: ClusterAccess | None = None
        self.kube_client: KubeClient | None = None
        self.state: State | None = None
        self.authorization: Authorization | None = None
        self.extensions: Extensions | None = None
        self.members: MemberClusters | None = None
        self.openapi: OpenAPI | None = None
        self.logins: Logins | None = None
        self.apis: Apis | None = None
        self.terminals: Terminals | None = None
        self.controllers: Controllers | None = None
        self._writer: StatusWriter | None = None
        #: None where nothing is to be recorded: then no request comes near it.
        self.audit: Audit | None = None
        #: Called once when the cluster's state has been read.
        self.on_synced: Callable[[], object] = lambda: None
        self.draining = False
        self._drained_from = 0.0
        self._monotonic = monotonic
        self._cors = cors(ours)
        self._kube_api: KubeAPI | None = None
        self._unsubscribe: Callable[[], None] | None = None
        self._recheck: Recheck | None = None
        self._chain: Chain | None = None
        self._handle: Any = None
        self._syncing: Deferred[None] | None = None
        self.api_server: ApiServer | None = None

    # -- start -----------------------------------------------------------------------------------------

    async def start(self, sockets: list[InheritedSocket] | None = None, access: ClusterAccess | None = None) -> None:
        """Start everything and listen. Raises :class:`StartError`, or an error that is one line by itself.

        ``access`` stands for the cluster of the settings (the embedded one); ``sockets`` are those of socket
        activation.
        """
        self.wheel.start()
        self.lag.start()
        kube = self.access = access or await load_access(
            self.settings.kubernetes, self._reactor, environ=self._environ
        )
        timing = self.settings.ksproxyd.timeouts
        self.api_server = ApiServer(
            self._reactor, self.client, kube, self.known, timing.kube_request, timing.resync
        )
        try:
            version = await self.api_server.ask()
        except Unusable as error:
            raise StartError(str(error)) from error
        client = self.kube_client = KubeClient(self.client, kube, self._reactor, timeout=timing.kube_request)
        self.state = State(client, self._random, timing=Timing(silence=timing.watch_silence))
        self.authorization = Authorization(self._reactor, self.state, self.settings)
        await self._start_audit(client)
        self.members = MemberClusters(
            self.state,
            self.proxy,
            self.pools,
            self.metrics.upstreams,
            self.settings.multicluster.host_cluster_name,
            self._reactor,
        )
        ours = self.settings.ksproxyd
        self.logins = self._make_logins(client, alone=access is not None)
        workshop = Workshop(
            self.proxy,
            self.pools,
            self.client,
            self.metrics.upstreams,
            self._reactor,
            self._random,
            self._in_thread,
            ours.extensions.join_endpoint_path,
            frozenset(ours.extensions.env_placeholders),
            ours.extensions.probe_interval,
            ours.timeouts.probe,
        )
        self.extensions = Extensions(self.tree, self.state, workshop, self.known, self._look_at)
        self._writer = self._status_writer(client, alone=access is not None)
        self._writer.start()
        self.controllers = Controllers(
            self._reactor,
            self.settings,
            self.state,
            client,
            self._leadership(client, "controllers", alone=access is not None),
            self._random,
        )
        self.controllers.start()
        self.openapi = OpenAPI(
            self._reactor,
            self.client,
            self._in_thread,
            self._random,
            ROUTES,
            __version__,
            reserved,
            join_path=ours.extensions.join_endpoint_path,
        )
        if ours.extensions.openapi:
            self._unsubscribe = self.state.store(API_SERVICES).subscribe(self.openapi.apply, replay=True)
        self.apis = Apis(
            self._reactor, self.settings, self.state, client, self.authorization, self.logins.user_routes()
        )
        self.terminals = self._make_terminals(client, kube, alone=access is not None)
        self._mount(kube, version)
        chain = Chain(
            self.steps(),
            self.tree.serve,
            self._failed,
            self._monotonic,
            self.metrics.steps.observe,
        )
        self._chain = chain
        self._handle = chain.handle
        chain.leave_out("cors", self._cors is None)
        self.logins.start()
        self._recheck = Recheck(
            self._reactor,
            lambda: self.listeners.servers,
            self.logins.authenticator,
            self.authorization.authorizer,
            timing.recheck,
            self.authorization.engine,
        )
        self._recheck.start()
        self._syncing = self.state.start()
        self._syncing.addCallbacks(self._synced, self._not_synced)
        self._expose()
        await self._listen(sockets or [])
        self.api_server.start()
        self.notifier.ready(self._describe())
        self.notifier.start_watchdog()

    async def _start_audit(self, client: KubeClient) -> None:
        """Make what records requests, if they are to be recorded."""
        assert self.state is not None
        auditing = self.settings.auditing
        if not auditing.enable or auditing.audit_level == "None":
            return
        means = Means(self._reactor, self.client, client, self._in_thread, self._random)
        try:
            self.audit = Audit(self._reactor, self.settings, self.state, means, self._environ)
            await self.audit.start()
        except AuditProblem as error:
            raise StartError(str(error)) from error

    def _leadership(self, client: KubeClient, what: str, alone: bool) -> Leadership:
        """Which of the replicas does ``what``; not ``alone``: one among several."""
        if alone:
            return Alone()
        return LeaseElection(
            self._reactor, time.time, client, NAMESPACE, f"ksproxyd-{what}", uuid.uuid4().hex, self._random
        )

    def _make_logins(self, client: KubeClient, alone: bool) -> Logins:
        assert self.state is not None and self.authorization is not None
        try:
            return Logins(
                self._reactor,
                self.settings,
                self.state,
                client,
                self._random,
                self._in_thread,
                self._leadership(client, "user-manager", alone),
                lambda: secrets.token_hex(3),
                self.authorization.rights,
                self._dialer,
            )
        except KeyProblem as error:
            raise StartError(str(error)) from error

    def _make_terminals(self, client: KubeClient, kube: ClusterAccess, alone: bool) -> Terminals:
        assert self.authorization is not None and self.logins is not None
        accounts = None if self.audit is None else Accounts(self.audit)
        made = Terminals(
            self._reactor,
            self.settings,
            client,
            kube,
            self.pools,
            self.authorization.rights,
            self.authorization.authorizer,
            self.logins.authenticator,
            self.logins.front.browsers,
            self.logins.store,
            self._in_thread,
            secrets.token_bytes,
            [] if accounts is None else [accounts.witness],
            None if accounts is None else accounts.passed,
        )
        try:
            # The embedded API has no pods.
            made.start(sweep=not alone)
        except OSError as error:
            raise StartError(f"terminals cannot be recorded: {error}") from error
        return made

    def _status_writer(self, client: KubeClient, alone: bool) -> StatusWriter:
        """Keeps the statuses of extension objects true, where nothing else does."""
        assert self.state is not None
        ours = self.settings.ksproxyd.extensions
        leadership = self._leadership(client, "status-writer", alone)
        return StatusWriter(
            self._reactor,
            time.time,
            self._random,
            client,
            {kind: self.state.store(kind) for kind in (API_SERVICES, REVERSE_PROXIES, JS_BUNDLES)},
            "auto" if ours.manage_status == "auto" else "true" if ours.manage_status else "false",
            leadership,
            problems_of,
            self._in_thread,
            probe=StatusProbe(self.client, self.settings.ksproxyd.timeouts.probe),
            probe_interval=ours.probe_interval,
            evidence=self._evidence,
        )

    def _look_at(self, kind: str, name: str) -> None:
        if self._writer is not None:
            self._writer.touch(kind, name)

    def _evidence(self, kind: str, name: str) -> list[Condition]:
        return [] if self.extensions is None else self.extensions.conditions(kind, name)

    def _in_thread(self, function: Callable[..., Any], /, *args: Any) -> Deferred[Any]:
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), function, *args)

    def steps(self) -> list[tuple[str, Step]]:
        """The chain, outermost first."""
        assert self.authorization is not None and self.members is not None and self.logins is not None
        assert self.terminals is not None
        anonymous = self.settings.ksproxyd.credentials.anonymous
        return [
            ("cors", self._cross_origin),
            ("request_info", request_info_step(self.settings.multicluster.cluster_role == "member")),
            ("authenticate", authenticate_step(self.logins.authenticator, anonymous, self.terminals.tickets)),
            *([] if self.audit is None else [("audit", self.audit.admitted)]),
            ("dispatch", dispatch_step(self.members, self.logins.hops, self.terminals.origins)),
            ("authorize", authorize_step(self.authorization.authorizer, self.authorization.engine)),
            ("synced", synced_step(lambda: self.synced)),
        ]

    def _cross_origin(self, exchange: Exchange) -> Outcome:
        return None if self._cors is None else self._cors(exchange)

    @property
    def synced(self) -> bool:
        """Whether every kind has been read once."""
        return self.state is not None and all(r.store.synced for r in self.state.reflectors())

    def _mount(self, kube: ClusterAccess, version: Version) -> None:
        tree, state = self.tree, self.state
        assert state is not None and self.authorization is not None
        rights = self.authorization.rights
        tree.mount("/healthz", healthz(), subtree=True)
        tree.mount("/livez", livez(), subtree=True)
        logins = self.logins
        assert logins is not None
        readiness = Readiness(
            lambda: self.draining,
            state.reflectors,
            lambda: self.settings.ksproxyd.health.stale_after,
            logins.checks,
        )
        tree.mount("/readyz", readiness, subtree=True)
        tree.mount("/version", version)
        tree.mount("/kapis/version", version)
        tree.mount("/ksproxyd/routes", Routes(tree))
        assert self.logins is not None
        tree.mount("/ksproxyd/explain", Explain(rights, self.logins.authenticator.identity_of))
        self.logins.mount(tree)
        if self.settings.terminal.page:
            self._mount_terminal_page(self.logins)
        images = Images(self._reactor, self.logins.store)
        tree.mount(IMAGES, Router(IMAGES, "uploaded images", images.routes()), subtree=True)
        assert self.apis is not None
        self.apis.mount(tree)
        assert self.terminals is not None
        for router in self.terminals.routers():
            tree.mount(router.prefix, router, subtree=True)
        if self.settings.ksproxyd.metrics.enabled:
            tree.mount("/metrics", Metrics(self.metrics, self._reactor))
        self._kube_api = KubeAPI(
            self.proxy,
            self.pools,
            kube,
            self.settings.experimental.validation_directive,
            self.metrics.upstreams.cell("kube", "kubernetes"),
            UserSecrets(lambda user: rights.may_grant(user, ""), self.kube_client),
            impersonation=_IMPERSONATED[self.settings.ksproxyd.authorization.impersonation],
        )
        assert self.kube_client is not None
        checks = self.authorization.write_checks(self.kube_client)
        self._kube_api.guard = WriteGuard(checks, self.kube_client)
        self.apis.mount_rest(tree, checks, self._kube_api.pass_on)
        tree.mount("/api", self._kube_api, subtree=True)
        tree.mount("/apis", self._kube_api, subtree=True)
        assert self.openapi is not None
        tree.mount("/openapi/v2", OpenAPINode(self.openapi, "v2", self._kube_api), subtree=True)
        tree.mount("/openapi/v3", OpenAPINode(self.openapi, "v3", self._kube_api), subtree=True)

    def _mount_terminal_page(self, logins: Logins) -> None:
        front, options = logins.front, self.settings.terminal
        longest = max(options.download_timeout, options.upload_timeout)
        tokens = PageTokens(front.site, logins.directory, front.browsers, front.pending, logins.tokens, longest)
        for router in TerminalPage(front, tokens).routers():
            self.tree.mount(router.prefix, router, subtree=True)

    def _expose(self) -> None:
        metrics, state = self.metrics, self.state
        assert state is not None
        metrics.add_lag(self.lag)
        metrics.add_watches(state.reflectors)
        metrics.add_pools(self.pools.totals)
        metrics.add_proxy(self.proxy)
        metrics.add_servers(lambda: self.listeners.servers)
        metrics.add_log(lambda: self._output.lost)
        assert self.extensions is not None
        for name, kind, text, read in GuardMetrics(self.extensions.guards).families():
            metrics.add(name, kind, text, read)
        assert self.logins is not None
        for name, kind, text, read in self.logins.metrics().families():
            metrics.add(name, kind, text, read)
        if self.audit is not None:
            for name, kind, text, read in self.audit.families():
                metrics.add(name, kind, text, read)
        assert self.terminals is not None
        figures = self.terminals.figures
        for name, kind, text, read in figures.families():
            metrics.add(name, kind, text, read)
        metrics.add_histogram("ksproxyd_terminal_session_seconds", "How long terminals were open.", figures.seconds)

    async def _listen(self, sockets: list[InheritedSocket]) -> None:
        configured = self.settings.ksproxyd.listeners
        if sockets:
            if len(sockets) != len(configured):
                raise StartError(
                    f"the service manager hands over {len(sockets)} sockets, ksproxyd.listeners has {len(configured)}; "
                    "each socket takes its rules from the listener of the same place"
                )
            for inherited, listener in zip(sockets, configured, strict=True):
                self.listeners.adopt(inherited.fd, listener)
            return
        for listener in configured:
            await self.listeners.open(listener)

    def _server(self) -> Server:
        ours = self.settings.ksproxyd
        server = Server(
            self._reactor,
            self.wheel,
            self._serve,
            self._finished if self.audit is None else self._recorded,
            limits(ours),
            client_timeouts(ours),
            time.time,
        )
        if self.trusted.any:
            server.addresses = ClientAddress(self.trusted)
        return server

    def _synced(self, _: None) -> None:
        self._syncing = None
        self.on_synced()
        if self._chain is not None and self.synced:
            self._chain.leave_out("synced")
        self.log.info("in sync with the cluster: {what}", what=self._describe())
        self.notifier.status(self._describe())

    def _not_synced(self, failure: Failure) -> None:
        self._syncing = None
        if not failure.check(CancelledError):
            self.log.failure("following the cluster failed", failure)

    def _describe(self) -> str:
        where = ", ".join(self.listeners.addresses)
        return f"serving on {where}" if self.synced else f"listening on {where}, reading the cluster's state"

    # -- serving ---------------------------------------------------------------------------------------

    def _serve(self, exchange: Exchange) -> None:
        self.metrics.requests.began(exchange)
        self._handle(exchange)

    def _finished(self, exchange: Exchange) -> None:
        seconds = self._reactor.seconds() - exchange.started
        self.metrics.requests.finished(exchange, seconds)
        log = self.access_log
        # Most requests are not worth a line.
        if seconds >= log.slow or (exchange.status or CLIENT_GONE) >= log.least:
            log.finished(exchange, seconds)

    def _recorded(self, exchange: Exchange) -> None:
        assert self.audit is not None
        self._finished(exchange)
        self.audit.finished(exchange, self._reactor.seconds() - exchange.started)

    def _failed(self, exchange: Exchange, failure: Failure) -> None:
        exchange.fail(failure)

    # -- what changes ----------------------------------------------------------------------------------

    def reload(self, settings: Settings) -> None:
        """Put changed settings into use; no connection is touched. Says which need a restart."""
        self.notifier.reloading("reloading the configuration")
        changes = diff(self.settings, settings)
        for change in changes:
            level = LogLevel.warn if change.needs_restart else LogLevel.info
            self.log.emit(level, "configuration changed: {change}", change=str(change))
        self.settings = settings
        ours = settings.ksproxyd
        self._output.apply(ours.logging)
        self.access_log.apply(ours.logging)
        self.pools.retime(
            upstream_timeouts(ours), ours.pool.max_idle_per_target, ours.pool.max_connections_per_target
        )
        self._cors = cors(ours)
        if self._chain is not None:
            self._chain.leave_out("cors", self._cors is None)
        self.trusted.replace(ours.trusted_proxies)
        for server in self.listeners.servers:
            server.limits = limits(ours)
            server.timeouts = client_timeouts(ours)
            server.addresses = ClientAddress(self.trusted) if self.trusted.any else None
        if self.state is not None and self.kube_client is not None:
            self.state.retime(Timing(silence=ours.timeouts.watch_silence))
            self.kube_client.timeout = ours.timeouts.kube_request
        if self.api_server is not None:
            self.api_server.timeout = ours.timeouts.kube_request
            self.api_server.interval = ours.timeouts.resync
        if self._recheck is not None:
            self._recheck.interval = ours.timeouts.recheck
        if self.logins is not None:
            self.logins.reload(settings)
        if self.audit is not None:
            self.audit.reload(settings)
        self.listeners.reload_certificates()
        self.notifier.ready(self._describe())

    # -- the end ---------------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Stop accepting, let what is in flight finish for as long as the drain lasts, then let go of everything."""
        self.draining = True
        self._drained_from = self._reactor.seconds()
        self.notifier.stopping("finishing requests in flight")
        if self.api_server is not None:
            self.api_server.stop()
        if self._syncing is not None:
            self._syncing.cancel()
        # Sessions have a grace time of their own, beside that of requests.
        ending = None if self.terminals is None else Deferred.fromCoroutine(self.terminals.stop())
        await self.listeners.close()
        await self._drain()
        if ending is not None:
            await ending
        if self._recheck is not None:
            self._recheck.stop()
        if self._writer is not None:
            await self._writer.stop()
        if self.controllers is not None:
            await self.controllers.stop()
        if self.logins is not None:
            await self.logins.stop()
        if self.apis is not None:
            self.apis.stop()
        if self.authorization is not None:
            self.authorization.stop()
        if self._unsubscribe is not None:
            self._unsubscribe()
        if self.openapi is not None:
            self.openapi.stop()
        if self.extensions is not None:
            self.extensions.stop()
        if self.members is not None:
            self.members.stop()
        if self.audit is not None:
            await self.audit.stop()
        if self.state is not None:
            self.state.stop()
        if self._kube_api is not None:
            self._kube_api.close()
        if self.access is not None:
            self.access.stop()
        self.pools.close()
        self.lag.stop()
        self.wheel.stop()
        self.notifier.stop_watchdog()

    async def _drain(self) -> None:
        for server in self.listeners.servers:
            waiting = server.drain()
            left = self.settings.ksproxyd.timeouts.drain - (self._reactor.seconds() - self._drained_from)
            waiting.addTimeout(max(0.0, left), self._reactor)
            try:
                await waiting
            except Exception as error:
                cut = len(server.connections)
                if cut:
                    self.log.warn("{cut} connections were cut: they outlasted the drain", cut=cut, error=error)
