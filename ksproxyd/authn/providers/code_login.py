"""Providers that are three addresses: people sign in at one, and come back with a code that is worth a token at the
second, which tells at the third who they are (RFC 6749, 4.1).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from typing import ClassVar

from ksproxyd.authn.providers.configuration import Configuration
from ksproxyd.authn.providers.means import Means
from ksproxyd.authn.providers.oauth2 import AUTO, OAuth2, bearer
from ksproxyd.authn.providers.options import Options
from ksproxyd.authn.providers.provider import External, Flow, ProviderError, Step
from ksproxyd.authn.providers.sign_in_page import checked_redirect
from ksproxyd.authn.providers.trust import Trust
from ksproxyd.authn.providers.web import WebAnswer


class CodeLogin(ABC):
    """What such providers have in common; each says how its answer is to be read."""

    #: ``authURL``, ``tokenURL`` and ``userInfoURL`` where the configuration does not say; empty: it has to.
    AUTHORIZE: ClassVar[str] = ""
    TOKEN: ClassVar[str] = ""
    USER: ClassVar[str] = ""
    #: What is asked for where the configuration does not say.
    SCOPES: ClassVar[tuple[str, ...]]
    #: How we say at the second address who we are.
    AUTH: ClassVar[str] = AUTO
    #: Header fields for the third.
    FIELDS: ClassVar[Mapping[str, str]] = {}

    def __init__(self, configuration: Configuration, options: Options, means: Means) -> None:
        self.configuration = configuration
        self._web = means.web
        roots = options.certificates("rootCA", "rootCAData")
        self._trust = Trust(roots, options.flag("insecureSkipVerify"))
        endpoint = options.part("endpoint")
        self._authorize = endpoint.url("authURL", self.AUTHORIZE, http=means.http, required=not self.AUTHORIZE)
        self._token = endpoint.url("tokenURL", self.TOKEN, http=means.http, required=not self.TOKEN)
        self._user = endpoint.url("userInfoURL", self.USER, http=means.http, required=not self.USER)
        callback = means.callback(configuration.name)
        self._client = OAuth2(options, means.web, self._trust, callback, auth=self.AUTH)
        self._scopes = options.texts("scopes", self.SCOPES)

    @abstractmethod
    async def external(self, answer: WebAnswer, headers: Mapping[str, str]) -> External:
        """Who it is, by the answer of the third address; ``headers`` have the token. Raises :class:`ProviderError`."""

    def close(self) -> None:  # noqa: B027 - nothing to do here is the rule
        """Nothing goes on here between two sign-ins."""

    @property
    def redirect_uri(self) -> str:
        """Where browsers come back to."""
        return self._client.redirect_uri

    async def begin(self, flow: Flow) -> str:
        return self._client.address(self._authorize, flow, self._scopes)

    async def finish(self, parameters: Mapping[str, str], flow: Flow) -> External:
        headers = {**self.FIELDS, **bearer(await self._client.exchange(self._token, parameters, flow))}
        return await self.external(await self._web.get(self._user, self._trust, headers), headers)

    async def walk(self, username: str, password: str) -> AsyncIterator[Step]:
        try:
            answer = await self._web.get(self._user, self._trust, self.FIELDS)
        except ProviderError as error:
            advice = "Check endpoint.userInfoURL, the network between here and there, and rootCAData."
            yield Step("connect", False, error.message, advice)
            return
        yield Step("connect", True, f"{self._user} answers ({answer.status} without a sign-in)")
        yield checked_redirect(self.configuration.name, self.redirect_uri)
