"""The custom resource definitions of the kinds that the gateway reads, and the roles that there are at the beginning.

One YAML file a definition. They are supersets of the definitions of a stock installation: whatever is stored there
is valid here, and the added fields are optional. In ``roles`` is what makes them useful: the built-in roles, the
templates that they and others are put together from, and who has them (spec 03, 3.4).
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import yaml

#: The files, in the order in which they are printed.
NAMES = (
    "apiservices",
    "reverseproxies",
    "jsbundles",
    "extensionentries",
    "clusters",
    "users",
    "groups",
    "groupbindings",
    "loginrecords",
    "globalroles",
    "globalrolebindings",
    "workspaceroles",
    "workspacerolebindings",
    "clusterroles",
    "clusterrolebindings",
    "roles",
    "rolebindings",
    "roletemplates",
    "categories",
    "builtinroles",
    "workspaces",
    "workspacetemplates",
    "resourcequotas",
    "serviceaccounts",
)

#: The files of ``roles``, in an order in which nothing refers to what comes later.
ROLES = (
    "categories",
    "templates-global",
    "templates-cluster",
    "templates-workspace",
    "templates-namespace",
    "global",
    "cluster",
    "builtin",
    "bindings",
    "workspaces",
)


def crds() -> str:
    """All definitions as one YAML stream, for ``kubectl apply -f -``."""
    return "---\n".join(_read(name) for name in NAMES)


def definitions() -> list[dict[str, Any]]:
    """All definitions, decoded. Every call makes new objects."""
    return [yaml.safe_load(_read(name)) for name in NAMES]


def role_stream() -> str:
    """The roles and what belongs to them as one YAML stream. The definitions must be there first."""
    return "---\n".join(_read(f"roles/{name}") for name in ROLES)


def roles() -> list[dict[str, Any]]:
    """The same, decoded. Every call makes new objects."""
    return list(yaml.load_all(role_stream(), Loader=yaml.CSafeLoader))


def _read(name: str) -> str:
    return files(__name__).joinpath(f"{name}.yaml").read_text(encoding="utf-8")
