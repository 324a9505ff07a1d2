"""A cluster with a node and one Pod, a gateway before it, and people who may open terminals, or may not."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote, urlencode

from .client import ApiClient, Object
from .cluster import Cluster
from .gateway_process import Gateway
from .objects import namespace as namespace_object
from .objects import pod
from .people import IAM, VERSION, apply_user, log_in, oauth_client, reader_role
from .websocket_client import Terminal

GROUP = "/kapis/terminal.kubesphere.io/v1alpha2"
NAMESPACE = "terminals"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
BINDINGS = f"{IAM}/namespaces/{NAMESPACE}/rolebindings"
POD = "web-0"

PROMPT = "$> "
"""What the Pod's shells show; the environment of its container says so."""

SETTINGS: dict[str, Any] = {
    "authorization": {"mode": "RBAC"},
    "authentication": {"multipleLogin": True, "issuer": {"jwtSecret": "0123456789" * 4}},
    "ksproxyd": {"iam": {"manageUsers": False}, "extensions": {"manageStatus": False, "openapi": False}},
    "terminal": {
        "uploadFileLimit": "2Gi",
        "spoolLimit": "3Gi",
        "maxSessionsPerUser": 1000,
        "maxSessions": 1000,
        "startsPerMinute": 100000,
    },
}


def with_shell(name: str, script: str = "sleep 3600") -> Object:
    """A Pod whose shells all have the same prompt."""
    made = pod(name, script)
    # Whatever a bash of this machine reads at its start.
    environment = {"PS1": PROMPT, "PROMPT_COMMAND": f"PS1='{PROMPT}'", "HISTFILE": ""}
    made["spec"]["containers"][0]["env"] = [{"name": key, "value": value} for key, value in environment.items()]
    return made


def binding(name: str, role: str) -> Object:
    """RoleBinding of the user ``name`` in the namespace."""
    return {
        "apiVersion": VERSION,
        "kind": "RoleBinding",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"iam.kubesphere.io/user-ref": name}},
        "roleRef": {"apiGroup": "iam.kubesphere.io", "kind": "Role", "name": role},
        "subjects": [{"apiGroup": "iam.kubesphere.io", "kind": "User", "name": name}],
    }


def operator_role() -> Object:
    """Role ``operator``: everything in the namespace."""
    rules = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
    metadata = {"name": "operator", "namespace": NAMESPACE}
    return {"apiVersion": VERSION, "kind": "Role", "metadata": metadata, "rules": rules}


class TerminalSite:
    """Everything that a terminal needs, with the gateway as a process. Use with ``with``."""

    def __init__(self, cluster: Cluster, folder: Path, settings: dict[str, Any] | None = None) -> None:
        self.cluster = cluster
        self.api = cluster.api
        self.gateway = Gateway(folder, cluster.kubeconfig, settings or SETTINGS)

    def __enter__(self) -> TerminalSite:
        self.gateway.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.gateway.__exit__(kind, error, traceback)

    def furnish(self) -> None:
        """Put roles and the Pod into an empty cluster."""
        for name in ("kubesphere-system", NAMESPACE):
            self.api.create("/api/v1/namespaces", namespace_object(name))
        self.api.create("/api/v1/namespaces/kubesphere-system/secrets", oauth_client())
        for role in (operator_role(), reader_role(NAMESPACE)):
            self.api.create(f"{IAM}/namespaces/{NAMESPACE}/roles", role)
        self.run_pod(POD)

    def run_pod(self, name: str) -> None:
        """A Pod that runs."""
        self.api.create(PODS, with_shell(name))
        deadline = time.monotonic() + 30
        while self.api.get(f"{PODS}/{name}")["status"].get("phase") != "Running":
            assert time.monotonic() < deadline, f"pod {name} does not run"
            time.sleep(0.05)

    def user(self, name: str, role: str = "operator") -> str:
        """A user with this role, none if that is empty; returns a token of theirs."""
        apply_user(self.api, name)
        if role:
            self.api.create(BINDINGS, binding(name, role))
        token = log_in(self.gateway.url, name)
        if role:
            # The role is known when its holder may read.
            reader = ApiClient(self.gateway.url, token=token)
            deadline = time.monotonic() + 15
            while reader.exchange("GET", PODS)[0] != 200:
                assert time.monotonic() < deadline, f"{name} has no right to read"
                time.sleep(0.05)
        return token

    def shell(
        self, token: str, pod: str = POD, *, shell: str = "bash", container: str = "", **options: Any
    ) -> Terminal:
        """A terminal that has just been opened."""
        target = f"{GROUP}/namespaces/{NAMESPACE}/pods/{pod}/exec"
        query = urlencode({key: value for key, value in (("shell", shell), ("container", container)) if value})
        return Terminal(self.gateway.url, f"{target}?{query}", token, **options)

    def file(self, path: str, **more: str) -> str:
        """The path and query of files of the Pod."""
        return f"{GROUP}/namespaces/{NAMESPACE}/pods/{POD}/file?path={quote(path)}" + "".join(
            f"&{key}={quote(value)}" for key, value in more.items()
        )

    def ask(self, method: str, path: str, token: str, **fields: str) -> tuple[int, Object]:
        """Status and decoded body of a request; what is no JSON is in ``text``."""
        status, _, body = ApiClient(self.gateway.url, token=token).exchange(method, path, None, fields)
        try:
            return status, json.loads(body)
        except ValueError:
            return status, {"text": body.decode("utf-8", "replace")}

    @property
    def pid(self) -> int:
        return self.gateway.process.pid

    def resident(self) -> int:
        """Bytes of memory that the gateway has."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def descriptors(self) -> list[str]:
        """What the gateway has open."""
        found = []
        for each in Path(f"/proc/{self.pid}/fd").iterdir():
            try:
                found.append(os.readlink(each))
            except OSError:
                continue
        return found


def processes_below(pid: int) -> list[str]:
    """The command lines of all descendants of a process."""
    children: dict[int, list[int]] = {}
    names: dict[int, str] = {}
    for each in Path("/proc").iterdir():
        if each.name.isdigit():
            try:
                parent = int((each / "stat").read_text().rpartition(")")[2].split()[1])
                names[int(each.name)] = (each / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            except OSError:
                continue
            children.setdefault(parent, []).append(int(each.name))
    found, waiting = [], [pid]
    while waiting:
        for child in children.get(waiting.pop(), ()):
            found.append(f"{child} {names[child]}")
            waiting.append(child)
    return found
