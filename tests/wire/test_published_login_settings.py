"""``config.kubesphere.io``: what is published of logins and clusters, and the console's theme (spec 04, 4)."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from support_oauth import ISSUER, SETTINGS, World, bearer, oauth_client
from support_rights import RightsWorld
from test_facts_authentication import provider

from ksproxyd.kube.errors import KubeUnreachable
from ksproxyd.testing import MemoryGateway

PREFIX = "/kapis/config.kubesphere.io/v1alpha2"
OAUTH, THEME, CLUSTERS = f"{PREFIX}/configs/oauth", f"{PREFIX}/configs/theme", f"{PREFIX}/configs/configz"
STORED = "/api/v1/namespaces/kubesphere-system/configmaps/platform-configuration-theme"
SECOND = 1_000_000_000


@pytest.fixture
def world() -> Iterator[World]:
    found = World(more="  iam: {manageUsers: false}")
    yield found
    found.gateway.close()


def put(world: World, body: Any, *headers: tuple[bytes, bytes]) -> Any:
    head = list(headers) or [(b"Content-Type", b"application/json")]
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return world.gateway.request("PUT", THEME, head, content)


def test_t061_nothing_secret_is_published() -> None:
    """No key of ours, no secret of a client or a provider, however it is called and wherever it stands."""
    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = made.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    key = base64.b64encode(pem).decode()
    named = {"issuer": ISSUER, "multiple": "true", "mode": "AlwaysAllow", "more": ""}
    settings = (SETTINGS % named).replace("    accessTokenMaxAge", f"    signKeyData: {key}\n    accessTokenMaxAge")
    options = {"host": "ldap.test:389", "userSearchBase": "dc=x", "loginAttribute": "uid", "managerDN": "cn=m"}
    with MemoryGateway(settings, embedded=True) as gateway:
        gateway.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kubesphere-system"}})
        gateway.apply(
            provider("ldap", provider={**options, "managerPassword": "hunter2-a"}),
            oauth_client("rp9", secret="hunter2-b", redirectURIs=["https://rp9.test/cb"]),
        )
        gateway.wait(1.0)
        assert gateway.get("/oauth/keys").json()["keys"], "the key is in use"
        answer = gateway.get(OAUTH)
    said = answer.json()
    assert answer.status == 200 and said["identityProviders"][0]["provider"] == options
    for secret in (b"hunter2", b"0123456789012345", key[:40].encode(), b"PRIVATE"):
        assert secret not in answer.body
    told = {*said["issuer"], *(name for client in said["clients"] for name in client)}
    assert not told & {"-", "secret", "jwtSecret", "signKeyData"}


def test_what_a_login_page_needs(world: World) -> None:
    world.gateway.apply(
        provider("ldap", disabled=True, hidden=True, displayName="Head office"),
        oauth_client(
            "short",
            secret="s",
            redirectURIs=["https://short.test/cb"],
            accessTokenMaxAgeSeconds=600,
            accessTokenInactivityTimeoutSeconds=60,
        ),
    )
    said = world.gateway.get(OAUTH).json()
    assert said["issuer"] == {
        "url": ISSUER,
        "accessTokenMaxAge": 7200 * SECOND,
        "accessTokenInactivityTimeout": 1800 * SECOND,
        "maximumClockSkew": 10 * SECOND,
    }
    (ldap,) = said["identityProviders"]
    told = {name: ldap[name] for name in ("name", "type", "mappingMethod", "disabled", "hidden", "displayName")}
    assert told == {
        "name": "ldap",
        "type": "LDAPIdentityProvider",
        "mappingMethod": "auto",
        "disabled": True,
        "hidden": True,
        "displayName": "Head office",
    }
    clients = {client["name"]: client for client in said["clients"]}
    assert list(clients) == sorted(clients) and "ksproxyd-cli" not in clients
    assert clients["kubesphere"] == {
        "name": "kubesphere",
        "trusted": True,
        "grantMethod": "auto",
        "scopeRestrictions": ["openid", "email", "profile"],
    }
    assert clients["short"]["accessTokenMaxAgeSeconds"] == 600
    assert clients["short"]["accessTokenInactivityTimeoutSeconds"] == 60
    assert clients["short"]["redirectURIs"] == ["https://short.test/cb"]


def test_clusters(world: World) -> None:
    assert world.gateway.get(CLUSTERS).json() == {
        "multicluster": {
            "agentImage": "kubesphere/tower:v1.0",
            "clusterControllerResyncPeriod": 900 * SECOND,
            "hostClusterName": "host",
            "clusterRole": "host",
        }
    }


def test_a_member_tells_of_its_cluster_only() -> None:
    named = {"issuer": ISSUER, "multiple": "true", "more": "", "mode": "AlwaysAllow"}
    settings = (SETTINGS % named).replace("clusterRole: host", "clusterRole: member")
    with MemoryGateway(settings, embedded=True) as member:
        assert member.get(CLUSTERS).json()["multicluster"]["clusterRole"] == "member"
        for path in (OAUTH, THEME, f"{PREFIX}/configs/none"):
            assert member.get(path).status == 404


def test_theme(world: World) -> None:
    assert world.gateway.get(THEME).json() == {}
    for theme in ({"title": "one", "logo": "/static/images/x"}, {"title": "two"}):
        answer = put(world, theme)
        assert (answer.status, answer.json()) == (200, theme)
        assert world.gateway.get(THEME).json() == theme
        assert world.gateway.embedded.call("GET", STORED)["data"] == theme
    metadata = {"name": "platform-configuration-theme", "namespace": "kubesphere-system"}
    world.gateway.embedded.call("DELETE", STORED)
    world.gateway.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
    assert world.gateway.get(THEME).json() is None


@pytest.mark.parametrize("body", [{"a": 1}, {"a": None}, {"a": {"b": "c"}}, [], "x", b"{"])
def test_what_is_no_theme(world: World, body: Any) -> None:
    put(world, {"title": "before"})
    assert put(world, body).status == 400
    assert world.gateway.get(THEME).json() == {"title": "before"}
    assert put(world, b"title: x", (b"Content-Type", b"application/yaml")).status == 400


def test_the_api_server_is_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*arguments: Any) -> Any:
        raise KubeUnreachable("no connection", "connect")

    monkeypatch.setattr(world.gateway.gateway.kube_client, "get", away)
    answer = world.gateway.get(THEME)
    assert (answer.status, answer.get("Retry-After")) == (503, b"5")


def test_who_may() -> None:
    """Anonymous people see it with the role that a stock installation gives them; changing it is the platform's."""
    world = RightsWorld()
    try:
        for path in (OAUTH, THEME, CLUSTERS):
            assert world.ask("", "GET", path).status == 200
        answer = world.ask("joe", "PUT", THEME, {"title": "x"})
        assert (answer.status, answer.json()["details"]["name"]) == (403, "theme")
        assert world.ask("admin", "PUT", THEME, {"title": "x"}).status == 200
        assert world.ask("", "GET", THEME).json() == {"title": "x"}
    finally:
        world.close()


def test_bearers_are_looked_at_here_too(world: World) -> None:
    assert world.gateway.get(OAUTH, [bearer("junk")]).status == 401
