"""What the backends answer, and the extension objects that lead to them."""

from __future__ import annotations

import json
from typing import Any

Object = dict[str, Any]

MANY = 500
"""How many APIServices, and as many ReverseProxies, the large installation has."""

DOCUMENT = json.dumps(
    {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "settings",
            "namespace": "bench",
            "uid": "5f3d0f0e-6a0c-4f57-9a53-0d3b6f1f6a11",
            "resourceVersion": "48213",
            "creationTimestamp": "2025-01-01T00:00:00Z",
            "labels": {"app.kubernetes.io/name": "bench", "app.kubernetes.io/part-of": "ksproxyd"},
            "annotations": {"bench.ksproxyd.io/purpose": "a small answer, as most answers of an API are"},
        },
        "data": {"endpoint": "https://settings.bench.svc:8443", "interval": "30s", "level": "info", "retries": "3"},
    },
    separators=(",", ":"),
).encode()
"""The small answer."""


class Route:
    """Where an extension's requests come in, and the objects that make it so.

    ``number`` tells the extensions of one installation apart; ``backend`` is the URL that they forward to.
    """

    def __init__(self, number: int, backend: str, authority: str = "") -> None:
        self._group = f"g{number}.bench.ksproxyd.io"
        self._name = f"p{number}"
        self._endpoint: Object = {"url": backend}
        if authority:
            self._endpoint["caBundle"] = authority

    @property
    def api_path(self) -> str:
        """An object of the APIService."""
        return f"/kapis/{self._group}/v1/namespaces/bench/settings/one"

    @property
    def proxy_prefix(self) -> str:
        """What stands before the backend's own path in requests for the ReverseProxy."""
        return f"/proxy/{self._name}"

    @property
    def proxy_path(self) -> str:
        """A path of the ReverseProxy."""
        return f"{self.proxy_prefix}/settings/one"

    def api_service(self) -> Object:
        spec = {"group": self._group, "version": "v1", **self._endpoint}
        return _extension("APIService", f"v1.{self._group}", spec)

    def reverse_proxy(self) -> Object:
        prefix = self.proxy_prefix
        spec = {
            "matcher": {"path": f"{prefix}/*", "method": "*"},
            "upstream": self._endpoint,
            "directives": {"stripPathPrefix": prefix},
        }
        return _extension("ReverseProxy", self._name, spec)


KUBERNETES_PATH = "/api/v1/namespaces/bench/configmaps/settings"
AUDITED_PATH = "/api/v1/namespaces/audited/configmaps/settings"
"""Answered with another ``Audit-Id`` each time, as by kube-apiserver, and with the ``Connection`` field of nginx.

The heads of such answers are the parser's.
"""


def _extension(kind: str, name: str, spec: Object) -> Object:
    return {
        "apiVersion": "extensions.kubesphere.io/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "resourceVersion": "1000", "creationTimestamp": "2025-01-01T00:00:00Z"},
        "spec": spec,
        "status": {"state": "Available"},
    }


def installation(routes: list[Route]) -> Object:
    """The extension objects of a cluster, by the plural of their kind."""
    return {
        "apiservices": [route.api_service() for route in routes],
        "reverseproxies": [route.reverse_proxy() for route in routes],
        "jsbundles": [],
    }
