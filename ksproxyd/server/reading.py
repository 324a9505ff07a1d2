"""A client's bytes become exchanges: llhttp's events, and what must hold between one message and the next.

The parser (llhttp, strict) settles framing. What it lets through that a gateway must not hand on is refused in
:mod:`ksproxyd.server.head`. A request is served when the piece it came in has been parsed, or when the next one begins:
one that turns out to be malformed in the piece it began in reaches nobody.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import httptools
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd.model.memory import Memory
from ksproxyd.model.message import Item
from ksproxyd.model.status import StatusError, internal
from ksproxyd.server.exchange import Exchange
from ksproxyd.server.head import FRAMING, Refused, RequestHead, malformed, read_head
from ksproxyd.transport.stream import Stream

if TYPE_CHECKING:
    from ksproxyd.server.limits import Limits
    from ksproxyd.server.server import Server

#: Why nothing is read at the moment (bits).
PIPELINED, BODY, UPGRADE = 1, 2, 4

#: How often a client is looked after that is not being read from, in seconds: its leaving would go unnoticed.
LOOK = 5.0


class RequestStream(Stream):
    """The reading half of :class:`ksproxyd.server.connection.ServerConnection`."""

    log = Logger()

    # Looked at with every request: the interpreter finds them fastest in a slot, slowest in a default on the class.
    __slots__ = ("_asking", "_deaf", "_holds", "_in_head", "_last", "_parsing", "_stash", "_waiting", "current")

    server: Server
    peer: str
    client: str
    secure: bool

    #: The exchange whose turn it is, being answered or about to be.
    current: Exchange | None
    #: The current exchange is yet to be served.
    _ready = False
    #: Parsed requests behind the current one.
    _waiting: deque[Exchange] | None
    #: Unparsed bytes behind those.
    _stash: bytes
    #: The exchange whose body is being read.
    _parsing: Exchange | None
    #: The exchange that has asked for an upgrade which is not decided on yet, and what came behind its head.
    _asking: Exchange | None
    _leftover = b""
    #: A message has begun, its head is not complete.
    _in_head: bool
    _head_due = 0.0
    _head_size = 0
    #: The head so far, where it comes in several pieces.
    _partial: bytearray | None = None
    #: What is being parsed, and where in it the message begins (-1: that is not known).
    _raw: bytes | bytearray = b""
    _at = 0
    #: The message at _at has a complete head, and a body of so many bytes (-1: chunked).
    _behind: int | None = None
    _url = b""
    #: Bytes of the body's framing since the last byte of the body itself.
    _barren = 0
    #: Whatever comes is dropped: the last answer is given or on its way.
    _deaf: bool
    #: The client said that its last request is its last.
    _last: bool
    #: Why nothing is read (bits).
    _holds: int
    #: Requests begun in this turn of the reactor.
    _turn = 0
    #: While the client does not keep up with our answers: what was queued when it was looked at last.
    _mark = 0

    _parser: httptools.HttpRequestParser
    _items: list[Item]

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._items = []
        self._waiting = self._parsing = self._asking = self.current = None
        self._stash = b""
        self._in_head = self._deaf = self._last = False
        self._holds = 0

    if TYPE_CHECKING:
        # The writing half's.

        def _wait(self, exchange: Exchange) -> None:
            """It is not this exchange's turn yet."""

        def _go(self) -> None:
            """Serve the current exchange, or let others have their turn first."""

        def _run(self, exchange: Exchange) -> None:
            """Serve the current exchange."""

        def _body_broke(self, exchange: Exchange, error: StatusError) -> None:
            """The body of ``exchange`` cannot be completed; nothing more is read."""

        def _drained(self, exchange: Exchange) -> None:
            """The rest of the body of an ``exchange`` that is answered already has come."""

    # -- a piece of data -------------------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        """Bytes from the client."""
        parsing = self._parsing
        if self._deaf or self._last or self._asking is not None:
            self._unasked(data)
            return
        if (
            parsing is None
            and self.current is None
            and not (self._in_head or self._waiting or self._closing)
            and len(data) <= Memory.LONGEST
        ):
            head = self.server.heads.get(data)
            if head is not None:
                # The parser stands where a request begins, and stays: it would say the same again.
                self._turn = 1
                # Nothing is begun, so nothing is held and nobody is waited for.
                self.deadline = 0.0
                self.current = exchange = self._begun(head)
                self.server.handle(exchange)
                return
        before = -1
        self._raw = data
        self._behind = None
        self._turn = 0
        if parsing is not None:
            before = parsing.received
            self._at = parsing.length - before if parsing.length > 0 else -1
        elif self._partial is None:
            self._at = 0
        else:
            self._partial += data
            self._raw = self._partial
        rest = None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as switch:
            rest = data[switch.args[0] :]
        except httptools.HttpParserError as error:
            self._stopped(error)
        if rest is not None:
            self._go_on(rest)
        if self._in_head:
            self._head_incomplete(len(data))
        self._raw = b""
        if self._ready:
            self._go()
        if self._parsing is not None:
            self._body_incomplete(len(data), before)
        if self._waiting:
            self._hold(PIPELINED)

    def _go_on(self, rest: bytes | None) -> None:
        """llhttp stopped at a request that asks for an upgrade; ``rest`` is what came behind its head."""
        while rest is not None:
            data = self._switch(rest)
            rest = None
            if not data:
                return
            if self._last:
                self._unasked(data)
                return
            parsing = self._parsing
            self._raw = data
            self._behind = None
            self._at = 0 if parsing is None else parsing.length if parsing.length > 0 else -1
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as switch:
                rest = data[switch.args[0] :]
            except httptools.HttpParserError as error:
                self._stopped(error)

    def _unasked(self, data: bytes) -> None:
        """Bytes that no request may be read from."""
        if self._asking is not None:
            # It is paused, but a TLS record may have held more.
            self._leftover += data
        elif self._last:
            # Behind the request that was to be the last: closing now would be a reset that takes the answer along.
            self._deaf = True

    def _stopped(self, error: httptools.HttpParserError) -> None:
        """The parser has ended: somebody refused, or what came is not HTTP."""
        if isinstance(error, httptools.HttpParserCallbackError):
            cause = error.__context__
            if not isinstance(cause, Refused):
                self.log.failure("reading a request failed", Failure(cause or error))
                self._refuse(internal("the gateway failed to read the request"))
            elif self._stash:
                self._parser = httptools.HttpRequestParser(self)
        elif self._last:
            self._deaf = True
        else:
            at = self._at if self._in_head else -1
            self._refuse(malformed(error, bytes(self._raw[at : at + 64]) if at >= 0 else b""))

    def _head_incomplete(self, size: int) -> None:
        """Account for a head that comes in pieces; a client may neither take forever nor make us collect it all."""
        server = self.server
        if self._partial is None:
            at = self._at
            self._partial = bytearray(self._raw[at:] if at >= 0 else self._raw)
            # Where it is not known where in this piece the head begins, only what follows is counted.
            self._head_size = len(self._partial) if at >= 0 else 0
            self._at = min(at, 0)
            self._raw = self._partial
            self._head_due = server.wheel.now + server.timeouts.header
        else:
            self._head_size += size
        self.deadline = self._head_due
        error = self._too_much(self._head_size, server.limits)
        if error is not None:
            self._refuse(error)

    def _too_much(self, size: int, limits: Limits) -> StatusError | None:
        """What is too large about the head, if anything is."""
        if len(self._url) > limits.target_bytes:
            text = f"the request target is longer than {limits.target_bytes} bytes"
            return StatusError(414, "RequestURITooLong", text)
        if len(self._items) > limits.header_count:
            text = f"the request has more than {limits.header_count} header fields"
            return StatusError(431, "RequestHeaderFieldsTooLarge", text)
        return too_large_head(limits.head_bytes) if size > limits.head_bytes else None

    def _body_incomplete(self, size: int, before: int) -> None:
        """A piece of a body has come, but not its end."""
        exchange = self._parsing
        assert exchange is not None
        if before >= 0:
            # Chunk extensions and trailers are dropped, but they too must end.
            self._barren = 0 if exchange.received != before else self._barren + size
            if self._barren > self.server.limits.head_bytes:
                self._refuse(too_large_head(self.server.limits.head_bytes))
                return
        if exchange.finished:
            return
        if exchange.sink is not None:
            if not self._holds & BODY and not self._mark:
                self.deadline = self.server.wheel.now + self.server.timeouts.body
        elif exchange.buffered is not None:
            # Nobody wants it yet; what has come is all that is kept, and the client's patience is not measured.
            self._hold(BODY)

    # -- llhttp's events -------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._ready:
            # The request before this one is complete, and well-formed to its end.
            self._go()
        if self._deaf or self._closing:
            raise Refused
        if self._behind is not None:
            self._at = self._next_at()
        if self._waiting is not None and len(self._waiting) >= self.server.limits.pipelined:
            self._stop_reading_ahead()
            raise Refused
        self._in_head = True
        self._url = b""
        self._items = []

    def _next_at(self) -> int:
        """Where in this piece the message begins that follows the one at :attr:`_at`; -1 if that is not known."""
        at, behind, self._behind = self._at, self._behind, None
        if at < 0 or behind is None:
            return -1
        end = self._raw.find(b"\r\n\r\n", at) + 4
        return end + behind if behind >= 0 else _end_of_chunks(self._raw, end)

    def _stop_reading_ahead(self) -> None:
        """Enough requests wait: the rest stays bytes until they are answered."""
        if self._at >= 0:
            self._stash = bytes(self._raw[self._at :])
            return
        # Where this message begins is not known behind a chunked body that began in an earlier piece. Serve those that
        # wait, and no more.
        assert self._waiting is not None
        self._waiting[-1].keep_alive = False
        self._deaf = True

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        # Behind the body these are trailers; nothing of ours reads them and they are not handed on.
        if self._in_head:
            # llhttp leaves white space behind a value on it.
            self._items.append((name.lower(), name, value.rstrip()))

    def on_headers_complete(self) -> None:
        if self._deaf:
            raise Refused
        raw = self._raw
        at = self._at
        items = self._items
        if at >= 0 and raw[at] <= 0x20:
            # Empty lines may come before a request (RFC 9112, 2.2); whatever ends them, they say nothing.
            while raw[at] <= 0x20:
                at += 1
            self._at = at
        limits = self.server.limits
        if len(raw) > limits.head_bytes or len(items) > limits.header_count or len(self._url) > limits.target_bytes:
            error = self._too_much(self._size_of_head(raw, at), limits)
            if error is not None:
                self._refuse(error)
                raise Refused
        try:
            head = read_head(self._parser, self._url, tuple(items), raw, at, limits)
        except StatusError as error:
            self._refuse(error)
            raise Refused from None
        if (
            not at
            and not head.length
            and head.keep_alive
            and head.upgrade is None
            and head.path != b"*"
            and raw.find(b"\r\n\r\n") + 4 == len(raw)
            and type(raw) is bytes
        ):
            # The piece is this head and nothing else.
            self.server.heads.keep(raw, head)
        self._in_head = False
        self._partial = None
        self._parsing = exchange = self._begun(head)
        self._behind = head.length
        if exchange.upgrade is not None:
            self._asking = exchange
        if self.current is None and not self._waiting:
            self.current = exchange
            self._ready = True
        else:
            self._wait(exchange)

    def _begun(self, head: RequestHead) -> Exchange:
        """The exchange for ``head``."""
        exchange = Exchange(self, head)  # type: ignore[arg-type]
        addresses = self.server.addresses
        if addresses is not None:
            addresses(exchange)
        return exchange

    def _size_of_head(self, raw: bytes | bytearray, at: int) -> int:
        """Bytes of the complete head; nearly, where it is not known where it begins."""
        if at >= 0:
            return raw.find(b"\r\n\r\n", at) + 4 - at
        return sum(len(name) + len(value) + 4 for _, name, value in self._items) + len(self._url)

    def on_body(self, data: bytes) -> None:
        exchange = self._parsing
        if exchange is None or self._deaf:
            raise Refused
        exchange.received += len(data)
        limit = self.server.limits.body_bytes
        if limit and exchange.received > limit:
            text = f"the request body has more than {limit} bytes"
            self._refuse(StatusError(413, "RequestEntityTooLarge", text))
            raise Refused
        if exchange.finished:
            return
        if exchange.sink is not None:
            exchange.sink.body_data(data)
        elif exchange.buffered is None:
            exchange.buffered = [data]
        else:
            exchange.buffered.append(data)

    def on_message_complete(self) -> None:
        exchange = self._parsing
        if exchange is None:
            return
        if exchange.body_done:
            self._parsing = None
            if not exchange.keep_alive:
                self._last = True
            return
        if self._parser.should_upgrade():
            # llhttp takes what follows for another protocol; it is the body. See _switch().
            return
        self._parsing = None
        self._last = not exchange.keep_alive
        self._barren = 0
        exchange.body_done = True
        self.deadline = 0.0
        # Back-pressure was for more of the body, and there is none.
        self._release(BODY)
        if exchange.finished:
            self._drained(exchange)
        elif exchange.sink is not None:
            exchange.sink.body_end()

    def _switch(self, rest: bytes) -> bytes:
        """Keep ``rest`` for the other protocol, or make a parser for what is HTTP nevertheless and return that."""
        if self._deaf:
            return b""
        if self._asking is not None:
            self._leftover = rest
            self._hold(UPGRADE)
            return b""
        # An upgrade that is not for us (h2c, or one with a body): go on as with any request. The parser has
        # left HTTP, so a new one is given the framing of this request and nothing else, and then the rest.
        exchange = self._parsing
        if exchange is None:
            self._parser = httptools.HttpRequestParser(self)
        else:
            self._parser = parser = httptools.HttpRequestParser(_Resumed(self))
            framing = b"".join(n + b": " + v + b"\r\n" for k, n, v in exchange.fields.items if k in FRAMING)
            parser.feed_data(b"POST / HTTP/1.1\r\n" + framing + b"\r\n")
        return rest

    # -- refusals --------------------------------------------------------------------------------------

    def _refuse(self, error: StatusError) -> None:
        """Answer what cannot be read with ``error``, in its turn, and read no further."""
        if self._deaf:
            return
        self._deaf = True
        exchange = self._parsing
        if exchange is not None:
            self._parsing = None
            exchange.keep_alive = False
            self._body_broke(exchange, error)
            return
        # As much of the request as is known, for the form of the answer and for the log.
        method = self._parser.get_method().decode("latin-1") if self._url else "GET"
        items = tuple(self._items) if self._in_head else ()
        exchange = self._begun(RequestHead(method, self._url or b"/", 1, items))
        exchange.keep_alive = False
        exchange.refusal = error
        self._in_head = False
        self._partial = None
        if self.current is None and not self._waiting:
            self.current = exchange
            self._ready = True
        else:
            self._wait(exchange)

    # -- flow ------------------------------------------------------------------------------------------

    def _hold(self, reason: int) -> None:
        if not self._holds:
            self.pause()
            if not self.deadline:
                self.deadline = self.server.wheel.now + LOOK
        self._holds |= reason

    def _release(self, reason: int) -> None:
        if self._holds & reason:
            self._holds &= ~reason
            if not self._holds:
                self.resume()


class _Resumed:
    """Feeds a connection from a parser that was started in the middle of a message, behind its head."""

    def __init__(self, connection: RequestStream) -> None:
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


def _end_of_chunks(raw: bytes | bytearray, at: int) -> int:
    """Where the chunked body ends that begins at ``at`` and that llhttp has found well-formed."""
    while True:
        end = raw.index(b"\r\n", at)
        size = int(raw[at:end].partition(b";")[0], 16)
        if not size:
            # Behind the last chunk come trailers, if any, and an empty line.
            return raw.index(b"\r\n\r\n", end) + 4
        at = end + size + 4


def too_large_head(limit: int) -> StatusError:
    """The 431 of a head above ``limit`` bytes."""
    return StatusError(431, "RequestHeaderFieldsTooLarge", f"the request's head is longer than {limit} bytes")
