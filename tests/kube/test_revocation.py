"""Rights that are taken are gone: for new requests within a second, for watches within five, under load, and whatever
happens to kube-apiserver meanwhile.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from .binaries import Binaries
from .client import ApiClient
from .cluster import Cluster
from .conftest import Measured
from .gateway_process import Gateway
from .people import IAM, Asker, Watcher, apply_user, log_in, reader_binding
from .rights_site import SETTINGS, bindings, maps, rights_cluster

NAMESPACE = "revocation"
MAPS, BINDINGS = maps(NAMESPACE), bindings(NAMESPACE)

VICTIMS = 20
"""Users that lose each kind of right, one after the other, while all of them ask."""

REFUSED = 1.0
"""Seconds after which the last request must be refused, for 99 of 100 users."""

CLOSED = 5.0
"""Seconds after which a watch must have ended."""


PATIENCE = 30.0
"""Seconds for what is no matter of this test: that the gateway knows new users, and that everybody has asked again."""


@pytest.fixture(scope="module")
def cluster(binaries: Binaries, folder: Path) -> Iterator[Cluster]:
    with rights_cluster(binaries, folder / "revocation", NAMESPACE) as cluster:
        yield cluster


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
    keeper = f"{cause}-keeps"
    names = [f"{cause}-{number}" for number in range(VICTIMS)]
    tokens = {}
    for name in [*names, keeper]:
        apply_user(cluster.api, name)
        cluster.api.create(BINDINGS, reader_binding(NAMESPACE, name))
        tokens[name] = log_in(gateway.url, name)
    taken: dict[str, float] = {}
    with ExitStack() as stack:
        askers = {name: stack.enter_context(Asker(gateway.url, f"{MAPS}/app", tokens[name])) for name in tokens}

        def let_in(times: int, since: float) -> Callable[[], bool]:
            return lambda: all(
                sum(asked.status == 200 for asked in asker.answers(since)) >= times for asker in askers.values()
            )

        # That somebody has a right is known a moment after it was given; only then may a watch be tried.
        gateway.process.wait_until(let_in(1, 0.0), PATIENCE, "letting everybody in")
        watchers = {name: Watcher(gateway.url, MAPS, tokens[name]) for name in tokens}
        for watcher in watchers.values():
            stack.callback(watcher.close)
        watched = time.monotonic()
        gateway.process.wait_until(let_in(5, watched), PATIENCE, "letting everybody in again and again")
        begun = time.monotonic()
        for name in names:
            CAUSES[cause](cluster, gateway, name, tokens[name])
            taken[name] = time.monotonic()
            time.sleep(0.1)
        for name in names:
            watchers[name].wait(taken[name] + CLOSED + 5.0 - time.monotonic())
        ends = {name: watchers[name].ended for name in tokens}
        # However slow this machine is, everybody has asked when they had to be refused.
        gateway.process.wait_until(
            lambda: all(len(askers[name].answers(taken[name] + REFUSED)) >= 3 for name in names),
            PATIENCE,
            "asked by everybody when they had to be refused",
        )

    def story(*whose: str) -> str:
        """What there is to explain a failure with."""
        lines = [f"{cause} taken; {gateway.process.log} ends with:", gateway.process.tail(6000)]
        for name in whose:
            since = taken.get(name, begun)
            end = f"{ends[name] - since:+.3f}" if ends[name] else "never"
            lines.append(f"{name} at {since - begun:.3f}: the watch ended {end}; asked from then on:")
            lines.append(askers[name].told(since))
        return "\n".join(lines)

    late = {}
    for name in names:
        right = [asked for asked in askers[name].asked if asked.status == 200]
        late[name] = max(0.0, right[-1].sent - taken[name])
        after = {asked.status for asked in askers[name].answers(taken[name] + REFUSED)}
        assert 0 not in after, story(name)
    slowest = sorted(late.values())[int(len(late) * 0.99) - 1 if len(late) >= 100 else -1]
    still_open = [name for name in names if not ends[name]]
    assert not still_open, story(*still_open)
    closing = max(ends[name] - taken[name] for name in names)
    measured(f"{cause} taken: refused after {slowest * 1000:.0f} ms, watches closed after {closing:.1f} s, at most")
    assert slowest <= REFUSED, story(*(name for name in names if late[name] > REFUSED))
    assert closing <= CLOSED, story(*(name for name in names if ends[name] - taken[name] > CLOSED))
    # Who lost nothing is not disturbed.
    assert not ends[keeper], story(keeper)
    assert {asked.status for asked in askers[keeper].answers(begun)} == {200}, story(keeper)
