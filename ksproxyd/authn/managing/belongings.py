"""What belongs to a user and goes with them."""

from __future__ import annotations

from ksproxyd.authn.records import LOGIN_RECORDS, LONGEST_LABEL, USER_REF
from ksproxyd.kube.client import KubeClient
from ksproxyd.kube.errors import KubeError
from ksproxyd.kube.resource import Resource
from ksproxyd.state.kinds import NAMESPACE
from ksproxyd.state.validation import text

_IAM, _RBAC = ("iam.kubesphere.io", "v1beta1"), ("rbac.authorization.k8s.io", "v1")

GLOBAL_ROLE_BINDINGS = Resource(*_IAM, "globalrolebindings", "GlobalRoleBinding")

#: Rights first, so that nobody of the same name comes into them when this is interrupted.
BELONGINGS = (
    GLOBAL_ROLE_BINDINGS,
    Resource(*_IAM, "workspacerolebindings", "WorkspaceRoleBinding"),
    Resource(*_IAM, "clusterrolebindings", "ClusterRoleBinding"),
    Resource(*_IAM, "rolebindings", "RoleBinding", namespaced=True),
    Resource(*_RBAC, "clusterrolebindings", "ClusterRoleBinding"),
    Resource(*_RBAC, "rolebindings", "RoleBinding", namespaced=True),
    LOGIN_RECORDS,
)

_SECRETS = Resource("", "v1", "secrets", "Secret", namespaced=True)


async def remove_belongings(client: KubeClient, user: str) -> None:
    """Delete everything in this cluster that is labelled as the user's, and their kubeconfig.

    Kinds that the cluster does not serve have nothing. Raises :class:`KubeError` for what cannot be deleted; doing it
    again goes on where it ended.
    """
    if len(user) <= LONGEST_LABEL:
        for resource in BELONGINGS:
            try:
                found = await client.list(resource, label_selector=f"{USER_REF}={user}")
            except KubeError as error:
                if error.code != 404:
                    raise
                continue
            for item in found.items:
                await delete(client, resource, text(item, "metadata", "name"), text(item, "metadata", "namespace"))
    await delete(client, _SECRETS, f"kubeconfig-{user}", NAMESPACE)


async def delete(client: KubeClient, resource: Resource, name: str, namespace: str = "") -> None:
    """Delete an object that may be gone already."""
    try:
        await client.delete(resource, name, namespace)
    except KubeError as error:
        if error.code != 404:
            raise
