"""No backend ever hears from a client who it is: every way to a backend, requests and upgrades, every spelling."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ksproxyd.testing import Backend, MemoryGateway, Request, api_service, js_bundle, reverse_proxy
from ksproxyd.testing.gateway import SETTINGS

pytestmark = pytest.mark.usefixtures("alice")

URL = "http://b.example"
KUBECONFIG = {
    "current-context": "c",
    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    "clusters": [{"name": "c", "cluster": {"server": "http://k.example"}}],
    "users": [{"name": "u", "user": {"token": "member"}}],
}


def member(name: str, connection: dict[str, Any]) -> Any:
    return {
        "apiVersion": "cluster.kubesphere.io/v1alpha1",
        "kind": "Cluster",
        "metadata": {"name": name},
        "spec": {"connection": connection},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }


DIRECT = {"type": "direct", "kubeconfig": base64.b64encode(yaml.safe_dump(KUBECONFIG).encode()).decode()}

OBJECTS = [
    api_service("v1.g.io", url=URL),
    reverse_proxy("plain", "/proxy/plain/*", URL),
    reverse_proxy("identity", "/proxy/identity/*", URL, directives={"authProxy": True}),
    reverse_proxy("wrapped", "/proxy/wrapped/*", URL, directives={"wrapTransport": True, "authProxy": True}),
    reverse_proxy("rules", "/proxy/rules/*", URL, directives={"headerUp": ["X-Added 1", "-X-Nothing"]}),
    reverse_proxy("moved", "/proxy/moved/*", URL, directives={"method": "POST", "stripPathPrefix": "/proxy/moved"}),
    js_bundle("e", "/dist/e/index.js", rawFrom={"url": f"{URL}/e.js"}),
    member("straight", {"type": "proxy", "kubesphereAPIEndpoint": URL}),
    member("direct", DIRECT),
]

#: Every way to a backend: a path, and whether what arrives names the user.
WAYS = {
    "kubernetes": ("/api/v1/nodes", False),
    "kubernetes-exec": ("/api/v1/namespaces/n/pods/p/exec?command=sh", False),
    "openapi": ("/openapi/v3/apis/apps/v1", False),
    "api-service": ("/kapis/g.io/v1/x", True),
    "reverse-proxy": ("/proxy/plain/x", False),
    "reverse-proxy-identity": ("/proxy/identity/x", True),
    "reverse-proxy-wrapped": ("/proxy/wrapped/x", True),
    "reverse-proxy-rules": ("/proxy/rules/x", False),
    "reverse-proxy-moved": ("/proxy/moved/x", False),
    "bundle": ("/dist/e/index.js", False),
    "member": ("/clusters/straight/kapis/g.io/v1/x", False),
    "member-direct": ("/clusters/direct/kapis/g.io/v1/x", False),
}


class Site:
    def __init__(self, settings: str = SETTINGS) -> None:
        self.gateway = MemoryGateway(settings, objects=OBJECTS)
        self.backends = [self.gateway.serve(url, Backend()) for url in (URL, "http://k.example")]
        self.backends.append(self.gateway.kube)

    def send(self, target: str, fields: list[tuple[str, str]], upgrade: bool) -> Request:
        """The request that reaches a backend."""
        before = [len(backend.requests) for backend in self.backends]
        client = self.gateway.connect()
        lines = [f"GET {target} HTTP/1.1", "Host: gateway.example", "Authorization: Bearer T"]
        if upgrade:
            lines += ["Connection: Upgrade", "Upgrade: websocket"]
        lines += [f"{name}: {value}" for name, value in fields]
        client.send("\r\n".join([*lines, "", ""]).encode("latin-1"))
        client.cut()
        (found,) = [
            request
            for backend, count in zip(self.backends, before, strict=True)
            for request in backend.requests[count:]
        ]
        return found

    def claims(self, request: Request) -> list[tuple[bytes, bytes]]:
        """What a request says of who it is from."""
        prefixes = (b"x-remote-", b"impersonate-", b"x-forwarded-user", b"x-forwarded-groups", b"x-forwarded-email")
        return [
            (name.lower(), value)
            for name, value in request.headers
            if name.lower().replace(b"_", b"-").startswith(prefixes)
        ]


@pytest.fixture(scope="module")
def sites() -> Iterator[dict[str, Site]]:
    """A gateway for everybody, and one that trusts its clients to be proxies. Alice is patched in when they start."""
    sites: dict[str, Site] = {}
    yield sites
    for site in sites.values():
        site.gateway.close()


@pytest.fixture
def both_sites(sites: dict[str, Site], alice: None) -> dict[str, Site]:
    if not sites:
        sites["strangers"] = Site()
        sites["trusted"] = Site(SETTINGS + "  trustedProxies: [192.0.2.0/24]\n")
    return sites


@pytest.fixture(params=["strangers", "trusted"])
def site(request: pytest.FixtureRequest, both_sites: dict[str, Site]) -> Site:
    return both_sites[request.param]


ALICE = [(b"x-remote-user", b"alice"), (b"x-remote-group", b"system:authenticated")]
CLAIMS = [
    *(("X-Remote-User", "admin"), ("x_remote_user", "admin"), ("X-Remote-Group", "system:masters")),
    *(("X-Remote-Uid", "0"), ("X-Remote-Extra-Scopes", "all"), ("X_Remote_Extra_a", "b")),
    *(("Impersonate-User", "admin"), ("Impersonate-Group", "system:masters"), ("impersonate_uid", "0")),
    *(("X-Forwarded-User", "admin"), ("X-Forwarded-Groups", "admins"), ("X_Forwarded_Email", "a@b")),
    *(("X-KubeSphere-Rawquery", "a=b"), ("Connection", "X-Remote-User, X-Remote-Group")),
]

ways = pytest.mark.parametrize("way", WAYS)
both = pytest.mark.parametrize("upgrade", [False, True], ids=["request", "upgrade"])


@ways
@both
def test_claims(site: Site, way: str, upgrade: bool) -> None:
    target, named = WAYS[way]
    fields = [field for field in CLAIMS if not upgrade or field[0] != "Connection"]
    request = site.send(target, fields, upgrade)
    assert site.claims(request) == (ALICE if named else [])
    assert not request.all("x-kubesphere-rawquery") or way == "member-direct"


@ways
@both
def test_credentials(site: Site, way: str, upgrade: bool) -> None:
    """Each credential goes where it is meant to go and nowhere else."""
    request = site.send(WAYS[way][0], [("Cookie", "token=T")], upgrade)
    expected = {
        "kubernetes": b"Bearer gateway",
        "kubernetes-exec": b"Bearer gateway",
        "openapi": b"Bearer gateway",
        "bundle": None,
        "member-direct": b"Bearer member",
    }
    assert request.get("authorization") == expected.get(way, b"Bearer T")
    assert request.get("x-kubesphere-authorization") == (b"Bearer T" if way == "member-direct" else None)
    # Tunnels into clusters get none (spec 05, 11.3).
    into_cluster = expected.get(way) == b"Bearer gateway" or way.startswith("member")
    dropped = way == "bundle" or (upgrade and into_cluster)
    assert request.get("cookie") == (None if dropped else b"token=T")


SEPARATORS = st.sampled_from("-_")
WORDS = st.sampled_from(["x", "X", "remote", "Remote", "REMOTE", "user", "User", "group", "extra", "a", "impersonate"])
NAMES = st.lists(st.tuples(WORDS, SEPARATORS), min_size=1, max_size=5).map(
    lambda parts: "".join(word + separator for word, separator in parts).rstrip("-_")
)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.sampled_from(sorted(WAYS)), st.booleans(), st.lists(NAMES, max_size=6))
def test_every_spelling(both_sites: dict[str, Site], way: str, upgrade: bool, names: list[str]) -> None:
    target, named = WAYS[way]
    for site in both_sites.values():
        request = site.send(target, [(name, "EVIL") for name in names], upgrade)
        assert site.claims(request) == (ALICE if named else [])
