"""Leadership through a Lease: never two at once, always one in the end."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer

from ksproxyd.kube.errors import KubeError, KubeUnreachable, failure_status
from ksproxyd.kube.pacing import pause
from ksproxyd.kube.resource import Resource
from ksproxyd.state.election import DEADLINE, DURATION, PERIOD, Alone, LeaseElection


class Way:
    """A way to the API server, which may be slow there (``delay``) or back (``late``), or closed."""

    def __init__(self, clock: Clock, server: Leases) -> None:
        self.clock = clock
        self.server = server
        self.error: Exception | None = None
        self.delay = 0.0
        self.late = 0.0

    async def take(self, call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        if self.delay:
            await pause(self.clock, self.delay)
        if self.error is not None:
            raise self.error
        answer = call()
        if self.late:
            await pause(self.clock, self.late)
        return answer

    async def get(self, resource: Resource, name: str, namespace: str) -> dict[str, Any]:
        return await self.take(lambda: self.server.get(resource, name, namespace))

    async def create(self, resource: Resource, body: dict[str, Any], namespace: str) -> dict[str, Any]:
        return await self.take(lambda: self.server.create(body))

    async def update(self, resource: Resource, body: dict[str, Any]) -> dict[str, Any]:
        return await self.take(lambda: self.server.update(body))


class Leases:
    """An API server that has one Lease."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.version = 0

    def get(self, resource: Resource, name: str, namespace: str) -> dict[str, Any]:
        assert (resource.plural, namespace, name) == ("leases", "ns", "writer")
        if self.lease is None:
            raise KubeError(failure_status(404, "NotFound", "no such lease"))
        return copy.deepcopy(self.lease)

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        if self.lease is not None:
            raise KubeError(failure_status(409, "AlreadyExists", "it exists"))
        return self._store(body)

    def update(self, body: dict[str, Any]) -> dict[str, Any]:
        assert self.lease is not None
        if body["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            raise KubeError(failure_status(409, "Conflict", "it was changed"))
        return self._store(body)

    def _store(self, body: dict[str, Any]) -> dict[str, Any]:
        self.version += 1
        self.lease = copy.deepcopy(body)
        self.lease["metadata"] = body["metadata"] | {"resourceVersion": str(self.version)}
        return copy.deepcopy(self.lease)


class Gateway:
    """One candidate, with its own way to the API server."""

    def __init__(self, clock: Clock, server: Leases, name: str = "a", error: Exception | None = None) -> None:
        self.way = Way(clock, server)
        self.way.error = error
        self.changes: list[bool] = []
        client: Any = self.way
        self.election = LeaseElection(
            clock, lambda: 1_800_000_000.25 + clock.seconds(), client, "ns", "writer", name, lambda: 0.0
        )
        self.election.start(lambda: self.changes.append(self.election.leading))


def world(*names: str) -> tuple[Clock, Leases, list[Gateway]]:
    clock = Clock()
    server = Leases()
    return clock, server, [Gateway(clock, server, name) for name in names]


def pass_time(clock: Clock, seconds: float) -> None:
    clock.pump([0.25] * int(seconds * 4))


def test_the_first_one_leads() -> None:
    clock, server, (one,) = world("a")
    assert one.election.leading and one.changes == [True]
    assert server.lease is not None
    assert server.lease["metadata"] == {"name": "writer", "namespace": "ns", "resourceVersion": "1"}
    assert server.lease["spec"] == {
        "holderIdentity": "a",
        "leaseDurationSeconds": 15,
        "acquireTime": "2027-01-15T08:00:00.250000Z",
        "renewTime": "2027-01-15T08:00:00.250000Z",
        "leaseTransitions": 0,
    }
    pass_time(clock, 60)
    assert one.election.leading and one.changes == [True]
    assert server.lease["spec"]["acquireTime"] < server.lease["spec"]["renewTime"]


def test_the_second_one_waits() -> None:
    clock, _, (one, two) = world("a", "b")
    pass_time(clock, 60)
    assert one.election.leading and not two.election.leading and not two.changes


def test_a_lease_that_is_given_back_is_taken_soon() -> None:
    clock, server, (one, two) = world("a", "b")
    one.election.stop()
    assert one.changes == [True, False]
    pass_time(clock, PERIOD + 0.25)
    assert two.election.leading
    assert server.lease is not None and server.lease["spec"]["leaseTransitions"] == 1
    assert len(clock.getDelayedCalls()) == 2


def test_a_lease_that_is_not_renewed_runs_out() -> None:
    clock, _, (one, two) = world("a", "b")
    pass_time(clock, 5)
    one.way.error = KubeUnreachable("no way", "connect")
    begun = clock.seconds()
    while one.election.leading:
        assert not two.election.leading
        pass_time(clock, 0.25)
    assert clock.seconds() - begun <= DEADLINE
    while not two.election.leading:
        pass_time(clock, 0.25)
    assert clock.seconds() - begun <= DURATION + 2 * PERIOD
    one.way.error = None
    pass_time(clock, 30)
    assert two.election.leading and not one.election.leading


def test_a_request_that_hangs_ends_the_leadership_in_time() -> None:
    clock, _, (one, two) = world("a", "b")
    pass_time(clock, 4)
    one.way.delay = 40.0
    pass_time(clock, DEADLINE + PERIOD)
    assert not one.election.leading
    pass_time(clock, 70)
    # The answer that came too late changes nothing.
    assert one.changes == [True, False] and two.election.leading


def test_the_length_of_somebody_elses_lease_is_theirs_to_say() -> None:
    clock, server, (one,) = world("a")
    one.election.stop()
    assert server.lease is not None
    server.lease["spec"] |= {"holderIdentity": "other", "leaseDurationSeconds": 60}
    two = Gateway(clock, server, "b")
    pass_time(clock, 59)
    assert not two.election.leading
    pass_time(clock, 5)
    assert two.election.leading


def test_an_answer_that_comes_too_late_is_no_leadership() -> None:
    clock, _, (one, two) = world("a", "b")
    pass_time(clock, 4)
    one.way.late = 12.0
    pass_time(clock, 40)
    assert one.changes == [True, False] and two.election.leading


@pytest.mark.parametrize("spec", [None, {}, [], {"holderIdentity": 5}, {"holderIdentity": "", "leaseTransitions": "x"}])
def test_a_lease_of_any_shape_that_nobody_holds_is_taken(spec: Any) -> None:
    clock = Clock()
    server = Leases()
    server.lease = {"metadata": {"name": "writer", "namespace": "ns", "resourceVersion": "x"}, "spec": spec}
    one = Gateway(clock, server)
    assert one.election.leading
    assert server.lease["spec"]["holderIdentity"] == "a"


def test_what_keeps_it_from_leading_is_said_once() -> None:
    clock = Clock()
    server = Leases()
    forbidden = KubeError(failure_status(403, "Forbidden", "leases is forbidden"))
    lines: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event["log_level"] is LogLevel.warn:
            lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    try:
        one = Gateway(clock, server, error=forbidden)
        pass_time(clock, 20)
    finally:
        globalLogPublisher.removeObserver(observe)
    assert not one.election.leading and len(lines) == 1 and "leases is forbidden" in lines[0]
    one.way.error = None
    pass_time(clock, PERIOD)
    assert one.election.leading


def test_a_bug_is_logged_and_the_next_look_comes(logged_errors: Any) -> None:
    clock, _, (one,) = world("a")
    one.way.error = ZeroDivisionError()
    pass_time(clock, PERIOD)
    assert len(logged_errors.take()) == 1
    one.way.error = None
    pass_time(clock, PERIOD)
    assert one.election.leading


def test_stopping_while_a_request_is_under_way() -> None:
    clock, _, (one, two) = world("a", "b")
    for gateway in (one, two):
        gateway.way.delay = 5.0
    pass_time(clock, PERIOD)
    stopped = [gateway.election.stop() for gateway in (one, two)]
    pass_time(clock, 20)
    assert all(done.called for done in stopped)
    assert not clock.getDelayedCalls()


def test_a_lease_that_cannot_be_given_back() -> None:
    _, _, (one,) = world("a")
    one.way.error = KubeUnreachable("no way", "connect")
    done = one.election.stop()
    assert done.called and not one.election.leading


def test_alone() -> None:
    alone = Alone()
    alone.start(lambda: None)
    assert alone.leading and alone.stop().called


troubles = st.tuples(
    st.integers(0, 2),
    st.sampled_from(["away", "slow", "late", "well", "restart"]),
    st.integers(1, 80).map(lambda n: n / 4),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(troubles, max_size=12))
def test_whatever_happens_there_are_never_two(events: list[tuple[int, str, float]]) -> None:
    clock, server, gateways = world("a", "b", "c")
    for number, trouble, seconds in events:
        gateway = gateways[number]
        gateway.way.error = KubeUnreachable("no way", "connect") if trouble == "away" else None
        gateway.way.delay = 7.0 if trouble == "slow" else 0.0
        gateway.way.late = 11.0 if trouble == "late" else 0.0
        if trouble == "restart":
            gateway.election.stop()
            gateways[number] = Gateway(clock, server, f"{number}-{clock.seconds()}")
        for _ in range(int(seconds * 4)):
            pass_time(clock, 0.25)
            assert sum(gateway.election.leading for gateway in gateways) <= 1
    for gateway in gateways:
        gateway.way.error, gateway.way.delay, gateway.way.late = None, 0.0, 0.0
    pass_time(clock, DURATION + 40)
    assert sum(gateway.election.leading for gateway in gateways) == 1
    for gateway in gateways:
        gateway.election.stop()
