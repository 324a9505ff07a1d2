"""The circuit breaker."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule
from twisted.internet.task import Clock

from ksproxyd.upstream.breaker import CLOSED, HALF_OPEN, OPEN, BreakerLimits, CircuitBreaker


@pytest.fixture
def clock() -> Clock:
    return Clock()


def breaker(clock: Clock, **limits: float) -> CircuitBreaker:
    return CircuitBreaker(BreakerLimits(**limits), clock.seconds)


def fail(circuit: CircuitBreaker, times: int) -> None:
    for _ in range(times):
        circuit.judge(circuit.enter(), False, "connect")


def test_opens_after_so_many_failures_in_a_row(clock: Clock) -> None:
    circuit = breaker(clock, consecutive_failures=3)
    fail(circuit, 2)
    circuit.judge(circuit.enter(), True)
    fail(circuit, 2)
    assert circuit.state is CLOSED
    fail(circuit, 1)
    assert (circuit.state, circuit.opened, circuit.cause) == (OPEN, 1, "connect")


def test_open_refuses_until_its_time_is_over(clock: Clock) -> None:
    circuit = breaker(clock, consecutive_failures=1, open_duration=30)
    fail(circuit, 1)
    assert (circuit.enter(), circuit.wait()) == (0, 30)
    clock.advance(29.5)
    assert (circuit.enter(), circuit.wait()) == (0, 0.5)
    clock.advance(0.5)
    assert circuit.wait() == 0
    assert circuit.enter() and circuit.state is HALF_OPEN


def test_half_open_lets_a_few_through_and_closes_when_they_succeed(clock: Clock) -> None:
    circuit = breaker(clock, consecutive_failures=1, open_duration=10, half_open_requests=2)
    fail(circuit, 1)
    clock.advance(10)
    first, second = circuit.enter(), circuit.enter()
    assert first and second and circuit.enter() == 0
    circuit.judge(first, True)
    assert (circuit.state, circuit.enter()) == (HALF_OPEN, 0)
    circuit.judge(second, True)
    assert circuit.state is CLOSED and circuit.enter()


def test_a_failed_probe_opens_again_for_the_whole_time(clock: Clock) -> None:
    circuit = breaker(clock, consecutive_failures=4, open_duration=10)
    fail(circuit, 4)
    clock.advance(10)
    circuit.judge(circuit.enter(), False, "timeout")
    assert (circuit.state, circuit.wait(), circuit.cause, circuit.opened) == (OPEN, 10, "timeout", 2)


def test_a_cancelled_probe_gives_its_place_back(clock: Clock) -> None:
    circuit = breaker(clock, consecutive_failures=1, open_duration=10)
    fail(circuit, 1)
    clock.advance(10)
    circuit.cancel(circuit.enter())
    assert circuit.state is HALF_OPEN and circuit.wait() == 0 and circuit.enter()


def test_a_verdict_from_before_the_opening_decides_nothing(clock: Clock) -> None:
    circuit = breaker(clock, consecutive_failures=1, open_duration=10)
    old = circuit.enter()
    fail(circuit, 1)
    circuit.judge(old, True)
    assert circuit.state is OPEN
    clock.advance(10)
    probe = circuit.enter()
    circuit.judge(old, True)
    circuit.judge(old, False, "late")
    circuit.cancel(old)
    assert circuit.state is HALF_OPEN and circuit.enter() == 0
    circuit.judge(probe, True)
    assert circuit.state is CLOSED


def test_a_probe_that_never_ends_does_not_keep_the_circuit_half_open(clock: Clock) -> None:
    circuit = breaker(clock, consecutive_failures=1, open_duration=10)
    fail(circuit, 1)
    clock.advance(10)
    stuck = circuit.enter()
    assert circuit.wait() == 10
    clock.advance(10)
    fresh = circuit.enter()
    assert fresh and fresh != stuck
    circuit.judge(stuck, False, "timeout")
    assert circuit.state is HALF_OPEN
    circuit.judge(fresh, True)
    assert circuit.state is CLOSED


def test_every_change_of_state_is_told(clock: Clock) -> None:
    seen: list[str] = []
    circuit = CircuitBreaker(
        BreakerLimits(consecutive_failures=1, open_duration=1), clock.seconds, lambda: seen.append(circuit.state)
    )
    fail(circuit, 1)
    clock.advance(1)
    circuit.judge(circuit.enter(), True)
    assert seen == [OPEN, HALF_OPEN, CLOSED]


class Circuit(RuleBasedStateMachine):
    """Any order of requests, verdicts, cancellations and passing time."""

    requests = Bundle("requests")

    @initialize(failures=st.integers(1, 4), probes=st.integers(1, 4), duration=st.integers(1, 20))
    def begin(self, failures: int, probes: int, duration: int) -> None:
        self.clock = Clock()
        self.limits = BreakerLimits(failures, float(duration), probes)
        self.circuit = CircuitBreaker(self.limits, self.clock.seconds)
        #: Probes of the present half-open phase that are out, by epoch.
        self.out: list[int] = []

    @rule(target=requests)
    def enter(self) -> int:
        wait = self.circuit.wait()
        before = self.circuit.state
        epoch = self.circuit.enter()
        assert (epoch == 0) == (wait > 0), "wait() and enter() disagree"
        if before is CLOSED:
            assert epoch, "a closed circuit refuses nothing"
        if epoch and self.circuit.state is HALF_OPEN:
            self.out.append(epoch)
        return epoch

    @rule(epoch=consumes(requests), ok=st.booleans())
    def judge(self, epoch: int, ok: bool) -> None:
        if epoch:
            self.circuit.judge(epoch, ok, "x")
            self.forget(epoch)

    @rule(epoch=consumes(requests))
    def cancel(self, epoch: int) -> None:
        if epoch:
            self.circuit.cancel(epoch)
            self.forget(epoch)

    @rule(seconds=st.floats(0, 25))
    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def forget(self, epoch: int) -> None:
        if epoch in self.out:
            self.out.remove(epoch)

    @invariant()
    def never_more_probes_than_allowed(self) -> None:
        if self.circuit.state is HALF_OPEN:
            newest = max(self.out, default=0)
            assert self.out.count(newest) <= self.limits.half_open_requests

    @invariant()
    def an_open_circuit_always_comes_back(self) -> None:
        assert 0 <= self.circuit.wait() <= self.limits.open_duration + 1e-9


Circuit.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestCircuit = Circuit.TestCase
