"""Alibaba Cloud IDaaS (spec 02, 4.4)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from ksproxyd.authn.providers.configuration import Configuration
from ksproxyd.authn.providers.means import Means
from ksproxyd.authn.providers.oauth2 import OAuth2, bearer, described, text_of
from ksproxyd.authn.providers.options import Options
from ksproxyd.authn.providers.provider import External, Flow, ProviderError, Step
from ksproxyd.authn.providers.sign_in_page import checked_redirect
from ksproxyd.authn.providers.trust import Trust


class AliyunProvider:
    """``type: AliyunIDaaSProvider``."""

    def __init__(self, configuration: Configuration, options: Options, means: Means) -> None:
        self.configuration = configuration
        self._web = means.web
        roots = options.certificates("rootCA", "rootCAData")
        self._trust = Trust(roots, options.flag("insecureSkipVerify"))
        endpoint = options.part("endpoint")
        self._authorize = endpoint.url("authURL", http=means.http, required=True)
        self._token = endpoint.url("tokenURL", http=means.http, required=True)
        self._user = endpoint.url("userInfoURL", http=means.http, required=True)
        callback = means.callback(configuration.name)
        self._client = OAuth2(options, means.web, self._trust, callback)
        self._scopes = options.texts("scopes", ("read",))
        self._trust_email = options.flag("trustEmail")

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
        answer = await self._web.get(self._user, self._trust, bearer(token))
        found = answer.json("the userinfo endpoint")
        if answer.status != 200 or found.get("success") is not True:
            raise ProviderError("unavailable", f"userinfo was answered with {answer.status}: {described(found)}")
        data = found.get("data")
        if not isinstance(data, dict):
            raise ProviderError("answer", "the userinfo endpoint's answer has no data")
        return External(
            uid=text_of(data, "sub"),
            username=text_of(data, "username"),
            email=text_of(data, "email"),
            email_verified=self._trust_email or data.get("email_verified") is True,
            display_name=text_of(data, "nickname"),
        )

    async def walk(self, username: str, password: str) -> AsyncIterator[Step]:
        try:
            answer = await self._web.get(self._user, self._trust)
        except ProviderError as error:
            advice = "Check endpoint.userInfoURL, the network between here and there, and rootCAData."
            yield Step("connect", False, error.message, advice)
            return
        yield Step("connect", True, f"{self._user} answers ({answer.status} without a sign-in)")
        yield checked_redirect(self.configuration.name, self.redirect_uri)
