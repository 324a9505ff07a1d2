"""Clusters that tenants see (spec 03, 5.5, D30). Nobody is shown how to connect to them."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable

import msgspec

from ksproxyd.kapis.listing import envelope, parse_query
from ksproxyd.kapis.router import Route
from ksproxyd.kapis.tenant.lists import Lists
from ksproxyd.kapis.tenant.objects import Object
from ksproxyd.kapis.tenant.permissions import Bindings
from ksproxyd.kapis.tenant.placement import Placement
from ksproxyd.kapis.tenant.visibility import Visibility
from ksproxyd.kapis.tenant.workspaces import Workspaces
from ksproxyd.model.identity import Identity
from ksproxyd.model.message import Response
from ksproxyd.model.query import TRUE, parameter
from ksproxyd.model.status import bad_request
from ksproxyd.server.exchange import Exchange
from ksproxyd.state.kinds import CLUSTERS, WORKSPACE_TEMPLATES
from ksproxyd.state.validation import field, text

#: What of a connection lets its bearer make one.
_SECRETS = frozenset(["kubeconfig", "token"])

_FALSE = frozenset({"", "0", "f", "F", "FALSE", "false", "False"})


class Clusters:
    """The endpoints."""

    def __init__(
        self,
        lists: Lists,
        visibility: Visibility,
        bindings: Bindings,
        placement: Placement,
        workspaces: Workspaces,
    ) -> None:
        self._lists = lists
        self._visibility = visibility
        self._bindings = bindings
        self._placement = placement
        self._workspaces = workspaces

    def routes(self) -> list[Route]:
        """Of both versions."""
        return [
            Route("GET", "/clusters", self.list, "Clusters that one sees"),
            Route("GET", "/workspaces/{workspace}/clusters", self.of_workspace, "Clusters that a workspace is on"),
        ]

    def list(self, exchange: Exchange) -> Awaitable[Response]:
        """Clusters that somebody is bound to something in, or that they manage.

        ``roleBindingExists``: also those in which they only have a part in some project. Of these, only this cluster is
        known here.
        """
        wanted = parameter(exchange.query, "roleBindingExists")
        if wanted not in TRUE and wanted not in _FALSE:
            raise bad_request(f"roleBindingExists is true or false, not {wanted!r}")
        query = parse_query(exchange.query)
        self._lists.need(CLUSTERS)
        more = self._with_projects(exchange.user) if wanted in TRUE else ()
        view = to_managers if self._visibility.manages_clusters(exchange.user) else shown
        return self._lists.answer(self._visibility.clusters(exchange.user, more), query, view)

    def _with_projects(self, user: Identity) -> Iterable[str]:
        if not self._bindings.namespaces(user):
            return ()
        get = self._visibility.store(CLUSTERS).get
        return (name for name in self._visibility.hosts() if _is_ready(get(("", name))))

    def of_workspace(self, exchange: Exchange, workspace: str) -> Response:
        """The clusters of a workspace, in the order of its placement; all at once."""
        self._lists.need(CLUSTERS)
        template = self._workspaces.found(WORKSPACE_TEMPLATES, exchange.user, workspace)
        found = self._placement.known_clusters(field(template, "spec", "placement"))
        items = msgspec.json.encode([shown(each) for each in found])
        return Response(200, [(b"Content-Type", b"application/json")], envelope(items, len(found)))


def shown(cluster: Object) -> Object:
    """A Cluster without its kubeconfig, and without the token of its agent."""
    return _without(cluster, _SECRETS)


def to_managers(cluster: Object) -> Object:
    """A Cluster for who manages clusters: they set up agents with the token, and nobody needs the kubeconfig here."""
    return _without(cluster, frozenset(["kubeconfig"]))


def _without(cluster: Object, secrets: frozenset[str]) -> Object:
    connection = field(cluster, "spec", "connection")
    if not isinstance(connection, dict) or secrets.isdisjoint(connection):
        return cluster
    kept = {key: value for key, value in connection.items() if key not in secrets}
    return {**cluster, "spec": {**cluster["spec"], "connection": kept}}


def is_managed(cluster: Object) -> bool:
    """Whether KubeSphere manages it."""
    return text(cluster, "metadata", "labels", "kubesphere.io/managed") == "true"


def _is_ready(cluster: Object | None) -> bool:
    conditions = field(cluster, "status", "conditions")
    return isinstance(conditions, list) and any(
        text(each, "type") == "Ready" and text(each, "status") == "True" for each in conditions
    )
