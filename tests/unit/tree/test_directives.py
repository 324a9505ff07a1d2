"""Directives as a whole: the worked examples of the wire contract, shapes that cannot be trusted, and properties."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.model.request_info import classify
from ksproxyd.model.status import StatusError
from ksproxyd.tree.directives import Directives, compile_directives
from ksproxyd.tree.matcher import ProxyTable
from ksproxyd.tree.raw_path import has_dot_segment
from ksproxyd.tree.rewrite import MAX_LENGTH, MAX_RULE

ROWS = [
    line.split(" | ")
    for line in (Path(__file__).parent / "directives.txt").read_text().splitlines()
    if not line.startswith("#")
]
LISTS = {"rw": "rewrite", "rp": "replace", "re": "pathRegexp"}
TEXTS = {"pre": "stripPathPrefix", "suf": "stripPathSuffix"}


def spec(text: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for directive in filter(None, text.split(" ; ")):
        key, _, value = directive.partition(" ")
        if key in LISTS:
            found.setdefault(LISTS[key], []).append(value)
        else:
            found[TEXTS[key]] = value
    return found


def sent(directives: Directives, target: str, method: str = "GET") -> str:
    path, question, query = target.encode().partition(b"?")
    _, path, asked = directives.apply_target(method, path, query, bool(question))
    return (path if asked is None else path + b"?" + asked).decode()


@pytest.mark.parametrize(("request_target", "text", "expected"), ROWS, ids=[row[0].split()[0] for row in ROWS])
def test_worked_examples(request_target: str, text: str, expected: str) -> None:
    _, target, *refused = request_target.split(" ")
    assert sent(compile_directives(spec(text.strip())), target) == expected
    path, _, query = target.encode().partition(b"?")
    if refused:
        with pytest.raises(StatusError, match="400"):
            classify("GET", path, query)
    else:
        classify("GET", path, query)


def test_all_examples_are_there() -> None:
    assert [row[0].split()[0] for row in ROWS] == [str(number) for number in range(1, 64)]


def test_only_the_rules_that_cannot_work_are_reported() -> None:
    reported = {}
    for request_target, text, _ in ROWS:
        problems = compile_directives(spec(text.strip())).problems
        if problems:
            reported[request_target.split(" ")[0]] = problems
    assert set(reported) == {"27", "32", "40", "59"}
    assert reported["27"] == [
        "spec.directives.rewrite[0]: unknown placeholder {http.request.host} expands to nothing",
    ]
    assert reported["59"][0].startswith("spec.directives.pathRegexp[0] is ignored: invalid perl operator")


# -- facts -----------------------------------------------------------------------------------------------------


def test_a_path_that_is_stripped_completely_is_the_root() -> None:
    directives = compile_directives({"stripPathPrefix": "/proxy/ex"})
    assert sent(directives, "/proxy/ex") == "/"
    assert sent(directives, "/proxy/ex?a") == "/?a"
    assert sent(compile_directives({"stripPathSuffix": "/proxy/ex"}), "/proxy/ex") == "/"


def test_method_is_replaced_as_written() -> None:
    assert compile_directives({"method": "POST"}).apply_target("GET", b"/x", b"", False) == ("POST", b"/x", None)
    assert compile_directives({"method": "brew"}).apply_target("GET", b"/x", b"", True) == ("brew", b"/x", b"")


@pytest.mark.parametrize("method", ["CONNECT", "GET /x HTTP/1.1\r\nX: y", "A B", "é", " "])
def test_a_method_that_cannot_be_sent_is_ignored(method: str) -> None:
    directives = compile_directives({"method": method})
    assert directives.apply_target("GET", b"/x", b"", False) == ("GET", b"/x", None)
    assert directives.problems and "spec.directives.method is ignored" in directives.problems[0]


def test_query_is_appended_to() -> None:
    directives = compile_directives({"rewrite": ["/proxy/ex/* ?{query}&a=b"]})
    assert sent(directives, "/proxy/ex/x?k=v") == "/proxy/ex/x?k=v&a=b"


def test_a_catastrophic_expression_costs_nothing() -> None:
    directives = compile_directives({"pathRegexp": ["^/proxy/(a+)+$ /x"]})
    target = "/proxy/" + "a" * 60 + "!"
    began = time.process_time()
    assert sent(directives, target) == target
    assert time.process_time() - began < 0.05


def test_an_expression_re2_does_not_have_is_ignored() -> None:
    directives = compile_directives({"pathRegexp": ["(?=x) /b", "x /c"]})
    assert sent(directives, "/ax") == "/a/c"
    assert len(directives.problems) == 1


def test_the_longer_of_two_matchers_always() -> None:
    table: ProxyTable[Directives] = ProxyTable()
    short, long = compile_directives({}), compile_directives({})
    table.add("b", "*", "/proxy/a/b/*", long, "2026-01-02T00:00:00Z", "b")
    table.add("a", "*", "/proxy/a/*", short, "2026-01-01T00:00:00Z", "a")
    assert all(table.match("GET", "/proxy/a/b/c") is long for _ in range(100))


def test_auth_proxy_and_the_other_switches() -> None:
    off = compile_directives({})
    assert (off.auth_proxy, off.wrap_transport, off.reject_forwarding_redirects) == (False, False, False)
    on = compile_directives({"authProxy": True, "wrapTransport": True, "rejectForwardingRedirects": True})
    assert (on.auth_proxy, on.wrap_transport, on.reject_forwarding_redirects) == (True, True, True)


def test_strip_prefix_is_fit_for_links() -> None:
    assert compile_directives({"stripPathPrefix": "/proxy/a b/é"}).strip_prefix == b"/proxy/a%20b/%C3%A9"
    assert compile_directives({}).strip_prefix == b""


def test_order_of_the_stages() -> None:
    # Whatever the order of the keys: strip, rewrite, replace, pathRegexp.
    directives = compile_directives(
        {
            "pathRegexp": ["^/3$ /4"],
            "replace": ["2 3"],
            "rewrite": ["/1 /2"],
            "stripPathSuffix": ".html",
            "stripPathPrefix": "/proxy",
        }
    )
    assert sent(directives, "/proxy/1.html") == "/4"


def test_header_rules_are_compiled() -> None:
    directives = compile_directives({"headerUp": ["-Authorization"], "headerDown": ["X-A 1"]})
    item = (b"authorization", b"Authorization", b"Bearer t")
    assert directives.request_headers.apply([item]) == []
    assert directives.response_headers.apply([item]) == [item, (b"x-a", b"X-A", b"1")]
    assert not directives.changes_target


# -- the bytes that no rule means stay -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "text", "expected"),
    [
        ("/proxy/ex/a%2Fb?z=1&a=2", "pre /proxy/ex", "/a%2Fb?z=1&a=2"),
        ("/proxy%2Fex/a%2fb", "pre /proxy/ex", "/a%2fb"),
        ("/%70roxy/ex/%41", "pre /proxy/ex", "/%41"),
        ("/proxy/a%20b/c%2Fd", "pre /proxy/a b", "/c%2Fd"),
        ("/proxy/a%20b/c", "pre /proxy/a%20b", "/proxy/a%20b/c"),
        ("/proxy/caf%C3%A9/x%20", "pre /proxy/café", "/x%20"),
        ("/proxy/a%2Fb.html", "suf .html", "/proxy/a%2Fb"),
        ("/proxy/a%2Fb%2Ehtml", "suf .html", "/proxy/a%2Fb"),
        ("/proxy/a%20", "suf 0", "/proxy/a%20"),
        ("/proxy/a%2F", "suf /", "/proxy/a"),
        ("/proxy/a%2Fb!", "rp a x", "/proxy/x%2Fb!"),
        ("/proxy/a%2Fb%20c", "rp 0 zz", "/proxy/a%2Fb%20c"),
        ("/proxy/a%20b0", "rp 0 zz", "/proxy/a%20bzz"),
        ("/proxy/%41%20b", "rp %4 %z", "/proxy/%41%20b"),
        ("/proxy/%E4%BD%A0/a", "re a %zz", "/proxy/%E4%BD%A0/%25zz"),
        ("/proxy/x%2Fy?a%2fb", "re ^/proxy/(.*)$ /v2/$1", "/v2/x%2Fy?a%2fb"),
        ("/proxy/%3e", "re e é", "/proxy/%3e"),
        ("/proxy/%3e/e", "re e é", "/proxy/%3e/%C3%A9"),
        ("/proxy/ex?", "pre /proxy", "/ex?"),
        ("/proxy/ex?", "rw * ?{query}", "/proxy/ex"),
        ("/proxy/ex?a", "rp a ", "/proxy/ex"),
    ],
)
def test_bytes_are_kept(target: str, text: str, expected: str) -> None:
    assert sent(compile_directives(spec(text)), target) == expected


@pytest.mark.parametrize(
    ("target", "text", "expected"),
    [
        ("/proxy/ex../admin", "pre /proxy/ex", "/proxy/ex../admin"),
        ("/proxy/ex..%2fadmin", "pre /proxy/ex", "/proxy/ex..%2fadmin"),
        ("/proxy/ex%2e%2e%5cadmin", "pre /proxy/ex", "/proxy/ex%2e%2e%5cadmin"),
        ("/proxy/ex..", "pre /proxy/ex", "/proxy/ex.."),
        ("/proxy/ex.", "pre /proxy/ex", "/proxy/ex."),
        ("/proxy/ex.../a", "pre /proxy/ex", "/.../a"),
        ("/proxy/ex/..html", "suf html", "/proxy/ex/..html"),
        ("/proxy/.foo./admin", "rp foo ", "/proxy/.foo./admin"),
        ("/proxy/xx/admin?xx", "rp x .", "/proxy/xx/admin?xx"),
        ("/proxy/a/..b/c", "re b ", "/proxy/a/..b/c"),
        ("/proxy/a?/../b", "rw * /p{query}", "/proxy/a?/../b"),
        ("/proxy/ex../x", "pre /proxy/ex ; rw * /public{path}", "/public/proxy/ex../x"),
    ],
)
def test_no_step_makes_a_dot_segment(target: str, text: str, expected: str) -> None:
    assert sent(compile_directives(spec(text)), target) == expected


# -- what cannot be trusted ------------------------------------------------------------------------------------


@pytest.mark.parametrize("directives", [None, [], "x", 1, True])
def test_directives_of_any_shape(directives: Any) -> None:
    compiled = compile_directives(directives)
    assert not compiled.changes_target
    assert bool(compiled.problems) is (directives is not None)


@pytest.mark.parametrize("value", [1, True, {"a": "b"}, [1], [None, {}], ["\ud800 x"], "\ud800"])
def test_fields_of_any_shape(value: Any) -> None:
    keys = (
        "method",
        "stripPathPrefix",
        "stripPathSuffix",
        "rewrite",
        "replace",
        "pathRegexp",
        "headerUp",
        "headerDown",
    )
    compiled = compile_directives({**dict.fromkeys(keys, value), "authProxy": "yes", "wrapTransport": 1})
    assert not compiled.changes_target
    assert not compiled.request_headers and not compiled.response_headers
    assert (compiled.auth_proxy, compiled.wrap_transport) == (False, False)
    assert len(compiled.problems) >= len(keys) + 2


def test_a_rule_that_is_too_long_is_ignored() -> None:
    text = "a " + "b" * MAX_RULE
    compiled = compile_directives({"rewrite": [text], "replace": [text], "pathRegexp": [text]})
    assert not compiled.changes_target
    assert len(compiled.problems) == 3


def test_rules_cannot_make_a_target_grow_without_end() -> None:
    doubling = compile_directives({"replace": ["a aa"] * 60, "rewrite": ["* {path}{path}"] * 60})
    _, path, _ = doubling.apply_target("GET", b"/" + b"a" * 1000, b"", False)
    assert len(path) <= MAX_LENGTH
    regexp = compile_directives({"pathRegexp": ["(a) $1$1"] * 60})
    _, path, _ = regexp.apply_target("GET", b"/" + b"a" * 500, b"", False)
    assert len(path) <= MAX_LENGTH
    query = compile_directives({"rewrite": ["* ?{query}&{query}"] * 60})
    _, _, asked = query.apply_target("GET", b"/", b"a" * 1000, True)
    assert asked is not None and len(asked) <= MAX_LENGTH


def test_a_path_that_would_take_too_long_is_left_alone() -> None:
    directives = compile_directives({"pathRegexp": ["(x.*y)|x z"]})
    assert sent(directives, "/xxax") == "/zzaz"
    target = "/" + "x" * 16000
    began = time.process_time()
    assert sent(directives, target) == target
    assert time.process_time() - began < 0.05


# -- properties ------------------------------------------------------------------------------------------------

WORDS = st.text(st.sampled_from("ab/*?.{}[]\\%2fF0$1&=#é "), max_size=12)
RULE = st.builds(
    "{} {}".format, WORDS, st.one_of(WORDS, st.sampled_from(["{path}", "?{query}&x={path}", "/{query}#f"]))
)
DIRECTIVES = st.fixed_dictionaries(
    {},
    optional={
        "stripPathPrefix": WORDS,
        "stripPathSuffix": WORDS,
        "rewrite": st.lists(RULE, max_size=3),
        "replace": st.lists(RULE, max_size=3),
        "pathRegexp": st.lists(RULE, max_size=3),
    },
)
RAW = st.one_of(st.binary(max_size=40), st.text(st.sampled_from("ab/%2fF0.\\ \r\n\x7fé"), max_size=30).map(str.encode))


@given(DIRECTIVES, RAW, RAW, st.booleans())
def test_what_is_sent_is_a_request_target(directives: dict[str, Any], path: bytes, query: bytes, has: bool) -> None:
    compiled = compile_directives(directives)
    method, sent_path, sent_query = compiled.apply_target("GET", b"/" + path, query, has)
    assert method == "GET"
    if not compiled.changes_target:
        assert (sent_path, sent_query) == (b"/" + path, query if has else None)
        return
    assert sent_path.startswith(b"/")
    assert re.search(rb"[\x00-\x20\x7f?#]", sent_path) is None
    assert sent_query is None or re.search(rb"[\x00-\x20\x7f#]", sent_query) is None
    assert has_dot_segment(b"/" + path) or not has_dot_segment(sent_path)


@given(st.binary(max_size=40), st.binary(max_size=40), st.booleans())
def test_nothing_configured_changes_nothing(path: bytes, query: bytes, has: bool) -> None:
    compiled = compile_directives({"headerUp": ["X-A 1"], "authProxy": True})
    assert not compiled.changes_target
    assert compiled.apply_target("GET", path, query, has) == ("GET", path, query if has else None)


@given(RAW.filter(lambda raw: not re.search(rb"[\x00-\x20\x7f?#]", raw)))
def test_a_rule_that_does_not_match_changes_nothing(path: bytes) -> None:
    compiled = compile_directives(
        {"rewrite": ["/never/ever /x"], "pathRegexp": ["never /x"], "stripPathPrefix": "/never"}
    )
    assert compiled.apply_target("GET", b"/" + path, b"q", True) == ("GET", b"/" + path, b"q")
