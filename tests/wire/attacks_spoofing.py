"""Who says that they are somebody else: by fields, tokens, cookies, queries, and what proxies say of their users."""

from __future__ import annotations

import base64
import json

from support_attacks import IAM, N2, RAW_IAM, WEBSOCKET, Attack

SECRETS = f"{N2}/secrets"
ALICE = f"{IAM}/users/alice"


def coded(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


CLAIMS = {"iss": "https://ks.test", "sub": "admin", "username": "admin", "token_type": "access_token", "iat": 1}
UNSIGNED = f"{coded({'alg': 'none', 'typ': 'JWT'})}.{coded(CLAIMS)}."
FORGED = f"{coded({'alg': 'HS256', 'typ': 'JWT'})}.{coded(CLAIMS)}.{'A' * 43}"
STATIC = f"{coded({'alg': 'none'})}.{coded({**CLAIMS, 'token_type': 'static_token'})}."

#: Fields that say who somebody is, as proxies, the Kubernetes API and KubeSphere's own hops use them.
CLAIMED = {
    "X-Remote-User": "admin",
    "X-Remote-Group": "system:masters",
    "X_Remote_User": "admin",
    "X-Remote-Extra-Scopes": "all",
    "Impersonate-User": "admin",
    "Impersonate-Group": "system:masters",
    "Impersonate-Uid": "0",
    "Impersonate_User": "admin",
    "X-Forwarded-User": "admin",
    "X-Forwarded-Email": "admin@ks.test",
    "X-Forwarded-Access-Token": "{token:admin}",
    "X-Auth-Request-User": "admin",
    "X-WEBAUTH-USER": "admin",
    "X-KubeSphere-Authorization": "Bearer {token:admin}",
    "X-Access-Token": "{token:admin}",
    "Proxy-Authorization": "Bearer {token:admin}",
    "Cookie": "token={token:admin}; access_token={token:admin}",
    "X-Original-URL": f"{IAM}/users/joe",
    "X-Rewrite-URL": f"{IAM}/users/joe",
    "X-Original-Method": "GET",
    "X-Forwarded-Uri": f"{IAM}/users/joe",
    "X-Forwarded-Prefix": "/oauth",
    "X-Forwarded-For": "127.0.0.1",
    "X-Real-IP": "127.0.0.1",
    "X-KubeSphere-Rawquery": "watch=1&labelSelector=kubesphere.io/workspace%3Dws1",
    "X-Cluster": "host",
}


def row(who: str, name: str, target: str, *fields: tuple[str, str], by: str = "admin", method: str = "GET") -> Attack:
    return Attack(f"{who or 'nobody'}: {name}", who, method, target, headers=fields, by=by)


ROWS = [
    *(row(who, f"{field}", target, (field, value), by="admin")
      for field, value in CLAIMED.items() for who, target in (("joe", ALICE), ("pa", SECRETS), ("", SECRETS))),
    row("", "a token in the query", f"{SECRETS}?access_token={{token:admin}}"),
    row("", "a token in another parameter", f"{SECRETS}?token={{token:admin}}&authorization=Bearer%20{{token:admin}}"),
    row("", "an unsigned token", SECRETS, ("Authorization", f"Bearer {UNSIGNED}"), by=""),
    row("", "a forged token", SECRETS, ("Authorization", f"Bearer {FORGED}"), by=""),
    row("", "an unsigned token that does not expire", SECRETS, ("Authorization", f"Bearer {STATIC}"), by=""),
    row("", "a token without its signature", SECRETS, ("Authorization", "Bearer {token:admin}x"), by=""),
    row("", "a token under another scheme", SECRETS, ("Authorization", "Token {token:admin}"), by=""),
    row("", "a user without a password", SECRETS, ("Authorization", "Basic " + base64.b64encode(b"admin:").decode()),
        by=""),
    row("", "a user with a wrong password", SECRETS,
        ("Authorization", "Basic " + base64.b64encode(b"admin:wrong").decode()), by=""),
    row("", "a user with a hash", SECRETS, ("Authorization", "Basic " + base64.b64encode(b"admin:$2a$04$x").decode()),
        by=""),
    row("", "a user that is the system", SECRETS,
        ("Authorization", "Basic " + base64.b64encode(b"system:admin:x").decode()), by=""),
    row("", "a token behind a path that is public", f"/oauth/..{SECRETS}", by=""),
    row("", "a path that begins like a public one", f"/oauth/%2e%2e{SECRETS}", by=""),
    row("", "a path that ends like a public one", f"{SECRETS}/version"),
    row("", "a public path behind parameters", f"{SECRETS};/version", by=""),
    row("joe", "a public path as a query", f"{SECRETS}?/version"),
    row("joe", "a path with a fragment's sign", f"{SECRETS}%23/version"),
    row("joe", "oneself in the query", f"{ALICE}?username=joe&name=joe"),
    row("joe", "oneself behind somebody else", f"{IAM}/users/joe/../alice", by=""),
    row("joe", "oneself behind an encoded slash", f"{IAM}/users/joe%2F..%2Falice", by=""),
    row("joe", "oneself by a selector", f"{RAW_IAM}/users/alice?fieldSelector=metadata.name%3Djoe", by=""),
    row("joe", "another's name in capitals", f"{IAM}/users/ALICE", by=""),
    row("joe", "another's name and a space", f"{IAM}/users/alice%20", by=""),
    row("joe", "another's name and nothing", f"{IAM}/users/alice%00", by=""),
    row("joe", "a kubectl by another's name", "/api/v1/namespaces/kubesphere-system/pods/ks-managed-kubectl-bob/exec",
        *WEBSOCKET, ("X-Remote-User", "bob"), by="bob"),
]  # fmt: skip
