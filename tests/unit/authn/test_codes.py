"""Authorization codes: once, and what happens when one comes again at any moment."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from ksproxyd.authn.codes import REMEMBERED, CodeGrant, Codes, Replayed
from ksproxyd.authn.shared.memory import MemoryStore

GRANT = CodeGrant(
    client="rp1",
    redirect_uri="https://rp1.test/cb",
    user="alice",
    scopes=("openid",),
    nonce="n",
    challenge="c" * 43,
    auth_time=1700000000.5,
)


class Place:
    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.store = MemoryStore(self.clock, 3600.0)
        self.codes = Codes(self.store, 60.0)

    def run(self, coroutine: Any) -> Any:
        results: list[Any] = []
        Deferred.fromCoroutine(coroutine).addBoth(results.append)
        self.clock.advance(0)
        (result,) = results
        if hasattr(result, "raiseException"):
            result.raiseException()
        return result


def test_a_code_is_redeemed_once_and_as_it_was_issued() -> None:
    place = Place()
    code = place.run(place.codes.issue(GRANT))
    assert place.run(place.codes.redeem(code)) == GRANT
    assert place.run(place.codes.redeemed(code, GRANT, "session-1"))
    with pytest.raises(Replayed) as replayed:
        place.run(place.codes.redeem(code))
    assert replayed.value.session == "session-1"
    # The session has been told of once; there is nothing more to end.
    with pytest.raises(Replayed) as replayed:
        place.run(place.codes.redeem(code))
    assert replayed.value.session == ""


def test_a_code_that_comes_again_while_its_session_is_opened() -> None:
    place = Place()
    code = place.run(place.codes.issue(GRANT))
    assert place.run(place.codes.redeem(code)) == GRANT
    with pytest.raises(Replayed) as replayed:
        place.run(place.codes.redeem(code))
    assert replayed.value.session == ""
    assert not place.run(place.codes.redeemed(code, GRANT, "session-1")), "the session must end"


def test_codes_end_and_replays_are_known_for_a_while() -> None:
    place = Place()
    late, used = place.run(place.codes.issue(GRANT)), place.run(place.codes.issue(GRANT))
    place.run(place.codes.redeem(used))
    place.run(place.codes.redeemed(used, GRANT, "s"))
    place.clock.advance(60.1)
    assert place.run(place.codes.redeem(late)) is None
    place.clock.advance(REMEMBERED - 61)
    with pytest.raises(Replayed):
        place.run(place.codes.redeem(used))


@pytest.mark.parametrize("code", ["", "x", "\udcff", "é" * 100])
def test_what_is_no_code(code: str) -> None:
    place = Place()
    assert place.run(place.codes.redeem(code)) is None


def test_codes_are_not_alike_and_not_kept() -> None:
    place = Place()
    codes = {place.run(place.codes.issue(GRANT)) for _ in range(50)}
    assert len(codes) == 50 and all(len(code) == 43 for code in codes)
    kept = repr(vars(place.store))
    assert not any(code in kept for code in codes)


class SlowStore:
    """Answers when a test says so, in the order it says."""

    def __init__(self, inner: MemoryStore) -> None:
        self.inner = inner
        self.waiting: list[tuple[Any, ...]] = []

    def _later(self, *call: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.waiting.append((done, *call))
        return done

    def get(self, key: str) -> Deferred[bytes | None]:
        return self._later(self.inner.get, key)

    def put(self, key: str, value: bytes, ttl: float | None) -> Deferred[None]:
        return self._later(self.inner.put, key, value, ttl)

    def replace(self, key: str, expected: bytes, value: bytes, ttl: float | None) -> Deferred[bool]:
        return self._later(self.inner.replace, key, expected, value, ttl)

    def answer(self, number: int = 0) -> None:
        done, function, *arguments = self.waiting.pop(number)
        function(*arguments).chainDeferred(done)


def test_of_two_at_the_same_moment_one_gets_it_and_then_neither() -> None:
    place = Place()
    code = place.run(place.codes.issue(GRANT))
    slow = SlowStore(place.store)
    codes = Codes(slow, 60.0)
    outcomes: list[list[Any]] = [[], []]
    for results in outcomes:
        Deferred.fromCoroutine(codes.redeem(code)).addBoth(results.append)
    slow.answer()
    slow.answer()
    # Both have seen a new code, and both want to use it; the second comes first.
    slow.answer(1)
    assert outcomes[1] == [GRANT]
    while slow.waiting:
        slow.answer()
    (failure,) = outcomes[0]
    assert isinstance(failure.value, Replayed)
    assert not place.run(place.codes.redeemed(code, GRANT, "s"))
