"""What people write that they may only see, or that is not theirs: by every method, kind of patch and route."""

from __future__ import annotations

from support_attacks import (
    APPLY,
    IAM,
    MERGE,
    N1,
    N2,
    PATCH,
    RAW_TENANT,
    STRATEGIC,
    SYSTEM,
    TENANT,
    Attack,
    config_map,
    pod,
)

APP = f"{N1}/configmaps/app"
DEPLOYMENT = "/apis/apps/v1/namespaces/n1/deployments/d"
TEMPLATES, RAW_TEMPLATES = f"{TENANT}/workspacetemplates", f"{RAW_TENANT}/workspacetemplates"
QUOTA = {"spec": {"quota": {"hard": {"pods": "1000"}}}}


def row(who: str, name: str, method: str, target: str, body: object = None, kind: str = "", **more: object) -> Attack:
    return Attack(f"{who}: {name}", who, method, target, body, kind or "application/json", **more)  # type: ignore[arg-type]


def template(name: str, manager: str = "joe") -> object:
    return {
        "apiVersion": "tenant.kubesphere.io/v1beta1",
        "kind": "WorkspaceTemplate",
        "metadata": {"name": name},
        "spec": {"template": {"spec": {"manager": manager}}, "placement": {"clusters": [{"name": "host"}]}},
    }


def labelled(workspace: str) -> object:
    return {"metadata": {"labels": {"kubesphere.io/workspace": workspace}}}


