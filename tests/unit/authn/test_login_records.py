"""Login records: what is written, in which order, what happens when it cannot be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher
from user_server import Server, refusal

from ksproxyd.authn.records import AGENT, BURST, CALM, FLUSH, HASTE, LOGIN_RECORDS, MANY, RATE, USER_REF, LoginRecords
from ksproxyd.kube.errors import KubeUnreachable


class World:
    def __init__(self, queue: int = 10) -> None:
        self.clock = Clock()
        self.server = Server(self.clock)
        self.told: list[str] = []
        client: Any = self.server
        self.crowded = False
        self.records = LoginRecords(
            self.clock,
            client,
            lambda: 0.0,
            written=self.told.append,
            crowded=lambda: self.crowded,
            queue=queue,
        )
        self.log: list[str] = []

    def add(self, user: str = "alice", **more: Any) -> None:
        given = {
            "type": "Token",
            "provider": "",
            "source": "::1",
            "user_agent": "curl/8",
            "success": True,
            "reason": "authenticated successfully",
        }
        self.records.add(user, **{**given, **more})

    def written(self) -> list[dict[str, Any]]:
        kind = f"{LOGIN_RECORDS.plural}.{LOGIN_RECORDS.group}"
        return [value for key, value in self.server.objects.items() if key[0] == kind]


@pytest.fixture
def world() -> Iterator[World]:
    world = World()

    def observe(event: LogEvent) -> None:
        if str(event.get("log_namespace", "")).startswith("ksproxyd.authn.records"):
            world.log.append(str(event["log_format"]))

    globalLogPublisher.addObserver(observe)
    yield world
    globalLogPublisher.removeObserver(observe)
    world.records.stop()
    world.clock.advance(FLUSH)
    assert not world.clock.getDelayedCalls()


def test_what_is_written(world: World) -> None:
    """Spec 02, 5.4."""
    world.add()
    assert world.written() == []
    world.clock.advance(0)
    (record,) = world.written()
    assert record["metadata"]["labels"] == {USER_REF: "alice"}
    assert record["metadata"]["name"].startswith("alice-")
    assert (record["apiVersion"], record["kind"]) == ("iam.kubesphere.io/v1beta1", "LoginRecord")
    assert record["spec"] == {
        "type": "Token",
        "provider": "",
        "sourceIP": "127.0.0.1",
        "userAgent": "curl/8",
        "success": True,
        "reason": "authenticated successfully",
    }
    assert world.told == ["alice"]


def test_long_agents(world: World) -> None:
    world.add(user_agent="x" * 10000)
    world.clock.advance(0)
    assert len(world.written()[0]["spec"]["userAgent"]) == AGENT


def test_the_server_is_away(world: World) -> None:
    world.server.error = KubeUnreachable("no connection", "connect")
    for name in ("alice", "bob"):
        world.add(name)
    world.clock.pump([1] * 20)
    assert len(world.records) == 2 and len(world.log) == 1
    world.server.error = None
    world.clock.pump([1] * 40)
    assert [record["metadata"]["labels"][USER_REF] for record in world.written()] == ["alice", "bob"]
    assert world.records.lost == 0


def test_the_server_does_not_want_it(world: World) -> None:
    world.server.error = refusal(422, "Invalid")
    world.add("alice", success=False)
    world.add("alice", success=False)
    world.clock.advance(0)
    assert world.records.lost == 2 and len(world.log) == 1 and not world.told
    world.server.error = None
    world.add("bob")
    world.clock.advance(0)
    assert world.told == ["bob"]


def test_too_many(world: World) -> None:
    world.server.error = KubeUnreachable("no connection", "connect")
    for _ in range(15):
        world.add(success=False)
    assert len(world.records) == 10 and world.records.lost == 5


def test_a_flood_is_written_slowly() -> None:
    world = World(queue=1000)
    for number in range(BURST + 10):
        world.add(f"user-{number}")
    world.clock.advance(0)
    assert len(world.written()) == BURST
    # A little more than that, as 0.1 s is no whole number of binary fractions.
    world.clock.pump([1.001 / RATE] * 9)
    assert len(world.written()) == BURST + 9
    world.clock.advance(1.001 / RATE)
    assert len(world.written()) == BURST + 10 and world.records.lost == 0
    # Who has waited may go fast again.
    world.clock.advance(BURST / RATE)
    for number in range(BURST):
        world.add(f"user-{number}")
    world.clock.advance(0)
    assert len(world.written()) == 2 * BURST + 10


def test_many_are_written_faster() -> None:
    """So that a long flood is not lost."""
    world = World(queue=1000)
    for number in range(BURST + MANY + 5):
        world.add(f"user-{number}")
    world.clock.advance(0)
    assert len(world.written()) == BURST
    world.clock.pump([1.001 / HASTE] * 5)
    assert len(world.written()) == BURST + 5
    # As they are no more than many now, it goes on slowly.
    world.clock.pump([1 / HASTE] * 20)
    assert len(world.written()) < BURST + 12


def test_in_a_crowd_records_wait() -> None:
    world = World(queue=1000)
    world.crowded = True
    for number in range(30):
        world.add(f"user-{number}")
    world.clock.advance(0)
    assert len(world.written()) == 1
    world.clock.pump([1 / CALM] * 5)
    assert len(world.written()) == 6
    world.crowded = False
    world.clock.pump([1 / CALM, *[1.001 / RATE] * 10])
    assert len(world.written()) >= 16
    # A long crowd loses none.
    world.crowded = True
    for number in range(MANY):
        world.add(f"other-{number}")
    world.clock.advance(1.001 / RATE)
    before = len(world.written())
    world.clock.pump([1.001 / HASTE] * 5)
    assert len(world.written()) == before + 5


def test_the_same_success_again(world: World) -> None:
    """One that waits stands for those like it; a failure is always told, for others may count them."""
    for _ in range(3):
        world.add()
    world.add(source="192.0.2.1")
    world.add(success=False)
    world.add(success=False)
    world.clock.advance(0)
    assert len(world.written()) == 4 and world.records.joined == 2
    world.add()
    world.clock.advance(0)
    assert len(world.written()) == 5


def test_names_that_no_label_takes(world: World) -> None:
    world.add("x" * 64)
    world.clock.advance(0)
    assert world.written() == [] and world.records.lost == 1


def test_the_end_waits(world: World) -> None:
    world.add()
    done: list[None] = []
    world.records.stop().addCallback(done.append)
    world.add("bob")
    assert not done
    world.clock.advance(0)
    assert done == [None] and world.told == ["alice"]


def test_the_end_does_not_wait_for_ever(world: World) -> None:
    world.server.error = KubeUnreachable("no connection", "connect")
    world.add()
    done: list[None] = []
    world.records.stop().addCallback(done.append)
    world.clock.pump([0.5] * int(FLUSH * 2))
    assert done == [None] and world.records.lost == 1
    assert not world.clock.getDelayedCalls()


def test_nothing_to_wait_for(world: World) -> None:
    done: list[None] = []
    world.records.stop().addCallback(done.append)
    assert done == [None]
