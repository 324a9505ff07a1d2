"""Objects as Tables and as metadata."""

from __future__ import annotations

from typing import Any

import pytest

from contract.client import TABLE, Answer, Client
from contract.objects import Widgets, config_map, config_maps, deployment, deployments


def columns(answer: Answer) -> list[str]:
    return [each["name"] for each in answer.json["columnDefinitions"]]


def cells(answer: Answer) -> list[dict[str, Any]]:
    """Each row's cells by column."""
    return [dict(zip(columns(answer), row["cells"], strict=True)) for row in answer.json["rows"]]


def test_table_of_config_maps(api: Client, namespace: str) -> None:
    made = api.make(config_maps(namespace), config_map("a", x="1", y="2"))
    answer = api.get(config_maps(namespace), TABLE)
    assert answer.status == 200
    assert (answer.json["kind"], answer.json["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    assert columns(answer) == ["Name", "Data", "Age"]
    (row,) = answer.json["rows"]
    assert row["cells"][:2] == ["a", 2]
    assert row["cells"][2].endswith("s")
    assert row["object"] == {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": made["metadata"],
    }
    first = answer.json["columnDefinitions"][0]
    assert (first["type"], first["format"], first["priority"]) == ("string", "name", 0)


def test_table_of_one_object(api: Client, namespace: str) -> None:
    made = api.make(config_maps(namespace), config_map("a", x="1"))
    answer = api.get(f"{config_maps(namespace)}/a", TABLE)
    assert [row["cells"][0] for row in answer.json["rows"]] == ["a"]
    assert answer.rv == made["metadata"]["resourceVersion"]


def test_table_of_nothing_has_columns(api: Client, namespace: str) -> None:
    answer = api.get(deployments(namespace), TABLE)
    assert answer.json["rows"] == []
    assert columns(answer)[:5] == ["Name", "Ready", "Up-to-date", "Available", "Age"]


def test_table_of_deployments(api: Client, namespace: str) -> None:
    api.make(deployments(namespace), deployment("a"))
    answer = api.get(deployments(namespace), TABLE)
    (row,) = cells(answer)
    assert (row["Name"], row["Ready"], row["Up-to-date"], row["Available"]) == ("a", "0/1", 0, 0)
    assert (row["Containers"], row["Images"], row["Selector"]) == ("main", "app:1", "app=a")
    wide = {each["name"] for each in answer.json["columnDefinitions"] if each["priority"] > 0}
    assert wide == {"Containers", "Images", "Selector"}


def test_table_of_pods(api: Client, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods"
    api.make(path, {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
    (row,) = cells(api.get(path, TABLE))
    assert (row["Name"], row["Ready"], row["Status"], row["Node"]) == ("a", "0/1", "Pending", "<none>")


def test_table_of_a_custom_kind(api: Client, widgets: Widgets) -> None:
    api.make(widgets.path, widgets.new("a", color="red", size=3))
    answer = api.get(widgets.path, TABLE)
    assert columns(answer) == ["Name", "Size", "Phase", "Color"]
    assert [row["cells"] for row in answer.json["rows"]] == [["a", 3, None, "red"]]
    assert [each["priority"] for each in answer.json["columnDefinitions"]] == [0, 0, 0, 1]


def test_table_of_namespaces(api: Client, namespace: str) -> None:
    answer = api.get(f"/api/v1/namespaces/{namespace}", TABLE)
    (row,) = cells(answer)
    assert (row["Name"], row["Status"]) == (namespace, "Active")


@pytest.mark.parametrize(("include", "shown"), [("Object", "ConfigMap"), ("Metadata", "PartialObjectMetadata")])
def test_rows_include_what_is_asked_for(api: Client, namespace: str, include: str, shown: str) -> None:
    api.make(config_maps(namespace), config_map("a", x="1"))
    answer = api.get(f"{config_maps(namespace)}?includeObject={include}", TABLE)
    assert answer.json["rows"][0]["object"]["kind"] == shown


def test_rows_may_include_nothing(api: Client, namespace: str) -> None:
    api.make(config_maps(namespace), config_map("a"))
    answer = api.get(f"{config_maps(namespace)}?includeObject=None", TABLE)
    assert answer.json["rows"][0]["object"] is None


def test_pages_of_a_table(api: Client, five: str) -> None:
    answer = api.get(f"{five}?limit=2", TABLE)
    assert [row["cells"][0] for row in answer.json["rows"]] == ["c0", "c1"]
    token = answer.json["metadata"]["continue"]
    answer = api.get(f"{five}?limit=9&continue={token}", TABLE)
    assert [row["cells"][0] for row in answer.json["rows"]] == ["c2", "c3", "c4"]


def test_watch_of_a_table(api: Client, namespace: str) -> None:
    path = config_maps(namespace)
    api.make(path, config_map("a"))
    watch = api.watch(f"{path}?watch=1", TABLE)
    (first,) = watch.take(1)
    assert first["object"]["kind"] == "Table"
    assert [each["name"] for each in first["object"]["columnDefinitions"]] == ["Name", "Data", "Age"]
    assert first["object"]["rows"][0]["cells"][0] == "a"
    api.make(path, config_map("b"))
    (second,) = watch.take(1)
    assert not second["object"]["columnDefinitions"]
    assert second["object"]["rows"][0]["cells"][0] == "b"
    watch.close()


def test_metadata_of_one_object(api: Client, namespace: str) -> None:
    made = api.make(config_maps(namespace), config_map("a", x="1"))
    accept = {"Accept": "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"}
    answer = api.get(f"{config_maps(namespace)}/a", accept)
    assert answer.json["kind"] == "PartialObjectMetadata"
    assert answer.json["metadata"] == made["metadata"]
    assert "data" not in answer.json


def test_metadata_of_a_list(api: Client, five: str) -> None:
    accept = {"Accept": "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"}
    answer = api.get(five, accept)
    assert answer.json["kind"] == "PartialObjectMetadataList"
    assert [item["metadata"]["name"] for item in answer.json["items"]] == ["c0", "c1", "c2", "c3", "c4"]


@pytest.mark.parametrize("accept", ["application/json;as=Table;v=v9;g=meta.k8s.io", "application/xml"])
def test_form_that_there_is_not_is_not_acceptable(api: Client, namespace: str, accept: str) -> None:
    answer = api.get(config_maps(namespace), {"Accept": accept})
    assert answer.status == 406


def test_next_best_form_is_taken(api: Client, namespace: str) -> None:
    accept = "application/json;as=Table;v=v9;g=meta.k8s.io,application/json"
    answer = api.get(config_maps(namespace), {"Accept": accept})
    assert (answer.status, answer.json["kind"]) == (200, "ConfigMapList")


def test_yaml_answer(api: Client, namespace: str) -> None:
    api.make(config_maps(namespace), config_map("a", x="1"))
    answer = api.get(f"{config_maps(namespace)}/a", {"Accept": "application/yaml"})
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/yaml"
    assert "kind: ConfigMap\n" in answer.text
    assert 'x: "1"' in answer.text or "x: '1'" in answer.text


def test_answer_for_people_is_indented(api: Client, namespace: str) -> None:
    api.make(config_maps(namespace), config_map("a", x="1"))
    path = f"{config_maps(namespace)}/a"
    assert "\n  " in api.get(f"{path}?pretty=true").text
    assert "\n  " in api.get(path, {"User-Agent": "curl/8.0"}).text
    assert "\n  " not in api.get(path).text
