"""Token buckets, concurrency, and the bounded table of callers."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from twisted.internet.task import Clock

from ksproxyd.upstream.flow import Bucket, FlowControl, FlowLimits, Rate, Refusal, client_key

ANYONE = ("alice", "10.0.0.1")


@pytest.fixture
def clock() -> Clock:
    return Clock()


def admitted(flow: FlowControl, user: str = "alice", client: str = "10.0.0.1") -> tuple[Bucket, ...]:
    verdict = flow.admit(user, client)
    assert isinstance(verdict, tuple), verdict
    return verdict


def refused(flow: FlowControl, user: str = "alice", client: str = "10.0.0.1") -> Refusal:
    verdict = flow.admit(user, client)
    assert isinstance(verdict, Refusal), verdict
    return verdict


def test_a_burst_then_the_rate(clock: Clock) -> None:
    flow = FlowControl(FlowLimits(total=Rate(2.0, 3)), clock.seconds)
    for _ in range(3):
        admitted(flow)
    refusal = refused(flow)
    assert (refusal.retry_after, refusal.concurrency) == (0.5, False)
    assert refusal.limit == "2 requests per second of all callers together"
    clock.advance(0.5)
    admitted(flow)
    refused(flow)


def test_the_burst_is_the_rate_rounded_up_where_none_is_given() -> None:
    assert [Rate(rate).depth for rate in (0.1, 1.0, 2.5, 100.0)] == [1, 1, 3, 100]


def test_concurrency_comes_back_with_release(clock: Clock) -> None:
    flow = FlowControl(FlowLimits(total=Rate(max_concurrent=1)), clock.seconds)
    inside = admitted(flow)
    assert refused(flow).concurrency
    flow.release(inside)
    admitted(flow)


def test_each_user_has_its_own(clock: Clock) -> None:
    flow = FlowControl(FlowLimits(per_user=Rate(1.0, 1)), clock.seconds)
    admitted(flow, "alice")
    assert refused(flow, "alice").limit == "1 requests per second of one user"
    admitted(flow, "bob")


def test_requests_without_credentials_do_not_share_one_allowance(clock: Clock) -> None:
    flow = FlowControl(FlowLimits(per_user=Rate(1.0, 1)), clock.seconds)
    admitted(flow, "system:anonymous", "10.0.0.1")
    refused(flow, "system:anonymous", "10.0.0.1")
    admitted(flow, "system:anonymous", "10.0.0.2")
    # A user may be called like an address.
    admitted(flow, "10.0.0.1", "10.0.0.3")


def test_a_client_with_ipv6_is_its_64(clock: Clock) -> None:
    flow = FlowControl(FlowLimits(per_client=Rate(1.0, 1)), clock.seconds)
    admitted(flow, "a", "2001:db8::1")
    refused(flow, "b", "2001:db8::ffff:1")
    admitted(flow, "c", "2001:db8:0:1::1")


@pytest.mark.parametrize("address", ["fe80::1%eth0", "", "no:address", "a\0:b", "10.0.0.1", "é"])
def test_any_address_has_a_key(address: str) -> None:
    assert client_key(address) == address.encode()


def test_a_refusal_takes_nothing(clock: Clock) -> None:
    limits = FlowLimits(total=Rate(1.0, 2), per_user=Rate(1.0, 1), per_client=Rate(max_concurrent=9))
    flow = FlowControl(limits, clock.seconds)
    admitted(flow, "alice")
    for _ in range(5):
        refused(flow, "alice")
    admitted(flow, "bob")


def test_the_table_forgets_callers_whose_bucket_is_full_again(clock: Clock) -> None:
    flow = FlowControl(FlowLimits(per_user=Rate(1.0, 1)), clock.seconds, max_keys=2)
    flow.release(admitted(flow, "a"))
    flow.release(admitted(flow, "b"))
    clock.advance(1)
    flow.release(admitted(flow, "c"))
    assert flow._users is not None and len(flow._users) == 2
    admitted(flow, "a")


def test_a_flood_of_new_callers_gets_no_fresh_buckets(clock: Clock) -> None:
    flow = FlowControl(FlowLimits(per_user=Rate(1.0, 1)), clock.seconds, max_keys=3)
    through = sum(isinstance(flow.admit(f"user-{n}", "10.0.0.1"), tuple) for n in range(1000))
    # Three with a bucket of their own and one for all the others.
    assert through == 4
    assert flow._users is not None and len(flow._users) == 3


def test_a_caller_with_something_in_flight_is_not_forgotten(clock: Clock) -> None:
    flow = FlowControl(FlowLimits(per_user=Rate(max_concurrent=1)), clock.seconds, max_keys=1)
    inside = admitted(flow, "a")
    shared = admitted(flow, "b")
    refused(flow, "c")
    refused(flow, "a")
    flow.release(shared)
    flow.release(inside)
    admitted(flow, "c")


@given(
    rate=st.floats(0.01, 1000),
    burst=st.integers(0, 50),
    steps=st.lists(st.tuples(st.floats(0, 5), st.integers(0, 20)), max_size=60),
)
def test_a_bucket_never_gives_more_than_rate_times_time_plus_burst(
    rate: float, burst: int, steps: list[tuple[float, int]]
) -> None:
    clock = Clock()
    limit = Rate(rate, burst)
    flow = FlowControl(FlowLimits(total=limit), clock.seconds)
    through = 0
    for wait, requests in steps:
        clock.advance(wait)
        for _ in range(requests):
            verdict = flow.admit(*ANYONE)
            if isinstance(verdict, Refusal):
                assert 0 < verdict.retry_after <= (1 + 1e-9) / rate
            else:
                through += 1
        assert through <= rate * clock.seconds() * (1 + 1e-9) + limit.depth + 1e-6


class Concurrency(RuleBasedStateMachine):
    """Requests of a few callers come and go under limits of every kind."""

    @initialize(
        total=st.integers(0, 5), user=st.integers(0, 3), client=st.integers(0, 3), keys=st.sampled_from([1, 2, 8])
    )
    def begin(self, total: int, user: int, client: int, keys: int) -> None:
        self.limits = [total, user, client]
        #: While the table is full, a caller may hold the shared bucket and then one of its own.
        self.times = 1 if keys == 8 else 2
        self.clock = Clock()
        rates = [Rate(max_concurrent=limit) for limit in self.limits]
        self.flow = FlowControl(FlowLimits(*rates), self.clock.seconds, keys)
        self.inside: deque[tuple[str, str, tuple[Bucket, ...]]] = deque()

    @rule(user=st.sampled_from("abcd"), client=st.sampled_from(["1.1.1.1", "2.2.2.2", "::1", "::2"]))
    def enter(self, user: str, client: str) -> None:
        verdict = self.flow.admit(user, client)
        if isinstance(verdict, tuple):
            self.inside.append((user, client, verdict))

    @precondition(lambda self: self.inside)
    @rule(which=st.integers(0, 100))
    def leave(self, which: int) -> None:
        self.inside.rotate(which)
        self.flow.release(self.inside.pop()[2])

    @rule(seconds=st.floats(0, 10))
    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @invariant()
    def no_limit_is_passed_and_nothing_is_negative(self) -> None:
        total, user, client = self.limits
        assert not total or len(self.inside) <= total
        for name in "abcd":
            assert not user or sum(entry[0] == name for entry in self.inside) <= user * self.times
        for key in {client_key(entry[1]) for entry in self.inside}:
            assert not client or sum(client_key(entry[1]) == key for entry in self.inside) <= client * self.times
        assert all(bucket.in_flight > 0 for entry in self.inside for bucket in entry[2])

    def teardown(self) -> None:
        if not hasattr(self, "inside"):
            return
        buckets = [bucket for entry in self.inside for bucket in entry[2]]
        for entry in self.inside:
            self.flow.release(entry[2])
        assert all(bucket.in_flight == 0 for bucket in buckets)


Concurrency.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestConcurrency = Concurrency.TestCase
