"""Creating, updating, patching and deleting.

The path was authorized, so the object is what the path says (spec 03, D3 and D4): its name, namespace and workspace are
filled in from there, and must not be others. What gives rights to somebody goes through
:class:`~ksproxyd.tree.write_checks.WriteChecks`.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import msgspec

from ksproxyd.kapis.bodies import JSON_LIMIT, media_type, unsupported_media_type
from ksproxyd.kapis.dynamic.address import Address
from ksproxyd.kapis.dynamic.reading import Reading, belongs
from ksproxyd.kube.client import KubeClient
from ksproxyd.kube.errors import KubeError
from ksproxyd.model.identity import Identity
from ksproxyd.model.message import Response
from ksproxyd.model.query import parameters
from ksproxyd.model.request_info import WORKSPACE_LABEL
from ksproxyd.model.status import StatusError, bad_request, forbidden
from ksproxyd.server.exchange import Exchange
from ksproxyd.state.store import Object
from ksproxyd.state.validation import text
from ksproxyd.tree.checked_patch import ATTEMPTS, checked_patch, refusal
from ksproxyd.tree.pinned import APPLY, JSON_PATCH, MERGE, STRATEGIC, modified, pinned, version_of
from ksproxyd.tree.write_checks import GUARDED, Place, WriteChecks

_JSON = b"application/json"
_ANSWER = [(b"Content-Type", _JSON)]
_OPTIONS = ("dryRun", "fieldManager", "fieldValidation", "force")
_DELETE_OPTIONS = ("propagationPolicy", "gracePeriodSeconds", "orphanDependents", "dryRun")


class Writing:
    """Writes to the server, in the name of whoever was authorized for the path."""

    def __init__(self, client: KubeClient, reading: Reading, checks: WriteChecks) -> None:
        self._client = client
        self._reading = reading
        self._checks = checks

    async def create(self, exchange: Exchange, address: Address) -> Response:
        """A new object."""
        value = _fitting(address, await _whole(exchange))
        place = _place(address)
        if self._is_looked_at(address):
            self._checks.prepare(exchange.user, place, value)
            await self._checks.check(exchange.user, place, value, None)
        path = address.resource.path(address.namespace)
        return await self._send(b"POST", path, _query(exchange), value)

    async def update(self, exchange: Exchange, address: Address) -> Response:
        """Another object in place of one that is there."""
        value = _fitting(address, await _whole(exchange))
        old = await self._reading.stored(address)
        if address.workspace or self._is_looked_at(address):
            value = pinned(_JSON, value, version_of(old), address.what)
        if self._is_looked_at(address):
            await self._checks.check(exchange.user, _place(address), value, old)
        return await self._send(b"PUT", address.path, _query(exchange), value)

    async def patch(self, exchange: Exchange, address: Address) -> Response:
        """A change. What is plain JSON is a merge patch, also if it is a whole object."""
        media = media_type(exchange)
        if media in (_JSON, b""):
            media = MERGE
        if media not in (MERGE, JSON_PATCH, STRATEGIC, APPLY):
            raise unsupported_media_type(", ".join(each.decode() for each in (MERGE, JSON_PATCH, STRATEGIC, APPLY)))
        value = await _decoded(exchange)
        if media != JSON_PATCH:
            value = _fitting(address, value, partial=media != APPLY)
        query = _query(exchange)
        if address.workspace or self._is_looked_at(address):
            value = await self._checked(exchange.user, address, media, value, query)
        return await self._send(b"PATCH", address.path, query, value, media)

    async def _checked(self, user: Identity, address: Address, media: bytes, value: Any, query: str) -> Any:
        trying = query if "dryRun=" in query else "&".join(filter(None, [query, "dryRun=All"]))
        place = _place(address)

        async def current() -> Object | None:
            try:
                return await self._reading.stored(address)
            except StatusError as error:
                if error.code != 404 or media != APPLY or await self._exists(address):
                    raise
                return None

        async def try_out(patch: Any) -> Object:
            answer = await self._client.ask(b"PATCH", address.path, trying, msgspec.json.encode(patch), media)
            new: Object = msgspec.json.decode(answer.body)
            return new

        async def look(new: Object, old: Object | None) -> None:
            # What a scale is has no labels.
            if address.subresource != "scale":
                _keeps_workspace(address, new)
                if self._is_looked_at(address):
                    await self._checks.check(user, place, new, old)

        return await checked_patch(
            media,
            value,
            address.what,
            current=current,
            try_out=try_out,
            begin=lambda new: self._checks.prepare(user, place, new),
            look=look,
        )

    async def _exists(self, address: Address) -> bool:
        """Whether somebody else has an object of that name."""
        try:
            await self._client.get(address.resource, address.name, address.namespace)
        except KubeError as error:
            if error.code == 404:
                return False
            raise refusal(error) from error
        return True

    async def delete(self, exchange: Exchange, address: Address) -> Response:
        """Delete an object: this one, not another that has taken its name or its place meanwhile."""
        options = await self._delete_options(exchange)
        given = options.get("preconditions")
        given = given if isinstance(given, dict) else {}
        for left in range(ATTEMPTS, 0, -1):
            old = await self._reading.stored(address)
            conditions = {"uid": text(old, "metadata", "uid")}
            if address.workspace:
                # It may be of another workspace in another version.
                conditions["resourceVersion"] = version_of(old)
            if any(given.get(key) not in (None, "", wanted) for key, wanted in conditions.items()):
                raise modified(address.what)
            try:
                return await self._send(
                    b"DELETE", address.path, "", {**options, "preconditions": {**given, **conditions}}
                )
            except StatusError as error:
                if error.code != 409 or left == 1 or not address.workspace or given.get("resourceVersion"):
                    raise
        raise AssertionError("the last attempt returns or raises")

    async def _delete_options(self, exchange: Exchange) -> Object:
        value = await _decoded(exchange, empty={})
        if not isinstance(value, dict):
            raise bad_request("the options of a deletion are an object")
        found = parameters(exchange.query)
        for name in _DELETE_OPTIONS:
            if name in found:
                value[name] = found[name] if name == "dryRun" else _typed(name, found[name][0])
        return {**value, "kind": "DeleteOptions", "apiVersion": "v1"}

    def _is_looked_at(self, address: Address) -> bool:
        groups = GUARDED.get(address.resource.plural)
        return groups is not None and address.resource.group in groups and not self._checks.idle(_place(address))

    async def _send(self, method: bytes, path: str, query: str, value: Any, media: bytes = _JSON) -> Response:
        try:
            answer = await self._client.ask(method, path, query, msgspec.json.encode(value), media)
        except KubeError as error:
            raise refusal(error) from error
        return Response(200, _ANSWER, answer.body)


def _place(address: Address) -> Place:
    return Place(address.resource.group, address.resource.plural, address.namespace)


def _query(exchange: Exchange) -> str:
    found = parameters(exchange.query)
    return urlencode([(name, value) for name in _OPTIONS for value in found.get(name, ())])


def _typed(name: str, value: str) -> Any:
    if name == "gracePeriodSeconds":
        if not value.isascii() or not value.isdigit() or len(value) > 10:
            raise bad_request(f"gracePeriodSeconds {value!r} is not a number of seconds")
        return int(value)
    return value == "true" if name == "orphanDependents" else value


async def _whole(exchange: Exchange) -> Any:
    """The body, which must be JSON."""
    if media_type(exchange) not in (_JSON, b""):
        raise unsupported_media_type("application/json")
    return await _decoded(exchange)


async def _decoded(exchange: Exchange, empty: Any = None) -> Any:
    body = await exchange.read_body(JSON_LIMIT)
    if not body and empty is not None:
        return empty
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_request(f"the body is not JSON: {error}") from None


def _fitting(address: Address, value: Any, *, partial: bool = False) -> Object:
    """The object of a body, with what the path says of it. Raises a 400 where it says something else.

    A ``partial`` one need not say what it is.
    """
    if not isinstance(value, dict):
        raise bad_request("the body is not an object")
    for key, wanted in (("apiVersion", address.api_version), ("kind", address.kind)):
        if value.get(key) != wanted and not (partial and key not in value):
            raise bad_request(f"wrong resource GroupVersionKind: {key} is {value.get(key)!r}, the path's is {wanted!r}")
    metadata = value.get("metadata", {})
    if not isinstance(metadata, dict):
        raise bad_request("metadata is not an object")
    filled = dict(metadata)
    for key, wanted in (("namespace", address.namespace), ("name", address.name)):
        given = metadata.get(key)
        if key == "name" and not wanted:
            continue
        if given not in (None, "", wanted):
            raise bad_request(f"metadata.{key} is {given!r}, which the path says is {wanted!r}")
        if partial:
            filled.pop(key, None)
        elif wanted:
            filled[key] = wanted
        else:
            filled.pop(key, None)
    if address.workspace and address.subresource != "scale":
        _label(address, filled, partial)
    return {**value, "metadata": filled} if "metadata" in value or not partial else value


def _label(address: Address, metadata: Object, partial: bool) -> None:
    """Have an object that is written within a workspace belong to it; a patch only must not say otherwise."""
    labels = metadata.get("labels")
    kept = labels if isinstance(labels, dict) else {}
    if kept.get(WORKSPACE_LABEL, address.workspace) != address.workspace:
        raise _moved(address)
    if not partial:
        metadata["labels"] = {**kept, WORKSPACE_LABEL: address.workspace}


def _keeps_workspace(address: Address, new: Object) -> None:
    if not belongs(address, new):
        raise _moved(address)


def _moved(address: Address) -> StatusError:
    return forbidden(f"{address.what} belongs to the workspace {address.workspace!r}; it is not moved out of it here")
