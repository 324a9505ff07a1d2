"""Discovery, OpenAPI, versions, health, and questions about oneself."""

from __future__ import annotations

import re
from typing import Any

from contract.client import Client
from contract.objects import Widgets

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


def test_version(api: Client) -> None:
    answer = api.get("/version")
    assert answer.status == 200
    assert answer.json["major"] == "1"
    assert int(answer.json["minor"]) >= 25
    assert re.match(r"v1\.[0-9]+\.[0-9]+", answer.json["gitVersion"])
    assert answer.json["platform"]


def test_health(api: Client) -> None:
    for path in ("/healthz", "/livez", "/readyz"):
        answer = api.get(path)
        assert (answer.status, answer.text) == (200, "ok")


def test_core_versions(api: Client) -> None:
    answer = api.get("/api")
    assert (answer.json["kind"], answer.json["versions"]) == ("APIVersions", ["v1"])


def test_groups(api: Client) -> None:
    answer = api.get("/apis")
    assert answer.json["kind"] == "APIGroupList"
    found = {group["name"]: group for group in answer.json["groups"]}
    assert found["apps"]["preferredVersion"] == {"groupVersion": "apps/v1", "version": "v1"}
    assert {"apps", "batch", "networking.k8s.io", "rbac.authorization.k8s.io", "apiextensions.k8s.io"} <= found.keys()


def test_one_group(api: Client) -> None:
    answer = api.get("/apis/apps")
    assert answer.status == 200
    assert (answer.json["kind"], answer.json["name"]) == ("APIGroup", "apps")
    assert {"groupVersion": "apps/v1", "version": "v1"} in answer.json["versions"]


def test_resources_of_a_group(api: Client) -> None:
    answer = api.get("/apis/apps/v1")
    assert (answer.json["kind"], answer.json["groupVersion"]) == ("APIResourceList", "apps/v1")
    found = {each["name"]: each for each in answer.json["resources"]}
    deployments = found["deployments"]
    assert deployments["kind"] == "Deployment"
    assert deployments["namespaced"] is True
    assert deployments["singularName"] == "deployment"
    assert deployments["shortNames"] == ["deploy"]
    assert deployments["categories"] == ["all"]
    assert set(deployments["verbs"]) == {
        "create",
        "delete",
        "deletecollection",
        "get",
        "list",
        "patch",
        "update",
        "watch",
    }
    assert set(found["deployments/status"]["verbs"]) == {"get", "patch", "update"}
    scale = found["deployments/scale"]
    assert (scale["group"], scale["version"], scale["kind"]) == ("autoscaling", "v1", "Scale")


def test_resources_of_the_core_group(api: Client) -> None:
    found = {each["name"]: each for each in api.get("/api/v1").json["resources"]}
    assert found["namespaces"]["namespaced"] is False
    assert "deletecollection" not in found["namespaces"]["verbs"]
    assert found["configmaps"]["shortNames"] == ["cm"]
    assert found["namespaces/finalize"]["verbs"] == ["update"]


def test_resources_of_a_custom_group(api: Client, widgets: Widgets) -> None:
    answer = api.get(f"/apis/{widgets.group}/v1")
    found = {each["name"]: each for each in answer.json["resources"]}
    assert found["widgets"]["kind"] == "Widget"
    assert found["widgets"]["shortNames"] == ["wd"]
    assert set(found["widgets/status"]["verbs"]) == {"get", "patch", "update"}
    assert found["widgets/scale"]["kind"] == "Scale"
    group = api.get(f"/apis/{widgets.group}").json
    assert group["preferredVersion"] == {"groupVersion": f"{widgets.group}/v1", "version": "v1"}


def aggregated(api: Client, path: str) -> dict[str, dict[str, Any]]:
    """Resources of every group version, from aggregated discovery."""
    answer = api.get(path, {"Accept": f"{AGGREGATED},application/json"})
    assert answer.status == 200
    assert answer.headers["content-type"].replace(" ", "") == AGGREGATED
    assert (answer.json["kind"], answer.json["apiVersion"]) == ("APIGroupDiscoveryList", "apidiscovery.k8s.io/v2")
    found = {}
    for group in answer.json["items"]:
        for version in group["versions"]:
            name = f"{group['metadata'].get('name', '')}/{version['version']}"
            found[name] = {each["resource"]: each for each in version["resources"]}
    return found


