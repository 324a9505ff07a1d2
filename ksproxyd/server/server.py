"""The server: accepts connections and hands exchanges to whoever was given as ``handle``.

It knows HTTP and TLS, and nothing of Kubernetes.
"""

from __future__ import annotations

import ssl
from collections import Counter
from collections.abc import Callable
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import ServerFactory
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd.model.memory import Memory
from ksproxyd.model.status import StatusError, internal, service_unavailable
from ksproxyd.server.client_address import normal_address
from ksproxyd.server.connection import ServerConnection
from ksproxyd.server.exchange import Exchange
from ksproxyd.server.head import RequestHead
from ksproxyd.server.limits import Limits, Timeouts
from ksproxyd.transport.wheel import Wheel

if TYPE_CHECKING:
    from twisted.internet.protocol import Protocol


#: Seconds from the beginning of a drain in which requests on existing connections are still served; it takes a while
#: until everybody knows that they should go elsewhere.
GRACE = 2.0


class Counters:
    """What a server has seen, read by the metrics."""

    __slots__ = ("accepted", "failed", "refused", "requests", "timeouts", "tls_failures")

    def __init__(self) -> None:
        self.accepted = 0
        self.requests = 0
        #: Requests answered by the server itself because they could not be handed on.
        self.refused = 0
        #: Requests that met a mistake of ours.
        self.failed = 0
        self.tls_failures = 0
        self.timeouts: Counter[str] = Counter()


class Server(ServerFactory):
    """One set of rules for any number of listeners.

    ``handle`` takes each exchange and sees to its answer; ``on_finished`` is told of each when it is over,
    answered or not. ``tls_context`` makes the listener speak TLS; it may be replaced at any time and counts for new
    connections. ``proxy_protocol`` and ``addresses`` decide the client's address (see
    :mod:`ksproxyd.server.client_address`); without them it is the peer's.
    """

    log = Logger()
    noisy = False

    def __init__(
        self,
        clock: IReactorTime,
        wheel: Wheel,
        handle: Callable[[Exchange], None],
        on_finished: Callable[[Exchange], None],
        limits: Limits,
        timeouts: Timeouts,
        wall: Callable[[], float],
        tls_context: ssl.SSLContext | None = None,
    ) -> None:
        self.clock = clock
        self.wheel = wheel
        #: Heads of requests without a body that were read and found good under the limits that are in force.
        self.heads: Memory[RequestHead] = Memory()
        self.limits = limits
        self.timeouts = timeouts
        self.tls_context = tls_context
        self.proxy_protocol: Callable[[ServerConnection], Callable[[bytes], None]] | None = None
        self.addresses: Callable[[Exchange], None] | None = None
        self.counters = Counters()
        self.connections: set[ServerConnection] = set()
        self.draining = False
        self._draining_since = 0.0
        #: Not every request is served: too many connections, or draining.
        self._restricted = False
        self._handle = handle
        self._on_finished = on_finished
        self._wall = wall
        self._date = b""
        self._date_at = -1.0
        self._drained: Deferred[None] | None = None

    @property
    def limits(self) -> Limits:
        """What a request may be like; may be replaced at any time."""
        return self._limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self._limits = limits
        self.heads.clear()

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        """A connection for the client at ``addr``."""
        self.counters.accepted += 1
        # A dual-stack socket names IPv4 clients as IPv6; rules and logs mean them by their own address.
        peer = normal_address(getattr(addr, "host", None) or "")
        return ServerConnection(self, peer, self.tls_context is not None)

    def handle(self, exchange: Exchange) -> None:
        """A request is complete as far as its head goes: let it be served."""
        self.counters.requests += 1
        if self._restricted:
            refusal = self._turned_away(exchange)
            if refusal is not None:
                exchange.keep_alive = False
                self.refuse(exchange, refusal)
                return
        try:
            self._handle(exchange)
        except Exception:
            self.failed(exchange)

    def _turned_away(self, exchange: Exchange) -> StatusError | None:
        """Why the request is not served, when not all are."""
        if self.draining:
            if self.wheel.now - self._draining_since > GRACE:
                return service_unavailable("the gateway is shutting down, try again", 1)
        elif len(self.connections) <= self.limits.connections:
            self._restricted = False
        elif exchange.connection.excess:
            return service_unavailable("too many connections, try again later", 5)
        return None

    def failed(self, exchange: Exchange, failure: Failure | None = None) -> None:
        """An exception that nobody expected: log it, and never leave the client without an answer."""
        text = "serving {exchange} failed (request {id})"
        self.log.failure(text, failure or Failure(), exchange=exchange, id=exchange.id)
        self.counters.failed += 1
        if exchange.finished or exchange.hijacked:
            return
        if exchange.status:
            exchange.abort()
        else:
            exchange.refuse(internal(f"the gateway failed to serve the request; its log tells why (id {exchange.id})"))

    def refuse(self, exchange: Exchange, error: StatusError) -> None:
        """Answer ``exchange`` with ``error`` on the server's own account."""
        self.counters.refused += 1
        exchange.refuse(error)

    def finished(self, exchange: Exchange) -> None:
        """An exchange is over."""
        try:
            self._on_finished(exchange)
        except Exception:
            self.log.failure("accounting for {exchange} failed", exchange=exchange)

    def date_line(self) -> bytes:
        """The ``Date`` field, as precise as the wheel."""
        now = self.wheel.now
        if now != self._date_at:
            self._date_at = now
            self._date = b"Date: " + formatdate(self._wall(), usegmt=True).encode("ascii") + b"\r\n"
        return self._date

    def connected(self, connection: ServerConnection) -> None:
        """A connection has been accepted."""
        self.connections.add(connection)
        if len(self.connections) > self.limits.connections:
            # The old ones keep their rights: nobody can take them away by opening more.
            connection.excess = self._restricted = True
        if self.draining:
            connection.draining = True

    def forget(self, connection: ServerConnection) -> None:
        """A connection is gone."""
        self.connections.discard(connection)
        if self._drained is not None and not self.connections:
            done, self._drained = self._drained, None
            done.callback(None)

    def drain(self) -> Deferred[None]:
        """Close what is idle, let the rest finish. Fires when the last connection is gone; cancel to give up.

        Requests that are on their way already are served for :data:`GRACE` seconds more, later ones are answered 503.
        """
        self.draining = self._restricted = True
        self._draining_since = self.wheel.now
        done: Deferred[None] = Deferred(self._abort_all)
        if not self.connections:
            done.callback(None)
            return done
        self._drained = done
        for connection in list(self.connections):
            connection.begin_drain()
        return done

    def _abort_all(self, _: Any) -> None:
        self._drained = None
        for connection in list(self.connections):
            connection.abort()
