"""Probes and the judgement of real answers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from ksproxyd.model.message import Pairs
from ksproxyd.upstream.errors import UpstreamError
from ksproxyd.upstream.health import ActiveCheck, OutlierDetector, PassiveCheck, Prober, Thresholds
from ksproxyd.upstream.target import Target

TARGET = Target("http", "b.test", 80)


class Answer:
    def __init__(self, status: int) -> None:
        self.status = status


class FakeClient:
    """Keeps the requests it is asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.pending: list[Deferred[Any]] = []
        self.cancelled = 0

    def request(
        self, target: Target, method: bytes, path: bytes, headers: Pairs, body: bytes, *, timeout: float, limit: int
    ) -> Deferred[Any]:
        self.asked.append((target, method, path, dict(headers), body, timeout, limit))

        def cancel(_: Deferred[Any]) -> None:
            self.cancelled += 1

        waiting: Deferred[Any] = Deferred(cancel)
        self.pending.append(waiting)
        return waiting

    def answer(self, status: int) -> None:
        self.pending.pop().callback(Answer(status))

    def fail(self, error: Exception) -> None:
        self.pending.pop().errback(error)


class Scene:
    def __init__(self, check: ActiveCheck = ActiveCheck(), random: float = 0.5) -> None:  # noqa: B008
        self.clock = Clock()
        self.client = FakeClient()
        self.told = 0
        self.prober = Prober("ex", self.client, TARGET, check, self.clock, lambda: random, self.tell)

    def tell(self) -> None:
        self.told += 1

    def next(self) -> None:
        self.clock.advance(self.prober.wait())
        assert len(self.client.pending) == 1


def test_a_probe_is_the_request_that_was_asked_for() -> None:
    scene = Scene(ActiveCheck(path="/ok?x=1", method="HEAD", hostname="inner.test", timeout=2.5))
    scene.prober.start()
    scene.next()
    target, method, path, headers, body, timeout, limit = scene.client.asked[0]
    assert (target, method, path, body, timeout) == (TARGET, b"HEAD", b"/ok?x=1", b"", 2.5)
    assert headers[b"Host"] == b"inner.test" and limit > 0


def test_an_upstream_is_well_until_it_has_failed_often_enough() -> None:
    scene = Scene(ActiveCheck(unhealthy_threshold=3))
    scene.prober.start()
    assert scene.prober.well and not scene.prober.known
    for status in (500, 404):
        scene.next()
        scene.client.answer(status)
    assert scene.prober.well and scene.told == 0
    scene.next()
    scene.client.fail(UpstreamError("connect", "connection refused", "10.0.0.9:80: Connection refused"))
    assert not scene.prober.well and scene.told == 1
    assert scene.prober.cause == "connect: connection refused"
    assert scene.prober.detail == "10.0.0.9:80: Connection refused"
    assert (scene.prober.probes, scene.prober.failed) == (3, 3)


def test_it_is_well_again_after_so_many_good_answers() -> None:
    scene = Scene(ActiveCheck(unhealthy_threshold=1, healthy_threshold=2))
    scene.prober.start()
    for status, well in ((503, False), (200, False), (503, False), (200, False), (204, True)):
        scene.next()
        scene.client.answer(status)
        assert scene.prober.well is well
    assert scene.told == 2


def test_the_first_good_answer_is_told() -> None:
    scene = Scene()
    scene.prober.start()
    for _ in range(3):
        scene.next()
        scene.client.answer(200)
    assert scene.prober.known and scene.told == 1


def test_the_expected_statuses_decide() -> None:
    check = ActiveCheck(expected=((200, 200), (401, 403)))
    assert [s for s in (199, 200, 201, 400, 401, 402, 403, 404) if check.expects(s)] == [200, 401, 402, 403]


@pytest.mark.parametrize(("random", "first", "then"), [(0.0, 0.0, 9.0), (0.5, 0.5, 10.0), (1.0, 1.0, 11.0)])
def test_probes_are_spread(random: float, first: float, then: float) -> None:
    scene = Scene(ActiveCheck(interval=10.0), random)
    scene.prober.start()
    assert scene.prober.wait() == pytest.approx(first)
    scene.next()
    scene.client.answer(200)
    assert scene.prober.wait() == pytest.approx(then)


def test_the_next_probe_waits_for_the_last_one() -> None:
    scene = Scene(ActiveCheck(interval=10.0))
    scene.prober.start()
    scene.next()
    scene.clock.advance(100)
    assert len(scene.client.asked) == 1


