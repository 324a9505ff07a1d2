"""Gives the terminal page a token, for the sign-in of its browser.

::

    POST /oauth/terminal_token      {}
    201 {"user": "alice", "access_token": "...", "expires_in": 600}

    GET /oauth/terminal?namespace=demo      sign in if need be, then the page: /terminal/?namespace=demo

The page lists projects and pods and copies files with it. It keeps the token in its memory, gets no refresh token, and
asks for another one when it needs it: as long as somebody is signed in in the browser, that is, and no longer.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ksproxyd.authn.rejection import SharedUnavailable
from ksproxyd.authn.tokens.claims import Lifetimes
from ksproxyd.kapis.bodies import NO_STORE, read_json
from ksproxyd.kapis.oauth.answers import go_on
from ksproxyd.kapis.oauth.browser import Browsers, Users
from ksproxyd.kapis.oauth.grants import extra_of
from ksproxyd.kapis.oauth.pending import Pending, TerminalVisit, TooLarge
from ksproxyd.kapis.oauth.site import Site
from ksproxyd.kapis.terminal.origins import only_own_page
from ksproxyd.model.message import Response
from ksproxyd.model.status import bad_request, unauthorized
from ksproxyd.server.exchange import Exchange

if TYPE_CHECKING:
    from ksproxyd.authn.tokens.service import Tokens

#: What the page is called in the tokens that it gets.
CLIENT = "ksproxyd-terminal"

#: Seconds that a token is good for.
LIFETIME = 600.0

#: What a query may consist of (RFC 3986, 3.4).
_QUERY = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@/?%-]{0,2000}")


class PageTokens:
    """The two requests. A transfer that was begun with a token may take ``longest`` seconds."""

    def __init__(
        self, site: Site, users: Users, browsers: Browsers, pending: Pending, tokens: Tokens, longest: float
    ) -> None:
        self._site = site
        self._users = users
        self._browsers = browsers
        self._pending = pending
        self._tokens = tokens
        self._lifetimes = Lifetimes(LIFETIME, longest)

    async def trade(self, exchange: Exchange) -> Response:
        """``POST /oauth/terminal_token``. Only for pages of our own origin: the cookie alone is worth nothing."""
        only_own_page(exchange)
        # Its media type is one that no form has; it says nothing.
        await read_json(exchange)
        try:
            session = await self._browsers.find(exchange)
            record = None if session is None else self._users.find(session.user)
            if session is None or record is None:
                raise unauthorized("nobody has signed in in this browser; sign in first")
            issued = await self._tokens.open_session(
                record.name,
                CLIENT,
                extra=extra_of(record),
                lifetimes=self._lifetimes,
                auth_time=session.auth_time,
            )
        except SharedUnavailable as error:
            raise error.error() from None
        answer = {"user": record.name, "access_token": issued.access_token, "expires_in": issued.expires_in}
        return Response.json(201, answer, NO_STORE)

    async def visit(self, exchange: Exchange) -> Response:
        """``GET /oauth/terminal``: to the page, by way of the sign-in if nobody has signed in in this browser."""
        query = exchange.query.decode("latin-1")
        if _QUERY.fullmatch(query) is None:
            raise bad_request("the query is too long, or has a character that no address has")
        if await self._browsers.find(exchange) is not None:
            return go_on(exchange, self._site.terminal(query))
        try:
            handle = await self._pending.keep(TerminalVisit(query), exchange.client)
        except TooLarge:
            raise bad_request("the query is too long") from None
        # Our own page, whatever ``signInURL`` is: only that leaves the cookie here by which the page is known.
        return go_on(exchange, self._site.at("/login", resume=handle))
