"""A gateway with the roles, bindings and namespaces of the worked examples (spec 03, 2.12)."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
from support_oauth import HASH, PASSWORD

from ksproxyd.testing import Answer, MemoryGateway

SETTINGS = """
authorization: {mode: %(mode)s}
authentication:
  multipleLogin: true
  issuer:
    url: https://ks.test
    jwtSecret: 0123456789012345678901234567890123456789
    accessTokenMaxAge: 2h
    accessTokenInactivityTimeout: 30m
multicluster: {clusterRole: host}
ksproxyd:
  listeners: [{address: 127.0.0.1, port: 9090}]
  extensions: {openapi: false, manageStatus: false}
  controllers: {mode: false}
%(more)s
"""

IAM = "iam.kubesphere.io/v1beta1"
WORKSPACE = "kubesphere.io/workspace"
READ = ["get", "list", "watch"]
EVERYTHING: list[dict[str, Any]] = [
    {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
    {"nonResourceURLs": ["*"], "verbs": ["*"]},
]
EVERY_RESOURCE: list[dict[str, Any]] = EVERYTHING[:1]
READING: list[dict[str, Any]] = [{"apiGroups": ["*"], "resources": ["*"], "verbs": READ}]

USERS = (
    *("admin", "joe", "uma", "lg", "bk", "dg", "cv", "ca", "wa", "wv", "wsp", "xr", "nl", "mal", "pa", "op", "dev"),
    *("nm", "cr", "gr", "rr", "pv", "bob", "alice"),
)

#: What everybody who is logged in may do besides their rules (P1 to P5), as a stock installation says it.
AUTHENTICATED_POLICY = """
package authz
default allow = false
allow = true { input.Resource == "users"; input.User.Name == input.Name }
allow = true {
  members := ["clustermembers", "workspacemembers", "namespacemembers"]
  members[_] == input.Resource
  input.User.Name == input.Name
  reading := ["get", "list", "watch"]
  reading[_] == input.Verb
}
allow = true { roots := ["/api", "/api/v1"]; roots[_] == input.Path; input.Verb == "GET" }
allow = true {
  input.APIGroup == "tenant.kubesphere.io"
  input.KubernetesRequest == false
  reading := ["get", "list", "watch"]
  reading[_] == input.Verb
}
allow = true {
  input.Resource == "pods"
  input.Subresource == "exec"
  verbs := ["get", "create"]
  verbs[_] == input.Verb
  input.Namespace == "kubesphere-system"
  startswith(input.Name, "ks-managed-kubectl-")
  input.User.Name == trim_prefix(input.Name, "ks-managed-kubectl-")
}
"""


def rule(groups: list[str], resources: list[str], verbs: list[str], names: list[str] | None = None) -> dict[str, Any]:
    """A rule of a role."""
    return {
        "apiGroups": groups,
        "resources": resources,
        "verbs": verbs,
        **({"resourceNames": names} if names else {}),
    }


def role(kind: str, name: str, rules: list[dict[str, Any]], *, namespace: str = "", workspace: str = "") -> Any:
    """A role of one of the four kinds."""
    return {
        "apiVersion": IAM,
        "kind": kind,
        "metadata": {
            "name": name,
            **({"namespace": namespace} if namespace else {}),
            **({"labels": {WORKSPACE: workspace}} if workspace else {}),
        },
        "rules": rules,
    }


def binding(
    kind: str, name: str, ref: tuple[str, str], *subjects: Any, namespace: str = "", workspace: str = ""
) -> Any:
    """A binding; a subject that is a string is a user."""
    labels = {WORKSPACE: workspace} if workspace else {}
    made = [
        {"kind": "User", "name": each, "apiGroup": "iam.kubesphere.io"} if isinstance(each, str) else each
        for each in subjects
    ]
    if len(subjects) == 1 and isinstance(subjects[0], str):
        labels |= {"iam.kubesphere.io/user-ref": subjects[0], "iam.kubesphere.io/role-ref": ref[1]}
    return {
        "apiVersion": IAM,
        "kind": kind,
        "metadata": {
            "name": name,
            **({"namespace": namespace} if namespace else {}),
            **({"labels": labels} if labels else {}),
        },
        "roleRef": {"apiGroup": "iam.kubesphere.io", "kind": ref[0], "name": ref[1]},
        "subjects": made,
    }


def group(name: str) -> dict[str, str]:
    """A subject."""
    return {"kind": "Group", "name": name, "apiGroup": "rbac.authorization.k8s.io"}


def user(name: str) -> Any:
    """A User with the password of :mod:`support_oauth`."""
    return {
        "apiVersion": IAM,
        "kind": "User",
        "metadata": {"name": name},
        "spec": {"email": f"{name}@ks.test", "password": HASH},
        "status": {"state": "Active"},
    }


def namespace(name: str, workspace: str = "") -> Any:
    """A Namespace."""
    labels = {WORKSPACE: workspace, "kubesphere.io/managed": "true"} if workspace else {}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def workspace_template(name: str, manager: str = "admin") -> Any:
    """A WorkspaceTemplate."""
    return {
        "apiVersion": "tenant.kubesphere.io/v1beta1",
        "kind": "WorkspaceTemplate",
        "metadata": {"name": name},
        "spec": {"template": {"spec": {"manager": manager}}, "placement": {"clusters": [{"name": "host"}]}},
    }


def workspace(name: str, manager: str = "admin") -> Any:
    """A Workspace."""
    return {
        "apiVersion": "tenant.kubesphere.io/v1beta1",
        "kind": "Workspace",
        "metadata": {"name": name, "labels": {WORKSPACE: name}},
        "spec": {"manager": manager},
    }


def authenticated() -> Any:
    """GlobalRole ``authenticated`` of a stock installation."""
    made = role(
        "GlobalRole",
        "authenticated",
        [
            rule(["config.kubesphere.io"], ["configs", "platformconfigs"], ["get", "list"]),
            rule(["iam.kubesphere.io"], ["users", "roletemplates", "categories"], ["list"]),
            rule(["resources.kubesphere.io"], ["clusters"], ["get", "list"]),
            rule(["*"], ["storageclasses", "storageclasscapabilities", "nodes"], ["get", "list"]),
            rule(["resources.kubesphere.io"], ["namespaces", "services"], ["list"]),
            rule(["tenant.kubesphere.io"], ["workspacetemplates"], ["patch"]),
            rule(["cluster.kubesphere.io"], ["labels"], ["get", "list"]),
            {"nonResourceURLs": ["/static/images/*"], "verbs": ["GET"]},
        ],
    )
    made["metadata"]["annotations"] = {"iam.kubesphere.io/rego-override": AUTHENTICATED_POLICY}
    return made


def fixtures() -> list[Any]:
    """Everything, in an order in which it can be created."""
    found: list[Any] = [
        namespace("kubesphere-system", "system-workspace"),
        *map(user, USERS),
        *(namespace(*each) for each in (("n1", "ws1"), ("n2", "ws2"), ("n0", ""))),
        *(workspace_template(name) for name in ("ws1", "ws2")),
        *(workspace(name) for name in ("ws1", "ws2")),
        authenticated(),
        role("GlobalRole", "platform-admin", EVERYTHING),
        role(
            "GlobalRole",
            "anonymous",
            [
                rule(["config.kubesphere.io"], ["configs"], ["get", "list"]),
                {"nonResourceURLs": ["/static/images/*"], "verbs": ["GET"]},
            ],
        ),
        role("GlobalRole", "user-reader", [rule(["iam.kubesphere.io"], ["users"], ["get", "list"])]),
        role("GlobalRole", "log-reader", [rule([""], ["*/log"], ["get"])]),
        role("ClusterRole", "cluster-admin", EVERYTHING),
        role("ClusterRole", "cluster-viewer", [*READING, {"nonResourceURLs": ["*"], "verbs": ["GET"]}]),
        binding("GlobalRoleBinding", "admin", ("GlobalRole", "platform-admin"), "admin"),
        binding("GlobalRoleBinding", "authenticated", ("GlobalRole", "authenticated"), group("system:authenticated")),
        binding("GlobalRoleBinding", "anonymous", ("GlobalRole", "anonymous"), group("system:unauthenticated")),
        binding("GlobalRoleBinding", "uma", ("GlobalRole", "user-reader"), "uma"),
        binding("GlobalRoleBinding", "lg", ("GlobalRole", "log-reader"), "lg"),
        binding("GlobalRoleBinding", "bk-a", ("Foo", "x"), "bk"),
        binding("GlobalRoleBinding", "bk-b", ("GlobalRole", "user-reader"), "bk"),
        binding("GlobalRoleBinding", "dg", ("GlobalRole", "missing"), "dg"),
        binding("ClusterRoleBinding", "cv", ("ClusterRole", "cluster-viewer"), "cv"),
        binding("ClusterRoleBinding", "ca", ("ClusterRole", "cluster-admin"), "ca"),
        binding("ClusterRoleBinding", "rr", ("Role", "admin"), "rr"),
    ]
    for name in ("ws1", "ws2"):
        found += [
            role("WorkspaceRole", f"{name}-admin", EVERY_RESOURCE, workspace=name),
            role("WorkspaceRole", f"{name}-viewer", READING, workspace=name),
            role("WorkspaceRole", f"{name}-regular", [], workspace=name),
            role(
                "WorkspaceRole",
                f"{name}-self-provisioner",
                [
                    rule(["*"], ["workspaces", "workspacemembers", "quotas", "abnormalworkloads", "pods"], READ),
                    rule(["*"], ["namespaces", "federatednamespaces"], ["create", "watch"]),
                    rule(["*"], ["workspaceroles"], READ),
                ],
                workspace=name,
            ),
        ]
    found += [
        binding("WorkspaceRoleBinding", "wa", ("WorkspaceRole", "ws1-admin"), "wa", workspace="ws1"),
        binding("WorkspaceRoleBinding", "wv", ("WorkspaceRole", "ws1-viewer"), "wv", workspace="ws1"),
        binding("WorkspaceRoleBinding", "wsp", ("WorkspaceRole", "ws1-self-provisioner"), "wsp", workspace="ws1"),
        binding("WorkspaceRoleBinding", "xr", ("WorkspaceRole", "ws2-admin"), "xr", workspace="ws1"),
        binding("WorkspaceRoleBinding", "nl", ("WorkspaceRole", "ws1-admin"), "nl"),
        binding("WorkspaceRoleBinding", "mal", ("Foo", "x"), "mal", workspace="ws1"),
    ]
    for name in ("n1", "n2"):
        found += [
            role("Role", "admin", EVERY_RESOURCE, namespace=name),
            role("Role", "viewer", READING, namespace=name),
            role(
                "Role",
                "operator",
                [*READING, rule(["", "apps", "extensions", "batch", "autoscaling"], ["*"], ["*"])],
                namespace=name,
            ),
        ]
    found += [
        role("Role", "dev", [rule([""], ["pods", "pods/log"], ["get", "list"])], namespace="n1"),
        role("Role", "one-map", [rule([""], ["configmaps"], ["get", "list", "update"], ["app"])], namespace="n1"),
        binding("RoleBinding", "mal", ("Role", "admin"), "mal", namespace="n1"),
        binding("RoleBinding", "pa", ("Role", "admin"), "pa", namespace="n1"),
        binding("RoleBinding", "pv", ("Role", "viewer"), "pv", namespace="n1"),
        binding("RoleBinding", "op", ("Role", "operator"), "op", namespace="n1"),
        binding("RoleBinding", "devs", ("Role", "dev"), group("devs"), namespace="n1"),
        binding("RoleBinding", "nm", ("Role", "one-map"), "nm", namespace="n1"),
        binding(
            "RoleBinding",
            "robot",
            ("Role", "viewer"),
            {"kind": "ServiceAccount", "name": "robot", "apiGroup": "kubesphere.io"},
            namespace="n1",
        ),
        binding(
            "RoleBinding",
            "bot2",
            ("Role", "admin"),
            {"kind": "ServiceAccount", "name": "bot2", "namespace": "n1"},
            namespace="n1",
        ),
        binding("RoleBinding", "cr", ("ClusterRole", "cluster-viewer"), "cr", namespace="n1"),
        binding("RoleBinding", "gr", ("GlobalRole", "platform-admin"), "gr", namespace="n1"),
        {
            "apiVersion": IAM,
            "kind": "GroupBinding",
            "metadata": {"name": "devs", "labels": {"iam.kubesphere.io/group-ref": "devs"}},
            "groupRef": {"apiGroup": "iam.kubesphere.io", "kind": "Group", "name": "devs"},
            "users": ["dev"],
        },
    ]
    return found


class RightsWorld:
    """The gateway, and what people send to it; ``gateway.embedded`` is what it stands on."""

    settings = SETTINGS

    def __init__(self, *, mode: str = "RBAC", more: str = "", objects: list[Any] | None = None) -> None:
        self.gateway = MemoryGateway(self.settings % {"mode": mode, "more": more}, embedded=True)
        self.gateway.apply(*(fixtures() if objects is None else objects))
        # Keys are made, and no time is before the epoch.
        self.gateway.wait(100.0)
        inner = self.gateway.gateway
        assert inner.logins is not None and inner.authorization is not None
        self.tokens: Any = inner.logins.tokens
        self.authorization = inner.authorization
        self._issued: dict[str, str] = {}

    def token(self, name: str) -> str:
        """An access token of a user's."""
        if name not in self._issued:
            issued = self.gateway.run(self.tokens.open_session(name, "kubesphere"))
            self._issued[name] = issued.access_token
        return self._issued[name]

    def ask(
        self,
        name: str,
        method: str,
        target: str,
        body: Any = None,
        kind: str = "application/json",
        headers: list[tuple[bytes, bytes]] | None = None,
    ) -> Answer:
        """What ``name`` is answered (``""``: somebody who shows nothing)."""
        fields = list(headers or [])
        if name:
            fields.append((b"Authorization", b"Bearer " + self.token(name).encode()))
        content = b"" if body is None else body if isinstance(body, bytes) else msgspec.json.encode(body)
        if body is not None:
            fields.append((b"Content-Type", kind.encode()))
        return self.gateway.request(method, target, fields, content)

    def basic(self, name: str, method: str, target: str) -> Answer:
        """What ``name`` is answered with their password."""
        shown = base64.b64encode(f"{name}:{PASSWORD}".encode())
        return self.gateway.request(method, target, [(b"Authorization", b"Basic " + shown)])

    def stored(self, path: str) -> Any:
        """What the API server has at ``path``, past the gateway."""
        return self.gateway.embedded.call("GET", path)

    def close(self) -> None:
        """End it."""
        self.gateway.close()
