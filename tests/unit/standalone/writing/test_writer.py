from __future__ import annotations

from typing import Any

import pytest
from contract.in_memory import MemoryClient
from contract.objects import config_map, config_maps, deployment, deployments

from ksproxyd.standalone.storage.store import Key

PATH = config_maps("default")


@pytest.fixture
def api() -> MemoryClient:
    return MemoryClient()


def stored(api: MemoryClient, topic: str, name: str) -> bytes:
    body = api.store.get(Key(topic, "default", name))
    assert body is not None
    return body


def test_objects_are_stored_with_what_they_are_in_front(api: MemoryClient) -> None:
    api.make(PATH, {"data": {"x": "1"}, "metadata": {"name": "a"}, "kind": "ConfigMap", "apiVersion": "v1"})
    assert stored(api, "/configmaps", "a").startswith(b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{')


def test_times_come_from_the_clock(api: MemoryClient) -> None:
    first = api.make(PATH, config_map("a"))["metadata"]["creationTimestamp"]
    api.clock.advance(3600)
    second = api.make(PATH, config_map("b"))["metadata"]["creationTimestamp"]
    assert (first, second) == ("2027-01-15T08:00:00Z", "2027-01-15T09:00:00Z")


def test_generated_name_that_is_always_taken_is_already_exists(
    api: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ksproxyd.standalone.writing import metadata

    monkeypatch.setattr(metadata, "generated", lambda base, source: f"{base}same")
    assert api.post(PATH, {"metadata": {"generateName": "a-"}}).status == 201
    answer = api.post(PATH, {"metadata": {"generateName": "a-"}})
    assert (answer.status, answer.reason) == (409, "AlreadyExists")


def test_server_set_fields_survive_every_write(api: MemoryClient) -> None:
    made = api.make(deployments("default"), deployment("a"))["metadata"]
    path = f"{deployments('default')}/a"
    forged = {
        "metadata": {"generation": 99, "creationTimestamp": None, "selfLink": "/x", "deletionGracePeriodSeconds": 5}
    }
    found = api.patch(path, forged).json["metadata"]
    for field in ("uid", "creationTimestamp", "generation"):
        assert found[field] == made[field]
    assert "selfLink" not in found
    assert "deletionGracePeriodSeconds" not in found


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/api/v1/namespaces/default/services", {"spec": {}}, "spec.ports"),
        ("/api/v1/namespaces/default/services", {"spec": {"ports": [{"port": 0}]}}, "spec.ports[0].port"),
        ("/api/v1/namespaces/default/services", {"spec": {"ports": [{"port": 1}, {"port": 2}]}}, "spec.ports[0].name"),
        ("/api/v1/namespaces/default/services", {"spec": {"type": "ExternalName"}}, "spec.externalName"),
        ("/apis/networking.k8s.io/v1/namespaces/default/ingresses", {}, "spec"),
        ("/apis/networking.k8s.io/v1/ingressclasses", {}, "spec.controller"),
        ("/apis/rbac.authorization.k8s.io/v1/clusterroles", {"rules": [{"verbs": []}]}, "rules[0].verbs"),
        ("/apis/rbac.authorization.k8s.io/v1/clusterroles", {"rules": [{"verbs": ["get"]}]}, "rules[0].apiGroups"),
        ("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", {}, "roleRef"),
        ("/apis/storage.k8s.io/v1/storageclasses", {}, "provisioner"),
        ("/apis/batch/v1/namespaces/default/jobs", {}, "spec.template.spec.restartPolicy"),
        ("/api/v1/namespaces/default/persistentvolumeclaims", {"spec": {}}, "spec.accessModes"),
        ("/api/v1/persistentvolumes", {"spec": {}}, "spec.capacity"),
        ("/api/v1/namespaces/default/events", {"involvedObject": {"namespace": "x"}}, "involvedObject.namespace"),
        ("/api/v1/namespaces/default/podtemplates", {}, "template.spec.containers"),
    ],
)
def test_what_is_missing_is_told(api: MemoryClient, path: str, body: Any, field: str) -> None:
    answer = api.post(path, {"metadata": {"name": "a"}, **body})
    assert answer.status == 422
    assert field in {each for _, each in answer.causes}


def spec_of(api: MemoryClient, path: str, body: Any) -> Any:
    return api.make(path, {"metadata": {"name": "a"}, **body})["spec"]


def test_defaults_of_services(api: MemoryClient) -> None:
    spec = spec_of(api, "/api/v1/namespaces/default/services", {"spec": {"ports": [{"port": 80}]}})
    assert spec["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]
    assert (spec["type"], spec["sessionAffinity"]) == ("ClusterIP", "None")


def test_defaults_of_stateful_and_daemon_sets(api: MemoryClient) -> None:
    body = deployment("a")
    stateful = spec_of(api, "/apis/apps/v1/namespaces/default/statefulsets", {"spec": body["spec"]})
    assert stateful["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}
    daemon = spec_of(api, "/apis/apps/v1/namespaces/default/daemonsets", {"spec": body["spec"]})
    assert daemon["updateStrategy"]["rollingUpdate"] == {"maxUnavailable": 1, "maxSurge": 0}


def test_defaults_of_bindings(api: MemoryClient) -> None:
    body = {"roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "User", "name": "u"}]}
    path = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings"
    made = api.make(path, {"metadata": {"name": "a"}, **body})
    assert made["roleRef"]["apiGroup"] == made["subjects"][0]["apiGroup"] == "rbac.authorization.k8s.io"
    answer = api.patch(f"{path}/a", {"roleRef": {"name": "other"}})
    assert (answer.status, answer.causes) == (422, {("FieldValueInvalid", "roleRef")})


def test_pods_of_a_job_are_told_by_its_uid(api: MemoryClient) -> None:
    pod = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}
    made = api.make("/apis/batch/v1/namespaces/default/jobs", {"metadata": {"name": "a"}, "spec": {"template": pod}})
    uid = made["metadata"]["uid"]
    assert made["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    assert made["spec"]["template"]["metadata"]["labels"]["batch.kubernetes.io/job-name"] == "a"


@pytest.mark.parametrize(
    ("resources", "quality"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
        ({"limits": {"cpu": "1"}}, "Burstable"),
    ],
)
def test_quality_of_service(api: MemoryClient, resources: Any, quality: str) -> None:
    containers = [{"name": "c", "image": "i", "resources": resources}]
    body = {"metadata": {"name": "a"}, "spec": {"containers": containers}}
    assert api.make("/api/v1/namespaces/default/pods", body)["status"]["qosClass"] == quality


def test_spec_of_a_pod_stays(api: MemoryClient) -> None:
    path = "/api/v1/namespaces/default/pods"
    api.make(path, {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}})
    image = {"spec": {"containers": [{"name": "c", "image": "i:2"}]}}
    strategic = "application/strategic-merge-patch+json"
    assert api.patch(f"{path}/a", image, strategic).status == 200
    answer = api.patch(f"{path}/a", {"spec": {"restartPolicy": "Never"}}, strategic)
    assert (answer.status, answer.causes) == (422, {("FieldValueForbidden", "spec")})


def test_spec_of_a_stateful_set_stays(api: MemoryClient) -> None:
    path = "/apis/apps/v1/namespaces/default/statefulsets"
    api.make(path, {"metadata": {"name": "a"}, "spec": deployment("a")["spec"]})
    assert api.patch(f"{path}/a", {"spec": {"replicas": 2}}).status == 200
    answer = api.patch(f"{path}/a", {"spec": {"serviceName": "x"}})
    assert (answer.status, answer.causes) == (422, {("FieldValueForbidden", "spec")})


def test_namespace_keeps_its_finalizer(api: MemoryClient) -> None:
    answer = api.patch("/api/v1/namespaces/kube-public", {"spec": {"finalizers": []}})
    assert answer.json["spec"]["finalizers"] == ["kubernetes"]
    answer = api.patch("/api/v1/namespaces/kube-public", {"metadata": {"labels": None}})
    assert answer.json["metadata"]["labels"] == {"kubernetes.io/metadata.name": "kube-public"}


def test_big_config_map_is_too_long(api: MemoryClient) -> None:
    answer = api.post(PATH, config_map("a", x="y" * (1024 * 1024 + 1)))
    assert (answer.status, answer.causes) == (422, {("FieldValueTooLong", "data")})


def test_big_annotations_are_too_long(api: MemoryClient) -> None:
    body = {"metadata": {"name": "a", "annotations": {"x": "y" * (256 * 1024)}}}
    answer = api.post(PATH, body)
    assert (answer.status, answer.causes) == (422, {("FieldValueTooLong", "metadata.annotations")})


def test_two_controllers_are_one_too_many(api: MemoryClient) -> None:
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": True}
    body = {"metadata": {"name": "a", "ownerReferences": [owner, {**owner, "uid": "v"}]}}
    answer = api.post(PATH, body)
    assert (answer.status, answer.causes) == (422, {("FieldValueInvalid", "metadata.ownerReferences")})
