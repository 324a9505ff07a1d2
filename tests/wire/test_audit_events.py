"""What is recorded of requests, through the whole gateway: spec 03, facts T59 to T66."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support_audit import Recorded

from ksproxyd.observe.redact import REDACTED
from ksproxyd.settings import SettingsError, load_text

PODS = "/api/v1/namespaces/n1/pods"
FORM = (b"Content-Type", b"application/x-www-form-urlencoded")
KEYS = [
    *("Workspace", "Cluster", "Message", "HostName", "HostIP", "Level", "AuditID"),
    *("Stage", "RequestURI", "Verb", "User", "ImpersonatedUser", "SourceIPs", "UserAgent"),
    *("ObjectRef", "ResponseStatus", "RequestObject", "ResponseObject", "RequestReceivedTimestamp"),
    *("StageTimestamp", "Annotations"),
]


def namespace(name: str, workspace: str = "", **annotations: str) -> dict[str, Any]:
    labels = {"kubesphere.io/workspace": workspace} if workspace else {}
    metadata = {"name": name, "labels": labels, "annotations": annotations}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def pod(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "n1"},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    }


def user(name: str, state: str = "Active") -> dict[str, Any]:
    return {
        "apiVersion": "iam.kubesphere.io/v1beta1",
        "kind": "User",
        "metadata": {"name": name},
        "spec": {"email": f"{name}@ks.test"},
        "status": {"state": state},
    }


def test_a_pod_is_deleted() -> None:
    """T59."""
    with Recorded() as world:
        world.gateway.apply(namespace("n1", "ws1"), pod("web-0"))
        agent = (b"User-Agent", b"curl/8.5.0")
        assert world.request("DELETE", f"{PODS}/web-0?gracePeriodSeconds=0", None, agent).status == 200
        found = world.one(Verb="delete")
        assert list(found) == KEYS
        assert found["Workspace"] == "ws1"
        assert found["ObjectRef"] == {
            "Resource": "pods",
            "Namespace": "n1",
            "Name": "web-0",
            "UID": "",
            "APIGroup": "",
            "APIVersion": "v1",
            "ResourceVersion": "Namespace",
            "Subresource": "",
        }
        assert found["RequestURI"] == f"{PODS}/web-0"
        assert found["User"] == {"username": "system:anonymous", "groups": ["system:unauthenticated"]}
        assert found["ResponseStatus"] == {"metadata": {}, "code": 200}
        assert (found["SourceIPs"], found["UserAgent"]) == ("192.0.2.7", "curl/8.5.0")
        assert (found["HostName"], found["HostIP"], found["Cluster"]) == ("ks-apiserver-0", "10.0.0.7", "host")
        assert (found["Level"], found["Stage"], found["Message"]) == ("Metadata", "ResponseComplete", "")
        assert found["RequestObject"] is found["ResponseObject"] is found["Annotations"] is None
        assert len(found["AuditID"]) == 36


def test_the_cluster_is_called_as_its_namespace_says() -> None:
    with Recorded() as world:
        world.gateway.apply(namespace("kubesphere-system", **{"cluster.kubesphere.io/name": "paris"}))
        world.request("GET", "/api/v1/nodes")
        assert world.one(Verb="list")["Cluster"] == "paris"


def test_the_workspace_of_a_namespace_itself_and_of_a_path() -> None:
    with Recorded() as world:
        world.gateway.apply(namespace("n1", "ws1"))
        world.request("GET", "/api/v1/namespaces/n1")
        assert world.one(Verb="get")["Workspace"] == "ws1"
        world.request("GET", "/kapis/iam.kubesphere.io/v1beta1/workspaces/ws2/workspaceroles")
        assert world.one(Verb="list")["Workspace"] == "ws2"
        world.request("DELETE", "/api/v1/namespaces/nowhere/pods/p")
        assert world.one(Verb="delete")["Workspace"] == ""


def test_denied() -> None:
    """T60."""
    with Recorded(mode="AlwaysDeny") as world:
        assert world.request("DELETE", f"{PODS}/web-0", {"password": "x"}).status == 403
        found = world.one(Verb="delete")
        assert found["ResponseStatus"]["code"] == 403
        assert 'User "system:anonymous" cannot delete resource "pods"' in found["Message"]
        assert found["Annotations"] == {"authorization.k8s.io/decision": "forbid"}
        assert found["RequestObject"] is None


def test_not_known() -> None:
    with Recorded("Request") as world:
        answer = world.request("POST", PODS, pod("x"), (b"Authorization", b"Bearer not-a-token-of-ours"))
        assert answer.status == 401
        found = world.one(Verb="create")
        assert found["ResponseStatus"]["code"] == 401
        assert found["RequestObject"] is None
        assert "not-a-token" not in json.dumps(found)


def test_malformed_paths_are_recorded_too() -> None:
    with Recorded() as world:
        assert world.request("GET", "/api/v1/../secrets").status == 400
        found = world.one(Verb="GET")
        assert found["RequestURI"] == "/api/v1/../secrets"
        assert found["ResponseStatus"]["code"] == 400


@pytest.mark.parametrize("path", [PODS, "/kapis/iam.kubesphere.io/v1beta1/users"])
def test_dry_runs_are_recorded_and_called_so(path: str) -> None:
    """T61."""
    with Recorded() as world:
        world.request("POST", path + "?dryRun=All", {"metadata": {"name": "x"}})
        found = world.one(Verb="create")
        assert found["Annotations"]["ksproxyd.io/dry-run"] == "All"
        assert found["ObjectRef"]["Name"] == "x"


def test_three_events_of_a_batch() -> None:
    """T62."""
    with Recorded(batch=3) as world:
        for number in range(3):
            world.request("GET", f"/api/v1/nodes/n{number}")
        world.gateway.reactor.settle()
        (request,) = world.receiver.complete
        assert request.target == b"/receive?x=1"
        assert (b"Content-Type", b"application/json") in request.headers
        assert request.body.count(b'}{"Workspace"') == 2
        assert [event["ObjectRef"]["Name"] for event in world.events()] == ["n0", "n1", "n2"]


def test_a_batch_that_is_not_complete_waits_no_longer_than_it_may() -> None:
    with Recorded(batch=100) as world:
        world.request("GET", "/api/v1/nodes/n")
        world.gateway.wait(2.9)
        assert world.events() == []
        world.gateway.wait(0.2)
        assert len(world.events()) == 1


@pytest.mark.parametrize("status", [500, 0])
def test_a_receiver_in_trouble_does_not_touch_clients_and_gets_everything_later(status: int) -> None:
    """T63."""
    with Recorded(batch=2) as world:
        world.status = status
        for number in range(6):
            begun = world.gateway.reactor.seconds()
            assert world.request("GET", f"/api/v1/nodes/n{number}").status == 404
            assert world.gateway.reactor.seconds() == begun
        world.gateway.wait(25)
        metrics = world.gateway.get("/metrics").body.decode()
        assert 'ksproxyd_audit_delivered_total{sink="webhook"} 0' in metrics
        assert 'ksproxyd_audit_queue_events{sink="webhook"} 6' in metrics
        world.status = 200
        world.gateway.wait(40)
        names = {event["ObjectRef"]["Name"] for event in world.events()}
        assert names == {f"n{number}" for number in range(6)}
        metrics = world.gateway.get("/metrics").body.decode()
        assert 'ksproxyd_audit_delivered_total{sink="webhook"} 6' in metrics
        assert 'ksproxyd_audit_dropped_total{reason="queue_full",sink="webhook"} 0' in metrics
        world.gateway.wait(2)


def test_a_login_is_recorded_without_the_password() -> None:
    """T64."""
    with Recorded("Request") as world:
        form = b"grant_type=password&username=alice&password=s3cr3t&client_id=kubesphere&client_secret=hush"
        world.request("POST", "/oauth/token", form, FORM)
        found = world.one(Verb="POST", RequestURI="/oauth/token")
        assert found["RequestObject"] == (
            f"grant_type=password&username=alice&password={REDACTED}&client_id=kubesphere&client_secret={REDACTED}"
        )
        assert "s3cr3t" not in json.dumps(world.events()) and "hush" not in json.dumps(world.events())


@pytest.mark.parametrize("level", ["metadata", "REQUEST", "Everything"])
def test_an_unknown_level_is_an_error_at_start(level: str) -> None:
    """T65."""
    with pytest.raises(SettingsError, match="auditLevel"):
        load_text(f"auditing: {{enable: true, auditLevel: {level}}}", "settings", {})


def test_no_level_means_metadata_and_none_means_nothing() -> None:
    with Recorded('""') as world:
        world.request("GET", "/api/v1/nodes")
        assert world.one(Verb="list")["Level"] == "Metadata"
    with Recorded("None") as world:
        world.request("GET", "/api/v1/nodes")
        assert world.events(10.0) == []
        assert world.gateway.gateway.audit is None


def test_probes_and_scrapes_are_nobodys_doing_unless_they_are_refused() -> None:
    with Recorded() as world:
        for path in ("/healthz", "/livez/ping", "/readyz?verbose", "/metrics"):
            world.request("GET", path)
        assert world.events(settle=2.0) == []
        world.request("GET", "/healthz", None, (b"Authorization", b"Bearer no"))
        assert world.one()["ResponseStatus"]["code"] == 401


@pytest.mark.parametrize(
    ("before", "after", "verb"),
    [
        ("Active", "Disabled", "disable"),
        ("Disabled", "Active", "enable"),
        ("Active", "Active", "update"),
        ("Active", "", "update"),
    ],
)
def test_a_user_is_disabled_enabled_or_only_changed(before: str, after: str, verb: str) -> None:
    with Recorded(more="  iam: {manageUsers: false}") as world:
        world.gateway.apply(user("bob", before))
        path = "/kapis/iam.kubesphere.io/v1beta1/users/bob"
        world.request("PUT", path, user("bob", after))
        found = world.one(RequestURI=path)
        assert found["Verb"] == verb
        assert found["RequestObject"] is None


def test_who_is_behind_a_proxy_and_ids_are_believed_of_trusted_proxies_only() -> None:
    named = [(b"X-Forwarded-For", b"203.0.113.5"), (b"Audit-ID", b"0f2d3c4b-1111-4222-8333-444455556666")]
    with Recorded() as world:
        world.request("GET", "/api/v1/nodes", None, *named)
        found = world.one()
        assert found["SourceIPs"] == "192.0.2.7"
        assert found["AuditID"] != named[1][1].decode()
    with Recorded(more="  trustedProxies: [192.0.2.0/24]") as world:
        world.request("GET", "/api/v1/nodes", None, *named)
        found = world.one()
        assert found["SourceIPs"] == "203.0.113.5"
        assert found["AuditID"] == named[1][1].decode()
        world.request("GET", "/api/v1/pods", None, (b"Audit-ID", b'"}{'))
        assert '"' not in world.one(RequestURI="/api/v1/pods")["AuditID"]


def test_kubernetes_form() -> None:
    with Recorded(more="  audit: {format: kubernetes}") as world:
        world.gateway.apply(namespace("n1", "ws1"))
        world.request("GET", PODS + "/p?token=abc")
        world.gateway.reactor.settle()
        found = json.loads(world.receiver.complete[0].body)
        assert (found["kind"], found["apiVersion"]) == ("EventList", "audit.k8s.io/v1")
        (item,) = found["items"]
        assert item["requestURI"] == f"{PODS}/p?token={REDACTED}"
        assert item["sourceIPs"] == ["192.0.2.7"]
        assert item["objectRef"]["name"] == "p"
        assert item["annotations"]["ksproxyd.io/workspace"] == "ws1"


def test_nothing_is_left_of_auditing_where_it_is_off() -> None:
    with Recorded() as world:
        steps = [name for name, _ in world.gateway.gateway.steps()]
        assert steps.index("authenticate") < steps.index("audit") < steps.index("dispatch")
    with Recorded("None") as world:
        assert "audit" not in [name for name, _ in world.gateway.gateway.steps()]


def test_the_end_sends_what_waits() -> None:
    world = Recorded(batch=100)
    world.request("GET", "/api/v1/nodes")
    world.gateway.close()
    assert len(world.events()) == 1
