"""GET ``/oauth/callback/{provider}``: a browser comes back from an identity provider (spec 02, 3.8.1, 4.4 and D-07).

It must be the browser that left (:mod:`ksproxyd.kapis.oauth.provider_login`), come back from the provider it left for,
and does so once. Outside it is only said that it did not work; the log says why.

With ``ksproxyd.compat.legacyCallback`` a request whose ``state`` is none of ours is answered as by ks-apiserver, with
tokens as JSON: KubeSphere's console starts sign-ins by itself and passes on what comes back. No browser gets a session
in this way, so that nobody can be signed in unawares as somebody else.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from ksproxyd.authn.directory import Directory
from ksproxyd.authn.login import Login
from ksproxyd.authn.providers.mapper import Mapper, MappingRefused
from ksproxyd.authn.providers.provider import Flow, ProviderError
from ksproxyd.authn.providers.registry import Providers
from ksproxyd.authn.registration import Registration
from ksproxyd.authn.rejection import INVALID, Rejected
from ksproxyd.authn.tokens.claims import PRE_REGISTRATION, Issued
from ksproxyd.authn.tokens.service import Tokens
from ksproxyd.authn.user_record import UserRecord
from ksproxyd.kapis.bodies import NO_STORE
from ksproxyd.kapis.oauth.answers import NO_REFERRER, guarded
from ksproxyd.kapis.oauth.cookies import set_cookie
from ksproxyd.kapis.oauth.front import Front
from ksproxyd.kapis.oauth.pages import wants_page
from ksproxyd.kapis.oauth.provider_login import LEFT_COOKIE, Departure, Departures, ProviderLogin, unknown
from ksproxyd.kapis.oauth.register import PAGE as REGISTER
from ksproxyd.kapis.oauth.register import RegisterPage
from ksproxyd.kapis.oauth.token import attempt
from ksproxyd.kapis.router import Route
from ksproxyd.model.message import Response
from ksproxyd.model.query import parameters
from ksproxyd.model.status import bad_request, service_unavailable
from ksproxyd.server.exchange import Exchange

if TYPE_CHECKING:
    from ksproxyd.authn.shared.store import SharedStore

#: The client that ks-apiserver's callback gives tokens to: KubeSphere's console, which refreshes them under this name.
LEGACY_CLIENT = "kubesphere"

#: Longest parameter that is looked at, in characters.
_LONGEST = 4096


class Callback:
    """The end of a sign-in."""

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        providers: Providers,
        mapper: Mapper,
        departures: Departures,
        login: Login,
        tokens: Tokens,
        front: Front,
        *,
        legacy: bool,
    ) -> None:
        self._clock = clock
        self._providers = providers
        self._mapper = mapper
        self._departures = departures
        self._login = login
        self._tokens = tokens
        self._front = front
        self._legacy = legacy

    async def get(self, exchange: Exchange, provider: str) -> Response:
        """Who has come back, and on to what they came for."""
        given = parameters(exchange.query)
        repeated = [name for name, values in given.items() if len(values) > 1]
        found = {name: values[0] for name, values in given.items() if name not in repeated}
        state = found.get("state", "")
        left = await self._departures.take(state)
        if left is None and self._legacy:
            return await self._as_ks_apiserver(exchange, provider, found)
        if left is None or left.provider != provider or repeated or not self._departures.is_same(exchange, left):
            why = "was not begun here" if left is None else "comes from another browser, or another provider"
            self.log.info("a sign-in at {provider} {why}", provider=provider[:64], why=why)
            return self._stale(exchange)
        return await self._come_back(exchange, provider, found, left, left.flow(state))

    async def _come_back(
        self, exchange: Exchange, provider: str, found: dict[str, str], left: Departure, flow: Flow
    ) -> Response:
        try:
            who = await self._who(provider, found, flow)
        except ProviderError as error:
            return await self._failed(exchange, provider, error, left.handle)
        except MappingRefused as error:
            self.log.warn("a sign-in was refused: {why}", why=error.message)
            return await self._refused(exchange, left.handle, "mapping")
        if isinstance(who, Registration):
            response = await self._front.sign_in.unregistered(exchange, who, left.handle)
        else:
            await self._login.succeeded(who, attempt(exchange), provider)
            response = await self._front.sign_in.continue_after_sign_in(exchange, who.name, left.handle)
        response.headers.append(set_cookie(self._front.site, exchange, LEFT_COOKIE, ""))
        return response

    async def _who(self, provider: str, found: dict[str, str], flow: Flow) -> UserRecord | Registration:
        chosen = self._providers.by_browser(provider)
        error = found.get("error", "")
        if error:
            # RFC 6749, 4.1.2.1. Not shown: the text is whatever somebody has put there.
            said = found.get("error_description", "no description")
            kind = "unavailable" if error in ("server_error", "temporarily_unavailable") else "credentials"
            raise ProviderError(kind, f"it says {_plain(error)!r}: {_plain(said)}")  # type: ignore[arg-type]
        if any(len(value) > _LONGEST for value in found.values()):
            raise ProviderError("answer", "a parameter of the callback is far too long")
        external = await chosen.finish(found, flow)
        return await self._mapper.resolve(chosen, external)

    # -- what is said ----------------------------------------------------------------------------------

    async def _failed(self, exchange: Exchange, provider: str, error: ProviderError, handle: str) -> Response:
        self.log.warn("a sign-in at {provider} failed: {why}", provider=provider, why=error.message)
        if error.kind in ("unknown", "disabled", "not-password"):
            return unknown(self._front.pages, exchange)
        if error.kind == "unavailable":
            return await self._refused(exchange, handle, "provider")
        return await self._refused(exchange, handle, "external")

    async def _refused(self, exchange: Exchange, handle: str, problem: str) -> Response:
        if wants_page(exchange):
            return await self._front.sign_in.refused(exchange, handle, problem)
        if problem == "provider":
            raise service_unavailable("the identity provider cannot be used at the moment; try again later", 5)
        hint = "ask an administrator for an account" if problem == "mapping" else "sign in again"
        raise Rejected(INVALID, f"the identity provider has not told who you are here; {hint}", token=False).error()

    def _stale(self, exchange: Exchange) -> Response:
        if wants_page(exchange):
            return self._front.pages.failure(exchange, "expired_text", status=400, title="expired")
        raise bad_request("this sign-in was not begun in this browser, or has expired, or is over; begin again")

    # -- as ks-apiserver -------------------------------------------------------------------------------

    async def _as_ks_apiserver(self, exchange: Exchange, provider: str, found: dict[str, str]) -> Response:
        await self._departures.count("returned", exchange.client)
        try:
            who = await self._who(provider, found, Flow())
            issued = await self._issue(who)
        except (ProviderError, MappingRefused) as error:
            self.log.warn("a sign-in at {provider} failed: {why}", provider=provider[:64], why=error.message)
            kind = error.kind if isinstance(error, ProviderError) else "mapping"
            return Response.text(401, f"Unauthorized: {_SAID[kind]}\n", [*NO_STORE, NO_REFERRER])
        if isinstance(who, UserRecord):
            await self._login.succeeded(who, attempt(exchange), provider)
        return Response.json(200, token_answer(issued), [*NO_STORE, NO_REFERRER])

    async def _issue(self, who: UserRecord | Registration) -> Issued:
        now = self._clock.seconds()
        if isinstance(who, Registration):
            return await self._tokens.open_session(
                PRE_REGISTRATION, LEGACY_CLIENT, extra=who.extra(), auth_time=now, registration=True
            )
        return await self._tokens.open_session(who.name, LEGACY_CLIENT, auth_time=now)


_SAID = {
    "unknown": "there is no such identity provider",
    "disabled": "there is no such identity provider",
    "not-password": "there is no such identity provider",
    "credentials": "the identity provider does not accept this sign-in",
    "unavailable": "the identity provider cannot be used at the moment",
    "answer": "the identity provider has not told who this is",
    "mapping": "this account cannot be used here",
}


def token_answer(issued: Issued) -> dict[str, Any]:
    """The tokens as ks-apiserver's callback has them (spec 02, 3.8.1)."""
    answer: dict[str, Any] = {
        "access_token": issued.access_token,
        "token_type": "Bearer",
        "refresh_token": issued.refresh_token,
    }
    if issued.expires_in:
        answer["expires_in"] = issued.expires_in
    return answer


def provider_routes(
    clock: IReactorTime,
    providers: Providers,
    mapper: Mapper,
    store: SharedStore,
    login: Login,
    tokens: Tokens,
    front: Front,
    directory: Directory,
    *,
    legacy: bool,
    registration_lifetime: float,
) -> Iterable[Route]:
    """The two ends of a sign-in at an identity provider, and where accounts are made, relative to ``/oauth``."""
    departures = Departures(store, front.site)
    start = ProviderLogin(providers, departures, front.site, front.pending, front.pages, front.sign_in)
    end = Callback(clock, providers, mapper, departures, login, tokens, front, legacy=legacy)
    page = RegisterPage(
        store, directory, mapper, login, front.sign_in, front.site, front.csrf, front.pages, registration_lifetime
    )
    front.sign_in.register = page.begin
    return (
        Route("GET", REGISTER, guarded(front.pages, page.get), "Page to make an account"),
        Route("POST", REGISTER, guarded(front.pages, page.post), "Make an account after signing in at a provider"),
        Route("GET", "/login/{provider}", guarded(front.pages, start.get), "Sign in at an identity provider"),
        Route("GET", "/callback/{provider}", guarded(front.pages, end.get), "Come back from an identity provider"),
    )


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:200]
