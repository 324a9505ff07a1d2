"""Requests to an API server, on decoded objects.

For the control path only: what a proxied request needs goes through :mod:`ksproxyd.upstream` directly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Literal, Protocol
from urllib.parse import urlencode

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from ksproxyd import __version__
from ksproxyd.kube.errors import KubeError, KubeUnreachable, error_from_answer
from ksproxyd.kube.listing import Listing, ListReader
from ksproxyd.kube.pacing import Pacer, pause
from ksproxyd.kube.resource import Resource
from ksproxyd.kube.watch import Receiver, Sink, StreamHandle, Watch
from ksproxyd.model.message import Fields
from ksproxyd.upstream.errors import UpstreamError
from ksproxyd.upstream.target import Target

PatchKind = Literal["merge", "json", "strategic", "apply"]

_PATCH_TYPES = {
    "merge": b"application/merge-patch+json",
    "json": b"application/json-patch+json",
    "strategic": b"application/strategic-merge-patch+json",
    # JSON is YAML, and this is the only spelling that every supported server knows.
    "apply": b"application/apply-patch+yaml",
}

#: A server that is busy says so (429, or 503 with Retry-After); so often a request is sent again then.
RETRIES = 3

#: A server may ask us to wait longer than this many seconds; we ask again after this long anyway.
LONGEST_WAIT = 30.0

#: Largest answer to anything but a list, in bytes. etcd's own limit for an object is 1.5 MiB by default.
ANSWER_LIMIT = 16 * 1024 * 1024

#: A watch that has not ended so many seconds after its ``timeoutSeconds`` is dead.
WATCH_GRACE = 30.0

_ACCEPT = (b"Accept", b"application/json")
_AGENT = (b"User-Agent", f"ksproxyd/{__version__}".encode())


class Answer(Protocol):
    """What :class:`Upstream` answers."""

    @property
    def status(self) -> int: ...

    @property
    def fields(self) -> Fields: ...

    @property
    def body(self) -> bytes: ...


class Upstream(Protocol):
    """The part of :class:`ksproxyd.upstream.Client` that is needed here."""

    def request(
        self,
        target: Target,
        method: bytes,
        path: bytes,
        headers: Iterable[tuple[bytes, bytes]] = (),
        body: bytes = b"",
        *,
        timeout: float,
        limit: int,
    ) -> Deferred[Any]: ...

    def stream(
        self,
        target: Target,
        method: bytes,
        path: bytes,
        headers: Iterable[tuple[bytes, bytes]],
        body: bytes,
        sink: Sink,
    ) -> StreamHandle: ...


class Access(Protocol):
    """The part of :class:`~ksproxyd.kube.access.ClusterAccess` that is needed here."""

    path_prefix: bytes

    @property
    def target(self) -> Target: ...

    def headers(self) -> Iterable[tuple[bytes, bytes]]: ...

    def refused(self) -> None: ...


class KubeClient:
    """One API server, with our own credentials.

    Every method that asks the server raises :class:`KubeError` when it refuses and :class:`KubeUnreachable` when no
    usable answer comes within ``timeout`` seconds. A busy server is asked again up to :data:`RETRIES` times, when it
    says it wants to be; nothing else is repeated here. Cancelling the returned coroutine's Deferred cancels the
    request.
    """

    def __init__(
        self,
        client: Upstream,
        access: Access,
        clock: IReactorTime,
        *,
        timeout: float = 30.0,
        pacer: Callable[[], Pacer] | None = None,
    ) -> None:
        self.clock = clock
        self.timeout = timeout
        self.access = access
        self._client = client
        self._pacer = pacer or (lambda: Pacer(clock))

    async def get(self, resource: Resource, name: str, namespace: str = "", *, subresource: str = "") -> dict[str, Any]:
        """One object."""
        return await self._object(b"GET", _named(resource, namespace, name, subresource))

    async def list(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
    ) -> Listing:
        """Every object of a collection, read page by page; see :class:`~ksproxyd.kube.listing.ListReader`."""
        reader = self.reader(resource, namespace, label_selector=label_selector, field_selector=field_selector)
        return await reader.read_all()

    async def create(
        self,
        resource: Resource,
        body: Mapping[str, Any],
        namespace: str = "",
        *,
        dry_run: bool = False,
        field_manager: str = "",
    ) -> dict[str, Any]:
        """Create an object; the answer is the object as it was stored."""
        query = _options(dryRun="All" if dry_run else "", fieldManager=field_manager)
        return await self._object(b"POST", resource.path(namespace), query, body)

    async def put_in(
        self, resource: Resource, body: Mapping[str, Any], namespace: str = "", *, field_manager: str = ""
    ) -> None:
        """Create an object of which nobody wants to know how it was stored: the answer is not even decoded."""
        query = _options(fieldManager=field_manager)
        answer = await self.ask(b"POST", resource.path(namespace), query, msgspec.json.encode(body))
        if answer.body[:1] != b"{":
            raise KubeUnreachable("the API server answered something that is not an object", "content")

    async def update(
        self,
        resource: Resource,
        body: Mapping[str, Any],
        *,
        subresource: str = "",
        dry_run: bool = False,
        field_manager: str = "",
    ) -> dict[str, Any]:
        """Replace the object that ``body`` names in its metadata; its resourceVersion guards against lost updates."""
        metadata = body["metadata"]
        path = _named(resource, metadata.get("namespace", ""), metadata["name"], subresource)
        query = _options(dryRun="All" if dry_run else "", fieldManager=field_manager)
        return await self._object(b"PUT", path, query, body)

    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: Any,
        namespace: str = "",
        *,
        kind: PatchKind = "merge",
        subresource: str = "",
        field_manager: str = "",
        force: bool = False,
    ) -> dict[str, Any]:
        """Change an object; ``kind`` says what ``patch`` is.

        ``apply`` is server-side apply: it needs a ``field_manager`` and may ``force`` conflicts in its favour.
        """
        if kind == "apply" and not field_manager:
            raise ValueError("server-side apply needs a field manager")
        path = _named(resource, namespace, name, subresource)
        query = _options(fieldManager=field_manager, force="true" if force else "")
        return await self._object(b"PATCH", path, query, patch, _PATCH_TYPES[kind])

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str = "",
        *,
        propagation: Literal["", "Background", "Foreground", "Orphan"] = "",
        uid: str = "",
        resource_version: str = "",
    ) -> dict[str, Any]:
        """Delete an object, only if it still is ``uid`` at ``resource_version`` where these are given.

        The answer is the object, if it waits for finalizers, or a Status.
        """
        options: dict[str, Any] = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if propagation:
            options["propagationPolicy"] = propagation
        guards = {"uid": uid, "resourceVersion": resource_version}
        if any(guards.values()):
            options["preconditions"] = {key: value for key, value in guards.items() if value}
        return await self._object(b"DELETE", _named(resource, namespace, name), "", options)

    async def read(self, path: str, query: str = "") -> Any:
        """Whatever JSON is at ``path``: ``/version``, discovery, OpenAPI documents."""
        return _decoded((await self.ask(b"GET", path, query)).body)

    def reader(
        self, resource: Resource, namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> ListReader:
        """What reads a collection page by page, also several times."""
        selectors = {"labelSelector": label_selector, "fieldSelector": field_selector}
        return ListReader(self, resource, namespace, selectors, self._pacer())

    def watch(
        self,
        resource: Resource,
        receiver: Receiver,
        *,
        resource_version: str,
        timeout_seconds: int,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        silence: float = 0,
    ) -> Watch:
        """Follow the changes of a collection from ``resource_version`` on, for at most ``timeout_seconds``.

        It may last :data:`WATCH_GRACE` longer until it is taken for dead. The watch begins at once; see
        :class:`~ksproxyd.kube.watch.Watch` for its end and for ``silence``.
        """
        query = _options(
            watch="true",
            allowWatchBookmarks="true",
            resourceVersion=resource_version,
            timeoutSeconds=str(timeout_seconds),
            labelSelector=label_selector,
            fieldSelector=field_selector,
        )
        watch = Watch(
            receiver,
            self.clock,
            self._pacer(),
            head_timeout=self.timeout,
            lifetime=timeout_seconds + WATCH_GRACE,
            silence=silence,
        )
        watch.start(lambda sink: self._stream(resource.path(namespace), query, sink))
        return watch

    async def ask(
        self,
        method: bytes,
        path: str,
        query: str = "",
        body: bytes = b"",
        content_type: bytes = b"application/json",
        *,
        limit: int = ANSWER_LIMIT,
    ) -> Answer:
        """Send one request and return the answer, which is a success (2xx)."""
        target = self._path(path, query)
        for left in range(RETRIES, -1, -1):
            answer = await self._once(method, target, body, content_type, limit)
            if 200 <= answer.status < 300:
                return answer
            error = error_from_answer(answer.status, answer.body, answer.fields.get(b"retry-after"))
            if answer.status == 401:
                self.access.refused()
            wait = _wanted_wait(error)
            if wait is None or not left:
                raise error
            await pause(self.clock, wait)
        raise AssertionError("the last attempt returns or raises")

    async def _once(self, method: bytes, target: bytes, body: bytes, content_type: bytes, limit: int) -> Answer:
        headers = [_ACCEPT, _AGENT, *self.access.headers()]
        if body:
            headers.append((b"Content-Type", content_type))
        try:
            answer: Answer = await self._client.request(
                self.access.target, method, target, headers, body, timeout=self.timeout, limit=limit
            )
        except UpstreamError as error:
            raise KubeUnreachable(error.message, error.kind, error.detail) from error
        return answer

    async def _object(
        self,
        method: bytes,
        path: str,
        query: str = "",
        body: Any = None,
        content_type: bytes = b"application/json",
    ) -> dict[str, Any]:
        content = b"" if body is None else msgspec.json.encode(body)
        decoded = _decoded((await self.ask(method, path, query, content, content_type)).body)
        if not isinstance(decoded, dict):
            raise KubeUnreachable("the API server answered something that is not an object", "content")
        return decoded

    def _stream(self, path: str, query: str, sink: Sink) -> StreamHandle:
        headers = [_ACCEPT, _AGENT, *self.access.headers()]
        return self._client.stream(self.access.target, b"GET", self._path(path, query), headers, b"", sink)

    def _path(self, path: str, query: str) -> bytes:
        return self.access.path_prefix + (f"{path}?{query}" if query else path).encode("ascii")


def _wanted_wait(error: KubeError) -> float | None:
    """How long the server asks us to wait before the same request; None when it does not."""
    if error.code == 429:
        return min(error.retry_after or 1.0, LONGEST_WAIT)
    if error.code == 503 and error.retry_after is not None:
        return min(error.retry_after, LONGEST_WAIT)
    return None


def _named(resource: Resource, namespace: str, name: str, subresource: str = "") -> str:
    """The path of one object; never that of its collection, which would mean all of them."""
    if not name:
        raise ValueError(f"the name of an object of {resource} is empty")
    return resource.path(namespace, name, subresource)


@lru_cache(256)
def _options(**options: str) -> str:
    return urlencode({key: value for key, value in options.items() if value})


def _decoded(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise KubeUnreachable("the API server answered something that is not JSON", "content") from error
