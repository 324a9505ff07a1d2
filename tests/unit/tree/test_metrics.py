from __future__ import annotations

import gzip
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock

from ksproxyd.model.message import Fields, Pairs, Response
from ksproxyd.observe.metrics import Registry
from ksproxyd.tree.metrics import SHARED, Metrics


class FakeExchange:
    """What the node needs of an exchange; takes ``room`` parts before it says that the client does not keep up."""

    def __init__(self, accept_encoding: bytes | None = None, room: int = 1 << 30) -> None:
        self.fields = Fields([] if accept_encoding is None else [(b"Accept-Encoding", accept_encoding)])
        self.room = room
        self.head: tuple[int, Pairs, int | None] | None = None
        self.sent: list[bytes] = []
        self.pending: list[bytes] = []
        self.finished = False
        self.producer: Any = None

    def start(self, status: int, headers: Pairs, length: int | None) -> None:
        self.head = (status, headers, length)

    def write(self, data: bytes) -> None:
        self.pending.append(data)

    def flush(self) -> None:
        self.sent += self.pending
        self.pending = []
        if len(self.sent) >= self.room:
            self.producer.pauseProducing()

    def finish(self) -> None:
        self.finished = True

    def set_producer(self, producer: Any) -> None:
        self.producer = producer


def small() -> Registry:
    return Registry(lambda *_: True, 100)


def large(blocks: int = 400) -> Registry:
    """A registry whose text has about 1 kB a sample."""
    registry = small()
    registry.add("large", "gauge", "h", lambda: [(f'a="{i:05}{"x" * 1000}"', i) for i in range(blocks)])
    return registry


class CountingClock(Clock):
    """Counts how often somebody let the reactor run."""

    turns = 0

    def callLater(self, delay: float, callable: Callable[..., object], *args: object, **kw: object) -> IDelayedCall:
        self.turns += delay == 0
        return super().callLater(delay, callable, *args, **kw)


def slowly() -> Callable[[], float]:
    """A clock that every look moves by 1 ms: a slice is two chunks."""
    ticks = itertools.count(0.0, 0.001)
    return lambda: next(ticks)


def now(answer: Response | Deferred[Response | None] | None) -> Response:
    assert isinstance(answer, Response)
    return answer


class TestSmall:
    def test_is_answered_at_once(self) -> None:
        answer = now(Metrics(small(), Clock()).handle(FakeExchange()))
        assert answer.status == 200
        assert dict(answer.headers)[b"Content-Type"] == b"text/plain; version=0.0.4; charset=utf-8"
        assert b"Content-Encoding" not in dict(answer.headers)
        names = {family.name for family in text_string_to_metric_families(answer.body.decode())}
        assert {"ksproxyd_build_info", "process_open_fds", "python_info", "ksproxyd_requests_in_flight"} <= names

    @pytest.mark.parametrize("accept", [b"gzip", b"deflate, gzip;q=0.5", b"*"])
    def test_gzip(self, accept: bytes) -> None:
        answer = now(Metrics(small(), Clock()).handle(FakeExchange(accept)))
        assert dict(answer.headers)[b"Content-Encoding"] == b"gzip"
        assert dict(answer.headers)[b"Vary"] == b"Accept-Encoding"
        assert b"# TYPE ksproxyd_build_info gauge\n" in gzip.decompress(answer.body)

    @pytest.mark.parametrize("accept", [None, b"", b"identity", b"gzip;q=0", b"br"])
    def test_no_gzip(self, accept: bytes | None) -> None:
        answer = now(Metrics(small(), Clock()).handle(FakeExchange(accept)))
        assert answer.body.startswith(b"# HELP ")

    def test_is_shared_for_a_second(self) -> None:
        registry, clock = small(), Clock()
        node = Metrics(registry, clock)
        first = now(node.handle(FakeExchange())).body
        registry.requests.statuses[499] = 77
        clock.advance(SHARED / 2)
        assert now(node.handle(FakeExchange())).body == first
        clock.advance(SHARED / 2)
        assert b"\nksproxyd_requests_abandoned_total 77\n" in now(node.handle(FakeExchange())).body

    def test_both_codings_have_their_own(self) -> None:
        node = Metrics(small(), Clock())
        packed = now(node.handle(FakeExchange(b"gzip"))).body
        assert now(node.handle(FakeExchange())).body != packed
        assert now(node.handle(FakeExchange(b"gzip"))).body == packed

    def test_what_cannot_be_read_is_an_error_and_is_not_kept(self) -> None:
        registry = small()
        broken = [True]

        def read() -> Iterator[tuple[str, float]]:
            if broken:
                raise RuntimeError("no")
            yield "", 1

        registry.add("m", "gauge", "h", read)
        node = Metrics(registry, Clock())
        with pytest.raises(RuntimeError):
            node.handle(FakeExchange())
        broken.clear()
        assert now(node.handle(FakeExchange())).status == 200


