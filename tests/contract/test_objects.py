"""Creating, reading, replacing and deleting single objects."""

from __future__ import annotations

import re
from datetime import datetime

from contract.client import Client
from contract.objects import config_map, config_maps

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def test_create_answers_201_with_what_the_server_sets(api: Client, namespace: str) -> None:
    answer = api.post(config_maps(namespace), config_map("a", x="1"))
    assert answer.status == 201
    metadata = answer.json["metadata"]
    assert (metadata["name"], metadata["namespace"]) == ("a", namespace)
    assert UUID.fullmatch(metadata["uid"])
    assert int(metadata["resourceVersion"]) > 0
    assert datetime.fromisoformat(metadata["creationTimestamp"]).tzinfo is not None
    assert answer.json["data"] == {"x": "1"}
    assert (answer.json["apiVersion"], answer.json["kind"]) == ("v1", "ConfigMap")


def test_created_object_is_read_back_the_same(api: Client, namespace: str) -> None:
    made = api.make(config_maps(namespace), config_map("a", x="1"))
    answer = api.get(f"{config_maps(namespace)}/a")
    assert answer.status == 200
    assert answer.json == made


def test_create_without_type_meta_is_taken_for_a_built_in_kind(api: Client, namespace: str) -> None:
    answer = api.post(config_maps(namespace), {"metadata": {"name": "a"}})
    assert answer.status == 201
    assert answer.json["kind"] == "ConfigMap"


def test_create_twice_is_already_exists(api: Client, namespace: str) -> None:
    api.make(config_maps(namespace), config_map("a"))
    answer = api.post(config_maps(namespace), config_map("a"))
    assert (answer.status, answer.reason) == (409, "AlreadyExists")
    assert answer.message == 'configmaps "a" already exists'
    assert answer.json["details"] == {"name": "a", "kind": "configmaps"}


def test_get_of_nothing_is_not_found(api: Client, namespace: str) -> None:
    answer = api.get(f"{config_maps(namespace)}/nothing")
    assert (answer.status, answer.reason) == (404, "NotFound")
    assert answer.message == 'configmaps "nothing" not found'
    assert answer.json["details"] == {"name": "nothing", "kind": "configmaps"}
    assert answer.json["status"] == "Failure"
    assert answer.json["kind"] == "Status"


def test_create_in_a_missing_namespace_is_not_found(api: Client) -> None:
    answer = api.post(config_maps("contract-missing"), config_map("a"))
    assert (answer.status, answer.reason) == (404, "NotFound")
    assert answer.message == 'namespaces "contract-missing" not found'
    assert answer.json["details"] == {"name": "contract-missing", "kind": "namespaces"}


def test_create_in_another_namespace_than_the_path_says_is_refused(api: Client, namespace: str) -> None:
    answer = api.post(config_maps(namespace), {"metadata": {"name": "a", "namespace": "default"}})
    assert (answer.status, answer.reason) == (400, "BadRequest")
    assert "does not match the namespace" in answer.message


def test_server_sets_metadata_whatever_the_client_sends(api: Client, namespace: str) -> None:
    forged = {"name": "a", "uid": "mine", "creationTimestamp": "2001-01-01T00:00:00Z", "selfLink": "/x"}
    forged["deletionTimestamp"] = "2001-01-01T00:00:00Z"
    metadata = api.make(config_maps(namespace), {"metadata": forged})["metadata"]
    assert UUID.fullmatch(metadata["uid"])
    assert not metadata["creationTimestamp"].startswith("2001")
    assert "deletionTimestamp" not in metadata
    assert "selfLink" not in metadata


def test_create_with_a_resource_version_is_refused(api: Client, namespace: str) -> None:
    answer = api.post(config_maps(namespace), {"metadata": {"name": "a", "resourceVersion": "5"}})
    assert answer.status == 500
    assert answer.message == "resourceVersion should not be set on objects to be created"


def test_generate_name_makes_different_names(api: Client, namespace: str) -> None:
    names = {
        api.make(config_maps(namespace), {"metadata": {"generateName": "gen-"}})["metadata"]["name"] for _ in range(5)
    }
    assert len(names) == 5
    assert all(re.fullmatch(r"gen-[a-z0-9]{5}", name) for name in names)


def test_name_wins_over_generate_name(api: Client, namespace: str) -> None:
    made = api.make(config_maps(namespace), {"metadata": {"name": "fixed", "generateName": "gen-"}})
    assert made["metadata"]["name"] == "fixed"
    assert made["metadata"]["generateName"] == "gen-"


def test_long_generate_name_is_cut(api: Client, namespace: str) -> None:
    made = api.make(config_maps(namespace), {"metadata": {"generateName": "x" * 80}})
    assert len(made["metadata"]["name"]) == 63


def test_dry_run_create_stores_nothing(api: Client, namespace: str) -> None:
    answer = api.post(f"{config_maps(namespace)}?dryRun=All", config_map("a", x="1"))
    assert answer.status == 201
    assert answer.json["data"] == {"x": "1"}
    assert UUID.fullmatch(answer.json["metadata"]["uid"])
    assert "resourceVersion" not in answer.json["metadata"]
    assert api.get(f"{config_maps(namespace)}/a").status == 404


def test_unknown_dry_run_is_invalid(api: Client, namespace: str) -> None:
    answer = api.post(f"{config_maps(namespace)}?dryRun=Some", config_map("a"))
    assert (answer.status, answer.reason) == (422, "Invalid")
    assert answer.causes == {("FieldValueNotSupported", "dryRun")}
    assert answer.json["details"]["kind"] == "CreateOptions"


