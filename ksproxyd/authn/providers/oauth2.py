"""The part of an OAuth 2 client that every provider with a sign-in page of its own needs (RFC 6749, RFC 7636)."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

from ksproxyd.authn.providers.options import Options
from ksproxyd.authn.providers.provider import Flow, ProviderError
from ksproxyd.authn.providers.trust import Trust
from ksproxyd.authn.providers.web import Web, WebAnswer

BASIC, POST, AUTO = "client_secret_basic", "client_secret_post", "auto"

#: Longest code that is passed on, in characters.
_LONGEST_CODE = 4096

#: RFC 6749, 5.2: these say that the code is not good; the others that the client is not, or the server.
_BAD_CODE = frozenset({"invalid_grant", "bad_verification_code"})


class OAuth2:
    """A client of one provider. Reads ``clientID``, ``clientSecret``, ``redirectURL`` and ``clientAuth``."""

    def __init__(self, options: Options, web: Web, trust: Trust, callback: str, *, auth: str = AUTO) -> None:
        self.client_id = options.text("clientID", required=True)
        self._secret = options.text("clientSecret")
        self._auth = options.choice("clientAuth", auth, (AUTO, BASIC, POST))
        # The address of the console's own page, say, may be without TLS behind whatever there is.
        self.redirect_uri = options.url("redirectURL", callback, http=True)
        if not self.redirect_uri:
            options.wrong("redirectURL", "is required while authentication.issuer.url is empty")
        self._web = web
        self._trust = trust
        #: What the server has accepted, where it was found out.
        self._found = ""

    def __repr__(self) -> str:
        return f"<OAuth2 {self.client_id}>"

    def address(self, endpoint: str, flow: Flow, scopes: Iterable[str], **more: str) -> str:
        """Where the browser is sent: the authorization endpoint with a request (RFC 6749, 4.1.1; RFC 7636, 4.3)."""
        query = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": flow.redirect_uri or self.redirect_uri,
            "scope": " ".join(scopes),
            "state": flow.state,
            **more,
        }
        if flow.verifier:
            query |= {"code_challenge": challenge_of(flow.verifier), "code_challenge_method": "S256"}
        return with_query(endpoint, {key: value for key, value in query.items() if value})

    async def exchange(
        self, endpoint: str, parameters: Mapping[str, str], flow: Flow, *, methods: tuple[str, ...] | None = None
    ) -> dict[str, Any]:
        """The token answer for the code in ``parameters`` (RFC 6749, 4.1.3). Raises :class:`ProviderError`.

        ``methods`` are the ways of client authentication that the provider announces, if it does.
        """
        code = parameters.get("code", "")
        if not code or len(code) > _LONGEST_CODE:
            raise ProviderError("credentials", "there is no usable code among the callback's parameters")
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": flow.redirect_uri or self.redirect_uri,
        }
        if flow.verifier:
            form["code_verifier"] = flow.verifier
        for method in self._methods(methods):
            answer = await self._web.post(endpoint, self._trust, *self._authenticated(form, method))
            found = answer.json("the token endpoint")
            error = found.get("error")
            if answer.status in (400, 401) and error in ("invalid_client", None) and method == BASIC:
                # Some servers know one way only and do not say which. The code has not been looked at.
                continue
            self._check(answer, found)
            self._found = method
            return found
        self._check(answer, found)
        raise AssertionError("an answer that is tried again is a failure")

    def _check(self, answer: WebAnswer, found: dict[str, Any]) -> None:
        error = found.get("error")
        if error:
            name = str(error)[:80]
            kind = "credentials" if name in _BAD_CODE else "unavailable"
            raise ProviderError(kind, f"the token endpoint says {name!r}: {described(found)}")  # type: ignore[arg-type]
        if answer.status != 200:
            raise ProviderError("unavailable", f"the token endpoint answered {answer.status}")
        token = found.get("access_token")
        if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
            raise ProviderError("answer", "the token endpoint's answer has no access_token")

    def _methods(self, announced: tuple[str, ...] | None) -> tuple[str, ...]:
        if not self._secret:
            return (POST,)
        if self._auth != AUTO:
            return (self._auth,)
        if self._found:
            return (self._found,)
        if announced is not None:
            # OpenID Connect Discovery, 3: without a word, it is Basic.
            return (BASIC,) if BASIC in announced or not announced else (POST,)
        return (BASIC, POST)

    def _authenticated(self, form: dict[str, str], method: str) -> tuple[dict[str, str], dict[str, str]]:
        """Form and header fields for one way of client authentication (RFC 6749, 2.3.1)."""
        if method == BASIC:
            pair = f"{quote_plus(self.client_id)}:{quote_plus(self._secret)}"
            return form, {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
        form = {**form, "client_id": self.client_id}
        if self._secret:
            form["client_secret"] = self._secret
        return form, {}


def challenge_of(verifier: str) -> str:
    """The S256 challenge of a verifier (RFC 7636, 4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def with_query(address: str, query: Mapping[str, str]) -> str:
    """``address`` with more parameters behind those that it has."""
    mark = "&" if urlsplit(address).query else "" if address.endswith("?") else "?"
    return f"{address}{mark}{urlencode(query)}"


def described(found: Mapping[str, Any]) -> str:
    """What an error answer says for people, cut to a length, for the log."""
    text = found.get("error_description") or found.get("message") or "no description"
    return "".join(c if c.isprintable() else " " for c in str(text))[:200]


def text_of(found: Mapping[str, Any], key: str) -> str:
    """The text at ``key``; empty for what is none."""
    value = found.get(key)
    return value if isinstance(value, str) else ""


def bearer(token: dict[str, Any]) -> dict[str, str]:
    """The header field that shows the access token of a token answer."""
    return {"Authorization": f"Bearer {token['access_token']}"}
