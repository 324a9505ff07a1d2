"""Logins and users against the embedded Kubernetes API: what an administrator sees, and who gets in."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import bcrypt
import pytest
from twisted.internet.defer import Deferred

from ksproxyd.authn.login import Attempt, LoginRefused
from ksproxyd.authn.managing.user_order import CHANGED, FINALIZER
from ksproxyd.authn.turnstile import APART
from ksproxyd.authn.user_manager import FIRST_SWEEP
from ksproxyd.model.status import StatusError
from ksproxyd.testing import Answer, MemoryGateway

PASSWORD = "Passw0rdX"
HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
HERE, THERE = Attempt("192.0.2.7", "test/1"), Attempt("198.51.100.9", "test/1")
TRIES, DURATION = 3, 600.0
IAM = "/apis/iam.kubesphere.io/v1beta1"

SETTINGS = """
authorization: {mode: AlwaysAllow}
authentication:
  authenticateRateLimiterMaxTries: 3
  authenticateRateLimiterDuration: 10m
  loginHistoryRetentionPeriod: 1h
  loginHistoryMaximumEntries: 4
ksproxyd:
  listeners: [{address: 127.0.0.1, port: 9090}]
  extensions: {openapi: false, manageStatus: false}
  controllers: {mode: false}
"""


class World:
    def __init__(self) -> None:
        self.gateway = MemoryGateway(SETTINGS, embedded=True)
        logins = self.gateway.gateway.logins
        assert logins is not None
        self.login = logins.login
        self.gateway.wait(1.0)

    def basic(self, username: str, password: str = PASSWORD, host: str = "192.0.2.7") -> Answer:
        """A request with HTTP Basic."""
        shown = base64.b64encode(f"{username}:{password}".encode())
        headers = [(b"Authorization", b"Basic " + shown), (b"User-Agent", b"test/1")]
        return self.gateway.request("GET", "/version", headers, host=host)

    def attempt(self, username: str, password: str = PASSWORD, attempt: Attempt = HERE) -> str:
        results: list[Any] = []
        Deferred.fromCoroutine(self.login.by_password(username, password, attempt)).addBoth(results.append)
        # It lets others go first.
        for _ in range(3):
            self.gateway.wait(APART)
        (result,) = results
        if hasattr(result, "raiseException"):
            assert isinstance(result.value, LoginRefused), result
            return result.value.kind
        return str(result.name)

    def create(self, name: str, password: str = HASH, state: str = "Active", **metadata: Any) -> None:
        self.gateway.apply(
            {
                "apiVersion": "iam.kubesphere.io/v1beta1",
                "kind": "User",
                "metadata": {"name": name, **metadata},
                "spec": {"email": f"{name}@ks.test", "password": password},
                **({"status": {"state": state}} if state else {}),
            }
        )

    def user(self, name: str) -> dict[str, Any]:
        return self.gateway.embedded.call("GET", f"{IAM}/users/{name}")

    def items(self, plural: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.gateway.embedded.call("GET", f"{IAM}/{plural}")["items"]
        return found


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.gateway.close()


def test_kubectl_makes_a_user(world: World) -> None:
    """T-145, for who does not go through the gateway: logged in a moment later, and nothing in clear is left."""
    applied = {"kubectl.kubernetes.io/last-applied-configuration": PASSWORD}
    world.create("alice", PASSWORD, state="", annotations=applied)
    world.gateway.wait(1.0)
    assert world.attempt("alice@ks.test") == "alice"
    user = world.user("alice")
    assert user["status"]["state"] == "Active" and user["metadata"]["annotations"].keys() == {CHANGED}
    assert PASSWORD not in repr(user)


def test_records(world: World) -> None:
    world.create("alice")
    for password in (PASSWORD, "wrong", PASSWORD):
        world.attempt("alice", password)
        world.gateway.wait(1.0)
    world.attempt("nobody")
    world.gateway.wait(5.0)
    records = world.items("loginrecords")
    assert [record["spec"]["success"] for record in records].count(True) == 2 and len(records) == 3
    failed = next(record for record in records if not record["spec"]["success"])
    assert failed["spec"] == {
        "type": "Token",
        "provider": "",
        "sourceIP": "192.0.2.7",
        "userAgent": "test/1",
        "success": False,
        "reason": "incorrect password",
    }
    assert failed["metadata"]["labels"] == {"iam.kubesphere.io/user-ref": "alice"}
    newest = max(record["metadata"]["creationTimestamp"] for record in records)
    assert world.user("alice")["status"] == {"state": "Active", "lastLoginTime": newest}
    for _ in range(10):
        world.attempt("alice")
        world.gateway.wait(1.0)
    world.gateway.wait(5.0)
    assert len(world.items("loginrecords")) == 4
    world.gateway.wait(4300)
    assert world.items("loginrecords") == []


def test_locked_and_unlocked(world: World) -> None:
    """T-083."""
    world.create("alice")
    assert [world.attempt("alice", "wrong") for _ in range(TRIES)] == ["password"] * TRIES
    assert world.attempt("alice") == "limited"
    world.gateway.wait(1.0)
    assert world.user("alice")["status"]["state"] == "AuthLimitExceeded"
    assert world.attempt("alice") == "limited"
    # Nobody is kept out by somebody else's guesses.
    assert world.attempt("alice", attempt=THERE) == "alice"
    world.gateway.wait(DURATION)
    assert world.user("alice")["status"]["state"] == "Active"
    assert world.attempt("alice") == "alice"


def test_an_administrator_unlocks(world: World) -> None:
    world.create("alice")
    for _ in range(TRIES):
        world.attempt("alice", "wrong")
    world.gateway.wait(1.0)
    patch = {"status": {"state": "Active"}}
    world.gateway.embedded.call("PATCH", f"{IAM}/users/alice", patch, "application/merge-patch+json")
    world.gateway.wait(1.0)
    assert world.attempt("alice") == "alice"
    assert "iam.kubesphere.io/locked-sources" not in world.user("alice")["metadata"].get("annotations", {})


def test_states_that_nobody_gave_stay(world: World) -> None:
    """T-012, T-080 to T-082."""
    world.create("bob", state="Disabled")
    world.create("carol", state="AuthLimitExceeded")
    world.create("erin", state="")
    world.gateway.wait(2 * DURATION)
    assert [world.attempt(name) for name in ("bob", "carol", "erin")] == ["suspended", "limited", "suspended"]
    assert world.attempt("bob", "wrong") == "password"
    assert world.user("erin").get("status", {}) == {}
    assert world.user("carol")["status"] == {"state": "AuthLimitExceeded"}


def test_deleted(world: World) -> None:
    """T-160."""
    world.create("alice")
    world.attempt("alice")
    world.gateway.wait(5.0)
    assert world.user("alice")["metadata"]["finalizers"] == [FINALIZER]
    labels = {"iam.kubesphere.io/user-ref": "alice"}
    binding = {
        "apiVersion": "iam.kubesphere.io/v1beta1",
        "kind": "GlobalRoleBinding",
        "metadata": {"name": "alice-platform-admin", "labels": labels},
        "roleRef": {"apiGroup": "iam.kubesphere.io", "kind": "GlobalRole", "name": "platform-admin"},
        "subjects": [{"apiGroup": "iam.kubesphere.io", "kind": "User", "name": "alice"}],
    }
    world.gateway.embedded.call("POST", f"{IAM}/globalrolebindings", binding)
    world.gateway.embedded.call("DELETE", f"{IAM}/users/alice")
    world.gateway.wait(1.0)
    with pytest.raises(StatusError) as gone:
        world.user("alice")
    assert gone.value.code == 404
    assert world.items("globalrolebindings") == [] == world.items("loginrecords")
    assert world.attempt("alice") == "password"


def test_the_role_is_mirrored(world: World) -> None:
    world.create("alice", annotations={"iam.kubesphere.io/globalrole": "platform-admin"})
    world.gateway.wait(FIRST_SWEEP + 1)
    binding = {
        "apiVersion": "iam.kubesphere.io/v1beta1",
        "kind": "GlobalRoleBinding",
        "metadata": {"name": "alice-r", "labels": {"iam.kubesphere.io/user-ref": "alice"}},
        "roleRef": {"apiGroup": "iam.kubesphere.io", "kind": "GlobalRole", "name": "platform-regular"},
        "subjects": [],
    }
    world.gateway.embedded.call("POST", f"{IAM}/globalrolebindings", binding)
    world.gateway.wait(700)
    assert world.user("alice")["metadata"]["annotations"] == {"iam.kubesphere.io/globalrole": "platform-regular"}


class TestBasic:
    """T-009 to T-012, over the wire."""

    def test_right(self, world: World) -> None:
        world.create("alice")
        for _ in range(5):
            assert world.basic("alice").status == 200
        assert world.basic("alice@ks.test").status == 200
        world.gateway.wait(5.0)
        assert world.items("loginrecords") == []
        assert world.gateway.gateway.logins is not None
        # Not one compare for each request.
        assert world.gateway.gateway.logins.passwords.compares == 1

    def test_wrong(self, world: World) -> None:
        world.create("alice")
        answer = world.basic("alice", "wrong")
        assert answer.status == 401 and b"invalid credentials" in answer.body
        world.gateway.wait(5.0)
        (record,) = world.items("loginrecords")
        assert (record["spec"]["type"], record["spec"]["success"]) == ("Password", False)
        assert world.basic("nobody", "wrong").body == answer.body

    def test_not_in_use(self, world: World) -> None:
        world.create("alice")
        world.create("bob", state="Disabled")
        world.create("carol", state="AuthLimitExceeded")
        world.create("erin", state="")
        wrong = world.basic("alice", "wrong").body
        for name in ("bob", "carol", "erin"):
            answer = world.basic(name)
            assert (answer.status, answer.body) == (401, wrong)

    def test_locked(self, world: World) -> None:
        world.create("alice")
        assert world.basic("alice").status == 200
        for _ in range(TRIES):
            assert world.basic("alice", "wrong").status == 401
        assert world.basic("alice").status == 401
        assert world.basic("alice", host="192.0.2.99").status == 401
        assert world.basic("alice", host="198.51.100.9").status == 200
        world.gateway.wait(DURATION + 5)
        assert world.basic("alice").status == 200
