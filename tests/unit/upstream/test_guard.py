"""What a guard lets through, refuses, and says about it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from ksproxyd.model.identity import ANONYMOUS, Identity
from ksproxyd.model.status import StatusError
from ksproxyd.upstream.breaker import OPEN, BreakerLimits
from ksproxyd.upstream.flow import FlowLimits, Rate
from ksproxyd.upstream.guard import Condition, Guard, Protection
from ksproxyd.upstream.health import ActiveCheck, PassiveCheck
from ksproxyd.upstream.target import Target

TARGET = Target("http", "b.test", 80)


class FakeExchange:
    def __init__(self, user: str = "alice", client: str = "10.0.0.1") -> None:
        self.user = Identity(user) if user else ANONYMOUS
        self.client = client


class Answer:
    def __init__(self, status: int) -> None:
        self.status = status


class FakeClient:
    def __init__(self) -> None:
        self.status = 200
        self.asked = 0

    def request(self, *args: Any, **kwargs: Any) -> Deferred[Any]:
        self.asked += 1
        done: Deferred[Any] = Deferred()
        done.callback(Answer(self.status))
        return done


class Scene:
    def __init__(self, **parts: Any) -> None:
        self.clock = Clock()
        self.client = FakeClient()
        self.told = 0
        self.guard = Guard("ex", Protection(**parts), TARGET, self.client, self.clock, lambda: 0.5, self.tell)

    def tell(self) -> None:
        self.told += 1

    def enter(self, **who: str) -> FakeExchange:
        exchange = FakeExchange(**who)
        refused = self.guard.admit(exchange)
        assert refused is None, refused
        return exchange

    def refuse(self, **who: str) -> StatusError:
        refused = self.guard.admit(FakeExchange(**who))
        assert refused is not None
        return refused

    def serve(self, status: int) -> None:
        exchange = self.enter()
        self.guard.answered(exchange, status)
        self.guard.done(exchange)

    def break_off(self, kind: str = "connect", message: str = "connection refused") -> None:
        exchange = self.enter()
        self.guard.failed(exchange, kind, message)
        self.guard.done(exchange)


def test_an_empty_protection_is_false() -> None:
    assert not Protection()
    assert Protection(flow=FlowLimits())


def test_a_guard_fits_the_same_configuration_only() -> None:
    guard = Scene(passive=PassiveCheck()).guard
    same = Protection(passive=PassiveCheck())
    assert guard.fits("ex", same, Target("http", "b.test", 80))
    assert not guard.fits("other", same, TARGET)
    assert not guard.fits("ex", Protection(passive=PassiveCheck(window=1.0)), TARGET)
    assert not guard.fits("ex", same, Target("http", "b.test", 81))


def test_an_open_circuit_says_why_and_when_to_come_back() -> None:
    scene = Scene(breaker=BreakerLimits(consecutive_failures=5, open_duration=12))
    for _ in range(5):
        scene.break_off()
    error = scene.refuse()
    assert (error.code, error.reason, error.retry_after) == (503, "ServiceUnavailable", 12)
    assert error.message == (
        "upstream ex is not available: circuit open after 5 failures (connect: connection refused), next try in 12 s"
    )
    assert scene.guard.refusals.circuit_open == 1
    scene.clock.advance(11.5)
    assert scene.refuse().retry_after == 1
    scene.clock.advance(0.5)
    scene.serve(200)
    scene.serve(200)


@pytest.mark.parametrize("status", [502, 503, 504])
def test_gateway_failures_open_the_circuit(status: int) -> None:
    scene = Scene(breaker=BreakerLimits(consecutive_failures=1))
    scene.serve(status)
    assert f"(status {status})" in scene.refuse().message


@pytest.mark.parametrize("status", [101, 200, 302, 404, 429, 500, 501])
def test_other_answers_do_not(status: int) -> None:
    scene = Scene(breaker=BreakerLimits(consecutive_failures=1))
    scene.serve(status)
    scene.serve(status)


def test_clients_that_leave_say_nothing_about_the_upstream() -> None:
    scene = Scene(breaker=BreakerLimits(consecutive_failures=1), passive=PassiveCheck(consecutive_errors=1))
    for _ in range(10):
        scene.guard.done(scene.enter())
    scene.serve(200)


@pytest.mark.parametrize(
    ("ok", "kind", "why"),
    [
        (False, "503", "status 503"),
        (False, "connect", "connect"),
        (False, None, ""),
        (False, "500", ""),
        (False, "cancelled", ""),
        (True, None, ""),
        (None, None, ""),
    ],
)
def test_the_verdict_may_come_with_the_end(ok: bool | None, kind: str | None, why: str) -> None:
    scene = Scene(breaker=BreakerLimits(consecutive_failures=1))
    exchange = scene.enter()
    scene.guard.done(exchange, ok, kind)
    assert scene.guard.in_flight == 0
    if why:
        assert f"({why})" in scene.refuse().message
    else:
        scene.enter()


def test_the_first_verdict_counts() -> None:
    scene = Scene(breaker=BreakerLimits(consecutive_failures=1))
    exchange = scene.enter()
    scene.guard.answered(exchange, 200)
    scene.guard.failed(exchange, "closed")
    scene.guard.done(exchange)
    scene.serve(200)


def test_whatever_was_not_let_in_is_ignored() -> None:
    scene = Scene(breaker=BreakerLimits(consecutive_failures=1, max_parallel_requests=1))
    stranger = FakeExchange()
    scene.guard.failed(stranger, "connect")
    scene.guard.answered(stranger, 503)
    scene.guard.done(stranger)
    inside = scene.enter()
    scene.guard.done(inside)
    scene.guard.done(inside)
    scene.enter()
    assert scene.guard.in_flight == 1


def test_admitting_an_exchange_that_is_inside_counts_it_once() -> None:
    scene = Scene(flow=FlowLimits(total=Rate(1.0, 1)))
    exchange = scene.enter()
    assert scene.guard.admit(exchange) is None
    assert (scene.guard.admitted, scene.guard.in_flight) == (1, 1)


def test_no_more_than_so_many_in_flight() -> None:
    scene = Scene(breaker=BreakerLimits(max_parallel_requests=2))
    first = scene.enter()
    scene.enter()
    error = scene.refuse()
    assert (error.code, error.retry_after) == (503, 1)
    assert error.message == "upstream ex is not available: 2 requests are in flight, which is its limit"
    scene.guard.done(first)
    scene.enter()
    assert scene.guard.refusals.parallel == 1


def test_a_long_stream_is_judged_at_its_head_and_counted_to_its_end() -> None:
    scene = Scene(breaker=BreakerLimits(consecutive_failures=1, open_duration=10, max_parallel_requests=2))
    scene.break_off()
    scene.clock.advance(10)
    watch = scene.enter()
    scene.guard.answered(watch, 200)
    assert scene.guard.breaker is not None and scene.guard.breaker.state != OPEN
    scene.enter()
    scene.refuse()
    scene.guard.done(watch)
    scene.enter()


def test_a_request_refused_by_flow_control_takes_no_probe_of_the_circuit() -> None:
    scene = Scene(
        breaker=BreakerLimits(consecutive_failures=1, open_duration=10), flow=FlowLimits(per_client=Rate(0.01, 1))
    )
    scene.break_off()
    scene.clock.advance(10)
    assert scene.refuse().code == 429
    scene.enter(client="10.0.0.2")


def test_too_many_requests_say_whose_and_when_to_come_back() -> None:
    scene = Scene(flow=FlowLimits(per_user=Rate(0.1, 1)))
    scene.enter()
    error = scene.refuse()
    assert (error.code, error.reason, error.retry_after) == (429, "TooManyRequests", 10)
    assert error.message == "too many requests to upstream ex: 0.1 requests per second of one user is its limit"
    assert scene.guard.refusals.rate == 1
    scene.enter(user="bob")


def test_concurrency_is_given_back() -> None:
    scene = Scene(flow=FlowLimits(total=Rate(max_concurrent=1)))
    inside = scene.enter()
    assert scene.refuse().message.endswith("1 requests of all callers together in flight is its limit")
    assert scene.guard.refusals.concurrency == 1
    scene.guard.done(inside)
    scene.enter()


def test_a_failing_health_check_refuses_until_it_passes() -> None:
    scene = Scene(active=ActiveCheck(unhealthy_threshold=2, interval=10))
    scene.client.status = 500
    scene.guard.start()
    scene.clock.advance(0.5)
    scene.enter()
    scene.clock.advance(10)
    error = scene.refuse()
    assert (error.code, error.retry_after) == (503, 10)
    assert error.message == (
        "upstream ex is not available: its health check fails (status 500), next check in 10 s"
    )
    scene.client.status = 200
    scene.clock.advance(10)
    scene.enter()
    assert scene.guard.refusals.unhealthy == 1
    scene.guard.stop()
    assert scene.clock.getDelayedCalls() == []


def test_errors_eject_for_a_while_and_the_return_is_told() -> None:
    scene = Scene(passive=PassiveCheck(consecutive_errors=2, ejection_time=30))
    scene.guard.start()
    scene.serve(500)
    scene.break_off("timeout", "")
    assert scene.told == 1
    error = scene.refuse()
    assert (error.code, error.retry_after) == (503, 30)
    assert error.message == "upstream ex is not available: ejected after 2 errors (timeout), next try in 30 s"
    assert scene.guard.conditions() == [
        Condition("UpstreamHealthy", "False", "Ejected", "left alone for a while after 2 errors in a row: timeout")
    ]
    scene.clock.advance(30)
    assert scene.told == 2
    assert scene.guard.conditions()[0].status == "True"
    scene.serve(200)


def test_stop_leaves_nothing_timed_and_those_inside_may_end() -> None:
    scene = Scene(
        active=ActiveCheck(), passive=PassiveCheck(consecutive_errors=1), breaker=BreakerLimits(consecutive_failures=1)
    )
    scene.guard.start()
    late, later = scene.enter(), scene.enter()
    scene.break_off()
    scene.guard.stop()
    assert scene.clock.getDelayedCalls() == []
    scene.guard.answered(late, 200)
    scene.clock.advance(1000)
    scene.guard.failed(later, "closed")
    scene.guard.done(late)
    scene.guard.done(later)
    assert scene.clock.getDelayedCalls() == [] and scene.guard.in_flight == 0


def test_conditions_of_everything() -> None:
    scene = Scene(active=ActiveCheck(path="/ok", unhealthy_threshold=1), breaker=BreakerLimits(consecutive_failures=1))
    assert scene.guard.conditions() == [
        Condition("UpstreamHealthy", "Unknown", "NotProbed", "no probe has ended yet"),
        Condition("CircuitClosed", "True", "Closed", "requests are let through"),
    ]
    scene.guard.start()
    scene.clock.advance(0.5)
    assert scene.guard.conditions()[0] == Condition(
        "UpstreamHealthy", "True", "ProbeSucceeded", "GET /ok is answered as expected"
    )
    scene.break_off()
    opened = Condition("CircuitClosed", "False", "Open", "open after 1 failure in a row: connect: connection refused")
    assert scene.guard.conditions()[1] == opened
    scene.clock.advance(30)
    scene.break_off()
    assert scene.guard.conditions()[1] == opened
    scene.client.status = 503
    scene.clock.advance(10)
    assert scene.guard.conditions()[0] == Condition(
        "UpstreamHealthy", "False", "ProbeFailed", "1 probe in a row failed: status 503"
    )
    scene.guard.stop()


def test_no_conditions_where_nothing_has_a_state() -> None:
    assert Scene(flow=FlowLimits(total=Rate(1.0))).guard.conditions() == []


class Traffic(RuleBasedStateMachine):
    """Requests end in every way, in any order, some twice."""

    @initialize(parallel=st.integers(0, 4), concurrent=st.integers(0, 4), probes=st.integers(1, 3))
    def begin(self, parallel: int, concurrent: int, probes: int) -> None:
        self.parallel, self.concurrent, self.probes = parallel, concurrent, probes
        self.scene = Scene(
            breaker=BreakerLimits(2, 5.0, probes, parallel),
            passive=PassiveCheck(4, 10.0, 5.0, 20.0),
            flow=FlowLimits(total=Rate(max_concurrent=concurrent), per_client=Rate(5.0, 3)),
        )
        self.scene.guard.start()
        self.inside: list[FakeExchange] = []
        self.over: list[FakeExchange] = []

    @rule(client=st.sampled_from(["1.1.1.1", "2.2.2.2"]))
    def enter(self, client: str) -> None:
        exchange = FakeExchange(client=client)
        error = self.scene.guard.admit(exchange)
        if error is None:
            self.inside.append(exchange)
        else:
            assert error.code in (429, 503) and error.retry_after is not None and error.retry_after >= 1

    @precondition(lambda self: self.inside)
    @rule(data=st.data(), how=st.sampled_from(["good", "bad", "broken", "both", "gone"]), twice=st.booleans())
    def leave(self, data: st.DataObject, how: str, twice: bool) -> None:
        exchange = self.inside.pop(data.draw(st.integers(0, len(self.inside) - 1)))
        guard = self.scene.guard
        if how in ("good", "both"):
            guard.answered(exchange, 200)
        if how in ("broken", "both"):
            guard.failed(exchange, "closed")
        if how == "bad":
            guard.answered(exchange, 503)
        for _ in range(1 + twice):
            guard.done(exchange)
        self.over.append(exchange)

    @precondition(lambda self: self.over)
    @rule()
    def repeat(self) -> None:
        self.scene.guard.failed(self.over[-1], "connect")
        self.scene.guard.done(self.over[-1])

    @rule(seconds=st.floats(0, 12))
    def advance(self, seconds: float) -> None:
        self.scene.clock.advance(seconds)

    @invariant()
    def counted_right(self) -> None:
        guard = self.scene.guard
        assert guard.in_flight == len(self.inside)
        assert not self.parallel or guard.in_flight <= self.parallel
        assert not self.concurrent or guard.in_flight <= self.concurrent

    def teardown(self) -> None:
        if not hasattr(self, "inside"):
            return
        guard = self.scene.guard
        for exchange in self.inside:
            guard.done(exchange)
        assert guard.in_flight == 0
        guard.stop()
        assert self.scene.clock.getDelayedCalls() == []
        # Nothing is stuck: after the longest wait everybody comes in again.
        self.scene.clock.advance(60)
        self.scene.serve(200)


Traffic.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestTraffic = Traffic.TestCase
