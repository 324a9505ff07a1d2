"""Who gives themselves, or others, what they do not have: by members, roles, bindings, users, templates, groups.

``mm`` and ``wm`` manage the members of ``n1`` and ``ws1`` and else only see them, ``rw`` writes roles and bindings in
``n1`` and has nothing else there, ``um`` manages users.
"""

from __future__ import annotations

from support_attacks import APPLY, IAM, MERGE, NATIVE, PATCH, RAW_IAM, STRATEGIC, Attack
from support_rights import EVERY_RESOURCE, EVERYTHING, binding, role

ROLE = "iam.kubesphere.io/globalrole"
POLICY = {
    "iam.kubesphere.io/rego-override": 'package authz\ndefault allow = false\nallow = true { input.User.Name == "pa" }'
}
RAW_N1, NATIVE_N1 = f"{RAW_IAM}/namespaces/n1", f"{NATIVE}/namespaces/n1"


def row(who: str, name: str, method: str, target: str, body: object = None, kind: str = "", **more: object) -> Attack:
    return Attack(f"{who}: {name}", who, method, target, body, kind or "application/json", **more)  # type: ignore[arg-type]


def native(kind: str, name: str, *, namespace: str = "", **more: object) -> object:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": metadata, **more}


def to(kind: str, name: str, *users: str) -> dict[str, object]:
    return {
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user} for user in users],
    }


def member(user: str, role_ref: str) -> dict[str, str]:
    return {"username": user, "roleRef": role_ref}


WS1, N1_MEMBERS = f"{IAM}/workspaces/ws1/workspacemembers", f"{IAM}/namespaces/n1/namespacemembers"
WS2, N2_MEMBERS = f"{IAM}/workspaces/ws2/workspacemembers", f"{IAM}/namespaces/n2/namespacemembers"

MEMBERS = [
    row("mm", "admin for oneself", "PUT", f"{N1_MEMBERS}/mm", member("mm", "admin"), by="pa"),
    row("mm", "admin for a friend", "POST", N1_MEMBERS, [member("joe", "admin")], by="pa"),
    row("mm", "operator for oneself", "PUT", f"{N1_MEMBERS}/mm", member("mm", "operator"), by="pa"),
    row("mm", "admin behind what is allowed", "POST", N1_MEMBERS, [member("mm", "manages-members"), member("joe",
        "admin")],
        by="pa"),
    row("mm", "a member elsewhere", "POST", N2_MEMBERS, [member("mm", "viewer")]),
    row("wm", "admin for oneself", "PUT", f"{WS1}/wm", member("wm", "ws1-admin"), by="wa"),
    row("wm", "admin for a friend", "POST", WS1, [member("joe", "ws1-admin")], by="wa"),
    row("wm", "the role of another workspace", "POST", WS1, [member("joe", "ws2-viewer")], by=""),
    row("wa", "the role of another workspace", "POST", WS1, [member("joe", "ws2-admin")], by=""),
    row("wa", "a member of another workspace", "POST", WS2, [member("wa", "ws2-admin")]),
    row("wa", "no member of another workspace", "DELETE", f"{WS2}/bob"),
    row("wa", "a member of another workspace's namespace", "POST", N2_MEMBERS, [member("wa", "admin")]),
    row("wa", "a member of the cluster", "POST", f"{IAM}/clustermembers", [member("wa", "cluster-admin")]),
    row("wa", "a member of the cluster within the workspace", "POST", f"{IAM}/workspaces/ws1/clustermembers",
        [member("wa", "cluster-admin")], by=""),
    row("pa", "a member of the cluster within the namespace", "POST", f"{IAM}/namespaces/n1/clustermembers",
        [member("pa", "cluster-admin")], by=""),
    row("pa", "a member of the workspace", "POST", WS1, [member("pa", "ws1-admin")], by="wa"),
    row("wv", "a member", "POST", WS1, [member("joe", "ws1-viewer")], by="wa"),
    row("wv", "more for oneself", "PUT", f"{WS1}/wv", member("wv", "ws1-admin"), by="wa"),
    row("pv", "more for oneself", "PUT", f"{N1_MEMBERS}/pv", member("pv", "admin"), by="pa"),
    row("op", "more for oneself", "PUT", f"{N1_MEMBERS}/op", member("op", "admin"), by="pa"),
    row("joe", "a member", "POST", WS1, [member("joe", "ws1-viewer")], by="wa"),
    row("joe", "more for oneself", "PUT", f"{IAM}/clustermembers/joe", member("joe", "cluster-admin"), by=""),
    row("cv", "more for oneself", "PUT", f"{IAM}/clustermembers/cv", member("cv", "cluster-admin")),
    row("wa", "a name that is a selector", "DELETE", f"{WS1}/a%40b", by=""),
    row("ca", "a name that is a selector", "DELETE", f"{IAM}/clustermembers/a@b", by=""),
    row("ca", "a name that selects all", "DELETE", f"{IAM}/clustermembers/cv,%21x", by=""),
    row("pa", "a name that is two", "DELETE", f"{N1_MEMBERS}/op%2Cpv", by=""),
    row("pa", "another name than the path's", "PUT", f"{N1_MEMBERS}/op", member("joe", "admin"), by=""),
]  # fmt: skip

