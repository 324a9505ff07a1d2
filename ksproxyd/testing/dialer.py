"""Connects the gateway to backends in memory."""

from __future__ import annotations

import ssl
from typing import Any
from urllib.parse import urlsplit

from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Factory

from ksproxyd.testing.backend import Backend
from ksproxyd.testing.peer import Peer
from ksproxyd.testing.reactor import MemoryReactor, address
from ksproxyd.upstream.target import Target


class MemoryDialer:
    """A :class:`~ksproxyd.upstream.pool.Dialer` that knows backends by host and port.

    Connecting takes one turn of the reactor. A host that nobody serves does not resolve.
    """

    def __init__(self, reactor: MemoryReactor) -> None:
        self._reactor = reactor
        self._backends: dict[tuple[str, int], tuple[Backend, ssl.SSLContext | None]] = {}
        #: ``(host, port)`` that refuse connections, and those that never answer.
        self.refusing: set[tuple[str, int]] = set()
        self.silent: set[tuple[str, int]] = set()
        #: Connections asked for.
        self.dials = 0

    def serve(self, url: str, backend: Backend, tls: ssl.SSLContext | None = None) -> None:
        """Let ``backend`` be reached at ``url`` (``https`` needs a server's context in ``tls``)."""
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        if (parts.scheme == "https") != (tls is not None):
            raise ValueError(f"{url} and a TLS context go together")
        self._backends[parts.hostname or "", port] = backend, tls

    def backends(self) -> list[Backend]:
        """Every backend that can be reached."""
        return [backend for backend, _ in self._backends.values()]

    def dial(self, target: Target, factory: Factory, timeout: float) -> Deferred[Any]:
        """As :meth:`ksproxyd.upstream.pool.Dialer.dial`."""
        self.dials += 1
        key = target.host, target.port
        call: IDelayedCall

        def cancelled(_: Deferred[Any]) -> None:
            if call.active():
                call.cancel()

        done: Deferred[Any] = Deferred(cancelled)
        if key in self.silent:
            call = self._reactor.callLater(timeout, lambda: done.errback(error.TimeoutError()))
        elif key in self.refusing:
            call = self._reactor.callLater(0, lambda: done.errback(error.ConnectionRefusedError()))
        elif key not in self._backends:
            call = self._reactor.callLater(0, lambda: done.errback(error.DNSLookupError(target.host)))
        else:
            call = self._reactor.callLater(0, self._connect, key, factory, done)
        return done

    def _connect(self, key: tuple[str, int], factory: Factory, done: Deferred[Any]) -> None:
        backend, context = self._backends[key]
        peer = address("192.0.2.80", key[1])
        protocol: Any = factory.buildProtocol(peer)
        _, socket = self._reactor.attach(protocol, address("192.0.2.1", 40000), peer, backend.capacity)
        far = Peer(self._reactor, socket)
        if context is not None:
            far.start_tls(context, server_side=True)
        backend.connected(far)
        done.callback(protocol)
