"""What becomes of an identity provider's answer to a password."""

from __future__ import annotations

from typing import Any

import pytest
from login_site import PASSWORD, TRIES, Site

from ksproxyd.authn.external_logins import ProviderLogins
from ksproxyd.authn.providers.mapper import MappingRefused
from ksproxyd.authn.providers.provider import External, ProviderError
from ksproxyd.authn.registration import Registration
from ksproxyd.authn.user_record import LINK, UserRecord


class Providers:
    def __init__(self) -> None:
        self.error: ProviderError | None = None
        self.there = True

    def find(self, name: str) -> Any:
        return name if self.there else None

    async def check_password(self, name: str, username: str, password: str) -> External:
        if self.error is not None:
            raise self.error
        if password != PASSWORD:
            raise ProviderError("credentials", "no")
        return External(f"uid-{username}", username)


class Mapper:
    def __init__(self) -> None:
        self.error: MappingRefused | None = None
        self.found: UserRecord | Registration = UserRecord("alice")

    async def resolve(self, provider: Any, external: External) -> UserRecord | Registration:
        if self.error is not None:
            raise self.error
        return self.found


class World:
    def __init__(self) -> None:
        self.providers, self.mapper = Providers(), Mapper()
        self.site = Site()
        self.site.login._external = ProviderLogins(self.providers, self.mapper, self.site.directory)

    def attempt(self, password: str = PASSWORD) -> str:
        return self.site.attempt("someone", password, provider="ldap")


@pytest.fixture
def world() -> World:
    return World()


def test_a_user(world: World) -> None:
    assert world.attempt() == "alice"
    assert [record[:3] for record in world.site.records] == [("alice", "Token", "ldap")]


def test_somebody_new(world: World) -> None:
    world.mapper.found = Registration("ldap", "7", "someone")
    results = world.site.begin("someone", provider="ldap")
    world.site.run()
    assert results == [world.mapper.found] and world.site.records == []


@pytest.mark.parametrize(
    ("kind", "refused"),
    [
        ("unknown", "unknown-provider"),
        ("not-password", "unknown-provider"),
        ("disabled", "mapping"),
        ("credentials", "password"),
        ("unavailable", "provider"),
        ("answer", "provider"),
    ],
)
def test_trouble(world: World, kind: Any, refused: str) -> None:
    world.providers.error = ProviderError(kind, "why")
    found = [world.attempt() for _ in range(TRIES + 1)]
    assert found[:TRIES] == [refused] * TRIES
    # Only wrong passwords count.
    assert found[TRIES] == ("limited" if kind == "credentials" else refused)


def test_removed_meanwhile(world: World) -> None:
    world.providers.there = False
    assert world.attempt() == "unknown-provider"


def test_nobody_here(world: World) -> None:
    world.mapper.error = MappingRefused("nobody")
    assert world.attempt() == "mapping"


@pytest.mark.parametrize("how", [{"state": "Disabled"}, {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}])
def test_not_in_use(world: World, how: dict[str, Any]) -> None:
    annotations = {LINK + "ldap": "uid-someone"}
    metadata = {**how.get("metadata", {}), "annotations": annotations}
    world.site.user("bob", how.get("state", "Active"), metadata=metadata)
    assert world.attempt() == "suspended"
    assert world.attempt("wrong") == "password"