def test_update_changes_the_resource_version(api: Client, namespace: str) -> None:
    made = api.make(config_maps(namespace), config_map("a", x="1"))
    made["data"] = {"x": "2"}
    answer = api.put(f"{config_maps(namespace)}/a", made)
    assert answer.status == 200
    assert answer.json["data"] == {"x": "2"}
    assert int(answer.rv) > int(made["metadata"]["resourceVersion"])
    assert answer.json["metadata"]["uid"] == made["metadata"]["uid"]
    assert answer.json["metadata"]["creationTimestamp"] == made["metadata"]["creationTimestamp"]


def test_update_that_changes_nothing_keeps_the_resource_version(api: Client, namespace: str) -> None:
    made = api.make(config_maps(namespace), config_map("a", x="1"))
    answer = api.put(f"{config_maps(namespace)}/a", made)
    assert answer.status == 200
    assert answer.rv == made["metadata"]["resourceVersion"]


def test_update_with_an_old_resource_version_conflicts(api: Client, namespace: str) -> None:
    made = api.make(config_maps(namespace), config_map("a", x="1"))
    assert api.put(f"{config_maps(namespace)}/a", {**made, "data": {"x": "2"}}).status == 200
    answer = api.put(f"{config_maps(namespace)}/a", {**made, "data": {"x": "3"}})
    assert (answer.status, answer.reason) == (409, "Conflict")
    assert answer.message == (
        'Operation cannot be fulfilled on configmaps "a": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    assert answer.json["details"] == {"name": "a", "kind": "configmaps"}


def test_update_without_a_resource_version_is_taken(api: Client, namespace: str) -> None:
    api.make(config_maps(namespace), config_map("a", x="1"))
    answer = api.put(f"{config_maps(namespace)}/a", config_map("a", x="2"))
    assert (answer.status, answer.json["data"]) == (200, {"x": "2"})


def test_update_with_another_uid_conflicts(api: Client, namespace: str) -> None:
    api.make(config_maps(namespace), config_map("a"))
    body = config_map("a")
    body["metadata"]["uid"] = "00000000-0000-4000-8000-000000000000"
    answer = api.put(f"{config_maps(namespace)}/a", body)
    assert (answer.status, answer.reason) == (409, "Conflict")
    assert "UID in precondition" in answer.message


def test_update_of_nothing_is_not_found(api: Client, namespace: str) -> None:
    answer = api.put(f"{config_maps(namespace)}/a", config_map("a"))
    assert (answer.status, answer.reason) == (404, "NotFound")


def test_update_creates_where_the_kind_allows_it(api: Client, namespace: str) -> None:
    path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/roles"
    answer = api.put(f"{path}/a", {"metadata": {"name": "a"}, "rules": []})
    assert answer.status == 201
    assert api.get(f"{path}/a").status == 200


def test_update_under_another_name_is_refused(api: Client, namespace: str) -> None:
    api.make(config_maps(namespace), config_map("a"))
    answer = api.put(f"{config_maps(namespace)}/a", config_map("b"))
    assert (answer.status, answer.reason) == (400, "BadRequest")
    assert answer.message == "the name of the object (b) does not match the name on the URL (a)"


def test_update_without_a_name_is_refused(api: Client, namespace: str) -> None:
    api.make(config_maps(namespace), config_map("a"))
    answer = api.put(f"{config_maps(namespace)}/a", {"metadata": {}})
    assert (answer.status, answer.reason) == (400, "BadRequest")


def test_dry_run_update_stores_nothing(api: Client, namespace: str) -> None:
    api.make(config_maps(namespace), config_map("a", x="1"))
    answer = api.put(f"{config_maps(namespace)}/a?dryRun=All", config_map("a", x="2"))
    assert (answer.status, answer.json["data"]) == (200, {"x": "2"})
    assert api.get(f"{config_maps(namespace)}/a").json["data"] == {"x": "1"}


def test_resource_versions_grow_across_kinds(api: Client, namespace: str) -> None:
    first = api.make(config_maps(namespace), config_map("a"))
    second = api.make(f"/api/v1/namespaces/{namespace}/secrets", {"metadata": {"name": "a"}})
    third = api.make(config_maps(namespace), config_map("b"))
    versions = [int(each["metadata"]["resourceVersion"]) for each in (first, second, third)]
    assert versions == sorted(set(versions))


def test_immutable_config_map_stays(api: Client, namespace: str) -> None:
    made = api.make(config_maps(namespace), {**config_map("a", x="1"), "immutable": True})
    answer = api.put(f"{config_maps(namespace)}/a", {**made, "data": {"x": "2"}})
    assert (answer.status, answer.causes) == (422, {("FieldValueForbidden", "data")})
    answer = api.put(f"{config_maps(namespace)}/a", {**made, "immutable": False})
    assert answer.causes == {("FieldValueForbidden", "immutable")}


def test_string_data_of_a_secret_becomes_data(api: Client, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/secrets"
    made = api.make(path, {"metadata": {"name": "a"}, "stringData": {"k": "b"}})
    assert made["data"] == {"k": "Yg=="}
    assert made["type"] == "Opaque"
    assert "stringData" not in made


def test_cluster_scoped_objects_have_no_namespace(api: Client, namespace: str) -> None:
    answer = api.get(f"/api/v1/namespaces/{namespace}")
    assert answer.status == 200
    assert "namespace" not in answer.json["metadata"]
    assert answer.json["status"] == {"phase": "Active"}
    assert answer.json["spec"] == {"finalizers": ["kubernetes"]}
    assert answer.json["metadata"]["labels"]["kubernetes.io/metadata.name"] == namespace
