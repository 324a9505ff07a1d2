"""The authorization endpoint: a browser comes with a client's request and goes back to it with a code.

RFC 6749, 4.1; RFC 7636 (PKCE); RFC 9207 (``iss``); OpenID Connect Core, 3.1.2; what ks-apiserver does and does not is
in spec 02, 3.6. The order: the client and its address, or the error is told here and nowhere else; then the request,
whose errors go to that address; then who it is that asks; then whether they agree. Nothing that was checked is taken
from the browser a second time: while somebody signs in the request waits in :class:`Pending`.

Who asks is the user of the ``Authorization`` field, if there is one (ks-console asks for its users so), else whoever
has signed in in this browser. Only users can grant anything: ServiceAccounts, pre-registrations and identities without
a User object are told ``access_denied``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, Protocol

from twisted.internet.interfaces import IReactorTime

from ksproxyd.authn.clients import OAuthClient
from ksproxyd.authn.code_challenge import is_challenge
from ksproxyd.authn.codes import CodeGrant
from ksproxyd.authn.user_record import DISABLED, UserRecord
from ksproxyd.kapis.bodies import read_form
from ksproxyd.kapis.oauth.answers import Refused, go_on
from ksproxyd.kapis.oauth.browser import Browsers, Users
from ksproxyd.kapis.oauth.consents import Consents
from ksproxyd.kapis.oauth.pages import Pages, wants_page
from ksproxyd.kapis.oauth.pending import AuthorizeRequest, Pending, TooLarge
from ksproxyd.kapis.oauth.redirects import with_parameters
from ksproxyd.kapis.oauth.site import Site
from ksproxyd.model.identity import ANONYMOUS
from ksproxyd.model.message import Response
from ksproxyd.model.query import parameters
from ksproxyd.server.exchange import Exchange
from ksproxyd.settings import OAuthSettings

#: Every parameter that is read, and must not come twice (RFC 6749, 3.1).
_READ = (
    *("client_id", "redirect_uri", "response_type", "response_mode", "scope", "state", "nonce", "prompt", "max_age"),
    *("code_challenge", "code_challenge_method", "login_hint", "id_token_hint", "ui_locales"),
)

#: What is not supported, and how that is said (OpenID Connect Core, 3.1.2.6).
_UNSUPPORTED = (
    ("request", "request_not_supported"),
    ("request_uri", "request_uri_not_supported"),
    ("registration", "registration_not_supported"),
)

_DENIED = "The resource owner or authorization server denied the request."
_CONSENT = "Consent is required before proceeding with the request."


class ClientList(Protocol):
    """The part of :class:`ksproxyd.authn.clients.Clients` that is needed here."""

    def find(self, client_id: str) -> OAuthClient | None: ...


class CodeMaker(Protocol):
    """The part of :class:`ksproxyd.authn.codes.Codes` that is needed here."""

    async def issue(self, grant: CodeGrant) -> str: ...


#: Makes an id token for the implicit flow: the client, the user, the request, and when the user has signed in.
IdTokens = Callable[[OAuthClient, UserRecord, AuthorizeRequest, float], str]
#: The user of an ``id_token_hint``, empty if it is none of ours.
Hints = Callable[[str], Awaitable[str]]


class Principal(NamedTuple):
    """Who asks, and when they have shown who they are, in Unix time."""

    user: UserRecord
    auth_time: float


class SentBack(Exception):
    """The request is answered with an error at the client's address."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(f"{error}: {description}")
        self.error = error
        self.description = description


