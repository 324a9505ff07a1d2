"""A client's connection: requests are served one after the other, answers go out in order.

Requests behind the one being answered are parsed and wait; meanwhile nothing more is read, so a client cannot make
memory grow by not reading its answers. How bytes become requests is :mod:`ksproxyd.server.reading`'s.
"""

from __future__ import annotations

import ssl
from collections import deque
from typing import TYPE_CHECKING

import httptools
from twisted.python.failure import Failure

from ksproxyd.model.message import Response
from ksproxyd.model.status import StatusError
from ksproxyd.server.exchange import CLIENT_GONE, Exchange
from ksproxyd.server.reading import BODY, LOOK, PIPELINED, UPGRADE, RequestStream
from ksproxyd.transport.stream import Producer, Stream
from ksproxyd.transport.tls import TLSLayer

if TYPE_CHECKING:
    from ksproxyd.server.server import Server

#: Requests of one connection served in one reactor turn, so that a burst of pipelined ones cannot hold the loop.
_TURN = 8

#: How often the progress of a client that reads slowly is looked at, in seconds.
_TICK = 1.0


class ServerConnection(RequestStream):
    """One accepted connection. Made by :class:`ksproxyd.server.server.Server`."""

    _hijacked = False
    #: Whoever writes the current answer.
    _feeder: Producer | None = None
    #: When the client last read something, while it does not keep up.
    _marked = 0.0
    #: Finish what has begun, then close.
    draining = False
    #: Accepted beyond the limit; its requests are refused.
    excess = False
    #: For whoever passes requests on: the line that says whose they are.
    forwarded: bytes | None = None
    #: The client's certificate (DER), if the listener asks for one and it has shown one that is good.
    certificate: bytes | None = None

    def __init__(self, server: Server, peer: str, secure: bool) -> None:
        self.server = server
        self.peer = peer
        self.client = peer
        self.secure = secure
        super().__init__()
        self._feeder = None
        self.draining = False

    # -- the connection's life -------------------------------------------------------------------------

    def opened(self) -> None:
        server = self.server
        server.connected(self)
        server.wheel.watch(self)
        self.deadline = server.wheel.now + server.timeouts.header
        if server.proxy_protocol is not None:
            # Only the first bytes differ; afterwards this attribute is gone and the class's method serves.
            self.received = server.proxy_protocol(self)  # type: ignore[method-assign,assignment]
            self.dataReceived = self.received  # type: ignore[method-assign]
        elif server.tls_context is not None:
            self.begin_tls()

    def begin_tls(self) -> None:
        """Speak TLS from the next byte on (after the PROXY header, where there is one)."""
        context = self.server.tls_context
        assert context is not None
        self.deadline = self.server.wheel.now + self.server.timeouts.tls_handshake
        self.start_tls(TLSLayer(context, server_side=True), client=False)

    def secured(self) -> None:
        context = self.server.tls_context
        if context is not None and context.verify_mode != ssl.CERT_NONE and self.tls is not None:
            self.certificate = self.tls.peer_certificate()
        self.deadline = self.server.wheel.now + self.server.timeouts.header

    def tls_failed(self, error: ssl.SSLError) -> None:
        self.server.counters.tls_failures += 1
        self.log.debug("TLS with {peer} failed: {error}", peer=self.peer, error=error.reason or str(error))

    def ended(self) -> None:
        """The client has finished sending: it is leaving, for nobody waits for an answer half-closed."""
        if self.current is not None and not self.current.finished:
            self.abort()
        else:
            self.close()

    def lost(self, reason: Failure) -> None:
        server = self.server
        server.wheel.forget(self)
        self._feeder = None
        # The parser holds this object's methods; without this only the garbage collector ends the circle.
        del self._parser
        # Those that wait have reached nobody yet, so nobody needs to hear of their end.
        self._waiting = self._parsing = self._asking = None
        current, self.current = self.current, None
        if current is not None and not self._ready and not self._hijacked:
            self._gone(current)
        server.forget(self)

    def _gone(self, exchange: Exchange) -> None:
        """The client will not see this answer: stop the work behind it."""
        if exchange.finished:
            return
        exchange.finished = True
        if not exchange.status:
            exchange.status = CLIENT_GONE
        self._abandon(exchange)
        self.server.finished(exchange)

    def _abandon(self, exchange: Exchange) -> None:
        """Tell those who work for ``exchange`` that nobody waits for it any more."""
        on_gone, exchange.on_gone = exchange.on_gone, None
        sink, exchange.sink = exchange.sink, None
        if sink is not None and not exchange.body_done:
            sink.body_aborted()
        if on_gone is not None:
            try:
                on_gone()
            except Exception:
                self.log.failure("ending the work for {exchange} failed", exchange=exchange)

    def begin_drain(self) -> None:
        """Finish what has begun, then close."""
        self.draining = True
        if self.current is None and not self._waiting and not self._in_head and not self._hijacked:
            self.close()

    # -- patience --------------------------------------------------------------------------------------

    def timed_out(self) -> None:
        """Which patience has ended depends on what we wait for; slow progress in writing buys more time."""
        if self.receiver is not None:
            self.deadline = 0.0
            self.receiver.idle_timeout()
            return
        counters = self.server.counters
        if self.tls is not None and not self.tls.ready:
            counters.timeouts["tls_handshake"] += 1
            self.abort()
            return
        if self._mark:
            self._look_at_reader(self.queued())
            return
        self.deadline = 0.0
        if self._deaf:
            counters.timeouts["linger"] += 1
            self.abort()
        elif self._in_head:
            counters.timeouts["header"] += 1
            self._refuse(_timeout("the request's head did not arrive in time"))
        elif self._holds:
            if self.peer_left():
                self.abort()
            else:
                self.deadline = self.server.wheel.now + LOOK
        elif self._parsing is not None:
            counters.timeouts["body"] += 1
            self._refuse(_timeout("the request's body did not arrive in time"))
        elif self.current is None:
            counters.timeouts["idle"] += 1
            self.close()
        if self._ready:
            self._go()

    def _await_reader(self, queued: int) -> None:
        """Give the client time to read some of the ``queued`` bytes."""
        self._mark = queued
        self._marked = now = self.server.wheel.now
        self.deadline = now + min(_TICK, self.server.timeouts.write)

    def backed_up(self) -> None:
        if self.current is None and not self._closing and not self._hijacked:
            self._await_reader(self.queued())

    def _look_at_reader(self, queued: int) -> None:
        now, patience = self.server.wheel.now, self.server.timeouts.write
        if not queued:
            self._mark = 0
            self._await_client()
        elif queued < self._mark:
            self._await_reader(queued)
        elif now - self._marked < patience:
            self.deadline = min(now + _TICK, self._marked + patience)
        else:
            self.server.counters.timeouts["write"] += 1
            self.abort()

    def _await_client(self) -> None:
        """Set the deadline for what the client is to do next, if it is its turn."""
        now, timeouts = self.server.wheel.now, self.server.timeouts
        parsing = self._parsing
        if self._deaf:
            self.deadline = now + timeouts.linger
        elif self._in_head:
            self.deadline = self._head_due
        elif parsing is not None and not self._holds & BODY and (parsing.sink is not None or parsing.finished):
            self.deadline = now + timeouts.body
        elif self.current is None and not self._waiting and not self._stash:
            self.deadline = now + timeouts.idle
        else:
            self.deadline = now + LOOK if self._holds else 0.0

    # -- the queue of exchanges ------------------------------------------------------------------------

    def _wait(self, exchange: Exchange) -> None:
        if self._waiting is None:
            self._waiting = deque((exchange,))
        else:
            self._waiting.append(exchange)

    def _go(self) -> None:
        self._ready = False
        exchange = self.current
        assert exchange is not None
        if self._turn >= _TURN:
            self.current = None
            if self._waiting is None:
                self._waiting = deque()
            self._waiting.appendleft(exchange)
            self.server.clock.callLater(0, self._new_turn)
            return
        self._turn += 1
        self._run(exchange)

    def _new_turn(self) -> None:
        self._turn = 0
        if self.current is None and self._waiting:
            self._next()

    def _run(self, exchange: Exchange) -> None:
        self.deadline = self.server.wheel.now + LOOK if self._holds else 0.0
        if exchange.refusal is not None:
            self.server.refuse(exchange, exchange.refusal)
        elif exchange.path == b"*":
            # RFC 9110, 9.3.7: this asks about the server itself, and every request is welcome here.
            exchange.respond(Response(200))
        else:
            self.server.handle(exchange)

    def _next(self) -> None:
        """The current exchange is over: take the one behind it, or wait for the client."""
        self.current = None
        if self._waiting:
            if self._turn >= _TURN:
                self.server.clock.callLater(0, self._new_turn)
                return
            self._turn += 1
            self.current = exchange = self._waiting.popleft()
            if not self._waiting:
                self._waiting = None
                if not self._stash:
                    self._release(PIPELINED)
            self._run(exchange)
        elif self._stash:
            self.server.clock.callLater(0, self._read_on)
        elif self.draining and not self._in_head:
            self._finish_connection()
        elif queued := self.queued():
            self._await_reader(queued)
        elif self._in_head:
            self.deadline = self._head_due
        else:
            self.deadline = self.server.wheel.now + self.server.timeouts.idle

    def _read_on(self) -> None:
        """Parse what was left unparsed because too many requests waited."""
        data, self._stash = self._stash, b""
        if data and not self._closing:
            self._release(PIPELINED)
            self.received(data)

    # -- answers (called by Exchange) ------------------------------------------------------------------

    def ends_with(self, exchange: Exchange) -> bool:
        """Whether this exchange's answer is to be the connection's last."""
        return self.draining and not self._waiting and not self._stash and not self._in_head

    def can_drain(self, exchange: Exchange) -> bool:
        """Whether the unread rest of a body is short enough to be read and dropped."""
        if exchange.length < 0 or exchange.wants_continue:
            return False
        return exchange.length - exchange.received <= self.server.limits.drained_bytes

    def answered(self, exchange: Exchange) -> None:
        """The exchange's answer is complete."""
        if self._feeder is not None:
            self._feeder = None
            self.clear_producer()
        exchange.on_gone = None
        exchange.sink = None
        self.server.finished(exchange)
        if exchange is self._asking:
            # Nothing has been read since: closing over what may have come would be a reset, as below.
            self._deaf = self._deaf or not exchange.keep_alive
            self._stay_with_http()
        if not exchange.keep_alive:
            self.current = None
            self._finish_connection()
        elif exchange.body_done:
            self._next()
        else:
            # can_drain() promised that the rest is short; on_message_complete() goes on.
            exchange.buffered = None
            self._release(BODY)
            self.deadline = self.server.wheel.now + self.server.timeouts.body

    def _drained(self, exchange: Exchange) -> None:
        if exchange is self.current:
            self._next()

    def _stay_with_http(self) -> None:
        """The upgrade that was asked for has been answered otherwise: what came behind it is the next request."""
        self._asking = None
        self._parser = httptools.HttpRequestParser(self)
        self._stash, self._leftover = self._leftover, b""
        self._release(UPGRADE)

    def cut(self, exchange: Exchange) -> None:
        """The exchange's answer broke off: end the connection uncleanly, so that nobody takes it for whole."""
        self.clear_producer()
        self._feeder = None
        self._waiting = self.current = None
        exchange.on_gone = exchange.sink = None
        self.server.finished(exchange)
        self.abort()

    def _finish_connection(self) -> None:
        """Close after the last answer, without a reset that would take the answer from the client."""
        if self._closing:
            return
        if self._deaf or self._in_head or self._holds or self._parsing is not None or self._waiting or self._stash:
            # Unread input would turn our close into a reset: say that we are done, read on, and drop it.
            self._deaf = True
            self._in_head = False
            self._waiting = self._parsing = None
            self._stash = b""
            self.half_close()
            self._holds = 0
            self.resume()
        else:
            self.close()
        # The linger begins when the last byte of the answer has gone: writeConnectionLost().
        self._await_reader(self.queued())

    def writeConnectionLost(self) -> None:
        if self._deaf and self.receiver is None:
            self._mark = 0
            self._await_client()

    def _body_broke(self, exchange: Exchange, error: StatusError) -> None:
        if exchange.finished:
            self.current = None
            self._finish_connection()
        elif exchange is not self.current or self._ready:
            # Nobody has begun to serve it: it is refused when its turn comes.
            exchange.refusal = error
        else:
            self._abandon(exchange)
            if exchange.status:
                exchange.abort()
            else:
                self.server.refuse(exchange, error)

    def date_line(self) -> bytes:
        """The ``Date`` field, for answers that have none."""
        return self.server.date_line()

    # -- flow ------------------------------------------------------------------------------------------

    def feed_from(self, exchange: Exchange, producer: Producer) -> None:
        """``producer`` writes the current answer."""
        if not exchange.finished:
            self._feeder = producer
            self.set_producer(self)

    def pauseProducing(self) -> None:
        """The client does not keep up (the transport says so): stop whoever writes, and begin to lose patience."""
        self._await_reader(self.queued())
        if self._feeder is not None:
            self._feeder.pauseProducing()

    def resumeProducing(self) -> None:
        self._mark = 0
        self._await_client()
        if self._feeder is not None:
            self._feeder.resumeProducing()

    def stopProducing(self) -> None:
        """The transport is gone; :meth:`lost` follows and cleans up."""

    def body_wanted(self, exchange: Exchange) -> None:
        """Somebody reads the body now."""
        if exchange.finished:
            return
        self._release(BODY)
        if not self._mark:
            self._await_client()

    def hold_body(self, exchange: Exchange, hold: bool) -> None:
        """Back-pressure from the body's reader. While we wait for it the client's patience is not measured."""
        if exchange.body_done or exchange.finished:
            return
        if hold:
            self._hold(BODY)
            if not self._mark:
                self._await_client()
        else:
            self.body_wanted(exchange)

    # -- tunnels ---------------------------------------------------------------------------------------

    def hijack(self, exchange: Exchange, head: bytes) -> Stream:
        """Give the connection to a tunnel; the server only counts it from now on."""
        self._hijacked = True
        self._asking = None
        self.deadline = 0.0
        self._feeder = None
        self.clear_producer()
        self.send(head)
        self._holds = 0
        self.resume()
        return self

    def take_leftover(self) -> bytes:
        """Bytes that came behind the upgrade request."""
        rest, self._leftover = self._leftover, b""
        return rest

    def tunnel_closed(self, exchange: Exchange) -> None:
        """The tunnel on this connection is over."""
        self.current = None
        self.server.finished(exchange)


def _timeout(message: str) -> StatusError:
    return StatusError(408, "RequestTimeout", message)
