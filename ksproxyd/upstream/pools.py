"""All connection pools, one a target."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from ksproxyd.transport.wheel import Wheel
from ksproxyd.upstream.pool import Dialer, Pool, UpstreamTimeouts
from ksproxyd.upstream.target import Target


class Totals(msgspec.Struct):
    """All connections together: ``idle`` and ``busy`` now, the rest so far (pools that are gone included)."""

    idle: int = 0
    busy: int = 0
    dials: int = 0
    dial_failures: int = 0
    stale: int = 0

    def add(self, pool: Pool) -> None:
        """Count what ``pool`` has counted."""
        self.dials += pool.dials
        self.dial_failures += pool.dial_failures
        self.stale += pool.stale


class Pools:
    """Makes pools as they are needed and forgets them when nobody holds them any more.

    ``timeouts`` may be replaced; pools made before keep theirs until :meth:`retime` gives them the new ones.
    """

    def __init__(
        self,
        dialer: Dialer,
        wheel: Wheel,
        timeouts: UpstreamTimeouts,
        max_idle: int = 100,
        max_connections: int = 0,
    ) -> None:
        self.timeouts = timeouts
        self._dialer = dialer
        self._wheel = wheel
        self._max_idle = max_idle
        self._max_connections = max_connections
        self._pools: dict[Target, Pool] = {}
        self._holds: dict[Target, int] = {}
        self._gone = Totals()

    def get(self, target: Target) -> Pool:
        """The pool for ``target``. It is forgotten when its last connection is gone, unless somebody holds it."""
        pool = self._pools.get(target)
        if pool is None:
            pool = self._pools[target] = Pool(
                target,
                self._dialer,
                self._wheel,
                self.timeouts,
                self._max_idle,
                self._max_connections,
                self._emptied,
            )
        return pool

    def hold(self, target: Target) -> Pool:
        """The pool for ``target``, kept until as many :meth:`release` have followed."""
        self._holds[target] = self._holds.get(target, 0) + 1
        return self.get(target)

    def release(self, target: Target) -> None:
        """Undo one :meth:`hold`. The last closes what is idle; requests and streams in progress live to their end."""
        left = self._holds[target] - 1
        if left:
            self._holds[target] = left
            return
        del self._holds[target]
        pool = self._pools.pop(target, None)
        if pool is not None:
            self._gone.add(pool)
            pool.close()

    def _emptied(self, pool: Pool) -> None:
        target = pool.target
        if target not in self._holds and self._pools.get(target) is pool:
            del self._pools[target]
            self._gone.add(pool)

    def retime(self, timeouts: UpstreamTimeouts, max_idle: int, max_connections: int) -> None:
        """Use other settings from now on, for the pools there are too."""
        self.timeouts = timeouts
        self._max_idle = max_idle
        self._max_connections = max_connections
        for pool in self._pools.values():
            pool.timeouts = timeouts
            pool.max_idle = max_idle
            pool.max_connections = max_connections
            pool.serve_waiting()

    def totals(self) -> Totals:
        """What the metrics show."""
        totals = msgspec.structs.replace(self._gone)
        for pool in self._pools.values():
            totals.idle += pool.idle
            totals.busy += pool.size - pool.idle
            totals.add(pool)
        return totals

    def close(self) -> None:
        """Close whatever is idle, everywhere."""
        for pool in self._pools.values():
            pool.close()

    def __iter__(self) -> Iterator[Pool]:
        return iter(self._pools.values())

    def __len__(self) -> int:
        return len(self._pools)
