from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.standalone.storage.store import ADDED, DELETED, MODIFIED, Event, Key, Store, StoreError, checkpoint


def key(name: str, topic: str = "/things", namespace: str = "ns") -> Key:
    return Key(topic, namespace, name)


def thing(name: str, **rest: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Thing", "metadata": {"name": name, "uid": f"uid-{name}"}, **rest}


def names(store: Store, **where: Any) -> list[str]:
    return [row.name for row in store.page("/things", None, None, 100, **where)]


def test_write_sets_the_resource_version_and_can_be_read() -> None:
    store = Store()
    before = store.revision
    event = store.write(key("a"), thing("a"))
    assert event.rv == store.revision == before + 1
    assert event.type == ADDED
    assert event.object["metadata"]["resourceVersion"] == str(event.rv)
    assert store.get(key("a")) == event.body
    assert store.get(key("b")) is None


def test_events_know_what_was_before() -> None:
    store = Store()
    start = store.revision
    store.write(key("a"), thing("a", n=1))
    store.write(key("a"), thing("a", n=2))
    store.delete(key("a"), thing("a", n=2))
    store.write(key("a"), thing("a", n=3))
    found = store.events("/things", start, 10)
    assert [event.type for event in found] == [ADDED, MODIFIED, DELETED, ADDED]
    assert [event.previous and event.previous["n"] for event in found] == [None, 1, 2, None]
    assert [event.object["n"] for event in found] == [1, 2, 2, 3]
    assert [event.rv for event in store.events("/things", start + 1, 2)] == [start + 2, start + 3]
    assert store.events("/others", start, 10) == []


def test_listener_hears_of_committed_writes_only() -> None:
    store = Store()
    heard: list[Event] = []
    store.on_event = heard.append
    store.write(key("a"), thing("a"))
    with pytest.raises(TypeError):
        store.write(key("b"), thing("b", bad=object()))
    assert [event.key.name for event in heard] == ["a"]


def test_failed_write_leaves_everything_as_it_was() -> None:
    store = Store()
    store.write(key("a"), thing("a"))
    revision = store.revision
    bad = thing("b")
    bad["metadata"]["ownerReferences"] = [{"uid": None}]
    with pytest.raises(sqlite3.Error):
        store.write(key("b"), bad)
    assert store.revision == revision
    assert names(store) == ["a"]
    assert store.write(key("c"), thing("c")).rv == revision + 1


def test_pages_are_in_order_of_namespace_and_name() -> None:
    store = Store()
    for namespace, name in [("b", "x"), ("a", "y"), ("a", "x"), ("b", "a")]:
        store.write(key(name, namespace=namespace), thing(name))
    first = store.page("/things", None, None, 3)
    assert [(row.namespace, row.name) for row in first] == [("a", "x"), ("a", "y"), ("b", "a")]
    rest = store.page("/things", None, ("b", "a"), 3)
    assert [(row.namespace, row.name) for row in rest] == [("b", "x")]
    assert [row.name for row in store.page("/things", "a", None, 3)] == ["x", "y"]
    assert [row.namespace for row in store.page("/things", None, None, 3, name="x")] == ["a", "b"]
    assert store.count("/things", None) == 4
    assert store.count("/things", "b", ("b", "a")) == 1


def test_snapshots_show_the_past() -> None:
    store = Store()
    store.write(key("a"), thing("a", n=1))
    store.write(key("b"), thing("b"))
    then = store.revision
    store.write(key("a"), thing("a", n=2))
    store.delete(key("b"), thing("b"))
    store.write(key("c"), thing("c"))
    assert names(store) == ["a", "c"]
    assert names(store, at=then) == ["a", "b"]
    assert store.count("/things", None, None, then) == 2
    (row, _) = store.page("/things", None, None, 10, at=then)
    assert b'"n":1' in row.body


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["write", "delete"])), max_size=30))
def test_every_snapshot_is_what_a_dict_would_have_been(steps: list[tuple[str, str]]) -> None:
    store = Store()
    present: dict[str, int] = {}
    states = {store.revision: {}}
    for number, (name, action) in enumerate(steps):
        if action == "write":
            store.write(key(name), thing(name, n=number))
            present[name] = number
        elif name in present:
            store.delete(key(name), thing(name, n=present.pop(name)))
        states[store.revision] = dict(present)
    for rv, expected in states.items():
        rows = store.page("/things", None, None, 10, at=rv)
        assert {row.name: Event(0, ADDED, key(row.name), row.body, None).object["n"] for row in rows} == expected
        assert store.count("/things", None, None, rv) == len(expected)
    store.close()


def test_history_is_bounded() -> None:
    store = Store(history=100)
    for number in range(1000):
        store.write(key("a"), thing("a", n=number))
    assert store.revision - 300 < store.floor < store.revision - 50
    assert names(store) == ["a"]
    with sqlite3_rows(store) as rows:
        assert rows < 300


