"""Watches: events, resuming, selectors, bookmarks, streaming lists, ends."""

from __future__ import annotations

from typing import Any

import pytest

from contract.client import Client
from contract.objects import CRDS, Widgets, config_map, config_maps


def told(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Type and name of events."""
    return [(event["type"], event["object"]["metadata"]["name"]) for event in events]


def test_watch_from_now_tells_what_happens(api: Client, namespace: str) -> None:
    path = config_maps(namespace)
    start = api.get(path).rv
    watch = api.watch(f"{path}?watch=true&resourceVersion={start}")
    assert watch.status == 200
    assert watch.headers["content-type"] == "application/json"
    made = api.make(path, config_map("a", x="1"))
    changed = api.patch(f"{path}/a", {"data": {"x": "2"}}).json
    assert api.delete(f"{path}/a").status == 200
    added, modified, deleted = watch.take(3)
    assert told([added, modified, deleted]) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]
    assert added["object"] == made
    assert modified["object"] == changed
    assert deleted["object"]["data"] == {"x": "2"}
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in (added, modified, deleted)]
    assert versions == sorted(set(versions))
    watch.close()


def test_watch_without_a_resource_version_begins_with_what_is_there(api: Client, namespace: str) -> None:
    path = config_maps(namespace)
    api.make(path, config_map("a"))
    api.make(path, config_map("b"))
    watch = api.watch(f"{path}?watch=1")
    assert sorted(told(watch.take(2))) == [("ADDED", "a"), ("ADDED", "b")]
    api.make(path, config_map("c"))
    assert told(watch.take(1)) == [("ADDED", "c")]
    watch.close()


def test_watch_from_zero_begins_with_what_is_there(api: Client, namespace: str) -> None:
    path = config_maps(namespace)
    api.make(path, config_map("a"))
    watch = api.watch(f"{path}?watch=1&resourceVersion=0")
    assert told(watch.take(1)) == [("ADDED", "a")]
    watch.close()


def test_watch_resumes_behind_a_resource_version(api: Client, namespace: str) -> None:
    path = config_maps(namespace)
    first = api.make(path, config_map("a"))
    api.make(path, config_map("b"))
    api.patch(f"{path}/a", {"data": {"x": "1"}})
    assert api.delete(f"{path}/b").status == 200
    watch = api.watch(f"{path}?watch=1&resourceVersion={first['metadata']['resourceVersion']}")
    assert told(watch.take(3)) == [("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "b")]
    assert watch.quiet()
    watch.close()


def test_watch_keeps_to_its_namespace_and_kind(api: Client, namespace: str) -> None:
    path = config_maps(namespace)
    watch = api.watch(f"{path}?watch=1&resourceVersion={api.get(path).rv}")
    name = f"elsewhere-{namespace[-8:]}"
    api.make(config_maps("default"), config_map(name))
    api.make(f"/api/v1/namespaces/{namespace}/secrets", {"metadata": {"name": "a"}})
    api.make(path, config_map("mine"))
    assert told(watch.take(1)) == [("ADDED", "mine")]
    api.delete(f"{config_maps('default')}/{name}")
    watch.close()


def test_watch_of_one_object(api: Client, namespace: str) -> None:
    path = config_maps(namespace)
    start = api.get(path).rv
    watch = api.watch(f"{path}?watch=1&resourceVersion={start}&fieldSelector=metadata.name%3Da")
    api.make(path, config_map("b"))
    api.make(path, config_map("a"))
    assert told(watch.take(1)) == [("ADDED", "a")]
    assert api.delete(f"{path}/b").status == 200
    assert api.delete(f"{path}/a").status == 200
    assert told(watch.take(1)) == [("DELETED", "a")]
    watch.close()


def test_object_that_enters_or_leaves_a_selection(api: Client, namespace: str) -> None:
    path = config_maps(namespace)
    watch = api.watch(f"{path}?watch=1&resourceVersion={api.get(path).rv}&labelSelector=chosen%3Dyes")
    api.make(path, config_map("a", x="1"))
    api.patch(f"{path}/a", {"metadata": {"labels": {"chosen": "yes"}}})
    assert told(watch.take(1)) == [("ADDED", "a")]
    api.patch(f"{path}/a", {"data": {"x": "2"}})
    assert told(watch.take(1)) == [("MODIFIED", "a")]
    left = api.patch(f"{path}/a", {"metadata": {"labels": {"chosen": "no"}}, "data": {"x": "3"}})
    (event,) = watch.take(1)
    assert told([event]) == [("DELETED", "a")]
    # The object as it was when it was still selected, at the resourceVersion of the change.
    assert event["object"]["metadata"]["labels"] == {"chosen": "yes"}
    assert event["object"]["data"] == {"x": "2"}
    assert event["object"]["metadata"]["resourceVersion"] == left.rv
    api.patch(f"{path}/a", {"data": {"x": "4"}})
    assert watch.quiet()
    watch.close()


def test_watch_of_a_custom_kind(api: Client, widgets: Widgets) -> None:
    watch = api.watch(f"{widgets.path}?watch=1&resourceVersion={api.get(widgets.path).rv}")
    made = api.make(widgets.path, widgets.new("a"))
    (event,) = watch.take(1)
    assert event["type"] == "ADDED"
    assert event["object"] == made
    watch.close()


def test_streaming_list_ends_with_a_bookmark(api: Client, namespace: str) -> None:
    path = config_maps(namespace)
    api.make(path, config_map("a"))
    api.make(path, config_map("b"))
    query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    watch = api.watch(f"{path}?{query}")
    first, second, mark = watch.take(3)
    assert sorted(told([first, second])) == [("ADDED", "a"), ("ADDED", "b")]
    assert mark["type"] == "BOOKMARK"
    assert (mark["object"]["kind"], mark["object"]["apiVersion"]) == ("ConfigMap", "v1")
    assert mark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    newest = max(int(event["object"]["metadata"]["resourceVersion"]) for event in (first, second))
    assert int(mark["object"]["metadata"]["resourceVersion"]) >= newest
    api.make(path, config_map("c"))
    assert told(watch.take(1)) == [("ADDED", "c")]
    watch.close()


def test_streaming_list_without_initial_events(api: Client, namespace: str) -> None:
    path = config_maps(namespace)
    api.make(path, config_map("a"))
    watch = api.watch(f"{path}?watch=1&sendInitialEvents=false&resourceVersionMatch=NotOlderThan")
    api.make(path, config_map("b"))
    assert told(watch.take(1)) == [("ADDED", "b")]
    watch.close()


@pytest.mark.parametrize(
    "query",
    [
        "sendInitialEvents=true",
        "sendInitialEvents=true&resourceVersionMatch=Exact",
        "resourceVersionMatch=NotOlderThan",
    ],
)
def test_contradictory_watch_options_are_invalid(api: Client, namespace: str, query: str) -> None:
    answer = api.get(f"{config_maps(namespace)}?watch=1&{query}")
    assert (answer.status, answer.reason) == (422, "Invalid")
    assert answer.json["details"]["kind"] == "ListOptions"
    assert ("FieldValueForbidden", "resourceVersionMatch") in answer.causes or query.endswith("Exact")


def test_bad_selector_of_a_watch_is_bad_request(api: Client, namespace: str) -> None:
    answer = api.get(f"{config_maps(namespace)}?watch=1&fieldSelector=bad%3D1")
    assert (answer.status, answer.reason) == (400, "BadRequest")


def test_watch_as_yaml_is_not_acceptable(api: Client, namespace: str) -> None:
    answer = api.get(f"{config_maps(namespace)}?watch=1", {"Accept": "application/yaml"})
    assert answer.status == 406


def test_watch_ends_after_its_timeout(api: Client, namespace: str) -> None:
    path = config_maps(namespace)
    watch = api.watch(f"{path}?watch=1&resourceVersion={api.get(path).rv}&timeoutSeconds=1")
    assert watch.ended()
    watch.close()


def test_watch_from_before_a_kind_existed_is_expired(api: Client, widgets: Widgets) -> None:
    watch = api.watch(f"{widgets.path}?watch=1&resourceVersion=1")
    assert watch.status == 200
    (event,) = watch.take(1)
    assert event["type"] == "ERROR"
    status = event["object"]
    assert (status["kind"], status["code"], status["reason"]) == ("Status", 410, "Expired")
    assert status["message"].startswith("too old resource version: 1 (")
    assert watch.ended()
    watch.close()


def test_watch_sees_finalizers_at_work(api: Client, namespace: str) -> None:
    path = config_maps(namespace)
    body = config_map("a")
    body["metadata"]["finalizers"] = ["example.com/hold"]
    made = api.make(path, body)
    watch = api.watch(f"{path}?watch=1&resourceVersion={made['metadata']['resourceVersion']}")
    assert api.delete(f"{path}/a").status == 200
    (event,) = watch.take(1)
    assert event["type"] == "MODIFIED"
    assert event["object"]["metadata"]["deletionTimestamp"]
    api.patch(f"{path}/a", {"metadata": {"finalizers": None}})
    assert told(watch.take(1)) == [("DELETED", "a")]
    watch.close()


def test_watch_of_definitions_tells_of_new_ones(api: Client, widgets: Widgets) -> None:
    name = widgets.definition.rpartition("/")[2]
    watch = api.watch(f"{CRDS}?watch=1&fieldSelector=metadata.name%3D{name}")
    assert told(watch.take(1)) == [("ADDED", name)]
    watch.close()


def test_watch_as_metadata_only(api: Client, namespace: str) -> None:
    path = config_maps(namespace)
    made = api.make(path, config_map("a", x="1"))
    accept = {"Accept": "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"}
    watch = api.watch(f"{path}?watch=1", accept)
    (event,) = watch.take(1)
    assert event["object"] == {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": made["metadata"],
    }
    watch.close()
