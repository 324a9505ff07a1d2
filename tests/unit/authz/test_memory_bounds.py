"""What is remembered of decisions is bounded, and forgotten with what it stands on also where that is large."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock

from ksproxyd.authz import bindings as bindings_module
from ksproxyd.authz import memory as memory_module
from ksproxyd.authz.bindings import (
    LONG,
    Bindings,
    Named,
    Principal,
    is_long,
    named,
    named_among,
    named_in,
    principal,
    subject_of,
)
from ksproxyd.authz.memory import LOOKS, MANY, Memory
from ksproxyd.authz.rbac import RBAC
from ksproxyd.authz.roles import Roles
from ksproxyd.model.identity import Identity
from ksproxyd.model.request_info import classify
from ksproxyd.state.kinds import BINDING_KINDS, CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, NAMESPACES, ROLE_KINDS
from ksproxyd.state.store import Store


class World:
    def __init__(self) -> None:
        self.stores = {kind: Store(kind.name, Clock()) for kind in (*ROLE_KINDS, *BINDING_KINDS, NAMESPACES)}
        for store in self.stores.values():
            store.mark_synced()
        self.roles = Roles({kind.name: self.stores[kind] for kind in ROLE_KINDS})
        self.bindings = Bindings({kind: self.stores[kind] for kind in BINDING_KINDS})
        rbac = RBAC(self.roles, self.bindings, self.stores[NAMESPACES])
        self.asked = 0

        def counted(user: Identity, info: Any) -> Any:
            self.asked += 1
            return rbac.decide(user, info)

        self.memory = Memory(counted, self.roles, self.bindings, self.stores[NAMESPACES])

    def allowed(self, user: Identity, path: str) -> bool:
        return self.memory.decide(user, classify("GET", path.encode(), b"")).allowed


def role(*verbs: str) -> dict[str, Any]:
    rules = [{"verbs": list(verbs), "apiGroups": ["*"], "resources": ["*"]}]
    return {"kind": "ClusterRole", "metadata": {"name": "r"}, "rules": rules}


def binding(name: str, *subjects: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "roleRef": {"kind": "ClusterRole", "name": "r"},
        "subjects": [{"kind": "User", "name": each} if isinstance(each, str) else each for each in subjects],
    }


def test_places_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who goes through namespaces, and whose decisions are forgotten on the way, does not pile them up."""
    monkeypatch.setattr(memory_module, "TOTAL", 300)
    monkeypatch.setattr(memory_module, "DECISIONS", 10)
    world = World()
    for number in range(200):
        for name in ("ann", "ben", "cid"):
            world.allowed(Identity(name), f"/api/v1/namespaces/n{number}/pods")
            kept = world.memory._by_namespace
            assert sum(map(len, kept.values())) == world.memory._placed <= 301
        if number % 7 == 0:
            world.stores[NAMESPACES].put({"metadata": {"name": f"n{number}", "labels": {}}})
            world.stores[CLUSTER_ROLE_BINDINGS].put(binding(f"b{number}", "ann"))


def test_a_role_that_thousands_are_given() -> None:
    world = World()
    world.stores[CLUSTER_ROLES].put(role("get", "list"))
    for number in range(MANY + 5):
        world.stores[CLUSTER_ROLE_BINDINGS].put(binding(f"b{number}", f"u{number}"))
    users = [Identity(f"u{number}") for number in (0, MANY - 1, MANY, MANY + 4)]
    for _ in range(2):
        assert all(world.allowed(user, "/api/v1/pods") for user in users)
    assert world.asked == len(users)
    world.stores[CLUSTER_ROLES].put(role("create"))
    assert not any(world.allowed(user, "/api/v1/pods") for user in users)


