"""The resource tree: every path that is served, and the node that serves it.

Nodes are mounted and unmounted as extensions come and go. Finding one walks the path's segments through
dictionaries, so it costs the same with five extensions and with five thousand.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from ksproxyd.chain import Outcome
from ksproxyd.model.status import not_found
from ksproxyd.server.exchange import Exchange


class Node(Protocol):
    """Serves the requests for a path."""

    def handle(self, exchange: Exchange) -> Outcome:
        """As a step of the chain does, but None means that the node sees to the answer itself."""

    def describe(self) -> str:
        """One line for ``ksproxyd routes``."""


#: How many paths are remembered with their nodes, and how long they may be.
_MOST_FOUND, _LONGEST_FOUND = 4096, 256


class _Branch:
    __slots__ = ("below", "children", "exact")

    def __init__(self) -> None:
        self.children: dict[str, _Branch] = {}
        #: Serves this very path.
        self.exact: Node | None = None
        #: Serves this path and everything below it that nothing else serves.
        self.below: Node | None = None


class Tree:
    """The live tree. Changed by watch events, read by requests, all in the reactor's thread."""

    def __init__(self) -> None:
        self._root = _Branch()
        self._prefixes: dict[str, Node] = {}
        #: Nodes found lately, by path.
        self._found: dict[str, Node] = {}

    def mount(self, path: str, node: Node, *, subtree: bool = False) -> None:
        """Serve ``path`` (and, as a ``subtree``, what is below it) by ``node``. Raises :class:`ValueError` if taken."""
        self._found.clear()
        branch = self._root
        for segment in _segments(path):
            child = branch.children.get(segment)
            if child is None:
                child = branch.children[segment] = _Branch()
            branch = child
        if (branch.below if subtree else branch.exact) is not None:
            raise ValueError(f"{path} is mounted already")
        if subtree:
            branch.below = node
        else:
            branch.exact = node

    def mount_prefix(self, prefix: str, node: Node) -> None:
        """Serve every path that begins with the characters ``prefix`` and that nothing else serves."""
        self._found.clear()
        self._prefixes[prefix] = node

    def unmount(self, path: str, *, subtree: bool = False) -> None:
        """Stop serving ``path``. Raises :class:`KeyError` if it is not mounted."""
        self._found.clear()
        segments = _segments(path)
        trail = [self._root]
        for segment in segments:
            trail.append(trail[-1].children[segment])
        branch = trail[-1]
        if (branch.below if subtree else branch.exact) is None:
            raise KeyError(path)
        if subtree:
            branch.below = None
        else:
            branch.exact = None
        for parent, segment, child in zip(reversed(trail[:-1]), reversed(segments), reversed(trail[1:]), strict=True):
            if child.children or child.exact is not None or child.below is not None:
                break
            del parent.children[segment]

    def find(self, path: str) -> Node | None:
        """The node that serves the decoded ``path``: the exact one, else the nearest subtree's."""
        branch = self._root
        found = branch.below
        # The first element is what stands before the leading slash; the root has none.
        for segment in path.split("/")[1:] if path != "/" else ():
            child = branch.children.get(segment)
            if child is None:
                break
            branch = child
            if branch.below is not None:
                found = branch.below
        else:
            if branch.exact is not None:
                return branch.exact
        if found is None:
            for prefix, node in self._prefixes.items():
                if path.startswith(prefix):
                    return node
        return found

    def serve(self, exchange: Exchange) -> Outcome:
        """Hand ``exchange`` to its node: the leaf of the chain. Raises a 404 where there is none."""
        path = exchange.info.path
        node = self._found.get(path)
        if node is None:
            node = self.find(path)
            if node is None:
                raise nothing_here(exchange)
            if len(path) <= _LONGEST_FOUND:
                if len(self._found) >= _MOST_FOUND:
                    self._found.clear()
                self._found[path] = node
        return node.handle(exchange)

    def walk(self) -> Iterator[tuple[str, Node]]:
        """Every mounted path with its node, sorted by path."""
        yield from sorted(self._walk(self._root, ""), key=lambda item: item[0])

    def _walk(self, branch: _Branch, path: str) -> Iterator[tuple[str, Node]]:
        if branch.exact is not None:
            yield path or "/", branch.exact
        if branch.below is not None:
            yield f"{path}/…", branch.below
        for segment, child in branch.children.items():
            yield from self._walk(child, f"{path}/{segment}")
        if branch is self._root:
            for prefix, node in self._prefixes.items():
                yield f"{prefix}…", node


def _segments(path: str) -> list[str]:
    if not path.startswith("/"):
        raise ValueError(f"{path!r} does not begin with /")
    return path.split("/")[1:] if path != "/" else []


def nothing_here(exchange: Exchange) -> Exception:
    """The 404 for a path that nothing serves."""
    return not_found(f'404: Page Not Found: nothing is served at "{exchange.info.path}"')
