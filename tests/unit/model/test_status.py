"""Status errors: their shape, the words of a denial, and the form a client gets them in."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.model import status
from ksproxyd.model.identity import ANONYMOUS, Identity
from ksproxyd.model.message import Response
from ksproxyd.model.request_info import classify
from ksproxyd.model.status import StatusError, denied, forbidden_message, render

ALICE = Identity("alice", ("system:authenticated",))


def rendered(error: StatusError, accept: str | None = None, agent: str | None = None, query: str = "") -> Response:
    encoded = [None if field is None else field.encode() for field in (accept, agent)]
    return render(error, *encoded, query.encode())


def media(response: Response) -> bytes:
    return dict(response.headers)[b"Content-Type"]


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (status.bad_request("m"), 400, "BadRequest"),
        (status.unauthorized("m"), 401, "Unauthorized"),
        (status.forbidden("m"), 403, "Forbidden"),
        (status.not_found("m"), 404, "NotFound"),
        (status.conflict("m"), 409, "Conflict"),
        (status.gone("m"), 410, "Expired"),
        (status.too_large("m"), 413, "RequestEntityTooLarge"),
        (status.too_many_requests("m", 3), 429, "TooManyRequests"),
        (status.internal("m"), 500, "InternalError"),
        (status.bad_gateway("m"), 502, "Bad Gateway"),
        (status.service_unavailable("m"), 503, "ServiceUnavailable"),
        (status.gateway_timeout("m"), 504, "Timeout"),
    ],
)
def test_constructors(error: StatusError, code: int, reason: str) -> None:
    response = rendered(error)
    body = json.loads(response.body)
    assert response.status == code
    assert (body["kind"], body["apiVersion"], body["metadata"], body["status"]) == ("Status", "v1", {}, "Failure")
    assert (body["code"], body["reason"], body["message"]) == (code, reason, "m")
    assert str(error) == f"{code} {reason}: m"


def test_details_are_left_out_when_nothing_is_known_but_not_for_403() -> None:
    assert "details" not in json.loads(rendered(status.not_found("m")).body)
    assert json.loads(rendered(status.forbidden("m")).body)["details"] == {}
    assert json.loads(rendered(status.not_found("m", {"name": "x"})).body)["details"] == {"name": "x"}


def test_retry_after_is_a_header_and_a_detail() -> None:
    for error in (status.too_many_requests("m", 7), status.service_unavailable("m", 7)):
        response = rendered(error)
        assert (b"Retry-After", b"7") in response.headers
        assert json.loads(response.body)["details"] == {"retryAfterSeconds": 7}
    assert b"Retry-After" not in dict(rendered(status.service_unavailable("m")).headers)


def test_method_not_allowed_says_what_is() -> None:
    response = rendered(status.method_not_allowed(["GET", "PUT"]))
    assert response.status == 405
    assert (b"Allow", b"GET, PUT") in response.headers
    assert "GET, PUT" in json.loads(response.body)["message"]


def test_headers_of_the_error_are_sent() -> None:
    response = rendered(StatusError(401, "Unauthorized", "m", headers=[(b"WWW-Authenticate", b"Bearer")]))
    assert (b"WWW-Authenticate", b"Bearer") in response.headers
    assert (b"X-Content-Type-Options", b"nosniff") in response.headers


# -- denials ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "method", "path", "message", "details"),
    [
        (ANONYMOUS, "GET", "/kapis/version", 'forbidden: User "system:anonymous" cannot GET path "/kapis/version"', {}),
        (
            ANONYMOUS,
            "GET",
            "/api/v1/nodes",
            'nodes is forbidden: User "system:anonymous" cannot list resource "nodes" in API group "" '
            "at the cluster scope",
            {"kind": "nodes"},
        ),
        (
            ALICE,
            "DELETE",
            "/apis/apps/v1/namespaces/ns1/deployments/d1",
            'deployments.apps "d1" is forbidden: User "alice" cannot delete resource "deployments" in API group "apps" '
            'in the namespace "ns1"',
            {"name": "d1", "group": "apps", "kind": "deployments"},
        ),
        (
            ALICE,
            "GET",
            "/api/v1/namespaces/n1/pods/web-0/log",
            'pods "web-0" is forbidden: User "alice" cannot get resource "pods/log" in API group "" '
            'in the namespace "n1"',
            {"name": "web-0", "kind": "pods"},
        ),
        (
            ALICE,
            "GET",
            "/kapis/iam.kubesphere.io/v1beta1/workspaces/ws1/users",
            'users.iam.kubesphere.io is forbidden: User "alice" cannot list resource "users" in API group '
            '"iam.kubesphere.io" at the cluster scope',
            {"group": "iam.kubesphere.io", "kind": "users"},
        ),
        (
            Identity('<b>&"x"'),
            "GET",
            "/a/%3Cscript%3E%0a%22\u00e9",
            'forbidden: User "&lt;b&gt;&amp;\\"x\\"" cannot GET path "/a/&lt;script&gt;\\n\\"é"',
            {},
        ),
        (
            Identity("a\x01\u200b\U000e0001\\"),
            "GET",
            "/x",
            'forbidden: User "a\\x01\\u200b\\U000e0001\\\\" cannot GET path "/x"',
            {},
        ),
    ],
)
def test_words_of_a_denial(user: Identity, method: str, path: str, message: str, details: dict[str, str]) -> None:
    info = classify(method, path.encode(), b"")
    assert forbidden_message(user, info) == (message, details)
    error = denied(user, info)
    assert (error.code, error.message, error.details) == (403, message, details)
    assert denied(user, info, "Everything is forbidden.").message == f"{message}: Everything is forbidden."


# -- rendering -------------------------------------------------------------------------------------------------

COMPACT = (
    b'{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"m","reason":"Forbidden",'
    b'"details":{},"code":403}\n'
)
INDENTED = (
    b'{\n  "kind": "Status",\n  "apiVersion": "v1",\n  "metadata": {},\n  "status": "Failure",\n  "message": "m",\n'
    b'  "reason": "Forbidden",\n  "details": {},\n  "code": 403\n}'
)


@pytest.mark.parametrize(
    ("accept", "agent", "query", "body"),
    [
        (None, None, "", COMPACT),
        ("", "kubectl/v1.36", "", COMPACT),
        ("*/*", None, "", COMPACT),
        ("application/json", None, "", COMPACT),
        ("application/*", None, "", COMPACT),
        ("APPLICATION/JSON; charset=utf-8", None, "", COMPACT),
        ("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", None, "", COMPACT),
        ("application/vnd.kubernetes.protobuf,application/json", None, "", COMPACT),
        ("application/yaml;q=0.5, application/json", None, "", COMPACT),
        ("application/yaml;q=0, */*;q=0.1", None, "", COMPACT),
        ("application/json;q=nan", None, "", COMPACT),
        (None, "curl/8.5.0", "", INDENTED),
        (None, "Wget/1.21", "", INDENTED),
        (None, "Mozilla/5.0 (X11)", "", INDENTED),
        (None, "my-curl", "", COMPACT),
        (None, "curl/8.5.0", "pretty=false", COMPACT),
        (None, "curl/8.5.0", "pretty=yes", COMPACT),
        (None, "curl/8.5.0", "pretty=", INDENTED),
        (None, "curl/8.5.0", "pretty", INDENTED),
        (None, None, "a=b&pretty=true", INDENTED),
        (None, None, "pretty=1&pretty=0", INDENTED),
        (None, None, "p%72etty=T", INDENTED),
        ("application/xml", None, "", INDENTED),
        ("text/html, image/*", "kubectl", "pretty=0", INDENTED),
        ("application/vnd.kubernetes.protobuf", None, "", INDENTED),
        ("application/json;as=Table;v=v1;g=meta.k8s.io", None, "", INDENTED),
        (";;,,q=", None, "", INDENTED),
    ],
)
def test_json(accept: str | None, agent: str | None, query: str, body: bytes) -> None:
    response = rendered(status.forbidden("m"), accept, agent, query)
    assert (response.body, media(response)) == (body, b"application/json")


@pytest.mark.parametrize(
    "accept", ["application/yaml", "application/json;q=0.9,application/yaml", "text/html,application/yaml;q=0.1"]
)
def test_yaml(accept: str) -> None:
    error = denied(ALICE, classify("GET", "/x/é".encode(), b""))
    response = rendered(error, accept, "curl/8")
    assert media(response) == b"application/yaml"
    assert response.body.startswith(b"apiVersion: v1\ncode: 403\ndetails: {}\nkind: Status\n")
    assert yaml.safe_load(response.body) == error.status_object()


def test_json_is_safe_in_html() -> None:
    message = "a<b>&c\u2028\u2029é"
    body = rendered(status.not_found(message)).body
    assert b'"message":"a\\u003cb\\u003e\\u0026c\\u2028\\u2029\xc3\xa9"' in body
    assert json.loads(body)["message"] == message


@given(st.text(), st.binary(max_size=40), st.binary(max_size=40), st.binary(max_size=40))
def test_any_error_has_an_answer(message: str, accept: bytes, agent: bytes, query: bytes) -> None:
    response = render(status.not_found(message, {"name": message}), accept, agent, query)
    assert response.status == 404
    document: Any = (
        yaml.safe_load(response.body) if media(response) == b"application/yaml" else json.loads(response.body)
    )
    assert document["code"] == 404


def test_a_lone_surrogate_is_replaced() -> None:
    for accept in ("application/json", "application/yaml"):
        assert b"bad ?" in rendered(status.not_found("bad \ud800", {"name": "\udfff"}), accept).body
