"""Sets of field paths, in the form of ``fieldsV1``: who owns what.

A set is a tree of dicts. Its keys are path elements as ``fieldsV1`` writes them: ``f:NAME`` for a field or map key,
``k:{…}`` for the element of a list with these keys, ``v:VALUE`` for an element of a set of scalars. :data:`SELF` in a
dict says that the path that leads to it is a member. (On the wire a member without members below it is ``{}``;
:func:`decoded` and :func:`encoded` translate.)
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

Tree = dict[str, Any]

#: Marks the path itself as a member.
SELF = "."

_HERE: Tree = {}


def decoded(wire: Any) -> Tree:
    """A set from its wire form. Raises ``ValueError`` if that is not one."""
    if not isinstance(wire, dict):
        raise ValueError("a set of fields is an object")
    tree: Tree = {}
    for element, below in wire.items():
        if element == SELF:
            tree[SELF] = _HERE
        elif element[:2] in ("f:", "k:", "v:", "i:"):
            tree[element] = decoded(below) or {SELF: _HERE}
        else:
            raise ValueError(f"{element!r} is not a path element")
    return tree


def encoded(tree: Tree) -> Tree:
    """The wire form of a set, elements in order."""
    wire: Tree = {}
    for element in sorted(tree):
        if element == SELF:
            wire[SELF] = {}
        else:
            below = tree[element]
            wire[element] = {} if below.keys() == {SELF} else encoded(below)
    return wire


def union(one: Tree, other: Tree) -> Tree:
    """The paths that are in either set."""
    found = dict(one)
    for element, below in other.items():
        mine = found.get(element)
        found[element] = below if mine is None else union(mine, below)
    return found


def union_of(trees: Iterable[Tree]) -> Tree:
    """The paths that are in any of the sets."""
    found: Tree = {}
    for tree in trees:
        found = union(found, tree)
    return found


def difference(one: Tree, other: Tree) -> Tree:
    """The paths of ``one`` that are not in ``other``."""
    found: Tree = {}
    for element, below in one.items():
        theirs = other.get(element)
        if theirs is None:
            found[element] = below
        elif element != SELF:
            rest = difference(below, theirs)
            if rest:
                found[element] = rest
    return found


def intersection(one: Tree, other: Tree) -> Tree:
    """The paths that are in both sets."""
    found: Tree = {}
    for element, below in one.items():
        theirs = other.get(element)
        if theirs is None:
            continue
        if element == SELF:
            found[SELF] = _HERE
        else:
            both = intersection(below, theirs)
            if both:
                found[element] = both
    return found


def insert(tree: Tree, path: tuple[str, ...]) -> None:
    """Make ``path`` a member."""
    for element in path:
        tree = tree.setdefault(element, {})
    tree[SELF] = _HERE


def paths(tree: Tree, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every member, in no particular order."""
    for element, below in tree.items():
        if element == SELF:
            yield above
        else:
            yield from paths(below, (*above, element))


def shown(path: tuple[str, ...]) -> str:
    """A path for people: ``.spec.containers[name="c"].image``."""
    text = ""
    for element in path:
        kind, rest = element[:2], element[2:]
        if kind == "f:":
            text += f".{rest}"
        elif kind == "k:":
            keys = json.loads(rest)
            text += "[" + ",".join(f"{key}={json.dumps(keys[key])}" for key in sorted(keys)) + "]"
        else:
            text += f"[{'=' if kind == 'v:' else ''}{rest}]"
    return text


def field(name: str) -> str:
    """The path element of a field or map key."""
    return f"f:{name}"


def keyed(keys: dict[str, Any]) -> str:
    """The path element of a list element with these values of its keys."""
    return "k:" + json.dumps(keys, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def scalar(value: Any) -> str:
    """The path element of a scalar in a set."""
    return "v:" + json.dumps(value, separators=(",", ":"), ensure_ascii=False)
