"""A gateway with roles and bindings, as spec 03, 2.12 has them, and people who ask it things.

Whether a request to what is tested with this is let through is not the subject: everybody's is. What handlers ask of
roles is.
"""

from __future__ import annotations

from typing import Any

import msgspec
from support_oauth import World, bearer, user

from ksproxyd.testing import Answer

IAM = "/kapis/iam.kubesphere.io/v1beta1"
STORED = "/apis/iam.kubesphere.io/v1beta1"
WORKSPACE = "kubesphere.io/workspace"
GROUP = "iam.kubesphere.io"

READ = ["get", "list", "watch"]
ALL = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
VIEW = {"verbs": READ, "apiGroups": ["*"], "resources": ["*"]}
EVERY_URL = {"verbs": ["*"], "nonResourceURLs": ["*"]}


def iam(kind: str, name: str, namespace: str = "", **more: Any) -> Any:
    """An object of KubeSphere's."""
    metadata = {"name": name, **({"namespace": namespace} if namespace else {}), **more.pop("metadata", {})}
    return {"apiVersion": "iam.kubesphere.io/v1beta1", "kind": kind, "metadata": metadata, **more}


def role(kind: str, name: str, *rules: Any, namespace: str = "", workspace: str = "", templates: Any = ()) -> Any:
    metadata = {"labels": {WORKSPACE: workspace}} if workspace else {}
    more = {"aggregationRoleTemplates": {"templateNames": list(templates)}} if templates else {}
    return iam(kind, name, namespace, metadata=metadata, rules=list(rules), **more)


def binding(kind: str, name: str, subject: str, ref: str, *, namespace: str = "", workspace: str = "") -> Any:
    """Of ``User name`` or ``Group name`` to ``Kind name``, without the labels that KubeSphere would write."""
    of, who = subject.split()
    role_kind, role_name = ref.split()
    return iam(
        kind,
        name,
        namespace,
        metadata={"labels": {WORKSPACE: workspace}} if workspace else {},
        roleRef={"apiGroup": GROUP, "kind": role_kind, "name": role_name},
        subjects=[{"apiGroup": GROUP, "kind": of, "name": who}],
    )


def namespace(name: str, workspace: str = "") -> Any:
    labels = {WORKSPACE: workspace} if workspace else {}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


OBJECTS = [
    namespace("n0"),
    namespace("n1", "ws1"),
    namespace("n2", "ws2"),
    role("GlobalRole", "platform-admin", ALL, EVERY_URL, templates=["global-everything"]),
    role("GlobalRole", "users", {"verbs": ["get", "list"], "apiGroups": [GROUP], "resources": ["users"]}),
    role(
        "GlobalRole",
        "callers",
        {
            "verbs": ["get", "list", "create", "update", "delete"],
            "apiGroups": [GROUP],
            "resources": [
                "clustermembers",
                "workspacemembers",
                "namespacemembers",
                "subjectaccessreviews",
                "users/roletemplates",
            ],
        },
    ),
    role("ClusterRole", "cluster-admin", ALL, EVERY_URL, templates=["cluster-all"]),
    role("ClusterRole", "cluster-viewer", VIEW, {"verbs": ["GET"], "nonResourceURLs": ["*"]}),
    *(
        each
        for ws in ("ws1", "ws2")
        for each in (
            role("WorkspaceRole", f"{ws}-admin", ALL, workspace=ws, templates=["workspace-all", "gone"]),
            role("WorkspaceRole", f"{ws}-viewer", VIEW, workspace=ws, templates=["workspace-view"]),
        )
    ),
    role("Role", "admin", ALL, namespace="n1", templates=["namespace-all", "namespace-view"]),
    role("Role", "viewer", VIEW, namespace="n1", templates=["namespace-view"]),
    role(
        "Role",
        "members",
        {"verbs": ["*"], "apiGroups": [GROUP], "resources": ["namespacemembers"]},
        VIEW,
        namespace="n1",
    ),
    role(
        "Role",
        "binders",
        {"verbs": ["bind"], "apiGroups": [GROUP], "resources": ["roles"], "resourceNames": ["admin"]},
        namespace="n1",
    ),
    binding("GlobalRoleBinding", "admin", "User admin", "GlobalRole platform-admin"),
    binding("GlobalRoleBinding", "callers", "Group system:authenticated", "GlobalRole callers"),
    binding("GlobalRoleBinding", "uma", "User uma", "GlobalRole users"),
    binding("ClusterRoleBinding", "cv", "User cv", "ClusterRole cluster-viewer"),
    binding("WorkspaceRoleBinding", "wa", "User wa", "WorkspaceRole ws1-admin", workspace="ws1"),
    binding("RoleBinding", "nm", "User nm", "Role members", namespace="n1"),
    binding("RoleBinding", "nb", "User nb", "Role binders", namespace="n1"),
    *(user(name) for name in ("uma", "cv", "wa", "nm", "nb", "joe")),
]


class Cluster(World):
    """:class:`World` with :data:`OBJECTS`."""

    def __init__(self) -> None:
        super().__init__(more="  iam: {manageUsers: false}", mode="RBAC")
        self.gateway.apply(*OBJECTS)
        self._tokens: dict[str, str] = {}

    def call(
        self, who: str, method: str, path: str, body: Any = None, kind: bytes | None = b"application/json"
    ) -> Answer:
        """Ask as ``who``; the password of everybody is the same."""
        if who not in self._tokens:
            self._tokens[who] = self.logged_in(who)["access_token"]
        headers = [bearer(self._tokens[who])]
        if body is not None and kind is not None:
            headers.append((b"Content-Type", kind))
        content = b"" if body is None else body if isinstance(body, bytes) else msgspec.json.encode(body)
        return self.gateway.request(method, IAM + path, headers, content)

    def stored(self, plural: str, namespace: str = "") -> dict[str, Any]:
        """What the cluster has of a kind, by name."""
        where = f"/namespaces/{namespace}" if namespace else ""
        listing: Any = self.gateway.embedded.call("GET", f"{STORED}{where}/{plural}")
        return {each["metadata"]["name"]: each for each in listing["items"]}
