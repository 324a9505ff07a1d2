"""kubectl, unmodified, through the gateway: what people do all day."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from queue import Empty, Queue

import pytest
import yaml

from ksproxyd import manifests

from .client import ApiError
from .cluster import Cluster
from .kubectl import Kubectl
from .objects import config_map, pod


class Lines:
    """Lines of a pipe as they come, read in a thread so that waiting for one can end."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        self._pipe = process.stdout
        self._queue: Queue[str | None] = Queue()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        for line in self._pipe:
            self._queue.put(line.decode().rstrip("\n"))
        self._queue.put(None)

    def next(self, seconds: float = 20) -> str:
        try:
            line = self._queue.get(timeout=seconds)
        except Empty:
            raise AssertionError(f"no line came in {seconds:.0f} s") from None
        assert line is not None, "the output ended"
        return line

    def until(self, wanted: str, seconds: float = 20) -> list[str]:
        """Lines up to the first that holds ``wanted``."""
        deadline = time.monotonic() + seconds
        lines = [self.next(seconds)]
        while wanted not in lines[-1]:
            lines.append(self.next(max(deadline - time.monotonic(), 0.1)))
        return lines

    def join(self) -> None:
        self._thread.join(20)


@pytest.fixture
def started(kubectl: Kubectl) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Programs a test started, ended with it."""
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        process.kill()
        process.communicate(timeout=20)


def apply(kubectl: Kubectl, manifest: object, *arguments: str) -> str:
    return kubectl("apply", *arguments, "-f", "-", input=json.dumps(manifest).encode())


def test_get_prints_the_servers_table(kubectl: Kubectl, cluster: Cluster) -> None:
    cluster.api.create(f"/api/v1/namespaces/{kubectl.namespace}/configmaps", config_map("one", a="1", b="2"))
    header, row = kubectl("get", "configmaps", "one").splitlines()
    assert header.split() == ["NAME", "DATA", "AGE"]
    assert row.split()[:2] == ["one", "2"]
    assert kubectl("get", "configmap/one", "-o", "jsonpath={.data.b}") == "2"
    assert yaml.safe_load(kubectl("get", "cm", "one", "-o", "yaml"))["data"] == {"a": "1", "b": "2"}


def test_get_of_what_is_not_there(kubectl: Kubectl) -> None:
    done = kubectl.run("get", "configmaps", "absent")
    assert done.returncode == 1
    assert done.stderr.decode() == 'Error from server (NotFound): configmaps "absent" not found\n'


def test_get_in_pages(kubectl: Kubectl, cluster: Cluster) -> None:
    for number in range(25):
        manifest = config_map(f"page-{number:02}")
        manifest["metadata"]["labels"] = {"test": "pages"}
        cluster.api.create(f"/api/v1/namespaces/{kubectl.namespace}/configmaps", manifest)
    names = kubectl("get", "configmaps", "-l", "test=pages", "--chunk-size=4", "-o", "name").split()
    assert names == [f"configmap/page-{number:02}" for number in range(25)]


def test_discovery(kubectl: Kubectl) -> None:
    kinds = kubectl("api-resources", "-o", "name").split()
    assert {"pods", "deployments.apps", "apiservices.extensions.kubesphere.io"} <= set(kinds)
    assert "pods/exec" not in kinds
    assert "gitVersion" in kubectl("get", "--raw", "/version")
    assert kubectl("auth", "can-i", "create", "pods").strip() == "yes"


def test_get_watch(kubectl: Kubectl, cluster: Cluster, started: list[subprocess.Popen[bytes]]) -> None:
    collection = f"/api/v1/namespaces/{kubectl.namespace}/configmaps"
    cluster.api.create(collection, config_map("watched-0"))
    process = kubectl.start("get", "configmaps", "-w", "--output-watch-events")
    started.append(process)
    lines = Lines(process)
    lines.until("watched-0")
    cluster.api.create(collection, config_map("watched-1"))
    assert lines.next().split()[:2] == ["ADDED", "watched-1"]
    cluster.api.patch(f"{collection}/watched-1", {"data": {"x": "y"}})
    assert lines.next().split()[:2] == ["MODIFIED", "watched-1"]
    cluster.api.delete(f"{collection}/watched-1")
    assert lines.next().split()[:2] == ["DELETED", "watched-1"]
    process.kill()
    lines.join()


def test_apply(kubectl: Kubectl, cluster: Cluster) -> None:
    path = f"/api/v1/namespaces/{kubectl.namespace}/configmaps/applied"
    assert apply(kubectl, config_map("applied", a="1", b="2")) == "configmap/applied created\n"
    assert apply(kubectl, config_map("applied", a="1", b="2")) == "configmap/applied unchanged\n"
    assert apply(kubectl, config_map("applied", a="3")) == "configmap/applied configured\n"
    assert cluster.api.get(path)["data"] == {"a": "3"}


def test_apply_server_side(kubectl: Kubectl, cluster: Cluster) -> None:
    path = f"/api/v1/namespaces/{kubectl.namespace}/configmaps/owned"
    mine = config_map("owned", a="1")
    assert apply(kubectl, mine, "--server-side", "--field-manager=me") == "configmap/owned serverside-applied\n"
    theirs = json.dumps(config_map("owned", a="2")).encode()
    command = ["apply", "--server-side", "--field-manager=they", "-f", "-"]
    refused = kubectl.run(*command, input=theirs)
    assert refused.returncode == 1
    assert b'conflict with "me"' in refused.stderr
    assert cluster.api.get(path)["data"] == {"a": "1"}
    kubectl(*command, "--force-conflicts", input=theirs)
    assert cluster.api.get(path)["data"] == {"a": "2"}


def test_apply_dry_run_and_validation(kubectl: Kubectl, cluster: Cluster) -> None:
    path = f"/api/v1/namespaces/{kubectl.namespace}/configmaps/dry"
    assert apply(kubectl, config_map("dry"), "--dry-run=server") == "configmap/dry created (server dry run)\n"
    with pytest.raises(ApiError) as caught:
        cluster.api.get(path)
    assert caught.value.code == 404
    manifest = {**config_map("dry"), "colour": "red"}
    refused = kubectl.run("apply", "--validate=strict", "-f", "-", input=json.dumps(manifest).encode())
    assert refused.returncode == 1
    assert b'unknown field "colour"' in refused.stderr


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("merge", {"data": {"a": None, "b": "2"}}),
        ("strategic", {"data": {"a": None, "b": "2"}}),
        ("json", [{"op": "remove", "path": "/data/a"}, {"op": "add", "path": "/data/b", "value": "2"}]),
    ],
)
def test_patch(kubectl: Kubectl, cluster: Cluster, kind: str, change: object) -> None:
    name = f"patched-{kind}"
    collection = f"/api/v1/namespaces/{kubectl.namespace}/configmaps"
    cluster.api.create(collection, config_map(name, a="1"))
    kubectl("patch", "configmap", name, f"--type={kind}", "-p", json.dumps(change))
    assert cluster.api.get(f"{collection}/{name}")["data"] == {"b": "2"}


def test_edit_of_an_old_version_is_a_conflict(kubectl: Kubectl, cluster: Cluster) -> None:
    collection = f"/api/v1/namespaces/{kubectl.namespace}/configmaps"
    old = cluster.api.create(collection, config_map("contended", a="1"))
    cluster.api.patch(f"{collection}/contended", {"data": {"a": "2"}})
    done = kubectl.run("replace", "-f", "-", input=json.dumps(old).encode())
    assert done.returncode == 1
    assert b"(Conflict)" in done.stderr


def test_delete(kubectl: Kubectl, cluster: Cluster) -> None:
    collection = f"/api/v1/namespaces/{kubectl.namespace}/configmaps"
    for name in ("deleted-1", "deleted-2"):
        manifest = config_map(name)
        manifest["metadata"]["labels"] = {"test": "delete"}
        cluster.api.create(collection, manifest)
    assert kubectl("delete", "configmap", "deleted-1", "-o", "name") == "configmap/deleted-1\n"
    kubectl("delete", "configmaps", "-l", "test=delete")
    assert cluster.api.get(f"{collection}?labelSelector=test%3Ddelete")["items"] == []


def test_a_pod_from_apply_to_delete(kubectl: Kubectl, needs_node: None) -> None:
    apply(kubectl, pod("life", "sleep 3600"))
    kubectl("wait", "--for=condition=Ready", "pod/life", "--timeout=30s")
    row = kubectl("get", "pod", "life", "-o", "wide").splitlines()[1].split()
    assert row[:3] == ["life", "1/1", "Running"]
    kubectl("delete", "pod", "life", "--wait=true", "--timeout=30s")
    assert kubectl("get", "pods", "life", "--ignore-not-found") == ""


def test_the_gateways_own_kinds(kubectl: Kubectl) -> None:
    """What ``ksproxyd crds`` prints is what kubectl applies without complaint, and again without a change."""
    printed = manifests.crds().encode()
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=printed)
    names = kubectl("apply", "--server-side", "-f", "-", "-o", "name", input=printed).split()
    assert len(names) == len(manifests.definitions())


def test_the_gateways_own_roles(kubectl: Kubectl) -> None:
    """And ``ksproxyd crds --with-roles``."""
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=manifests.crds().encode())
    kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
    printed = manifests.role_stream().encode()
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=printed)
    names = kubectl("apply", "--server-side", "-f", "-", "-o", "name", input=printed).split()
    assert len(names) == len(manifests.roles())
    builtin = json.loads(kubectl("get", "builtinroles.iam.kubesphere.io", "project-admin", "-o", "json"))
    assert builtin["role"]["rules"] == [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
