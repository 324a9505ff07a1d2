"""A cluster with something to read and a role that allows it, and what makes the gateway go by roles."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .binaries import Binaries
from .cluster import Cluster
from .objects import config_map
from .objects import namespace as namespace_object
from .people import IAM, oauth_client, reader_role
from .starting import start_cluster

SETTINGS = {
    "authorization": {"mode": "RBAC"},
    "authentication": {"multipleLogin": True, "issuer": {"jwtSecret": "0123456789" * 4}},
    "ksproxyd": {
        "iam": {"manageUsers": False},
        "extensions": {"manageStatus": False, "openapi": False},
        "controllers": {"mode": False},
    },
}


def maps(namespace: str) -> str:
    """Where ConfigMaps are; there is one, ``app``."""
    return f"/api/v1/namespaces/{namespace}/configmaps"


def bindings(namespace: str) -> str:
    """Where the bindings to role ``reader`` are."""
    return f"{IAM}/namespaces/{namespace}/rolebindings"


@contextmanager
def rights_cluster(binaries: Binaries, folder: Path, namespace: str) -> Iterator[Cluster]:
    """A cluster without nodes in which ``namespace`` has the ConfigMap and the role."""
    cluster = start_cluster(dataclasses.replace(binaries, node=None), folder)
    try:
        api = cluster.api
        for name in ("kubesphere-system", namespace):
            api.create("/api/v1/namespaces", namespace_object(name))
        api.create("/api/v1/namespaces/kubesphere-system/secrets", oauth_client())
        api.create(maps(namespace), config_map("app", a="1"))
        api.create(f"{IAM}/namespaces/{namespace}/roles", reader_role(namespace))
        yield cluster
    finally:
        cluster.stop()
