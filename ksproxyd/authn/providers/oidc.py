"""OpenID Connect: any provider with a discovery document, or with its end points and keys configured.

Nothing is asked before somebody signs in (spec 02, D-40). The document and the keys are kept for an hour; keys that an
id_token names and we do not know are fetched at once, though not more often than every :data:`KEY_INTERVAL` seconds.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec

from ksproxyd.authn.providers.configuration import Configuration
from ksproxyd.authn.providers.id_token import (
    ALGORITHMS,
    NoSuchKey,
    check_access_token,
    check_claims,
    signed_claims,
)
from ksproxyd.authn.providers.kept import Kept
from ksproxyd.authn.providers.means import Means
from ksproxyd.authn.providers.oauth2 import OAuth2, bearer, text_of
from ksproxyd.authn.providers.options import Options, problem_of_url
from ksproxyd.authn.providers.provider import External, Flow, ProviderError, Step
from ksproxyd.authn.providers.sign_in_page import checked_redirect
from ksproxyd.authn.providers.trust import Trust
from ksproxyd.authn.tokens.jws import JWKSet, UnusableKey

#: How long a discovery document and keys are used without asking again, in seconds.
FRESH = 3600.0
#: Least time between two looks at the keys because of an unknown one, in seconds.
KEY_INTERVAL = 10.0
#: How far the clock of a provider may differ by default, and at most, in seconds.
CLOCK_SKEW, MOST_SKEW = 300, 900


class Metadata(msgspec.Struct, frozen=True):
    """What we know of a provider (OpenID Connect Discovery, 3). ``issuer`` is empty where it is not configured."""

    issuer: str
    authorization: str
    token: str
    userinfo: str
    keys: str
    end_session: str = ""
    auth_methods: tuple[str, ...] | None = None
    algorithms: frozenset[str] = ALGORITHMS
    #: The provider announces that its answers name it (RFC 9207).
    names_itself: bool = False


class OIDCProvider:
    """``type: OIDCIdentityProvider``."""

    def __init__(self, configuration: Configuration, options: Options, means: Means) -> None:
        self.configuration = configuration
        self._web = means.web
        self._clock = means.reactor
        self._http = means.http
        http = means.http
        roots = options.certificates("rootCA", "rootCAData")
        self._trust = Trust(roots, options.flag("insecureSkipVerify"))
        self._client = OAuth2(options, means.web, self._trust, means.callback(configuration.name))
        self._issuer = options.url("issuer", http=http)
        endpoint = options.part("endpoint")
        configured = Metadata(
            issuer="",
            authorization=endpoint.url("authURL", http=http),
            token=endpoint.url("tokenURL", http=http),
            userinfo=endpoint.url("userInfoURL", http=http),
            keys=endpoint.url("jwksURL", http=http),
            end_session=endpoint.url("endSessionURL", http=http),
        )
        if not self._issuer:
            if not configured.keys:
                options.wrong("issuer", "is required, unless endpoint.jwksURL says which keys sign id_tokens")
            for key, value in (("authURL", configured.authorization), ("tokenURL", configured.token)):
                if not value:
                    endpoint.wrong(key, "is required where there is no issuer")
        self._configured = configured
        given = options.texts("scopes")
        # ks-apiserver sends openid alone where it is in the list already.
        self._scopes = tuple(dict.fromkeys(("openid", *given)))
        self._userinfo = options.flag("getUserInfo")
        if self._userinfo and not self._issuer and not configured.userinfo:
            endpoint.wrong("userInfoURL", "is required with getUserInfo where there is no issuer")
        self._email_key = options.text("emailKey") or "email"
        self._username_key = options.text("preferredUsernameKey") or "preferred_username"
        self._skew = float(options.whole("clockSkew", CLOCK_SKEW, 0, MOST_SKEW))
        self._trust_email = options.flag("trustEmail")
        options.passed_over("postLogoutRedirectURI")
        title = f"provider {configuration.name}"
        self._metadata = Kept[Metadata](self._clock, f"the discovery document of {title}", self._discover, FRESH)
        self._keys = Kept[JWKSet](self._clock, f"the keys of {title}", self._fetch_keys, FRESH)

    def close(self) -> None:
        self._metadata.close()
        self._keys.close()

    # -- signing in ------------------------------------------------------------------------------------

    async def begin(self, flow: Flow) -> str:
        metadata = await self.metadata()
        return self._client.address(metadata.authorization, flow, self._scopes, nonce=flow.nonce)

    async def finish(self, parameters: Mapping[str, str], flow: Flow) -> External:
        metadata = await self.metadata()
        self._check_sender(metadata, parameters)
        answer = await self._client.exchange(metadata.token, parameters, flow, methods=metadata.auth_methods)
        id_token = answer.get("id_token")
        if not isinstance(id_token, str) or not id_token:
            raise ProviderError("answer", "the token endpoint's answer has no id_token")
        algorithm, claims = await self._verified(id_token, metadata)
        subject = check_claims(
            claims,
            issuer=metadata.issuer,
            client_id=self._client.client_id,
            nonce=flow.nonce,
            now=self._clock.seconds(),
            skew=self._skew,
        )
        check_access_token(claims, algorithm, answer["access_token"])
        if self._userinfo:
            claims = {**claims, **await self._user_info(metadata, answer, subject)}
        return self._external(subject, claims)

    @property
    def redirect_uri(self) -> str:
        """Where browsers come back to."""
        return self._client.redirect_uri

    async def metadata(self) -> Metadata:
        """What is known of the provider. Raises :class:`ProviderError`."""
        return await self._metadata.get() if self._issuer else self._configured

    def _check_sender(self, metadata: Metadata, parameters: Mapping[str, str]) -> None:
        """RFC 9207, 2.4: an answer from another provider than the browser was sent to (mix-up)."""
        given = parameters.get("iss", "")
        if not given and metadata.names_itself:
            raise ProviderError("answer", "the answer does not say which provider it is from (iss), as announced")
        if given and metadata.issuer and given != metadata.issuer:
            raise ProviderError("answer", f"the answer is from {given[:100]!r} (iss), not from {metadata.issuer!r}")

    async def _verified(self, token: str, metadata: Metadata) -> tuple[str, dict[str, Any]]:
        keys = await self._keys.get()
        try:
            return signed_claims(token, keys, metadata.algorithms)
        except NoSuchKey as error:
            newer = await self._keys.newer(KEY_INTERVAL)
            if newer is None:
                raise ProviderError("answer", f"the id_token is not accepted: {error}") from None
        try:
            return signed_claims(token, newer, metadata.algorithms)
        except NoSuchKey as error:
            raise ProviderError("answer", f"the id_token is not accepted: {error}") from None

    async def _user_info(self, metadata: Metadata, answer: dict[str, Any], subject: str) -> dict[str, Any]:
        if not metadata.userinfo:
            raise ProviderError("answer", "getUserInfo is set, but the provider has no userinfo endpoint")
        found = await self._web.get(metadata.userinfo, self._trust, bearer(answer))
        if found.status != 200:
            raise ProviderError("unavailable", f"the userinfo endpoint answered {found.status}")
        claims = found.json("the userinfo endpoint")
        # OpenID Connect Core, 5.3.2: it must be about the same person.
        if claims.get("sub") != subject:
            raise ProviderError("answer", "userinfo is about somebody else than the id_token (sub)")
        return claims

    def _external(self, subject: str, claims: dict[str, Any]) -> External:
        email = text_of(claims, self._email_key)
        # It vouches for the claim email, not for one of the operator's own choice. Some providers write a text.
        verified = claims.get("email_verified") in (True, "true") and email == claims.get("email")
        return External(
            uid=subject,
            username=text_of(claims, self._username_key) or text_of(claims, "name"),
            email=email,
            email_verified=verified or self._trust_email,
            display_name=text_of(claims, "name"),
        )

    # -- what is fetched -------------------------------------------------------------------------------

    async def _discover(self) -> Metadata:
        url = self._issuer.rstrip("/") + "/.well-known/openid-configuration"
        answer = await self._web.get(url, self._trust)
        if answer.status != 200:
            raise ProviderError("unavailable", f"{url} answered {answer.status}")
        document = answer.json(url)
        if document.get("issuer") != self._issuer:
            raise ProviderError(
                "answer",
                f"the provider calls itself {str(document.get('issuer'))[:100]!r}, which is not the issuer "
                f"{self._issuer!r} that is configured; they must be the same to the last slash",
            )
        return read_metadata(document, http=self._http)

    async def _fetch_keys(self) -> JWKSet:
        url = (await self.metadata()).keys
        answer = await self._web.get(url, self._trust)
        if answer.status != 200:
            raise ProviderError("unavailable", f"the keys at {url} were answered with {answer.status}")
        try:
            keys = JWKSet.read(answer.json(url))
        except UnusableKey as error:
            raise ProviderError("answer", f"the keys at {url} cannot be used: {error}") from None
        if not len(keys):
            raise ProviderError("answer", f"there is no usable key at {url}")
        return keys

    # -- checking --------------------------------------------------------------------------------------

    async def walk(self, username: str, password: str) -> AsyncIterator[Step]:
        try:
            metadata = await self.metadata()
        except ProviderError as error:
            advice = "Check issuer, the network between here and there, and rootCAData for a private authority."
            yield Step("discover", False, error.message, advice)
            return
        where = "from its discovery document" if self._issuer else "as configured"
        yield Step("discover", True, f"end points {where}; authorization at {metadata.authorization}")
        try:
            keys = await self._keys.get()
        except ProviderError as error:
            yield Step("keys", False, error.message, "Check jwks_uri (endpoint.jwksURL).")
            return
        yield Step("keys", True, f"{len(keys)} that can verify id_tokens")
        yield checked_redirect(self.configuration.name, self.redirect_uri)


def read_metadata(document: Mapping[str, Any], *, http: bool) -> Metadata:
    """The part of a discovery document that is used. Raises :class:`ProviderError`."""

    def url(key: str, required: bool = True) -> str:
        value = document.get(key)
        if value is None and not required:
            return ""
        problem = problem_of_url(value, http=http) if isinstance(value, str) else "is missing"
        if problem:
            raise ProviderError("answer", f"the discovery document's {key} {problem}")
        return str(value)

    def texts(key: str) -> tuple[str, ...] | None:
        value = document.get(key)
        return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else None

    algorithms = texts("id_token_signing_alg_values_supported")
    usable = ALGORITHMS if algorithms is None else ALGORITHMS.intersection(algorithms)
    if not usable:
        raise ProviderError("answer", f"the provider signs id_tokens with none of {', '.join(sorted(ALGORITHMS))}")
    return Metadata(
        issuer=str(document["issuer"]),
        authorization=url("authorization_endpoint"),
        token=url("token_endpoint"),
        userinfo=url("userinfo_endpoint", required=False),
        keys=url("jwks_uri"),
        end_session=url("end_session_endpoint", required=False),
        auth_methods=texts("token_endpoint_auth_methods_supported"),
        algorithms=usable,
        names_itself=document.get("authorization_response_iss_parameter_supported") is True,
    )
