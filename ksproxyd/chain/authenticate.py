"""Third step: who the request is from (spec 02, 1). Afterwards ``exchange.user`` is settled.

What was shown goes no further than it has to: a password never leaves the gateway, a token goes where Kubernetes'
``Authorization`` does (:mod:`ksproxyd.upstream.plan` decides which backends that are), and every field that names an
identity is dropped by :mod:`ksproxyd.upstream.headers` whatever was shown.
"""

from __future__ import annotations

from typing import Protocol

from ksproxyd.authn.authenticator import Authenticator
from ksproxyd.authn.credentials import BadSubprotocol, Basic, TwoTokens, read, websocket_token
from ksproxyd.authn.rejection import INVALID, MALFORMED, Rejected, SharedUnavailable, credentials_required
from ksproxyd.authn.tokens.claims import Claims
from ksproxyd.authn.tried import tried
from ksproxyd.chain import Outcome, Step
from ksproxyd.model.identity import ANONYMOUS, Identity
from ksproxyd.model.status import StatusError, bad_request
from ksproxyd.server.exchange import Exchange
from ksproxyd.terminal.ticket import BadOffer, ticket_of

#: Endpoints at which ``Authorization`` is a client's (RFC 6749, 2.3.1) or may be out of date (spec 02, D-17 and D-06):
#: their handlers read it themselves.
OWN_CREDENTIALS = frozenset(
    ["/oauth/token", "/oauth/revoke", "/oauth/introspect", "/oauth/device_authorization", "/oauth/logout"]
)


class Redeemed(Protocol):
    """Whose ticket it was (:class:`ksproxyd.kapis.terminal.tickets.Redeemed`)."""

    @property
    def user(self) -> Identity: ...

    @property
    def claims(self) -> Claims | None: ...

    @property
    def certificate(self) -> bool: ...

    @property
    def browser(self) -> str: ...


class Tickets(Protocol):
    """The part of :class:`ksproxyd.kapis.terminal.tickets.Tickets` that is needed here."""

    async def redeem(self, exchange: Exchange, ticket: str) -> Redeemed: ...


def authenticate_step(authenticator: Authenticator, anonymous: bool, tickets: Tickets | None = None) -> Step:
    """The step. Without ``anonymous`` a request that shows nothing is a 401, except where people log in.

    ``tickets`` knows those of terminals; None: none are taken.
    """
    known = authenticator.known

    def authenticate(exchange: Exchange) -> Outcome:
        header = exchange.fields.get(b"authorization")
        if exchange.upgrade is not None:
            ticket = take_ticket(exchange) if header is None and tickets is not None else ""
            if ticket:
                return with_ticket(exchange, ticket)
            # Also where another one counts: no backend is to see it.
            offered = take_subprotocol(exchange)
            if header is None:
                header = offered
        elif header is None and anonymous and exchange.connection.certificate is None:
            # An exchange is nobody's until somebody is found.
            return None
        if header is None or not header.strip():
            nothing_shown(exchange)
            return None
        entry = known(header)
        if entry is not None:
            exchange.user = entry.identity
            exchange.claims = entry.claims
            return None
        if exchange.info.path.rstrip("/") in OWN_CREDENTIALS:
            return None
        if len(exchange.fields.all(b"authorization")) > 1:
            raise bad_request("the request has more than one Authorization field; send one")
        return shown(exchange, header)

    def nothing_shown(exchange: Exchange) -> None:
        certificate = exchange.connection.certificate
        if certificate is not None:
            exchange.user = authenticator.by_certificate(certificate)
        elif anonymous or exchange.info.path.startswith(PUBLIC):
            exchange.user = ANONYMOUS
        else:
            raise credentials_required(authenticator.rules.basic)

    async def shown(exchange: Exchange, header: bytes) -> None:
        agent = (exchange.fields.get(b"user-agent") or b"").decode("utf-8", "replace")
        try:
            found = await authenticator.by_header(header, exchange.client, agent)
        except StatusError:
            credential = read(header)
            if isinstance(credential, Basic):
                exchange.note(tried(credential.username))
            raise
        exchange.user = found.identity
        exchange.claims = found.claims
        if found.password:
            exchange.fields.remove(b"authorization")

    async def with_ticket(exchange: Exchange, ticket: str) -> None:
        assert tickets is not None
        found = await tickets.redeem(exchange, ticket)
        try:
            user = await authenticator.standing(found.user, found.claims, found.certificate)
        except SharedUnavailable as error:
            raise error.error() from None
        if user is None:
            raise Rejected(INVALID, "the login that the ticket was for has ended", token=False).error()
        exchange.user = user
        exchange.claims = found.claims
        exchange.browser_session = found.browser

    return authenticate


#: Where anonymous requests are always let in: health, and everything that leads to a login.
PUBLIC = ("/oauth/", "/terminal", "/.well-known/", "/healthz", "/livez", "/readyz", "/version")


def take_subprotocol(exchange: Exchange) -> bytes | None:
    """A token that a WebSocket client offers as a subprotocol is taken away; returned is the ``Authorization`` for it.

    A client that shows none otherwise has this one then. Raises the error for what cannot be served: the 401 for two
    tokens, the 400 otherwise.
    """
    offered = exchange.fields.get(b"sec-websocket-protocol")
    if offered is None or exchange.upgrade is None or exchange.upgrade.lower() != b"websocket":
        return None
    try:
        found = websocket_token(offered)
    except TwoTokens as error:
        raise Rejected(MALFORMED, str(error)).error() from None
    except BadSubprotocol as error:
        raise bad_request(str(error)) from None
    if found is None:
        return None
    token, others = found
    exchange.fields.replace(b"Sec-WebSocket-Protocol", others)
    header = b"Bearer " + token.encode("ascii")
    if exchange.fields.get(b"authorization") is None:
        exchange.fields.add(b"Authorization", header)
    return header


def take_ticket(exchange: Exchange) -> str:
    """The ticket that a WebSocket client offers as a subprotocol, which nobody sees any more; empty without.

    Raises the 400 for one that is offered in a way that cannot be served.
    """
    offered = exchange.fields.get(b"sec-websocket-protocol")
    if offered is None or exchange.upgrade is None or exchange.upgrade.lower() != b"websocket":
        return ""
    try:
        found = ticket_of(offered)
    except BadOffer as error:
        raise bad_request(str(error)) from None
    if found is None:
        return ""
    ticket, others = found
    exchange.fields.replace(b"Sec-WebSocket-Protocol", others)
    return ticket
