"""Comparing and making hashes: what is a match, how many wait, how it ends; and what a password must be."""

from __future__ import annotations

import threading
from queue import Queue
from typing import Any

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from login_site import HASH, PASSWORD, Threads
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorThreads
from twisted.python.failure import Failure
from zope.interface import implementer

from ksproxyd.authn.password_policy import cost_of, encoded, is_hash, problem_of
from ksproxyd.authn.passwords import Busy, Passwords, password_pool


class Bench:
    def __init__(self, threads: int = 2, queue: int = 10) -> None:
        self.threads = Threads()
        self.passwords = Passwords(self.threads, self.threads, threads, queue, cost=4)

    def begin(self, coroutine: Any) -> list[Any]:
        results: list[Any] = []
        Deferred.fromCoroutine(coroutine).addBoth(results.append)
        return results

    def run(self, coroutine: Any) -> Any:
        results = self.begin(coroutine)
        while self.threads.work():
            pass
        (result,) = results
        if hasattr(result, "raiseException"):
            result.raiseException()
        return result


@pytest.fixture
def bench() -> Bench:
    return Bench()


class TestCompare:
    @pytest.mark.parametrize("prefix", ["$2a$", "$2b$", "$2y$"])
    def test_every_kind(self, bench: Bench, prefix: str) -> None:
        assert bench.run(bench.passwords.verify(PASSWORD, prefix + HASH[4:])) is True
        assert bench.run(bench.passwords.verify("wrong", prefix + HASH[4:])) is False

    @pytest.mark.parametrize(
        "hash", ["", "x", PASSWORD, "$2x" + HASH[3:], HASH + "\n", "$2b$03" + HASH[6:], "$2b$31" + HASH[6:]]
    )
    def test_no_usable_hash(self, bench: Bench, hash: str) -> None:
        assert bench.run(bench.passwords.verify(PASSWORD, hash)) is False
        assert bench.passwords.compares == 1

    def test_of_the_original(self, bench: Bench) -> None:
        hash = "$2b$10$3Xn1zCzeUrwq2AyGkLRBU.vfIibQoBDQMgjuhdoHRsEDZby0W4FRa"
        assert bench.run(bench.passwords.verify("P@88w0rd", hash)) is True

    def test_long_ones(self, bench: Bench) -> None:
        most = "Aa1" * 24
        hash = bcrypt.hashpw(most.encode(), bcrypt.gensalt(4)).decode()
        assert bench.run(bench.passwords.verify(most, hash)) is True
        # What is beyond the limit is not cut off.
        assert bench.run(bench.passwords.verify(most + "x", hash)) is False
        assert bench.passwords.compares == 2

    def test_made(self, bench: Bench) -> None:
        made = bench.run(bench.passwords.hash("Grüße1Welt"))
        assert is_hash(made) and cost_of(made) == 4
        assert bench.run(bench.passwords.verify("Grüße1Welt", made)) is True

    @pytest.mark.parametrize("password", ["Aa1" * 25, "Aa1\0xxxx", "Aa1xxxx\ud800", "é" * 37])
    def test_cannot_be_made(self, bench: Bench, password: str) -> None:
        with pytest.raises(ValueError, match="72 bytes") as raised:
            bench.run(bench.passwords.hash(password))
        assert password not in str(raised.value)

    def test_the_dummy_is_compared_with(self) -> None:
        """It must be a hash that bcrypt takes as long for, not one that it refuses."""
        threads = Threads()
        passwords = Passwords(threads, threads, 1, 1, cost=4)
        for _ in range(20):
            assert bcrypt.checkpw(b"x", Passwords(threads, threads, 1, 1, cost=4)._dummy) is False
        assert cost_of(passwords._dummy.decode()) == 4
        assert cost_of(Passwords(threads, threads, 1, 1)._dummy.decode()) == 10


