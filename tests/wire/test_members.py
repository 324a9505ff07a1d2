"""Member clusters (spec 01, 3.3; facts 15 to 20), through the whole gateway."""

from __future__ import annotations

import base64
import gzip
from typing import Any

import pytest
import yaml

from ksproxyd.testing import Authority, Backend, Conversation, MemoryGateway, Request
from ksproxyd.testing.backend import answer

TOKEN = (b"Authorization", b"Bearer T")
PROXY = b"/api/v1/namespaces/kubesphere-system/services/:ks-apiserver:/proxy"
MULTICLUSTER = """
authorization: {mode: AlwaysAllow}
multicluster: {clusterRole: %s, hostClusterName: %s}
ksproxyd:
  listeners: [{address: 127.0.0.1, port: 9090}]
  extensions: {openapi: false, manageStatus: false}
"""

AUTHORITY = Authority()
ISSUED = AUTHORITY.issue("member.example")


pytestmark = pytest.mark.usefixtures("alice")


def kubeconfig(server: str = "http://member.example:6443", **user: Any) -> str:
    config: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": user or {"token": "member-token"}}],
    }
    if server.startswith("https"):
        data = base64.b64encode(AUTHORITY.pem).decode()
        config["clusters"][0]["cluster"]["certificate-authority-data"] = data
    return yaml.safe_dump(config)


def cluster(name: str, connection: Any = None, *, ready: Any = "True", host: bool = False) -> dict[str, Any]:
    return {
        "apiVersion": "cluster.kubesphere.io/v1alpha1",
        "kind": "Cluster",
        "metadata": {"name": name, "labels": {"cluster-role.kubesphere.io/host": ""} if host else {}},
        "spec": {"connection": connection},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }


def direct(text: str | None = None, **more: Any) -> dict[str, Any]:
    encoded = base64.b64encode((kubeconfig() if text is None else text).encode()).decode()
    return {"type": "direct", "kubeconfig": encoded, **more}


def proxied(endpoint: Any = "http://ks.member.example") -> dict[str, Any]:
    return {"type": "proxy", "kubesphereAPIEndpoint": endpoint}


def refusal(gateway: MemoryGateway, target: str, status: int) -> str:
    found = gateway.get(target, [TOKEN])
    assert found.status == status
    return found.message()


# -- which cluster -------------------------------------------------------------------------------------------------


def test_unknown_cluster() -> None:
    with MemoryGateway() as gateway:
        found = gateway.get("/clusters/nope/api/v1/nodes", [TOKEN])
        assert (found.status, found.json()["reason"]) == (400, "BadRequest")
        assert found.message() == "cluster nope not exists"


@pytest.mark.parametrize(
    "conditions", [None, [], "x", [{"type": "Ready", "status": "False"}], [None, 1, {"type": "Ready"}]]
)
def test_cluster_that_is_not_ready(conditions: Any) -> None:
    value = cluster("m", proxied())
    value["status"] = {"conditions": conditions}
    with MemoryGateway(objects=[value]) as gateway:
        found = gateway.get("/clusters/m/api/v1/nodes", [TOKEN])
        assert (found.status, found.json()["reason"]) == (503, "ServiceUnavailable")
        assert found.message() == "cluster m is not ready"


def test_cluster_becomes_ready_and_ceases_to_be() -> None:
    with MemoryGateway(objects=[cluster("m", proxied(), ready="Unknown")]) as gateway:
        gateway.serve("http://ks.member.example", Backend())
        for ready, status in (("True", 200), ("False", 503), ("True", 200)):
            gateway.apply(cluster("m", proxied(), ready=ready))
            assert gateway.get("/clusters/m/version").status == status
        gateway.delete(cluster("m"))
        assert gateway.get("/clusters/m/version").status == 400


@pytest.mark.parametrize("alias", ["main", "host"])
def test_host_cluster_is_served_here(alias: str) -> None:
    with MemoryGateway(MULTICLUSTER % ("host", "main"), objects=[cluster("main", host=True, ready="False")]) as gateway:
        found = gateway.get(f"/clusters/{alias}/version")
        assert found.status == 200
        assert found.json() == gateway.get("/version").json()
        found = gateway.get(f"/clusters/{alias}/api/v1/nodes?a=1&b=%2F")
        assert found.json()["target"] == "/api/v1/nodes?a=1&b=%2F"


