"""Requests of our own: to the Kubernetes API, to probes, to extensions' documents.

The same connections and parser as the relay's. Nothing here is on a proxied request's way.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd.model.message import Fields, Item
from ksproxyd.upstream.answer import AnswerHead
from ksproxyd.upstream.errors import UpstreamError
from ksproxyd.upstream.http1 import UpstreamConnection
from ksproxyd.upstream.pools import Pools
from ksproxyd.upstream.target import Target


class Answer:
    """A complete answer."""

    __slots__ = ("body", "fields", "status")

    def __init__(self, status: int, fields: Fields, body: bytes) -> None:
        self.status = status
        self.fields = fields
        self.body = body


class StreamSink(Protocol):
    """Takes a streamed answer."""

    def head(self, status: int, fields: Fields) -> None: ...

    def data(self, data: bytes) -> None: ...

    def end(self) -> None: ...

    def failed(self, error: UpstreamError) -> None: ...


class Client:
    """Makes requests over the gateway's pools."""

    def __init__(self, pools: Pools, clock: IReactorTime) -> None:
        self._pools = pools
        self._clock = clock

    def request(
        self,
        target: Target,
        method: bytes,
        path: bytes,
        headers: Iterable[tuple[bytes, bytes]] = (),
        body: bytes = b"",
        *,
        timeout: float,
        limit: int,
    ) -> Deferred[Answer]:
        """Send a request and wait for the complete answer, at most ``timeout`` seconds and ``limit`` body bytes.

        Fails with :class:`UpstreamError`. Cancelling the Deferred ends the request (kind ``cancelled``).
        """
        collector = _Collector(limit)
        collector.stream = stream = self._make(target, method, path, headers, body, collector)

        def expired() -> None:
            stream.cancel()
            collector.failed(UpstreamError("timeout", f"no complete answer within {timeout:g} seconds"))

        timer: IDelayedCall = self._clock.callLater(timeout, expired)

        def over(result: Answer | Failure) -> Answer | Failure:
            if timer.active():
                timer.cancel()
            if isinstance(result, Failure) and result.check(CancelledError):
                return Failure(UpstreamError("cancelled", "the request was given up"))
            return result

        collector.done.addBoth(over)
        stream.start()
        return collector.done

    def stream(
        self,
        target: Target,
        method: bytes,
        path: bytes,
        headers: Iterable[tuple[bytes, bytes]],
        body: bytes,
        sink: StreamSink,
    ) -> ClientStream:
        """Send a request and hand the answer to ``sink`` as it comes. The head may come before this returns.

        A ``Host`` among ``headers`` takes the place of the target's own.
        """
        stream = self._make(target, method, path, headers, body, sink)
        stream.start()
        return stream

    def _make(
        self,
        target: Target,
        method: bytes,
        path: bytes,
        headers: Iterable[tuple[bytes, bytes]],
        body: bytes,
        sink: StreamSink,
    ) -> ClientStream:
        host = target.host_field
        lines: list[bytes] = []
        for name, value in headers:
            if name.lower() == b"host":
                host = value
            else:
                lines += (name, b": ", value, b"\r\n")
        if body or method in (b"POST", b"PUT", b"PATCH"):
            lines.append(b"Content-Length: %d\r\n" % len(body))
        lines += (b"\r\n", body)
        # RFC 9110, 7.2: the first field, so that whoever reads the head knows at once what it is about.
        start = b"%b %b HTTP/1.1\r\nHost: %b\r\n" % (method, path, host)
        return ClientStream(self._pools, target, method, start + b"".join(lines), sink)


