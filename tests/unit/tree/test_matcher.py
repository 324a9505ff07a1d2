"""Which ReverseProxy a request is for."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.model.request_info import classify, without_cluster
from ksproxyd.tree.matcher import MAX_PATH, ProxyTable


def table(*entries: tuple[str, str, str]) -> ProxyTable[str]:
    """Entries are (value, method, path); they are created in this order."""
    built: ProxyTable[str] = ProxyTable()
    for i, (value, method, path) in enumerate(entries):
        built.add(value, method, path, value, f"2026-01-01T00:00:{i:02}Z", value)
    return built


@pytest.mark.parametrize(
    ("method", "path", "request_line", "matches"),
    [
        ("GET", "/proxy/ex/*", "GET /proxy/ex/a/b", True),
        ("GET", "/proxy/ex/*", "GET /proxy/ex/", True),
        ("GET", "/proxy/ex/*", "GET /proxy/ex", False),
        ("GET", "/proxy/ex*", "GET /proxy/example", True),
        ("GET", "/proxy/ex/**", "GET /proxy/ex/a", True),
        ("GET", "/proxy/*/a", "GET /proxy/x/a", False),
        ("GET", "/proxy/*/a", "GET /proxy/*/a", True),
        ("GET", "/proxy/ex", "GET /proxy/ex/", False),
        ("GET", "/proxy/ex", "GET /proxy/ex", True),
        ("GET", "/proxy/ex/*", "HEAD /proxy/ex/a", False),
        ("*", "/proxy/ex/*", "HEAD /proxy/ex/a", True),
        ("*", "/proxy/ex/*", "BREW /proxy/ex/a", True),
        ("get", "/proxy/ex/*", "GET /proxy/ex/a", False),
        ("", "/proxy/ex/*", "GET /proxy/ex/a", False),
        ("GET", "", "GET /proxy/ex/a", False),
        ("GET", "/proxy/Ex/*", "GET /proxy/ex/a", False),
        ("GET", "/res/x/*", "GET /res/x/a", False),
        ("GET", "*", "GET /res/x/a", False),
        ("GET", "*", "GET /proxy", True),
        ("GET", "/*", "GET /proxy/x", True),
        ("GET", "/pro*", "GET /proxy/x", True),
        ("GET", "/proxyfoo/*", "GET /proxyfoo/a", True),
        ("GET", "/proxy/ex/*", "GET /clusters/host/proxy/ex/a", True),
        ("GET", "/proxy/ex/*", "GET /proxy/ex//a", True),
        ("GET", "/proxy/ex//*", "GET /proxy/ex//a", True),
        ("GET", "/proxy/ex/*", "GET /proxy//ex/a", False),
        ("GET", "/proxy/ex/*", "GET /proxy/%65x%2Fa", True),
        ("GET", "/proxy/é/*", "GET /proxy/%C3%A9/a", True),
    ],
)
def test_one_matcher(method: str, path: str, request_line: str, matches: bool) -> None:
    asked, target = request_line.split(" ")
    info = classify(asked, target.encode(), b"")
    local = classify(asked, without_cluster(target.encode(), info), b"")
    found = table(("it", method, path)).match(asked, local.path)
    assert found == ("it" if matches else None)


def test_longest_prefix_wins_whatever_the_order() -> None:
    entries = [
        ("all", "*", "/proxy/*"),
        ("a", "*", "/proxy/a/*"),
        ("ab", "*", "/proxy/a/b*"),
        ("ab/", "*", "/proxy/a/b/*"),
        ("exact", "*", "/proxy/a/b/c"),
        ("abc", "*", "/proxy/a/b/c*"),
    ]
    for seed in range(20):
        random.Random(seed).shuffle(entries)
        built = table(*entries)
        for path, value in {
            "/proxy/a/b/c": "exact",
            "/proxy/a/b/c/": "abc",
            "/proxy/a/b/cd": "abc",
            "/proxy/a/b/x": "ab/",
            "/proxy/a/b/": "ab/",
            "/proxy/a/bx/y": "ab",
            "/proxy/a/b": "ab",
            "/proxy/a/x": "a",
            "/proxy/a/": "a",
            "/proxy/a": "all",
            "/proxy/": "all",
        }.items():
            assert built.match("GET", path) == value
        assert built.match("GET", "/proxy") is None


def test_named_method_wins_over_any_at_the_same_path_only() -> None:
    built = table(("any", "*", "/proxy/a/*"), ("get", "GET", "/proxy/a/*"), ("short", "PUT", "/proxy/*"))
    assert [built.match(method, "/proxy/a/x") for method in ("GET", "PUT", "POST")] == ["get", "any", "any"]


def test_a_method_that_does_not_fit_leaves_it_to_the_next() -> None:
    built = table(
        ("exact", "DELETE", "/proxy/a/b"),
        ("partial", "PATCH", "/proxy/a/b*"),
        ("deep", "POST", "/proxy/a/*"),
        ("wide", "GET", "/proxy/*"),
    )
    answers = {method: built.match(method, "/proxy/a/b") for method in ("DELETE", "PATCH", "POST", "GET", "PUT")}
    assert answers == {"DELETE": "exact", "PATCH": "partial", "POST": "deep", "GET": "wide", "PUT": None}


def test_older_then_smaller_name_wins() -> None:
    for path in ("/proxy/x", "/proxy/x*", "/proxy/x/*"):
        built: ProxyTable[str] = ProxyTable()
        built.add(1, "GET", path, "unborn", "", "a")
        assert built.match("GET", "/proxy/x" + path[8:].replace("*", "")) == "unborn"
        built.add(2, "GET", path, "young", "2026-02-01T00:00:00Z", "a")
        built.add(3, "GET", path, "old-b", "2026-01-01T00:00:00Z", "b")
        built.add(4, "GET", path, "old-a", "2026-01-01T00:00:00Z", "a")
        order = []
        for _ in range(4):
            found = built.match("GET", "/proxy/x" + path[8:].replace("*", ""))
            order.append(found)
            built.remove({"unborn": 1, "young": 2, "old-b": 3, "old-a": 4}[str(found)])
        assert order == ["old-a", "old-b", "young", "unborn"]


def test_add_replaces_and_remove_forgets() -> None:
    built = table(("a", "GET", "/proxy/a/*"), ("b", "GET", "/proxy/b"))
    built.add("a", "GET", "/proxy/c", "a", "", "a")
    assert built.match("GET", "/proxy/a/x") is None
    assert built.match("GET", "/proxy/c") == "a"
    assert len(built) == 2
    for key in ("a", "b", "b", "never"):
        built.remove(key)
    assert built.match("GET", "/proxy/c") is None
    assert len(built) == 0
    assert not built._exact and not built._directories


def test_too_long_a_path_is_refused_and_the_old_one_is_gone() -> None:
    built = table(("a", "GET", "/proxy/a"))
    with pytest.raises(ValueError, match="more than 2048"):
        built.add("a", "GET", "/proxy/" + "a" * MAX_PATH, "a", "", "a")
    assert built.match("GET", "/proxy/a") is None


PATHS = st.lists(st.sampled_from(["", "a", "b", "ab", "*", "a*"]), max_size=4).map(
    lambda rest: "/".join(["/proxy", *rest])
)
METHODS = st.sampled_from(["GET", "PUT", "*"])
ENTRIES = st.lists(st.tuples(METHODS, PATHS, st.sampled_from(["", "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"])))


def plainly(entries: list[tuple[str, str, str]], alive: set[int], method: str, path: str) -> int | None:
    """The rules, applied one entry after the other."""
    best = None
    for i, (wanted, pattern, created) in enumerate(entries):
        prefix = pattern.rstrip("*")
        if i not in alive or wanted not in (method, "*"):
            continue
        if path != pattern and not (pattern.endswith("*") and path.startswith(prefix)):
            continue
        rank = (path != pattern, -len(prefix), wanted == "*", not created, created, f"{i:04}")
        if best is None or rank < best[0]:
            best = (rank, i)
    return None if best is None else best[1]


@given(ENTRIES, st.sets(st.integers(0, 10)), PATHS, METHODS)
def test_agrees_with_the_rules(entries: list[tuple[str, str, str]], gone: set[int], path: str, method: str) -> None:
    built: ProxyTable[int] = ProxyTable()
    for i, (wanted, pattern, created) in enumerate(entries):
        built.add(i, wanted, pattern, i, created, f"{i:04}")
    for i in gone:
        built.remove(i)
    assert built.match(method, path) == plainly(entries, set(range(len(entries))) - gone, method, path)


class Counting(dict[str, Any]):
    """A dict that counts how often it was asked."""

    asked = 0

    def get(self, key: str, default: Any = None) -> Any:
        self.asked += 1
        return super().get(key, default)


@pytest.mark.parametrize(
    "pattern", ["/proxy/ext-{:05}.example/*", "/proxy/ext-{:05}*", "/proxy/ext-{:05}/static/js/app.js"]
)
def test_cost_does_not_grow_with_the_number_of_entries(pattern: str) -> None:
    def lookups(count: int) -> int:
        built = table(*((str(i), "*", pattern.format(i)) for i in range(count)))
        built._directories = Counting(built._directories)
        built._exact = Counting(built._exact)
        held = [directory for directory in built._directories.values() if len(directory.slots) > 1]
        for directory in held:
            directory.slots = Counting(directory.slots)
        assert built.match("GET", pattern.format(count // 2).rstrip("*")) == str(count // 2)
        assert built.match("GET", "/proxy/none/such/thing") is None
        return sum(counting.asked for counting in (built._directories, built._exact, *(d.slots for d in held)))

    assert lookups(5000) == lookups(5) < 12
