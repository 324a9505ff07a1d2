"""Watches and tunnels end soon after their users lost the right to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support_rights import USERS, RightsWorld, binding

WATCH = "/api/v1/namespaces/n1/configmaps?watch=true"
ROUND = 5.0


@pytest.fixture
def world() -> Iterator[RightsWorld]:
    made = RightsWorld()
    yield made
    made.close()


def watching(world: RightsWorld, name: str, target: str = WATCH) -> Any:
    """A client of ``name``'s whose watch has begun."""
    client = world.gateway.connect()
    client.send(
        f"GET {target} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {world.token(name)}\r\n\r\n".encode("ascii")
    )
    world.gateway.reactor.settle()
    begun = client.take()
    assert begun.startswith(b"HTTP/1.1 200"), begun
    return client


def delete(path: str) -> Callable[[RightsWorld], None]:
    return lambda world: world.gateway.delete(world.stored(path))


def disable(world: RightsWorld) -> None:
    user = world.stored("/apis/iam.kubesphere.io/v1beta1/users/wv")
    user["status"] = {"state": "Disabled"}
    world.gateway.apply(user)


def log_out(world: RightsWorld) -> None:
    world.gateway.run(world.tokens.end_user("wv"))


def weaken(world: RightsWorld) -> None:
    role = world.stored("/apis/iam.kubesphere.io/v1beta1/workspaceroles/ws1-viewer")
    role["rules"] = []
    world.gateway.apply(role)


def move(world: RightsWorld) -> None:
    namespace = world.stored("/api/v1/namespaces/n1")
    namespace["metadata"]["labels"]["kubesphere.io/workspace"] = "ws2"
    world.gateway.apply(namespace)


@pytest.mark.parametrize(
    "lose",
    [
        delete("/apis/iam.kubesphere.io/v1beta1/workspacerolebindings/wv"),
        delete("/apis/iam.kubesphere.io/v1beta1/users/wv"),
        disable,
        log_out,
        weaken,
        move,
    ],
    ids=["binding", "user", "disabled", "logout", "role", "namespace"],
)
def test_a_watch_ends_with_its_right(world: RightsWorld, lose: Callable[[RightsWorld], None]) -> None:
    mine, other = watching(world, "wv"), watching(world, "cv")
    world.gateway.wait(60.0)
    assert mine.open
    lose(world)
    world.gateway.wait(ROUND)
    assert not mine.open
    assert other.open
    assert world.ask("wv", "GET", WATCH.partition("?")[0]).status in (401, 403)
    other.close()


def test_a_watch_goes_on_with_another_grant(world: RightsWorld) -> None:
    client = watching(world, "wv")
    world.gateway.apply(binding("RoleBinding", "wv", ("Role", "viewer"), "wv", namespace="n1"))
    world.gateway.delete(world.stored("/apis/iam.kubesphere.io/v1beta1/workspacerolebindings/wv"))
    world.gateway.wait(ROUND)
    assert client.open
    client.close()


def test_a_watch_outlives_its_token_but_not_its_login(world: RightsWorld) -> None:
    client = watching(world, "wv")
    tokens = world.tokens
    issued = world.gateway.run(tokens.open_session("wv", "kubesphere"))
    second = world.gateway.connect()
    second.send(
        f"GET {WATCH} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {issued.access_token}\r\n\r\n".encode("ascii")
    )
    world.gateway.reactor.settle()
    claims = world.gateway.run(tokens.verify(issued.access_token))
    # This one token is revoked; the other login is not touched.
    world.gateway.run(tokens.revoke(claims))
    world.gateway.wait(ROUND)
    assert not second.open
    assert client.open
    client.close()


def test_many_watches_of_many_users_are_told_apart(world: RightsWorld) -> None:
    clients = {name: [watching(world, name) for _ in range(20)] for name in ("wv", "wa", "pa", "pv", "cv")}
    assert set(clients) <= set(USERS)
    world.gateway.delete(world.stored("/apis/iam.kubesphere.io/v1beta1/namespaces/n1/rolebindings/pv"))
    world.gateway.wait(ROUND)
    for name, found in clients.items():
        assert all(client.open is (name != "pv") for client in found)
        for client in found:
            client.close()
