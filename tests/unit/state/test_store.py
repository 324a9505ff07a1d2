"""What is known of one kind."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock

from ksproxyd.state import store as store_module
from ksproxyd.state.store import LONG, Object, Store, key_of


def thing(name: str, version: int = 1, uid: str = "", namespace: str = "", **spec: Any) -> Object:
    metadata = {"name": name, "resourceVersion": str(version), "uid": uid or f"uid-{name}"}
    if namespace:
        metadata["namespace"] = namespace
    return {"metadata": metadata, "spec": spec}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> Store:
    return Store("Thing", clock)


class Listener(list[tuple[Object | None, Object | None]]):
    def __call__(self, old: Object | None, new: Object | None) -> None:
        self.append((old, new))


def test_objects_are_found_by_namespace_and_name(store: Store) -> None:
    one, other = thing("a", namespace="x"), thing("a", namespace="y")
    store.put(one)
    store.put(other)
    assert store.get(("x", "a")) is one
    assert store.get(("y", "a")) is other
    assert store.get(("", "a")) is None
    assert ("x", "a") in store
    assert ("z", "a") not in store
    assert (len(store), list(store.keys())) == (2, [("x", "a"), ("y", "a")])
    assert list(store.values()) == [one, other]


@pytest.mark.parametrize(
    "obj",
    [{}, {"metadata": []}, {"metadata": {}}, {"metadata": {"name": ""}}, {"metadata": {"name": "a", "namespace": 1}}],
    ids=str,
)
def test_an_object_without_a_name_has_no_key(obj: Object) -> None:
    with pytest.raises(ValueError, match="usable name"):
        key_of(obj)


def test_subscribers_see_changes_and_only_changes(store: Store) -> None:
    seen = Listener()
    store.subscribe(seen)
    first, second = thing("a", 1), thing("a", 2)
    store.put(first)
    store.put(thing("a", 1))
    store.put(second)
    store.remove(("", "a"))
    store.remove(("", "a"))
    assert seen == [(None, first), (first, second), (second, None)]
    assert seen[1][0] is first


def test_a_namesake_with_another_uid_is_another_object(store: Store) -> None:
    seen = Listener()
    first, second = thing("a", 1, "one"), thing("a", 2, "two")
    store.put(first)
    store.subscribe(seen)
    store.put(second)
    assert seen == [(first, None), (None, second)]


def test_replay_announces_what_is_there(store: Store) -> None:
    first = thing("a")
    store.put(first)
    late, silent = Listener(), Listener()
    store.subscribe(late, replay=True)
    store.subscribe(silent)
    assert (late, silent) == ([(None, first)], [])


def test_nobody_is_called_after_unsubscribing(store: Store) -> None:
    seen = Listener()
    unsubscribe = store.subscribe(seen)
    unsubscribe()
    unsubscribe()
    store.put(thing("a"))
    assert seen == []


def test_unsubscribing_another_within_a_call_takes_effect_at_once(store: Store) -> None:
    seen = Listener()
    store.subscribe(lambda old, new: unsubscribe())
    unsubscribe = store.subscribe(seen)
    store.put(thing("a"))
    assert seen == []


def test_a_subscriber_that_raises_disturbs_nobody(store: Store, logged_errors: Any) -> None:
    def broken(old: Object | None, new: Object | None) -> None:
        raise RuntimeError("broken")

    seen = Listener()
    store.subscribe(broken)
    store.subscribe(seen)
    store.put(thing("a", namespace="n"))
    assert len(seen) == 1
    (event,) = logged_errors.take()
    assert (event["kind"], event["name"]) == ("Thing", "n/a")
    assert event["log_failure"].type is RuntimeError


def test_age_counts_from_the_last_sign_of_life(store: Store, clock: Clock) -> None:
    assert store.age() == float("inf")
    store.heard()
    clock.advance(7)
    assert store.age() == 7


def test_waiting_for_the_first_sync(store: Store) -> None:
    early, cancelled = store.when_synced(), store.when_synced()
    fired: list[str] = []
    early.addCallback(lambda _: fired.append("early"))
    cancelled.cancel()
    cancelled.addErrback(lambda failure: failure.trap(CancelledError))
    assert fired == []
    store.mark_synced()
    store.mark_synced()
    assert fired == ["early"]
    store.when_synced().addCallback(lambda _: fired.append("late"))
    assert fired == ["early", "late"]


def group(obj: Object) -> list[str]:
    found = obj["spec"]["groups"]
    assert isinstance(found, list)
    return found


def test_an_index_follows_its_objects(store: Store) -> None:
    first = thing("a", 1, groups=["x", "y", "x"])
    store.put(first)
    index = store.index(group)
    assert index.get("x") == (first,)
    moved = thing("a", 2, groups=["z"])
    store.put(moved)
    other = thing("b", 1, groups=["z"])
    store.put(other)
    assert (index.get("x"), index.get("y")) == ((), ())
    assert index.get("z") == (moved, other)
    store.remove(("", "a"))
    assert index.get("z") == (other,)


def test_an_index_is_current_when_subscribers_are_called(store: Store) -> None:
    index = store.index(group)
    found: list[Any] = []
    store.subscribe(lambda old, new: found.append(index.get("x")))
    obj = thing("a", groups=["x"])
    store.put(obj)
    store.remove(("", "a"))
    assert found == [(obj,), ()]


def test_an_object_that_cannot_be_indexed_is_only_left_out(store: Store, logged_errors: Any) -> None:
    index = store.index(group)
    store.put(thing("a"))
    good = thing("b", groups=["x"])
    store.put(good)
    assert index.get("x") == (good,)
    assert len(logged_errors.take()) == 1
    mended = thing("a", 2, groups=["x"])
    store.put(mended)
    assert set(map(id, index.get("x"))) == {id(good), id(mended)}


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.none() | st.lists(st.sampled_from("xyz"), max_size=3))
    )
)
def test_an_index_is_what_a_search_would_find(changes: list[tuple[str, int, list[str] | None]]) -> None:
    check_index(changes)
    with pytest.MonkeyPatch.context() as patch:
        # As if they had thousands of values.
        patch.setattr(store_module, "LONG", 2)
        check_index(changes)


def check_index(changes: list[tuple[str, int, list[str] | None]]) -> None:
    store = Store("Thing", Clock())
    index = store.index(group)
    for name, uid, groups in changes:
        if groups is None:
            store.remove(("", name))
        else:
            store.put(thing(name, uid=str(uid), groups=groups))
        for value in "xyz":
            wanted = [obj for obj in store.values() if value in obj["spec"]["groups"]]
            assert sorted(map(id, index.get(value))) == sorted(map(id, wanted))


def test_very_many_values_are_not_noted_one_by_one(store: Store) -> None:
    index = store.index(group)
    names = [f"x{number}" for number in range(LONG)]
    store.put(thing("long", groups=names))
    store.put(thing("short", groups=["x0"]))
    assert list(index._objects) == ["x0"]
    assert [each["metadata"]["name"] for each in index.get("x0")] == ["short", "long"]
    assert len(index.get("x1")) == 1 and not index.get("y")
    store.put(thing("long", version=2, groups=names[1:]))
    assert [each["metadata"]["name"] for each in index.get("x0")] == ["short"]
    assert [each["metadata"]["resourceVersion"] for each in index.get("x1")] == ["2"]
    store.put(thing("long", groups=names))
    store.remove(("", "long"))
    assert not index.get("x1") and not index._long
