"""POST ``/oauth/authenticate``: a TokenReview, for API servers that ask by webhook (spec 02, 3.5 and D-23).

Only who is somebody may ask: the answer tells whether a token is good, and whose it is. RFC 7662 at
``/oauth/introspect`` is the general way.
"""

from __future__ import annotations

from typing import Any, Protocol

from ksproxyd.authn.directory import Directory
from ksproxyd.authn.rejection import credentials_required
from ksproxyd.authn.tokens.claims import PRE_REGISTRATION, Claims
from ksproxyd.kapis.bodies import NO_STORE, read_json
from ksproxyd.kapis.oauth.errors import for_programs
from ksproxyd.kapis.router import Handler
from ksproxyd.model.identity import ANONYMOUS, Identity
from ksproxyd.model.message import Response
from ksproxyd.model.status import StatusError, bad_request, forbidden
from ksproxyd.server.exchange import Exchange
from ksproxyd.state.validation import field, text

_VERSIONS = ("authentication.k8s.io/v1", "authentication.k8s.io/v1beta1")


class Authenticated(Protocol):
    """The part of :class:`ksproxyd.authn.authenticator.Authenticated` that is needed here."""

    @property
    def identity(self) -> Identity: ...

    @property
    def claims(self) -> Claims | None: ...


class Authentication(Protocol):
    """The part of :class:`ksproxyd.authn.authenticator.Authenticator` that is needed here."""

    async def by_header(self, header: bytes, source: str, user_agent: str) -> Authenticated: ...


class TokenReviews:
    """A token is as good here as it is in the ``Authorization`` field of a request, and whoever it is, likewise."""

    def __init__(self, authentication: Authentication, directory: Directory) -> None:
        self._authentication = authentication
        self._directory = directory
        self.post: Handler = for_programs(self._post)

    async def _post(self, exchange: Exchange) -> Response:
        if exchange.user.name == ANONYMOUS.name:
            raise credentials_required(basic=True)
        if exchange.user.name == PRE_REGISTRATION:
            raise forbidden("who has no account yet cannot ask about tokens")
        review = await read_json(exchange)
        token = text(review, "spec", "token")
        if not token:
            raise bad_request("the body is no TokenReview with a token in spec.token")
        version = field(review, "apiVersion")
        answer = {
            "apiVersion": version if version in _VERSIONS else _VERSIONS[0],
            "kind": "TokenReview",
            "status": await self._status(token, exchange.client),
        }
        return Response.json(200, answer, NO_STORE)

    async def _status(self, token: str, source: str) -> dict[str, Any]:
        if not token.isascii() or not token.isprintable() or " " in token:
            return _bad("token malformed: it has characters that none has")
        try:
            found = await self._authentication.by_header(b"Bearer " + token.encode("ascii"), source, "")
        except StatusError as error:
            if error.code != 401:
                raise
            return _bad(error.message)
        identity = found.identity
        user: dict[str, Any] = {"username": identity.name, "uid": self._uid(identity)}
        if identity.groups:
            user["groups"] = list(identity.groups)
        extra = identity.extra or (found.claims.extra if found.claims is not None else ())
        if extra:
            user["extra"] = {key: list(values) for key, values in extra}
        return {"authenticated": True, "user": user}

    def _uid(self, identity: Identity) -> str:
        record = self._directory.find(identity.name)
        return identity.uid or (record.uid if record is not None else "")


def _bad(why: str) -> dict[str, Any]:
    return {"authenticated": False, "error": why}
