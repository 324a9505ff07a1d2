"""The whole gateway in memory: the real one, with a memory reactor under it and memory backends behind it."""

from __future__ import annotations

import random
import ssl
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.python.failure import Failure

from ksproxyd.gateway import Gateway
from ksproxyd.observe.logging import LogOutput
from ksproxyd.settings import load_text
from ksproxyd.testing.backend import Backend
from ksproxyd.testing.dialer import MemoryDialer
from ksproxyd.testing.embedded import EmbeddedKube
from ksproxyd.testing.kube import KubeBackend, MemoryAccess, Object
from ksproxyd.testing.messages import Answer, Pairs
from ksproxyd.testing.reactor import MemoryReactor
from ksproxyd.testing.server import Client
from ksproxyd.testing.sockets import CAPACITY
from ksproxyd.upstream.target import Target

#: Everything may pass, on one plain listener; extensions' documents are not fetched, as backends would see that.
SETTINGS = """
authorization: {mode: AlwaysAllow}
ksproxyd:
  listeners: [{address: 127.0.0.1, port: 9090}]
  extensions: {openapi: false, manageStatus: false}
  controllers: {mode: false}
"""

KUBE = Target("http", "kubernetes.example", 6443)

#: Longer than anything may take that a closed gateway still does.
_LONG = 300.0


class MemoryGateway:
    """A gateway that has started and is in sync with its API server. A context manager: see :meth:`close`.

    The server is a :class:`KubeBackend` (``kube``), which knows just what it is given, or, if ``embedded``, the whole
    embedded API (``embedded``), for what the gateway itself writes. ``settings`` is the text of a configuration file;
    ``path_prefix`` is that of the API server's URL.
    """

    def __init__(
        self,
        settings: str = SETTINGS,
        *,
        environ: Mapping[str, str] | None = None,
        objects: Iterable[Object] = (),
        path_prefix: bytes = b"",
        seed: int = 0,
        embedded: bool = False,
    ) -> None:
        self.reactor = MemoryReactor()
        self.dialer = MemoryDialer(self.reactor)
        self.kube = KubeBackend()
        self._cluster: KubeBackend | EmbeddedKube = self.kube
        if embedded:
            self._cluster = self.embedded = EmbeddedKube(self.reactor)
        self.dialer.serve(str(KUBE), self._cluster)
        self.access = MemoryAccess(KUBE, path_prefix)
        #: What the gateway has logged for the access log, a line each.
        self.lines: list[bytes] = []
        output = LogOutput(self.lines.append, self.reactor)
        self._output = output
        loaded = load_text(settings, "settings", environ or {})
        output.apply(loaded.settings.ksproxyd.logging)
        self.gateway = Gateway(
            self.reactor,
            loaded.settings,
            output,
            environ or {},
            dialer=self.dialer,
            rng=random.Random(seed),
            monotonic=self.reactor.seconds,
        )
        for value in objects:
            self._cluster.apply(value)
        self.run(self.gateway.start(access=self.access))  # type: ignore[arg-type]
        self.reactor.settle()
        if not self.gateway.synced:
            raise AssertionError("the gateway is not in sync with the API server")
        self._closed = False

    # -- what stands around it -------------------------------------------------------------------------

    def serve(self, url: str, backend: Backend, tls: ssl.SSLContext | None = None) -> Backend:
        """Let ``backend`` be reached at ``url``; returns it."""
        self.dialer.serve(url, backend, tls)
        return backend

    def apply(self, *values: Object) -> None:
        """Create or change objects in the cluster, and wait until the gateway has heard of it."""
        for value in values:
            self._cluster.apply(value)
        self.reactor.settle()

    def delete(self, *values: Object) -> None:
        """Delete objects from the cluster."""
        for value in values:
            self._cluster.delete(value)
        self.reactor.settle()

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.reactor.wait(seconds)

    def run(self, coroutine: Any) -> Any:
        """Wait for a coroutine (or Deferred) of the gateway's; returns its result or raises its error."""
        results: list[Any] = []
        waiting: Deferred[Any] = ensureDeferred(coroutine)
        waiting.addBoth(results.append)
        for _ in range(int(_LONG)):
            self.reactor.settle()
            if results:
                break
            self.reactor.wait(1.0)
        if not results:
            raise AssertionError(f"{coroutine} does not come to an end")
        if isinstance(results[0], Failure):
            results[0].raiseException()
        return results[0]

    # -- clients ---------------------------------------------------------------------------------------

    def connect(
        self,
        host: str = "192.0.2.7",
        *,
        listener: int = 0,
        capacity: int = CAPACITY,
        tls: ssl.SSLContext | None = None,
    ) -> Client:
        """A new connection from ``host`` to the listener of that place in the settings."""
        port = self.reactor.ports[listener]
        return Client.connect(self.reactor, port.factory, host, port.getHost().port, capacity, tls)  # type: ignore[arg-type]

    def exchange(self, request: bytes, *, method: str = "GET", host: str = "192.0.2.7") -> Answer:
        """Send raw bytes on a connection of their own; returns the complete answer."""
        client = self.connect(host)
        client.send(request)
        found = client.answer(method)
        client.close()
        return found

    def request(
        self, method: str, target: str, headers: Pairs | None = None, body: bytes = b"", *, host: str = "192.0.2.7"
    ) -> Answer:
        """Send a request on a connection of its own; returns the complete answer."""
        lines = [f"{method} {target} HTTP/1.1".encode("latin-1"), b"Host: gateway.example"]
        lines += [name + b": " + value for name, value in headers or []]
        if body:
            lines.append(b"Content-Length: %d" % len(body))
        return self.exchange(b"\r\n".join([*lines, b"", body]), method=method, host=host)

    def get(self, target: str, headers: Pairs | None = None) -> Answer:
        """:meth:`request` with GET."""
        return self.request("GET", target, headers)

    # -- the end ---------------------------------------------------------------------------------------

    def close(self) -> None:
        """Stop the gateway, and fail if something is left: a connection, a timer, a request without an end."""
        if self._closed:
            return
        self._closed = True
        backends = {conversation.peer for backend in self._backends() for conversation in backend.conversations}
        for peer in list(self.reactor.peers):
            if peer not in backends:
                peer.close()
        self.reactor.settle()
        self.run(self.gateway.stop())
        self.reactor.settle()
        if isinstance(self._cluster, EmbeddedKube):
            self._cluster.stop()
            self.reactor.settle()
        self._output.close()
        problems = self.reactor.leftovers()
        problems += [f"an open request: {exchange}" for exchange in self.gateway.metrics.requests.open]
        problems += [f"an open tunnel: {tunnel}" for tunnel in self.gateway.proxy.tunnels]
        problems += [f"what {b} was sent: {p}" for b in self._backends() for p in b.problems]
        if problems:
            raise AssertionError("left over: " + "; ".join(problems))

    def _backends(self) -> list[Backend]:
        return self.dialer.backends()

    def __enter__(self) -> MemoryGateway:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
