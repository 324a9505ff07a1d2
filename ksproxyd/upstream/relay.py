"""A request and its answer, passed between a client and a backend as they come.

Nothing is collected: bodies go both ways in the pieces they arrive in, and whoever reads too slowly stops the other
side's reading. When everything is at hand (a warm connection, a short answer) no Deferred and no timer is made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd.model.cross_origin import only_ours
from ksproxyd.model.message import Item, Response
from ksproxyd.model.status import StatusError, bad_gateway, gateway_timeout, internal, method_not_allowed
from ksproxyd.upstream.answer import AnswerHead, field_lines
from ksproxyd.upstream.errors import UpstreamError
from ksproxyd.upstream.filtered import FilteredBody, FilterTurns
from ksproxyd.upstream.http1 import UpstreamConnection
from ksproxyd.upstream.plan import Answer, Plan, request_head
from ksproxyd.upstream.tunnel import Tunnel

if TYPE_CHECKING:
    from ksproxyd.server.exchange import Exchange

#: RFC 9110, 9.2.2; sent again only when an idle connection died under them without a byte of an answer.
_IDEMPOTENT = frozenset([b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"])

_PASSED_ON = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


class Proxy:
    """Forwards exchanges. One for the gateway.

    ``monotonic`` measures how long rewriting takes, in seconds; without it that is the clock's business, too.
    """

    def __init__(self, clock: IReactorTime, monotonic: Callable[[], float] | None = None) -> None:
        self.clock = clock
        self.turns = FilterTurns(clock, monotonic or clock.seconds)
        self.tunnels: set[Tunnel] = set()
        self.tunnels_opened = 0
        #: Bytes that tunnels have carried so far, from clients and to clients.
        self.tunnel_bytes = [0, 0]
        #: Requests sent once more because an idle connection was closed under them.
        self.retries = 0

    def forward(self, exchange: Exchange, plan: Plan, target: bytes, method: bytes | None = None) -> Response | None:
        """Send ``exchange`` by ``plan`` as ``method`` ``target`` and see to its answer.

        May be called once for an exchange, before anything has been answered. Returns None; a refusal by the plan's
        policy is raised as :class:`StatusError`.
        """
        if exchange.method == "TRACE":
            # The backend would send back what the client must not see, such as the gateway's own credentials.
            raise method_not_allowed(_PASSED_ON)
        policy = plan.policy
        if policy is not None:
            refusal = policy.admit(exchange)
            if refusal is not None:
                raise refusal
        exchange.node = plan.name
        carrier: Relay | Tunnel | None = None
        try:
            kind = Relay if exchange.upgrade is None else Tunnel
            carrier = kind(self, exchange, plan, target, method or exchange.method.encode())
            carrier.start()
        except Exception:
            # Whoever called answers; what was admitted and begun must not outlive that.
            if carrier is not None:
                carrier.cancel()
            elif policy is not None:
                policy.done(exchange)
            raise
        return None

    def failed(self, exchange: Exchange, plan: Plan, reason: UpstreamError) -> None:
        """Account for a failure and answer with it, if it is not too late for that."""
        if plan.cell is not None:
            plan.cell.failed(reason.kind)
        Relay.log.info(
            "{node}: {kind}: {detail} (request {id})",
            node=plan.name,
            kind=reason.kind,
            detail=reason.detail,
            id=exchange.id,
        )
        if exchange.status:
            exchange.abort()
            return
        message = f"Error while proxying request: {reason.message}"
        exchange.refuse(gateway_timeout(message) if reason.kind == "timeout" else bad_gateway(message))


class Relay:
    """One exchange on its way (an :class:`~ksproxyd.upstream.http1.AnswerSink`)."""

    log = Logger()

    __slots__ = (
        "_begun",
        "_dialing",
        "_filtered",
        "_head",
        "_method",
        "_retried",
        "_streaming",
        "_upload",
        "connection",
        "exchange",
        "plan",
        "proxy",
    )

    def __init__(self, proxy: Proxy, exchange: Exchange, plan: Plan, target: bytes, method: bytes) -> None:
        self.proxy = proxy
        self.exchange = exchange
        self.plan = plan
        self._method = method
        self._head = request_head(exchange, plan, method, target)
        self.connection: UpstreamConnection | None = None
        self._dialing: Deferred[UpstreamConnection] | None = None
        self._upload: Upload | None = None
        self._filtered: FilteredBody | None = None
        self._streaming = False
        self._retried = False

    def start(self) -> None:
        """Send the request, on an idle connection or a new one."""
        self.exchange.on_gone = self.cancel
        self._begun = self.proxy.clock.seconds()
        connection = self.plan.pool.take()
        if connection is not None:
            self._use(connection)
        else:
            self._dial()

    def _dial(self, fresh: bool = False) -> None:
        # Kept before the callbacks are added: they may be called at once.
        self._dialing = dialing = self.plan.pool.dial(fresh)
        dialing.addCallbacks(self._use, self._not_connected).addErrback(self.broken)

    def broken(self, failure: Failure) -> None:
        """A mistake of our own must not leave the client waiting."""
        self.log.failure("forwarding {exchange} failed", failure, exchange=self.exchange)
        self.cancel()
        if not self.exchange.finished:
            if self.exchange.status:
                self.exchange.abort()
            else:
                self.exchange.refuse(internal("the gateway failed to forward the request"))

    def _not_connected(self, failure: Failure) -> None:
        if self._dialing is None:
            # Given up; whoever did it sees to the client.
            return
        self._dialing = None
        error = failure.value
        if isinstance(error, UpstreamError):
            self.give_up(error)
        else:
            self.broken(failure)

    def _use(self, connection: UpstreamConnection) -> None:
        self._dialing = None
        exchange = self.exchange
        self.connection = connection
        length = exchange.length
        connection.begin(self, self._head, bodiless=self._method == b"HEAD", complete=not length)
        if length:
            self._upload = upload = Upload(self.proxy.clock, exchange, connection)
            if exchange.wants_continue:
                upload.wait(connection.pool.timeouts.expect_continue)
            else:
                upload.start()

    def cancel(self) -> None:
        """The client is gone, or has its answer already: nobody waits for the backend any more."""
        dialing, self._dialing = self._dialing, None
        if dialing is not None:
            dialing.cancel()
        self._stop_upload()
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.release()
        if self._filtered is not None:
            self._filtered.close()
        if self.plan.policy is not None:
            self.plan.policy.done(self.exchange)

    def _stop_upload(self) -> None:
        if self._upload is not None:
            self._upload.stop()
            self._upload = None

    # -- the answer ------------------------------------------------------------------------------------

    def interim(self, status: int, items: list[Item]) -> None:
        if status == 100:
            if self._upload is not None:
                self._upload.start()
            return
        self.exchange.interim(status, field_lines(items))

    def head(self, head: AnswerHead) -> None:
        exchange = self.exchange
        plan = self.plan
        status = head.status
        seconds = exchange.upstream_seconds = self.proxy.clock.seconds() - self._begun
        if plan.cell is not None:
            plan.cell.answered(status, seconds)
        if plan.policy is not None:
            plan.policy.answered(exchange, status)
        if self._upload is not None and not self._upload.started:
            # The backend has decided without the body, and nobody is to be asked for it any more.
            self._stop_upload()
        changed = plan.changed
        if changed is None or status in changed or exchange.extra_headers is not None or self._method == b"HEAD":
            self._start_changed(head)
        else:
            exchange.start_lines(status, head.lines, head.length, head.dated, head.whole)

    def _start_changed(self, head: AnswerHead) -> None:
        """Begin the answer where the client may not get the head that has come."""
        exchange = self.exchange
        answer = Answer(head.status, list(head.items), head.length, head.dated)
        changed = self.plan.changed
        if (changed is None or head.status in changed) and not self._change(answer):
            return
        if self._method == b"HEAD" and exchange.method != "HEAD":
            # A rule has made a HEAD of it: the body that the client is entitled to is an empty one.
            answer.length = None if answer.status == 304 else 0
        items = tuple(answer.items)
        if exchange.extra_headers is not None:
            items = only_ours(items, exchange.extra_headers)
        exchange.start_lines(answer.status, field_lines(items), answer.length, answer.dated)

    def _change(self, answer: Answer) -> bool:
        """Apply the plan's hook and header rules; False when another answer has been given instead."""
        plan = self.plan
        try:
            if plan.on_answer is not None and (plan.on_statuses is None or answer.status in plan.on_statuses):
                plan.on_answer(self.exchange, answer)
        except StatusError as error:
            assert self.connection is not None
            self._stop_upload()
            self.connection.release()
            self.connection = None
            if plan.policy is not None:
                plan.policy.done(self.exchange)
            self.exchange.refuse(error)
            return False
        if plan.down is not None:
            answer.items = plan.down.apply(answer.items)
            answer.dated = any(item[0] == b"date" for item in answer.items)
        if answer.body is not None:
            self._filtered = FilteredBody(self, answer.body, self.proxy.turns)
            answer.length = None
        return True

    def data(self, data: bytes) -> None:
        if self._filtered is not None:
            self._filtered.data(data)
        else:
            self.exchange.write(data)

    def flush(self) -> None:
        if self._filtered is not None:
            self._filtered.flush()
        else:
            self.send()

    def send(self) -> None:
        """Let the client have what has been written."""
        if not self._streaming:
            self._streaming = True
            self.exchange.set_producer(self)
        self.exchange.flush()

    def end(self) -> None:
        self.connection = None
        if self._upload is not None:
            self._stop_upload()
        if self._filtered is not None:
            self._filtered.end()
        else:
            self.finish()

    def finish(self) -> None:
        """The answer is complete as the client gets it."""
        if self.plan.policy is not None:
            self.plan.policy.done(self.exchange)
        self.exchange.finish()

    def switched(self, items: list[Item], rest: bytes) -> None:
        connection, self.connection = self.connection, None
        assert connection is not None
        connection.abort()
        self.failed(UpstreamError("protocol", "the upstream switched protocols without being asked"))

    def failed(self, reason: UpstreamError) -> None:
        connection, self.connection = self.connection, None
        exchange = self.exchange
        if (
            connection is not None
            and reason.kind == "closed"
            and connection.served > 1
            and not connection.answered
            and not self._retried
            and not exchange.length
            and self._method in _IDEMPOTENT
        ):
            # The idle connection was closed under the request. A fresh one cannot be stale.
            self._retried = True
            self.proxy.retries += 1
            self._dial(fresh=True)
            return
        if self._filtered is not None:
            # What has come goes out first.
            self._stop_upload()
            self._filtered.failed(reason)
        else:
            self.give_up(reason)

    def give_up(self, reason: UpstreamError) -> None:
        """There will be no (complete) answer from the backend."""
        self._stop_upload()
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.release()
        policy = self.plan.policy
        if policy is not None:
            policy.failed(self.exchange, reason.kind, reason.message)
            policy.done(self.exchange)
        self.proxy.failed(self.exchange, self.plan, reason)

    # -- the answer's flow (the client's connection says when) -----------------------------------------

    def pauseProducing(self) -> None:
        if self._filtered is not None:
            self._filtered.pause()
        self.hold()

    def resumeProducing(self) -> None:
        if self._filtered is None or self._filtered.resume():
            self.read_on()

    def hold(self) -> None:
        """Read no more of the answer for now."""
        if self.connection is not None:
            self.connection.pause()

    def read_on(self) -> None:
        """Go on reading after :meth:`hold`."""
        if self.connection is not None:
            self.connection.resume()

    def stopProducing(self) -> None:
        """The client's transport is gone; :meth:`cancel` comes through the exchange."""


