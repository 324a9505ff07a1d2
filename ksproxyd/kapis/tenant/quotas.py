"""Quotas of workspaces (spec 03, 5.7, D28): they are read where they are, as nothing else here needs them."""

from __future__ import annotations

from ksproxyd.kapis.router import Route
from ksproxyd.kapis.tenant.objects import (
    SUCCESS,
    Object,
    as_new,
    check_name,
    created,
    foreign,
    missing,
    object_of,
    of_same_object,
    passed_on,
    read_body,
    with_label,
)
from ksproxyd.kapis.tenant.visibility import Visibility, workspace_of
from ksproxyd.kube.client import KubeClient
from ksproxyd.kube.errors import KubeError
from ksproxyd.kube.resource import Resource
from ksproxyd.model.message import Response
from ksproxyd.model.request_info import WORKSPACE_LABEL
from ksproxyd.server.exchange import Exchange
from ksproxyd.state.validation import field, text

QUOTA = Resource("quota.kubesphere.io", "v1alpha2", "resourcequotas", "ResourceQuota")


class Quotas:
    """The endpoints. With ``strict``, quotas of workspaces that somebody has no part in do not exist for them (D17)."""

    def __init__(self, client: KubeClient, visibility: Visibility, strict: bool) -> None:
        self._client = client
        self._visibility = visibility
        self._strict = strict

    def routes(self) -> list[Route]:
        """Of ``v1beta1``. There is no list of quotas."""
        collection = "/workspaces/{workspace}/resourcequotas"
        one = collection + "/{quota}"
        return [
            Route("POST", collection, self.create, "Create a quota of a workspace"),
            Route("GET", one, self.get, "A quota of a workspace"),
            Route("PUT", one, self.put, "Replace a quota of a workspace"),
            Route("DELETE", one, self.delete, "Delete a quota of a workspace"),
        ]

    async def create(self, exchange: Exchange, workspace: str) -> Response:
        """A new quota; what it counts are the namespaces of the workspace, whatever it says."""
        value = _of_workspace(as_new(object_of(await read_body(exchange), QUOTA)), workspace)
        try:
            return created(await self._client.create(QUOTA, value))
        except KubeError as error:
            raise passed_on(error) from error

    async def get(self, exchange: Exchange, workspace: str, quota: str) -> Response:
        """One quota."""
        if self._strict and not self._visibility.sees_workspace(exchange.user, workspace):
            raise missing(QUOTA, quota)
        return Response.json(200, await self._read(workspace, quota))

    async def put(self, exchange: Exchange, workspace: str, quota: str) -> Response:
        """Replace a quota."""
        value = object_of(await read_body(exchange), QUOTA)
        check_name(value, quota)
        old = await self._read(workspace, quota)
        try:
            stored = await self._client.update(QUOTA, of_same_object(old, _of_workspace(value, workspace)))
        except KubeError as error:
            raise missing(QUOTA, quota) if error.code == 404 else passed_on(error) from error
        return Response.json(200, stored)

    async def delete(self, exchange: Exchange, workspace: str, quota: str) -> Response:
        """Delete a quota."""
        old = await self._read(workspace, quota)
        try:
            await self._client.delete(QUOTA, quota, uid=text(old, "metadata", "uid"))
        except KubeError as error:
            raise missing(QUOTA, quota) if error.code == 404 else passed_on(error) from error
        return Response.json(200, SUCCESS)

    async def _read(self, workspace: str, name: str) -> Object:
        """Raises the 404 for a quota that is not there, or another workspace's."""
        try:
            value = await self._client.get(QUOTA, name)
        except KubeError as error:
            raise missing(QUOTA, name) if error.code == 404 else passed_on(error) from error
        if workspace_of(value) != workspace:
            raise foreign(QUOTA, name)
        return value


def _of_workspace(value: Object, workspace: str) -> Object:
    spec = {**(field(value, "spec") or {}), "selector": {WORKSPACE_LABEL: workspace}}
    return with_label({**value, "spec": spec}, WORKSPACE_LABEL, workspace)
