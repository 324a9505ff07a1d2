"""What the API is asked and what it answers, as values: no sockets, no transport."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from ksproxyd.model.identity import Identity
from ksproxyd.model.message import Fields, Pairs
from ksproxyd.model.percent import unquote
from ksproxyd.model.query import TRUE, parameters
from ksproxyd.model.status import bad_request
from ksproxyd.standalone.schema.nodes import MISSING

#: Who comes with the admin token.
ADMIN = Identity("kubernetes-admin", ("system:masters", "system:authenticated"))


class Request(msgspec.Struct, frozen=True):
    """A request with its whole body. ``path`` is decoded, ``query`` holds the decoded parameters.

    ``document`` is the body decoded already (by whoever did that off the reactor), else MISSING.
    """

    method: str
    path: str
    query: dict[str, list[str]]
    fields: Fields
    body: bytes = b""
    user: Identity = ADMIN
    document: Any = MISSING

    @classmethod
    def of(
        cls,
        method: str,
        path: bytes,
        query: bytes = b"",
        fields: Fields | None = None,
        body: bytes = b"",
        document: Any = MISSING,
    ) -> Request:
        """A request from what stood on the wire: raw path and query. 400 for a path that is not UTF-8.

        The user is the one that is impersonated, else the administrator.
        """
        try:
            decoded = unquote(path).decode()
        except ValueError as error:
            raise bad_request(f"the path of the request cannot be read: {error}") from None
        given = Fields() if fields is None else fields
        return cls(method, decoded, parameters(query), given, body, _impersonated(given), document)

    def parameter(self, name: str) -> str:
        """The first value of a query parameter, empty if it is absent."""
        values = self.query.get(name)
        return values[0] if values else ""

    def flag(self, name: str) -> bool:
        """Whether a query parameter says true."""
        return self.parameter(name) in TRUE

    def field(self, key: bytes) -> str:
        """The value of a header field (lower-case name), empty if it is absent."""
        value = self.fields.get(key)
        return "" if value is None else value.decode("latin-1")


def _impersonated(fields: Fields) -> Identity:
    """The identity that ``Impersonate-*`` fields ask for; only the administrator gets this far, who may."""
    name = fields.get(b"impersonate-user")
    if name is None:
        return ADMIN
    groups = [value.decode("latin-1") for value in fields.all(b"impersonate-group")]
    anonymous = name == b"system:anonymous"
    implied = "system:unauthenticated" if anonymous else "system:authenticated"
    if implied not in groups:
        groups.append(implied)
    extra: dict[str, tuple[str, ...]] = {}
    for key, _, value in fields:
        if key.startswith(b"impersonate-extra-"):
            kept = unquote(key.removeprefix(b"impersonate-extra-")).decode("utf-8", "replace")
            extra[kept] = (*extra.get(kept, ()), value.decode("latin-1"))
    uid = fields.get(b"impersonate-uid") or b""
    return Identity(name.decode("latin-1"), tuple(groups), uid.decode("latin-1"), tuple(extra.items()))


class Reply:
    """A complete answer. A long list comes in ``chunks`` (made as they are taken) instead of ``body``."""

    __slots__ = ("body", "chunks", "headers", "status")

    def __init__(self, status: int, headers: Pairs, body: bytes = b"", chunks: Iterator[bytes] | None = None) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.chunks = chunks

    def __repr__(self) -> str:
        return f"<Reply {self.status}>"
