"""Whether somebody may do something (spec 03, 4.6; T39 to T41 and 2.12)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support_iam import Cluster, binding

PATH = "/subjectaccessreviews"


@pytest.fixture(scope="module")
def world() -> Iterator[Cluster]:
    found = Cluster()
    found.gateway.apply(
        binding("RoleBinding", "devs", "Group devs", "Role viewer", namespace="n1"),
        binding("RoleBinding", "cr", "User cr", "ClusterRole cluster-viewer", namespace="n1"),
        binding("RoleBinding", "odd", "User odd", "Foo admin", namespace="n1"),
    )
    yield found
    found.gateway.close()


def review(user: str, verb: str, resource: str, group: str = "", **more: Any) -> Any:
    groups = more.pop("groups", [])
    attributes = {"verb": verb, "resource": resource, "group": group, **more}
    return {"kind": "SubjectAccessReview", "spec": {"user": user, "groups": groups, "resourceAttributes": attributes}}


def answered(world: Cluster, body: Any) -> Any:
    answer = world.call("admin", "POST", PATH, body)
    assert answer.status == 200, answer.body
    return answer.json()


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (
            review("admin", "list", "users", "iam.kubesphere.io", resourceScope="Global"),
            'RBAC: allowed by GlobalRoleBinding "admin" of GlobalRole "platform-admin" to User "admin"',
        ),
        (
            review("uma", "get", "users", "iam.kubesphere.io", name="alice", resourceScope="Global"),
            'RBAC: allowed by GlobalRoleBinding "uma" of GlobalRole "users" to User "uma"',
        ),
        (
            review("cv", "list", "pods"),
            'RBAC: allowed by ClusterRoleBinding "cv" of ClusterRole "cluster-viewer" to User "cv"',
        ),
        (review("cv", "list", "secrets", namespace="n1"), "RBAC: allowed by"),
        (
            review("wa", "delete", "pods", namespace="n1", resourceScope="Global"),
            'RBAC: allowed by WorkspaceRoleBinding "wa" of WorkspaceRole "ws1-admin" to User "wa"',
        ),
        (review("wa", "create", "namespaces", "tenant.kubesphere.io", workspace="ws1"), "RBAC: allowed by"),
        (
            review("dev", "get", "pods", groups=["devs"], namespace="n1", subresource="log", name="p"),
            'RBAC: allowed by RoleBinding "devs/n1" of Role "viewer" to Group "devs"',
        ),
        (review("cr", "list", "configmaps", namespace="n1"), "RBAC: allowed by"),
    ],
)
def test_allowed(world: Cluster, asked: Any, reason: str) -> None:
    status = answered(world, asked)["status"]
    assert status["allowed"] is True and status["reason"].startswith(reason)


@pytest.mark.parametrize(
    "asked",
    [
        review("joe", "list", "secrets"),
        review("uma", "list", "loginrecords", "iam.kubesphere.io", resourceScope="Global"),
        # Global things are not for cluster roles.
        review("cv", "list", "globalroles", "iam.kubesphere.io", resourceScope="Global"),
        review("wa", "create", "namespaces", workspace="ws2"),
        review("wa", "delete", "pods", namespace="n2"),
        review("wa", "delete", "pods", namespace="n0"),
        review("wa", "list", "pods"),
        review("dev", "get", "pods", namespace="n1"),
        review("cr", "list", "configmaps", namespace="n2"),
    ],
)
def test_not_allowed(world: Cluster, asked: Any) -> None:
    assert answered(world, asked)["status"] == {"allowed": False}


def test_why_a_binding_is_not_understood_is_told(world: Cluster) -> None:
    status = answered(world, review("odd", "delete", "pods", namespace="n1"))["status"]
    assert status["allowed"] is False and status["reason"].startswith("RBAC: ")


def test_what_was_asked_is_given_back(world: Cluster) -> None:
    asked = {
        "apiVersion": "iam.kubesphere.io/v1beta1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": "dave",
            "uid": "",
            "groups": None,
            "unknown": 1,
            "extra": {"a": ["b"]},
            "resourceAttributes": {"verb": "get", "resource": "users", "name": "", "resourceScope": "Global"},
        },
        "status": {"allowed": True},
    }
    assert answered(world, asked) == {
        "apiVersion": "iam.kubesphere.io/v1beta1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": "dave",
            "extra": {"a": ["b"]},
            "resourceAttributes": {"verb": "get", "resource": "users", "resourceScope": "Global"},
        },
        "status": {"allowed": False},
    }


def test_paths(world: Cluster) -> None:
    def ask(user: str, path: str, verb: str) -> bool:
        body = {"spec": {"user": user, "nonResourceAttributes": {"path": path, "verb": verb}}}
        allowed: bool = answered(world, body)["status"]["allowed"]
        return allowed

    assert ask("cv", "/kapis/version", "GET") and not ask("cv", "/kapis/version", "POST")
    assert ask("admin", "/anything", "POST") and not ask("joe", "/kapis/version", "GET")
    both: Any = review("joe", "get", "pods")
    both["spec"]["nonResourceAttributes"] = {"path": "/", "verb": "GET"}
    both["spec"]["user"] = "wa"
    assert answered(world, both)["status"] == {"allowed": False}


def test_nothing_asked_is_nothing_allowed(world: Cluster) -> None:
    assert answered(world, {}) == {"spec": {}, "status": {"allowed": False}}


def test_lists_keep_their_order(world: Cluster) -> None:
    users = ["wa", "joe", "admin", "cv"] * 30
    body = {"kind": "SubjectAccessReviewList", "items": [review(each, "list", "pods") for each in users]}
    found = answered(world, body)
    assert found["kind"] == "SubjectAccessReviewList"
    assert [each["spec"]["user"] for each in found["items"]] == users
    assert [each["status"]["allowed"] for each in found["items"]] == [each in ("admin", "cv") for each in users]
    assert answered(world, {"items": []}) == {"items": []}


@pytest.mark.parametrize(
    "body",
    [
        *(b"{", [], "x", {"spec": 7}, {"spec": {"user": 7}}, {"items": [7]}),
        *({"items": [{}, {"spec": {"groups": "a"}}]}, {"spec": {"groups": ["a"] * 1001}}),
    ],
)
def test_what_is_no_review(world: Cluster, body: Any) -> None:
    assert world.call("admin", "POST", PATH, body).status == 400
    assert world.call("admin", "POST", PATH, {}, kind=None).status == 400
    assert world.call("admin", "GET", PATH).status == 405
