"""Reading a whole collection in pages, without holding the reactor.

A page of 500 objects takes some milliseconds to decode. Its envelope is taken apart first, which is a fast scan, then
the objects are decoded one by one with a turn of the reactor in between where it is due. Pages that turn out large
make the following ones smaller.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec

from ksproxyd.kube.errors import KubeError, KubeUnreachable
from ksproxyd.kube.pacing import Pacer
from ksproxyd.kube.resource import Resource

if TYPE_CHECKING:
    from ksproxyd.kube.client import KubeClient

#: Most objects in a page.
PAGE_SIZE = 500

#: Pages much larger than this many bytes make the next ones smaller; the scan of its envelope takes about 2 ms.
PAGE_BYTES = 4 * 1024 * 1024

#: A page larger than this many bytes is not read at all but asked for again with fewer objects.
PAGE_LIMIT = 64 * 1024 * 1024

#: So often a list is begun again because its continue token expired under way.
RESTARTS = 3


class _ListMeta(msgspec.Struct, rename={"continue_": "continue"}):
    resourceVersion: str = ""
    continue_: str = ""


class _Page(msgspec.Struct):
    metadata: _ListMeta
    items: list[msgspec.Raw] | None = None


_page = msgspec.json.Decoder(_Page)
_object = msgspec.json.Decoder(dict[str, Any])


class Listing(msgspec.Struct, frozen=True):
    """A collection at one moment: its objects, and the resource version to watch it from."""

    items: list[dict[str, Any]]
    resource_version: str


class ListReader:
    """Reads one collection. Learns how large its objects are, so one is kept for as long as it is useful."""

    def __init__(
        self, client: KubeClient, resource: Resource, namespace: str, selectors: dict[str, str], pacer: Pacer
    ) -> None:
        self.page_size = PAGE_SIZE
        self._client = client
        self._resource = resource
        self._path = resource.path(namespace)
        self._selectors = selectors
        self._pacer = pacer

    async def read(self, visit: Callable[[dict[str, Any]], None], arrived: Callable[[], None]) -> str:
        """Call ``visit`` with every object as it is now, then return the collection's resource version.

        ``arrived`` is called for every page that came. Raises :class:`KubeError` like any request; one that has
        ``expired`` means that the collection changed too much under way and is to be read anew.
        """
        token = ""
        while True:
            page = await self._next(token)
            arrived()
            self._pacer.begin()
            for raw in page.items or ():
                visit(self._decode(raw))
                if self._pacer.spent():
                    await self._pacer.turn()
            token = page.metadata.continue_
            if not token:
                return page.metadata.resourceVersion

    async def read_all(self) -> Listing:
        """The whole collection; begun again up to :data:`RESTARTS` times where it expired under way."""
        for left in range(RESTARTS, -1, -1):
            items: list[dict[str, Any]] = []
            try:
                version = await self.read(items.append, _nothing)
            except KubeError as error:
                if not error.expired or not left:
                    raise
            else:
                return Listing(items, version)
        raise AssertionError("the last attempt returns or raises")

    async def version(self) -> str:
        """The collection's resource version now, by a consistent read of (at most) one object."""
        return (await self._fetch(1, ""))[0].metadata.resourceVersion

    async def _next(self, token: str) -> _Page:
        while True:
            asked = self.page_size
            try:
                page, size = await self._fetch(asked, token)
            except KubeUnreachable as error:
                # An answer longer than allowed is one the transport does not accept; fewer objects make it shorter.
                if error.kind != "protocol" or asked == 1:
                    raise
                self.page_size = max(1, asked // 8)
                continue
            if size > PAGE_BYTES:
                self.page_size = max(1, min(asked, asked * PAGE_BYTES // size))
            return page

    async def _fetch(self, limit: int, token: str) -> tuple[_Page, int]:
        query = {"limit": str(limit), "continue": token, **self._selectors}
        text = urlencode({key: value for key, value in query.items() if value})
        answer = await self._client.ask(b"GET", self._path, text, limit=PAGE_LIMIT)
        try:
            page = _page.decode(answer.body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise KubeUnreachable(f"the list of {self._resource} is not a list: {error}", "content") from error
        return page, len(answer.body)

    def _decode(self, raw: msgspec.Raw) -> dict[str, Any]:
        try:
            decoded = _object.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            text = f"an item in the list of {self._resource} is not an object: {error}"
            raise KubeUnreachable(text, "content") from error
        # The items of a built-in list do not say what they are; those of a watch do.
        decoded.setdefault("apiVersion", self._resource.api_version)
        decoded.setdefault("kind", self._resource.kind)
        return decoded


def _nothing() -> None:
    """Nobody wants to know that a page arrived."""
