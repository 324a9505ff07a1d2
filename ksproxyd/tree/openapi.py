"""``/openapi/v2`` and ``/openapi/v3``: the gateway's own routes and those of its extensions in one document each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd.chain import Outcome
from ksproxyd.server.exchange import Exchange
from ksproxyd.state.store import Object
from ksproxyd.state.validation import field, name_of, text
from ksproxyd.tree import Node, nothing_here
from ksproxyd.tree.endpoint import Endpoint, EndpointError, resolve
from ksproxyd.tree.openapi_document import Document, Merge, Version, parse
from ksproxyd.tree.openapi_fetch import VERSIONS, DocumentFetcher
from ksproxyd.tree.representation import InThread, Representation
from ksproxyd.upstream.client import Client

#: Seconds to wait for further changes before documents are merged anew.
SETTLE = 1.0

TITLE = "KubeSphere API"
_TOKEN = "BearerToken"
_SCHEME = {"type": "apiKey", "in": "header", "name": "Authorization", "description": "Bearer <token>"}
_HEADERS = [(b"Content-Type", b"application/json"), (b"X-Content-Type-Options", b"nosniff")]
_PARAMETER = re.compile(r"\{([^{}]+)\}")
# What kubectl asks its API server for at the same path, to validate manifests.
_KUBERNETES = b"application/com.github.proto-openapi.spec.v2"


class Route(NamedTuple):
    """One of the gateway's own routes. ``path`` has its parameters in braces; ``tag`` groups routes for readers."""

    method: str
    path: str
    summary: str
    tag: str