def viewer(who: str) -> list[Attack]:
    """Somebody who only sees n1 writes there."""
    return [
        row(who, "a new ConfigMap", "POST", f"{N1}/configmaps", config_map("n1", "mine"), by="op"),
        row(who, "a new ConfigMap, tried only", "POST", f"{N1}/configmaps?dryRun=All", config_map("n1", "mine"),
            by="op"),
        row(who, "another ConfigMap in its place", "PUT", APP, config_map("n1", "app", "2"), by="op"),
        row(who, "a merge patch", "PATCH", APP, {"data": {"a": "2"}}, MERGE, by="op"),
        row(who, "a strategic patch", "PATCH", APP, {"data": {"a": "2"}}, STRATEGIC, by="op"),
        row(who, "a JSON patch", "PATCH", APP, [{"op": "replace", "path": "/data/a", "value": "2"}], PATCH, by="op"),
        row(who, "an apply", "PATCH", f"{APP}?fieldManager=me&force=true", config_map("n1", "app", "2"), APPLY,
            by="op"),
        row(who, "an apply of something new", "PATCH", f"{N1}/configmaps/mine?fieldManager=me", config_map("n1",
            "mine"),
            APPLY, by="op"),
        row(who, "a delete", "DELETE", APP, by="op"),
        row(who, "a delete of all", "DELETE", f"{N1}/configmaps", by="op"),
        row(who, "a delete of those with a label", "DELETE", f"{N1}/secrets?labelSelector=app%3Dx", by="op"),
        row(who, "a delete of one by its field", "DELETE", f"{N1}/configmaps?fieldSelector=metadata.name%3Dapp",
            by="op"),
        row(who, "a scale", "PATCH", f"{DEPLOYMENT}/scale", {"spec": {"replicas": 9}}, MERGE, by="op"),
        row(who, "a status", "PATCH", f"{DEPLOYMENT}/status", {"status": {"replicas": 9}}, MERGE, by="op"),
        row(who, "an eviction", "POST", f"{N1}/pods/p/eviction",
            {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p", "namespace": "n1"}}, by="op"),
        row(who, "a binding to a node", "POST", f"{N1}/pods/p/binding",
            {"apiVersion": "v1", "kind": "Binding", "target": {"kind": "Node", "name": "node-1"}}, by=""),
        row(who, "a write by the host cluster", "DELETE", f"/clusters/host{APP}", by="op"),
        row(who, "a write by the host cluster, as it was", "DELETE",
            "/api/clusters/host/v1/namespaces/n1/configmaps/app",
            by="op"),
        row(who, "a write below watch", "DELETE", "/api/v1/watch/namespaces/n1/configmaps/app", by="", shows=True),
        row(who, "a write that says watch", "DELETE", f"{APP}?watch=1", by="op"),
        row(who, "a write that overrides its method", "GET", APP, by="", shows=True,
            headers=(("X-HTTP-Method-Override", "DELETE"), ("X-HTTP-Method", "DELETE"), ("X-Method-Override",
                "DELETE"))),
        row(who, "a write with _method", "GET", f"{APP}?_method=DELETE&method=DELETE", by="", shows=True),
        row(who, "a write at the resource API", "POST", "/kapi/v1/namespaces/n1/configmaps", config_map("n1", "mine"),
            by="op"),
        row(who, "a patch at the resource API", "PATCH", "/kapi/v1/namespaces/n1/configmaps/app", {"data": {"a": "2"}},
            MERGE, by="op"),
        row(who, "a delete at the resource API", "DELETE", "/kapi/v1/namespaces/n1/configmaps/app", by="op",
        ),
        row(who, "a delete of the namespace", "DELETE", "/api/v1/namespaces/n1", by="wa"),
        row(who, "a label of the namespace", "PATCH", "/api/v1/namespaces/n1", labelled("ws2"), MERGE),
        row(who, "the end of the namespace's finalizers", "PUT", "/api/v1/namespaces/n1/finalize",
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n1"}, "spec": {"finalizers": []}}),
    ]  # fmt: skip


ELSEWHERE = [
    row("pa", "in another namespace", "POST", f"{N2}/configmaps", config_map("n2", "mine")),
    row("pa", "in another namespace than the path's", "POST", f"{N1}/configmaps", config_map("n2", "mine"), by="",
        shows=True),
    row("pa", "another name than the path's", "PUT", APP, config_map("n1", "other"), by="", shows=True),
    row("pa", "a delete in another namespace", "DELETE", f"{N2}/configmaps/theirs"),
    row("wa", "in a namespace of another workspace", "POST", f"{N2}/pods", pod("n2", "mine")),
    row("wa", "in a namespace of none", "POST", "/api/v1/namespaces/n0/configmaps", config_map("n0", "mine")),
    row("wa", "in the system's namespace", "PATCH", f"{SYSTEM}/secrets/sec", {"data": {}}, MERGE),
    row("op", "a Role", "POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/n1/roles",
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "mine", "namespace": "n1"},
         "rules": []}, by="pa"),
    row("pa", "a node", "DELETE", "/api/v1/nodes/node-1"),
    row("pa", "a node below the namespace", "DELETE", f"{N1}/nodes/node-1", by="", shows=True),
    row("pa", "a node below the namespace, at the resource API", "DELETE", "/kapi/v1/namespaces/n1/nodes/node-1",
        by=""),
    row("wa", "a node below the workspace, at the resource API", "DELETE", "/kapi/v1/workspaces/ws1/nodes/node-1",
        by=""),
    row("pa", "a namespace", "POST", "/api/v1/namespaces", {"metadata": {"name": "mine"}, "kind": "Namespace",
        "apiVersion": "v1"}),
    row("ca", "a cluster", "DELETE", "/apis/cluster.kubesphere.io/v1alpha1/clusters/host"),
    row("wa", "a cluster below the workspace", "DELETE",
        "/apis/cluster.kubesphere.io/v1alpha1/workspaces/ws1/clusters/host",
        by=""),
    row("cv", "anything", "DELETE", APP),
    row("nm", "another ConfigMap than the one", "PUT", f"{N1}/configmaps/other", config_map("n1", "other")),
    row("nm", "a delete of the one", "DELETE", APP, by="op"),
    row("nm", "all of them", "DELETE", f"{N1}/configmaps", by="op"),
    row("joe", "anything", "POST", f"{N1}/configmaps", config_map("n1", "mine"), by="op"),
    row("joe", "what everybody may read", "DELETE", "/api/v1/nodes/node-1"),
    row("", "anything", "DELETE", APP, by="op"),
    row("", "an image", "POST", "/static/images", "x", "multipart/form-data; boundary=x", by=""),
]  # fmt: skip

TENANTS = [
    row("joe", "a workspace template, raw", "PATCH", f"{RAW_TEMPLATES}/ws2", {"spec": {"template": {"spec":
        {"manager": "joe"}}}}, MERGE),
    row("joe", "a workspace template by apply", "PATCH", f"{RAW_TEMPLATES}/ws2?fieldManager=me&force=true",
        template("ws2"),
        APPLY),
    row("joe", "a manager", "PATCH", f"{TEMPLATES}/ws2", {"spec": {"template": {"spec": {"manager": "joe"}}}}, MERGE,
        by=""),
    row("joe", "a manager by a JSON patch", "PATCH", f"{TEMPLATES}/ws2",
        [{"op": "replace", "path": "/spec/template/spec/manager", "value": "joe"}], PATCH, by=""),
    row("joe", "the end of a placement", "PATCH", f"{TEMPLATES}/ws2",
        [{"op": "remove", "path": "/spec/placement/clusters", "value": [{"name": "x"}]}], PATCH, by=""),
    row("joe", "a placement everywhere", "PATCH", f"{TEMPLATES}/ws2",
        [{"op": "add", "path": "/spec/placement/clusterSelector", "value": {}}], PATCH, by=""),
    row("joe", "a label of a template", "PATCH", f"{TEMPLATES}/ws2",
        [{"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}], PATCH, by=""),
    row("joe", "the end of a finalizer", "PATCH", f"{TEMPLATES}/ws2",
        [{"op": "remove", "path": "/metadata/finalizers"}], PATCH, by=""),
    row("joe", "a whole template", "PATCH", f"{TEMPLATES}/ws2", [{"op": "replace", "path": "", "value": {}}], PATCH,
        by=""),
    row("joe", "a new workspace", "POST", TEMPLATES, template("mine")),
    row("joe", "a new workspace, raw", "POST", RAW_TEMPLATES, template("mine")),
    row("wa", "a new workspace", "POST", TEMPLATES, template("mine", "wa")),
    row("wa", "another's workspace", "DELETE", f"{TEMPLATES}/ws2", {}),
    row("wv", "the own workspace", "DELETE", f"{TEMPLATES}/ws1", {}, by="wa"),
    row("wv", "the own workspace, raw", "PATCH", f"{RAW_TENANT}/workspaces/ws1", {"spec": {"manager": "wv"}}, MERGE),
    row("wa", "another's manager", "PATCH", f"{RAW_TENANT}/workspaces/ws2", {"spec": {"manager": "wa"}}, MERGE),
    row("wv", "a namespace", "POST", f"{TENANT}/workspaces/ws1/namespaces", {"metadata": {"name": "mine"}}, by="wa"),
    row("wa", "a namespace in another workspace", "POST", f"{TENANT}/workspaces/ws2/namespaces",
        {"metadata": {"name": "mine"}}),
    row("joe", "a namespace", "POST", f"{TENANT}/workspaces/ws1/namespaces", {"metadata": {"name": "mine"}}, by="wa"),
    row("wa", "another's namespace within the workspace", "PATCH", f"{TENANT}/workspaces/ws1/namespaces/n2",
        labelled("ws1"), MERGE, by=""),
    row("wa", "another's namespace in its place", "PUT", f"{TENANT}/workspaces/ws1/namespaces/n2",
        {"metadata": {"name": "n2", "labels": {"kubesphere.io/workspace": "ws1"}}}, by=""),
    row("wa", "the end of another's namespace", "DELETE", f"{TENANT}/workspaces/ws1/namespaces/n2", by=""),
    row("wa", "another's namespace by its label", "PATCH", "/api/v1/namespaces/n2", labelled("ws1"), MERGE),
    row("wa", "nobody's namespace by its label", "PATCH", "/api/v1/namespaces/n0", labelled("ws1"), MERGE),
    row("wa", "the own namespace to another workspace", "PATCH", "/api/v1/namespaces/n1", labelled("ws2"), MERGE),
    row("pa", "the own namespace to another workspace", "PATCH", "/api/v1/namespaces/n1", labelled("ws2"), MERGE),
    row("pa", "the own namespace out of its workspace", "PATCH", "/api/v1/namespaces/n1",
        [{"op": "remove", "path": "/metadata/labels/kubesphere.io~1workspace"}], PATCH),
    row("pa", "the own namespace out of its workspace, by null", "PATCH", "/api/v1/namespaces/n1",
        {"metadata": {"labels": {"kubesphere.io/workspace": None}}}, MERGE),
    row("pa", "who made the namespace", "PATCH", "/api/v1/namespaces/n1",
        {"metadata": {"annotations": {"kubesphere.io/creator": "pa"}}}, MERGE),
    row("wv", "a quota", "POST", f"{TENANT}/workspaces/ws1/resourcequotas", {"metadata": {"name": "ws1"}, **QUOTA},
        by="wa"),
    row("wa", "a quota of another workspace", "PUT", f"{TENANT}/workspaces/ws2/resourcequotas/ws2",
        {"metadata": {"name": "ws2"}, **QUOTA}, by=""),
    row("wa", "no quota for another workspace", "DELETE", f"{TENANT}/workspaces/ws2/resourcequotas/ws2"),
    row("wa", "a quota of another workspace within the own", "PUT", f"{TENANT}/workspaces/ws1/resourcequotas/ws2",
        {"metadata": {"name": "ws2"}, **QUOTA}, by=""),
    row("wa", "the end of a quota of another workspace", "DELETE", f"{TENANT}/workspaces/ws1/resourcequotas/ws2",
        by=""),
    row("wa", "a quota, raw", "PATCH", "/apis/quota.kubesphere.io/v1alpha2/resourcequotas/ws2", QUOTA, MERGE),
    row("joe", "somebody's session", "DELETE", f"{IAM}/users/alice"),
]  # fmt: skip

ROWS = [*viewer("pv"), *viewer("wv"), *ELSEWHERE, *TENANTS]
