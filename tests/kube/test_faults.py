"""kube-apiserver goes away in every way it can: routes stay, no answer is wrong, and nobody has to help.

The module's cluster is its own. A load on an extension's route, a bundle and a health endpoint runs through every
fault, and each of its answers has to be right.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from .binaries import Binaries
from .cluster import Cluster
from .conftest import Measured, start_cluster
from .extension_backend import ExtensionBackend
from .fault_proxy import FaultProxy
from .gateway_process import Gateway
from .load import Load, Probe
from .objects import API_SERVICES, JS_BUNDLES, REVERSE_PROXIES, api_service, js_bundle, reverse_proxy

OUTAGE = 60.0
"""Seconds kube-apiserver stays dead."""

RECOVERY = 60.0
"""Seconds after which the gateway must have found back by itself; its longest pause between attempts is 30."""

SILENCE = 15.0
"""The gateway's ``timeouts.watchSilence`` here: less than the minute between two bookmarks, at the price of lists."""

SCRIPT = b"export const steady = true;\n"
STEADY = "/kapis/steady.example.io/v1/things"
PROBES = [
    Probe(STEADY, lambda status, body: status == 200 and json.loads(body)["target"] == STEADY),
    Probe("/proxy/steady/x", lambda status, body: status == 200 and json.loads(body)["target"] == "/x"),
    Probe("/dist/steady/index.js", lambda status, body: status == 200 and body == SCRIPT),
    Probe("/livez", lambda status, body: (status, body) == (200, b"ok")),
]


@pytest.fixture(scope="module")
def cluster(binaries: Binaries, folder: Path, backend: ExtensionBackend) -> Iterator[Cluster]:
    """A cluster to break, with the objects behind the load's routes."""
    cluster = start_cluster(binaries, folder / "faults")
    try:
        cluster.api.create(API_SERVICES, api_service("steady.example.io", backend.url))
        cluster.api.create(REVERSE_PROXIES, reverse_proxy("steady", backend.url))
        cluster.api.create(JS_BUNDLES, js_bundle("steady", SCRIPT))
        yield cluster
    finally:
        cluster.stop()


SETTINGS = {"ksproxyd": {"timeouts": {"watchSilence": f"{SILENCE:g}s", "kubeRequest": "5s"}}}


@pytest.fixture(scope="module")
def gateway(cluster: Cluster, folder: Path) -> Iterator[Gateway]:
    with Gateway(folder / "faults-gateway", cluster.kubeconfig, SETTINGS) as gateway:
        yield gateway


