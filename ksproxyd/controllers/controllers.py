"""All controllers together: when they work, and the queue in which they do it.

They work where ks-controller-manager does not (``ksproxyd.controllers.mode``), in one of several gateways, once
everything that they look at has been read. Whenever that begins, everything is looked at; from then on, what changes.
What fails is tried again after a growing wait. What somebody else changes back all the time is left alone for a while.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, FirstError, gatherResults
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd.controllers.builtin import BuiltinRoles
from ksproxyd.controllers.changes import Changes
from ksproxyd.controllers.namespaces import WHAT as PROJECT
from ksproxyd.controllers.namespaces import Projects
from ksproxyd.controllers.roles import KINDS, RoleAggregation
from ksproxyd.controllers.workspaces import GOING, TEMPLATE, Workspaces
from ksproxyd.kube.client import KubeClient
from ksproxyd.kube.errors import KubeError
from ksproxyd.kube.pacing import Pacer
from ksproxyd.settings import Settings
from ksproxyd.state.controller_manager import ControllerManager
from ksproxyd.state.election import Leadership
from ksproxyd.state.kinds import (
    BINDING_KINDS,
    BUILTIN_ROLES,
    CLUSTERS,
    NAMESPACES,
    ROLE_KINDS,
    ROLE_TEMPLATES,
    USERS,
    WORKSPACE_TEMPLATES,
    WORKSPACES,
)
from ksproxyd.state.state import State
from ksproxyd.state.work_queue import WorkQueue

#: What is looked at, with the namespace and name of one.
_Key = tuple[str, str, str]
_ALL: _Key = ("everything", "", "")

#: What has to be known before anything is done.
_NEEDED = (
    *ROLE_KINDS,
    *BINDING_KINDS,
    ROLE_TEMPLATES,
    BUILTIN_ROLES,
    NAMESPACES,
    USERS,
    CLUSTERS,
    WORKSPACES,
    WORKSPACE_TEMPLATES,
)

#: An object that was changed so often in so many seconds is left alone for that time.
OFTEN, WINDOW = 8, 60.0
#: Of so many it is remembered when they were changed, before those are forgotten that were not for a while.
REMEMBERED = 2000


class Controllers:
    """``rng()`` gives numbers from 0 up to 1. ``leadership`` is started and stopped with it."""

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        state: State,
        client: KubeClient,
        leadership: Leadership,
        rng: Callable[[], float],
    ) -> None:
        self._mode = settings.ksproxyd.controllers.mode
        self._reactor = reactor
        self._state = state
        self._leadership = leadership
        self._changes = Changes(client)
        self._queue: WorkQueue[_Key] = WorkQueue(reactor, rng, self._handle, self._failed)
        self._pacer = Pacer(reactor)
        builtin = self._builtin = BuiltinRoles(state, reactor)
        self._roles = RoleAggregation(state, self._changes, Pacer(reactor), self._add)
        self._projects = Projects(state, self._changes, builtin, self._add)
        self._workspaces = Workspaces(state, self._changes, builtin, settings.multicluster.host_cluster_name, self._add)
        self._presence = (
            ControllerManager(reactor, client, "roles, workspaces and projects", "ksproxyd.controllers.mode")
            if self._mode == "auto"
            else None
        )
        self._waiting: Deferred[Any] | None = None
        self._synced = False
        self._started = False
        self._working = False
        self._unsubscribe: list[Callable[[], None]] = []
        self._written: dict[_Key, deque[float]] = {}
        self._said: set[tuple[str, int]] = set()
        self._told: set[_Key] = set()

    @property
    def working(self) -> bool:
        """Whether things are kept in order by us."""
        return (
            self._started
            and self._synced
            and self._leadership.leading
            and (self._presence is None or not self._presence.there)
        )

    @property
    def writes(self) -> int:
        """How many changes were made."""
        return self._changes.count

    def start(self) -> None:
        """Begin. Called once, before or after the state is started."""
        if self._mode is False:
            return
        self._started = True
        self._unsubscribe = [
            *self._roles.subscribe(),
            *self._projects.subscribe(),
            *self._workspaces.subscribe(),
            self._builtin.subscribe(lambda seconds: self._queue.add_after(_ALL, seconds) if self.working else None),
        ]
        self._leadership.start(self._changed)
        if self._presence is not None:
            self._presence.start(self._changed)
        self._waiting = gatherResults(
            [self._state.store(kind).when_synced() for kind in _NEEDED], consumeErrors=True
        ).addCallbacks(self._known, _not_waiting)

    async def stop(self) -> None:
        """Write nothing any more; returns when the leadership is given back."""
        if not self._started:
            return
        self._started = False
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        if self._presence is not None:
            self._presence.stop()
        if self._waiting is not None:
            self._waiting.cancel()
        self._queue.stop()
        await self._leadership.stop()

    def _known(self, _: Any) -> None:
        self._waiting = None
        self._synced = True
        self._changed()

    def _changed(self) -> None:
        """We may begin, or have to end."""
        before, self._working = self._working, self.working
        if self._working and not before:
            self._queue.add(_ALL)

    def _add(self, what: str, namespace: str, name: str) -> None:
        if self.working:
            self._queue.add((what, namespace, name))

    async def _handle(self, key: _Key) -> None:
        # Many in a row have nothing to wait for.
        if self._pacer.spent():
            await self._pacer.turn()
        if not self.working or self._contested(key):
            return
        before = self._changes.count
        try:
            wait = await self._dispatch(key)
        finally:
            if self._changes.count > before:
                self._note(key)
        if wait:
            self._queue.add_after(key, wait)

    def _note(self, key: _Key) -> None:
        now = self._reactor.seconds()
        if len(self._written) >= REMEMBERED:
            self._written = {each: times for each, times in self._written.items() if times[-1] > now - WINDOW}
        self._written.setdefault(key, deque(maxlen=OFTEN)).append(now)

    async def _dispatch(self, key: _Key) -> float:
        what, namespace, name = key
        if what in KINDS:
            await self._roles.handle(what, namespace, name)
        elif what == PROJECT:
            return await self._projects.handle(name)
        elif what in (TEMPLATE, GOING):
            return await self._workspaces.handle(what, name)
        else:
            self._pacer.begin()
            for source in (self._workspaces, self._projects, self._roles):
                for found in source.everything():
                    self._add(*found)
                    if self._pacer.spent():
                        await self._pacer.turn()
        return 0.0

    def _contested(self, key: _Key) -> bool:
        times = self._written.get(key)
        if times is None:
            return False
        now = self._reactor.seconds()
        if times[-1] <= now - WINDOW:
            del self._written[key]
            return False
        if len(times) < OFTEN or times[0] <= now - WINDOW:
            return False
        if key not in self._told:
            self._told.add(key)
            self.log.warn(
                "{what} {name} keeps being changed back by somebody else: it is looked at once in {seconds:g} seconds",
                what=key[0],
                name="/".join(filter(None, key[1:])),
                seconds=WINDOW,
            )
        self._queue.add_after(key, times[0] + WINDOW - now)
        return True

    def _failed(self, key: _Key, failure: Failure) -> bool:
        error = failure.value
        what, *place = key
        name = "/".join(filter(None, place))
        if not isinstance(error, KubeError):
            self.log.failure("keeping {what} {name} in order failed", failure, what=what, name=name)
        # 409: somebody else was faster, which is no failure.
        elif error.code != 409 and (what, error.code) not in self._said:
            self._said.add((what, error.code))
            self.log.warn(
                "{what} {name} cannot be kept in order: {error}; it is tried again (the gateway needs to write what "
                "ks-controller-manager writes: roles and bindings of iam.kubesphere.io, workspaces of "
                "tenant.kubesphere.io, namespaces; or set ksproxyd.controllers.mode to false)",
                what=what,
                name=name,
                error=str(error),
            )
        return True


def _not_waiting(failure: Failure) -> None:
    # Whoever stops us cancels all of it.
    inner = failure.value.subFailure if isinstance(failure.value, FirstError) else failure
    inner.trap(CancelledError)
