"""Whether a workspace is on this cluster (spec 03, 3.3)."""

from __future__ import annotations

from typing import Any

from ksproxyd.controllers.labels import labels
from ksproxyd.kapis.tenant.placement import decided
from ksproxyd.model.status import StatusError
from ksproxyd.state.store import Object, Store
from ksproxyd.state.validation import field, name_of
from ksproxyd.tree.member_cluster import HOST_LABEL

#: What this cluster may always be called.
ALIAS = "host"


class Here:
    """This cluster among all of them; ``host_name`` is ``multicluster.hostClusterName``."""

    def __init__(self, clusters: Store, host_name: str) -> None:
        self._clusters = clusters
        self._names = frozenset(filter(None, (ALIAS, host_name)))

    def cluster(self) -> Object | None:
        """The Cluster that stands for this one; None where there is none, or its kind is not served just now."""
        return next((each for each in self._clusters.values() if HOST_LABEL in labels(each)), None)

    def has(self, placement: Any) -> bool | None:
        """Whether ``placement`` is on this cluster, too; None if that cannot be said.

        Without a Cluster of its own it has the names that it is always called, and no labels; that it is left out is
        not certain then.
        """
        try:
            names, selector = decided(placement)
        except StatusError:
            return None
        own = self.cluster()
        if names:
            # An alias is none where a cluster really has that name.
            known = {each for each in self._names if ("", each) not in self._clusters}
            found = not (known if own is None else known | {name_of(own)}).isdisjoint(names)
        elif selector is None:
            found = False
        else:
            found = selector.matches(labels(own) if own is not None else {})
        return found if found or own is not None else None


def wanted_workspace(template: Object) -> Object:
    """What the Workspace of ``template`` has from it: labels and annotations, and its spec."""
    return {
        "labels": field(template, "spec", "template", "metadata", "labels"),
        "annotations": field(template, "spec", "template", "metadata", "annotations"),
        "spec": field(template, "spec", "template", "spec"),
    }
