"""Bodies that are rewritten in passing, a little in each turn of the reactor.

Rewriting costs many times what passing on does, and a few compressed bytes may stand for a very long page. So what
arrives is worked through in steps, a step of each body in turn, for a few milliseconds between two looks at the
sockets. A backend is not read while there is work left of what it has sent, nor is there work done for a client that
does not keep up: what waits is never more than one piece.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from ksproxyd.upstream.errors import UpstreamError
from ksproxyd.upstream.plan import BodyFilter

if TYPE_CHECKING:
    from ksproxyd.upstream.relay import Relay

#: Seconds that one turn of the reactor spends on rewriting. The step that is begun last (1 to 2 ms) comes on top.
BUDGET = 0.003


class FilterTurns:
    """Shares the reactor's time among the bodies that are being rewritten. One for the gateway.

    ``monotonic`` gives seconds that the budget is measured in.
    """

    def __init__(self, clock: IReactorTime, monotonic: Callable[[], float]) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._bodies: deque[FilteredBody] = deque()
        self._left = 0.0
        self._running = False
        #: Scheduled from the first work of a turn to the beginning of the next one.
        self._next: IDelayedCall | None = None

    def work(self, body: FilteredBody) -> None:
        """There is something to do for ``body``: now, as far as this turn's budget goes, the rest later."""
        if not body.queued:
            body.queued = True
            self._bodies.append(body)
        if self._next is None:
            self._begin()
        if not self._running:
            self._run()

    def _begin(self) -> None:
        self._left = BUDGET
        self._next = self._clock.callLater(0, self._turn)

    def _turn(self) -> None:
        self._next = None
        if self._bodies:
            self._begin()
            self._run()

    def _run(self) -> None:
        self._running = True
        try:
            before = self._monotonic()
            while self._bodies and self._left > 0:
                body = self._bodies.popleft()
                body.queued = False
                if body.step() and not body.queued:
                    body.queued = True
                    self._bodies.append(body)
                now = self._monotonic()
                self._left -= now - before
                before = now
        finally:
            self._running = False


class FilteredBody:
    """The body of one relay's answer on its way through ``body_filter``. What happens to it keeps its order."""

    __slots__ = ("_arrived", "_end", "_filter", "_held", "_over", "_paused", "_relay", "_steps", "_turns", "queued")

    def __init__(self, relay: Relay, body_filter: BodyFilter, turns: FilterTurns) -> None:
        self._relay = relay
        self._filter = body_filter
        self._turns = turns
        self._arrived: list[bytes] = []
        self._steps: Iterator[bytes] | None = None
        #: What comes behind everything that has arrived, once that is known.
        self._end: Callable[[], None] | None = None
        #: The client does not keep up.
        self._paused = False
        #: The backend waits until there is nothing left to do.
        self._held = False
        self._over = False
        #: For :class:`FilterTurns`: the body is in its queue.
        self.queued = False

    @property
    def _pending(self) -> bool:
        return not self._over and (self._steps is not None or bool(self._arrived))

    def data(self, data: bytes) -> None:
        """A piece of the body has come; :meth:`flush` or :meth:`end` follows."""
        self._arrived.append(data)

    def flush(self) -> None:
        """Nothing more has come for now."""
        self._turns.work(self)
        if self._pending:
            self._held = True
            self._relay.hold()

    def end(self) -> None:
        """The body is complete."""
        self._end = self._complete
        self._turns.work(self)

    def failed(self, reason: UpstreamError) -> None:
        """The body breaks off behind what has come."""
        self._end = lambda: self._relay.give_up(reason)
        self._turns.work(self)

    def pause(self) -> None:
        """The client does not keep up: rewrite no more for it."""
        self._paused = True

    def resume(self) -> bool:
        """The client has caught up. Whether the backend may be read; if not, it will be when the work is done."""
        self._paused = False
        self._turns.work(self)
        self._held = self._pending
        return not self._held

    def close(self) -> None:
        """Nobody wants the rest."""
        self._over = True
        self._steps = None
        self._arrived.clear()

    def step(self) -> bool:
        """Do a little of the work; whether there may be more of it."""
        if self._over or self._paused:
            return False
        try:
            return self._rewrite() or self._settle()
        except UpstreamError as reason:
            self.close()
            self._relay.give_up(reason)
        except Exception:
            self.close()
            self._relay.broken(Failure())
        return False

    def _rewrite(self) -> bool:
        """One step of the filter; whether there was one."""
        while self._pending:
            if self._steps is None:
                self._steps = self._filter.steps(b"".join(self._arrived))
                self._arrived.clear()
            data = next(self._steps, None)
            if data is not None:
                self._relay.exchange.write(data)
                self._relay.send()
                return True
            self._steps = None
        return False

    def _settle(self) -> bool:
        """Everything that has come has gone on."""
        if self._end is not None:
            self._over = True
            self._end()
            return False
        self._relay.send()
        if self._held:
            self._held = False
            self._relay.read_on()
        return False

    def _complete(self) -> None:
        self._relay.exchange.write(self._filter.end())
        self._relay.finish()
