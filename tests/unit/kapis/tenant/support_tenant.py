"""Tenants in memory: stores, bindings, and rights that are written down."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock

from ksproxyd.model.identity import Identity
from ksproxyd.state.kinds import GATEWAY_KINDS, Kind
from ksproxyd.state.store import Store

HOST = {"cluster-role.kubesphere.io/host": ""}


class FakeState:
    """The stores, without anything that fills them."""

    def __init__(self) -> None:
        self.stores = {kind: Store(kind.name, Clock()) for kind in GATEWAY_KINDS}

    def store(self, kind: Kind) -> Store:
        return self.stores[kind]

    def put(self, kind: Kind, *values: Any) -> None:
        for value in values:
            self.stores[kind].put(value)


class FakeRights:
    """``grants`` are allowed: ``(user, verb, group, resource)``, with the workspace behind it where not everywhere."""

    def __init__(self, *grants: tuple[str, ...]) -> None:
        self.grants = set(grants)

    def allowed(self, user: Identity, verb: str, group: str, resource: str, *, workspace: str = "", **_: str) -> bool:
        asked = (user.name, verb, group, resource)
        return user.name == "admin" or asked in self.grants or (*asked, workspace) in self.grants


def thing(name: str, labels: dict[str, str] | None = None, created: str = "2030-01-01T00:00:00Z", **more: Any) -> Any:
    """An object."""
    metadata = {"name": name, "creationTimestamp": created, "labels": labels or {}}
    return {"metadata": {**metadata, **more.pop("metadata", {})}, **more}


def binding(name: str, role: str, *subjects: str, kind: str = "ClusterRole", **more: Any) -> Any:
    """A binding; subjects are names of users, or of groups behind ``@``."""
    named = [{"kind": "Group" if s[0] == "@" else "User", "name": s.lstrip("@")} for s in subjects]
    return thing(name, more.pop("labels", None), roleRef={"kind": kind, "name": role}, subjects=named, **more)
