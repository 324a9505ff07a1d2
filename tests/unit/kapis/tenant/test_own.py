"""What is remembered of people's own lists is what would be found anew."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support_tenant import FakeState, binding, thing

from ksproxyd.authz.bindings import Bindings
from ksproxyd.kapis.ordered import Ordered, sort_key
from ksproxyd.kapis.tenant import own
from ksproxyd.kapis.tenant.own import Own
from ksproxyd.model.identity import Identity
from ksproxyd.state.kinds import NAMESPACES, ROLE_BINDINGS

PEOPLE = (Identity("joe", ("devs", "all")), Identity("eve", ("all",)), Identity("joe"), Identity("nobody"))


class World:
    def __init__(self) -> None:
        self.state: Any = FakeState()
        self.namespaces, self.bound = self.state.store(NAMESPACES), self.state.store(ROLE_BINDINGS)
        self.bindings = Bindings(self.state.stores)
        self.own = Own(Ordered(self.namespaces), self.bound, self.bindings.namespaces)

    def check(self) -> None:
        for user in PEOPLE:
            part = self.own.of(user)
            there = [self.namespaces.get(("", name)) for name in self.bindings.namespaces(user)]
            for by_name in (True, False):
                assert list(part.keys(by_name)) == sorted(sort_key(each, by_name) for each in there if each)
            assert len(part) == len([each for each in there if each])


NAMES = st.sampled_from(["a", "b", "c", "d", "e", "f"])
CREATED = st.sampled_from(["2030-01-01T00:00:00Z", "2030-01-02T00:00:00Z"])
SUBJECTS = st.lists(st.sampled_from(["joe", "eve", "@devs", "@all"]), max_size=3)
STEPS = st.one_of(
    st.tuples(st.just("make"), NAMES, CREATED),
    st.tuples(st.just("unmake"), NAMES),
    st.tuples(st.just("bind"), NAMES, st.sampled_from(["x", "y"]), SUBJECTS),
    st.tuples(st.just("unbind"), NAMES, st.sampled_from(["x", "y"])),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=25))
def test_whatever_happens(steps: list[Any]) -> None:
    world = World()
    for step, name, *rest in steps:
        if step == "make":
            world.namespaces.put(thing(name, created=rest[0]))
        elif step == "unmake":
            world.namespaces.remove(("", name))
        elif step == "bind":
            world.bound.put(binding(rest[0], "r", *rest[1], metadata={"namespace": name}))
        else:
            world.bound.remove((name, rest[0]))
        world.check()


def test_nothing_is_looked_for_twice_until_something_changes() -> None:
    world = World()
    world.state.put(NAMESPACES, thing("a"), thing("b"))
    joe, eve, other = world.own.of(PEOPLE[0]), world.own.of(PEOPLE[1]), world.own.of(PEOPLE[3])
    assert world.own.of(PEOPLE[0]) is joe and world.own.of(PEOPLE[3]) is other
    world.state.put(ROLE_BINDINGS, binding("x", "r", "joe", metadata={"namespace": "a"}))
    assert world.own.of(PEOPLE[0]) is not joe
    assert world.own.of(PEOPLE[1]) is eve and world.own.of(PEOPLE[3]) is other
    joe = world.own.of(PEOPLE[0])
    world.namespaces.put(thing("a", {"tier": "gold"}))
    assert world.own.of(PEOPLE[0]) is joe, "which labels it has is seen when it is shown"
    world.own.stop()
    world.state.put(ROLE_BINDINGS, binding("y", "r", "joe", metadata={"namespace": "b"}))
    assert world.own.of(PEOPLE[0]) is joe


def test_not_everything_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "MOST_NAMES", 10)
    world = World()
    world.state.put(NAMESPACES, thing("a"))
    for n in range(100):
        world.own.of(Identity(f"u{n}"))
        assert len(world.own._parts) <= 10 and len(world.own._named) <= 10
