"""A server, a relay and one backend in memory: everything between two sockets, without chain and tree.

The backend is bytes in the test's hands, so that it can misbehave.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

from ksproxyd.model.status import StatusError
from ksproxyd.server.exchange import Exchange
from ksproxyd.server.limits import Limits, Timeouts
from ksproxyd.testing import Answer, Client, MemoryDialer, MemoryServer, Peer
from ksproxyd.upstream.plan import Plan
from ksproxyd.upstream.pool import UpstreamTimeouts
from ksproxyd.upstream.pools import Pools
from ksproxyd.upstream.relay import Proxy
from ksproxyd.upstream.target import Target

PLAIN = Target("http", "backend.example", 80)
OK = b"HTTP/1.1 200 OK\r\n"


class RawBackend:
    """Keeps the connections that are made to it."""

    capacity = 65536

    def __init__(self) -> None:
        self.peers: list[Peer] = []
        #: Read nothing from new connections.
        self.deaf = False

    def connected(self, peer: Peer) -> None:
        """The gateway has connected."""
        peer.reading = not self.deaf
        self.peers.append(peer)


class Gate(MemoryServer):
    """Forwards every request to one backend. Leaving it as a context manager checks that nothing is left over."""

    def __init__(
        self,
        target: Target = PLAIN,
        *,
        timeouts: UpstreamTimeouts | None = None,
        client_timeouts: Timeouts | None = None,
        limits: Limits | None = None,
        max_idle: int = 100,
        max_connections: int = 0,
        tls: ssl.SSLContext | None = None,
        **plan: Any,
    ) -> None:
        super().__init__(self._forward, limits=limits, timeouts=client_timeouts)
        self.target = target
        self.dialer = MemoryDialer(self.reactor)
        self.backend = RawBackend()
        self.dialer.serve(str(target), self.backend, tls)  # type: ignore[arg-type]
        self.pools = Pools(self.dialer, self.wheel, timeouts or UpstreamTimeouts(), max_idle, max_connections)
        self.pool = self.pools.hold(target)
        self.proxy = Proxy(self.reactor)
        self.plan = Plan("test", self.pool, **plan)
        #: Sent instead of the client's method.
        self.method: bytes | None = None
        #: Looks at each exchange before it is forwarded.
        self.before: Callable[[Exchange], None] = lambda exchange: None

    def _forward(self, exchange: Exchange) -> None:
        self.before(exchange)
        try:
            self.proxy.forward(exchange, self.plan, exchange.target, self.method)
        except StatusError as error:
            exchange.refuse(error)

    def close(self) -> None:
        self.pools.release(self.target)
        super().close()
        assert not self.proxy.tunnels
        assert not len(self.pools)

    # -- shorthands ------------------------------------------------------------------------------------

    @property
    def peer(self) -> Peer:
        """The backend's end of the latest connection."""
        return self.backend.peers[-1]

    def get(self, target: str = "/x", *fields: str, client: Client | None = None, method: str = "GET") -> Client:
        """Send a request without a body; returns the client."""
        client = client or self.connect()
        lines = (f"{method} {target} HTTP/1.1", "Host: gateway.example", *fields, "", "")
        client.send("\r\n".join(lines).encode())
        return client

    def used(self) -> Peer:
        """A connection that has served one request and is idle; the backend's end."""
        client = self.get("/used")
        peer = self.peer
        assert take_head(peer).startswith(b"GET /used ")
        peer.send(ok(b"used"))
        assert client.answer().body == b"used"
        assert self.pool.idle == 1
        client.close()
        return peer


def ok(body: bytes, *fields: bytes) -> bytes:
    """A good answer."""
    lines = b"".join(field + b"\r\n" for field in fields)
    return OK + lines + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def take_head(peer: Peer) -> bytes:
    """What the gateway has sent, which must be one request's head."""
    data = peer.take()
    assert data.endswith(b"\r\n\r\n"), data
    assert data.count(b"\r\n\r\n") == 1, data
    return data


def target_of(head: bytes) -> bytes:
    """The target in a request's head."""
    return head.split(b" ", 2)[1]


def fields_of(head: bytes) -> list[tuple[str, str]]:
    """The header fields in a request's head, names in lower case."""
    lines = head.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
    return [(name.lower(), value) for name, _, value in (line.partition(": ") for line in lines)]


def values(head: bytes, name: str) -> list[str]:
    """The values of one field in a request's head."""
    return [value for key, value in fields_of(head) if key == name.lower()]


def everything(client: Client, method: str = "GET") -> list[Answer]:
    """Every complete answer that the client has got."""
    found = []
    while (answer := client.next_answer(method)) is not None:
        found.append(answer)
    return found
