"""etcd, kube-apiserver, the golden backend and a gateway, with the state that the golden transcripts were recorded on.

Nothing of ``../shared`` is kept here; it is read from beside the checkout and loaded with the tools that are there.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml
from kube.binaries import Binaries
from kube.client import ApiClient
from kube.cluster import Cluster
from kube.gateway_process import Gateway
from kube.processes import Process, free_port

SHARED = Path(__file__).resolve().parents[3] / "shared"
GOLDEN = SHARED / "golden"
TOOLS = GOLDEN / "tools"

AUTHORIZATION = "KSPROXYD_GOLDEN_AUTHORIZATION"
"""Another ``authorization.mode`` than that of the recording, to tell what is about rights from what is not."""

BACKEND_HTTP, BACKEND_HTTPS = 18080, 18443
"""Ports of the recording's backend, which some answers name."""

UNLIMITED = ("basic-http2-preface", "basic-cl-and-te")
"""Cases that are recorded without their ``read`` limit. With one the recorder does not look whether the connection was
closed behind an answer that says how long it is, which is what the judge wants to know of these."""

TOOL_LIMIT = 900.0
"""Seconds that a tool may take; a whole recording takes about a minute on an idle machine."""

SYSTEM_NAMESPACE = "kubesphere-system"


class Site:
    """What runs, and what was recorded from it.

    Ports are free ones; in the recording they are written as those of the original's recording.
    """

    def __init__(self, folder: Path, cluster: Cluster, kubectl: Path) -> None:
        self.folder = folder
        self.cluster = cluster
        self._kubectl = kubectl
        self.backend_port, self.backend_tls_port = free_port(), free_port()
        self.recording = folder / "mine.jsonl"
        self.gateway = Gateway(folder / "gateway", cluster.kubeconfig, settings())

    def backend(self) -> Process:
        """The extension backend, whose TLS port is the node, too: kube-apiserver has to trust its certificate."""
        pair = self.cluster.authority.issue("golden-backend", "golden-backend", hosts=["127.0.0.1", "localhost"])
        argv = [
            *(sys.executable, str(TOOLS / "backend.py")),
            *("--http", str(self.backend_port), "--https", str(self.backend_tls_port)),
            *("--cert", str(pair.certificate), "--key", str(pair.key)),
        ]
        return Process("golden backend", argv, self.folder / "backend.log")

    def load(self) -> None:
        """Put definitions, cluster and fixtures into the API, in that order."""
        self._define()
        # The fixtures have the same user; applied twice it would count as changed.
        stock = [path for path in sorted((GOLDEN / "cluster").glob("*.yaml")) if path.name != "user.yaml"]
        namespaces, *fixtures = sorted((GOLDEN / "fixtures").glob("*.yaml"))
        kubeconfig = self._kubeconfig()
        done = self.tool(
            "load.py",
            *("--kubeconfig", str(kubeconfig), "--ca", str(self.cluster.ca_file)),
            *("--backend-http", f"http://127.0.0.1:{self.backend_port}"),
            *("--backend-https", f"https://127.0.0.1:{self.backend_tls_port}"),
            *("--kube-apiserver", self.cluster.url),
            *map(str, (namespaces, *stock, *self._copied(fixtures))),
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def _define(self) -> None:
        api, served = self.cluster.api, []
        for path in sorted((SHARED / "crds").glob("*.yaml")):
            for definition in filter(None, yaml.safe_load_all(path.read_text())):
                definition.pop("status", None)
                api.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
                spec = definition["spec"]
                served += [
                    f"/apis/{spec['group']}/{version['name']}/{spec['names']['plural']}?limit=1"
                    for version in spec["versions"]
                    if version["served"]
                ]
        for target in served:
            self.cluster.apiserver.wait_until(lambda: api.exchange("GET", target)[0] == 200, 60, f"serving {target}")  # noqa: B023

    def _kubeconfig(self) -> Path:
        """The administrator's, for a stock installation's namespace, which its objects do not name."""
        config = json.loads(self.cluster.kubeconfig.read_text())
        config["contexts"][0]["context"]["namespace"] = SYSTEM_NAMESPACE
        path = self.folder / "load.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(json.dumps(config))
        return path

    def _copied(self, fixtures: list[Path]) -> list[Path]:
        """Copies of the fixtures, with our ports."""
        folder = self.folder / "fixtures"
        folder.mkdir()
        for path in fixtures:
            (folder / path.name).write_text(self._ported(path.read_text()))
        return [folder / path.name for path in fixtures]

    def _ported(self, text: str) -> str:
        """``text`` with our backend's ports where those of the recording are written out."""
        text = text.replace(f"127.0.0.1:{BACKEND_HTTP}", f"127.0.0.1:{self.backend_port}")
        return text.replace(f"Port: {BACKEND_HTTPS}", f"Port: {self.backend_tls_port}")

    def record(self) -> None:
        """Ask everything, in order."""
        document = yaml.safe_load(self._ported((GOLDEN / "cases.yaml").read_text()))
        for case in document["cases"]:
            if case["id"] in UNLIMITED:
                del case["read"]
        cases = self.folder / "cases.yaml"
        cases.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
        done = self.tool(
            "record.py",
            *("--cases", str(cases), "--out", str(self.recording), "--base", f"127.0.0.1:{self.gateway.port}"),
            *("--backend", f"127.0.0.1:{self.backend_port}"),
        )
        assert done.returncode == 0, done.stdout + done.stderr
        text = self.recording.read_text()
        for mine, recorded in (
            (self.gateway.port, 9090),
            (self.backend_port, BACKEND_HTTP),
            (self.backend_tls_port, BACKEND_HTTPS),
            (self.cluster.port, 16443),
        ):
            text = text.replace(f"127.0.0.1:{mine}", f"127.0.0.1:{recorded}")
        text = text.replace(f'Port\\":{self.backend_tls_port}', f'Port\\":{BACKEND_HTTPS}')
        self.recording.write_text(text)

    def judge(self, *words: str) -> subprocess.CompletedProcess[str]:
        """What the judge says of the recording."""
        files = (GOLDEN / "expect.yaml", GOLDEN / "ks-apiserver.jsonl", self.recording)
        return self.tool("judge.py", *map(str, files), *words)

    def tool(self, name: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run one of the recording's tools, with the kubectl that was built."""
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        path = f"{self._kubectl.parent}:{os.environ['PATH']}"
        return subprocess.run(
            [sys.executable, str(TOOLS / name), *words],
            capture_output=True,
            text=True,
            timeout=TOOL_LIMIT,
            env={**os.environ, "PATH": path, "HOME": str(home)},
        )


def settings() -> dict[str, Any]:
    """The recording's configuration with what is ours."""
    config = yaml.safe_load((GOLDEN / "cluster/kubesphere-config.yaml").read_text())
    whole: dict[str, Any] = yaml.safe_load(config["data"]["kubesphere.yaml"])
    whole["authorization"] = {"mode": os.environ.get(AUTHORIZATION) or "RBAC"}
    # As recorded: no controller changes anything.
    whole["ksproxyd"] = {
        "iam": {"manageUsers": False},
        "extensions": {"manageStatus": False},
        "controllers": {"mode": False},
    }
    return whole


@contextmanager
def golden_site(binaries: Binaries, folder: Path) -> Iterator[Site]:
    """A site that is ready to be asked."""
    with ExitStack() as stack:
        # The fixtures have a node of their own.
        cluster = stack.enter_context(Cluster(dataclasses.replace(binaries, node=None), folder / "cluster"))
        site = Site(folder, cluster, binaries.kubectl)
        backend = site.backend()
        stack.callback(backend.stop)
        backend.start()
        probe = ApiClient(f"http://127.0.0.1:{site.backend_port}")
        backend.wait_until(lambda: _answers(probe), 30, "listening")
        site.load()
        stack.enter_context(site.gateway)
        yield site


def _answers(probe: ApiClient) -> bool:
    try:
        return probe.exchange("GET", "/__log")[0] == 200
    except OSError:
        return False
