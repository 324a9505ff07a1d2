"""``terminal.kubesphere.io/v1alpha2``: shells in pods, on nodes and in one's own pod, and tickets for them (spec 05).

:class:`Terminals` joins what serves them. Its parts know sessions (:mod:`ksproxyd.terminal`) or HTTP, never both but
for :mod:`.shells`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from ksproxyd.authn.authenticator import Authenticator
from ksproxyd.authz.decision import Authorizer
from ksproxyd.authz.rights import Rights
from ksproxyd.kapis.router import Route, Router
from ksproxyd.kapis.terminal.access import Access
from ksproxyd.kapis.terminal.accounting import PassedOf
from ksproxyd.kapis.terminal.download import Downloads
from ksproxyd.kapis.terminal.figures import Figures
from ksproxyd.kapis.terminal.origins import Origins
from ksproxyd.kapis.terminal.shells import Shells, WitnessOf
from ksproxyd.kapis.terminal.tickets import BrowserSessions, Tickets
from ksproxyd.kapis.terminal.upload import Uploads
from ksproxyd.kube.client import KubeClient
from ksproxyd.kube.pacing import pause
from ksproxyd.server.exchange import Exchange
from ksproxyd.settings import Settings
from ksproxyd.settings.terminal import TerminalSettings
from ksproxyd.terminal.endings import Where
from ksproxyd.terminal.execution import Access as ClusterAccess
from ksproxyd.terminal.execution import Executions
from ksproxyd.terminal.pods.kubectl import KubectlPods
from ksproxyd.terminal.pods.node import NodePods
from ksproxyd.terminal.pods.sweeper import Sweeper
from ksproxyd.terminal.recording import Recorder, Recordings
from ksproxyd.terminal.registry import Registry
from ksproxyd.terminal.websocket import WebSockets
from ksproxyd.upstream.pools import Pools

if TYPE_CHECKING:
    from ksproxyd.authn.shared.store import SharedStore

PREFIX = "/kapis/terminal.kubesphere.io/v1alpha2"

#: Where the sign-in cookie is good.
TRADE = "/oauth/terminal_ticket"

#: Seconds that browsers have at least to say goodbye, and that are left for everything else; between looks at whether
#: the last ones have said it.
_GOODBYE, _LAST, _LOOK = 1.0, 1.0, 0.1

FILE = "/namespaces/{namespace}/pods/{pod}/file"


def patience(options: TerminalSettings) -> float:
    """How long a browser may be silent: when the time for that is over, its shell has been hung up, too."""
    # Keys first, then a signal (ksproxyd.terminal.hanging_up). However long shells may take, browsers have time, too.
    return max(options.pong_timeout / 2, options.pong_timeout - 2 * options.hang_up)


class Terminals:
    """Everything of terminals. :meth:`start` when the cluster can be asked, :meth:`stop` at the end.

    ``random_bytes(n)`` are unpredictable; ``browsers`` are those of people who have signed in; ``witnesses`` make
    whoever keeps account of a session, ``passed_of`` what keeps account of files.
    """

    def __init__(
        self,
        clock: IReactorTime,
        settings: Settings,
        client: KubeClient,
        cluster: ClusterAccess,
        pools: Pools,
        rights: Rights,
        authorizer: Authorizer,
        authenticator: Authenticator,
        browsers: BrowserSessions,
        store: SharedStore,
        in_thread: Callable[..., Deferred[Any]],
        random_bytes: Callable[[int], bytes],
        witnesses: Iterable[WitnessOf] = (),
        passed_of: PassedOf | None = None,
    ) -> None:
        options, timing = settings.terminal, settings.ksproxyd.timeouts
        self._clock = clock
        self._grace = options.shutdown_grace
        self.origins = Origins(options.allowed_origins)
        self.access = Access(rights, authorizer, authenticator, browsers)
        self.tickets = Tickets(store, self.origins, browsers, authenticator.identity_of, random_bytes)
        self.registry = Registry(clock, options, random_bytes)
        self.recordings = Recordings(clock, options.recording, in_thread)
        self.sockets = WebSockets(
            clock,
            max_message=options.max_message_size,
            ping_interval=options.ping_interval,
            pong_timeout=patience(options),
            linger=timing.tunnel_linger,
        )
        self.executions = Executions(
            clock,
            pools,
            cluster,
            random_bytes,
            start_timeout=timing.response_header,
            ping_interval=options.ping_interval,
            pong_timeout=options.pong_timeout,
        )
        self.kubectl = KubectlPods(clock, client, options.kubectl)
        self.nodes = NodePods(clock, client, options, lambda: random_bytes(4).hex())
        self.sweeper = Sweeper(clock, client)
        #: For ``/metrics``.
        self.figures = Figures(self.registry, self.sockets, self.executions)
        self._shells = Shells(
            clock,
            client,
            self.access,
            self.origins,
            self.sockets,
            self.registry,
            self.executions,
            self.kubectl,
            self.nodes,
            [self._recorder, self.figures.witness, *witnesses],
        )

        self._uploads = Uploads(clock, options, client, self.access, self.executions, in_thread, passed_of)
        self._downloads = Downloads(clock, options, client, self.access, self.executions, passed_of)

    def start(self, *, sweep: bool) -> None:
        """Be ready; with ``sweep`` also delete pods that nobody uses any more, whoever has left them.

        Raises :class:`OSError` if nothing can be recorded that should be.
        """
        self.recordings.start()
        if sweep:
            self.sweeper.start()

    def routers(self) -> list[Router]:
        """The nodes of the tree."""
        routes = [
            *self._shells.routes(),
            Route("GET", FILE, self._downloads.get, "Files out of a container"),
            Route("POST", FILE, self._uploads.post, "Files into a container"),
            Route("POST", "/tickets", self.tickets.for_token, "Trade a token for a ticket for one terminal"),
        ]
        trade = Route("POST", "", self.tickets.for_browser, "Trade a sign-in for a ticket for one terminal")
        return [Router(PREFIX, "terminals", routes), Router(TRADE, "tickets for terminals", [trade])]

    async def stop(self) -> None:
        """End every session (``terminal.shutdownGrace``), then everything else."""
        end = self._clock.seconds() + max(self._grace - _LAST, _GOODBYE)
        await self.registry.stop()
        while self.sockets.open and self._clock.seconds() < end:
            await pause(self._clock, _LOOK)
        for socket in tuple(self.sockets.open):
            socket.abort()
        self.executions.stop()
        await self.kubectl.stop()
        await self.nodes.stop()
        self.sweeper.stop()
        await self.recordings.stop()

    def _recorder(self, exchange: Exchange, where: Where) -> Recorder | None:
        return self.recordings.recorder()
