"""The kubectl terminal and the terminal on a node, from the browser to the pod (spec 05, 3, 4; facts 39 to 45)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support_terminals import TerminalWorld

from ksproxyd.model.status import StatusError

PODS = "/api/v1/namespaces/kubesphere-system/pods"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kubesphere-system/leases"
KUBECTL = "ks-managed-kubectl-joe"


@pytest.fixture
def world() -> Iterator[TerminalWorld]:
    made = TerminalWorld()
    made.gateway.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "kubeconfig-joe", "namespace": "kubesphere-system"},
            "type": "config.kubesphere.io/kubeconfig",
            "data": {"config": ""},
        },
        node("n-1", "True"),
        node("n-2", "False"),
    )
    yield made
    made.close()
    assert not made.sessions


def node(name: str, ready: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }


def pods(world: TerminalWorld) -> list[str]:
    return [each["metadata"]["name"] for each in world.stored(PODS)["items"]]


def run(world: TerminalWorld, name: str) -> None:
    """What a node's agent does for a pod."""
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    kind = "application/merge-patch+json"
    world.gateway.embedded.call("PATCH", f"{PODS}/{name}/status", {"status": status}, kind)


STARTING = """
C: open users/joe/kubectl
S: 101
S: toast preparing the kubectl pod
C: text {"Op":"resize","Cols":100,"Rows":30}
C: type "early"
K: nothing
"""


def test_the_kubectl_terminal(world: TerminalWorld) -> None:
    book = world.play(STARTING, "joe")
    assert pods(world) == [KUBECTL]
    lease = world.stored(f"{LEASES}/{KUBECTL}")
    assert lease["metadata"]["ownerReferences"][0]["name"] == KUBECTL
    run(world, KUBECTL)
    book.line("W: 2")
    book.line('K: exec ["bash"] kubectl')
    assert world.exec.path == f"{PODS}/{KUBECTL}/exec"
    book.line('S: out ""')
    assert (world.exec.typed(), world.exec.sizes) == (b"early", [(100, 30)])
    # A second session of the same user is in the same pod.
    other = world.play('C: open users/joe/kubectl\nS: 101\nW: 1\nK: exec ["bash"] kubectl\nS: out ""', "joe")
    assert pods(world) == [KUBECTL]
    book.line("C: close 1000")
    other.line("W: 100")
    assert pods(world) == [KUBECTL]
    other.line('C: type "x"')
    assert world.exec.typed() == b"x"
    other.line("C: close 1000")
    world.wait(100.0)
    assert pods(world) == []


def test_no_kubeconfig(world: TerminalWorld) -> None:
    world.play(
        """
        C: open users/admin/kubectl
        S: 101
        W: 1
        S: toast there is no kubeconfig for user admin
        S: close 4404 not found
        C: close 4404
        """,
        "admin",
    )
    assert pods(world) == []


def test_a_pod_that_does_not_start(world: TerminalWorld) -> None:
    book = world.play(STARTING, "joe")
    book.line("W: 62")
    book.line("S: toast did not become ready")
    book.line("S: close 1013 not ready")
    assert world.stored(f"{LEASES}/{KUBECTL}")
    assert not world.execs


@pytest.mark.parametrize("end", ["C: close 1000", "C: cut"])
def test_a_browser_that_does_not_wait(world: TerminalWorld, end: str) -> None:
    book = world.play(STARTING, "joe")
    book.line(end)
    world.wait(1.0)
    assert not world.sessions
    run(world, KUBECTL)
    world.wait(5.0)
    assert not world.execs


def test_the_kubectl_pod_is_deleted(world: TerminalWorld) -> None:
    book = world.play(STARTING, "joe")
    run(world, KUBECTL)
    book.line("W: 2")
    book.line('S: out ""')
    world.gateway.embedded.call("DELETE", f"{PODS}/{KUBECTL}?gracePeriodSeconds=0")
    book.line("W: 2")
    book.line("S: toast the kubectl pod was deleted")
    book.line("S: close 4410 pod deleted")


def test_the_terminal_on_a_node(world: TerminalWorld) -> None:
    book = world.play("C: open nodes/n-1/exec\nS: 101\nW: 1\nS: toast preparing a pod on node n-1", "admin")
    (name,) = pods(world)
    spec = world.stored(f"{PODS}/{name}")["spec"]
    assert (spec["nodeName"], spec["hostPID"], spec["hostNetwork"]) == ("n-1", True, True)
    run(world, name)
    book.line("W: 2")
    book.line('K: exec ["sh"] nsenter')
    book.line('S: out ""')
    book.line("W: 700")
    book.line("S: nothing")
    book.line("C: close 1000")
    world.wait(5.0)
    with pytest.raises(StatusError):
        world.stored(f"{PODS}/{name}")


def test_a_node_that_is_not_ready(world: TerminalWorld) -> None:
    world.play("C: open nodes/n-2/exec\nS: 101\nW: 1\nS: toast node n-2 is not ready\nS: close 4404 not found", "admin")
    assert pods(world) == []


def test_a_node_that_is_not_there(world: TerminalWorld) -> None:
    world.play("C: open nodes/n-9/exec\nS: 101\nW: 1\nS: toast node n-9\nS: close 4404 not found", "admin")


def test_leaving_while_the_pod_of_a_node_starts(world: TerminalWorld) -> None:
    book = world.play("C: open nodes/n-1/exec\nS: 101\nW: 1\nS: toast preparing", "admin")
    book.line("C: cut")
    world.wait(5.0)
    assert pods(world) == []
