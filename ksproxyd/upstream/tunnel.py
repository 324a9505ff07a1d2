"""Upgraded connections: once the backend has said 101, bytes and nothing else.

The request goes out on a fresh HTTP/1.1 connection with the same fields as any other (spec 01, 6.7 and 6.8), and is
dialled once. Each direction ends on its own; the tunnel is over when both have.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha1
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd.model.cross_origin import only_ours
from ksproxyd.model.message import Item
from ksproxyd.model.status import bad_gateway, internal
from ksproxyd.model.status_lines import status_line
from ksproxyd.transport.stream import Stream
from ksproxyd.upstream.answer import AnswerHead, field_lines
from ksproxyd.upstream.errors import UpstreamError
from ksproxyd.upstream.http1 import UpstreamConnection
from ksproxyd.upstream.plan import Plan, request_head

if TYPE_CHECKING:
    from ksproxyd.server.exchange import Exchange
    from ksproxyd.upstream.relay import Proxy

#: RFC 6455, 1.3.
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

_ENDED = ("the client ended it", "the backend ended it")


class Tunnel:
    """One upgrade, from the handshake to the last byte."""

    log = Logger()

    def __init__(self, proxy: Proxy, exchange: Exchange, plan: Plan, target: bytes, method: bytes) -> None:
        self.proxy = proxy
        self.exchange = exchange
        self.plan = plan
        self._head = request_head(exchange, plan, method, target, switching=True)
        self._bodiless = method == b"HEAD"
        self._dialing: Deferred[UpstreamConnection] | None = None
        self._backend: UpstreamConnection | None = None
        self._ends: tuple[_End, _End] | None = None
        self._relaying = False
        self._streaming = False
        self._begun = 0.0
        #: What brought the tunnel to its end, for the log and the audit record.
        self._why = ""

    def start(self) -> None:
        """Dial and send the handshake."""
        self._begun = self.proxy.clock.seconds()
        self.exchange.on_gone = self.cancel
        self._dialing = dialing = self.plan.pool.dial(fresh=True)
        dialing.addCallbacks(self._use, self._not_connected).addErrback(self._broken)

    def _not_connected(self, failure: Failure) -> None:
        if self._dialing is None:
            # Given up; whoever did it sees to the client.
            return
        self._dialing = None
        error = failure.value
        if isinstance(error, UpstreamError):
            self.failed(error)
        else:
            self._broken(failure)

    def _broken(self, failure: Failure) -> None:
        """A mistake of our own must not leave the client waiting."""
        self.log.failure("an upgrade failed", failure)
        if self._ends is not None:
            self.over()
            return
        self.cancel()
        if not self.exchange.finished:
            if self.exchange.status:
                self.exchange.abort()
            else:
                self.exchange.refuse(internal("the gateway failed to forward the request"))

    def _use(self, connection: UpstreamConnection) -> None:
        self._dialing = None
        self._backend = connection
        connection.begin(self, self._head, bodiless=self._bodiless, complete=True)

    def cancel(self) -> None:
        """The client left before the handshake was over."""
        dialing, self._dialing = self._dialing, None
        if dialing is not None:
            dialing.cancel()
        backend, self._backend = self._backend, None
        if backend is not None:
            backend.release()
        self._done()

    def _done(self) -> None:
        if self.plan.policy is not None:
            self.plan.policy.done(self.exchange)

    def _answered(self, status: int) -> None:
        seconds = self.exchange.upstream_seconds = self.proxy.clock.seconds() - self._begun
        if self.plan.cell is not None:
            self.plan.cell.answered(status, seconds)
        if self.plan.policy is not None:
            self.plan.policy.answered(self.exchange, status)

    # -- the backend's answer to the handshake ---------------------------------------------------------

    def interim(self, status: int, items: list[Item]) -> None:
        """Of no use to a client that waits for a handshake's answer."""

    def head(self, head: AnswerHead) -> None:
        exchange = self.exchange
        status, items, length, dated = head.status, head.items, head.length, head.dated
        self._answered(status)
        exchange.keep_alive = False
        if status < 400:
            backend, self._backend = self._backend, None
            assert backend is not None
            backend.release()
            message = f"Error while proxying request: invalid upgrade response: status code {status}"
            self._done()
            exchange.refuse(bad_gateway(message))
            return
        self._relaying = True
        if self.plan.down is not None:
            items = tuple(self.plan.down.apply(list(items)))
            dated = any(item[0] == b"date" for item in items)
        if self._bodiless and exchange.method != "HEAD":
            length = 0
        if exchange.extra_headers is not None:
            items = only_ours(items, exchange.extra_headers)
        exchange.start_lines(status, field_lines(items), length, dated)

    def data(self, data: bytes) -> None:
        self.exchange.write(data)

    def flush(self) -> None:
        if self._relaying:
            if not self._streaming:
                self._streaming = True
                self.exchange.set_producer(self)
            self.exchange.flush()

    def end(self) -> None:
        self._backend = None
        self._done()
        if self._relaying:
            self.exchange.finish()

    def failed(self, reason: UpstreamError) -> None:
        self._backend = None
        if self.plan.policy is not None:
            self.plan.policy.failed(self.exchange, reason.kind, reason.message)
        self._done()
        self.proxy.failed(self.exchange, self.plan, reason)

    def pauseProducing(self) -> None:
        if self._backend is not None:
            self._backend.pause()

    def resumeProducing(self) -> None:
        if self._backend is not None:
            self._backend.resume()

    def stopProducing(self) -> None:
        """The client's transport is gone; :meth:`cancel` comes through the exchange."""

    # -- after 101 -------------------------------------------------------------------------------------

    def switched(self, items: list[Item], rest: bytes) -> None:
        self._answered(101)
        wrong = handshake_problem(self.exchange, items, proven=self.plan.proven)
        if wrong:
            backend, self._backend = self._backend, None
            assert backend is not None
            backend.release()
            self._done()
            self.exchange.keep_alive = False
            self.exchange.refuse(bad_gateway(f"Error while proxying request: invalid upgrade response: {wrong}"))
            return
        try:
            self._join(items, rest)
        except Exception:
            # The connection has handed itself over; nobody else would tell the client.
            self._broken(Failure())

    def _join(self, items: list[Item], rest: bytes) -> None:
        backend = self._backend
        assert backend is not None
        exchange = self.exchange
        if self.plan.down is not None:
            items = self.plan.down.apply(items)
        lines = [status_line(101), b"Connection: Upgrade\r\n"]
        for _, name, value in items:
            lines += (name, b": ", value, b"\r\n")
        lines.append(b"\r\n")
        client = exchange.hijack(b"".join(lines))
        exchange.on_gone = None
        near, far = _End(self, client, 0), _End(self, backend, 1)
        near.other, far.other = far, near
        self._backend = None
        self._ends = near, far
        self.proxy.tunnels.add(self)
        self.proxy.tunnels_opened += 1
        client.take_over(near)
        backend.take_over(far)
        client.set_producer(far)
        backend.set_producer(near)
        near.touch()
        early = exchange.leftover()
        if early:
            near.received(early)
        if rest:
            far.received(rest)

    @property
    def open(self) -> bool:
        """Whether bytes may still pass."""
        return self._ends is not None

    def over(self) -> None:
        """Both directions have ended."""
        if self._ends is None:
            return
        near, far = self._ends
        self._ends = None
        self.exchange.notes = {**(self.exchange.notes or {}), "ended": self._why or "the gateway ended it"}
        self.proxy.tunnels.discard(self)
        self.exchange.received = near.carried
        self.exchange.sent = far.carried
        for end in (near, far):
            end.stream.deadline = self.plan.pool.wheel.now + self.plan.pool.timeouts.linger
            end.stream.close()
        self._done()
        self.exchange.tunnel_closed()

    def because(self, why: str) -> None:
        """The tunnel comes to its end; the first reason is the one."""
        self._why = self._why or why

    def close(self) -> None:
        """End the tunnel from outside (its user lost the right to it, or the gateway is going away)."""
        self.over()


