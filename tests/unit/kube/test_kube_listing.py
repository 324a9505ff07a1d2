"""Reading collections."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_upstream import FixedAccess, ScriptedUpstream, outcome
from turn_clock import TurnClock
from twisted.internet.defer import Deferred

from ksproxyd.kube.client import KubeClient
from ksproxyd.kube.errors import KubeError, KubeUnreachable
from ksproxyd.kube.listing import PAGE_BYTES, PAGE_LIMIT, PAGE_SIZE, RESTARTS, ListReader
from ksproxyd.kube.pacing import Pacer
from ksproxyd.kube.resource import Resource

WIDGETS = Resource("example.com", "v1", "widgets", "Widget", namespaced=True)


class Api:
    """A reader and its server. Every look at the time takes a millisecond."""

    def __init__(self) -> None:
        self.clock = TurnClock()
        self.upstream = ScriptedUpstream()
        self.ticks = 0.0
        self.client = KubeClient(self.upstream, FixedAccess(), self.clock, pacer=self.pacer)
        self.reader: ListReader = self.client.reader(WIDGETS)
        self.visited: list[str] = []
        self.arrivals = 0

    def pacer(self) -> Pacer:
        return Pacer(self.clock, 0.01, self.tick)

    def tick(self) -> float:
        self.ticks += 0.001
        return self.ticks

    def read(self) -> Deferred[str]:
        def arrived() -> None:
            self.arrivals += 1

        def visit(obj: dict[str, Any]) -> None:
            self.visited.append(obj["metadata"]["name"])

        return Deferred.fromCoroutine(self.reader.read(visit, arrived))

    @property
    def query(self) -> dict[str, str]:
        return {key: values[0] for key, values in parse_qs(self.upstream.last.line.partition("?")[2]).items()}


@pytest.fixture
def api() -> Api:
    return Api()


def page(*names: str, version: str = "9", more: str = "", size: int = 0) -> dict[str, Any]:
    items = [{"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}} for name in names]
    if size:
        items[0]["metadata"]["fill"] = "x" * size  # type: ignore[index]
    return {"metadata": {"resourceVersion": version, "continue": more}, "items": items}


def test_pages_are_read_to_the_last(api: Api) -> None:
    done = api.read()
    assert api.query == {"limit": str(PAGE_SIZE)}
    assert api.upstream.last.limits["limit"] == PAGE_LIMIT
    api.upstream.last.answer(200, page("a", "b", more="t=1&"))
    assert api.query == {"limit": str(PAGE_SIZE), "continue": "t=1&"}
    api.upstream.last.answer(200, page("c", version="10"))
    assert outcome(done) == "10"
    assert (api.visited, api.arrivals) == (["a", "b", "c"], 2)


@pytest.mark.parametrize("items", [{}, {"items": None}, {"items": []}])
def test_an_empty_collection(api: Api, items: dict[str, Any]) -> None:
    done = api.read()
    api.upstream.last.answer(200, {"metadata": {"resourceVersion": "3"}, **items})
    assert (outcome(done), api.visited) == ("3", [])


def test_the_reactor_has_its_turns(api: Api) -> None:
    """Ten objects fit into the time of a turn here."""
    done = api.read()
    api.upstream.last.answer(200, page(*(str(number) for number in range(35))))
    assert 0 < len(api.visited) < 12
    turns = 0
    while api.clock.getDelayedCalls():
        before = len(api.visited)
        api.clock.turn()
        assert len(api.visited) - before <= 10
        turns += 1
    assert turns >= 3
    assert (outcome(done), len(api.visited)) == ("9", 35)


def test_selectors_are_sent(api: Api) -> None:
    reader = api.client.reader(WIDGETS, "ns", label_selector="a in (b,c)", field_selector="metadata.name=x")
    Deferred.fromCoroutine(reader.read(lambda obj: None, lambda: None))
    assert api.upstream.last.line.startswith("GET /apis/example.com/v1/namespaces/ns/widgets?")
    assert api.query == {"limit": "500", "labelSelector": "a in (b,c)", "fieldSelector": "metadata.name=x"}


def test_large_pages_make_smaller_ones(api: Api) -> None:
    done = api.read()
    api.upstream.last.answer(200, page("a", more="t", size=PAGE_BYTES * 5))
    assert 80 <= int(api.query["limit"]) <= 100
    api.upstream.last.answer(200, page("b", more="t", size=PAGE_BYTES * 1000 // 10))
    assert int(api.query["limit"]) == 1
    api.upstream.last.answer(200, page("c"))
    assert outcome(done) == "9"
    assert api.reader.page_size == 1
    api.read()
    assert api.query["limit"] == "1"


def test_a_page_that_is_too_large_is_asked_for_again_with_less(api: Api) -> None:
    done = api.read()
    api.upstream.last.answer(200, page("a", more="t"))
    sizes = []
    for _ in range(2):
        api.upstream.last.break_off("protocol", "the answer is longer than allowed")
        assert api.query["continue"] == "t"
        sizes.append(int(api.query["limit"]))
    assert sizes == [62, 7]
    api.upstream.last.answer(200, page("b"))
    assert (outcome(done), api.visited) == ("9", ["a", "b"])


def test_a_single_object_that_is_too_large_is_an_error(api: Api) -> None:
    done = api.read()
    while not done.called:
        api.upstream.last.break_off("protocol", "the answer is longer than allowed")
    assert outcome(done).kind == "protocol"
    assert len(api.upstream.asked) < 6


def test_other_failures_are_errors(api: Api) -> None:
    done = api.read()
    api.upstream.last.break_off("closed")
    assert outcome(done).kind == "closed"


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", {"items": []}, {"metadata": {"resourceVersion": 5}}, {"metadata": {}, "items": {}}],
    ids=repr,
)
def test_what_is_no_list(api: Api, body: Any) -> None:
    done = api.read()
    api.upstream.last.answer(200, body)
    error = outcome(done)
    assert isinstance(error, KubeUnreachable)
    assert (error.kind, "is not a list" in error.message) == ("content", True)


def test_what_is_no_object(api: Api) -> None:
    done = api.read()
    api.upstream.last.answer(200, {"metadata": {}, "items": [{"metadata": {"name": "a"}}, [1]]})
    assert "is not an object" in outcome(done).message
    assert api.visited == ["a"]


def test_objects_say_what_they_are(api: Api) -> None:
    found: list[dict[str, Any]] = []
    done = Deferred.fromCoroutine(api.reader.read(found.append, lambda: None))
    api.upstream.last.answer(200, {"metadata": {}, "items": [{"metadata": {"name": "a"}}, {"kind": "Other"}]})
    assert outcome(done) == ""
    assert found == [
        {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a"}},
        {"apiVersion": "example.com/v1", "kind": "Other"},
    ]


def test_the_version_is_read_with_one_object(api: Api) -> None:
    done = Deferred.fromCoroutine(api.reader.version())
    assert api.query == {"limit": "1"}
    api.upstream.last.answer(200, page("a", version="77", more="t"))
    assert outcome(done) == "77"


class TestAllAtOnce:
    def test_everything(self, api: Api) -> None:
        done = Deferred.fromCoroutine(api.client.list(WIDGETS, "ns", label_selector="a=b"))
        assert api.query == {"limit": "500", "labelSelector": "a=b"}
        api.upstream.last.answer(200, page("a", more="t"))
        api.upstream.last.answer(200, page("b"))
        listing = outcome(done)
        assert [obj["metadata"]["name"] for obj in listing.items] == ["a", "b"]
        assert listing.resource_version == "9"

    def test_begun_again_where_it_expired_under_way(self, api: Api) -> None:
        done = Deferred.fromCoroutine(api.client.list(WIDGETS))
        api.upstream.last.answer(200, page("a", more="t"))
        api.upstream.last.answer(410, {"kind": "Status", "reason": "Expired"})
        assert "continue" not in api.query
        api.upstream.last.answer(200, page("b"))
        assert [obj["metadata"]["name"] for obj in outcome(done).items] == ["b"]

    def test_not_for_ever(self, api: Api) -> None:
        done = Deferred.fromCoroutine(api.client.list(WIDGETS))
        for _ in range(RESTARTS):
            api.upstream.last.answer(410)
        assert not done.called
        api.upstream.last.answer(410)
        assert outcome(done).expired
        assert len(api.upstream.asked) == RESTARTS + 1

    def test_other_errors_are_errors(self, api: Api) -> None:
        done = Deferred.fromCoroutine(api.client.list(WIDGETS))
        api.upstream.last.answer(403)
        error = outcome(done)
        assert isinstance(error, KubeError)
        assert error.code == 403


@given(st.lists(st.lists(st.text(min_size=1, max_size=3), max_size=30), min_size=1, max_size=5))
def test_every_object_is_visited_once_and_in_order(pages: list[list[str]]) -> None:
    api = Api()
    done = api.read()
    for number, names in enumerate(pages, 1):
        api.upstream.last.answer(200, page(*names, more="t" if number < len(pages) else ""))
        api.clock.advance(0)
    assert outcome(done) == "9"
    assert api.visited == [name for names in pages for name in names]
