from __future__ import annotations

from typing import Any

import pytest

from ksproxyd.model.message import Fields
from ksproxyd.model.status import StatusError
from ksproxyd.standalone.wire.options import DeleteOptions, WriteOptions, delete_options, write_options
from ksproxyd.standalone.wire.request import Request


def request(query: bytes = b"", body: bytes = b"", agent: bytes = b"tool/1.0 (x)") -> Request:
    return Request.of("POST", b"/", query, Fields([(b"User-Agent", agent)]), body)


def test_write_options() -> None:
    assert write_options(request(), "CreateOptions") == WriteOptions(False, "tool", "Warn", False)
    query = b"dryRun=All&fieldManager=me&fieldValidation=Strict&force=true"
    found = write_options(request(query), "PatchOptions", "application/apply-patch+yaml")
    assert found == WriteOptions(True, "me", "Strict", True)


@pytest.mark.parametrize(
    ("agent", "manager"),
    [(b"kubectl/v1", "kubectl"), (b"", "unknown"), (b"\xff\x01/x", "ÿ"), (b"x" * 300, "x" * 128)],
)
def test_manager_of_a_client_that_names_none(agent: bytes, manager: str) -> None:
    assert write_options(request(agent=agent), "CreateOptions").manager == manager


@pytest.mark.parametrize(
    ("query", "field"),
    [
        (b"dryRun=Some", "dryRun"),
        (b"dryRun=All&dryRun=Some", "dryRun"),
        (b"fieldManager=" + b"x" * 129, "fieldManager"),
        (b"fieldManager=a%00", "fieldManager"),
        (b"fieldValidation=Maybe", "fieldValidation"),
        (b"force=true", "force"),
    ],
)
def test_wrong_write_options_are_invalid(query: bytes, field: str) -> None:
    with pytest.raises(StatusError) as caught:
        write_options(request(query), "PatchOptions")
    assert caught.value.code == 422
    assert caught.value.details is not None
    assert [cause["field"] for cause in caught.value.details["causes"]] == [field]


@pytest.mark.parametrize(
    ("query", "body", "expected"),
    [
        (b"", b"", DeleteOptions()),
        (b"dryRun=All&propagationPolicy=Orphan", b"", DeleteOptions(True, "Orphan")),
        (b"orphanDependents=true", b"", DeleteOptions(propagation="Orphan")),
        (b"orphanDependents=false", b"", DeleteOptions(propagation="Background")),
        (b"propagationPolicy=Orphan", b'{"propagationPolicy":"Foreground"}', DeleteOptions(propagation="Foreground")),
        (b"", b'{"preconditions":{"uid":"u","resourceVersion":"5"}}', DeleteOptions(uid="u", resource_version="5")),
        (b"", b'{"preconditions":null,"dryRun":null,"other":1}', DeleteOptions()),
        (b"", b'{"kind":"DeleteOptions","apiVersion":"v1","gracePeriodSeconds":0}', DeleteOptions()),
    ],
)
def test_delete_options(query: bytes, body: bytes, expected: DeleteOptions) -> None:
    assert delete_options(request(query, body)) == expected


@pytest.mark.parametrize(
    "body",
    [b"{bad", b"[]", b'{"dryRun":"All"}', b'{"preconditions":[]}', b'{"kind":"Pod"}', b'{"propagationPolicy":5}'],
)
def test_delete_options_without_sense_are_bad_requests(body: bytes) -> None:
    with pytest.raises(StatusError) as caught:
        delete_options(request(body=body))
    assert caught.value.code == 400


def test_delete_options_are_kept_apart_from_other_bodies() -> None:
    fields = Fields([(b"Content-Type", b"text/plain")])
    given: Any = Request.of("DELETE", b"/", b"", fields, b"{}")
    with pytest.raises(StatusError) as caught:
        delete_options(given)
    assert caught.value.code == 415
