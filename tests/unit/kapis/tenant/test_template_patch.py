"""JSON Patches of workspace templates: spec 03, 5.4, T50, T51."""

from __future__ import annotations

from typing import Any

import pytest

from ksproxyd.kapis.tenant.template_patch import of_placement, operations_of, patched
from ksproxyd.model.status import StatusError

VALUE = {"metadata": {"name": "ws1"}, "spec": {"placement": {"clusters": [{"name": "host"}]}, "list": [1, 2]}}


def op(kind: str, path: str, *value: Any, **more: Any) -> Any:
    return {"op": kind, "path": path, **({"value": value[0]} if value else {}), **more}


@pytest.mark.parametrize(
    "body",
    [
        {"metadata": {}},
        None,
        ["add"],
        [{"op": "add"}],
        [{"path": "/a"}],
        [op("replace", "/spec/placement/clusters", [])],
        [op("replace", "/spec/placement", {})],
        [op("move", "/spec/placement", **{"from": "/spec/other"})],
        [op("test", "/spec/placement/clusters/0/name", "host")],
        [op("add", "/a", 1)] * 1001,
    ],
)
def test_what_is_no_patch_of_a_template(body: Any) -> None:
    with pytest.raises(StatusError) as refused:
        operations_of(body)
    assert refused.value.code == 400


def test_the_operation_that_is_not_supported_is_named() -> None:
    with pytest.raises(StatusError, match="not support operation type"):
        operations_of([op("replace", "/spec/placement/clusters", [])])


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/spec/placement", True),
        ("/spec/placement/clusters/0", True),
        ("/spec/placements", False),
        ("/spec", False),
        ("", False),
    ],
)
def test_what_is_on_a_placement_alone(path: str, found: bool) -> None:
    assert of_placement(op("add", path, {})) is found


def test_a_patch_makes_something_new() -> None:
    made = patched(VALUE, [op("add", "/metadata/labels", {"a": "b"}), op("remove", "/spec/placement/clusters/0")])
    assert made == {
        "metadata": {"name": "ws1", "labels": {"a": "b"}},
        "spec": {"placement": {"clusters": []}, "list": [1, 2]},
    }
    assert "labels" not in VALUE["metadata"] and VALUE["spec"]["placement"] == {"clusters": [{"name": "host"}]}


@pytest.mark.parametrize(
    "operations",
    [
        [op("remove", "/nothing")],
        [op("test", "/metadata/name", "ws2")],
        [op("invent", "/metadata/name")],
        [op("add", "no pointer", 1)],
        [op("add", "/metadata/labels")],
        [op("copy", "/a")],
        [op("copy", "/a", **{"from": 7})],
        [op("add", "/spec/list/x", 1)],
        [op("add", "/spec/list/9", 1)],
        [op("add", "", [])],
        [op("remove", "")],
    ],
)
def test_what_cannot_be_applied(operations: Any) -> None:
    with pytest.raises(StatusError) as refused:
        patched(VALUE, operations)
    assert refused.value.code == 422


def test_copies_do_not_grow_without_end() -> None:
    doubling = [op("add", "/big", "x" * 5000)] + [op("copy", f"/{n}", **{"from": ""}) for n in range(60)]
    with pytest.raises(StatusError, match="copies more than"):
        patched(VALUE, doubling)
