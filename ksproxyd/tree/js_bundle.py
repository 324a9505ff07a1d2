"""What is served below ``/dist``: the content of JSBundles, their style sheets and files (spec 01, 3.6 and 4.3).

Content that the cluster holds (in the bundle, a ConfigMap or a Secret) is decoded, hashed and compressed once, when it
changes. Content elsewhere is fetched from there for every request; whoever asked is not made known to that place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd.chain import Outcome
from ksproxyd.model.message import Pairs, Response
from ksproxyd.model.status import StatusError, method_not_allowed, not_found, service_unavailable
from ksproxyd.server.exchange import Exchange
from ksproxyd.state.store import Object
from ksproxyd.state.validation import SECRET, field, text
from ksproxyd.tree.endpoint import Endpoint, decode_base64
from ksproxyd.tree.representation import InThread, Representation
from ksproxyd.upstream.plan import Answer, Plan
from ksproxyd.upstream.pools import Pools
from ksproxyd.upstream.relay import Proxy

SCRIPT = b"application/javascript; charset=utf-8"

#: Largest content served from the cluster itself, in bytes.
CONTENT_LIMIT = 16 * 1024 * 1024
# Content above this many bytes is prepared in a thread; below, that takes about a millisecond.
_AT_ONCE = 32 * 1024

_METHODS = ["GET", "HEAD"]
_NOSNIFF = (b"X-Content-Type-Options", b"nosniff")
_SCRIPT_HEADERS: Pairs = [(b"Content-Type", SCRIPT), _NOSNIFF]
# What a remote would learn of the user. The fields that name an identity never go anywhere.
_CREDENTIALS = frozenset({b"authorization", b"cookie"})


class Source(Protocol):
    """Where a link's content comes from."""

    def serve(self, exchange: Exchange) -> Outcome:
        """Answer a GET or HEAD request."""

    def describe(self) -> str:
        """What it is, for ``ksproxyd routes``."""

    def close(self) -> None:
        """Let go of everything. Called once, and :meth:`serve` not afterwards."""


class BundleNode:
    """Serves one link of one bundle."""

    def __init__(self, bundle: str, source: Source) -> None:
        self._name = f"JSBundle {bundle}"
        self._source = source

    def handle(self, exchange: Exchange) -> Outcome:
        """The content. It is a file, so there is nothing to POST to it."""
        exchange.node = self._name
        if exchange.method not in _METHODS:
            raise method_not_allowed(_METHODS)
        return self._source.serve(exchange)

    def describe(self) -> str:
        """One line for ``ksproxyd routes``."""
        return f"{self._name}: {self._source.describe()}"

    def close(self) -> None:
        """The link is no longer this node's; requests that it has keep their answers."""
        self._source.close()


class Unusable:
    """Content that cannot be had, because the bundle is wrong. ``why`` goes to clients."""

    def __init__(self, why: str) -> None:
        self._why = why

    def serve(self, exchange: Exchange) -> Outcome:
        raise service_unavailable(self._why)

    def describe(self) -> str:
        return self._why

    def close(self) -> None:
        """There is nothing to let go of."""


class ContentError(Exception):
    """Content cannot be decoded. The message goes to clients."""


