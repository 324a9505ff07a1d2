"""Classification of requests: the table of the wire contract, path hygiene, and that no input breaks it."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.model import request_info
from ksproxyd.model.request_info import RequestInfo, classify, without_cluster
from ksproxyd.model.status import StatusError

TABLE = [
    line.split(" ", 1)
    for line in (Path(__file__).parent / "request_info.txt").read_text().splitlines()
    if not line.startswith("#")
]


def split(request: str) -> tuple[str, bytes, bytes]:
    method, target = request.split(" ", 1)
    path, _, query = target.partition("?")
    return method, path.encode(), query.encode()


def fields(info: RequestInfo) -> dict[str, Any]:
    return {name: getattr(info, name) for name in RequestInfo.__struct_fields__}


NOTHING = fields(RequestInfo("", ""))


@pytest.mark.parametrize(("row", "line"), TABLE, ids=[row for row, _ in TABLE])
def test_table(row: str, line: str) -> None:
    request_line, *columns = line.split(" | ")
    method, path, query = split(request_line)
    if columns == ["refused"]:
        with pytest.raises(StatusError) as caught:
            classify(method, path, query)
        assert (caught.value.code, caught.value.reason) == (400, "BadRequest")
        return
    cluster, workspace, prefix, version, namespace, resource, verb, scope, kind = (
        "" if column == "-" else column for column in columns
    )
    expected = [cluster, workspace, prefix, namespace, verb, scope, "R" in kind, "K" in kind]
    info = classify(method, path, query)
    assert [
        info.cluster,
        info.workspace,
        info.api_prefix,
        info.namespace,
        info.verb,
        info.scope,
        info.is_resource,
        info.is_kubernetes,
    ] == expected
    assert [info.api_group, info.api_version] == (version.split("/") if version else ["", ""])
    assert "/".join(filter(None, (info.resource, info.name, info.subresource))) == resource
    assert info.path == (path.decode().replace(f"/clusters/{cluster}", "", 1) if cluster else path.decode())


def test_the_table_is_complete() -> None:
    assert [row for row, _ in TABLE] == [str(row) for row in range(1, 79)]


def test_parts_hold_all_segments_from_the_resource_on() -> None:
    assert classify("GET", b"/api/v1/nodes/n1/proxy/metrics", b"").parts == ("nodes", "n1", "proxy", "metrics")
    assert classify("GET", b"/api/v1/proxy/namespaces/ns1/services/s1/x", b"").parts == ("services", "s1", "x")
    assert classify("GET", b"/api/v1/pods", b"fieldSelector=metadata.name%3Dp").parts == ("pods",)
    assert classify("GET", b"/apis/apps/v1", b"").parts == ()


def test_watch_without_kind_says_so() -> None:
    with pytest.raises(StatusError, match="unable to determine kind and namespace from url: '/api/v1/watch'"):
        classify("GET", b"/api/v1/watch", b"")


@pytest.mark.parametrize(
    "path",
    [
        "/clusters/c/api",
        "/clusters/c/api/v1",
        "/clusters/c/kapi",
        "/clusters/c/kapi/v1",
        "/clusters/c/api/",
        "/api/clusters/c/v1",
        "/kapi/clusters/c/v1",
        "/clusters/c/apis/apps",
        "/clusters/c/kapis/g",
    ],
)
def test_discovery_below_a_cluster_is_no_resource(path: str) -> None:
    info = classify("GET", path.encode(), b"")
    assert (info.is_resource, info.cluster, info.verb) == (False, "c", "GET")
    assert info.is_kubernetes is ("kapi" not in path)
    assert "clusters" not in info.path


@pytest.mark.parametrize(
    "path",
    [
        # dot segments, however they are written
        "/proxy/a/../b",
        "/proxy/a/%2e%2e/b",
        "/proxy/a/%2E./b",
        "/proxy/a/.%2e",
        "/proxy/a%2F..%2Fb",
        "/proxy/a%5C..%5Cb",
        "/proxy/a/..%5Cb",
        "/proxy/./a",
        "/..",
        "/.",
        "/dist/x/..",
        "/kapis/g.io/v1/namespaces/mine/../other/x",
        "/kapis/g.io/v1/namespaces/mine/%2e%2e/other/x",
        "/api/v1/namespaces/n/services/s/proxy/../../secrets",
        "/api/v1/namespaces/n/services/s/proxy/%2e%2e/x",
        "/clusters/../api/v1/nodes",
        "/clusters/%2e%2e/api/v1/nodes",
        # NUL and escapes that are none
        "/version%00",
        "/proxy/a%zz",
        "/proxy/a%",
        "/proxy/a%2",
        # empty segments and hidden slashes in API paths
        "/kapis//version",
        "/kapis/version//",
        "//api/v1/nodes",
        "/api/v1//nodes",
        "/api/v1/nodes//",
        "/api%2Fv1/nodes",
        "/%61pi/v1/a%2fb",
        "/kapis/g.io/v1/namespaces/a%2Fb/x",
        "/kapis/g.io/v1/things/a%5Cb",
        "/kapis/g.io/v1/things/a\\b",
        "/kapi/v1/x%2f",
        "/clusters/c//api/v1/nodes",
        "/clusters/c/api/v1//nodes",
        "/clusters/c/api%2Fv1/nodes",
        "/api/v1/namespaces/n%2Fx/services/s/proxy/a",
        "/api/v1/namespaces/n/services/s%2Fx/proxy/a",
        "/api/v1/namespaces/n/services//proxy/a",
        "/api/v1/namespaces/n/services/s/proxy%2fa",
        "/api/v1/namespaces/n/configmaps/s/proxy/a%2Fb",
        "/apis/apps/v1/namespaces/n/services/s/proxy/a%2Fb",
        "/kapis/g.io/v1/namespaces/n/services/s/proxy/a%2Fb",
        "/api/v1/proxy/namespaces/ns1/services/s1/a%2Fb",
        # a disguised or empty cluster
        "/%63lusters/c/api/v1/nodes",
        "/clusters/%63/api/v1/nodes",
        "/clusters%2Fc/proxy/x",
        "/clusters/a%2Fb/proxy/x",
        "//clusters/c/proxy/x",
        "/clusters//proxy/x",
        "/kapis/clusters/%63/g.io/v1/things",
        "/kapis/%63lusters/c/g.io/v1/things",
    ],
)
def test_refused_paths(path: str) -> None:
    with pytest.raises(StatusError) as caught:
        classify("GET", path.encode(), b"")
    assert (caught.value.code, caught.value.reason) == (400, "BadRequest")
    assert caught.value.message


@pytest.mark.parametrize(
    ("path", "decoded"),
    [
        ("/proxy/ex//y", "/proxy/ex//y"),
        ("/proxy/ex/a%2Fb", "/proxy/ex/a/b"),
        ("/proxy/ex/a%5Cb", "/proxy/ex/a\\b"),
        ("//version", "//version"),
        ("/dist//x/a%20b.js", "/dist//x/a b.js"),
        ("/.well-known/openid-configuration", "/.well-known/openid-configuration"),
        ("/proxy/ex/...", "/proxy/ex/..."),
        ("/proxy/ex/.a/b..", "/proxy/ex/.a/b.."),
        ("/proxy/%ff", "/proxy/\ufffd"),
        ("/proxy/%252e%252e/x", "/proxy/%2e%2e/x"),
        ("*", "*"),
        ("", ""),
    ],
)
def test_other_paths_are_taken_as_they_are(path: str, decoded: str) -> None:
    assert fields(classify("GET", path.encode(), b"")) == {**NOTHING, "path": decoded, "verb": "GET"}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/api/v1/namespaces/n/services/s/proxy/a%2Fb", ("services", "s", "n")),
        ("/api/v1/namespaces/n/services/https:s:web/proxy//a", ("services", "https:s:web", "n")),
        ("/api/v1/namespaces/n/services/https%3As%3Aweb/proxy//a", ("services", "https:s:web", "n")),
        ("/api/v1/namespaces/n/pods/p:80/proxy/a%5Cb//", ("pods", "p:80", "n")),
        ("/api/v1/nodes/n1/proxy/a%2fb", ("nodes", "n1", "")),
        ("/clusters/c/api/v1/nodes/n1/proxy/a%2fb", ("nodes", "n1", "")),
        ("/api/clusters/c/v1/nodes/n1/proxy/a%2fb", ("nodes", "n1", "")),
    ],
)
def test_tail_of_a_proxy_subresource_is_free(path: str, expected: tuple[str, str, str]) -> None:
    info = classify("GET", path.encode(), b"")
    assert (info.resource, info.name, info.namespace) == expected
    assert (info.subresource, info.verb) == ("proxy", "get")


@pytest.mark.parametrize(
    ("request_line", "workspace"),
    [
        ("GET /api/v1/namespaces?watch=1&labelSelector=kubesphere.io/workspace=ws1", "ws1"),
        ("GET /api/v1/namespaces?watch=1&labelSelector=kubesphere.io%2Fworkspace%3D%3Dws1", "ws1"),
        ("GET /api/v1/namespaces?watch=1&labelSelector=a!%3Db,kubesphere.io/workspace=ws1", "ws1"),
        ("GET /clusters/c/api/v1/namespaces?watch=1&labelSelector=kubesphere.io/workspace%3Dws1", "ws1"),
        ("GET /api/v1/namespaces?labelSelector=kubesphere.io/workspace%3Dws1", ""),
        ("GET /api/v1/namespaces?watch=false&labelSelector=kubesphere.io/workspace%3Dws1", ""),
        ("GET /api/v1/namespaces?watch=1&labelSelector=kubesphere.io/workspace+in+(ws1)", ""),
        ("GET /api/v1/namespaces?watch=1&labelSelector=kubesphere.io/workspace!%3Dws1", ""),
        ("GET /api/v1/namespaces?watch=1&labelSelector=kubesphere.io/workspace", ""),
        ("GET /api/v1/namespaces?watch=1&labelSelector=kubesphere.io/workspace%3D", ""),
        ("GET /api/v1/namespaces?watch=1&labelSelector=kubesphere.io/workspace%3DWs", ""),
        ("GET /api/v1/namespaces?watch=1&labelSelector=kubesphere.io/workspace%3Dws1,,", ""),
        ("GET /api/v1/namespaces?watch=1&labelSelector=a&labelSelector=kubesphere.io/workspace%3Dws1", ""),
        ("GET /api/v1/watch/nodes/n1/proxy?labelSelector=kubesphere.io/workspace%3Dws1", ""),
        ("GET /kapis/g.io/v1/things?watch=1&labelSelector=kubesphere.io/workspace%3Dws1", ""),
        ("GET /apis/iam.kubesphere.io/v1beta1/users?watch=1&labelSelector=kubesphere.io/workspace%3Dws1", ""),
    ],
)
def test_watch_of_a_workspace(request_line: str, workspace: str) -> None:
    info = classify(*split(request_line))
    assert info.workspace == workspace
    assert (info.scope == "Workspace") is bool(workspace)


def test_a_workspace_in_the_path_is_not_replaced_by_a_selector() -> None:
    path = b"/apis/iam.kubesphere.io/v1beta1/workspaces/mine/things"
    info = classify("GET", path, b"watch=1&labelSelector=kubesphere.io/workspace%3Dother")
    assert (info.workspace, info.scope, info.verb) == ("mine", "Workspace", "watch")


@pytest.mark.parametrize(
    ("query", "verb", "name"),
    [
        ("watch=False", "list", ""),
        ("watch=FALSE", "list", ""),
        ("watch=no", "watch", ""),
        ("watch=&watch=0", "watch", ""),
        ("w%61tch=1", "watch", ""),
        ("Watch=1", "list", ""),
        ("watch=1;x", "list", ""),
        ("watch=%zz", "list", ""),
        ("limit=5&continue=abc", "list", ""),
        ("fieldSelector=metadata.name=p1", "list", "p1"),
        ("fieldSelector=metadata.name%3D%3Dp1,status.phase!%3DRunning&watch=1", "watch", "p1"),
        ("fieldSelector=metadata.name!%3Dp1", "list", ""),
        ("fieldSelector=metadata.name%3D..", "list", ""),
        ("fieldSelector=metadata.name%3Da%2Fb", "list", ""),
        ("fieldSelector=metadata.name%3Da%2525", "list", ""),
        ("fieldSelector=metadata.name", "list", ""),
        ("fieldSelector=metadata.name%3Dp1&labelSelector=a+in+(", "list", ""),
        ("fieldSelector=metadata.name%3Dp1&labelSelector=a+in+(b)", "list", "p1"),
        ("fieldSelector=metadata.name%3Dp1&timeoutSeconds=x&watch", "watch", ""),
        ("fieldSelector=metadata.name%3Dp1&limit=", "list", ""),
        ("fieldSelector=metadata.name%3Dp1&limit=1", "list", "p1"),
        ("fieldSelector=&fieldSelector=metadata.name%3Dp1", "list", ""),
    ],
)
def test_list_options(query: str, verb: str, name: str) -> None:
    for method in ("GET", "HEAD"):
        info = classify(method, b"/api/v1/namespaces/ns1/pods", query.encode())
        assert (info.verb, info.name, info.resource) == (verb, name, "pods")


def test_options_mean_nothing_elsewhere() -> None:
    query = b"watch=1&fieldSelector=metadata.name%3Dx&labelSelector=kubesphere.io/workspace%3Dw"
    for method, path, verb in (
        ("POST", b"/api/v1/nodes", "create"),
        ("DELETE", b"/api/v1/nodes", "deletecollection"),
        ("GET", b"/api/v1/nodes/n1", "get"),
        ("list", b"/proxy/x/y", "list"),
        ("watch", b"/proxy/x/y", "watch"),
    ):
        info = classify(method, path, query)
        assert info == classify(method, path, b"")
        assert info.verb == verb


@pytest.mark.parametrize(
    "path",
    [
        b"/clusters/c/api/v1/nodes/n1/proxy/a%2Fb//c",
        b"/clusters/c/proxy/x/a%2Fb//c",
        b"/clusters/c/apis",
        b"/kapis/clusters/c/g.io/v1/clusters/c/x",
        b"/api/clusters/c",
    ],
)
def test_without_cluster_keeps_the_rest(path: bytes) -> None:
    info = classify("GET", path, b"")
    assert info.cluster == "c"
    rest = without_cluster(path, info)
    assert rest == path.replace(b"/clusters/c", b"", 1)
    assert without_cluster(rest, classify("GET", rest, b"")) == rest


# -- properties ------------------------------------------------------------------------------------------------

WORDS = [
    "api", "apis", "kapis", "kapi", "clusters", "c", "v1", "apps", "g.io", "namespaces", "ns1", "workspaces", "ws1",
    "workspacetemplates", "watch", "proxy", "pods", "p1", "nodes", "services", "status", "finalize", "log", "users",
    "iam.kubesphere.io", "", ".", "..", "%2e%2e", "a%2Fb", "%00", "%zz", "é", "dist", "oauth",
]  # fmt: skip
METHODS = st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW", "list", "watch", ""])
PATHS = st.lists(st.sampled_from(WORDS), max_size=9).map(lambda words: ("/" + "/".join(words)).encode())
QUERIES = st.one_of(
    st.binary(max_size=60),
    st.lists(
        st.sampled_from(
            [
                "watch",
                "watch=1",
                "watch=false",
                "limit=1",
                "fieldSelector=metadata.name%3Dx",
                "labelSelector=kubesphere.io/workspace%3Dw",
                "labelSelector=%3D",
                "%",
            ]
        ),
        max_size=4,
    ).map(lambda pairs: "&".join(pairs).encode()),
)


def attempt(method: str, path: bytes, query: bytes) -> RequestInfo | None:
    try:
        return classify(method, path, query)
    except StatusError as error:
        assert error.code == 400
        return None


@given(METHODS, st.one_of(st.binary(max_size=80), PATHS), QUERIES)
def test_total(method: str, path: bytes, query: bytes) -> None:
    info = attempt(method, path, query)
    if info is None:
        return
    segments = info.path.replace("\\", "/").split("/")
    assert "." not in segments and ".." not in segments and "\0" not in info.path
    if info.is_resource:
        assert info.resource == info.parts[0]
        assert info.scope in ("Global", "Cluster", "Workspace", "Namespace")
        assert info.api_prefix in ("api", "apis", "kapis", "kapi")
        assert (info.scope == "Namespace") <= bool(info.namespace)
        assert (info.scope == "Workspace") <= bool(info.workspace)
    else:
        assert info.verb == method
        assert (info.scope, info.namespace, info.resource, info.parts) == ("", "", "", ())
    assert info.path.encode() in (path, info.path.encode())
    assert classify(method, path, query) == info


@given(METHODS, PATHS, QUERIES)
def test_a_cluster_prefix_changes_nothing_but_the_cluster(method: str, path: bytes, query: bytes) -> None:
    plain = attempt(method, path, query)
    prefixed = attempt(method, b"/clusters/member" + path, query)
    if plain is None or plain.cluster or prefixed is None or not prefixed.cluster:
        return
    bare = {**fields(prefixed), "cluster": "", "api_prefix": plain.api_prefix}
    # Behind a cluster prefix discovery knows its prefix even where R1 ends early without one, and "clusters" behind
    # an API prefix is a version or group there, not the legacy form.
    if b"/clusters" not in path:
        assert bare == fields(plain)
        assert prefixed.api_prefix == plain.api_prefix or not plain.is_resource
    assert without_cluster(b"/clusters/member" + path, prefixed) == path


@given(METHODS, PATHS, QUERIES)
def test_escaping_what_needs_no_escape_changes_nothing_of_what_is_authorized(
    method: str, path: bytes, query: bytes
) -> None:
    info = attempt(method, path, query)
    if info is None or info.cluster or b"%" in path:
        return
    escaped = "/".join("".join(f"%{byte:02x}" for byte in part.encode()) for part in path.decode().split("/"))
    assert attempt(method, escaped.encode(), query) == info


@given(
    st.text(st.characters(codec="utf-8", exclude_characters="/\\\0"), min_size=1).filter(lambda s: s not in (".", ".."))
)
def test_names_are_decoded_once(name: str) -> None:
    info = classify("GET", f"/api/v1/nodes/{quote(name, safe='')}".encode(), b"")
    assert (info.name, info.parts) == (name, ("nodes", name))


# -- memory ----------------------------------------------------------------------------------------------------


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = request_info._Memory()
    monkeypatch.setattr(request_info, "_memory", memory)
    for i in range(3 * memory.ENTRIES):
        classify("GET", b"/proxy/%d" % i, b"")
    assert len(memory.young) + len(memory.old) <= 2 * memory.ENTRIES
    padding = b"x" * 2000
    for i in range(3000):
        classify("GET", b"/proxy/%d/" % i + padding, b"")
    for generation in (memory.young, memory.old):
        assert sum(len(key[1]) for key in generation) <= memory.BYTES


def test_long_and_odd_keys_are_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = request_info._Memory()
    monkeypatch.setattr(request_info, "_memory", memory)
    classify("GET", b"/proxy/" + b"x" * 3000, b"")
    classify("GET", b"/api/v1/nodes/n/proxy" + b"/ab" * 100, b"")
    classify("M" * 100, b"/proxy/x", b"")
    classify("GET", b"/api/v1/pods", b"watch=1&x=" + b"y" * 3000)
    assert set(memory.young) == {("GET", b"/api/v1/pods")}


def test_what_is_still_asked_for_survives(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = request_info._Memory()
    monkeypatch.setattr(request_info, "_memory", memory)
    first = classify("GET", b"/api/v1/pods", b"watch=1")
    for i in range(3 * memory.ENTRIES):
        classify("GET", b"/proxy/%d" % i, b"")
        if i % 1000 == 0:
            assert classify("GET", b"/api/v1/pods", b"watch=1") is first
