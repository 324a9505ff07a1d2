"""A kubeconfig that came with an object of the cluster, such as a Cluster's.

Whoever may write the object is not whoever runs this process, so it may hold values only: no files of this machine
and no program to run.
"""

from __future__ import annotations

from typing import Any

import yaml

from ksproxyd.kube.connection import Connection
from ksproxyd.kube.errors import AccessError
from ksproxyd.kube.kubeconfig import connection_of

#: Keys that would make us read files, run programs or go elsewhere.
_FORBIDDEN = frozenset(
    ["exec", "auth-provider", "tokenFile", "client-certificate", "client-key", "certificate-authority", "proxy-url"]
)

# What the library lets through for values that are not what their tags say (``!!int x``), and for too deep ones.
_NOT_YAML = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)

#: Largest kubeconfig that is looked at, in bytes.
LIMIT = 256 * 1024


def stored_kubeconfig(text: bytes, origin: str) -> Connection:
    """The connection that the current context of ``text`` describes. Raises :class:`AccessError`."""
    if len(text) > LIMIT:
        raise AccessError(f"{origin}: its kubeconfig is larger than {LIMIT} bytes")
    try:
        found = yaml.load(text, Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, *_NOT_YAML) as error:
        raise AccessError(f"{origin}: its kubeconfig is not YAML") from error
    if not isinstance(found, dict):
        raise AccessError(f"{origin}: its kubeconfig is not a kubeconfig")
    context = _entry(found, "contexts", found.get("current-context"), "context", origin)
    cluster = _entry(found, "clusters", context.get("cluster"), "cluster", origin)
    user = _entry(found, "users", context.get("user"), "user", origin) if context.get("user") else {}
    for section in (cluster, user):
        for key in sorted(_FORBIDDEN & section.keys()):
            raise AccessError(f"{origin}: its kubeconfig must hold its values itself; {key} is not allowed")
    return connection_of(origin, cluster, user)


def _entry(config: dict[str, Any], table: str, name: object, what: str, origin: str) -> dict[str, Any]:
    entries = config.get(table)
    if isinstance(entries, list) and isinstance(name, str):
        for entry in entries:
            if isinstance(entry, dict) and entry.get("name") == name and isinstance(entry.get(what), dict):
                return entry[what]
    raise AccessError(f"{origin}: its kubeconfig {f'has no {what} {name!r}' if name else f'names no {what}'}")