def test_alias_is_a_name_like_any_other_where_it_is_taken() -> None:
    objects = [cluster("main", host=True), cluster("host", proxied())]
    with MemoryGateway(MULTICLUSTER % ("host", "main"), objects=objects) as gateway:
        backend = gateway.serve("http://ks.member.example", Backend())
        assert gateway.get("/clusters/host/version").status == 200
        assert len(backend.requests) == 1


def test_before_the_clusters_are_known() -> None:
    with MemoryGateway() as gateway:
        assert gateway.gateway.state is not None
        for reflector in gateway.gateway.state.reflectors():
            reflector.store.synced = False
        assert refusal(gateway, "/clusters/m/version", 503).startswith("the gateway is still reading")
        for reflector in gateway.gateway.state.reflectors():
            reflector.store.synced = True


# -- straight to the member ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "connection",
    [
        proxied(),
        proxied("http://ks.member.example/ignored/path"),
        direct(kubesphereAPIEndpoint="http://ks.member.example"),
    ],
)
def test_straight_to_the_member(connection: dict[str, Any]) -> None:
    with MemoryGateway(objects=[cluster("m", connection)]) as gateway:
        backend = gateway.serve("http://ks.member.example", Backend())
        found = gateway.get("/clusters/m/api/v1/nodes?b=2&a=1&dryRun=All", [TOKEN, (b"X-Remote-User", b"admin")])
        assert found.status == 200
        (request,) = backend.requests
        assert request.target == b"/api/v1/nodes?b=2&a=1&dryRun=All"
        assert request.get("authorization") == b"Bearer T"
        assert request.get("host") == b"ks.member.example"
        assert request.get("x-forwarded-host") == b"gateway.example"
        assert request.get("x-forwarded-uri") == b"/api/v1/nodes"
        assert request.get("x-forwarded-for") == b"192.0.2.7"
        # Who somebody is the member finds out by itself.
        assert request.get("x-remote-user") is None
        assert request.get("x-kubesphere-authorization") is None


@pytest.mark.parametrize(
    ("target", "sent"),
    [
        ("/clusters/m/kapis/g.io/v1/x", b"/kapis/g.io/v1/x"),
        ("/kapis/clusters/m/g.io/v1/x", b"/kapis/g.io/v1/x"),
        ("/api/clusters/m/v1/nodes", b"/api/v1/nodes"),
        ("/clusters/m/proxy/a%2Fb//c?x=%20", b"/proxy/a%2Fb//c?x=%20"),
        ("/clusters/m/oauth/token", b"/oauth/token"),
        ("/clusters/m/api", b"/api"),
        ("/clusters/m/api/v1", b"/api/v1"),
    ],
)
def test_path_without_the_clusters_name(target: str, sent: bytes) -> None:
    with MemoryGateway(objects=[cluster("m", proxied())]) as gateway:
        backend = gateway.serve("http://ks.member.example", Backend())
        assert gateway.get(target, [TOKEN]).status == 200
        assert backend.requests[0].target == sent


def test_authorization_is_the_members() -> None:
    settings = MULTICLUSTER % ("host", "main") + "\n"
    with MemoryGateway(settings.replace("AlwaysAllow", "AlwaysDeny"), objects=[cluster("m", proxied())]) as gateway:
        gateway.serve("http://ks.member.example", Backend())
        assert gateway.get("/api/v1/nodes", [TOKEN]).status == 403
        assert gateway.get("/clusters/m/api/v1/nodes", [TOKEN]).status == 200


@pytest.mark.parametrize("endpoint", [None, "", "nonsense", "ftp://x", "http://", 5, {"a": 1}, "http://[::"])
def test_endpoint_that_is_none(endpoint: Any, warnings_logged: list[str]) -> None:
    with MemoryGateway(objects=[cluster("m", proxied(endpoint)), cluster("good", proxied())]) as gateway:
        gateway.serve("http://ks.member.example", Backend())
        message = refusal(gateway, "/clusters/m/version", 503)
        assert message == "cluster m cannot be reached: its kubesphereAPIEndpoint is unusable"
        assert len([line for line in warnings_logged if "cluster m cannot be reached" in line]) == 1
        assert gateway.get("/clusters/good/version").status == 200


