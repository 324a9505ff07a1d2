"""Events on their way to one sink: bounded in number and memory, given out in batches.

Nobody ever waits to put an event in. What is given out still counts until it is settled, so the bounds hold for
everything that a sink has not got rid of, however slow it is.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable

import msgspec
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from ksproxyd.audit.event import Event

#: Reasons for which events are lost: too many wait, or those that wait are too big; the sink has not taken them for too
#: long; it does not want them; the gateway has ended; they could not be written.
FULL, TOO_BIG, TOO_OLD = "queue_full", "queue_bytes", "too_old"
REFUSED, STOPPED, BROKEN = "refused", "stopped", "broken"

REASONS = (FULL, TOO_BIG, TOO_OLD, REFUSED, STOPPED, BROKEN)


class Bounds(msgspec.Struct, frozen=True):
    """How much may wait, and what a batch is: at most ``batch`` events and ``batch_bytes``, unless it is a single
    event; complete after ``interval`` seconds at the latest."""

    events: int = 10000
    bytes: int = 32 * 2**20
    batch: int = 100
    batch_bytes: int = 2**20
    interval: float = 3.0


class Queue:
    """Waiting events of the sink ``name``.

    ``ready`` is called in a turn of the reactor of its own when a batch is complete, and again for each that comes
    together after; it takes batches with :meth:`take` for as long as :attr:`due` is true, and settles each.
    """

    log = Logger()

    def __init__(self, name: str, clock: IReactorTime, bounds: Bounds, ready: Callable[[], object]) -> None:
        self.name = name
        self.bounds = bounds
        #: Events that were lost, by reason; events that were delivered.
        self.dropped: Counter[str] = Counter()
        self.delivered = 0
        #: What has not been settled, waiting or given out.
        self.events = 0
        self.bytes = 0
        self._clock = clock
        self._ready = ready
        self._waiting: deque[Event] = deque()
        self._waiting_bytes = 0
        self._timer: IDelayedCall | None = None
        #: The sink has been told of what waits, and has not taken any of it yet.
        self._told = False
        #: The oldest that waits has waited long enough.
        self._ripe = False
        self._closed = False
        self._losing = False

    def __len__(self) -> int:
        """How many have not been given out."""
        return len(self._waiting)

    def put(self, event: Event) -> None:
        """Take an event, which has its weight, or drop it. Costs next to nothing either way."""
        bounds = self.bounds
        if self.events >= bounds.events:
            self._drop(FULL)
            return
        if self.bytes + event.weight > bounds.bytes:
            self._drop(TOO_BIG)
            return
        if self._closed:
            self._drop(STOPPED)
            return
        self.events += 1
        self.bytes += event.weight
        self._waiting.append(event)
        self._waiting_bytes += event.weight
        if self._timer is None and not self._ripe:
            self._timer = self._clock.callLater(bounds.interval, self._tell)
        if self._timer is not None and not self._told and self.due:
            self._told = True
            self._timer.reset(0)

    @property
    def due(self) -> bool:
        """Whether a batch is complete."""
        waiting = len(self._waiting)
        return (
            waiting >= self.bounds.batch
            or self._waiting_bytes >= self.bounds.batch_bytes
            or (waiting > 0 and (self._ripe or self._closed))
        )

    def take(self) -> list[Event]:
        """The next batch, complete or not; empty if nothing waits. To be settled."""
        batch: list[Event] = []
        size = 0
        waiting, bounds = self._waiting, self.bounds
        while waiting and len(batch) < bounds.batch:
            weight = waiting[0].weight
            if batch and size + weight > bounds.batch_bytes:
                break
            size += weight
            batch.append(waiting.popleft())
        self._waiting_bytes -= size
        self._told = False
        if not waiting:
            # What comes next begins to wait anew.
            self._ripe = False
            self._rest()
        elif self._timer is None and not self._ripe and not self._closed:
            self._timer = self._clock.callLater(bounds.interval, self._tell)
        return batch

    def settle(self, batch: list[Event], lost: str = "") -> None:
        """A batch is delivered, or was ``lost`` for one of :data:`REASONS`."""
        count = len(batch)
        self.events -= count
        self.bytes -= sum(event.weight for event in batch)
        if lost:
            self._drop(lost, count)
        else:
            self.delivered += count

    def close(self) -> None:
        """Take no more; what waits is due at once, without ``ready`` being called."""
        self._closed = True
        self._rest()

    def abandon(self) -> None:
        """Nothing that waits will be delivered any more: the time to do so is over."""
        self.close()
        batch = list(self._waiting)
        self._waiting.clear()
        self._waiting_bytes = 0
        self.settle(batch, STOPPED)

    def _tell(self) -> None:
        self._timer = None
        # A batch that was complete before its time says nothing about what came behind it.
        self._ripe = self._ripe or not self._told
        self._told = True
        try:
            # A sink that cannot take anything now does so when it can.
            self._ready()
        except Exception:
            self.log.failure("sending audit events to {name} failed", name=self.name)

    def _rest(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def _drop(self, reason: str, count: int = 1) -> None:
        self.dropped[reason] += count
        if not self._losing:
            self._losing = True
            self.log.warn(
                "audit events for {name} are being dropped ({reason}; {events} events, {bytes} bytes are not delivered "
                "yet); ksproxyd_audit_dropped_total counts them",
                name=self.name,
                reason=reason,
                events=self.events,
                bytes=self.bytes,
            )

    def recovered(self) -> None:
        """The sink has taken a batch: the next loss is worth a word again."""
        if self._losing and self.events < self.bounds.events // 2:
            self._losing = False
            total = sum(self.dropped.values())
            self.log.info("audit events for {name} are delivered again; {total} were lost", name=self.name, total=total)
