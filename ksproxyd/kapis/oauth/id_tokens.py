"""Id tokens: what a client is told of who has signed in (OpenID Connect Core, 2; spec 02, 2.2)."""

from __future__ import annotations

from ksproxyd.authn.clients import OAuthClient
from ksproxyd.authn.tokens.service import Tokens
from ksproxyd.authn.user_record import UserRecord
from ksproxyd.kapis.oauth.user_claims import OPENID, user_claims


class IdTokens:
    """``url``: whether the user's name is there as ``url``, too (``compat.urlClaim``)."""

    def __init__(self, tokens: Tokens, *, url: bool) -> None:
        self._tokens = tokens
        self._url = url

    def make(
        self,
        client: OAuthClient,
        user: UserRecord,
        scopes: tuple[str, ...],
        *,
        auth_time: float,
        nonce: str = "",
        access_token: str = "",
        session: str = "",
    ) -> str:
        """The id token of ``user`` for ``client``; empty if ``scopes`` do not ask for one.

        It lives as long as a refresh token does at first. Raises
        :class:`~ksproxyd.authn.rejection.SharedUnavailable` as long as the key that signs is not known.
        """
        if OPENID not in scopes:
            return ""
        return self._tokens.id_token(
            subject=user.name,
            client=client.name,
            claims=user_claims(user, scopes, url=self._url),
            nonce=nonce,
            access_token=access_token,
            auth_time=auth_time,
            scopes=scopes,
            lifetime=sum(client.lifetimes or self._tokens.lifetimes),
            session=session,
        )
