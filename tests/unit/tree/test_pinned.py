"""Writes that are of one version, and patches that are tried before they are done."""

from __future__ import annotations

from typing import Any

import pytest

from ksproxyd.kube.errors import KubeError, failure_status
from ksproxyd.model.status import StatusError
from ksproxyd.tree.checked_patch import ATTEMPTS, checked_patch
from ksproxyd.tree.pinned import APPLY, JSON_PATCH, MERGE, STRATEGIC, is_pinned, pinned

JSON = b"application/json"


@pytest.mark.parametrize("media", [JSON, MERGE, STRATEGIC, APPLY])
@pytest.mark.parametrize(
    "value",
    [
        {},
        {"metadata": {}},
        {"metadata": {"resourceVersion": None}},
        {"metadata": {"resourceVersion": ""}},
        {"metadata": {"resourceVersion": "0"}},
        {"metadata": {"resourceVersion": "000"}},
        {"metadata": {"resourceVersion": 3}},
        {"metadata": {"resourceVersion": "7"}},
    ],
)
def test_no_version_becomes_the_one_that_was_looked_at(media: bytes, value: Any) -> None:
    value = {"spec": 1, **value}
    before = repr(value)
    assert pinned(media, value, "7", "x") == {"spec": 1, "metadata": {"resourceVersion": "7"}}
    assert repr(value) == before


@pytest.mark.parametrize("media", [JSON, MERGE, STRATEGIC, APPLY])
@pytest.mark.parametrize("given", ["6", "07", "a", "7 "])
def test_another_version_is_a_conflict(media: bytes, given: str) -> None:
    with pytest.raises(StatusError) as caught:
        pinned(media, {"metadata": {"resourceVersion": given}}, "7", 'roles "x"')
    assert caught.value.code == 409 and 'roles "x"' in caught.value.message


def test_operations_are_of_that_version_or_fail() -> None:
    steps = [{"op": "remove", "path": "/spec"}]
    assert pinned(JSON_PATCH, steps, "7", "x") == [
        {"op": "test", "path": "/metadata/resourceVersion", "value": "7"},
        *steps,
    ]


@pytest.mark.parametrize(
    ("media", "value"),
    [
        (JSON_PATCH, {}),
        (MERGE, []),
        (MERGE, 3),
        (MERGE, {"metadata": None}),
        (MERGE, {"metadata": "x"}),
        (STRATEGIC, {"$patch": "replace"}),
        (STRATEGIC, {"metadata": {"$patch": "replace"}}),
        (STRATEGIC, {"metadata": {"$retainKeys": ["name"]}}),
    ],
)
def test_what_cannot_be_bound_is_not_sent(media: bytes, value: Any) -> None:
    with pytest.raises(StatusError) as caught:
        pinned(media, value, "7", "x")
    assert caught.value.code == 400


def test_whether_a_client_has_bound_it() -> None:
    assert is_pinned(MERGE, {"metadata": {"resourceVersion": "1"}})
    assert is_pinned(JSON_PATCH, [{"op": "test", "path": "/metadata/resourceVersion", "value": "1"}])
    for media, value in ((MERGE, {}), (MERGE, []), (MERGE, {"metadata": {}}), (JSON_PATCH, []), (JSON_PATCH, {})):
        assert not is_pinned(media, value)


# -- trying ----------------------------------------------------------------------------------------------------


class Object:
    """An object that changes whenever it has been tried, so often."""

    def __init__(self, changes: int = 0, *, there: bool = True, code: int = 409) -> None:
        self.version, self.changes, self.there, self.code = 1, changes, there, code
        self.tried: list[Any] = []
        self.looked: list[Any] = []

    async def current(self) -> Any:
        return {"metadata": {"resourceVersion": str(self.version)}} if self.there else None

    async def try_out(self, patch: Any) -> Any:
        self.tried.append(patch)
        if self.changes:
            self.changes -= 1
            self.version += 1
            raise KubeError(failure_status(self.code, "Conflict", "changed"))
        return {"new": True}

    async def look(self, new: Any, old: Any) -> None:
        self.looked.append((new, old and old["metadata"]["resourceVersion"]))

    def patch(self, media: bytes, value: Any) -> Any:
        call = checked_patch(
            media,
            value,
            "x",
            current=self.current,
            try_out=self.try_out,
            begin=lambda new: new.update(begun=True),
            look=self.look,
        )
        try:
            call.send(None)
        except StopIteration as end:
            return end.value
        raise AssertionError("it waits")


def test_what_is_tried_is_what_is_sent() -> None:
    obj = Object()
    assert obj.patch(MERGE, {"a": 1}) == {"a": 1, "metadata": {"resourceVersion": "1"}}
    assert obj.tried == [{"a": 1, "metadata": {"resourceVersion": "1"}}]
    assert obj.looked[0] == ({"new": True}, "1")


@pytest.mark.parametrize("code", [409, 422])
def test_one_that_has_changed_is_tried_again(code: int) -> None:
    obj = Object(ATTEMPTS - 1, code=code)
    assert obj.patch(MERGE, {})["metadata"]["resourceVersion"] == str(ATTEMPTS)
    assert obj.looked == [({"new": True}, str(ATTEMPTS))]


def test_one_that_changes_all_the_time_is_a_conflict() -> None:
    obj = Object(ATTEMPTS)
    with pytest.raises(StatusError) as caught:
        obj.patch(MERGE, {})
    assert caught.value.code == 409 and obj.looked == []


def test_one_that_a_client_has_bound_is_tried_once() -> None:
    obj = Object(1)
    with pytest.raises(StatusError):
        obj.patch(MERGE, {"metadata": {"resourceVersion": "1"}})
    assert len(obj.tried) == 1


def test_other_refusals_are_final() -> None:
    obj = Object(1, code=400)
    with pytest.raises(StatusError) as caught:
        obj.patch(MERGE, {})
    assert caught.value.code == 400 and len(obj.tried) == 1


def test_only_an_apply_makes_an_object() -> None:
    obj = Object(there=False)
    assert obj.patch(APPLY, {"a": 1}) == {"a": 1, "begun": True}
    assert obj.looked == [({"new": True}, None)]
    for media, value in ((MERGE, {}), (JSON_PATCH, []), (APPLY, [])):
        with pytest.raises(StatusError) as caught:
            Object(there=False).patch(media, value)
        assert caught.value.code == 404