@pytest.mark.parametrize("connection", [None, 5, "x", [], {}, {"type": None}, {"type": ["direct"]}])
def test_connection_of_any_shape(connection: Any) -> None:
    with MemoryGateway(objects=[cluster("m", connection)]) as gateway:
        assert refusal(gateway, "/clusters/m/version", 503).startswith("cluster m cannot be reached: ")


# -- by the member's kube-apiserver --------------------------------------------------------------------------------


def test_by_the_service_proxy() -> None:
    with MemoryGateway(objects=[cluster("m", direct())]) as gateway:
        member = gateway.serve("http://member.example:6443", Backend())
        stolen = (b"X-KubeSphere-Authorization", b"Bearer stolen")
        found = gateway.get("/clusters/m/kapis/g.io/v1/x?dryRun=All&a=dryRun", [TOKEN, stolen])
        assert found.status == 200
        (request,) = member.requests
        assert request.target == PROXY + b"/kapis/g.io/v1/x?dryrun=All&a=dryRun"
        assert request.get("authorization") == b"Bearer member-token"
        assert request.get("x-kubesphere-authorization") == b"Bearer T"
        assert request.get("x-kubesphere-rawquery") is None
        assert request.get("host") == b"member.example:6443"


def test_without_credentials_none_are_handed_on() -> None:
    with MemoryGateway(objects=[cluster("m", direct())]) as gateway:
        member = gateway.serve("http://member.example:6443", Backend())
        gateway.get("/clusters/m/version", [(b"X-KubeSphere-Authorization", b"Bearer stolen")])
        (request,) = member.requests
        assert request.get("x-kubesphere-authorization") is None
        assert request.get("authorization") == b"Bearer member-token"


@pytest.mark.parametrize(
    ("server", "endpoint", "prefix"),
    [
        ("http://member.example:6443/k8s/clusters/c-1", None, b"/k8s/clusters/c-1"),
        ("http://member.example:6443/k8s/clusters/c-1", "http://member.example:6443", b"/k8s/clusters/c-1"),
        ("http://127.0.0.1:6443/k8s", "http://member.example:6443", b""),
        ("http://127.0.0.1:6443/k8s", "http://member.example:6443/other/", b"/other"),
        ("http://127.0.0.1:6443", "http://member.example:6443", b""),
    ],
)
def test_where_the_kube_apiserver_is(server: str, endpoint: str | None, prefix: bytes) -> None:
    more = {} if endpoint is None else {"kubernetesAPIEndpoint": endpoint}
    with MemoryGateway(objects=[cluster("m", direct(kubeconfig(server), **more))]) as gateway:
        member = gateway.serve("http://member.example:6443", Backend())
        assert gateway.get("/clusters/m/version").status == 200
        assert member.requests[0].target == prefix + PROXY + b"/version"


@pytest.mark.parametrize("endpoint", [None, "https://member.example:6443"])
def test_kube_apiserver_with_tls(endpoint: str | None) -> None:
    more = {} if endpoint is None else {"kubernetesAPIEndpoint": endpoint}
    text = kubeconfig("https://member.example:6443")
    with MemoryGateway(objects=[cluster("m", direct(text, **more))]) as gateway:
        gateway.serve("https://member.example:6443", Backend(), ISSUED.server_context())
        assert gateway.get("/clusters/m/version").status == 200


def test_tls_endpoint_of_a_plain_kubeconfig_is_spoken_to_in_tls() -> None:
    """And verified: whatever the kubeconfig leaves open is not a reason to send its token in the clear."""
    with MemoryGateway(objects=[cluster("m", direct(kubernetesAPIEndpoint="https://member.example:6443"))]) as gateway:
        backend = gateway.serve("https://member.example:6443", Backend(), ISSUED.server_context())
        message = refusal(gateway, "/clusters/m/version", 502)
        assert "certificate was not accepted" in message
        assert not backend.requests


