"""The kinds of objects the gateway keeps in memory. Another kind is another line here."""

from __future__ import annotations

import msgspec

from ksproxyd.kube.resource import Resource

_EXTENSIONS = ("extensions.kubesphere.io", "v1alpha1")


class Kind(msgspec.Struct, frozen=True):
    """A kind we follow.

    ``optional``: on a cluster that does not serve it there are simply none, and the gateway starts all the same.
    ``namespace`` and the selectors restrict what is followed of a kind that is only partly ours to read; ``title``
    tells two such parts of one kind apart.
    """

    resource: Resource
    optional: bool = False
    namespace: str = ""
    label_selector: str = ""
    field_selector: str = ""
    title: str = ""

    @property
    def name(self) -> str:
        """What it is called in logs, metrics and checks."""
        return self.title or self.resource.kind


API_SERVICES = Kind(Resource(*_EXTENSIONS, "apiservices", "APIService"), optional=True)
REVERSE_PROXIES = Kind(Resource(*_EXTENSIONS, "reverseproxies", "ReverseProxy"), optional=True)
JS_BUNDLES = Kind(Resource(*_EXTENSIONS, "jsbundles", "JSBundle"), optional=True)
CLUSTERS = Kind(Resource("cluster.kubesphere.io", "v1alpha1", "clusters", "Cluster"), optional=True)

#: Where KubeSphere's own objects are.
NAMESPACE = "kubesphere-system"

_IAM = ("iam.kubesphere.io", "v1beta1")
USERS = Kind(Resource(*_IAM, "users", "User"), optional=True)
GROUP_BINDINGS = Kind(Resource(*_IAM, "groupbindings", "GroupBinding"), optional=True)
SERVICE_ACCOUNTS = Kind(
    Resource("kubesphere.io", "v1alpha1", "serviceaccounts", "ServiceAccount", namespaced=True), optional=True
)
_SECRET = Resource("", "v1", "secrets", "Secret", namespaced=True)
#: OAuth clients and identity providers (spec 02, 3.9.1 and 4.1).
LOGIN_CONFIGS = Kind(
    _SECRET,
    namespace=NAMESPACE,
    label_selector="config.kubesphere.io/type in (oauthclient,identityprovider)",
    title="LoginConfig",
)
#: Tokens of KubeSphere's ServiceAccounts (spec 02, 6.7).
SERVICE_ACCOUNT_TOKENS = Kind(
    _SECRET, field_selector="type=kubesphere.io/service-account-token", title="ServiceAccountToken"
)

#: Followed as whole collections.
GATEWAY_KINDS = (
    API_SERVICES,
    REVERSE_PROXIES,
    JS_BUNDLES,
    CLUSTERS,
    USERS,
    GROUP_BINDINGS,
    SERVICE_ACCOUNTS,
    LOGIN_CONFIGS,
    SERVICE_ACCOUNT_TOKENS,
)

#: Followed one object at a time, where another object refers to it; see :mod:`ksproxyd.state.references`.
SECRETS = Kind(_SECRET)
CONFIG_MAPS = Kind(Resource("", "v1", "configmaps", "ConfigMap", namespaced=True))
