"""Roles that members are given: known to this gateway, or just about to be."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from ksproxyd.authz.bindings import Bindings
from ksproxyd.kapis.iam.member_scopes import IN_CLUSTER, IN_NAMESPACE, IN_WORKSPACE, Scope
from ksproxyd.kapis.iam.members import Members
from ksproxyd.kube.errors import KubeError, failure_status
from ksproxyd.model.status import StatusError
from ksproxyd.state.kinds import BINDING_KINDS, CLUSTER_ROLES, ROLES, WORKSPACE_ROLES, Kind
from ksproxyd.state.store import Store


class Client:
    """Has what it is asked for, or refuses with a code."""

    def __init__(self) -> None:
        self.code = 0
        self.asked: list[tuple[str, str, str]] = []

    async def get(self, resource: Any, name: str, namespace: str = "") -> Any:
        self.asked.append((resource.plural, name, namespace))
        if self.code:
            raise KubeError(failure_status(self.code, "", "no"))
        return {}


class State:
    def __init__(self, clock: Clock) -> None:
        self.stores = {kind: Store(kind.name, clock) for kind in (CLUSTER_ROLES, WORKSPACE_ROLES, ROLES)}

    def store(self, kind: Kind) -> Store:
        return self.stores[kind]


class Scene:
    def __init__(self) -> None:
        self.clock, self.client = Clock(), Client()
        self.state = State(self.clock)
        bindings = Bindings({kind: Store(kind.name, self.clock) for kind in BINDING_KINDS})
        self.members = Members(self.clock, self.state, self.client, bindings, None)  # type: ignore[arg-type]
        self.results: list[Any] = []

    def need(self, scope: Scope, place: str = "", name: str = "r") -> list[Any]:
        Deferred.fromCoroutine(self.members._need_role(scope, place, name)).addBoth(self.results.append)
        return self.results


def code(results: list[Any]) -> int:
    (found,) = results
    assert isinstance(found, Failure) and isinstance(found.value, StatusError)
    return found.value.code


def test_who_is_known_is_not_asked_for() -> None:
    scene = Scene()
    scene.state.store(CLUSTER_ROLES).put({"metadata": {"name": "r"}})
    assert scene.need(IN_CLUSTER) == [None] and not scene.client.asked


@pytest.mark.parametrize(
    ("scope", "kind", "metadata"),
    [
        (IN_CLUSTER, CLUSTER_ROLES, {"name": "r"}),
        (IN_NAMESPACE, ROLES, {"name": "r", "namespace": "p"}),
        (IN_WORKSPACE, WORKSPACE_ROLES, {"name": "r", "labels": {"kubesphere.io/workspace": "p"}}),
    ],
)
def test_a_role_of_which_we_have_not_heard_is_waited_for(scope: Scope, kind: Kind, metadata: Any) -> None:
    scene = Scene()
    assert scene.need(scope, "p") == []
    assert scene.client.asked == [(kind.resource.plural, "r", "p" if scope is IN_NAMESPACE else "")]
    scene.state.store(kind).put({"metadata": metadata})
    scene.clock.advance(0)
    assert scene.results == [None]


def test_what_it_grants_is_not_guessed_if_we_never_hear_of_it() -> None:
    scene = Scene()
    scene.need(IN_CLUSTER)
    scene.clock.advance(60)
    assert code(scene.results) == 404


def test_what_kubernetes_says_is_passed_on() -> None:
    scene = Scene()
    scene.client.code = 404
    assert code(scene.need(IN_CLUSTER)) == 404
    other = Scene()
    other.client.code = 503
    assert code(other.need(IN_CLUSTER)) == 503


def test_a_role_of_another_workspace_is_none() -> None:
    scene = Scene()
    scene.state.store(WORKSPACE_ROLES).put({"metadata": {"name": "r", "labels": {"kubesphere.io/workspace": "q"}}})
    assert code(scene.need(IN_WORKSPACE, "p")) == 404
