"""The store in memory: values for a time, counters, sets, and what is left when nobody asks any more."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock

from ksproxyd.authn.shared import MemoryStore, shared_store
from ksproxyd.settings import defaults, load_text


def now(deferred: Deferred[Any]) -> Any:
    found: list[Any] = []
    deferred.addCallback(found.append)
    assert found
    return found[0]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    return MemoryStore(clock, 60)


def test_values(store: MemoryStore, clock: Clock) -> None:
    now(store.put("a", b"1", 10))
    assert now(store.get("a")) == b"1"
    assert not now(store.add("a", b"2", 10))
    clock.advance(9.9)
    assert now(store.get("a")) == b"1"
    clock.advance(0.1)
    assert now(store.get("a")) is None
    assert now(store.add("a", b"2", None))
    clock.advance(1e9)
    assert now(store.get("a")) == b"2"
    assert not now(store.replace("a", b"1", b"3", None)) and now(store.replace("a", b"2", b"3", 5))
    assert now(store.take("a")) == b"3" and now(store.take("a")) is None
    assert not now(store.replace("a", b"3", b"4", 5))


def test_what_has_expired_is_absent_for_all(store: MemoryStore, clock: Clock) -> None:
    for key in "abcd":
        now(store.put(key, b"1", 1))
    now(store.count("n", 1))
    clock.advance(1)
    assert now(store.take("a")) is None
    assert not now(store.replace("b", b"1", b"2", 1))
    assert now(store.delete("c", "d")) == 0
    assert now(store.counted("n")) == (0, 0.0) and now(store.count("n", 1)) == 1


def test_a_counter_ends_with_its_first(store: MemoryStore, clock: Clock) -> None:
    assert now(store.count("n", 10)) == 1
    clock.advance(9)
    assert now(store.count("n", 10)) == 2
    assert now(store.counted("n")) == (2, 1.0)
    assert now(store.get("n")) == b"2"
    clock.advance(1)
    assert now(store.count("n", 10)) == 1


def test_members_have_times_of_their_own(store: MemoryStore, clock: Clock) -> None:
    now(store.add_member("s", "a", 10))
    now(store.add_member("s", "b", 20))
    now(store.add_member("s", "c", None))
    clock.advance(10)
    assert sorted(now(store.members("s"))) == ["b", "c"]
    now(store.add_member("s", "b", 100))
    clock.advance(50)
    assert sorted(now(store.members("s"))) == ["b", "c"]
    now(store.remove_member("s", "c"))
    assert now(store.members("s")) == ["b"]
    clock.advance(50)
    assert now(store.members("s")) == []
    now(store.remove_member("s", "b"))
    assert len(store) == 0


def test_found_literally(store: MemoryStore) -> None:
    for key in ("user:a:1", "user:b:1", "user:a", "user:a*:1"):
        now(store.put(key, b"", 10))
    assert now(store.find("user:a*:", "")) == ["user:a*:1"]
    assert sorted(now(store.find("user:", ":1"))) == ["user:a*:1", "user:a:1", "user:b:1"]
    assert now(store.find("user:a", "a")) == []
    assert store.verbatim() is store


def test_what_nobody_asks_for_again_goes(store: MemoryStore, clock: Clock) -> None:
    assert not clock.getDelayedCalls()
    for n in range(5000):
        now(store.put(f"k{n}", b"", 30))
    now(store.put("stays", b"", 90))
    assert len(clock.getDelayedCalls()) == 1
    # In steps, none of which looks at everything.
    later, steps = clock.callLater, []

    def counting(delay: float, *more: Any) -> Any:
        steps.append((delay, len(store)))
        return later(delay, *more)

    clock.callLater = counting  # type: ignore[method-assign]
    clock.advance(60)
    assert steps == [(0, 3001), (0, 1001), (60, 1)]
    clock.advance(60)
    assert len(store) == 0
    # Nothing to clean, no timer.
    assert not clock.getDelayedCalls()
    now(store.put("again", b"", 1))
    assert len(clock.getDelayedCalls()) == 1


def test_closing_leaves_no_timer(store: MemoryStore, clock: Clock) -> None:
    now(store.put("a", b"", 1))
    store.close()
    assert not clock.getDelayedCalls()
    now(store.put("late", b"", 1))
    assert not clock.getDelayedCalls()


def test_which_store(clock: Clock) -> None:
    store = shared_store(clock, defaults())
    assert isinstance(store, MemoryStore) and not store.common
    text = "cache: {type: redis, options: {host: redis.test, port: 6379}}\n"
    reactor = MemoryReactorClock()
    redis = shared_store(reactor, load_text(text, "test.yaml", {}).settings)
    # Nothing is connected to before somebody asks.
    assert redis.common and not reactor.getDelayedCalls() and not reactor.tcpClients


_KEYS = st.sampled_from("abc")
_STEPS = st.one_of(
    st.tuples(st.just("put"), _KEYS, st.sampled_from([b"1", b"2"]), st.sampled_from([None, 2.0])),
    st.tuples(st.just("add"), _KEYS, st.sampled_from([b"1", b"2"]), st.sampled_from([None, 2.0])),
    st.tuples(st.just("take"), _KEYS),
    st.tuples(st.just("replace"), _KEYS, st.sampled_from([b"1", b"2"]), st.just(b"3"), st.sampled_from([None, 2.0])),
    st.tuples(st.just("wait"), st.sampled_from([0.5, 1.0, 3.0, 100.0])),
)


@given(st.lists(_STEPS, max_size=30))
def test_as_a_dictionary_with_times_would(steps: list[tuple[Any, ...]]) -> None:
    clock = Clock()
    store = MemoryStore(clock, 60)
    expected: dict[str, tuple[bytes, float]] = {}

    def there(key: str) -> bytes | None:
        value, ends = expected.get(key, (None, 0.0))
        return value if value is not None and ends > clock.seconds() else None

    def end(ttl: float | None) -> float:
        return float("inf") if ttl is None else clock.seconds() + ttl

    for what, *given_ in steps:
        if what == "wait":
            clock.advance(given_[0])
        elif what == "put":
            now(store.put(*given_))
            expected[given_[0]] = (given_[1], end(given_[2]))
        elif what == "add":
            absent = there(given_[0]) is None
            assert now(store.add(*given_)) == absent
            if absent:
                expected[given_[0]] = (given_[1], end(given_[2]))
        elif what == "take":
            assert now(store.take(given_[0])) == there(given_[0])
            expected.pop(given_[0], None)
        else:
            same = there(given_[0]) == given_[1]
            assert now(store.replace(*given_)) == same
            if same:
                expected[given_[0]] = (given_[2], end(given_[3]))
        for key in "abc":
            assert now(store.get(key)) == there(key)
    store.close()
    assert not clock.getDelayedCalls()


def test_a_large_set_costs_no_more_than_a_small_one(store: MemoryStore, clock: Clock) -> None:
    for number in range(10000):
        clock.advance(1)
        now(store.add_member("s", f"m{number}", 100))
    # Those that have expired went on the way, though nobody has asked for them.
    assert len(now(store.members("s"))) == 100
    assert len(store._entries["s"].value) <= 200  # type: ignore[arg-type]
    for number in range(9000, 10000):
        now(store.remove_member("s", f"m{number}"))
    assert len(store) == 0


def test_a_set_ends_with_the_last_that_is_left(store: MemoryStore, clock: Clock) -> None:
    now(store.add_member("s", "a", 10))
    now(store.add_member("s", "b", None))
    now(store.remove_member("s", "b"))
    clock.advance(60)
    assert len(store) == 0 and not clock.getDelayedCalls()
