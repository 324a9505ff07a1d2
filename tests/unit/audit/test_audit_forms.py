"""The two forms of an event: spec 03, 6.2, and audit.k8s.io/v1."""

from __future__ import annotations

import json
from typing import Any

from ksproxyd.audit.event import COMPLETE, Body, Event, Place, moment
from ksproxyd.audit.form import kubesphere_writer
from ksproxyd.audit.kubernetes_form import kubernetes_writer
from ksproxyd.model.identity import Identity
from ksproxyd.model.request_info import classify
from ksproxyd.observe.redact import REDACTED

PLACE = Place("ks-apiserver-0", "10.0.0.7")
#: 2025-01-01T00:00:00.000001Z
BEGUN = 1735689600.000001

SPEC = """
{"Workspace":"ws1","Cluster":"host","Message":"","HostName":"ks-apiserver-0","HostIP":"10.0.0.7",
 "Level":"Metadata","AuditID":"7b0c3f0e-6a0b-4a57-8b1a-2f2f4a9d2f10","Stage":"ResponseComplete",
 "RequestURI":"/api/v1/namespaces/n1/pods/web-0","Verb":"delete",
 "User":{"username":"wa","groups":["system:authenticated"]},"ImpersonatedUser":null,
 "SourceIPs":"192.0.2.9","UserAgent":"curl/8.5.0",
 "ObjectRef":{"Resource":"pods","Namespace":"n1","Name":"web-0","UID":"","APIGroup":"","APIVersion":"v1","ResourceVersion":"Namespace","Subresource":""},
 "ResponseStatus":{"metadata":{},"code":200},"RequestObject":null,"ResponseObject":null,
 "RequestReceivedTimestamp":"2025-01-01T00:00:00.000001Z","StageTimestamp":"2025-01-01T00:00:00.010001Z","Annotations":null}
"""


PATH = "/api/v1/namespaces/n1/pods/web-0"


def event(path: str = PATH, method: str = "DELETE", query: str = "", **more: Any) -> Event:
    info = classify(method, path.encode(), query.encode())
    return Event(
        **{
            "level": "Metadata",
            "stage": COMPLETE,
            "info": info,
            "verb": info.verb,
            "target": path.encode() + (b"?" + query.encode() if query else b""),
            "user": Identity("wa", ("system:authenticated",)),
            "client": "192.0.2.9",
            "agent": b"curl/8.5.0",
            "status": 200,
            "received": BEGUN,
            "at": BEGUN + 0.01,
            "workspace": "ws1",
            "cluster": "host",
            "id": "7b0c3f0e-6a0b-4a57-8b1a-2f2f4a9d2f10",
            **more,
        }
    )


def kubesphere(value: Event) -> Any:
    return json.loads(kubesphere_writer(PLACE)(value))


def kubernetes(value: Event) -> Any:
    return json.loads(kubernetes_writer(PLACE)(value))


def test_the_event_of_the_specification_key_for_key() -> None:
    wanted = json.loads(SPEC)
    found = kubesphere(event("/clusters/host/api/v1/namespaces/n1/pods/web-0", query="gracePeriodSeconds=0"))
    assert found == wanted
    assert list(found) == list(wanted)
    assert list(found["ObjectRef"]) == list(wanted["ObjectRef"])


def test_what_is_no_resource_has_an_empty_reference() -> None:
    found = kubesphere(event("/oauth/token", "POST"))
    assert found["Verb"] == "POST"
    assert set(found["ObjectRef"].values()) == {""}
    assert "objectRef" not in kubernetes(event("/oauth/token", "POST"))
    assert kubernetes(event("/oauth/token", "POST"))["verb"] == "post"


def test_no_code_without_an_answer_and_nothing_empty_of_the_user() -> None:
    found = kubesphere(event(status=0, user=Identity("u", (), "7", (("k", ("v",)),))))
    assert found["ResponseStatus"] == {"metadata": {}}
    assert found["User"] == {"username": "u", "uid": "7", "extra": {"k": ["v"]}}


def test_kubernetes_form() -> None:
    assert kubernetes(event(query="token=abc&a=1", status=403, message="no")) == {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "Metadata",
        "auditID": "7b0c3f0e-6a0b-4a57-8b1a-2f2f4a9d2f10",
        "stage": "ResponseComplete",
        "requestURI": f"/api/v1/namespaces/n1/pods/web-0?token={REDACTED}&a=1",
        "verb": "delete",
        "user": {"username": "wa", "groups": ["system:authenticated"]},
        "sourceIPs": ["192.0.2.9"],
        "userAgent": "curl/8.5.0",
        "objectRef": {"resource": "pods", "namespace": "n1", "name": "web-0", "apiVersion": "v1"},
        "responseStatus": {"metadata": {}, "message": "no", "code": 403},
        "requestReceivedTimestamp": "2025-01-01T00:00:00.000001Z",
        "stageTimestamp": "2025-01-01T00:00:00.010001Z",
        "annotations": {
            "ksproxyd.io/workspace": "ws1",
            "ksproxyd.io/cluster": "host",
            "ksproxyd.io/scope": "Namespace",
            "ksproxyd.io/host": "ks-apiserver-0",
        },
    }


def test_bodies_are_embedded_and_what_is_not_kept_is_said() -> None:
    def made() -> Event:
        return event(
            request=Body(b'{"a": 1, "password": "x"}', b"application/json", size=25),
            response=Body(b"", b"text/plain", size=70000, left_out="too large"),
        )

    found = kubesphere(made())
    assert found["RequestObject"] == {"a": 1, "password": REDACTED}
    assert found["ResponseObject"] is None
    said = {"ksproxyd.io/response-truncated": "too large", "ksproxyd.io/response-bytes": "70000"}
    assert found["Annotations"] == said
    other = kubernetes(made())
    assert other["requestObject"] == {"a": 1, "password": REDACTED}
    assert "responseObject" not in other
    assert said.items() <= other["annotations"].items()
    text = kubernetes(event(request=Body(b"hello", b"text/plain", size=5)))
    assert text["requestObject"] == {"kind": "Unknown", "raw": "hello"}


def test_odd_text_is_written_nonetheless() -> None:
    path = "/api/v1/namespaces/n/pods/a%ff%22"
    for form in (kubesphere, kubernetes):
        found = form(event(path, agent=b"\xff\xfe", annotations={"a": "\ud800", "t": "Bearer abcdef"}, message="\n"))
        assert "abcdef" not in json.dumps(found)


def test_moments() -> None:
    assert moment(0.0) == "1970-01-01T00:00:00.000000Z"
    assert moment(BEGUN) == "2025-01-01T00:00:00.000001Z"
