"""The custom resource definitions of the kinds that the gateway reads.

One YAML file a kind. They are supersets of the definitions of a stock installation: whatever is stored there
is valid here, and the added fields are optional.
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


def crds() -> str:
    """All definitions as one YAML stream, for ``kubectl apply -f -``."""
    return "---\n".join(_read(name) for name in NAMES)


def definitions() -> list[dict[str, Any]]:
    """All definitions, decoded. Every call makes new objects."""
    return [yaml.safe_load(_read(name)) for name in NAMES]


def _read(name: str) -> str:
    return files(__name__).joinpath(f"{name}.yaml").read_text(encoding="utf-8")
