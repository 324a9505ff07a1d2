"""Ways through a gateway that serves its own API, to backends on loopback."""

from __future__ import annotations

import json
import urllib.request


def route(port: int, name: str, backend: int) -> None:
    """Have the gateway at ``port`` pass on what is below ``/proxy/<name>`` to the backend's port."""
    made = {
        "apiVersion": "extensions.kubesphere.io/v1alpha1",
        "kind": "ReverseProxy",
        "metadata": {"name": name},
        "spec": {
            "matcher": {"path": f"/proxy/{name}/*", "method": "*"},
            "upstream": {"url": f"http://127.0.0.1:{backend}"},
            "directives": {"stripPathPrefix": f"/proxy/{name}"},
        },
        "status": {"state": "Available"},
    }
    path = f"http://127.0.0.1:{port}/apis/extensions.kubesphere.io/v1alpha1/reverseproxies"
    request = urllib.request.Request(path, json.dumps(made).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 201