class sqlite3_rows:
    """How many revisions a store keeps."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __enter__(self) -> int:
        found: int = self._store._run("SELECT count(*) FROM revisions").fetchone()[0]
        return found

    def __exit__(self, *_: object) -> None:
        return None


def test_compaction_forgets_the_past_only() -> None:
    store = Store()
    store.write(key("a"), thing("a", n=1))
    store.write(key("b"), thing("b"))
    store.write(key("a"), thing("a", n=2))
    store.delete(key("b"), thing("b"))
    store.compact(store.revision)
    assert store.floor == store.revision
    assert names(store) == ["a"]
    store.write(key("a"), thing("a", n=3))
    (event,) = store.events("/things", store.floor, 10)
    assert event.previous is not None
    assert event.previous["n"] == 2


def test_pinned_state_is_kept() -> None:
    store = Store(history=10)
    store.write(key("a"), thing("a", n=0))
    then = store.revision
    store.pin(then)
    for number in range(500):
        store.write(key("a"), thing("a", n=number))
    assert store.floor <= then
    assert names(store, at=then) == ["a"]
    store.unpin(then)
    for number in range(500):
        store.write(key("a"), thing("a", n=number))
    assert store.floor > then


def test_owners_are_found_by_uid() -> None:
    store = Store()

    def owned(name: str, *uids: str) -> None:
        value = thing(name)
        value["metadata"]["ownerReferences"] = [{"uid": uid} for uid in uids]
        store.write(key(name), value)

    owned("a", "one")
    owned("b", "one", "two")
    store.write(key("c"), thing("c"))
    assert [found.name for found in store.dependents("one", 10)] == ["a", "b"]
    assert [found.name for found in store.dependents("one", 10, key("a"))] == ["b"]
    assert [found.name for found in store.dependents("two", 10)] == ["b"]
    owned("b", "two")
    assert [found.name for found in store.dependents("one", 10)] == ["a"]
    store.delete(key("a"), thing("a"))
    assert store.dependents("one", 10) == []


def test_file_is_for_its_owner_only(tmp_path: Path) -> None:
    path = str(tmp_path / "objects.db")
    store = Store(path)
    store.write(key("a"), thing("a"))
    for each in tmp_path.iterdir():
        assert stat.S_IMODE(each.stat().st_mode) == 0o600, each
    store.close()


def test_objects_and_history_survive(tmp_path: Path) -> None:
    path = str(tmp_path / "objects.db")
    store = Store(path)
    store.write(key("a"), thing("a", n=1))
    then = store.revision
    store.write(key("a"), thing("a", n=2))
    store.close()
    store = Store(path)
    assert store.revision == then + 1
    assert names(store) == ["a"]
    (event,) = store.events("/things", then, 10)
    assert (event.type, event.object["n"]) == (MODIFIED, 2)
    assert store.write(key("b"), thing("b")).rv == then + 2
    store.close()


def test_resource_versions_never_come_again_after_everything_was_deleted(tmp_path: Path) -> None:
    path = str(tmp_path / "objects.db")
    store = Store(path)
    store.write(key("a"), thing("a"))
    last = store.delete(key("a"), thing("a")).rv
    store.compact(last)
    store.close()
    store = Store(path)
    assert store.revision == last
    store.close()


def test_resource_versions_leap_after_an_unclean_end(tmp_path: Path) -> None:
    path = str(tmp_path / "objects.db")
    store = Store(path)
    last = store.write(key("a"), thing("a")).rv
    # The process is gone without closing anything.
    store._db.close()
    store._unlock()
    store = Store(path)
    assert store.revision > last + 1000
    assert store.floor == store.revision
    assert names(store) == ["a"]
    store.close()


def test_database_is_for_one_process(tmp_path: Path) -> None:
    path = str(tmp_path / "objects.db")
    store = Store(path)
    with pytest.raises(StoreError, match="another process uses this database"):
        Store(path)
    store.close()
    Store(path).close()


def test_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    path = tmp_path / "objects.db"
    path.write_bytes(b"something else entirely" * 100)
    with pytest.raises(StoreError, match="cannot be used as the database"):
        Store(str(path))
    # The lock is not kept.
    os.unlink(path)
    Store(str(path)).close()


def test_folder_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file or directory"):
        Store(str(tmp_path / "missing" / "objects.db"))


def test_checkpoint_moves_the_log_into_the_file(tmp_path: Path) -> None:
    path = str(tmp_path / "objects.db")
    store = Store(path)
    for number in range(50):
        store.write(key("a"), thing("a", n=number))
    before = os.path.getsize(path)
    checkpoint(path)
    assert os.path.getsize(path) > before
    store.write(key("b"), thing("b"))
    assert names(store) == ["a", "b"]
    store.close()
