"""What an answer that is no success means."""

from __future__ import annotations

import msgspec
import pytest

from ksproxyd.kube.errors import KubeError, KubeUnreachable, error_from_answer, parse_retry_after


def status(**fields: object) -> bytes:
    return msgspec.json.encode({"kind": "Status", "apiVersion": "v1", "status": "Failure", **fields})


def test_a_status_is_kept_as_it_is() -> None:
    body = status(code=409, reason="Conflict", message="changed meanwhile", details={"name": "a"})
    error = error_from_answer(409, body)
    assert (error.code, error.reason, error.message) == (409, "Conflict", "changed meanwhile")
    assert error.status_object["details"] == {"name": "a"}
    assert str(error) == "409 Conflict: changed meanwhile"


def test_the_code_of_the_answer_counts() -> None:
    assert error_from_answer(403, status(code=200)).code == 403


@pytest.mark.parametrize(
    ("code", "body", "reason", "message"),
    [
        (404, b"404 page not found\n", "NotFound", "the server answered 404: 404 page not found"),
        (502, b"", "Unknown", "the server answered 502"),
        (503, b"<html>\n  <b>away</b>", "ServiceUnavailable", "the server answered 503: <html> <b>away</b>"),
        (500, b"\xff\xfe", "InternalError", "the server answered 500: ��"),
        (500, b"[1]", "InternalError", "the server answered 500: [1]"),
        (500, b'{"kind":"Pod"}', "InternalError", 'the server answered 500: {"kind":"Pod"}'),
    ],
)
def test_other_bodies_become_a_status(code: int, body: bytes, reason: str, message: str) -> None:
    error = error_from_answer(code, body)
    assert (error.code, error.reason, error.message) == (code, reason, message)
    assert error.status_object["kind"] == "Status"
    assert error.status_object["status"] == "Failure"


def test_only_the_beginning_of_a_long_body_is_shown() -> None:
    assert len(error_from_answer(500, b"x" * 100_000).message) < 300


@pytest.mark.parametrize(
    ("fields", "expired"),
    [
        ({"code": 410, "reason": "Expired"}, True),
        ({"code": 410, "reason": "Gone"}, True),
        ({"code": 410}, True),
        ({"reason": "Expired"}, True),
        ({"code": 404, "reason": "NotFound"}, False),
    ],
)
def test_expired(fields: dict[str, object], expired: bool) -> None:
    assert KubeError({"kind": "Status", **fields}).expired is expired


@pytest.mark.parametrize(
    ("fields", "too_new"),
    [
        ({"details": {"causes": [{"reason": "ResourceVersionTooLarge"}]}}, True),
        ({"message": "Timeout: Too large resource version: 9, current: 4"}, True),
        ({"details": {"causes": [{"reason": "Other"}]}}, False),
        ({"details": {"causes": ["odd"]}, "message": "slow"}, False),
        ({"details": {"causes": None}}, False),
        ({"details": "odd"}, False),
    ],
)
def test_version_too_new(fields: dict[str, object], too_new: bool) -> None:
    assert KubeError({"code": 504, "reason": "Timeout", **fields}).version_too_new is too_new


def test_a_status_of_any_shape_is_an_error() -> None:
    error = KubeError({"code": "many", "reason": None, "message": ["x"]})
    assert (error.code, error.reason, error.message) == (500, "InternalError", "['x']")


def test_unreachable() -> None:
    error = KubeUnreachable("connection refused", "connect", "10.0.0.1 refused")
    assert (error.code, error.reason, error.kind, error.detail) == (502, "BadGateway", "connect", "10.0.0.1 refused")
    assert "10.0.0.1" not in error.message + str(error.status_object)
    assert KubeUnreachable("late", "timeout").code == 504


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        (b"7", 7.0),
        (b"0", 0.0),
        (b"Wed, 21 Oct 2026 07:28:00 GMT", 1.0),
        (b"-1", 1.0),
        (b"9" * 400, 1.0),
        (b"", 1.0),
    ],
)
def test_retry_after(value: bytes | None, seconds: float | None) -> None:
    assert parse_retry_after(value) == seconds
