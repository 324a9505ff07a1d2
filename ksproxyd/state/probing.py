"""Probes of the backends behind a changing set of objects, for their status.

They are apart from the probes that guard requests: those end when an object is not served, and it would never be
served again if nobody looked.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

Key = TypeVar("Key", bound=Hashable)

#: Failures in a row after which a backend that was well is not. One that was never seen is judged by its first.
FAILURES = 3
#: Seconds to the next probe after a failure; doubled with each, up to the interval.
_SOON = 1.0

#: Probes what an object points to: fires with why it cannot be used, empty if it can. None: there is nothing to probe.
Probe = Callable[[str, Any], "Deferred[str] | None"]


class Probes(Generic[Key]):
    """Probes each watched key, by its first element (a kind's name) and its object, every ``interval`` seconds.

    ``changed(key)`` is called when a verdict changes, though not for one that is there when :meth:`watch` returns.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime, probe: Probe, interval: float, changed: Callable[[Key], object]) -> None:
        self._clock = clock
        self._probe = probe
        self._interval = interval
        self._changed = changed
        self._watched: dict[Key, _Watched] = {}

    def watch(self, key: Key, kind: str, value: Any) -> None:
        """Probe what ``value`` points to from now on; at once if that is new."""
        watched = self._watched.get(key)
        spec = value.get("spec")
        if watched is not None and watched.spec == spec:
            watched.value = value
            return
        self.forget(key)
        watched = self._watched[key] = _Watched(kind, value, spec)
        self._ask(key, watched)
        watched.told = True

    def verdict(self, key: Key) -> str | None:
        """Why the backend of ``key`` cannot be used; empty if it can or nothing is to be probed, None if not known."""
        watched = self._watched.get(key)
        return "" if watched is None else watched.verdict

    def forget(self, key: Key) -> None:
        """Stop probing ``key``."""
        watched = self._watched.pop(key, None)
        if watched is not None:
            watched.stop()

    def stop(self) -> None:
        """Stop probing."""
        for key in tuple(self._watched):
            self.forget(key)

    def _ask(self, key: Key, watched: _Watched) -> None:
        watched.timer = None
        asked: Deferred[Any] = maybeDeferred(self._probe, watched.kind, watched.value)
        watched.asked = asked
        asked.addErrback(self._broke, watched).addCallback(self._answered, key, watched)

    def _broke(self, failure: Failure, watched: _Watched) -> str:
        if not watched.stopped:
            self.log.failure("a probe of a {kind} failed", failure, kind=watched.kind)
        return "the probe itself failed"

    def _answered(self, why: str | None, key: Key, watched: _Watched) -> None:
        watched.asked = None
        if watched.stopped:
            return
        before = watched.verdict
        if why is None:
            watched.verdict = ""
        elif not why:
            watched.failures = 0
            watched.verdict = ""
        else:
            watched.failures += 1
            if before is None or before or watched.failures >= FAILURES:
                watched.verdict = why
        if why is not None:
            wait = self._interval
            if watched.failures:
                wait = min(wait, _SOON * 2.0 ** min(watched.failures - 1, 16))
            watched.timer = self._clock.callLater(wait, self._ask, key, watched)
        if watched.verdict != before and watched.told:
            self._changed(key)


class _Watched:
    """One key: what was found out so far."""

    def __init__(self, kind: str, value: Any, spec: Any) -> None:
        self.kind = kind
        self.value = value
        self.spec = spec
        self.verdict: str | None = None
        self.failures = 0
        self.timer: IDelayedCall | None = None
        self.asked: Deferred[Any] | None = None
        self.stopped = False
        #: Whether changes of the verdict are announced.
        self.told = False

    def stop(self) -> None:
        self.stopped = True
        if self.timer is not None:
            self.timer.cancel()
        if self.asked is not None:
            self.asked.cancel()
