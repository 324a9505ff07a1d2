"""GlobalRoles and their bindings, as far as they belong to a user (spec 02, 6.3)."""

from __future__ import annotations

from typing import Any

from ksproxyd.authn.managing.belongings import GLOBAL_ROLE_BINDINGS
from ksproxyd.authn.records import USER_REF
from ksproxyd.kube.client import KubeClient
from ksproxyd.kube.errors import KubeError
from ksproxyd.kube.resource import Resource
from ksproxyd.model.status import StatusError, not_found
from ksproxyd.state.validation import field, name_of, text

ROLE_REF = "iam.kubesphere.io/role-ref"
_GROUP = "iam.kubesphere.io"
GLOBAL_ROLES = Resource(_GROUP, "v1beta1", "globalroles", "GlobalRole")


class GlobalRoles:
    """Reads and writes them. Every method raises :class:`StatusError` where Kubernetes refuses."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client

    async def need(self, role: str) -> None:
        """Raises a 404 for a role that does not exist."""
        try:
            await self._client.get(GLOBAL_ROLES, role)
        except KubeError as error:
            if error.code == 404:
                raise not_found(f'GlobalRole.iam.kubesphere.io "{role}" not found') from error
            raise _refused(error) from error

    async def users_with(self, role: str) -> list[str]:
        """The users that have ``role``, by name."""
        found = []
        for binding in await self._bindings(f"{ROLE_REF}={role}"):
            subjects = field(binding, "subjects")
            for subject in subjects if isinstance(subjects, list) else ():
                if text(subject, "kind") == "User" and text(subject, "name"):
                    found.append(text(subject, "name"))
        return sorted(dict.fromkeys(found))

    async def role_of(self, user: str) -> str:
        """The role of ``user``; empty if it has none."""
        for binding in await self._bindings(f"{USER_REF}={user}"):
            return text(binding, "roleRef", "name")
        return ""

    async def grant(self, user: str, role: str) -> None:
        """Let ``user`` have ``role`` in place of whatever it had."""
        name = f"{user}-{role}"
        binding = {
            "apiVersion": GLOBAL_ROLE_BINDINGS.api_version,
            "kind": GLOBAL_ROLE_BINDINGS.kind,
            "metadata": {"name": name, "labels": {USER_REF: user, ROLE_REF: role}},
            "roleRef": {"apiGroup": _GROUP, "kind": "GlobalRole", "name": role},
            "subjects": [{"apiGroup": _GROUP, "kind": "User", "name": user}],
        }
        try:
            await self._client.create(GLOBAL_ROLE_BINDINGS, binding)
        except KubeError as error:
            if error.code != 409:
                raise _refused(error) from error
        for other in await self._bindings(f"{USER_REF}={user}"):
            if name_of(other) != name:
                await self._remove(name_of(other))

    async def _remove(self, name: str) -> None:
        try:
            await self._client.delete(GLOBAL_ROLE_BINDINGS, name)
        except KubeError as error:
            if error.code != 404:
                raise _refused(error) from error

    async def _bindings(self, selector: str) -> list[dict[str, Any]]:
        try:
            return (await self._client.list(GLOBAL_ROLE_BINDINGS, label_selector=selector)).items
        except KubeError as error:
            if error.code == 404:
                return []
            raise _refused(error) from error


def _refused(error: KubeError) -> StatusError:
    return StatusError(error.code, error.reason, error.message)
