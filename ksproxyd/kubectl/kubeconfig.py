"""The kubeconfig of somebody who logs in through a gateway. Pure."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import urlsplit

API_VERSION = "client.authentication.k8s.io/v1"

_HINT = "ksproxyd is needed to log in: pip install ksproxyd, or put it where your PATH looks."


def kubeconfig(user: str, server: str, *, ca: bytes = b"", ca_file: str = "", client: str = "") -> dict[str, Any]:
    """A kubeconfig with one context. ``ca`` is what is in ``ca_file``, the PEM file of the server's authorities.

    It holds no secret: tokens are got, and kept, by ``ksproxyd credential``.
    """
    place = urlsplit(server).netloc or server
    arguments = ["credential", "--server", server, "--user", user]
    if ca_file:
        arguments += ["--ca", ca_file]
    if client:
        arguments += ["--client-id", client]
    cluster: dict[str, Any] = {"server": server}
    if ca:
        cluster["certificate-authority-data"] = base64.b64encode(ca).decode("ascii")
    name = f"{user}@{place}"
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": place, "cluster": cluster}],
        "users": [
            {
                "name": name,
                "user": {
                    "exec": {
                        "apiVersion": API_VERSION,
                        "command": "ksproxyd",
                        "args": arguments,
                        "installHint": _HINT,
                        "interactiveMode": "IfAvailable",
                        "provideClusterInfo": False,
                    }
                },
            }
        ],
        "contexts": [{"name": name, "context": {"cluster": place, "user": name}}],
        "current-context": name,
    }
