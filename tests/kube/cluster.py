"""A kube-apiserver with its etcd and one node, on loopback, that tests may kill, freeze and put back in time."""

from __future__ import annotations

import json
import secrets
import shutil
import ssl
import time
from pathlib import Path
from types import TracebackType

from .binaries import Binaries
from .certificates import Authority, signing_key
from .client import ApiClient, ApiError
from .processes import Process, free_port

READY_LIMIT = 90.0
"""Seconds each program may take to start; kube-apiserver takes about five on an idle machine."""

NODE_NAME = "node-1"


class Cluster:
    """Started by ``with``; everything it starts is stopped at its end, by pid.

    ``url`` and the ports stay the same over restarts. Users are ``admin`` (client certificate, in ``kubeconfig``) and
    ``token-admin`` (bearer ``token``, in ``token_kubeconfig``), both in ``system:masters``. ``authority`` signs what it
    trusts, of clients and of nodes.
    """

    def __init__(self, binaries: Binaries, folder: Path) -> None:
        self._binaries = binaries
        self.folder = folder
        pki = folder / "pki"
        pki.mkdir(parents=True)
        self.authority = Authority(pki)
        self._admin = self.authority.issue("admin", "admin", "system:masters")
        self.ca_file = self.authority.certificate
        self.token = secrets.token_urlsafe(24)
        self._data = folder / "etcd"
        self._etcd_url = f"http://127.0.0.1:{free_port()}"
        self.port = free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.kubeconfig = self.write_kubeconfig("admin", self.url)
        self.token_kubeconfig = self.write_kubeconfig("token-admin", self.url, token=self.token)
        context = ssl.create_default_context(cafile=str(self.ca_file))
        context.load_cert_chain(self._admin.certificate, self._admin.key)
        self.context = context
        self.api = ApiClient(self.url, context)
        self.etcd = self._make_etcd()
        self.apiserver = self._make_apiserver()
        self.node = self._make_node()

    def __enter__(self) -> Cluster:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        self.start_etcd()
        self.start_apiserver()
        if self.node is not None and not self.node.alive:
            self.node.start()
            self.node.wait_until(self._node_is_ready, READY_LIMIT, "registered")

    def stop(self) -> None:
        """Stop all of it; harmless if some of it never ran or is frozen."""
        for process in (self.node, self.apiserver, self.etcd):
            if process is not None:
                process.stop()

    def start_etcd(self) -> None:
        self.etcd.start()
        health = ApiClient(self._etcd_url, timeout=2)
        self.etcd.wait_until(lambda: answers(health, "/health"), READY_LIMIT, "healthy")

    def start_apiserver(self) -> None:
        self.apiserver.start()
        probe = ApiClient(self.url, self.context, timeout=5)
        self.apiserver.wait_until(lambda: answers(probe, "/readyz"), READY_LIMIT, "ready")

    def restart_apiserver(self) -> None:
        """Kill it and start it again: its watch cache is new, so old watches have to start over."""
        self.apiserver.kill()
        self.start_apiserver()

    def snapshot(self) -> Path:
        """A copy of etcd's data as it is now, for :meth:`restore`.

        etcd is frozen while it is copied, so the copy is what a crash would have left, which etcd recovers from.
        """
        copy = self.folder / f"snapshot-{time.monotonic_ns()}"
        self.etcd.freeze()
        try:
            shutil.copytree(self._data, copy)
        finally:
            self.etcd.thaw()
        return copy

    def restore(self, snapshot: Path) -> None:
        """Put the data back as they were: objects made since are gone and resourceVersions start from then."""
        self.apiserver.kill()
        self.etcd.kill()
        shutil.rmtree(self._data)
        shutil.copytree(snapshot, self._data)
        self.start_etcd()
        self.start_apiserver()

    def compact(self) -> int:
        """Throw away etcd's history up to now and return its revision: a watch from before it is answered 410.

        A running kube-apiserver still has its own window of events; restart it for the 410 to be seen.
        """
        etcd = ApiClient(self._etcd_url)
        revision = int(etcd.request("POST", "/v3/kv/range", {"key": "AA=="})["header"]["revision"])
        etcd.request("POST", "/v3/kv/compaction", {"revision": revision, "physical": True})
        return revision

    def write_kubeconfig(self, name: str, url: str, token: str = "") -> Path:
        """A kubeconfig file for ``url``: with the token, or else the admin certificate (https) or nothing (http)."""
        user: dict[str, str] = {}
        if token:
            user = {"token": token}
        elif url.startswith("https:"):
            user = {"client-certificate": str(self._admin.certificate), "client-key": str(self._admin.key)}
        server = {"server": url}
        if url.startswith("https:"):
            server["certificate-authority"] = str(self.ca_file)
        path = self.folder / f"{name}.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "tests", "cluster": server}],
                    "users": [{"name": name, "user": user}],
                    "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": name}}],
                    "current-context": "tests",
                },
                indent=2,
            )
        )
        return path

    def log_ends(self) -> str:
        """The last lines of every program's log, for a failed test's report."""
        processes = [p for p in (self.etcd, self.apiserver, self.node) if p is not None]
        return "\n".join(f"--- {p.log}\n{p.tail(1500)}" for p in processes)

    def _make_etcd(self) -> Process:
        peer = f"http://127.0.0.1:{free_port()}"
        argv = [
            str(self._binaries.etcd),
            f"--data-dir={self._data}",
            f"--listen-client-urls={self._etcd_url}",
            f"--advertise-client-urls={self._etcd_url}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ]
        return Process("etcd", argv, self.folder / "etcd.log")

    def _make_apiserver(self) -> Process:
        serving = self.authority.issue("serving", "kube-apiserver", hosts=["127.0.0.1", "localhost"])
        kubelet_client = self.authority.issue("kubelet-client", "kube-apiserver-kubelet-client", "system:masters")
        accounts = signing_key(self.authority.folder, "service-accounts")
        tokens = self.folder / "tokens.csv"
        tokens.touch(mode=0o600)
        tokens.write_text(f'{self.token},token-admin,token-admin,"system:masters"\n')
        argv = [
            str(self._binaries.kube_apiserver),
            f"--etcd-servers={self._etcd_url}",
            "--bind-address=127.0.0.1",
            # What discovery says of where it is, in place of the machine's address.
            "--external-hostname=127.0.0.1",
            f"--secure-port={self.port}",
            f"--tls-cert-file={serving.certificate}",
            f"--tls-private-key-file={serving.key}",
            f"--client-ca-file={self.ca_file}",
            f"--token-auth-file={tokens}",
            "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={accounts}",
            f"--service-account-signing-key-file={accounts}",
            "--service-cluster-ip-range=10.0.0.0/24",
            f"--kubelet-certificate-authority={self.ca_file}",
            f"--kubelet-client-certificate={kubelet_client.certificate}",
            f"--kubelet-client-key={kubelet_client.key}",
            "--kubelet-preferred-address-types=InternalIP",
            # No controllers run: nothing makes service accounts, and nobody needs the kubernetes Service's endpoints.
            "--disable-admission-plugins=ServiceAccount",
            "--endpoint-reconciler-type=none",
            "--allow-privileged=true",
            "--profiling=false",
        ]
        return Process("kube-apiserver", argv, self.folder / "kube-apiserver.log")

    def _make_node(self) -> Process | None:
        if self._binaries.node is None:
            return None
        serving = self.authority.issue("node", f"system:node:{NODE_NAME}", "system:nodes", ["127.0.0.1", NODE_NAME])
        argv = [
            str(self._binaries.node),
            f"--kubeconfig={self.kubeconfig}",
            f"--name={NODE_NAME}",
            f"--folder={self.folder / 'pods'}",
            f"--tls-cert-file={serving.certificate}",
            f"--tls-key-file={serving.key}",
            f"--client-ca-file={self.ca_file}",
        ]
        # It has processes of its own to end.
        return Process("node", argv, self.folder / "node.log", orphaned="TERM")

    def _node_is_ready(self) -> bool:
        try:
            status = self.api.get(f"/api/v1/nodes/{NODE_NAME}")["status"]
        except ApiError:
            return False
        return any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", ()))


def answers(client: ApiClient, path: str) -> bool:
    try:
        code, _, _ = client.exchange("GET", path)
    except OSError:
        return False
    return code == 200
