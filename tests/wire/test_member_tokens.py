"""Who has shown a password here is somebody on a member cluster, too; the password stays here (spec 02, D-04)."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Thread
from typing import Any

import pytest
from support_oauth import ISSUER, PASSWORD, SETTINGS, World, basic, bearer, payload, user
from test_members import PROXY, cluster, direct, proxied

from ksproxyd.authn.hashing import Processes
from ksproxyd.authn.tokens.hops import LIFETIME, REUSED
from ksproxyd.testing import Backend, MemoryGateway

ALICE = basic("alice", PASSWORD)
NODES = "/clusters/m/api/v1/nodes"


@pytest.fixture
def world() -> Iterator[World]:
    found = World(more="  iam: {manageUsers: false}")
    found.gateway.apply(cluster("m", proxied()), cluster("s", direct()), cluster("main", host=True))
    yield found
    found.gateway.close()


def serve(world: World, origin: str = "http://ks.member.example") -> Backend:
    backend = Backend()
    world.gateway.serve(origin, backend)
    return backend


def sent(backend: Backend, name: str = "authorization") -> list[bytes | None]:
    return [request.get(name) for request in backend.requests]


def token_of(line: bytes | None) -> str:
    assert line is not None and line.startswith(b"Bearer ")
    return line[7:].decode()


def test_a_password_becomes_a_token(world: World) -> None:
    backend = serve(world)
    assert world.gateway.get(NODES, [ALICE]).status == 200
    (line,) = sent(backend)
    said = payload(token_of(line))
    told = [said[name] for name in ("sub", "username", "token_type", "iss")]
    assert told == ["alice", "alice", "access_token", ISSUER]
    assert said["exp"] - said["iat"] == LIFETIME and "sid" not in said and "groups" not in said


def test_by_the_service_proxy(world: World) -> None:
    """Its ``Authorization`` is ours; the user's goes in the field that the member looks at (spec 02, 1.2)."""
    backend = serve(world, "http://member.example:6443")
    assert world.gateway.get("/clusters/s/api/v1/nodes", [ALICE]).status == 200
    (request,) = backend.requests
    assert request.target.startswith(PROXY) and request.get("authorization") == b"Bearer member-token"
    assert payload(token_of(request.get("x-kubesphere-authorization")))["username"] == "alice"


def test_a_member_takes_it_and_this_gateway_does_not(world: World) -> None:
    backend = serve(world)
    world.gateway.get(NODES, [ALICE])
    token = token_of(sent(backend)[0])
    assert world.gateway.get("/oauth/userinfo", [bearer(token)]).status == 401
    named = {"issuer": ISSUER, "multiple": "true", "more": "", "mode": "AlwaysAllow"}
    settings = (SETTINGS % named).replace("clusterRole: host", "clusterRole: member").replace(
        "accessTokenMaxAge: 2h", "accessTokenMaxAge: 0s"
    )
    with MemoryGateway(settings, embedded=True) as member:
        member.wait(world.gateway.reactor.seconds() - member.reactor.seconds())
        assert member.get("/api/v1/namespaces", [bearer(token)]).status == 200
        member.wait(LIFETIME + 1)
        assert member.get("/api/v1/namespaces", [bearer(token)]).status == 401


def test_one_for_a_while(world: World) -> None:
    backend = serve(world)
    for seconds in (0.0, REUSED - 1.0, 2.0):
        world.gateway.wait(seconds)
        world.gateway.get(NODES, [ALICE])
    first, second, third = sent(backend)
    assert first == second != third


def change(world: World, **more: Any) -> None:
    world.gateway.apply(user("alice", **more))


def test_dropped_when_the_user_changes(world: World) -> None:
    backend = serve(world)
    world.gateway.get(NODES, [ALICE])
    change(world, spec={"lang": "zh"})
    world.gateway.get(NODES, [ALICE])
    first, second = sent(backend)
    assert first != second


def test_dropped_when_logins_end(world: World) -> None:
    backend = serve(world)
    world.gateway.get(NODES, [ALICE])
    world.gateway.run(world.logins.end_user("alice"))
    assert len(world.logins.hops) == 0
    world.gateway.get(NODES, [ALICE])
    first, second = sent(backend)
    assert first != second


def test_tokens_go_as_they_are_and_nobody_stays_nobody(world: World) -> None:
    backend = serve(world)
    token = world.logged_in()["access_token"]
    world.gateway.get(NODES, [bearer(token)])
    world.gateway.get(NODES)
    assert sent(backend) == [b"Bearer " + token.encode(), None]


def test_none_for_this_cluster(world: World) -> None:
    """What is served here goes to backends without a token, as any request with a password."""
    assert world.gateway.get("/clusters/main/oauth/userinfo", [ALICE]).status == 200
    assert len(world.logins.hops) == 0


def test_a_wrong_password_goes_nowhere(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: object) -> None:
        raise AssertionError("what happens in memory waits for no thread and no process")

    monkeypatch.setattr(Thread, "start", refused)
    monkeypatch.setattr(Processes, "ask", refused)
    backend = serve(world)
    assert world.gateway.get(NODES, [basic("alice", "wrong")]).status == 401
    assert not backend.requests and len(world.logins.hops) == 0
