"""The page on which people sign in, and where they go on afterwards.

Who signs in proves it with a password, here, or at an identity provider, whose button leads to its own start. What they
came for is known by the handle ``resume`` (:mod:`ksproxyd.kapis.oauth.pending`) and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from ksproxyd.authn.login import Attempt, LoginRefused
from ksproxyd.authn.registration import Registration
from ksproxyd.authn.tried import tried
from ksproxyd.authn.user_record import UserRecord
from ksproxyd.kapis.bodies import read_form
from ksproxyd.kapis.oauth.answers import go_on
from ksproxyd.kapis.oauth.authorize import ClientList
from ksproxyd.kapis.oauth.browser import Browsers, BrowserSession, Users
from ksproxyd.kapis.oauth.consents import Consents
from ksproxyd.kapis.oauth.csrf import Csrf, token
from ksproxyd.kapis.oauth.pages import Html, Language, Pages, escaped, joined
from ksproxyd.kapis.oauth.pending import AuthorizeRequest, DeviceRequest, Pending, TerminalVisit, Waiting
from ksproxyd.kapis.oauth.redirects import form_source
from ksproxyd.kapis.oauth.site import Site
from ksproxyd.model.message import Pairs, Response
from ksproxyd.model.percent import UNRESERVED, quote
from ksproxyd.model.query import parameter
from ksproxyd.server.exchange import Exchange

#: Longest name and password that are looked at, in characters.
_LONGEST_NAME, _LONGEST_PASSWORD = 254, 512

# What is said of a refused login, by its kind, and with which status. None is a 401: no field of HTTP would help.
_SAID = {
    "password": ("wrong_password", 400),
    "suspended": ("suspended", 403),
    "limited": ("locked", 429),
    "busy": ("busy", 503),
    "provider": ("provider_down", 502),
    "unknown-provider": ("provider_unknown", 400),
    "mapping": ("mapping", 403),
    "external": ("provider_failed", 400),
    "stale": ("stale", 403),
}


class Logins(Protocol):
    """The part of :class:`ksproxyd.authn.login.Login` that is needed here."""

    async def by_password(
        self, username: str, password: str, attempt: Attempt, *, provider: str = "", record_type: str = "Token"
    ) -> UserRecord | Registration: ...


class ProviderList(Protocol):
    """The identity providers that people may choose, each by its name and what it is called on the page."""

    def buttons(self) -> Sequence[tuple[str, str]]:
        """Those that people are sent to."""

    def with_passwords(self) -> Sequence[tuple[str, str]]:
        """Those whose passwords are typed in here."""


class SignIn:
    """``/oauth/login``, and :meth:`continue_after_sign_in` for whatever way somebody has signed in."""

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        site: Site,
        users: Users,
        clients: ClientList,
        logins: Logins,
        providers: ProviderList,
        browsers: Browsers,
        pending: Pending,
        consents: Consents,
        csrf: Csrf,
        pages: Pages,
    ) -> None:
        self._clock = clock
        self._site = site
        self._users = users
        self._clients = clients
        self._logins = logins
        self._providers = providers
        self._browsers = browsers
        self._pending = pending
        self._consents = consents
        self._csrf = csrf
        self._pages = pages
        #: Leads to the page on which accounts are made, if there is such a one
        #: (:meth:`ksproxyd.kapis.oauth.register.RegisterPage.begin`).
        self.register: Callable[[Exchange, Registration, str], Awaitable[Response]] | None = None

    async def get(self, exchange: Exchange) -> Response:
        """The form; who has signed in and came for nothing else is told so."""
        handle = parameter(exchange.query, "resume")
        waiting = await self._pending.look(handle) if handle else None
        if handle and waiting is None:
            return self._pages.failure(exchange, "expired_text", status=400, title="expired")
        if waiting is None:
            session = await self._browsers.find(exchange)
            if session is not None:
                return await self._signed_in_page(exchange, session)
        return self._form(exchange, waiting, handle)

    async def post(self, exchange: Exchange) -> Response:
        """Somebody's name and password."""
        form = await read_form(exchange)
        handle = parameter(exchange.query, "resume")
        chosen = _first(form, "lang")
        name, password, provider = (_first(form, key) for key in ("username", "password", "provider"))
        waiting = await self._pending.look(handle) if handle else None
        if handle and waiting is None:
            return self._pages.failure(exchange, "expired_text", status=400, title="expired")
        secret = self._csrf.known_secret(exchange)
        if not self._csrf.accepts(exchange, secret, _purpose(handle), _first(form, "csrf")):
            return self._form(exchange, waiting, handle, problem="stale", name=name, chosen=chosen)
        name = name.strip()
        refused = LoginRefused("password", "nothing was typed in")
        if name and password and len(name) <= _LONGEST_NAME and len(password) <= _LONGEST_PASSWORD:
            agent = (exchange.fields.get(b"user-agent") or b"").decode("utf-8", "replace")
            try:
                found = await self._logins.by_password(
                    name, password, Attempt(exchange.client, agent), provider=provider
                )
                if isinstance(found, Registration):
                    return await self.unregistered(exchange, found, handle, chosen)
                return await self.continue_after_sign_in(exchange, found.name, handle)
            except LoginRefused as error:
                refused = error
        exchange.note(tried(name, provider))
        return self._form(
            exchange,
            waiting,
            handle,
            problem=refused.kind,
            retry_after=refused.retry_after,
            name=name,
            chosen=chosen,
            provider=provider,
        )

    async def continue_after_sign_in(self, exchange: Exchange, user: str, handle: str) -> Response:
        """``user`` has just proved who they are: their browser gets a session and goes on to what ``handle`` is for.

        ``handle`` may be empty, or out of date: then a page says that they are signed in.
        """
        waiting = await self._pending.look(handle) if handle else None
        try:
            cookies = await self._browsers.open(exchange, user, self._clock.seconds())
        except LookupError:
            # Disabled or deleted while they signed in.
            return self._form(exchange, waiting, handle if waiting else "", problem="suspended")
        return go_on(exchange, self._next(waiting, handle), cookies)

    def _next(self, waiting: Waiting | None, handle: str) -> bytes:
        if isinstance(waiting, AuthorizeRequest):
            return self._site.at("/authorize", resume=handle)
        if isinstance(waiting, DeviceRequest):
            return self._site.at("/device", user_code=waiting.user_code)
        if isinstance(waiting, TerminalVisit):
            return self._site.terminal(waiting.query)
        return self._site.at("/login")

    async def refused(self, exchange: Exchange, handle: str, problem: str = "external") -> Response:
        """The form again, after signing in at an identity provider has failed. ``problem``: "external", or a kind of
        :class:`LoginRefused`."""
        waiting = await self._pending.look(handle) if handle else None
        return self._form(exchange, waiting, handle if waiting else "", problem=problem)

    async def unregistered(
        self, exchange: Exchange, registration: Registration, handle: str, chosen: str = ""
    ) -> Response:
        """Somebody whom a provider knows, but who has no account here: on to where they make one."""
        if self.register is not None:
            return await self.register(exchange, registration, handle)
        words = self._pages.language(exchange, chosen=chosen)
        text = words("unregistered_text", provider=registration.idp, username=registration.username)
        return self._pages.message(exchange, words, words("unregistered"), text, status=403)

    # -- pages -----------------------------------------------------------------------------------------

    def _form(
        self,
        exchange: Exchange,
        waiting: Waiting | None,
        handle: str,
        *,
        problem: str = "",
        retry_after: float = 0,
        name: str = "",
        chosen: str = "",
        provider: str = "",
    ) -> Response:
        request = waiting if isinstance(waiting, AuthorizeRequest) else None
        words = self._pages.language(exchange, request.locales if request else "", chosen)
        secret, cookies = self._csrf.browser_secret(exchange)
        key, status = _SAID[problem] if problem else ("", 200)
        shown = Html("")
        if key:
            # Rounded up: who comes at the time that is said, is let in.
            until = datetime.fromtimestamp(self._clock.seconds() + retry_after + 59, UTC)
            minutes = max(1, math.ceil(retry_after / 60))
            shown = self._pages.error_text(words, key, minutes=minutes, until=f"{until:%H:%M}")
        headers: Pairs = [*cookies]
        if status in (429, 503):
            headers.append((b"Retry-After", b"%d" % max(1, math.ceil(retry_after))))
        name = name or (request.login_hint if request else "")
        lead = Html("")
        if request is not None:
            lead = Html(f"<p>{escaped(words('sign_in_for', client=request.client_id))}</p>")
        focus = Html(" autofocus")
        body = self._pages.body(
            "sign_in",
            lead=lead,
            problem=shown,
            action=self._site.at("/login", resume=handle).decode("ascii"),
            csrf=token(secret, _purpose(handle)),
            language=words.code,
            choice=self._choice(words, provider),
            username=name[:_LONGEST_NAME],
            username_label=words("username"),
            password_label=words("password"),
            invalid=Html(' aria-invalid="true" aria-describedby="problem"') if key == "wrong_password" else Html(""),
            focus_username=Html("") if name else focus,
            focus_password=focus if name else Html(""),
            submit=words("sign_in"),
            providers=self._buttons(words, handle),
        )
        sources = [form_source(request.redirect_uri)] if request else []
        return self._pages.page(
            exchange, words, words("sign_in"), body, status=status, headers=headers, form_sources=sources
        )

    def _choice(self, words: Language, chosen: str) -> Html:
        """Whose password it is, where there is a choice."""
        providers = self._providers.with_passwords()
        if not providers:
            return Html("")
        options = [Html(f'<option value="">{escaped(words("account_local"))}</option>')]
        for name, title in providers:
            mark = " selected" if name == chosen else ""
            options.append(Html(f'<option value="{escaped(name)}"{mark}>{escaped(title or name)}</option>'))
        label = f'<label for="provider">{escaped(words("account"))}</label>'
        return Html(f'<p class="field">{label}<select id="provider" name="provider">{joined(options)}</select></p>')

    def _buttons(self, words: Language, handle: str) -> Html:
        """A link to the start of each identity provider."""
        items = []
        for name, title in self._providers.buttons():
            path = "/login/" + quote(name.encode(), UNRESERVED).decode("ascii")
            href = escaped(self._site.at(path, resume=handle).decode("ascii"))
            text = escaped(words("sign_in_with", provider=title or name))
            items.append(Html(f'<li><a class="button" href="{href}">{text}</a></li>'))
        if not items:
            return Html("")
        return Html(f'<p class="or">{escaped(words("or"))}</p><ul class="providers">{joined(items)}</ul>')

    async def _signed_in_page(self, exchange: Exchange, session: BrowserSession) -> Response:
        words = self._pages.language(exchange)
        record = self._users.find(session.user)
        allowed = await self._consents.clients(record) if record is not None else []
        items = []
        for client in allowed:
            label = escaped(words("consent_revoke_for", client=client))
            items.append(
                Html(
                    f'<li><span>{escaped(client)}</span><form method="post" action="{self._site.root}/consents">'
                    f'<input type="hidden" name="csrf" value="{token(session.csrf, "consents")}">'
                    f'<input type="hidden" name="lang" value="{words.code}">'
                    f'<button class="plain" name="client_id" value="{escaped(client)}" aria-label="{label}">'
                    f"{escaped(words('consent_revoke'))}</button></form></li>"
                )
            )
        listed = Html("")
        if items:
            listed = Html(f'<h2>{escaped(words("consents"))}</h2><ul class="consents">{joined(items)}</ul>')
        body = self._pages.body(
            "signed_in",
            lead=words("signed_in_text", user=session.user),
            consents=listed,
            action=self._site.at("/logout").decode("ascii"),
            csrf=token(session.csrf, "logout"),
            language=words.code,
            submit=words("sign_out"),
        )
        return self._pages.page(exchange, words, words("signed_in"), body)


def _purpose(handle: str) -> str:
    return f"sign-in {handle}"


def _first(form: dict[str, list[str]], name: str) -> str:
    values = form.get(name)
    return values[0] if values else ""
