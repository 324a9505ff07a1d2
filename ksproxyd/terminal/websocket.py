"""The browser's end of a terminal: a WebSocket on a connection that a request has given away (RFC 6455; spec 05, 7.4).

Autobahn puts frames together and judges them. It is used without a network of its own: what it would ask of one is in
:class:`_Rules`, and its timers are all off, as ours run on the clock that everything else runs on.

Whoever has a :class:`WebSocket` is told of its end exactly once. What comes after they have closed it is dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import txaio
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd.kube.pacing import Pacer
from ksproxyd.transport.stream import Stream

# Chosen before the protocol is imported. Neither of the two touches a reactor.
txaio.use_twisted()

from autobahn.util import encode_truncate  # noqa: E402
from autobahn.websocket.protocol import WebSocketServerFactory, WebSocketServerProtocol  # noqa: E402

#: Most frames that one message may come in.
FRAGMENTS = 128

#: Bytes that are looked at between two looks at the time. Frames can be as small as six bytes.
_PIECE = 1024

#: While so many bytes wait for the browser, its pings are not answered: it would not read the answers, too.
_BACKLOG = 256 * 1024

#: Most bytes of the reason in a close frame.
_REASON = 123

#: What :meth:`Handler.gone` is told where no close frame said it (RFC 6455, 7.1.5).
NO_CODE, BROKEN = 1005, 1006

#: The gateway's own mistake.
_INTERNAL = 1011


class Handler(Protocol):
    """Who speaks through a WebSocket."""

    def message(self, payload: bytes, binary: bool) -> None:
        """A whole message."""

    def browser_drained(self, below: bool) -> None:
        """The browser takes everything again (True), or does not take what it is sent (False)."""

    def gone(self, code: int, reason: str) -> None:
        """It is over, whoever ended it; called once. ``code`` is the browser's, :data:`BROKEN` if it said none."""


class Given(Protocol):
    """The part of an exchange that is needed here (:class:`ksproxyd.server.exchange.Exchange`)."""

    sent: int
    received: int

    def hijack(self, head: bytes) -> Stream: ...

    def leftover(self) -> bytes: ...

    def tunnel_closed(self) -> None: ...


class WebSockets:
    """Accepts handshakes. Times are seconds, ``max_message`` bytes; ``linger`` is for the goodbye."""

    def __init__(
        self, clock: IReactorTime, *, max_message: int, ping_interval: float, pong_timeout: float, linger: float
    ) -> None:
        self.clock = clock
        self.ping_interval = ping_interval
        self.pong_timeout = pong_timeout
        self.linger = linger
        #: Those that are not over.
        self.open: set[WebSocket] = set()
        self.factory = WebSocketServerFactory(server="")
        self.factory.setProtocolOptions(
            versions=[13],
            webStatus=False,
            maxFramePayloadSize=max_message,
            maxMessagePayloadSize=max_message,
            failByDrop=False,
            echoCloseCodeReason=True,
            openHandshakeTimeout=0,
            closeHandshakeTimeout=0,
            allowNullOrigin=False,
        )

    def accept(self, exchange: Given, key: bytes, protocol: str = "") -> WebSocket:
        """Answer 101 to a handshake that was checked, and take the connection.

        ``key`` is the value of ``Sec-WebSocket-Key``: 16 bytes in base64; ``protocol`` is the subprotocol to speak.
        Nothing is read before :meth:`WebSocket.begin`.
        """
        return WebSocket(self, exchange, key, protocol)


