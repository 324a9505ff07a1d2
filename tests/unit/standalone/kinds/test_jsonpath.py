from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.standalone.kinds.jsonpath import compile_path

VALUE: dict[str, Any] = {
    "a": {"b.c": 1, "list": [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "False"}]},
    "n": [1, 2, 3],
    "x": None,
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".n", [[1, 2, 3]]),
        (".n[0]", [1]),
        (".n[-1]", [3]),
        (".n[9]", []),
        (".n[*]", [1, 2, 3]),
        (".n[1:]", [2, 3]),
        (".n[:-1]", [1, 2]),
        (".a['b.c']", [1]),
        ('.a["b.c"]', [1]),
        (r".a.b\.c", [1]),
        (".a.list[*].type", ["Ready", "Other"]),
        ('.a.list[?(@.type=="Ready")].status', ["True"]),
        (".a.list[?(@.type=='Ready')].status", ["True"]),
        ('.a.list[?(@.type!="Ready")].status', ["False"]),
        (".a.list[?(@.type)].type", ["Ready", "Other"]),
        (".missing.more", []),
        (".x", [None]),
        ("{.n[0]}", [1]),
        ("$.n[0]", [1]),
        (".", [VALUE]),
        ("", [VALUE]),
    ],
)
def test_paths(path: str, found: list[Any]) -> None:
    assert compile_path(path)(VALUE) == found


@pytest.mark.parametrize("path", ["?", ".a..b", ".a[", ".a[?(@.x==)]", ".a[x]", "a", ".a b"])
def test_bad_paths_are_told(path: str) -> None:
    with pytest.raises(ValueError, match="cannot be read at"):
        compile_path(path)


@given(st.text(alphabet=".[]*?()@='\"ab1:-$\\", max_size=12))
def test_any_path_is_either_refused_or_works(path: str) -> None:
    try:
        find = compile_path(path)
    except ValueError:
        return
    assert isinstance(find(VALUE), list)
