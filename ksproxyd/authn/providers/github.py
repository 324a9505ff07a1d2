"""GitHub, and servers that speak like it (spec 02, 4.4 and D-14).

The identifier is the number of the account: a login can be given up, and taken by somebody else. An e-mail address is
one that GitHub has verified, and comes from the list of addresses, which needs the scope ``user:email``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec

from ksproxyd.authn.providers.configuration import Configuration
from ksproxyd.authn.providers.means import Means
from ksproxyd.authn.providers.oauth2 import POST, OAuth2, bearer, described, text_of
from ksproxyd.authn.providers.options import Options
from ksproxyd.authn.providers.provider import External, Flow, ProviderError, Step
from ksproxyd.authn.providers.sign_in_page import checked_redirect
from ksproxyd.authn.providers.trust import Trust

_AUTHORIZE = "https://github.com/login/oauth/authorize"
_TOKEN = "https://github.com/login/oauth/access_token"
_USER = "https://api.github.com/user"
_API = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}


class GitHubProvider:
    """``type: GitHubIdentityProvider``."""

    def __init__(self, configuration: Configuration, options: Options, means: Means) -> None:
        self.configuration = configuration
        self._web = means.web
        roots = options.certificates("rootCA", "rootCAData")
        self._trust = Trust(roots, options.flag("insecureSkipVerify"))
        endpoint = options.part("endpoint")
        self._authorize = endpoint.url("authURL", http=means.http) or _AUTHORIZE
        self._token = endpoint.url("tokenURL", http=means.http) or _TOKEN
        self._user = endpoint.url("userInfoURL", http=means.http) or _USER
        callback = means.callback(configuration.name)
        self._client = OAuth2(options, means.web, self._trust, callback, auth=POST)
        self._scopes = options.texts("scopes", ("read:user", "user:email"))

    def close(self) -> None:
        """Nothing goes on here between two sign-ins."""

    @property
    def redirect_uri(self) -> str:
        """Where browsers come back to."""
        return self._client.redirect_uri

    async def begin(self, flow: Flow) -> str:
        return self._client.address(self._authorize, flow, self._scopes)

    async def finish(self, parameters: Mapping[str, str], flow: Flow) -> External:
        token = await self._client.exchange(self._token, parameters, flow)
        headers = {**_API, **bearer(token)}
        answer = await self._web.get(self._user, self._trust, headers)
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

    async def walk(self, username: str, password: str) -> AsyncIterator[Step]:
        try:
            answer = await self._web.get(self._user, self._trust, _API)
        except ProviderError as error:
            advice = "Check endpoint.userInfoURL, the network between here and there, and rootCAData."
            yield Step("connect", False, error.message, advice)
            return
        yield Step("connect", True, f"{self._user} answers ({answer.status} without a sign-in)")
        yield checked_redirect(self.configuration.name, self.redirect_uri)
