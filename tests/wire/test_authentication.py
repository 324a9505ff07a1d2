"""Who is asking, on the whole way: spec 02, 8.1 and what goes on to a backend afterwards."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from support_oauth import PASSWORD, World, basic, bearer

from ksproxyd.testing import Backend, api_service

ECHO = "/kapis/echo.io/v1/things"


@pytest.fixture
def world() -> Iterator[World]:
    found = World(more="  iam: {manageUsers: false}")
    found.gateway.serve("http://echo.test", Backend())
    found.gateway.serve("http://closed.test", Backend())
    found.gateway.apply(
        api_service("v1.echo.io", url="http://echo.test"),
        api_service("v1.closed.io", url="http://closed.test", forwardAuthorization=False),
    )
    yield found
    found.gateway.close()


def told(answer: Any) -> dict[str, list[str]]:
    """The header fields that the backend has got."""
    assert answer.status == 200, answer.body
    fields: dict[str, list[str]] = {}
    for name, value in answer.json()["headers"]:
        fields.setdefault(name.lower(), []).append(value)
    return fields


def get(world: World, *headers: tuple[bytes, bytes], path: str = ECHO) -> Any:
    return world.gateway.request("GET", path, list(headers))


def test_without_credentials_one_is_anonymous(world: World) -> None:
    assert told(get(world))["x-remote-user"] == ["system:anonymous"]
    assert told(get(world, (b"Authorization", b"  ")))["x-remote-user"] == ["system:anonymous"]


@pytest.mark.parametrize("header", [b"Digest x", b"Bearer", b"Bearer  tok", b"Bearer: tok", b"Bearer a b", b"Basic !"])
def test_what_nobody_understands_is_told_everywhere(world: World, header: bytes) -> None:
    for path in (ECHO, "/healthz", "/version"):
        answer = get(world, (b"Authorization", header), path=path)
        assert (answer.status, answer.message()) == (401, "The request cannot be authenticated.")
        assert answer.get("WWW-Authenticate") == b'Bearer realm="kubesphere"'


def test_a_bad_token_says_what_is_wrong(world: World) -> None:
    answer = get(world, bearer("junk"), path="/version")
    assert answer.status == 401 and answer.message().startswith("token malformed")
    assert b'error="invalid_token"' in (answer.get("WWW-Authenticate") or b"")


def test_a_token_goes_along_and_whoever_it_claims_to_be_does_not(world: World) -> None:
    token = world.logged_in()["access_token"]
    for _ in range(2):
        fields = told(
            get(
                world,
                bearer(token),
                (b"X-Remote-User", b"admin"),
                (b"X_Remote_Group", b"system:masters"),
                (b"Impersonate-User", b"admin"),
                (b"X-KubeSphere-Authorization", b"Bearer other"),
            )
        )
        assert fields["x-remote-user"] == ["alice"]
        assert fields["x-remote-group"] == ["system:authenticated"]
        assert fields["authorization"] == [f"Bearer {token}"]
        assert not {"impersonate-user", "x_remote_group", "x-kubesphere-authorization"} & fields.keys()


def test_a_backend_that_wants_no_tokens_gets_none(world: World) -> None:
    token = world.logged_in()["access_token"]
    fields = told(get(world, bearer(token), path="/kapis/closed.io/v1/things"))
    assert fields["x-remote-user"] == ["alice"] and "authorization" not in fields


def test_a_password_goes_no_further(world: World) -> None:
    for name in ("alice", "alice@ks.test"):
        fields = told(get(world, basic(name, PASSWORD)))
        assert fields["x-remote-user"] == ["alice"]
        assert "authorization" not in fields


@pytest.mark.parametrize(
    ("name", "password"),
    [("alice", "wrong"), ("nobody", PASSWORD), ("bob", PASSWORD), ("carol", PASSWORD), ("erin", PASSWORD)],
)
def test_whose_password_is_not_taken_learns_nothing_else(world: World, name: str, password: str) -> None:
    answer = get(world, basic(name, password))
    wanted = "invalid credentials: user name or password is wrong, or the account is locked or disabled"
    assert (answer.status, answer.message()) == (401, wanted)


def test_a_wrong_password_is_recorded_and_a_right_one_is_not(world: World) -> None:
    get(world, basic("alice", "wrong"))
    get(world, basic("alice", PASSWORD))
    (record,) = world.records("alice")
    assert (record["spec"]["type"], record["spec"]["success"]) == ("Password", False)


def test_two_fields_are_refused(world: World) -> None:
    token = world.logged_in()["access_token"]
    assert get(world, bearer(token), bearer(token)).status == 400


def test_the_query_proves_nothing(world: World) -> None:
    token = world.logged_in()["access_token"]
    assert told(get(world, path=f"{ECHO}?access_token={token}"))["x-remote-user"] == ["system:anonymous"]


def upgrade(world: World, protocols: bytes) -> Any:
    return get(
        world,
        (b"Connection", b"Upgrade"),
        (b"Upgrade", b"websocket"),
        (b"Sec-WebSocket-Version", b"13"),
        (b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
        (b"Sec-WebSocket-Protocol", protocols),
    )


def test_a_browser_offers_its_token_as_a_subprotocol(world: World) -> None:
    token = world.logged_in()["access_token"]
    offered = b"base64url.bearer.authorization.k8s.io." + base64.urlsafe_b64encode(token.encode()).rstrip(b"=")
    client = world.gateway.connect()
    client.send(
        b"GET %b HTTP/1.1\r\nHost: g\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: chat, %b\r\n\r\n"
        % (ECHO.encode(), offered)
    )
    assert client.take().startswith(b"HTTP/1.1 101 ")
    backend = next(b for b in world.gateway.dialer.backends() if b.requests)
    (request,) = [r for b in world.gateway.dialer.backends() for r in b.requests if r.get("upgrade")]
    assert backend is not None
    assert request.get("sec-websocket-protocol") == b"chat"
    assert request.get("x-remote-user") == b"alice"
    client.close()


def test_a_token_offered_alone_is_refused(world: World) -> None:
    answer = upgrade(world, b"base64url.bearer.authorization.k8s.io.eA")
    assert answer.status == 400 and "subprotocol" in answer.message()


def test_a_disabled_user_is_out_at_once(world: World) -> None:
    token = world.logged_in()["access_token"]
    assert get(world, bearer(token)).status == 200
    alice = world.gateway.embedded.call("GET", "/apis/iam.kubesphere.io/v1beta1/users/alice")
    world.gateway.apply({**alice, "status": {"state": "Disabled"}})
    answer = get(world, bearer(token))
    assert (answer.status, answer.message()) == (
        401,
        "invalid credentials: the account is disabled; ask an administrator",
    )
    world.gateway.delete(alice)
    assert get(world, bearer(token)).status == 401


def test_who_logs_out_is_out(world: World) -> None:
    token = world.logged_in()["access_token"]
    assert get(world, bearer(token)).status == 200
    assert get(world, bearer(token), path="/oauth/logout").status == 200
    answer = get(world, bearer(token))
    assert answer.status == 401 and answer.message().startswith("token revoked")


def test_nobody_need_be_let_in_without_credentials() -> None:
    world = World(more="  iam: {manageUsers: false}\n  credentials: {anonymous: false, basic: false}")
    try:
        answer = get(world, path="/api/v1/nodes")
        assert (answer.status, answer.message()) == (401, "unauthenticated: log in, or send a bearer token")
        assert get(world, path="/healthz").status == 200
        assert get(world, path="/.well-known/openid-configuration").status == 200
        assert get(world, basic("alice", PASSWORD), path="/version").status == 401
    finally:
        world.gateway.close()