BAD = [
    ("not-base64", {"type": "direct", "kubeconfig": "%%%"}),
    ("not-text", {"type": "direct", "kubeconfig": {"a": 1}}),
    ("missing", {"type": "direct"}),
    ("empty", direct("")),
    ("not-yaml", direct("a: [")),
    ("a-list", direct("- a")),
    ("no-context", direct("clusters: []")),
    ("exec", direct(kubeconfig(exec={"command": "/bin/sh", "apiVersion": "client.authentication.k8s.io/v1"}))),
    ("auth-provider", direct(kubeconfig(**{"auth-provider": {"name": "gcp"}}))),
    ("token-file", direct(kubeconfig(tokenFile="/etc/shadow"))),
    ("certificate-file", direct(kubeconfig(**{"client-certificate": "/etc/shadow", "client-key": "/etc/shadow"}))),
    ("proxy-url", direct(kubeconfig().replace("server:", "proxy-url: http://evil\n    server:"))),
    ("ca-file", direct(kubeconfig().replace("server:", "certificate-authority: /etc/shadow\n    server:"))),
    ("bad-server", direct(kubeconfig("ftp://x"))),
    ("bad-token", direct(kubeconfig(token="a\nb"))),
    ("too-big", direct("#" * 300_000)),
]


@pytest.mark.parametrize("connection", [c for _, c in BAD], ids=[name for name, _ in BAD])
def test_bad_kubeconfig(connection: dict[str, Any], warnings_logged: list[str]) -> None:
    with MemoryGateway(objects=[cluster("m", connection)]) as gateway:
        message = refusal(gateway, "/clusters/m/version", 503)
        assert message == "cluster m cannot be reached: its kubeconfig is unusable"
        (line,) = [line for line in warnings_logged if "cluster m cannot be reached" in line]
        assert "member-token" not in line


def test_bad_api_endpoint(warnings_logged: list[str]) -> None:
    with MemoryGateway(objects=[cluster("m", direct(kubernetesAPIEndpoint="nonsense"))]) as gateway:
        message = refusal(gateway, "/clusters/m/version", 503)
        assert message == "cluster m cannot be reached: its kubernetesAPIEndpoint is unusable"


def test_member_that_cannot_be_reached() -> None:
    with MemoryGateway(objects=[cluster("m", direct())]) as gateway:
        message = refusal(gateway, "/clusters/m/version", 502)
        assert message == "Error while proxying request: the upstream's host name does not resolve"


# -- changes -------------------------------------------------------------------------------------------------------


def test_new_credentials_are_used_at_once_and_streams_live_on() -> None:
    with MemoryGateway(objects=[cluster("m", direct())]) as gateway:
        member = gateway.serve("http://member.example:6443", Backend(_watch))
        watching = gateway.connect()
        watching.send(b"GET /clusters/m/watch HTTP/1.1\r\nHost: g\r\n\r\n")
        assert gateway.get("/clusters/m/version").status == 200
        gateway.apply(cluster("m", direct(kubeconfig(token="second"))))
        assert gateway.get("/clusters/m/version").status == 200
        tokens = [request.get("authorization") for request in member.requests]
        assert tokens == [b"Bearer member-token"] * 2 + [b"Bearer second"]
        (conversation,) = [c for c in member.conversations if c.requests[0].target.endswith(b"/watch")]
        conversation.answer(b"5\r\nlater\r\n0\r\n\r\n")
        assert watching.answer().body == b"later"


def _watch(conversation: Conversation, request: Request) -> bytes | None:
    if request.target.endswith(b"/watch"):
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return answer(200, b"{}")


def test_the_old_way_is_used_until_the_new_one_is_known() -> None:
    with MemoryGateway(objects=[cluster("m", direct())]) as gateway:
        member = gateway.serve("http://member.example:6443", Backend())
        members = gateway.gateway.members
        assert members is not None
        store = members._store
        known = store.get(("", "m"))
        assert known is not None
        store.put({**cluster("m", direct(kubeconfig(token="second"))), "metadata": known["metadata"]})
        # The thread has not answered yet.
        client = gateway.connect()
        client.write(b"GET /clusters/m/version HTTP/1.1\r\nHost: g\r\n\r\n")
        gateway.reactor.settle()
        assert client.answer().status == 200
        assert len(member.requests) == 1


def test_change_to_something_unusable_and_back() -> None:
    with MemoryGateway(objects=[cluster("m", direct())]) as gateway:
        gateway.serve("http://member.example:6443", Backend())
        assert gateway.get("/clusters/m/version").status == 200
        gateway.apply(cluster("m", direct("nonsense: [")))
        assert gateway.get("/clusters/m/version").status == 503
        gateway.apply(cluster("m", direct()))
        assert gateway.get("/clusters/m/version").status == 200
        gateway.apply(cluster("m", proxied("http://nowhere")))
        assert gateway.get("/clusters/m/version").status == 502


