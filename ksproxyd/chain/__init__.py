"""What happens to a request before it reaches its node.

The steps, outermost first (:meth:`ksproxyd.gateway.Gateway.steps` joins them):

1. ``request_info``: entry rewrites, and what the request is about;
2. ``cors``: preflights, where origins are allowed at all;
3. ``authenticate``: who it is from;
4. ``audit``: whose bodies are to be seen in passing (:mod:`ksproxyd.audit`), where requests are recorded;
5. ``dispatch``: requests for member clusters leave here;
6. ``authorize``: whether they may.

A step looks at the exchange and returns nothing (go on), a :class:`~ksproxyd.model.message.Response` (stop here), or an
awaitable of one of these; it may raise :class:`~ksproxyd.model.status.StatusError`. While everything is in memory the
whole chain runs without a Deferred.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.python.failure import Failure

from ksproxyd.model.message import Response
from ksproxyd.model.status import StatusError
from ksproxyd.server.exchange import Exchange

Outcome = Response | Awaitable[Response | None] | None
Step = Callable[[Exchange], Outcome]

#: A step's way to say that the exchange is being served already, and that no further step is for it.
TAKEN = Response(0)

#: One request in so many has its steps timed: enough for an average, too few to cost anything.
SAMPLE = 64


class Chain:
    """Runs exchanges through the steps and gives those that come out to ``leaf`` (the tree).

    ``failed`` is told of exchanges that met an unexpected exception; ``timed(name, seconds)`` of sampled step times,
    with ``now`` as the clock.
    """

    def __init__(
        self,
        steps: Sequence[tuple[str, Step]],
        leaf: Step,
        failed: Callable[[Exchange, Failure], None],
        now: Callable[[], float],
        timed: Callable[[str, float], None],
    ) -> None:
        self.names = [name for name, _ in steps] + ["node"]
        self._all: tuple[Step, ...] = (*(step for _, step in steps), leaf)
        if len({id(step) for step in self._all}) != len(self._all):
            # Where one that has waited left off is found by the step itself.
            raise ValueError("a step stands in the chain twice")
        self._idle: set[str] = set()
        #: Those that have something to do, and their names.
        self._steps = self._all
        self._busy = self.names
        self._failed = failed
        self._now = now
        self._timed = timed
        self._count = 0

    def leave_out(self, name: str, idle: bool = True) -> None:
        """Requests pass the step ``name`` by, as it has nothing to do; or, if it is not ``idle``, they do not.

        Raises :class:`ValueError` where there is none of that name.
        """
        if name not in self.names:
            raise ValueError(f"the chain has no step {name}")
        if idle:
            self._idle.add(name)
        else:
            self._idle.discard(name)
        busy = [(each, step) for each, step in zip(self.names, self._all, strict=True) if each not in self._idle]
        self._busy = [each for each, _ in busy]
        self._steps = tuple(step for _, step in busy)

    def handle(self, exchange: Exchange) -> None:
        """Serve ``exchange``: run the steps, give it its answer."""
        self._count += 1
        if self._count % SAMPLE == 0:
            self._sampled(exchange)
            return
        try:
            for step in self._steps:
                outcome = step(exchange)
                if outcome is not None:
                    self._settle(exchange, outcome, step)
                    return
        except StatusError as error:
            self._refuse(exchange, error)

    def _sampled(self, exchange: Exchange) -> None:
        try:
            for name, step in zip(self._busy, self._steps, strict=True):
                begun = self._now()
                outcome = step(exchange)
                self._timed(name, self._now() - begun)
                if outcome is not None:
                    self._settle(exchange, outcome, step)
                    return
        except StatusError as error:
            self._refuse(exchange, error)

    def _settle(self, exchange: Exchange, outcome: Response | Awaitable[Response | None], step: Step) -> None:
        if isinstance(outcome, Response):
            if outcome is not TAKEN and not exchange.finished:
                exchange.respond(outcome)
            return
        waiting: Deferred[Any] = outcome if isinstance(outcome, Deferred) else ensureDeferred(outcome)  # type: ignore[arg-type]
        if not waiting.called:
            # Cancelled when the client goes: whoever is asked has no reason to go on then. What is over already may
            # have handed the exchange on, and whoever has it sees to that itself.
            exchange.on_gone = waiting.cancel
        waiting.addCallback(self._resumed, exchange, step)
        waiting.addErrback(self._broke, exchange)

    def _resumed(self, outcome: Response | None, exchange: Exchange, step: Step) -> None:
        if exchange.finished:
            return
        if outcome is not None:
            if outcome is not TAKEN:
                exchange.respond(outcome)
            return
        after = self._all.index(step) + 1
        if after < len(self._all):
            exchange.on_gone = None
        for later in self._all[after:]:
            result = later(exchange)
            if result is not None:
                self._settle(exchange, result, later)
                return

    def _broke(self, failure: Failure, exchange: Exchange) -> None:
        if exchange.finished:
            # The client has gone. What its going broke is nobody's concern, but our own mistakes are.
            if not failure.check(StatusError, CancelledError):
                self._failed(exchange, failure)
        elif isinstance(failure.value, StatusError):
            self._refuse(exchange, failure.value)
        else:
            self._failed(exchange, failure)

    def _refuse(self, exchange: Exchange, error: StatusError) -> None:
        if exchange.finished:
            return
        if exchange.status:
            exchange.abort()
        else:
            exchange.refuse(error)
