"""Percent-encoding and query strings."""

from __future__ import annotations

from urllib.parse import parse_qs, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.model.percent import PATH_SAFE, QUERY_SAFE, UNRESERVED, quote, requote, unquote, well_formed
from ksproxyd.model.query import parameter, parameters


@pytest.mark.parametrize(
    ("raw", "text"),
    [(b"", b""), (b"a+b", b"a+b"), (b"%41%2f%2F%fF", b"A//\xff"), (b"%2541", b"%41"), (b"%00", b"\0")],
)
def test_unquote(raw: bytes, text: bytes) -> None:
    assert unquote(raw) == text
    assert well_formed(raw)


@pytest.mark.parametrize("raw", [b"%", b"%4", b"%zz", b"a%4g", b"%%41", b"%41%", b"%\xff\xff"])
def test_bad_escapes(raw: bytes) -> None:
    assert not well_formed(raw)
    with pytest.raises(ValueError, match="invalid URL escape"):
        unquote(raw)


def test_requote_keeps_escapes() -> None:
    assert requote(b"/a%2fb%zz c?") == b"/a%2fb%25zz%20c%3F"
    assert requote(b"a b?", QUERY_SAFE) == b"a%20b?"
    assert quote(b"%20") == b"%2520"


@given(st.binary(max_size=60), st.sampled_from([PATH_SAFE, QUERY_SAFE, UNRESERVED]))
def test_quoting_is_undone_by_unquoting(text: bytes, safe: frozenset[int]) -> None:
    quoted = quote(text, safe)
    assert unquote(quoted) == text == unquote_to_bytes(quoted)
    assert requote(quoted, safe) == quoted
    assert well_formed(requote(text, safe))
    assert (safe | {ord("%")}).issuperset(requote(text, safe))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"", {}),
        (b"a=1&b=2&a=3", {"a": ["1", "3"], "b": ["2"]}),
        (b"a&b=&=c&&", {"a": [""], "b": [""], "": ["c"]}),
        (b"a=x+y%20z&b%20c=%26", {"a": ["x y z"], "b c": ["&"]}),
        (b"a=1;b=2&c=%zz&%=1&d=4", {"d": ["4"]}),
        (b"a=b=c", {"a": ["b=c"]}),
        (b"a=%ff", {"a": ["\ufffd"]}),
    ],
)
def test_parameters(query: bytes, expected: dict[str, list[str]]) -> None:
    assert parameters(query) == expected


def test_first_parameter() -> None:
    assert parameter(b"a=1&a=2", "a") == "1"
    assert parameter(b"%61=1", "a") == "1"
    assert parameter(b"b=a", "a") == ""
    assert parameter(b"", "a") == ""


@given(st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), max_size=5))
def test_parameters_agree_with_the_standard_library(pairs: list[tuple[str, str]]) -> None:
    query = b"&".join(quote(k.encode(), UNRESERVED) + b"=" + quote(v.encode(), UNRESERVED) for k, v in pairs)
    assert parameters(query) == parse_qs(query.decode(), keep_blank_values=True)
