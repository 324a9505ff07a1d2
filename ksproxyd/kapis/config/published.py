"""What everybody may know of how people log in, and of the clusters (spec 04, 4; spec 02, 3.9.4).

Anonymous people read it: a login page needs to know which providers there are. No secret is in it, and no key: what is
published is named here, one by one, rather than what is not.
"""

from __future__ import annotations

from typing import Any

from ksproxyd.authn.clients import Clients, OAuthClient
from ksproxyd.authn.providers.registry import Providers
from ksproxyd.kapis.router import Route
from ksproxyd.model.message import Response
from ksproxyd.server.exchange import Exchange
from ksproxyd.settings import Settings

PREFIX = "/kapis/config.kubesphere.io/v1alpha2"

#: Go's durations are nanoseconds.
_SECOND = 1_000_000_000


class Published:
    """The documents. ``settings`` are those of the start; providers and clients are as they are now."""

    def __init__(self, settings: Settings, providers: Providers, clients: Clients) -> None:
        self._settings = settings
        self._providers = providers
        self._clients = clients

    def routes(self) -> list[Route]:
        """Relative to :data:`PREFIX`. A member cluster's users log in at the host: it tells of its cluster only."""
        clusters = Route("GET", "/configs/configz", self._clusters, "The place of this cluster among others")
        if self._settings.multicluster.cluster_role == "member":
            return [clusters]
        return [clusters, Route("GET", "/configs/oauth", self._logins, "How people log in")]

    def _logins(self, exchange: Exchange) -> Response:
        issuer = self._settings.authentication.issuer
        told: dict[str, Any] = {"url": issuer.url}
        if issuer.sign_key:
            # The path of the file, as ks-apiserver has it.
            told["signKey"] = issuer.sign_key
        told |= {
            "accessTokenMaxAge": _nanoseconds(issuer.access_token_max_age),
            "accessTokenInactivityTimeout": _nanoseconds(issuer.access_token_inactivity_timeout),
            "maximumClockSkew": _nanoseconds(issuer.maximum_clock_skew),
        }
        clients = [_client(client) for client in self._clients.installed()]
        return Response.json(
            200, {"issuer": told, "identityProviders": self._providers.published(), "clients": clients}
        )

    def _clusters(self, exchange: Exchange) -> Response:
        given = self._settings.multicluster
        told = {
            "proxyPublishService": given.proxy_publish_service,
            "proxyPublishAddress": given.proxy_publish_address,
            "agentImage": given.agent_image,
            "clusterControllerResyncPeriod": _nanoseconds(given.cluster_controller_resync_period),
            "hostClusterName": given.host_cluster_name,
            "clusterName": given.cluster_name,
            "clusterRole": given.cluster_role,
            "chartPath": given.chart_path,
        }
        return Response.json(200, {"multicluster": {name: value for name, value in told.items() if value}})


def _client(client: OAuthClient) -> dict[str, Any]:
    told: dict[str, Any] = {"name": client.name, "trusted": client.trusted, "grantMethod": client.grant_method}
    if client.scopes:
        told["scopeRestrictions"] = list(client.scopes)
    if client.redirect_uris:
        told["redirectURIs"] = list(client.redirect_uris)
    if client.lifetimes is not None:
        told["accessTokenMaxAgeSeconds"] = int(client.lifetimes.access)
        told["accessTokenInactivityTimeoutSeconds"] = int(client.lifetimes.refresh)
    return told


def _nanoseconds(seconds: float) -> int:
    return round(seconds * _SECOND)