class _End:
    """One end of a tunnel: reads its stream and writes to the other's (a receiver and a producer)."""

    __slots__ = ("_direction", "_totals", "carried", "done", "other", "stream", "tunnel")

    other: _End

    def __init__(self, tunnel: Tunnel, stream: Stream, direction: int) -> None:
        self.tunnel = tunnel
        self.stream = stream
        self._totals = tunnel.proxy.tunnel_bytes
        self._direction = direction
        #: Bytes read from this end.
        self.carried = 0
        #: This end has finished sending.
        self.done = False

    def touch(self) -> None:
        """Something moved: the tunnel is not idle."""
        pool = self.tunnel.plan.pool
        timeouts = pool.timeouts
        idle = timeouts.tunnel_idle
        half = timeouts.tunnel_half_closed
        if half and (self.done or self.other.done):
            # Spec 05, 11.3: half a tunnel is seldom worth as long a wait as a whole one.
            idle = min(idle or half, half)
        deadline = pool.wheel.now + idle if idle else 0.0
        self.stream.deadline = deadline
        self.other.stream.deadline = deadline

    def received(self, data: bytes) -> None:
        size = len(data)
        self.carried += size
        # Counted as it passes: tunnels last for hours, and their bytes are to be seen before they end.
        self._totals[self._direction] += size
        self.touch()
        self.other.stream.send(data)

    def ended(self) -> None:
        if self.done:
            # TLS that goes on behind its own goodbye.
            return
        self.done = True
        self.tunnel.because(_ENDED[self._direction])
        if self.other.done:
            self.tunnel.over()
        else:
            # A peer that has got the end and does not end itself is often not there any more.
            self.touch()
            self.other.stream.half_close()

    def lost(self, reason: Failure) -> None:
        # A reset, or the end of an end that had finished: nothing can be written to it any more.
        self.done = True
        self.tunnel.because(_ENDED[self._direction])
        self.tunnel.over()

    def idle_timeout(self) -> None:
        if self.tunnel.open:
            self.tunnel.because("nothing moved")
            self.tunnel.over()
        else:
            # Closed, but the peer does not take what is queued.
            self.stream.abort()

    def pauseProducing(self) -> None:
        self.stream.pause()

    def resumeProducing(self) -> None:
        self.stream.resume()

    def stopProducing(self) -> None:
        """The other stream's transport is gone; its own end is told."""


def accept_of(key: bytes) -> bytes:
    """The ``Sec-WebSocket-Accept`` that goes with a ``Sec-WebSocket-Key`` (RFC 6455, 4.2.2)."""
    return b64encode(sha1(key + _GUID, usedforsecurity=False).digest())


def handshake_problem(exchange: Exchange, items: list[Item], *, proven: bool) -> str:
    """What is wrong with a 101 that has the fields ``items``; empty if nothing is (spec 05, 11.3).

    A backend that switches to something else than was asked for has not read the request as we have. With ``proven``
    it must also prove that.
    """
    fields = {key: value for key, _, value in items}
    offered = (exchange.upgrade or b"").lower()
    chosen = fields.get(b"upgrade", b"").strip().lower()
    if chosen not in [each.strip() for each in offered.split(b",")]:
        return f"it switches to {chosen.decode('latin-1')[:40] or 'nothing'} instead of {offered.decode('latin-1')}"
    key = exchange.fields.get(b"sec-websocket-key")
    if not proven or chosen != b"websocket" or key is None:
        return ""
    good = fields.get(b"sec-websocket-accept", b"").strip() == accept_of(key.strip())
    return "" if good else "its Sec-WebSocket-Accept is not that of the request"
