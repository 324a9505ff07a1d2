"""The server alone: connections in, exchanges out."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from types import TracebackType

from ksproxyd.authn.turnstile import APART
from ksproxyd.server.exchange import Exchange
from ksproxyd.server.limits import Limits, Timeouts
from ksproxyd.server.server import Server
from ksproxyd.testing.messages import Answer, AnswerReader, Malformed
from ksproxyd.testing.peer import Peer
from ksproxyd.testing.reactor import MemoryReactor, MemoryTransport, address
from ksproxyd.testing.sockets import CAPACITY
from ksproxyd.transport.wheel import Wheel

#: Long enough for every default timeout of the server's, so that nothing survives it.
_LONG = 400.0


#: A login is done in so many turns at most, with others' in between.
_TURNS = 6


class Client(Peer):
    """A client's connection to the server or gateway under test."""

    #: The server's side of the connection.
    transport: MemoryTransport
    _answers: AnswerReader

    @classmethod
    def connect(
        cls, reactor: MemoryReactor, factory: Server, host: str, port: int, capacity: int, tls: ssl.SSLContext | None
    ) -> Client:
        """Connect to ``factory`` from ``host``."""
        peer = address(host, 50000)
        protocol = factory.buildProtocol(peer)
        if protocol is None:
            raise ConnectionRefusedError("the server takes no connection")
        transport, socket = reactor.attach(protocol, address("192.0.2.1", port), peer, capacity)
        client = cls(reactor, socket)
        client.transport = transport
        client._answers = AnswerReader()
        if tls is not None:
            client.start_tls(tls, server_side=False, server_name="gateway.example")
        reactor.settle()
        return client

    def answer(self, method: str = "GET") -> Answer:
        """The next answer; ``method`` is its request's. Fails if it is not complete soon, or is not HTTP."""
        found = self.next_answer(method)
        for _ in range(_TURNS):
            if found is not None or not self.open:
                break
            self.reactor.wait(APART)
            found = self.next_answer(method)
        if found is None:
            partial = self._answers.partial
            rest = bytes(self._answers.buffer)
            raise Malformed(f"no complete answer: {partial} and {rest!r} ({'open' if self.open else 'closed'})")
        return found

    def next_answer(self, method: str = "GET") -> Answer | None:
        """As :meth:`answer`, but None if it is not complete."""
        self._answers.buffer += super().take()
        return self._answers.next(method, not self.open)

    def take(self) -> bytes:
        """What has been received since the last answer, or the last call."""
        buffer = self._answers.buffer
        data = bytes(buffer) + super().take()
        buffer.clear()
        return data

    @property
    def partial(self) -> Answer | None:
        """The answer that has begun and not ended (after a call of :meth:`next_answer`)."""
        return self._answers.partial

    def nothing_more(self) -> bool:
        """Whether every byte received belongs to an answer that was taken."""
        return not self.received and not self._answers.buffer and self._answers.partial is None


class MemoryServer:
    """A :class:`~ksproxyd.server.server.Server` with ``handle`` behind it. A context manager: see :meth:`close`."""

    def __init__(
        self,
        handle: Callable[[Exchange], None],
        *,
        limits: Limits | None = None,
        timeouts: Timeouts | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.reactor = MemoryReactor()
        self.wheel = Wheel(self.reactor)
        self.wheel.start()
        #: Every exchange that was handed to ``handle``.
        self.handled: list[Exchange] = []
        #: Every exchange that is over, refusals by the server itself included.
        self.finished: list[Exchange] = []
        self._handle = handle
        self.server = Server(
            self.reactor,
            self.wheel,
            self._handling,
            self.finished.append,
            limits or Limits(),
            timeouts or Timeouts(),
            # 2020-01-01: the Date field is the same in every run.
            lambda: 1577836800.0 + self.reactor.seconds(),
            tls,
        )

    def _handling(self, exchange: Exchange) -> None:
        self.handled.append(exchange)
        self._handle(exchange)

    def connect(
        self, host: str = "192.0.2.7", *, capacity: int = CAPACITY, tls: ssl.SSLContext | None = None
    ) -> Client:
        """A new connection from ``host``. ``capacity`` bytes fit into each direction's buffer."""
        return Client.connect(self.reactor, self.server, host, 443 if tls else 80, capacity, tls)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.reactor.wait(seconds)

    def close(self) -> None:
        """End every connection, and fail if something is left, or an exchange did not end exactly once."""
        for peer in list(self.reactor.peers):
            peer.close()
        self.reactor.settle()
        end = self.reactor.seconds() + _LONG
        while self.server.connections and self.reactor.seconds() < end:
            self.wait(1)
        self.wheel.stop()
        problems = self.reactor.leftovers()
        problems += [f"a connection: {connection}" for connection in self.server.connections]
        for exchange in self.handled:
            ends = sum(1 for finished in self.finished if finished is exchange)
            if ends != 1:
                problems.append(f"{exchange} ended {ends} times")
        if problems:
            raise AssertionError("left over: " + "; ".join(problems))

    def __enter__(self) -> MemoryServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
