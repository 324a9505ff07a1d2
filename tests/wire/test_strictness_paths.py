"""Paths that could mean one thing to us and another to a backend (spec 01, 2): refused before anybody is asked."""

from __future__ import annotations

import pytest
from support_strictness import Case, Site, check_behind, check_bytewise, check_whole, site, table

__all__ = ["site"]

DOTS = "'.' or '..' segment"
EMPTY = "an empty segment or an encoded slash"
NUL = "NUL"
ESCAPE = "invalid URL escape"
CLUSTER = "write the cluster in the path as"


def path(target: str, says: str, method: str = "GET") -> Case:
    """A request whose framing is sound, so that the connection stays."""
    raw = f"{method} {target} HTTP/1.1\r\nHost: g.example\r\n\r\n".encode("latin-1")
    return Case(f"{method} {target}" if method != "GET" else target, raw, 400, says, True)


EVERYWHERE = [
    path(prefix + tail, says)
    for prefix in ("/proxy/b/", "/kapis/g.example/v1/namespaces/mine/", "/api/v1/namespaces/mine/")
    for tail, says in [
        ("../other/x", DOTS),
        ("./x", DOTS),
        ("x/..", DOTS),
        ("x/.", DOTS),
        ("%2e%2e/other/x", DOTS),
        ("%2E%2E/other/x", DOTS),
        ("%2e./other/x", DOTS),
        (".%2e/other/x", DOTS),
        ("%2e/x", DOTS),
        ("..%2fother", DOTS),
        ("..%2Fother", DOTS),
        ("x%2f..%2fother", DOTS),
        ("..%5cother", DOTS),
        ("..%5Cother", DOTS),
        ("x%5c..", DOTS),
        ("x%00", NUL),
        ("%00", NUL),
        ("x%00/y", NUL),
        ("x%", ESCAPE),
        ("x%2", ESCAPE),
        ("x%zz", ESCAPE),
        ("x%2/y", ESCAPE),
        ("%%30", ESCAPE),
        ("x%u0041", ESCAPE),
        ("%g0", ESCAPE),
        ("%-1", ESCAPE),
    ]
]

API = [
    path(target, says)
    for target, says in [
        ("//api/v1/nodes", EMPTY),
        ("/api//v1/nodes", EMPTY),
        ("/api/v1//nodes", EMPTY),
        ("/api/v1/nodes//", EMPTY),
        ("/api/v1/namespaces//pods", EMPTY),
        ("/apis/apps//v1/deployments", EMPTY),
        ("/kapis//g.example/v1/x", EMPTY),
        ("/kapis/g.example/v1//x", EMPTY),
        ("/kapi/v1//x", EMPTY),
        ("/api/v1/namespaces/a%2Fb/pods", EMPTY),
        ("/api/v1/namespaces/a%2fb/pods", EMPTY),
        ("/api/v1/namespaces/a%5Cb/pods", EMPTY),
        ("/api/v1/namespaces/a%5cb/pods", EMPTY),
        ("/kapis/g.example/v1/namespaces/a%2Fb/x", EMPTY),
        ("/api%2Fv1/nodes", EMPTY),
        ("/apis%2fapps/v1/deployments", EMPTY),
        ("/kapis%2fg.example/v1/x", EMPTY),
        ("/api/v1/namespaces/mine/services/a%2Fb/proxy/x", EMPTY),
        ("/api/v1/namespaces/mine/pods%2Fp/proxy/x", EMPTY),
        ("/clusters//api/v1/nodes", CLUSTER),
        ("/clusters/h%6Fst/api/v1/nodes", CLUSTER),
        ("//clusters/host/api/v1/nodes", CLUSTER),
        ("/clusters//host/api/v1/nodes", CLUSTER),
        ("/clusters/host//api/v1/nodes", EMPTY),
        ("/%63lusters/host/api/v1/nodes", CLUSTER),
        ("/api/v1/watch", "unable to determine"),
        ("/kapis/g.example/v1/proxy", "unable to determine"),
    ]
]

OTHER_METHODS = [
    path("/proxy/b/../x", DOTS, method) for method in ("HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND")
]

CASES = [*EVERYWHERE, *API, *OTHER_METHODS]


@table(CASES)
def test_whole(site: Site, case: Case) -> None:
    check_whole(site, case)


@table(CASES)
def test_behind_others(site: Site, case: Case) -> None:
    check_behind(site, case)


@table(CASES[::7])
def test_byte_by_byte(site: Site, case: Case) -> None:
    check_bytewise(site, case)


@pytest.mark.parametrize(
    "target",
    [
        # What looks similar and is in order.
        "/proxy/b/...",
        "/proxy/b/..x",
        "/proxy/b/x..y",
        "/proxy/b/.x",
        "/proxy/b/x.",
        "/proxy/b//y",
        "/proxy/b/a%2Fb",
        "/proxy/b/a%5Cb",
        "/proxy/b/%252e%252e/x",
        "/proxy/b/x?a=../..&b=%2e%2e%2f&c=%00",
        "/kapis/g.example/v1/namespaces/mine/x/",
        "/kapis/g.example/v1/namespaces/mine/x/...",
    ],
)
def test_what_only_looks_alike(site: Site, target: str) -> None:
    assert site.gateway.get(target).status == 200
    assert site.backend.requests[-1].target == target.encode()
