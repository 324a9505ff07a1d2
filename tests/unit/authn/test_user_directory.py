"""The index over users and groups: what it finds after whatever has happened, and whom it tells."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from ksproxyd.authn import directory as directory_module
from ksproxyd.authn.directory import Directory
from ksproxyd.authn.user_record import LINK, read_user
from ksproxyd.state.store import LONG, Store


class Place:
    def __init__(self) -> None:
        self.users = Store("User", Clock())
        self.bindings = Store("GroupBinding", Clock())
        self.directory = Directory(self.users, self.bindings)
        self.told: list[str] = []
        self.directory.subscribe(self.told.append)

    def user(self, name: str, *, created: str = "", links: dict[str, str] | None = None, **spec: Any) -> None:
        annotations = {LINK + provider: uid for provider, uid in (links or {}).items()}
        metadata = {"name": name, "uid": name, "annotations": annotations, "creationTimestamp": created}
        self.users.put({"metadata": metadata, "spec": spec, "status": {"state": "Active"}})

    def bind(self, name: str, group: Any, users: Any) -> None:
        self.bindings.put({"metadata": {"name": name}, "groupRef": {"name": group}, "users": users})

    def groups(self, name: str) -> tuple[str, ...]:
        record = self.directory.find(name)
        assert record is not None
        return record.groups


@pytest.fixture
def place() -> Place:
    return Place()


def test_what_a_record_says(place: Place) -> None:
    metadata = {
        "name": "alice",
        "uid": "u1",
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "deletionTimestamp": "2026-01-02T00:00:00Z",
        "annotations": {"iam.kubesphere.io/uninitialized": "true", LINK + "github": "7", LINK: "x", LINK + "empty": ""},
    }
    spec = {"email": "a@ks.test", "lang": "zh", "displayName": "Alice", "groups": ["b", "a"], "password": "secret"}
    place.users.put({"metadata": metadata, "spec": spec, "status": {"state": "Disabled"}})
    record = place.directory.find("alice")
    assert record is not None
    assert (record.name, record.uid, record.email, record.lang, record.display_name) == (
        "alice",
        "u1",
        "a@ks.test",
        "zh",
        "Alice",
    )
    assert record.groups == ("a", "b") and record.links == (("github", "7"),)
    assert (record.state, record.password_hash, record.uninitialized, record.deleting) == (
        "Disabled",
        "secret",
        "true",
        True,
    )
    assert place.directory.obj("alice") is place.users.get(("", "alice"))
    assert "secret" not in repr(record)


def test_by_address(place: Place) -> None:
    place.user("later", email="x@ks.test", created="2026-02-01T00:00:00Z")
    place.user("first", email="x@ks.test", created="2026-01-01T00:00:00Z")
    place.user("undated", email="x@ks.test")
    assert found(place.directory.by_email("x@ks.test")) == "first"
    place.user("first", email="y@ks.test", created="2026-01-01T00:00:00Z")
    assert found(place.directory.by_email("x@ks.test")) == "later"
    assert found(place.directory.by_email("y@ks.test")) == "first"
    place.users.remove(("", "later"))
    place.users.remove(("", "undated"))
    assert place.directory.by_email("x@ks.test") is None
    assert place.directory.by_email("") is None and place.directory.by_email("X@ks.test") is None


def test_by_link(place: Place) -> None:
    place.user("alice", links={"github": "7", "ldap": "7"})
    place.user("bob", links={"github": "8"})
    assert [r.name for r in place.directory.by_link("github", "7")] == ["alice"]
    place.user("bob", links={"github": "7"})
    assert [r.name for r in place.directory.by_link("github", "7")] == ["alice", "bob"]
    assert place.directory.by_link("github", "8") == () == place.directory.by_link("github", "")
    place.user("alice")
    assert [r.name for r in place.directory.by_link("github", "7")] == ["bob"]
    assert place.directory.by_link("ldap", "7") == ()


def test_groups_of_bindings(place: Place) -> None:
    place.bind("one", "red", ["alice", "nobody"])
    place.user("alice", groups=["blue"])
    place.user("bob")
    assert place.groups("alice") == ("blue", "red")
    place.told.clear()
    place.bind("one", "red", ["bob"])
    assert (place.groups("alice"), place.groups("bob")) == (("blue",), ("red",))
    assert sorted(place.told) == ["alice", "bob"]
    place.bind("two", "red", ["bob"])
    place.bindings.remove(("", "one"))
    assert place.groups("bob") == ("red",)
    place.bind("two", "green", ["bob", "bob"])
    assert place.groups("bob") == ("green",)


def test_no_groups_of_kubernetes(place: Place) -> None:
    place.user("alice", groups=["system:masters", "kubesphere:x", "a", 7, None, ""])
    place.bind("one", "system:masters", ["alice"])
    assert place.groups("alice") == ("a",)


@pytest.mark.parametrize("name", ["system:admin", "kubesphere:serviceaccount:a:b"])
def test_no_names_of_kubernetes(place: Place, name: str) -> None:
    place.user(name, email="x@ks.test")
    assert place.directory.find(name) is None and place.directory.by_email("x@ks.test") is None
    assert place.directory.obj(name) is None


def test_subscribers(place: Place) -> None:
    end = place.directory.subscribe(place.told.append)
    place.user("alice")
    assert place.told == ["alice", "alice"]
    end()
    place.user("alice", lang="en")
    place.users.remove(("", "alice"))
    assert place.told == ["alice"] * 4
    place.directory.stop()
    place.user("bob")
    assert place.told == ["alice"] * 4 and place.directory.find("bob") is None


def test_a_subscriber_that_fails(place: Place, logged_errors: Any) -> None:
    place.directory.subscribe(lambda name: 1 / 0)
    later: list[str] = []
    place.directory.subscribe(later.append)
    place.user("alice")
    assert later == ["alice"] and len(logged_errors.take()) == 1


def test_synced(place: Place) -> None:
    assert not place.directory.synced
    place.users.mark_synced()
    assert not place.directory.synced
    place.bindings.mark_synced()
    assert place.directory.synced


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from(["email", "groups", "password", "annotations", "state", "lastTransitionTime", LINK + "x"])
part = json | st.dictionaries(keys, json, max_size=6)


@given(part, part, part, part, part)
def test_objects_of_any_shape(spec: Any, status: Any, annotations: Any, users: Any, ref: Any) -> None:
    place = Place()
    metadata = {"name": "alice", "annotations": annotations, "creationTimestamp": spec}
    for value in (spec, status):
        place.users.put({"metadata": metadata, "spec": value, "status": value})
    place.bindings.put({"metadata": {"name": "b"}, "users": users, "groupRef": ref})
    place.bindings.put({"metadata": {"name": "b"}, "users": ["alice"], "groupRef": {"name": "g"}})
    assert "g" in place.groups("alice")
    place.bindings.remove(("", "b"))
    place.users.remove(("", "alice"))
    assert not place.directory.records()
    assert not place.directory._by_email and not place.directory._by_link and not place.directory._bound


names = st.sampled_from("abcd")
steps = st.one_of(
    st.tuples(st.just("user"), names, st.sampled_from(["", "x@", "y@"]), st.sampled_from(["", "1", "2"])),
    st.tuples(st.just("gone"), names, st.just(""), st.just("")),
    st.tuples(st.just("bind"), names, st.sampled_from(["g", "h", "system:x"]), st.sampled_from(["", "ab", "bcd", "a"])),
    st.tuples(st.just("unbind"), names, st.just(""), st.just("")),
)


@given(st.lists(steps, max_size=30))
def test_always_as_if_read_anew(history: list[tuple[str, str, str, str]]) -> None:
    check_history(history)
    with pytest.MonkeyPatch.context() as patch:
        # As if there were thousands of users.
        for long in (1, 2):
            patch.setattr(directory_module, "LONG", long)
            check_history(history)


def check_history(history: list[tuple[str, str, str, str]]) -> None:
    place = Place()
    seen: dict[str, tuple[str, ...]] = {}
    place.directory.subscribe(lambda name: seen.pop(name, None), seen)
    for step, name, first, second in history:
        if step == "user":
            place.user(name, email=first, links={"p": second}, created=second)
        elif step == "gone":
            place.users.remove(("", name))
        elif step == "bind":
            place.bind(name, first, list(second))
        else:
            place.bindings.remove(("", name))
        # Nobody keeps what is not so any more.
        records = [found for each in "abcd" if (found := place.directory.find(each)) is not None]
        assert all(seen.get(record.name, record.groups) == record.groups for record in records)
        if len(records) % 2:
            seen.update({record.name: record.groups for record in records})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(directory_module, "LONG", LONG)
        anew = Directory(place.users, place.bindings)
    assert place.directory._stale <= {r.name for r in anew.records()}
    assert {r.name: r for r in place.directory.records()} == {r.name: r for r in anew.records()}
    for email in ("x@", "y@"):
        assert place.directory.by_email(email) == anew.by_email(email)
    for uid in "12":
        assert place.directory.by_link("p", uid) == anew.by_link("p", uid)


def test_a_record_needs_a_name() -> None:
    assert read_user({}) is None and read_user({"metadata": {"name": ""}}) is None


def found(record: Any) -> str:
    assert record is not None
    return str(record.name)


def test_the_groups_of_thousands_change_for_those_who_are_looked_at(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"u{number}" for number in range(10_000)]
    for name in names:
        place.user(name, groups=["own"], email=f"{name}@ks.test", links={"p": name})
    looked: list[Any] = []
    plain = directory_module.groups_of

    def counted(obj: dict[str, Any], bound: tuple[str, ...]) -> tuple[str, ...]:
        looked.append(obj["metadata"]["name"])
        return plain(obj, bound)

    monkeypatch.setattr(directory_module, "groups_of", counted)
    of = {"u7", "somebody"}
    place.directory._subscribers.clear()
    place.directory.subscribe(place.told.append, of)
    place.told.clear()

    place.bind("one", "red", names)
    assert (looked, place.told) == ([], ["u7"])
    assert place.groups("u1") == ("own", "red")
    linked, known = place.directory.by_link("p", "u2"), place.directory.by_email("u3@ks.test")
    assert linked[0].groups == ("own", "red") and known is not None and known.groups == ("own", "red")
    assert looked == ["u1", "u2", "u3"]
    # One comes or goes.
    looked.clear()
    place.told.clear()
    place.bind("one", "red", names[1:])
    assert (looked, place.told) == (["u0"], []), "nobody has seen the group of theirs"
    place.bind("one", "red", names[2:])
    assert (looked, place.told) == (["u0", "u1"], ["u1"])
    assert (place.groups("u0"), place.groups("u1"), place.groups("u4")) == (("own",), ("own",), ("own", "red"))
    # All of them.
    looked.clear()
    of.clear()
    place.told.clear()
    place.bindings.remove(("", "one"))
    assert (looked, place.told) == ([], [])
    assert place.groups("u4") == ("own",)
    place.user("u5", groups=["another"])
    assert place.groups("u5") == ("another",)
    place.users.remove(("", "u6"))
    assert "u5" not in place.directory._stale and "u6" not in place.directory._stale
    assert place.directory.find("u6") is None and len(place.directory.records()) == 9_999
    assert not place.directory._stale and not place.directory._bound and not place.directory._many


def test_one_that_fails_for_many_disturbs_nobody_else(
    place: Place, logged_errors: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory_module, "LONG", 2)
    for name in "abc":
        place.user(name)
    place.directory.subscribe(lambda name: 1 / 0, "a")
    later: list[str] = []
    place.directory.subscribe(later.append)
    place.bind("one", "red", ["a", "b", "c"])
    assert sorted(later) == ["a", "b", "c"] and len(logged_errors.take()) == 1
