"""Keeps one store equal to what the API server has.

A reflector lists the collection in pages, then watches from the resource version of that list. When a watch ends in
its time, the next goes on where it ended. Everything else makes it doubt:

==============================================  ==========================================================
what happened                                   what follows
==============================================  ==========================================================
the watch ended early, or broke off             ask for the collection's version now; watch on if it is not
                                                older than ours, list otherwise
the same, and away for ``relist_after``, or     list
quiet for ``silence`` before it broke
410 (answer or ERROR event), "too large         list
resource version", 404, an unreadable event
no byte for ``silence``, and the server   list
is known to send bookmarks
the watch outlived its ``timeoutSeconds``       list
an event older than the one before              list
anything else that fails (403, 500, ...)        try the same again
==============================================  ==========================================================

The version matters because of backups: a server restored to an older state answers a watch "from the future" with
silence, or, once it has caught up, with a different history. No event tells of that. So whenever the connection was
lost its version is compared before it is trusted again, and where we were away long enough for a restore to finish the
collection is read anew, which is a diff of what is known and costs little. A watch can only become such a mute one by
a reconnect; one that goes mute by itself is caught by the missing bookmarks or by its end.

A list is applied as it comes: each object that differs is a change for the subscribers, and what the complete list did
not have is gone. Nothing else ever removes an object, so all that is known stays in place through any outage. What the
store already has is compared whole, so a list of unchanged objects disturbs nobody.

A kind that the server does not know (404) and that is optional counts as empty and synced, and is asked for again
now and then. If it had objects before, it has to be gone for ``missing_after`` first: a starting server may not know
its own kinds yet.

Waits between attempts double and are jittered. A watch that ends as soon as it begins counts as a failure, so no server
can make us spin.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd.kube.client import KubeClient
from ksproxyd.kube.errors import KubeError, KubeUnreachable
from ksproxyd.kube.pacing import Pacer, pause
from ksproxyd.kube.watch import BadEvent, Watch
from ksproxyd.state.backoff import Backoff
from ksproxyd.state.kinds import Kind
from ksproxyd.state.store import Key, Object, Store, key_of


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """All of a reflector's times, in seconds.

    A watch lasts from ``watch_shortest`` to ``watch_longest``, at random, so that the watches of many gateways do not
    end together. ``silence`` should be longer than the minute between two bookmarks; less finds a dead connection
    sooner, at the price of lists while all is well. ``relist_after`` is shorter than any restore of a backup takes.
    ``settled`` is how long a watch lasts before earlier failures are forgotten. A server that answers with errors is
    asked less and less often, up to ``backoff_cap``; one that cannot be reached has no burden from being tried every
    ``away_cap``, and roles that changed meanwhile are to count soon after its return.
    """

    watch_shortest: float = 300.0
    watch_longest: float = 600.0
    silence: float = 90.0
    relist_after: float = 10.0
    settled: float = 10.0
    backoff_first: float = 0.5
    backoff_cap: float = 30.0
    away_cap: float = 3.0
    missing_recheck: float = 30.0
    missing_after: float = 60.0


#: Kinds of failures in which no server is there that would have to do anything.
_AWAY = frozenset(["connect"])

#: A server that sends bookmarks sends one in about so many seconds.
BOOKMARKS = 60.0

#: A watch that ends up to this many seconds before its time ended in its time.
PUNCTUAL = 5.0


class WentBackwards(KubeError):
    """The server's resource version is older than one it gave before: it was restored from a backup."""

    def __init__(self, ours: str, theirs: str) -> None:
        message = f"the API server went back from resource version {ours} to {theirs}"
        super().__init__({"code": 410, "reason": "Expired", "message": message})


