"""On which clusters a workspace is, and who may put it there (spec 03, 3.3, 5.4, 5.5 and D7, D8, D30)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from ksproxyd.kapis.listing_filters import strings
from ksproxyd.kapis.tenant.permissions import CLUSTER_GROUP, Bindings, Permissions
from ksproxyd.kapis.tenant.visibility import Visibility
from ksproxyd.model.identity import Identity
from ksproxyd.model.selectors import (
    EQUALS,
    EXISTS,
    IN,
    NOT_EXISTS,
    NOT_IN,
    LabelSelector,
    Requirement,
    is_label_key,
    is_label_value,
)
from ksproxyd.model.status import StatusError, bad_request, forbidden, not_found
from ksproxyd.state.kinds import CLUSTER_ROLE_BINDINGS, CLUSTERS
from ksproxyd.state.store import Store
from ksproxyd.state.validation import field, name_of, text

Object = dict[str, Any]

#: A Cluster with this label may be used by everybody.
VISIBILITY, PUBLIC = "cluster.kubesphere.io/visibility", "public"

#: Who has this role in a cluster may use it.
CLUSTER_ADMIN = "cluster-admin"

_OPERATORS = {"In": IN, "NotIn": NOT_IN, "Exists": EXISTS, "DoesNotExist": NOT_EXISTS}


def decided(placement: Any) -> tuple[list[str], LabelSelector | None]:
    """What decides on which clusters a placement is: the names it has, in its order, or else its selector, if any.

    Raises a 400 for what is no placement.
    """
    if placement is not None and not isinstance(placement, dict):
        raise bad_request("spec.placement is not an object")
    clusters, wanted = field(placement, "clusters"), field(placement, "clusterSelector")
    if clusters is not None and not isinstance(clusters, list):
        raise bad_request("spec.placement.clusters is not a list")
    names = [text(each, "name") for each in clusters or ()]
    if not all(names):
        raise bad_request('spec.placement.clusters: write every cluster as {"name": "..."}')
    if names or wanted is None:
        return names, None
    try:
        return [], parse_selector(wanted)
    except ValueError as error:
        raise bad_request(f"spec.placement.clusterSelector: {error}") from None


def parse_selector(value: Any) -> LabelSelector:
    """A ``LabelSelector`` object of Kubernetes. Raises :class:`ValueError` for what is none."""
    if not isinstance(value, dict):
        raise ValueError("it is not an object")
    pairs, expressions = value.get("matchLabels") or {}, value.get("matchExpressions") or []
    if not isinstance(pairs, dict) or not isinstance(expressions, list):
        raise ValueError("matchLabels is an object and matchExpressions a list")
    found = [_requirement(key, EQUALS, [wanted]) for key, wanted in pairs.items()]
    for each in expressions:
        operator = _OPERATORS.get(text(each, "operator"))
        if operator is None:
            raise ValueError("an operator is one of In, NotIn, Exists, DoesNotExist")
        values = field(each, "values") or []
        if not isinstance(values, list) or bool(values) is not (operator in (IN, NOT_IN)):
            raise ValueError("In and NotIn have values, Exists and DoesNotExist have none")
        found.append(_requirement(text(each, "key"), operator, values))
    return LabelSelector(tuple(found))


def _requirement(key: str, operator: str, values: list[Any]) -> Requirement:
    if not is_label_key(key):
        raise ValueError(f"{key!r} is no label key")
    if not all(isinstance(each, str) and is_label_value(each) for each in values):
        raise ValueError(f"a value for {key} is no label value")
    return Requirement(key, operator, tuple(sorted(set(values))))


def _demanding(selector: LabelSelector) -> bool:
    """Whether only clusters with certain labels are meant."""
    return any(each.operator not in (NOT_IN, NOT_EXISTS) for each in selector.requirements)


class Placement:
    """Placements, with the Clusters that there are."""

    def __init__(self, visibility: Visibility, permissions: Permissions, bindings: Bindings) -> None:
        self._clusters: Store = visibility.store(CLUSTERS)
        self._hosts = visibility.hosts
        self._permissions = permissions
        self._bindings = bindings

    def clusters(self, placement: Any) -> list[Object]:
        """The Clusters on which a workspace with this placement is: those it names, or else those it selects.

        Raises a 400 for a placement that is none; :meth:`known_clusters` is for those that are stored.
        """
        names, selector = decided(placement)
        if names:
            return [each for name in dict.fromkeys(names) if (each := self._clusters.get(("", name))) is not None]
        if selector is None:
            return []
        found = [
            each for each in self._clusters.values() if selector.matches(strings(field(each, "metadata", "labels")))
        ]
        return sorted(found, key=name_of)

    def known_clusters(self, placement: Any) -> list[Object]:
        """As :meth:`clusters`; a stored placement that cannot be read is on no cluster."""
        try:
            return self.clusters(placement)
        except StatusError:
            return []

    def names(self, placement: Any) -> set[str]:
        """The names of the clusters of a placement, also of those that are gone."""
        try:
            return {*decided(placement)[0], *map(name_of, self.clusters(placement))}
        except StatusError:
            return set()

    def check(self, user: Identity, placement: Any, have: Collection[str] = ()) -> None:
        """Raises unless ``user`` may use all clusters of a placement but those in ``have``: 404 for one that is not
        there, 403.

        A selector that demands nothing of a cluster is every one, later ones too, but for some that it names: that
        takes the right to manage all of them.
        """
        names, selector = decided(placement)
        if selector is not None and not _demanding(selector) and not self._permissions.manages_cluster(user, ""):
            raise forbidden(
                f'user "{user.name}" may not use all clusters, as a clusterSelector does that is empty or only says '
                "what clusters must not have; name the clusters"
            )
        wanted = names or map(name_of, self.clusters(placement))
        self.check_named(user, [name for name in wanted if name not in have])

    def check_named(self, user: Identity, names: Iterable[str]) -> None:
        """Raises unless ``user`` may use these clusters."""
        for name in dict.fromkeys(names):
            value = self._clusters.get(("", name))
            if value is None:
                details = {"name": name, "group": CLUSTER_GROUP, "kind": "clusters"}
                raise not_found(f'Cluster.{CLUSTER_GROUP} "{name}" not found', details)
            if not self.may_use(user, value):
                raise forbidden(
                    f'clusters.{CLUSTER_GROUP} "{name}" is forbidden: user is not allowed to use the cluster {name}',
                    {"name": name, "group": CLUSTER_GROUP, "kind": "clusters"},
                )

    def may_use(self, user: Identity, cluster: Object) -> bool:
        """Whether ``user`` may have workspaces on a cluster.

        Of the bindings in members only the fact is known here (at the User), not the role: so their administrators need
        a right here, while those of this cluster need none.
        """
        if text(cluster, "metadata", "labels", VISIBILITY) == PUBLIC:
            return True
        name = name_of(cluster)
        if self._permissions.manages_cluster(user, name):
            return True
        return name in self._hosts() and any(
            text(each, "roleRef", "kind") == "ClusterRole" and text(each, "roleRef", "name") == CLUSTER_ADMIN
            for each in self._bindings.of(CLUSTER_ROLE_BINDINGS, user)
        )
