"""A connection to a backend: one request at a time, llhttp for the answer.

A connection goes back to its pool only when both messages are complete and nothing else has arrived; anything
doubtful ends it, so that no request ever sees another's answer.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Protocol

import httptools
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd.model.message import Item
from ksproxyd.transport.stream import Stream
from ksproxyd.transport.tls import TLSLayer
from ksproxyd.upstream.answer import AnswerHead, known_heads, known_lines
from ksproxyd.upstream.errors import UpstreamError, tls_error
from ksproxyd.upstream.target import client_context

if TYPE_CHECKING:
    from ksproxyd.upstream.pool import Attempt, Pool

#: Largest head of an answer with the interim answers before it, in bytes, and how many fields a head may have.
HEAD_BYTES = 262144
HEAD_FIELDS = 500

# What a field of an answer means to this hop. Whatever is not named here is passed on.
_LENGTH, _CODING, _CONNECTION, _HOP, _DATE = 1, 2, 3, 4, 5
_MEANING = {
    b"content-length": _LENGTH,
    b"transfer-encoding": _CODING,
    b"connection": _CONNECTION,
    b"keep-alive": _HOP,
    b"proxy-connection": _HOP,
    b"proxy-authenticate": _HOP,
    b"te": _HOP,
    b"trailer": _HOP,
    b"upgrade": _HOP,
    b"date": _DATE,
}


class AnswerSink(Protocol):
    """Whoever sent the request on an upstream connection."""

    def interim(self, status: int, items: list[Item]) -> None:
        """A 1xx answer other than 101."""

    def head(self, head: AnswerHead) -> None:
        """The final answer's head."""

    def data(self, data: bytes) -> None:
        """A piece of the body."""

    def flush(self) -> None:
        """No more for now: what was handed over since the last call should go on."""

    def end(self) -> None:
        """The answer is complete; the connection is no longer the sink's."""

    def switched(self, items: list[Item], rest: bytes) -> None:
        """101: the connection is the sink's for good (see :meth:`Stream.take_over`), ``rest`` came behind the head."""

    def failed(self, reason: UpstreamError) -> None:
        """There will be no (complete) answer; the connection is gone."""


