"""Users, workspaces, projects, roles and who has them: as many as a large installation has, or next to none."""

from __future__ import annotations

from typing import Any

from bench.objects import Object

USERS, WORKSPACES, NAMESPACES, BINDINGS = 2000, 500, 2000, 5000
"""Of the large installation. Everybody has a global role, every project a member, and the rest are of workspaces."""

PROJECT = "bench"
"""The namespace of the measured requests, in the workspace ``workspace-0000``; ``user-00000`` is a viewer there."""

IAM = "/apis/iam.kubesphere.io/v1beta1"
_TENANT = "/apis/tenant.kubesphere.io/v1beta1"
_WORKSPACE = "kubesphere.io/workspace"
_READ = ["get", "list", "watch"]


def user(number: int) -> str:
    """A user's name."""
    return f"user-{number:05}"


def installation(hashed: str, *, large: bool) -> dict[str, list[Object]]:
    """The collections, by path. Everybody has the password whose hash is ``hashed``; ``admin`` may do everything."""
    users, workspaces, namespaces = (USERS - 1, WORKSPACES, NAMESPACES - 1) if large else (1, 1, 0)
    projects = [PROJECT, *(f"project-{number:05}" for number in range(namespaces))]
    names = ["admin", *map(user, range(users))]
    roles = [
        _role("GlobalRole", "platform-admin", ["*"]),
        _role("GlobalRole", "platform-regular", []),
        _role("GlobalRole", "authenticated", _READ, groups=["tenant.kubesphere.io"]),
        *(_role("WorkspaceRole", f"{_workspace(n)}-viewer", _READ, workspace=_workspace(n)) for n in range(workspaces)),
        *(_role("Role", f"viewer-{project}", _READ, namespace=project) for project in projects),
    ]
    bindings = [
        _binding("GlobalRoleBinding", name, "platform-regular" if number else "platform-admin", name)
        for number, name in enumerate(names)
    ]
    bindings.append(_binding("GlobalRoleBinding", "authenticated", "authenticated", "system:authenticated", "Group"))
    bindings += [
        _binding("RoleBinding", f"viewer-{number:05}", f"viewer-{project}", user(number % users), namespace=project)
        for number, project in enumerate(projects)
    ]
    left = BINDINGS - len(bindings) if large else 0
    bindings += [
        _binding("WorkspaceRoleBinding", f"member-{n:05}", f"{_workspace(n % workspaces)}-viewer", user(n % users))
        | {"metadata": _metadata(f"member-{n:05}", {_WORKSPACE: _workspace(n % workspaces)})}
        for n in range(left)
    ]
    found: dict[str, list[Object]] = {
        f"{IAM}/users": [_user(name, hashed) for name in names],
        f"{_TENANT}/workspaces": [_workspace_object("Workspace", n) for n in range(workspaces)],
        f"{_TENANT}/workspacetemplates": [_workspace_object("WorkspaceTemplate", n) for n in range(workspaces)],
        "/api/v1/namespaces": [
            {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": _metadata(project, {_WORKSPACE: _workspace(number % workspaces)}),
                "spec": {"finalizers": ["kubernetes"]},
                "status": {"phase": "Active"},
            }
            for number, project in enumerate(projects)
        ],
    }
    for item in (*roles, *bindings):
        found.setdefault(f"{IAM}/{item['kind'].lower()}s", []).append(item)
    return found


def _workspace(number: int) -> str:
    return f"workspace-{number:04}"


def _metadata(name: str, labels: dict[str, str] | None = None, namespace: str = "") -> Object:
    found: Object = {"name": name, "resourceVersion": "1000", "creationTimestamp": "2025-01-01T00:00:00Z"}
    if labels:
        found["labels"] = labels
    if namespace:
        found["namespace"] = namespace
    return found


def _iam(kind: str, metadata: Object, **more: Any) -> Object:
    return {"apiVersion": "iam.kubesphere.io/v1beta1", "kind": kind, "metadata": metadata, **more}


def _user(name: str, hashed: str) -> Object:
    metadata = _metadata(name) | {"finalizers": ["finalizers.kubesphere.io/users"]}
    spec = {"email": f"{name}@bench.example", "password": hashed}
    return _iam("User", metadata, spec=spec, status={"state": "Active"})


def _workspace_object(kind: str, number: int) -> Object:
    name = _workspace(number)
    return {
        "apiVersion": "tenant.kubesphere.io/v1beta1",
        "kind": kind,
        "metadata": _metadata(name),
        "spec": {"manager": "admin"} if kind == "Workspace" else {"template": {"spec": {"manager": "admin"}}},
    }


def _role(
    kind: str,
    name: str,
    verbs: list[str],
    *,
    groups: list[str] | None = None,
    workspace: str = "",
    namespace: str = "",
) -> Object:
    rule = {"apiGroups": groups or ["*"], "resources": ["*"], "verbs": verbs}
    metadata = _metadata(name, {_WORKSPACE: workspace} if workspace else None, namespace)
    return _iam(kind, metadata, rules=[rule] if verbs else [])


def _binding(kind: str, name: str, role: str, who: str, subject: str = "User", *, namespace: str = "") -> Object:
    of = kind.removesuffix("Binding")
    return _iam(
        kind,
        _metadata(name, {"iam.kubesphere.io/user-ref": who}, namespace),
        subjects=[{"apiGroup": "rbac.authorization.k8s.io", "kind": subject, "name": who}],
        roleRef={"apiGroup": "iam.kubesphere.io", "kind": of, "name": role},
    )