def test_pools_follow_the_clusters() -> None:
    with MemoryGateway() as gateway:
        before = len(gateway.gateway.pools)
        for n in range(5):
            gateway.apply(cluster("m", direct(kubeconfig(f"http://member{n}.example"))))
            assert len(gateway.gateway.pools) == before + 1
        gateway.apply(cluster("m", proxied()))
        assert len(gateway.gateway.pools) == before + 1
        gateway.delete(cluster("m"))
        assert len(gateway.gateway.pools) == before


# -- answers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("connection", [direct(), proxied("http://member.example:6443")])
def test_401_of_a_member_logs_nobody_out(connection: dict[str, Any]) -> None:
    with MemoryGateway(objects=[cluster("m", connection)]) as gateway:
        fields = [(b"WWW-Authenticate", b"Bearer"), (b"Set-Cookie", b"a=b")]
        secret = answer(401, b'{"kind":"Status","code":401}', fields)
        gateway.serve("http://member.example:6443", Backend(lambda conversation, request: secret))
        client = gateway.connect()
        for _ in range(2):
            client.send(b"GET /clusters/m/api/v1/nodes HTTP/1.1\r\nHost: g\r\n\r\n")
            found = client.answer()
            assert (found.status, found.json()["reason"]) == (511, "Network Authentication Required")
            assert found.message() == "The request could not be authenticated due to a system issue."
            assert not found.all("www-authenticate")
            assert not found.all("set-cookie")


@pytest.mark.parametrize("status", [400, 403, 404, 500, 503])
def test_other_answers_pass(status: int) -> None:
    with MemoryGateway(objects=[cluster("m", direct())]) as gateway:
        gateway.serve("http://member.example:6443", Backend(lambda conversation, request: answer(status, b"as it is")))
        found = gateway.get("/clusters/m/api/v1/nodes")
        assert (found.status, found.body) == (status, b"as it is")


def test_links_lead_through_the_gateway() -> None:
    with MemoryGateway(objects=[cluster("m", proxied())]) as gateway:
        page = b'<a href="/x">a</a><a href="http://ks.member.example/y">b</a><a href="http://other/z">c</a>'
        packed = gzip.compress(page)

        def serve(conversation: Conversation, request: Request) -> bytes:
            if request.target == b"/moved":
                return answer(302, b"", [(b"Location", b"http://ks.member.example/login?a=b")])
            html = (b"Content-Type", b"text/html")
            cors = (b"Access-Control-Allow-Origin", b"*")
            if b"gzip" in (request.get("accept-encoding") or b""):
                return answer(200, packed, [html, (b"Content-Encoding", b"gzip")])
            return answer(200, page, [html, cors])

        gateway.serve("http://ks.member.example", Backend(serve))
        assert gateway.get("/clusters/m/moved").get("location") == b"/clusters/m/login?a=b"
        rewritten = b'<a href="/clusters/m/x">a</a><a href="/clusters/m/y">b</a><a href="http://other/z">c</a>'
        found = gateway.get("/clusters/m/page")
        assert found.body == rewritten
        assert found.get("access-control-allow-origin") is None
        found = gateway.get("/clusters/m/page", [(b"Accept-Encoding", b"gzip, br")])
        assert gzip.decompress(found.body) == rewritten


# -- upgrades ------------------------------------------------------------------------------------------------------

WEBSOCKET = b"Connection: Upgrade\r\nUpgrade: websocket\r\nAuthorization: Bearer T\r\n\r\n"


def test_upgrade_by_the_service_proxy_carries_its_query() -> None:
    with MemoryGateway(objects=[cluster("m", direct())]) as gateway:
        member = gateway.serve("http://member.example:6443", Backend())
        client = gateway.connect()
        client.send(b"GET /clusters/m/api/v1/x/exec?command=a&command=b HTTP/1.1\r\nHost: g\r\n" + WEBSOCKET)
        assert client.answer().status == 101
        (request,) = member.requests
        assert request.target == PROXY + b"/api/v1/x/exec?command=a&command=b"
        assert request.get("x-kubesphere-rawquery") == b"command=a&command=b"
        assert request.get("x-kubesphere-authorization") == b"Bearer T"
        assert request.get("authorization") == b"Bearer member-token"
        client.send(b"hello")
        assert client.take() == b"hello"
        client.finish()


