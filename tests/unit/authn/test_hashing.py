"""Processes that compute hashes: how many, what is asked of them, and what becomes of questions that they leave."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from login_site import HASH, PASSWORD
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.interfaces import IReactorProcess
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from ksproxyd.authn.hashing import (
    INSISTING,
    STARVED,
    HashingFailed,
    Processes,
    check,
    hashers,
    make,
    usual_number,
)
from ksproxyd.authn.hashing_worker import INSISTENT, answer
from ksproxyd.testing.reactor import MemoryReactor


class Child:
    """A process as its transport, which answers when :meth:`work` is called."""

    def __init__(self, protocol: Any) -> None:
        self.protocol = protocol
        self.asked: list[bytes] = []
        self.stdin_open = True
        self.gone = False
        self.signals: list[str] = []
        protocol.makeConnection(self)

    def write(self, data: bytes) -> None:
        self.asked.append(data)

    def closeStdin(self) -> None:
        if self.gone:
            raise ProcessExitedAlready
        self.stdin_open = False

    def work(self, *, slowly: bool = False) -> None:
        said = answer(self.asked.pop().removesuffix(b"\n")) + b"\n"
        for part in [said[n : n + 1] for n in range(len(said))] if slowly else [said]:
            self.protocol.outReceived(part)

    def signalProcess(self, name: str) -> None:
        if self.gone:
            raise ProcessExitedAlready
        self.signals.append(name)

    def end(self, complaint: bytes = b"") -> None:
        self.gone = True
        if complaint:
            self.protocol.errReceived(complaint)
        self.protocol.processEnded(Failure(ProcessDone(9)))


@implementer(IReactorProcess)
class Spawner(Clock):
    def __init__(self) -> None:
        super().__init__()
        self.children: list[Child] = []
        self.started: list[tuple[str, list[str], dict[str, str]]] = []
        self.error: OSError | None = None

    def insistent(self) -> list[bool]:
        """Which of the processes insist on a share."""
        return [args[-1] == INSISTENT for _, args, _ in self.started]

    def spawnProcess(self, protocol: Any, executable: str, args: list[str], env: dict[str, str]) -> None:  # type: ignore[override]
        if self.error is not None:
            raise self.error
        self.started.append((executable, args, env))
        self.children.append(Child(protocol))


@pytest.fixture
def spawner() -> Spawner:
    return Spawner()


@pytest.fixture
def processes(spawner: Spawner) -> Processes:
    return Processes(spawner, LIMIT)


LIMIT = 30.0


def asked(processes: Processes, question: bytes) -> list[Any]:
    results: list[Any] = []
    processes.ask(question).addBoth(results.append)
    return results


GOOD = check(PASSWORD.encode(), HASH)
BAD = check(b"wrong", HASH)


class TestProcesses:
    def test_one_for_each_question_at_a_time(self, spawner: Spawner, processes: Processes) -> None:
        first, second = asked(processes, GOOD), asked(processes, BAD)
        assert len(spawner.children) == 2
        spawner.children[1].work()
        assert (first, second) == ([], [b"no"])
        third = asked(processes, GOOD)
        spawner.children[1].work(slowly=True)
        spawner.children[0].work()
        assert first == third == [b"yes"] and len(spawner.children) == 2

    def test_nothing_of_our_environment(self, spawner: Spawner, processes: Processes) -> None:
        asked(processes, GOOD)
        ((executable, args, env),) = spawner.started
        assert executable == sys.executable and args[1:] == ["-P", "-s", "-m", "ksproxyd.authn.hashing_worker"]
        assert set(env) == {"PYTHONPATH", "PYTHONDONTWRITEBYTECODE"}

    def test_one_that_ends_is_replaced_once(self, spawner: Spawner, processes: Processes) -> None:
        results = asked(processes, GOOD)
        spawner.children[0].end()
        assert results == [] and len(spawner.children) == 2
        spawner.children[1].work()
        assert results == [b"yes"]
        results = asked(processes, GOOD)
        spawner.children[1].end()
        spawner.children[2].end(b"Traceback\nMemoryError: none\n")
        assert results[0].check(HashingFailed) and "MemoryError: none" in str(results[0].value)
        assert PASSWORD not in str(results[0].value)
        assert len(spawner.children) == 3

    def test_one_that_ends_idle_is_not_asked(self, spawner: Spawner, processes: Processes) -> None:
        asked(processes, GOOD)
        spawner.children[0].work()
        spawner.children[0].end()
        results = asked(processes, BAD)
        spawner.children[1].work()
        assert results == [b"no"]

    def test_one_that_gets_no_processor(self, spawner: Spawner, processes: Processes) -> None:
        """Another one insists on a share; and so do those after it, for a while."""
        results = asked(processes, GOOD)
        spawner.advance(STARVED - 0.1)
        assert spawner.children[0].signals == []
        spawner.advance(0.2)
        assert spawner.children[0].signals == ["KILL"]
        spawner.children[0].end()
        assert spawner.insistent() == [False, True]
        spawner.advance(LIMIT - 1)
        spawner.children[1].work()
        assert results == [b"yes"] and spawner.children[1].signals == []
        asked(processes, GOOD)
        assert len(spawner.children) == 2
        spawner.children[1].work()
        spawner.advance(INSISTING)
        results = asked(processes, BAD)
        assert spawner.insistent() == [False, True, False] and not spawner.children[1].stdin_open
        spawner.children[1].end()
        spawner.children[2].work()
        assert results == [b"no"] and not spawner.getDelayedCalls()

    def test_one_that_is_stopped(self, spawner: Spawner, processes: Processes) -> None:
        """By SIGSTOP, say. It keeps nobody waiting for ever, and its place in the queue neither."""
        results = asked(processes, GOOD)
        for number, seconds in enumerate((STARVED, LIMIT, LIMIT)):
            assert results == []
            spawner.advance(seconds)
            assert spawner.children[number].signals == ["KILL"]
            spawner.children[number].end()
        assert results[0].check(HashingFailed) and "after 30 seconds" in str(results[0].value)
        results = asked(processes, BAD)
        spawner.children[3].work()
        spawner.advance(2 * LIMIT)
        assert results == [b"no"] and spawner.children[3].signals == [] and not spawner.getDelayedCalls()

    def test_one_that_does_not_end(self, spawner: Spawner, processes: Processes) -> None:
        asked(processes, GOOD)
        spawner.children[0].work()
        closed: list[None] = []
        processes.close().addCallback(closed.append)
        spawner.advance(LIMIT + 1)
        assert spawner.children[0].signals == ["KILL"] and closed == []
        spawner.children[0].end()
        assert closed == [None] and not spawner.getDelayedCalls()

    def test_one_that_has_ended_meanwhile(self, spawner: Spawner, processes: Processes) -> None:
        results = asked(processes, GOOD)
        spawner.children[0].gone = True
        spawner.advance(LIMIT + 1)
        spawner.children[0].end()
        spawner.children[1].work()
        assert results == [b"yes"]

    def test_none_can_be_started(self, spawner: Spawner, processes: Processes) -> None:
        spawner.error = OSError(11, "Resource temporarily unavailable")
        (failure,) = asked(processes, GOOD)
        assert failure.check(HashingFailed) and "temporarily unavailable" in str(failure.value)
        spawner.error = None
        results = asked(processes, GOOD)
        spawner.children[0].work()
        assert results == [b"yes"]

    def test_what_cannot_be_computed(self, spawner: Spawner, processes: Processes) -> None:
        results = asked(processes, make(b"x" * 10, b"no-salt"))
        spawner.children[0].work()
        assert results[0].check(HashingFailed) and "salt" in str(results[0].value)

    def test_the_end(self, spawner: Spawner, processes: Processes) -> None:
        for _ in range(2):
            asked(processes, GOOD)
        for child in spawner.children:
            child.work()
        spawner.children[1].gone = True
        closed: list[None] = []
        processes.close().addCallback(closed.append)
        assert not spawner.children[0].stdin_open and closed == []
        spawner.children[1].end()
        spawner.children[0].end()
        assert closed == [None]

    def test_the_end_of_none(self, processes: Processes) -> None:
        closed: list[None] = []
        processes.close().addCallback(closed.append)
        assert closed == [None]


class TestWorker:
    @pytest.mark.parametrize("make_it", [lambda: make(PASSWORD.encode(), HASH[:29].encode())])
    def test_a_hash(self, make_it: Callable[[], bytes]) -> None:
        assert answer(make_it()).decode() == HASH

    @pytest.mark.parametrize("password", [b"", b" ", b"\n", b"a b\nc", bytes(range(1, 73))])
    def test_any_bytes(self, password: bytes) -> None:
        hashed = answer(make(password, b"$2b$04$abcdefghijklmnopqrstuu"))
        assert b"\n" not in check(password, hashed.decode()) and answer(check(password, hashed.decode())) == b"yes"

    def test_an_error_is_one_line(self) -> None:
        said = answer(check(b"x", "$2b$04$short\nshort"))
        assert said.startswith(b"error ") and b"\n" not in said


def test_where_no_process_can_be_had() -> None:
    """A reactor in memory has its pool used."""
    reactor = MemoryReactor()
    results: list[bytes] = []
    hashing = hashers(reactor, LIMIT)
    hashing.ask(GOOD).addCallback(results.append)
    reactor.settle()
    hashing.close().addCallback(lambda _: results.append(b"closed"))
    assert results == [b"yes", b"closed"]


def test_a_processor_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    for processors, number in ((1, 1), (2, 1), (3, 2), (64, 2)):
        monkeypatch.setattr("os.sched_getaffinity", lambda _, n=processors: set(range(n)))
        assert usual_number() == number
