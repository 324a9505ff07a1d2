"""Reading: single objects, lists in pages, watches."""

from __future__ import annotations

import base64
import binascii
import random
import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from ksproxyd.model.query import TRUE
from ksproxyd.model.status import StatusError, bad_request
from ksproxyd.standalone.kinds.registry import Kind
from ksproxyd.standalone.reading.render import (
    INCLUDE_METADATA,
    INCLUDE_NONE,
    INCLUDE_OBJECT,
    MetadataRenderer,
    Renderer,
    TableRenderer,
)
from ksproxyd.standalone.reading.selection import Selection, selection
from ksproxyd.standalone.reading.watch import WatchStream
from ksproxyd.standalone.storage.log import Clock, Log
from ksproxyd.standalone.storage.store import Key, Row, Store
from ksproxyd.standalone.wire.bodies import JSON
from ksproxyd.standalone.wire.errors import (
    FieldError,
    forbidden_field,
    invalid_options,
    no_such_object,
    not_supported,
    shown,
    too_large_resource_version,
)
from ksproxyd.standalone.wire.negotiation import PARTIAL, PARTIAL_LIST, TABLE, Form, form
from ksproxyd.standalone.wire.request import Reply, Request

EXACT = "Exact"
NOT_OLDER = "NotOlderThan"

#: Objects taken from the store at once.
_PAGE = 100

#: A watch that does not say when it is to end does after so many seconds, or up to twice that.
_WATCH_SECONDS = 1800.0

_NUMBER = re.compile(r"[0-9]{1,18}")

_INCONSISTENT = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)


class _Token(msgspec.Struct):
    """A continue token: the snapshot (-1 for the present) and the object behind which the next page begins."""

    v: str
    rv: int
    start: str


class Reader:
    """Answers reads from ``store`` and ``log``."""

    def __init__(self, store: Store, log: Log, clock: Clock, source: random.Random) -> None:
        self._store = store
        self._log = log
        self._clock = clock
        self._source = source

    def renderer(self, kind: Kind, request: Request, shape: Form) -> Renderer:
        """What turns stored objects into the form that was asked for."""
        if shape.transform == TABLE:
            include = request.parameter("includeObject") or INCLUDE_METADATA
            if include not in (INCLUDE_METADATA, INCLUDE_OBJECT, INCLUDE_NONE):
                message = f"unrecognized includeObject value: {shown(include)}"
                raise bad_request(message)
            return TableRenderer(kind, include, self._clock.seconds)
        if shape.transform in (PARTIAL, PARTIAL_LIST):
            return MetadataRenderer(kind)
        return Renderer(kind)

    def get(self, kind: Kind, key: Key, request: Request) -> Reply:
        """One object."""
        shape = form(request)
        asked = _revision(request)
        if asked > self._store.revision:
            raise too_large_resource_version(asked, self._store.revision)
        body = self._store.get(key)
        if body is None:
            raise no_such_object(kind.plural, kind.group, key.name)
        return shape.reply(200, self.renderer(kind, request, shape).one(body) + b"\n")

    def select(self, kind: Kind, namespace: str | None, request: Request) -> Selection:
        """The selection of a list, watch or deletecollection."""
        return selection(kind, namespace, request.parameter("labelSelector"), request.parameter("fieldSelector"))

    # -- list ----------------------------------------------------------------------------------------------

    def list(self, kind: Kind, namespace: str | None, request: Request) -> Reply:
        """A list, whole or a page. A long one is made while it is sent."""
        shape = form(request, several=True)
        chosen = self.select(kind, namespace, request)
        chunks = self.listing(kind, chosen, request).chunks(self.renderer(kind, request, shape))
        if shape.pretty or shape.media != JSON:
            return shape.reply(200, b"".join(chunks))
        headers = [(b"Content-Type", shape.media.encode())]
        first = next(chunks)
        second = next(chunks, None)
        if second is None:
            return Reply(200, headers, first)
        return Reply(200, headers, chunks=_resumed([first, second], chunks))

    def listing(self, kind: Kind, chosen: Selection, request: Request) -> Listing:
        """What a list request asks for, checked. Raises a 400, 410, 422 or 504."""
        match = request.parameter("resourceVersionMatch")
        _check_list_options(request, match)
        limit = _number(request, "limit")
        token = request.parameter("continue")
        current = self._store.revision
        if token:
            if request.parameter("resourceVersion") not in ("", "0"):
                raise bad_request("specifying resource version is not allowed when using continue")
            at, after = _parse_token(token)
            if at < 0:
                at = current
            elif at < self._store.floor or at > current:
                raise _expired(after)
            return Listing(self._store, kind, chosen, limit, at, after)
        asked = _revision(request)
        if asked > current:
            raise too_large_resource_version(asked, current)
        exact = match == EXACT or (not match and limit > 0 and asked > 0)
        if exact and asked < self._store.floor:
            raise StatusError(410, "Expired", f"The resourceVersion for the provided list is too old: {asked}")
        return Listing(self._store, kind, chosen, limit, asked if exact else current, None)

    # -- watch ---------------------------------------------------------------------------------------------

    def watch(self, kind: Kind, namespace: str | None, request: Request) -> WatchStream:
        """A watch. Raises a 400, 406 or 422; what is wrong with its resourceVersion it says itself."""
        shape = form(request, streaming=True)
        chosen = self.select(kind, namespace, request)
        initial = _check_watch_options(request)
        asked = _revision(request)
        timeout = float(_number(request, "timeoutSeconds"))
        if timeout <= 0:
            timeout = _WATCH_SECONDS * (1 + self._source.random())
        bookmarks = request.parameter("allowWatchBookmarks") in TRUE
        from_present = asked == 0 if initial is None else initial
        after: int | None = None
        if not from_present:
            # Without a resourceVersion and without initial events a watch begins now.
            after = asked if asked else self._store.revision
        elif asked > self._store.revision:
            raise too_large_resource_version(asked, self._store.revision)
        return WatchStream(
            self._store,
            self._log,
            self._clock,
            kind,
            chosen,
            self.renderer(kind, request, shape),
            after=after,
            timeout=timeout,
            bookmarks=bookmarks,
            announce=bookmarks and from_present,
            headers=[(b"Content-Type", b"application/json"), (b"Cache-Control", b"no-cache, private")],
        )