class UpstreamConnection(Stream):
    """One connection of a :class:`~ksproxyd.upstream.pool.Pool`."""

    log = Logger()

    sink: AnswerSink | None = None
    #: Who had this connection made, until it is ready.
    attempt: Attempt | None = None
    #: Requests begun on this connection.
    served = 0
    #: The request in progress has been sent completely.
    sent_all = True
    #: Bytes of the answer in progress have arrived.
    answered = False
    #: The request was a HEAD.
    _bodiless = False
    _status = 0
    #: The head of the answer that was parsed last.
    _head: AnswerHead
    _length: int | None = None
    _coding: bytes | None = None
    _options: bytes | None = None
    _dated = False
    _in_head = True
    _head_size = 0
    _fields = 0
    _reusable = False
    _until_close = False
    _complete = False
    trouble: UpstreamError | None = None
    _body_size = 0
    _upgrade: Item | None = None

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self._parser = httptools.HttpResponseParser(self)
        self._items: list[Item] = []

    # -- life ------------------------------------------------------------------------------------------

    def opened(self) -> None:
        pool = self.pool
        pool.wheel.watch(self)
        # The endpoint that connected put a wrapper of its own in between, which has done its work now.
        self.transport.protocol = self
        trust = pool.target.trust
        if trust is None:
            return
        self.deadline = pool.wheel.now + pool.timeouts.tls_handshake
        try:
            name = trust.server_name or pool.target.host
            layer = TLSLayer(client_context(trust), server_side=False, server_name=name)
        except (ssl.SSLError, ValueError) as problem:
            # What is trusted was checked when it was configured, but not by this library and not with this name.
            self.trouble = UpstreamError("tls", "TLS with the upstream cannot be set up", str(problem))
            self.abort()
            return
        self.start_tls(layer, client=True)

    def secured(self) -> None:
        self.deadline = 0.0
        attempt, self.attempt = self.attempt, None
        if attempt is not None:
            attempt.ready(self)

    def tls_failed(self, reason: ssl.SSLError) -> None:
        self.trouble = tls_error(reason)
        self._fail(self.trouble)

    def ended(self) -> None:
        """The backend has finished sending: the end of a body without length, or the end of everything."""
        if self._until_close and not self._in_head and self.sink is not None:
            if self.tls is None or self.tls.closed:
                self._finish()
            else:
                # RFC 9112, 9.8: without a close_notify this may as well be somebody cutting the line.
                self.trouble = UpstreamError("closed", "the upstream broke off its answer")
        self._hang_up()
        if self.sink is not None:
            # A FIN in the middle: what is missing cannot come any more.
            self._fail(self.trouble or self._broken())

    def lost(self, reason: Failure) -> None:
        self.pool.wheel.forget(self)
        attempt, self.attempt = self.attempt, None
        self.pool.lost(self)
        if attempt is not None:
            lost = UpstreamError("connect", "the connection was lost during the handshake", str(reason.value))
            attempt.failed(self.trouble or lost)
        if self.sink is not None:
            self._fail(self.trouble or self._broken(str(reason.value)))
        # The parser holds this object's methods.
        del self._parser

    def _hang_up(self) -> None:
        """Close, but do not wait for a peer that does not take what is queued."""
        self.deadline = self.pool.wheel.now + self.pool.timeouts.linger
        self.close()

    def _broken(self, detail: str = "") -> UpstreamError:
        if self._in_head:
            return UpstreamError("closed", "the upstream closed the connection without an answer", detail)
        return UpstreamError("closed", "the upstream broke off its answer", detail)

    def timed_out(self) -> None:
        self.deadline = 0.0
        if self.receiver is not None:
            self.receiver.idle_timeout()
            return
        if self._closing:
            self.abort()
            return
        if self.tls is not None and not self.tls.ready:
            self.trouble = UpstreamError("timeout", "the TLS handshake with the upstream timed out")
        elif self.sink is None:
            self.pool.forget(self)
            self._hang_up()
            return
        elif self._in_head:
            seconds = self.pool.timeouts.response_header
            self.trouble = UpstreamError("timeout", f"the upstream did not answer within {seconds:g} seconds")
        else:
            self.trouble = UpstreamError("timeout", "the upstream's answer made no progress")
        self._fail(self.trouble)
        self.abort()

    def _fail(self, reason: UpstreamError) -> None:
        sink, self.sink = self.sink, None
        if sink is not None:
            sink.failed(reason)

    # -- one request -----------------------------------------------------------------------------------

    def begin(self, sink: AnswerSink, head: bytes, *, bodiless: bool, complete: bool) -> None:
        """Send a request's head (and body, if ``complete``). The answer goes to ``sink``.

        ``bodiless``: the request is a HEAD. If not ``complete``, :meth:`send` the body and set ``sent_all`` at its end.
        """
        self.sink = sink
        self.served += 1
        self.sent_all = complete
        self.answered = False
        self._bodiless = bodiless
        self._complete = False
        self._in_head = True
        pool = self.pool
        wait = pool.timeouts.response_header
        self.deadline = pool.wheel.now + wait if complete and wait else 0.0
        self.send(head)

    def request_sent(self) -> None:
        """The request's body is complete: from now on the backend is expected to answer in time."""
        self.sent_all = True
        self.expect_head(True)

    def expect_head(self, expected: bool) -> None:
        """The backend's time to answer, or to take more of the request, begins now; or it has all the time it wants."""
        wait = self.pool.timeouts.response_header
        if self._in_head and wait:
            self.deadline = self.pool.wheel.now + wait if expected else 0.0

    def pause(self) -> None:
        # A client that does not read must not count against the backend.
        if self.receiver is None and not self._in_head:
            self.deadline = 0.0
        super().pause()

    def resume(self) -> None:
        idle = self.pool.timeouts.stream_idle
        if idle and self.receiver is None and not self._in_head and self.sink is not None:
            self.deadline = self.pool.wheel.now + idle
        super().resume()

    def release(self) -> None:
        """The sink has lost interest: the answer in progress, if any, is dropped with the connection."""
        self.sink = None
        self.abort()

    # -- the answer ------------------------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        sink = self.sink
        if sink is None:
            # Unasked bytes on an idle connection, or the rest of an answer nobody wants.
            self.pool.spoiled(self)
            self.abort()
            return
        begin = 0
        if not self.answered:
            self.answered = True
            if data[:1] != b"H":
                # llhttp would skip empty lines, and take RTSP.
                self._give_up(UpstreamError("protocol", "the upstream does not speak HTTP/1.1", repr(data[:32])))
                return
            if not self._bodiless:
                # 3 if the head is not complete, which is no head's length.
                begin = data.find(b"\r\n\r\n") + 4
                head = data[:begin]
                known = known_heads.get(head)
                if known is None and begin <= known_heads.LONGEST:
                    read = known_lines.read(head)
                    if read is not None:
                        known, again = read
                        if again and known.length == len(data) - begin:
                            known_heads.keep(head, known)
                if known is not None and known.length == len(data) - begin:
                    self._take_whole(sink, known, data[begin:])
                    return
            self._head_size = 0
            self._body_size = 0
        before = self._body_size
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as switch:
            self._switch(data[switch.args[0] :])
            return
        except httptools.HttpParserCallbackError as wrapped:
            self._stumble(wrapped.__context__ or wrapped)
            return
        except httptools.HttpParserError as problem:
            self._spoil(UpstreamError("protocol", "the upstream's answer is malformed", str(problem)))
            return
        if self._complete:
            # Only now: the sink's next request must not meet what else this piece may have held.
            if self._bodiless:
                end = data.find(b"\r\n\r\n")
                if end < 0 or end + 4 != len(data):
                    # Something followed the head, or may have: what llhttp made of it is none of an answer to HEAD.
                    self._reusable = False
            elif begin > 3 and self._coding is None and self._head.length == len(data) - begin:
                known_heads.keep(data[:begin], self._head)
                known_lines.learn(data[:begin], self._head)
            self._finish()
            return
        if self._in_head or self._body_size == before:
            # A head, chunk extensions or trailers may be long, but not without end.
            self._head_size += len(data)
            if self._head_size > HEAD_BYTES:
                self._give_up(UpstreamError("protocol", "the head of the upstream's answer is too long"))
                return
        if not self._in_head:
            idle = self.pool.timeouts.stream_idle
            if idle:
                self.deadline = self.pool.wheel.now + idle
            # May pause this connection.
            sink.flush()

    def _take_whole(self, sink: AnswerSink, head: AnswerHead, body: bytes) -> None:
        """An answer whose head is known, with its whole body. The parser stands where an answer begins, and stays."""
        self._in_head = False
        self._reusable = head.reusable
        try:
            sink.head(head)
            if body and self.sink is not None:
                sink.data(body)
        except Exception as mistake:
            self._stumble(mistake)
        else:
            self._finish()

    def _stumble(self, mistake: BaseException) -> None:
        """Something has been raised on the way of an answer."""
        if isinstance(mistake, UpstreamError):
            self._spoil(mistake)
        else:
            self.log.failure("handling an answer failed", Failure(mistake))
            self._give_up(UpstreamError("protocol", "the gateway failed to handle the upstream's answer"))

    def _spoil(self, reason: UpstreamError) -> None:
        """Something is wrong with what came; an answer that was complete before it still counts."""
        if self._complete:
            self._reusable = False
            self._finish()
        else:
            self._give_up(reason)

    def _give_up(self, reason: UpstreamError) -> None:
        self.trouble = reason
        self._fail(reason)
        self.abort()

    def on_message_begin(self) -> None:
        if self._complete:
            raise UpstreamError("protocol", "the upstream sent more than was asked for")
        self._in_head = True
        self._items = []
        self._fields = 0
        self._length = None
        self._coding = None
        self._options = None
        self._dated = False
        self._upgrade = None

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return
        key = name.lower()
        meaning = _MEANING.get(key)
        if meaning is None:
            self._items.append((key, name, value))
        elif meaning == _DATE:
            self._dated = True
            self._items.append((key, name, value))
        elif meaning == _LENGTH:
            self._length = int(value)
        elif meaning == _CODING:
            self._coding = value if self._coding is None else self._coding + b", " + value
        elif meaning == _CONNECTION:
            self._options = value if self._options is None else self._options + b", " + value
        elif key == b"upgrade":
            # Passed on with a 101 only.
            self._upgrade = (key, name, value)
        self._fields += 1
        if self._fields > HEAD_FIELDS:
            raise UpstreamError("protocol", "the upstream's answer has too many header fields")

    def on_headers_complete(self) -> None:
        sink = self.sink
        assert sink is not None
        status = self._status = self._parser.get_status_code()
        self._in_head = False
        version = self._parser.get_http_version()
        if version != "1.1" and version != "1.0":
            raise UpstreamError("protocol", "the upstream does not speak HTTP/1.1")
        items = self._items
        keep = version == "1.1"
        options = self._options
        if options is not None:
            options = options.lower()
            if options == b"keep-alive":
                keep = True
            elif options == b"close":
                keep = False
            else:
                named = {token.strip() for token in options.split(b",")}
                keep = (keep or b"keep-alive" in named) and b"close" not in named
                if status != 101:
                    items = [item for item in items if item[0] not in named]
        if status < 200:
            if status == 101:
                return
            if status < 100:
                raise UpstreamError("protocol", "the upstream's answer has an impossible status")
            if self._length or self._coding is not None:
                # RFC 9110, 15.2: an interim answer has no content; whatever follows would be taken for the final one.
                raise UpstreamError("protocol", "the upstream's interim answer has a body")
            sink.interim(status, items)
            return
        if status > 599:
            raise UpstreamError("protocol", "the upstream's answer has an impossible status")
        self._head_size = 0
        self.deadline = 0.0
        length = self._length
        self._until_close = False
        if self._coding is not None:
            if self._coding.strip().lower() != b"chunked" or version == "1.0":
                raise UpstreamError("protocol", "the upstream uses a transfer coding that is not known here")
            length = None
        elif length is None and not (self._bodiless or status == 204 or status == 304):
            self._until_close = True
            keep = False
        if status == 304 and any(item[0] == b"content-type" for item in items):
            # RFC 9110, 15.4.5: not of the representation that the client has. Some servers put it on everything.
            items = [item for item in items if item[0] != b"content-type"]
        self._reusable = keep
        self._head = head = AnswerHead(status, tuple(items), length, self._dated, keep)
        sink.head(head)
        if self._bodiless:
            self._complete = True

    def on_body(self, data: bytes) -> None:
        if self._complete:
            raise UpstreamError("protocol", "the upstream sent a body where none belongs")
        sink = self.sink
        if sink is None:
            raise UpstreamError("cancelled", "nobody wants the answer any more")
        self._body_size += len(data)
        sink.data(data)

    def on_message_complete(self) -> None:
        if self._status < 200:
            # Behind an interim answer the final one is awaited as before.
            self._in_head = True
            return
        self._complete = True

    def _finish(self) -> None:
        """The answer is complete."""
        self._complete = True
        self.deadline = 0.0
        if self._bodiless:
            # llhttp does not know that the request was a HEAD and waits for a body; it is thrown away instead.
            self._parser = httptools.HttpResponseParser(self)
        sink, self.sink = self.sink, None
        if sink is None:
            return
        if self._reusable and self.sent_all and not self._closing:
            # Into the pool before the sink hears of it: its next request may come in the same turn.
            self.pool.give_back(self)
        else:
            # Also after an early answer: what is left of the request has nowhere to go.
            self._hang_up()
        sink.end()

    def _switch(self, rest: bytes) -> None:
        """101: HTTP is over on this connection."""
        sink = self.sink
        if sink is None or self._status != 101:
            self._give_up(UpstreamError("protocol", "the upstream switched protocols without being asked"))
            return
        self.sink = None
        self.deadline = 0.0
        items = self._items if self._upgrade is None else [*self._items, self._upgrade]
        sink.switched(items, rest)
