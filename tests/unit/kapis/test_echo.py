"""Waiting for the echo of what was written."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from ksproxyd.kapis.echo import LONGEST_WAIT, Written
from ksproxyd.state.store import Store


def thing(name: str, uid: str, version: str = "", **more: str) -> Any:
    return {"metadata": {"name": name, "uid": uid, "resourceVersion": version, **more}}


class Scene:
    def __init__(self) -> None:
        self.clock = Clock()
        self.store = Store("Thing", self.clock)
        self.written = Written(self.store)
        self.results: list[Any] = []

    def wait(self) -> Deferred[Any]:
        return Deferred.fromCoroutine(self.written.heard(self.clock)).addBoth(self.results.append)

    def turn(self) -> list[Any]:
        self.clock.advance(0)
        return self.results


def test_what_is_known_already_is_not_waited_for() -> None:
    scene = Scene()
    scene.store.put(thing("a", "1"))
    scene.written.stored(thing("a", "1"))
    scene.written.removed(thing("b", "2"))
    scene.wait()
    assert scene.results == [True] and not scene.clock.getDelayedCalls()


def test_it_waits_for_everything_and_leaves_nothing_behind() -> None:
    scene = Scene()
    scene.store.put(thing("old", "1"))
    scene.written.stored(thing("new", "2"))
    scene.written.removed(thing("old", "1"))
    scene.wait()
    scene.store.put(thing("new", "2"))
    assert scene.turn() == []
    scene.store.remove(("", "old"))
    assert scene.turn() == [True]
    assert not scene.clock.getDelayedCalls()
    scene.store.put(thing("other", "3"))
    assert not scene.clock.getDelayedCalls()


def test_another_of_the_same_name_is_not_the_one() -> None:
    scene = Scene()
    scene.store.put(thing("a", "1"))
    scene.written.stored(thing("a", "2"))
    scene.wait()
    assert scene.turn() == []
    scene.store.put(thing("a", "2"))
    assert scene.turn() == [True]


def test_an_older_version_is_not_the_one() -> None:
    scene = Scene()
    scene.store.put(thing("a", "1", "9"))
    scene.written.stored(thing("a", "1", "10"))
    scene.wait()
    assert scene.turn() == []
    scene.store.put(thing("a", "1", "11"))
    assert scene.turn() == [True]


def test_what_waits_for_finalizers_is_gone() -> None:
    scene = Scene()
    scene.store.put(thing("a", "1"))
    scene.written.removed(thing("a", "1"))
    scene.wait()
    scene.store.put(thing("a", "1", "2", deletionTimestamp="2030-01-01T00:00:00Z"))
    assert scene.turn() == [True]


def test_what_came_and_went_again_has_been_heard_of() -> None:
    scene = Scene()
    scene.written.stored(thing("a", "1"))
    scene.wait()
    scene.store.put(thing("a", "1"))
    scene.store.remove(("", "a"))
    assert scene.turn() == [True]


def test_it_is_not_waited_for_for_ever() -> None:
    scene = Scene()
    scene.written.stored(thing("a", "1"))
    scene.wait()
    scene.clock.advance(LONGEST_WAIT)
    assert scene.results == [False]


def test_who_is_told_to_stop_stops() -> None:
    scene = Scene()
    scene.written.stored(thing("a", "1"))
    scene.wait().cancel()
    (failure,) = scene.results
    assert isinstance(failure, Failure) and failure.check(CancelledError)
    assert not scene.clock.getDelayedCalls()