class ClientStream:
    """One request in progress (an :class:`~ksproxyd.upstream.http1.AnswerSink`)."""

    log = Logger()

    def __init__(self, pools: Pools, target: Target, method: bytes, payload: bytes, sink: StreamSink) -> None:
        self._pools = pools
        self._target = target
        self._method = method
        self._payload = payload
        self._sink: StreamSink | None = sink
        self._connection: UpstreamConnection | None = None
        self._dialing: Deferred[UpstreamConnection] | None = None
        self._retried = False

    def start(self) -> None:
        """Send the request."""
        pool = self._pools.get(self._target)
        connection = pool.take()
        if connection is not None:
            self._use(connection)
        else:
            self._dial()

    def _dial(self, fresh: bool = False) -> None:
        # Kept before the callbacks are added: they may be called at once.
        self._dialing = dialing = self._pools.get(self._target).dial(fresh)
        dialing.addCallbacks(self._use, self._not_connected).addErrback(self._broken)

    def _use(self, connection: UpstreamConnection) -> None:
        self._dialing = None
        self._connection = connection
        connection.begin(self, self._payload, bodiless=self._method == b"HEAD", complete=True)

    def _not_connected(self, failure: Failure) -> None:
        self._dialing = None
        error = failure.value
        if isinstance(error, UpstreamError):
            self._fail(error)
        else:
            self._broken(failure)

    def _broken(self, failure: Failure) -> None:
        """A mistake of our own must not leave the sink waiting."""
        self.log.failure("a request to {target} failed", failure, target=self._target)
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.release()
        self._fail(UpstreamError("protocol", "the gateway failed to make the request"))

    def cancel(self) -> None:
        """Give the request up; the sink hears nothing more."""
        self._sink = None
        dialing, self._dialing = self._dialing, None
        if dialing is not None:
            dialing.cancel()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.release()

    def pause(self) -> None:
        """Stop reading the answer for a while."""
        if self._connection is not None:
            self._connection.pause()

    def resume(self) -> None:
        """Go on reading."""
        if self._connection is not None:
            self._connection.resume()

    def _fail(self, error: UpstreamError) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.failed(error)

    # -- the answer ------------------------------------------------------------------------------------

    def interim(self, status: int, items: list[Item]) -> None:
        """Of no interest."""

    def head(self, head: AnswerHead) -> None:
        if self._sink is not None:
            fields = Fields()
            fields.items = head.items
            self._sink.head(head.status, fields)

    def data(self, data: bytes) -> None:
        if self._sink is not None:
            self._sink.data(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def end(self) -> None:
        self._connection = None
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.end()

    def switched(self, items: list[Item], rest: bytes) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()
        self._fail(UpstreamError("protocol", "the upstream switched protocols without being asked"))

    def failed(self, reason: UpstreamError) -> None:
        connection, self._connection = self._connection, None
        if (
            connection is not None
            and reason.kind == "closed"
            and connection.served > 1
            and not connection.answered
            and not self._retried
            and self._sink is not None
            and self._method in (b"GET", b"HEAD")
        ):
            self._retried = True
            self._dial(fresh=True)
            return
        self._fail(reason)


class _Collector:
    """A sink that gathers an answer up to a limit."""

    def __init__(self, limit: int) -> None:
        self.done: Deferred[Answer] = Deferred(self._cancelled)
        self.stream: ClientStream | None = None
        self._limit = limit
        self._status = 0
        self._fields = Fields()
        self._parts: list[bytes] = []
        self._size = 0
        self._over = False

    def _cancelled(self, _: Deferred[Answer]) -> None:
        self._over = True
        if self.stream is not None:
            self.stream.cancel()

    def head(self, status: int, fields: Fields) -> None:
        self._status = status
        self._fields = fields

    def data(self, data: bytes) -> None:
        if self._over:
            return
        self._size += len(data)
        if self._size > self._limit:
            error = UpstreamError("protocol", f"the answer is longer than {self._limit} bytes")
            if self.stream is not None:
                self.stream.cancel()
            self.failed(error)
        else:
            self._parts.append(data)

    def end(self) -> None:
        if not self._over:
            self._over = True
            self.done.callback(Answer(self._status, self._fields, b"".join(self._parts)))

    def failed(self, error: UpstreamError) -> None:
        if not self._over:
            self._over = True
            self._parts.clear()
            self.done.errback(error)
