"""A gateway with the state that the golden transcripts were recorded on: ``../shared/golden``, where a checkout has it.

Nothing of that folder is kept here; it is read from beside the checkout and loaded into the embedded API.
"""

from __future__ import annotations

import base64
import json
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml

from ksproxyd.testing import Authority
from live.process import Program, free_port, get, ksproxyd, until

SHARED = Path(__file__).resolve().parents[3] / "shared"
GOLDEN = SHARED / "golden"

_SETTINGS = """
ksproxyd:
  listeners: ["tcp:{port}:interface=127.0.0.1"]
  stateDir: {state}
  # As recorded: no controller changes anything.
  iam: {{manageUsers: false}}
  controllers: {{mode: false}}
  standalone: {{enabled: true, listen: "tcp:{kube}:interface=127.0.0.1"}}
"""

_DEFINITIONS = {("apiextensions.k8s.io/v1", "CustomResourceDefinition"): ("customresourcedefinitions", False)}


class Site:
    """Everything that runs, by its addresses."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.kube_port = free_port(), free_port()
        self.backend_port, self.backend_tls_port = free_port(), free_port()
        self.ca = Authority("golden")
        self._kubeconfig: Any = None
        self._context: ssl.SSLContext | None = None

    @property
    def base(self) -> str:
        """The gateway."""
        return f"127.0.0.1:{self.port}"

    def settings(self, mode: str) -> Path:
        """The recording's configuration with what is ours."""
        config = yaml.safe_load((GOLDEN / "cluster/kubesphere-config.yaml").read_text())
        whole = yaml.safe_load(config["data"]["kubesphere.yaml"])
        whole["authorization"] = {"mode": mode}
        whole |= yaml.safe_load(
            _SETTINGS.format(port=self.port, kube=self.kube_port, state=self.folder / "state")
        )
        path = self.folder / "kubesphere.yaml"
        path.write_text(yaml.safe_dump(whole))
        return path

    def _ask(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> Any:
        """A request to the embedded API as its administrator; None where nothing is."""
        if self._context is None:
            known = yaml.safe_load((self.folder / "state/admin.kubeconfig").read_text())
            self._kubeconfig = known
            authority = base64.b64decode(known["clusters"][0]["cluster"]["certificate-authority-data"]).decode()
            self._context = ssl.create_default_context(cadata=authority)
        request = urllib.request.Request(
            self._kubeconfig["clusters"][0]["cluster"]["server"] + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": "Bearer " + self._kubeconfig["users"][0]["user"]["token"],
                "Content-Type": kind,
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=20, context=self._context) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise AssertionError(f"{method} {path}: {error.read().decode()[:500]}") from error

    def load(self) -> None:
        """Put definitions, cluster and fixtures into the embedded API."""
        for path in sorted((SHARED / "crds").glob("*.yaml")):
            self._apply(path, _DEFINITIONS)
        # The first user of the embedded API; the recording's has another history.
        self._ask("DELETE", "/apis/iam.kubesphere.io/v1beta1/users/admin")
        plurals = self._plurals()
        for folder in ("cluster", "fixtures"):
            for path in sorted((GOLDEN / folder).glob("*.yaml")):
                # The fixtures have the same user; applied twice it would count as changed.
                if path.name != "user.yaml":
                    self._apply(path, plurals)

    def _plurals(self) -> dict[tuple[str, str], tuple[str, bool]]:
        """Path segment and scope of every kind that is served."""
        found = {}
        groups = [("/api/v1", "v1")]
        for group in self._ask("GET", "/apis")["groups"]:
            groups += [(f"/apis/{v['groupVersion']}", v["groupVersion"]) for v in group["versions"]]
        for path, version in groups:
            for resource in self._ask("GET", path)["resources"]:
                if "/" not in resource["name"]:
                    found[version, resource["kind"]] = resource["name"], resource["namespaced"]
        return found

    def _apply(self, path: Path, plurals: dict[tuple[str, str], tuple[str, bool]]) -> None:
        text = path.read_text()
        authority = base64.b64encode(self.ca.pem)
        values = {
            "CA_B64": authority.decode(),
            "CA_B64_TWICE": base64.b64encode(authority).decode(),
            "KUBECONFIG_B64": base64.b64encode((self.folder / "state/admin.kubeconfig").read_bytes()).decode(),
            "BACKEND_HTTP": f"http://127.0.0.1:{self.backend_port}",
            "BACKEND_HTTPS": f"https://127.0.0.1:{self.backend_tls_port}",
            "KUBE_APISERVER": f"https://127.0.0.1:{self.kube_port}",
        }
        for name, value in values.items():
            text = text.replace("${" + name + "}", value)
        for document in filter(None, yaml.safe_load_all(text)):
            self._put(document, plurals)

    def _put(self, document: Any, plurals: dict[tuple[str, str], tuple[str, bool]]) -> None:
        version, kind = document["apiVersion"], document["kind"]
        if (version, kind) not in plurals:
            return
        plural, namespaced = plurals[version, kind]
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        metadata = document["metadata"]
        within = f"/namespaces/{metadata.get('namespace', 'kubesphere-system')}" if namespaced else ""
        path = f"{root}{within}/{plural}/{metadata['name']}"
        query = "?fieldManager=golden&force=true"
        self._ask("PATCH", path + query, document, "application/apply-patch+yaml")
        if "status" in document:
            # Kinds without that subresource have taken it with the rest.
            self._ask("PATCH", path + "/status", {"status": document["status"]}, "application/merge-patch+json")

    def tool(self, name: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run one of the recording's tools."""
        return subprocess.run(
            [sys.executable, str(GOLDEN / "tools" / name), *words], capture_output=True, text=True, timeout=600
        )


@contextmanager
def golden_site(folder: Path, mode: str = "AlwaysAllow") -> Iterator[Site]:
    """A site that is ready to be asked."""
    site = Site(folder)
    certificate = site.ca.issue("127.0.0.1")
    (folder / "backend.crt").write_bytes(certificate.certificate)
    (folder / "backend.key").write_bytes(certificate.key)
    for name in ("gateway", "backend"):
        (folder / name).mkdir()
    with ExitStack() as stack:
        backend = [
            *(sys.executable, str(GOLDEN / "tools/backend.py")),
            *("--http", str(site.backend_port), "--https", str(site.backend_tls_port)),
            *("--cert", str(folder / "backend.crt"), "--key", str(folder / "backend.key")),
        ]
        stack.enter_context(Program(backend, folder / "backend"))
        gateway = stack.enter_context(
            Program(ksproxyd("run", "--config", str(site.settings(mode))), folder / "gateway")
        )
        until(lambda: gateway.process.poll() is not None or get(f"http://{site.base}/readyz")[0] == 200, "a start")
        assert gateway.process.poll() is None, gateway.output()
        site.load()
        until(lambda: get(f"http://{site.base}/readyz")[0] == 200, "sync")
        yield site
