"""The resource tree: what is mounted where, and what a path finds."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.model.message import Response
from ksproxyd.model.request_info import classify
from ksproxyd.model.status import StatusError
from ksproxyd.tree import Tree
from ksproxyd.tree.reserved import RESERVED, reserved
from ksproxyd.tree.routes import Routes


class Node:
    def __init__(self, name: str) -> None:
        self.name = name
        self.asked: list[Any] = []

    def handle(self, exchange: Any) -> Response:
        self.asked.append(exchange)
        return Response(200)

    def describe(self) -> str:
        return self.name


def test_exact_and_subtree() -> None:
    tree = Tree()
    exact, below, deeper = Node("exact"), Node("below"), Node("deeper")
    tree.mount("/a/b", exact)
    tree.mount("/a/b", below, subtree=True)
    tree.mount("/a/b/c/d", deeper, subtree=True)
    expected = {
        "/a": None,
        "/a/b": exact,
        "/a/b/": below,
        "/a/b/c": below,
        "/a/b/c/d": deeper,
        "/a/b/c/d/e/f": deeper,
        "/a/bc": None,
        "/x": None,
    }
    assert {path: tree.find(path) for path in expected} == expected


def test_root() -> None:
    tree = Tree()
    assert tree.find("/") is None
    tree.mount("/", all_of_it := Node("all"), subtree=True)
    # Only what has no better.
    tree.mount("/a", exact := Node("a"))
    assert tree.find("/a") is exact
    assert tree.find("/b/c") is all_of_it


@pytest.mark.parametrize("path", ["", "a", "a/b"])
def test_paths_begin_with_a_slash(path: str) -> None:
    with pytest.raises(ValueError, match="does not begin"):
        Tree().mount(path, Node("x"))


def test_one_node_a_place() -> None:
    tree = Tree()
    for subtree in (False, True):
        tree.mount("/a", Node("x"), subtree=subtree)
        with pytest.raises(ValueError, match="mounted already"):
            tree.mount("/a", Node("y"), subtree=subtree)


@pytest.mark.parametrize("path", ["/b", "/a/b", "/a/b/c"])
def test_unmounting_what_is_not_there(path: str) -> None:
    tree = Tree()
    tree.mount("/a", Node("x"), subtree=True)
    tree.mount("/a/b/c/d", Node("y"))
    with pytest.raises(KeyError):
        tree.unmount(path)
    with pytest.raises(KeyError):
        tree.unmount("/a")
    assert len(list(tree.walk())) == 2


def test_unmounting_leaves_nothing_behind() -> None:
    tree = Tree()
    tree.mount("/keep/this", Node("k"))
    for n in range(50):
        tree.mount(f"/keep/{n}/a/b/c", Node("x"), subtree=True)
    for n in range(50):
        tree.unmount(f"/keep/{n}/a/b/c", subtree=True)
    assert list(tree._root.children) == ["keep"]
    assert list(tree._root.children["keep"].children) == ["this"]


def test_prefixes_come_last() -> None:
    tree = Tree()
    prefix, exact = Node("prefix"), Node("exact")
    tree.mount_prefix("/proxy", prefix)
    tree.mount("/proxy/own", exact)
    assert tree.find("/proxy") is prefix
    assert tree.find("/proxyfoo/x") is prefix
    assert tree.find("/proxy/own") is exact
    assert tree.find("/prox") is None


PATHS = st.lists(st.sampled_from("abc"), max_size=4).map(lambda parts: "/" + "/".join(parts))


@given(st.lists(st.tuples(PATHS, st.booleans(), st.booleans()), max_size=30), st.lists(PATHS, max_size=10))
def test_like_a_plain_table(changes: list[tuple[str, bool, bool]], asked: list[str]) -> None:
    """Mounting and unmounting in any order, against the slow and obvious way."""
    tree = Tree()
    exact: dict[str, Node] = {}
    below: dict[str, Node] = {}
    for path, subtree, mount in changes:
        table = below if subtree else exact
        if mount and path not in table:
            table[path] = Node(path)
            tree.mount(path, table[path], subtree=subtree)
        elif not mount and path in table:
            del table[path]
            tree.unmount(path, subtree=subtree)
    for path in asked:
        expected = exact.get(path)
        if expected is None:
            nearest = [p for p in below if path == p or path.startswith(p.rstrip("/") + "/") or p == "/"]
            expected = below[max(nearest, key=len)] if nearest else None
        assert tree.find(path) is expected
    assert len(list(tree.walk())) == len(exact) + len(below)


def exchange(method: str, path: bytes) -> Any:
    return SimpleNamespace(method=method, path=path, info=classify(method, path, b""))


def test_serving() -> None:
    tree = Tree()
    tree.mount("/a", node := Node("a"), subtree=True)
    request = exchange("GET", b"/a/b%20c")
    assert tree.serve(request).status == 200  # type: ignore[union-attr]
    assert node.asked == [request]
    with pytest.raises(StatusError) as caught:
        tree.serve(exchange("GET", b"/nowhere"))
    assert (caught.value.code, caught.value.reason) == (404, "NotFound")
    assert "/nowhere" in caught.value.message


def test_walk_and_routes() -> None:
    tree = Tree()
    tree.mount("/b", Node("one"))
    tree.mount("/a/x", Node("two"), subtree=True)
    tree.mount_prefix("/proxy", Node("three"))
    routes = Routes(tree)
    tree.mount("/ksproxyd/routes", routes)
    found = routes.handle(exchange("GET", b"/ksproxyd/routes"))
    assert isinstance(found, Response)
    assert found.body == (
        '{"routes":[{"path":"/a/x/…","node":"two"},{"path":"/b","node":"one"},'
        '{"path":"/ksproxyd/routes","node":"routes"},{"path":"/proxy…","node":"three"}]}'
    ).encode()
    with pytest.raises(StatusError) as caught:
        routes.handle(exchange("POST", b"/ksproxyd/routes"))
    assert caught.value.code == 405


def test_finding_costs_the_same_among_many() -> None:
    def cost(count: int) -> float:
        tree = Tree()
        for n in range(count):
            tree.mount(f"/kapis/g{n}.example.io/v1", Node("x"), subtree=True)
        path = f"/kapis/g{count // 2}.example.io/v1/namespaces/n/things/x"
        best = 1.0
        for _ in range(20):
            begun = time.process_time()
            for _ in range(200):
                tree.find(path)
            best = min(best, time.process_time() - begun)
        return best

    assert cost(5000) < 3 * cost(5)


def test_reserved_groups() -> None:
    assert reserved("iam.kubesphere.io", "v1beta1")
    assert reserved("tenant.kubesphere.io", "v1beta1")
    assert not reserved("iam.kubesphere.io", "v2")
    assert not reserved("example.io", "v1beta1")
    assert all(group.endswith("kubesphere.io") for group, _ in RESERVED)
