"""What people read that is not theirs: Secrets of other namespaces, of the system, everybody's hashes."""

from __future__ import annotations

from support_attacks import IAM, N1, N2, RAW_IAM, SYSTEM, TENANT, Attack

SELECTED = "labelSelector=kubesphere.io/workspace%3Dws1"
TABLE = (("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"),)
PROTOBUF = (("Accept", "application/vnd.kubernetes.protobuf"),)


def row(who: str, name: str, target: str, method: str = "GET", *, by: str = "admin", **more: object) -> Attack:
    return Attack(f"{who}: {name}", who, method, target, by=by, **more)  # type: ignore[arg-type]


SECRETS = [
    row("wa", "Secrets of another workspace", f"{N2}/secrets"),
    row("wa", "one of them", f"{N2}/secrets/sec"),
    row("pa", "Secrets of another namespace", f"{N2}/secrets"),
    row("pa", "Secrets of the system", f"{SYSTEM}/secrets"),
    row("op", "a Secret of another namespace", f"{N2}/secrets/sec"),
    row("pv", "Secrets of all namespaces", "/api/v1/secrets"),
    row("wv", "Secrets of all namespaces", "/api/v1/secrets"),
    row("wv", "Secrets with a selector for the workspace", f"/api/v1/secrets?{SELECTED}"),
    row("wv", "a watch of another namespace with that selector", f"{N2}/secrets?watch=1&{SELECTED}", by=""),
    row("wv", "a watch of the other workspace", "/api/v1/secrets?watch=1&labelSelector=kubesphere.io/workspace%3Dws2",
        by=""),
    row("wv", "a watch of more than the workspace",
        "/api/v1/secrets?watch=1&labelSelector=kubesphere.io/workspace%20in%20(ws1,ws2)",
        by=""),
    row("wv", "a watch of what is not of the workspace",
        "/api/v1/secrets?watch=1&labelSelector=kubesphere.io/workspace!%3Dws1",
        by=""),
    row("wv", "a watch with two selectors", f"/api/v1/secrets?watch=1&labelSelector=app%3Dx&{SELECTED}", by=""),
    row("wv", "a watch whose selector says or", f"/api/v1/secrets?watch=1&{SELECTED}%7C%7Cws2", by=""),
    row("wv", "a watch of which the selector is empty", "/api/v1/secrets?watch=1&labelSelector=", by="cv"),
    row("wv", "a watch with the label of another key",
        "/api/v1/secrets?watch=1&labelSelector=x.kubesphere.io/workspace%3Dws1",
        by=""),
    row("pv", "a watch with a selector", f"/api/v1/secrets?watch=1&{SELECTED}", by=""),
    row("pa", "a Secret picked by its name", "/api/v1/secrets?fieldSelector=metadata.name%3Dsec"),
    row("pa", "Secrets picked by their namespace", "/api/v1/secrets?fieldSelector=metadata.namespace%3Dn1"),
    row("pa", "the old form of a watch", "/api/v1/watch/secrets", by=""),
    row("pa", "the old form of a watch of a namespace", "/api/v1/watch/namespaces/n2/secrets", by=""),
    row("pa", "by the host cluster", f"/clusters/host{N2}/secrets"),
    row("pa", "by the host cluster, as it was", "/api/clusters/host/v1/namespaces/n2/secrets"),
    row("pa", "by the way of the own namespace", f"{N1}/../n2/secrets", by=""),
    row("pa", "by the way of the own namespace, encoded", f"{N1}/%2e%2e/n2/secrets", by=""),
    row("pa", "by an encoded slash", "/api/v1/namespaces/n1%2F..%2Fn2/secrets", by=""),
    row("pa", "by slashes", "/api/v1/namespaces//n2/secrets", by=""),
    row("pa", "by slashes at the beginning", "//api/v1/namespaces/n2/secrets", by=""),
    row("pa", "by a backslash", "/api/v1/namespaces/n1%5C..%5Cn2/secrets", by=""),
    row("pa", "with a slash at the end", f"{N2}/secrets/"),
    row("pa", "with escapes", "/api/v1/%6eamespaces/n2/%73ecrets"),
    row("pa", "in capitals", "/api/v1/Namespaces/n2/secrets", by=""),
    row("pa", "with HEAD", f"{N2}/secrets/sec", "HEAD"),
    row("pa", "with OPTIONS", f"{N2}/secrets/sec", "OPTIONS"),
    row("pa", "as a table", f"{N2}/secrets", headers=TABLE),
    row("pa", "as protobuf", f"{N2}/secrets", headers=PROTOBUF),
    row("pa", "within the workspace", "/api/v1/workspaces/ws1/namespaces/n2/secrets", by=""),
    row("wa", "within the workspace", "/api/v1/workspaces/ws1/namespaces/n2/secrets", by=""),
    row("wa", "of the workspace, without a namespace", "/api/v1/workspaces/ws1/secrets", by="", shows=True),
    row("wa", "at the resource API", "/kapi/v1/namespaces/n2/secrets"),
    row("wv", "at the resource API, with a selector that is none",
        "/kapi/v1/workspaces/ws1/secrets?labelSelector=a!%3Db",
        by="", shows=True),
    row("wv", "at the resource API, of the workspace", "/kapi/v1/workspaces/ws2/secrets"),
    row("wa", "at the resource API, another's within the workspace",
        "/kapi/v1/workspaces/ws1/namespaces/n2/secrets/sec", by=""),
    row("joe", "a Secret", f"{N1}/secrets/sec"),
    row("joe", "ConfigMaps", f"{N1}/configmaps"),
    row("", "a Secret", f"{N1}/secrets/sec"),
    row("", "Secrets with a token that is none", f"{N1}/secrets", by="", headers=(("Authorization", "Bearer x.y.z"),)),
    row("cr", "by a role of the cluster in another namespace", f"{N2}/secrets"),
    row("xr", "by the role of another workspace", f"{N2}/secrets"),
    row("nl", "by a binding that is no workspace's", f"{N1}/secrets"),
    row("rr", "by a role that is no cluster's", f"{N1}/secrets"),
    row("gr", "by a global role in a namespace", f"{N1}/secrets"),
    row("nm", "another ConfigMap than the one", f"{N1}/configmaps/other", by="admin"),
    row("nm", "the ConfigMap of that name elsewhere", f"{N2}/configmaps/app", by="admin"),
    row("dev", "logs of another namespace", f"{N2}/pods/p/log"),
]  # fmt: skip

