"""Starts a cluster in which the gateway's kinds are defined."""

from __future__ import annotations

from pathlib import Path

from ksproxyd import manifests

from .binaries import Binaries
from .client import Object
from .cluster import Cluster


def start_cluster(binaries: Binaries, folder: Path) -> Cluster:
    """A running cluster with the gateway's kinds defined in it; the caller stops it."""
    cluster = Cluster(binaries, folder)
    try:
        cluster.start()
        define_kinds(cluster)
    except BaseException:
        cluster.stop()
        raise
    return cluster


def define_kinds(cluster: Cluster) -> None:
    for definition in manifests.definitions():
        cluster.api.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
    for definition in manifests.definitions():
        wait_until_served(cluster, definition)


def wait_until_served(cluster: Cluster, definition: Object) -> None:
    spec = definition["spec"]
    path = f"/apis/{spec['group']}/{spec['versions'][0]['name']}/{spec['names']['plural']}"
    cluster.apiserver.wait_until(lambda: cluster.api.exchange("GET", path)[0] == 200, 30, f"serving {path}")
