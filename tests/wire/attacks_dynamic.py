"""The resource API below ``/kapis`` and ``/kapi``, which serves every kind: what disagrees with the path."""

from __future__ import annotations

from support_attacks import IAM, MERGE, PATCH, Attack, config_map, secret
from support_rights import EVERY_RESOURCE, READING, role

N1, N2 = "/kapi/v1/namespaces/n1", "/kapi/v1/namespaces/n2"
WS1, IAM_WS1 = "/kapi/v1/workspaces/ws1", f"{IAM}/workspaces/ws1"
CLUSTERS = "/kapis/cluster.kubesphere.io/v1alpha1"
SELECTED = "labelSelector=kubesphere.io/workspace%3Dws1"
OTHERS = {"metadata": {"labels": {"kubesphere.io/workspace": "ws2"}}}


def row(who: str, name: str, method: str, target: str, body: object = None, kind: str = "", **more: object) -> Attack:
    return Attack(f"{who}: {name}", who, method, target, body, kind or "application/json", **more)  # type: ignore[arg-type]


ROWS = [
    row("pa", "another namespace in the body", "POST", f"{N1}/configmaps", config_map("n2", "mine"), by=""),
    row("pa", "another name in the body", "PUT", f"{N1}/configmaps/app", config_map("n1", "theirs"), by=""),
    row("pa", "another kind in the body", "POST", f"{N1}/configmaps", secret("n1"), by=""),
    row("pa", "another namespace by a patch", "PATCH", f"{N1}/configmaps/app", {"metadata": {"namespace": "n2"}}, MERGE,
        by=""),
    row("pa", "another name by a JSON patch", "PATCH", f"{N1}/configmaps/app",
        [{"op": "replace", "path": "/metadata/name", "value": "theirs"}], PATCH, by=""),
    row("pa", "a list in the body", "POST", f"{N1}/configmaps", {"apiVersion": "v1", "kind": "List",
        "items": [config_map("n2", "mine")]}, by=""),
    row("pa", "another namespace's", "GET", f"{N2}/configmaps/theirs"),
    row("pa", "another namespace's, with a selector", "GET", f"{N2}/configmaps?watch=1&{SELECTED}", by=""),
    row("pa", "a namespace that is two", "GET", "/kapi/v1/namespaces/n1,n2/secrets", by="admin"),
    row("pa", "every namespace", "GET", "/kapi/v1/secrets"),
    row("pa", "nodes below the namespace", "GET", f"{N1}/nodes", by=""),
    row("pa", "a node below the namespace", "GET", f"{N1}/nodes/node-1", by=""),
    row("pa", "namespaces below the namespace", "DELETE", f"{N1}/namespaces/n2", by=""),
    row("pa", "bindings of the cluster below the namespace", "GET",
        "/kapis/rbac.authorization.k8s.io/v1/namespaces/n1/clusterrolebindings", by=""),
    row("pa", "a subresource", "GET", f"{N1}/pods/p/exec", by="", headers=(("X-Stream", "1"),)),
    row("pa", "a proxy", "GET", f"{N1}/services/web/proxy/", by=""),
    row("wv", "Secrets without a label", "GET", f"{WS1}/secrets?labelSelector=%21kubesphere.io/workspace", by="",
        shows=True),
    row("wv", "Secrets of any label", "GET", f"{WS1}/secrets?labelSelector=kubesphere.io/workspace", by="", shows=True),
    row("wv", "Secrets of two workspaces", "GET", f"{WS1}/secrets?labelSelector=kubesphere.io/workspace+in+(ws1,ws2)",
        by="",
        shows=True),
    row("wv", "Secrets of another workspace", "GET", f"{WS1}/secrets?labelSelector=kubesphere.io/workspace%3Dws2",
        by="",
        shows=True),
    row("wv", "a selector that is broken", "GET", f"{WS1}/secrets?labelSelector=%28", by=""),
    row("wv", "two selectors", "GET", f"{WS1}/secrets?labelSelector=a%3Db&labelSelector=", by="", shows=True),
    row("wv", "a workspace that is a selector", "GET", "/kapi/v1/workspaces/ws1,app%3Dx/secrets", by=""),
    row("wv", "a workspace that is none", "GET", "/kapi/v1/workspaces/%20/secrets", by=""),
    row("wv", "a watch of Secrets", "GET", f"{WS1}/secrets?watch=1", by="", shows=True),
    row("wv", "roles of another workspace", "GET", f"{IAM_WS1}/workspaceroles/ws2-viewer", by=""),
    row("wa", "a role of another workspace", "PUT", f"{IAM_WS1}/workspaceroles/ws2-viewer",
        role("WorkspaceRole", "ws2-viewer", EVERY_RESOURCE, workspace="ws1"), by=""),
    row("wa", "no role of another workspace", "DELETE", f"{IAM_WS1}/workspaceroles/ws2-viewer", by=""),
    row("wa", "all roles of another workspace", "DELETE",
        f"{IAM}/workspaces/ws2/workspaceroles", by=""),
    row("wa", "the own role to another workspace", "PATCH", f"{IAM_WS1}/workspaceroles/ws1-viewer", OTHERS, MERGE,
        by=""),
    row("wa", "the own role to another workspace, by a JSON patch", "PATCH", f"{IAM_WS1}/workspaceroles/ws1-viewer",
        [{"op": "replace", "path": "/metadata/labels/kubesphere.io~1workspace", "value": "ws2"}], PATCH, by=""),
    row("wa", "the own role to no workspace", "PATCH", f"{IAM_WS1}/workspaceroles/ws1-viewer",
        [{"op": "remove", "path": "/metadata/labels"}], PATCH, by="", shows=True),
    row("wa", "a binding of another workspace", "DELETE", f"{IAM}/workspaces/ws2/workspacerolebindings/none", by=""),
    row("wm", "a role that may everything", "POST", f"{IAM_WS1}/workspaceroles",
        role("WorkspaceRole", "mine", EVERY_RESOURCE, workspace="ws1"), by="wa"),
    row("wv", "a role that may what one may", "POST", f"{IAM_WS1}/workspaceroles",
        role("WorkspaceRole", "mine", READING, workspace="ws1"), by="wa"),
    row("rw", "a Role that may everything", "POST", f"{IAM}/namespaces/n1/roles",
        role("Role", "mine", EVERY_RESOURCE, namespace="n1"), by="pa"),
    row("rw", "more in the own Role", "PATCH", f"{IAM}/namespaces/n1/roles/writes-roles", {"rules": EVERY_RESOURCE},
        MERGE,
        by="pa"),
    row("pa", "users below the namespace", "GET", f"{IAM}/namespaces/n1/users", by=""),
    row("wa", "users below the workspace", "GET", f"{IAM_WS1}/users", by="", shows=True),
    row("wa", "a user below the workspace", "GET", f"{IAM_WS1}/users/alice", by="", shows=True),
    row("joe", "a watch of users", "GET", f"{IAM}/users?watch=1", by="", shows=True),
    row("um", "a watch of users", "GET", f"{IAM}/users?watch=1", by="", shows=True),
    row("um", "a part of a user", "GET", f"{IAM}/users/alice/status", by="", shows=True),
    row("um", "users of another version", "GET", "/kapis/iam.kubesphere.io/v1alpha2/users", by="", shows=True),
    row("joe", "credentials of clusters", "GET", f"{CLUSTERS}/clusters"),
    row("cv", "credentials of clusters", "GET", f"{CLUSTERS}/clusters/host"),
    row("wa", "credentials of clusters below the workspace", "GET", f"{CLUSTERS}/workspaces/ws1/clusters/host", by=""),
    row("joe", "tenants' objects by another way", "GET", "/kapis/tenant.kubesphere.io/v1beta1/workspaces/ws2/secrets",
        by="",
        shows=True),
    row("", "anything", "GET", f"{N1}/secrets", by="pa"),
    row("joe", "anything", "GET", f"{N1}/secrets", by="pa"),
    row("joe", "definitions", "GET", "/kapis/apiextensions.k8s.io/v1/customresourcedefinitions", by=""),
]  # fmt: skip
