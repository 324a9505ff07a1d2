"""GitHub, and servers that speak like it (spec 02, 4.4 and D-14).

The identifier is the number of the account: a login can be given up, and taken by somebody else. An e-mail address is
one that GitHub has verified, and comes from the list of addresses, which needs the scope ``user:email``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ksproxyd.authn.providers.code_login import CodeLogin
from ksproxyd.authn.providers.oauth2 import POST, described, text_of
from ksproxyd.authn.providers.provider import External, ProviderError
from ksproxyd.authn.providers.web import WebAnswer


class GitHubProvider(CodeLogin):
    """``type: GitHubIdentityProvider``."""

    AUTHORIZE = "https://github.com/login/oauth/authorize"
    TOKEN = "https://github.com/login/oauth/access_token"
    USER = "https://api.github.com/user"
    SCOPES = ("read:user", "user:email")
    AUTH = POST
    FIELDS = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}

    async def external(self, answer: WebAnswer, headers: Mapping[str, str]) -> External:
        user = answer.json("the user's address")
        if answer.status != 200:
            kind = "credentials" if answer.status in (401, 403) else "unavailable"
            said = described(user)
            raise ProviderError(kind, f"{self._user} answered {answer.status}: {said}")  # type: ignore[arg-type]
        number = user.get("id")
        if not isinstance(number, int) or isinstance(number, bool) or number <= 0:
            raise ProviderError("answer", f"{self._user} gives the user no number (id)")
        return External(
            uid=str(number),
            username=text_of(user, "login"),
            email=(email := await self._verified_email(headers)),
            email_verified=bool(email),
            display_name=text_of(user, "name"),
        )

    async def _verified_email(self, headers: Mapping[str, str]) -> str:
        """The primary address, if GitHub has verified it; empty if it is not, or may not be known."""
        answer = await self._web.get(self._user.rstrip("/") + "/emails", self._trust, headers)
        if answer.status != 200:
            # Without the scope user:email; nobody is kept out for that.
            return ""
        try:
            listed: Any = msgspec.json.decode(answer.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise ProviderError("answer", "the list of e-mail addresses is not JSON") from None
        for entry in listed if isinstance(listed, list) else ():
            if isinstance(entry, dict) and entry.get("primary") is True and entry.get("verified") is True:
                return text_of(entry, "email")
        return ""
