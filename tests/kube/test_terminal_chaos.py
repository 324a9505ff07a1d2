"""300 terminals, and everything is killed again and again: people, pods, the gateway, kube-apiserver. Nothing is left.

``KSPROXYD_CHAOS_SECONDS`` is how long it goes on: three minutes are what is promised, and half a minute is what is done
if nothing is said.
"""

from __future__ import annotations

import copy
import os
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .binaries import Binaries
from .client import ApiError
from .conftest import Measured, start_cluster
from .people import IAM, VERSION
from .terminal_crowd import Crowd
from .terminal_site import PODS, PROMPT, SETTINGS, TerminalSite, processes_below, with_shell

SECONDS = float(os.environ.get("KSPROXYD_CHAOS_SECONDS", "30"))
SIZE = 300
WEBS = [f"web-{number}" for number in range(6)]
SYSTEM = "/api/v1/namespaces/kubesphere-system"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kubesphere-system/leases"

CLEAN = 60.0
"""Seconds after the last has left at which nothing of their terminals is left."""

RELEASED = 90.0
"""The same for pods of the gateway's own: when the last session is over, nobody may have used one for a minute more
(spec 05, 3)."""

pytestmark = [
    pytest.mark.usefixtures("needs_node"),
    pytest.mark.slow,
    pytest.mark.timeout(SECONDS + 600),
]


@pytest.fixture(scope="module")
def site(binaries: Binaries, folder: Path, needs_node: None) -> Iterator[TerminalSite]:
    settings = copy.deepcopy(SETTINGS)
    # A browser that vanishes is one half of a minute, so that all of it is over in the other half.
    settings["terminal"] |= {"pingInterval": "5s", "pongTimeout": "15s", "reattach": "10s", "shutdownGrace": "5s"}
    cluster = start_cluster(binaries, folder / "terminal-chaos")
    try:
        with TerminalSite(cluster, folder / "terminal-chaos-gateway", settings) as site:
            site.furnish()
            for name in WEBS[1:]:
                site.run_pod(name)
            yield site
    finally:
        cluster.stop()


def everything_for(site: TerminalSite, *names: str) -> None:
    """They may do everything, on nodes and in pods of their own, too."""
    role = "ksproxyd-test-everything"
    rules = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
    site.api.create(
        f"{IAM}/globalroles",
        {"apiVersion": VERSION, "kind": "GlobalRole", "metadata": {"name": role}, "rules": rules},
    )
    for name in names:
        site.api.create(
            f"{IAM}/globalrolebindings",
            {
                "apiVersion": VERSION,
                "kind": "GlobalRoleBinding",
                "metadata": {"name": name, "labels": {"iam.kubesphere.io/user-ref": name}},
                "roleRef": {"apiGroup": "iam.kubesphere.io", "kind": "GlobalRole", "name": role},
                "subjects": [{"apiGroup": "iam.kubesphere.io", "kind": "User", "name": name}],
            },
        )


def kubeconfig_for(site: TerminalSite, name: str) -> None:
    site.api.create(
        f"{SYSTEM}/secrets",
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": f"kubeconfig-{name}"},
            "type": "config.kubesphere.io/kubeconfig",
            "stringData": {"config": "none"},
        },
    )


class Chaos:
    """What happens to the cluster and the gateway, one thing after the other."""

    def __init__(self, site: TerminalSite) -> None:
        self._site = site
        self._random = random.Random(7)
        self._missing: set[str] = set()
        self._round: list[Callable[[], None]] = []
        self.done: Counter[str] = Counter()

    def happen(self) -> None:
        """One more thing: in every round everything, in an order that is never the same, and pods most of all."""
        if not self._round:
            self._round = [self.pod] * 3 + [self.api_freezes, self.gateway_killed, self.gateway_ends, self.api]
            self._random.shuffle(self._round)
        what = self._round.pop()
        self.done[what.__name__] += 1
        what()
        self._make_pods()

    def pod(self) -> None:
        name = self._random.choice(WEBS)
        if name not in self._missing:
            self._missing.add(name)
            self._site.api.delete(f"{PODS}/{name}")

    def _make_pods(self) -> None:
        """Those that were deleted, as soon as the node has let go of them."""
        for name in tuple(self._missing):
            try:
                self._site.api.create(PODS, with_shell(name))
            except ApiError as error:
                assert error.code == 409, error
            else:
                self._missing.discard(name)

    def api(self) -> None:
        self._site.cluster.restart_apiserver()

    def api_freezes(self) -> None:
        apiserver = self._site.cluster.apiserver
        apiserver.freeze()
        try:
            time.sleep(self._random.random() * 4)
        finally:
            apiserver.thaw()

    def gateway_killed(self) -> None:
        self._site.gateway.process.kill()
        self._site.gateway.start()

    def gateway_ends(self) -> None:
        process = self._site.gateway.process
        process.signal(signal.SIGTERM)
        assert process.wait(40) == 0, process.tail()
        self._site.gateway.start()


