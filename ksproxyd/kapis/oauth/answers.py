"""How the pages and the endpoints that browsers come to answer: on to the next place, or no."""

from __future__ import annotations

import html
from collections.abc import Awaitable, Callable, Iterable

from ksproxyd.authn.rejection import SharedUnavailable
from ksproxyd.kapis.bodies import NO_STORE
from ksproxyd.kapis.oauth.pages import Pages, wants_page
from ksproxyd.kapis.oauth.pending import TooManyWaiting
from ksproxyd.model.message import Pairs, Response
from ksproxyd.model.status import StatusError
from ksproxyd.server.exchange import Exchange

Endpoint = Callable[..., Awaitable[Response]]

#: No page that a browser goes on to learns of the address it comes from, which may hold a code (RFC 9700, 4.2).
NO_REFERRER = (b"Referrer-Policy", b"no-referrer")


class Refused(Exception):
    """A request whose sender cannot be trusted with an answer at a redirect address (RFC 6749, 4.1.2.1)."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(f"{error}: {description}")
        self.error = error
        self.description = description
        self.status = status


def go_on(exchange: Exchange, location: bytes, headers: Iterable[tuple[bytes, bytes]] = ()) -> Response:
    """Send the browser to ``location``: by 303 after a form, which must not be sent on (RFC 9700, 4.12)."""
    common: Pairs = [(b"Location", location), NO_REFERRER, *NO_STORE, *headers]
    if exchange.method == "POST":
        return Response(303, common)
    link = html.escape(location.decode("latin-1"), quote=True)
    kind = [
        (b"Content-Type", b"text/html; charset=utf-8"),
        (b"Content-Security-Policy", b"default-src 'none'; frame-ancestors 'none'"),
    ]
    return Response(302, [*kind, *common], f'<a href="{link}">Found</a>.\n'.encode("latin-1", "replace"))


def oauth_error(status: int, error: str, description: str) -> Response:
    """An error for a program (RFC 6749, 5.2)."""
    value = {"error": error, "error_description": description}
    return Response.json(status, value, [*NO_STORE, NO_REFERRER])


def guarded(pages: Pages, endpoint: Endpoint) -> Endpoint:
    """``endpoint`` with its refusals told to whoever asks: a page for a person, JSON for a program."""

    async def guard(exchange: Exchange, **parameters: str) -> Response:
        try:
            return await endpoint(exchange, **parameters)
        except Refused as refused:
            if not wants_page(exchange):
                return oauth_error(refused.status, refused.error, refused.description)
            text = "failed_client" if refused.error == "invalid_client" else "failed_request"
            return pages.failure(exchange, text, status=refused.status, detail=refused.description)
        except SharedUnavailable as unavailable:
            error = unavailable.error()
            if not wants_page(exchange):
                raise error from None
            retry = [(b"Retry-After", b"%d" % (error.retry_after or 1))]
            return pages.failure(exchange, "failed_store", status=503, headers=retry)
        except TooManyWaiting as many:
            error = many.error()
            if not wants_page(exchange):
                raise error from None
            retry = [(b"Retry-After", b"%d" % (error.retry_after or 1))]
            return pages.failure(exchange, "failed_many", status=429, headers=retry)
        except StatusError as error:
            if not wants_page(exchange):
                raise
            return pages.failure(exchange, "failed_other", status=error.code, headers=error.headers)

    return guard
