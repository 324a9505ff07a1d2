"""A gateway with users and OAuth clients, as spec 02, 8 has them, and what a client says to it."""

from __future__ import annotations

import base64
import hashlib
import secrets
from typing import Any
from urllib.parse import urlencode

import bcrypt
import msgspec

from ksproxyd.authn.codes import CodeGrant
from ksproxyd.testing import Answer, MemoryGateway

ISSUER = "https://ks.test"
PASSWORD = "Passw0rdX"
HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
CB1, CB2 = "https://rp1.test/cb", "https://rp2.test/cb"

SETTINGS = """
authorization: {mode: %(mode)s}
authentication:
  authenticateRateLimiterMaxTries: 3
  authenticateRateLimiterDuration: 10m
  multipleLogin: %(multiple)s
  issuer:
    url: %(issuer)s
    jwtSecret: 0123456789012345678901234567890123456789
    accessTokenMaxAge: 2h
    accessTokenInactivityTimeout: 30m
multicluster: {clusterRole: host}
ksproxyd:
  listeners: [{address: 127.0.0.1, port: 9090}]
  extensions: {openapi: false, manageStatus: false}
  controllers: {mode: false}
%(more)s
"""

FORM = (b"Content-Type", b"application/x-www-form-urlencoded")
KUBESPHERE = {"client_id": "kubesphere", "client_secret": "kubesphere"}
RP1 = {"client_id": "rp1", "client_secret": "s1"}
RP2 = {"client_id": "rp2", "client_secret": "s2"}
SCOPES = ("openid", "email", "profile")


def user(name: str, state: str = "Active", **more: Any) -> Any:
    """A User with :data:`PASSWORD`."""
    return {
        "apiVersion": "iam.kubesphere.io/v1beta1",
        "kind": "User",
        "metadata": {"name": name, **more.get("metadata", {})},
        "spec": {"email": f"{name}@ks.test", "password": HASH, **more.get("spec", {})},
        "status": {"state": state} if state else {},
    }


def oauth_client(name: str, **more: Any) -> Any:
    """The Secret of a client; ``more`` are its keys, with ``_`` for the case of ``redirectURIs``' last letters."""
    config = {"name": name, "grantMethod": "auto", "scopeRestrictions": list(SCOPES), **more}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "config.kubesphere.io/oauthclient",
        "metadata": {
            "name": f"oauthclient-{name.lower()}",
            "namespace": "kubesphere-system",
            "labels": {"config.kubesphere.io/type": "oauthclient"},
        },
        # YAML is a superset of JSON.
        "data": {"configuration.yaml": base64.b64encode(msgspec.json.encode(config)).decode()},
    }


USERS = (
    user("admin"),
    user("alice", spec={"lang": "en"}),
    user("bob", "Disabled"),
    user("carol", "AuthLimitExceeded"),
    user("dave", metadata={"annotations": {"iam.kubesphere.io/uninitialized": "true"}}),
    user("erin", ""),
)
CLIENTS = (
    oauth_client("kubesphere", secret="kubesphere", trusted=True),
    oauth_client("rp1", secret="s1", redirectURIs=[CB1]),
    oauth_client("rp2", secret="s2", redirectURIs=[CB2]),
    oauth_client("rp-prompt", secret="s3", grantMethod="prompt", redirectURIs=["https://rp3.test/cb"]),
    oauth_client("rp-deny", secret="s4", grantMethod="deny", redirectURIs=["https://rp4.test/cb"]),
    oauth_client("app", public=True, redirectURIs=["http://127.0.0.1/cb"]),
)