ROLES = [
    row("rw", "a Role that may everything", "POST", f"{RAW_N1}/roles", role("Role", "mine", EVERY_RESOURCE,
        namespace="n1"),
        by="pa"),
    row("rw", "a native Role that may everything", "POST", f"{NATIVE_N1}/roles",
        native("Role", "mine", namespace="n1", rules=EVERY_RESOURCE), by="pa"),
    row("rw", "more in the own Role", "PATCH", f"{RAW_N1}/roles/writes-roles", {"rules": EVERY_RESOURCE}, MERGE,
        by="pa"),
    row("rw", "more in the own Role, by a JSON patch", "PATCH", f"{RAW_N1}/roles/writes-roles",
        [{"op": "replace", "path": "/rules/0/verbs", "value": ["*"]}], PATCH, by="pa"),
    row("rw", "more in the own Role, by apply", "PATCH", f"{RAW_N1}/roles/writes-roles?fieldManager=me&force=true",
        role("Role", "writes-roles", EVERY_RESOURCE, namespace="n1"), APPLY, by="pa"),
    row("rw", "the templates of a Role", "PATCH", f"{RAW_N1}/roles/writes-roles",
        {"aggregationRoleTemplates": {"roleSelector": {}}}, MERGE, by="pa"),
    row("rw", "a template by its name", "PATCH", f"{RAW_N1}/roles/writes-roles",
        {"aggregationRoleTemplates": {"templateNames": ["everything"]}}, MERGE, by="pa"),
    row("rw", "a template by its label", "PATCH", f"{RAW_N1}/roles/writes-roles",
        {"aggregationRoleTemplates": {"roleSelector": {"matchLabels": {"iam.kubesphere.io/scope": "namespace"}}}},
            MERGE,
        by="pa"),
    row("rw", "a binding to admin", "POST", f"{RAW_N1}/rolebindings",
        binding("RoleBinding", "mine", ("Role", "admin"), "rw", namespace="n1"), by="pa"),
    row("rw", "a binding to a role of the cluster", "POST", f"{RAW_N1}/rolebindings",
        binding("RoleBinding", "mine", ("ClusterRole", "cluster-admin"), "rw", namespace="n1"), by="admin"),
    row("rw", "a native binding to a role of the cluster", "POST", f"{NATIVE_N1}/rolebindings",
        native("RoleBinding", "mine", namespace="n1", **to("ClusterRole", "cluster-admin", "rw")), by="admin"),
    row("rw", "oneself in a binding to admin", "PATCH", f"{RAW_N1}/rolebindings/pa",
        {"subjects": [{"kind": "User", "name": "rw", "apiGroup": "iam.kubesphere.io"}]}, MERGE, by="pa"),
    row("rw", "everybody in a binding to admin", "PATCH", f"{RAW_N1}/rolebindings/pa",
        [{"op": "add", "path": "/subjects/-", "value": {"kind": "Group", "name": "system:authenticated"}}], PATCH,
            by="pa"),
    row("rw", "a binding elsewhere", "POST", f"{RAW_IAM}/namespaces/n2/rolebindings",
        binding("RoleBinding", "mine", ("Role", "admin"), "rw", namespace="n2")),
    row("op", "a Role", "POST", f"{RAW_N1}/roles", role("Role", "mine", EVERY_RESOURCE, namespace="n1"), by="pa"),
    row("pv", "a binding", "POST", f"{RAW_N1}/rolebindings",
        binding("RoleBinding", "mine", ("Role", "admin"), "pv", namespace="n1"), by="pa"),
    row("pa", "a policy in a Role", "PATCH", f"{RAW_N1}/roles/viewer", {"metadata": {"annotations": POLICY}}, MERGE),
    row("wa", "a policy in a role of the workspace", "PATCH", f"{RAW_IAM}/workspaceroles/ws1-viewer",
        {"metadata": {"annotations": POLICY}}, MERGE),
    row("pa", "a ClusterRoleBinding", "POST", f"{RAW_IAM}/clusterrolebindings",
        binding("ClusterRoleBinding", "mine", ("ClusterRole", "cluster-admin"), "pa")),
    row("pa", "a native ClusterRoleBinding", "POST", f"{NATIVE}/clusterrolebindings",
        native("ClusterRoleBinding", "mine", **to("ClusterRole", "cluster-admin", "pa"))),
    row("pa", "a ClusterRoleBinding within the namespace", "POST", f"{NATIVE_N1}/clusterrolebindings",
        native("ClusterRoleBinding", "mine", **to("ClusterRole", "cluster-admin", "pa")), by="", shows=True),
    row("pa", "that at the resource API", "POST",
        "/kapis/rbac.authorization.k8s.io/v1/namespaces/n1/clusterrolebindings",
        native("ClusterRoleBinding", "mine", **to("ClusterRole", "cluster-admin", "pa")), by=""),
    row("pa", "a GlobalRoleBinding within the namespace", "POST", f"{IAM}/namespaces/n1/globalrolebindings",
        binding("GlobalRoleBinding", "mine", ("GlobalRole", "platform-admin"), "pa"), by=""),
    row("wa", "a GlobalRoleBinding within the workspace", "POST", f"{IAM}/workspaces/ws1/globalrolebindings",
        binding("GlobalRoleBinding", "mine", ("GlobalRole", "platform-admin"), "wa"), by=""),
    row("wa", "a GlobalRoleBinding", "POST", f"{RAW_IAM}/globalrolebindings",
        binding("GlobalRoleBinding", "mine", ("GlobalRole", "platform-admin"), "wa")),
    row("ca", "a GlobalRoleBinding", "POST", f"{RAW_IAM}/globalrolebindings",
        binding("GlobalRoleBinding", "mine", ("GlobalRole", "platform-admin"), "ca")),
    row("ca", "more in a GlobalRole", "PATCH", f"{RAW_IAM}/globalroles/authenticated", {"rules": EVERYTHING}, MERGE),
    row("wa", "a binding in another workspace", "POST", f"{IAM}/workspaces/ws2/workspacerolebindings",
        binding("WorkspaceRoleBinding", "mine", ("WorkspaceRole", "ws2-admin"), "wa", workspace="ws2"), by="",
        ),
    row("wa", "that with another workspace's label", "POST", f"{IAM}/workspaces/ws1/workspacerolebindings",
        binding("WorkspaceRoleBinding", "mine", ("WorkspaceRole", "ws2-admin"), "wa", workspace="ws2"), by="",
        ),
    row("wa", "a binding of another workspace, raw", "POST", f"{RAW_IAM}/workspacerolebindings",
        binding("WorkspaceRoleBinding", "mine", ("WorkspaceRole", "ws2-admin"), "wa", workspace="ws2")),
    row("wa", "the workspace of the own binding", "PATCH", f"{RAW_IAM}/workspacerolebindings/wa",
        {"metadata": {"labels": {"kubesphere.io/workspace": "ws2"}}}, MERGE),
    row("wa", "the workspace of the own role", "PATCH", f"{RAW_IAM}/workspaces/ws1/workspaceroles/ws1-admin",
        {"metadata": {"labels": {"kubesphere.io/workspace": "ws2"}}}, MERGE, by="", shows=True),
    row("wa", "another's role", "PATCH", f"{IAM}/workspaces/ws1/workspaceroles/ws2-viewer", {"rules": EVERY_RESOURCE},
        MERGE,
        by=""),
    row("pa", "a template", "POST", f"{RAW_IAM}/roletemplates", {"apiVersion": "iam.kubesphere.io/v1beta1",
        "kind": "RoleTemplate", "metadata": {"name": "mine", "labels": {"iam.kubesphere.io/scope": "global"}},
        "spec": {"rules": EVERYTHING}}),
    row("wa", "a template", "PATCH", f"{RAW_IAM}/roletemplates/mine?fieldManager=me", {"apiVersion":
        "iam.kubesphere.io/v1beta1", "kind": "RoleTemplate", "metadata": {"name": "mine"},
            "spec": {"rules": EVERYTHING}},
        APPLY),
    row("wa", "oneself in a group", "PATCH", f"{RAW_IAM}/groupbindings/devs", {"users": ["dev", "wa"]}, MERGE),
    row("wa", "oneself in a group within the workspace", "PATCH", f"{RAW_IAM}/workspaces/ws1/groupbindings/devs",
        {"users": ["dev", "wa"]}, MERGE, by="", shows=True),
    row("joe", "oneself in a group", "POST", f"{RAW_IAM}/groupbindings", {"apiVersion": "iam.kubesphere.io/v1beta1",
        "kind": "GroupBinding", "metadata": {"name": "mine"}, "groupRef": {"kind": "Group", "name": "devs"},
        "users": ["joe"]}),
    row("pa", "the role of a service account", "POST", "/apis/kubesphere.io/v1alpha1/namespaces/n2/serviceaccounts",
        {"apiVersion": "kubesphere.io/v1alpha1", "kind": "ServiceAccount", "metadata": {"name": "mine",
            "namespace": "n2"}}),
    row("pv", "a service account", "POST", "/apis/kubesphere.io/v1alpha1/namespaces/n1/serviceaccounts",
        {"apiVersion": "kubesphere.io/v1alpha1", "kind": "ServiceAccount", "metadata": {"name": "mine",
            "namespace": "n1"}},
        by="pa"),
]  # fmt: skip

