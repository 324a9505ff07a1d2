"""How many wrong passwords somebody may try (spec 02, 5.3 and D-19; NIST SP 800-63B, 5.2.2).

Attempts are counted where gateways share what they know, before the password is looked at, so that however many come
at once no more are looked at than allowed:

- of one account from one network: ``tries`` within ``duration``. Then that network is locked out of the account. This
  is what an administrator sets, and nobody can lock out somebody else with it.
- of one account from everywhere: :data:`ACCOUNT_FACTOR` times as many. Then everybody is, except where the right
  password has come from before.
- from one network, whatever the account: :data:`SOURCE_FACTOR` times as many. Then the network is locked out, with the
  same exception.

A lock lasts for ``duration``, and twice as long each time it comes again within a day. While it lasts no password is
looked at, right or wrong, and the answer is the same: a locked account cannot be guessed at. A name that is nobody's is
counted like any other, so being locked out does not tell that there is such a user either.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple, Protocol

from twisted.internet.defer import CancelledError, Deferred

ACCOUNT_FACTOR, SOURCE_FACTOR = 10, 20

#: Seconds for which repeated locks count as such, and which the longest lock lasts (unless ``duration`` is longer).
DAY = 86400.0

#: Seconds for which a network is remembered from which somebody has logged in.
SEEN = 30 * DAY


class Counters(Protocol):
    """The part of :class:`ksproxyd.authn.shared.store.SharedStore` that is needed here."""

    def get(self, key: str) -> Deferred[bytes | None]: ...

    def put(self, key: str, value: bytes, ttl: float | None) -> Deferred[None]: ...

    def delete(self, *keys: str) -> Deferred[int]: ...

    def count(self, key: str, ttl: float) -> Deferred[int]: ...

    def counted(self, key: str) -> Deferred[tuple[int, float]]: ...

    def add_member(self, key: str, member: str, ttl: float | None) -> Deferred[None]: ...

    def members(self, key: str) -> Deferred[list[str]]: ...


class Locked(Exception):
    """Nothing is looked at now. ``seconds`` are left."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"locked for another {seconds:.0f} s")
        self.seconds = seconds


class Lock(NamedTuple):
    """A lock that an attempt has brought about. ``source`` is None where it is for everybody."""

    source: str | None
    seconds: float


class Counted(NamedTuple):
    """An attempt that has been counted, and which one it was: of its account and network, and of its account."""

    subject: str
    source: str
    pair: int
    account: int


