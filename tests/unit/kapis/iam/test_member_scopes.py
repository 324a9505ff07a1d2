"""Names of members and bindings; who is named by one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.kapis.iam.member_scopes import (
    IN_CLUSTER,
    IN_NAMESPACE,
    IN_WORKSPACE,
    Scope,
    binding_names,
    check_username,
    first_user,
    gives,
    is_at,
    names_user,
    new_binding,
    without_user,
)
from ksproxyd.model.selectors import is_label_value, parse_labels
from ksproxyd.model.status import StatusError

SCOPES = st.sampled_from([IN_CLUSTER, IN_WORKSPACE, IN_NAMESPACE])
NAMES = st.from_regex(r"\A[a-z0-9]([-a-z0-9]{0,8}[a-z0-9])?\Z")


@given(st.text(max_size=70))
def test_a_name_that_passes_selects_just_itself(name: str) -> None:
    try:
        check_username(name)
    except StatusError as error:
        assert error.code == 422
        return
    assert is_label_value(name) and parse_labels(f"k={name}").exact("k") == name
    assert len(parse_labels(f"k={name}").requirements) == 1


@given(SCOPES, NAMES, NAMES, NAMES)
def test_a_new_binding_makes_a_member_of_nobody_else(scope: Scope, place: str, user: str, role: str) -> None:
    binding = new_binding(scope, place, user, role, "b")
    assert names_user(binding, user) and first_user(binding) == user and gives(scope, binding, role)
    assert is_at(scope, binding, place) and (scope is IN_CLUSTER or not is_at(scope, binding, place + "x"))
    assert not names_user(binding, user + "x") and without_user(binding, user) is None
    assert scope.namespace(place) == binding["metadata"].get("namespace", "")


@given(NAMES, NAMES)
def test_names_of_bindings_differ_and_can_exist(user: str, role: str) -> None:
    found = list(binding_names(user, role))
    assert found[0] == f"{user}-{role}" and len(set(found)) == len(found) == 5
    assert list(binding_names(user, role)) == found


def test_names_that_collide_have_others() -> None:
    first, *others = binding_names("a", "b-c")
    assert first == next(binding_names("a-b", "c"))
    assert not set(others) & set(binding_names("a-b", "c"))


@pytest.mark.parametrize(
    "value", [{}, {"subjects": 7}, {"subjects": [7, {"kind": "User"}, {"kind": "Group", "name": "u"}]}]
)
def test_bindings_that_name_no_user(value: Any) -> None:
    assert first_user(value) == "" and not names_user(value, "u")
