"""Who is told of writes: the log of recent events by kind, and the watches that wait for more.

A watch that has read everything costs nothing but its memory: it has no timer of its own beyond its timeout and no
place in the log. A write marks the watches in its scope as behind, and they are woken in the next turns of the
reactor; what they read then comes from memory, or from the store if they were slow.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from twisted.logger import Logger

from ksproxyd.standalone.storage.store import Event, Key, Store

_log = Logger()

#: So many recent events of a kind that is watched are kept in memory.
WINDOW = 128

#: So many watches are woken in one turn of the reactor.
WAKE_BATCH = 100

#: Seconds between two bookmarks of a watch.
BOOKMARKS = 60.0


class Clock(Protocol):
    """Time and timers: ``IReactorTime``, of which this is what the API needs."""

    def seconds(self) -> float: ...

    def callLater(self, delay: float, callable: Callable[..., object], *args: Any) -> Any: ...


class Follower(Protocol):
    """What the log knows of a watch."""

    #: The resourceVersion behind which it has to read on; None when it has read everything.
    cursor: int | None
    #: Whether it is about to be woken.
    woken: bool
    #: Whether it is to send a bookmark.
    bookmark_due: bool

    def wake(self) -> None: ...

    def end(self) -> None: ...


class _Topic:
    """The recent events of one kind and who follows them, by scope: (namespace, name), with None for any."""

    __slots__ = ("complete_from", "events", "followers")

    def __init__(self, revision: int) -> None:
        self.events: deque[Event] = deque()
        #: Every event behind this resourceVersion is in ``events``.
        self.complete_from = revision
        self.followers: dict[tuple[str | None, str | None], set[Follower]] = {}

    def append(self, event: Event) -> None:
        self.events.append(event)
        if len(self.events) > WINDOW:
            self.complete_from = self.events.popleft().rv

    def concerned(self, key: Key) -> list[Follower]:
        found: list[Follower] = []
        for scope in ((None, None), (key.namespace, None), (key.namespace, key.name), (None, key.name)):
            found += self.followers.get(scope, ())
        return found


class Log:
    """Events of ``store``, to listeners at once and to watches soon. ``clock`` is the reactor (or a test's clock)."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._topics: dict[str, _Topic] = {}
        self._floors: dict[str, int] = {}
        self._listeners: list[Callable[[Event], None]] = []
        self._ready: deque[Follower] = deque()
        self._waking = False
        self._bookmarked: set[Follower] = set()
        self._bookmark_timer: Any = None
        store.on_event = self._publish

    @property
    def revision(self) -> int:
        """The newest resourceVersion."""
        return self._store.revision

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Have ``listener`` called with every write, before the writer gets its answer. It must not write itself."""
        self._listeners.append(listener)

    def floor(self, topic: str) -> int:
        """The oldest resourceVersion from which ``topic`` can be watched."""
        return max(self._store.floor, self._floors.get(topic, 0))

    def begin(self, topic: str) -> None:
        """A kind has come to be served: it has no history before now."""
        self._floors[topic] = self._store.revision

    def finish(self, topic: str) -> None:
        """A kind is no longer served: its watches end."""
        found = self._topics.get(topic)
        if found is not None:
            for follower in [each for group in found.followers.values() for each in group]:
                follower.end()

    def read(self, topic: str, after: int, limit: int) -> list[Event]:
        """Up to ``limit`` events of a kind behind ``after``, which must not be below :meth:`floor`."""
        found = self._topics.get(topic)
        if found is not None and after >= found.complete_from:
            return [event for event in found.events if event.rv > after][:limit]
        return self._store.events(topic, after, limit)

    # -- watches -------------------------------------------------------------------------------------------

    def follow(self, topic: str, scope: tuple[str | None, str | None], follower: Follower, bookmarks: bool) -> None:
        """Wake ``follower`` when an object in ``scope`` (namespace, name) is written, and once a minute."""
        found = self._topics.get(topic)
        if found is None:
            found = self._topics[topic] = _Topic(self._store.revision)
        found.followers.setdefault(scope, set()).add(follower)
        if bookmarks:
            self._bookmarked.add(follower)
            if self._bookmark_timer is None:
                self._bookmark_timer = self._clock.callLater(BOOKMARKS, self._bookmark)

    def unfollow(self, topic: str, scope: tuple[str | None, str | None], follower: Follower) -> None:
        """Undo :meth:`follow`. Harmless if there was none."""
        found = self._topics.get(topic)
        if found is not None and scope in found.followers:
            found.followers[scope].discard(follower)
            if not found.followers[scope]:
                del found.followers[scope]
            if not found.followers:
                del self._topics[topic]
        self._bookmarked.discard(follower)
        if not self._bookmarked and self._bookmark_timer is not None:
            self._bookmark_timer.cancel()
            self._bookmark_timer = None

    def soon(self, follower: Follower) -> None:
        """Wake ``follower`` in one of the next turns of the reactor."""
        if follower.woken:
            return
        follower.woken = True
        self._ready.append(follower)
        if not self._waking:
            self._waking = True
            self._clock.callLater(0, self._wake)

    def _publish(self, event: Event) -> None:
        for listener in self._listeners:
            listener(event)
        found = self._topics.get(event.key.topic)
        if found is not None:
            found.append(event)
            for follower in found.concerned(event.key):
                if follower.cursor is None:
                    follower.cursor = event.rv - 1
                self.soon(follower)

    def _wake(self) -> None:
        for _ in range(min(WAKE_BATCH, len(self._ready))):
            follower = self._ready.popleft()
            follower.woken = False
            try:
                follower.wake()
            except Exception:
                # One watch that cannot be written to must not keep the news from the others.
                _log.failure("a watch could not be woken")
        if self._ready:
            self._clock.callLater(0, self._wake)
        else:
            self._waking = False

    def _bookmark(self) -> None:
        self._bookmark_timer = self._clock.callLater(BOOKMARKS, self._bookmark)
        for follower in self._bookmarked:
            follower.bookmark_due = True
            self.soon(follower)
