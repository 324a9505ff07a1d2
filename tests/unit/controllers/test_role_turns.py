"""A role of many rules is put together over many turns of the reactor, and never from what was taken back meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from at_once import whole
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock

from ksproxyd.controllers.aggregation import MOST_RULES, Steps, assembling
from ksproxyd.controllers.changes import Changes
from ksproxyd.controllers.roles import RoleAggregation
from ksproxyd.kube.pacing import Pacer
from ksproxyd.state.kinds import CLUSTER_ROLES, Kind
from ksproxyd.state.state import State
from ksproxyd.state.store import Object, Store


def rule(number: int) -> dict[str, Any]:
    return {"verbs": ["get", "list"], "apiGroups": [f"g{number}.example.org"], "resources": [f"r{number}"]}


def template(*rules: dict[str, Any], name: str = "t") -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {"iam.kubesphere.io/scope": "cluster"}}, "spec": {"rules": [*rules]}}


def role(*rules: dict[str, Any], generation: int = 1) -> dict[str, Any]:
    metadata = {"name": "r", "generation": generation}
    return {"metadata": metadata, "rules": [*rules], "aggregationRoleTemplates": {"templateNames": ["t"]}}


def counted(steps: Steps) -> int:
    return sum(1 for _ in steps)


class Turns(Clock):
    """What is called later is called in another turn: one second."""

    def callLater(self, delay: float, callable: Callable[..., object], *args: Any, **kw: Any) -> IDelayedCall:
        return super().callLater(delay + 1, callable, *args, **kw)


class World:
    """The controller of roles; each look at the time is half of what a loop has for its turn."""

    def __init__(self) -> None:
        self.clock = Turns()
        self.stores: dict[Kind, Store] = {}
        self.patches: list[dict[str, Any]] = []
        self.added: list[tuple[str, str, str]] = []
        pacer = Pacer(self.clock, 2, iter(range(10**9)).__next__)
        self.roles = RoleAggregation(
            cast(State, self), cast(Changes, self), pacer, lambda *what: self.added.append(what)
        )
        self.turns = 0

    def store(self, kind: Kind) -> Store:
        return self.stores.setdefault(kind, Store(kind.name, self.clock))

    async def patch(self, resource: Any, value: Object, patch: dict[str, Any]) -> None:
        self.patches.append(patch)

    def put(self, value: Object) -> None:
        self.store(CLUSTER_ROLES).put(value)

    def template(self, value: Object) -> None:
        self.roles._templates.put(value)

    def begin(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.roles.handle("cluster", "", "r"))

    def turn(self) -> None:
        self.turns += 1
        self.clock.advance(1)


def test_a_step_is_no_more_than_a_rule() -> None:
    rules = [rule(number) for number in range(MOST_RULES)]
    given = {"t": template(*rules)}
    assert counted(assembling(role(), "cluster", given)) >= 2 * MOST_RULES
    mine = role(*rules, generation=2)
    assert counted(assembling(mine, "cluster", given)) >= 3 * MOST_RULES
    found = whole(role(), "cluster", given)
    noted = role(*found.rules)
    noted["metadata"]["annotations"] = {"ksproxyd.io/aggregated": found.note}
    assert counted(assembling(noted, "cluster", given)) >= 3 * MOST_RULES
    assert whole(noted, "cluster", given).rules == rules


def test_others_have_their_turns_and_nothing_is_written_before_all_is_there() -> None:
    world = World()
    world.put(role())
    rules = [rule(number) for number in range(100)]
    world.template(template(*rules))
    done = world.begin()
    while not done.called:
        assert world.patches == []
        world.turn()
    assert world.turns >= 50
    assert [patch["rules"] for patch in world.patches] == [rules]
    assert world.added == []


def test_what_a_template_gives_no_more_is_not_written() -> None:
    world = World()
    world.put(role())
    world.template(template(*map(rule, range(100))))
    done = world.begin()
    for _ in range(20):
        world.turn()
    world.template(template(rule(1)))
    while not done.called:
        world.turn()
    assert world.patches == []
    assert world.added == [("cluster", "", "r")], "it is looked at again"
    again = world.begin()
    while not again.called:
        world.turn()
    assert [patch["rules"] for patch in world.patches] == [[rule(1)]]


def test_a_template_that_has_gone_or_come_meanwhile_counts() -> None:
    for change in (
        lambda world: world.roles._templates.remove(("", "t")),
        lambda world: world.template(template(name="another")),
        lambda world: world.put(role(rule(1000))),
        lambda world: world.store(CLUSTER_ROLES).remove(("", "r")),
    ):
        world = World()
        world.put(role())
        world.template(template(*map(rule, range(100))))
        done = world.begin()
        for _ in range(20):
            world.turn()
        change(world)
        while not done.called:
            world.turn()
        assert world.patches == []
        assert world.added == [("cluster", "", "r")]


def test_of_a_role_that_is_ended_with_nothing_is_written() -> None:
    world = World()
    world.put(role())
    world.template(template(*map(rule, range(100))))
    done = world.begin()
    world.turn()
    done.addErrback(lambda _: None)
    done.cancel()
    for _ in range(500):
        world.turn()
    assert world.patches == []
    assert not world.clock.getDelayedCalls()
