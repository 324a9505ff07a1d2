"""The query language of lists: pages, order, filters."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.kapis.listing import Query, parse_query, select


def thing(name: str, created: str = "2030-01-01T00:00:00Z", **more: Any) -> Any:
    return {
        "metadata": {"name": name, "uid": f"u-{name}", "creationTimestamp": created, **more},
        "spec": {"email": f"{name}@ks.test", "on": True},
    }


THINGS = [
    thing("a", "2030-01-01T00:00:00Z", labels={"team": "red"}),
    thing("b", "2030-01-03T00:00:00Z", labels={"team": "blue"}, annotations={"kubesphere.io/alias-name": "Bee"}),
    thing("c", "2030-01-02T00:00:00Z", ownerReferences=[{"kind": "Job", "uid": "j1"}], namespace="n"),
]


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
        ("label=team!%3Dblue", ["c", "a"]),
        ("annotation=kubesphere.io/alias-name", ["b"]),
        ("fieldSelector=spec.email%3Da@ks.test", ["a"]),
        ("fieldSelector=spec.email%3D~A@KS.TEST", ["a"]),
        ("fieldSelector=spec.on%3Dtrue,metadata.name%3Db", ["b"]),
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
