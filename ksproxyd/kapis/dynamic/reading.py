"""Getting, listing and watching."""

from __future__ import annotations

from urllib.parse import urlencode

import msgspec
from msgspec.structs import replace
from twisted.internet.interfaces import IReactorTime

from ksproxyd.kapis.dynamic.address import Address
from ksproxyd.kapis.dynamic.extension_filters import filters_of
from ksproxyd.kapis.listing import Query, listed, parse_query
from ksproxyd.kube.client import KubeClient
from ksproxyd.kube.errors import KubeError
from ksproxyd.kube.pacing import Pacer
from ksproxyd.model.message import Response
from ksproxyd.model.query import parameters
from ksproxyd.model.request_info import WORKSPACE_LABEL
from ksproxyd.model.selectors import EQUALS, LabelSelector, Requirement, parse_fields, parse_labels
from ksproxyd.model.status import StatusError, bad_request, not_found
from ksproxyd.state.store import Object
from ksproxyd.state.validation import text
from ksproxyd.tree.checked_patch import refusal

#: What of a query a watch passes on to the server; the rest is the language of lists.
_OF_WATCHES = ("resourceVersion", "resourceVersionMatch", "timeoutSeconds", "allowWatchBookmarks", "sendInitialEvents")

_JSON = [(b"Content-Type", b"application/json")]


class Reading:
    """Reads from the server; nothing is kept."""

    def __init__(self, clock: IReactorTime, client: KubeClient) -> None:
        self._clock = clock
        self._client = client

    async def get(self, address: Address) -> Response:
        """One object, or its subresource."""
        if address.workspace or not address.subresource:
            value = await self.stored(address)
            if not address.subresource:
                return Response.json(200, value)
        try:
            part = await self._client.get(
                address.resource, address.name, address.namespace, subresource=address.subresource
            )
        except KubeError as error:
            raise refusal(error) from error
        return Response.json(200, part)

    async def stored(self, address: Address) -> Object:
        """The object, which belongs to the workspace of the path. Raises the 404."""
        try:
            value = await self._client.get(address.resource, address.name, address.namespace)
        except KubeError as error:
            if error.code == 404:
                raise absent(address, address.resource.kind) from error
            raise refusal(error) from error
        if not belongs(address, value):
            raise absent(address, address.resource.plural)
        return value

    async def list(self, address: Address, raw_query: bytes) -> Response:
        """The page of the objects that match, as a list of Kubernetes' (spec 04, 10.3)."""
        query = parse_query(raw_query)
        query = replace(query, labels=_within(address, query.labels))
        resource = address.resource
        try:
            found = await self._client.list(resource, address.namespace, label_selector=str(query.labels))
        except KubeError as error:
            raise refusal(error) from error
        more = filters_of(resource.group, resource.plural)
        items, total = await listed(found.items, query, Pacer(self._clock), more=more)
        metadata: dict[str, object] = {"continue": str(total), "remainingItemCount": _remaining(query, total)}
        head: dict[str, object] = {"metadata": metadata}
        if not address.known:
            metadata["resourceVersion"] = found.resource_version
            head = {"kind": f"{resource.kind}List", "apiVersion": resource.api_version, **head}
        return Response(200, _JSON, msgspec.json.encode(head)[:-1] + b',"items":' + items + b"}")

    @staticmethod
    def watched(address: Address, raw_query: bytes) -> bytes:
        """The request target of the watch at the API server."""
        given = {name: values[0] for name, values in parameters(raw_query).items()}
        try:
            labels = _within(address, parse_labels(given.get("labelSelector", "")))
            fields = str(parse_fields(given.get("fieldSelector", "")))
        except ValueError as error:
            raise bad_request(str(error)) from None
        if address.name:
            fields = ",".join(filter(None, [fields, f"metadata.name={address.name}"]))
        options = {"watch": "true", "labelSelector": str(labels), "fieldSelector": fields}
        options |= {name: given[name] for name in _OF_WATCHES if name in given}
        path = address.resource.path(address.namespace)
        return f"{path}?{urlencode({name: value for name, value in options.items() if value})}".encode("ascii")


def belongs(address: Address, value: Object) -> bool:
    """Whether an object is of the workspace of the path, if there is one in it."""
    return not address.workspace or text(value, "metadata", "labels", WORKSPACE_LABEL) == address.workspace


def absent(address: Address, called: str) -> StatusError:
    """The 404 for an object; ``called`` is its kind, or its plural where somebody else has it."""
    resource = address.resource
    what = f"{called}.{resource.group}" if resource.group else called
    details = {"name": address.name, "group": resource.group, "kind": resource.plural}
    return not_found(f'{what} "{address.name}" not found', {key: value for key, value in details.items() if value})


def _within(address: Address, labels: LabelSelector) -> LabelSelector:
    if not address.workspace:
        return labels
    return LabelSelector((*labels.requirements, Requirement(WORKSPACE_LABEL, EQUALS, (address.workspace,))))


def _remaining(query: Query, total: int) -> int:
    """How many match behind the page; all of them where there is no such page."""
    if query.limit == -1:
        return 0
    begin = (query.page - 1) * query.limit
    if query.limit < 0 or begin > total:
        return total
    return total - min(begin + query.limit, total)
