"""The page on which somebody makes their account, whom an identity provider knows (``mappingMethod: manual``; spec 02,
4.5 and D-12).

What the provider has said is kept here and known to the page by a handle, so that nobody can change whose account it
becomes; the form is good in the browser that was given it, and once. They choose a name that nobody has. The account is
linked with the provider's identifier, has the address that the provider vouches for, no password and no rights.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING, Protocol

import msgspec
from twisted.logger import Logger

from ksproxyd.authn.directory import Directory
from ksproxyd.authn.login import Attempt
from ksproxyd.authn.providers.mapper import MappingRefused, user_name
from ksproxyd.authn.registration import Registration
from ksproxyd.authn.user_record import UserRecord
from ksproxyd.kapis.bodies import read_form
from ksproxyd.kapis.oauth.answers import go_on
from ksproxyd.kapis.oauth.csrf import Csrf, token
from ksproxyd.kapis.oauth.pages import Html, Pages, escaped
from ksproxyd.kapis.oauth.pending import well_formed
from ksproxyd.kapis.oauth.sign_in import SignIn
from ksproxyd.kapis.oauth.site import Site
from ksproxyd.kapis.oauth.token import attempt
from ksproxyd.model.message import Response
from ksproxyd.model.query import parameter
from ksproxyd.server.exchange import Exchange

if TYPE_CHECKING:
    from ksproxyd.authn.shared.store import SharedStore

#: Where the form goes, below ``/oauth``.
PAGE = "/register"

_SAID = {"": 200, "register_wrong": 400, "register_taken": 409, "stale": 403}


class Maker(Protocol):
    """The part of :class:`ksproxyd.authn.providers.mapper.Mapper` that is needed here."""

    async def register(self, registration: Registration, name: str) -> UserRecord: ...


class Recorder(Protocol):
    """The part of :class:`ksproxyd.authn.login.Login` that is needed here."""

    async def succeeded(
        self, record: UserRecord, attempt: Attempt, provider: str, record_type: str = "Token"
    ) -> None: ...


class _Begun(msgspec.Struct, frozen=True):
    """Somebody may make an account. ``handle`` is of what they go on with afterwards; it may be empty."""

    registration: Registration
    handle: str
    #: Digest of the secret that only their browser has.
    browser: str

    def __repr__(self) -> str:
        return f"<Registration by {self.registration.idp}>"


class RegisterPage:
    """The page and its form. ``lifetime`` is for how long it is good, in seconds."""

    log = Logger()

    def __init__(
        self,
        store: SharedStore,
        directory: Directory,
        maker: Maker,
        recorder: Recorder,
        sign_in: SignIn,
        site: Site,
        csrf: Csrf,
        pages: Pages,
        lifetime: float,
    ) -> None:
        self._store = store
        self._directory = directory
        self._maker = maker
        self._recorder = recorder
        self._sign_in = sign_in
        self._site = site
        self._csrf = csrf
        self._pages = pages
        self._lifetime = lifetime

    async def begin(self, exchange: Exchange, registration: Registration, handle: str) -> Response:
        """On to the page, for somebody who has just shown who they are at the provider."""
        state = secrets.token_urlsafe(32)
        secret, cookies = self._csrf.browser_secret(exchange)
        await self._keep(state, _Begun(registration, handle, _digest(secret)))
        return go_on(exchange, self._site.at(PAGE, resume=state), cookies)

    async def get(self, exchange: Exchange) -> Response:
        """The page."""
        state = parameter(exchange.query, "resume")
        begun = await self._look(exchange, state)
        if begun is None:
            return self._expired(exchange)
        try:
            name = user_name(begun.registration.username)
        except MappingRefused:
            # They choose another one.
            name = ""
        return self._page(exchange, begun, state, name=name)

    async def post(self, exchange: Exchange) -> Response:
        """The name that they have chosen."""
        form = {name: values[0] for name, values in (await read_form(exchange)).items()}
        state, chosen = parameter(exchange.query, "resume"), form.get("lang", "")
        begun = await self._look(exchange, state)
        if begun is None:
            return self._expired(exchange)
        name = form.get("username", "").strip()
        secret = self._csrf.known_secret(exchange)
        problem = ""
        if not self._csrf.accepts(exchange, secret, _purpose(state), form.get("csrf", "")):
            problem = "stale"
        else:
            try:
                name = user_name(name)
            except MappingRefused:
                problem = "register_wrong"
            else:
                problem = "" if self._directory.find(name) is None else "register_taken"
        if problem:
            return self._page(exchange, begun, state, name=name, chosen=chosen, problem=problem)
        if await self._store.take(_key(state)) is None:
            # The form came twice.
            return self._expired(exchange)
        try:
            record = await self._maker.register(begun.registration, name)
        except MappingRefused as refused:
            self.log.warn("an account could not be made: {why}", why=refused.message)
            await self._keep(state, begun)
            return self._page(exchange, begun, state, name=name, chosen=chosen, problem="register_taken")
        except BaseException:
            await self._keep(state, begun)
            raise
        await self._recorder.succeeded(record, attempt(exchange), begun.registration.idp)
        return await self._sign_in.continue_after_sign_in(exchange, record.name, begun.handle)

    async def _look(self, exchange: Exchange, state: str) -> _Begun | None:
        """What was begun, if it was in this browser."""
        raw = await self._store.get(_key(state)) if well_formed(state) else None
        if raw is None:
            return None
        begun = msgspec.json.decode(raw, type=_Begun)
        shown = _digest(self._csrf.known_secret(exchange))
        return begun if hmac.compare_digest(shown, begun.browser) else None

    def _expired(self, exchange: Exchange) -> Response:
        return self._pages.failure(exchange, "expired_text", status=400, title="expired")

    async def _keep(self, state: str, begun: _Begun) -> None:
        await self._store.put(_key(state), msgspec.json.encode(begun), self._lifetime)

    def _page(
        self, exchange: Exchange, begun: _Begun, state: str, *, name: str, chosen: str = "", problem: str = ""
    ) -> Response:
        words = self._pages.language(exchange, chosen=chosen)
        secret, cookies = self._csrf.browser_secret(exchange)
        who = begun.registration
        email = Html("")
        if who.email:
            email = Html(f"<p>{escaped(words('register_email', email=who.email))}</p>")
        invalid = problem in ("register_wrong", "register_taken")
        body = self._pages.body(
            "register",
            text=words("register_text", provider=who.idp, username=who.username or who.uid),
            email=email,
            problem=self._pages.error_text(words, problem) if problem else Html(""),
            action=self._site.at(PAGE, resume=state).decode("ascii"),
            csrf=token(secret, _purpose(state)),
            language=words.code,
            username=name[:63],
            username_label=words("register_name"),
            invalid=Html(' aria-invalid="true" aria-describedby="problem"') if invalid else Html(""),
            submit=words("register_submit"),
        )
        return self._pages.page(exchange, words, words("register"), body, status=_SAID[problem], headers=cookies)


def _purpose(state: str) -> str:
    return f"register {state}"


def _key(state: str) -> str:
    # Whoever reads the store cannot make the account.
    return "registering:" + _digest(state)


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode("utf-8", "replace")).hexdigest()
