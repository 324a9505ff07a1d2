"""``configs/theme``: how the console looks, a ConfigMap of texts that everybody may read (spec 04, 4)."""

from __future__ import annotations

from typing import Any

from ksproxyd.kapis.bodies import read_document
from ksproxyd.kapis.router import Route
from ksproxyd.kube.client import KubeClient
from ksproxyd.kube.errors import KubeError, KubeUnreachable
from ksproxyd.model.message import Response
from ksproxyd.model.status import StatusError, bad_request, service_unavailable
from ksproxyd.server.exchange import Exchange
from ksproxyd.state.kinds import CONFIG_MAPS, NAMESPACE

NAME = "platform-configuration-theme"
#: The field manager by which the API server knows our writes.
_MANAGER = "ksproxyd"


class Theme:
    """The two requests."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client

    def routes(self) -> list[Route]:
        """Relative to :data:`ksproxyd.kapis.config.published.PREFIX`."""
        return [
            Route("GET", "/configs/theme", self._show, "How the console looks"),
            Route("PUT", "/configs/theme", self._replace, "Have the console look otherwise"),
        ]

    async def _show(self, exchange: Exchange) -> Response:
        found = await self._stored()
        return Response.json(200, {} if found is None else found.get("data"))

    async def _replace(self, exchange: Exchange) -> Response:
        theme = await read_document(exchange)
        if not isinstance(theme, dict) or not all(isinstance(value, str) for value in theme.values()):
            raise bad_request("a theme is a JSON object whose values are texts")
        found = await self._stored()
        try:
            if found is None:
                metadata = {"name": NAME, "namespace": NAMESPACE}
                body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": theme}
                await self._client.create(CONFIG_MAPS.resource, body, NAMESPACE, field_manager=_MANAGER)
            else:
                # Who has changed it meanwhile has made another theme than the one that is replaced: 409.
                await self._client.update(CONFIG_MAPS.resource, {**found, "data": theme}, field_manager=_MANAGER)
        except KubeError as error:
            raise _told(error) from None
        return Response.json(200, theme)

    async def _stored(self) -> dict[str, Any] | None:
        try:
            return await self._client.get(CONFIG_MAPS.resource, NAME, NAMESPACE)
        except KubeError as error:
            if error.code == 404:
                return None
            raise _told(error) from None


def _told(error: KubeError) -> StatusError:
    if isinstance(error, KubeUnreachable):
        return service_unavailable("the Kubernetes API cannot be reached; try again", 5)
    if error.code == 409:
        return StatusError(409, "Conflict", "the theme was changed by somebody else at the same moment; try again")
    return StatusError(500, "InternalError", f"the theme cannot be kept or read: {error}")
