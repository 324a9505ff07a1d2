"""A Lease beside each pod says that somebody still uses it; whoever sweeps deletes pods whose Leases are old.

Names, labels and rhythm are those that KubeSphere's controllers look for, so that these sweep as well. The pod owns its
Lease, which goes with it. The Lease is there first: at whatever moment a gateway is killed, its pods count as unused a
minute later.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from twisted.internet.interfaces import IReactorTime

from ksproxyd.kube.client import KubeClient
from ksproxyd.kube.errors import KubeError
from ksproxyd.kube.resource import Resource
from ksproxyd.state.validation import field, text

LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease", namespaced=True)

LABEL = "kubesphere.io/kubectl-pod"
LABELS = {LABEL: "", "kubesphere.io/managed": "true"}

#: Seconds between renewals, and the age at which a Lease counts for nothing any more.
RENEW, OLD = 27.0, 60.0

Object = dict[str, Any]


def timestamp(seconds: float) -> str:
    """A time as Leases have it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def owner(lease: Object) -> str:
    """The uid of the pod that a Lease belongs to; empty if it does not say."""
    owners = field(lease, "metadata", "ownerReferences")
    for each in owners if isinstance(owners, list) else ():
        if text(each, "kind") == "Pod":
            return text(each, "uid")
    return ""


def age(lease: Object, now: float) -> float:
    """Seconds since the Lease was renewed; infinite if that is not known."""
    try:
        renewed = datetime.fromisoformat(text(lease, "spec", "renewTime"))
    except ValueError:
        return float("inf")
    if renewed.tzinfo is None:
        renewed = renewed.replace(tzinfo=UTC)
    return now - renewed.timestamp()


class Leases:
    """Takes, renews and deletes them. All raise :class:`KubeError`."""

    def __init__(self, clock: IReactorTime, client: KubeClient) -> None:
        self._clock = clock
        self._client = client

    async def take(self, namespace: str, pod: str, uid: str = "") -> None:
        """Have a Lease for the pod: a new one, or the one that is there, renewed. There need not be the pod yet."""
        now = timestamp(self._clock.seconds())
        metadata: Object = {"labels": LABELS}
        if uid:
            # If it stayed that of a pod before this one, it would be taken away with that.
            metadata["ownerReferences"] = [{"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": uid}]
        lease = {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {"name": pod, "namespace": namespace, **metadata},
            "spec": {"acquireTime": now, "renewTime": now},
        }
        try:
            await self._client.create(LEASES, lease, namespace)
        except KubeError as error:
            if error.code != 409:
                raise
            await self._client.patch(LEASES, pod, {"metadata": metadata, "spec": {"renewTime": now}}, namespace)

    async def renew(self, namespace: str, pod: str, uid: str) -> None:
        """Say that the pod is still used."""
        change = {"spec": {"renewTime": timestamp(self._clock.seconds())}}
        try:
            await self._client.patch(LEASES, pod, change, namespace)
        except KubeError as error:
            if error.code != 404:
                raise
            # Without one the pod would be nobody's, and swept under its session.
            await self.take(namespace, pod, uid)

    async def drop(self, lease: Object) -> None:
        """Delete a Lease of a pod that is gone, unless somebody has renewed it since it was read.

        The cluster does it, too, in its own time.
        """
        metadata = lease["metadata"]
        try:
            await self._client.delete(
                LEASES,
                metadata["name"],
                metadata["namespace"],
                uid=metadata.get("uid", ""),
                resource_version=metadata.get("resourceVersion", ""),
            )
        except KubeError as error:
            if error.code not in (404, 409):
                raise