class TestQueue:
    def test_only_so_many_threads(self, bench: Bench) -> None:
        waiting = [bench.begin(bench.passwords.verify(PASSWORD, HASH)) for _ in range(10)]
        while bench.threads.work():
            assert len(bench.threads.jobs) <= 2
        assert waiting == [[True]] * 10
        assert bench.threads.most == 2

    def test_full(self) -> None:
        bench = Bench(threads=1, queue=2)
        waiting = [bench.begin(bench.passwords.verify(PASSWORD, HASH)) for _ in range(4)]
        assert waiting[3][0].check(Busy)
        assert bench.begin(bench.passwords.hash(PASSWORD))[0].check(Busy)
        while bench.threads.work():
            pass
        assert waiting[:3] == [[True]] * 3
        assert bench.run(bench.passwords.verify(PASSWORD, HASH)) is True

    def test_given_up(self) -> None:
        bench = Bench(threads=1, queue=2)
        results: list[Any] = []
        waiting = [
            Deferred.fromCoroutine(bench.passwords.verify(PASSWORD, HASH)).addBoth(results.append) for _ in range(3)
        ]
        waiting[0].cancel()
        waiting[2].cancel()
        assert [r.check(CancelledError) for r in results] == [CancelledError] * 2
        assert bench.run(bench.passwords.verify(PASSWORD, HASH)) is True
        # The one in the thread ran on; the one behind it never did.
        assert results[2:] == [True] and not bench.threads.jobs

    def test_a_thread_that_fails(self) -> None:
        class Broken(Threads):
            def work(self) -> bool:
                if not self.jobs:
                    return False
                self.jobs.pop(0)[0](False, Failure(MemoryError()))
                return True

        bench = Bench()
        bench.threads = Broken()
        bench.passwords = Passwords(bench.threads, bench.threads, 1, 1, cost=4)
        for _ in range(5):
            with pytest.raises(MemoryError):
                bench.run(bench.passwords.verify(PASSWORD, HASH))

    def test_closed(self, bench: Bench) -> None:
        running = [bench.begin(bench.passwords.verify(PASSWORD, HASH)) for _ in range(4)]
        closed: list[None] = []
        bench.passwords.close().addCallback(closed.append)
        assert not closed and [r[0].check(CancelledError) for r in running[2:]] == [CancelledError] * 2
        assert bench.begin(bench.passwords.verify(PASSWORD, HASH))[0].check(Busy)
        while bench.threads.work():
            pass
        assert closed == [None] and running[:2] == [[True], [True]]


def test_a_reactor_without_threads() -> None:
    """Its own pool is used, and left alone at the end."""

    class Reactor(Threads):
        def getThreadPool(self) -> Threads:
            return self

    reactor = Reactor()
    passwords = Passwords(reactor, password_pool(reactor, 2), 2, 5, cost=4)
    results: list[bool] = []
    Deferred.fromCoroutine(passwords.verify(PASSWORD, HASH)).addCallback(results.append)
    reactor.work()
    passwords.close().addCallback(lambda _: results.append(False))
    assert results == [True, False]


class TestPolicy:
    @pytest.mark.parametrize("password", ["Passw0rd", "aA345678", "A" * 62 + "a1", "Grüße1Welt", "pass WORD 1"])
    def test_good(self, password: str) -> None:
        assert problem_of(password, "alice") is None

    @pytest.mark.parametrize(
        ("password", "why"),
        [
            ("", "empty"),
            ("Passw0r", "8 to 64"),
            ("Aa1" * 22, "8 to 64"),
            ("passw0rd", "upper-case"),
            ("PASSW0RD", "upper-case"),
            ("Password", "digit"),
            ("Äöüß1234", "lower-case"),
            ("Aa1" + "é" * 40, "72 bytes"),
            ("Passw0rd\0", "NUL"),
            ("Passw0rd\ud800", "halves"),
            (HASH, "hash"),
            ("Alice2026", "name"),
        ],
    )
    def test_bad(self, password: str, why: str) -> None:
        problem = problem_of(password, "alice2026")
        assert problem is not None and why in problem
        assert not password or password not in problem

    @given(st.text(max_size=80), st.text(max_size=10))
    def test_any(self, password: str, name: str) -> None:
        if problem_of(password, name) is None:
            raw = encoded(password)
            assert raw is not None and len(raw) <= 72
            bcrypt.hashpw(raw, bcrypt.gensalt(4))


def test_threads_end() -> None:
    """A real pool, with a reactor that brings results back in this thread."""
    @implementer(IReactorThreads)
    class Reactor:
        def __init__(self) -> None:
            self.calls: Queue[Any] = Queue()

        def callFromThread(self, function: Any, *args: Any) -> None:
            self.calls.put((function, args))

    reactor = Reactor()
    before = threading.active_count()
    passwords = Passwords(reactor, password_pool(reactor, 2), 2, 50, cost=4)
    results: list[bool] = []
    for n in range(20):
        verified = Deferred.fromCoroutine(passwords.verify(PASSWORD if n % 2 else "wrong", HASH))
        verified.addCallback(results.append)
    while len(results) < 20:
        function, args = reactor.calls.get(timeout=30)
        function(*args)
    assert sorted(results) == [False] * 10 + [True] * 10
    assert before < threading.active_count() <= before + 2
    closed: list[None] = []
    passwords.close().addCallback(closed.append)
    assert closed == [None] and threading.active_count() == before
