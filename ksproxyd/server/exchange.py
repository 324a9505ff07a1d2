"""One request and its answer.

The connection makes an exchange when a request's head is complete and hands it on at once; the body is a
stream. Whoever takes the exchange answers it exactly once, with :meth:`Exchange.respond`, with
:meth:`Exchange.start` … :meth:`Exchange.finish`, or with :meth:`Exchange.hijack`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ksproxyd.model.identity import ANONYMOUS, Identity
from ksproxyd.model.message import Fields, Pairs, Response
from ksproxyd.model.status import StatusError, render, too_large
from ksproxyd.model.status_lines import STATUS_LINES, status_line
from ksproxyd.transport.stream import Producer, Stream

if TYPE_CHECKING:
    from ksproxyd.server.connection import ServerConnection
    from ksproxyd.server.head import RequestHead

#: What the log and the metrics say of a request whose client left before the answer was complete.
CLIENT_GONE = 499


_new_fields = Fields.__new__

_names = Random(secrets.randbits(128))


class BodySink(Protocol):
    """Takes a request's body as it comes."""

    def body_data(self, data: bytes) -> None: ...

    def body_end(self) -> None: ...

    def body_aborted(self) -> None:
        """The client went away or broke the framing; the body will not be complete."""


class Exchange:
    """A request, as parsed and checked, and the means to answer it.

    ``length`` is the body's: 0 for none, -1 for chunked. ``client`` is the address the request is from, as the
    listener and its trusted proxies vouch for it. ``upgrade`` is the protocol asked for, if the request may
    switch. ``info`` and ``user`` are set by the chain; ``path`` and ``query`` are as sent (undecoded) until a step
    that re-routes the request replaces them.
    """

    # What most requests touch has a slot: the interpreter finds it fastest there, and slowest in a default on the
    # class. The rest has its default on the class, and nothing until it is set.
    __slots__ = (
        "__dict__",
        "_chunked",
        "_out",
        "_silent",
        "body_done",
        "claims",
        "client",
        "connection",
        "extra_headers",
        "fields",
        "finished",
        "head",
        "info",
        "keep_alive",
        "length",
        "method",
        "node",
        "on_gone",
        "path",
        "query",
        "received",
        "sent",
        "sink",
        "started",
        "status",
        "target",
        "trusted",
        "upgrade",
        "upstream_seconds",
        "user",
    )

    wants_continue: bool = False
    #: Set by the server instead of handing the exchange on: the request is refused with this.
    refusal: StatusError | None = None
    cluster: Any = None
    notes: dict[str, Any] | None = None
    hijacked: bool = False
    buffered: list[bytes] | None = None
    #: The browser's sign-in that the user is known by, if it is one (:mod:`ksproxyd.kapis.oauth.browser`).
    browser_session: str = ""
    #: What the client was told when the gateway refused the request itself.
    refused: str = ""
    _paused: bool = False
    _id: str = ""

    def __init__(self, connection: ServerConnection, head: RequestHead) -> None:
        self.connection = connection
        #: As it was sent; the attributes beside it are what is made of it.
        self.head = head
        self.method = head.method
        self.target = head.target
        self.path = head.path
        self.query = head.query
        self.keep_alive = head.keep_alive
        self.upgrade = head.upgrade
        self.fields = fields = _new_fields(Fields)
        fields.items = head.items
        fields._index = head.index
        self.length = length = head.length
        self.body_done = not length
        if head.wants_continue:
            self.wants_continue = True
        self.started = connection.server.clock.seconds()
        self.client = connection.client
        self.trusted = False
        self.info: Any = None
        self.user: Identity = ANONYMOUS
        #: What the bearer token says that proved the user, if one did
        #: (:class:`ksproxyd.authn.tokens.claims.Claims`).
        self.claims: Any = None
        #: Name of the upstream or node that answered, for the log and the metrics.
        self.node = ""
        #: Added to whatever answer goes out (CORS).
        self.extra_headers: Pairs | None = None
        self.status = 0
        #: Body bytes answered and body bytes received.
        self.sent = 0
        self.received = 0
        self.upstream_seconds = 0.0
        self.finished = False
        self.on_gone: Callable[[], object] | None = None
        self.sink: BodySink | None = None
        self._chunked = False
        self._silent = False
        self._out: list[bytes] = []

    @property
    def id(self) -> str:
        """A random name for this request, for the client's error message and our log to agree on."""
        if not self._id:
            # No secret, so that no system call is needed for one.
            self._id = f"{_names.getrandbits(64):016x}"
        return self._id

    @property
    def minor(self) -> int:
        """The client speaks HTTP/1.<this>."""
        return self.head.minor

    @property
    def has_query(self) -> bool:
        """Whether there is a query, be it an empty one."""
        return b"?" in self.target

    @property
    def peer(self) -> str:
        """The address at the connection's other end."""
        return self.connection.peer

    @property
    def secure(self) -> bool:
        """Whether the connection speaks TLS."""
        return self.connection.secure

    def route(self, path: bytes, query: bytes | None = None) -> None:
        """Serve another path (and query) than the one that was sent."""
        self.path = path
        if query is not None:
            self.query = query
        asks = self.has_query if query is None else bool(query)
        self.target = path + b"?" + self.query if asks else path

    # -- answering -------------------------------------------------------------------------------------

    def note(self, notes: dict[str, Any]) -> None:
        """Have ``notes`` in the access log and the record, beside those that are there; none change nothing."""
        if notes:
            self.notes = {**(self.notes or {}), **notes}

    def respond(self, response: Response) -> None:
        """Answer with a complete response. Nothing happens if the client is gone already."""
        self.start(response.status, response.headers, len(response.body))
        self.write(response.body)
        self.finish()

    def refuse(self, error: StatusError) -> None:
        """Answer with ``error``, in the form the client asked for."""
        self.refused = error.message
        get = self.fields.get
        self.respond(render(error, get(b"accept"), get(b"user-agent"), self.query))

    def fail(self, failure: Failure) -> None:
        """Serving the request met an exception that nobody expected: log it, and answer if it is not too late."""
        self.connection.server.failed(self, failure)

    def start(self, status: int, headers: Pairs, length: int | None) -> None:
        """Begin the answer: ``length`` body bytes will follow, or an unknown number (None).

        Nothing is sent before :meth:`flush` or :meth:`finish`. Raises :class:`ValueError` for a field with a line
        break: text of a client's that got into it would go on as a field, or an answer, of the client's choice.
        """
        lines: list[bytes] = []
        dated = False
        for name, value in headers:
            if b"\n" in value or b"\r" in value or b"\n" in name:
                raise ValueError(f"a line break in the field {name!r}")
            lines += (name, b": ", value, b"\r\n")
            dated = dated or name.lower() == b"date"
        self.start_lines(status, b"".join(lines), length, dated)

    def start_lines(self, status: int, lines: bytes, length: int | None, dated: bool, whole: bytes = b"") -> None:
        """Like :meth:`start`, with the fields as they are sent (the relay's way).

        They must not hold framing or connection fields; those are this method's. ``whole``, if not empty, is what it
        makes of the rest for a client of HTTP/1.1 that stays connected, has asked for a body and gets no more fields.
        """
        if self.status:
            if self.finished:
                # The client is gone; whoever answers now need not know.
                return
            raise RuntimeError(f"{self!r} is being answered already")
        self.status = status
        connection = self.connection
        out = self._out
        if (
            whole
            and self.keep_alive
            and self.body_done
            and self.head.minor
            and self.extra_headers is None
            and self.method != "HEAD"
            and not connection.draining
        ):
            out.append(whole)
            return
        out += (STATUS_LINES.get(status) or status_line(status), lines)
        if self.extra_headers is not None:
            for name, value in self.extra_headers:
                out += (name, b": ", value, b"\r\n")
        if not dated:
            out.append(connection.date_line())
        # RFC 9110, 6.4.1 and 15.3.5: these have no body whatever the fields say.
        if self.method == "HEAD" or status == 304 or status == 204 or status < 200:
            self._silent = True
            if length is not None and status >= 200 and status != 204:
                out.append(b"Content-Length: %d\r\n" % length)
        elif length is not None:
            out.append(b"Content-Length: %d\r\n" % length)
        elif self.minor:
            self._chunked = True
            out.append(b"Transfer-Encoding: chunked\r\n")
        else:
            self.keep_alive = False
        if self.keep_alive and not self.body_done and not connection.can_drain(self):
            self.keep_alive = False
        if not self.keep_alive or (connection.draining and connection.ends_with(self)):
            self.keep_alive = False
            out.append(b"Connection: close\r\n\r\n")
        elif self.minor:
            out.append(b"\r\n")
        else:
            out.append(b"Connection: keep-alive\r\n\r\n")

    def write(self, data: bytes) -> None:
        """Append to the body. Sent with the next :meth:`flush` or :meth:`finish`."""
        if self._silent or not data or self.finished:
            return
        self.sent += len(data)
        if self._chunked:
            self._out += (b"%x\r\n" % len(data), data, b"\r\n")
        else:
            self._out.append(data)

    def flush(self) -> None:
        """Send what :meth:`start` and :meth:`write` have collected."""
        out = self._out
        if out and not self.finished:
            self._out = []
            self.connection.send(out[0] if len(out) == 1 else b"".join(out))

    def finish(self) -> None:
        """The answer is complete."""
        if self.finished:
            return
        out = self._out
        if self._chunked:
            out.append(b"0\r\n\r\n")
        connection = self.connection
        if out:
            self._out = []
            connection.send(b"".join(out))
        self.finished = True
        connection.answered(self)

    def abort(self) -> None:
        """The answer cannot be completed: cut the connection so that the client sees it (RFC 9112, 8)."""
        if self.finished:
            return
        self.flush()
        self.finished = True
        self.connection.cut(self)

    def interim(self, status: int, lines: bytes = b"") -> None:
        """Send a 1xx answer ahead of the final one. HTTP/1.0 clients do not get it (RFC 9110, 15.2)."""
        if self.minor and not self.status and not self.finished:
            self.connection.send(status_line(status) + lines + b"\r\n")

    def set_producer(self, producer: Producer) -> None:
        """``producer`` writes this answer and is paused while the client does not keep up."""
        self.connection.feed_from(self, producer)

    def hijack(self, head: bytes) -> Stream:
        """Send ``head`` (a complete 101 response) and give the connection away, for a tunnel.

        The caller calls :meth:`Stream.take_over` on it, and then :meth:`leftover` for bytes that came early.
        """
        self.status = 101
        self.hijacked = True
        return self.connection.hijack(self, head)

    def leftover(self) -> bytes:
        """After :meth:`hijack`: what the client has sent behind the request already. Once."""
        return self.connection.take_leftover()

    def tunnel_closed(self) -> None:
        """After :meth:`hijack`: the tunnel is over; the request counts as finished."""
        if not self.finished:
            self.finished = True
            self.connection.tunnel_closed(self)

    # -- the request's body ----------------------------------------------------------------------------

    def send_body_to(self, sink: BodySink) -> None:
        """Stream the body into ``sink``, what has come already first. Asks for it where the client waits."""
        self.sink = sink
        self.continue_()
        buffered, self.buffered = self.buffered, None
        if buffered:
            for data in buffered:
                sink.body_data(data)
        if self.body_done:
            sink.body_end()
        elif not self._paused:
            self.connection.body_wanted(self)

    def continue_(self) -> None:
        """Send ``100 Continue`` if the client waits for it (RFC 9110, 10.1.1)."""
        if self.wants_continue and not self.body_done:
            self.wants_continue = False
            self.interim(100)

    def pause_body(self) -> None:
        """Stop the body for a while; the client feels it through TCP."""
        self._paused = True
        self.connection.hold_body(self, True)

    def resume_body(self) -> None:
        """Go on after :meth:`pause_body`."""
        self._paused = False
        self.connection.hold_body(self, False)

    def read_body(self, limit: int) -> Deferred[bytes]:
        """The whole body. Fails with a 413 :class:`StatusError` above ``limit`` bytes, 400 if it breaks off."""
        collector = _Collector(self, limit)
        if self.finished:
            collector.body_aborted()
        elif self.length > limit:
            collector.fail(too_large(f"the request body has {self.length} bytes, {limit} are allowed"))
        else:
            self.send_body_to(collector)
        return collector.done

    def replace_body(self, body: bytes) -> None:
        """After :meth:`read_body`: let ``body`` be what :meth:`send_body_to` gives, and what a backend is told of."""
        self.buffered = [body] if body else None
        self.length = len(body)
        self.fields.replace(b"Content-Length", b"%d" % len(body))

    def __repr__(self) -> str:
        return f"<Exchange {self.method} {self.path.decode('latin-1')[:120]} status={self.status}>"


class _Collector:
    """A sink that gathers a body up to a limit."""

    def __init__(self, exchange: Exchange, limit: int) -> None:
        self._exchange = exchange
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0
        self._over = False
        self.done: Deferred[bytes] = Deferred()

    def body_data(self, data: bytes) -> None:
        self._size += len(data)
        if self._over:
            return
        if self._size > self._limit:
            self.fail(too_large(f"the request body has more than the {self._limit} bytes that are allowed"))
        else:
            self._parts.append(data)

    def body_end(self) -> None:
        if not self._over:
            self._over = True
            self.done.callback(b"".join(self._parts))

    def body_aborted(self) -> None:
        self.fail(StatusError(400, "BadRequest", "the request body broke off"))

    def fail(self, error: StatusError) -> None:
        if not self._over:
            self._over = True
            self._parts.clear()
            self.done.errback(error)
