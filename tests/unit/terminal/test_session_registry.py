"""All sessions of a process: room for them, whether their users may still have them, and the end of the process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from ksproxyd.model.status import StatusError
from ksproxyd.terminal.session import Session, Summary
from tests.conftest import ErrorTrap
from tests.unit.terminal.playbook import ANN, POD, Page, Play, play

BEGUN = r"""
        O: ready
            X: exec sh
        K: started
            S: stdout
        K: prints #
            S: stdout #
"""


def test_a_session_takes_room_until_nothing_of_it_is_left() -> None:
    on = play(BEGUN, max_sessions_per_user=1)
    for step in ("T: 1", "C: left 1000", "T: 1"):
        on.do(step)
        with pytest.raises(StatusError) as caught:
            on.registry.admit("ann")
        assert caught.value.code == 429
    on.registry.admit("bob").leave()
    on.do("T: 3")
    assert on.registry.sessions == {}
    on.registry.admit("ann")


def test_the_account_of_a_session() -> None:
    on = play(BEGUN)
    on.do("T: 2")
    on.do("C: stdin exit 3\\r")
    on.do("K: prints 12345")
    assert on.witness.summaries == []
    over: list[Session] = []
    on.session.on_end(over.append)
    on.do("K: exited 3")
    assert on.witness.summaries == [Summary(1000, "exited 3", 3, 7, 6, 2.0)]
    assert on.witness.printed == b"#12345"
    assert over == [on.session]
    on.session.on_end(over.append)
    assert over == [on.session] * 2
    assert on.session.command == ("sh",)


class Broken:
    """Keeps no account."""

    def began(self, session: Session) -> None:
        raise OSError("disk full")

    def output(self, data: bytes) -> None:
        raise OSError("disk full")

    def resized(self, columns: int, rows: int) -> None:
        raise OSError("disk full")

    def ended(self, session: Session, summary: Summary) -> None:
        raise OSError("disk full")


class Strict(Broken):
    """Ends what it cannot keep account of."""

    def began(self, session: Session) -> None:
        self.session = session

    def output(self, data: bytes) -> None:
        self.session.end(1011, "not recorded", "session closed: it cannot be recorded")

    def resized(self, columns: int, rows: int) -> None: ...

    def ended(self, session: Session, summary: Summary) -> None: ...


@pytest.mark.parametrize("witness", [Broken, Strict])
def test_whoever_fails_to_keep_account_hurts_nobody_unless_they_mean_to(
    witness: type[Broken], logged_errors: ErrorTrap
) -> None:
    on = Play()
    on.session._witnesses = (witness(), on.witness)
    on.attach()
    for step in ("O: ready", "K: started", "C: size 80x24"):
        on.do(step)
    on.events.clear()
    on.do("K: prints secret")
    if witness is Broken:
        assert on.events == ["S: stdout secret"]
    else:
        assert "secret" not in on.pages[0].output
        assert on.pages[0].closed == (1011, "not recorded")
    on.do("K: prints more")
    on.do("K: exited 0")
    assert len(on.witness.summaries) == 1
    # It is not said of every byte.
    assert len(logged_errors.take()) == (2 if witness is Broken else 0)


class Standing:
    """Says whether a user may still have it."""

    def __init__(self) -> None:
        self.asked: list[Deferred[int]] = []
        self.answer: int | Exception | None = 0

    async def __call__(self) -> int:
        asked: Deferred[int] = Deferred()
        self.asked.append(asked)
        if isinstance(self.answer, Exception):
            asked.errback(Failure(self.answer))
        elif self.answer is not None:
            asked.callback(self.answer)
        return await asked


def attended(allowed: Callable[[], Awaitable[int]], **settings: object) -> Play:
    on = Play(**settings)
    page = Page(on, 0)
    on.pages.append(page)
    on.attachment = on.session.attach(page, "ksproxyd.json", allowed)
    for step in ("O: ready", "K: started", "K: prints #"):
        on.do(step)
    on.events.clear()
    return on


@pytest.mark.parametrize(
    ("code", "reason", "text"),
    [
        (4401, "login ended", "session closed: your login has ended"),
        (4403, "no longer allowed", "session closed: you may not have this terminal any more"),
    ],
)
def test_who_may_not_have_it_any_more_is_cut_off(code: int, reason: str, text: str) -> None:
    standing = Standing()
    on = attended(standing, recheck=3)
    for _ in range(5):
        on.do("T: 3")
    assert (len(standing.asked), on.events) == (5, [])
    standing.answer = code
    on.do("T: 3")
    assert on.events[:2] == [f"S: toast \\r\\n[{text}]\\r\\n", f"S: close {code} {reason}"]
    on.do("T: 1")
    on.do("T: 10")
    assert len(standing.asked) == 6
    assert on.clock.getDelayedCalls() == []
    assert on.witness.summaries[0].code == code


def test_also_while_nobody_looks() -> None:
    standing = Standing()
    on = attended(standing, recheck=3)
    on.do("C: left 1006")
    standing.answer = 4401
    on.do("T: 3")
    on.do("K: exited 0")
    assert on.witness.summaries[0].code == 4401
    assert on.registry.resume(on.pages[0].credential, ANN, POD) is None


def test_what_cannot_be_asked_ends_nothing(logged_errors: ErrorTrap) -> None:
    standing = Standing()
    on = attended(standing, recheck=3)
    standing.answer = StatusError(503, "ServiceUnavailable", "later")
    for _ in range(3):
        on.do("T: 3")
    standing.answer = ValueError("a mistake")
    on.do("T: 3")
    assert (len(standing.asked), on.events) == (4, [])
    assert len(logged_errors.take()) == 1
    # One question at a time, however long it takes.
    standing.answer = None
    on.do("T: 3")
    on.do("T: 300")
    assert len(standing.asked) == 5
    standing.asked[-1].callback(4403)
    assert on.pages[0].closed == (4403, "no longer allowed")


def test_a_question_ends_with_its_session() -> None:
    standing = Standing()
    on = attended(standing, recheck=3)
    standing.answer = None
    on.do("T: 3")
    on.do("K: exited 0")
    # Cancelled: it has been answered with that.
    assert standing.asked[-1].called
    assert on.clock.getDelayedCalls() == []


def test_the_newest_login_counts() -> None:
    before, now = Standing(), Standing()
    on = attended(before, recheck=3)
    before.answer = None
    on.do("T: 3")
    page = Page(on, 1)
    on.session.attach(page, "ksproxyd.json", now)
    before.asked[-1].callback(4401)
    assert page.closed is None
    on.do("T: 3")
    assert (len(before.asked), len(now.asked)) == (1, 1)


def stop(on: Play) -> Deferred[None]:
    return Deferred.fromCoroutine(on.registry.stop())


def test_the_process_stops() -> None:
    on = play(BEGUN, shutdown_grace=30, hang_up=2)
    stopped = stop(on)
    assert on.events == [
        "S: toast \\r\\n[the gateway is being shut down: this session will be closed in 26 seconds]\\r\\n"
    ]
    with pytest.raises(StatusError) as caught:
        on.registry.admit("bob")
    assert caught.value.code == 503
    on.do("C: stdin a")
    on.events.clear()
    on.do("T: 25.9")
    assert on.events == []
    on.do("T: 0.2")
    assert on.events == [
        "S: toast \\r\\n[session closed: the gateway is being shut down]\\r\\n",
        "S: close 1001 shutting down",
        "X: stdin ␃",
        "X: stdin ␄",
    ]
    assert not stopped.called
    on.do("K: exited 0")
    assert stopped.called
    assert on.clock.getDelayedCalls() == []


def test_the_process_stops_with_shells_that_do_not() -> None:
    on = play(BEGUN, shutdown_grace=30, hang_up=2)
    stopped = stop(on)
    on.do("T: 26.1")
    on.do("T: 1")
    on.do("T: 1")
    assert stopped.called
    assert on.execs[0].closed == 1


@pytest.mark.parametrize("settings", [{"shutdown_grace": 0}, {"shutdown_grace": 3, "hang_up": 2}])
def test_the_process_stops_at_once(settings: dict[str, object]) -> None:
    on = play(BEGUN, **settings)
    stopped = stop(on)
    assert on.pages[0].closed == (1001, "shutting down")
    on.do("K: exited 0")
    assert stopped.called


def test_the_process_does_not_wait_for_nobody() -> None:
    on = play(BEGUN)
    stopped = stop(on)
    on.do("T: 1")
    on.do("K: exited 0")
    assert stopped.called
    assert on.clock.getDelayedCalls() == []
    assert stop(on).called


def test_the_process_has_to_stop_sooner() -> None:
    on = play(BEGUN)
    stopped = stop(on)
    stopped.cancel()
    assert on.pages[0].closed == (1001, "shutting down")
    on.do("K: exited 0")
    assert stopped.called
    other = play(BEGUN)
    stopped = stop(other)
    stopped.cancel()
    stopped.cancel()
    failures: list[Failure] = []
    stopped.addErrback(failures.append)
    assert failures[0].check(CancelledError)
    other.do("K: exited 0")
    assert other.registry.sessions == {}
