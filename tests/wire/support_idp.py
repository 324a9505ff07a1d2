"""An OpenID provider in memory, and the site of :mod:`support_browser` with real providers in front of it."""

from __future__ import annotations

import base64
import hashlib
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
import yaml
from joserfc import jwt
from joserfc.jwk import RSAKey
from support_browser import ISSUER, SETTINGS, BrowserSite, _info

from ksproxyd.authn.providers.mapper import Mapper
from ksproxyd.authn.providers.registry import Providers
from ksproxyd.authn.user_record import LINK
from ksproxyd.chain import Chain
from ksproxyd.kapis.oauth.callback import provider_routes
from ksproxyd.kapis.router import Router
from ksproxyd.settings import load_text
from ksproxyd.testing import Authority, Backend, Conversation, MemoryDialer, Request
from ksproxyd.testing.backend import answer

AUTHORITY = Authority()
CERTIFICATE = AUTHORITY.issue("idp.test")
FIRST_KEY, SECOND_KEY = (RSAKey.generate_key(2048, {"kid": kid, "use": "sig"}) for kid in ("one", "two"))


class IdP:
    """Answers as a provider; a test changes what it says. ``claims`` is what its id_tokens say beside the usual."""

    issuer = "https://idp.test"

    def __init__(self, clock: Any) -> None:
        self.clock = clock
        self.backend = Backend(self._serve)
        self.key = FIRST_KEY
        self.published = [FIRST_KEY]
        self.claims: dict[str, Any] = {"sub": "u-42", "preferred_username": "zoe", "email": "zoe@corp.test"}
        self.userinfo: dict[str, Any] | None = None
        #: How far its clock is ahead.
        self.ahead = 0.0
        self.metadata: dict[str, Any] = {}
        self.status = 200
        self.token_error: dict[str, Any] | None = None
        #: The authorization request of the browser that comes next.
        self.asked: dict[str, str] = {}
        self.forms: list[dict[str, str]] = []
        self.paths: list[str] = []

    def visit(self, address: str, **changes: str) -> str:
        """A browser has been sent to ``address``, and its user signs in; returns where it is sent back to."""
        parts = urlsplit(address)
        assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"{self.issuer}/authorize"
        self.asked = dict(parse_qsl(parts.query, strict_parsing=True))
        back = urlsplit(self.asked["redirect_uri"])
        values = {"code": "c-1", "state": self.asked["state"], "iss": self.issuer, **changes}
        return f"{back.path}?" + "&".join(f"{key}={value}" for key, value in values.items() if value)

    def id_token(self, **changes: Any) -> str:
        now = int(self.clock.seconds() + self.ahead)
        claims = {
            "iss": self.issuer,
            "aud": "ksproxyd",
            "iat": now,
            "exp": now + 600,
            "nonce": self.asked.get("nonce"),
            **self.claims,
            **changes,
        }
        claims = {key: value for key, value in claims.items() if value is not None}
        return jwt.encode({"alg": "RS256", "kid": self.key.kid}, claims, self.key)

    def _serve(self, conversation: Conversation, request: Request) -> bytes:
        path = request.target.partition(b"?")[0].decode()
        self.paths.append(path)
        found = self._answer(path, request)
        return answer(self.status, msgspec.json.encode(found), [(b"Content-Type", b"application/json")])

    def _answer(self, path: str, request: Request) -> Any:
        if path == "/.well-known/openid-configuration":
            return {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "userinfo_endpoint": f"{self.issuer}/userinfo",
                "jwks_uri": f"{self.issuer}/keys",
                "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
                "authorization_response_iss_parameter_supported": True,
                **self.metadata,
            }
        if path == "/keys":
            return {"keys": [key.as_dict(private=False) for key in self.published]}
        if path == "/userinfo":
            return self.userinfo
        assert path == "/token"
        form = dict(parse_qsl(request.body.decode()))
        self.forms.append(form)
        if self.token_error is not None:
            return self.token_error
        verifier = form.get("code_verifier", "")
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        if challenge != self.asked.get("code_challenge", challenge):
            return {"error": "invalid_grant"}
        return {"access_token": "at", "token_type": "Bearer", "id_token": self.id_token()}