class Upload:
    """A request's body on its way to a backend (a :class:`~ksproxyd.server.exchange.BodySink`)."""

    __slots__ = ("_chunked", "_clock", "_connection", "_exchange", "_timer", "started")

    def __init__(self, clock: IReactorTime, exchange: Exchange, connection: UpstreamConnection) -> None:
        self._clock = clock
        self._exchange = exchange
        self._connection = connection
        self._chunked = exchange.length < 0
        #: The body has been asked for, or will not be any more.
        self.started = False
        self._timer: IDelayedCall | None = None

    def wait(self, seconds: float) -> None:
        """Hold the body back until the backend wants it, but no longer than ``seconds`` (RFC 9110, 10.1.1)."""
        self._timer = self._clock.callLater(seconds, self.start)

    def start(self) -> None:
        """Ask for the body and send it."""
        if self.started:
            return
        self.started = True
        self._cancel_timer()
        self._connection.set_producer(self)
        self._exchange.send_body_to(self)

    def stop(self) -> None:
        """The body is not wanted (any more)."""
        self.started = True
        self._cancel_timer()
        self._exchange.sink = None
        if not self._exchange.body_done:
            self._exchange.pause_body()

    def _cancel_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def body_data(self, data: bytes) -> None:
        if self._chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self._connection.send(data)

    def body_end(self) -> None:
        if self._chunked:
            self._connection.send(b"0\r\n\r\n")
        self._connection.clear_producer()
        self._connection.request_sent()

    def body_aborted(self) -> None:
        """Cleaning up is the relay's: it hears of it through ``on_gone``."""

    def pauseProducing(self) -> None:
        self._exchange.pause_body()
        self._connection.expect_head(True)

    def resumeProducing(self) -> None:
        self._connection.expect_head(False)
        self._exchange.resume_body()

    def stopProducing(self) -> None:
        """The backend's transport is gone; the relay is told by the connection."""
