"""The far end of a connection: in a test's hands, or a backend's."""

from __future__ import annotations

import ssl
from typing import Protocol

from ksproxyd.testing.reactor import MemoryReactor
from ksproxyd.testing.sockets import MemorySocket

_PIECE = 65536


class Listener(Protocol):
    """Whoever wants to hear of what arrives at a :class:`Peer` as it arrives."""

    def received(self, data: bytes) -> None:
        """Plain bytes."""

    def ended(self) -> None:
        """The other end has finished sending, or the connection was reset."""


class Peer:
    """Sends and receives, as fast or as slowly as it is told to.

    What is sent goes out as the other end takes it. While :attr:`reading` is set, what comes is collected in
    :attr:`received`; without it the other end's writes fill the buffers and then stop.
    """

    def __init__(self, reactor: MemoryReactor, socket: MemorySocket) -> None:
        self.socket = socket
        self.reactor = reactor
        self.received = bytearray()
        self.reading = True
        #: Tell this one of what arrives instead of collecting it.
        self.listener: Listener | None = None
        #: The other end has sent its FIN (under TLS: or its close_notify), or the connection was reset.
        self.ended = False
        #: The TLS session, once :meth:`start_tls` was called.
        self.tls: ssl.SSLObject | None = None
        #: The TLS handshake is complete.
        self.secured = False
        #: The other end said close_notify.
        self.notified = False
        #: Why TLS failed.
        self.tls_error: ssl.SSLError | None = None
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._unsealed = bytearray()
        self._unsent = bytearray()
        self._finishing = False
        self._leaving = False
        reactor.peers.append(self)

    # -- what a test does ------------------------------------------------------------------------------

    def start_tls(self, context: ssl.SSLContext, *, server_side: bool, server_name: str | None = None) -> None:
        """Speak TLS from here on."""
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side, server_name)

    def send(self, data: bytes, *, at_once: int = 0) -> None:
        """Send ``data`` and let everything happen that follows; in pieces of ``at_once`` bytes, each by itself."""
        for begin in range(0, len(data), at_once) if at_once else (0,):
            self.write(data[begin : begin + at_once] if at_once else data)
            self.reactor.settle()

    def write(self, data: bytes) -> None:
        """Send ``data`` when the reactor runs next."""
        if self.tls is None:
            self._unsent += data
        else:
            self._unsealed += data

    def finish(self) -> None:
        """Send a FIN behind what has been sent (under TLS a close_notify first)."""
        if self.tls is not None and self.secured and not self._unsealed:
            self._notify()
        self._finishing = True
        self.reactor.settle()

    def truncate(self) -> None:
        """Send a FIN without TLS's goodbye, as somebody does who cuts the line."""
        self._finishing = True
        self.reactor.settle()

    def cut(self) -> None:
        """Reset the connection."""
        self._unsent.clear()
        self.socket._linger_reset = True
        self.socket.close()
        self.reactor.settle()

    def close(self) -> None:
        """Close this end: a FIN, or a reset if something has not been read."""
        self.socket.close()
        self.reactor.settle()

    def leave(self) -> None:
        """Close this end as soon as everything has been sent."""
        self._leaving = True

    @property
    def reset(self) -> bool:
        """Whether the connection was reset."""
        return self.socket.reset

    @property
    def open(self) -> bool:
        """Whether this end can still receive something."""
        return not (self.ended or self.reset or self.socket.closed)

    @property
    def unsent(self) -> int:
        """Bytes that the other end has not taken yet."""
        return len(self._unsent) + len(self._unsealed)

    def take(self) -> bytes:
        """What has been received since the last call."""
        data = bytes(self.received)
        self.received.clear()
        return data

    # -- what the reactor does -------------------------------------------------------------------------

    def turn(self) -> bool:
        """Move bytes both ways; whether any moved."""
        if self.socket.closed:
            self.reactor.peers.remove(self)
            return False
        moved = self._read() if self.reading else False
        if self.tls is not None:
            moved = self._speak() or moved
        return self._send() or moved

    def _read(self) -> bool:
        if self.ended or not self.socket.readable:
            return False
        try:
            data = self.socket.recv(_PIECE)
        except ConnectionResetError:
            data = b""
        if data:
            if self.tls is None:
                self._deliver(data)
            else:
                self._incoming.write(data)
            return True
        self.ended = True
        if self.listener is not None:
            self.listener.ended()
        return True

    def _speak(self) -> bool:
        tls = self.tls
        assert tls is not None
        if self.tls_error is not None:
            return False
        moved = False
        try:
            if not self.secured:
                tls.do_handshake()
                self.secured = moved = True
            if self._unsealed:
                tls.write(self._unsealed)
                self._unsealed.clear()
                if self._finishing:
                    self._notify()
            while not self.notified and (data := tls.read(_PIECE)):
                self._deliver(data)
                moved = True
            moved = self._was_notified() or moved
        except ssl.SSLWantReadError:
            # The rest of a record, or of the handshake, is still on its way.
            pass
        except ssl.SSLZeroReturnError:
            # The same as reading nothing, once both ends have said goodbye.
            moved = self._was_notified() or moved
        except ssl.SSLError as error:
            self.tls_error = error
            # Behind the alert nothing can follow.
            self._leaving = moved = True
        if self._outgoing.pending:
            self._unsent += self._outgoing.read()
            moved = True
        return moved

    def _was_notified(self) -> bool:
        if self.notified:
            return False
        self.notified = self.ended = True
        if self.listener is not None:
            self.listener.ended()
        return True

    def _notify(self) -> None:
        assert self.tls is not None
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            # The other end's goodbye is not here yet; ours is on its way.
            self._unsent += self._outgoing.read()

    def _deliver(self, data: bytes) -> None:
        if self.listener is not None:
            self.listener.received(data)
        else:
            self.received += data

    def _send(self) -> bool:
        socket = self.socket
        if self._unsent and socket.writable:
            try:
                sent = socket.send(bytes(self._unsent))
            except OSError:
                self._unsent.clear()
                return True
            del self._unsent[:sent]
            return bool(sent)
        if self._finishing and not self._unsent and not self._unsealed and not socket.finished and not socket.reset:
            socket.shutdown(1)
            return True
        if self._leaving and not self._unsent and not self._unsealed:
            socket.close()
            return True
        return False
