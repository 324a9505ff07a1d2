"""The page that asks whether a client may act for somebody, and taking that back (spec 02, D-08)."""

from __future__ import annotations

from urllib.parse import urlsplit

from ksproxyd.authn.clients import OAuthClient
from ksproxyd.kapis.bodies import read_form
from ksproxyd.kapis.oauth.answers import go_on
from ksproxyd.kapis.oauth.authorize import Authorize, Principal
from ksproxyd.kapis.oauth.browser import Browsers, Users
from ksproxyd.kapis.oauth.consents import Consents
from ksproxyd.kapis.oauth.csrf import Csrf, token
from ksproxyd.kapis.oauth.pages import Html, Language, Pages, escaped, joined
from ksproxyd.kapis.oauth.pending import AuthorizeRequest, Pending
from ksproxyd.kapis.oauth.redirects import form_source
from ksproxyd.kapis.oauth.site import Site
from ksproxyd.model.message import Response
from ksproxyd.model.query import parameter
from ksproxyd.server.exchange import Exchange


class ConsentPage:
    """``/oauth/consent`` and ``/oauth/consents``. Both are for a browser in which somebody has signed in."""

    def __init__(
        self,
        site: Site,
        users: Users,
        browsers: Browsers,
        pending: Pending,
        consents: Consents,
        csrf: Csrf,
        pages: Pages,
        authorize: Authorize,
    ) -> None:
        self._site = site
        self._users = users
        self._browsers = browsers
        self._pending = pending
        self._consents = consents
        self._csrf = csrf
        self._pages = pages
        self._authorize = authorize

    async def get(self, exchange: Exchange) -> Response:
        """The question."""
        handle = parameter(exchange.query, "resume")
        request = await self._pending.look(handle)
        if not isinstance(request, AuthorizeRequest):
            return self._authorize.expired(exchange)
        session = await self._browsers.find(exchange)
        if session is None:
            return go_on(exchange, self._site.sign_in(handle))
        client = self._authorize.client_of(request)
        words = self._pages.language(exchange, request.locales)
        body = self._pages.body(
            "consent",
            lead=words("consent_text", client=client.name),
            scopes=scope_list(words, request.scopes),
            where=words("consent_where", host=_place(request.redirect_uri)),
            whom=words("signed_in_as", user=session.user),
            action=self._site.at("/consent", resume=handle).decode("ascii"),
            csrf=token(session.csrf, _purpose(handle)),
            language=words.code,
            allow=words("allow"),
            deny=words("deny"),
        )
        sources = [form_source(request.redirect_uri)]
        return self._pages.page(exchange, words, words("consent"), body, form_sources=sources)

    async def post(self, exchange: Exchange) -> Response:
        """The answer."""
        form = await read_form(exchange)
        handle = parameter(exchange.query, "resume")
        request = await self._pending.look(handle)
        if not isinstance(request, AuthorizeRequest):
            return self._authorize.expired(exchange)
        session = await self._browsers.find(exchange)
        record = self._users.find(session.user) if session is not None else None
        if session is None or record is None:
            return go_on(exchange, self._site.sign_in(handle))
        decision = form.get("decision", [""])[0]
        given = form.get("csrf", [""])[0]
        if not self._csrf.accepts(exchange, session.csrf, _purpose(handle), given) or decision not in ("allow", "deny"):
            return self._pages.failure(exchange, "failed_form", status=403)
        client: OAuthClient = self._authorize.client_of(request)
        if decision == "deny":
            await self._pending.take(handle)
            return self._authorize.deny(exchange, request)
        await self._consents.give(record, client.name, request.scopes)
        who = Principal(record, session.auth_time)
        return await self._authorize.decide(exchange, request, client, who, handle=handle, consented=True)

    async def revoke(self, exchange: Exchange) -> Response:
        """POST ``/consents``: the user of this browser takes back what ``client_id`` may do without asking."""
        form = await read_form(exchange)
        session = await self._browsers.find(exchange)
        if session is None:
            return go_on(exchange, self._site.at("/login"))
        if not self._csrf.accepts(exchange, session.csrf, "consents", form.get("csrf", [""])[0]):
            return self._pages.failure(exchange, "failed_form", status=403)
        await self._consents.revoke(session.user, form.get("client_id", [""])[0])
        return go_on(exchange, self._site.at("/login"))


def scope_list(words: Language, scopes: tuple[str, ...]) -> Html:
    """What scopes mean, as items of a list. Whatever they are, a token acts with all the rights of its user."""
    said = [words("scope_access")]
    for scope in scopes:
        key = f"scope_{scope}"
        said.append(words(key) if scope in ("openid", "profile", "email") else words("scope_other", scope=scope))
    return joined(Html(f"<li>{escaped(text)}</li>") for text in said)


def _place(uri: str) -> str:
    """Where an address leads, as people recognize it: its host, or the scheme that a program has registered."""
    parts = urlsplit(uri)
    return parts.netloc or f"{parts.scheme}:"


def _purpose(handle: str) -> str:
    return f"consent {handle}"