def test_aggregated_discovery_of_groups(api: Client) -> None:
    deployments = aggregated(api, "/apis")["apps/v1"]["deployments"]
    assert (deployments["scope"], deployments["singularResource"]) == ("Namespaced", "deployment")
    assert deployments["responseKind"]["kind"] == "Deployment"
    subresources = {each["subresource"]: each for each in deployments["subresources"]}
    assert subresources["scale"]["responseKind"] == {"group": "autoscaling", "version": "v1", "kind": "Scale"}
    assert subresources.keys() == {"scale", "status"}


def test_aggregated_discovery_of_the_core_group(api: Client) -> None:
    found = aggregated(api, "/api")
    assert found["/v1"]["namespaces"]["scope"] == "Cluster"


def test_aggregated_discovery_knows_custom_kinds(api: Client, widgets: Widgets) -> None:
    found = api.eventually(lambda: aggregated(api, "/apis").get(f"{widgets.group}/v1"))
    assert found["widgets"]["responseKind"]["kind"] == "Widget"


def test_aggregated_discovery_is_not_sent_twice(api: Client) -> None:
    first = api.get("/apis", {"Accept": AGGREGATED})
    tag = first.headers["etag"]
    again = api.get("/apis", {"Accept": AGGREGATED, "If-None-Match": tag})
    assert (again.status, again.text) == (304, "")


def test_openapi_has_a_document_for_every_version(api: Client) -> None:
    paths = api.get("/openapi/v3").json["paths"]
    assert {"api/v1", "apis/apps/v1"} <= paths.keys()
    answer = api.get(paths["apis/apps/v1"]["serverRelativeURL"])
    assert answer.status == 200
    assert answer.json["openapi"].startswith("3.")


def test_openapi_says_which_parameters_a_patch_takes(api: Client) -> None:
    url = api.get("/openapi/v3").json["paths"]["api/v1"]["serverRelativeURL"]
    document = api.get(url).json
    patch = document["paths"]["/api/v1/namespaces/{namespace}/configmaps/{name}"]["patch"]
    assert "fieldValidation" in {each["name"] for each in patch["parameters"]}
    assert patch["x-kubernetes-group-version-kind"] == {"group": "", "version": "v1", "kind": "ConfigMap"}


def test_openapi_says_how_lists_are_merged(api: Client) -> None:
    url = api.get("/openapi/v3").json["paths"]["apis/apps/v1"]["serverRelativeURL"]
    schemas = api.get(url).json["components"]["schemas"]
    pod_spec = next(schema for name, schema in schemas.items() if name.endswith(".PodSpec"))
    containers = pod_spec["properties"]["containers"]
    assert containers["x-kubernetes-patch-merge-key"] == "name"
    assert containers["x-kubernetes-list-map-keys"] == ["name"]


def test_who_am_i(api: Client) -> None:
    answer = api.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", {})
    assert answer.status == 201
    assert answer.json["kind"] == "SelfSubjectReview"
    assert "system:authenticated" in answer.json["status"]["userInfo"]["groups"]


def test_impersonated_user_is_who_i_am(api: Client) -> None:
    headers = {"Impersonate-User": "alice", "Impersonate-Group": "readers", "Content-Type": "application/json"}
    answer = api.request("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {}, headers)
    assert answer.status == 201
    user = answer.json["status"]["userInfo"]
    assert user["username"] == "alice"
    assert set(user["groups"]) == {"readers", "system:authenticated"}


def test_what_may_i_do(api: Client) -> None:
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    answer = api.post(path, {"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}})
    assert answer.status == 201
    assert answer.json["status"]["allowed"] is True
    assert api.post(path, {"spec": {}}).status == 422