def test_stop_gives_up_the_probe_under_way_and_plans_none() -> None:
    scene = Scene()
    scene.prober.start()
    scene.next()
    scene.prober.stop()
    assert scene.client.cancelled == 1
    assert (scene.prober.probes, scene.clock.getDelayedCalls()) == (0, [])
    scene.prober.stop()


def test_stop_before_the_first_probe() -> None:
    scene = Scene()
    scene.prober.start()
    scene.prober.stop()
    scene.clock.advance(100)
    assert scene.client.asked == []


def test_start_twice_probes_once_and_after_stop_again() -> None:
    scene = Scene()
    scene.prober.start()
    scene.prober.start()
    scene.next()
    scene.prober.start()
    scene.prober.stop()
    scene.client.pending.clear()
    scene.prober.start()
    scene.next()
    assert len(scene.client.asked) == 2


def test_a_client_that_raises_is_a_failed_probe_and_seen(logged_errors: Any) -> None:
    scene = Scene(ActiveCheck(unhealthy_threshold=1))

    def request(*args: Any, **kwargs: Any) -> Deferred[Any]:
        raise TypeError("wrong")

    scene.client.request = request  # type: ignore[method-assign]
    scene.prober.start()
    scene.clock.advance(1)
    assert not scene.prober.well and scene.prober.cause == "the probe went wrong"
    assert scene.prober.wait() > 0, "it goes on"
    assert [event["log_failure"].type for event in logged_errors.take()] == [TypeError]


def test_a_listener_that_raises_does_not_end_the_probing(logged_errors: Any) -> None:
    scene = Scene()

    def broken() -> None:
        raise RuntimeError("listener")

    scene.prober.changed = broken
    scene.prober.start()
    scene.next()
    scene.client.answer(200)
    assert len(logged_errors.take()) == 1
    scene.next()


def test_a_request_cancelled_from_elsewhere_counts_as_failed(logged_errors: Any) -> None:
    scene = Scene(ActiveCheck(unhealthy_threshold=1))
    scene.prober.start()
    scene.next()
    scene.client.fail(CancelledError())
    assert not scene.prober.well
    assert len(logged_errors.take()) == 1


@given(st.integers(1, 5), st.integers(1, 5), st.lists(st.booleans(), max_size=60))
def test_thresholds_follow_the_last_run(healthy: int, unhealthy: int, results: list[bool]) -> None:
    thresholds = Thresholds(healthy, unhealthy)
    well, history = True, []
    for ok in results:
        history.append(ok)
        need = healthy if not well else unhealthy
        run = history[-need:]
        if len(run) == need and all(r is (not well) for r in run):
            well = not well
            history.clear()
        thresholds.record(ok)
        assert thresholds.well is well


class TestOutlier:
    def detector(self, clock: Clock, **limits: float) -> OutlierDetector:
        return OutlierDetector(PassiveCheck(**limits), clock.seconds)  # type: ignore[arg-type]

    def test_ejects_after_errors_in_a_row(self) -> None:
        clock = Clock()
        outlier = self.detector(clock, consecutive_errors=3, ejection_time=30)
        assert not outlier.record(False) and not outlier.record(False)
        outlier.record(True)
        assert [outlier.record(False, "status 500") for _ in range(3)] == [False, False, True]
        assert (outlier.wait(), outlier.cause, outlier.ejections) == (30, "status 500", 1)
        clock.advance(30)
        assert outlier.wait() == 0

    def test_errors_far_apart_do_not_count(self) -> None:
        clock = Clock()
        outlier = self.detector(clock, consecutive_errors=2, window=10)
        outlier.record(False)
        clock.advance(11)
        assert not outlier.record(False)
        clock.advance(10)
        assert outlier.record(False)

    def test_what_was_under_way_does_not_prolong_it(self) -> None:
        clock = Clock()
        outlier = self.detector(clock, consecutive_errors=1, ejection_time=30)
        assert outlier.record(False)
        clock.advance(10)
        assert not outlier.record(False)
        assert outlier.wait() == 20

    def test_repeated_ejections_last_longer_up_to_the_limit_and_start_again_after_a_good_time(self) -> None:
        clock = Clock()
        outlier = self.detector(clock, consecutive_errors=1, ejection_time=10, max_ejection_time=25)
        lengths = []
        for _ in range(4):
            outlier.record(False)
            lengths.append(outlier.wait())
            clock.advance(outlier.wait())
        assert lengths == [10, 20, 25, 25]
        clock.advance(26)
        outlier.record(False)
        assert outlier.wait() == 10
