"""Giving roles, whatever comes in between: two gateways, each of which hears of what is written some time later."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from ksproxyd.authz.bindings import Bindings
from ksproxyd.kapis.iam.assignments import Assignments
from ksproxyd.kapis.iam.member_scopes import IN_CLUSTER, IN_NAMESPACE, IN_WORKSPACE, Scope, binding_names
from ksproxyd.kube.errors import KubeError, failure_status
from ksproxyd.kube.listing import Listing
from ksproxyd.model.status import StatusError
from ksproxyd.state.kinds import BINDING_KINDS, CLUSTER_ROLE_BINDINGS, Kind
from ksproxyd.state.store import Store

PLACES = {IN_CLUSTER: "", IN_WORKSPACE: "ws1", IN_NAMESPACE: "n1"}


def fine() -> None:
    pass


class Server:
    """One kind, as an API server keeps it. Every request is answered when :attr:`steps` gets to it."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Any] = {}
        self.version = 0
        self.steps: list[Callable[[], None]] = []
        self.events: list[tuple[tuple[str, str], Any]] = []
        #: How many bindings there were after each change.
        self.counts: list[int] = []
        self.refuse: dict[str, int] = {}

    def ask(self, verb: str, action: Callable[[], Any]) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()

        def step() -> None:
            try:
                if verb in self.refuse:
                    raise failure(self.refuse[verb])
                result = action()
            except KubeError as error:
                done.errback(error)
            else:
                done.callback(result)

        self.steps.append(step)
        return done

    def change(self, key: tuple[str, str], value: Any) -> Any:
        self.version += 1
        if value is None:
            del self.objects[key]
        else:
            metadata = {"uid": f"u{self.version}", **value["metadata"], "resourceVersion": str(self.version)}
            value = self.objects[key] = {**value, "metadata": metadata}
        self.events.append((key, value))
        self.counts.append(len(self.objects))
        return value


def failure(code: int) -> KubeError:
    return KubeError(failure_status(code, "", f"it says {code}"))


class Client:
    """The part of KubeClient that is used."""

    def __init__(self, server: Server) -> None:
        self.server = server

    async def get(self, resource: Any, name: str, namespace: str = "") -> Any:
        return await self.server.ask("get", lambda: self._present((namespace, name)))

    async def list(self, resource: Any, namespace: str = "", *, label_selector: str = "") -> Listing:
        label, _, value = label_selector.partition("=")
        return await self.server.ask(
            "list",
            lambda: Listing(
                [
                    each
                    for (where, _), each in self.server.objects.items()
                    if (not namespace or where == namespace) and each["metadata"].get("labels", {}).get(label) == value
                ],
                "1",
            ),
        )

    async def create(self, resource: Any, body: Any, namespace: str = "") -> Any:
        key = (namespace, body["metadata"]["name"])

        def action() -> Any:
            if key in self.server.objects:
                raise failure(409)
            return self.server.change(key, body)

        return await self.server.ask("create", action)

    async def update(self, resource: Any, body: Any) -> Any:
        key = (body["metadata"].get("namespace", ""), body["metadata"]["name"])

        def action() -> Any:
            found = self._present(key)
            if found["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"]:
                raise failure(409)
            return self.server.change(key, body)

        return await self.server.ask("update", action)

    async def delete(self, resource: Any, name: str, namespace: str = "", *, uid: str = "") -> Any:
        def action() -> Any:
            found = self._present((namespace, name))
            if uid and found["metadata"]["uid"] != uid:
                raise failure(409)
            return self.server.change((namespace, name), None)

        return await self.server.ask("delete", action)

    def _present(self, key: tuple[str, str]) -> Any:
        found = self.server.objects.get(key)
        if found is None:
            raise failure(404)
        return found


class Gateway:
    """One gateway: what it knows of the server, and its assignments."""

    def __init__(self, server: Server, kind: Kind) -> None:
        self.clock = Clock()
        self.server = server
        self.store = Store(kind.name, self.clock)
        stores = {each: self.store if each is kind else Store(each.name, self.clock) for each in BINDING_KINDS}
        self.seen = 0
        self.assignments = Assignments(self.clock, Client(server), Bindings(stores))  # type: ignore[arg-type]

    def hear(self) -> bool:
        """The next event; whether there was one."""
        if self.seen >= len(self.server.events):
            return False
        key, value = self.server.events[self.seen]
        self.seen += 1
        if value is None:
            self.store.remove(key)
        else:
            self.store.put(value)
        self.clock.advance(0)
        return True


class Scene:
    def __init__(self, scope: Scope = IN_CLUSTER, gateways: int = 1) -> None:
        self.scope, self.place = scope, PLACES[scope]
        self.server = Server()
        self.gateways = [Gateway(self.server, scope.bindings) for _ in range(gateways)]
        self.results: list[Any] = []

    def begin(self, work: Coroutine[Any, Any, Any]) -> None:
        Deferred.fromCoroutine(work).addBoth(self.results.append)

    def assign(self, role: str, gateway: int = 0, user: str = "bob", check: Callable[[], None] = fine) -> None:
        self.begin(self.gateways[gateway].assignments.assign(self.scope, self.place, user, role, check))

    def remove(self, gateway: int = 0, user: str = "bob") -> None:
        self.begin(self.gateways[gateway].assignments.remove(self.scope, self.place, user))

    def settle(self) -> list[Any]:
        """Let everything happen."""
        while True:
            moved = bool(self.server.steps)
            if moved:
                self.server.steps.pop(0)()
            for gateway in self.gateways:
                gateway.clock.advance(0)
                moved = gateway.hear() or moved
            if not moved and not any(each.clock.getDelayedCalls() for each in self.gateways):
                break
            if not moved:
                for gateway in self.gateways:
                    gateway.clock.advance(10)
        found, self.results = self.results, []
        return found

    @property
    def roles(self) -> list[str]:
        return sorted(each["roleRef"]["name"] for each in self.server.objects.values())


