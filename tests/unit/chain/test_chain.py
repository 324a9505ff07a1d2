"""The chain: steps in their order, with and without waiting, and everything they may come to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ksproxyd.chain import SAMPLE, TAKEN, Chain
from ksproxyd.model.message import Response
from ksproxyd.model.status import StatusError, forbidden, not_found

Make = Callable[..., Any]


class Line:
    """A chain of named steps, each doing what it was given, and a record of what happened."""

    def __init__(self, *outcomes: Any, leaf: Any = None) -> None:
        self.ran: list[str] = []
        self.failures: list[Failure] = []
        self.timed: list[tuple[str, float]] = []
        self.clock = 0.0
        steps = [(f"s{n}", self._step(f"s{n}", outcome)) for n, outcome in enumerate(outcomes)]
        self.chain = Chain(
            steps,
            self._step("leaf", leaf),
            lambda exchange, failure: self.failures.append(failure),
            self._now,
            lambda name, seconds: self.timed.append((name, seconds)),
        )

    def _now(self) -> float:
        self.clock += 1.0
        return self.clock

    def _step(self, name: str, outcome: Any) -> Callable[[Any], Any]:
        def step(exchange: Any) -> Any:
            self.ran.append(name)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome(exchange) if callable(outcome) else outcome

        return step


@pytest.fixture(params=[1, SAMPLE], ids=["plain", "sampled"])
def rehearsed(request: pytest.FixtureRequest, exchange: Make) -> Callable[..., Line]:
    """Lines whose next exchange is an ordinary one, or one whose steps are timed."""

    def make(*outcomes: Any, leaf: Any = None) -> Line:
        line = Line(*outcomes, leaf=leaf)
        line.chain._count = request.param - 1
        return line

    return make


def test_all_steps_and_the_leaf(rehearsed: Callable[..., Line], exchange: Make) -> None:
    line = rehearsed(None, None, leaf=Response(200))
    request = exchange()
    line.chain.handle(request)
    assert line.ran == ["s0", "s1", "leaf"]
    assert request.status == 200
    assert request.on_gone is None


def test_an_answer_ends_it(rehearsed: Callable[..., Line], exchange: Make) -> None:
    line = rehearsed(None, Response(204), None)
    request = exchange()
    line.chain.handle(request)
    assert line.ran == ["s0", "s1"]
    assert request.status == 204


def test_taken_is_no_answer(rehearsed: Callable[..., Line], exchange: Make) -> None:
    line = rehearsed(TAKEN, None)
    request = exchange()
    line.chain.handle(request)
    assert line.ran == ["s0"]
    assert (request.status, request.finished) == (0, False)


def test_a_leaf_may_see_to_it_itself(rehearsed: Callable[..., Line], exchange: Make) -> None:
    line = rehearsed(None)
    request = exchange()
    line.chain.handle(request)
    assert (request.status, request.finished) == (0, False)


def test_a_refusal_ends_it(rehearsed: Callable[..., Line], exchange: Make) -> None:
    line = rehearsed(None, forbidden("no"), None)
    request = exchange()
    line.chain.handle(request)
    assert line.ran == ["s0", "s1"]
    assert request.status == 403


def test_a_mistake_is_the_servers_to_tell(rehearsed: Callable[..., Line], exchange: Make) -> None:
    line = rehearsed(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        line.chain.handle(exchange())


def test_a_refusal_of_what_is_answered_already_cuts_it(exchange: Make) -> None:
    def begin(request: Any) -> None:
        request.status = 200
        raise not_found("too late")

    request = exchange()
    Line(begin).chain.handle(request)
    assert request.aborted
    assert not request.answers


def test_steps_are_timed_once_in_a_while(exchange: Make) -> None:
    line = Line(None, leaf=Response(200))
    for _ in range(2 * SAMPLE):
        line.chain.handle(exchange())
    assert line.timed == [("s0", 1.0), ("node", 1.0)] * 2


def test_the_same_step_twice_is_a_mistake() -> None:
    def step(exchange: Any) -> None: ...

    with pytest.raises(ValueError, match="twice"):
        Chain([("a", step), ("b", step)], lambda e: None, lambda e, f: None, lambda: 0.0, lambda n, s: None)


# -- waiting -------------------------------------------------------------------------------------------------------


def test_waiting_for_a_step(rehearsed: Callable[..., Line], exchange: Make) -> None:
    waiting: Deferred[Response | None] = Deferred()
    line = rehearsed(None, waiting, None, leaf=Response(200))
    request = exchange()
    line.chain.handle(request)
    assert line.ran == ["s0", "s1"]
    assert not request.status
    waiting.callback(None)
    assert line.ran == ["s0", "s1", "s2", "leaf"]
    assert request.status == 200
    assert not line.failures


def test_waiting_for_an_answer(exchange: Make) -> None:
    waiting: Deferred[Response | None] = Deferred()
    line = Line(waiting, None)
    request = exchange()
    line.chain.handle(request)
    waiting.callback(Response(201))
    assert line.ran == ["s0"]
    assert request.status == 201


def test_waiting_for_somebody_who_takes_it(exchange: Make) -> None:
    waiting: Deferred[Response | None] = Deferred()
    line = Line(waiting, None)
    request = exchange()
    line.chain.handle(request)
    waiting.callback(TAKEN)
    assert line.ran == ["s0"]
    assert (request.status, request.finished) == (0, False)


def test_waiting_several_times(exchange: Make) -> None:
    deferreds: list[Deferred[Response | None]] = [Deferred() for _ in range(3)]
    line = Line(deferreds[0], deferreds[1], leaf=deferreds[2])
    request = exchange()
    line.chain.handle(request)
    for deferred in deferreds[:2]:
        deferred.callback(None)
    assert line.ran == ["s0", "s1", "leaf"]
    deferreds[2].callback(Response(200))
    assert request.status == 200


def test_coroutines(exchange: Make) -> None:
    waiting: Deferred[None] = Deferred()

    async def step(request: Any) -> None:
        await waiting

    async def leaf(request: Any) -> Response:
        return Response(200)

    line = Line(step, leaf=leaf)
    request = exchange()
    line.chain.handle(request)
    waiting.callback(None)
    assert request.status == 200


@pytest.mark.parametrize("late", [False, True])
def test_what_is_waited_for_may_refuse(exchange: Make, late: bool) -> None:
    waiting: Deferred[Response | None] = Deferred()
    line = Line(waiting, forbidden("no") if late else None)
    request = exchange()
    line.chain.handle(request)
    if late:
        waiting.callback(None)
    else:
        waiting.errback(forbidden("no"))
    assert request.status == 403
    assert not line.failures


@pytest.mark.parametrize("late", [False, True])
def test_what_is_waited_for_may_be_wrong(exchange: Make, late: bool) -> None:
    waiting: Deferred[Response | None] = Deferred()
    line = Line(waiting, ZeroDivisionError() if late else None)
    request = exchange()
    line.chain.handle(request)
    if late:
        waiting.callback(None)
    else:
        waiting.errback(ZeroDivisionError())
    assert [failure.type for failure in line.failures] == [ZeroDivisionError]
    assert not request.answers


def test_whoever_is_waited_for_is_cancelled_when_the_client_goes(exchange: Make) -> None:
    cancelled: list[Deferred[Any]] = []
    waiting: Deferred[Response | None] = Deferred(cancelled.append)
    line = Line(waiting, None)
    request = exchange()
    line.chain.handle(request)
    request.leave()
    assert cancelled == [waiting]
    assert line.ran == ["s0"]
    assert not line.failures
    assert not request.answers


def test_nothing_is_answered_behind_the_clients_back(exchange: Make) -> None:
    """One that cannot be cancelled comes later."""
    waiting: Deferred[Response | None] = Deferred(lambda deferred: deferred.callback(Response(200)))
    line = Line(waiting, None)
    request = exchange()
    line.chain.handle(request)
    request.leave()
    assert line.ran == ["s0"]
    assert not request.answers


@pytest.mark.parametrize(("error", "logged"), [(StatusError(502, "x", "y"), 0), (ZeroDivisionError(), 1)])
def test_mistakes_count_even_when_nobody_waits(exchange: Make, error: Exception, logged: int) -> None:
    waiting: Deferred[Response | None] = Deferred(lambda deferred: deferred.errback(error))
    line = Line(waiting)
    request = exchange()
    line.chain.handle(request)
    request.leave()
    assert len(line.failures) == logged


def test_the_next_step_does_not_inherit_what_to_cancel(exchange: Make) -> None:
    waiting: Deferred[Response | None] = Deferred()
    line = Line(waiting)
    request = exchange()
    line.chain.handle(request)
    waiting.callback(None)
    assert request.on_gone is None


@pytest.mark.parametrize("waits", [False, True])
def test_a_coroutine_that_forwards_leaves_it_to_the_relay_to_be_cancelled(exchange: Make, waits: bool) -> None:
    """As a node does that looks at the request's body first, which may be there or not."""
    gone: list[str] = []
    body: Deferred[bytes] = Deferred()

    async def leaf(request: Any) -> None:
        await body
        request.on_gone = lambda: gone.append("relay")

    line = Line(leaf=leaf)
    request = exchange()
    if not waits:
        body.callback(b"")
    line.chain.handle(request)
    if waits:
        body.callback(b"")
    request.leave()
    assert gone == ["relay"]


def test_a_step_that_is_left_out_is_passed_by(rehearsed: Callable[..., Line], exchange: Make) -> None:
    line = rehearsed(None, None, leaf=Response(200))
    line.chain.leave_out("s0")
    line.chain.handle(exchange())
    assert line.ran == ["s1", "leaf"]
    line.chain.leave_out("s0", False)
    line.chain.handle(exchange())
    assert line.ran == ["s1", "leaf", "s0", "s1", "leaf"]


def test_one_that_waits_goes_on_where_its_step_is_left_out_meanwhile(exchange: Make) -> None:
    waiting: Deferred[None] = Deferred()
    line = Line(None, waiting, None, leaf=Response(200))
    line.chain.handle(exchange())
    line.chain.leave_out("s1")
    waiting.callback(None)
    assert line.ran == ["s0", "s1", "s2", "leaf"]


def test_only_steps_that_there_are_can_be_left_out() -> None:
    with pytest.raises(ValueError, match="no step s7"):
        Line(None).chain.leave_out("s7")
