"""What the tests of logins stand on: users in stores, counters in memory, compares that a test sees."""

from __future__ import annotations

from typing import Any

import bcrypt
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from ksproxyd.authn.directory import Directory
from ksproxyd.authn.hashing import HashingFailed
from ksproxyd.authn.hashing_worker import answer
from ksproxyd.authn.lockout import Lockout
from ksproxyd.authn.login import Attempt, ExternalLogins, Login, LoginRefused
from ksproxyd.authn.passwords import Passwords
from ksproxyd.authn.turnstile import APART
from ksproxyd.state.store import Store

PASSWORD = "Passw0rdX"
#: As cheap as bcrypt can be.
HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
HERE = Attempt("192.0.2.7", "test/1")
TRIES, DURATION = 3, 600.0


class Counters:
    """A shared store of one process, as plainly as it can be written. May be made to fail."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.values: dict[str, tuple[Any, float]] = {}
        self.error: Exception | None = None

    def _get(self, key: str) -> Any:
        value, until = self.values.get(key, (None, 0.0))
        if value is not None and until <= self.clock.seconds():
            del self.values[key]
            return None
        return value

    def _done(self, value: Any = None) -> Deferred[Any]:
        return succeed(value) if self.error is None else fail(self.error)

    def get(self, key: str) -> Deferred[bytes | None]:
        return self._done(self._get(key))

    def put(self, key: str, value: bytes, ttl: float | None) -> Deferred[None]:
        self.values[key] = value, self._until(ttl)
        return self._done()

    def delete(self, *keys: str) -> Deferred[int]:
        return self._done(sum(self.values.pop(key, None) is not None for key in keys))

    def count(self, key: str, ttl: float) -> Deferred[int]:
        value = self._get(key)
        self.values[key] = (1, self._until(ttl)) if value is None else (value + 1, self.values[key][1])
        return self._done(self.values[key][0])

    def counted(self, key: str) -> Deferred[tuple[int, float]]:
        value = self._get(key)
        return self._done((0, 0.0) if value is None else (value, self.values[key][1] - self.clock.seconds()))

    def add_member(self, key: str, member: str, ttl: float | None) -> Deferred[None]:
        self.values[key] = (self._get(key) or frozenset()) | {member}, self._until(ttl)
        return self._done()

    def members(self, key: str) -> Deferred[list[str]]:
        return self._done(sorted(self._get(key) or ()))

    def _until(self, ttl: float | None) -> float:
        return float("inf") if ttl is None else self.clock.seconds() + ttl


class Hashing:
    """Computes hashes when :meth:`work` is called, one at a time."""

    def __init__(self) -> None:
        self.jobs: list[tuple[bytes, Deferred[bytes]]] = []
        self.most = 0
        self.closed = False
        self.broken = False

    def ask(self, question: bytes) -> Deferred[bytes]:
        if self.broken:
            return fail(HashingFailed("no process could be started"))
        done: Deferred[bytes] = Deferred()
        self.jobs.append((question, done))
        self.most = max(self.most, len(self.jobs))
        return done

    def work(self) -> bool:
        """One of them is found; whether there was one."""
        if not self.jobs:
            return False
        question, done = self.jobs.pop(0)
        done.callback(answer(question))
        return True

    def close(self) -> Deferred[None]:
        self.closed = True
        return succeed(None)


class Site:
    """A login with all that it needs. Users come and go with :meth:`user` and :meth:`gone`."""

    def __init__(
        self,
        *,
        tries: int = TRIES,
        duration: float = DURATION,
        queue: int = 1000,
        external: ExternalLogins | None = None,
    ) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.users = Store("User", self.clock)
        self.bindings = Store("GroupBinding", self.clock)
        self.directory = Directory(self.users, self.bindings)
        self.counters = Counters(self.clock)
        self.hashing = Hashing()
        self.passwords = Passwords(self.hashing, 2, queue, cost=4)
        self.records: list[tuple[Any, ...]] = []
        self.locks: list[tuple[str, str | None, float]] = []
        self.lockout = Lockout(self.counters, tries, duration)
        self.login = Login(
            self.clock,
            self.directory,
            self.passwords,
            self.lockout,
            self,
            duration=duration,
            external=external,
            locked=lambda *lock: self.locks.append(lock),
            key=b"k" * 32,
        )
        self.users.mark_synced()
        self.bindings.mark_synced()

    def add(self, *record: Any) -> None:
        """A login record."""
        self.records.append(record)

    def user(self, name: str, state: str | None = "Active", **more: Any) -> None:
        """A user with :data:`PASSWORD` is there, or changed. ``spec``, ``status`` and ``metadata`` add to that."""
        spec = {"email": f"{name}@ks.test", "password": HASH, **more.get("spec", {})}
        status = ({} if state is None else {"state": state}) | more.get("status", {})
        metadata = {"name": name, "uid": f"uid-{name}", **more.get("metadata", {})}
        self.users.put({"metadata": metadata, "spec": spec, "status": status})

    def gone(self, name: str) -> None:
        self.users.remove(("", name))

    def begin(self, username: str, password: str = PASSWORD, attempt: Attempt = HERE, **more: Any) -> list[Any]:
        """Start a login; the list gets its result or failure."""
        results: list[Any] = []
        Deferred.fromCoroutine(self.login.by_password(username, password, attempt, **more)).addBoth(results.append)
        return results

    def run(self) -> None:
        """Let everything happen."""
        self.clock.advance(0)
        while self.hashing.work() or self.due():
            self.clock.advance(APART)

    def due(self) -> bool:
        soon = self.clock.seconds() + APART
        return any(call.getTime() <= soon for call in self.clock.getDelayedCalls())

    def attempt(self, username: str, password: str = PASSWORD, attempt: Attempt = HERE, **more: Any) -> str:
        """Log in; returns the user's name, or the kind of the refusal."""
        results = self.begin(username, password, attempt, **more)
        self.run()
        return outcome(results)


def outcome(results: list[Any]) -> str:
    """The name of who has logged in, or the kind of the refusal."""
    (result,) = results
    refused = getattr(result, "value", None)
    if isinstance(refused, LoginRefused):
        return refused.kind
    if hasattr(result, "raiseException"):
        result.raiseException()
    return str(result.name)