class Reflector:
    """Follows one kind, or the one object of it that ``name`` says, into ``store``.

    ``timing`` may be replaced while it runs. For metrics and checks there are ``problem`` (empty while all is well),
    ``missing`` (the server does not serve this kind), ``following`` (a watch is open), ``last_event`` (the clock's
    seconds, 0 for never), ``lag`` (seconds the last event waited here before it was in the store), and the counts
    ``events``, ``failures`` and ``restarts`` (lists after the first).
    """

    log = Logger()

    def __init__(
        self,
        client: KubeClient,
        kind: Kind,
        random: Callable[[], float],
        timing: Timing,
        *,
        namespace: str = "",
        name: str = "",
    ) -> None:
        self.kind = kind
        self.timing = timing
        self.store = Store(kind.name, client.clock)
        self.namespace = namespace or kind.namespace
        self.name = name
        self.label = kind.name + (f" {namespace}/{name}" if name else "")
        self.problem = ""
        self.missing = False
        self.following = False
        self.last_event = 0.0
        self.lag = 0.0
        self.events = 0
        self.failures = 0
        self.restarts = 0
        self._client = client
        self._clock = client.clock
        self._random = random
        self._selector = f"metadata.name={name}" if name else kind.field_selector
        self._reader = client.reader(
            kind.resource, self.namespace, label_selector=kind.label_selector, field_selector=self._selector
        )
        self._pacer = Pacer(client.clock)
        self._backoff = Backoff(timing.backoff_first, timing.backoff_cap, random)
        self._away = Backoff(timing.backoff_first, timing.away_cap, random)
        self._loop: Coroutine[Any, Any, None] | None = None
        self._running: Deferred[None] | None = None
        self._stopping = False
        self._watch: Watch | None = None
        self._version = ""
        self._lists = 0
        self._lost: float | None = None
        self._heard = client.clock.seconds()
        self._missing_since: float | None = None
        #: Whether this server sends bookmarks. All do that we know of, so it is believed until a watch shows none.
        self._bookmarks = True
        self._bookmarked = False

    def start(self) -> None:
        """Begin to follow. Called once."""
        self._loop = self._run()
        self._running = Deferred.fromCoroutine(self._loop)
        self._running.addErrback(self._ended)

    def stop(self) -> None:
        """Stop following; no subscriber is called any more, and the store keeps what it has."""
        self._stopping = True
        # A subscriber may have called us from within the loop, which cannot be interrupted then but will notice.
        within = self._loop is not None and inspect.getcoroutinestate(self._loop) == inspect.CORO_RUNNING
        if self._running is not None and not within:
            self._running.cancel()

    def status(self) -> str:
        """One line on how this kind is doing."""
        if not self.store.synced:
            return f"not synced: {self.problem or 'the first list is under way'}"
        count = f"{len(self.store)} object{'' if len(self.store) == 1 else 's'}"
        heard = f"{count}, last heard {max(self.store.age(), 0):.0f} s ago"
        if self.missing:
            return f"not served by the cluster, looked for every {self.timing.missing_recheck:g} s"
        return f"{heard}, stale: {self.problem}" if self.problem else heard

    # What a watch tells us.

    def opened(self) -> None:
        """The watch was accepted: what we have is current."""
        self.following = True
        self.alive()
        if self.problem:
            self.log.info("{kind}: following again", kind=self.label)
        self.problem = ""

    def alive(self) -> None:
        """A sign of life came."""
        self._heard = self._clock.seconds()
        self.store.heard()

    def event(self, kind: str, obj: dict[str, Any], received: float) -> None:
        """Something changed."""
        version = _version_of(obj)
        if _older(version, self._version):
            raise WentBackwards(self._version, version)
        if kind in ("ADDED", "MODIFIED"):
            self._put(obj)
        elif kind == "DELETED":
            key = self._key(obj)
            if key is not None:
                self.store.remove(key)
        elif kind == "BOOKMARK":
            self._bookmarked = True
            if not self._bookmarks and self._watch is not None:
                self._watch.expect(self.timing.silence)
            self._bookmarks = True
        else:
            raise BadEvent(f"an event of the unknown type {kind[:40]!r}")
        self._version = version or self._version
        self.events += 1
        self.last_event = self._clock.seconds()
        self.lag = max(0.0, self.last_event - received)

    # The loop.

    async def _run(self) -> None:
        while True:
            try:
                await self._cycle()
                delay = 0.0
            except CancelledError:
                return
            except KubeError as error:
                # Whoever is cancelled under way may also call it a failed request.
                if self._stopping:
                    return
                delay = self._failed(error)
            except Exception:
                self.log.failure("{kind}: the reflector met a bug", kind=self.label)
                self._version = ""
                delay = self._failed(KubeUnreachable("an internal error, see the log", "internal"))
            if self._stopping:
                return
            if delay:
                await pause(self._clock, delay)

    async def _cycle(self) -> None:
        """Make sure of where we are, then follow one watch to its end."""
        away = 0.0 if self._lost is None else self._clock.seconds() - self._lost
        if not self._version or away >= self.timing.relist_after:
            await self._list()
        elif self._lost is not None:
            version = await self._reader.version()
            self.alive()
            if _older(version, self._version):
                raise WentBackwards(self._version, version)
            self._lost = None
        await self._follow()

    async def _list(self) -> None:
        seen: set[Key] = set()

        def visit(obj: Object) -> None:
            self._check_stopped()
            key = self._put(obj)
            if key is not None:
                seen.add(key)

        if self._lists:
            self.restarts += 1
        self._lists += 1
        self._version = await self._reader.read(visit, self.alive)
        await self._forget_all_but(seen)
        self._lost = None
        self._missing_since = None
        if self.missing:
            self.log.info("{kind}: the cluster serves it now", kind=self.label)
        self.missing = False
        self.store.mark_synced()

    async def _follow(self) -> None:
        self._check_stopped()
        timing = self.timing
        seconds = int(
            timing.watch_shortest + self._random() * (timing.watch_longest - timing.watch_shortest)
        )
        started = self._clock.seconds()
        self._bookmarked = False
        self._watch = watch = self._client.watch(
            self.kind.resource,
            self,
            resource_version=self._version,
            timeout_seconds=seconds,
            namespace=self.namespace,
            label_selector=self.kind.label_selector,
            field_selector=self._selector,
            silence=timing.silence if self._bookmarks else 0.0,
        )
        try:
            await watch.done
        finally:
            self.following = False
            self._watch = None
            lasted = self._clock.seconds() - started
            if lasted >= timing.settled:
                self._backoff.reset()
                self._away.reset()
        self.alive()
        if lasted < seconds - PUNCTUAL:
            self._lost = self._clock.seconds()
        if lasted < timing.settled:
            raise KubeUnreachable(f"the watch ended after {lasted:.1f} s", "closed")

    def _failed(self, error: KubeError) -> float:
        """Take note of a failure; returns the seconds to wait before the next attempt."""
        now = self._clock.seconds()
        kind = error.kind if isinstance(error, KubeUnreachable) else "answered"
        if self._lost is None:
            # A connection that went mute may have been lost at any time since we last heard of it; so may one that
            # was quiet for long before it broke.
            quiet = kind != "answered" and now - self._heard >= self.timing.silence
            self._lost = self._heard if quiet or kind in ("silent", "timeout") else now
        if kind == "silent" and not self._bookmarked and self.timing.silence > BOOKMARKS:
            self._bookmarks = False
        if error.code == 401:
            self._client.access.refused()
        if error.code == 404 and self.kind.optional and not self._version and self._gone(now):
            return self.timing.missing_recheck * (1.0 - self._random() / 4.0)
        self.failures += 1
        if error.expired or error.version_too_new or error.code == 404 or isinstance(error, BadEvent):
            self._version = ""
        if kind in _AWAY:
            delay = self._away.next()
        else:
            delay = max(self._backoff.next(), error.retry_after or 0.0)
        if error.expired and self._backoff.attempts == 1:
            # Nothing is wrong with the server; we are late, and waiting makes us later.
            delay = 0.0
        self._report(error)
        return delay

    def _gone(self, now: float) -> bool:
        """The server does not know this kind: whether that is to be believed. If so there are no objects."""
        if self._missing_since is None:
            self._missing_since = now
        if len(self.store) and now - self._missing_since < self.timing.missing_after:
            return False
        for key in tuple(self.store.keys()):
            self.store.remove(key)
        if not self.missing:
            self.log.info("{kind}: the cluster does not serve it", kind=self.label)
        self.missing = True
        self.problem = ""
        self._lost = None
        self._backoff.reset()
        self.store.heard()
        self.store.mark_synced()
        return True

    def _report(self, error: KubeError) -> None:
        """Say what is wrong, once for as long as it is the same."""
        if isinstance(error, KubeUnreachable):
            problem, detail = error.message, error.detail
        else:
            problem = f"{error.code} {error.reason}: {error.message}"
            detail = problem
        if problem == self.problem:
            return
        self.problem = problem
        if error.expired:
            self.log.info("{kind}: listing anew: {detail}", kind=self.label, detail=detail)
        else:
            kept = "keeping what is known" if self.store.synced else "not synced yet"
            self.log.warn("{kind}: {detail}; {kept}", kind=self.label, detail=detail, kept=kept)

    def _put(self, obj: Object) -> Key | None:
        key = self._key(obj)
        if key is not None:
            # Bookkeeping of server-side apply, often larger than the object itself, which nobody here reads.
            obj["metadata"].pop("managedFields", None)
            self.store.put(obj)
        return key

    def _key(self, obj: Object) -> Key | None:
        try:
            return key_of(obj)
        except ValueError as error:
            self.log.warn("{kind}: ignoring {error}", kind=self.label, error=error)
            return None

    async def _forget_all_but(self, seen: set[Key]) -> None:
        self._pacer.begin()
        for key in tuple(self.store.keys()):
            if key in seen:
                continue
            self._check_stopped()
            self.store.remove(key)
            if self._pacer.spent():
                await self._pacer.turn()

    def _check_stopped(self) -> None:
        if self._stopping:
            raise CancelledError

    def _ended(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None:
            self.log.failure("{kind}: the reflector ended", failure, kind=self.label)


def _version_of(obj: Object) -> str:
    metadata = obj.get("metadata")
    version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
    return version if isinstance(version, str) else ""


def _older(version: str, than: str) -> bool:
    """Whether ``version`` is before ``than``; unknown ones and such that are no numbers are not."""
    return version.isdecimal() and than.isdecimal() and int(version) < int(than)
