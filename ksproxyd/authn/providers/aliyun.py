"""Alibaba Cloud IDaaS (spec 02, 4.4)."""

from __future__ import annotations

from collections.abc import Mapping

from ksproxyd.authn.providers.code_login import CodeLogin
from ksproxyd.authn.providers.configuration import Configuration
from ksproxyd.authn.providers.means import Means
from ksproxyd.authn.providers.oauth2 import described, text_of
from ksproxyd.authn.providers.options import Options
from ksproxyd.authn.providers.provider import External, ProviderError
from ksproxyd.authn.providers.web import WebAnswer


class AliyunProvider(CodeLogin):
    """``type: AliyunIDaaSProvider``."""

    SCOPES = ("read",)

    def __init__(self, configuration: Configuration, options: Options, means: Means) -> None:
        super().__init__(configuration, options, means)
        self._trust_email = options.flag("trustEmail")

    async def external(self, answer: WebAnswer, headers: Mapping[str, str]) -> External:
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
