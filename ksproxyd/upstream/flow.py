"""Flow control: how much of an upstream its callers may use, together, each user, and each client address.

Rates are token buckets, concurrency is counted. Both are pure: time comes in through a function. The memory for
the buckets of users and clients is bounded, and the bound cannot be used to get fresh buckets: when the table is
full of buckets in use, further callers share one. (One that gets a bucket of its own while it still holds the shared
one may so reach twice its limit, never more.)
"""

from __future__ import annotations

import socket
from collections import OrderedDict
from collections.abc import Callable
from math import ceil

import msgspec

from ksproxyd.model.identity import ANONYMOUS

#: Callers that are told apart for one limit of one proxy.
MAX_KEYS = 10_000

Key = str | bytes


class Rate(msgspec.Struct, frozen=True):
    """One limit. ``requests_per_second`` and ``max_concurrent``: 0 is no limit; ``burst``: 0 is the rate rounded up."""

    requests_per_second: float = 0.0
    burst: int = 0
    max_concurrent: int = 0

    @property
    def depth(self) -> int:
        """Tokens that a full bucket holds."""
        return self.burst or max(1, ceil(self.requests_per_second))


class FlowLimits(msgspec.Struct, frozen=True):
    """The limits of one proxy; None where there is none."""

    total: Rate | None = None
    per_user: Rate | None = None
    per_client: Rate | None = None


class Bucket:
    """What one caller (or all together) has left, and how many of its requests are in flight."""

    __slots__ = ("in_flight", "stamp", "tokens")

    def __init__(self, tokens: float, stamp: float) -> None:
        self.tokens = tokens
        self.stamp = stamp
        self.in_flight = 0

    def refill(self, rate: Rate, now: float) -> None:
        """Add what has come in since the last time, up to the bucket's depth."""
        passed = now - self.stamp
        if passed > 0.0:
            self.stamp = now
            self.tokens = min(float(rate.depth), self.tokens + passed * rate.requests_per_second)


class Refusal(msgspec.Struct, frozen=True):
    """Why a request was not let in: the limit in words, and in how many seconds to try again."""

    limit: str
    retry_after: float
    concurrency: bool


class Table:
    """The buckets of one limit, by caller."""

    __slots__ = ("_buckets", "_overflow", "_size", "rate")

    def __init__(self, rate: Rate, size: int = MAX_KEYS) -> None:
        self.rate = rate
        self._size = size
        self._buckets: OrderedDict[Key, Bucket] = OrderedDict()
        self._overflow: Bucket | None = None

    def bucket(self, key: Key, now: float) -> Bucket:
        """The refilled bucket of ``key``."""
        buckets = self._buckets
        found = buckets.get(key)
        if found is None:
            found = self._make(key, now)
        else:
            buckets.move_to_end(key)
        found.refill(self.rate, now)
        return found

    def _make(self, key: Key, now: float) -> Bucket:
        if len(self._buckets) >= self._size and not self._forget(now):
            if self._overflow is None:
                self._overflow = Bucket(float(self.rate.depth), now)
            return self._overflow
        made = self._buckets[key] = Bucket(float(self.rate.depth), now)
        return made

    def _forget(self, now: float) -> bool:
        """Drop the bucket that was used least recently, if a new one would be no different."""
        key, oldest = next(iter(self._buckets.items()))
        oldest.refill(self.rate, now)
        if oldest.in_flight or (self.rate.requests_per_second and oldest.tokens < self.rate.depth):
            return False
        del self._buckets[key]
        return True

    def __len__(self) -> int:
        return len(self._buckets)


class FlowControl:
    """The flow control of one proxy.

    :meth:`admit` lets a request in or refuses it; what it returns for one that is in goes to :meth:`release` once,
    when the request is over.
    """

    __slots__ = ("_clients", "_now", "_total", "_users", "limits")

    def __init__(self, limits: FlowLimits, now: Callable[[], float], max_keys: int = MAX_KEYS) -> None:
        self.limits = limits
        self._now = now
        self._total = None if limits.total is None else Bucket(float(limits.total.depth), now())
        self._users = None if limits.per_user is None else Table(limits.per_user, max_keys)
        self._clients = None if limits.per_client is None else Table(limits.per_client, max_keys)

    def admit(self, user: str, client: str) -> tuple[Bucket, ...] | Refusal:
        """Take a token and a place under every limit, or, if one of them refuses, nothing at all."""
        now = self._now()
        taken: list[Bucket] = []
        rates: list[Rate] = []
        # The narrowest first, so that a greedy caller is told about its own limit.
        if self._clients is not None:
            bucket = self._clients.bucket(client_key(client), now)
            refusal = _check(bucket, self._clients.rate, "of one client address")
            if refusal is not None:
                return refusal
            taken.append(bucket)
            rates.append(self._clients.rate)
        if self._users is not None:
            # Everybody without credentials has the same name; one of them must not use it up for the others.
            nobody = user == ANONYMOUS.name
            bucket = self._users.bucket(client_key(client) if nobody else user, now)
            refusal = _check(bucket, self._users.rate, "of one user")
            if refusal is not None:
                return refusal
            taken.append(bucket)
            rates.append(self._users.rate)
        total = self._total
        if total is not None and self.limits.total is not None:
            total.refill(self.limits.total, now)
            refusal = _check(total, self.limits.total, "of all callers together")
            if refusal is not None:
                return refusal
            taken.append(total)
            rates.append(self.limits.total)
        for bucket, rate in zip(taken, rates, strict=True):
            bucket.in_flight += 1
            if rate.requests_per_second:
                bucket.tokens -= 1.0
        return tuple(taken)

    @staticmethod
    def release(taken: tuple[Bucket, ...]) -> None:
        """A request that :meth:`admit` let in is over."""
        for bucket in taken:
            bucket.in_flight -= 1


def _check(bucket: Bucket, rate: Rate, whose: str) -> Refusal | None:
    if rate.max_concurrent and bucket.in_flight >= rate.max_concurrent:
        return Refusal(f"{rate.max_concurrent} requests {whose} in flight", 1.0, True)
    if rate.requests_per_second and bucket.tokens < 1.0:
        wait = (1.0 - bucket.tokens) / rate.requests_per_second
        return Refusal(f"{rate.requests_per_second:g} requests per second {whose}", wait, False)
    return None


def client_key(client: str) -> bytes:
    """What a client address is counted under: IPv4 as it is; of IPv6 the /64, which one machine has to itself.

    Bytes, so that no user's name can be the same key.
    """
    if ":" in client:
        try:
            return socket.inet_pton(socket.AF_INET6, client)[:8]
        except (OSError, ValueError):
            pass  # An address with a zone, or the name of a unix socket's peer: counted as it is written.
    return client.encode()
