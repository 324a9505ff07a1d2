"""Bodies, upgrades, member clusters and the other sinks: what is recorded of what passes through."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from support_audit import RECEIVER, SETTINGS, Recorded

from ksproxyd.gateway import StartError
from ksproxyd.observe.redact import REDACTED
from ksproxyd.testing import Backend, MemoryGateway
from ksproxyd.testing.backend import answer

PODS = "/api/v1/namespaces/n1/pods"
EXEC = f"{PODS}/web-0/exec?command=mysql&command=-c&token=s3cr3t"
UPGRADE = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n"
FILE = """
authorization: {mode: AlwaysAllow}
auditing:
  enable: true
  eventBatchSize: 1
  logOptions: {path: %s}
ksproxyd:
  listeners: [{address: 127.0.0.1, port: 9090}]
  extensions: {openapi: false, manageStatus: false}
"""


def cluster(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "cluster.kubesphere.io/v1alpha1",
        "kind": "Cluster",
        "metadata": {"name": name, "labels": {}},
        "spec": {"connection": {"type": "proxy", "kubesphereAPIEndpoint": "http://ks.member.example"}},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }


def test_bodies_at_their_level_only() -> None:
    for level, request, response in (("Metadata", 0, 0), ("Request", 1, 0), ("RequestResponse", 1, 1)):
        with Recorded(level, embedded=False) as world:
            sent = {"metadata": {"name": "web-0"}, "spec": {"password": "s3cr3t", "image": "i"}}
            assert world.request("POST", PODS, sent).status == 200
            found = world.one(Verb="create")
            assert found["ObjectRef"]["Name"] == "web-0"
            wanted = {"metadata": {"name": "web-0"}, "spec": {"password": REDACTED, "image": "i"}}
            assert found["RequestObject"] == (wanted if request else None)
            if response:
                assert found["ResponseObject"]["method"] == "POST"
            else:
                assert found["ResponseObject"] is None
            assert "s3cr3t" not in json.dumps(found)


def test_chunked_bodies_are_seen_too() -> None:
    with Recorded("Request", embedded=False) as world:
        client = world.gateway.connect()
        client.send(
            b"POST /api/v1/namespaces/n1/pods HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
            b'Content-Type: application/json\r\n\r\n5\r\n{"met\r\n'
        )
        client.send(b'13\r\nadata":{"name":"p"}\r\n1\r\n}\r\n0\r\n\r\n')
        assert client.answer().status == 200
        client.close()
        found = world.one(Verb="create")
        assert found["RequestObject"] == {"metadata": {"name": "p"}}
        assert found["ObjectRef"]["Name"] == "p"


def test_what_is_longer_than_may_be_kept_passes_and_is_said_to_be() -> None:
    with Recorded("RequestResponse", embedded=False, more="  audit: {bodyBytes: 1Ki}") as world:
        body = json.dumps({"metadata": {"name": "p"}, "x": "y" * 5000}).encode()
        found = world.request("PUT", f"{PODS}/p", body)
        assert found.json()["body"] == body.decode()
        event = world.one(Verb="update")
        assert event["RequestObject"] is event["ResponseObject"] is None
        said = event["Annotations"]
        assert (said["ksproxyd.io/request-truncated"], said["ksproxyd.io/request-bytes"]) == (
            "too large",
            str(len(body)),
        )
        assert said["ksproxyd.io/response-truncated"] == "too large"
        assert int(said["ksproxyd.io/response-bytes"]) == len(found.body)


def test_a_compressed_answer() -> None:
    with Recorded("RequestResponse", embedded=False) as world:
        inner = json.dumps({"kind": "SecretList", "items": [{"data": {"a": "s3cr3t"}}]}).encode()
        fields = [(b"Content-Type", b"application/json"), (b"Content-Encoding", b"gzip")]
        reply = answer(200, gzip.compress(inner), fields)
        world.gateway.kube.handler = lambda *_: reply
        world.request("GET", "/api/v1/namespaces/n1/secrets", None, (b"Accept-Encoding", b"gzip"))
        assert world.one(Verb="list")["ResponseObject"] == {
            "kind": "SecretList",
            "items": [{"data": {"a": REDACTED}}],
        }


def test_a_watch_is_one_event_at_its_end_and_nothing_of_it_is_kept() -> None:
    with Recorded("RequestResponse", embedded=False) as world:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        world.gateway.kube.handler = lambda *_: head + b'c\r\n{"a":"line"}\r\n'
        client = world.gateway.connect()
        client.send(f"GET {PODS}?watch=true HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert b'{"a":"line"}' in client.take()
        assert world.events(settle=30.0) == []
        client.close()
        found = world.one(Verb="watch")
        assert found["ResponseObject"] is None
        assert found["ResponseStatus"]["code"] == 200


def test_an_upgrade_is_two_events_of_one_request() -> None:
    """T66."""
    with Recorded("RequestResponse", embedded=False) as world:
        client = world.gateway.connect()
        client.send(f"GET {EXEC} HTTP/1.1\r\nHost: x\r\n{UPGRADE}".encode())
        assert client.answer().status == 101
        begun = world.one(Stage="ResponseStarted")
        assert begun["ResponseStatus"]["code"] == 101
        assert begun["Annotations"] == {"ksproxyd.io/query": f"command=mysql&command=-c&token={REDACTED}"}
        assert begun["ObjectRef"]["Subresource"] == "exec"
        client.send(b"hello")
        assert client.take() == b"hello"
        world.gateway.wait(2.5)
        client.close()
        ended = world.one(Stage="ResponseComplete")
        assert ended["AuditID"] == begun["AuditID"]
        assert ended["RequestReceivedTimestamp"] == begun["RequestReceivedTimestamp"]
        assert ended["ResponseStatus"]["code"] == 101
        said = ended["Annotations"]
        assert (said["ksproxyd.io/received-bytes"], said["ksproxyd.io/sent-bytes"]) == ("5", "5")
        assert said["ksproxyd.io/seconds"] == "2.500"
        assert said["ksproxyd.io/ended"] == "the client ended it"
        assert ended["RequestObject"] is ended["ResponseObject"] is None


def test_an_upgrade_that_is_refused_is_one_event() -> None:
    with Recorded(embedded=False) as world:
        world.gateway.kube.handler = lambda *_: answer(403, b"{}")
        client = world.gateway.connect()
        client.send(f"GET {EXEC} HTTP/1.1\r\nHost: x\r\n{UPGRADE}".encode())
        assert client.answer().status == 403
        client.close()
        assert world.one()["Stage"] == "ResponseComplete"


@pytest.mark.parametrize("upgrade", [False, True])
def test_requests_for_member_clusters(upgrade: bool) -> None:
    with Recorded("Request", embedded=False) as world:
        world.gateway.apply(cluster("m"))
        member = world.gateway.serve("http://ks.member.example", Backend())
        if upgrade:
            client = world.gateway.connect()
            client.send(f"GET /clusters/m{EXEC} HTTP/1.1\r\nHost: x\r\n{UPGRADE}".encode())
            assert client.answer().status == 101
            client.close()
            found = world.one(Stage="ResponseStarted")
        else:
            sent = {"metadata": {"name": "p"}}
            assert world.request("POST", f"/clusters/m{PODS}", sent).status == 200
            found = world.one()
            assert found["RequestObject"] == sent
        assert len(member.requests) == 1
        assert (found["Cluster"], found["Annotations"]["ksproxyd.io/dispatched-by"]) == ("m", "host")
        assert found["RequestURI"].startswith(PODS)


def test_a_client_that_leaves() -> None:
    with Recorded("RequestResponse", embedded=False) as world:
        world.gateway.kube.handler = lambda *_: None
        client = world.gateway.connect()
        client.send(f"POST {PODS} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc".encode())
        client.close()
        found = world.one()
        assert found["ResponseStatus"]["code"] == 499
        assert world.gateway.gateway.audit is not None
        assert world.gateway.gateway.audit._captures == {}


def test_nothing_is_kept_of_exchanges() -> None:
    with Recorded("RequestResponse", embedded=False) as world:
        for _ in range(5):
            world.request("POST", PODS, {"metadata": {"name": "p"}})
        world.request("GET", "/readyz")
        audit = world.gateway.gateway.audit
        assert audit is not None
        assert audit._captures == {}
        assert all(queue.events == 0 for queue in audit._queues)


# -- the other sinks -------------------------------------------------------------------------------------------------


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "log" / "audit.log"
    with MemoryGateway(FILE % path) as gateway:
        gateway.get(f"{PODS}/a")
        gateway.get(f"{PODS}/b")
        gateway.reactor.settle()
        names = [json.loads(line)["ObjectRef"]["Name"] for line in path.read_text().splitlines()]
        assert names == ["a", "b"]


def test_a_file_that_cannot_be_written_fails_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StartError, match=r"auditing\.logOptions\.path cannot be written: .*name a file in a directory"):
        MemoryGateway(FILE % (tmp_path / "file" / "audit.log"))


@pytest.mark.parametrize(
    ("url", "more", "wanted"),
    [
        ("ftp://x/", "", "must be an http or https URL"),
        ("nonsense", "", "must be an http or https URL"),
        ("http://x:port/", "", "is not a URL"),
        ("https://x/", "  audit: {webhook: {caFile: /nowhere/ca.pem}}", "caFile cannot be read"),
        ("https://x/", "  audit: {webhook: {caFile: /etc/hostname}}", "has no usable certificate"),
    ],
)
def test_a_webhook_that_cannot_be_fails_the_start(url: str, more: str, wanted: str) -> None:
    values = {"mode": "AlwaysAllow", "level": "Metadata", "batch": 1, "senders": 1, "more": more}
    text = (SETTINGS % values).replace(f"{RECEIVER}/receive?x=1", url)
    with pytest.raises(StartError, match=wanted):
        MemoryGateway(text)


def test_denied_requests_as_events_of_kubernetes() -> None:
    with Recorded(mode="AlwaysDeny", more="  audit: {kubernetesEvents: denied}") as world:
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n1"}}
        world.gateway.apply(namespace)
        world.request("DELETE", f"{PODS}/web-0")
        world.request("DELETE", f"{PODS}/web-0")
        world.gateway.wait(3)
        found = world.gateway.embedded.call("GET", "/api/v1/namespaces/n1/events")["items"]
        assert [(item["reason"], item["count"], item["involvedObject"]["name"]) for item in found] == [
            ("RequestDenied", 2, "web-0")
        ]