def figures(site: TerminalSite) -> dict[str, float]:
    """The gateway's own count of terminals."""
    _, body = site.gateway.get("/metrics")
    found = re.findall(rb"^ksproxyd_terminal_(sessions\{[^}]*\}|connections|execs) (\S+)$", body, re.MULTILINE)
    return {name.decode(): float(value) for name, value in found}


def execs(site: TerminalSite) -> list[str]:
    """Processes in containers besides those that are the containers themselves."""
    node = site.cluster.node
    assert node is not None
    ours = ("sleep 3600", "sleep infinity", "nsenter ")
    return [each for each in processes_below(node.pid) if not any(name in each for name in ours)]


def own_pods(site: TerminalSite) -> list[str]:
    names = (each["metadata"]["name"] for each in site.api.get(f"{SYSTEM}/pods")["items"])
    return [name for name in names if name.startswith("ks-managed-kubectl-") or "-shell-access-" in name]


def leases(site: TerminalSite) -> list[str]:
    found = site.api.get(f"{LEASES}?labelSelector=kubesphere.io/kubectl-pod")["items"]
    return [each["metadata"]["name"] for each in found]


def wait_until_clean(read: Callable[[], object], end: float, what: str) -> float:
    """Seconds left when ``read`` gave nothing any more."""
    while left := read():
        assert time.monotonic() < end, f"{what}: {left}"
        time.sleep(0.5)
    return end - time.monotonic()


def test_nothing_is_left(site: TerminalSite, measured: Measured) -> None:
    users = ["kim", "kate", "karl"]
    tokens = [site.user(name) for name in users]
    everything_for(site, *users)
    for name in users:
        kubeconfig_for(site, name)
    with site.shell(tokens[0]) as terminal:
        terminal.expect(PROMPT)
        terminal.type("exit\r")
        terminal.end()
    chaos = Chaos(site)
    with Crowd(site, SIZE, WEBS, users) as crowd:
        began = time.monotonic()
        time.sleep(12)
        while time.monotonic() < began + SECONDS:
            chaos.happen()
            time.sleep(random.random() * 6)
        # What runs now has been started by chaos, or has lived through it.
        time.sleep(5)
        loaded = (len(site.descriptors()), figures(site), len(execs(site)))
    left = time.monotonic()
    cleared = {
        "execs": CLEAN - wait_until_clean(lambda: execs(site), left + CLEAN, "processes of execs"),
        "sessions": CLEAN
        - wait_until_clean(lambda: {k: v for k, v in figures(site).items() if v}, left + CLEAN, "sessions"),
        "pods": RELEASED - wait_until_clean(lambda: own_pods(site), left + RELEASED, "pods"),
        "leases": RELEASED - wait_until_clean(lambda: leases(site), left + RELEASED, "leases"),
    }
    time.sleep(max(0.0, left + CLEAN - time.monotonic()))
    descriptors = Counter(re.sub(r"\d+", "n", each) for each in site.descriptors())
    measured(
        f"{SECONDS:.0f} s with up to {crowd.most} terminals, {dict(chaos.done)}: {dict(sorted(crowd.seen.items()))}; "
        f"at the end {loaded[0]} descriptors, {loaded[2]} processes; nothing was left after "
        + ", ".join(f"{name} {seconds:.0f} s" for name, seconds in cleared.items())
        + f"; then {dict(descriptors)}"
    )
    assert crowd.wrong == []
    assert crowd.seen["right answers"] > SIZE
    assert crowd.most > SIZE * 0.9
    # Watches on the cluster, idle connections to it, and what every process has.
    assert descriptors["socket:[n]"] <= 40, descriptors
