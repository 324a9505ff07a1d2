"""Where events are from: this host, this cluster, and the workspace of a namespace."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Any

from ksproxyd.audit.event import Place
from ksproxyd.model.request_info import WORKSPACE_LABEL, RequestInfo
from ksproxyd.settings.kubesphere import MulticlusterSettings
from ksproxyd.state.store import Object, Store

#: The annotation that says how this cluster is called, and the namespace that has it.
CLUSTER_NAME, SYSTEM = "cluster.kubesphere.io/name", "kubesphere-system"

#: An address that is nobody's (RFC 5737): no packet is sent to find out how one would leave.
_ELSEWHERE = ("192.0.2.1", 9)


def place(environ: Mapping[str, str], address: Callable[[], str] | None = None) -> Place:
    """This host. ``HOSTNAME`` and ``POD_IP`` of the environment say it in a pod."""
    name = environ.get("HOSTNAME") or socket.gethostname()
    return Place(name, environ.get("POD_IP") or (address or own_address)())


def own_address() -> str:
    """The IPv4 address from which this host speaks to others; empty if it speaks to none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_ELSEWHERE)
            return str(probe.getsockname()[0])
        except OSError:
            return ""


class Whereabouts:
    """Which cluster this is, and which workspaces namespaces belong to, from what is followed anyway."""

    def __init__(self, namespaces: Store, multicluster: MulticlusterSettings) -> None:
        self._namespaces = namespaces
        host = "" if multicluster.cluster_role == "member" else multicluster.host_cluster_name
        self._named = multicluster.cluster_name or host
        #: The name of this cluster.
        self.cluster = self._named
        self._unsubscribe = namespaces.subscribe(self._changed, replay=True)

    def stop(self) -> None:
        """Follow no more."""
        self._unsubscribe()

    def workspace(self, info: RequestInfo) -> str:
        """The workspace that a request about ``info`` is in; empty if it is in none."""
        if info.workspace:
            return info.workspace
        name = info.namespace or (info.name if info.resource == "namespaces" else "")
        if not name:
            return ""
        found = self._namespaces.get(("", name))
        return "" if found is None else _text(found, "labels", WORKSPACE_LABEL)

    def _changed(self, old: Object | None, new: Object | None) -> None:
        if new is not None and new["metadata"]["name"] == SYSTEM:
            self.cluster = _text(new, "annotations", CLUSTER_NAME) or self._named


def _text(obj: Object, part: str, key: str) -> str:
    found: Any = obj["metadata"].get(part)
    value = found.get(key) if isinstance(found, dict) else None
    return value if isinstance(value, str) else ""
