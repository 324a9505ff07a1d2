"""The kinds of objects the gateway keeps in memory. Another kind is another line here."""

from __future__ import annotations

import msgspec

from ksproxyd.kube.resource import Resource

_EXTENSIONS = ("extensions.kubesphere.io", "v1alpha1")


class Kind(msgspec.Struct, frozen=True):
    """A kind we follow.

    ``optional``: on a cluster that does not serve it there are simply none, and the gateway starts all the same.
    """

    resource: Resource
    optional: bool = False

    @property
    def name(self) -> str:
        """What it is called in logs, metrics and checks."""
        return self.resource.kind


API_SERVICES = Kind(Resource(*_EXTENSIONS, "apiservices", "APIService"), optional=True)
REVERSE_PROXIES = Kind(Resource(*_EXTENSIONS, "reverseproxies", "ReverseProxy"), optional=True)
JS_BUNDLES = Kind(Resource(*_EXTENSIONS, "jsbundles", "JSBundle"), optional=True)
CLUSTERS = Kind(Resource("cluster.kubesphere.io", "v1alpha1", "clusters", "Cluster"), optional=True)

#: Followed as whole collections.
GATEWAY_KINDS = (API_SERVICES, REVERSE_PROXIES, JS_BUNDLES, CLUSTERS)

#: Followed one object at a time, where another object refers to it; see :mod:`ksproxyd.state.references`.
SECRETS = Kind(Resource("", "v1", "secrets", "Secret", namespaced=True))
CONFIG_MAPS = Kind(Resource("", "v1", "configmaps", "ConfigMap", namespaced=True))
