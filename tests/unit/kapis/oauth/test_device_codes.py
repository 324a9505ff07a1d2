"""The device flow's codes: what is typed, and what happens at the same moment."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock

from ksproxyd.authn.rejection import SharedUnavailable
from ksproxyd.authn.shared.memory import MemoryStore
from ksproxyd.kapis.oauth.device import (
    ALPHABET,
    GUESSES,
    GUESSING,
    LENGTH,
    Approved,
    DeviceAuthorization,
    Devices,
    TooMany,
    normalised,
    shown,
)


class Place:
    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.store: Any = MemoryStore(self.clock, 3600.0)
        self.devices = Devices(self.clock, self.store, 600.0, 5.0)

    def start(self, coroutine: Any) -> list[Any]:
        results: list[Any] = []
        Deferred.fromCoroutine(coroutine).addBoth(results.append)
        return results

    def run(self, coroutine: Any) -> Any:
        (result,) = self.start(coroutine)
        if hasattr(result, "raiseException"):
            result.raiseException()
        return result

    def begin(self) -> DeviceAuthorization:
        begun: DeviceAuthorization = self.run(self.devices.begin("cli", ("openid",), "192.0.2.7"))
        return begun

    def poll(self, begun: DeviceAuthorization) -> Any:
        return self.run(self.devices.poll(begun.device_code, "cli"))


@given(st.text(ALPHABET, min_size=LENGTH, max_size=LENGTH), st.randoms())
def test_a_code_may_be_typed_in_any_way(letters: str, random: Any) -> None:
    assert normalised(shown(letters)) == letters
    typed = "".join(random.choice([c, c.lower()]) + random.choice(["", "-", " "]) for c in letters)
    assert normalised(typed) == letters


@given(st.text(max_size=100))
def test_anything_typed_is_a_code_or_nothing(typed: str) -> None:
    found = normalised(typed)
    assert found == "" or (len(found) == LENGTH and set(found) <= set(ALPHABET))


@pytest.mark.parametrize("typed", ["", "BCDF-GHJ", "BCDF-GHJKL", "ACDF-GHJK", "BCDF-GHJ1", "ſCDFGHJK", "BCDFGHJK\0"])
def test_what_is_no_code(typed: str) -> None:
    assert normalised(typed) == ""


def test_codes_are_not_kept_as_they_are() -> None:
    place = Place()
    begun = place.begin()
    kept = repr(vars(place.store))
    assert begun.device_code not in kept
    assert normalised(begun.user_code) not in kept and begun.user_code not in kept
    assert begun.device_code not in repr(begun) and begun.user_code not in repr(begun)


def test_approved_once() -> None:
    place = Place()
    begun = place.begin()
    assert place.run(place.devices.decide(begun.user_code, "alice", True, auth_time=7.0))
    assert place.poll(begun) == Approved("alice", ("openid",), 7.0)
    assert place.poll(begun) == "invalid_grant"
    # The short code cannot be entered again either.
    assert place.run(place.devices.by_user_code(begun.user_code, "bob")) is None


class Paused:
    """A store whose next ``method`` waits for the test."""

    def __init__(self, inner: Any, method: str) -> None:
        self._inner = inner
        self._method = method
        self.waiting: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._inner, name)
        if name != self._method:
            return function

        def later(*arguments: Any) -> Deferred[Any]:
            done: Deferred[Any] = Deferred()
            self.waiting.append(lambda: function(*arguments).chainDeferred(done))
            return done

        return later


def test_of_two_that_ask_at_the_same_moment_one_gets_it() -> None:
    place = Place()
    begun = place.begin()
    place.run(place.devices.decide(begun.user_code, "alice", True))
    paused = Paused(place.store, "take")
    devices = Devices(place.clock, paused, 600.0, 5.0)  # type: ignore[arg-type]
    outcomes = [place.start(devices.poll(begun.device_code, "cli")) for _ in range(2)]
    for go_on in reversed(paused.waiting):
        go_on()
    assert [results for (results,) in outcomes] == ["invalid_grant", Approved("alice", ("openid",), 0.0)]


def test_a_question_does_not_undo_a_decision() -> None:
    place = Place()
    begun = place.begin()
    paused = Paused(place.store, "replace")
    asking = place.start(Devices(place.clock, paused, 600.0, 5.0).poll(begun.device_code, "cli"))  # type: ignore[arg-type]
    assert place.run(place.devices.decide(begun.user_code, "alice", False))
    paused.waiting.pop()()
    assert asking == ["authorization_pending"]
    assert place.poll(begun) == "access_denied"


def test_of_two_decisions_the_first_counts() -> None:
    place = Place()
    begun = place.begin()
    paused = Paused(place.store, "replace")
    slow = place.start(Devices(place.clock, paused, 600.0, 5.0).decide(begun.user_code, "bob", True))  # type: ignore[arg-type]
    assert place.run(place.devices.decide(begun.user_code, "alice", False))
    paused.waiting.pop()()
    assert slow == [False]
    assert place.poll(begun) == "access_denied"


def test_guesses_are_counted_for_each_user_and_forgotten() -> None:
    place = Place()
    begun = place.begin()
    for _ in range(GUESSES):
        assert place.run(place.devices.by_user_code("BBBBBBBB", "mallory")) is None
    for attempt in (
        place.devices.by_user_code(begun.user_code, "mallory"),
        place.devices.decide(begun.user_code, "mallory", True),
    ):
        with pytest.raises(TooMany) as error:
            place.run(attempt)
        assert 0 < error.value.retry_after <= GUESSING
    assert place.run(place.devices.by_user_code(begun.user_code, "alice")) is not None
    place.clock.advance(GUESSING + 1)
    assert place.run(place.devices.by_user_code("BBBBBBBB", "mallory")) is None


def test_guesses_at_once_are_not_more() -> None:
    """Of a hundred that come together only so many are looked at, be the right one among them or not."""
    place = Place()
    begun = place.begin()
    counting, looks = Paused(place.store, "count"), 0
    real = place.store.get

    def get(key: str) -> Any:
        nonlocal looks
        looks += 1
        return real(key)

    place.store.get = get
    devices = Devices(place.clock, counting, 600.0, 5.0)  # type: ignore[arg-type]
    typed = ["BBBBBBBB"] * 99 + [begun.user_code]
    attempts = [place.start(devices.by_user_code(code, "mallory")) for code in typed]
    for go_on in counting.waiting:
        go_on()
    outcomes = [result for (result,) in attempts]
    assert (looks, outcomes.count(None)) == (GUESSES, GUESSES)
    assert all(outcome is None or isinstance(outcome.value, TooMany) for outcome in outcomes)


def test_nobody_is_let_in_while_the_store_is_away() -> None:
    place = Place()
    begun = place.begin()
    place.run(place.devices.decide(begun.user_code, "alice", True))
    place.store.get = lambda key: fail(SharedUnavailable("away"))
    with pytest.raises(SharedUnavailable):
        place.poll(begun)
