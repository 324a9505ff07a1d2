"""``/metrics`` (spec 01, 1.4): the registry as Prometheus text, gzip where that is accepted.

A scrape of some thousand series is milliseconds of work and is done in slices; scrapers that come while one is under
way share it, and so do those that come within a second, because everybody may ask.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from ksproxyd.model.message import Fields, Pairs, Response
from ksproxyd.observe.exposition import CONTENT_TYPE, Scrape
from ksproxyd.observe.metrics import Registry
from ksproxyd.tree.representation import prefers_gzip

#: Seconds of one slice.
SLICE = 0.002

#: Seconds for which a finished scrape is given to others as well.
SHARED = 1.0

#: A body up to this many bytes is sent at once.
_WHOLE = 256 * 1024


class Producer(Protocol):
    """What a body's producer is to the exchange."""

    def pauseProducing(self) -> None: ...
    def resumeProducing(self) -> None: ...
    def stopProducing(self) -> None: ...


class Answered(Protocol):
    """What the node needs of an exchange."""

    @property
    def fields(self) -> Fields: ...
    def start(self, status: int, headers: Pairs, length: int | None) -> None: ...
    def write(self, data: bytes) -> None: ...
    def flush(self) -> None: ...
    def finish(self) -> None: ...
    def set_producer(self, producer: Producer) -> None: ...


class Metrics:
    """The node. Any method will do. ``monotonic`` is what slices are measured with."""

    def __init__(
        self, registry: Registry, clock: IReactorTime, monotonic: Callable[[], float] = time.perf_counter
    ) -> None:
        self._registry = registry
        self._clock = clock
        self._monotonic = monotonic
        #: By coding, what is being made or shared.
        self._runs: dict[bool, _Run] = {}

    def handle(self, exchange: Answered) -> Response | Deferred[Response | None] | None:
        """The exposition; a large one is sent piece by piece, as fast as the scraper reads."""
        gzip = prefers_gzip(exchange.fields.get(b"accept-encoding"))
        run = self._runs.get(gzip)
        if run is None:
            run = _Run(Scrape(self._registry.blocks(), gzip, self._monotonic), self._clock, self._runs, gzip)
        if run.parts is not None:
            return _answer(exchange, gzip, run.parts)
        return run.when_done().addCallback(lambda parts: _answer(exchange, gzip, parts))

    def describe(self) -> str:
        """One line for the list of routes."""
        return "metrics"


class _Run:
    """One scrape: makes slices until it is done, then stays in ``runs`` for :data:`SHARED` seconds."""

    def __init__(self, scrape: Scrape, clock: IReactorTime, runs: dict[bool, _Run], key: bool) -> None:
        self._scrape = scrape
        self._clock = clock
        self._runs = runs
        self._key = key
        self._waiting: list[Deferred[list[bytes]]] = []
        #: The body, once it is complete.
        self.parts: list[bytes] | None = None
        runs[key] = self
        self._go_on()

    def when_done(self) -> Deferred[list[bytes]]:
        """Fires with the body, or with the error that ended the scrape. May be cancelled."""
        done: Deferred[list[bytes]] = Deferred(self._waiting.remove)
        self._waiting.append(done)
        return done

    def _go_on(self) -> None:
        try:
            complete = self._scrape.advance(SLICE)
        except Exception:
            self._failed(Failure())
            return
        if not complete:
            self._clock.callLater(0, self._go_on)
            return
        self.parts = self._scrape.parts
        self._clock.callLater(SHARED, self._runs.pop, self._key)
        waiting, self._waiting = self._waiting, []
        for done in waiting:
            done.callback(self.parts)

    def _failed(self, failure: Failure) -> None:
        del self._runs[self._key]
        waiting, self._waiting = self._waiting, []
        if not waiting:
            failure.raiseException()
        for done in waiting:
            done.errback(failure)


def _answer(exchange: Answered, gzip: bool, parts: list[bytes]) -> Response | None:
    headers: Pairs = [(b"Content-Type", CONTENT_TYPE), (b"Vary", b"Accept-Encoding")]
    if gzip:
        headers.append((b"Content-Encoding", b"gzip"))
    length = sum(map(len, parts))
    if length <= _WHOLE:
        return Response(200, headers, b"".join(parts))
    exchange.start(200, headers, length)
    body = _Body(exchange, parts)
    exchange.set_producer(body)
    body.resumeProducing()
    return None


class _Body:
    """Sends the parts of a body while the client keeps up."""

    def __init__(self, exchange: Answered, parts: list[bytes]) -> None:
        self._exchange = exchange
        self._parts = iter(parts)
        self._paused = True
        self._ended = False

    def resumeProducing(self) -> None:
        """Go on until told to pause, or to the end."""
        self._paused = False
        while not self._paused and not self._ended:
            part = next(self._parts, None)
            if part is None:
                self._ended = True
                self._exchange.finish()
            else:
                self._exchange.write(part)
                self._exchange.flush()

    def pauseProducing(self) -> None:
        """The client does not keep up."""
        self._paused = True

    def stopProducing(self) -> None:
        """The client has gone."""
        self._ended = True