def test_a_policy_that_cannot_be_read_takes_no_rules_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its policy, if that cannot be read; its rules count."""
    world = World()
    world.stores[CLUSTER_ROLES].put(role("list"))
    world.stores[CLUSTER_ROLE_BINDINGS].put(binding("b", "ann"))
    assert world.allowed(Identity("ann"), "/api/v1/pods")

    def broken(source: str) -> Any:
        raise RecursionError

    monkeypatch.setattr("ksproxyd.authz.roles.compile_policy", broken)
    worse = role("create")
    worse["metadata"]["annotations"] = {"iam.kubesphere.io/rego-override": "package authz"}
    world.stores[CLUSTER_ROLES].put(worse)
    assert not world.allowed(Identity("ann"), "/api/v1/pods")
    assert world.memory.decide(Identity("ann"), classify("POST", b"/api/v1/pods", b"")).allowed
    assert list(world.roles.foreign.values()) == ["it is nested too deeply"]


def test_a_binding_of_thousands() -> None:
    world = World()
    world.stores[CLUSTER_ROLES].put(role("list"))
    names = [f"u{number}" for number in range(3000)]
    last = Identity("u2999")
    world.stores[CLUSTER_ROLE_BINDINGS].put(binding("b", *names))
    assert world.allowed(last, "/api/v1/pods")
    world.stores[CLUSTER_ROLE_BINDINGS].put(binding("b", *names[:-1]))
    assert not world.allowed(last, "/api/v1/pods")
    world.stores[CLUSTER_ROLE_BINDINGS].put(binding("b", *names))
    assert world.allowed(last, "/api/v1/pods")


ACCOUNT = {"kind": "ServiceAccount", "name": "bot", "apiGroup": "kubesphere.io"}
ODD: list[Any] = [
    None,
    "u1",
    {"kind": "User"},
    {"kind": "User", "name": ["u1"]},
    {"kind": ["User"], "name": "u1"},
    {"kind": "Robot", "name": "u1"},
    {"kind": "Group", "name": "u1"},
    ACCOUNT,
    {**ACCOUNT, "apiGroup": ""},
    {"kind": "User", "name": "u1", "namespace": "x"},
    {"kind": "User", "name": "u1"},
]


@pytest.mark.parametrize("more", [0, 100])
def test_subjects_of_any_shape(more: int) -> None:
    value = {**binding("b", *(f"x{number}" for number in range(more))), "metadata": {"name": "b", "namespace": "n1"}}
    value["subjects"] += ODD
    found = [principal(each, "n1") for each in value["subjects"]]
    bot = ("User", "kubesphere:serviceaccount:n1:bot")
    assert named_in(value) == named_in(value) == tuple(each for each in found if each)
    assert named_in(value)[more:] == (("Group", "u1"), bot, ("User", "u1"), ("User", "u1"))
    assert subject_of(value, [("User", "u1"), ("Group", "g")]) is ODD[-2]
    assert subject_of(value, [bot]) is ACCOUNT
    assert subject_of(value, [("User", "bot")]) is None
    assert subject_of({"subjects": "no"}, [bot]) is None and named_in({}) == ()


@pytest.mark.parametrize("order", [1, -1])
def test_subjects_of_any_shape_in_a_long_binding(order: int) -> None:
    more = [{"kind": "User", "name": f"x{number}"} for number in range(LONG)]
    twice = [{"kind": "Group", "name": "g"}, {"kind": "User", "name": "x1"}, {"kind": "User", "name": "x1"}]
    accounts = [ACCOUNT, {"kind": "User", "name": "kubesphere:serviceaccount:n1:bot"}]
    others = [{"kind": "Robot", "name": "u1"}, {"kind": "User", "name": ""}, {"kind": "Group", "name": ""}]
    for odd in (ODD, [], twice, accounts, others, [{"kind": "User", "name": 1}], [{"kind": "User"}], [{"name": "x"}]):
        subjects = (more + odd)[::order]
        value = {"metadata": {"name": "b", "namespace": "n1"}, "subjects": subjects}
        assert is_long(value)
        found = named(value)
        first: dict[Principal, Any] = {}
        for subject in subjects:
            who = principal(subject, "n1")
            if who is not None:
                first.setdefault(who, subject)
        assert {("User", name) for name in found.users} | {("Group", name) for name in found.groups} == {*first}
        assert all(found.get(who) is subject for who, subject in first.items())
        for known in ({("User", "x1"): 1, ("Group", "u1"): 1, ("Group", "x1"): 1}, dict.fromkeys(first), {}):
            expected = {who for who in known if who in first}
            assert {*named_among(value, known)} == {*found.among(known)} == expected
    assert not is_long({**value, "subjects": more[1:]}) and not is_long({"subjects": "x" * LONG}) and not is_long({})


class Counted:
    """How often something was done for a subject."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.subjects = 0
        self.bindings: list[Any] = []
        plainly, one = bindings_module._plainly_named, bindings_module.principal

        def counted_one(*args: Any) -> Any:
            self.subjects += 1
            return one(*args)

        def counted(subjects: list[Any]) -> Named | None:
            self.bindings.append(subjects)
            return plainly(subjects)

        monkeypatch.setattr(bindings_module, "principal", counted_one)
        monkeypatch.setattr(bindings_module, "_plainly_named", counted)


