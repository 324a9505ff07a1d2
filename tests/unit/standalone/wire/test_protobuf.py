from __future__ import annotations

import struct
from typing import Any

import pytest
from contract.in_memory import MemoryClient
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.standalone.schema.typetable import type_node
from ksproxyd.standalone.wire import protobuf

CONTENT = {"Content-Type": protobuf.MEDIA_TYPE}


def varint(value: int) -> bytes:
    out = b""
    value &= (1 << 64) - 1
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number: int, value: int | str | bytes | float) -> bytes:
    """One field of a message."""
    if isinstance(value, float):
        return varint(number << 3 | 1) + struct.pack("<d", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    raw = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def message(*fields: tuple[int, Any]) -> bytes:
    return b"".join(field(number, value) for number, value in fields)


def body(api_version: str, kind: str, raw: bytes) -> bytes:
    return b"k8s\x00" + message((1, message((1, api_version), (2, kind))), (2, raw), (3, ""), (4, ""))


def test_envelope() -> None:
    assert protobuf.kind_of(body("apps/v1", "Deployment", b"raw")) == ("apps/v1", "Deployment", b"raw")


def test_config_map() -> None:
    entry = message((1, "k"), (2, "v"))
    binary = message((1, "b"), (2, b"\xff\x00"))
    metadata = message((1, "a"), (2, ""), (7, 0), (8, b""), (11, message((1, "l"), (2, "w"))))
    raw = message((1, metadata), (2, entry), (2, message((1, "empty"))), (3, binary), (4, 1))
    assert protobuf.decode(type_node("core", "ConfigMap"), raw) == {
        "metadata": {"name": "a", "labels": {"l": "w"}},
        "data": {"k": "v", "empty": ""},
        "binaryData": {"b": "/wA="},
        "immutable": True,
    }


def test_deployment() -> None:
    port = message((1, ""), (3, 8080), (4, "TCP"))
    probe = message((1, message((2, message((1, "/x"), (2, message((1, 0), (2, 8080))))))), (2, 5))
    limits = message((1, message((1, "cpu"), (2, message((1, "100m"))))))
    container = message((1, "c"), (2, "i:1"), (3, "sh"), (3, "-c"), (6, port), (8, limits), (10, probe))
    volume = message((1, "v"), (2, message((2, message((1, ""))))))
    pod = message((1, volume), (2, container), (4, 0))
    template = message((1, message((11, message((1, "app"), (2, "a"))))), (2, pod))
    rolling = message((1, message((1, 1), (2, 0), (3, "25%"))), (2, message((1, 0), (2, 3))))
    selector = message((1, message((1, "app"), (2, "a"))))
    spec = message((1, 0), (2, selector), (3, template), (4, message((1, "RollingUpdate"), (2, rolling))))
    raw = message((1, message((1, "d"))), (2, spec), (3, b""))
    found = protobuf.decode(type_node("apps", "Deployment"), raw)
    assert found == {
        "metadata": {"name": "d"},
        "spec": {
            # Zero is not nothing where the two differ.
            "replicas": 0,
            "selector": {"matchLabels": {"app": "a"}},
            "template": {
                "metadata": {"labels": {"app": "a"}},
                "spec": {
                    "volumes": [{"name": "v", "emptyDir": {}}],
                    "containers": [
                        {
                            "name": "c",
                            "image": "i:1",
                            "command": ["sh", "-c"],
                            "ports": [{"containerPort": 8080, "protocol": "TCP"}],
                            "resources": {"limits": {"cpu": "100m"}},
                            "livenessProbe": {"httpGet": {"path": "/x", "port": 8080}, "initialDelaySeconds": 5},
                        }
                    ],
                    "terminationGracePeriodSeconds": 0,
                },
            },
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": 3}},
        },
    }


MOMENT = (1, 1_600_000_000)


@pytest.mark.parametrize(
    ("table", "name", "raw", "found"),
    [
        (
            "coordination",
            "LeaseSpec",
            message((3, message(MOMENT, (2, 5_000)))),
            {"acquireTime": "2020-09-13T12:26:40.000005Z"},
        ),
        ("meta", "ObjectMeta", message((9, message(MOMENT))), {"deletionTimestamp": "2020-09-13T12:26:40Z"}),
        (
            "core",
            "ServicePort",
            message((3, 80), (4, message((1, 1), (2, 0), (3, "http")))),
            {"port": 80, "targetPort": "http"},
        ),
        (
            "apps",
            "ControllerRevision",
            message((2, message((1, b'{"a":[1]}'))), (3, 7)),
            {"data": {"a": [1]}, "revision": 7},
        ),
        ("core", "Toleration", message((5, -5)), {"tolerationSeconds": -5}),
        (
            "authorization",
            "SubjectAccessReviewSpec",
            message((5, message((1, "k"), (2, message((1, "x"), (1, "y")))))),
            {"extra": {"k": ["x", "y"]}},
        ),
        ("core", "PodSecurityContext", message((4, varint(5) + varint(6))), {"supplementalGroups": [5, 6]}),
        ("core", "PodSecurityContext", message((4, 5), (4, 6)), {"supplementalGroups": [5, 6]}),
        ("core", "Volume", message((99, 1), (98, "x"), (97, 1.5), (1, "v")), {"name": "v"}),
    ],
)
def test_special_values(table: str, name: str, raw: bytes, found: Any) -> None:
    assert protobuf.decode(type_node(table, name), raw) == found


@pytest.mark.parametrize(
    "raw",
    [
        b"\xff",
        b"\x0a\x05ab",
        b"\x08",
        b"\x0b",
        message((1, 5)),
        message((1, message((1, b"\xff\xfe")))),
        message((4, "x")),
        b"\xff" * 20,
    ],
)
def test_broken_messages_are_refused(raw: bytes) -> None:
    with pytest.raises(ValueError):
        protobuf.decode(type_node("core", "ConfigMap"), raw)


@pytest.mark.parametrize("raw", [b"", b"{}", b"k8s", b"k8s\x00\xff", b"k8s\x00" + message((3, "gzip"))])
def test_broken_envelopes_are_refused(raw: bytes) -> None:
    with pytest.raises(ValueError):
        protobuf.kind_of(raw)


@given(st.binary(max_size=200))
def test_any_bytes_are_either_refused_or_an_object(raw: bytes) -> None:
    for table, name in (("core", "Pod"), ("apps", "Deployment"), ("meta", "DeleteOptions")):
        try:
            assert isinstance(protobuf.decode(type_node(table, name), raw), dict)
        except ValueError:
            continue


def test_nesting_is_bounded() -> None:
    raw = b""
    for _ in range(5000):
        raw = message((1, raw))
    with pytest.raises(ValueError, match=r"number stands|nested too deep|breaks off|UTF-8"):
        protobuf.decode(type_node("core", "Pod"), raw)


def test_objects_are_created_from_protobuf() -> None:
    api = MemoryClient()
    raw = body("v1", "Namespace", message((1, message((1, "made"))), (2, b""), (3, b"")))
    answer = api.request("POST", "/api/v1/namespaces", raw, CONTENT)
    assert (answer.status, answer.json["metadata"]["name"]) == (201, "made")
    options = b"k8s\x00" + message((1, message((1, "v1"), (2, "DeleteOptions"))), (2, message((5, "All"))))
    assert api.request("DELETE", "/api/v1/namespaces/made", options, CONTENT).status == 200
    assert api.get("/api/v1/namespaces/made").json["status"]["phase"] == "Active"


def test_reviews_are_read_from_protobuf() -> None:
    api = MemoryClient()
    spec = message((1, message((2, "get"), (5, "pods"))))
    raw = body("authorization.k8s.io/v1", "SelfSubjectAccessReview", message((2, spec)))
    answer = api.request("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", raw, CONTENT)
    assert answer.status == 201
    assert answer.json["spec"] == {"resourceAttributes": {"verb": "get", "resource": "pods"}}


def test_definitions_have_no_protobuf_here() -> None:
    api = MemoryClient()
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    answer = api.request("POST", path, body("apiextensions.k8s.io/v1", "CustomResourceDefinition", b""), CONTENT)
    assert (answer.status, answer.reason) == (415, "UnsupportedMediaType")


def test_malformed_protobuf_is_a_bad_request() -> None:
    api = MemoryClient()
    answer = api.request("POST", "/api/v1/namespaces", b"zzzz", CONTENT)
    assert (answer.status, answer.reason) == (400, "BadRequest")
    assert "does not appear to be a protobuf message" in answer.message
