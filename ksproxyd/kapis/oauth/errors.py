"""Errors that programs read: the JSON of RFC 6749, 5.2, and the answers around it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from twisted.logger import Logger

from ksproxyd.authn.rejection import SharedUnavailable
from ksproxyd.kapis.bodies import NO_STORE
from ksproxyd.model.message import Pairs, Response
from ksproxyd.model.status import StatusError
from ksproxyd.server.exchange import Exchange

_log = Logger()

#: What is said of a client that is not known, or not by this secret: which of the two is nobody's business.
BAD_CLIENT = "The client is not known, or its secret is wrong."

#: The challenge for clients that have tried HTTP Basic (RFC 6749, 5.2).
CLIENT_CHALLENGE = (b"WWW-Authenticate", b'Basic realm="kubesphere OAuth clients", charset="UTF-8"')

#: Seconds after which a client should come again while the store cannot be asked.
_AGAIN = 2


class OAuthError(Exception):
    """A request that is answered with ``error`` and ``error_description``; ``retry_after`` are seconds, 0 for none."""

    def __init__(
        self, status: int, error: str, description: str, *, retry_after: int = 0, headers: Pairs | None = None
    ) -> None:
        super().__init__(status, error, description)
        self.status = status
        self.error = error
        self.description = description
        self.retry_after = retry_after
        self.headers = headers or []

    def response(self) -> Response:
        """The answer. Nobody on the way may keep it."""
        headers = [*NO_STORE, *self.headers]
        if self.retry_after:
            headers.append((b"Retry-After", b"%d" % self.retry_after))
        body = {"error": self.error}
        if self.description:
            body["error_description"] = self.description
        return Response.json(self.status, body, headers)


def invalid_request(description: str) -> OAuthError:
    """400: a parameter is missing, there twice, or not what it should be."""
    return OAuthError(400, "invalid_request", description)


def invalid_grant(description: str) -> OAuthError:
    """400: what was shown (a password, a code, a token) is not good, or not this client's."""
    return OAuthError(400, "invalid_grant", description)


def invalid_client(*, header: bool) -> OAuthError:
    """401; ``header`` tells that the client has tried the ``Authorization`` field."""
    return OAuthError(401, "invalid_client", BAD_CLIENT, headers=[CLIENT_CHALLENGE] if header else None)


def unavailable(description: str, retry_after: int) -> OAuthError:
    """503; come back in ``retry_after`` seconds."""
    return OAuthError(503, "temporarily_unavailable", description, retry_after=retry_after)


Handler = Callable[..., Awaitable[Response]]


def for_programs(handler: Handler) -> Handler:
    """``handler`` as the router wants it: what it raises is answered so that OAuth clients understand it.

    Every answer says that it must not be kept (RFC 6749, 5.1).
    """

    @wraps(handler)
    async def answering(exchange: Exchange, **parameters: Any) -> Response:
        try:
            return await handler(exchange, **parameters)
        except OAuthError as error:
            return error.response()
        except SharedUnavailable as error:
            _log.warn("{path} cannot be served: {why}", path=exchange.info.path, why=str(error))
            return unavailable("The tokens cannot be looked up at the moment; try again.", _AGAIN).response()
        except StatusError as error:
            error.headers += NO_STORE
            raise

    return answering
