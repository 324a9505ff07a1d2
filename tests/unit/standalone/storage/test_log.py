from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.task import Clock

from ksproxyd.standalone.storage.log import BOOKMARKS, WAKE_BATCH, WINDOW, Log
from ksproxyd.standalone.storage.store import Key, Store


class Recorder:
    """A follower that counts."""

    def __init__(self) -> None:
        self.cursor: int | None = None
        self.woken = False
        self.bookmark_due = False
        self.wakes = 0
        self.ends = 0
        self.breaks = False

    def wake(self) -> None:
        self.wakes += 1
        self.cursor = None
        if self.breaks:
            raise RuntimeError("this follower is broken")

    def end(self) -> None:
        self.ends += 1


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def log(store: Store, clock: Clock) -> Log:
    return Log(store, clock)


def write(store: Store, name: str, namespace: str = "ns", topic: str = "/things") -> int:
    value: dict[str, Any] = {"apiVersion": "v1", "kind": "Thing", "metadata": {"name": name, "uid": name}}
    return store.write(Key(topic, namespace, name), value).rv


@pytest.mark.parametrize(
    ("scope", "wakes"),
    [((None, None), 3), (("ns", None), 2), (("ns", "a"), 1), ((None, "a"), 2), (("other", "b"), 0)],
)
def test_follower_is_woken_for_its_scope(
    store: Store, log: Log, clock: Clock, scope: tuple[str | None, str | None], wakes: int
) -> None:
    follower = Recorder()
    log.follow("/things", scope, follower, bookmarks=False)
    for name, namespace in (("a", "ns"), ("b", "ns"), ("a", "other")):
        write(store, name, namespace)
        clock.advance(0)
    write(store, "a", topic="/others")
    clock.advance(0)
    assert follower.wakes == wakes


def test_follower_is_told_from_where_to_read(store: Store, log: Log, clock: Clock) -> None:
    follower = Recorder()
    log.follow("/things", (None, None), follower, bookmarks=False)
    first = write(store, "a")
    write(store, "b")
    assert follower.cursor == first - 1
    assert follower.wakes == 0
    clock.advance(0)
    assert follower.wakes == 1


def test_quiet_follower_is_not_left_behind_by_others(store: Store, log: Log, clock: Clock) -> None:
    follower = Recorder()
    log.follow("/things", ("ns", "a"), follower, bookmarks=False)
    for _ in range(10):
        write(store, "b")
    assert follower.cursor is None


class Turns:
    """A clock that makes one turn of the reactor at a time; what a turn schedules is for the next one."""

    def __init__(self) -> None:
        self.due: list[Callable[[], object]] = []

    def seconds(self) -> float:
        return 0.0

    def callLater(self, delay: float, call: Callable[[], object]) -> None:
        self.due.append(call)

    def turn(self) -> None:
        due, self.due = self.due, []
        for call in due:
            call()


def test_many_followers_are_woken_over_several_turns(store: Store) -> None:
    turns = Turns()
    log = Log(store, turns)
    followers = [Recorder() for _ in range(WAKE_BATCH * 2 + 1)]
    for follower in followers:
        log.follow("/things", (None, None), follower, bookmarks=False)
    write(store, "a")
    woken = []
    for _ in range(4):
        turns.turn()
        woken.append(sum(follower.wakes for follower in followers))
    assert woken == [WAKE_BATCH, WAKE_BATCH * 2, WAKE_BATCH * 2 + 1, WAKE_BATCH * 2 + 1]
    assert turns.due == []


def test_broken_follower_does_not_keep_the_news_from_others(
    store: Store, log: Log, clock: Clock, logged_errors: Any
) -> None:
    broken, sound = Recorder(), Recorder()
    broken.breaks = True
    log.follow("/things", (None, None), broken, bookmarks=False)
    log.follow("/things", (None, None), sound, bookmarks=False)
    for _ in range(2):
        write(store, "a")
        clock.advance(0)
    assert (broken.wakes, sound.wakes) == (2, 2)
    assert len(logged_errors.take()) == 2


def test_recent_events_come_from_memory_and_old_ones_from_the_store(store: Store, log: Log) -> None:
    start = store.revision
    log.follow("/things", (None, None), Recorder(), bookmarks=False)
    for number in range(WINDOW + 20):
        write(store, f"n{number}")
    everything = log.read("/things", start, 1000)
    assert [event.rv for event in everything] == list(range(start + 1, store.revision + 1))
    recent = log.read("/things", store.revision - 2, 1000)
    assert [event.rv for event in recent] == [store.revision - 1, store.revision]
    assert recent[0] is log.read("/things", store.revision - 2, 1)[0]


def test_bookmarks_are_due_once_a_minute_while_somebody_wants_them(log: Log, clock: Clock) -> None:
    wanting, other = Recorder(), Recorder()
    log.follow("/things", (None, None), other, bookmarks=False)
    assert clock.getDelayedCalls() == []
    log.follow("/things", (None, None), wanting, bookmarks=True)
    clock.advance(BOOKMARKS)
    clock.advance(0)
    assert (wanting.bookmark_due, wanting.wakes) == (True, 1)
    assert (other.bookmark_due, other.wakes) == (False, 0)
    clock.advance(BOOKMARKS)
    clock.advance(0)
    assert wanting.wakes == 2
    log.unfollow("/things", (None, None), wanting)
    assert clock.getDelayedCalls() == []


def test_unfollowing_twice_is_harmless(store: Store, log: Log, clock: Clock) -> None:
    follower = Recorder()
    log.follow("/things", (None, None), follower, bookmarks=False)
    log.unfollow("/things", (None, None), follower)
    log.unfollow("/things", (None, None), follower)
    write(store, "a")
    clock.advance(0)
    assert follower.wakes == 0


def test_finished_kind_ends_its_followers(log: Log) -> None:
    mine, other = Recorder(), Recorder()
    log.follow("/things", ("ns", None), mine, bookmarks=False)
    log.follow("/others", (None, None), other, bookmarks=False)
    log.finish("/things")
    log.finish("/unknown")
    assert (mine.ends, other.ends) == (1, 0)


def test_kind_has_no_history_before_it_began(store: Store, log: Log) -> None:
    write(store, "a", topic="/others")
    log.begin("/things")
    assert log.floor("/things") == store.revision
    assert log.floor("/others") == store.floor


def test_listeners_are_told_before_the_write_returns(store: Store, log: Log) -> None:
    heard: list[int] = []
    log.listen(lambda event: heard.append(event.rv))
    rv = write(store, "a")
    assert heard == [rv]
