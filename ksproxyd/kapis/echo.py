"""Waiting until the gateway has heard of what it has written itself, so that whoever wrote it also reads it."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from ksproxyd.state.store import Object, Store
from ksproxyd.state.validation import text

log = Logger()

#: Seconds until we answer all the same: the watch is broken then, and everything is as old as it is.
LONGEST_WAIT = 5.0


class Written:
    """What has been written to one kind; :meth:`heard` is when the store has it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        #: The uids and versions of what must have come, and the uids of what must have gone, by key.
        self._come: dict[tuple[str, str], tuple[str, int]] = {}
        self._gone: dict[tuple[str, str], str] = {}

    def stored(self, value: Object) -> None:
        """``value`` is what the server says it has stored."""
        self._come[_key(value)] = (_uid(value), version_of(value))

    def removed(self, value: Object) -> None:
        """``value`` is gone, or waits for finalizers and counts as gone."""
        key = _key(value)
        self._gone[key] = _uid(value)
        self._come.pop(key, None)

    @property
    def known(self) -> bool:
        """Whether the store shows all of it now."""
        return all(map(self._has_come, self._come.items())) and all(map(self._has_gone, self._gone.items()))

    def _has_come(self, item: tuple[tuple[str, str], tuple[str, int]]) -> bool:
        key, (uid, version) = item
        found = self._store.get(key)
        return found is not None and _uid(found) == uid and version_of(found) >= version

    def _has_gone(self, item: tuple[tuple[str, str], str]) -> bool:
        key, uid = item
        found = self._store.get(key)
        return found is None or _uid(found) != uid or is_ending(found)

    async def heard(self, clock: IReactorTime) -> bool:
        """Waits until the store shows it; False if it does not within :data:`LONGEST_WAIT`."""
        if await until(clock, self._store, lambda: self.known):
            return True
        log.warn("what was written to {kind} is not heard of after {wait} s", kind=self._store.kind, wait=LONGEST_WAIT)
        return False


async def until(clock: IReactorTime, store: Store, met: Callable[[], bool], timeout: float = LONGEST_WAIT) -> bool:
    """Waits until ``met()`` after a change of ``store``, or at once if it is; False after ``timeout`` seconds."""
    if met():
        return True
    done: Deferred[None] = Deferred()

    def changed(old: Object | None, new: Object | None) -> None:
        if not done.called and met():
            # Not inside of the call by which the store tells of it.
            clock.callLater(0, _fire, done)

    unsubscribe = store.subscribe(changed)
    timer = clock.callLater(timeout, done.cancel)
    try:
        await done
    except CancelledError:
        if timer.active():
            # Whoever waits here has been told to stop.
            raise
        return met()
    finally:
        unsubscribe()
        if timer.active():
            timer.cancel()
    return True


def _fire(done: Deferred[None]) -> None:
    if not done.called:
        done.callback(None)


def version_of(value: Object) -> int:
    """The resource version; API servers count them. 0 if there is none."""
    version = text(value, "metadata", "resourceVersion")
    return int(version) if version.isascii() and version.isdigit() else 0


def is_ending(value: Object) -> bool:
    """Whether an object is deleted already and waits for its finalizers."""
    return bool(text(value, "metadata", "deletionTimestamp"))


def _key(value: Object) -> tuple[str, str]:
    metadata = value.get("metadata")
    return text(metadata, "namespace"), text(metadata, "name")


def _uid(value: Object) -> str:
    return text(value, "metadata", "uid")
