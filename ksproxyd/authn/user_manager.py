"""Keeps User objects, and what belongs to them, in order (spec 02, 6.7):

- a password that somebody has written in clear is hashed; the user becomes ``Active`` with it;
- who is locked out has it in their status, and is unlocked when it ends;
- who is deleted takes along their role bindings and login records;
- old login records go, and the time of the last login is noted;
- the annotation with the global role mirrors the GlobalRoleBinding.

Only where nobody else does it (``ksproxyd.iam.manageUsers``): in ``auto``, while ks-controller-manager is not there
(:mod:`ksproxyd.state.controller_manager`). Of several gateways the leading one does it; a lock is written by the one
that has seen it. Every write replaces an object that was read just before and fails if it has changed meanwhile, so
whoever else writes loses nothing, and the next look finds what is left to do.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Literal, NamedTuple

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd.authn.managing.belongings import GLOBAL_ROLE_BINDINGS, delete, remove_belongings
from ksproxyd.authn.managing.login_history import Entry, Retention, entry, last_login, surplus
from ksproxyd.authn.managing.user_order import (
    deleting,
    has_finalizer,
    in_order,
    lock_ends_in,
    locked,
    plaintext,
    urgent,
    with_role,
    without_finalizer,
)
from ksproxyd.authn.passwords import Busy, Passwords
from ksproxyd.authn.records import LOGIN_RECORDS, LONGEST_LABEL, MANAGER, USER_REF
from ksproxyd.authn.user_record import RESERVED
from ksproxyd.kube.client import KubeClient
from ksproxyd.kube.errors import KubeError
from ksproxyd.kube.pacing import REST, Pacer, pause
from ksproxyd.settings import Settings
from ksproxyd.state.controller_manager import ControllerManager
from ksproxyd.state.election import Leadership
from ksproxyd.state.kinds import USERS
from ksproxyd.state.store import Object, Store
from ksproxyd.state.validation import field, name_of, text
from ksproxyd.state.work_queue import WorkQueue

Mode = Literal["auto"] | bool

#: What there is to do. A key of the queue is one of these and a user's name (empty for all of them).
_ORDER, _LOCK, _HISTORY, _ROLE, _ALL = "order", "lock", "history", "role", "all"
_Key = tuple[str, str]

#: Seconds between two looks at all login records and role bindings; before the first one; and after a login before the
#: user's records are looked at.
SWEEP, FIRST_SWEEP, SETTLE = 600.0, 20.0, 5.0
#: Seconds between two looks at the login records of one user: programs log in all the time, and a look reads all that
#: there are and writes the user.
AGAIN = 60.0
#: Writes a second that are in no hurry: finalizers, records that go.
RATE = 20.0
#: Seconds that each of these waits while so many log in that some are turned away.
CROWDED = 0.5
#: Seconds between two calls of the API server for the same look at a history. Answer and next call are one piece of
#: work otherwise, and a few of them in a row are in the way of the same request.
BETWEEN = 0.005
#: Seconds that an object without a user, or a mirror without an original, must have been there: the other one may be
#: on its way.
GRACE = 60.0


class ManagerRules(NamedTuple):
    """What the settings say: ``authenticateRateLimiterMaxTries``, its duration in seconds, and the login history."""

    tries: int
    duration: float
    retention: Retention


class UserManager:
    """``random()`` gives numbers from 0 up to 1. ``users`` may be filled before or after :meth:`start`.

    ``ended(user)`` is awaited before a user is let go: it ends their sessions. ``changed()`` is called when
    :attr:`leading` may have changed.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        random: Callable[[], float],
        client: KubeClient,
        users: Store,
        mode: Mode,
        leadership: Leadership,
        passwords: Passwords,
        rules: ManagerRules,
        *,
        ended: Callable[[str], Coroutine[Any, Any, object]] | None = None,
        changed: Callable[[], object] = lambda: None,
    ) -> None:
        #: Changes of User objects that were written.
        self.writes = 0
        self._clock = clock
        self._client = client
        self._users = users
        self._mode = mode
        self._leadership = leadership
        self._passwords = passwords
        self._rules = rules
        self._end_sessions = ended
        self._tell = changed
        self._rival = ControllerManager(clock, client, "users", "ksproxyd.iam.manageUsers") if mode == "auto" else None
        self._queue: WorkQueue[_Key] = WorkQueue(clock, random, self._handle, self._failed)
        #: What is in no hurry waits here, so that nothing else waits behind it.
        self._later: WorkQueue[_Key] = WorkQueue(clock, random, self._handle_slowly, self._failed)
        self._locks: dict[str, dict[str | None, float]] = {}
        self._said: set[tuple[str, int]] = set()
        #: When the login records of a user were looked at last; the first in it the longest ago.
        self._looked: dict[str, float] = {}
        self._sweep_timer: IDelayedCall | None = None
        self._sweeping: Deferred[None] | None = None
        self._unsubscribe: Callable[[], None] | None = None
        self._started = False

    @property
    def managing(self) -> bool:
        """Whether users are looked after here, by one gateway or another."""
        return self._started and (self._rival is None or not self._rival.there)

    @property
    def leading(self) -> bool:
        """Whether it is us who do it."""
        return self.managing and self._leadership.leading

    def start(self) -> None:
        """Begin. Called once."""
        if self._mode is False:
            return
        self._started = True
        self._unsubscribe = self._users.subscribe(self._event, replay=True)
        self._leadership.start(self._changed)
        if self._rival is not None:
            self._rival.start(self._changed)
        self._changed()

    async def stop(self) -> None:
        """Write nothing any more; returns when the leadership is given back."""
        if not self._started:
            return
        self._started = False
        if self._unsubscribe is not None:
            self._unsubscribe()
        if self._rival is not None:
            self._rival.stop()
        self._queue.stop()
        self._later.stop()
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
            self._sweep_timer = None
        if self._sweeping is not None:
            self._sweeping.cancel()
        await self._leadership.stop()

    def locked(self, user: str, source: str | None, seconds: float) -> None:
        """A login has found out that ``user`` is locked for the network ``source`` (None: for everybody)."""
        if self.managing:
            self._locks.setdefault(user, {})[source] = self._clock.seconds() + seconds
            self._queue.add((_LOCK, user))

    def recorded(self, user: str) -> None:
        """A login record of ``user`` has been written."""
        if self.managing:
            # Several come together often.
            now = self._clock.seconds()
            wait = max(SETTLE, min(AGAIN, self._looked.get(user, now - AGAIN) + AGAIN - now))
            self._later.add_after((_HISTORY, user), wait)

    # -- what happens ------------------------------------------------------------------------------------------

    def _event(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            name = name_of(old or {})
            self._queue.forget((_ORDER, name))
            for what in (_HISTORY, _ROLE, _ORDER):
                self._later.forget((what, name))
            self._locks.pop(name, None)
        elif self.leading:
            self._consider(new)

    def _consider(self, obj: Object) -> None:
        name = name_of(obj)
        if name.startswith(RESERVED):
            return
        if urgent(obj):
            self._queue.add((_ORDER, name))
        elif not deleting(obj) and not has_finalizer(obj):
            self._later.add((_ORDER, name))
        left = lock_ends_in(obj, self._clock.seconds(), self._rules.duration)
        if left is not None:
            self._queue.add_after((_ORDER, name), left)

    def _changed(self) -> None:
        """We lead, or do no more; others look after the users, or do no more."""
        if self.leading:
            self._queue.add((_ALL, ""))
            if self._sweep_timer is None and self._sweeping is None:
                self._sweep_timer = self._clock.callLater(FIRST_SWEEP, self._sweep)
        elif self._sweep_timer is not None:
            self._sweep_timer.cancel()
            self._sweep_timer = None
        self._tell()

    async def _handle_slowly(self, key: _Key) -> None:
        await pause(self._clock, 1.0 / RATE)
        if self._passwords.full:
            await pause(self._clock, CROWDED)
        await self._handle(key)

    async def _handle(self, key: _Key) -> None:
        what, name = key
        if what == _LOCK:
            await self._lock(name)
        elif not self.leading:
            return
        elif what == _ALL:
            await self._look_at_all()
        elif what == _HISTORY:
            await self._look_at_history(name)
        elif what == _ROLE:
            await self._mirror_role(name)
        else:
            await self._put_in_order(name)

    def _failed(self, key: _Key, failure: Failure) -> bool:
        error = failure.value
        what, name = key
        if isinstance(error, KubeError):
            # 409: somebody else was faster, which is no failure.
            if error.code != 409 and (what, error.code) not in self._said:
                self._said.add((what, error.code))
                self.log.warn(
                    "user {name} cannot be put in order ({what}): {error}", name=name, what=what, error=str(error)
                )
        elif not isinstance(error, Busy):
            self.log.failure("putting user {name} in order ({what}) failed", failure, name=name, what=what)
        return True

    # -- one user ----------------------------------------------------------------------------------------------

    async def _look_at_all(self) -> None:
        pacer = Pacer(self._clock)
        pacer.begin()
        for obj in tuple(self._users.values()):
            self._consider(obj)
            if pacer.spent():
                await pacer.turn()

    async def _put_in_order(self, name: str) -> None:
        obj = await self._read(name)
        if obj is None:
            return
        if deleting(obj):
            if has_finalizer(obj):
                await self._let_go(obj)
            return
        clear = plaintext(obj)
        hashed = await self._hash(name, clear) if clear else None
        now = self._clock.seconds()
        await self._write(obj, in_order(obj, hashed, now, self._rules.duration))
        left = lock_ends_in(obj, now, self._rules.duration)
        if left:
            # It has been made longer since somebody thought that it ends now.
            self._queue.add_after((_ORDER, name), left)

    async def _hash(self, name: str, password: str) -> str:
        try:
            return await self._passwords.hash(password)
        except ValueError as error:
            # In clear it is of no use to them, but to whoever reads the object.
            self.log.warn("the password of user {name} is removed: {error}. Set another", name=name, error=str(error))
            return ""

    async def _let_go(self, obj: Object) -> None:
        name = name_of(obj)
        if self._end_sessions is not None:
            await self._end_sessions(name)
        await remove_belongings(self._client, name)
        await self._write(obj, without_finalizer(obj))

    async def _lock(self, name: str) -> None:
        now = self._clock.seconds()
        locks = {source: end for source, end in self._locks.get(name, {}).items() if end > now}
        if not locks or not self.managing:
            self._locks.pop(name, None)
            return
        obj = await self._read(name)
        if obj is not None and not deleting(obj):
            whom = "everybody" if None in locks else "one network"
            reason = f"{self._rules.tries} wrong passwords within {self._rules.duration:g} seconds; locked for {whom}"
            await self._write(obj, locked(obj, locks, reason, now))
        if self._locks.get(name, {}).keys() <= locks.keys():
            self._locks.pop(name, None)

    async def _look_at_history(self, name: str) -> None:
        if len(name) > LONGEST_LABEL:
            return
        self._note_look(name)
        found = await self._client.list(LOGIN_RECORDS, label_selector=f"{USER_REF}={name}")
        entries = [entry(item) for item in found.items]
        for gone in surplus(entries, self._rules.retention, self._clock.seconds()):
            await pause(self._clock, BETWEEN)
            await delete(self._client, LOGIN_RECORDS, gone)
        last = last_login(entries)
        obj = self._users.get(("", name))
        # A later one was noted by somebody who has seen more.
        if obj is not None and not deleting(obj) and text(obj, "status", "lastLoginTime") < last:
            status = field(obj, "status")
            status = status if isinstance(status, dict) else {}
            await pause(self._clock, BETWEEN)
            # As it came in a list, it may not say what it is.
            kind = {"apiVersion": USERS.resource.api_version, "kind": USERS.resource.kind}
            await self._write(obj, {**kind, **obj, "status": status | {"lastLoginTime": last}})

    def _note_look(self, name: str) -> None:
        now = self._clock.seconds()
        self._looked.pop(name, None)
        self._looked[name] = now
        while self._looked and next(iter(self._looked.values())) <= now - AGAIN:
            del self._looked[next(iter(self._looked))]

    async def _mirror_role(self, name: str) -> None:
        found = await self._client.list(GLOBAL_ROLE_BINDINGS, label_selector=f"{USER_REF}={name}")
        role = min((role for user, role in map(_bound, found.items) if user == name), default=None)
        obj = await self._read(name)
        if obj is not None and not deleting(obj):
            await self._write(obj, with_role(obj, role))

    async def _read(self, name: str) -> Object | None:
        try:
            return await self._client.get(USERS.resource, name)
        except KubeError as error:
            if error.code != 404:
                raise
            return None

    async def _write(self, obj: Object, wanted: Object | None) -> None:
        """Put ``wanted`` in place of ``obj``; its status by way of the subresource where the kind has got one."""
        if wanted is None:
            return
        written = await self._client.update(USERS.resource, wanted, field_manager=MANAGER)
        status = wanted.get("status")
        if status != obj.get("status") and written.get("status") != status:
            guard = {"resourceVersion": field(written, "metadata", "resourceVersion")}
            change = _difference(obj.get("status"), status)
            await self._client.patch(
                USERS.resource,
                name_of(obj),
                {"metadata": guard, "status": change},
                subresource="status",
                field_manager=MANAGER,
            )
        self.writes += 1
        self._said.clear()

    # -- all at once -------------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        self._sweep_timer = None
        self._sweeping = sweeping = Deferred.fromCoroutine(self._look_around())
        sweeping.addErrback(self._not_swept)
        sweeping.addCallback(self._swept)

    def _swept(self, _: object) -> None:
        self._sweeping = None
        if self.leading:
            self._sweep_timer = self._clock.callLater(SWEEP, self._sweep)

    def _not_swept(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            return
        error = failure.value
        if not isinstance(error, KubeError):
            self.log.failure("looking at login records and role bindings failed", failure)
        elif not error.expired:
            self._failed(("sweep", "(all)"), failure)

    async def _look_around(self) -> None:
        if self._users.synced:
            await self._look_at_records()
            await self._look_at_roles()

    async def _look_at_records(self) -> None:
        histories: dict[str, list[Entry]] = {}

        def visit(item: Object) -> None:
            labels = field(item, "metadata", "labels")
            user = text(labels, USER_REF)
            histories.setdefault(user, []).append(entry(item))

        if not await self._read_all(LOGIN_RECORDS, visit):
            return
        pacer = Pacer(self._clock, rest=REST)
        pacer.begin()
        for user, entries in histories.items():
            obj = self._users.get(("", user))
            now = self._clock.seconds()
            if obj is None:
                # Written for somebody who has just been made, or is gone.
                orphans = surplus(entries, Retention(GRACE, len(entries)), now)
                for name in orphans:
                    await self._delete_slowly(name)
            elif surplus(entries, self._rules.retention, now) or (
                text(obj, "status", "lastLoginTime") < last_login(entries)
            ):
                self._later.add((_HISTORY, user))
            if pacer.spent():
                await pacer.turn()

    async def _delete_slowly(self, name: str) -> None:
        await pause(self._clock, 1.0 / RATE)
        if self.leading:
            await delete(self._client, LOGIN_RECORDS, name)

    async def _look_at_roles(self) -> None:
        roles: dict[str, str] = {}

        def visit(item: Object) -> None:
            user, role = _bound(item)
            if user and role:
                roles[user] = min(role, roles.get(user, role))

        if not await self._read_all(GLOBAL_ROLE_BINDINGS, visit):
            return
        pacer = Pacer(self._clock, rest=REST)
        pacer.begin()
        for obj in tuple(self._users.values()):
            name = name_of(obj)
            role = roles.get(name)
            # A user is made first and bound then.
            if not deleting(obj) and with_role(obj, role) is not None and (role or self._old(obj)):
                self._later.add((_ROLE, name))
            if pacer.spent():
                await pacer.turn()

    def _old(self, obj: Object) -> bool:
        return bool(surplus([entry(obj)], Retention(GRACE, 1), self._clock.seconds()))

    async def _read_all(self, resource: Any, visit: Callable[[Object], None]) -> bool:
        """Read a collection page by page; whether the cluster has such."""
        try:
            await self._client.reader(resource).read(visit, lambda: None)
        except KubeError as error:
            if error.code != 404:
                raise
            return False
        return True


def manager_mode(settings: Settings) -> Mode:
    """Whether users are looked after here. On a member cluster ``auto`` is no: its users are the host's."""
    mode: Mode = settings.ksproxyd.iam.manage_users
    if mode == "auto" and settings.multicluster.cluster_role == "member":
        return False
    return mode


def _bound(binding: Object) -> tuple[str, str]:
    """The user and the role of a GlobalRoleBinding, by its labels."""
    labels = field(binding, "metadata", "labels")
    return text(labels, USER_REF), text(binding, "roleRef", "name")


def _difference(old: Any, new: Any) -> dict[str, Any]:
    """A merge patch from one status to the other."""
    old, new = (value if isinstance(value, dict) else {} for value in (old, new))
    return {key: new.get(key) for key in {**old, **new} if old.get(key) != new.get(key)}