class FakeKube:
    """Users that are created arrive at once."""

    def __init__(self, site: IdPSite) -> None:
        self._site = site
        self.created: list[dict[str, Any]] = []

    async def create(self, resource: Any, body: dict[str, Any], **more: Any) -> dict[str, Any]:
        name = body["metadata"]["name"]
        stored = {**body, "metadata": {**body["metadata"], "uid": f"uid-{name}"}}
        self.created.append(stored)
        self._site.users.put(stored)
        return stored


class RecordedLogins:
    """The part of :class:`ksproxyd.authn.login.Login` that is needed: what was recorded."""

    def __init__(self) -> None:
        self.succeeded_: list[tuple[str, str, str]] = []

    async def succeeded(self, record: Any, attempt: Any, provider: str, record_type: str = "Token") -> None:
        self.succeeded_.append((record.name, attempt.source, provider))


class IdPSite(BrowserSite):
    """With the provider ``corp``, which is :class:`IdP`; ``more`` are settings below ``ksproxyd``."""

    def __init__(self, more: str = "", *, mapping: str = "auto", issuer: str = ISSUER, **options: Any) -> None:
        super().__init__(issuer=issuer)
        text = (SETTINGS % "").replace(ISSUER, issuer) + more
        settings = load_text(text, "settings", {}).settings
        self.idp = IdP(self.clock)
        self.dialer = MemoryDialer(self.clock)
        self.dialer.serve(IdP.issuer, self.idp.backend, CERTIFICATE.server_context())
        self.kube = FakeKube(self)
        self.recorded = RecordedLogins()
        for store in (self.users, self._bindings):
            store.mark_synced()
        self.real = Providers(self.clock, settings, self._configs, dialer=self.dialer)
        self.mapper = Mapper(self.clock, self.directory, self.kube)  # type: ignore[arg-type]
        self.put_provider(mapping, **options)
        routes = provider_routes(
            self.clock,
            self.real,
            self.mapper,
            self.store,
            self.recorded,  # type: ignore[arg-type]
            self.tokens,
            self.front,
            self.directory,
            registration_lifetime=600.0,
            legacy=settings.ksproxyd.compat.legacy_callback,
        )
        router = Router("/oauth", "OAuth", [*self.front.routes(), *routes])
        steps = [("info", _info), ("authenticate", self._authenticate)]
        self._chain = Chain(steps, router.handle, self._failed, self.clock.seconds, lambda name, seconds: None)

    def put_provider(self, mapping: str = "auto", name: str = "corp", **options: Any) -> None:
        """Create or change the Secret of a provider that is :class:`IdP`."""
        document = {
            "name": name,
            "type": "OIDCIdentityProvider",
            "mappingMethod": mapping,
            "disabled": options.pop("disabled", False),
            "provider": {
                "issuer": IdP.issuer,
                "clientID": "ksproxyd",
                "clientSecret": "s3cret",
                "rootCAData": base64.b64encode(AUTHORITY.pem).decode(),
                **options,
            },
        }
        self._configs.put(
            {
                "metadata": {
                    "name": f"idp-{name}",
                    "namespace": "kubesphere-system",
                    "labels": {"config.kubesphere.io/type": "identityprovider"},
                },
                "type": "config.kubesphere.io/identityprovider",
                "data": {"configuration.yaml": base64.b64encode(yaml.safe_dump(document).encode()).decode()},
            }
        )

    def link(self, name: str, uid: str, state: str = "Active") -> None:
        """A user who is linked at ``corp``."""
        self.users.put(
            {
                "metadata": {"name": name, "uid": f"uid-{name}", "annotations": {LINK + "corp": uid}},
                "spec": {"email": f"{name}@ks.test"},
                "status": {"state": state},
            }
        )

    def close(self) -> None:
        self.real.stop()
        super().close()
