"""Connections kept per target.

Taking an idle connection is a list operation; only a new one makes somebody wait. The most recently used goes out
first, so that surplus ones grow old and are closed.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

import msgspec
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd.transport.wheel import Wheel
from ksproxyd.upstream.errors import UpstreamError, connect_error
from ksproxyd.upstream.http1 import UpstreamConnection
from ksproxyd.upstream.target import Target


class UpstreamTimeouts(msgspec.Struct, frozen=True):
    """Seconds; 0 switches one off where it makes sense."""

    connect: float = 10.0
    tls_handshake: float = 10.0
    #: From the end of the request to the head of the answer.
    response_header: float = 300.0
    #: How long an unused connection is kept.
    upstream_idle: float = 90.0
    #: No byte of an answer's body.
    stream_idle: float = 0.0
    #: No byte in either direction of a tunnel.
    tunnel_idle: float = 14400.0
    #: How long a closed tunnel's last bytes may take.
    linger: float = 10.0
    #: How long a body is held back for the backend's ``100 Continue``.
    expect_continue: float = 1.0


class Dialer(Protocol):
    """Makes connections: TCP in production, memory in tests."""

    def dial(self, target: Target, factory: Factory, timeout: float) -> Deferred[Any]:
        """A connection to ``target`` for a protocol of ``factory``. Fires with the protocol."""


class TCPDialer:
    """Connects over TCP, trying a name's addresses side by side (RFC 8305)."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def dial(self, target: Target, factory: Factory, timeout: float) -> Deferred[Any]:
        # A literal address needs no race between addresses, which is also slow to notice that all were refused.
        if isIPAddress(target.host):
            endpoint: Any = TCP4ClientEndpoint(self._reactor, target.host, target.port, timeout=timeout)
        elif isIPv6Address(target.host):
            endpoint = TCP6ClientEndpoint(self._reactor, target.host, target.port, timeout=timeout)
        else:
            endpoint = HostnameEndpoint(self._reactor, target.host, target.port, timeout=timeout)
        return endpoint.connect(factory)


class _Connections(Factory):
    noisy = False

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def buildProtocol(self, addr: IAddress | None) -> UpstreamConnection:
        return UpstreamConnection(self._pool)


class Pool:
    """The connections to one target. Counters are read by the metrics."""

    log = Logger()

    def __init__(
        self,
        target: Target,
        dialer: Dialer,
        wheel: Wheel,
        timeouts: UpstreamTimeouts,
        max_idle: int = 100,
        max_connections: int = 0,
    ) -> None:
        self.target = target
        self.wheel = wheel
        self.timeouts = timeouts
        self.max_idle = max_idle
        self.max_connections = max_connections
        self._dialer = dialer
        self._factory = _Connections(self)
        self._idle: list[UpstreamConnection] = []
        #: Connections that exist (idle, busy, in a tunnel) or are being made.
        self.size = 0
        self.dials = 0
        self.dial_failures = 0
        self.requests = 0
        #: Idle connections that turned out to be unusable.
        self.stale = 0
        self._closed = False
        self._waiting: deque[Deferred[UpstreamConnection]] = deque()
        self._handshakes: dict[UpstreamConnection, Deferred[UpstreamConnection]] = {}

    @property
    def idle(self) -> int:
        """Connections waiting for a request."""
        return len(self._idle)

    def take(self) -> UpstreamConnection | None:
        """An idle connection, or None: then :meth:`dial`."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.transport.connected and not connection._closing:
                return connection
        return None

    def dial(self) -> Deferred[UpstreamConnection]:
        """A new connection, ready for a request (TLS included).

        Fails with :class:`UpstreamError`. Cancelling gives up. Where ``max_connections`` are open it waits for one.
        """
        if self.max_connections and self.size >= self.max_connections:
            waiting: Deferred[UpstreamConnection] = Deferred(self._waiting.remove)
            self._waiting.append(waiting)
            return waiting
        return self._dial()

    def _dial(self) -> Deferred[UpstreamConnection]:
        self.size += 1
        self.dials += 1
        pending: list[UpstreamConnection] = []

        def cancel(_: Deferred[UpstreamConnection]) -> None:
            if pending:
                pending[0].abort()
            else:
                attempt.cancel()

        done: Deferred[UpstreamConnection] = Deferred(cancel)

        def made(protocol: UpstreamConnection) -> None:
            if protocol.trouble is not None:
                done.errback(protocol.trouble)
            elif protocol.tls is None or protocol.tls.ready:
                done.callback(protocol)
            else:
                pending.append(protocol)
                self._handshakes[protocol] = done

        def failed(failure: Failure) -> None:
            self.size -= 1
            self.dial_failures += 1
            if failure.check(CancelledError):
                done.errback(UpstreamError("cancelled", "nobody waits for the connection any more"))
            else:
                done.errback(connect_error(failure))
            self._serve_waiting()

        attempt = self._dialer.dial(self.target, self._factory, self.timeouts.connect)
        attempt.addCallbacks(made, failed)
        return done

    # -- called by connections -------------------------------------------------------------------------

    def secured(self, connection: UpstreamConnection) -> None:
        """The TLS handshake is complete: the connection can carry a request."""
        waiting = self._handshakes.pop(connection, None)
        if waiting is not None:
            waiting.callback(connection)

    def lost(self, connection: UpstreamConnection, reason: UpstreamError | Failure | None) -> None:
        """The connection is gone."""
        self.size -= 1
        waiting = self._handshakes.pop(connection, None)
        if waiting is not None:
            self.dial_failures += 1
            if isinstance(reason, UpstreamError):
                waiting.errback(reason)
            else:
                waiting.errback(UpstreamError("connect", "the connection was lost during the handshake", str(reason)))
        else:
            self.spoiled(connection)
        self._serve_waiting()

    def spoiled(self, connection: UpstreamConnection) -> None:
        """The connection is not fit for another request."""
        if connection in self._idle:
            self._idle.remove(connection)
            self.stale += 1

    def give_back(self, connection: UpstreamConnection) -> None:
        """The connection has served a request and is clean."""
        if self._waiting:
            self._waiting.popleft().callback(connection)
            return
        if self._closed or len(self._idle) >= self.max_idle:
            connection.close()
            return
        connection.deadline = self.wheel.now + self.timeouts.upstream_idle
        self._idle.append(connection)

    def _serve_waiting(self) -> None:
        while self._waiting and (not self.max_connections or self.size < self.max_connections):
            waiting = self._waiting.popleft()
            self._dial().chainDeferred(waiting)

    def close(self) -> None:
        """Close what is idle, and what is busy as soon as it has finished. New requests still work."""
        self._closed = True
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