USERS, RAW_USERS = f"{IAM}/users", f"{RAW_IAM}/users"
ADMIN = {"metadata": {"annotations": {ROLE: "platform-admin"}}}
PASSWORD = {"password": "Chosen1Password"}


def new(name: str, **more: object) -> dict[str, object]:
    return {"metadata": {"name": name}, "spec": {"email": f"{name}@ks.test", "password": "Chosen1Password"}, **more}


PEOPLE = [
    row("um", "the role for oneself", "PATCH", f"{USERS}/um", ADMIN, MERGE, by="admin"),
    row("um", "the role for a friend", "PATCH", f"{USERS}/joe", ADMIN, MERGE, by="admin"),
    row("um", "somebody new with the role", "POST", USERS,
        {**new("evil"), "metadata": {"name": "evil", "annotations": {ROLE: "platform-admin"}}}, by="admin"),
    row("um", "the role, raw", "PATCH", f"{RAW_USERS}/um", ADMIN, MERGE, by=""),
    row("um", "the administrator's password", "PUT", f"{USERS}/admin/password", PASSWORD, by=""),
    row("um", "the administrator's password in a patch", "PATCH", f"{USERS}/admin", {"spec": PASSWORD}, MERGE, by=""),
    row("um", "the administrator's address", "PATCH", f"{USERS}/admin", {"spec": {"email": "root@ks.test"}}, MERGE,
        by="admin"),
    row("um", "no administrator", "DELETE", f"{USERS}/admin", by=""),
    row("um", "no administrator, raw", "DELETE", f"{RAW_USERS}/admin", by=""),
    row("um", "no users", "DELETE", RAW_USERS, by=""),
    row("um", "a hash", "PATCH", f"{RAW_USERS}/joe", {"spec": {"password": "$2a$04$abcdefghijklmnopqrstuu"}}, MERGE,
        by=""),
    row("um", "a group that has been given something", "PATCH", f"{USERS}/um", {"spec": {"groups": ["devs"]}}, MERGE),
    row("um", "a group in a new user", "POST", USERS, {"metadata": {"name": "evil"}, "spec":
        {"email": "evil@ks.test", "groups": ["devs"], **PASSWORD}}),
    row("um", "the password of somebody who may do everything in the cluster", "PUT", f"{USERS}/ca/password", PASSWORD),
    row("joe", "the role for oneself", "PATCH", f"{USERS}/joe", ADMIN, MERGE, by="admin"),
    row("joe", "the role for oneself, raw", "PATCH", f"{RAW_USERS}/joe", ADMIN, MERGE, by=""),
    row("joe", "the role for oneself, on the host cluster", "PATCH", f"/clusters/host{RAW_USERS}/joe", ADMIN, MERGE,
        by=""),
    row("joe", "the role for oneself, strategic", "PATCH", f"{USERS}/joe", ADMIN, STRATEGIC, by=""),
    row("joe", "a group for oneself", "PATCH", f"{USERS}/joe", {"spec": {"groups": ["devs"]}}, MERGE, by=""),
    row("joe", "a group for oneself, raw", "PATCH", f"{RAW_USERS}/joe", {"spec": {"groups": ["devs"]}}, MERGE, by=""),
    row("joe", "clusters for oneself", "PATCH", f"{USERS}/joe",
        {"metadata": {"annotations": {"iam.kubesphere.io/granted-clusters": "host"}}}, MERGE, by=""),
    row("joe", "a password without the old one", "PUT", f"{USERS}/joe/password", PASSWORD, by=""),
    row("joe", "a password with a wrong old one", "PUT", f"{USERS}/joe/password",
        {**PASSWORD, "currentPassword": "Wrong1Password"}, by=""),
    row("joe", "a password in a patch", "PATCH", f"{USERS}/joe", {"spec": PASSWORD}, MERGE, by="", shows=True),
    row("joe", "a hash, raw", "PATCH", f"{RAW_USERS}/joe", {"spec": PASSWORD}, MERGE, by=""),
    row("joe", "somebody's password", "PUT", f"{USERS}/alice/password", PASSWORD, by="admin"),
    row("joe", "somebody", "PATCH", f"{USERS}/alice", {"spec": {"email": "joe2@ks.test"}}, MERGE, by="admin"),
    row("joe", "somebody new", "POST", USERS, new("evil"), by="admin"),
    row("joe", "a state", "PATCH", f"{RAW_USERS}/joe/status", {"status": {"state": "Active"}}, MERGE, by=""),
    row("joe", "a link to an identity provider", "PATCH", f"{USERS}/joe",
        {"metadata": {"labels": {"iam.kubesphere.io/identify-provider": "x", "iam.kubesphere.io/origin-uid": "admin"}}},
        MERGE, by="", shows=False),
    row("joe", "a finalizer", "PATCH", f"{USERS}/joe", {"metadata": {"finalizers": ["a/b"]}}, MERGE, by=""),
    row("wa", "a user within the workspace", "PATCH", f"{IAM}/workspaces/ws1/users/joe", ADMIN, MERGE, by=""),
    row("wa", "a user within the workspace, raw", "PATCH", f"{RAW_IAM}/workspaces/ws1/users/joe", ADMIN, MERGE, by=""),
    row("pa", "a user within the namespace", "PATCH", f"{RAW_IAM}/namespaces/n1/users/joe", ADMIN, MERGE, by=""),
    row("", "somebody new", "POST", USERS, new("evil"), by="admin"),
    row("joe", "a review as somebody", "POST", f"{IAM}/subjectaccessreviews",
        {"spec": {"user": "admin", "resourceAttributes": {"verb": "*", "resource": "secrets"}}}, by="admin"),
]  # fmt: skip

ROWS = [*MEMBERS, *ROLES, *PEOPLE]

#: What is known to go through, and what has to be done about it.
OPEN: dict[str, str] = {}
