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

GLOBAL_ROLES = Kind(Resource(*_IAM, "globalroles", "GlobalRole"), optional=True)
WORKSPACE_ROLES = Kind(Resource(*_IAM, "workspaceroles", "WorkspaceRole"), optional=True)
CLUSTER_ROLES = Kind(Resource(*_IAM, "clusterroles", "ClusterRole"), optional=True)
ROLES = Kind(Resource(*_IAM, "roles", "Role", namespaced=True), optional=True)
GLOBAL_ROLE_BINDINGS = Kind(Resource(*_IAM, "globalrolebindings", "GlobalRoleBinding"), optional=True)
WORKSPACE_ROLE_BINDINGS = Kind(Resource(*_IAM, "workspacerolebindings", "WorkspaceRoleBinding"), optional=True)
CLUSTER_ROLE_BINDINGS = Kind(Resource(*_IAM, "clusterrolebindings", "ClusterRoleBinding"), optional=True)
ROLE_BINDINGS = Kind(Resource(*_IAM, "rolebindings", "RoleBinding", namespaced=True), optional=True)
ROLE_TEMPLATES = Kind(Resource(*_IAM, "roletemplates", "RoleTemplate"), optional=True)
BUILTIN_ROLES = Kind(Resource(*_IAM, "builtinroles", "BuiltinRole"), optional=True)
NAMESPACES = Kind(Resource("", "v1", "namespaces", "Namespace"))
_TENANT = ("tenant.kubesphere.io", "v1beta1")
WORKSPACES = Kind(Resource(*_TENANT, "workspaces", "Workspace"), optional=True)
WORKSPACE_TEMPLATES = Kind(Resource(*_TENANT, "workspacetemplates", "WorkspaceTemplate"), optional=True)

#: Roles and what gives them to whom.
ROLE_KINDS = (GLOBAL_ROLES, WORKSPACE_ROLES, CLUSTER_ROLES, ROLES)
BINDING_KINDS = (GLOBAL_ROLE_BINDINGS, WORKSPACE_ROLE_BINDINGS, CLUSTER_ROLE_BINDINGS, ROLE_BINDINGS)

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
    *ROLE_KINDS,
    *BINDING_KINDS,
    ROLE_TEMPLATES,
    BUILTIN_ROLES,
    NAMESPACES,
    WORKSPACES,
    WORKSPACE_TEMPLATES,
)

#: Followed one object at a time, where another object refers to it; see :mod:`ksproxyd.state.references`.
SECRETS = Kind(_SECRET)
CONFIG_MAPS = Kind(Resource("", "v1", "configmaps", "ConfigMap", namespaced=True))
