"""What a path below ``/kapis`` is about: the object or the objects, and the workspace that they must belong to.

A path is authorized by what it looks like, before anybody knows the kind. So the kind must be what it looks like: one
without namespaces has none in its path, what is asked of one workspace belongs to workspaces (spec 03, D1 and D2).
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ksproxyd.kapis.dynamic.discovery import Found
from ksproxyd.kube.resource import Resource
from ksproxyd.model.request_info import RequestInfo
from ksproxyd.tree.user_secrets import GROUP as IAM_GROUP
from ksproxyd.tree.user_secrets import PLURAL as USERS
from ksproxyd.tree.write_checks import TENANT_GROUP

#: Subresources that are served.
SUBRESOURCES = frozenset(["status", "scale"])

#: Kinds without namespaces whose objects belong to workspaces, by their label. Others are only read there.
_OF_WORKSPACES = frozenset(
    [
        ("", "namespaces"),
        (IAM_GROUP, "workspaceroles"),
        (IAM_GROUP, "workspacerolebindings"),
        (IAM_GROUP, "groups"),
        (IAM_GROUP, "groupbindings"),
        ("quota.kubesphere.io", "resourcequotas"),
        ("application.kubesphere.io", "applications"),
        ("application.kubesphere.io", "applicationversions"),
        ("application.kubesphere.io", "applicationreleases"),
        ("application.kubesphere.io", "repos"),
    ]
)
#: Kinds that are nobody's but the platform's.
_OF_NO_WORKSPACE = frozenset(
    [
        (IAM_GROUP, "globalroles"),
        (IAM_GROUP, "globalrolebindings"),
        ("cluster.kubesphere.io", "clusters"),
        ("cluster.kubesphere.io", "labels"),
    ]
)
_READS = frozenset(["get", "list", "watch"])


class Address(msgspec.Struct, frozen=True):
    """``workspace`` is the one in the path (empty: none); ``kind`` and ``api_version`` are those of a body."""

    resource: Resource
    api_version: str
    kind: str
    known: bool
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    workspace: str = ""

    @property
    def path(self) -> str:
        """Where the API server has it."""
        return self.resource.path(self.namespace, self.name, self.subresource)

    @property
    def what(self) -> str:
        """The object, as messages call it."""
        return f'{self.resource} "{self.name}"'


def is_users(info: RequestInfo) -> bool:
    """Whether it is about users, which have an API of their own and no other."""
    return info.api_group == IAM_GROUP and info.resource == USERS


def address_of(info: RequestInfo, found: Found, belongs: Callable[[str, str], bool]) -> Address | None:
    """What ``info`` is about, or None where the kind is not what its path looks like.

    ``belongs(namespace, workspace)`` is whether a namespace is in a workspace.
    """
    resource, parts = found.resource, info.parts
    name = parts[1] if len(parts) > 1 else ""
    part = parts[2] if len(parts) > 2 else ""
    if len(parts) > 3 or (part and (part not in SUBRESOURCES or part not in found.subresources)):
        return None
    key = (resource.group, resource.plural)
    namespace, workspace = info.namespace, info.workspace
    if info.resource == "namespaces" and name == namespace and namespace:
        # The path of the namespace itself.
        if key != ("", "namespaces"):
            return None
        namespace = ""
    if info.resource in ("workspaces", "workspacetemplates") and name == workspace and workspace:
        if resource.group != TENANT_GROUP:
            return None
        workspace = ""
    if namespace and (not resource.namespaced or (workspace and not belongs(namespace, workspace))):
        return None
    reading = info.verb in _READS
    if resource.namespaced and not namespace and (name or not reading):
        return None
    if workspace:
        if key in _OF_NO_WORKSPACE or resource.group == TENANT_GROUP:
            return None
        # Those that were asked to be served by their definition are asked for here, too.
        if found.known and not resource.namespaced and not reading and key not in _OF_WORKSPACES:
            return None
    api_version, kind = found.subresources[part] if part else (resource.api_version, resource.kind)
    return Address(resource, api_version, kind, found.known, namespace, name, part, workspace)
