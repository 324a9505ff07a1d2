"""The embedded API on exchanges: reads bodies, checks the token, and sends lists and watches as clients take them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd.model.message import Response
from ksproxyd.model.status import StatusError, internal, render, unauthorized
from ksproxyd.server.exchange import Exchange
from ksproxyd.standalone.access import Access
from ksproxyd.standalone.api import PUBLIC, StandaloneAPI
from ksproxyd.standalone.reading.watch import WatchStream
from ksproxyd.standalone.storage.checkpoints import Checkpoints
from ksproxyd.standalone.wire import bodies
from ksproxyd.standalone.wire.request import Reply, Request

#: The largest request body, in bytes; what kube-apiserver takes.
BODY_LIMIT = 3 * 1024 * 1024

#: YAML above this size is read in a thread.
_SLOW_YAML = 16 * 1024


class StandaloneNode:
    """Serves :class:`StandaloneAPI`. ``reactor`` gives time and threads."""

    log = Logger()

    def __init__(self, api: StandaloneAPI, access: Access, reactor: Any) -> None:
        self._api = api
        self._access = access
        self._reactor = reactor
        self._senders: set[_Sender] = set()
        self._checkpoints = Checkpoints(api.store.path, api.log, reactor) if api.store.path else None

    def describe(self) -> str:
        """One line for the listing of routes."""
        return "embedded Kubernetes API"

    def handle(self, exchange: Exchange) -> None:
        """Answer ``exchange``, now or later."""
        try:
            request = Request.of(exchange.method, exchange.path, exchange.query, exchange.fields)
            if not self._access.admits(request) and request.path.rstrip("/") not in PUBLIC:
                raise unauthorized("Unauthorized")
        except StatusError as error:
            self._refuse(exchange, error)
            return
        if exchange.length == 0:
            self._answer(exchange, request)
            return
        body = exchange.read_body(BODY_LIMIT)
        body.addCallback(self._with_body, exchange)
        body.addErrback(self._failed, exchange)

    def stop(self) -> Deferred[None] | None:
        """End all watches and lists. Fires when no thread uses the database any more; None if none does."""
        for sender in list(self._senders):
            sender.stop()
        return None if self._checkpoints is None else self._checkpoints.stop()

    # -- requests ------------------------------------------------------------------------------------------

    def _with_body(self, body: bytes, exchange: Exchange) -> Deferred[None] | None:
        request = Request.of(exchange.method, exchange.path, exchange.query, exchange.fields, body)
        if len(body) <= _SLOW_YAML or not bodies.is_yaml(bodies.content_type(request)):
            self._answer(exchange, request)
            return None
        pool = self._reactor.getThreadPool()
        parsed: Deferred[Any] = deferToThreadPool(self._reactor, pool, bodies.parse, body, True)
        parsed.addErrback(_unreadable)
        parsed.addCallback(self._parsed, exchange, body)
        return parsed

    def _parsed(self, document: Any, exchange: Exchange, body: bytes) -> None:
        request = Request.of(exchange.method, exchange.path, exchange.query, exchange.fields, body, document)
        self._answer(exchange, request)

    def _answer(self, exchange: Exchange, request: Request) -> None:
        if exchange.finished:
            return
        try:
            answer = self._api.handle(request)
        except StatusError as error:
            self._refuse(exchange, error)
            return
        except Exception:
            self._failed(Failure(), exchange)
            return
        if isinstance(answer, WatchStream):
            self._send(_WatchSender(exchange, answer, self))
        elif answer.chunks is not None:
            self._send(_ListSender(exchange, answer, answer.chunks, self))
        else:
            exchange.respond(Response(answer.status, answer.headers, answer.body))

    def _failed(self, failure: Failure, exchange: Exchange) -> None:
        if isinstance(failure.value, StatusError):
            self._refuse(exchange, failure.value)
            return
        text = "the embedded API failed to serve {exchange} (request {id})"
        self.log.failure(text, failure, exchange=exchange, id=exchange.id)
        self._refuse(exchange, internal(f"the embedded API failed; its log tells why (id {exchange.id})"))

    def _refuse(self, exchange: Exchange, error: StatusError) -> None:
        if exchange.finished or exchange.status:
            return
        fields = exchange.fields
        exchange.respond(render(error, fields.get(b"accept"), fields.get(b"user-agent"), exchange.query))

    def _send(self, sender: _Sender) -> None:
        self._senders.add(sender)
        sender.start()

    def later(self, sender: _Sender) -> None:
        """Have a sender go on in the next turn of the reactor: others want to be served too."""
        self._reactor.callLater(0, sender.go_on)

    def done(self, sender: _Sender) -> None:
        """A sender has finished, or its client has left."""
        self._senders.discard(sender)


def _unreadable(failure: Failure) -> bodies.Unreadable:
    failure.trap(ValueError)
    return bodies.Unreadable(str(failure.value))


class _Sender(ABC):
    """Sends an answer in pieces, as its client takes them."""

    def __init__(self, exchange: Exchange, node: StandaloneNode) -> None:
        self._exchange = exchange
        self._node = node
        self._paused = False
        self._over = False

    @abstractmethod
    def start(self) -> None:
        """Begin the answer."""

    @abstractmethod
    def go_on(self) -> None:
        """Send what there is."""

    @abstractmethod
    def release(self) -> None:
        """Let go of what the answer is made from."""

    def begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self._exchange.on_gone = self._gone
        self._exchange.set_producer(self)
        self._exchange.start(status, headers, None)
        self._exchange.flush()

    def stop(self) -> None:
        """End the answer as it is."""
        if not self._over:
            self._end()
            self._exchange.finish()

    def _end(self) -> None:
        self._over = True
        self.release()
        self._node.done(self)

    def _gone(self) -> None:
        if not self._over:
            self._end()

    def pauseProducing(self) -> None:
        """The client does not keep up."""
        self._paused = True

    def resumeProducing(self) -> None:
        """The client keeps up again."""
        self._paused = False
        if not self._over:
            self._node.later(self)

    def stopProducing(self) -> None:
        """The connection is gone; :meth:`_gone` is called too."""
        self._paused = True


class _ListSender(_Sender):
    """A list that is too long for one piece."""

    def __init__(self, exchange: Exchange, reply: Reply, chunks: Iterator[bytes], node: StandaloneNode) -> None:
        super().__init__(exchange, node)
        self._reply = reply
        self._chunks = chunks

    def start(self) -> None:
        self.begin(self._reply.status, self._reply.headers)
        self.go_on()

    def go_on(self) -> None:
        if self._over or self._paused:
            return
        try:
            chunk = next(self._chunks, None)
        except Exception:
            StandaloneNode.log.failure("a list for {exchange} broke off", exchange=self._exchange)
            self._end()
            self._exchange.abort()
            return
        if chunk is None:
            self.stop()
            return
        self._exchange.write(chunk)
        self._exchange.flush()
        if not self._paused:
            self._node.later(self)

    def release(self) -> None:
        close = getattr(self._chunks, "close", None)
        if close is not None:
            close()


class _WatchSender(_Sender):
    """A watch. It costs nothing while nothing happens: the stream calls when there is something to send."""

    def __init__(self, exchange: Exchange, stream: WatchStream, node: StandaloneNode) -> None:
        super().__init__(exchange, node)
        self._stream = stream

    def start(self) -> None:
        self.begin(self._stream.status, self._stream.headers)
        self._stream.on_ready = self.go_on
        self.go_on()

    def go_on(self) -> None:
        if self._over or self._paused:
            return
        data = self._stream.read()
        if data:
            self._exchange.write(data)
            self._exchange.flush()
        if self._stream.ended:
            self.stop()
        elif data and not self._paused:
            self._node.later(self)

    def release(self) -> None:
        self._stream.close()