class Authorize:
    """GET and POST ``/oauth/authorize``, and the decision that the consent page comes to as well."""

    def __init__(
        self,
        clock: IReactorTime,
        settings: OAuthSettings,
        site: Site,
        clients: ClientList,
        users: Users,
        browsers: Browsers,
        pending: Pending,
        consents: Consents,
        codes: CodeMaker,
        pages: Pages,
        id_tokens: IdTokens,
        hints: Hints,
    ) -> None:
        self._clock = clock
        self._settings = settings
        self._site = site
        self._clients = clients
        self._users = users
        self._browsers = browsers
        self._pending = pending
        self._consents = consents
        self._codes = codes
        self._pages = pages
        self._id_tokens = id_tokens
        self._hints = hints

    async def get(self, exchange: Exchange) -> Response:
        """A new request in the query, or ``resume``: one that was waiting."""
        found = parameters(exchange.query)
        if "resume" in found:
            return await self._resume(exchange, found["resume"][0])
        return await self._begin(exchange, found)

    async def post(self, exchange: Exchange) -> Response:
        """A new request as a form; the query is not looked at (OpenID Connect Core, 3.1.2.1)."""
        return await self._begin(exchange, await read_form(exchange))

    async def _begin(self, exchange: Exchange, found: dict[str, list[str]]) -> Response:
        client, address = self._addressee(found)
        try:
            request = await self._checked(client, address, found)
        except SentBack as error:
            fragment = self._settings.implicit_flow and _one(found, "response_type") == "id_token"
            state = found["state"][0] if "state" in found else None
            return self._send_back(exchange, address, state, error, fragment)
        principal = self._shown(exchange)
        if principal is None and exchange.method == "POST":
            # A form may come from any page, so it grants nothing by a cookie: the browser comes again, by itself, as
            # it would by a link, and what it says then is what it would say there (SameSite=Lax).
            handle = await self._keep(exchange, request)
            return go_on(exchange, self._site.at("/authorize", resume=handle))
        if principal is None:
            principal = await self._signed_in(exchange)
        return await self.decide(exchange, request, client, principal)

    async def _resume(self, exchange: Exchange, handle: str) -> Response:
        request = await self._pending.look(handle)
        if not isinstance(request, AuthorizeRequest):
            return self.expired(exchange)
        client = self.client_of(request)
        principal = self._shown(exchange) or await self._signed_in(exchange)
        return await self.decide(exchange, request, client, principal, handle=handle)

    def expired(self, exchange: Exchange) -> Response:
        """There is no request of that handle any more."""
        if not wants_page(exchange):
            raise Refused("invalid_request", "What was to be resumed has expired; start again at the client.")
        return self._pages.failure(exchange, "expired_text", status=400, title="expired")

    def client_of(self, request: AuthorizeRequest) -> OAuthClient:
        """The client of a request that has waited; it must still be one that the request could come from."""
        client = self._clients.find(request.client_id)
        if client is None:
            raise Refused("invalid_client", "The provided client_id is invalid or does not exist.")
        if client.redirect_to(request.redirect_uri) is None:
            raise Refused("invalid_request", "Redirect URI is not allowed.")
        return client

    # -- the request -----------------------------------------------------------------------------------

    def _addressee(self, found: dict[str, list[str]]) -> tuple[OAuthClient, str]:
        """The client and its address. Raises :class:`Refused`: before these are known nobody is sent anywhere."""
        client = self._clients.find(_one(found, "client_id"))
        if client is None or len(found["client_id"]) > 1:
            raise Refused("invalid_client", "The provided client_id is invalid or does not exist.")
        address = client.redirect_to(_one(found, "redirect_uri"))
        if address is None or len(found.get("redirect_uri", ())) > 1:
            raise Refused("invalid_request", "Redirect URI is not allowed.")
        return client, address

    async def _checked(self, client: OAuthClient, address: str, found: dict[str, list[str]]) -> AuthorizeRequest:
        """The request, checked as far as that can be done without knowing who asks. Raises :class:`SentBack`."""
        for name in _READ:
            if len(found.get(name, ())) > 1:
                raise SentBack("invalid_request", f"The parameter {name} is there more than once.")
        for name, error in _UNSUPPORTED:
            if _one(found, name):
                raise SentBack(error, f"The parameter {name} is not supported by the authorization server.")
        scopes = tuple(dict.fromkeys(_one(found, "scope").split()))
        if not scopes or not set(scopes) <= set(client.scopes):
            raise SentBack("invalid_scope", "The requested scope is invalid or not supported.")
        response_type = self._response_type(_one(found, "response_type"))
        if client.grant_method == "deny":
            raise SentBack("access_denied", _DENIED)
        nonce = _one(found, "nonce")
        if response_type == "id_token" and not (nonce and "openid" in scopes):
            raise SentBack("invalid_request", "An id_token needs a nonce and the scope openid.")
        if _one(found, "response_mode") not in ("", "query" if response_type == "code" else "fragment"):
            raise SentBack("invalid_request", "The requested response_mode is not supported.")
        prompt = tuple(_one(found, "prompt").split())
        if "none" in prompt and len(prompt) > 1:
            raise SentBack("invalid_request", "The prompt none cannot stand beside others.")
        hint = _one(found, "id_token_hint")
        hinted = await self._hints(hint) if hint else ""
        if hint and not hinted:
            raise SentBack("invalid_request", "The id_token_hint is not a token of this server.")
        return AuthorizeRequest(
            client_id=client.name,
            redirect_uri=address,
            redirect_given=bool(_one(found, "redirect_uri")),
            response_type=response_type,
            scopes=scopes,
            at=self._clock.seconds(),
            state=found["state"][0] if "state" in found else None,
            nonce=nonce,
            challenge=self._challenge(client, response_type, found),
            prompt=prompt,
            max_age=_seconds(_one(found, "max_age")),
            login_hint=_one(found, "login_hint"),
            locales=_one(found, "ui_locales"),
            hint=hinted,
        )

    def _response_type(self, asked: str) -> str:
        if asked == "code" or (asked == "id_token" and self._settings.implicit_flow):
            return asked
        named = f"{asked} " if " " in asked else ""
        raise SentBack(
            "unsupported_response_type",
            f"The provided response_type {named}is not supported by the authorization server.",
        )

    def _challenge(self, client: OAuthClient, response_type: str, found: dict[str, list[str]]) -> str:
        """RFC 7636, 4.3 and 4.4.1; spec 02, D-02."""
        challenge, method = _one(found, "code_challenge"), _one(found, "code_challenge_method")
        if response_type != "code":
            return ""
        if not challenge and not method:
            if client.public or self._settings.require_pkce:
                raise SentBack("invalid_request", "This client needs a code_challenge (PKCE, S256).")
            return ""
        if method != "S256" or not is_challenge(challenge):
            raise SentBack("invalid_request", "The code_challenge must be one of the code_challenge_method S256.")
        return challenge

    # -- who asks --------------------------------------------------------------------------------------

    def _shown(self, exchange: Exchange) -> Principal | _Nobody | None:
        """Who the request itself says it is from; None where it says nothing."""
        user = exchange.user
        if user.name == ANONYMOUS.name:
            return None
        record = self._users.find(user.name)
        if record is None or record.state == DISABLED or record.deleting:
            return _NOBODY
        claims: Any = exchange.claims
        if claims is None:
            return Principal(record, self._clock.seconds())
        return Principal(record, float(claims.auth_time or claims.iat))

    async def _signed_in(self, exchange: Exchange) -> Principal | None:
        session = await self._browsers.find(exchange)
        record = self._users.find(session.user) if session is not None else None
        return None if session is None or record is None else Principal(record, session.auth_time)

    # -- the decision ----------------------------------------------------------------------------------

    async def decide(
        self,
        exchange: Exchange,
        request: AuthorizeRequest,
        client: OAuthClient,
        principal: Principal | _Nobody | None,
        *,
        handle: str = "",
        consented: bool = False,
    ) -> Response:
        """Answer ``request``: with a code, an error, or by sending the browser to a page first.

        ``handle`` is the request's, if it has waited already; ``consented`` that the user has just agreed.
        """
        try:
            if isinstance(principal, _Nobody) or client.grant_method == "deny":
                raise SentBack("access_denied", _DENIED)
            if not set(request.scopes) <= set(client.scopes):
                raise SentBack("invalid_scope", "The requested scope is invalid or not supported.")
            silent = "none" in request.prompt
            if principal is None or not self._fresh(request, principal):
                if silent:
                    raise SentBack("login_required", "Not authenticated.")
                return await self._to_sign_in(exchange, request, handle)
            if request.hint and request.hint != principal.user.name:
                if silent or principal.auth_time >= request.at:
                    raise SentBack("login_required", "Somebody else is signed in.")
                return await self._to_sign_in(exchange, request, handle)
            if not consented and await self._consent_needed(request, client, principal.user):
                if silent:
                    raise SentBack("interaction_required", _CONSENT)
                handle = handle or await self._keep(exchange, request)
                return go_on(exchange, self._site.at("/consent", resume=handle))
            if handle and await self._pending.take(handle) is None:
                # Somebody was quicker: a second window, or a second click.
                return self.expired(exchange)
            return await self._grant(exchange, request, client, principal)
        except SentBack as error:
            if handle:
                await self._pending.take(handle)
            fragment = request.response_type == "id_token"
            return self._send_back(exchange, request.redirect_uri, request.state, error, fragment)

    def _fresh(self, request: AuthorizeRequest, principal: Principal) -> bool:
        """Whether the user has signed in as lately as the client wants it (OpenID Connect Core, 3.1.2.1)."""
        if principal.auth_time >= request.at:
            return True
        if "login" in request.prompt or "select_account" in request.prompt:
            return False
        return request.max_age < 0 or self._clock.seconds() - principal.auth_time <= request.max_age

    async def _consent_needed(self, request: AuthorizeRequest, client: OAuthClient, user: UserRecord) -> bool:
        if "consent" in request.prompt:
            return True
        return client.grant_method == "prompt" and not await self._consents.given(user, client.name, request.scopes)

    async def _to_sign_in(self, exchange: Exchange, request: AuthorizeRequest, handle: str) -> Response:
        return go_on(exchange, self._site.sign_in(handle or await self._keep(exchange, request)))

    async def _keep(self, exchange: Exchange, request: AuthorizeRequest) -> str:
        try:
            return await self._pending.keep(request, exchange.client)
        except TooLarge:
            raise Refused("invalid_request", "The request is too large; its state or nonce is too long.") from None

    async def _grant(
        self, exchange: Exchange, request: AuthorizeRequest, client: OAuthClient, principal: Principal
    ) -> Response:
        if request.response_type == "id_token":
            token = self._id_tokens(client, principal.user, request, principal.auth_time)
            pairs = [("id_token", token), *_state(request.state), *self._issuer()]
            return go_on(exchange, with_parameters(request.redirect_uri, pairs, fragment=True))
        code = await self._codes.issue(
            CodeGrant(
                client=client.name,
                redirect_uri=request.redirect_uri if request.redirect_given else "",
                user=principal.user.name,
                scopes=request.scopes,
                nonce=request.nonce,
                challenge=request.challenge,
                auth_time=principal.auth_time,
            )
        )
        pairs = [("code", code), *_state(request.state), *self._issuer()]
        return go_on(exchange, with_parameters(request.redirect_uri, pairs))

    def deny(self, exchange: Exchange, request: AuthorizeRequest) -> Response:
        """The user has said no."""
        error = SentBack("access_denied", _DENIED)
        return self._send_back(exchange, request.redirect_uri, request.state, error, request.response_type != "code")

    def _send_back(
        self, exchange: Exchange, address: str, state: str | None, error: SentBack, fragment: bool
    ) -> Response:
        pairs = [("error", error.error), ("error_description", error.description), *_state(state), *self._issuer()]
        return go_on(exchange, with_parameters(address, pairs, fragment=fragment))

    def _issuer(self) -> list[tuple[str, str]]:
        """So that a client that knows several servers can tell whose answer this is (RFC 9207)."""
        return [("iss", self._site.issuer)] if self._site.issuer else []


class _Nobody:
    """A principal that cannot grant anything."""


_NOBODY = _Nobody()


def _one(found: dict[str, list[str]], name: str) -> str:
    values = found.get(name)
    return values[0] if values else ""


def _state(state: str | None) -> list[tuple[str, str]]:
    return [] if state is None else [("state", state)]


def _seconds(text: str) -> int:
    """A ``max_age``; -1 without."""
    if not text:
        return -1
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise SentBack("invalid_request", "The max_age must be a number of seconds.")
    return int(text)
