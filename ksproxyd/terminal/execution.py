"""One exec in a container: a WebSocket to the API server, dialled once (spec 05, 10).

::

    request   GET …/pods/web-0/exec?command=bash&stdin=true&stdout=true&tty=true   Sec-WebSocket-Protocol: v5…, v4…
    answer    101, one of the two protocols; anything else is the end
    then      binary messages, the first byte names the channel (:mod:`.channels`); channel 3 says how it ended
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import quote

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd.model.message import Item
from ksproxyd.terminal import channels
from ksproxyd.terminal.exit_status import LOST, NOT_STARTED, REFUSED, Ended, read_status
from ksproxyd.terminal.frames import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    Frame,
    FrameError,
    Reader,
    close_payload,
    frame,
)
from ksproxyd.transport.stream import Stream
from ksproxyd.upstream.answer import AnswerHead
from ksproxyd.upstream.errors import UpstreamError
from ksproxyd.upstream.http1 import UpstreamConnection
from ksproxyd.upstream.pool import Pool
from ksproxyd.upstream.pools import Pools
from ksproxyd.upstream.target import Target
from ksproxyd.upstream.tunnel import accept_of

#: Seconds without a byte behind a process's end after which nothing more of it is expected.
QUIET = 0.5

#: Most of a refusal's body that is kept, in bytes.
_REFUSAL = 16 * 1024


class ExecRequest(msgspec.Struct, frozen=True):
    """What is to run where. ``command`` is the program with its arguments; no shell looks at them."""

    namespace: str
    pod: str
    container: str
    command: tuple[str, ...]
    stdin: bool = True
    stdout: bool = True
    stderr: bool = False
    tty: bool = True

    def target(self) -> str:
        """Path and query of the request."""
        options = [("command", each) for each in self.command]
        options.append(("container", self.container))
        options += [(name, "true") for name in ("stdin", "stdout", "stderr", "tty") if getattr(self, name)]
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in options if value)
        return f"/api/v1/namespaces/{quote(self.namespace, safe='')}/pods/{quote(self.pod, safe='')}/exec?{query}"


class Output(Protocol):
    """Who hears of an exec. Nothing is said after :meth:`ended`, which comes exactly once."""

    def started(self) -> None:
        """The cluster has agreed; whether the program is there is not known yet."""

    def output(self, data: bytes, stderr: bool) -> None:
        """Bytes of the process."""

    def ended(self, result: Ended) -> None:
        """How it ended."""


class Access(Protocol):
    """Where the API server is and who we are there (:class:`ksproxyd.kube.access.ClusterAccess`)."""

    path_prefix: bytes

    @property
    def target(self) -> Target: ...

    def headers(self) -> tuple[tuple[bytes, bytes], ...]: ...

    def subscribe(self, callback: Callable[[Target, Target], None]) -> Callable[[], None]: ...


class Executions:
    """Begins execs. ``random_bytes(n)`` are unpredictable; times are seconds. :meth:`stop` at the end."""

    def __init__(
        self,
        clock: IReactorTime,
        pools: Pools,
        access: Access,
        random_bytes: Callable[[int], bytes],
        *,
        start_timeout: float,
        ping_interval: float,
        pong_timeout: float,
    ) -> None:
        self.clock = clock
        self.random_bytes = random_bytes
        self.start_timeout = start_timeout
        self.ping_interval = ping_interval
        self.pong_timeout = pong_timeout
        self._pools = pools
        self._access = access
        self._pool = pools.hold(access.target)
        self._unsubscribe = access.subscribe(self._retarget)
        #: Execs that are going on.
        self.open: set[Execution] = set()

    def stop(self) -> None:
        """Begin nothing more, and let go of what goes on."""
        for execution in tuple(self.open):
            execution.close()
        self._unsubscribe()
        self._pools.release(self._pool.target)

    def _retarget(self, old: Target, new: Target) -> None:
        self._pool = self._pools.hold(new)
        self._pools.release(old)

    def begin(self, request: ExecRequest, output: Output) -> Execution:
        """Run ``request``; everything that becomes of it is told to ``output``, later than this returns."""
        key = base64.b64encode(self.random_bytes(16))
        target = self._access.path_prefix + request.target().encode("ascii")
        lines = [
            b"GET " + target + b" HTTP/1.1\r\nHost: " + self._pool.target.host_field + b"\r\n",
            *(name + b": " + value + b"\r\n" for name, value in self._access.headers()),
            b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
            b"Sec-WebSocket-Key: " + key + b"\r\n",
            b"Sec-WebSocket-Protocol: " + ", ".join(channels.OFFERED).encode() + b"\r\n\r\n",
        ]
        execution = Execution(self, output, key)
        self.open.add(execution)
        execution.dial(self._pool, b"".join(lines))
        return execution


class Execution:
    """One exec. What is written before it has started is kept and sent then."""

    log = Logger()

    def __init__(self, executions: Executions, output: Output, key: bytes) -> None:
        self._executions = executions
        self._output = output
        self._accept = accept_of(key)
        self._dialing: Deferred[UpstreamConnection] | None = None
        self._connection: UpstreamConnection | None = None
        self._stream: Stream | None = None
        self._reader = Reader()
        self._early: list[bytes] = []
        self._refusal: AnswerHead | None = None
        self._body = b""
        self._result: Ended | None = None
        self._over = False
        self._ping: IDelayedCall | None = None
        self._quiet: IDelayedCall | None = None
        self._paused = False
        self._full = False
        self._heard = 0.0
        self._drain: Callable[[bool], object] = lambda full: None
        #: What is spoken, once it has started.
        self.protocol = ""
        #: Bytes of the process's input and output.
        self.typed = 0
        self.printed = 0

    # -- what its owner does -----------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Type ``data``."""
        self.typed += len(data)
        for message in channels.stdin(data):
            self._send(message)

    def resize(self, columns: int, rows: int) -> None:
        """The window has this size."""
        self._send(channels.resize(columns, rows))

    def close_stdin(self) -> None:
        """Nothing more will be typed. Of no effect where the cluster has no way to say so (:data:`.channels.V4`)."""
        if self.protocol != channels.V4:
            self._send(channels.END_OF_STDIN)

    def pause(self) -> None:
        """Read nothing more of the process for now; it will have to wait."""
        self._paused = True
        if self._stream is not None:
            self._stream.pause()

    def resume(self) -> None:
        """Read on."""
        self._paused = False
        self._heard = self._executions.clock.seconds()
        if self._stream is not None:
            self._stream.resume()

    def on_drain(self, callback: Callable[[bool], object]) -> None:
        """Have ``callback(True)`` called when the cluster takes no more input, and ``callback(False)`` when it does."""
        self._drain = callback

    def close(self) -> None:
        """Let go of it; nothing more is heard of it. The program in the container may go on."""
        if self._over:
            return
        self._over = True
        stream = self._stream
        if stream is not None:
            stream.send(frame(CLOSE, close_payload(1000), self._executions.random_bytes(4)))
        self._release()

    # -- dialling ----------------------------------------------------------------------------------------------

    def dial(self, pool: Pool, head: bytes) -> None:
        """For :class:`Executions` only."""
        self._pool = pool
        self._dialing = dialing = pool.dial(fresh=True)
        dialing.addCallback(self._use, head)
        dialing.addErrback(self._not_connected)

    def _use(self, connection: UpstreamConnection, head: bytes) -> None:
        self._dialing = None
        self._connection = connection
        connection.begin(self, head, bodiless=False, complete=True)
        connection.deadline = self._pool.wheel.now + self._executions.start_timeout

    def _not_connected(self, failure: Failure) -> None:
        self._dialing = None
        if failure.check(UpstreamError):
            self._end(Ended(LOST, message=failure.getErrorMessage()))
        elif not self._over:
            self.log.failure("an exec failed", failure)
            self._end(Ended(LOST, message="the gateway failed to begin the exec"))

    # -- the answer to the handshake (an AnswerSink) -------------------------------------------------------------

    def interim(self, status: int, items: list[Item]) -> None:
        """Of no use here."""

    def head(self, head: AnswerHead) -> None:
        # Also a redirect is a refusal: it could lead anywhere (CVE-2020-8559).
        self._refusal = head

    def data(self, data: bytes) -> None:
        self._body = (self._body + data)[:_REFUSAL]

    def flush(self) -> None:
        """What was refused is looked at when it is complete."""

    def end(self) -> None:
        self._connection = None
        assert self._refusal is not None
        status = self._refusal.status
        try:
            said: Any = msgspec.json.decode(self._body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            said = {}
        reason = message = ""
        if isinstance(said, dict):
            reason, message = (said[key] if isinstance(said.get(key), str) else "" for key in ("reason", "message"))
        self._end(Ended(REFUSED, status, reason, message))

    def failed(self, reason: UpstreamError) -> None:
        self._connection = None
        self._end(Ended(LOST, message=reason.message))

    def switched(self, items: list[Item], rest: bytes) -> None:
        connection = self._connection
        assert connection is not None
        self._connection = None
        fields = {key: value for key, _, value in items}
        protocol = fields.get(b"sec-websocket-protocol", b"").decode("latin-1").strip()
        problem = ""
        if fields.get(b"upgrade", b"").lower() != b"websocket":
            problem = "switched to another protocol than WebSocket"
        elif fields.get(b"sec-websocket-accept", b"").strip() != self._accept:
            problem = "answers another handshake than ours"
        elif protocol not in channels.OFFERED:
            problem = "speaks none of the protocols that were offered"
        if problem:
            connection.abort()
            self._end(Ended(NOT_STARTED, message=f"the API server {problem}"))
            return
        self.protocol = protocol
        self._stream = connection
        connection.deadline = 0.0
        self._heard = self._executions.clock.seconds()
        connection.take_over(self)
        connection.set_producer(self)
        self._ping = self._executions.clock.callLater(self._executions.ping_interval, self._send_ping)
        early, self._early = self._early, []
        for message in early:
            # The end of input may have been asked for before it was known that there is no way to say so.
            if message != channels.END_OF_STDIN or protocol == channels.V5:
                self._send(message)
        self._output.started()
        if rest:
            self.received(rest)

    # -- the stream (a Receiver and a Producer) ------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        """Bytes from the cluster."""
        self._heard = self._executions.clock.seconds()
        try:
            self._reader.feed(data, self._message)
        except FrameError as error:
            self._end(Ended(LOST, message=f"the API server does not speak WebSocket: {error}"))

    def ended(self) -> None:
        self._finish("the connection to the cluster ended")

    def lost(self, reason: Failure) -> None:
        self._stream = None
        self._finish("the connection to the cluster broke")

    def idle_timeout(self) -> None:
        self._finish("the cluster does not answer any more")

    def pauseProducing(self) -> None:
        self._filled(True)

    def resumeProducing(self) -> None:
        self._filled(False)

    def _filled(self, full: bool) -> None:
        # A transport says it at each write.
        if full is not self._full:
            self._full = full
            self._drain(full)

    def stopProducing(self) -> None:
        """:meth:`lost` comes."""

    def _message(self, message: Frame) -> None:
        if self._over:
            return
        payload = message.payload
        if message.opcode == PING:
            self._control(PONG, payload)
        elif message.opcode == CLOSE:
            self._finish("the cluster ended the connection")
        elif message.opcode in (BINARY, TEXT) and payload:
            channel, data = payload[0], payload[1:]
            if channel == channels.STATUS:
                self._result = self._result or read_status(data)
                self._await_rest()
            elif channel in (channels.STDOUT, channels.STDERR) and data:
                self.printed += len(data)
                self._output.output(data, channel == channels.STDERR)

    def _send(self, message: bytes) -> None:
        if self._over:
            return
        if self._stream is None:
            self._early.append(message)
        else:
            self._stream.send(frame(BINARY, message, self._executions.random_bytes(4)))

    def _control(self, opcode: int, payload: bytes) -> None:
        if self._stream is not None:
            self._stream.send(frame(opcode, payload, self._executions.random_bytes(4)))

    def _send_ping(self) -> None:
        self._ping = None
        executions = self._executions
        if not self._paused and executions.clock.seconds() - self._heard > executions.pong_timeout:
            self._finish("the cluster does not answer any more")
            return
        self._control(PING, b"")
        self._ping = executions.clock.callLater(executions.ping_interval, self._send_ping)

    def _await_rest(self) -> None:
        """The process has ended. Its last output may still be on the way, and not every server closes the stream."""
        self._quiet = self._executions.clock.callLater(QUIET, self._no_more)

    def _no_more(self) -> None:
        self._quiet = None
        if self._paused or self._executions.clock.seconds() - self._heard < QUIET:
            self._await_rest()
        else:
            self._finish("")

    # -- the end -------------------------------------------------------------------------------------------------

    def _finish(self, otherwise: str) -> None:
        """The stream is over; whatever came before says how the process ended."""
        self._end(self._result or Ended(LOST, message=otherwise))

    def _end(self, result: Ended) -> None:
        if self._over:
            return
        self._over = True
        self._release()
        self._output.ended(result)

    def _release(self) -> None:
        self._executions.open.discard(self)
        for call in (self._ping, self._quiet):
            if call is not None and call.active():
                call.cancel()
        self._ping = self._quiet = None
        dialing, self._dialing = self._dialing, None
        if dialing is not None:
            dialing.cancel()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.release()
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.deadline = self._pool.wheel.now + self._pool.timeouts.linger
            stream.clear_producer()
            stream.close()
