"""A connection as both sides of the gateway use it: eager writes, TLS inside, back-pressure, half-close.

Writing to an idle socket goes to the kernel in this reactor turn (small messages together at its end, see
:mod:`ksproxyd.transport.outbox`) instead of waiting for the next and two ``epoll_ctl`` calls; only what the kernel does
not take is queued with the transport. A producer is registered with the transport at the moment something is queued, so
the common small message never pays for it.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from errno import EWOULDBLOCK
from types import FunctionType
from typing import Any
from typing import Protocol as Interface

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.internet.protocol import Protocol
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure
from zope.interface import implementer

from ksproxyd.transport.outbox import SMALL, outbox
from ksproxyd.transport.tls import TLSLayer

#: Bytes that are read at once.
READ = 65536

#: ``TCP_ESTABLISHED``, the first byte of ``struct tcp_info`` (tcp(7)) while both directions are open.
_ESTABLISHED = 1


class Producer(Interface):
    """Whoever feeds a stream: told to stop and go on as the peer reads slower or faster."""

    def pauseProducing(self) -> None: ...

    def resumeProducing(self) -> None: ...

    def stopProducing(self) -> None: ...


class Receiver(Interface):
    """Takes a stream's bytes over, after an upgrade."""

    def received(self, data: bytes) -> None:
        """Bytes from the peer."""

    def ended(self) -> None:
        """The peer will send nothing more; it may still read."""

    def lost(self, reason: Failure) -> None:
        """The connection is gone."""

    def idle_timeout(self) -> None:
        """The stream's deadline has passed."""


