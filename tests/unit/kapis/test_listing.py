"""The query language of lists: pages, order, filters."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from ksproxyd.kapis.listing import Query, envelope, listed, parse_query, select
from ksproxyd.kube.pacing import Pacer


def thing(name: str, created: str = "2030-01-01T00:00:00Z", **more: Any) -> Any:
    return {
        "metadata": {"name": name, "uid": f"u-{name}", "creationTimestamp": created, **more},
        "spec": {"email": f"{name}@ks.test", "on": True},
    }


def seen(value: Any) -> Any:
    """A thing without its secret."""
    return {name: each for name, each in value.items() if name != "secret"}


THINGS = [
    thing("a", "2030-01-01T00:00:00Z", labels={"team": "red"}),
    thing("b", "2030-01-03T00:00:00Z", labels={"team": "blue"}, annotations={"kubesphere.io/alias-name": "Bee"}),
    thing("c", "2030-01-02T00:00:00Z", ownerReferences=[{"kind": "Job", "uid": "j1"}], namespace="n"),
]


THINGS[0]["spec"]["list"] = [1, 2]
THINGS[1]["secret"] = "x"


def names(query: str) -> list[str]:
    return [each["metadata"]["name"] for each in select(THINGS, parse_query(query.encode()))[0]]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["b", "c", "a"]),
        ("ascending=true", ["a", "c", "b"]),
        ("sortBy=name&ascending=true", ["a", "b", "c"]),
        ("sortBy=name", ["c", "b", "a"]),
        ("sortBy=odd", ["b", "c", "a"]),
        ("limit=1&page=2", ["c"]),
        ("limit=0", []),
        ("limit=-1&page=9", ["b", "c", "a"]),
        ("limit=-2", []),
        ("limit=2&page=0", []),
        ("limit=abc&page=x", ["b", "c", "a"]),
        ("labelSelector=team%3Dred", ["a"]),
        ("labelSelector=%25%25", ["b", "c", "a"]),
        ("name=BEE", ["b"]),
        ("name=A", []),
        ("name=b", ["b"]),
        ("nameAndAlias=bEE", ["b"]),
        ("names=a,c", ["c", "a"]),
        ("uid=u-c", ["c"]),
        ("label=team", ["b", "a"]),
        ("label=team%3Dblue", ["b"]),
        ("label=team!%3Dblue", ["a"]),
        ("label=team%3D*", ["b", "a"]),
        ("label=none!%3Dx", []),
        ("label=team%3Dgreen", []),
        ("annotation=kubesphere.io/alias-name", ["b"]),
        ("fieldSelector=spec.email%3Da@ks.test", ["a"]),
        ("fieldSelector=spec.email%3D~A@KS.TEST", ["a"]),
        ("fieldSelector=spec.on%3Dtrue,metadata.name%3Db", ["b"]),
        ("fieldSelector=spec.on!%3Dtrue", []),
        ("fieldSelector=spec.email!%3Da@ks.test", ["b", "c"]),
        ("fieldSelector=spec.none!%3Dx", ["b", "c", "a"]),
        ("fieldSelector=spec.none%3D", ["b", "c", "a"]),
        ("fieldSelector=metadata.annotations.kubesphere\\.io/alias-name%3DBee", ["b"]),
        ("fieldSelector=spec.list%3D[1,2]", []),
        ("fieldSelector=spec.list%3D[1\\,2]", ["a"]),
        ("fieldSelector=nothing", []),
        ("ownerReference=j1", ["c"]),
        ("ownerKind=Job", ["c"]),
        ("namespace=n", ["c"]),
        ("whatever=x", ["b", "c", "a"]),
    ],
)
def test_found(query: str, found: list[str]) -> None:
    assert names(query) == found


def test_the_total_is_of_all_pages() -> None:
    assert select(THINGS, Query(limit=1))[1] == 3


@given(st.binary(max_size=80), st.lists(st.dictionaries(st.text(max_size=4), st.text(max_size=4)), max_size=3))
def test_any_query_on_anything(query: bytes, values: Any) -> None:
    page, total = select(values, parse_query(query))
    assert len(page) <= total <= len(values)


def test_filters_see_what_may_be_seen() -> None:
    query = parse_query(b"fieldSelector=secret%3Dx")
    assert select(THINGS, query)[1] == 1
    assert select(THINGS, query, seen) == ([], 0)
    page, _ = select(THINGS, Query(), seen)
    assert all("secret" not in each for each in page) and "secret" in THINGS[1]


QUERIES = st.lists(
    st.sampled_from(
        [
            "limit=2",
            "limit=0",
            "page=2",
            "sortBy=name",
            "ascending=true",
            "name=b",
            "label=team",
            "names=a,b,c",
            "uid=u-a",
        ]
    ),
    max_size=3,
).map("&".join)


@given(QUERIES, st.integers(0, 80))
def test_a_list_with_pauses_is_the_same_list(query: str, more: int) -> None:
    things = [*THINGS, *(thing(f"t{n}") for n in range(more))]
    clock = Clock()
    results: list[Any] = []
    pacer = Pacer(clock, timer=iter(range(10**6)).__next__)  # type: ignore[arg-type]
    Deferred.fromCoroutine(listed(things, parse_query(query.encode()), pacer, seen)).addBoth(results.append)
    # Time has always passed, so it rests whenever it looks; what comes in between is not in this list.
    while not results:
        things.append(thing(f"late{len(things)}"))
        clock.advance(0)
    items, total = results[0]
    page, found = select([*THINGS, *(thing(f"t{n}") for n in range(more))], parse_query(query.encode()), seen)
    assert (msgspec.json.decode(items), total) == (page, found)
    assert msgspec.json.decode(envelope(items, total)) == {"items": page, "totalItems": found}