class Listing:
    """The objects a list is about, at one resourceVersion. ``limit`` 0 means all."""

    def __init__(
        self, store: Store, kind: Kind, chosen: Selection, limit: int, at: int, after: tuple[str, str] | None
    ) -> None:
        self._store = store
        self._kind = kind
        self._chosen = chosen
        self._limit = limit
        self._at = at
        self._after = after

    def pages(self) -> Iterator[list[Row]]:
        """The selected objects in portions, some of which may be empty, whatever the limit."""
        size = min(_PAGE, self._limit + 1) if self._limit and self._chosen.everything else _PAGE
        namespace, name = self._chosen.scope
        after = self._after
        while True:
            rows = self._store.page(self._kind.topic, namespace, after, size, self._at, name)
            yield [row for row in rows if self._chosen.matches_body(row.body)]
            if len(rows) < size:
                return
            after = (rows[-1].namespace, rows[-1].name)

    def chunks(self, renderer: Renderer, visit: Callable[[str, str], None] | None = None) -> Iterator[bytes]:
        """The list as JSON in pieces; what it is made of stays as it was when the first piece was taken.

        The metadata comes last: whether there is another page is known only then. ``visit`` is called with the
        namespace and name of each object as its turn comes.
        """
        self._store.pin(self._at)
        try:
            piece, separator = renderer.lead(), b""
            taken, last, more = 0, None, False
            for page in self.pages():
                if self._limit and taken + len(page) > self._limit:
                    page, more = page[: self._limit - taken], True
                if page:
                    if separator:
                        yield piece
                        piece = b""
                    piece += separator + b",".join(renderer.element(row.body) for row in page)
                    separator = b","
                    if visit is not None:
                        for row in page:
                            visit(row.namespace, row.name)
                    taken += len(page)
                    last = (page[-1].namespace, page[-1].name)
                if more:
                    break
            yield piece + renderer.tail(self._metadata(last if more else None))
        finally:
            self._store.unpin(self._at)

    def _metadata(self, last: tuple[str, str] | None) -> dict[str, Any]:
        """The metadata of the list; ``last`` is the last object of a page behind which there are more."""
        metadata: dict[str, Any] = {"resourceVersion": str(self._at)}
        if last is not None:
            metadata["continue"] = _token(self._at, last)
            if self._chosen.everything:
                namespace, _ = self._chosen.scope
                metadata["remainingItemCount"] = self._store.count(self._kind.topic, namespace, last, self._at)
        return metadata