def test_each_version_of_a_long_binding_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """By all who want to know of its change together, and by nobody who asks for a decision."""
    world = World()
    store = world.stores[CLUSTER_ROLE_BINDINGS]
    world.stores[CLUSTER_ROLES].put(role("list"))
    users = [Identity(f"u{number}") for number in range(0, 10_000, 1000)]
    names = [f"u{number}" for number in range(10_000)]
    for user in users:
        world.allowed(user, "/api/v1/pods")
    counted = Counted(monkeypatch)
    for number in range(1, 10):
        # More than are remembered of those that have just changed.
        store.put(binding(f"b{number}", *names[1:]))
    for number in range(5):
        store.put(binding("b", *names[number:]))
        assert world.allowed(users[-1], "/api/v1/pods")
        assert world.allowed(users[0], "/api/v1/pods") is (number == 0)
        assert len(counted.bindings) == 10 + number
    world.stores[CLUSTER_ROLES].put(role("create"))
    assert not world.allowed(users[-1], "/api/v1/pods")
    world.stores[CLUSTER_ROLES].put(role("list"))
    for number in range(1, 10):
        assert world.allowed(users[-1], "/api/v1/pods")
        store.remove(("", f"b{number}"))
    store.remove(("", "b"))
    assert not world.allowed(users[-1], "/api/v1/pods")
    assert len(counted.bindings) == 14
    assert counted.subjects == 0
    for index in (world.bindings._exact[CLUSTER_ROLE_BINDINGS]._objects, world.bindings._long[CLUSTER_ROLE_BINDINGS]):
        assert not (index if isinstance(index, dict) else index._named or index._there or index._places)


def test_a_binding_becomes_long_and_short_again() -> None:
    world = World()
    store = world.stores[CLUSTER_ROLE_BINDINGS]
    world.stores[CLUSTER_ROLES].put(role("list"))
    names = [f"u{number}" for number in range(LONG + 1)]
    for size in (LONG - 1, LONG, LONG + 1, LONG - 1, LONG, 1):
        store.put(binding("b", *names[:size]))
        for number in (0, LONG - 2, LONG - 1, LONG):
            assert world.allowed(Identity(f"u{number}"), "/api/v1/pods") is (number < size)
    store.remove(("", "b"))
    assert not world.allowed(Identity("u0"), "/api/v1/pods")


def test_a_role_that_is_given_to_too_many_to_look_for_has_everything_forgotten() -> None:
    world = World()
    world.stores[CLUSTER_ROLES].put(role("list"))
    users = [Identity(f"u{number}") for number in range(2500)]
    for user in users:
        world.allowed(user, "/api/v1/pods")
    names = [f"u{number}" for number in range(2500)]
    for number in range(10):
        world.stores[CLUSTER_ROLE_BINDINGS].put(binding(f"b{number}", *names))
    assert all(world.allowed(user, "/api/v1/pods") for user in users)
    assert 10 * len(users) > LOOKS
    world.stores[CLUSTER_ROLES].put(role("create"))
    assert not world.memory._users, "it was not looked for them"
    assert not any(world.allowed(user, "/api/v1/pods") for user in users)


def test_of_several_subjects_of_a_long_binding_the_first_is_the_reason() -> None:
    world = World()
    world.stores[CLUSTER_ROLES].put(role("list"))
    own, group = {"kind": "User", "name": "ann"}, {"kind": "Group", "name": "g"}
    others = [f"u{number}" for number in range(LONG)]
    ann, info = Identity("ann", ("h", "g")), classify("GET", b"/api/v1/pods", b"")
    for first, second, title in ((own, group, 'User "ann"'), (group, own, 'Group "g"')):
        world.stores[CLUSTER_ROLE_BINDINGS].put(binding("b", first, *others, second))
        assert world.memory.decide(ann, info).reason.endswith(f"to {title}")
