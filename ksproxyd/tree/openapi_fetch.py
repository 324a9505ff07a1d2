"""Fetches the OpenAPI documents of extension backends, off the request path, and keeps them fresh."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd.state.backoff import Backoff
from ksproxyd.tree.endpoint import Endpoint
from ksproxyd.tree.openapi_document import Document, DocumentError, Version, parse
from ksproxyd.tree.representation import InThread
from ksproxyd.upstream.client import Client
from ksproxyd.upstream.errors import UpstreamError

VERSIONS: tuple[Version, Version] = ("v2", "v3")

#: Largest document of one backend, in bytes.
DOCUMENT_LIMIT = 8 * 1024 * 1024
#: Backends asked at the same time.
PARALLEL = 4
#: Seconds before the first and between the last of the attempts while a backend does not answer.
FIRST_RETRY, LAST_RETRY = 2.0, 300.0

# Statuses by which a backend says that it has no such document; asking again soon is of no use.
_NONE = frozenset({401, 403, 404, 405, 406, 410, 501})


class DocumentFetcher:
    """The documents of a changing set of backends.

    A backend is asked once, whatever number of services it has, when the first of them appears; again after a
    failure, with growing waits; and every ``refresh`` seconds, because a new version of an extension need not change
    any object. What could be fetched before stays while a backend is away. ``changed()`` is called after anything
    changed. ``random`` gives numbers from 0 up to 1.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        client: Client,
        in_thread: InThread,
        random: Callable[[], float],
        changed: Callable[[], object],
        *,
        timeout: float = 60.0,
        refresh: float = 600.0,
    ) -> None:
        self._clock = clock
        self._client = client
        self._in_thread = in_thread
        self._random = random
        self._changed = changed
        self._timeout = timeout
        self._refresh = refresh
        self._slots = DeferredSemaphore(PARALLEL)
        self._backends: dict[Endpoint, _Backend] = {}
        self._services: dict[str, Endpoint] = {}
        self._stopped = False

    def set(self, service: str, endpoint: Endpoint | None) -> None:
        """``service`` is at ``endpoint`` now; None: it is gone. Nothing happens after :meth:`stop`."""
        before = self._services.get(service)
        if before == endpoint or self._stopped:
            return
        if before is not None:
            del self._services[service]
            backend = self._backends[before]
            backend.services.discard(service)
            if not backend.services:
                del self._backends[before]
                backend.stop()
        if endpoint is not None:
            self._services[service] = endpoint
            known = self._backends.get(endpoint)
            if known is None:
                backoff = Backoff(FIRST_RETRY, LAST_RETRY, self._random)
                known = self._backends[endpoint] = _Backend(endpoint, backoff)
            known.services.add(service)
            if known.task is None:
                self._ask(known)
        self._changed()

    def documents(self, version: Version) -> list[tuple[str, Document]]:
        """What is known, each with the first service of its backend by name, in the order of these names."""
        found = [
            (min(backend.services), document)
            for backend in self._backends.values()
            if (document := backend.documents.get(version)) is not None
        ]
        return sorted(found, key=lambda item: item[0])

    def stop(self) -> None:
        """Ask nobody any more."""
        self._stopped = True
        for backend in self._backends.values():
            backend.stop()

    def _ask(self, backend: _Backend) -> None:
        backend.timer = None
        backend.task = Deferred.fromCoroutine(self._fetch_all(backend))
        backend.task.addErrback(self._broken, backend)

    def _broken(self, failure: Failure, backend: _Backend) -> None:
        if backend.stopped and failure.check(CancelledError):
            return
        self.log.failure("fetching OpenAPI of {target} failed", failure, target=str(backend.endpoint.target))
        if not backend.stopped:
            backend.timer = self._clock.callLater(backend.backoff.next(), self._ask, backend)

    async def _fetch_all(self, backend: _Backend) -> None:
        await self._slots.acquire()
        try:
            answered = [await self._fetch(backend, version) for version in VERSIONS]
        finally:
            self._slots.release()
        if all(answered):
            backend.backoff.reset()
            # Up to a tenth earlier, so that backends which came together do not stay together.
            wait = self._refresh * (1.0 - self._random() / 10.0)
        else:
            wait = backend.backoff.next()
        backend.timer = self._clock.callLater(wait, self._ask, backend)

    async def _fetch(self, backend: _Backend, version: Version) -> bool:
        """Ask for one document; whether the backend has answered, be it that there is none."""
        endpoint = backend.endpoint
        path = endpoint.join(b"/openapi/" + version.encode())
        headers = [(b"Accept", b"application/json"), *backend.validator(version)]
        try:
            answer = await self._client.request(
                endpoint.target, b"GET", path, headers, timeout=self._timeout, limit=DOCUMENT_LIMIT
            )
        except UpstreamError as error:
            if backend.stopped:
                raise CancelledError from error
            self._say(backend, version, error.message)
            return False
        if answer.status == 304 and version in backend.documents:
            return True
        if answer.status in _NONE:
            self._drop(backend, version)
            return True
        if answer.status != 200:
            self._say(backend, version, f"it answered {answer.status}")
            return False
        known = backend.digests.get(version)
        try:
            digest, document = await self._in_thread(_parse_if_new, answer.body, version, known)
        except DocumentError as error:
            self._say(backend, version, str(error))
            self._drop(backend, version)
            return True
        backend.said.pop(version, None)
        backend.etags[version] = answer.fields.get(b"etag")
        if document is not None:
            backend.digests[version] = digest
            backend.documents[version] = document
            self._changed()
        return True

    def _drop(self, backend: _Backend, version: Version) -> None:
        backend.etags.pop(version, None)
        backend.digests.pop(version, None)
        if backend.documents.pop(version, None) is not None:
            self._changed()

    def _say(self, backend: _Backend, version: Version, problem: str) -> None:
        # Once, not at every attempt.
        if backend.said.get(version) != problem:
            backend.said[version] = problem
            self.log.warn(
                "no OpenAPI {version} from {services} at {target}: {problem}",
                version=version,
                services=", ".join(sorted(backend.services)),
                target=str(backend.endpoint.target),
                problem=problem,
            )


class _Backend:
    """One place that documents come from."""

    def __init__(self, endpoint: Endpoint, backoff: Backoff) -> None:
        self.endpoint = endpoint
        self.backoff = backoff
        self.services: set[str] = set()
        self.documents: dict[Version, Document] = {}
        self.digests: dict[Version, bytes] = {}
        self.etags: dict[Version, bytes | None] = {}
        #: The last problem logged.
        self.said: dict[Version, str] = {}
        self.timer: IDelayedCall | None = None
        self.task: Deferred[None] | None = None
        self.stopped = False

    def validator(self, version: Version) -> list[tuple[bytes, bytes]]:
        etag = self.etags.get(version)
        return [] if etag is None else [(b"If-None-Match", etag)]

    def stop(self) -> None:
        self.stopped = True
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self.task is not None:
            self.task.cancel()


def _parse_if_new(body: bytes, version: Version, known: bytes | None) -> tuple[bytes, Document | None]:
    """The document of ``body`` and a digest; no document where the digest is ``known``. For a thread."""
    digest = hashlib.sha256(body).digest()
    return digest, None if digest == known else parse(body, version)
