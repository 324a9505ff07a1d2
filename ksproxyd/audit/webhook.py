"""Events posted to a receiver, batch by batch (spec 03, 6.4 and D35, D38).

A batch that is not taken is sent again, after waits that double, until it is taken or too old. While the receiver is
in trouble it gets one batch at a time; as soon as it takes one it gets as many as may be on their way. So a batch may
arrive twice (its answer may have been lost), and batches may overtake one another: ``AuditID`` tells events apart.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd import __version__
from ksproxyd.audit.event import Event
from ksproxyd.audit.kubernetes_form import API_VERSION
from ksproxyd.audit.queue import BROKEN, REFUSED, STOPPED, TOO_OLD, Bounds, Queue
from ksproxyd.audit.writing import Writing
from ksproxyd.state.backoff import Backoff
from ksproxyd.upstream.client import Client
from ksproxyd.upstream.errors import UpstreamError
from ksproxyd.upstream.target import Target

#: Largest answer that is read; nothing in it is of interest.
_ANSWER = 65536

#: Refusals that are about the moment, not about the batch: timed out, too early, too many requests.
_PASSING = frozenset([408, 425, 429])


_AGENT = (b"User-Agent", f"ksproxyd/{__version__}".encode())


class Framing(msgspec.Struct, frozen=True):
    """How the events of a batch become one body."""

    content_type: bytes
    before: bytes
    between: bytes
    after: bytes


_JSON, _LINES = b"application/json", b"application/x-ndjson"
_LIST = f'{{"kind":"EventList","apiVersion":"{API_VERSION}","metadata":{{}},"items":['.encode()

CONCATENATED = Framing(_JSON, b"", b"", b"")
LINES = Framing(_LINES, b"", b"\n", b"\n")
ARRAY = Framing(_JSON, b"[", b",", b"]")
EVENT_LIST = Framing(_JSON, _LIST, b",", b"]}")


def framing(name: str, format: str) -> Framing:
    """The framing of the settings (``ksproxyd.audit.webhook.framing``) for a format."""
    if name == "auto":
        name = "concatenated" if format == "kubesphere" else "list"
    if name == "list":
        return ARRAY if format == "kubesphere" else EVENT_LIST
    return LINES if name == "lines" else CONCATENATED


class Delivery(Protocol):
    """``ksproxyd.audit.webhook`` of the settings; times in seconds."""

    @property
    def timeout(self) -> float: ...
    @property
    def retry_first(self) -> float: ...
    @property
    def retry_most(self) -> float: ...
    @property
    def give_up(self) -> float: ...
    @property
    def refusals(self) -> int: ...


class _Batch:
    """Events that stay together until they are delivered or dropped."""

    __slots__ = ("events", "lines", "refused", "since")

    def __init__(self, events: list[Event], since: float) -> None:
        self.events = events
        self.since = since
        self.refused = 0
        #: The events as they are posted, once they are written.
        self.lines: list[bytes] | None = None


class Webhook:
    """The sink. ``senders`` is the most batches on their way at once; ``random`` gives numbers from 0 up to 1;
    ``headers`` go along with every batch."""

    log = Logger()
    name = "webhook"

    def __init__(
        self,
        clock: IReactorTime,
        client: Client,
        target: Target,
        path: bytes,
        writing: Writing,
        frame: Framing,
        bounds: Bounds,
        senders: int,
        delivery: Delivery,
        random: Callable[[], float],
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        self.queue = Queue(self.name, clock, bounds, self._pump)
        #: Attempts that came to nothing.
        self.failures = 0
        self._clock = clock
        self._client = client
        self._target = target
        self._path = path
        self._writing = writing
        self._frame = frame
        self._senders = senders
        self._random = random
        self._headers = [(b"Content-Type", frame.content_type), _AGENT, *headers]
        self._under_way: set[Deferred[None]] = set()
        #: Batches that were not taken, the longest waiting first.
        self._again: deque[_Batch] = deque()
        #: The receiver did not take the last batch that it was given.
        self._troubled = False
        #: The last batch that it was given had been sent before.
        self._repeated = False
        self._wait: IDelayedCall | None = None
        self._ended: Deferred[None] | None = None
        self.apply(delivery)

    def apply(self, delivery: Delivery) -> None:
        """Take over the settings, at start and at a reload."""
        self._delivery = delivery
        self._backoff = Backoff(delivery.retry_first, delivery.retry_most, self._random)

    @property
    def in_flight(self) -> int:
        """Batches on their way."""
        return len(self._under_way)

    def stop(self, seconds: float) -> Deferred[None]:
        """Take no more, send what waits, give up what is not taken within ``seconds``. Fires when all is over."""
        self.queue.close()
        self._ended = Deferred()
        late = self._clock.callLater(seconds, self._abandon)

        def over(_: None) -> None:
            if late.active():
                late.cancel()

        self._ended.addCallback(over)
        ended = self._ended
        self._wait_no_more()
        self._pump()
        self._look_for_end()
        return ended

    # -- sending -----------------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Give the receiver what it may have now."""
        while self._wait is None and len(self._under_way) < (1 if self._troubled else self._senders):
            fresh = self.queue.due
            # In trouble by turns: a batch that the receiver chokes on must not keep it from all others.
            if self._again and not (fresh and self._troubled and self._repeated):
                batch = self._again.popleft()
                self._repeated = True
            elif fresh:
                batch = _Batch(self.queue.take(), self._clock.seconds())
                self._repeated = False
            else:
                return
            self._start(batch)

    def _start(self, batch: _Batch) -> None:
        sending = Deferred.fromCoroutine(self._send(batch))
        if sending.called:
            sending.addErrback(self._failed)
            return
        self._under_way.add(sending)

        def done(result: Any) -> Any:
            self._under_way.discard(sending)
            if self._ended is None or not self._ended.called:
                self._pump()
            self._look_for_end()
            return result

        sending.addBoth(done)
        sending.addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        self.log.failure("sending audit events failed", failure)

    async def _send(self, batch: _Batch) -> None:
        """Post a batch once, and decide what becomes of it. Settles it unless it is to be sent again."""
        try:
            status, trouble = await self._post(batch)
        except CancelledError:
            self.queue.settle(batch.events, STOPPED)
            return
        except Exception:
            self.queue.settle(batch.events, BROKEN)
            raise
        if 200 <= status < 300:
            self._taken(batch)
            return
        self.failures += 1
        lost = self._verdict(batch, status)
        if lost:
            self.queue.settle(batch.events, lost)
            count = len(batch.events)
            self.log.warn("{count} audit events are given up: {trouble}", count=count, trouble=trouble)
        else:
            self._again.append(batch)
        self._in_trouble(trouble)

    def _verdict(self, batch: _Batch, status: int) -> str:
        """Why a batch that was answered with ``status`` is given up; empty if it is to be sent again."""
        delivery = self._delivery
        if 400 <= status < 500 and status not in _PASSING:
            batch.refused += 1
            if batch.refused >= delivery.refusals:
                return REFUSED
        age = self._clock.seconds() - batch.since
        return TOO_OLD if delivery.give_up and age > delivery.give_up else ""

    async def _post(self, batch: _Batch) -> tuple[int, str]:
        """The status of the answer, 0 for none, and what is wrong with it."""
        if batch.lines is None:
            batch.lines = await self._writing.lines(batch.events)
        if not batch.lines:
            return 200, ""
        frame = self._frame
        body = frame.before + frame.between.join(batch.lines) + frame.after
        try:
            answer = await self._client.request(
                self._target, b"POST", self._path, self._headers, body, timeout=self._delivery.timeout, limit=_ANSWER
            )
        except UpstreamError as error:
            if error.kind == "cancelled":
                raise CancelledError from error
            return 0, f"{error.kind}: {error.detail}"
        return answer.status, f"it answers {answer.status}"

    def _taken(self, batch: _Batch) -> None:
        self.queue.settle(batch.events)
        self.queue.recovered()
        self._backoff.reset()
        if self._troubled:
            self._troubled = False
            self.log.info("the audit webhook at {target} takes events again", target=self._target)
        # Another batch may have failed meanwhile; there is no reason to wait any more.
        self._wait_no_more()

    def _in_trouble(self, trouble: str) -> None:
        if not self._troubled:
            self._troubled = True
            self.log.warn(
                "the audit webhook at {target} does not take events, they are sent again later: {trouble}",
                target=self._target,
                trouble=trouble,
            )
        if self._wait is None:
            self._wait = self._clock.callLater(self._backoff.next(), self._resume)

    def _wait_no_more(self) -> None:
        wait, self._wait = self._wait, None
        if wait is not None and wait.active():
            wait.cancel()

    def _resume(self) -> None:
        self._wait = None
        self._pump()

    # -- the end -----------------------------------------------------------------------------------------

    def _abandon(self) -> None:
        """The time to send what is left is over."""
        self._wait_no_more()
        self.queue.abandon()
        for batch in self._again:
            self.queue.settle(batch.events, STOPPED)
        self._again.clear()
        for sending in tuple(self._under_way):
            sending.cancel()
        self._look_for_end()

    def _look_for_end(self) -> None:
        if self._ended is None or self._ended.called:
            return
        if not self._under_way and not self._again and not len(self.queue):
            self._wait_no_more()
            self._ended.callback(None)
