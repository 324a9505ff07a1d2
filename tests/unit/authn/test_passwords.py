"""Comparing and making hashes: what is a match, how many wait, how it ends; and what a password must be."""

from __future__ import annotations

from typing import Any

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from login_site import HASH, PASSWORD, Hashing
from twisted.internet.defer import CancelledError, Deferred

from ksproxyd.authn.hashing import HashingFailed
from ksproxyd.authn.password_policy import cost_of, encoded, is_hash, problem_of
from ksproxyd.authn.passwords import Busy, Passwords


class Bench:
    def __init__(self, most: int = 2, queue: int = 10) -> None:
        self.hashing = Hashing()
        self.passwords = Passwords(self.hashing, most, queue, cost=4)

    def begin(self, coroutine: Any) -> list[Any]:
        results: list[Any] = []
        Deferred.fromCoroutine(coroutine).addBoth(results.append)
        return results

    def run(self, coroutine: Any) -> Any:
        results = self.begin(coroutine)
        while self.hashing.work():
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
        hashing = Hashing()
        for _ in range(20):
            assert bcrypt.checkpw(b"x", Passwords(hashing, 1, 1, cost=4)._dummy.encode()) is False
        assert cost_of(Passwords(hashing, 1, 1, cost=4)._dummy) == 4
        assert cost_of(Passwords(hashing, 1, 1)._dummy) == 10


class TestQueue:
    def test_only_so_many_at_once(self, bench: Bench) -> None:
        waiting = [bench.begin(bench.passwords.verify(PASSWORD, HASH)) for _ in range(10)]
        while bench.hashing.work():
            assert len(bench.hashing.jobs) <= 2
        assert waiting == [[True]] * 10
        assert bench.hashing.most == 2

    def test_full(self) -> None:
        bench = Bench(most=1, queue=2)
        waiting = [bench.begin(bench.passwords.verify(PASSWORD, HASH)) for _ in range(4)]
        assert waiting[3][0].check(Busy)
        assert bench.begin(bench.passwords.hash(PASSWORD))[0].check(Busy)
        while bench.hashing.work():
            pass
        assert waiting[:3] == [[True]] * 3
        assert bench.run(bench.passwords.verify(PASSWORD, HASH)) is True

    def test_given_up(self) -> None:
        bench = Bench(most=1, queue=2)
        results: list[Any] = []
        waiting = [
            Deferred.fromCoroutine(bench.passwords.verify(PASSWORD, HASH)).addBoth(results.append) for _ in range(3)
        ]
        waiting[0].cancel()
        waiting[2].cancel()
        assert [r.check(CancelledError) for r in results] == [CancelledError] * 2
        assert bench.run(bench.passwords.verify(PASSWORD, HASH)) is True
        # What was being computed was computed to its end; the one behind it never did.
        assert results[2:] == [True] and not bench.hashing.jobs

    def test_what_cannot_be_computed(self, bench: Bench) -> None:
        for _ in range(5):
            results = bench.begin(bench.passwords.verify(PASSWORD, HASH))
            bench.hashing.jobs.pop()[1].errback(HashingFailed("no process could be started"))
            assert results[0].check(Busy)
        assert bench.run(bench.passwords.verify(PASSWORD, HASH)) is True

    def test_nothing_can_be_computed_for_many_that_wait(self) -> None:
        """What fails as soon as it is asked does not pile up calls."""
        bench = Bench(most=1, queue=2000)
        waiting = [bench.begin(bench.passwords.verify(PASSWORD, HASH)) for _ in range(2001)]
        bench.hashing.broken = True
        bench.hashing.jobs.pop()[1].errback(HashingFailed("no process could be started"))
        assert all(results[0].check(Busy) for results in waiting) and bench.passwords.waiting == 0

    def test_closed(self, bench: Bench) -> None:
        running = [bench.begin(bench.passwords.verify(PASSWORD, HASH)) for _ in range(4)]
        closed: list[None] = []
        bench.passwords.close().addCallback(closed.append)
        assert not closed and [r[0].check(CancelledError) for r in running[2:]] == [CancelledError] * 2
        assert bench.begin(bench.passwords.verify(PASSWORD, HASH))[0].check(Busy)
        while bench.hashing.work():
            pass
        assert closed == [None] and running[:2] == [[True], [True]] and bench.hashing.closed


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
