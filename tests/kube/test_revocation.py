"""Rights that are taken are gone: for new requests within a second, for watches within five, under load, and whatever
happens to kube-apiserver meanwhile.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from .binaries import Binaries
from .client import ApiClient
from .cluster import Cluster
from .conftest import Measured, start_cluster
from .gateway_process import Gateway
from .objects import config_map
from .objects import namespace as namespace_object
from .people import IAM, Asker, Watcher, apply_user, log_in, oauth_client, reader_binding, reader_role

SETTINGS = {
    "authorization": {"mode": "RBAC"},
    "authentication": {"multipleLogin": True, "issuer": {"jwtSecret": "0123456789" * 4}},
    "ksproxyd": {
        "iam": {"manageUsers": False},
        "extensions": {"manageStatus": False, "openapi": False},
        "controllers": {"mode": False},
    },
}
NAMESPACE = "revocation"
MAPS = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
BINDINGS = f"{IAM}/namespaces/{NAMESPACE}/rolebindings"

VICTIMS = 20
"""Users that lose each kind of right, one after the other, while all of them ask."""

REFUSED = 1.0
"""Seconds after which the last request must be refused, for 99 of 100 users."""

CLOSED = 5.0
"""Seconds after which a watch must have ended."""


@pytest.fixture(scope="module")
def cluster(binaries: Binaries, folder: Path) -> Iterator[Cluster]:
    cluster = start_cluster(dataclasses.replace(binaries, node=None), folder / "revocation")
    try:
        api = cluster.api
        for name in ("kubesphere-system", NAMESPACE):
            api.create("/api/v1/namespaces", namespace_object(name))
        api.create("/api/v1/namespaces/kubesphere-system/secrets", oauth_client())
        api.create(MAPS, config_map("app", a="1"))
        api.create(f"{IAM}/namespaces/{NAMESPACE}/roles", reader_role(NAMESPACE))
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="module")
def gateway(cluster: Cluster, folder: Path) -> Iterator[Gateway]:
    with Gateway(folder / "revocation-gateway", cluster.kubeconfig, SETTINGS) as gateway:
        yield gateway


def unbind(cluster: Cluster, gateway: Gateway, name: str, token: str) -> None:
    cluster.api.delete(f"{BINDINGS}/{name}")


def disable(cluster: Cluster, gateway: Gateway, name: str, token: str) -> None:
    """Whether the status is a part of the object or has a path of its own."""
    for path in (f"{IAM}/users/{name}/status", f"{IAM}/users/{name}"):
        status, _, _ = cluster.api.exchange(
            "PATCH",
            path,
            json.dumps({"status": {"state": "Disabled"}}).encode(),
            {"Content-Type": "application/merge-patch+json"},
        )
        if status == 200 and cluster.api.get(f"{IAM}/users/{name}")["status"]["state"] == "Disabled":
            return
    raise AssertionError(f"{name} could not be disabled")


def log_out(cluster: Cluster, gateway: Gateway, name: str, token: str) -> None:
    status, _, body = ApiClient(gateway.url, token=token).exchange("GET", "/oauth/logout")
    assert status in (200, 302), (status, body)


CAUSES: dict[str, Callable[[Cluster, Gateway, str, str], None]] = {
    "binding": unbind,
    "user": disable,
    "token": log_out,
}


@pytest.mark.parametrize("cause", CAUSES)
def test_what_was_taken_is_gone(cluster: Cluster, gateway: Gateway, measured: Measured, cause: str) -> None:
    names = [f"{cause}-{number}" for number in range(VICTIMS)]
    tokens = {}
    for name in [*names, f"{cause}-keeps"]:
        apply_user(cluster.api, name)
        cluster.api.create(BINDINGS, reader_binding(NAMESPACE, name))
        tokens[name] = log_in(gateway.url, name)
    taken: dict[str, float] = {}
    with ExitStack() as stack:
        askers = {name: stack.enter_context(Asker(gateway.url, f"{MAPS}/app", tokens[name])) for name in tokens}
        watchers = {name: Watcher(gateway.url, MAPS, tokens[name]) for name in tokens}
        for watcher in watchers.values():
            stack.callback(watcher.close)
        time.sleep(1.0)
        for name in names:
            CAUSES[cause](cluster, gateway, name, tokens[name])
            taken[name] = time.monotonic()
            time.sleep(0.1)
        for name in names:
            watchers[name].wait(taken[name] + CLOSED + 5.0 - time.monotonic())
        ends = {name: watchers[name].ended for name in tokens}
        time.sleep(1.0)
    late = {}
    for name in names:
        right = [asked for asked in askers[name].asked if asked.status == 200]
        assert len(right) >= 5, f"{name} was never let in: {askers[name].asked[:3]}"
        late[name] = max(0.0, right[-1].sent - taken[name])
        after = {asked.status for asked in askers[name].asked if asked.sent > taken[name] + REFUSED}
        assert after, name
        assert 0 not in after, name
    slowest = sorted(late.values())[int(len(late) * 0.99) - 1 if len(late) >= 100 else -1]
    assert all(ends[name] for name in names), f"open still: {[name for name in names if not ends[name]]}"
    closing = max(ends[name] - taken[name] for name in names)
    measured(f"{cause} taken: refused after {slowest * 1000:.0f} ms, watches closed after {closing:.1f} s, at most")
    assert slowest <= REFUSED, late
    assert closing <= CLOSED
    # Who lost nothing is not disturbed.
    keeper = f"{cause}-keeps"
    assert not ends[keeper]
    assert {asked.status for asked in askers[keeper].asked} == {200}
