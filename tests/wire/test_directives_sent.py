"""Directives on the whole way (spec 01, 5.6; the unit tests have every row): what the backend is sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ksproxyd.testing import Backend, MemoryGateway, reverse_proxy

PRE = {"stripPathPrefix": "/proxy/ex"}

ROWS: list[tuple[int, str, dict[str, Any], str]] = [
    (1, "/proxy/ex/images/a.png", PRE, "/images/a.png"),
    (2, "/proxy/exile/a", PRE, "/ile/a"),
    (3, "/proxy/EX/a", PRE, "/proxy/EX/a"),
    (5, "/proxy/ex/", PRE, "/"),
    (6, "/proxy/ex?x=1", PRE, "/?x=1"),
    (7, "/proxy/ex/index.html", {"stripPathSuffix": ".html"}, "/proxy/ex/index"),
    (9, "/proxy/ex/page.html", {**PRE, "stripPathSuffix": ".html"}, "/page"),
    (10, "/proxy/a%2Fb", {}, "/proxy/a%2Fb"),
    (11, "/proxy/a!b*c", {}, "/proxy/a!b*c"),
    (12, "/proxy/a%20b?z=1&a=2&flag&b=x+y", {}, "/proxy/a%20b?z=1&a=2&flag&b=x+y"),
    (13, "/proxy/a?a=1;b=2&c=3", {}, "/proxy/a?a=1;b=2&c=3"),
    (14, "/proxy/a?q=%zz&c=3", {}, "/proxy/a?q=%zz&c=3"),
    (16, "/proxy/ex/a", {"rewrite": ["* /foo.html"]}, "/foo.html"),
    (17, "/proxy/api/abc", {"rewrite": ["/proxy/api/* ?a=b"]}, "/proxy/api/abc?a=b"),
    (18, "/proxy/api/abc?k=v", {"rewrite": ["/proxy/api/* ?{query}&a=b"]}, "/proxy/api/abc?k=v&a=b"),
    (24, "/proxy/foo/bar?x=1", {"rewrite": ["* /new?"]}, "/new"),
    (25, "/proxy/foo/b%20r", {"rewrite": ["* /p{http.request.uri.path}"]}, "/p/proxy/foo/b%20r"),
    (29, "/proxy/foo", {"rewrite": ["/proxy/foo /a", "/a /b", "/b /c"]}, "/c"),
    (30, "/proxy/Foo", {"rewrite": ["/proxy/Foo /a"]}, "/a"),
    (43, "/proxy/docs/a/docs/b?r=/docs/", {"replace": ["/docs/ /v1/docs/"]}, "/proxy/v1/docs/a/v1/docs/b?r=/v1/docs/"),
    (49, "/proxy/aXb", {"replace": ["X %2F"]}, "/proxy/a%2Fb"),
    (53, "/proxy/doc//readme.md", {"pathRegexp": ["/{2,} /"]}, "/proxy/doc/readme.md"),
    (54, "/proxy/v1/users/42", {"pathRegexp": ["^/proxy/(v[0-9]+)/users/([0-9]+)$ /api/$2/$1"]}, "/api/42/v1"),
    (56, "/proxy/v1/users/42", {"pathRegexp": ["^/proxy/(v[0-9]+)/(.*)$ /${1}x/$2"]}, "/v1x/users/42"),
    (
        63,
        "/proxy/x/a.html?b=1",
        {
            "stripPathPrefix": "/proxy/x",
            "stripPathSuffix": ".html",
            "rewrite": ["/a /b?{query}&c=2"],
            "replace": ["/b /c"],
            "pathRegexp": ["^/c$ /d"],
        },
        "/d?b=1&c=2",
    ),
]


class Site:
    """A gateway with one ReverseProxy, whose directives change from row to row."""

    def __init__(self, gateway: MemoryGateway) -> None:
        self.gateway = gateway
        self.backend = gateway.serve("http://b.example", Backend())

    def direct(self, directives: dict[str, Any]) -> None:
        self.gateway.apply(reverse_proxy("ex", "/proxy*", "http://b.example", directives=directives))


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with MemoryGateway() as gateway:
        yield Site(gateway)


@pytest.mark.parametrize(("number", "target", "directives", "sent"), ROWS, ids=[f"row{row[0]}" for row in ROWS])
def test_row(site: Site, number: int, target: str, directives: dict[str, Any], sent: str) -> None:
    site.direct(directives)
    assert site.gateway.get(target).status == 200
    assert site.backend.requests[-1].target == sent.encode()


def test_upgrades_follow_the_same_directives(site: Site) -> None:
    site.direct({**PRE, "rewrite": ["/a /b?{query}&c=1"], "headerUp": ["X-A 1"]})
    client = site.gateway.connect()
    client.send(b"GET /proxy/ex/a?q=1 HTTP/1.1\r\nHost: g\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
    assert client.answer().status == 101
    request = site.backend.requests[-1]
    assert (request.target, request.get("x-a")) == (b"/b?q=1&c=1", b"1")
    client.finish()


def test_host_prefix_is_gone_before_the_directives(site: Site) -> None:
    site.gateway.apply(
        {
            "apiVersion": "cluster.kubesphere.io/v1alpha1",
            "kind": "Cluster",
            "metadata": {"name": "host", "labels": {"cluster-role.kubesphere.io/host": ""}},
        }
    )
    site.direct(PRE)
    assert site.gateway.get("/clusters/host/proxy/ex/a").status == 200
    assert site.backend.requests[-1].target == b"/a"


def test_no_target_that_would_break_the_request(site: Site) -> None:
    """Whatever is put in, one request with one target comes out."""
    rules = ["* /a b?c d#e", "/a* /{http.request.uri.path}\\x", "* /%zz%2e%2e/x"]
    for rule in rules:
        site.direct({"rewrite": [rule]})
        before = len(site.backend.requests)
        assert site.gateway.get("/proxy/%20%23%3fx").status == 200
        assert len(site.backend.requests) == before + 1
    assert not site.backend.problems


def test_the_same_request_by_other_directives(site: Site) -> None:
    """What was made of a target before is not made of it after the object has changed, and not on another's behalf."""
    for _ in range(2):
        for directives, sent in [
            (PRE, b"/a?b=1"),
            ({"stripPathPrefix": "/proxy"}, b"/ex/a?b=1"),
            ({}, b"/proxy/ex/a?b=1"),
            ({"stripPathSuffix": "/a"}, b"/proxy/ex?b=1"),
            ({**PRE, "method": "PUT"}, b"/a?b=1"),
        ]:
            site.direct(directives)
            for _ in range(3):
                assert site.gateway.get("/proxy/ex/a?b=1").status == 200
                assert site.backend.requests[-1].target == sent
                assert site.backend.requests[-1].method == directives.get("method", "GET").encode()


def test_rules_are_asked_each_time(site: Site) -> None:
    site.direct({"rewrite": ["* /{query}"]})
    for query in (b"a", b"b", b"a"):
        assert site.gateway.get("/proxy/ex?" + query.decode()).status == 200
        assert site.backend.requests[-1].target.startswith(b"/" + query)
