"""A reactor for one test: a clock that is moved by hand, and connections between memory sockets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import error
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IListeningPort, IReactorFDSet, IReactorTCP
from twisted.internet.posixbase import _DisconnectSelectableMixin
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.tcp import Connection
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from ksproxyd.testing.sockets import CAPACITY, MemorySocket, socket_pair
from ksproxyd.transport.outbox import outbox

Address = IPv4Address | IPv6Address

#: How far :meth:`MemoryReactor.wait` moves the clock at a time; timers that set themselves again need small steps.
STEP = 0.125

#: More rounds than this without coming to rest are a loop.
_ROUNDS = 100_000


def address(host: str, port: int) -> Address:
    """The address ``host``:``port`` as Twisted writes it."""
    return IPv6Address("TCP", host, port) if ":" in host else IPv4Address("TCP", host, port)


class MemoryTransport(Connection):
    """Twisted's TCP transport on a memory socket."""

    socket: MemorySocket  # type: ignore[assignment]

    def __init__(
        self, socket: MemorySocket, protocol: Protocol, reactor: MemoryReactor, host: Address, peer: Address
    ) -> None:
        super().__init__(socket, protocol, reactor)  # type: ignore[arg-type]
        self._host = host
        self._peer = peer
        #: How often reading was stopped, for tests of back-pressure.
        self.pauses = 0
        self.connected = 1
        self.startReading()

    def getHost(self) -> Address:
        """This end's address."""
        return self._host

    def getPeer(self) -> Address:
        """The other end's address."""
        return self._peer

    def pauseProducing(self) -> None:
        """Stop reading, and count it."""
        self.pauses += 1
        super().pauseProducing()

    @property
    def reading(self) -> bool:
        """Whether this end reads at the moment."""
        return self in self.reactor.getReaders()

    @property
    def memory(self) -> int:
        """Bytes this transport holds because the kernel does not take them."""
        return len(self.dataBuffer) - self.offset + self._tempDataLen

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Nothing is ever delayed here."""

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """There is no network that could fall silent."""


@implementer(IListeningPort)
class MemoryPort:
    """A listening port: it holds the factory, and :meth:`MemoryReactor.connect` uses it."""

    def __init__(self, reactor: MemoryReactor, factory: Factory, host: Address) -> None:
        self._reactor = reactor
        self.factory = factory
        self._host = host

    def getHost(self) -> Address:
        """The address listened on."""
        return self._host

    def startListening(self) -> None:
        """It listens from the beginning."""

    def stopListening(self) -> None:
        """Take no more connections."""
        self._reactor.ports.remove(self)


class InlinePool:
    """A thread pool without threads: work is done at once, its result arrives with the reactor's next turn."""

    def callInThreadWithCallback(
        self, done: Callable[[bool, Any], object], function: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> None:
        """Call ``function`` and give ``done`` its result, or its failure."""
        try:
            result = function(*args, **kwargs)
        except Exception:
            done(False, Failure())
        else:
            done(True, result)


@implementer(IReactorFDSet, IReactorTCP)
class MemoryReactor(_DisconnectSelectableMixin, Clock):
    """Time and connections. Nothing happens but in :meth:`settle` and :meth:`wait`.

    Begins at one second past the epoch, so that a time is never mistaken for the absence of one.
    """

    log = Logger()

    def __init__(self) -> None:
        super().__init__()
        self.rightNow = 1.0
        self.ports: list[MemoryPort] = []
        #: Looked at in every round, with the transports: the far ends that tests hold.
        self.peers: list[Any] = []
        self._readers: dict[Any, None] = {}
        self._writers: dict[Any, None] = {}
        self._transports: list[MemoryTransport] = []

    # -- connections -----------------------------------------------------------------------------------

    def attach(
        self, protocol: Protocol, host: Address, peer: Address, capacity: int = CAPACITY
    ) -> tuple[MemoryTransport, MemorySocket]:
        """Connect ``protocol``; returns its transport and the other end, for a :class:`~ksproxyd.testing.Peer`."""
        near, far = socket_pair(capacity)
        transport = MemoryTransport(near, protocol, self, host, peer)
        self._transports.append(transport)
        protocol.makeConnection(transport)
        return transport, far

    def listenTCP(self, port: int, factory: Factory, backlog: int = 50, interface: str = "") -> MemoryPort:
        """Listen. Raises :class:`CannotListenError` for a port that is taken."""
        taken = {(p.getHost().host, p.getHost().port) for p in self.ports}
        host = interface or "0.0.0.0"
        number = port or next(n for n in range(49152, 65536) if (host, n) not in taken)
        if (host, number) in taken:
            raise error.CannotListenError(interface, port, OSError(98, "Address already in use"))
        found = MemoryPort(self, factory, address(host, number))
        self.ports.append(found)
        return found

    def connectTCP(self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: Any = None) -> Any:
        """No connection leaves this reactor; give the gateway a :class:`~ksproxyd.testing.MemoryDialer`."""
        raise error.ConnectError(string=f"a memory reactor connects to nothing, not to {host}:{port} either")

    @property
    def transports(self) -> list[MemoryTransport]:
        """The ends of connections that are open."""
        self._transports = [t for t in self._transports if not t.disconnected]
        return self._transports

    # -- IReactorFDSet ---------------------------------------------------------------------------------

    def addReader(self, reader: Any) -> None:
        """Watch for data."""
        self._readers[reader] = None

    def addWriter(self, writer: Any) -> None:
        """Watch for room."""
        self._writers[writer] = None

    def removeReader(self, reader: Any) -> None:
        """Watch for data no longer."""
        self._readers.pop(reader, None)

    def removeWriter(self, writer: Any) -> None:
        """Watch for room no longer."""
        self._writers.pop(writer, None)

    def removeAll(self) -> list[Any]:
        """Watch nothing; returns what was being watched."""
        found = list({**self._readers, **self._writers})
        self._readers.clear()
        self._writers.clear()
        return found

    def getReaders(self) -> list[Any]:
        """What is watched for data."""
        return list(self._readers)

    def getWriters(self) -> list[Any]:
        """What is watched for room."""
        return list(self._writers)

    # -- threads ---------------------------------------------------------------------------------------

    def getThreadPool(self) -> InlinePool:
        """A pool that works at once."""
        return InlinePool()

    def callFromThread(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Call ``function`` in the next turn."""
        self.callLater(0, function, *args, **kwargs)

    # -- running ---------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Let everything happen that can happen without time passing."""
        for _ in range(_ROUNDS):
            if not self._turn():
                return
        raise AssertionError("the connections do not come to rest")

    def wait(self, seconds: float) -> None:
        """Let ``seconds`` pass, in small steps, and everything happen that falls into them."""
        end = self.rightNow + seconds
        self.settle()
        while self.rightNow < end:
            self.advance(min(STEP, end - self.rightNow))
            self.settle()

    def _turn(self) -> bool:
        """One round; whether anything happened."""
        busy = any(call.getTime() <= self.rightNow for call in self.getDelayedCalls())
        if busy:
            self.advance(0)
        # As the real one does, see ksproxyd.transport.polling.
        outbox.collect()
        try:
            for reader in self.getReaders():
                if reader in self._readers and reader.socket.readable:
                    busy = True
                    self._act(reader, reader.doRead, True)
            for writer in self.getWriters():
                if writer in self._writers and writer.socket.writable:
                    busy = True
                    self._act(writer, writer.doWrite, False)
        finally:
            outbox.release()
        for peer in list(self.peers):
            busy = peer.turn() or busy
        return busy

    def _act(self, selectable: Any, action: Callable[[], Any], reading: bool) -> None:
        try:
            why = action()
        except Exception as problem:
            self.log.failure("a protocol raised")
            why = problem
        if why:
            self._disconnectSelectable(selectable, why, reading)

    def leftovers(self) -> list[str]:
        """What is still there: timers, open connections, listening ports."""
        found = [f"a timer: {call}" for call in self.getDelayedCalls()]
        found += [f"a connection: {transport.protocol}" for transport in self.transports]
        found += [f"a port: {port.getHost()}" for port in self.ports]
        return found
