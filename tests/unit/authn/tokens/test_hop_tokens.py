"""Tokens for the way to member clusters: whose, how long, how many."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock

from ksproxyd.authn.rejection import SharedUnavailable
from ksproxyd.authn.tokens import hops
from ksproxyd.authn.tokens.hops import REUSED, HopTokens
from ksproxyd.model.identity import Identity
from ksproxyd.model.status import StatusError


class Record:
    def __init__(self, state: str = "Active", deleting: bool = False) -> None:
        self.state = state
        self.deleting = deleting


class World:
    def __init__(self) -> None:
        self.clock = Clock()
        self.records: dict[str, Record] = {"alice": Record()}
        self.changed: Any = None
        self.made: list[str] = []
        directory: Any = self
        self.hops = HopTokens(self.clock, self.make, directory)

    def find(self, name: str) -> Record | None:
        return self.records.get(name)

    def subscribe(self, callback: Any, of: Any = None) -> Any:
        self.changed = callback
        return lambda: None

    def make(self, user: str, lifetime: float) -> str:
        self.made.append(user)
        return f"{user}-{len(self.made)}"

    def ask(self, name: str = "alice") -> bytes | None:
        return self.hops.authorization(Identity(name))


def test_whose() -> None:
    world = World()
    world.records |= {
        "bob": Record("Disabled"),
        "carol": Record("AuthLimitExceeded"),
        "erin": Record(""),
        "gone": Record("Active", deleting=True),
    }
    names = ("alice", "bob", "carol", "erin", "gone", "nobody", "system:admin")
    assert [name for name in names if world.ask(name) is not None] == ["alice", "carol"]


def test_used_again_until_it_is_old_or_doubtful() -> None:
    world = World()
    assert world.ask() == world.ask() == b"Bearer alice-1"
    world.clock.advance(REUSED)
    assert world.ask() == b"Bearer alice-2"
    world.changed("alice")
    assert world.ask() == b"Bearer alice-3"
    world.changed("bob")
    assert world.ask() == b"Bearer alice-3"
    world.hops.forget()
    assert world.ask() == b"Bearer alice-4"


def test_so_many_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hops, "MOST", 3)
    world = World()
    for number in range(10):
        world.records[f"user-{number}"] = Record()
        world.ask(f"user-{number}")
    assert len(world.hops) == 3
    world.ask("user-9")
    assert len(world.made) == 10


def test_nothing_can_be_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()

    def make(user: str, lifetime: float) -> str:
        raise SharedUnavailable("no key")

    monkeypatch.setattr(world.hops, "_make", make)
    with pytest.raises(StatusError) as caught:
        world.ask()
    assert caught.value.code == 503