def _resumed(first: list[bytes], rest: Iterator[bytes]) -> Iterator[bytes]:
    yield from first
    yield from rest


# -- options ---------------------------------------------------------------------------------------------------


def _revision(request: Request) -> int:
    """The resourceVersion asked for, 0 for none."""
    text = request.parameter("resourceVersion")
    if not text:
        return 0
    if not _NUMBER.fullmatch(text):
        detail = f"strconv.ParseUint: parsing {shown(text)}: invalid syntax"
        raise bad_request(f"invalid resource version: resourceVersion: Invalid value: {shown(text)}: {detail}")
    return int(text)


def _number(request: Request, name: str) -> int:
    text = request.parameter(name)
    if not text:
        return 0
    digits = text.removeprefix("-")
    if not _NUMBER.fullmatch(digits):
        raise bad_request(f"strconv.ParseInt: parsing {shown(text)}: invalid syntax")
    return 0 if text.startswith("-") else int(digits)


def _check_list_options(request: Request, match: str) -> None:
    errors: list[FieldError] = []
    field = "resourceVersionMatch"
    if match:
        revision = request.parameter("resourceVersion")
        if not revision:
            errors.append(forbidden_field(field, f"{field} is forbidden unless resourceVersion is provided"))
        if request.parameter("continue"):
            errors.append(forbidden_field(field, f"{field} is forbidden when continue is provided"))
        if match not in (EXACT, NOT_OLDER):
            errors.append(not_supported(field, match, [EXACT, NOT_OLDER, ""]))
        if match == EXACT and revision == "0":
            detail = f'{field} "exact" is forbidden for resourceVersion "0"'
            errors.append(forbidden_field(field, detail))
    if request.parameter("sendInitialEvents"):
        errors.append(forbidden_field("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    if errors:
        raise invalid_options("ListOptions", errors)


def _check_watch_options(request: Request) -> bool | None:
    """Whether the watch is to begin with the present objects; None if it does not say."""
    errors: list[FieldError] = []
    field = "resourceVersionMatch"
    match, initial = request.parameter(field), request.parameter("sendInitialEvents")
    if initial and match != NOT_OLDER:
        errors.append(forbidden_field(field, f"sendInitialEvents requires setting {field} to {NOT_OLDER}"))
    if match:
        if not initial:
            detail = f"{field} is forbidden for watch unless sendInitialEvents is provided"
            errors.append(forbidden_field(field, detail))
        if match != NOT_OLDER:
            errors.append(not_supported(field, match, [NOT_OLDER]))
        if request.parameter("continue"):
            errors.append(forbidden_field(field, f"{field} is forbidden when continue is provided"))
    if errors:
        raise invalid_options("ListOptions", errors)
    return initial in TRUE if initial else None


# -- continue tokens -------------------------------------------------------------------------------------------


def _token(at: int, after: tuple[str, str]) -> str:
    token = _Token("meta.k8s.io/v1", at, f"{after[0]}/{after[1]}")
    return base64.urlsafe_b64encode(msgspec.json.encode(token)).rstrip(b"=").decode()


def _parse_token(text: str) -> tuple[int, tuple[str, str]]:
    try:
        padded = text.encode() + b"=" * (-len(text) % 4)
        token = msgspec.json.decode(base64.b64decode(padded, b"-_", validate=True), type=_Token)
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        raise bad_request(f"invalid continue token: continue key is not valid: {error}") from None
    namespace, slash, name = token.start.partition("/")
    if token.v != "meta.k8s.io/v1" or not slash or not name:
        raise bad_request("invalid continue token: continue key is not valid: incorrect encoded continue token")
    return token.rv, (namespace, name)


class _ExpiredPage(StatusError):
    """410 for a continue token, with one that goes on at the present state."""

    def __init__(self, after: tuple[str, str]) -> None:
        super().__init__(410, "Expired", _INCONSISTENT)
        self._after = after

    def status_object(self) -> dict[str, Any]:
        status = super().status_object()
        status["metadata"] = {"continue": _token(-1, self._after)}
        return status


def _expired(after: tuple[str, str]) -> StatusError:
    return _ExpiredPage(after)
