"""What may be recorded of a body, and what may not."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest

from ksproxyd.audit.event import Body
from ksproxyd.audit.redact import recorded
from ksproxyd.model.request_info import RequestInfo, classify
from ksproxyd.observe.redact import REDACTED

FORM = b"application/x-www-form-urlencoded"
SECRET = "s3cr3t-Value"
PODS = classify("POST", b"/api/v1/namespaces/n/pods", b"")
SECRETS = classify("PUT", b"/api/v1/namespaces/n/secrets/s", b"")
USERS = classify("PUT", b"/kapis/iam.kubesphere.io/v1beta1/users/bob", b"")
TOKEN = classify("POST", b"/oauth/token", b"")
KUBECONFIG = classify("GET", b"/kapis/resources.kubesphere.io/v1alpha2/users/bob/kubeconfig", b"")


def seen(value: Any, info: RequestInfo = PODS, kind: bytes = b"application/json") -> Any:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return recorded(Body(data, kind, size=len(data)), info)


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_an_object_without_secrets_is_recorded_as_it_is() -> None:
    pod = {"kind": "Pod", "metadata": {"name": "p", "labels": {"a": "b"}}, "spec": {"n": [1, 2.5, None, True, "x"]}}
    assert seen(pod) == pod


@pytest.mark.parametrize(
    ("value", "info"),
    [
        ({"kind": "Secret", "data": {"a": SECRET}, "stringData": {"b": SECRET}}, SECRETS),
        ({"data": {"a": SECRET}}, SECRETS),
        ({"kind": "Secret", "data": {"a": SECRET}}, PODS),
        ({"kind": "SecretList", "items": [{"metadata": {"name": "x"}, "data": {"a": SECRET}}]}, SECRETS),
        ({"kind": "List", "items": [{"kind": "Secret", "data": {"a": SECRET}}]}, PODS),
        ([{"op": "replace", "path": "/data/a", "value": SECRET}], SECRETS),
        ([{"op": "add", "path": "/data", "value": {"a": SECRET}}], SECRETS),
        ([{"op": "replace", "path": "/spec/password", "value": SECRET}], USERS),
        ([{"op": "add", "path": "/spec", "value": {"password": SECRET}}], USERS),
        ({"spec": {"password": SECRET, "email": "b@x"}}, USERS),
        ({"currentPassword": SECRET, "password": SECRET}, USERS),
        ({"spec": {"token": SECRET}}, PODS),
        ({"status": {"token": SECRET}}, PODS),
        ({"spec": {"credentials": {"user": "u", "key": SECRET}}}, PODS),
        ({"spec": {"passwords": [SECRET, {"x": SECRET}]}}, PODS),
        ({"env": [{"name": "DB_PASSWORD", "value": SECRET}]}, PODS),
        ({"spec": {"connection": {"kubeconfig": SECRET}}}, PODS),
        ({"users": [{"user": {"client-key-data": SECRET}}]}, PODS),
        ({"data": {"config": f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}"}}, PODS),
        ({"data": {"app.yaml": f"a: b\npassword: {SECRET}\n"}}, PODS),
        ({"data": {"app.json": json.dumps({"db": {"password": SECRET}})}}, PODS),
        ({"body": json.dumps({"a": json.dumps({"password": SECRET})})}, PODS),
        ({"blob": "x" * 5000 + f"eyJhbGciOi.{SECRET}"}, PODS),
        ({"args": [f"--db-password={SECRET}"]}, PODS),
        ({"data": {"a.yaml": f"db:\n  password: |\n    {SECRET}\n\n    {SECRET}\n  port: 1\n"}}, PODS),
        ({"data": {"a.yaml": f"a:\n- passwords:\n  - {SECRET}\n"}}, PODS),
        ({"data": {"a.env": f"export DB_PASSWORD={SECRET}\nX=1"}}, PODS),
        ({"data": {"x": "token: a\n" * 2000 + SECRET}}, PODS),
        ({"url": f"https://user:{SECRET}@host/"}, PODS),
        ({"header": f"Bearer {SECRET}"}, PODS),
        ({"Authorization": f"x {SECRET}"}, PODS),
    ],
)
def test_secrets_are_hidden(value: Any, info: RequestInfo) -> None:
    found = json.dumps(seen(value, info))
    assert SECRET not in found
    assert REDACTED in found


def test_the_copy_that_kubectl_apply_keeps_is_looked_into() -> None:
    inner = json.dumps({"kind": "Secret", "data": {"a": SECRET}, "metadata": {"name": "n"}})
    key = "kubectl.kubernetes.io/last-applied-configuration"
    value = {"kind": "Secret", "metadata": {"annotations": {key: inner}}}
    found = seen(value, SECRETS)["metadata"]["annotations"][key]
    assert SECRET not in found
    assert json.loads(found)["metadata"] == {"name": "n"}
    value["metadata"]["annotations"][key] = SECRET  # type: ignore[index]
    assert seen(value, SECRETS)["metadata"]["annotations"][key] == REDACTED


@pytest.mark.parametrize(
    "value",
    [
        {"volumes": [{"name": "v", "secret": {"secretName": "x"}}]},
        {"imagePullSecrets": [{"name": "x"}]},
        {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "x", "key": "y"}}}]},
        {"automountServiceAccountToken": False, "expirationSeconds": 3607},
        {"kind": "Status", "status": "Failure", "code": 404, "message": "pods not found"},
    ],
)
def test_where_a_secret_is_may_be_known(value: Any) -> None:
    assert seen(value) == value


def test_forms() -> None:
    form = f"grant_type=password&username=al+ice&password={SECRET}&client_secret={SECRET}&x".encode()
    found = seen(form, TOKEN, FORM)
    assert found == f"grant_type=password&username=al+ice&password={REDACTED}&client_secret={REDACTED}&x"
    assert SECRET not in seen(f"pass%77ord={SECRET}&code={SECRET}".encode(), TOKEN, FORM + b"; charset=utf-8")


def test_text_and_bytes() -> None:
    assert seen(b"hello there", PODS, b"text/plain") == "hello there"
    assert SECRET not in seen(f"user: a\npassword: {SECRET}\n".encode(), PODS, b"application/yaml")
    assert seen(b"\xff\x00\x01", PODS) == "base64:/wAB"


@pytest.mark.parametrize("info", [SECRETS, KUBECONFIG, USERS])
@pytest.mark.parametrize("data", [b"\x0ak8s\x00" + SECRET.encode(), b"data:\n  a: " + SECRET.encode(), b'"x"'])
def test_what_cannot_be_looked_into_is_left_out_where_it_may_be_a_secret(info: RequestInfo, data: bytes) -> None:
    assert seen(data, info) == REDACTED


def test_compressed_bodies_are_looked_into() -> None:
    data = gzip.compress(json.dumps({"password": SECRET, "a": 1}).encode())
    assert recorded(Body(data, b"application/json", b"gzip"), PODS) == {"password": REDACTED, "a": 1}
    broken = Body(b"\x1f\x8bnothing", b"application/json", b"gzip")
    assert recorded(broken, PODS) is None
    assert broken.left_out == "encoded"
    bomb = Body(gzip.compress(b"0" * (1 << 24)), b"application/json", b"gzip")
    assert recorded(bomb, PODS) is None
    assert bomb.left_out == "too large"


def test_nesting_without_end() -> None:
    value: Any = {"password": SECRET}
    for _ in range(200):
        value = {"a": value}
    assert SECRET not in json.dumps(seen(value))
    assert SECRET not in json.dumps(seen(b"[" * 100_000 + b"]" * 100_000))


def test_the_rest_of_a_text_stays() -> None:
    text = "db:\n  password: |\n    abc\n    def\n  port: 5432\nname: x\nstatus code: ok\n"
    assert seen(text.encode(), PODS, b"text/yaml") == (
        f"db:\n  password: {REDACTED}\n  port: 5432\nname: x\nstatus code: ok\n"
    )


def test_a_form_of_very_many_fields() -> None:
    found = seen(b"&".join([b"a=b"] * 1000), TOKEN, FORM)
    assert found.count("a=b") == 200
    assert found.endswith(f"&{REDACTED}")