class Lockout:
    """Counts attempts. ``subject`` is whose password is tried, ``source`` the network it comes from.

    ``tries`` or ``duration`` (seconds) of 0 mean that nobody is ever locked out. Every method may raise
    :class:`~ksproxyd.authn.rejection.SharedUnavailable`: who cannot be counted is not let in.
    """

    def __init__(self, store: Counters, tries: int, duration: float) -> None:
        self._store = store
        self._tries = tries
        self._duration = duration
        self._account_tries = tries * ACCOUNT_FACTOR
        self._source_tries = tries * SOURCE_FACTOR
        self.enabled = tries > 0 and duration > 0

    async def check(self, subject: str, source: str) -> None:
        """Raises :class:`Locked` if attempts are not looked at."""
        if not self.enabled:
            return
        keys = _Keys(subject, source)
        pair, account, network = await _all(
            self._store.counted(keys.pair_lock),
            self._store.counted(keys.account_lock),
            self._store.counted(keys.source_lock),
        )
        if pair[0]:
            raise Locked(pair[1])
        left = max((left for value, left in (account, network) if value), default=None)
        if left is not None and not await self._store.get(keys.seen):
            raise Locked(left)

    async def reserve(self, subject: str, source: str) -> Counted:
        """:meth:`check`, then count an attempt that is about to be looked at. Raises :class:`Locked`.

        What becomes of it is told to :meth:`failed` or :meth:`succeeded`; an attempt that is given up stays counted.
        """
        await self.check(subject, source)
        counted = await self.count(subject, source)
        if not self.enabled:
            return counted
        keys = _Keys(subject, source)
        # Others were counted since the check: those are being looked at now.
        if counted.pair > self._tries:
            raise Locked((await self._store.counted(keys.pair))[1] or self._duration)
        if counted.account > self._account_tries and not await self._store.get(keys.seen):
            raise Locked((await self._store.counted(keys.account))[1] or self._duration)
        return counted

    async def count(self, subject: str, source: str) -> Counted:
        """Count an attempt, whatever is locked."""
        if not self.enabled:
            return Counted(subject, source, 0, 0)
        keys = _Keys(subject, source)
        pair, account = await _all(
            self._store.count(keys.pair, self._duration), self._store.count(keys.account, self._duration)
        )
        return Counted(subject, source, pair, account)

    async def failed(self, attempt: Counted) -> list[Lock]:
        """The password was wrong. Returns the locks of the account that this has brought about."""
        if not self.enabled:
            return []
        keys = _Keys(attempt.subject, attempt.source)
        network, _ = await _all(
            self._store.count(keys.source, self._duration),
            self._store.add_member(keys.sources, attempt.source, 2 * self._duration),
        )
        locks = []
        if attempt.pair >= self._tries:
            seconds = await self._lock(keys.pair_lock, keys.pair_strikes)
            await self._store.add_member(keys.sources, attempt.source, seconds + self._duration)
            locks.append(Lock(attempt.source, seconds))
        if attempt.account >= self._account_tries:
            locks.append(Lock(None, await self._lock(keys.account_lock, keys.account_strikes)))
        if network >= self._source_tries:
            await self._lock(keys.source_lock, keys.source_strikes)
        return locks

    async def succeeded(self, attempt: Counted) -> None:
        """The password was right: what was wrong before is forgotten."""
        if not self.enabled:
            return
        keys = _Keys(attempt.subject, attempt.source)
        await _all(
            self._store.delete(keys.pair, keys.account, keys.pair_strikes),
            self._store.put(keys.seen, b"1", SEEN),
        )

    async def forgive(self, subject: str) -> None:
        """Forget all that was counted of an account, and its locks: an administrator has unlocked it."""
        keys = [_Keys(subject, source) for source in await self._store.members(_Keys(subject, "").sources)]
        account = _Keys(subject, "")
        await self._store.delete(
            account.account,
            account.account_lock,
            account.account_strikes,
            *(name for each in keys for name in (each.pair, each.pair_lock, each.pair_strikes)),
        )

    async def _lock(self, lock: str, strikes: str) -> float:
        times = await self._store.count(strikes, max(DAY, 2 * self._duration))
        # 2 ** 32 times anything sensible is above the longest.
        seconds = min(self._duration * 2.0 ** min(times - 1, 32), max(DAY, self._duration))
        # Counting keeps the first time to live: a lock is not made longer by those that arrive together.
        await self._store.count(lock, seconds)
        return seconds


class _Keys:
    """Where what is counted. Names are hashed: they are whatever somebody has typed, of any length."""

    def __init__(self, subject: str, source: str) -> None:
        whose = hashlib.sha256(subject.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        self._whose = whose
        self._source = source
        self._pair = f"{whose}:{source}"

    # Most of what is done with an attempt needs few of them.

    @property
    def pair(self) -> str:
        return f"lockout:tries:{self._pair}"

    @property
    def pair_lock(self) -> str:
        return f"lockout:locked:{self._pair}"

    @property
    def pair_strikes(self) -> str:
        return f"lockout:strikes:{self._pair}"

    @property
    def account(self) -> str:
        return f"lockout:account:{self._whose}"

    @property
    def account_lock(self) -> str:
        return f"lockout:account-locked:{self._whose}"

    @property
    def account_strikes(self) -> str:
        return f"lockout:account-strikes:{self._whose}"

    @property
    def source(self) -> str:
        return f"lockout:source:{self._source}"

    @property
    def source_lock(self) -> str:
        return f"lockout:source-locked:{self._source}"

    @property
    def source_strikes(self) -> str:
        return f"lockout:source-strikes:{self._source}"

    @property
    def sources(self) -> str:
        return f"lockout:sources:{self._whose}"

    @property
    def seen(self) -> str:
        return f"lockout:seen:{self._pair}"


async def _all(*waiting: Deferred[Any]) -> list[Any]:
    """The results of all, which were asked at once. The first error is raised; cancelling it cancels them all."""
    # Not by Twisted's own list of Deferreds, which takes longer than what it waits for where that is there already.
    found = []
    try:
        for each in waiting:
            found.append(await each)
    except BaseException as error:
        for each in waiting[len(found) + 1 :]:
            each.addErrback(lambda _: None)
            if isinstance(error, CancelledError):
                each.cancel()
        raise
    return found