class World:
    """The gateway and what it stands on."""

    def __init__(
        self, *, issuer: str = ISSUER, multiple: bool = True, more: str = "", mode: str = "AlwaysAllow"
    ) -> None:
        named = {"issuer": issuer or '""', "multiple": str(multiple).lower(), "more": more, "mode": mode}
        text = SETTINGS % named
        self.gateway = MemoryGateway(text, embedded=True)
        self.gateway.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kubesphere-system"}})
        self.gateway.apply(*USERS, *CLIENTS)
        # Keys are made, and no time is before the epoch.
        self.gateway.wait(100.0)
        inner = self.gateway.gateway
        assert inner.logins is not None
        self.logins: Any = inner.logins
        self.programs: Any = inner.logins.programs

    # -- what is sent ----------------------------------------------------------------------------------

    def post(
        self, path: str, fields: dict[str, str] | bytes, *headers: tuple[bytes, bytes], host: str = "192.0.2.7"
    ) -> Answer:
        """A form."""
        body = fields if isinstance(fields, bytes) else urlencode(fields).encode()
        return self.gateway.request("POST", path, [FORM, *headers], body, host=host)

    def token(self, *headers: tuple[bytes, bytes], host: str = "192.0.2.7", **fields: str) -> Answer:
        """A token request."""
        return self.post("/oauth/token", fields, *headers, host=host)

    def password(self, username: str = "alice", password: str = PASSWORD, **more: str) -> Answer:
        """A password grant, by the client ``kubesphere``."""
        return self.token(
            **{"grant_type": "password", "username": username, "password": password, **KUBESPHERE, **more}
        )

    def logged_in(self, username: str = "alice", **more: str) -> dict[str, Any]:
        """The tokens of a user."""
        answer = self.password(username, **more)
        assert answer.status == 200, answer.body
        return read(answer)

    def refresh(self, token: str, *headers: tuple[bytes, bytes], **client: str) -> Answer:
        """A refresh, by the client ``kubesphere``."""
        return self.token(*headers, grant_type="refresh_token", refresh_token=token, **(client or KUBESPHERE))

    def code(self, **more: Any) -> str:
        """A code as the authorization endpoint gives it: for ``rp1`` and alice, with all scopes."""
        grant = CodeGrant(
            **{
                "client": "rp1",
                "redirect_uri": CB1,
                "user": "alice",
                "scopes": SCOPES,
                "nonce": "n-1",
                "auth_time": self.gateway.reactor.seconds() - 7,
                **more,
            }
        )
        code: str = self.gateway.run(self.programs.codes.issue(grant))
        return code

    def redeem(self, code: str, **more: str) -> Answer:
        """A code grant, by ``rp1``."""
        return self.token(**{"grant_type": "authorization_code", "code": code, "redirect_uri": CB1, **RP1, **more})

    def alive(self, token: str) -> bool:
        """Whether a bearer token is let in."""
        answer = self.get("/oauth/userinfo", token)
        assert answer.status in (200, 401, 403), answer.body
        return answer.status != 401

    def get(self, path: str, token: str = "") -> Answer:
        """GET, with a bearer token."""
        return self.gateway.request("GET", path, [bearer(token)] if token else [])

    def records(self, name: str) -> list[Any]:
        """What was recorded of a user's logins, in order."""
        self.gateway.wait(2.0)
        found: Any = self.gateway.embedded.call("GET", "/apis/iam.kubesphere.io/v1beta1/loginrecords")
        mine = [r for r in found["items"] if r["metadata"].get("labels", {}).get("iam.kubesphere.io/user-ref") == name]
        return sorted(mine, key=lambda record: int(record["metadata"]["resourceVersion"]))


def read(answer: Answer) -> dict[str, Any]:
    """The JSON object of an answer."""
    assert answer.get("Content-Type") == b"application/json", answer.headers
    found: dict[str, Any] = answer.json()
    return found


def bearer(token: str) -> tuple[bytes, bytes]:
    return b"Authorization", b"Bearer " + token.encode()


def basic(name: str, secret: str) -> tuple[bytes, bytes]:
    return b"Authorization", b"Basic " + base64.b64encode(f"{name}:{secret}".encode())


def payload(token: str) -> dict[str, Any]:
    """What a token says; not verified."""
    part = token.split(".")[1]
    found: dict[str, Any] = msgspec.json.decode(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def pkce() -> tuple[str, str]:
    """A verifier and its challenge (RFC 7636, 4)."""
    verifier = secrets.token_urlsafe(32)
    digest = hashlib.sha256(verifier.encode()).digest()
    return verifier, base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def refused(answer: Answer, status: int, error: str, description: str | None = None) -> None:
    """Check that an answer is this error of RFC 6749, which nobody keeps."""
    assert answer.status == status, (answer.status, answer.body)
    said = read(answer)
    assert said["error"] == error, said
    if description is not None:
        assert said["error_description"] == description
    assert_not_kept(answer)


def assert_not_kept(answer: Answer) -> None:
    """Nobody on the way may keep this answer (D-37)."""
    assert answer.get("Cache-Control") == b"no-store"
    assert answer.get("Pragma") == b"no-cache"
