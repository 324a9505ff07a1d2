"""Status, scale and the like."""

from __future__ import annotations

from contract.client import MERGE, STRATEGIC, Client
from contract.objects import Widgets, config_map, config_maps, deployment, deployments


def test_status_is_not_written_with_the_object(api: Client, namespace: str) -> None:
    body = deployment("a")
    body["status"] = {"replicas": 7}
    made = api.make(deployments(namespace), body)
    assert "replicas" not in made["status"]
    made["status"] = {"replicas": 7}
    answer = api.put(f"{deployments(namespace)}/a", made)
    assert answer.status == 200
    assert "replicas" not in answer.json["status"]


def test_status_is_written_through_its_subresource(api: Client, namespace: str) -> None:
    made = api.make(deployments(namespace), deployment("a"))
    made["status"] = {"replicas": 7, "observedGeneration": 1}
    made["spec"]["replicas"] = 99
    answer = api.put(f"{deployments(namespace)}/a/status", made)
    assert answer.status == 200
    assert answer.json["status"] == {"replicas": 7, "observedGeneration": 1}
    assert answer.json["spec"]["replicas"] == 1
    assert answer.json["metadata"]["generation"] == 1
    assert api.get(f"{deployments(namespace)}/a/status").json == answer.json


def test_status_is_patched_through_its_subresource(api: Client, namespace: str) -> None:
    api.make(deployments(namespace), deployment("a"))
    path = f"{deployments(namespace)}/a/status"
    first = {"status": {"conditions": [{"type": "Available", "status": "True"}]}}
    assert api.patch(path, first, STRATEGIC).status == 200
    second = {"status": {"conditions": [{"type": "Progressing", "status": "False"}]}}
    answer = api.patch(path, second, STRATEGIC)
    assert {each["type"]: each["status"] for each in answer.json["status"]["conditions"]} == {
        "Available": "True",
        "Progressing": "False",
    }


def test_object_keeps_its_status_when_it_is_replaced(api: Client, namespace: str) -> None:
    api.make(deployments(namespace), deployment("a"))
    api.patch(f"{deployments(namespace)}/a/status", {"status": {"replicas": 3}})
    answer = api.put(f"{deployments(namespace)}/a", deployment("a"))
    assert (answer.status, answer.json["status"]["replicas"]) == (200, 3)


def test_stale_status_write_conflicts(api: Client, namespace: str) -> None:
    made = api.make(deployments(namespace), deployment("a"))
    api.patch(f"{deployments(namespace)}/a", {"metadata": {"labels": {"l": "v"}}})
    made["status"] = {"replicas": 3}
    answer = api.put(f"{deployments(namespace)}/a/status", made)
    assert (answer.status, answer.reason) == (409, "Conflict")


def test_status_of_a_custom_kind(api: Client, widgets: Widgets) -> None:
    made = api.make(widgets.path, {**widgets.new("a"), "status": {"phase": "Forged"}})
    assert "status" not in made
    answer = api.patch(f"{widgets.path}/a", {"spec": {"size": 2}, "status": {"phase": "Forged"}})
    assert "status" not in answer.json
    assert answer.json["metadata"]["generation"] == 2
    patch = {"spec": {"size": 5}, "status": {"phase": "Good"}, "metadata": {"labels": {"l": "v"}}}
    answer = api.patch(f"{widgets.path}/a/status", patch)
    assert answer.status == 200
    assert answer.json["status"] == {"phase": "Good"}
    assert answer.json["spec"]["size"] == 2
    assert "labels" not in answer.json["metadata"]
    assert answer.json["metadata"]["generation"] == 2


def test_generation_of_a_custom_object_ignores_metadata(api: Client, widgets: Widgets) -> None:
    made = api.make(widgets.path, widgets.new("a"))
    assert made["metadata"]["generation"] == 1
    answer = api.patch(f"{widgets.path}/a", {"metadata": {"labels": {"l": "v"}}})
    assert answer.json["metadata"]["generation"] == 1


def test_kinds_without_status_have_no_status_path(api: Client, namespace: str) -> None:
    api.make(config_maps(namespace), config_map("a"))
    answer = api.get(f"{config_maps(namespace)}/a/status")
    assert (answer.status, answer.reason) == (404, "NotFound")
    assert answer.message == "the server could not find the requested resource"


def test_scale_of_a_deployment(api: Client, namespace: str) -> None:
    made = api.make(deployments(namespace), deployment("a"))
    path = f"{deployments(namespace)}/a/scale"
    answer = api.get(path)
    assert (answer.json["kind"], answer.json["apiVersion"]) == ("Scale", "autoscaling/v1")
    assert answer.json["spec"] == {"replicas": 1}
    assert answer.json["status"] == {"replicas": 0, "selector": "app=a"}
    assert answer.json["metadata"]["uid"] == made["metadata"]["uid"]
    answer = api.patch(path, {"spec": {"replicas": 4}}, MERGE)
    assert (answer.status, answer.json["spec"]) == (200, {"replicas": 4})
    scale = {"metadata": {"name": "a"}, "spec": {"replicas": 2}}
    answer = api.put(path, scale)
    assert (answer.status, answer.json["spec"]) == (200, {"replicas": 2})
    found = api.get(f"{deployments(namespace)}/a").json
    assert found["spec"]["replicas"] == 2
    assert found["metadata"]["generation"] == 3


def test_scale_cannot_be_negative(api: Client, namespace: str) -> None:
    api.make(deployments(namespace), deployment("a"))
    answer = api.patch(f"{deployments(namespace)}/a/scale", {"spec": {"replicas": -1}})
    assert (answer.status, answer.causes) == (422, {("FieldValueInvalid", "spec.replicas")})


def test_scale_of_nothing_is_not_found(api: Client, namespace: str) -> None:
    assert api.get(f"{deployments(namespace)}/a/scale").status == 404
    assert api.patch(f"{deployments(namespace)}/a/scale", {"spec": {"replicas": 1}}).status == 404


def test_stale_scale_conflicts(api: Client, namespace: str) -> None:
    api.make(deployments(namespace), deployment("a"))
    path = f"{deployments(namespace)}/a/scale"
    scale = api.get(path).json
    api.patch(path, {"spec": {"replicas": 4}})
    scale["spec"]["replicas"] = 9
    answer = api.put(path, scale)
    assert (answer.status, answer.reason) == (409, "Conflict")


def test_scale_of_a_custom_kind(api: Client, widgets: Widgets) -> None:
    api.make(widgets.path, widgets.new("a"))
    answer = api.patch(f"{widgets.path}/a/scale", {"spec": {"replicas": 3}})
    assert (answer.status, answer.json["spec"]) == (200, {"replicas": 3})
    assert api.get(f"{widgets.path}/a").json["spec"]["size"] == 3


def test_log_of_a_pod_that_runs_nowhere_is_empty(api: Client, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods"
    api.make(path, {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
    answer = api.get(f"{path}/a/log")
    assert (answer.status, answer.text) == (204, "")
    assert api.get(f"{path}/b/log").status == 404


def test_exec_into_a_pod_that_runs_nowhere_is_refused(api: Client, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods"
    api.make(path, {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
    answer = api.get(f"{path}/a/exec?command=ls")
    assert (answer.status, answer.message) == (400, "pod a does not have a host assigned")
