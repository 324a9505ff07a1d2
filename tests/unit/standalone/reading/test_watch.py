from __future__ import annotations

import json
from typing import Any

import pytest
from contract.in_memory import MemoryClient, MemoryWatch
from contract.objects import config_map, config_maps

from ksproxyd.standalone.reading.watch import READ_SIZE
from ksproxyd.standalone.storage.log import BOOKMARKS, WINDOW
from ksproxyd.standalone.storage.store import Store

PATH = config_maps("default")


@pytest.fixture
def api() -> MemoryClient:
    return MemoryClient()


def told(watch: MemoryWatch, count: int) -> list[tuple[str, str]]:
    return [(event["type"], event["object"]["metadata"]["name"]) for event in watch.take(count)]


def frames(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


def test_idle_watch_has_no_timer_but_its_timeout(api: MemoryClient) -> None:
    before = len(api.clock.getDelayedCalls())
    watch = api.watch(f"{PATH}?watch=1")
    assert watch.quiet()
    assert len(api.clock.getDelayedCalls()) == before + 1
    watch.close()
    assert len(api.clock.getDelayedCalls()) == before


def test_sender_is_called_when_there_is_something(api: MemoryClient) -> None:
    watch = api.watch(f"{PATH}?watch=1")
    calls: list[bytes] = []
    watch.stream.on_ready = lambda: calls.append(watch.stream.read())
    assert watch.stream.read() == b""
    api.make(PATH, config_map("a"))
    assert [frame["type"] for data in calls for frame in frames(data)] == ["ADDED"]
    api.make("/api/v1/namespaces/kube-system/configmaps", config_map("b"))
    assert len(calls) == 1


def test_watch_that_is_not_read_catches_up_from_the_store(api: MemoryClient) -> None:
    watch = api.watch(f"{PATH}?watch=1")
    for number in range(3 * WINDOW):
        api.make(PATH, config_map(f"c{number:04}"))
    assert told(watch, 3 * WINDOW) == [("ADDED", f"c{number:04}") for number in range(3 * WINDOW)]
    assert watch.quiet()


def test_watch_that_is_too_slow_is_told_to_list_again() -> None:
    api = MemoryClient(Store(history=50))
    watch = api.watch(f"{PATH}?watch=1")
    assert watch.quiet()
    api.make(PATH, config_map("a"))
    for number in range(400):
        api.patch(f"{PATH}/a", {"data": {"x": str(number)}})
    (event,) = watch.take(1)
    assert event["type"] == "ERROR"
    assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")
    assert watch.stream.ended
    assert watch.stream.read() == b""


def test_quiet_watch_is_not_too_slow() -> None:
    api = MemoryClient(Store(history=50))
    watch = api.watch(f"{PATH}?watch=1&fieldSelector=metadata.name%3Dmine")
    assert watch.quiet()
    api.make(PATH, config_map("a"))
    for number in range(400):
        api.patch(f"{PATH}/a", {"data": {"x": str(number)}})
    api.make(PATH, config_map("mine"))
    assert told(watch, 1) == [("ADDED", "mine")]


def test_present_objects_are_shown_as_they_were_at_the_beginning() -> None:
    api = MemoryClient(Store(history=20))
    for number in range(200):
        api.make(PATH, config_map(f"c{number:03}", x="old"))
    watch = api.watch(f"{PATH}?watch=1")
    first = frames(watch.stream.read())
    for number in range(200):
        api.patch(f"{PATH}/c{number:03}", {"data": {"x": "new"}})
    rest = []
    while data := watch.stream.read():
        rest += frames(data)
    shown = first + rest
    assert [frame["type"] for frame in shown] == ["ADDED"] * 200 + ["MODIFIED"] * 200
    assert {frame["object"]["data"]["x"] for frame in shown[:200]} == {"old"}
    assert {frame["object"]["data"]["x"] for frame in shown[200:]} == {"new"}


def test_closed_watch_does_not_hold_history() -> None:
    api = MemoryClient(Store(history=20))
    for number in range(100):
        api.make(PATH, config_map(f"c{number:03}"))
    watch = api.watch(f"{PATH}?watch=1")
    watch.stream.read()
    watch.close()
    watch.close()
    for number in range(200):
        api.patch(f"{PATH}/c000", {"data": {"x": str(number)}})
    assert api.store.floor > int(api.get(f"{PATH}/c001").rv)
    assert watch.stream.read() == b""


def test_one_read_is_bounded(api: MemoryClient) -> None:
    for number in range(50):
        api.make(PATH, config_map(f"c{number}", x="y" * 10_000))
    watch = api.watch(f"{PATH}?watch=1")
    sizes = []
    while data := watch.stream.read():
        sizes.append(len(data))
    # A read stops at the first frame that reaches the limit.
    assert max(sizes) < READ_SIZE + 11_000
    assert sum(sizes) > 500_000


def test_bookmarks_come_once_a_minute(api: MemoryClient) -> None:
    watch = api.watch(f"{PATH}?watch=1&resourceVersion=0&allowWatchBookmarks=true")
    told_end = watch.take(1)[0]
    assert told_end["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    api.make("/api/v1/namespaces/kube-system/configmaps", config_map("elsewhere"))
    assert watch.quiet()
    api.clock.advance(BOOKMARKS)
    (mark,) = watch.take(1)
    assert mark["type"] == "BOOKMARK"
    assert mark["object"] == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"resourceVersion": str(api.store.revision)},
    }
    api.clock.advance(BOOKMARKS)
    assert len(watch.take(1)) == 1


def test_watch_without_bookmarks_gets_none(api: MemoryClient) -> None:
    watch = api.watch(f"{PATH}?watch=1&resourceVersion=0")
    api.clock.advance(3 * BOOKMARKS)
    assert watch.quiet()


def test_watch_ends_at_its_timeout(api: MemoryClient) -> None:
    watch = api.watch(f"{PATH}?watch=1&timeoutSeconds=5")
    woken: list[bool] = []
    watch.stream.on_ready = lambda: woken.append(watch.stream.ended)
    api.clock.advance(4.9)
    assert not watch.stream.ended
    api.clock.advance(0.2)
    api.settle()
    assert woken == [True]
    assert watch.stream.read() == b""


def test_watch_without_a_timeout_ends_within_an_hour(api: MemoryClient) -> None:
    watch = api.watch(f"{PATH}?watch=1")
    api.clock.advance(29 * 60)
    assert not watch.stream.ended
    api.clock.advance(31 * 60)
    assert watch.stream.ended


def test_future_resource_version_waits_for_it(api: MemoryClient) -> None:
    now = int(api.get(PATH).rv)
    watch = api.watch(f"{PATH}?watch=1&resourceVersion={now + 2}")
    for name in "abc":
        api.make(PATH, config_map(name))
    assert told(watch, 1) == [("ADDED", "c")]


def test_streaming_list_from_the_future_is_refused(api: MemoryClient) -> None:
    query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=999999"
    assert api.get(f"{PATH}?{query}").status == 504


def test_history_before_the_first_start_cannot_be_watched(api: MemoryClient) -> None:
    watch = api.watch(f"{PATH}?watch=1&resourceVersion=1")
    (event,) = watch.take(1)
    assert event["object"]["code"] == 410
