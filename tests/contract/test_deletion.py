"""Deleting: answers, preconditions, finalizers, propagation, namespaces."""

from __future__ import annotations

from contract.client import Client
from contract.fixtures import fresh
from contract.objects import CRDS, Widgets, config_map, config_maps, definition, deployment, deployments


def held(name: str, *finalizers: str) -> dict[str, object]:
    body = config_map(name)
    body["metadata"]["finalizers"] = list(finalizers)
    return body


def test_delete_answers_with_a_status(api: Client, namespace: str) -> None:
    made = api.make(config_maps(namespace), config_map("a"))
    answer = api.delete(f"{config_maps(namespace)}/a")
    assert answer.status == 200
    assert (answer.json["kind"], answer.json["status"]) == ("Status", "Success")
    assert answer.json["details"] == {"name": "a", "kind": "configmaps", "uid": made["metadata"]["uid"]}
    assert api.get(f"{config_maps(namespace)}/a").status == 404


def test_delete_of_a_grouped_kind_names_its_group(api: Client, namespace: str) -> None:
    api.make(deployments(namespace), deployment("a"))
    answer = api.delete(f"{deployments(namespace)}/a")
    details = answer.json["details"]
    assert (details["group"], details["kind"]) == ("apps", "deployments")


def test_delete_of_some_kinds_answers_with_the_object(api: Client, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    made = api.make(path, {"metadata": {"name": "a"}})
    answer = api.delete(f"{path}/a")
    assert (answer.status, answer.json["kind"]) == (200, "ServiceAccount")
    assert answer.json["metadata"]["uid"] == made["metadata"]["uid"]


def test_delete_of_an_unscheduled_pod_is_at_once(api: Client, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods"
    api.make(path, {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
    answer = api.delete(f"{path}/a")
    assert (answer.status, answer.json["kind"]) == (200, "Pod")
    assert answer.json["metadata"]["deletionTimestamp"]
    assert api.get(f"{path}/a").status == 404


def test_delete_of_nothing_is_not_found(api: Client, namespace: str) -> None:
    answer = api.delete(f"{config_maps(namespace)}/a")
    assert (answer.status, answer.reason) == (404, "NotFound")


def test_deleted_name_is_free_again(api: Client, namespace: str) -> None:
    first = api.make(config_maps(namespace), config_map("a"))
    api.delete(f"{config_maps(namespace)}/a")
    second = api.make(config_maps(namespace), config_map("a"))
    assert first["metadata"]["uid"] != second["metadata"]["uid"]


def test_preconditions(api: Client, namespace: str) -> None:
    made = api.make(config_maps(namespace), config_map("a"))["metadata"]
    path = f"{config_maps(namespace)}/a"
    answer = api.delete(path, {"preconditions": {"uid": "other"}})
    assert (answer.status, answer.reason) == (409, "Conflict")
    assert "the UID in the precondition (other) does not match the UID in record" in answer.message
    answer = api.delete(path, {"preconditions": {"resourceVersion": "1"}})
    assert (answer.status, answer.reason) == (409, "Conflict")
    assert "the ResourceVersion in the precondition (1) does not match" in answer.message
    good = {"preconditions": {"uid": made["uid"], "resourceVersion": made["resourceVersion"]}}
    assert api.delete(path, good).status == 200


def test_dry_run_delete_deletes_nothing(api: Client, namespace: str) -> None:
    api.make(config_maps(namespace), config_map("a"))
    path = f"{config_maps(namespace)}/a"
    assert api.delete(f"{path}?dryRun=All").status == 200
    assert api.delete(path, {"dryRun": ["All"]}).status == 200
    assert api.get(path).status == 200


def test_bad_delete_options(api: Client, namespace: str) -> None:
    api.make(config_maps(namespace), config_map("a"))
    path = f"{config_maps(namespace)}/a"
    answer = api.delete(path, {"propagationPolicy": "Sometimes"})
    assert (answer.status, answer.causes) == (422, {("FieldValueNotSupported", "propagationPolicy")})
    answer = api.delete(path, {"propagationPolicy": "Orphan", "orphanDependents": True})
    assert (answer.status, answer.causes) == (422, {("FieldValueInvalid", "propagationPolicy")})
    assert api.delete(path, "{bad").status == 400
    assert api.delete(path, {"kind": "Pod", "apiVersion": "v1"}).status == 400
    assert api.get(path).status == 200


def test_finalizers_hold_an_object(api: Client, namespace: str) -> None:
    path = f"{config_maps(namespace)}/a"
    api.make(config_maps(namespace), held("a", "example.com/a", "example.com/b"))
    answer = api.delete(path)
    assert (answer.status, answer.json["kind"]) == (200, "ConfigMap")
    metadata = answer.json["metadata"]
    assert metadata["deletionTimestamp"]
    assert metadata["deletionGracePeriodSeconds"] == 0
    assert metadata["finalizers"] == ["example.com/a", "example.com/b"]
    again = api.delete(path)
    assert (again.status, again.rv) == (200, answer.rv)
    answer = api.patch(path, {"metadata": {"finalizers": ["example.com/b"]}})
    assert answer.status == 200
    assert api.get(path).status == 200
    answer = api.patch(path, {"metadata": {"finalizers": []}})
    assert answer.status == 200
    assert api.get(path).status == 404


def test_no_finalizer_can_be_added_while_deleting(api: Client, namespace: str) -> None:
    path = f"{config_maps(namespace)}/a"
    api.make(config_maps(namespace), held("a", "example.com/a"))
    api.delete(path)
    answer = api.patch(path, {"metadata": {"finalizers": ["example.com/a", "example.com/new"]}})
    assert answer.status == 422
    assert ("FieldValueForbidden", "metadata.finalizers") in answer.causes
    assert "no new finalizers can be added if the object is being deleted" in answer.message
    api.patch(path, {"metadata": {"finalizers": None}})


def test_deletion_cannot_be_taken_back(api: Client, namespace: str) -> None:
    path = f"{config_maps(namespace)}/a"
    api.make(config_maps(namespace), held("a", "example.com/a"))
    stamp = api.delete(path).json["metadata"]["deletionTimestamp"]
    answer = api.patch(path, {"metadata": {"deletionTimestamp": None}})
    assert answer.status == 200
    assert answer.json["metadata"]["deletionTimestamp"] == stamp
    api.patch(path, {"metadata": {"finalizers": None}})


def test_propagation_is_kept_by_finalizers(api: Client, namespace: str) -> None:
    api.make(config_maps(namespace), held("a", "example.com/hold"))
    api.make(config_maps(namespace), held("b", "example.com/hold"))
    answer = api.delete(f"{config_maps(namespace)}/a?propagationPolicy=Foreground")
    assert answer.json["metadata"]["finalizers"] == ["example.com/hold", "foregroundDeletion"]
    answer = api.delete(f"{config_maps(namespace)}/b", {"propagationPolicy": "Orphan"})
    assert answer.json["metadata"]["finalizers"] == ["example.com/hold", "orphan"]
    for name in ("a", "b"):
        api.patch(f"{config_maps(namespace)}/{name}", {"metadata": {"finalizers": None}})


def test_deleting_counts_a_generation(api: Client, widgets: Widgets) -> None:
    body = widgets.new("a")
    body["metadata"]["finalizers"] = ["example.com/hold"]
    api.make(widgets.path, body)
    assert api.delete(f"{widgets.path}/a").json["metadata"]["generation"] == 2
    api.patch(f"{widgets.path}/a", {"metadata": {"finalizers": None}})


def test_namespace_that_is_being_deleted_takes_nothing_new(api: Client) -> None:
    name = fresh("contract")
    api.make("/api/v1/namespaces", {"metadata": {"name": name}})
    api.make(config_maps(name), held("a", "example.com/hold"))
    answer = api.delete(f"/api/v1/namespaces/{name}")
    assert answer.status == 200
    assert answer.json["status"]["phase"] == "Terminating"
    assert answer.json["metadata"]["deletionTimestamp"]
    assert answer.json["spec"]["finalizers"] == ["kubernetes"]
    answer = api.post(config_maps(name), config_map("b"))
    assert (answer.status, answer.reason) == (403, "Forbidden")
    assert answer.message == (
        f'configmaps "b" is forbidden: unable to create new content in namespace {name} because it is being terminated'
    )
    assert answer.json["details"]["causes"] == [
        {
            "reason": "NamespaceTerminating",
            "message": f"namespace {name} is being terminated",
            "field": "metadata.namespace",
        }
    ]
    api.patch(f"{config_maps(name)}/a", {"metadata": {"finalizers": None}})


def test_namespaces_of_the_system_stay(api: Client) -> None:
    for name in ("default", "kube-system"):
        answer = api.delete(f"/api/v1/namespaces/{name}")
        assert (answer.status, answer.reason) == (403, "Forbidden")
        assert answer.message == f'namespaces "{name}" is forbidden: this namespace may not be deleted'


def test_finalize_lets_a_namespace_go(api: Client) -> None:
    name = fresh("contract")
    api.make("/api/v1/namespaces", {"metadata": {"name": name, "finalizers": ["example.com/hold"]}})
    api.delete(f"/api/v1/namespaces/{name}")
    metadata = {"name": name, "finalizers": ["example.com/hold"]}
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata, "spec": {"finalizers": []}}
    assert api.put(f"/api/v1/namespaces/{name}/finalize", body).status == 200
    assert api.get(f"/api/v1/namespaces/{name}").status == 200
    api.patch(f"/api/v1/namespaces/{name}", {"metadata": {"finalizers": None}})
    assert api.get(f"/api/v1/namespaces/{name}").status == 404


def test_definition_takes_its_objects_with_it(api: Client, namespace: str) -> None:
    group = f"{fresh('g')}.example.com"
    widgets = Widgets(group, namespace)
    api.make(CRDS, definition(group))
    api.eventually(lambda: api.get(widgets.path).status == 200)
    api.eventually(lambda: api.post(widgets.path, widgets.new("a")).status == 201)
    watch = api.watch(f"{widgets.path}?watch=1")
    assert watch.take(1)[0]["type"] == "ADDED"
    assert api.delete(widgets.definition).status == 200
    assert watch.take(1)[0]["type"] == "DELETED"
    watch.close()
    api.eventually(lambda: api.get(widgets.definition).status == 404)
    api.eventually(lambda: api.get(widgets.path).status == 404)
