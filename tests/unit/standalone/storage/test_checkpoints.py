from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from ksproxyd.standalone.storage import checkpoints
from ksproxyd.standalone.storage.checkpoints import SECONDS, WRITES, Checkpoints
from ksproxyd.standalone.storage.log import Log
from ksproxyd.standalone.storage.store import Key, Store


class Threads:
    """In place of threads: the calls, which the test lets return."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[Callable[..., object], tuple[Any, ...], Deferred[None]]] = []
        monkeypatch.setattr(checkpoints, "deferToThreadPool", self._defer)

    def _defer(self, reactor: Any, pool: Any, function: Callable[..., object], *arguments: Any) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        self.calls.append((function, arguments, done))
        return done


class Reactor(Clock):
    def getThreadPool(self) -> None:
        return None


@pytest.fixture
def reactor() -> Reactor:
    return Reactor()


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Threads:
    return Threads(monkeypatch)


def write(store: Store) -> None:
    store.write(Key("/things", "", "a"), {"metadata": {"name": "a"}})


def test_idle_database_is_left_alone(reactor: Reactor, threads: Threads) -> None:
    store = Store()
    Checkpoints("db", Log(store, reactor), reactor)
    reactor.advance(10 * SECONDS)
    assert threads.calls == []
    assert reactor.getDelayedCalls() == []


def test_writes_are_moved_once_after_a_while(reactor: Reactor, threads: Threads) -> None:
    store = Store()
    Checkpoints("db", Log(store, reactor), reactor)
    write(store)
    write(store)
    reactor.advance(SECONDS)
    ((function, arguments, done),) = threads.calls
    assert (function, arguments) == (checkpoints.checkpoint, ("db",))
    done.callback(None)
    reactor.advance(10 * SECONDS)
    assert len(threads.calls) == 1


def test_many_writes_do_not_wait(reactor: Reactor, threads: Threads) -> None:
    store = Store()
    Checkpoints("db", Log(store, reactor), reactor)
    for _ in range(WRITES):
        write(store)
    reactor.advance(0)
    assert len(threads.calls) == 1


def test_next_move_waits_for_the_one_before(reactor: Reactor, threads: Threads) -> None:
    store = Store()
    Checkpoints("db", Log(store, reactor), reactor)
    write(store)
    reactor.advance(SECONDS)
    write(store)
    reactor.advance(SECONDS)
    assert len(threads.calls) == 1
    threads.calls[0][2].callback(None)
    reactor.advance(SECONDS)
    assert len(threads.calls) == 2


def test_failure_is_logged_and_tried_again(reactor: Reactor, threads: Threads, logged_errors: Any) -> None:
    store = Store()
    Checkpoints("db", Log(store, reactor), reactor)
    write(store)
    reactor.advance(SECONDS)
    threads.calls[0][2].errback(OSError("the disk is full"))
    assert len(logged_errors.take()) == 1
    write(store)
    reactor.advance(SECONDS)
    assert len(threads.calls) == 2


def test_stop_waits_for_the_thread(reactor: Reactor, threads: Threads) -> None:
    store = Store()
    moved = Checkpoints("db", Log(store, reactor), reactor)
    write(store)
    reactor.advance(SECONDS)
    write(store)
    stopped = moved.stop()
    assert stopped is not None
    assert not stopped.called
    threads.calls[0][2].callback(None)
    assert stopped.called
    assert reactor.getDelayedCalls() == []
    write(store)
    assert reactor.getDelayedCalls() == []


def test_stop_without_a_thread_is_immediate(reactor: Reactor, threads: Threads) -> None:
    assert Checkpoints("db", Log(Store(), reactor), reactor).stop() is None
