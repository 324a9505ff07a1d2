"""Which requests become Event objects of Kubernetes, how many, and what they say."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock

from ksproxyd.audit.event import STARTED
from ksproxyd.audit.kube_events import STALE, KubeEvents
from ksproxyd.audit.queue import BROKEN, STOPPED, TOO_OLD
from ksproxyd.kube.errors import KubeError

from .test_audit_forms import event


class Server:
    """In a KubeClient's place."""

    def __init__(self) -> None:
        self.created: list[tuple[str, Any]] = []
        self.patched: list[tuple[str, Any]] = []
        self.refusing = False

    async def create(self, resource: Any, body: Any, namespace: str = "") -> Any:
        if self.refusing:
            raise KubeError({"code": 404, "message": "the namespace is gone"})
        self.created.append((namespace, body))
        return {"metadata": {"name": f"made-{len(self.created)}"}}

    async def patch(self, resource: Any, name: str, patch: Any, namespace: str = "") -> Any:
        self.patched.append((name, patch))
        return {}


class World:
    def __init__(self, which: Any = "denied", rate: float = 5.0) -> None:
        self.clock = Clock()
        self.clock.advance(1000.0)
        self.server = Server()
        self.sink = KubeEvents(self.clock, self.server, which, rate)  # type: ignore[arg-type]

    def put(self, path: str = "/api/v1/namespaces/n1/pods/web-0", method: str = "DELETE", **more: Any) -> None:
        made = event(path, method, **{"at": self.clock.seconds(), **more})
        made.weigh()
        self.sink.queue.put(made)

    def wait(self, seconds: float = 10.0) -> None:
        for _ in range(int(seconds * 10)):
            self.clock.advance(0.1)


def test_a_denied_request() -> None:
    world = World()
    world.put(status=403)
    world.wait()
    ((namespace, body),) = world.server.created
    assert namespace == "n1"
    assert body["involvedObject"] == {"apiVersion": "v1", "kind": "Pod", "name": "web-0", "namespace": "n1"}
    assert (body["type"], body["reason"]) == ("Warning", "RequestDenied")
    assert body["message"] == "wa may not delete pods web-0 (403, from 192.0.2.9)"
    assert body["firstTimestamp"] == body["lastTimestamp"] == "1970-01-01T00:16:40Z"
    assert body["metadata"] == {"generateName": "ksproxyd-audit-", "namespace": "n1"}


def test_which_become_one() -> None:
    for which, wanted in (("denied", 2), ("writes", 3)):
        world = World(which)
        world.put(status=403)
        world.put(method="GET", status=401)
        world.put(method="PUT", status=200)
        world.put(method="PUT", status=409)
        world.put(method="GET", status=200)
        world.put(status=403, stage=STARTED)
        world.put(status=403, member=True)
        world.put("/oauth/token", "POST", status=401)
        world.wait()
        assert len(world.server.created) == wanted


def test_the_same_again_is_counted() -> None:
    world = World()
    for _ in range(4):
        world.put(status=403)
    world.put(status=403, agent=b"another")
    world.put("/apis/iam.kubesphere.io/v1beta1/users/bob", status=403)
    world.wait()
    assert [namespace for namespace, _ in world.server.created] == ["n1", "default"]
    assert [(name, patch["count"]) for name, patch in world.server.patched] == [("made-1", n) for n in (2, 3, 4, 5)]


def test_no_more_than_so_many_a_second() -> None:
    world = World(rate=2.0)
    for number in range(100):
        world.put(f"/api/v1/namespaces/n1/pods/p{number}", status=403)
    world.wait(10)
    assert 18 <= len(world.server.created) <= 22


def test_what_is_long_past_is_not_written() -> None:
    world = World()
    world.put(status=403, at=world.clock.seconds() - STALE - 1)
    world.wait()
    assert world.server.created == []
    assert world.sink.queue.dropped == {TOO_OLD: 1}


def test_a_refusal_is_counted_and_the_next_is_tried() -> None:
    world = World()
    world.server.refusing = True
    world.put(status=403)
    world.wait()
    world.server.refusing = False
    world.put(status=403)
    world.wait()
    assert world.sink.queue.dropped == {BROKEN: 1}
    assert len(world.server.created) == 1


def test_the_end() -> None:
    world = World()
    for number in range(10):
        world.put(f"/api/v1/namespaces/n1/pods/p{number}", status=403)
    world.clock.advance(0)
    assert world.sink.stop(5.0).called
    assert world.clock.getDelayedCalls() == []
    assert world.sink.queue.dropped[STOPPED] == 9
    assert world.sink.queue.events == 0
