"""Writes of the controllers: each may be repeated, none overwrites what it has not seen, and not too many at a time."""

from __future__ import annotations

from typing import Any

from ksproxyd.controllers.labels import version
from ksproxyd.kube.client import KubeClient
from ksproxyd.kube.errors import KubeError
from ksproxyd.kube.pacing import pause
from ksproxyd.kube.resource import Resource
from ksproxyd.state.store import Object
from ksproxyd.state.validation import name_of, text

#: Writes a second, and how many may come at once.
RATE, BURST = 20.0, 50

_MANAGER = "ksproxyd"


class Changes:
    """Every method raises :class:`KubeError` for what the server refuses; after a 409 it is to be looked at again."""

    def __init__(self, client: KubeClient) -> None:
        #: How many were made.
        self.count = 0
        self._client = client
        self._clock = client.clock
        self._next = 0.0

    async def create(self, resource: Resource, value: Object) -> bool:
        """Create an object; False if there is one of its name already, which is left as it is."""
        await self._allowance()
        try:
            await self._client.create(resource, value, text(value, "metadata", "namespace"), field_manager=_MANAGER)
        except KubeError as error:
            if error.reason != "AlreadyExists":
                raise
            return False
        self.count += 1
        return True

    async def get(self, resource: Resource, name: str, namespace: str = "") -> Object | None:
        """An object as the server has it now, or None."""
        try:
            return await self._client.get(resource, name, namespace)
        except KubeError as error:
            if error.code != 404:
                raise
            return None

    async def patch(self, resource: Resource, value: Object, patch: dict[str, Any]) -> None:
        """Change ``value``, as it was seen and no later, by a merge patch. One that is gone needs no change."""
        await self._allowance()
        metadata = patch.get("metadata") or {}
        guarded = patch | {"metadata": metadata | {"resourceVersion": version(value)}}
        try:
            await self._client.patch(
                resource, name_of(value), guarded, text(value, "metadata", "namespace"), field_manager=_MANAGER
            )
        except KubeError as error:
            if error.code != 404:
                raise
        else:
            self.count += 1

    async def delete(self, resource: Resource, value: Object) -> None:
        """Delete ``value``; not another object that has got its name meanwhile. One that is gone is fine."""
        await self._allowance()
        uid = text(value, "metadata", "uid")
        try:
            await self._client.delete(resource, name_of(value), text(value, "metadata", "namespace"), uid=uid)
        except KubeError as error:
            # 409 of a delete: it is another object by now.
            if error.code not in (404, 409):
                raise
        else:
            self.count += 1

    async def _allowance(self) -> None:
        now = self._clock.seconds()
        self._next = max(self._next, now - (BURST - 1) / RATE)
        wait = self._next - now
        self._next += 1.0 / RATE
        if wait > 0:
            await pause(self._clock, wait)
