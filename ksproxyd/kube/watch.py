"""One watch request: the body of a long answer as events.

A watch is an HTTP answer that stays open and carries one JSON object a line, ``{"type": ..., "object": ...}``
(Kubernetes API concepts, "Efficient detection of changes"). It ends in one of two ways: properly, when the server
finishes the answer between two lines, or with an error. A connection can also die without a sign; whoever knows that
the server sends bookmarks (about once a minute) sets ``silence`` and has a mute watch ended. Without bookmarks a quiet
watch looks like a dead one; it is only known that the server ends it after the ``timeoutSeconds`` that were asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from ksproxyd.kube.errors import KubeError, KubeUnreachable, error_from_answer
from ksproxyd.kube.pacing import Pacer
from ksproxyd.model.message import Fields
from ksproxyd.upstream.errors import UpstreamError

#: Largest event, in bytes: an object at etcd's default limit, as JSON, several times over.
EVENT_LIMIT = 16 * 1024 * 1024

#: So much is read of an answer that refuses a watch.
REFUSAL_LIMIT = 64 * 1024


class Sink(Protocol):
    """What :meth:`ksproxyd.upstream.Client.stream` tells of an answer."""

    def head(self, status: int, fields: Fields) -> None: ...

    def data(self, data: bytes) -> None: ...

    def end(self) -> None: ...

    def failed(self, error: UpstreamError) -> None: ...


class StreamHandle(Protocol):
    """What :meth:`ksproxyd.upstream.Client.stream` returns."""

    def cancel(self) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class Receiver(Protocol):
    """Who is told of a watch. What it raises ends the watch with that error."""

    def opened(self) -> None:
        """The server accepted the watch."""

    def alive(self) -> None:
        """Bytes came."""

    def event(self, kind: str, obj: dict[str, Any], received: float) -> None:
        """An event of type ``kind`` (never ``ERROR``), whose bytes came at ``received`` (the clock's seconds)."""


class _Event(msgspec.Struct):
    type: str
    object: dict[str, Any]


_event = msgspec.json.Decoder(_Event)


class BadEvent(KubeUnreachable):
    """An event that cannot be understood or is too large. Going on from before it would meet it again."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "content")


class Lines:
    """Bytes in, lines out; holds at most ``limit`` bytes of an unfinished line beside what one piece brings."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._searched = 0

    def feed(self, data: bytes) -> None:
        """Add what came."""
        self._buffer += data

    def next(self) -> bytearray | None:
        """The next complete line without its end, None if there is none. Raises :class:`BadEvent`."""
        end = self._buffer.find(b"\n", self._searched)
        if (len(self._buffer) if end < 0 else end) > self._limit:
            raise BadEvent(f"an event of the watch is larger than {self._limit} bytes")
        if end < 0:
            self._searched = len(self._buffer)
            return None
        line = self._buffer[:end]
        del self._buffer[: end + 1]
        self._searched = 0
        return line

    @property
    def unfinished(self) -> bool:
        """Whether the beginning of a line is there but not its end."""
        return bool(self._buffer.strip())


class Watch:
    """One watch, from its request to its end.

    ``done`` fires with None when the server ended the watch properly, and fails with :class:`KubeError` otherwise:
    what the server said (also in an ``ERROR`` event), :class:`BadEvent`, or :class:`KubeUnreachable` with ``kind``
    ``silent`` after ``silence`` seconds without a byte (0: as long as it likes) or when it is still open after
    ``lifetime`` seconds, ``timeout`` when no head came within ``head_timeout`` seconds, or the transport's own. What a
    receiver raises ends it likewise. Cancelling ``done`` ends the watch. No event follows the end.
    """

    def __init__(
        self,
        receiver: Receiver,
        clock: IReactorTime,
        pacer: Pacer,
        *,
        head_timeout: float,
        lifetime: float,
        silence: float = 0,
        limit: int = EVENT_LIMIT,
    ) -> None:
        self.done: Deferred[None] = Deferred(self._cancelled)
        self._receiver = receiver
        self._clock = clock
        self._pacer = pacer
        self._head_timeout = head_timeout
        self._lifetime = lifetime
        self._silence = silence
        self._lines = Lines(limit)
        self._handle: StreamHandle | None = None
        self._over = False
        self._ended = False
        self._draining: IDelayedCall | None = None
        self._timer: IDelayedCall | None = None
        self._end_timer: IDelayedCall | None = None
        self._paused = False
        self._heard = clock.seconds()
        self._status = 0
        self._retry_after: bytes | None = None
        self._refusal: list[bytes] = []
        self._refusal_size = 0

    def start(self, request: Callable[[Sink], StreamHandle]) -> None:
        """Send the request; called once."""
        self._heard = self._clock.seconds()
        self._timer = self._clock.callLater(self._head_timeout, self._no_head)
        self._end_timer = self._clock.callLater(self._lifetime, self._overdue)
        try:
            handle = request(self)
        except BaseException:
            self._settle()
            raise
        if self._over:
            handle.cancel()
        else:
            self._handle = handle

    def expect(self, silence: float) -> None:
        """From now on, not a byte for ``silence`` seconds means that the connection is dead; 0 takes that back."""
        self._silence = silence
        if self._status == 200 and not self._over:
            self._arm()

    def head(self, status: int, fields: Fields) -> None:
        """The answer begins."""
        if self._over:
            return
        self._status = status
        self._heard = self._clock.seconds()
        if status != 200:
            # The timer keeps running: a refusal has to arrive within the time of its head.
            self._retry_after = fields.get(b"retry-after")
            return
        self._arm()
        self._tell(self._receiver.opened)

    def data(self, data: bytes) -> None:
        """A piece of the answer's body."""
        if self._over:
            return
        self._heard = self._clock.seconds()
        if self._status != 200:
            self._refusal_size += len(data)
            self._refusal.append(data)
            if self._refusal_size > REFUSAL_LIMIT:
                self._refused()
            return
        self._lines.feed(data)
        self._tell(self._receiver.alive)
        if self._draining is None and not self._over:
            self._drain()

    def end(self) -> None:
        """The answer is complete."""
        if self._over:
            return
        self._handle = None
        if self._status != 200:
            self._refused()
            return
        self._ended = True
        if self._draining is None:
            self._finish_body()

    def failed(self, error: UpstreamError) -> None:
        """The answer broke off, or never came."""
        self._handle = None
        self._fail(KubeUnreachable(error.message, error.kind, error.detail))

    def _drain(self) -> None:
        self._draining = None
        self._pacer.begin()
        while not self._over:
            try:
                line = self._lines.next()
            except BadEvent as error:
                self._fail(error)
                return
            if line is None:
                break
            self._line(line)
            if self._pacer.spent() and not self._over:
                self._draining = self._clock.callLater(0, self._drain)
                if self._handle is not None and not self._paused:
                    self._paused = True
                    self._handle.pause()
                return
        if self._over:
            return
        if self._ended:
            self._finish_body()
        elif self._handle is not None and self._paused:
            self._paused = False
            self._handle.resume()

    def _line(self, line: bytearray) -> None:
        if not line.strip():
            return
        try:
            event = _event.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self._fail(BadEvent(f"an event of the watch cannot be read: {error}"))
            return
        if event.type == "ERROR":
            self._fail(KubeError(event.object))
            return
        self._tell(lambda: self._receiver.event(event.type, event.object, self._heard))

    def _tell(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception:
            self._fail(Failure())

    def _finish_body(self) -> None:
        if self._lines.unfinished:
            self._fail(KubeUnreachable("the watch ended in the middle of an event", "closed"))
        elif self._settle():
            self.done.callback(None)

    def _refused(self) -> None:
        self._fail(error_from_answer(self._status, b"".join(self._refusal), self._retry_after))

    def _no_head(self) -> None:
        self._fail(KubeUnreachable(f"no answer to a watch within {self._head_timeout:g} s", "timeout"))

    def _overdue(self) -> None:
        self._fail(KubeUnreachable(f"the watch did not end after {self._lifetime:g} s", "silent"))

    def _arm(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        if self._silence:
            self._timer = self._clock.callLater(self._silence, self._listen)

    def _listen(self) -> None:
        """Look how long ago the last bytes came; a timer a piece of data would cost more."""
        left = self._heard + self._silence - self._clock.seconds()
        if left > 0:
            self._timer = self._clock.callLater(left, self._listen)
            return
        self._fail(KubeUnreachable(f"the watch was silent for {self._silence:g} s", "silent"))

    def _fail(self, error: Exception | Failure) -> None:
        if self._settle():
            self.done.errback(error)

    def _cancelled(self, done: Deferred[None]) -> None:
        self._settle()

    def _settle(self) -> bool:
        """Stop everything; False if it had stopped before."""
        if self._over:
            return False
        self._over = True
        for call in (self._timer, self._end_timer, self._draining):
            if call is not None and call.active():
                call.cancel()
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.cancel()
        return True