class WebSocket:
    """One connection. Made by :meth:`WebSockets.accept`; :meth:`begin` comes next, in the same turn."""

    log = Logger()

    def __init__(self, sockets: WebSockets, exchange: Given, key: bytes, protocol: str) -> None:
        self._sockets = sockets
        self._exchange = exchange
        self._handler: Handler | None = None
        self._head = b""
        self._stream: Stream | None = None
        #: What has come and was not looked at.
        self._waiting = b""
        self._feeding = False
        self._paused = False
        #: We have said goodbye, or the stream is being let go of.
        self._closing = False
        self._over = False
        self._full = False
        self._heard = sockets.clock.seconds()
        self._pacer = Pacer(sockets.clock)
        self._turn: IDelayedCall | None = None
        self._timer: IDelayedCall | None = None
        #: Bytes of messages.
        self.received_bytes = 0
        self.sent_bytes = 0
        self._rules = _Rules(self, sockets.factory)
        self._rules.handshake(key, protocol)
        if not self._head.startswith(b"HTTP/1.1 101 "):
            raise ValueError("the handshake was not checked before it was accepted")
        self._stream = exchange.hijack(self._head)
        sockets.open.add(self)

    # -- what its owner does -------------------------------------------------------------------------------------

    def begin(self, handler: Handler) -> None:
        """Tell ``handler`` of everything from now on, at once of what has come already."""
        self._handler = handler
        stream = self._stream
        assert stream is not None
        stream.take_over(self)
        stream.set_producer(self)
        self._timer = self._sockets.clock.callLater(self._sockets.ping_interval, self._look)
        early = self._exchange.leftover()
        if early:
            self.received(early)

    def send(self, text: str) -> None:
        """Send a text message. Nothing happens when the connection is closing."""
        self._message(1, text.encode())

    def send_bytes(self, data: bytes) -> None:
        """Send a binary message."""
        self._message(2, data)

    def close(self, code: int, reason: str = "") -> None:
        """Say goodbye, once everything before it was sent. The reason is cut to what fits into a frame."""
        if self._closing or self._over:
            return
        self._closing = True
        self._rules.sendCloseFrame(code, encode_truncate(reason, _REASON))
        self._await_end()

    def abort(self) -> None:
        """Let go of the browser at once, whatever has not been said."""
        if self._stream is not None:
            self._stream.abort()
        self._end(BROKEN, "the browser was let go of")

    def pause(self) -> None:
        """Take no more messages for now. Those of the same few hundred bytes may still come."""
        self._paused = True
        self._hold()

    def resume(self) -> None:
        """Go on after :meth:`pause`."""
        if self._paused:
            self._paused = False
            self._heard = self._sockets.clock.seconds()
            self._feed()

    @property
    def pending(self) -> int:
        """Bytes that the browser has not taken."""
        return 0 if self._stream is None else self._stream.queued()

    # -- the stream (a Receiver and a Producer) --------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        """Bytes of the browser's."""
        self._heard = self._sockets.clock.seconds()
        self._waiting += data
        self._feed()

    def ended(self) -> None:
        self._end(BROKEN, "the browser ended the connection")

    def lost(self, reason: Failure) -> None:
        self._stream = None
        self._cancel_timer()
        self._end(BROKEN, "the connection to the browser broke")

    def idle_timeout(self) -> None:
        """No deadline is set on a stream of ours."""

    def pauseProducing(self) -> None:
        self._filled(True)

    def resumeProducing(self) -> None:
        self._filled(False)

    def stopProducing(self) -> None:
        """:meth:`lost` comes."""

    def _filled(self, full: bool) -> None:
        # A transport says it at each write.
        if full is not self._full:
            self._full = full
            if not self._closing and not self._over and self._handler is not None:
                self._handler.browser_drained(not full)

    def _feed(self) -> None:
        """Have Autobahn look at what waits, for a while."""
        if self._feeding:
            # A message of this very piece has led here.
            return
        self._feeding = True
        rules, pacer = self._rules, self._pacer
        pacer.begin()
        try:
            while self._waiting and not self._over and (not self._paused or self._closing):
                # The rest of a frame costs little, however long it is.
                size = max(_PIECE, rules.missing)
                piece, self._waiting = self._waiting[:size], self._waiting[size:]
                rules.feed(piece)
                if self._waiting and pacer.spent():
                    self._feed_later()
                    break
        except Exception:
            self.log.failure("a message of a browser could not be served")
            self.close(_INTERNAL, "the gateway failed")
        finally:
            self._feeding = False
        self._hold()

    def _feed_later(self) -> None:
        if self._turn is None:
            self._turn = self._sockets.clock.callLater(0, self._next_turn)

    def _next_turn(self) -> None:
        self._turn = None
        self._feed()

    def _hold(self) -> None:
        """Read on only if what has come was looked at."""
        stream = self._stream
        if stream is None or self._over:
            return
        if self._waiting or (self._paused and not self._closing):
            stream.pause()
        else:
            stream.resume()

    # -- Autobahn's side -------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """For Autobahn: send ``data``; the first is the answer to the handshake."""
        if self._stream is None:
            self._head += data
        else:
            self._stream.send(data)

    def told(self, payload: bytes, binary: bool) -> None:
        """For Autobahn: a message is complete."""
        if self._closing or self._over or self._handler is None:
            return
        self.received_bytes += len(payload)
        self._handler.message(payload, binary)

    def failed(self) -> None:
        """For Autobahn: what the browser sends is none of what it may; it has been told so."""
        if self._over:
            return
        self._closing = True
        self._await_end()

    def dropped(self, code: int | None, reason: str | None, clean: bool) -> None:
        """For Autobahn: the goodbyes have been said."""
        if clean:
            self._end(NO_CODE if code is None else code, reason or "")
        else:
            self._end(BROKEN, "the browser does not speak WebSocket")

    def _message(self, opcode: int, payload: bytes) -> None:
        if self._closing or self._over:
            return
        self.sent_bytes += len(payload)
        self._rules.sendFrame(opcode=opcode, payload=payload)

    # -- time ------------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Ask whether the browser is still there, or find that it is not."""
        self._timer = None
        sockets, stream = self._sockets, self._stream
        if stream is None or self._over:
            return
        now = sockets.clock.seconds()
        silent = now - self._heard
        if self._paused or stream.queued():
            # We do not listen, or our question does not get through: how long that may be, others decide.
            self._heard = now
            silent = 0.0
            if self._paused and stream.peer_left():
                self._end(BROKEN, "the browser ended the connection")
                return
        if silent >= sockets.pong_timeout:
            self._end(BROKEN, "the browser does not answer any more")
            return
        self._rules.sendPing()
        left = sockets.pong_timeout - silent
        self._timer = sockets.clock.callLater(min(sockets.ping_interval, left), self._look)

    def _await_end(self) -> None:
        """Wait for the browser's goodbye, as long as it takes what it was sent before."""
        self._cancel_timer()
        stream = self._stream
        if stream is not None:
            self._timer = self._sockets.clock.callLater(self._sockets.linger, self._give_up, stream.queued())
        self._hold()

    def _give_up(self, before: int) -> None:
        self._timer = None
        stream = self._stream
        if stream is None:
            return
        queued = stream.queued()
        if queued and queued < before:
            self._timer = self._sockets.clock.callLater(self._sockets.linger, self._give_up, queued)
        elif self._over or queued:
            stream.abort()
            self._end(BROKEN, "the browser did not read to the end")
        else:
            self._end(BROKEN, "the browser did not say goodbye")

    def _cancel_timer(self) -> None:
        call, self._timer = self._timer, None
        if call is not None and call.active():
            call.cancel()

    # -- the end -----------------------------------------------------------------------------------------------------

    def _end(self, code: int, reason: str) -> None:
        if self._over:
            return
        self._over = self._closing = True
        self._waiting = b""
        self._cancel_timer()
        turn, self._turn = self._turn, None
        if turn is not None and turn.active():
            turn.cancel()
        self._sockets.open.discard(self)
        stream = self._stream
        if stream is not None:
            self._timer = self._sockets.clock.callLater(self._sockets.linger, self._give_up, stream.queued())
            stream.close()
        exchange = self._exchange
        exchange.received, exchange.sent = self.received_bytes, self.sent_bytes
        exchange.tunnel_closed()
        handler, self._handler = self._handler, None
        if handler is not None:
            try:
                handler.gone(code, reason)
            except Exception:
                self.log.failure("ending what belongs to a browser failed")