class Held:
    """Content in memory.

    Until it is there requests wait, at most ``patience`` seconds. While new content is prepared the old is served.
    ``changed()`` is called whenever :attr:`problem` may have changed.
    """

    log = Logger()

    def __init__(
        self, clock: IReactorTime, in_thread: InThread, patience: float, changed: Callable[[], object]
    ) -> None:
        self._clock = clock
        self._in_thread = in_thread
        self._patience = patience
        self._changed = changed
        self._content: Representation | None = None
        self._error: tuple[int, str] | None = None
        self._waiting: set[Deferred[None]] = set()
        self._preparing: Deferred[Representation] | None = None

    @property
    def problem(self) -> str:
        """Why there is no content; empty if there is, or if it is still to come."""
        return self._error[1] if self._error is not None else ""

    def prepare(self, read: Callable[[], bytes], size: int) -> None:
        """Serve what ``read()`` returns from now on. It may run in a thread, and raise :class:`ContentError`.

        ``size`` is about the number of bytes that it will work on.
        """
        self._stop_preparing()
        if size > _AT_ONCE:
            self._preparing = preparing = self._in_thread(_prepared, read)
            preparing.addCallbacks(self._arrived, self._failed)
            preparing.addErrback(self._broke)
            return
        try:
            content = _prepared(read)
        except ContentError as error:
            self.refuse(503, str(error))
        else:
            self._arrived(content)

    def refuse(self, code: int, message: str) -> None:
        """There is nothing to serve from now on: answer ``code`` (404 or 503)."""
        self._stop_preparing()
        self._content, self._error = None, (code, message)
        self._wake()

    def serve(self, exchange: Exchange) -> Outcome:
        """The answer, or what waits for it. Raises what :meth:`refuse` was told."""
        content = self._content
        if content is not None:
            return content.answer(exchange.method, exchange.fields)
        if self._error is not None:
            raise self._refusal()
        return self._later(exchange)

    async def _later(self, exchange: Exchange) -> Response:
        waiting: Deferred[None] = Deferred(self._waiting.discard)
        self._waiting.add(waiting)
        timer = self._clock.callLater(self._patience, self._give_up, waiting)
        try:
            await waiting
        finally:
            if timer.active():
                timer.cancel()
        if self._content is None:
            raise self._refusal()
        return self._content.answer(exchange.method, exchange.fields)

    def close(self) -> None:
        """Nothing is prepared any more; whoever waits is told to come again."""
        self._changed = _nobody
        self._stop_preparing()
        if self._content is None and self._error is None:
            self._error = (503, "the content is being replaced")
        self._wake()

    def _arrived(self, content: Representation) -> None:
        self._preparing = None
        self._content, self._error = content, None
        self._wake()

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            return
        failure.trap(ContentError)
        self._preparing = None
        self.refuse(503, str(failure.value))

    def _broke(self, failure: Failure) -> None:
        self.log.failure("preparing content failed", failure)
        self._preparing = None
        self.refuse(503, "the content could not be prepared")

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, set()
        for deferred in waiting:
            deferred.callback(None)
        self._changed()

    def _give_up(self, waiting: Deferred[None]) -> None:
        self._waiting.discard(waiting)
        waiting.errback(service_unavailable("the content is not known yet", retry_after=1))

    def _stop_preparing(self) -> None:
        preparing, self._preparing = self._preparing, None
        if preparing is not None:
            preparing.cancel()

    def _refusal(self) -> StatusError:
        code, message = self._error or (503, "the content is not known yet")
        return not_found(message) if code == 404 else service_unavailable(message)


class RawContent:
    """Content that stands in the bundle itself, in ``spec.raw``."""

    def __init__(self, raw: str, held: Held) -> None:
        self._held = held
        held.prepare(lambda: decode_raw(raw), len(raw))

    def serve(self, exchange: Exchange) -> Outcome:
        return self._held.serve(exchange)

    def describe(self) -> str:
        return "raw"

    def close(self) -> None:
        self._held.close()


