"""What the Kubernetes API hears of who is asking: nothing, or what authentication says; never what a client says."""

from __future__ import annotations

from typing import Any

import pytest

from ksproxyd.chain import Step
from ksproxyd.model.identity import Identity
from ksproxyd.server.exchange import Exchange
from ksproxyd.testing import MemoryGateway
from ksproxyd.testing.gateway import SETTINGS

CLAIMS = [(b"Impersonate-User", b"admin"), (b"impersonate-group", b"system:masters"), (b"Impersonate-Uid", b"1")]
JOE = Identity("joe", ("devs", "system:authenticated"), "u1")


class Asked:
    """A gateway that takes everybody for ``user``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch

    def heard(self, mode: str, target: str = "/api/v1/pods", user: Identity = JOE) -> list[tuple[str, str]]:
        """What the Kubernetes API hears of a client that claims to be somebody else."""

        def authenticate_step(*arguments: Any) -> Step:
            def step(exchange: Exchange) -> None:
                exchange.user = user

            return step

        self._patch.setattr("ksproxyd.gateway.authenticate_step", authenticate_step)
        with MemoryGateway(SETTINGS + f"  authorization: {{impersonation: {mode}}}\n") as gateway:
            assert gateway.get(target, CLAIMS).status == 200
            headers = gateway.kube.requests[-1].headers
        return [
            (name.decode().lower(), value.decode())
            for name, value in headers
            if name.lower().startswith(b"impersonate")
        ]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    return Asked(monkeypatch)


def test_nobody_by_default(asked: Asked) -> None:
    assert asked.heard("off") == []


@pytest.mark.parametrize("target", ["/api/v1/pods", "/apis/iam.kubesphere.io/v1beta1/users"])
def test_the_user_with_their_groups(asked: Asked, target: str) -> None:
    assert asked.heard("restricted", target) == [
        ("impersonate-user", "joe"),
        ("impersonate-group", "devs"),
        ("impersonate-group", "system:authenticated"),
    ]


def test_with_everything_allowed_there_that_is_allowed_here(asked: Asked) -> None:
    assert asked.heard("trusted")[-1] == ("impersonate-group", "system:masters")


def test_a_name_cannot_become_another_field(asked: Asked) -> None:
    odd = Identity("joe\r\nImpersonate-User: admin", ("a\nb",))
    assert [name for name, _ in asked.heard("restricted", user=odd)] == ["impersonate-user", "impersonate-group"]
