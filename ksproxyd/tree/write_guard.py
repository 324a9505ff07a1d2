"""Writes at the Kubernetes API behind the gateway that give rights, or say whose something is.

Everything behind the gateway is done with its own credentials, so that Kubernetes' protection against giving oneself
more rights sees only the gateway. :mod:`.write_checks` takes its place. The body is read completely and what is sent on
is what was read. What a patch makes of an object is learnt from the server, by a dry run; the write itself then
succeeds only on the version that was looked at (:mod:`.pinned`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec

from ksproxyd.chain import TAKEN
from ksproxyd.kube.errors import KubeError
from ksproxyd.kube.resource import Resource
from ksproxyd.model.message import Response
from ksproxyd.model.query import parameters
from ksproxyd.model.request_info import RequestInfo
from ksproxyd.model.status import StatusError, bad_gateway, bad_request, method_not_allowed
from ksproxyd.server.exchange import Exchange
from ksproxyd.state.store import Object
from ksproxyd.tree.checked_patch import checked_patch, refusal
from ksproxyd.tree.pinned import APPLY, JSON_PATCH, MERGE, STRATEGIC, pinned, version_of
from ksproxyd.tree.write_checks import Place, WriteChecks

#: Largest body of a write, in bytes: decoding it takes some milliseconds, and no role is nearly as large.
BODY_LIMIT = 1024 * 1024

#: Methods that write nothing.
READS = frozenset(["GET", "HEAD", "OPTIONS"])

_JSON = b"application/json"
_WHOLE = frozenset([_JSON, b""])
#: What a body may be. An apply patch is YAML by its name; clients send JSON, which is YAML.
_TYPES = {"create": _WHOLE, "update": _WHOLE, "patch": frozenset([MERGE, JSON_PATCH, STRATEGIC, APPLY])}


class Answer(Protocol):
    """What the server answered, with a success."""

    @property
    def body(self) -> bytes: ...


class Client(Protocol):
    """The part of :class:`ksproxyd.kube.client.KubeClient` that is needed here."""

    async def get(self, resource: Resource, name: str, namespace: str = "") -> Object: ...

    async def ask(
        self, method: bytes, path: str, query: str = "", body: bytes = b"", content_type: bytes = _JSON
    ) -> Answer: ...


class WriteGuard:
    """Looks at writes on their way to the server."""

    def __init__(self, checks: WriteChecks, client: Client) -> None:
        self._checks = checks
        self._client = client

    def admit(self, exchange: Exchange, forward: Callable[[], object]) -> Awaitable[Response] | None:
        """Look at a request that is no read and is about a guarded resource. Calls ``forward`` when it may go on.

        Raises the :class:`StatusError` for one that may not; so does what is returned for one that is looked into.
        """
        info: RequestInfo = exchange.info
        if exchange.upgrade is not None:
            # What follows an upgrade cannot be looked at.
            raise bad_request(f"{info.resource} are not written over upgraded connections; leave out Upgrade")
        self._checks.check_request(exchange.user, info)
        if info.verb in ("delete", "deletecollection") or self._checks.idle(place_of(info)):
            forward()
            return None
        if info.verb not in _TYPES:
            raise method_not_allowed(["GET"])
        return self._look_into(exchange, forward)

    async def _look_into(self, exchange: Exchange, forward: Callable[[], object]) -> Response:
        info: RequestInfo = exchange.info
        media = (exchange.fields.get(b"content-type") or b"").partition(b";")[0].strip().lower()
        if media not in _TYPES[info.verb]:
            wanted = ", ".join(sorted(each.decode() for each in _TYPES[info.verb] if each))
            message = f"{info.resource} are written as JSON here: {wanted}"
            raise StatusError(415, "UnsupportedMediaType", message)
        body = await exchange.read_body(BODY_LIMIT)
        try:
            value = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            why = f"the body is not JSON, which is what {info.resource} are written in here: {error}"
            raise bad_request(why) from None
        if info.verb == "patch":
            value = await self._patch(exchange, media, value)
        else:
            value = await self._object(exchange, value)
        exchange.replace_body(msgspec.json.encode(value))
        if not media:
            exchange.fields.replace(b"Content-Type", _JSON)
        forward()
        return TAKEN

    async def _object(self, exchange: Exchange, value: Any) -> Object:
        """The whole object that is to be written: checked."""
        info: RequestInfo = exchange.info
        place = place_of(info)
        if not isinstance(value, dict):
            raise bad_request("the body is not an object")
        old = await self._current(info)
        if old is None:
            self._checks.prepare(exchange.user, place, value)
        else:
            value = pinned(_JSON, value, version_of(old), what_of(info))
        await self._checks.check(exchange.user, place, value, old)
        checked: Object = value
        return checked

    async def _patch(self, exchange: Exchange, media: bytes, value: Any) -> Any:
        """The patch, with the version that what it makes of was checked at."""
        info: RequestInfo = exchange.info
        place = place_of(info)

        async def look(new: Object, old: Object | None) -> None:
            await self._checks.check(exchange.user, place, new, old)

        return await checked_patch(
            media,
            value,
            what_of(info),
            current=lambda: self._current(info),
            try_out=lambda patch: self._dry_run(exchange, media, patch),
            begin=lambda new: self._checks.prepare(exchange.user, place, new),
            look=look,
        )

    async def _dry_run(self, exchange: Exchange, media: bytes, patch: Any) -> Object:
        """What the server would make of the object."""
        query = exchange.query.decode("latin-1")
        if "dryRun" not in parameters(exchange.query):
            query = f"{query}&dryRun=All" if query else "dryRun=All"
        path = exchange.path.decode("latin-1")
        answer = await self._client.ask(b"PATCH", path, query, msgspec.json.encode(patch), media)
        try:
            new = msgspec.json.decode(answer.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            new = None
        if not isinstance(new, dict):
            raise bad_gateway("the Kubernetes API answered a dry run with something that is not an object")
        return new

    async def _current(self, info: RequestInfo) -> Object | None:
        """The object as it is; None if there is none, or if it has no name yet."""
        if not info.name:
            return None
        place = place_of(info)
        resource = Resource(info.api_group, info.api_version, info.resource, "", namespaced=bool(place.namespace))
        try:
            return await self._client.get(resource, info.name, place.namespace)
        except KubeError as error:
            if error.code == 404:
                return None
            raise refusal(error) from error


def place_of(info: RequestInfo) -> Place:
    """Where the object that a request is about is."""
    return Place(info.api_group, info.resource, "" if info.resource == "namespaces" else info.namespace)


def what_of(info: RequestInfo) -> str:
    """The object that a request is about, as messages call it."""
    resource = f"{info.resource}.{info.api_group}" if info.api_group else info.resource
    return f'{resource} "{info.name}"'
