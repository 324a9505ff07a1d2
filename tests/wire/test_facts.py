"""The "Facts for tests" of spec 01, 8: one test a row, by its number, through the whole gateway.

Rows that need what later issues bring:

- 3, 7, 8, 9 (denials by RBAC): here they are those of ``AlwaysDeny``, whose messages end with its own sentence;
- 21 needs tokens that are verified: here a step of the test's knows the token ``T`` (``alice`` in ``conftest.py``);
- 56 and 57 (dynamic resources) have no test yet;
- the exit codes of 61 and 62 are the process's, in ``tests/live``.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import yaml
from twisted.internet.defer import ensureDeferred

from ksproxyd.server.listeners import ListenError
from ksproxyd.settings import load_text
from ksproxyd.testing import (
    Authority,
    Backend,
    Conversation,
    MemoryGateway,
    Request,
    api_service,
    js_bundle,
    reverse_proxy,
)
from ksproxyd.testing.backend import answer
from ksproxyd.testing.gateway import SETTINGS
from ksproxyd.testing.messages import Answer

T = (b"Authorization", b"Bearer T")
DENY = SETTINGS.replace("AlwaysAllow", "AlwaysDeny")
WEBSOCKET = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n"

pytestmark = pytest.mark.usefixtures("alice")


@pytest.fixture
def gateway() -> Iterator[MemoryGateway]:
    with MemoryGateway() as gateway:
        yield gateway


@pytest.fixture
def b(gateway: MemoryGateway) -> Backend:
    """The echo server ``B``."""
    return gateway.serve("http://b.test", Backend())


def proxy(name: str = "ex", path: str = "/proxy/ex/*", method: str = "GET", **more: Any) -> Any:
    return reverse_proxy(name, path, "http://b.test", method=method, **more)


def upgrade(gateway: MemoryGateway, target: str, *fields: str) -> Any:
    client = gateway.connect()
    more = "".join(f"{line}\r\n" for line in fields)
    client.send(f"GET {target} HTTP/1.1\r\nHost: gateway.example\r\n{WEBSOCKET}{more}\r\n".encode())
    return client


def multicluster(role: str, host: str = "host") -> str:
    return SETTINGS + f"multicluster: {{clusterRole: {role}, hostClusterName: {host}}}\n"


def cluster(name: str, connection: Any = None, *, ready: str = "True", host: bool = False) -> Any:
    return {
        "apiVersion": "cluster.kubesphere.io/v1alpha1",
        "kind": "Cluster",
        "metadata": {"name": name, "labels": {"cluster-role.kubesphere.io/host": ""} if host else {}},
        "spec": {"connection": connection},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }


KUBECONFIG = {
    "current-context": "c",
    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    "clusters": [{"name": "c", "cluster": {"server": "http://k.test"}}],
    "users": [{"name": "u", "user": {"token": "K"}}],
}
DIRECT = {"type": "direct", "kubeconfig": base64.b64encode(yaml.safe_dump(KUBECONFIG).encode()).decode()}


# -- the gateway's own ------------------------------------------------------------------------------------------------


def test_01_healthz(gateway: MemoryGateway) -> None:
    found = gateway.get("/healthz")
    assert (found.status, found.body) == (200, b"ok")
    assert found.get("content-type") == b"text/plain; charset=utf-8"
    assert found.get("x-content-type-options") == b"nosniff"


def test_02_healthz_verbose(gateway: MemoryGateway) -> None:
    found = gateway.get("/healthz?verbose")
    assert (found.status, found.body) == (200, b"[+]ping ok\nhealthz check passed\n")


def test_03_healthz_ping_is_not_public() -> None:
    with MemoryGateway(DENY) as gateway:
        found = gateway.get("/healthz/ping")
        assert found.status == 403
        start = 'forbidden: User "system:anonymous" cannot GET path "/healthz/ping"'
        assert found.message() == f"{start}: Everything is forbidden."


def test_04_bad_token(gateway: MemoryGateway) -> None:
    found = gateway.get("/healthz", [(b"Authorization", b"Bearer bad")])
    assert (found.status, found.json()["reason"]) == (401, "Unauthorized")


def test_05_unknown_scheme(gateway: MemoryGateway) -> None:
    found = gateway.get("/healthz", [(b"Authorization", b"Digest x")])
    assert (found.status, found.message()) == (401, "The request cannot be authenticated.")


def test_06_version(gateway: MemoryGateway) -> None:
    found = gateway.get("/version")
    assert found.status == 200
    assert found.json().keys() >= {"gitVersion", "kubernetes"}


def denied(*fields: tuple[bytes, bytes]) -> Answer:
    with MemoryGateway(DENY) as gateway:
        found = gateway.get("/api/v1/nodes", list(fields))
    assert found.status == 403
    return found


def test_07_denied() -> None:
    status = denied().json()
    start = (
        'nodes is forbidden: User "system:anonymous" cannot list resource "nodes" in API group "" at the cluster scope'
    )
    assert status["message"] == f"{start}: Everything is forbidden."
    assert status["details"]["kind"] == "nodes"


def test_08_denied_for_curl() -> None:
    plain, pretty = denied(), denied((b"User-Agent", b"curl/8"))
    assert pretty.json() == plain.json()
    assert pretty.body == msgspec.json.format(plain.body, indent=2).rstrip()


def test_09_denied_in_yaml() -> None:
    plain, text = denied(), denied((b"Accept", b"application/yaml"))
    assert text.get("content-type") == b"application/yaml"
    assert yaml.safe_load(text.body) == plain.json()


def test_10_watch_of_nothing(gateway: MemoryGateway) -> None:
    found = gateway.get("/api/v1/watch")
    assert found.status == 400
    assert found.message().startswith("unable to determine kind and namespace from url")


def test_11_discovery_of_a_cluster(gateway: MemoryGateway) -> None:
    gateway.apply(cluster("host", host=True))
    found = gateway.get("/clusters/host/api/v1", [T])
    assert (found.status, found.json()["target"]) == (200, "/api/v1")
    assert gateway.get("/healthz").status == 200


# -- Kubernetes -------------------------------------------------------------------------------------------------------


def test_12_kubernetes(gateway: MemoryGateway) -> None:
    gateway.get("/api/v1/nodes?b=2&a=1", [T])
    request = gateway.kube.requests[-1]
    assert request.target == b"/api/v1/nodes?b=2&a=1"
    assert request.all("authorization") == [b"Bearer gateway"]


def test_13_field_validation() -> None:
    with MemoryGateway(SETTINGS + "experimental: {validationDirective: Strict}\n") as gateway:

        def sent(method: str, query: str = "") -> bytes:
            assert gateway.request(method, "/api/v1/namespaces/n/pods" + query, [T], b"{}").status == 200
            return gateway.kube.requests[-1].target.partition(b"?")[2]

        assert sent("POST") == b"fieldValidation=Strict"
        assert sent("POST", "?a=1") == b"a=1&fieldValidation=Strict"
        assert sent("PUT") == b"fieldValidation=Strict"
        assert sent("PATCH") == b""
        assert sent("GET") == b""
        assert sent("POST", "?fieldValidation=Warn") == b"fieldValidation=Warn"
        assert sent("POST", "?field%56alidation=Warn") == b"field%56alidation=Warn"
        assert sent("POST", "?xfieldValidation=Warn") == b"xfieldValidation=Warn&fieldValidation=Strict"


def test_14_impersonation(gateway: MemoryGateway) -> None:
    gateway.get("/api/v1/nodes", [T, (b"Impersonate-User", b"root"), (b"impersonate_group", b"system:masters")])
    request = gateway.kube.requests[-1]
    assert not [name for name, _ in request.headers if name.lower().startswith(b"impersonate")]
    client = upgrade(gateway, "/api/v1/namespaces/n/pods/p/exec?command=sh", "Impersonate-User: root")
    assert client.answer().status == 101
    request = gateway.kube.requests[-1]
    assert request.get("impersonate-user") is None
    assert request.all("authorization") == [b"Bearer gateway"]
    client.finish()


# -- clusters ---------------------------------------------------------------------------------------------------------


def test_15_unknown_cluster(gateway: MemoryGateway) -> None:
    found = gateway.get("/clusters/nope/api/v1/nodes", [T])
    assert (found.status, found.message()) == (400, "cluster nope not exists")
    assert found.json()["reason"] == "BadRequest"


def test_16_cluster_not_ready(gateway: MemoryGateway) -> None:
    gateway.apply(cluster("m", ready="False"))
    found = gateway.get("/clusters/m/api/v1/nodes", [T])
    assert (found.status, found.message()) == (503, "cluster m is not ready")


def test_17_host_by_another_name() -> None:
    with MemoryGateway(multicluster("host", "main"), objects=[cluster("main", host=True)]) as gateway:
        assert gateway.get("/clusters/host/version").json() == gateway.get("/version").json()


def test_18_member_by_the_service_proxy(gateway: MemoryGateway) -> None:
    k = gateway.serve("http://k.test", Backend())
    gateway.apply(cluster("m", DIRECT))
    assert gateway.get("/clusters/m/kapis/g.io/v1/x?dryRun=All", [T]).status == 200
    (request,) = k.requests
    path = b"/api/v1/namespaces/kubesphere-system/services/:ks-apiserver:/proxy/kapis/g.io/v1/x?dryrun=All"
    assert request.target == path
    assert request.get("x-kubesphere-authorization") == b"Bearer T"
    assert request.get("authorization") == b"Bearer K"


def test_19_member_that_does_not_know_us(gateway: MemoryGateway) -> None:
    gateway.serve("http://k.test", Backend(lambda conversation, request: answer(401, b"who are you?")))
    gateway.apply(cluster("m", DIRECT))
    found = gateway.get("/clusters/m/kapis/g.io/v1/x", [T])
    assert found.status == 511
    assert (found.json()["reason"], found.json()["code"]) == ("Network Authentication Required", 511)


def test_20_member_with_an_endpoint(gateway: MemoryGateway) -> None:
    e = gateway.serve("http://e.test", Backend())
    gateway.apply(cluster("m", {"type": "proxy", "kubesphereAPIEndpoint": "http://e.test"}))
    gateway.get("/clusters/m/api/v1/nodes", [T])
    (request,) = e.requests
    assert (request.target, request.get("authorization")) == (b"/api/v1/nodes", b"Bearer T")


def test_21_credentials_of_a_hop() -> None:
    hop = [(b"X-KubeSphere-Authorization", b"Bearer T")]
    with MemoryGateway(multicluster("member")) as gateway:
        b = gateway.serve("http://b.test", Backend())
        gateway.apply(api_service("v1.g.io", url="http://b.test"))
        assert gateway.get("/kapis/g.io/v1/x", hop).status == 200
        assert b.requests[0].get("x-remote-user") == b"alice"
    with MemoryGateway(multicluster("host")) as gateway:
        b = gateway.serve("http://b.test", Backend())
        gateway.apply(api_service("v1.g.io", url="http://b.test"))
        assert gateway.get("/kapis/g.io/v1/x", hop).status == 200
        assert b.requests[0].get("x-remote-user") == b"system:anonymous"


def test_22_query_of_a_hop() -> None:
    hop = [T, (b"X-KubeSphere-Rawquery", b"a=1")]
    with MemoryGateway(multicluster("member")) as gateway:
        assert gateway.get("/api/v1/x", hop).json()["target"] == "/api/v1/x?a=1"
        assert gateway.get("/api/v1/x?b=2", hop).json()["target"] == "/api/v1/x?b=2"


# -- APIServices ------------------------------------------------------------------------------------------------------


def test_23_api_service(gateway: MemoryGateway, b: Backend) -> None:
    gateway.apply(api_service("v1.g.io", url="http://b.test:80"))
    assert gateway.get("/kapis/g.io/v1/namespaces/n/x/y?q=1", [T]).status == 200
    (request,) = b.requests
    assert request.target == b"/kapis/g.io/v1/namespaces/n/x/y?q=1"
    assert request.get("host") == b"b.test"
    assert request.get("x-remote-user") == b"alice"
    assert request.all("x-remote-group") == [b"system:authenticated"]
    forwarded = request.get("x-forwarded-for")
    assert forwarded is not None
    assert forwarded.endswith(b"192.0.2.7")


CLAIMS = [(b"X-Remote-User", b"admin"), (b"X-Remote-Extra-Foo", b"1"), (b"x_remote_group", b"system:masters")]


def identities(request: Request) -> list[tuple[bytes, bytes]]:
    return [(n, v) for n, v in request.headers if n.lower().replace(b"_", b"-").startswith(b"x-remote-")]


def test_24_claims(gateway: MemoryGateway, b: Backend) -> None:
    gateway.apply(api_service("v1.g.io", url="http://b.test"))
    gateway.get("/kapis/g.io/v1/x", [T, *CLAIMS])
    assert identities(b.requests[0]) == [(b"X-Remote-User", b"alice"), (b"X-Remote-Group", b"system:authenticated")]


def test_25_claims_with_an_upgrade(gateway: MemoryGateway, b: Backend) -> None:
    gateway.apply(api_service("v1.g.io", url="http://b.test"))
    client = upgrade(gateway, "/kapis/g.io/v1/x", "Authorization: Bearer T", "X-Remote-User: admin")
    assert client.answer().status == 101
    assert identities(b.requests[0])[0] == (b"X-Remote-User", b"alice")
    client.send(b"there")
    assert client.take() == b"there"
    b.conversations[0].answer(b"and back")
    assert client.take() == b"and back"
    client.finish()


def test_26_api_service_that_is_disabled(gateway: MemoryGateway) -> None:
    gateway.apply(api_service("v1.g.io", url="http://b.test", state="Disabled"))
    found = gateway.get("/kapis/g.io/v1/x", [T])
    assert (found.status, found.message()) == (503, "apiService v1.g.io is not available")
    assert found.json()["reason"] == "ServiceUnavailable"


def test_27_its_discovery(gateway: MemoryGateway, b: Backend) -> None:
    for state in ("Disabled", "Available"):
        gateway.apply(api_service("v1.g.io", url="http://b.test", state=state))
        assert gateway.get("/kapis/g.io/v1", [T]).status == 404
    assert not b.requests


def test_28_backend_that_is_down(gateway: MemoryGateway) -> None:
    gateway.dialer.refusing.add(("b.test", 80))
    gateway.apply(api_service("v1.g.io", url="http://b.test"))
    found = gateway.get("/kapis/g.io/v1/x", [T])
    assert (found.status, found.json()["code"]) == (502, 502)
    assert found.message().startswith("Error while proxying request:")


def test_29_both_encodings_of_a_bundle(gateway: MemoryGateway) -> None:
    authority = Authority()
    gateway.serve("https://b.test", Backend(), authority.issue("b.test").server_context())
    once = base64.b64encode(authority.pem)
    for bundle in (once, base64.b64encode(once)):
        gateway.apply(api_service("v1.g.io", url="https://b.test", caBundle=bundle.decode()))
        assert gateway.get("/kapis/g.io/v1/x", [T]).status == 200
    gateway.apply(api_service("v1.g.io", url="https://b.test", caBundle=base64.b64encode(Authority().pem).decode()))
    assert gateway.get("/kapis/g.io/v1/x", [T]).status == 502


def test_30_service_without_a_port(gateway: MemoryGateway) -> None:
    authority = Authority()
    b = gateway.serve("https://s.n.svc", Backend(), authority.issue("s.n.svc").server_context())
    bundle = base64.b64encode(authority.pem).decode()
    gateway.apply(api_service("v1.g.io", service={"name": "s", "namespace": "n"}, caBundle=bundle))
    assert gateway.get("/kapis/g.io/v1/x", [T]).status == 200
    assert b.requests[0].get("host") == b"s.n.svc"


# -- JSBundles --------------------------------------------------------------------------------------------------------

SCRIPT = b"application/javascript; charset=utf-8"
CONFIG = {"configMapKeyRef": {"namespace": "n", "name": "c", "key": "index.js"}}


def config_map(**data: str) -> Any:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "n", "name": "c"}, "data": data}


def test_31_bundle_in_a_config_map(gateway: MemoryGateway) -> None:
    gateway.apply(config_map(**{"index.js": "let a"}), js_bundle("e", "/dist/e/index.js", rawFrom=CONFIG))
    found = gateway.get("/dist/e/index.js")
    assert (found.status, found.body) == (200, b"let a")
    assert found.all("content-type") == [SCRIPT]


def test_32_bundle_without_a_state(gateway: MemoryGateway) -> None:
    bundle = js_bundle("e", "/dist/e/index.js", rawFrom=CONFIG, state="")
    gateway.apply(config_map(**{"index.js": "let a"}), bundle)
    assert gateway.get("/dist/e/index.js").status == 404


def test_33_bundle_without_its_key(gateway: MemoryGateway) -> None:
    gateway.apply(config_map(other="x"), js_bundle("e", "/dist/e/index.js", rawFrom=CONFIG))
    found = gateway.get("/dist/e/index.js")
    assert found.status == 404
    assert found.message()


def test_34_remote_bundle(gateway: MemoryGateway) -> None:
    typed = answer(200, b"let a", [(b"Content-Type", b"text/plain")])
    b = gateway.serve("http://b.test", Backend(lambda conversation, request: typed))
    gateway.apply(js_bundle("e", "/dist/e/index.js", rawFrom={"url": "http://b.test/files/e.js"}))
    found = gateway.get("/dist/e/index.js?v=1", [T, (b"Cookie", b"a=b")])
    assert (found.status, found.body) == (200, b"let a")
    assert found.all("content-type") == [SCRIPT]
    (request,) = b.requests
    assert request.target == b"/files/e.js?v=1"
    assert request.get("host") == b"b.test"
    assert (request.get("authorization"), request.get("cookie")) == (None, None)


def test_35_file_of_a_bundle(gateway: MemoryGateway, b: Backend) -> None:
    file = {"link": "/dist/e/a.svg", "mimeType": "image/svg+xml", "url": "http://b.test/a"}
    gateway.apply(js_bundle("e", "/dist/e/index.js", raw="bGV0IGE=", assets={"files": [file]}))
    found = gateway.get("/dist/e/a.svg")
    assert (found.status, found.all("content-type")) == (200, [b"image/svg+xml"])


# -- ReverseProxies ---------------------------------------------------------------------------------------------------

PREFIX = {"stripPathPrefix": "/proxy/ex"}


def test_36_bytes_are_kept(gateway: MemoryGateway, b: Backend) -> None:
    gateway.apply(proxy(directives=PREFIX))
    gateway.get("/proxy/ex/a%2Fb?z=1&a=2", [T])
    assert b.requests[0].target == b"/a%2Fb?z=1&a=2"


def test_37_matcher_with_a_slash(gateway: MemoryGateway, b: Backend) -> None:
    gateway.apply(proxy(directives=PREFIX))
    assert gateway.get("/proxy/ex", [T]).status == 404


def test_38_matcher_without_a_slash(gateway: MemoryGateway, b: Backend) -> None:
    gateway.apply(proxy(path="/proxy/ex*", directives=PREFIX))
    assert gateway.get("/proxy/ex", [T]).status == 200
    assert b.requests[0].target == b"/"


def test_39_header_up(gateway: MemoryGateway, b: Backend) -> None:
    gateway.apply(proxy(directives={"headerUp": ["-Authorization", 'X-K "a b"', "+X-K c"]}))
    gateway.get("/proxy/ex/x", [T])
    (request,) = b.requests
    assert request.get("authorization") is None
    assert request.all("x-k") == [b"a b", b"c"]


def test_40_header_down_and_streaming(gateway: MemoryGateway) -> None:
    head = b"HTTP/1.1 200 OK\r\nServer: s\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
    b = gateway.serve("http://b.test", Backend(lambda conversation, request: head))
    rules = ["-Server", "Content-Type image/jpeg", "+X-N 1"]
    gateway.apply(proxy(directives={"headerDown": rules}))
    client = gateway.connect()
    client.send(b"GET /proxy/ex/x HTTP/1.1\r\nHost: g\r\n\r\n")
    for n in range(3):
        b.conversations[0].answer(b"1\r\n%d\r\n" % n)
        assert client.next_answer() is None
        assert client.partial is not None
        assert client.partial.body == b"012"[: n + 1]
    b.conversations[0].answer(b"0\r\n\r\n")
    found = client.answer()
    assert found.get("server") is None
    assert found.all("content-type") == [b"image/jpeg"]
    assert found.all("x-n") == [b"1"]


def test_41_header_down_and_upgrades(gateway: MemoryGateway, b: Backend) -> None:
    gateway.apply(proxy(directives={"headerDown": ["+X-N 1"]}))
    client = upgrade(gateway, "/proxy/ex/x")
    found = client.answer()
    assert (found.status, found.get("x-n")) == (101, b"1")
    client.send(b"there")
    assert client.take() == b"there"
    client.finish()


def test_42_proxy_of_the_console(gateway: MemoryGateway, b: Backend) -> None:
    gateway.apply(proxy(metadata={"labels": {"kubesphere.io/reverse-proxy-target": "ks-console"}}))
    assert gateway.get("/proxy/ex/x", [T]).status == 404


def test_43_proxy_that_is_disabled(gateway: MemoryGateway) -> None:
    gateway.apply(proxy(state="Disabled"))
    found = gateway.get("/proxy/ex/x", [T])
    assert (found.status, found.message()) == (503, "upstream ex is not available")


def test_44_method(gateway: MemoryGateway, b: Backend) -> None:
    gateway.apply(proxy(directives={"method": "POST"}))
    gateway.get("/proxy/ex/x", [T])
    assert b.requests[0].method == b"POST"


def test_45_query_placeholder(gateway: MemoryGateway, b: Backend) -> None:
    gateway.apply(proxy(directives={"rewrite": ["/proxy/ex/* ?{query}&a=b"]}))
    gateway.get("/proxy/ex/x?k=v", [T])
    assert b.requests[0].target == b"/proxy/ex/x?k=v&a=b"


def test_46_pattern_that_would_take_for_ever(gateway: MemoryGateway, b: Backend) -> None:
    gateway.apply(proxy(path="/proxy/*", directives={"pathRegexp": ["^/proxy/(a+)+$ /x"]}))
    path = "/proxy/" + "a" * 60 + "!"
    took = []
    for _ in range(3):
        begun = time.process_time()
        assert gateway.get(path, [T]).status == 200
        took.append(time.process_time() - begun)
    assert min(took) < 0.05
    assert b.requests[0].target == path.encode()


def test_47_pattern_that_is_none(gateway: MemoryGateway, b: Backend) -> None:
    gateway.apply(proxy(directives={"pathRegexp": ["(?=x) /b"]}))
    assert gateway.get("/proxy/ex/x", [T]).status == 200
    assert b.requests[0].target == b"/proxy/ex/x"


def test_48_without_auth_proxy(gateway: MemoryGateway, b: Backend) -> None:
    gateway.apply(proxy())
    gateway.get("/proxy/ex/x", [T, *CLAIMS])
    assert not identities(b.requests[0])
    gateway.apply(proxy(directives={"authProxy": True}))
    gateway.get("/proxy/ex/x", [T, *CLAIMS])
    assert identities(b.requests[1])[0] == (b"X-Remote-User", b"alice")


def test_49_wrapped(gateway: MemoryGateway) -> None:
    gateway.serve("http://b.test", Backend(lambda c, r: answer(302, b"", [(b"Location", b"/login")])))
    gateway.apply(proxy(directives={**PREFIX, "wrapTransport": True}))
    found = gateway.get("/proxy/ex/x", [T])
    assert (found.status, found.get("location")) == (302, b"/proxy/ex/login")


def test_50_the_longer_prefix_wins(gateway: MemoryGateway, b: Backend) -> None:
    for name, path in (("short", "/proxy/a/*"), ("long", "/proxy/a/b/*")):
        gateway.apply(proxy(name, path, directives={"headerUp": [f"X-Won {name}"]}))
    for _ in range(100):
        gateway.get("/proxy/a/b/c", [T])
    assert [request.get("x-won") for request in b.requests] == [b"long"] * 100


def test_51_authority_that_changes(gateway: MemoryGateway) -> None:
    old, new = Authority("old"), Authority("new")
    gateway.serve("https://b.test", Backend(), old.issue("b.test").server_context())

    def trust(authority: Authority) -> int:
        endpoint = {"url": "https://b.test", "caBundle": base64.b64encode(authority.pem).decode()}
        gateway.apply(reverse_proxy("ex", "/proxy/ex/*", endpoint))
        return gateway.get("/proxy/ex/x", [T]).status

    assert trust(old) == 200
    # A connection that was verified under the old one is there, and is not used.
    assert trust(new) == 502
    gateway.serve("https://b.test", Backend(), new.issue("b.test").server_context())
    assert trust(new) == 200
    assert trust(old) == 502


def test_52_half_a_body(gateway: MemoryGateway) -> None:
    def half(conversation: Conversation, request: Request) -> bytes:
        conversation.peer.leave()
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"

    gateway.serve("http://b.test", Backend(half))
    gateway.apply(proxy())
    client = gateway.connect()
    client.send(b"GET /proxy/ex/x HTTP/1.1\r\nHost: g\r\n\r\n")
    assert client.next_answer() is None
    assert client.partial is not None
    assert client.partial.body == b"half"
    assert client.reset


def test_53_refused_handshake(gateway: MemoryGateway) -> None:
    gateway.serve("http://b.test", Backend(lambda c, r: answer(403, b"not you")))
    gateway.apply(proxy())
    client = upgrade(gateway, "/proxy/ex/x")
    found = client.answer()
    assert (found.status, found.body) == (403, b"not you")
    assert not client.open


def test_54_handshake_that_is_no_answer(gateway: MemoryGateway) -> None:
    gateway.serve("http://b.test", Backend(lambda c, r: answer(200, b"hello")))
    gateway.apply(proxy())
    found = upgrade(gateway, "/proxy/ex/x").answer()
    assert found.status == 502
    assert "invalid upgrade response: status code 200" in found.message()


# -- the rest ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [SETTINGS, DENY], ids=["allowed", "denied"])
def test_55_hygiene(settings: str) -> None:
    with MemoryGateway(settings) as gateway:
        b = gateway.serve("http://b.test", Backend())
        gateway.apply(proxy(), api_service("v1.g.io", url="http://b.test"))
        for path in (
            "/kapis/g.io/v1/namespaces/mine/../other/x",
            "/kapis/g.io/v1/namespaces/mine/%2e%2e/other/x",
            "/kapis/g.io/v1/namespaces/a%2Fb/x",
            "/proxy/ex/%2e%2e/y",
        ):
            found = gateway.get(path, [T])
            assert found.status == 400
            assert found.message()
        assert not b.requests
        for path in ("/proxy/ex//y", "/proxy/ex/a%2Fb"):
            assert gateway.get(path, [T]).status == (403 if settings is DENY else 200)
        assert [request.target for request in b.requests] in ([], [b"/proxy/ex//y", b"/proxy/ex/a%2Fb"])


def test_58_unknown_group(gateway: MemoryGateway) -> None:
    found = gateway.get("/kapis/unknown.io/v1/x", [T])
    assert found.status == 404
    assert found.message()


@pytest.mark.parametrize("path", ["/version", "/kapis/version", "/ksproxyd/routes"])
def test_59_wrong_method(gateway: MemoryGateway, path: str) -> None:
    found = gateway.request("DELETE", path, [T])
    assert found.status == 405
    allow = found.get("allow")
    assert allow is not None
    assert b"GET" in allow


def test_60_series_are_bounded(gateway: MemoryGateway) -> None:
    def series() -> int:
        text = gateway.get("/metrics").body
        return sum(1 for line in text.split(b"\n") if line and not line.startswith(b"#"))

    client = gateway.connect()

    def random(count: int) -> None:
        for begin in range(0, count, 10):
            names = [f"r{n}x{count}" for n in range(begin, begin + 10)]
            lines = (f"GET /kapis/{name}.io/v1/{name} HTTP/1.1\r\nHost: g\r\n\r\n" for name in names)
            client.send("".join(lines).encode())
            for _ in names:
                assert client.answer().status == 404

    random(10)
    before = series()
    random(10_000)
    assert series() == before
    # A scrape is shared for a second.
    gateway.wait(2.0)


def test_61_draining(gateway: MemoryGateway) -> None:
    slow = Backend(lambda conversation, request: None)
    gateway.serve("http://b.test", slow)
    gateway.apply(proxy())
    client, probe = gateway.connect(), gateway.connect()
    client.send(b"GET /proxy/ex/x HTTP/1.1\r\nHost: g\r\n\r\nGET /readyz HTTP/1.1\r\nHost: g\r\n\r\n")
    port = gateway.reactor.ports[0]
    ended: list[Any] = []
    ensureDeferred(gateway.gateway.stop()).addBoth(ended.append)
    gateway.wait(1.0)
    # Nothing new comes in; a connection that stays open hears that it is time to go elsewhere.
    assert port not in gateway.reactor.ports
    assert gateway.gateway.draining
    assert not ended
    assert not probe.open
    gateway.wait(4.0)
    slow.conversations[0].answer(answer(200, b"done"))
    found = client.answer()
    assert (found.status, found.body) == (200, b"done")
    # What had been asked before is answered, too; the rest of the world may see that this one is on its way out.
    found = client.answer()
    assert (found.status, found.get("connection")) == (503, b"close")
    gateway.wait(1.0)
    assert ended == [None]
    gateway._closed = True


def test_62_port_in_use(gateway: MemoryGateway) -> None:
    listener = load_text(SETTINGS, "settings", {}).settings.ksproxyd.listeners[0]
    with pytest.raises(ListenError):
        gateway.run(gateway.gateway.listeners.open(listener))
