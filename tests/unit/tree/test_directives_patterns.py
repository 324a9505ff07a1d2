"""The path patterns of rewrite rules."""

from __future__ import annotations

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.tree.path_pattern import PathPattern
from ksproxyd.tree.placeholders import Placeholder
from ksproxyd.tree.raw_path import decoded


def matches(pattern: str, path: str) -> bool:
    return PathPattern([pattern]).matches(path.encode(), lambda name: b"")


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("*", "/", True),
        ("*", "", True),
        ("**", "/a/b", True),
        ("/", "/", True),
        ("/", "", True),
        ("/*", "/", True),
        ("/a", "/a", True),
        ("/a", "/a/", False),
        ("/a", "/A", True),
        ("/A", "/a", True),
        ("/É", "/%C3%A9", True),
        # prefix, suffix, substring: across slashes
        ("/a/*", "/a/b/c", True),
        ("/a/*", "/a", False),
        ("/a*", "/abc", True),
        ("*.php", "/x/y.PHP", True),
        ("*.php", "/x/y.phpx", False),
        ("*/b/*", "/a/b/c", True),
        ("*/b/*", "/a/c", False),
        # globs: segment by segment
        ("/a/*/c", "/a/b/c", True),
        ("/a/*/c", "/a/b/x/c", False),
        ("/a/*/c*", "/a/b/cd", True),
        ("/a/*/c*", "/a/b/cd/e", False),
        ("*/c/?", "/c/x", False),
        ("*/c/?", "/a/c/?", True),
        ("*/c/*?", "/c/xy", True),
        ("/a?c", "/abc", True),
        ("/a?c", "/a/c", False),
        ("/a?c", "/ac", False),
        ("/a?c", "/a%C3%A9c", True),
        ("/[a-c]", "/b", True),
        ("/[a-c]", "/d", False),
        ("/[A-C]", "/b", True),
        ("/[^a-c]", "/d", True),
        ("/[^a-c]", "/b", False),
        ("/[^a]", "//", False),
        ("/[abx-z]1", "/y1", True),
        (r"/[\]\-a]", "/]", True),
        (r"/[\]\-a]", "/-", True),
        ("/[c-a]", "/b", False),
        ("/[^c-a]", "/b", True),
        (r"/a\*b?", "/a*bc", True),
        (r"/a\*b?", "/axbc", False),
        (r"/a\b?", "/abc", True),
        ("/a.b?", "/axbc", False),
        ("/a+(b)?", "/a+(b)c", True),
        # cleaning
        ("/a/b", "//a//b", True),
        ("/a/b", "/a/./x/../b", True),
        ("/a/b/", "/a//b//", True),
        ("//a/*", "//a/b", True),
        ("//a/*", "/a/b", False),
        ("/b", "/../b", True),
        # the decoded path, unless the pattern has a %
        ("/a/b", "/a%2Fb", True),
        ("/a b", "/a%20b", True),
        ("/a%20b", "/a%20b", True),
        ("/a%20b", "/a b", False),
        ("/a%2fb", "/a%2Fb", True),
        ("/a%2Fb", "/a%2fb", True),
        ("/a%2fb", "/a/b", False),
        ("/a%2fb/c", "/%61%2Fb/c", True),
        ("/a%2fb/C", "/A%2fB/%43", True),
        ("/x/%*", "/x/AC%2FDC", True),
        ("/x/%*", "/x/AC/DC", False),
        ("/x/%*/%*", "/x/AC%2FDC/T.N.T", True),
        ("/x/%*/%*", "/x/AC/DC/T.N.T", False),
        ("/%78/*/*", "/x/AC%2FDC/T", False),
        ("/%78/*", "/%78/abc", True),
        ("/%78/?", "/%78/%C3%A9", True),
        ("/%78/?", "/%78/%2f", False),
        ("/%78/[^a]", "/%78/%62", True),
        ("/%78/[^a]", "/%78/%61", False),
        ("/%C3%A9/a", "/%c3%a9/a", True),
        ("/%C3%A9/a", "/é/a", False),
        ("/é%2f", "/%C3%A9%2F", True),
        (r"/%2f\*", "/%2f*", True),
        ("/%2f", "/\ue000/", False),
        ("/a//%2f", "/a//%2f", True),
        ("/a/%2f", "/a//%2f", True),
        ("/a\ue000b", "/a\ue000b", False),
        # paths that are no UTF-8, or badly escaped
        ("/a/*", "/a/%ff", True),
        ("/a/?", "/a/%ff", True),
        ("/%61/*", "/%61/%ff%2e", True),
        ("/a%", "/a%", None),
        ("/%61*", "/%61%zz", True),
    ],
)
def test_patterns(pattern: str, path: str, expected: bool | None) -> None:
    if expected is None:
        with pytest.raises(ValueError, match="'%' is followed by"):
            PathPattern([pattern])
    else:
        assert matches(pattern, path) is expected


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("", "empty"),
        ("/[", "class"),
        ("/[]", "class"),
        ("/[^]", "class"),
        ("/[]a]", "class"),
        ("/[a", "class"),
        ("/[a-", "class"),
        ("/[-a]", "class"),
        ("/[a-]", "class"),
        ("/[a\\", "backslash"),
        ("/a?\\", "backslash"),
        ("/%zz", "'%' is followed by"),
        ("/%2", "'%' is followed by"),
        ("/%ff", "utf-8"),
        ("/?" + "[a-z]" * 3000, "too large"),
    ],
)
def test_malformed_patterns(pattern: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        PathPattern([pattern])


def test_placeholders_are_compared_as_they_are() -> None:
    def lookup(name: str) -> bytes:
        return {"query": b"A*", "path": b"/x/Y"}[name]

    for parts, path, expected in (
        (["/p/", Placeholder("query")], b"/P/a*", True),
        (["/p/", Placeholder("query")], b"/p/abc", False),
        ([Placeholder("path")], b"/x/y", True),
        ([Placeholder("path"), "/*"], b"/x/y/z", True),
        (["*", Placeholder("query"), "*"], b"/ba*c", True),
        ([Placeholder("query"), Placeholder("path")], b"a*/x/y", True),
        (["\ue001"], b"a*", False),
    ):
        assert PathPattern(parts).matches(path, lookup) is expected
    with pytest.raises(ValueError, match="placeholder"):
        PathPattern(["/*/", Placeholder("query"), "/*"])


PATTERN = st.text(st.sampled_from("ab/*?"), min_size=1, max_size=8).map(lambda text: "/" + text)
PATH = st.text(st.sampled_from("ab/"), max_size=8).map(lambda text: "/" + text)


@given(PATTERN, PATH)
def test_globs_agree_with_the_standard_library_within_segments(pattern: str, path: str) -> None:
    if "//" in pattern + path or pattern.count("*") == 1 or (pattern.count("/") != path.count("/")):
        return
    segments = zip(pattern.split("/"), path.split("/"), strict=True)
    assert matches(pattern, path) is all(fnmatch.fnmatchcase(b, a) for a, b in segments)


@given(st.binary(max_size=20), st.sampled_from(["/a/%2f*", "/%*", "/*/b", "*", "/a*", "*%61*", "/[^a]?"]))
def test_any_path_can_be_asked_about(path: bytes, pattern: str) -> None:
    compiled = PathPattern([pattern])
    assert compiled.matches(b"/" + path, lambda name: b"") in (True, False)


@given(PATTERN.filter(lambda pattern: "%" not in pattern), PATH)
def test_encoding_does_not_matter_without_percent(pattern: str, path: str) -> None:
    escaped = "".join(f"%{byte:02x}" for byte in path.encode())
    assert decoded(escaped.encode()) == path.encode()
    assert matches(pattern, escaped) is matches(pattern, path)