class ReferencedContent:
    """Content that one key of a ConfigMap or Secret holds.

    ``follow(callback)`` begins to follow that object: ``callback(old, new)`` for each change; calling what it returns
    ends that. An object that does not exist is 503, unless the reference is ``optional``: then, as for a missing key,
    it is 404.
    """

    def __init__(
        self,
        kind: str,
        reference: Object,
        held: Held,
        follow: Callable[[Callable[[Object | None, Object | None], None]], Callable[[], object]],
    ) -> None:
        self._kind = kind
        self._name = f"{text(reference, 'namespace')}/{text(reference, 'name')}"
        self._key = text(reference, "key")
        self._optional = field(reference, "optional") is True
        self._held = held
        self._value: tuple[bool, str] | None = None
        self._let_go = follow(self._changed)

    def serve(self, exchange: Exchange) -> Outcome:
        return self._held.serve(exchange)

    def describe(self) -> str:
        return f"{self._what()} {self._name} key {self._key}"

    def close(self) -> None:
        self._let_go()
        self._held.close()

    def _changed(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            self._value = None
            message = f"failed to fetch content from {'secret' if self._kind == SECRET else 'configMap'}"
            self._held.refuse(404 if self._optional else 503, message)
            return
        plain, value = False, field(new, "data", self._key)
        if self._kind != SECRET:
            plain = isinstance(value, str)
            if not plain:
                value = field(new, "binaryData", self._key)
        if not isinstance(value, str):
            self._value = None
            self._held.refuse(404, f'the {self._what()} has no key "{self._key}"')
        elif self._value != (plain, value):
            self._value = (plain, value)
            self._held.prepare(lambda: _plain(value) if plain else _decoded(value), len(value))

    def _what(self) -> str:
        return "Secret" if self._kind == SECRET else "ConfigMap"


class RemoteContent:
    """Content that is fetched from a backend, at the endpoint's own path and with the client's query.

    ``media_type`` is what a successful answer is labelled as; None leaves it to the backend. Neither credentials nor
    cookies of the client's go there, and no cookies come from there: a path that everybody may read is in no session.
    """

    def __init__(self, name: str, endpoint: Endpoint, media_type: bytes | None, pools: Pools, proxy: Proxy) -> None:
        self._endpoint = endpoint
        self._path = endpoint.path or b"/"
        self._media_type = media_type
        self._pools = pools
        self._proxy = proxy
        pool = pools.hold(endpoint.target)
        self._plan = Plan(name, pool, drop=_CREDENTIALS, on_answer=self._on_answer)

    def serve(self, exchange: Exchange) -> Outcome:
        # A file is no conversation: whatever protocol the client would like to switch to, it gets the file.
        exchange.upgrade = None
        target = self._path + b"?" + exchange.query if exchange.has_query else self._path
        return self._proxy.forward(exchange, self._plan, target)

    def describe(self) -> str:
        return f"{self._endpoint.target}{self._path.decode('ascii')}"

    def close(self) -> None:
        self._pools.release(self._endpoint.target)

    def _on_answer(self, exchange: Exchange, answer: Answer) -> None:
        """Label the answer: exactly one type, and no guessing at another."""
        replaced = {b"x-content-type-options", b"set-cookie"}
        added = [(b"x-content-type-options", *_NOSNIFF)]
        # An error page is not what was asked for, so it is not labelled so.
        if self._media_type is not None and (200 <= answer.status < 300 or answer.status == 304):
            replaced.add(b"content-type")
            added.append((b"content-type", b"Content-Type", self._media_type))
        answer.items = [item for item in answer.items if item[0] not in replaced] + added


def decode_raw(raw: str) -> bytes:
    """The content of ``spec.raw``: base64 of it, or base64 of base64 of it, which is what stock bundles carry.

    What can be decoded twice is. A script that is itself nothing but base64 would have to be encoded twice.

    :raises ContentError: if it is not base64 at all.
    """
    try:
        once = decode_base64(raw)
    except ValueError as error:
        raise ContentError(f"failed to decode raw content: {error}") from error
    try:
        return decode_base64(once)
    except ValueError:
        return once


def _decoded(value: str) -> bytes:
    try:
        return decode_base64(value)
    except ValueError as error:
        raise ContentError(f"the value is not base64: {error}") from error


def _plain(value: str) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise ContentError("the value is no valid text") from error


def _prepared(read: Callable[[], bytes]) -> Representation:
    content = read()
    if len(content) > CONTENT_LIMIT:
        raise ContentError(f"the content has more than {CONTENT_LIMIT} bytes: serve it from a url or service")
    # Links do not change with the content, so caches ask each time; the answer is mostly 304.
    return Representation(content, _SCRIPT_HEADERS, b"no-cache")


def _nobody() -> None:
    """Nobody is to be told any more."""
