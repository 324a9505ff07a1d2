"""POST ``/oauth/token`` (RFC 6749, 3.2; spec 02, 3.7)."""

from __future__ import annotations

from typing import Any

from ksproxyd.authn.login import Attempt
from ksproxyd.authn.rejection import SharedUnavailable
from ksproxyd.authn.tried import tried
from ksproxyd.authn.turnstile import Turnstile
from ksproxyd.kapis.bodies import FORM_LIMIT, NO_STORE
from ksproxyd.kapis.oauth.client_auth import ClientAuthentication, Form
from ksproxyd.kapis.oauth.errors import OAuthError, for_programs, invalid_request
from ksproxyd.kapis.oauth.grants import DEVICE_CODE, Granted, Grants
from ksproxyd.kapis.router import Handler
from ksproxyd.model.message import Response
from ksproxyd.server.exchange import Exchange

#: What the discovery document names. The password grant is there for who knows of it (spec 02, 3.2).
ADVERTISED = ("authorization_code", "refresh_token", DEVICE_CODE)


#: In a form of somebody who logs in with a password, and with one that an identity provider checks.
_BY_PASSWORD, _BY_PROVIDER = b"grant_type=password", b"provider="


class TokenEndpoint:
    """Finds out which client asks and what for, and hands out what :class:`Grants` gives: one a turn."""

    def __init__(self, authentication: ClientAuthentication, grants: Grants, turnstile: Turnstile) -> None:
        self._authentication = authentication
        self._grants = grants
        self._turnstile = turnstile
        self.post: Handler = for_programs(self._post)

    async def _post(self, exchange: Exchange) -> Response:
        await self._turnstile.turn()
        await self._thin_out(exchange)
        form = await self._authentication.read(exchange)
        return Response.json(200, _answer(await self._granted(exchange, form)), NO_STORE)

    async def _thin_out(self, exchange: Exchange) -> None:
        """Turn a crowd away before anything is made of its forms, which is most of what that costs.

        Who comes with something else than a password of ours is not meant; nor is anybody who looks like it.
        """
        if not self._grants.full:
            return
        body = await exchange.read_body(FORM_LIMIT)
        if _BY_PASSWORD in body and _BY_PROVIDER not in body:
            raise self._grants.turn_away()
        exchange.replace_body(body)

    async def _granted(self, exchange: Exchange, form: Form) -> Granted:
        kind = form.get("grant_type")
        if kind == "password":
            try:
                return await self._grants.password(form, attempt(exchange))
            except (OAuthError, SharedUnavailable):
                exchange.note(tried(form.get("username"), form.get("provider")))
                raise
        if kind == "refresh_token":
            return await self._grants.refresh(form)
        if kind in ("authorization_code", "code"):
            return await self._grants.code(form)
        if kind == DEVICE_CODE:
            return await self._grants.device(form)
        if not kind:
            raise invalid_request("The parameter grant_type is missing.")
        raise OAuthError(400, "unsupported_grant_type", "The provided grant_type is not supported.")


def attempt(exchange: Exchange) -> Attempt:
    """Where a login comes from."""
    agent = exchange.fields.get(b"user-agent") or b""
    return Attempt(exchange.client, agent.decode("utf-8", "replace"))


def _answer(granted: Granted) -> dict[str, Any]:
    """RFC 6749, 5.1; OpenID Connect Core, 3.1.3.3. What does not apply is left out."""
    issued = granted.issued
    answer: dict[str, Any] = {
        "access_token": issued.access_token,
        "token_type": "Bearer",
        "refresh_token": issued.refresh_token,
    }
    if granted.id_token:
        answer["id_token"] = granted.id_token
    if issued.expires_in:
        answer["expires_in"] = issued.expires_in
    if granted.scope:
        answer["scope"] = granted.scope
    return answer
