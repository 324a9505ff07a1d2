"""Roles with policies, on the whole way: those that are compared here, and those that an engine is asked about."""

from __future__ import annotations

from typing import Any

import pytest
from support_rights import RightsWorld, binding, role

SIMPLE = 'package authz\ndefault allow = false\nallow = true { input.Resource == "secrets"; input.Namespace == "n1" }'
HARD = "package authz\ndefault allow = false\nallow = true { count(input.Namespace) == 2 }"


def with_policy(name: str, policy: str) -> Any:
    made = role("ClusterRole", name, [])
    made["metadata"]["annotations"] = {"iam.kubesphere.io/rego-override": policy}
    return made


def world(policy: str, more: str = "") -> RightsWorld:
    made = RightsWorld(more=more)
    made.gateway.apply(
        with_policy("policy", policy), binding("ClusterRoleBinding", "alice", ("ClusterRole", "policy"), "alice")
    )
    return made


def test_a_policy_that_is_understood() -> None:
    made = world(SIMPLE)
    try:
        assert made.ask("alice", "GET", "/api/v1/namespaces/n1/secrets").status == 200
        assert made.ask("alice", "GET", "/api/v1/namespaces/n2/secrets").status == 403
        assert made.ask("joe", "GET", "/api/v1/namespaces/n1/secrets").status == 403
    finally:
        made.close()


class Asked:
    """An engine that knows one policy."""

    def __init__(self) -> None:
        self.documents: list[Any] = []

    async def allows(self, policy: str, asked: Any) -> bool:
        assert policy == HARD
        self.documents.append(asked)
        return len(asked["Namespace"]) == 2

    def stop(self) -> None:
        """Nothing runs."""


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Asked:
    made = Asked()
    monkeypatch.setattr("ksproxyd.authorization.available", lambda: True)
    monkeypatch.setattr("ksproxyd.authorization.Engine", lambda reactor, timeout: made)
    return made


def test_a_policy_that_takes_an_engine(engine: Asked) -> None:
    made = world(HARD)
    try:
        assert made.ask("alice", "GET", "/api/v1/namespaces/n1/secrets").status == 200
        assert made.ask("alice", "GET", "/api/v1/secrets").status == 403
        assert [asked["User"]["Name"] for asked in engine.documents] == ["alice", "alice"]
        # Who is allowed anyway, or not bound to it, does not wait for it.
        assert made.ask("cv", "GET", "/api/v1/namespaces/n1/secrets").status == 200
        assert made.ask("joe", "GET", "/api/v1/namespaces/n1/secrets").status == 403
        assert len(engine.documents) == 2
        # A shell is asked about twice: with its own verb, and with create.
        made.ask("alice", "GET", "/api/v1/namespaces/n1/pods/p/exec")
        assert [asked["Verb"] for asked in engine.documents[2:]] == ["get", "create"]
    finally:
        made.close()


@pytest.mark.parametrize("installed", [True, False])
def test_without_an_engine_it_grants_nothing_and_says_so(monkeypatch: pytest.MonkeyPatch, installed: bool) -> None:
    monkeypatch.setattr("ksproxyd.authorization.available", lambda: installed)
    made = world(HARD, "  authorization: {policyEngine: off}" if installed else "")
    try:
        assert made.ask("alice", "GET", "/api/v1/namespaces/n1/secrets").status == 403
        assert made.authorization.engine is None
        assert ("ClusterRole", "", "policy") in made.authorization.roles.foreign
    finally:
        made.close()
