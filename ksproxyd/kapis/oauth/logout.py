"""Logging out (OpenID Connect RP-Initiated Logout 1.0; spec 02, 3.8.2 and D-06).

Three things can end here, and a request may be about each of them: the session of the bearer token that it shows, the
session of the id token that it hints at, and the sign-in of the browser that it comes from. The browser's ends only if
the person at it says so, unless the hint proves that a client that they have signed in to asks: any page can send a
browser here.

A browser is sent on only to an address that the client has registered, and never because of what could not be checked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from ksproxyd.authn.clients import OAuthClient
from ksproxyd.authn.credentials import Bearer, read
from ksproxyd.authn.redirect_uris import accepted
from ksproxyd.authn.rejection import REVOKED, Rejected
from ksproxyd.authn.tokens.claims import ACCESS, ID, STATIC, Claims
from ksproxyd.kapis.bodies import media_type, read_form
from ksproxyd.kapis.oauth.answers import Refused, go_on
from ksproxyd.kapis.oauth.authorize import ClientList
from ksproxyd.kapis.oauth.browser import Browsers, BrowserSession
from ksproxyd.kapis.oauth.csrf import Csrf, token
from ksproxyd.kapis.oauth.pages import Pages, wants_page
from ksproxyd.kapis.oauth.redirects import form_source, with_parameters
from ksproxyd.kapis.oauth.site import Site
from ksproxyd.model.message import Pairs, Response
from ksproxyd.model.query import parameters
from ksproxyd.server.exchange import Exchange


class TokenSessions(Protocol):
    """The part of :class:`ksproxyd.authn.tokens.service.Tokens` that is needed here."""

    async def examine(self, token: str, *, types: frozenset[str], expired_too: bool = False) -> Claims: ...

    async def revoke(self, claims: Claims) -> None: ...

    async def end_session(self, session: str) -> None: ...


class _Asked(NamedTuple):
    """``target`` is the registered address to go on to, empty for none; ``hint`` the claims of the id token."""

    client_id: str
    target: str
    state: str | None
    hint: Claims | None
    language: str


class Logout:
    """GET and POST ``/oauth/logout``."""

    def __init__(
        self, site: Site, tokens: TokenSessions, clients: ClientList, browsers: Browsers, csrf: Csrf, pages: Pages
    ) -> None:
        self._site = site
        self._tokens = tokens
        self._clients = clients
        self._browsers = browsers
        self._csrf = csrf
        self._pages = pages

    async def get(self, exchange: Exchange) -> Response:
        """As a link or a redirect of a client's."""
        return await self._logout(exchange, parameters(exchange.query), "")

    async def post(self, exchange: Exchange) -> Response:
        """As a form: a client's, or our own, which says that the person at the browser wants it."""
        form = {}
        if media_type(exchange) == b"application/x-www-form-urlencoded":
            form = await read_form(exchange)
        return await self._logout(exchange, form, form.get("csrf", [""])[0])

    async def _logout(self, exchange: Exchange, found: dict[str, list[str]], csrf: str) -> Response:
        bearer = await self._bearer(exchange)
        refused: Refused | None = None
        asked = _Asked("", "", None, None, found.get("lang", [""])[0])
        try:
            asked = await self._asked(found, bearer)
        except Refused as error:
            # Who shows a token is logged out all the same.
            refused = error
        session = await self._browsers.find(exchange)
        sure = False
        if session is not None and refused is None:
            of_user = {claims.username for claims in (bearer, asked.hint) if claims is not None}
            sure = session.user in of_user or self._csrf.accepts(exchange, session.csrf, "logout", csrf)
        if refused is not None:
            raise refused
        if asked.hint is not None and asked.hint.session:
            await self._tokens.end_session(asked.hint.session)
        if session is None:
            return self._done(exchange, asked, [])
        if sure:
            return self._done(exchange, asked, await self._browsers.close(exchange))
        return self._question(exchange, asked, session)

    async def _bearer(self, exchange: Exchange) -> Claims | None:
        """End the session of the token that is shown, also when it has expired; what it says.

        Raises the 401 for what is no token of ours. One that was revoked has been logged out: that is no error.
        """
        header = exchange.fields.get(b"authorization")
        shown = read(header) if header is not None and header.strip() else None
        if not isinstance(shown, Bearer):
            return None
        try:
            claims = await self._tokens.examine(shown.token, types=frozenset((ACCESS, STATIC)), expired_too=True)
        except Rejected as rejected:
            if rejected.phrase == REVOKED:
                return None
            raise rejected.error() from None
        if claims.token_type == STATIC:
            # The token of a ServiceAccount is as good as the account and is ended there.
            return claims
        if claims.session:
            await self._tokens.end_session(claims.session)
        else:
            await self._tokens.revoke(claims)
        return claims

    async def _asked(self, found: dict[str, list[str]], bearer: Claims | None) -> _Asked:
        """What is asked for, checked. Raises :class:`Refused`."""
        one = {name: values[0] for name, values in found.items()}
        for name in ("id_token_hint", "client_id", "post_logout_redirect_uri", "state"):
            if len(found.get(name, ())) > 1:
                raise Refused("invalid_request", f"The parameter {name} is there more than once.")
        hint = None
        if one.get("id_token_hint"):
            try:
                hint = await self._tokens.examine(one["id_token_hint"], types=frozenset((ID,)), expired_too=True)
            except Rejected as rejected:
                if rejected.phrase != REVOKED:
                    raise Refused("invalid_request", "The id_token_hint is not a token of this server.") from None
        client_id = one.get("client_id", "")
        of_hint = hint.aud[0] if hint is not None and hint.aud else ""
        if client_id and of_hint and client_id != of_hint:
            raise Refused("invalid_request", "The id_token_hint is not of the client that client_id names.")
        client_id = client_id or of_hint or (bearer.client_id if bearer is not None else "")
        target = one.get("post_logout_redirect_uri", "")
        if target:
            client: OAuthClient | None = self._clients.find(client_id) if client_id else None
            if client is None or accepted(target, client.post_logout_redirect_uris) is None:
                raise Refused("invalid_request", "The post_logout_redirect_uri is not registered for the client.")
        return _Asked(client_id, target, one.get("state"), hint, one.get("lang", ""))

    def _done(self, exchange: Exchange, asked: _Asked, headers: Pairs) -> Response:
        if asked.target:
            pairs = [] if asked.state is None else [("state", asked.state)]
            return go_on(exchange, with_parameters(asked.target, pairs), headers)
        if not wants_page(exchange):
            return Response.json(200, {"message": "success"}, headers)
        words = self._pages.language(exchange, chosen=asked.language)
        text = words("signed_out_text")
        return self._pages.message(exchange, words, words("signed_out"), text, headers=headers)

    def _question(self, exchange: Exchange, asked: _Asked, session: BrowserSession) -> Response:
        words = self._pages.language(exchange, chosen=asked.language)
        body = self._pages.body(
            "sign_out",
            lead=words("sign_out_question", user=session.user),
            action=self._site.at("/logout").decode("ascii"),
            csrf=token(session.csrf, "logout"),
            client_id=asked.client_id if asked.target else "",
            redirect_uri=asked.target,
            state=asked.state or "",
            language=words.code,
            submit=words("sign_out"),
        )
        sources = [form_source(asked.target)] if asked.target else []
        return self._pages.page(exchange, words, words("sign_out"), body, form_sources=sources)


Hint = Callable[[str], Awaitable[str]]


def hints(tokens: TokenSessions) -> Hint:
    """Tells the user of an ``id_token_hint``, expired or not; empty if it is no id token of ours."""

    async def user_of(text: str) -> str:
        try:
            claims = await tokens.examine(text, types=frozenset((ID,)), expired_too=True)
        except Rejected:
            return ""
        return claims.username or claims.sub

    return user_of
