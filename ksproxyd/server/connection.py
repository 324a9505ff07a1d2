"""A client's connection: llhttp events become exchanges, answers go out in order.

The parser (llhttp, strict) settles framing. What it lets through that a gateway must not hand on is refused in
:mod:`ksproxyd.server.head`. Requests behind the one being answered are parsed and wait; meanwhile nothing more
is read, so a client cannot make memory grow by not reading its answers.
"""

from __future__ import annotations

import ssl
from collections import deque
from typing import TYPE_CHECKING

import httptools
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd.model.message import Fields
from ksproxyd.model.status import StatusError, internal
from ksproxyd.server.exchange import CLIENT_GONE, Exchange
from ksproxyd.server.head import FRAMING, Refused, begin_exchange, malformed
from ksproxyd.transport.stream import Producer, Stream
from ksproxyd.transport.tls import TLSLayer

if TYPE_CHECKING:
    from ksproxyd.server.server import Server

#: Why nothing is read at the moment (bits).
_PIPELINED, _BODY = 1, 2

#: Requests of one connection served in one reactor turn, so that a burst of pipelined ones cannot hold the loop.
_TURN = 8


class ServerConnection(Stream):
    """One accepted connection. Made by :class:`ksproxyd.server.server.Server`."""

    log = Logger()

    _parsing: Exchange | None = None
    _waiting: deque[Exchange] | None = None
    _partial: bytearray | None = None
    _data: bytes = b""
    _in_head = False
    _head_size = 0
    _barren = 0
    _holds = 0
    _deaf = False
    _hijacked = False
    _leftover = b""
    _feeder: Producer | None = None
    _mark = 0
    _turn = 0
    _reader_stalled = False
    #: No request after the current one will be read.
    closing = False
    current: Exchange | None = None

    def __init__(self, server: Server, peer: str, secure: bool) -> None:
        self.server = server
        self.peer = peer
        self.client = peer
        self.secure = secure
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._items: list[tuple[bytes, bytes, bytes]] = []

    # -- the connection's life -------------------------------------------------------------------------

    def opened(self) -> None:
        server = self.server
        server.connections.add(self)
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
        self.deadline = self.server.wheel.now + self.server.timeouts.header

    def tls_failed(self, error: ssl.SSLError) -> None:
        self.server.counters.tls_failures += 1
        self.log.debug("TLS with {peer} failed: {error}", peer=self.peer, error=error.reason or str(error))

    def ended(self) -> None:
        """The client has finished sending: it is leaving, for nobody waits for an answer half-closed."""
        if self.current is not None or self._in_head:
            self.abort()
        else:
            self.close()

    def lost(self, reason: Failure) -> None:
        server = self.server
        server.wheel.forget(self)
        self._feeder = None
        # The parser holds this object's methods; without this only the garbage collector ends the circle.
        del self._parser
        current, self.current = self.current, None
        waiting, self._waiting = self._waiting, None
        if not self._hijacked:
            if current is not None:
                self._gone(current)
            if waiting:
                for exchange in waiting:
                    self._gone(exchange)
        server.forget(self)

    def _gone(self, exchange: Exchange) -> None:
        """The client will not see this answer: stop the work behind it."""
        if exchange.finished:
            return
        exchange.finished = True
        if not exchange.status:
            exchange.status = CLIENT_GONE
        on_gone, exchange.on_gone = exchange.on_gone, None
        sink, exchange.sink = exchange.sink, None
        if sink is not None and not exchange.body_done:
            sink.body_aborted()
        if on_gone is not None:
            on_gone()
        self.server.finished(exchange)

    def timed_out(self) -> None:
        """Which patience has ended depends on what we wait for; slow progress in writing buys more time."""
        if self.receiver is not None:
            self.deadline = 0.0
            self.receiver.idle_timeout()
            return
        queued = self.queued()
        if queued and queued < self._mark:
            self._mark = queued
            self.deadline = self.server.wheel.now + self.server.timeouts.write
            return
        self.deadline = 0.0
        counters = self.server.counters
        if self.tls is not None and not self.tls.ready:
            counters.timeouts["tls_handshake"] += 1
            self.abort()
        elif self._deaf or queued:
            counters.timeouts["linger" if self._deaf else "write"] += 1
            self.abort()
        elif self._in_head:
            counters.timeouts["header"] += 1
            self._refuse(_timeout("the request's head did not arrive in time"))
        elif self._parsing is not None:
            counters.timeouts["body"] += 1
            self._break_body(_timeout("the request's body did not arrive in time"))
        elif self.current is None:
            counters.timeouts["idle"] += 1
            self.close()

    def begin_drain(self) -> None:
        """Finish what has begun, then close."""
        self.closing = True
        if self.current is None and not self._in_head and not self._hijacked:
            self.close()

    # -- parsing ---------------------------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        if self._deaf:
            self._barren += len(data)
            if self._barren > self.server.limits.drained_bytes:
                self.abort()
            return
        self._data = data
        self._turn = 0
        progress = self._parsing.received if self._parsing is not None else -1
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as switch:
            self._switch(data[switch.args[0] :])
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            if not isinstance(cause, Refused):
                self.log.failure("reading a request failed", Failure(cause or error))
                self._refuse(internal("the gateway failed to read the request"))
        except httptools.HttpParserError as error:
            self._refuse(malformed(error))
        self._data = b""
        if self._in_head:
            self._head_incomplete(data)
        elif progress >= 0 and self._parsing is not None:
            self._watch_barren(len(data), progress)
        if self._waiting:
            self._hold(_PIPELINED)

    def _head_incomplete(self, data: bytes) -> None:
        """Account for a head that comes in pieces; a client may not make us collect one without end."""
        if self._partial is None:
            # The head may begin anywhere in this piece, so only the pieces after it are counted.
            self._partial = bytearray(data)
        else:
            self._partial += data
            self._head_size += len(data)
            if self._head_size > self.server.limits.head_bytes:
                self._refuse(too_large_head(self.server.limits.head_bytes))

    def _watch_barren(self, size: int, before: int) -> None:
        """Chunk extensions and trailers are dropped, but they too must end."""
        assert self._parsing is not None
        if self._parsing.received != before:
            self._barren = 0
            return
        self._barren += size
        if self._barren > self.server.limits.head_bytes:
            self._refuse(too_large_head(self.server.limits.head_bytes))

    def on_message_begin(self) -> None:
        if self._deaf:
            raise Refused
        self._in_head = True
        self._url = b""
        self._items = []
        self.deadline = self.server.wheel.now + self.server.timeouts.header

    def on_url(self, url: bytes) -> None:
        self._url = self._url + url if self._url else url
        if len(self._url) > self.server.limits.target_bytes:
            self._refuse(
                StatusError(
                    414,
                    "RequestURITooLong",
                    f"the request target is longer than {self.server.limits.target_bytes} bytes",
                )
            )
            raise Refused

    def on_header(self, name: bytes, value: bytes) -> None:
        # Behind the body these are trailers; nothing of ours reads them and they are not handed on.
        if self._in_head:
            items = self._items
            items.append((name.lower(), name, value))
            if len(items) > self.server.limits.header_count:
                self._refuse(
                    StatusError(
                        431,
                        "RequestHeaderFieldsTooLarge",
                        f"the request has more than {self.server.limits.header_count} header fields",
                    )
                )
                raise Refused

    def on_headers_complete(self) -> None:
        if self._deaf:
            raise Refused
        self._in_head = False
        self.deadline = 0.0
        raw: bytes | bytearray = self._data
        limit = self.server.limits.head_bytes
        if self._partial is not None:
            raw = self._partial + self._data
            self._partial = None
            self._head_size = 0
        if len(raw) > limit and sum(len(n) + len(v) + 4 for _, n, v in self._items) + len(self._url) > limit:
            self._refuse(too_large_head(limit))
            raise Refused
        fields = Fields()
        fields.items = self._items
        try:
            exchange = begin_exchange(self, self._parser, self._url, fields, raw)
        except StatusError as error:
            self._refuse(error)
            raise Refused from None
        self._parsing = exchange
        if exchange.length:
            exchange.body_done = False
            self.deadline = self.server.wheel.now + self.server.timeouts.body
            if exchange.upgrade is None:
                self._enqueue(exchange)

    def on_body(self, data: bytes) -> None:
        exchange = self._parsing
        if exchange is None or self._deaf:
            raise Refused
        exchange.received += len(data)
        limit = self.server.limits.body_bytes
        if limit and exchange.received > limit:
            self._break_body(
                StatusError(413, "RequestEntityTooLarge", f"the request body has more than {limit} bytes")
            )
            raise Refused
        if exchange.finished:
            return
        sink = exchange.sink
        if sink is not None:
            self.deadline = self.server.wheel.now + self.server.timeouts.body
            sink.body_data(data)
        else:
            if exchange.buffered is None:
                exchange.buffered = []
            exchange.buffered.append(data)
            # Nobody wants it yet; what has come is all that is kept.
            self._hold(_BODY)

    def on_message_complete(self) -> None:
        exchange = self._parsing
        if exchange is None:
            return
        if exchange.upgrade is not None or self._parser.should_upgrade():
            # What follows belongs to the other protocol; feed_data() says where it begins.
            return
        self._parsing = None
        if exchange.body_done:
            self._enqueue(exchange)
            return
        exchange.body_done = True
        self.deadline = 0.0
        if exchange.finished:
            if exchange is self.current:
                self._next()
        elif exchange.sink is not None:
            exchange.sink.body_end()

    def _switch(self, rest: bytes) -> None:
        """llhttp stopped at a request that asks for an upgrade; ``rest`` is what came behind its head."""
        exchange = self._parsing
        if exchange is None or self._deaf:
            return
        if exchange.upgrade is not None:
            self._parsing = None
            self._leftover = rest
            self._enqueue(exchange)
            return
        # An upgrade that is not for us (h2c, or one with a body): go on as with any request. The parser has
        # left HTTP, so a new one is given the framing and nothing else, and then the rest.
        parser = httptools.HttpRequestParser(_Resumed(self))
        self._parser = parser
        framing = b"".join(n + b": " + v + b"\r\n" for k, n, v in exchange.fields.items if k in FRAMING)
        self._parser.feed_data(b"POST / HTTP/1.1\r\n" + (framing or b"Content-Length: 0\r\n") + b"\r\n")
        if rest and not self._deaf:
            self.received(rest)

    # -- the queue of exchanges ------------------------------------------------------------------------

    def _enqueue(self, exchange: Exchange) -> None:
        if self.current is None and self._turn < _TURN:
            self._turn += 1
            self.current = exchange
            self._run(exchange)
            return
        if self._waiting is None:
            self._waiting = deque()
        self._waiting.append(exchange)
        if self.current is None and len(self._waiting) == 1:
            self.server.clock.callLater(0, self._new_turn)
        elif len(self._waiting) > self.server.limits.pipelined:
            self._refuse_rest()

    def _refuse_rest(self) -> None:
        """Too many pipelined requests: serve those that wait, read no more."""
        if not self._deaf:
            self._deaf = True
            assert self._waiting is not None
            self._waiting[-1].keep_alive = False

    def _new_turn(self) -> None:
        self._turn = 0
        if self.current is None and self._waiting:
            self._next()

    def _run(self, exchange: Exchange) -> None:
        if exchange.refusal is not None:
            self.server.refuse(exchange, exchange.refusal)
        else:
            self.server.handle(exchange)

    def _next(self) -> None:
        """The current exchange is over: take the one behind it, or wait for the client."""
        self.current = None
        waiting = self._waiting
        if waiting:
            if self._turn >= _TURN:
                self.server.clock.callLater(0, self._new_turn)
                return
            self._turn += 1
            exchange = waiting.popleft()
            if not waiting:
                self._waiting = None
                self._release(_PIPELINED)
            self.current = exchange
            self._run(exchange)
        elif self.closing:
            self._finish_connection()
        elif self.queued():
            self._mark = self.queued()
            self.deadline = self.server.wheel.now + self.server.timeouts.write
        elif not self._in_head:
            self.deadline = self.server.wheel.now + self.server.timeouts.idle

    # -- answers (called by Exchange) ------------------------------------------------------------------

    def answer(self, exchange: Exchange, data: bytes) -> None:
        """Send a part of the current exchange's answer."""
        self.send(data)

    def answered(self, exchange: Exchange) -> None:
        """The exchange's answer is complete."""
        if self._feeder is not None:
            self._feeder = None
            self.clear_producer()
        exchange.on_gone = None
        exchange.sink = None
        self.server.finished(exchange)
        if not exchange.keep_alive:
            self.closing = True
            self._finish_connection()
        elif exchange.body_done:
            self._next()
        else:
            # can_drain() promised that the rest is short; on_message_complete() goes on.
            exchange.buffered = None
            self._release(_BODY)
            self.deadline = self.server.wheel.now + self.server.timeouts.body

    def can_drain(self, exchange: Exchange) -> bool:
        """Whether the unread rest of a body is short enough to be read and dropped."""
        if exchange.length < 0 or exchange.wants_continue:
            return False
        return exchange.length - exchange.received <= self.server.limits.drained_bytes

    def cut(self, exchange: Exchange) -> None:
        """The exchange's answer broke off: end the connection uncleanly, so that nobody takes it for whole."""
        self.clear_producer()
        self._feeder = None
        exchange.on_gone = None
        self.server.finished(exchange)
        self.abort()

    def _finish_connection(self) -> None:
        """Close after the last answer, without a reset that would take the answer from the client."""
        if self._closing:
            return
        if self._in_head or self._parsing is not None or self._deaf:
            # Unread input would turn our close into a reset: say that we are done, read on, and drop it.
            self._deaf = True
            self._barren = 0
            self.half_close()
            self._holds = 0
            self.resume()
            self.deadline = self.server.wheel.now + self.server.timeouts.linger
        else:
            self.close()
            self._mark = self.queued()
            if self._mark:
                self.deadline = self.server.wheel.now + self.server.timeouts.write

    def _refuse(self, error: StatusError) -> None:
        """Answer what cannot be served with ``error``, in its turn, and read no further."""
        if self._deaf:
            return
        if self._parsing is not None:
            self._break_body(error)
            return
        self._deaf = True
        self._in_head = False
        exchange = Exchange(self, "GET", b"/", 1, Fields())
        exchange.started = self.server.wheel.now
        exchange.keep_alive = False
        exchange.refusal = error
        self._turn = 0
        self._enqueue(exchange)

    def _break_body(self, error: StatusError) -> None:
        """The body of a request that is already being served is bad: end its work, answer if still possible."""
        exchange = self._parsing
        assert exchange is not None
        self._parsing = None
        self._deaf = True
        exchange.keep_alive = False
        if exchange is not self.current:
            exchange.refusal = error
            if self.current is None and (self._waiting is None or exchange not in self._waiting):
                self._enqueue(exchange)
            return
        on_gone, exchange.on_gone = exchange.on_gone, None
        sink, exchange.sink = exchange.sink, None
        if sink is not None:
            sink.body_aborted()
        if on_gone is not None:
            on_gone()
        if exchange.finished:
            self._finish_connection()
        elif exchange.status:
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
        self._mark = self.queued()
        self.deadline = self.server.wheel.now + self.server.timeouts.write
        if self._feeder is not None:
            self._feeder.pauseProducing()

    def resumeProducing(self) -> None:
        self.deadline = 0.0
        if self._feeder is not None:
            self._feeder.resumeProducing()

    def stopProducing(self) -> None:
        """The transport is gone; :meth:`lost` follows and cleans up."""

    def body_wanted(self, exchange: Exchange) -> None:
        """Somebody reads the body now."""
        self.deadline = self.server.wheel.now + self.server.timeouts.body
        self._release(_BODY)

    def hold_body(self, exchange: Exchange, hold: bool) -> None:
        """Back-pressure from the body's reader. While we wait for it the client's patience is not measured."""
        if exchange.body_done or exchange.finished:
            return
        if hold:
            self.deadline = 0.0
            self._hold(_BODY)
        else:
            self.body_wanted(exchange)

    def _hold(self, reason: int) -> None:
        if not self._holds:
            self.pause()
        self._holds |= reason

    def _release(self, reason: int) -> None:
        if self._holds & reason:
            self._holds &= ~reason
            if not self._holds:
                self.resume()

    # -- tunnels ---------------------------------------------------------------------------------------

    def hijack(self, exchange: Exchange, head: bytes) -> Stream:
        """Give the connection to a tunnel; the server only counts it from now on."""
        self._hijacked = True
        self.deadline = 0.0
        self._feeder = None
        self.clear_producer()
        self.send(head)
        return self

    def take_leftover(self) -> bytes:
        """Bytes that came behind the upgrade request."""
        rest, self._leftover = self._leftover, b""
        return rest

    def tunnel_closed(self, exchange: Exchange) -> None:
        """The tunnel on this connection is over."""
        self.current = None
        self.server.finished(exchange)


class _Resumed:
    """Feeds a connection from a parser that was started in the middle of a message, behind its head."""

    def __init__(self, connection: ServerConnection) -> None:
        self._connection = connection
        self._resumed = False

    def on_message_begin(self) -> None:
        if self._resumed:
            self._connection.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if self._resumed:
            self._connection.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._resumed:
            self._connection.on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._resumed:
            self._connection.on_headers_complete()

    def on_body(self, data: bytes) -> None:
        self._connection.on_body(data)

    def on_message_complete(self) -> None:
        self._resumed = True
        self._connection.on_message_complete()


def too_large_head(limit: int) -> StatusError:
    """The 431 of a head above ``limit`` bytes."""
    return StatusError(431, "RequestHeaderFieldsTooLarge", f"the request's head is longer than {limit} bytes")


def _timeout(message: str) -> StatusError:
    return StatusError(408, "RequestTimeout", message)