def test_upgrade_straight_to_the_member() -> None:
    with MemoryGateway(objects=[cluster("m", proxied())]) as gateway:
        backend = gateway.serve("http://ks.member.example", Backend())
        client = gateway.connect()
        client.send(b"GET /clusters/m/x?a=1 HTTP/1.1\r\nHost: g\r\n" + WEBSOCKET)
        assert client.answer().status == 101
        (request,) = backend.requests
        assert (request.target, request.get("authorization")) == (b"/x?a=1", b"Bearer T")
        assert request.get("x-kubesphere-rawquery") is None
        client.finish()


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("/api/v1/namespaces/n/pods/p/exec?command=sh", None),
        ("/apis/x.example/v1/things?watch=1", None),
        ("/kapis/terminal.kubesphere.io/v1alpha2/namespaces/n/pods/p/exec", None),
        ("/kapis/x.example/v1/things", None),
        ("/api/v1/namespaces/n/services/s/proxy/", None),
        # The page of an extension may have a sign-in of its own.
        ("/proxy/grafana/live", b"grafana_session=1"),
    ],
)
@pytest.mark.parametrize(
    ("connection", "at"),
    [(proxied(), "http://ks.member.example"), (direct(), "http://member.example:6443")],
    ids=["straight", "service-proxy"],
)
def test_cookies_do_not_go_to_a_member_with_an_upgrade(
    connection: dict[str, Any], at: str, path: str, kept: bytes | None
) -> None:
    """Who it is a token says there; what runs in a pod must not get what somebody is signed in with elsewhere. With
    other requests they go along, as recorded (mc-member).
    """
    with MemoryGateway(objects=[cluster("m", connection)]) as gateway:
        backend = gateway.serve(at, Backend())
        head = f"GET /clusters/m{path} HTTP/1.1\r\nHost: g\r\nCookie: grafana_session=1\r\n".encode()
        for fields in (WEBSOCKET, b"Authorization: Bearer T\r\n\r\n"):
            client = gateway.connect()
            client.send(head + fields)
            client.answer()
            client.close()
        upgrade, plain = backend.requests
        assert upgrade.get("upgrade") is not None and plain.get("upgrade") is None
        assert (upgrade.get("cookie"), plain.get("cookie")) == (kept, b"grafana_session=1")
        shown = "authorization" if at.startswith("http://ks.") else "x-kubesphere-authorization"
        assert upgrade.get(shown) == plain.get(shown) == b"Bearer T"


def test_refused_upgrade_is_passed_on() -> None:
    with MemoryGateway(objects=[cluster("m", proxied())]) as gateway:
        gateway.serve("http://ks.member.example", Backend(lambda conversation, request: answer(401, b"no")))
        client = gateway.connect()
        client.send(b"GET /clusters/m/x HTTP/1.1\r\nHost: g\r\n" + WEBSOCKET)
        found = client.answer()
        assert (found.status, found.body) == (401, b"no")


# -- both ends of a hop --------------------------------------------------------------------------------------------


def test_what_a_host_sends_is_understood_by_a_member() -> None:
    """A host's hop through the service proxy, and a member's gateway behind it."""
    with MemoryGateway(objects=[cluster("m", direct())]) as host:
        member_api = host.serve("http://member.example:6443", Backend())
        client = host.connect()
        client.send(b"GET /clusters/m/api/v1/pods?watch=1&dryRun=All HTTP/1.1\r\nHost: g\r\n" + WEBSOCKET)
        assert client.answer().status == 101
        (hop,) = member_api.requests
        client.finish()
    # The service proxy drops Authorization, and of an upgrade the query.
    path = hop.target.removeprefix(PROXY).partition(b"?")[0].decode()
    fields = [(n, v) for n, v in hop.headers if n.lower() not in (b"authorization", b"host", b"connection", b"upgrade")]
    with MemoryGateway(MULTICLUSTER % ("member", "host")) as member:
        found = member.get(path, fields)
        assert found.json()["target"] == "/api/v1/pods?watch=1&dryRun=All"