@given(
    st.sampled_from([IN_CLUSTER, IN_WORKSPACE, IN_NAMESPACE]),
    st.lists(st.tuples(st.integers(0, 1), st.sampled_from("xyz")), min_size=1, max_size=6),
    st.data(),
)
def test_whatever_comes_in_between_one_role_remains_and_somebody_with_rights_always_has_some(
    scope: Scope, wanted: list[tuple[int, str]], data: st.DataObject
) -> None:
    scene = Scene(scope, gateways=2)
    scene.assign("first")
    assert scene.settle() == [None]
    for gateway, role in wanted:
        scene.assign(role, gateway)
        for _ in range(data.draw(st.integers(0, 6))):
            choice = data.draw(st.integers(0, 3))
            if choice < 2:
                scene.gateways[choice].hear()
            elif scene.server.steps:
                scene.server.steps.pop(data.draw(st.integers(0, len(scene.server.steps) - 1)))()
    assert scene.settle() == [None] * len(wanted)
    assert len(scene.roles) == 1 and scene.roles[0] in {role for _, role in wanted}
    assert min(scene.server.counts) >= 1
    assert not any(each.clock.getDelayedCalls() for each in scene.gateways)


def test_the_answer_comes_when_the_gateway_has_heard_of_it() -> None:
    scene = Scene()
    scene.assign("x")
    while scene.server.steps:
        scene.server.steps.pop(0)()
    assert scene.results == []
    scene.gateways[0].hear()
    assert scene.results == [None]
    assert [each["roleRef"]["name"] for each in scene.gateways[0].assignments.of(IN_CLUSTER, "", "bob")] == ["x"]


def test_a_watch_that_is_broken_does_not_hold_the_answer_for_ever() -> None:
    scene = Scene()
    scene.assign("x")
    while scene.server.steps:
        scene.server.steps.pop(0)()
    scene.gateways[0].clock.advance(60)
    assert scene.results == [None]


def test_what_another_gateway_wrote_is_removed_unheard_of() -> None:
    scene = Scene(gateways=2)
    scene.assign("x")
    while scene.server.steps:
        scene.server.steps.pop(0)()
    assert not scene.gateways[1].store.values()
    scene.remove(1)
    while scene.server.steps:
        scene.server.steps.pop(0)()
    assert scene.roles == []
    scene.settle()


def test_who_may_not_is_asked_before_anything_is_written_and_only_for_what_is_new() -> None:
    def no() -> None:
        raise StatusError(403, "Forbidden", "no")

    scene = Scene()
    scene.assign("x", check=no)
    (refused,) = scene.settle()
    assert isinstance(refused, Failure) and scene.roles == [] and scene.server.version == 0
    scene.assign("x")
    scene.assign("x", check=no)
    assert scene.settle() == [None, None]


@pytest.mark.parametrize("verb", ["create", "list", "delete"])
def test_a_refusal_is_passed_on_and_nobody_is_left_without_a_role(verb: str) -> None:
    scene = Scene()
    scene.assign("x")
    scene.settle()
    scene.server.refuse = {verb: 403}
    scene.assign("y")
    (refused,) = scene.settle()
    assert isinstance(refused, Failure)
    error = refused.value
    assert isinstance(error, StatusError) and (error.code, error.message) == (403, "it says 403")
    assert scene.roles in (["x"], ["x", "y"])
    # The same once more goes on where it ended.
    scene.server.refuse = {}
    scene.assign("y")
    assert scene.settle() == [None]
    assert scene.roles == ["y"]


def test_a_binding_that_is_ending_is_none() -> None:
    scene = Scene()
    scene.assign("x")
    scene.settle()
    (key,) = scene.server.objects
    ending = scene.server.objects[key]
    scene.server.change(
        key, {**ending, "metadata": {**ending["metadata"], "deletionTimestamp": "2030-01-01T00:00:00Z"}}
    )
    scene.settle()
    scene.assign("x")
    assert scene.settle() == [None]
    assert any("deletionTimestamp" not in each["metadata"] for each in scene.server.objects.values())


def test_names_are_not_without_end() -> None:
    scene = Scene()
    for number in range(5):
        scene.assign("x", user=f"u{number}")
    scene.settle()
    taken = list(scene.server.objects.values())
    for each, name in zip(taken, binding_names("bob", "x"), strict=True):
        scene.server.change(("", name), {**each, "metadata": {"name": name}})
    scene.assign("x")
    (refused,) = scene.settle()
    assert isinstance(refused, Failure) and isinstance(refused.value, StatusError) and refused.value.code == 409


def test_of_a_binding_of_several_the_others_stay_whoever_writes_it_meanwhile() -> None:
    scene = Scene()
    kind = CLUSTER_ROLE_BINDINGS.resource.kind
    shared = {
        "kind": kind,
        "metadata": {"name": "s", "labels": {"iam.kubesphere.io/user-ref": "bob", "l": "1"}},
        "roleRef": {"kind": "ClusterRole", "name": "x"},
        "subjects": [{"kind": "User", "name": "bob"}, {"kind": "User", "name": "al"}],
    }
    stored = scene.server.change(("", "s"), shared)
    scene.gateways[0].hear()
    scene.server.change(("", "s"), {**stored, "subjects": [*shared["subjects"], {"kind": "Group", "name": "g"}]})
    scene.remove()
    assert scene.settle() == [None]
    left = scene.server.objects["", "s"]
    assert [each["name"] for each in left["subjects"]] == ["al", "g"]
    assert left["metadata"]["labels"] == {"l": "1"}
