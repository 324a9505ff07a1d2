"""Lists: selectors, pages, resource versions."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from contract.client import Client
from contract.objects import Widgets, config_map, config_maps, deployment, deployments, names


def test_list_has_its_kind_and_version(api: Client, five: str) -> None:
    answer = api.get(five)
    assert answer.status == 200
    assert (answer.json["kind"], answer.json["apiVersion"]) == ("ConfigMapList", "v1")
    assert names(answer) == ["c0", "c1", "c2", "c3", "c4"]
    assert int(answer.rv) >= int(answer.json["items"][-1]["metadata"]["resourceVersion"])
    assert "continue" not in answer.json["metadata"]


def test_empty_list_has_items(api: Client, namespace: str) -> None:
    assert api.get(deployments(namespace)).json["items"] == []


def test_list_of_all_namespaces(api: Client, five: str, namespace: str) -> None:
    answer = api.get(f"/api/v1/configmaps?fieldSelector=metadata.namespace%3D{namespace}")
    assert names(answer) == ["c0", "c1", "c2", "c3", "c4"]
    assert {item["metadata"]["namespace"] for item in answer.json["items"]} == {namespace}


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("i=1", ["c1"]),
        ("i==1", ["c1"]),
        ("i!=1", ["c0", "c2", "c3", "c4"]),
        ("i in (1,2)", ["c1", "c2"]),
        ("i notin (1,2)", ["c0", "c3", "c4"]),
        ("odd", ["c1", "c3"]),
        ("!odd", ["c0", "c2", "c4"]),
        ("i>2", ["c3", "c4"]),
        ("i<1", ["c0"]),
        ("odd,i!=1", ["c3"]),
        ("nothing", []),
        ("", ["c0", "c1", "c2", "c3", "c4"]),
    ],
)
def test_label_selector(api: Client, five: str, selector: str, expected: list[str]) -> None:
    assert names(api.get(f"{five}?labelSelector={quote(selector)}")) == expected


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("metadata.name=c1", ["c1"]),
        ("metadata.name!=c1", ["c0", "c2", "c3", "c4"]),
        ("metadata.name=c1,metadata.name=c2", []),
        ("metadata.namespace=default", []),
    ],
)
def test_field_selector(api: Client, five: str, selector: str, expected: list[str]) -> None:
    assert names(api.get(f"{five}?fieldSelector={quote(selector)}")) == expected


def test_field_selector_of_a_kind(api: Client, namespace: str) -> None:
    pods = f"/api/v1/namespaces/{namespace}/pods"
    api.make(pods, {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
    assert names(api.get(f"{pods}?fieldSelector=status.phase%3DPending")) == ["p"]
    assert names(api.get(f"{pods}?fieldSelector=status.phase%3DRunning")) == []
    assert names(api.get(f"{pods}?fieldSelector=spec.nodeName%3D")) == ["p"]


@pytest.mark.parametrize("query", ["labelSelector=%3D%3D", "labelSelector=a%20in%20b", "fieldSelector=spec.foo%3D1"])
def test_bad_selector_is_bad_request(api: Client, five: str, query: str) -> None:
    answer = api.get(f"{five}?{query}")
    assert (answer.status, answer.reason) == (400, "BadRequest")


def test_pages(api: Client, five: str) -> None:
    first = api.get(f"{five}?limit=2")
    assert names(first) == ["c0", "c1"]
    assert first.json["metadata"]["remainingItemCount"] == 3
    token = first.json["metadata"]["continue"]
    second = api.get(f"{five}?limit=2&continue={quote(token)}")
    assert names(second) == ["c2", "c3"]
    assert second.json["metadata"]["remainingItemCount"] == 1
    third = api.get(f"{five}?limit=2&continue={quote(second.json['metadata']['continue'])}")
    assert names(third) == ["c4"]
    assert "continue" not in third.json["metadata"]
    assert "remainingItemCount" not in third.json["metadata"]
    assert first.rv == second.rv == third.rv


def test_pages_show_one_state(api: Client, five: str) -> None:
    first = api.get(f"{five}?limit=2")
    assert api.delete(f"{five}/c3").status == 200
    api.make(five, config_map("c25"))
    assert api.patch(f"{five}/c4", {"data": {"x": "later"}}).status == 200
    rest = api.get(f"{five}?continue={quote(first.json['metadata']['continue'])}")
    assert names(rest) == ["c2", "c3", "c4"]
    assert "data" not in rest.json["items"][2] or "x" not in (rest.json["items"][2]["data"] or {})
    assert rest.rv == first.rv
    assert names(api.get(five)) == ["c0", "c1", "c2", "c25", "c4"]


def test_exact_page_has_no_continue(api: Client, five: str) -> None:
    answer = api.get(f"{five}?limit=5")
    assert len(names(answer)) == 5
    assert "continue" not in answer.json["metadata"]


def test_page_with_a_selector_does_not_count_the_rest(api: Client, five: str) -> None:
    answer = api.get(f"{five}?limit=1&labelSelector=odd")
    assert names(answer) == ["c1"]
    assert "remainingItemCount" not in answer.json["metadata"]
    rest = api.get(f"{five}?limit=5&labelSelector=odd&continue={quote(answer.json['metadata']['continue'])}")
    assert names(rest) == ["c3"]


@pytest.mark.parametrize("query", ["continue=zzz", "limit=x"])
def test_bad_page_is_bad_request(api: Client, five: str, query: str) -> None:
    answer = api.get(f"{five}?{query}")
    assert (answer.status, answer.reason) == (400, "BadRequest")


def test_continue_with_a_resource_version_is_bad_request(api: Client, five: str) -> None:
    token = api.get(f"{five}?limit=2").json["metadata"]["continue"]
    answer = api.get(f"{five}?continue={quote(token)}&resourceVersion=5")
    assert answer.status == 400
    assert answer.message == "specifying resource version is not allowed when using continue"


def test_list_at_an_exact_resource_version(api: Client, five: str) -> None:
    then = api.get(five).rv
    assert api.delete(f"{five}/c0").status == 200
    answer = api.get(f"{five}?resourceVersion={then}&resourceVersionMatch=Exact")
    assert names(answer) == ["c0", "c1", "c2", "c3", "c4"]
    assert answer.rv == then
    answer = api.get(f"{five}?resourceVersion={then}&resourceVersionMatch=NotOlderThan")
    assert names(answer) == ["c1", "c2", "c3", "c4"]


@pytest.mark.parametrize(
    "query",
    [
        "resourceVersionMatch=Exact",
        "resourceVersion=0&resourceVersionMatch=Exact",
        "resourceVersion=1&resourceVersionMatch=Maybe",
        "sendInitialEvents=true",
    ],
)
def test_contradictory_list_options_are_invalid(api: Client, five: str, query: str) -> None:
    answer = api.get(f"{five}?{query}")
    assert (answer.status, answer.reason) == (422, "Invalid")
    assert answer.json["details"]["kind"] == "ListOptions"


def test_future_resource_version_times_out(api: Client, five: str) -> None:
    future = int(api.get(five).rv) + 1_000_000
    answer = api.get(f"{five}?resourceVersion={future}&resourceVersionMatch=Exact")
    assert (answer.status, answer.reason) == (504, "Timeout")
    assert "Too large resource version" in answer.message
    assert answer.json["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


def test_list_of_a_custom_kind(api: Client, widgets: Widgets) -> None:
    api.make(widgets.path, widgets.new("a"))
    api.make(widgets.path, widgets.new("b"))
    answer = api.get(widgets.path)
    assert (answer.json["kind"], answer.json["apiVersion"]) == ("WidgetList", f"{widgets.group}/v1")
    assert names(answer) == ["a", "b"]
    assert names(api.get(f"{widgets.path}?fieldSelector=metadata.name%3Db")) == ["b"]


def test_delete_collection(api: Client, five: str) -> None:
    answer = api.delete(f"{five}?labelSelector=odd")
    assert answer.status == 200
    assert answer.json["kind"] == "ConfigMapList"
    assert names(answer) == ["c1", "c3"]
    assert names(api.get(five)) == ["c0", "c2", "c4"]
    assert api.delete(five).status == 200
    assert names(api.get(five)) == []


def test_delete_collection_is_not_for_namespaces(api: Client) -> None:
    assert api.delete("/api/v1/namespaces?labelSelector=nothing%3Dof-this").status == 405


def test_list_in_a_missing_namespace_is_empty(api: Client) -> None:
    answer = api.get(config_maps("contract-missing"))
    assert (answer.status, answer.json["items"]) == (200, [])


def test_defaults_of_a_deployment(api: Client, namespace: str) -> None:
    made = api.make(deployments(namespace), deployment("a"))
    assert made["spec"]["replicas"] == 1
    assert made["spec"]["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"},
    }
    pod = made["spec"]["template"]["spec"]
    assert (pod["restartPolicy"], pod["dnsPolicy"]) == ("Always", "ClusterFirst")
    assert pod["containers"][0]["imagePullPolicy"] == "IfNotPresent"
    assert pod["containers"][0]["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