class OpenAPI:
    """Both documents, kept current.

    ``v2`` and ``v3`` are whole, immutable answers at any time: at first of our own routes alone. :meth:`apply` takes
    the events of APIService objects. Merging happens in a thread, some time after a change; one at a time.
    ``reserved(group, version)`` says what the gateway serves itself, whoever claims it.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        client: Client,
        in_thread: InThread,
        random: Callable[[], float],
        routes: Iterable[Route],
        version: str,
        reserved: Callable[[str, str], bool],
        *,
        join_path: bool = False,
        timeout: float = 60.0,
        refresh: float = 600.0,
    ) -> None:
        self._clock = clock
        self._in_thread = in_thread
        self._reserved = reserved
        self._join_path = join_path
        self._fetcher = DocumentFetcher(clock, client, in_thread, random, self._touch, timeout=timeout, refresh=refresh)
        routes = tuple(routes)
        self._heads: dict[Version, dict[str, Any]] = {
            "v2": {"swagger": "2.0", **_head(version)},
            "v3": {"openapi": "3.0.3", **_head(version)},
        }
        self._own: dict[Version, Document] = {"v2": _own(routes, "v2"), "v3": _own(routes, "v3")}
        self.v2 = _merged(self._heads["v2"], self._own["v2"], [])[0]
        self.v3 = _merged(self._heads["v3"], self._own["v3"], [])[0]
        self._timer: IDelayedCall | None = None
        self._merging: Deferred[None] | None = None
        self._again = False
        self._stopped = False
        self._left_out: dict[Version, list[str]] = {}

    def apply(self, old: Object | None, new: Object | None) -> None:
        """An APIService came, changed or went; the callback of its store."""
        if new is not None:
            self._fetcher.set(name_of(new), self._endpoint(new))
        elif old is not None:
            self._fetcher.set(name_of(old), None)

    def stop(self) -> None:
        """Fetch and merge nothing any more; the documents stay as they are."""
        self._stopped = True
        self._fetcher.stop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._merging is not None:
            self._merging.cancel()

    def _endpoint(self, value: Object) -> Endpoint | None:
        spec = field(value, "spec")
        if field(value, "status", "state") != "Available":
            return None
        if self._reserved(text(spec, "group"), text(spec, "version")):
            return None
        try:
            return resolve(spec, join_path=self._join_path)
        except EndpointError:
            # Whoever mounts the APIService's route says so.
            return None

    def _touch(self) -> None:
        if self._stopped:
            return
        if self._merging is not None:
            self._again = True
        elif self._timer is None:
            self._timer = self._clock.callLater(SETTLE, self._start)

    def _start(self) -> None:
        self._timer = None
        self._merging = merging = Deferred.fromCoroutine(self._merge_all())
        merging.addErrback(self._broken)
        merging.addCallback(self._merged)

    def _broken(self, failure: Failure) -> None:
        if not self._stopped or not failure.check(CancelledError):
            self.log.failure("merging OpenAPI documents failed, the last ones stay", failure)

    def _merged(self, _: None) -> None:
        self._merging = None
        if self._again:
            self._again = False
            self._touch()

    async def _merge_all(self) -> None:
        for version in VERSIONS:
            documents = self._fetcher.documents(version)
            merged, left_out = await self._in_thread(_merged, self._heads[version], self._own[version], documents)
            if version == "v2":
                self.v2 = merged
            else:
                self.v3 = merged
            if left_out != self._left_out.get(version, []):
                self._left_out[version] = left_out
                self.log.warn(
                    "OpenAPI {version} would become too large; without: {services}",
                    version=version,
                    services=", ".join(left_out) or "(nothing is left out any more)",
                )


class OpenAPINode:
    """Answers with one of the documents. ``kubernetes`` is asked for what only a Kubernetes API server has.

    That is the protobuf form of ``/openapi/v2``, and everything below ``/openapi/v3/``, by which ``kubectl`` learns
    the types of the cluster.
    """

    def __init__(self, openapi: OpenAPI, version: Version, kubernetes: Node | None = None) -> None:
        self._openapi = openapi
        self._version = version
        self._path = f"/openapi/{version}"
        self._kubernetes = kubernetes

    def handle(self, exchange: Exchange) -> Outcome:
        """The answer to ``exchange``, from memory. The method does not matter."""
        below = exchange.info.path != self._path
        if below or (self._version == "v2" and _KUBERNETES in (exchange.fields.get(b"accept") or b"")):
            if self._kubernetes is not None:
                return self._kubernetes.handle(exchange)
            if below:
                raise nothing_here(exchange)
        document = self._openapi.v2 if self._version == "v2" else self._openapi.v3
        return document.answer(exchange.method, exchange.fields)

    def describe(self) -> str:
        """One line for ``ksproxyd routes``."""
        return f"OpenAPI {self._version}"


def _merged(
    head: dict[str, Any], own: Document, documents: list[tuple[str, Document]]
) -> tuple[Representation, list[str]]:
    """The merged document, ready to be served, and the services for which there was no room. For a thread."""
    merge = Merge(head, own)
    left_out = [service for service, document in documents if not merge.add(document)]
    return Representation(merge.render(), _HEADERS, b"no-cache"), left_out


def _head(version: str) -> dict[str, Any]:
    return {"info": {"title": TITLE, "version": version}, "security": [{_TOKEN: []}]}


def _own(routes: Iterable[Route], version: Version) -> Document:
    string: dict[str, Any] = {"type": "string"}
    typed = string if version == "v2" else {"schema": string}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        operation: dict[str, Any] = {"summary": route.summary, "tags": [route.tag]}
        names = _PARAMETER.findall(route.path)
        if names:
            operation["parameters"] = [{"name": name, "in": "path", "required": True, **typed} for name in names]
        operation["responses"] = {"200": {"description": "OK"}}
        paths.setdefault(route.path, {})[route.method.lower()] = operation
    schemes = {_TOKEN: _SCHEME}
    if version == "v2":
        document = {"swagger": "2.0", "paths": paths, "securityDefinitions": schemes}
    else:
        document = {"openapi": "3.0.3", "paths": paths, "components": {"securitySchemes": schemes}}
    return parse(msgspec.json.encode(document), version)
