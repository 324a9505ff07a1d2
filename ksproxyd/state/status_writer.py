"""Writes the status of extension objects: their state, a bundle's link, conditions.

What is written, and into which objects, is worked out in :mod:`ksproxyd.state.assessment`. Here is how:

- Only the gateway that holds the leadership writes (:mod:`ksproxyd.state.election`), so several of them, who may see
  a backend differently, do not contradict each other in the cluster.
- Every write is a merge patch that names the resource version it is based on, read just before; when somebody else
  was faster the API server refuses it and we look again. Nothing is written that is there already.
- Writes are few: an object waits in a queue at most once, failures are repeated after growing waits, and there are at
  most :data:`RATE` a second.
- Who changes back what we wrote means it. After :data:`CONTESTS` times the object is left to them for a while, and for
  longer if it goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd.kube.client import KubeClient
from ksproxyd.kube.errors import KubeError
from ksproxyd.kube.pacing import pause
from ksproxyd.state.assessment import (
    MANAGER,
    Mode,
    Wanted,
    change,
    free_state,
    managed,
    observes,
    owns_state,
    says,
    wanted_status,
)
from ksproxyd.state.election import Leadership
from ksproxyd.state.kinds import Kind
from ksproxyd.state.probing import Probe, Probes
from ksproxyd.state.store import Object, Store
from ksproxyd.state.validation import Problem, field, name_of, set_problems
from ksproxyd.state.work_queue import WorkQueue
from ksproxyd.upstream.guard import Condition

#: Writes a second, and how many may come at once.
RATE, BURST = 5.0, 10
#: Seconds to wait for further changes before the objects of a kind are compared with each other.
SETTLE = 0.02
#: So many times within so many seconds a write is undone before the object is left alone; for how long at first, and
#: at most.
CONTESTS, CONTEST_WINDOW = 3, 600.0
FIRST_TRUCE, LAST_TRUCE = 600.0, 21600.0

_Key = tuple[str, str]


class StatusWriter:
    """Keeps the statuses of the objects in ``stores`` true.

    ``check(kind, object)`` says what is wrong with an object by itself, ``evidence(kind, name)`` what else is known of
    it, ``probe`` asks its backend; see :class:`~ksproxyd.state.probing.Probes`. ``now()`` gives seconds since the
    epoch, ``random()`` numbers from 0 up to 1. ``in_thread(function, *arguments)`` runs a function beside the reactor.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        now: Callable[[], float],
        random: Callable[[], float],
        client: KubeClient,
        stores: Mapping[Kind, Store],
        mode: Mode,
        leadership: Leadership,
        check: Callable[[str, Object], list[Problem]],
        in_thread: Callable[..., Deferred[Any]],
        *,
        probe: Probe = lambda kind, value: None,
        probe_interval: float = 30.0,
        evidence: Callable[[str, str], Iterable[Condition]] = lambda kind, name: (),
    ) -> None:
        #: Writes that were done, and writes that others have undone.
        self.writes = 0
        self.contests = 0
        self._clock = clock
        self._now = now
        self._client = client
        self._kinds = {kind.name: kind for kind in stores}
        self._stores = {kind.name: store for kind, store in stores.items()}
        self._mode = mode
        self._leadership = leadership
        self._check = check
        self._in_thread = in_thread
        self._evidence = evidence
        self._queue: WorkQueue[_Key] = WorkQueue(clock, random, self._look, self._failed)
        self._probes: Probes[_Key] = Probes(clock, probe, probe_interval, self._queue.add)
        self._alone: dict[_Key, list[Problem]] = {}
        self._together: dict[_Key, list[Problem]] = {}
        self._comparisons: dict[str, _Comparison] = {}
        self._subresource: dict[str, bool] = {}
        self._foreign: dict[_Key, Any] = {}
        self._written: dict[_Key, Wanted] = {}
        self._contested: dict[_Key, _Contest] = {}
        #: Kinds and codes of failures that were logged.
        self._said: set[tuple[str, int]] = set()
        self._next_write = float("-inf")
        self._ends: list[Callable[[], object]] = []

    def start(self) -> None:
        """Begin. The stores may be filled before or after. Called once."""
        if self._mode == "false":
            return
        for name, store in self._stores.items():
            self._comparisons[name] = _Comparison()
            self._ends.append(store.subscribe(partial(self._event, name), replay=True))
            synced = store.when_synced()
            synced.addCallbacks(lambda _, name=name: self._compare_soon(name), _not_synced)
            self._ends.append(synced.cancel)
        self._leadership.start(self._look_at_all)

    def stop(self) -> Deferred[None]:
        """Write nothing any more; fires when the leadership is given back."""
        for end in self._ends:
            end()
        self._ends.clear()
        for comparison in self._comparisons.values():
            comparison.stop()
        self._queue.stop()
        self._probes.stop()
        return self._leadership.stop()

    def touch(self, kind: str, name: str) -> None:
        """What ``evidence`` says of an object has changed."""
        key = (kind, name)
        # One that was never compared is looked at after its comparison anyway.
        if self._leadership.leading and key in self._alone and self._comparisons[kind].once:
            self._queue.add(key)

    # -- events ----------------------------------------------------------------------------------------

    def _event(self, kind: str, old: Object | None, new: Object | None) -> None:
        if new is None:
            if old is not None:
                self._gone((kind, name_of(old)))
        else:
            key = (kind, name_of(new))
            self._alone[key] = self._check(kind, new)
            self._comparisons[kind].news.add(key)
        self._compare_soon(kind)

    def _gone(self, key: _Key) -> None:
        self._queue.forget(key)
        self._probes.forget(key)
        for known in (self._alone, self._together, self._foreign, self._written, self._contested):
            known.pop(key, None)

    def _compare_soon(self, kind: str) -> None:
        comparison = self._comparisons[kind]
        comparison.due = True
        # Before everything is known, what looks like the first claim may not be.
        if self._stores[kind].synced and comparison.timer is None and comparison.running is None:
            comparison.timer = self._clock.callLater(SETTLE, self._compare, kind)

    def _compare(self, kind: str) -> None:
        comparison = self._comparisons[kind]
        comparison.timer, comparison.due = None, False
        news, comparison.news = comparison.news, set()
        running = self._in_thread(set_problems, kind, list(self._stores[kind].values()))
        comparison.running = running
        running.addCallback(self._compared, kind, news)
        running.addErrback(self._not_compared, kind, news)
        running.addCallback(self._next_comparison, kind)

    def _compared(self, problems: list[Problem], kind: str, news: set[_Key]) -> None:
        self._comparisons[kind].once = True
        found: dict[_Key, list[Problem]] = {}
        for problem in problems:
            found.setdefault((kind, problem.name), []).append(problem)
        for key in self._alone:
            if key[0] == kind and found.get(key) != self._together.get(key):
                news.add(key)
                if key in found:
                    self._together[key] = found[key]
                else:
                    del self._together[key]
        for key in sorted(news):
            if key in self._alone:
                self._queue.add(key)

    def _not_compared(self, failure: Failure, kind: str, news: set[_Key]) -> None:
        self._comparisons[kind].news |= news
        if not failure.check(CancelledError):
            self.log.failure("comparing the objects of {kind} failed", failure, kind=kind)

    def _next_comparison(self, _: None, kind: str) -> None:
        comparison = self._comparisons[kind]
        comparison.running = None
        if comparison.due and not comparison.stopped:
            self._compare_soon(kind)

    def _look_at_all(self) -> None:
        """The leadership came or went."""
        if not self._leadership.leading:
            self._probes.stop()
            return
        for key in self._alone:
            self._comparisons[key[0]].news.add(key)
        for kind in self._comparisons:
            self._compare_soon(kind)

    # -- one object ------------------------------------------------------------------------------------

    async def _look(self, key: _Key) -> None:
        value = self._value(key)
        if value is None or not self._leadership.leading or not managed(value, self._mode):
            self._probes.forget(key)
            return
        contest = self._contested.get(key)
        if contest is not None and contest.truce > self._clock.seconds():
            self._queue.add_after(key, contest.truce - self._clock.seconds())
            return
        if free_state(value) and not any(problem.fatal for problem in self._problems(key)):
            self._probes.watch(key, key[0], value)
        else:
            self._probes.forget(key)
        version = field(value, "metadata", "resourceVersion")
        # Whose the state is is only known to the API server; what it said of this version still holds.
        owns = self._foreign.get(key) != version
        if self._change(key, value, self._wanted(key, value, owns)) is not None:
            await self._write(key)

    async def _write(self, key: _Key) -> None:
        resource = self._kinds[key[0]].resource
        try:
            value = await self._client.get(resource, key[1])
        except KubeError as error:
            if error.code == 404:
                return
            raise
        if not managed(value, self._mode):
            return
        if self._is_contested(key, value):
            return
        owns = owns_state(value, self._mode)
        version = field(value, "metadata", "resourceVersion")
        if owns:
            self._foreign.pop(key, None)
        else:
            self._foreign[key] = version
        wanted = self._wanted(key, value, owns)
        status = self._change(key, value, wanted)
        if status is None:
            return
        await self._allowance()
        if not self._leadership.leading:
            return
        written = await self._patch(key, value, wanted, status)
        self.writes += 1
        self._written[key] = wanted
        self._said = {said for said in self._said if said[0] != key[0]}
        if not owns:
            self._foreign[key] = field(written, "metadata", "resourceVersion")

    async def _patch(self, key: _Key, value: Object, wanted: Wanted, status: dict[str, Any]) -> Object:
        """Write ``status`` by way of the subresource if the kind has one, else into the object itself."""
        kind, name = key
        resource = self._kinds[kind].resource
        guard = {"resourceVersion": field(value, "metadata", "resourceVersion")}
        if self._subresource.get(kind, True):
            generation = field(value, "metadata", "generation")
            observed = generation if isinstance(generation, int) else None
            observing = change(value, wanted, self._now(), observed) or status
            try:
                written = await self._client.patch(
                    resource,
                    name,
                    {"metadata": guard, "status": observing},
                    subresource="status",
                    field_manager=MANAGER,
                )
            except KubeError as error:
                # The object was there a moment ago: it is the subresource that is not.
                if error.code != 404:
                    raise
                self._subresource[kind] = False
            else:
                self._subresource[kind] = True
                return written
        written = await self._client.patch(resource, name, {"metadata": guard, "status": status}, field_manager=MANAGER)
        if not says(written, wanted):
            # A kind with a status subresource drops what is written elsewhere: it has got one in the meantime.
            self._subresource.pop(kind)
        return written

    def _is_contested(self, key: _Key, value: Object) -> bool:
        """Whether what we wrote was undone so often that we leave the object alone now."""
        written = self._written.get(key)
        if written is None or says(value, written):
            return False
        del self._written[key]
        self.contests += 1
        now = self._clock.seconds()
        contest = self._contested.setdefault(key, _Contest())
        contest.times = [time for time in contest.times if time > now - CONTEST_WINDOW] + [now]
        if len(contest.times) < CONTESTS:
            return False
        contest.times.clear()
        wait = min(FIRST_TRUCE * 2.0 ** min(contest.truces, 16), LAST_TRUCE)
        contest.truces += 1
        contest.truce = now + wait
        self.log.warn(
            "somebody else keeps changing the status of {kind} {name}: it is left to them for {seconds:g} seconds",
            kind=key[0],
            name=key[1],
            seconds=wait,
        )
        self._queue.add_after(key, wait)
        return True

    def _wanted(self, key: _Key, value: Object, owns: bool) -> Wanted:
        evidence = tuple(self._evidence(*key))
        owns = owns and owns_state(value, "true")
        return wanted_status(key[0], value, self._problems(key), self._probes.verdict(key), evidence, owns=owns)

    def _change(self, key: _Key, value: Object, wanted: Wanted) -> dict[str, Any] | None:
        # As long as nothing is known of the kind, what was written before tells.
        observed = self._subresource.get(key[0], observes(value))
        generation = field(value, "metadata", "generation") if observed else None
        return change(value, wanted, self._now(), generation if isinstance(generation, int) else None)

    def _problems(self, key: _Key) -> list[Problem]:
        return [*self._alone.get(key, ()), *self._together.get(key, ())]

    def _value(self, key: _Key) -> Object | None:
        return self._stores[key[0]].get(("", key[1]))

    async def _allowance(self) -> None:
        """Wait until another write may be done."""
        now = self._clock.seconds()
        self._next_write = max(self._next_write, now - (BURST - 1) / RATE)
        wait = self._next_write - now
        self._next_write += 1.0 / RATE
        if wait > 0:
            await pause(self._clock, wait)

    def _failed(self, key: _Key, failure: Failure) -> bool:
        error = failure.value
        if not isinstance(error, KubeError):
            self.log.failure("writing the status of {kind} {name} failed", failure, kind=key[0], name=key[1])
        # 409: somebody else was faster, which is no failure.
        elif error.code != 409 and (key[0], error.code) not in self._said:
            self._said.add((key[0], error.code))
            self.log.warn(
                "the status of {kind} {name} cannot be written: {error}", kind=key[0], name=key[1], error=str(error)
            )
        return True


class _Comparison:
    """When the objects of one kind are compared with each other, and which of them are to be looked at then."""

    def __init__(self) -> None:
        self.due = False
        self.news: set[_Key] = set()
        self.timer: IDelayedCall | None = None
        self.running: Deferred[Any] | None = None
        #: Whether they were compared ever.
        self.once = False
        self.stopped = False

    def stop(self) -> None:
        self.stopped = True
        if self.timer is not None:
            self.timer.cancel()
        if self.running is not None:
            self.running.cancel()


class _Contest:
    """How often an object's status was changed back, and until when it is left alone."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.truces = 0
        self.truce = 0.0


def _not_synced(failure: Failure) -> None:
    failure.trap(CancelledError)
