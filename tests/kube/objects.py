"""Manifests of the objects that tests put into the cluster."""

from __future__ import annotations

import base64

from .client import Object

GROUP = "/apis/extensions.kubesphere.io/v1alpha1"
API_SERVICES = f"{GROUP}/apiservices"
REVERSE_PROXIES = f"{GROUP}/reverseproxies"
JS_BUNDLES = f"{GROUP}/jsbundles"


def extension(kind: str, name: str, spec: Object, status: Object | None = None) -> Object:
    return {
        "apiVersion": "extensions.kubesphere.io/v1alpha1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
        "status": {"state": "Available", **(status or {})},
    }


def api_service(group: str, url: str, version: str = "v1") -> Object:
    """An APIService; its route is ``/kapis/<group>/<version>/...``."""
    return extension("APIService", f"{version}.{group}", {"group": group, "version": version, "url": url})


def reverse_proxy(name: str, url: str) -> Object:
    """A ReverseProxy; its route is ``/proxy/<name>/...``, of which the backend sees what follows the name."""
    return extension(
        "ReverseProxy",
        name,
        {
            "matcher": {"path": f"/proxy/{name}/*", "method": "*"},
            "upstream": {"url": url},
            "directives": {"stripPathPrefix": f"/proxy/{name}"},
        },
    )


def js_bundle(name: str, script: bytes) -> Object:
    """A JSBundle with its script in it, at ``/dist/<name>/index.js``."""
    spec = {"raw": base64.b64encode(script).decode()}
    return extension("JSBundle", name, spec, {"link": f"/dist/{name}/index.js"})


def pod(name: str, script: str, *, stdin: bool = False) -> Object:
    """A Pod of one container that runs a shell script."""
    container = {"name": "main", "image": "none", "command": ["sh", "-c", script], "stdin": stdin}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 1},
    }


def config_map(name: str, **data: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def namespace(name: str) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
