"""A Lease beside each pod says that somebody still uses it; whoever sweeps deletes pods whose Leases are old.

Names, labels and rhythm are those that KubeSphere's controllers look for, so that these sweep as well. The pod owns its
Lease, which goes with it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from twisted.internet.interfaces import IReactorTime

from ksproxyd.kube.client import KubeClient
from ksproxyd.kube.errors import KubeError
from ksproxyd.kube.resource import Resource
from ksproxyd.state.validation import text

LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease", namespaced=True)

LABEL = "kubesphere.io/kubectl-pod"
LABELS = {LABEL: "", "kubesphere.io/managed": "true"}

#: Seconds between renewals, and the age at which a Lease counts for nothing any more.
RENEW, OLD = 27.0, 60.0

Object = dict[str, Any]


def timestamp(seconds: float) -> str:
    """A time as Leases have it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


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
    """Takes and renews them. Both raise :class:`KubeError`."""

    def __init__(self, clock: IReactorTime, client: KubeClient) -> None:
        self._clock = clock
        self._client = client

    async def take(self, pod: Object) -> None:
        """Have a Lease for ``pod``: a new one, or the one that is there, renewed."""
        metadata = pod["metadata"]
        now = timestamp(self._clock.seconds())
        lease = {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "labels": LABELS,
                "ownerReferences": [
                    {"apiVersion": "v1", "kind": "Pod", "name": metadata["name"], "uid": metadata["uid"]}
                ],
            },
            "spec": {"acquireTime": now, "renewTime": now},
        }
        try:
            await self._client.create(LEASES, lease, metadata["namespace"])
        except KubeError as error:
            if error.code != 409:
                raise
            await self.renew(metadata["namespace"], metadata["name"])

    async def renew(self, namespace: str, name: str) -> None:
        """Say that the pod is still used."""
        await self._client.patch(LEASES, name, {"spec": {"renewTime": timestamp(self._clock.seconds())}}, namespace)
