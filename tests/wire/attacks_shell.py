"""A viewer cannot get a shell by any path: exec, attach, port-forward and proxies in every form."""

from __future__ import annotations

from support_attacks import N1, N2, SPDY, STRATEGIC, SYSTEM, WEBSOCKET, Attack

POD = f"{N1}/pods/p"
EXEC = f"{POD}/exec?command=sh&stdin=true&stdout=true"
NODE = "/api/v1/nodes/node-1"
SELECTED = "labelSelector=kubesphere.io/workspace%3Dws1"
OVERRIDE = (("X-HTTP-Method-Override", "POST"),)
ADMIN = (("Impersonate-User", "admin"), ("Impersonate-Group", "system:masters"), ("X-Remote-User", "admin"))
BUSYBOX = {"name": "sh", "image": "busybox", "command": ["sh"], "stdin": True}
NEW_POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "mine", "namespace": "n1"},
    "spec": {"containers": [{"name": "sh", "image": "busybox"}]},
}
JOB = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "mine", "namespace": "n1"},
    "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "sh", "image": "busybox"}]}}},
}


def ways(who: str, nodes: bool) -> list[Attack]:
    """Every way for one viewer of n1; ``nodes``: those through nodes, too, which only some get near."""

    def way(
        name: str, method: str, target: str, *headers: tuple[str, str], by: str = "admin", **more: object
    ) -> Attack:
        return Attack(f"{who}: {name}", who, method, target, headers=headers, by=by, **more)  # type: ignore[arg-type]

    found = [
        way("exec over WebSocket", "GET", EXEC, *WEBSOCKET, by="pa"),
        way("exec over SPDY with GET", "GET", EXEC, *SPDY, by="pa"),
        way("exec over SPDY with POST", "POST", EXEC, *SPDY, by="op"),
        way("exec with GET", "GET", EXEC, by="pa"),
        way("exec with POST", "POST", EXEC, by="op"),
        way("exec with HEAD", "HEAD", EXEC),
        way("exec with PUT", "PUT", EXEC),
        way("exec with PATCH", "PATCH", EXEC),
        way("exec with DELETE", "DELETE", EXEC),
        way("exec with OPTIONS", "OPTIONS", EXEC),
        way("exec that says watch", "GET", f"{EXEC}&watch=1", *WEBSOCKET, by="pa"),
        way("exec with a selector for a workspace", "GET", f"{EXEC}&watch=1&{SELECTED}", *WEBSOCKET, by="pa"),
        way("exec with an escape in its name", "GET", f"{POD}/%65xec?command=sh", *WEBSOCKET, by="pa"),
        way("exec with a slash at the end", "GET", f"{POD}/exec/?command=sh", *WEBSOCKET, by="pa"),
        way("exec with more behind it", "GET", f"{POD}/exec/more?command=sh", *WEBSOCKET, by="pa"),
        way("exec behind two slashes", "GET", f"{N1}/pods/p//exec?command=sh", *WEBSOCKET, by=""),
        way("exec behind an encoded slash", "GET", f"{N1}/pods/p%2Fexec?command=sh", *WEBSOCKET, by=""),
        way("exec behind a dot", "GET", f"{N1}/pods/p/./exec?command=sh", *WEBSOCKET, by=""),
        way("exec behind two dots", "GET", f"{N1}/pods/p/log/../exec?command=sh", *WEBSOCKET, by=""),
        way("exec in capitals", "GET", f"{POD}/EXEC?command=sh", *WEBSOCKET, by="", shows=True),
        way("exec on the host cluster", "GET", f"/clusters/host{EXEC}", *WEBSOCKET, by="pa"),
        way("exec on the host cluster, as it was", "GET", f"/api/clusters/host{EXEC[4:]}", *WEBSOCKET, by="pa"),
        way("exec below watch", "GET", EXEC.replace("/v1/", "/v1/watch/"), *WEBSOCKET),
        way("exec below watch with POST", "POST", EXEC.replace("/v1/", "/v1/watch/"), *SPDY),
        way("exec below proxy", "GET", EXEC.replace("/v1/", "/v1/proxy/"), *WEBSOCKET),
        way("exec within the workspace", "GET", EXEC.replace("/v1/", "/v1/workspaces/ws1/"), *WEBSOCKET),
        way("exec at the resource API", "GET", EXEC.replace("/api/", "/kapi/"), *WEBSOCKET, by=""),
        way("exec with POST at the resource API", "POST", EXEC.replace("/api/", "/kapi/"), *SPDY, by=""),
        way("exec in another group", "GET", EXEC.replace("/api/v1/", "/kapis/pods.example/v1/"), *WEBSOCKET, by=""),
        way("exec that overrides its method", "GET", EXEC, *WEBSOCKET, *OVERRIDE, by="pa"),
        way("exec as somebody else", "GET", EXEC, *WEBSOCKET, *ADMIN, by="pa"),
        way("exec in another namespace", "GET", f"{N2}/pods/p/exec?command=sh", *WEBSOCKET),
        way("exec in bob's kubectl", "GET", f"{SYSTEM}/pods/ks-managed-kubectl-bob/exec", *WEBSOCKET, by="bob"),
        way("exec in a kubectl with a longer name", "POST", f"{SYSTEM}/pods/x-ks-managed-kubectl-{who}/exec", *SPDY),
        way("attach over WebSocket", "GET", f"{POD}/attach?stdin=true", *WEBSOCKET, by="pa"),
        way("attach over SPDY", "POST", f"{POD}/attach?stdin=true", *SPDY, by="op"),
        way("attach with GET", "GET", f"{POD}/attach", by="pa"),
        way("port-forward over WebSocket", "GET", f"{POD}/portforward?ports=22", *WEBSOCKET, by="pa"),
        way("port-forward over SPDY", "POST", f"{POD}/portforward", *SPDY, by="op"),
        way("a tunnel through a pod's proxy", "GET", f"{POD}/proxy/", *WEBSOCKET, by="pa"),
        way("a tunnel through a service's proxy", "GET", f"{N1}/services/web/proxy/shell", *WEBSOCKET, by="pa"),
        way("a POST through a service's proxy", "POST", f"{N1}/services/web/proxy/shell", by="pa"),
        way("another pod", "POST", f"{N1}/pods", body=NEW_POD, by="op"),
        way("a Job", "POST", "/apis/batch/v1/namespaces/n1/jobs", body=JOB, by="op"),
        way("another image", "PATCH", POD, kind=STRATEGIC, by="op",
            body={"spec": {"containers": [{"name": "main", "image": "busybox"}]}}),
        way("an image of a Deployment", "PATCH", "/apis/apps/v1/namespaces/n1/deployments/d", kind=STRATEGIC, by="op",
            body={"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "busybox"}]}}}}),
        way("a container beside", "PATCH", f"{POD}/ephemeralcontainers", kind=STRATEGIC, by="",
            body={"spec": {"ephemeralContainers": [BUSYBOX]}}),
        way("a token of a service account", "POST", f"{N1}/serviceaccounts/default/token", by="", body={
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}}),
    ]  # fmt: skip
    if nodes:
        found += [
            way("exec at the node", "GET", f"{NODE}/proxy/exec/n1/p/main?command=sh", *WEBSOCKET),
            way("exec at the node with POST", "POST", f"{NODE}/proxy/exec/n1/p/main?command=sh", *SPDY),
            way("run at the node", "GET", f"{NODE}/proxy/run/n1/p/main?cmd=sh"),
            way("run at the node with POST", "POST", f"{NODE}/proxy/run/n1/p/main?cmd=sh"),
            way("attach at the node", "GET", f"{NODE}/proxy/attach/n1/p/main", *WEBSOCKET),
            way("port-forward at the node", "GET", f"{NODE}/proxy/portForward/n1/p", *WEBSOCKET),
            way("exec at the node in capitals", "GET", f"{NODE}/proxy/EXEC/n1/p/main"),
            way("exec at the node with an escape", "GET", f"{NODE}/proxy/%65xec/n1/p/main"),
            way("exec at the node behind an encoded slash", "GET", f"{NODE}/proxy/x%2Fexec/n1/p/main"),
            way("exec at the node behind dots", "GET", f"{NODE}/proxy/pods/../exec/n1/p/main", by=""),
            way("exec at the node behind encoded dots", "GET", f"{NODE}/proxy/pods/%2E%2E/exec/n1/p/main", by=""),
            way("exec at the node's runtime", "GET", f"{NODE}/proxy/cri/exec/abcdef"),
            way("exec at the node behind a slash more", "GET", f"{NODE}/proxy//exec/n1/p/main"),
            way("exec at the node by another port", "GET", "/api/v1/nodes/node-1:10250/proxy/exec/n1/p/main"),
            way("exec at the node, as it was", "GET", "/api/v1/proxy/nodes/node-1/exec/n1/p/main", *WEBSOCKET),
            way("any tunnel to the node", "GET", f"{NODE}/proxy/pods", *WEBSOCKET),
        ]
    return found


ROWS = [*ways("pv", False), *ways("wv", False), *ways("cv", True)]
