"""Lists against a naive implementation of the specification (spec 03, 7), from sorted stores and from anything else."""

from __future__ import annotations

from functools import cmp_to_key
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from ksproxyd.kapis.listing import PLAIN, TYPED, Engine, Ordered, listed, parse_query, select
from ksproxyd.kube.pacing import Pacer
from ksproxyd.state.store import Store, key_of

ALIAS = "kubesphere.io/alias-name"
NAMES = st.sampled_from(["a", "ab", "abc", "b", "B", "c"])
TIMES = st.sampled_from(["2030-01-01T00:00:00Z", "2030-01-02T00:00:00Z", ""])
OBJECTS = st.builds(
    lambda name, namespace, created, label, alias, uid: {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "creationTimestamp": created,
            "uid": uid,
            "labels": {"l": label} if label else {},
            "annotations": {ALIAS: alias} if alias else {},
        }
    },
    NAMES,
    st.sampled_from(["", "n", "m"]),
    TIMES,
    st.sampled_from(["", "x", "y"]),
    st.sampled_from(["", "B", "ab"]),
    st.sampled_from(["1", "2"]),
)
PARAMETERS = {
    "limit": st.sampled_from(["", "0", "1", "2", "5", "-1", "-2", "x"]),
    "page": st.sampled_from(["", "1", "2", "3", "99", "y"]),
    "sortBy": st.sampled_from(["", "name", "createTime", "creationTimestamp", "odd"]),
    "ascending": st.sampled_from(["", "1", "true", "True", "false", "yes"]),
    "labelSelector": st.sampled_from(["", "l=x", "l!=x", "!l"]),
    "fieldSelector": st.sampled_from(["", "metadata.name=b", "metadata.name!=b", "metadata.name=~B"]),
    "name": st.sampled_from(["", "a", "b", "B"]),
    "names": st.sampled_from(["a,b", "c"]),
    "namespace": st.sampled_from(["", "n"]),
    "label": st.sampled_from(["l", "l=x", "l!=x"]),
    "other": st.just("z"),
}
QUERIES = st.lists(st.sampled_from(sorted(PARAMETERS)), unique=True, max_size=5).flatmap(
    lambda keys: st.fixed_dictionaries({key: PARAMETERS[key] for key in keys})
)


def naive(objects: list[Any], query: dict[str, str], engine: Engine) -> tuple[list[Any], int]:
    """What the specification says, word by word."""
    found = [each for each in objects if all(wanted(each, *pair, engine is TYPED) for pair in query.items())]
    by_name = query.get("sortBy") == "name"

    def compare(a: Any, b: Any) -> int:
        for key in ([] if by_name else ["creationTimestamp"]) + ["name", "namespace"]:
            x, y = a["metadata"][key], b["metadata"][key]
            if x != y:
                return -1 if x < y else 1
        return 0

    ascending = query.get("ascending") in ("1", "t", "T", "TRUE", "true", "True")
    found.sort(key=cmp_to_key(lambda a, b: compare(a, b) if ascending else compare(b, a)))
    limit, page = number(query.get("limit"), -1), number(query.get("page"), 1)
    total = len(found)
    if limit == -1:
        return found, total
    offset = (page - 1) * limit
    if limit < 0 or offset > total:
        return [], total
    return found[offset : min(offset + limit, total)], total


def number(value: str | None, default: int) -> int:
    try:
        return int(value or "")
    except ValueError:
        return default


def wanted(each: Any, key: str, value: str, typed: bool) -> bool:
    metadata = each["metadata"]
    label = metadata["labels"].get("l")
    if key == "name":
        alias = metadata["annotations"].get(ALIAS, "")
        folds = (value in alias) if typed else (value.lower() in alias.lower())
        return value in metadata["name"] or (bool(alias) and folds)
    if key == "names":
        return metadata["name"] in value.split(",")
    if key == "namespace":
        return bool(metadata["namespace"] == value)
    if key == "labelSelector":
        return {"": True, "l=x": label == "x", "l!=x": label != "x", "!l": label is None}[value]
    if key == "label":
        # Where the grammar is that of selectors, what has no label is not x either.
        unequal = label != "x" and (typed or label is not None)
        return {"l": label is not None, "l=x": label == "x", "l!=x": unequal}[value]
    if key == "fieldSelector":
        name = metadata["name"]
        return {
            "": True,
            "metadata.name=b": name == "b",
            "metadata.name!=b": name != "b",
            "metadata.name=~B": name.lower() == "b",
        }[value]
    return True


ENGINES = st.sampled_from([PLAIN, TYPED])


def raw(query: dict[str, str]) -> bytes:
    return "&".join(f"{key}={value.replace('=', '%3D')}" for key, value in query.items()).encode()


@given(st.lists(OBJECTS, max_size=12, unique_by=key_of), QUERIES, ENGINES)
def test_lists_are_what_the_specification_says(objects: list[Any], query: dict[str, str], engine: Engine) -> None:
    assert select(objects, parse_query(raw(query)), engine=engine) == naive(objects, query, engine)


@given(st.lists(st.tuples(OBJECTS, st.booleans()), max_size=30), QUERIES, ENGINES, st.booleans())
def test_a_store_in_order_gives_the_same_lists_whatever_has_happened_to_it(
    changes: list[tuple[Any, bool]], query: dict[str, str], engine: Engine, early: bool
) -> None:
    store = Store("Thing", Clock())
    ordered = Ordered(store)
    if early:
        ordered.keys(True), ordered.keys(False)
    for value, removed in changes:
        if removed:
            store.remove(key_of(value))
        else:
            store.put(value)
    results: list[Any] = []
    clock = Clock()
    pacer = Pacer(clock, timer=iter(range(10**6)).__next__)  # type: ignore[arg-type]
    Deferred.fromCoroutine(listed(ordered, parse_query(raw(query)), pacer, engine=engine)).addBoth(results.append)
    while not results:
        clock.advance(0)
    items, total = results[0]
    assert (msgspec.json.decode(items), total) == naive(list(store.values()), query, engine)
    assert len(ordered) == len(store)


def test_who_has_stopped_hears_of_nothing_more() -> None:
    store = Store("Thing", Clock())
    ordered = Ordered(store)
    assert list(ordered.keys(True)) == []
    ordered.stop()
    store.put({"metadata": {"name": "a"}})
    assert list(ordered.keys(True)) == []