def until(condition: Callable[[], bool], seconds: float, what: str) -> float:
    """Wait for ``condition``; returns how long that took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() < started + seconds, f"{what}: not in {seconds:.0f} s"
        time.sleep(0.05)
    return time.monotonic() - started


def is_served(gateway: Gateway, path: str) -> bool:
    return gateway.get(path)[0] == 200


def stale(gateway: Gateway) -> list[str]:
    """The kinds that ``/readyz?verbose`` calls stale. The gateway has to be ready all the while."""
    status, body = gateway.get("/readyz?verbose")
    assert status == 200, body
    kinds = re.findall(r"^\[\+\]informer-sync/(\w+) ok: (.*)$", body.decode(), re.MULTILINE)
    assert {"APIService", "ReverseProxy", "JSBundle"} <= {kind for kind, _ in kinds}, body
    return [kind for kind, text in kinds if "stale: " in text]


def relists(gateway: Gateway) -> int:
    """How often the gateway listed its APIServices anew."""
    status, body = gateway.get("/metrics")
    assert status == 200
    found = re.search(r"^ksproxyd_watch_restarts_total\{[^}]*apiservice[^}]*\} (\d+)", body.decode(), re.M | re.I)
    assert found is not None, body
    return int(found[1])


def checked(load: Load, probes: Sequence[Probe] = PROBES) -> None:
    assert not load.wrong, f"{load.wrong_count} wrong answers, of them: {load.wrong}"
    for probe in probes:
        assert load.answered(probe.path) > 20, f"the load hardly asked for {probe.path}"


def assert_follows(cluster: Cluster, gateway: Gateway, backend: ExtensionBackend, name: str) -> None:
    """An object made now gets its route and loses it: the watches work."""
    path = f"/kapis/{name}.example.io/v1/things"
    cluster.api.create(API_SERVICES, api_service(f"{name}.example.io", backend.url))
    until(lambda: is_served(gateway, path), 10, f"{path} is served")
    cluster.api.delete(f"{API_SERVICES}/v1.{name}.example.io")
    until(lambda: gateway.get(path)[0] == 404, 10, f"{path} ends")


def test_every_watch_expires_at_once(
    cluster: Cluster, folder: Path, backend: ExtensionBackend, measured: Measured
) -> None:
    path = "/kapis/missed.example.io/v1/things"
    with FaultProxy(cluster) as proxy:
        kubeconfig = cluster.write_kubeconfig("fault-proxy", proxy.url)
        with Gateway(folder / "expiring-gateway", kubeconfig, SETTINGS) as gateway, Load(gateway.url, PROBES) as load:
            until(lambda: proxy.watches >= 3, 10, "watches are open")
            time.sleep(1)  # for the last of them
            watches = proxy.watches
            lists = proxy.lists
            assert proxy.expire_all() == watches
            until(lambda: proxy.refused >= 2 * watches, RECOVERY, "new watches were tried and refused")
            # What happens while no watch can be had is seen by listing.
            cluster.api.create(API_SERVICES, api_service("missed.example.io", backend.url))
            until(lambda: is_served(gateway, path), RECOVERY, f"{path} is served")
            refused, listed = proxy.refused, proxy.lists - lists
            proxy.recover()
            took = until(lambda: proxy.watches >= watches, RECOVERY, "all watches are open again")
            until(lambda: not stale(gateway), 10, "nothing is stale")
            assert_follows(cluster, gateway, backend, "after-expiry")
            cluster.api.delete(f"{API_SERVICES}/v1.missed.example.io")
            until(lambda: gateway.get(path)[0] == 404, 10, f"{path} ends")
    checked(load)
    # It paused between attempts: with no pauses this would be thousands.
    assert refused < 40 * watches
    measured(
        f"410 on {watches} watches at once: {refused} watches refused and {listed} lists meanwhile, "
        f"watching again {took:.1f} s after the 410s ended; {sum(load.counts.values())} answers, none wrong"
    )


def test_history_is_compacted_while_it_is_away(cluster: Cluster, gateway: Gateway, backend: ExtensionBackend) -> None:
    """A real 410: the gateway stands still as a suspended machine does, and what it would go on from is gone then."""
    path = "/kapis/compacted.example.io/v1/things"
    with Load(gateway.url, PROBES) as load:
        gateway.process.freeze()
        try:
            cluster.api.create(API_SERVICES, api_service("compacted.example.io", backend.url))
            for number in range(20):
                cluster.api.patch(
                    f"{API_SERVICES}/v1.compacted.example.io", {"metadata": {"labels": {"n": str(number)}}}
                )
            cluster.compact()
            cluster.restart_apiserver()
        finally:
            gateway.process.thaw()
        until(lambda: is_served(gateway, path), RECOVERY, f"{path} is served")
        until(lambda: not stale(gateway), RECOVERY, "nothing is stale")
        assert_follows(cluster, gateway, backend, "after-compaction")
    checked(load)


def test_an_older_state_is_restored(
    cluster: Cluster, gateway: Gateway, backend: ExtensionBackend, measured: Measured
) -> None:
    """Backup and restore: resourceVersions go backwards, objects come back and go without an event."""
    deleted, created = "/kapis/deleted.example.io/v1/things", "/kapis/created.example.io/v1/things"
    with Load(gateway.url, PROBES) as load:
        cluster.api.create(API_SERVICES, api_service("deleted.example.io", backend.url))
        until(lambda: is_served(gateway, deleted), 10, f"{deleted} is served")
        snapshot = cluster.snapshot()
        cluster.api.delete(f"{API_SERVICES}/v1.deleted.example.io")
        cluster.api.create(API_SERVICES, api_service("created.example.io", backend.url))
        for number in range(50):
            cluster.api.patch(f"{API_SERVICES}/v1.created.example.io", {"metadata": {"labels": {"n": str(number)}}})
        until(lambda: is_served(gateway, created) and not is_served(gateway, deleted), 10, "it follows")
        before = int(cluster.api.get(f"{API_SERVICES}?limit=1")["metadata"]["resourceVersion"])
        cluster.restore(snapshot)
        after = int(cluster.api.get(f"{API_SERVICES}?limit=1")["metadata"]["resourceVersion"])
        assert after < before
        took = until(
            lambda: is_served(gateway, deleted) and not is_served(gateway, created),
            RECOVERY,
            "the restored state is served",
        )
        until(lambda: not stale(gateway), RECOVERY, "nothing is stale")
        assert_follows(cluster, gateway, backend, "after-restore")
    checked(load)
    measured(f"restore to resourceVersion {after} from {before}: served {took:.1f} s after kube-apiserver was ready")


@pytest.mark.slow
def test_killed_for_a_minute(cluster: Cluster, gateway: Gateway, backend: ExtensionBackend, measured: Measured) -> None:
    kubernetes = Probe("/api/v1/namespaces", lambda status, body: status in (200, 502, 503))
    with Load(gateway.url, [*PROBES, kubernetes]) as load:
        time.sleep(2)
        until(lambda: not stale(gateway), 10, "nothing is stale")
        killed = time.monotonic()
        cluster.apiserver.kill()
        noticed = until(lambda: "APIService" in stale(gateway), 20, "/readyz?verbose says that state is stale")
        status, body = gateway.get("/api/v1/namespaces")
        assert (status, json.loads(body)["kind"]) in ((502, "Status"), (503, "Status"))
        time.sleep(max(killed + OUTAGE - time.monotonic(), 0))
        assert len(stale(gateway)) >= 3
        cluster.start_apiserver()
        recovered = until(lambda: not stale(gateway), RECOVERY, "nothing is stale")
        assert_follows(cluster, gateway, backend, "after-outage")
        assert gateway.get("/api/v1/namespaces")[0] == 200
    checked(load, [*PROBES, kubernetes])
    measured(
        f"kube-apiserver dead for {OUTAGE:.0f} s: stale after {noticed:.1f} s, current {recovered:.1f} s after it was "
        f"ready; {sum(load.counts.values())} answers, none wrong, slowest {load.slowest * 1e3:.0f} ms"
    )


@pytest.mark.slow
def test_frozen_without_a_word(
    cluster: Cluster, gateway: Gateway, backend: ExtensionBackend, measured: Measured
) -> None:
    """Connections stay open and nothing comes: only silence tells. It is judged once bookmarks are known to come."""
    lists = relists(gateway)
    until(lambda: relists(gateway) > lists, 150, "silence is judged")
    with Load(gateway.url, PROBES) as load:
        until(lambda: not stale(gateway), 10, "nothing is stale")
        cluster.apiserver.freeze()
        try:
            noticed = until(lambda: "APIService" in stale(gateway), SILENCE + 30, "/readyz?verbose says it is stale")
            for probe in PROBES:
                status, body = gateway.get(probe.path)
                assert probe.right(status, body)
        finally:
            cluster.apiserver.thaw()
        recovered = until(lambda: not stale(gateway), RECOVERY, "nothing is stale")
        assert_follows(cluster, gateway, backend, "after-freeze")
    checked(load)
    measured(f"kube-apiserver frozen: stale after {noticed:.1f} s, current {recovered:.1f} s after it went on")


def test_absent_at_start(cluster: Cluster, folder: Path) -> None:
    """A gateway that cannot reach its cluster at start says so in one line and ends with 1."""
    gateway = Gateway(folder / "early-gateway", cluster.write_kubeconfig("nowhere", "http://127.0.0.1:9"))
    gateway.process.start()
    assert gateway.process.wait(60) == 1
    complaints = [line for line in gateway.process.log.read_text().splitlines() if "127.0.0.1:9" in line]
    assert complaints, gateway.process.tail()
    assert "Traceback" not in gateway.process.log.read_text()
