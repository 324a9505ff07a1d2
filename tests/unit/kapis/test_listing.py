"""The query language of lists: pages, order, filters."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from ksproxyd.kapis.listing import TYPED, Filter, Query, envelope, listed, parse_query, select
from ksproxyd.kube.pacing import Pacer
from ksproxyd.model.status import StatusError


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
        ("limit=%2B1&page=%2B2", ["c"]),
        ("limit=1&page=4", []),
        ("limit=1&page=99999999999", []),
        ("limit=99999999999&page=1", ["b", "c", "a"]),
        ("limit=9223372036854775808", ["b", "c", "a"]),
        ("limit=3&page=2", []),
        ("limit=&page=", ["b", "c", "a"]),
        ("limit=abc&page=x", ["b", "c", "a"]),
        ("labelSelector=team%3Dred", ["a"]),
        ("labelSelector=team+in+(red,blue),team!%3Dblue", ["a"]),
        ("name=BEE", ["b"]),
        ("name=A", []),
        ("name=b", ["b"]),
        ("nameAndAlias=bEE", ["b"]),
        ("names=a,c", ["c", "a"]),
        ("names=", []),
        ("name=", ["b", "c", "a"]),
        ("uid=", []),
        ("namespace=", ["b", "a"]),
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
        ("fieldSelector=spec.list%3D[1\\,2]", ["a"]),
        ("fieldSelector=spec.list[1]%3D2", ["a"]),
        ("fieldSelector=.spec.list[7]%3D2", []),
        ("ownerReference=j1", ["c"]),
        ("ownerKind=Job", ["c"]),
        ("namespace=n", ["c"]),
        ("whatever=x", ["b", "c", "a"]),
    ],
)
def test_found(query: str, found: list[str]) -> None:
    assert names(query) == found


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("name=Bee", ["b"]),
        ("name=BEE", []),
        ("nameAndAlias=ee", ["b"]),
        ("label=team+in+(red)", ["a"]),
        ("label=!team", ["c"]),
        ("label=team%3Dred,team", ["a"]),
        ("label=team%3D*", []),
        ("annotation=kubesphere.io/alias-name%3DBee", ["b"]),
        ("annotation=%25", []),
        ("fieldSelector=spec.email%3Dnone", ["b", "c", "a"]),
        # The request is authorized for the name that it selects; no other may be shown.
        ("fieldSelector=metadata.name%3Da", ["a"]),
        ("fieldSelector=metadata.name%3Da,metadata.namespace%3Dn", []),
        ("fieldSelector=metadata.namespace%3Dn,spec.email%3Dnone", ["c"]),
        ("names=a,c", ["c", "a"]),
    ],
)
def test_found_in_lists_of_tenants_and_resources(query: str, found: list[str]) -> None:
    page, _ = select(THINGS, parse_query(query.encode()), engine=TYPED)
    assert [each["metadata"]["name"] for each in page] == found


@pytest.mark.parametrize(
    "query",
    ["labelSelector=%25%25", "fieldSelector=nothing", "fieldSelector=a%3D[1,2]", "page=0", "limit=2&page=-1"],
)
def test_what_cannot_be_meant_is_refused(query: str) -> None:
    with pytest.raises(StatusError) as raised:
        parse_query(query.encode())
    assert raised.value.code == 400


def test_a_list_may_have_filters_of_its_own() -> None:
    phase: dict[str, Filter] = {"status": lambda value: lambda each: each["spec"]["email"].startswith(value)}
    assert select(THINGS, parse_query(b"status=b"), engine=TYPED, more=phase)[1] == 1
    assert select(THINGS, parse_query(b"status=b"), engine=TYPED)[1] == 3


def test_the_total_is_of_all_pages() -> None:
    assert select(THINGS, Query(limit=1))[1] == 3


@given(st.binary(max_size=80), st.lists(st.dictionaries(st.text(max_size=4), st.text(max_size=4)), max_size=3))
def test_any_query_on_anything(query: bytes, values: Any) -> None:
    try:
        parsed = parse_query(query)
    except StatusError as error:
        assert error.code == 400
        return
    page, total = select(values, parsed)
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
