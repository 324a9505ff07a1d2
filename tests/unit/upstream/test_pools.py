"""Which pools there are: one a target, for as long as somebody holds it or it has connections."""

from __future__ import annotations

import msgspec
import pytest
from support_gate import PLAIN, RawBackend, ok

from ksproxyd.testing import MemoryDialer, MemoryReactor
from ksproxyd.transport.wheel import Wheel
from ksproxyd.upstream.client import Answer, Client
from ksproxyd.upstream.errors import UpstreamError
from ksproxyd.upstream.pool import UpstreamTimeouts
from ksproxyd.upstream.pools import Pools
from ksproxyd.upstream.target import Target, TrustPolicy


class World:
    def __init__(self) -> None:
        self.reactor = MemoryReactor()
        self.wheel = Wheel(self.reactor)
        self.wheel.start()
        self.dialer = MemoryDialer(self.reactor)
        self.backend = RawBackend()
        self.dialer.serve("http://backend.example", self.backend)  # type: ignore[arg-type]
        self.pools = Pools(self.dialer, self.wheel, UpstreamTimeouts(upstream_idle=10.0))
        self.client = Client(self.pools, self.reactor)

    def request(self) -> list[Answer]:
        found: list[Answer] = []
        self.client.request(PLAIN, b"GET", b"/", timeout=5, limit=100).addCallback(found.append)
        self.reactor.settle()
        self.backend.peers[-1].send(ok(b"x"))
        return found


@pytest.fixture
def world() -> World:
    return World()


def test_held_by_several(world: World) -> None:
    pool = world.pools.hold(PLAIN)
    assert world.pools.hold(PLAIN) is pool
    assert world.pools.get(PLAIN) is pool
    world.request()
    assert pool.idle == 1
    world.pools.release(PLAIN)
    assert pool.idle == 1
    world.pools.release(PLAIN)
    world.reactor.settle()
    assert (pool.size, len(world.pools)) == (0, 0)
    with pytest.raises(KeyError):
        world.pools.release(PLAIN)
    assert world.pools.hold(PLAIN) is not pool


def test_a_held_pool_survives_its_connections(world: World) -> None:
    pool = world.pools.hold(PLAIN)
    world.request()
    world.reactor.wait(15.0)
    assert pool.size == 0
    assert world.pools.get(PLAIN) is pool


def test_a_pool_that_nobody_holds_goes_with_its_last_connection(world: World) -> None:
    (answer,) = world.request()
    assert answer.body == b"x"
    assert len(world.pools) == 1
    assert world.request()[0].body == b"x"
    assert len(world.backend.peers) == 1
    world.reactor.wait(15.0)
    assert len(world.pools) == 0
    totals = world.pools.totals()
    assert (totals.dials, totals.idle, totals.busy) == (1, 0, 0)


def test_a_pool_that_never_had_a_connection_goes_too(world: World) -> None:
    world.dialer.refusing.add(("backend.example", 80))
    failures: list[UpstreamError] = []
    for _ in range(3):
        done = world.client.request(PLAIN, b"GET", b"/", timeout=5, limit=100)
        done.addErrback(lambda failure: failures.append(failure.value))
        world.reactor.settle()
    assert [failure.kind for failure in failures] == ["connect"] * 3
    assert len(world.pools) == 0
    assert world.pools.totals().dial_failures == 3


def test_a_replaced_pool_does_not_take_its_successor_along(world: World) -> None:
    """Released while a request was under way, held again, and then the old one's last connection goes."""
    old = world.pools.hold(PLAIN)
    world.client.request(PLAIN, b"GET", b"/", timeout=5, limit=100)
    world.reactor.settle()
    world.pools.release(PLAIN)
    new = world.pools.get(PLAIN)
    assert new is not old
    world.backend.peers[0].send(ok(b"x"))
    assert old.size == 0
    assert world.pools.get(PLAIN) is new


def test_each_trust_has_its_own(world: World) -> None:
    """So a new CA or certificate is in use at once, and an old connection never serves under it."""
    one = Target("https", "backend.example", 443, TrustPolicy(ca_pem=b"one"))
    same = Target("https", "backend.example", 443, TrustPolicy(ca_pem=b"one"))
    others = [
        Target("https", "backend.example", 443, trust)
        for trust in (
            TrustPolicy(ca_pem=b"two"),
            TrustPolicy(),
            TrustPolicy(ca_pem=b"one", insecure=True),
            TrustPolicy(ca_pem=b"one", server_name="x"),
            TrustPolicy(ca_pem=b"one", client_cert_pem=b"c", client_key_pem=b"k"),
        )
    ]
    pool = world.pools.hold(one)
    assert world.pools.hold(same) is pool
    assert len({id(world.pools.hold(target)) for target in [one, *others]}) == 6


def test_new_settings_reach_the_pools_there_are(world: World) -> None:
    pool = world.pools.hold(PLAIN)
    world.request()
    changed = msgspec.structs.replace(pool.timeouts, upstream_idle=1.0)
    world.pools.retime(changed, 7, 9)
    assert (pool.timeouts, pool.max_idle, pool.max_connections) == (changed, 7, 9)
    fresh = world.pools.get(Target("http", "other.example", 80))
    assert (fresh.timeouts, fresh.max_idle, fresh.max_connections) == (changed, 7, 9)


def test_more_connections_allowed_are_made_at_once(world: World) -> None:
    world.pools.retime(world.pools.timeouts, 10, 1)
    pool = world.pools.hold(PLAIN)
    for _ in range(3):
        pool.dial()
    world.reactor.settle()
    assert (pool.size, pool.waiting) == (1, 2)
    world.pools.retime(world.pools.timeouts, 10, 0)
    world.reactor.settle()
    assert (pool.size, pool.waiting) == (3, 0)


def test_totals(world: World) -> None:
    pool = world.pools.hold(PLAIN)
    world.request()
    kinds: list[str] = []
    slow = world.client.request(PLAIN, b"GET", b"/", timeout=5, limit=100)
    slow.addErrback(lambda failure: kinds.append(failure.value.kind))
    world.client.request(PLAIN, b"GET", b"/", timeout=5, limit=100)
    world.reactor.settle()
    world.backend.peers[-1].send(ok(b"x"))
    totals = world.pools.totals()
    assert (totals.idle, totals.busy, totals.dials, totals.stale) == (1, 1, 2, 0)
    world.backend.peers[-1].send(b"surplus")
    assert world.pools.totals().stale == 1
    assert pool.size == 1
    world.reactor.wait(6.0)
    assert kinds == ["timeout"]
    assert pool.size == 0


def test_closing(world: World) -> None:
    pool = world.pools.hold(PLAIN)
    world.request()
    world.pools.close()
    world.reactor.settle()
    assert pool.size == 0
    assert list(world.pools) == [pool]
