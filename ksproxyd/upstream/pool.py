"""Connections kept per target.

Taking an idle connection is a list operation; only a new one makes somebody wait. The most recently used goes out
first, so that surplus ones grow old and are closed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import msgspec
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
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
    #: The same in what is left of one when one end has finished.
    tunnel_half_closed: float = 60.0
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


class Attempt:
    """Somebody's wish for a connection: waiting for its turn, connecting, or shaking hands.

    ``done`` fires once with the connection or an :class:`UpstreamError`; cancel it to give up.
    """

    __slots__ = ("_connecting", "_connection", "_pool", "deadline", "done", "fresh")

    def __init__(self, pool: Pool, fresh: bool) -> None:
        self._pool = pool
        #: A connection that has served before will not do.
        self.fresh = fresh
        self.done: Deferred[UpstreamConnection] = Deferred(self._cancelled)
        self.deadline = 0.0
        self._connecting: Deferred[Any] | None = None
        self._connection: UpstreamConnection | None = None

    def wait(self) -> None:
        """All connections are in use. Theirs is the patience that connecting has (see :meth:`timed_out`)."""
        wheel = self._pool.wheel
        self.deadline = wheel.now + self._pool.timeouts.connect
        wheel.watch(self)

    def begin(self) -> None:
        """Connect."""
        pool = self._pool
        pool.wheel.forget(self)
        pool.size += 1
        pool.dials += 1
        self._connecting = connecting = pool.dialer.dial(pool.target, pool.factory, pool.timeouts.connect)
        connecting.addCallbacks(self._made, self._not_made)

    def take(self, connection: UpstreamConnection) -> None:
        """Somebody has finished with ``connection``."""
        self._pool.wheel.forget(self)
        self.done.callback(connection)

    def _made(self, connection: UpstreamConnection) -> None:
        self._connecting = None
        if not connection.transport.connected:
            self.failed(connection.trouble or UpstreamError("connect", "the connection was lost at once"))
        elif connection.trouble is not None or (connection.tls is not None and not connection.tls.ready):
            # The connection tells how the handshake went, or that it is lost.
            self._connection = connection
            connection.attempt = self
        else:
            self.ready(connection)

    def _not_made(self, failure: Failure) -> None:
        self._connecting = None
        self.failed(connect_error(failure))
        self._pool.left()

    def ready(self, connection: UpstreamConnection) -> None:
        """The connection can carry a request."""
        self._connection = None
        if self.done.called:
            # Given up too late to stop it.
            self._pool.give_back(connection)
        else:
            self.done.callback(connection)

    def failed(self, reason: UpstreamError) -> None:
        """There will be no connection."""
        self._connection = None
        if not self.done.called:
            self._pool.dial_failures += 1
            self.done.errback(reason)

    def timed_out(self) -> None:
        """No connection has become free."""
        self._pool.withdraw(self)
        self.done.errback(UpstreamError("timeout", "no connection to the upstream became free in time"))

    def _cancelled(self, _: Deferred[UpstreamConnection]) -> None:
        self.done.errback(UpstreamError("cancelled", "nobody waits for the connection any more"))
        if self._connection is not None:
            self._connection.abort()
        elif self._connecting is not None:
            self._connecting.cancel()
        else:
            self._pool.withdraw(self)


class Pool:
    """The connections to one target. Counters are read by the metrics.

    ``emptied`` is called whenever the last connection is gone and nobody waits for one.
    """

    def __init__(
        self,
        target: Target,
        dialer: Dialer,
        wheel: Wheel,
        timeouts: UpstreamTimeouts,
        max_idle: int = 100,
        max_connections: int = 0,
        emptied: Callable[[Pool], object] = lambda pool: None,
    ) -> None:
        self.target = target
        self.wheel = wheel
        self.timeouts = timeouts
        self.max_idle = max_idle
        self.max_connections = max_connections
        self.dialer = dialer
        self.factory = _Connections(self)
        self._emptied = emptied
        self._idle: list[UpstreamConnection] = []
        #: Connections that exist (idle, busy, in a tunnel) or are being made.
        self.size = 0
        self.dials = 0
        #: Attempts that failed; those that were given up are not counted.
        self.dial_failures = 0
        #: Idle connections that turned out to be unusable.
        self.stale = 0
        self._closed = False
        self._waiting: deque[Attempt] = deque()
        self._serving = False

    @property
    def idle(self) -> int:
        """Connections waiting for a request."""
        return len(self._idle)

    @property
    def waiting(self) -> int:
        """Requests waiting for a connection."""
        return len(self._waiting)

    def take(self) -> UpstreamConnection | None:
        """An idle connection, or None: then :meth:`dial`."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.transport.connected and not connection._closing:
                return connection
        return None

    def dial(self, fresh: bool = False) -> Deferred[UpstreamConnection]:
        """A connection, ready for a request (TLS included).

        It is a new one. But where ``max_connections`` are open it waits, at most as long as connecting may take, and
        may get one that somebody else has finished with, unless it has to be ``fresh``. Fails with
        :class:`UpstreamError`. Cancel it to give up.
        """
        attempt = Attempt(self, fresh)
        if self.max_connections and self.size >= self.max_connections:
            self._waiting.append(attempt)
            attempt.wait()
            if self._idle:
                # Unused ones must not keep out whoever cannot use them.
                self._idle.pop(0).close()
        else:
            attempt.begin()
        return attempt.done

    def withdraw(self, attempt: Attempt) -> None:
        """``attempt`` waits no longer."""
        self.wheel.forget(attempt)
        self._waiting.remove(attempt)

    # -- called by connections -------------------------------------------------------------------------

    def lost(self, connection: UpstreamConnection) -> None:
        """The connection is gone."""
        self.spoiled(connection)
        self.left()

    def left(self) -> None:
        """One connection fewer exists, or is being made."""
        self.size -= 1
        self.serve_waiting()
        if not self.size:
            self._emptied(self)

    def spoiled(self, connection: UpstreamConnection) -> None:
        """The connection is not fit for another request."""
        if self.forget(connection):
            self.stale += 1

    def forget(self, connection: UpstreamConnection) -> bool:
        """The connection is not idle any more; whether it was."""
        if connection in self._idle:
            self._idle.remove(connection)
            return True
        return False

    def give_back(self, connection: UpstreamConnection) -> None:
        """The connection is clean and can serve another request."""
        if self._waiting:
            if self._waiting[0].fresh:
                connection.close()
            else:
                self._waiting.popleft().take(connection)
            return
        kept = self.timeouts.upstream_idle
        if self._closed or not kept or len(self._idle) >= self.max_idle:
            connection.close()
            return
        connection.deadline = self.wheel.now + kept
        self._idle.append(connection)

    def serve_waiting(self) -> None:
        """Connect for those who wait, as far as that is allowed now."""
        if self._serving:
            # An attempt has failed at once: the loop below goes on with the next.
            return
        self._serving = True
        try:
            while self._waiting and (not self.max_connections or self.size < self.max_connections):
                self._waiting.popleft().begin()
        finally:
            self._serving = False

    def close(self) -> None:
        """Close what is idle, and what is busy as soon as it has finished. New requests still work."""
        self._closed = True
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