USERS = [
    row("joe", "hashes in the list", f"{RAW_IAM}/users", by="", shows=True),
    row("joe", "hashes in a table", f"{RAW_IAM}/users", by="", shows=True, headers=TABLE),
    row("joe", "hashes at the users' API", f"{IAM}/users", by="", shows=True),
    row("joe", "the own hash", f"{RAW_IAM}/users/joe", by="", shows=True),
    row("joe", "a hash", f"{RAW_IAM}/users/alice", by="", shows=True),
    row("joe", "a hash in a watch", f"{RAW_IAM}/users?watch=1&timeoutSeconds=1", by="", shows=True),
    row("joe", "a hash by another selector", f"{RAW_IAM}/users?fieldSelector=spec.password%3Dx", by="", shows=True),
    row("cv", "hashes in the list", f"{RAW_IAM}/users", by="", shows=True),
    row("um", "hashes in the list", f"{RAW_IAM}/users", by="", shows=True),
    row("um", "a hash", f"{IAM}/users/admin", by="", shows=True),
    row("joe", "somebody", f"{IAM}/users/alice"),
    row("joe", "somebody's logins", f"{IAM}/users/alice/loginrecords"),
    row("wa", "somebody's logins", f"{IAM}/users/alice/loginrecords"),
    row("", "users", f"{IAM}/users"),
    row("uma", "logins, with the right to users", f"{IAM}/users/alice/loginrecords"),
]

PLATFORM = [
    row("cv", "global roles", f"{IAM}/globalroles"),
    row("cv", "global roles, raw", f"{RAW_IAM}/globalroles"),
    row("cv", "the credentials of clusters", "/apis/cluster.kubesphere.io/v1alpha1/clusters/host"),
    row("wa", "the credentials of clusters", "/apis/cluster.kubesphere.io/v1alpha1/clusters"),
    row(
        "wa",
        "clusters within the workspace",
        "/apis/cluster.kubesphere.io/v1alpha1/workspaces/ws1/clusters/host",
        by="",
    ),
    row("joe", "credentials of clusters at the tenants' API", f"{TENANT}/clusters", by="", shows=True),
    row("joe", "members of a workspace", f"{IAM}/workspaces/ws1/workspacemembers"),
    row("wa", "members of another workspace", f"{IAM}/workspaces/ws2/workspacemembers"),
    row("pa", "members of another namespace", f"{IAM}/namespaces/n2/namespacemembers"),
    row("wv", "members of another namespace, by a watch", f"{IAM}/namespaces/n2/namespacemembers?watch=1&{SELECTED}"),
    row("pa", "members of the cluster", f"{IAM}/clustermembers"),
    row("joe", "somebody's templates", f"{IAM}/users/alice/roletemplates?scope=global"),
    row("wa", "bindings of all workspaces", f"{RAW_IAM}/workspacerolebindings"),
    row("pa", "bindings of another namespace", f"{RAW_IAM}/namespaces/n2/rolebindings"),
    row("pa", "native bindings of the cluster", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"),
    row("joe", "where what is mounted", "/ksproxyd/routes"),
    row("joe", "why others may", "/ksproxyd/explain?user=admin&verb=get&path=/api/v1/secrets"),
    row("joe", "a node's files", "/api/v1/nodes/node-1/proxy/logs/"),
    row("joe", "pods of everybody", "/api/v1/pods"),
    row("joe", "a watch of nodes", "/api/v1/nodes?watch=1&timeoutSeconds=1"),
    row("joe", "which APIs there are", "/apis"),
]

ROWS = [*SECRETS, *USERS, *PLATFORM]
