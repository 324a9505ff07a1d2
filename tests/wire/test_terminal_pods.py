"""Pods of terminals, made and deleted at an API server (spec 05, 3 and 4; facts 39 to 45)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ksproxyd.settings import load_text
from ksproxyd.terminal.pods.kubectl import KubectlPods
from ksproxyd.terminal.pods.lease import Leases, age, timestamp
from ksproxyd.terminal.pods.node import NodePods, template
from ksproxyd.terminal.pods.pod import PodFailed, PodRef
from ksproxyd.terminal.pods.sweeper import Sweeper
from ksproxyd.testing import MemoryGateway
from ksproxyd.testing.backend import answer
from ksproxyd.testing.gateway import SETTINGS

PODS = "/api/v1/namespaces/kubesphere-system/pods"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kubesphere-system/leases"
NAME = "ks-managed-kubectl-joe"


class Waiting:
    """Something that has begun."""

    def __init__(self, coroutine: Any) -> None:
        self.told: list[str] = []
        self.result: Any = None
        self.done = Deferred.fromCoroutine(coroutine(self.told.append))
        self.done.addBoth(self._over)

    def _over(self, result: Any) -> None:
        self.result = result

    @property
    def error(self) -> PodFailed:
        assert isinstance(self.result, Failure)
        assert isinstance(self.result.value, PodFailed)
        return self.result.value


class Cluster:
    """An API server with a namespace and a node, and what makes pods there."""

    def __init__(self, more: str = "") -> None:
        self.gateway = MemoryGateway(SETTINGS + more, embedded=True)
        self.gateway.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kubesphere-system"}})
        self.gateway.wait(100.0)
        self.settings = load_text(SETTINGS + more, "settings", {}).settings.terminal
        client: Any = self.gateway.gateway.kube_client
        clock: Any = self.gateway.reactor
        names = iter(f"{number:08x}" for number in range(100))
        self.kubectl = KubectlPods(clock, client, self.settings.kubectl)
        self.nodes = NodePods(clock, client, self.settings, lambda: next(names))
        self.sweeper = Sweeper(clock, client)

    def secret(self, user: str) -> None:
        self.gateway.apply(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": f"kubeconfig-{user}", "namespace": "kubesphere-system"},
            }
        )

    def node(self, name: str, ready: str = "True", **labels: str) -> None:
        self.gateway.apply(
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": name, "labels": labels},
                "status": {"conditions": [{"type": "Ready", "status": ready}]},
            }
        )

    def begin(self, coroutine: Any) -> Waiting:
        made = Waiting(coroutine)
        self.gateway.reactor.settle()
        return made

    def get(self, path: str) -> Any:
        return self.gateway.embedded.call("GET", path)

    def names(self, path: str) -> list[str]:
        return [item["metadata"]["name"] for item in self.get(path)["items"]]

    def status(self, name: str, **status: Any) -> None:
        self.gateway.embedded.call("PATCH", f"{PODS}/{name}/status", {"status": status}, "application/merge-patch+json")

    def ready(self, name: str) -> None:
        self.status(name, phase="Running", conditions=[{"type": "Ready", "status": "True"}])

    def wait(self, seconds: float) -> None:
        self.gateway.wait(seconds)

    def close(self) -> None:
        self.gateway.run(self.kubectl.stop())
        self.gateway.run(self.nodes.stop())
        self.sweeper.stop()
        self.gateway.close()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster()
    yield made
    made.close()


def joe(cluster: Cluster) -> Waiting:
    return cluster.begin(lambda tell: cluster.kubectl.prepare("joe", tell))


def opened(cluster: Cluster) -> PodRef:
    session = joe(cluster)
    if session.result is None:
        cluster.ready(NAME)
        cluster.wait(2.0)
    assert isinstance(session.result, PodRef), session.result
    return session.result


def test_the_first_session_of_a_user_makes_the_pod(cluster: Cluster) -> None:
    cluster.secret("joe")
    session = joe(cluster)
    assert session.result is None
    assert session.told == ["preparing the kubectl pod ..."]
    pod = cluster.get(f"{PODS}/{NAME}")
    spec = pod["spec"]
    (container,) = spec["containers"]
    assert (container["name"], container["image"]) == ("kubectl", "kubesphere/kubectl:v1.27.4")
    assert container["volumeMounts"] == [{"name": "kubeconfig", "mountPath": "/root/.kube"}]
    (volume,) = spec["volumes"]
    assert (volume["name"], volume["secret"]["secretName"]) == ("kubeconfig", "kubeconfig-joe")
    assert spec["automountServiceAccountToken"] is False
    assert (spec["activeDeadlineSeconds"], spec["terminationGracePeriodSeconds"]) == (43200, 0)
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert pod["metadata"]["labels"] == {
        "app.kubernetes.io/managed-by": "ksproxyd",
        "kubesphere.io/username": "joe",
    }
    # There before the pod is ready: nobody sweeps it away meanwhile, and somebody does if it never is.
    lease = cluster.get(f"{LEASES}/{NAME}")
    assert lease["metadata"]["labels"] == {"kubesphere.io/kubectl-pod": "", "kubesphere.io/managed": "true"}
    assert lease["metadata"]["ownerReferences"][0]["uid"] == pod["metadata"]["uid"]
    cluster.ready(NAME)
    cluster.wait(2.0)
    assert session.result == PodRef(NAME, pod["metadata"]["uid"], "kubectl", "bash")


def test_without_a_kubeconfig_there_is_no_pod(cluster: Cluster) -> None:
    session = joe(cluster)
    assert session.error.code == 4404
    assert "kubeconfig" in str(session.error)
    assert cluster.names(PODS) == []


def test_a_pod_that_does_not_become_ready(cluster: Cluster) -> None:
    cluster.secret("joe")
    session = joe(cluster)
    cluster.status(NAME, containerStatuses=[{"name": "kubectl", "state": {"waiting": {"reason": "ImagePullBackOff"}}}])
    cluster.wait(30.0)
    assert session.told[-1] == "the kubectl pod waits: ImagePullBackOff"
    cluster.wait(40.0)
    assert session.error.code == 1013
    assert "ImagePullBackOff" in str(session.error)
    # Its Lease is not renewed any more, so it goes.
    assert cluster.names(LEASES) == [NAME]
    cluster.sweeper.start()
    cluster.wait(180.0)
    assert cluster.names(PODS) == []
    assert cluster.sweeper.gone == 1


def test_sessions_share_the_pod_and_the_last_takes_it_along(cluster: Cluster) -> None:
    cluster.secret("joe")
    first, second = opened(cluster), opened(cluster)
    assert first == second
    assert (cluster.names(PODS), cluster.names(LEASES)) == ([NAME], [NAME])
    cluster.kubectl.release(first)
    cluster.wait(200.0)
    now = cluster.gateway.reactor.seconds()
    assert age(cluster.get(f"{LEASES}/{NAME}"), now) < 30.0
    cluster.kubectl.release(second)
    cluster.wait(50.0)
    assert cluster.names(PODS) == [NAME]
    cluster.wait(15.0)
    assert (cluster.names(PODS), cluster.names(LEASES)) == ([], [])


def test_a_pod_that_another_gateway_uses_stays(cluster: Cluster) -> None:
    cluster.secret("joe")
    here = opened(cluster)
    other = KubectlPods(
        cluster.gateway.reactor,
        cluster.gateway.gateway.kube_client,
        cluster.settings.kubectl,  # type: ignore[arg-type]
    )
    there = cluster.begin(lambda tell: other.prepare("joe", tell))
    assert there.result == here
    cluster.kubectl.release(here)
    cluster.wait(120.0)
    assert cluster.names(PODS) == [NAME]
    other.release(there.result)
    cluster.wait(70.0)
    assert cluster.names(PODS) == []
    cluster.gateway.run(other.stop())


def test_a_session_that_comes_back_in_time_keeps_the_pod(cluster: Cluster) -> None:
    cluster.secret("joe")
    cluster.kubectl.release(opened(cluster))
    cluster.wait(30.0)
    opened(cluster)
    cluster.wait(120.0)
    assert cluster.names(PODS) == [NAME]


def test_a_pod_that_has_ended_is_made_anew(cluster: Cluster) -> None:
    cluster.secret("joe")
    before = opened(cluster)
    cluster.kubectl.release(before)
    cluster.status(NAME, phase="Failed", conditions=[])
    session = joe(cluster)
    cluster.wait(2.0)
    cluster.ready(NAME)
    cluster.wait(2.0)
    assert session.result.uid != before.uid


def lease_of(cluster: Cluster, uid: str, seconds: float) -> None:
    """A Lease of the pod ``uid``, of none if that is empty, renewed so long ago."""
    made = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": NAME,
            "namespace": "kubesphere-system",
            "labels": {"kubesphere.io/kubectl-pod": ""},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": NAME, "uid": uid}] if uid else [],
        },
        "spec": {"renewTime": timestamp(cluster.gateway.reactor.seconds() - seconds)},
    }
    cluster.gateway.embedded.call("POST", LEASES, made)


def owners(cluster: Cluster) -> list[str]:
    return [owner["uid"] for owner in cluster.get(f"{LEASES}/{NAME}")["metadata"]["ownerReferences"]]


def test_the_lease_of_a_pod_before_becomes_that_of_the_pod(cluster: Cluster) -> None:
    # Whoever collects garbage has not come by: it would take the Lease of the pod before, and with it the pod.
    cluster.secret("joe")
    before = {"metadata": {"name": "before"}, "spec": {"containers": [{"name": "a", "image": "b"}]}}
    cluster.gateway.embedded.call("POST", PODS, {"apiVersion": "v1", "kind": "Pod", **before})
    lease_of(cluster, cluster.get(f"{PODS}/before")["metadata"]["uid"], 10.0)
    ref = opened(cluster)
    assert owners(cluster) == [ref.uid]


def test_a_lease_that_is_gone_is_taken_again(cluster: Cluster) -> None:
    cluster.secret("joe")
    ref = opened(cluster)
    cluster.gateway.embedded.call("DELETE", f"{LEASES}/{NAME}")
    cluster.wait(30.0)
    assert owners(cluster) == [ref.uid]


def test_leases_without_pods_are_swept(cluster: Cluster) -> None:
    lease_of(cluster, "", 50.0)
    cluster.sweeper.start()
    cluster.wait(5.0)
    assert cluster.names(LEASES) == [NAME]
    # Not in the next round, but as soon as it counts for nothing.
    cluster.wait(10.0)
    assert cluster.names(LEASES) == []


def test_a_lease_that_was_renewed_is_not_deleted(cluster: Cluster) -> None:
    cluster.secret("joe")
    opened(cluster)
    leases = Leases(cluster.gateway.reactor, cluster.gateway.gateway.kube_client)  # type: ignore[arg-type]
    before = cluster.get(f"{LEASES}/{NAME}")
    cluster.wait(30.0)
    cluster.gateway.run(leases.drop(before))
    assert cluster.names(LEASES) == [NAME]
    cluster.gateway.run(leases.drop(cluster.get(f"{LEASES}/{NAME}")))
    assert cluster.names(LEASES) == []


def test_pods_that_nobody_owns_are_swept(cluster: Cluster) -> None:
    for name in ("ks-managed-kubectl-old", "worker-shell-access-deadbeef", "something-else"):
        cluster.gateway.apply(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "namespace": "kubesphere-system"},
                "spec": {"containers": [{"name": "a", "image": "b"}]},
            }
        )
    cluster.sweeper.start()
    cluster.wait(200.0)
    assert len(cluster.names(PODS)) == 3
    cluster.wait(200.0)
    assert cluster.names(PODS) == ["something-else"]


def node_session(cluster: Cluster, name: str = "worker") -> Waiting:
    return cluster.begin(lambda tell: cluster.nodes.prepare(name, "joe", tell))


def test_a_session_on_a_node_has_a_pod_of_its_own(cluster: Cluster) -> None:
    cluster.node("worker")
    first, second = node_session(cluster), node_session(cluster)
    names = cluster.names(PODS)
    assert names == ["worker-shell-access-00000000", "worker-shell-access-00000001"]
    pod = cluster.get(f"{PODS}/{names[0]}")
    spec = pod["spec"]
    assert (spec["nodeName"], spec["hostPID"], spec["hostNetwork"]) == ("worker", True, True)
    assert spec["tolerations"] == [{"operator": "Exists"}]
    (container,) = spec["containers"]
    assert container["securityContext"] == {"privileged": True}
    assert container["command"] == ["nsenter", "-m", "-u", "-i", "-n", "-p", "-t", "1"]
    # As long as the longest session, not the 600 s of before.
    assert spec["activeDeadlineSeconds"] == 43500
    for name in names:
        cluster.status(name, phase="Running")
    cluster.wait(2.0)
    assert first.result == PodRef(names[0], pod["metadata"]["uid"], "nsenter", "sh")
    cluster.nodes.release(first.result)
    cluster.wait(1.0)
    assert cluster.names(PODS) == names[1:]
    cluster.nodes.release(second.result)
    cluster.wait(1.0)
    assert (cluster.names(PODS), cluster.names(LEASES)) == ([], [])


@pytest.mark.parametrize("leaving", [True, False])
def test_a_pod_on_a_node_that_nobody_waits_for_goes_at_once(cluster: Cluster, leaving: bool) -> None:
    cluster.node("worker")
    session = node_session(cluster)
    assert len(cluster.names(PODS)) == 1
    if leaving:
        session.done.cancel()
        cluster.wait(1.0)
    else:
        cluster.wait(70.0)
        assert session.error.code == 1013
    assert cluster.names(PODS) == []


def test_the_lease_is_there_before_the_pod(cluster: Cluster) -> None:
    """A gateway that is killed between the two leaves nothing behind that counts as used."""
    made: list[str] = []
    serve = cluster.gateway.embedded.handler

    def handle(conversation: Any, request: Any) -> Any:
        if request.method == b"POST":
            made.append(request.target.decode().partition("?")[0].rpartition("/")[2])
        return serve(conversation, request)

    cluster.gateway.embedded.handler = handle
    cluster.node("worker")
    session = node_session(cluster)
    cluster.secret("joe")
    other = joe(cluster)
    assert [each for each in made if each in ("leases", "pods")] == ["leases", "pods", "leases"] * 2
    for each in (session, other):
        each.done.cancel()
    cluster.wait(1.0)


def test_a_pod_that_comes_when_nobody_waits_for_it_goes(cluster: Cluster) -> None:
    held: list[tuple[Any, Any]] = []
    serve = cluster.gateway.embedded.handler

    def handle(conversation: Any, request: Any) -> Any:
        if request.method == b"POST" and request.target.startswith(PODS.encode()):
            held.append((conversation, request))
            return None
        return serve(conversation, request)

    cluster.gateway.embedded.handler = handle
    cluster.node("worker")
    session = node_session(cluster)
    assert len(held) == 1
    session.done.cancel()
    cluster.wait(2.0)
    ((conversation, request),) = held
    created = serve(conversation, request)
    assert created.startswith(b"HTTP/1.1 201 ")
    assert len(cluster.names(PODS)) == 1
    conversation.answer(created)
    cluster.wait(1.0)
    assert (cluster.names(PODS), cluster.names(LEASES)) == ([], [])


def test_a_round_that_fails_is_repeated_soon(cluster: Cluster) -> None:
    lease_of(cluster, "", 100.0)
    serve = cluster.gateway.embedded.handler
    cluster.gateway.embedded.handler = lambda conversation, request: answer(500, b"{}")
    cluster.sweeper.start()
    cluster.wait(1.0)
    cluster.gateway.embedded.handler = serve
    assert cluster.names(LEASES) == [NAME]
    cluster.wait(15.0)
    assert cluster.names(LEASES) == []


def test_nodes_without_terminals(cluster: Cluster) -> None:
    cluster.node("down", ready="False")
    assert node_session(cluster, "down").error.code == 4404
    assert node_session(cluster, "missing").error.code == 4404
    assert cluster.names(PODS) == []
    for more, said in (
        ("terminal: {node: {enabled: false}}\n", "switched off"),
        ("terminal: {node: {denySelector: role=control}}\n", "not allowed"),
    ):
        other = Cluster(more)
        other.node("control", role="control")
        session = node_session(other, "control")
        assert session.error.code == 4404
        assert said in str(session.error)
        assert other.names(PODS) == []
        other.close()


def test_names_of_pods_on_nodes_fit(cluster: Cluster) -> None:
    made = template("n" * 253, "u" * 200, "0123abcd", cluster.settings)
    assert len(made["metadata"]["name"]) == 253
    assert made["metadata"]["name"].endswith("-shell-access-0123abcd")
    assert all(len(value) <= 63 for value in made["metadata"]["labels"].values())


def test_what_is_being_deleted_is_deleted_before_the_gateway_ends(cluster: Cluster) -> None:
    cluster.node("worker")
    session = node_session(cluster)
    cluster.status("worker-shell-access-00000000", phase="Running")
    cluster.wait(2.0)
    cluster.nodes.release(session.result)
    cluster.gateway.run(cluster.nodes.stop())
    assert cluster.names(PODS) == []
