"""Tokens of KubeSphere's ServiceAccounts, against the embedded Kubernetes API."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from ksproxyd.authn.managing.service_accounts import ServiceAccountTokens
from ksproxyd.state.kinds import SERVICE_ACCOUNT_TOKENS, SERVICE_ACCOUNTS
from ksproxyd.testing import MemoryGateway

#: The part under test is put together here.
SETTINGS = """
authorization: {mode: AlwaysAllow}
ksproxyd:
  listeners: [{address: 127.0.0.1, port: 9090}]
  extensions: {openapi: false, manageStatus: false}
  controllers: {mode: false}
  iam: {manageUsers: false}
"""
ACCOUNTS = "/apis/kubesphere.io/v1alpha1/namespaces/demo/serviceaccounts"
SECRETS = "/api/v1/namespaces/demo/secrets"


class World:
    def __init__(self) -> None:
        self.gateway = MemoryGateway(SETTINGS, embedded=True)
        inner = self.gateway.gateway
        client, state = inner.kube_client, inner.state
        assert client is not None and state is not None
        self.leading = True
        names = iter("abcdefgh")
        self.tokens = ServiceAccountTokens(
            self.gateway.reactor,
            lambda: 0.0,
            client,
            state.store(SERVICE_ACCOUNTS),
            state.store(SERVICE_ACCOUNT_TOKENS),
            lambda: self.leading,
            lambda *made_for: ".".join(made_for),
            lambda: next(names),
        )
        self.tokens.start()
        self.call("POST", "/api/v1/namespaces", {"metadata": {"name": "demo"}})

    def call(self, method: str, path: str, body: Any = None) -> Any:
        return self.gateway.embedded.call(method, path, body)

    def account(self, name: str = "robot") -> dict[str, Any]:
        kind = {"apiVersion": "kubesphere.io/v1alpha1", "kind": "ServiceAccount"}
        made: dict[str, Any] = self.call("POST", ACCOUNTS, {**kind, "metadata": {"name": name}})
        self.gateway.wait(1.0)
        return made

    def secrets(self) -> dict[str, str]:
        """Names and tokens."""
        items = self.call("GET", SECRETS)["items"]
        return {
            item["metadata"]["name"]: base64.b64decode(item.get("data", {}).get("token", "")).decode() for item in items
        }


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.tokens.stop()
    world.gateway.close()


def test_an_account_gets_one(world: World) -> None:
    uid = world.account()["metadata"]["uid"]
    assert world.secrets() == {"robot-a": f"demo.robot.{uid}.robot-a"}
    secret = world.call("GET", f"{SECRETS}/robot-a")
    assert secret["type"] == "kubesphere.io/service-account-token"
    assert secret["metadata"]["annotations"] == {"kubesphere.io/service-account.name": "robot"}
    listed = world.call("GET", f"{ACCOUNTS}/robot")["secrets"]
    assert [entry["name"] for entry in listed] == ["robot-a"]
    world.gateway.wait(600)
    assert len(world.secrets()) == 1


def test_one_that_somebody_has_made(world: World) -> None:
    annotations = {"kubesphere.io/service-account.name": "robot"}
    secret = {"metadata": {"name": "mine", "annotations": annotations}, "type": "kubesphere.io/service-account-token"}
    other = {"metadata": {"name": "other", "annotations": annotations}, "type": "Opaque"}
    world.leading = False
    uid = world.account()["metadata"]["uid"]
    world.call("POST", SECRETS, secret)
    world.call("POST", SECRETS, other)
    world.gateway.wait(1.0)
    world.leading = True
    world.tokens.look_at_all()
    world.gateway.wait(1.0)
    assert world.secrets() == {"mine": f"demo.robot.{uid}.mine", "other": ""}


def test_a_deleted_secret_is_replaced(world: World) -> None:
    world.account()
    world.call("DELETE", f"{SECRETS}/robot-a")
    world.gateway.wait(1.0)
    assert list(world.secrets()) == ["robot-b"]


def test_it_goes_with_the_account(world: World) -> None:
    world.account()
    world.account("other")
    world.call("DELETE", f"{ACCOUNTS}/robot")
    world.gateway.wait(1.0)
    assert list(world.secrets()) == ["other-b"]


def test_not_leading(world: World) -> None:
    world.leading = False
    world.account()
    world.tokens.look_at_all()
    world.gateway.wait(10)
    assert world.secrets() == {}
