"""The wrapped transport: where links lead."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.model.message import Fields
from ksproxyd.tree.html import LINK_HEAD_BYTES
from ksproxyd.tree.links import LinkRewriter, clean_path, narrow_accept_encoding

GOLDEN = Path(__file__).parents[4] / "shared" / "golden"


def links(prefix: bytes = b"/proxy/ex", *hosts: bytes) -> LinkRewriter:
    return LinkRewriter(prefix, frozenset(hosts or (b"b.test:8080",)), b"gw.example", b"https")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        # Paths are below the prefix.
        (b"/login", b"/proxy/ex/login"),
        (b"/", b"/proxy/ex/"),
        (b"/a/b?c=/d#/e", b"/proxy/ex/a/b?c=/d#/e"),
        (b" /login ", b"/proxy/ex/login "),
        (b"/proxy/exile", b"/proxy/ex/proxy/exile"),
        # What the backend has put there itself stays.
        (b"/proxy/ex", b"/proxy/ex"),
        (b"/proxy/ex/", b"/proxy/ex/"),
        (b"/proxy/ex?x", b"/proxy/ex?x"),
        # The backend's own host becomes a path.
        (b"http://b.test:8080/there", b"/proxy/ex/there"),
        (b"https://B.TEST:8080/there", b"/proxy/ex/there"),
        (b"HTTP://b.test:8080", b"/proxy/ex/"),
        (b"http://b.test:8080?q", b"/proxy/ex/?q"),
        (b"http://b.test:8080#f", b"/proxy/ex/#f"),
        (b"//b.test:8080/x", b"/proxy/ex/x"),
        (b"http://b.test:8080 ", b"/proxy/ex/"),
        (b"http://user:secret@b.test:8080/x", b"/proxy/ex/x"),
        (b"http://b.test:8080/proxy/ex/x", b"/proxy/ex/x"),
        (b"http:\\\\b.test:8080\\x", b"/proxy/ex/x"),
        (b"http:////b.test:8080/x", b"/proxy/ex/x"),
        (b"https://gw.example/x", b"/proxy/ex/x"),
        (b"http://gw.example:80/x", b"/proxy/ex/x"),
        # Others' stay.
        (b"http://elsewhere.example/x", b"http://elsewhere.example/x"),
        (b"http://b.test/x", b"http://b.test/x"),
        (b"http://b.test:8080.evil/x", b"http://b.test:8080.evil/x"),
        (b"http://b.test:8080@evil/x", b"http://b.test:8080@evil/x"),
        (b"//elsewhere.example/x", b"//elsewhere.example/x"),
        (b"ftp://b.test:8080/x", b"ftp://b.test:8080/x"),
        # No URL of that kind.
        (b"rel/path", b"rel/path"),
        (b"../up", b"../up"),
        (b"?q", b"?q"),
        (b"#f", b"#f"),
        (b"", b""),
        (b"//", b"//"),
        (b"mailto:a@b.test", b"mailto:a@b.test"),
        (b"data:text/html,/x", b"data:text/html,/x"),
        (b"javascript:go('/x')", b"javascript:go('/x')"),
    ],
)
def test_where_a_link_leads(value: bytes, expected: bytes) -> None:
    assert links().location(value) == expected
    assert links().link(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"&#47;login", b"/proxy/ex/login"),
        (b"&#x2F;login", b"/proxy/ex/login"),
        (b"&sol;login", b"/proxy/ex/login"),
        (b"/a?b=1&amp;c=2", b"/proxy/ex/a?b=1&amp;c=2"),
        (b"http&colon;&#47;/b.test:8080/x?a&amp;b", b"/proxy/ex/x?a&amp;b"),
        (b"http://b&#46;test&#58;8080/x", b"/proxy/ex/x"),
        (b"http://b&#0000046;test:8080", b"/proxy/ex/"),
        (b"ht\ntp:/\t/b.te\rst:8080/x\ny", b"/proxy/ex/x\ny"),
        (b"\n/x", b"/proxy/ex/x"),
        (b"&#10;/x", b"/proxy/ex/x"),
        (b"rel?a=1&amp;b=/2", b"rel?a=1&amp;b=/2"),
        (b"http://elsewhere.example/?a&amp;b", b"http://elsewhere.example/?a&amp;b"),
        (b"&eacute;&#233;&#x3b1;&#99999;&unknown;&;&#;&#x;&", b"&eacute;&#233;&#x3b1;&#99999;&unknown;&;&#;&#x;&"),
    ],
)
def test_character_references_and_line_ends_hide_nothing(value: bytes, expected: bytes) -> None:
    assert links().link(value) == expected


def test_without_a_prefix_only_hosts_are_taken_off() -> None:
    bare = links(b"")
    assert bare.location(b"/login") == b"/login"
    assert bare.location(b"http://b.test:8080/login") == b"/login"
    assert bare.location(b"http://b.test:8080") == b"/"


@pytest.mark.parametrize("prefix", [b"", b"/", b"//"])
@pytest.mark.parametrize("slashes", [b"//", b"/\\", b"\\/", b"\\\\"])
def test_a_path_with_two_slashes_never_becomes_a_host(prefix: bytes, slashes: bytes) -> None:
    rewritten = links(prefix).location(b"http://b.test:8080" + slashes + b"evil.example/x")
    assert rewritten == b"/./" + slashes[1:] + b"evil.example/x"


@pytest.mark.parametrize(
    ("prefix", "clean"),
    [
        (b"/proxy/ex/", b"/proxy/ex"),
        (b"proxy", b"/proxy"),
        (b"//evil.example", b"/evil.example"),
        (b'/a"><script>', b"/a%22%3E%3Cscript%3E"),
        (b"/a'b&c d\r\ne\xe9", b"/a%27b%26c%20d%0D%0Ae%E9"),
        (b"/a%2Fb", b"/a%2Fb"),
    ],
)
def test_a_prefix_is_fit_for_headers_and_markup(prefix: bytes, clean: bytes) -> None:
    assert links(prefix).location(b"/x") == clean + b"/x"


def test_default_ports_are_the_same_host() -> None:
    rewriter = links(b"/p", b"b.test:443", b"c.test", b"[::1]", b"[::2]:80")
    for host in (b"b.test", b"b.test:443", b"c.test:80", b"[::1]:443", b"[::1]", b"[::2]"):
        assert rewriter.location(b"https://" + host + b"/x") == b"/p/x"
    assert rewriter.location(b"https://c.test:8080/x") == b"https://c.test:8080/x"


PARTS = rb"http: HTTPS: / \ b.test:8080 evil.example @ &#47; &#9; x ? # proxy/ex ..".split()
URLS = st.lists(st.sampled_from([*PARTS, b" ", b"\t"]), max_size=12).map(b"".join)


@given(URLS, st.sampled_from([b"", b"/proxy/ex"]))
def test_rewriting_names_no_new_host_and_is_done_once(url: bytes, prefix: bytes) -> None:
    rewriter = links(prefix)
    rewritten = rewriter.link(url)
    if rewritten != url:
        assert rewritten.lstrip(bytes(range(33)))[:1] == b"/"
        assert rewritten.lstrip(bytes(range(33)))[1:2] not in (b"/", b"\\")
    assert rewriter.link(rewritten) == rewritten


@given(URLS)
def test_only_the_first_part_of_a_value_decides(url: bytes) -> None:
    padded = url + b"/" + b"y" * LINK_HEAD_BYTES
    rewriter = links()
    head, rest = padded[:LINK_HEAD_BYTES], padded[LINK_HEAD_BYTES:]
    assert rewriter.link(padded) == rewriter.link(head) + rest


def answer(**fields: str) -> Fields:
    return Fields((name.replace("_", "-").encode(), value.encode()) for name, value in fields.items())


class TestResponse:
    def test_location_is_rewritten_and_the_body_left_alone(self) -> None:
        fields = answer(Location="http://b.test:8080/login", Content_Type="text/html", Content_Length="5")
        assert links().response("GET", 302, fields) is None
        assert fields.pairs() == [
            (b"Content-Type", b"text/html"),
            (b"Content-Length", b"5"),
            (b"Location", b"/proxy/ex/login"),
        ]

    def test_cors_grants_of_the_backend_are_dropped(self) -> None:
        fields = answer(
            Access_Control_Allow_Origin="*",
            Access_Control_Allow_Credentials="true",
            Access_Control_Allow_Headers="x",
            Access_Control_Allow_Methods="GET",
            access_control_allow_private_network="true",
            Access_Control_Expose_Headers="x",
        )
        assert fields.get(b"access-control-allow-origin") == b"*"
        links().response("GET", 200, fields)
        assert [key for key, _, _ in fields] == [b"access-control-expose-headers"]
        assert fields.get(b"access-control-allow-origin") is None

    def test_fields_about_the_bytes_go_and_the_tag_is_weak(self) -> None:
        fields = answer(
            Content_Type="text/html; charset=utf-8",
            Content_Length="9",
            Accept_Ranges="bytes",
            Content_MD5="x",
            ETag='"abc"',
            Cache_Control="no-cache",
        )
        assert links().response("GET", 200, fields) is not None
        assert dict(fields.pairs()) == {
            b"Content-Type": b"text/html; charset=utf-8",
            b"Cache-Control": b"no-cache",
            b"ETag": b'W/"abc"',
        }
        fields = answer(Content_Type="text/html", ETag='W/"abc"')
        links().response("GET", 200, fields)
        assert fields.get(b"etag") == b'W/"abc"'

    @pytest.mark.parametrize("media_type", ["text/html", "TEXT/HTML", "text/html; charset=gb18030", " text/html ;x"])
    def test_pages_are_rewritten(self, media_type: str) -> None:
        body = links().response("GET", 200, answer(Content_Type=media_type))
        assert body is not None
        assert b"".join(body.steps(b'<a href="/x">')) + body.end() == b'<a href="/proxy/ex/x">'

    @pytest.mark.parametrize(
        ("method", "status", "fields"),
        [
            ("GET", 200, {}),
            ("GET", 200, {"Content_Type": "application/json"}),
            ("GET", 200, {"Content_Type": "application/xhtml+xml"}),
            ("GET", 200, {"Content_Type": "text/htmlx"}),
            ("GET", 200, {"Content_Type": "text/html", "Content_Encoding": "br"}),
            ("GET", 200, {"Content_Type": "text/html", "Content_Encoding": "gzip, gzip"}),
            ("GET", 206, {"Content_Type": "text/html", "Content_Range": "bytes 0-9/100"}),
            ("GET", 416, {"Content_Type": "text/html", "Content_Range": "bytes */100"}),
            ("GET", 200, {"Content_Type": "text/html; charset=utf-16le"}),
            ("GET", 200, {"Content_Type": 'text/html; charset="ISO-2022-JP"'}),
        ],
    )
    def test_other_bodies_stay_with_their_fields(self, method: str, status: int, fields: dict[str, str]) -> None:
        head = answer(**fields, Content_Length="9", ETag='"x"')
        before = head.pairs()
        assert links().response(method, status, head) is None
        assert head.pairs() == before

    @pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 304), ("GET", 204)])
    def test_answers_without_a_body_say_what_the_page_would(self, method: str, status: int) -> None:
        fields = answer(Content_Type="text/html", Content_Length="9", ETag='"x"')
        body = links().response(method, status, fields)
        assert body is not None and b"".join(body.steps(b"")) + body.end() == b""
        assert fields.pairs() == [(b"Content-Type", b"text/html"), (b"ETag", b'W/"x"')]

    def test_compressed_pages_are_rewritten(self) -> None:
        body = links().response("GET", 200, answer(Content_Type="text/html", Content_Encoding="GZip"))
        assert body is not None
        sent = b"".join(body.steps(gzip.compress(b'<img src="/x">'))) + body.end()
        assert gzip.decompress(sent) == b'<img src="/proxy/ex/x">'


def test_the_backend_is_told_how_it_was_reached() -> None:
    assert links().request_fields(b"/dir//page/../x/") == [
        (b"X-Forwarded-Uri", b"/dir/x/"),
        (b"X-Forwarded-Proto", b"https"),
        (b"X-Forwarded-Host", b"gw.example"),
    ]
    nameless = LinkRewriter(b"", frozenset(), b"", b"http").request_fields(b"/")
    assert nameless == [(b"X-Forwarded-Uri", b"/"), (b"X-Forwarded-Proto", b"http")]


@pytest.mark.parametrize(
    ("path", "clean"),
    [
        (b"/", b"/"),
        (b"/a", b"/a"),
        (b"/a/", b"/a/"),
        (b"//a//b//", b"/a/b/"),
        (b"/a/./b", b"/a/b"),
        (b"/a/b/..", b"/a/"),
        (b"/../..", b"/"),
        (b"/a/.b", b"/a/.b"),
        (b"/a%2F..%2Fb", b"/a%2F..%2Fb"),
    ],
)
def test_clean_path(path: bytes, clean: bytes) -> None:
    assert clean_path(path) == clean


@pytest.mark.parametrize(
    ("accept", "sent"),
    [
        (b"gzip, deflate, br, zstd", b"gzip, deflate"),
        (b"br;q=1.0, gzip;q=0.8, *;q=0.1", b"gzip;q=0.8"),
        (b"br", b"identity"),
        (b"*", b"identity"),
        (b"", b"identity"),
        (b"GZIP , identity;q=0", b"GZIP, identity;q=0"),
    ],
)
def test_backends_are_asked_for_codings_that_can_be_undone(accept: bytes, sent: bytes) -> None:
    assert narrow_accept_encoding(accept) == sent


CASES = {
    "rp-wrapstrip-html": b"/proxy/wrapstrip.example",
    "rp-all": b"/proxy/all.example",
    "mc-member-html": b"/clusters/member-ks",
    "rp-wrapstrip-302": b"/proxy/wrapstrip.example",
    "rp-wrap-302": b"",
    "mc-member-redirect": b"/clusters/member-ks",
}


@pytest.fixture(scope="module")
def recordings() -> dict[str, Any]:
    if not GOLDEN.is_dir():
        pytest.skip(f"no recordings at {GOLDEN}")
    lines = (GOLDEN / "ks-apiserver.jsonl").read_text().splitlines()
    return {record["id"]: record for record in map(json.loads, lines)}


@pytest.mark.parametrize("case", CASES)
def test_recorded_answers_come_out_as_expected(case: str, recordings: dict[str, Any]) -> None:
    """What the recorded backend sent (its host spelled out by the server of the recording) meets what is expected."""
    expected = yaml.safe_load((GOLDEN / "expect.yaml").read_text())["exceptions"]
    wanted = [entry for entry in expected if case in entry["ids"]]
    recorded = recordings[case]["response"]
    fields = Fields((name.encode(), value.encode()) for name, value in recorded["headers"])
    rewriter = LinkRewriter(CASES[case], frozenset({b"127.0.0.1:18080"}), b"127.0.0.1:9090", b"http")
    body = rewriter.response("GET", recorded["status"], fields)
    page = recorded["body"].encode()
    text = (page if body is None else b"".join(body.steps(page)) + body.end()).decode()
    location = (fields.get(b"location") or b"").decode()
    checks = 0
    for entry in wanted:
        for pattern in entry.get("body", []):
            assert re.search(pattern, text), pattern
            checks += 1
        for pattern in entry.get("body_not", []):
            assert not re.search(pattern, text), pattern
        rule = entry.get("headers", {}).get("Location")
        if isinstance(rule, str):
            assert location == rule
            checks += 1
        elif rule is not None:
            assert re.search(rule["re"], location) and rule["not"] not in location
            checks += 1
    assert checks