class TestLarge:
    def test_is_made_in_slices_and_sent_in_parts(self) -> None:
        clock = CountingClock()
        exchange = FakeExchange()
        answer = Metrics(large(), clock, slowly()).handle(exchange)
        assert isinstance(answer, Deferred) and not answer.called
        clock.advance(0)
        assert answer.called
        # Some 410 kB in chunks of 32 KiB, two a slice.
        assert clock.turns == 6
        assert exchange.finished
        assert exchange.head is not None and exchange.head[0] == 200
        assert exchange.head[2] == sum(map(len, exchange.sent))
        body = b"".join(exchange.sent).decode()
        [family] = [family for family in text_string_to_metric_families(body) if family.name == "large"]
        assert [sample.value for sample in family.samples] == list(range(400))

    def test_a_scraper_that_does_not_keep_up_is_waited_for(self) -> None:
        clock = Clock()
        exchange = FakeExchange(room=2)
        Metrics(large(), clock, slowly()).handle(exchange)
        clock.advance(0)
        assert len(exchange.sent) == 2 and not exchange.finished
        exchange.room = 5
        exchange.producer.resumeProducing()
        assert len(exchange.sent) == 5 and not exchange.finished
        exchange.room = 1 << 30
        exchange.producer.resumeProducing()
        assert exchange.finished

    def test_a_scraper_that_leaves_gets_no_more(self) -> None:
        clock = Clock()
        exchange = FakeExchange(room=2)
        Metrics(large(), clock, slowly()).handle(exchange)
        clock.advance(0)
        exchange.producer.stopProducing()
        exchange.producer.resumeProducing()
        assert len(exchange.sent) == 2 and not exchange.finished

    def test_those_who_come_meanwhile_share_it(self) -> None:
        clock = Clock()
        registry = large()
        calls = []
        registry.add("ksproxyd_calls", "gauge", "h", lambda: calls.append(1) or [("", len(calls))])  # type: ignore[func-returns-value]
        node = Metrics(registry, clock, slowly())
        exchanges = [FakeExchange() for _ in range(3)]
        for exchange in exchanges:
            node.handle(exchange)
        clock.advance(0)
        assert all(exchange.finished for exchange in exchanges)
        assert len({b"".join(exchange.sent) for exchange in exchanges}) == 1
        assert calls == [1]

    def test_one_who_leaves_does_not_end_it_for_the_others(self) -> None:
        clock = Clock()
        node = Metrics(large(), clock, slowly())
        gone = node.handle(FakeExchange())
        exchange = FakeExchange()
        node.handle(exchange)
        assert isinstance(gone, Deferred)
        failures: list[Any] = []
        gone.addErrback(failures.append)
        gone.cancel()
        clock.advance(0)
        assert exchange.finished
        assert failures[0].check(CancelledError)

    def test_an_error_on_the_way_reaches_all_who_wait(self) -> None:
        clock = Clock()
        registry = large()

        def read() -> Iterator[tuple[str, float]]:
            raise RuntimeError("no")

        registry.add("m", "gauge", "h", read)
        node = Metrics(registry, clock, slowly())
        failures: list[Any] = []
        for _ in range(2):
            answer = node.handle(FakeExchange())
            assert isinstance(answer, Deferred)
            answer.addErrback(failures.append)
        clock.advance(0)
        assert [failure.type for failure in failures] == [RuntimeError] * 2


def test_describe() -> None:
    assert Metrics(small(), Clock()).describe() == "metrics"