@implementer(IHalfCloseableProtocol)
class Stream(Protocol):
    """Base of the server's and the upstream's connections.

    Subclasses define :meth:`received`, :meth:`ended`, :meth:`lost` and :meth:`secured`. ``deadline`` and
    :meth:`timed_out` are the :class:`~ksproxyd.transport.wheel.Wheel`'s.
    """

    #: A Twisted TCP transport; its queue is looked at directly, which no interface of Twisted's offers.
    transport: Any
    deadline: float = 0.0
    tls: TLSLayer | None = None
    _producer: Producer | None = None
    _registered = False
    _closing = False
    #: The peer's FIN has been read; reading on would find it again and again.
    _all_read = False
    _eager: Callable[[bytes], int] | None = None
    _recv: Callable[[int], bytes]
    #: What waits in the outbox.
    _held = b""
    receiver: Receiver | None = None

    def __init_subclass__(cls) -> None:
        # The interpreter keeps what it has learnt of a type in the code that met it. Copies of the code that both sides
        # of the gateway run keep the server's connections and the upstreams' from unlearning each other's.
        super().__init_subclass__()
        for method in (Stream.send, Stream.send_held, Stream._do_read):
            name = method.__name__
            if getattr(cls, name) is method:
                copy = FunctionType(method.__code__.replace(), method.__globals__, name, method.__defaults__)
                setattr(cls, name, copy)

    # -- what subclasses define ------------------------------------------------------------------------

    def opened(self) -> None:
        """The connection exists (TLS, if any, has yet to be spoken)."""

    def secured(self) -> None:
        """The TLS handshake is complete."""

    def received(self, data: bytes) -> None:
        """Plain bytes from the peer."""
        raise RuntimeError("a stream without a reader")

    def ended(self) -> None:
        """The peer has finished sending."""
        self.close()

    def lost(self, reason: Failure) -> None:
        """The connection is gone. Called exactly once."""

    def tls_failed(self, error: ssl.SSLError) -> None:
        """The handshake or a record was bad; the connection is being closed."""

    def timed_out(self) -> None:
        """The deadline has passed."""
        self.abort()

    # -- writing ---------------------------------------------------------------------------------------

    def send(self, data: bytes, sealed: bool = False) -> None:
        """Write ``data``: in this turn of the reactor, if nothing is queued, else behind what is.

        ``sealed``: the TLS layer's own, which goes out as it is, and at the end, too.
        """
        if not sealed:
            if self._closing:
                return
            tls = self.tls
            if tls is not None:
                try:
                    data = tls.encrypt(data)
                except ssl.SSLError:
                    self.abort()
                    return
        held = self._held
        if held:
            data = held + data
        self._held = data
        if not outbox.collecting or len(data) > SMALL:
            self.send_held()
        elif not held:
            outbox.senders.append(self)

    def send_held(self) -> None:
        """Let the kernel have what has waited in the outbox, if anything has."""
        data = self._held
        if not data:
            return
        self._held = b""
        transport = self.transport
        eager = self._eager
        if eager is not None and not transport._tempDataLen and not transport.dataBuffer:
            if not transport.connected or transport._writeDisconnected:
                return
            try:
                taken = eager(data)
            except OSError:
                # The kernel takes nothing now, or the socket is dead. The queued write finds out which on the
                # reactor's turn, where the connection can be torn down without surprising the caller.
                pass
            else:
                if taken == len(data):
                    return
                data = data[taken:]
        producer = self._producer
        if producer is not None and not self._registered:
            self._registered = True
            transport.registerProducer(producer, True)
        transport.write(data)
        if producer is None:
            self.backed_up()

    def backed_up(self) -> None:
        """Something is queued, and nobody feeds this stream who could be told to wait."""

    def queued(self) -> int:
        """Bytes of :meth:`send` that the kernel was offered and has not taken yet."""
        transport = self.transport
        if self._eager is None:
            return 0
        return len(transport.dataBuffer) - transport.offset + transport._tempDataLen

    def set_producer(self, producer: Producer) -> None:
        """``producer`` feeds this stream from now on and is paused while the peer does not keep up."""
        self.clear_producer()
        self._producer = producer
        if self.queued() and self.transport.connected:
            self._registered = True
            self.transport.registerProducer(producer, True)

    def clear_producer(self) -> None:
        """Nobody feeds this stream any more. Harmless without a producer."""
        self._producer = None
        if self._registered:
            self._registered = False
            self.transport.unregisterProducer()

    # -- reading ---------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Read nothing until :meth:`resume`; the peer feels it through TCP."""
        self.transport.pauseProducing()

    def resume(self) -> None:
        """Read again."""
        if self.transport.connected and not self._closing and not self._all_read:
            self.transport.resumeProducing()

    def peer_left(self) -> bool:
        """Whether the peer has finished sending or is gone, also while nothing is read. Linux tells, for TCP."""
        handle = getattr(self.transport, "socket", None)
        if handle is None:
            return False
        try:
            state: int = handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
        except OSError:
            # A UNIX socket, which cannot lose its peer silently and cannot tell either.
            return False
        return state != _ESTABLISHED

    def take_over(self, receiver: Receiver) -> None:
        """From now on every byte and the end of the stream go to ``receiver``."""
        self.receiver = receiver
        self.received = receiver.received  # type: ignore[method-assign]
        self.ended = receiver.ended  # type: ignore[method-assign]
        if self.tls is None:
            self.dataReceived = receiver.received  # type: ignore[method-assign]

    # -- ending ----------------------------------------------------------------------------------------

    def close(self) -> None:
        """Send what is queued, then close both directions."""
        if self._closing:
            return
        if self.tls is not None and self.tls.ready:
            notify = self.tls.close()
            if notify:
                self.send(notify, sealed=True)
        self._close_transport()

    def _close_transport(self) -> None:
        self.send_held()
        self._closing = True
        self.clear_producer()
        self.transport.loseConnection()

    def half_close(self) -> None:
        """Send what is queued, then tell the peer that nothing more will come; reading goes on."""
        if self.tls is not None and self.tls.ready:
            notify = self.tls.close()
            if notify:
                self.send(notify, sealed=True)
        self.send_held()
        self.clear_producer()
        self.transport.loseWriteConnection()

    def abort(self) -> None:
        """Drop the connection and whatever is queued; the peer sees a reset."""
        self.send_held()
        self._closing = True
        self._producer = None
        self._registered = False
        self.transport.abortConnection()

    # -- Twisted's side --------------------------------------------------------------------------------

    def connectionMade(self) -> None:
        # Pipes and the like have no socket to write to at once.
        handle = getattr(self.transport, "socket", None)
        if handle is not None:
            self._eager = handle.send
            if type(self.transport).doRead is Connection.doRead:
                self._recv = handle.recv
                self.transport.doRead = self._do_read
        set_no_delay = getattr(self.transport, "setTcpNoDelay", None)
        if set_no_delay is not None:
            set_no_delay(True)
        if self.tls is None:
            self.dataReceived = self.received  # type: ignore[method-assign]
        # The interpreter finds these faster than their defaults on the class.
        self._closing = self._closing
        self._held = self._held
        self._producer = self._producer
        self.tls = self.tls
        self.opened()

    def start_tls(self, layer: TLSLayer, client: bool) -> None:
        """Speak TLS from here on; a client begins the handshake at once."""
        self.tls = layer
        self.dataReceived = self._sealed  # type: ignore[method-assign]
        if client:
            self._sealed(b"")

    def _do_read(self) -> Exception | None:
        """The transport's ``doRead`` in one call instead of two. A reason that is returned ends the connection."""
        try:
            recv = self._recv
            data = recv(READ)
        except OSError as error:
            return None if error.errno == EWOULDBLOCK else CONNECTION_LOST
        if not data:
            return CONNECTION_DONE
        received = self.dataReceived
        received(data)
        return None

    def dataReceived(self, data: bytes) -> None:
        self.received(data)

    def _sealed(self, data: bytes) -> None:
        """Bytes of TLS from the wire."""
        tls = self.tls
        assert tls is not None
        try:
            if not tls.ready:
                answer = tls.handshake(data)
                if answer:
                    self.send(answer, sealed=True)
                if not tls.ready:
                    return
                self.secured()
                data = b""
            plain = tls.decrypt(data)
            answer = tls.pending()
        except ssl.SSLError as error:
            alert = tls.alert()
            if alert:
                self.send(alert, sealed=True)
            self._close_transport()
            self.tls_failed(error)
            return
        if answer:
            self.send(answer, sealed=True)
        if plain:
            self.received(plain)
        if tls.closed and not self._closing:
            self.ended()

    def readConnectionLost(self) -> None:
        """The peer's FIN. Under TLS without close_notify that may be a truncation: the reader can tell."""
        self._all_read = True
        if self.tls is not None and not self.tls.ready:
            self.abort()
            return
        if self.tls is None or not self.tls.closed:
            self.ended()

    def writeConnectionLost(self) -> None:
        """Our own half-close has reached the kernel."""

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self._closing = True
        self._producer = None
        receiver = self.receiver
        # Instance attributes that point back at this object would keep it alive until the next collection.
        for name in ("dataReceived", "received", "ended"):
            self.__dict__.pop(name, None)
        vars(self.transport).pop("doRead", None)
        self.lost(reason)
        if receiver is not None:
            self.receiver = None
            receiver.lost(reason)
