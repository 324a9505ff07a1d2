"""Cutting and cleaning encoded paths."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.tree.raw_path import cleaned, decoded, has_dot_segment, located, without_prefix, without_suffix

RAW = st.text(st.sampled_from("ab/%2F041."), max_size=20).map(str.encode)


@pytest.mark.parametrize(
    ("path", "merged", "kept"),
    [
        ("", "/", "/"),
        ("/", "/", "/"),
        ("//", "/", "//"),
        ("/a//b/", "/a/b/", "/a//b/"),
        ("/a/./b/../c", "/a/c", "/a/c"),
        ("/a/..", "/", "/"),
        ("/../../a/", "/a/", "/a/"),
        ("//docs/../x", "/x", "//x"),
        ("/a//./", "/a/", "/a//"),
        ("a/../b", "b", "b"),
        ("a/..", "/", "/"),
        ("/.a/..b/...", "/.a/..b/...", "/.a/..b/..."),
        ("/a/%2e%2e/b", "/a/%2e%2e/b", "/a/%2e%2e/b"),
    ],
)
def test_cleaned(path: str, merged: str, kept: str) -> None:
    assert cleaned(path.encode(), True).decode() == merged
    assert cleaned(path.encode(), False).decode() == kept


@given(st.text(st.sampled_from("ab/."), max_size=12).map(lambda text: "/" + text))
def test_cleaning_agrees_with_the_standard_library(path: str) -> None:
    normal = posixpath.normpath("/" + path.lstrip("/"))
    found = cleaned(path.encode(), True).decode()
    assert found.rstrip("/") == normal.rstrip("/")
    assert cleaned(found.encode(), True).decode() == found


@given(RAW)
def test_positions_lead_back(raw: bytes) -> None:
    text, positions = located(raw)
    assert text == decoded(raw)
    assert len(positions) == len(text) + 1
    assert (positions[0], positions[len(text)]) == (0, len(raw))
    for at in range(len(text)):
        assert decoded(raw[positions[at] : positions[at + 1]]) == text[at : at + 1]


@given(st.text(st.sampled_from("a./\\%2eEfF5cC"), max_size=14).map(str.encode))
def test_dot_segments_are_found_in_any_form(raw: bytes) -> None:
    segments = decoded(raw).replace(b"\\", b"/").split(b"/")
    assert has_dot_segment(raw) is (b"." in segments or b".." in segments)


@given(RAW, st.text(st.sampled_from("ab/A%2"), min_size=1, max_size=4).map(str.encode))
def test_strips_what_the_decoded_path_has(raw: bytes, affix: bytes) -> None:
    assert decoded(without_prefix(raw, affix)) == decoded(raw).removeprefix(affix)
    assert raw.endswith(without_prefix(raw, affix))
    assert decoded(without_suffix(raw, affix)) == decoded(raw).removesuffix(affix)
    assert raw.startswith(without_suffix(raw, affix))
