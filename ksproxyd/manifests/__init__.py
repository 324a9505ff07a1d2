"""The custom resource definitions of the kinds that the gateway reads, and the roles that there are at the beginning.

One YAML file a definition. They are supersets of the definitions of a stock installation: whatever is stored there
is valid here, and the added fields are optional. In ``roles`` is what makes them useful: the built-in roles, the
templates that they and others are put together from, and who has them (spec 03, 3.4).
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import msgspec
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
    found: list[dict[str, Any]] = msgspec.json.decode(_decoded("definitions"))
    return found


def role_stream() -> str:
    """The roles and what belongs to them as one YAML stream. The definitions must be there first."""
    return "---\n".join(_read(f"roles/{name}") for name in ROLES)


def roles() -> list[dict[str, Any]]:
    """The same, decoded. Every call makes new objects."""
    found: list[dict[str, Any]] = msgspec.json.decode(_decoded("roles"))
    return found


@cache
def _decoded(what: str) -> bytes:
    """Either of the two as JSON: reading YAML takes a hundred times as long, and tests do it for each gateway."""
    stream = crds() if what == "definitions" else role_stream()
    return msgspec.json.encode(list(yaml.load_all(stream, Loader=yaml.CSafeLoader)))


def _read(name: str) -> str:
    return files(__name__).joinpath(f"{name}.yaml").read_text(encoding="utf-8")
