"""The shared store and the tokens with a real Redis server: one that crashes, hangs, wants passwords and TLS."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import LogEvent, globalLogPublisher

from ksproxyd.authn.rejection import REVOKED, Rejected, SharedUnavailable
from ksproxyd.authn.shared import SharedStore, shared_store
from ksproxyd.authn.shared.redis import RedisStore, literally
from ksproxyd.authn.tokens import ACCESS, KeyRing, Tokens
from ksproxyd.settings import Settings
from ksproxyd.testing.certificates import Authority
from tests.live.redis_server import RedisServer

reactor: Any = _reactor


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    found = RedisServer(tmp_path)
    found.start()
    yield found
    found.kill()


@pytest.fixture
def told() -> Iterator[list[str]]:
    """What is logged about Redis."""
    lines: list[str] = []

    def observe(event: LogEvent) -> None:
        if "Redis" in str(event.get("log_format")):
            lines.append(str(event["log_format"]).format(**event))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


def same_thread(make: Callable[[], bytes]) -> Deferred[bytes]:
    return succeed(make())


async def until(condition: Callable[[], Awaitable[Any]], what: str) -> Any:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        found = await condition()
        if found:
            return found
        await deferLater(reactor, 0.02)
    raise AssertionError(f"{what}: it does not come to that")


async def answers(store: SharedStore) -> bool:
    try:
        await store.get("anything")
    except SharedUnavailable:
        return False
    return True


class Lag:
    """The longest time that the reactor was kept from doing anything else, and how often that was over 5 ms."""

    def __init__(self) -> None:
        self.longest = 0.0
        self.ticks = self.late = 0
        self._last = time.perf_counter()
        self._call = LoopingCall(self._tick)

    def __enter__(self) -> Lag:
        self._last = time.perf_counter()
        self._call.start(0.001, now=False)
        return self

    def _tick(self) -> None:
        now = time.perf_counter()
        late = now - self._last - 0.001
        self.longest = max(self.longest, late)
        self.ticks += 1
        self.late += late > 0.005
        self._last = now

    def __exit__(self, *_: object) -> None:
        self._call.stop()


async def every_operation(store: SharedStore) -> None:
    assert await store.get("a") is None
    await store.put("a", b"1\r\n\x00\xff", None)
    assert await store.get("a") == b"1\r\n\x00\xff"
    assert not await store.add("a", b"2", 10)
    assert await store.add("b", b"2", 10)
    assert not await store.replace("b", b"3", b"4", 10)
    assert await store.replace("b", b"2", b"4", None)
    assert not await store.replace("absent", b"", b"4", 10)
    assert await store.take("b") == b"4"
    assert await store.take("b") is None
    assert [await store.count("c", 50) for _ in range(3)] == [1, 2, 3]
    number, left = await store.counted("c")
    assert number == 3 and 45 < left <= 50
    assert await store.counted("absent") == (0, 0.0)
    for member, ttl in (("x", 0.05), ("y", 60.0), ("ä b", None)):
        await store.add_member("s", member, ttl)
    assert sorted(await store.members("s")) == ["x", "y", "ä b"]
    await deferLater(reactor, 0.15)
    assert sorted(await store.members("s")) == ["y", "ä b"]
    await store.remove_member("s", "y")
    await store.remove_member("s", "y")
    assert await store.members("s") == ["ä b"]
    await store.put("d", b"", 0.05)
    assert await store.get("d") == b""
    await deferLater(reactor, 0.15)
    assert await store.get("d") is None
    assert await store.delete("a", "c", "s", "absent") == 3
    assert await store.members("s") == []


@pytest_twisted.ensureDeferred
async def test_every_operation(server: RedisServer) -> None:
    store = shared_store(reactor, server.settings())
    assert store.common
    await every_operation(store)
    await store.close()


@pytest_twisted.ensureDeferred
async def test_memory_does_the_same() -> None:
    from ksproxyd.settings import defaults

    store = shared_store(reactor, defaults())
    assert not store.common
    await every_operation(store)
    store.close()


@pytest_twisted.ensureDeferred
async def test_keys_are_found_literally(server: RedisServer) -> None:
    store = shared_store(reactor, server.settings())
    raw = store.verbatim()
    for key in ("user:a*[b]?\\:token:1", "user:a*[b]?\\:token:2", "user:axbb:token:3", "user:a*[b]?\\"):
        await raw.put(key, b"", 60)
    found = await raw.find("user:a*[b]?\\:token:", "")
    assert sorted(found) == ["user:a*[b]?\\:token:1", "user:a*[b]?\\:token:2"]
    assert await raw.find("user:", ":3") == ["user:axbb:token:3"]
    await store.put("user:mine", b"", 60)
    assert await store.find("user:", "") == ["user:mine"]
    assert await raw.find("ksproxyd:user:mine", "mine") == []
    assert literally("a^-") == "a^-"
    await store.close()


@pytest_twisted.ensureDeferred
async def test_of_many_who_take_one_gets_it(server: RedisServer) -> None:
    stores = [shared_store(reactor, server.settings()) for _ in range(2)]
    await stores[0].put("code", b"once", 60)
    got = await gatherResults([stores[n % 2].take("code") for n in range(50)])
    assert [each for each in got if each is not None] == [b"once"]
    counted = await gatherResults([stores[n % 2].count("tries", 60) for n in range(50)])
    assert sorted(counted) == list(range(1, 51))
    for store in stores:
        await store.close()


@pytest_twisted.ensureDeferred
async def test_a_crash_is_told_at_once_and_got_over(server: RedisServer, told: list[str]) -> None:
    store = shared_store(reactor, server.settings())
    await store.put("a", b"1", None)
    with Lag() as lag:
        server.kill()
        asked = time.monotonic()
        for _ in range(20):
            with pytest.raises(SharedUnavailable):
                await store.get("a")
        assert time.monotonic() - asked < 1.0
        lag.longest, lag.ticks, lag.late = 0.0, 0, 0
        for _ in range(200):
            with pytest.raises(SharedUnavailable):
                await store.get("a")
            await deferLater(reactor, 0.002)
        # Now and then another process has the machine; what we do ourselves would be late each time.
        print(f"while Redis is away: {lag.longest * 1e3:.1f} ms at most, {lag.late} of {lag.ticks} over 5 ms")
        assert lag.longest < 0.05 and lag.late <= lag.ticks * 0.05, (lag.longest, lag.late, lag.ticks)
    server.start()
    await until(lambda: answers(store), "Redis is asked again")
    await store.put("a", b"2", None)
    assert await store.get("a") == b"2"
    away = [line for line in told if "is away" in line]
    assert len(away) == 1 and len([line for line in told if "is back" in line]) == 1, told
    await store.close()


@pytest_twisted.ensureDeferred
async def test_one_that_hangs_is_waited_for_once(server: RedisServer, told: list[str]) -> None:
    store = shared_store(reactor, server.settings())
    await store.put("a", b"1", None)
    server.pause()
    try:
        begun = time.monotonic()
        with pytest.raises(SharedUnavailable, match="no answer within"):
            await store.get("a")
        assert 0.4 < time.monotonic() - begun < 3.0
        begun = time.monotonic()
        for _ in range(500):
            with pytest.raises(SharedUnavailable, match="is away"):
                await store.get("a")
        assert time.monotonic() - begun < 1.0
        # The kernel accepts connections for a process that is stopped: they must not count as Redis.
        await deferLater(reactor, 1.5)
        with pytest.raises(SharedUnavailable):
            await store.get("a")
    finally:
        server.go_on()
    await until(lambda: answers(store), "Redis is asked again")
    assert await store.get("a") == b"1"
    await store.close()


@pytest_twisted.ensureDeferred
async def test_what_is_never_there(tmp_path: Path) -> None:
    absent = RedisServer(tmp_path)
    store = shared_store(reactor, absent.settings())
    begun = time.monotonic()
    failures = [store.get("a").addErrback(lambda failure: failure.type) for _ in range(100)]
    assert set(await gatherResults(failures)) == {SharedUnavailable}
    assert time.monotonic() - begun < 3.0
    absent.start()
    await until(lambda: answers(store), "it is found when it comes")
    await store.close()
    with pytest.raises(SharedUnavailable):
        await store.get("a")
    absent.kill()


@pytest_twisted.ensureDeferred
async def test_user_password_and_database(tmp_path: Path, told: list[str]) -> None:
    acl = tmp_path / "users.acl"
    acl.write_text("user default off\nuser gate on >rightpass ~ksproxyd:* +@all -@dangerous\n")
    server = RedisServer(tmp_path, "--aclfile", str(acl))
    server.start()
    right = shared_store(reactor, server.settings("  redis: {username: gate}", ", password: rightpass, db: 3"))
    await every_operation(right)
    await right.close()
    wrong = shared_store(reactor, server.settings("  redis: {username: gate}", ", password: wrongpass"))
    with pytest.raises(SharedUnavailable, match="WRONGPASS"):
        await wrong.get("a")
    nobody = shared_store(reactor, server.settings())
    with pytest.raises(SharedUnavailable, match="NOAUTH"):
        await nobody.get("a")
    assert not any("pass" in line for line in told), told
    # Whoever corrects the password on the server need not restart the gateway.
    acl.write_text("user default off\nuser gate on >wrongpass ~ksproxyd:* +@all\n")
    server.kill()
    server.start()
    await until(lambda: answers(wrong), "it is tried again")
    await wrong.close()
    await nobody.close()
    server.kill()


@pytest_twisted.ensureDeferred
async def test_what_may_not_be_done_is_a_failure(tmp_path: Path, logged_errors: Any) -> None:
    acl = tmp_path / "users.acl"
    acl.write_text("user default on nopass ~other:* +@all\n")
    server = RedisServer(tmp_path, "--aclfile", str(acl))
    server.start()
    store = shared_store(reactor, server.settings())
    for _ in range(3):
        with pytest.raises(SharedUnavailable, match="NOPERM"):
            await store.get("a")
    logged_errors.take()
    await store.close()
    server.kill()


@pytest_twisted.ensureDeferred
async def test_tls(tmp_path: Path) -> None:
    authority = Authority()
    issued = authority.issue("127.0.0.1", "redis.test")
    files = {"server.pem": issued.certificate, "server.key": issued.key, "ca.pem": authority.pem}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    other = tmp_path / "other.pem"
    other.write_bytes(Authority().pem)
    server = RedisServer(
        tmp_path,
        *("--tls-cert-file", str(tmp_path / "server.pem"), "--tls-key-file", str(tmp_path / "server.key")),
        *("--tls-ca-cert-file", str(tmp_path / "ca.pem"), "--tls-auth-clients", "no"),
        tls=True,
    )
    server.start()
    ca = tmp_path / "ca.pem"
    for more in (f"{{tls: true, caFile: {ca}}}", f"{{tls: true, caFile: {ca}, serverName: redis.test}}"):
        store = shared_store(reactor, server.settings(f"  redis: {more}"))
        await every_operation(store)
        await store.close()
    for more in (
        f"{{tls: true, caFile: {other}}}",
        "{tls: true}",
        f"{{tls: true, caFile: {ca}, serverName: other.test}}",
        "{tls: false}",
    ):
        store = shared_store(reactor, server.settings(f"  redis: {more}"))
        with pytest.raises(SharedUnavailable):
            await store.get("a")
        await store.close()
    store = shared_store(reactor, server.settings(f"  redis: {{tls: true, caFile: {ca}}}"))
    await store.put("a", b"1", None)
    server.kill()
    with pytest.raises(SharedUnavailable):
        await store.get("a")
    server.start()
    await until(lambda: answers(store), "it is asked again")
    await store.close()
    server.kill()


async def gateway(settings: Settings) -> tuple[Tokens, KeyRing, RedisStore]:
    store = shared_store(reactor, settings)
    assert isinstance(store, RedisStore)
    keys = KeyRing(settings, same_thread)
    await keys.prepare(store)
    return Tokens(reactor, settings, store, keys), keys, store


@pytest_twisted.ensureDeferred
async def test_two_gateways_agree(server: RedisServer) -> None:
    one, ring, store = await gateway(server.settings())
    two, other_ring, other_store = await gateway(server.settings())
    # What one signs, the other publishes the key of; Redis has it in no form that could be used.
    assert ring.public_keys() == other_ring.public_keys()
    sealed = await store.get("sign-key")
    assert sealed is not None and b"PRIVATE" not in sealed
    issued = await one.open_session("alice", "kubesphere")
    claims = await two.verify(issued.access_token)
    assert await two.still_good(claims)
    # No key and no value holds a token.
    for key in await store.verbatim().find("", ""):
        for token in (issued.access_token, issued.refresh_token):
            assert token not in key
    await one.end_session(issued.session)
    assert not await two.still_good(claims)
    with pytest.raises(Rejected) as refused:
        await two.verify(issued.access_token)
    assert refused.value.phrase == REVOKED
    # Of two who refresh at once at two gateways, the second ends the session.
    issued = await one.open_session("alice", "kubesphere")
    results = await gatherResults(
        [
            Deferred.fromCoroutine(
                each.refresh(issued.refresh_token, "kubesphere", check=lambda claims: claims.username)
            ).addErrback(lambda failure: failure.type)
            for each in (one, two)
        ]
    )
    assert Rejected in results
    with pytest.raises(Rejected):
        await one.verify(issued.access_token)
    server.kill()
    with pytest.raises(SharedUnavailable):
        await two.verify(issued.access_token)
    await store.close()
    await other_store.close()


@pytest_twisted.ensureDeferred
async def test_of_many_logins_at_once_one_is_left(server: RedisServer) -> None:
    settings = server.settings()
    alone = settings.model_copy(
        update={"authentication": settings.authentication.model_copy(update={"multiple_login": False})}
    )
    (one, _, store), (two, _, other_store) = await gateway(alone), await gateway(alone)
    logins = [Deferred.fromCoroutine((one, two)[n % 2].open_session("alice", "kubesphere")) for n in range(10)]
    issued = await gatherResults(logins)
    good = []
    for each in issued:
        claims = await one.examine(each.access_token, types=frozenset({ACCESS}))
        good.append(await two.still_good(claims))
    assert good.count(True) == 1
    await store.close()
    await other_store.close()


@pytest_twisted.ensureDeferred
async def test_beside_ks_apiserver(server: RedisServer) -> None:
    """Its keys, whatever users are called (spec 02, 2.5)."""
    tokens, _, store = await gateway(server.settings("  compat: {kubesphereTokenStore: true}"))
    raw = store.verbatim()
    kept = await tokens.open_session("al[i]ce", "kubesphere")
    ended = await tokens.open_session("a*e", "kubesphere")
    key = f"kubesphere:user:a*e:token:{ended.access_token}"
    assert await raw.get(key) == ended.access_token.encode()
    await tokens.end_user("a*e")
    assert await raw.get(key) is None
    await tokens.verify(kept.access_token)
    again = await tokens.refresh(kept.refresh_token, "kubesphere", check=lambda claims: claims.username)
    # ks-apiserver ends a session's token.
    assert await raw.delete(f"kubesphere:user:al[i]ce:token:{again.access_token}") == 1
    with pytest.raises(Rejected):
        await tokens.verify(again.access_token)
    with pytest.raises(Rejected):
        await tokens.refresh(kept.refresh_token, "kubesphere", check=lambda claims: claims.username)
    assert await raw.find("kubesphere:user:", "") == []
    await store.close()


@pytest_twisted.ensureDeferred
async def test_a_question_is_one_round_trip_and_cheap(server: RedisServer) -> None:
    tokens, _, store = await gateway(server.settings())
    issued = await tokens.open_session("alice", "kubesphere")
    claims = await tokens.verify(issued.access_token)
    begun = time.perf_counter()
    count = 300
    for _ in range(count):
        assert await tokens.still_good(claims)
    each = (time.perf_counter() - begun) / count
    print(f"still_good: {each * 1e6:.0f} µs")
    assert each < 0.01
    await store.close()
