"""Placeholders, and what they may tell."""

from __future__ import annotations

import os
import platform
import re
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.tree.directives import Directives, compile_directives
from ksproxyd.tree.placeholders import Placeholder, Surroundings, parse


def expanded(
    text: str, *allowed: str, environ: dict[str, str] | None = None, target: str = "/p?q=1"
) -> tuple[str, list[str]]:
    """What ``text`` becomes as the path of a rewrite target, and what is reported."""
    directives = compile_directives(
        {"rewrite": [f"* /{text}"]}, frozenset(allowed), environ=environ or {}, now=lambda: 1764000000.789
    )
    path, _, query = target.partition("?")
    return directives.apply_target("GET", path.encode(), query.encode(), True)[1].decode()[1:], directives.problems


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", []),
        ("a", ["a"]),
        ("{a}", [Placeholder("a")]),
        ("a{b}c{d}", ["a", Placeholder("b"), "c", Placeholder("d")]),
        ("{}", [Placeholder("")]),
        (r"\{a\}", ["{a}"]),
        (r"\{a}", ["{a}"]),
        (r"{a\}b}", [Placeholder(r"a\}b")]),
        ("{a", ["{a"]),
        ("a}b", ["a}b"]),
        ("{a{b}", [Placeholder("a{b")]),
        (r"\a\\{b}", [r"\a\{b}"]),
        (r"\\", [r"\\"]),
        ("{" * 100, ["{" * 100]),
    ],
)
def test_parse(text: str, parts: list[Any]) -> None:
    assert parse(text) == parts


def test_too_many_open_braces() -> None:
    with pytest.raises(ValueError, match="more than 100"):
        parse("{" * 101)


@given(st.text(st.sampled_from("{}\\ab"), max_size=20))
def test_parse_loses_nothing_but_escapes(text: str) -> None:
    written = "".join(part if isinstance(part, str) else f"{{{part.name}}}" for part in parse(text))
    assert written == re.sub(r"\\([{}])", r"\1", text) or "\\" in text
    assert len(text) - len(written) <= text.count("\\")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("system.os", "linux"),
        ("system.slash", "/"),
        ("system.arch", {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())),
        ("time.now.year", "2025"),
        ("time.now.unix", "1764000000"),
        ("time.now.unix_ms", "1764000000789"),
        ("time.now.http", "Mon,%20%2024%20Nov%202025%2016:00:00%20GMT".replace("%20%20", "%20")),
        ("time.now.common_log", "24/Nov/2025:16:00:00%20+0000"),
        ("time.now", "2025-11-24%2016:00:00.789000%20+0000%20UTC"),
        ("path", "/p"),
        ("query", "q=1"),
        ("http.request.uri.path", "/p"),
    ],
)
def test_values(name: str, value: str) -> None:
    assert expanded(f"{{{name}}}") == (value, [])


@pytest.mark.parametrize("name", ["env.HOME", "system.hostname", "system.wd"])
def test_surroundings_are_shown_only_if_allowed(name: str) -> None:
    value, problems = expanded(f"a{{{name}}}b", environ={"HOME": "/root"})
    assert value == "ab"
    assert problems == [f"spec.directives.rewrite[0]: placeholder {{{name}}} is not allowed and expands to nothing"]


def test_what_is_allowed() -> None:
    environ = {"HOME": "/ro ot?", "OTHER": "x"}
    assert expanded("{env.HOME}", "HOME", environ=environ) == ("/ro%20ot%3F", [])
    assert expanded("{env.HOME}", "env.HOME", environ=environ) == ("/ro%20ot%3F", [])
    assert expanded("{env.HOME}", "OTHER", environ=environ)[0] == ""
    assert expanded("{env.UNSET}", "UNSET", environ=environ) == ("", [])
    assert expanded("{system.hostname}", "system.hostname")[0] == socket.gethostname()
    assert expanded("{system.wd}", "system.wd")[0] == os.getcwd()


def test_a_working_directory_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone() -> str:
        raise FileNotFoundError("no such directory")

    monkeypatch.setattr("ksproxyd.tree.placeholders._REVEALING", {"system.wd": gone})
    reported: list[str] = []
    assert Surroundings(frozenset({"system.wd"})).settle(parse("{system.wd}"), frozenset(), reported.append) == []
    assert "no such directory" in reported[0]


def test_unknown_ones_are_reported() -> None:
    for name in ("http.request.host", "nope", "", "http.request.uri.query"):
        value, problems = expanded(f"a{{{name}}}b")
        assert value == "ab"
        assert problems == [f"spec.directives.rewrite[0]: unknown placeholder {{{name}}} expands to nothing"]


# -- what comes from a request stays data ----------------------------------------------------------------------


def sent(directives: Directives, target: str) -> str:
    path, question, query = target.encode().partition(b"?")
    _, path, asked = directives.apply_target("GET", path, query, bool(question))
    return (path if asked is None else path + b"?" + asked).decode()


@pytest.mark.parametrize(
    ("directives", "target", "expected"),
    [
        # an encoded ? in the path does not become a query, and what is behind it is no template
        ({"rewrite": ["* /p{path}?"]}, "/a%3F{env.HOME}", "/p/a%3F{env.HOME}"),
        ({"rewrite": ["* /p{path}?"]}, "/a%3F%7Benv.HOME%7D?x", "/p/a%3F%7Benv.HOME%7D"),
        ({"rewrite": ["* /p{query}"]}, "/a?{path}?&%41", "/p%7Bpath%7D%3F&%41?{path}?&%41"),
        ({"rewrite": ["* ?p={query}"]}, "/a?{path}&b=c+d", "/a?p=%7Bpath%7D%26b%3Dc%2Bd"),
        ({"rewrite": ["* ?p={path}"]}, "/a%20b%2Fc", "/a%20b%2Fc?p=%2Fa+b%2Fc"),
        ({"rewrite": ["* ?{path}=1"]}, "/a&b", "/a&b?%2Fa%26b=1"),
        ({"replace": ["x {query}"]}, "/x?$1&{path}", "/$1&%7Bpath%7D?$1&{path}"),
        ({"replace": ["{query} y"]}, "/abc?b", "/ayc?y"),
        ({"replace": ["{query} y"]}, "/abc", "/abc"),
        ({"pathRegexp": ["(b) {query}$1"]}, "/abc?$1$1", "/a$1$1bc?$1$1"),
        ({"pathRegexp": ["(b) ${path}"]}, "/abc", "/a$/abcc"),
        ({"pathRegexp": ["(?P<path>b) ${path}${path}"]}, "/abc", "/abbc"),
        ({"pathRegexp": ["(b) ${2}${x}{1}"]}, "/abc", "/a$c"),
        ({"pathRegexp": ["b {env.A}"]}, "/abc", "/a$%7B1%7Dc"),
        ({"rewrite": ["/{env.B}/* /hit"]}, "/lib/x", "/hit"),
        ({"rewrite": ["/{query} /hit"]}, "/lib?*", "/lib?*"),
        ({"rewrite": ["* ?a&b=&=c&&d=e=f&{query}&{env.A}"]}, "/x", "/x?a&b=&=c&d=e=f&%24%7B1%7D"),
        ({"rewrite": ["* ?a=\u00e9{system.slash}"]}, "/x", "/x?a=%C3%A9%2F"),
    ],
)
def test_requests_are_data(directives: dict[str, Any], target: str, expected: str) -> None:
    compiled = compile_directives(directives, frozenset({"A", "B"}), environ={"A": "${1}", "B": "LIB"})
    assert sent(compiled, target) == expected