class _Silent:
    """Autobahn describes every frame; what is worth saying is said here."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return self.say_nothing

    @staticmethod
    def say_nothing(*_: Any, **__: Any) -> None:
        """Nothing."""


class _Rules(WebSocketServerProtocol):
    """Autobahn's protocol, between the stream and its :class:`WebSocket`."""

    log = _Silent()
    peer = ""

    def __init__(self, owner: WebSocket, factory: WebSocketServerFactory) -> None:
        super().__init__()
        self.factory = factory
        self.transport = owner
        self._owner = owner
        self._frames = 0
        self._protocol = ""
        self.current_frame: Any = None

    def handshake(self, key: bytes, protocol: str) -> None:
        """Let Autobahn answer a request like the one that was checked."""
        self._protocol = protocol
        self._connectionMade()
        lines = [b"GET / HTTP/1.1", b"Host: terminal", b"Upgrade: websocket", b"Connection: Upgrade"]
        lines += [b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: " + key]
        if protocol:
            lines.append(b"Sec-WebSocket-Protocol: " + protocol.encode("ascii"))
        self.feed(b"\r\n".join([*lines, b"", b""]))

    def feed(self, data: bytes) -> None:
        """Bytes of the browser's."""
        self._dataReceived(data)

    @property
    def missing(self) -> int:
        """Bytes that the frame that has begun still lacks."""
        frame = self.current_frame
        return 0 if frame is None else int(frame.length) - int(self.current_frame_masker.pointer())

    def onConnect(self, request: Any) -> str | None:
        return self._protocol or None

    # What the network is to do (autobahn.twisted has another one).

    def _onOpen(self) -> None:
        """The owner knows."""

    def _onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """The owner has dropped the connection itself."""

    def _closeConnection(self, abort: bool = False) -> None:
        self._owner.dropped(self.remoteCloseCode, self.remoteCloseReason, self.wasClean)

    def unregisterProducer(self) -> None:
        """The stream has one producer, its owner."""

    # Messages.

    def _onMessageBegin(self, isBinary: bool) -> None:
        self._frames = 0
        self.onMessageBegin(isBinary)

    def _onMessageFrameBegin(self, length: int) -> None:
        self._frames += 1
        self.onMessageFrameBegin(length)
        if self._frames > FRAGMENTS and not self.failedByMe:
            self._max_message_size_exceeded(0, 0, f"a message in more than {FRAGMENTS} frames")

    def _onMessageFrameData(self, payload: bytes) -> None:
        self.onMessageFrameData(payload)

    def _onMessageFrameEnd(self) -> None:
        self.onMessageFrameEnd()

    def _onMessageFrame(self, payload: Any) -> None:
        self.onMessageFrame(payload)

    def _onMessageEnd(self) -> None:
        parts, self.message_data = self.message_data, []
        if not self.failedByMe:
            self._owner.told(b"".join(parts), self.message_is_binary)

    def _onPing(self, payload: bytes) -> None:
        if self._owner.pending < _BACKLOG:
            self.sendPong(payload)

    def _onPong(self, payload: bytes) -> None:
        """That something came was noticed."""

    # What must not be.

    def onFrameData(self, payload: bytes) -> bool | None:
        if self.failedByMe and (self.current_frame.opcode > 7 and self.current_frame.length > 125):
            # No control frame is that long. Its length is what the browser says, and it would all be kept.
            return None
        return super().onFrameData(payload)

    def _fail_connection(self, code: int = 1001, reason: str = "") -> None:
        if self.failedByMe:
            # The browser has been told, and what else it has sent meanwhile is not listened to.
            return
        self.utf8validateIncomingCurrentMessage = False
        super()._fail_connection(code, reason)
        if self.failedByMe:
            self._owner.failed()
