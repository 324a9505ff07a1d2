"""What people may change of themselves, and what of a User object is shown and stored (spec 02, D-16)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.kapis.iam.user_objects import check_own_change, check_plain, merged, replaced, shown, with_lists_of
from ksproxyd.model.status import StatusError

HASH = "$2a$04$" + "x" * 53
NOW = "2030-01-01T00:00:00Z"


def alice(**more: Any) -> Any:
    return {
        "metadata": {"name": "alice", "resourceVersion": "7", "annotations": {"kubesphere.io/creator": "admin"}},
        "spec": {"email": "a@ks.test", "groups": ["devs"], "password": HASH},
        "status": {"state": "Active"},
        **more,
    }


@pytest.mark.parametrize(
    "patch",
    [
        {"spec": {"email": "b@ks.test"}},
        {"spec": {"lang": "zh", "description": "x", "displayName": "A"}},
        {"metadata": {"annotations": {"kubesphere.io/alias-name": "Al"}}},
        {"spec": {"password": "whatever"}},
        {},
    ],
)
def test_people_may_change_what_is_their_own(patch: Any) -> None:
    old = alice()
    check_own_change("alice", old, replaced(old, merged(old, patch), NOW))


@pytest.mark.parametrize(
    "patch",
    [
        {"spec": {"groups": ["admins"]}},
        {"spec": {"groups": None}},
        {"spec": {"anything": 1}},
        {"status": {"state": "Disabled"}},
        {"metadata": {"annotations": {"iam.kubesphere.io/globalrole": "platform-admin"}}},
        {"metadata": {"annotations": {"iam.kubesphere.io/identity-provider.corp": "1"}}},
        {"metadata": {"annotations": {"iam.kubesphere.io/uninitialized": None, "kubesphere.io/creator": None}}},
        {"metadata": {"labels": {"a": "b"}}},
        {"metadata": {"finalizers": ["x/y"]}},
    ],
)
def test_people_may_not_change_who_they_are(patch: Any) -> None:
    old = alice()
    with pytest.raises(StatusError) as caught:
        check_own_change("alice", old, replaced(old, merged(old, patch), NOW))
    assert caught.value.code == 403


def test_of_the_status_only_the_state_can_be_set() -> None:
    old = alice(status={"state": "AuthLimitExceeded", "reason": "tries", "lastLoginTime": "then"})
    new = replaced(old, {**alice(), "status": {"state": "Active", "lastLoginTime": "now"}}, NOW)
    assert new["status"] == {"state": "Active", "lastTransitionTime": NOW, "lastLoginTime": "then"}
    assert replaced(old, {**alice(), "status": {"state": "Odd"}}, NOW)["status"] == old["status"]


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["metadata", "spec", "status", "x"]), JSON, max_size=4))
def test_whatever_is_shown_has_no_hash(more: Any) -> None:
    value = {**more}
    if isinstance(value.get("spec"), dict):
        value["spec"] = {**value["spec"], "password": HASH}
    assert HASH not in str(shown(value))


@given(JSON, st.dictionaries(st.text(max_size=4), JSON, max_size=3))
def test_a_merge_patch_twice_is_one_patch(old: Any, patch: Any) -> None:
    value = old if isinstance(old, dict) else {}
    once = merged(value, patch)
    assert merged(once, patch) == once


def test_what_a_change_does_not_list_stays_listed() -> None:
    old = alice()
    old["metadata"]["finalizers"] = ["a/b"]
    silent = with_lists_of(old, alice())
    assert silent["metadata"]["finalizers"] == ["a/b"]
    check_own_change("alice", old, silent)
    emptied = {**alice(), "metadata": {**alice()["metadata"], "finalizers": []}}
    with pytest.raises(StatusError):
        check_own_change("alice", old, with_lists_of(old, emptied))


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ({"metadata": {"annotations": {"kubesphere.io/alias-name": "Z", "iam.kubesphere.io/globalrole": "r"}}}, True),
        ({"spec": {"groups": []}, "status": {"state": "Active"}}, True),
        ({"metadata": {"annotations": {"iam.kubesphere.io/identity-provider.corp": "1"}}}, False),
        ({"metadata": {"finalizers": ["a/b"]}}, False),
        ({"metadata": {"ownerReferences": [{}]}}, False),
        ({"spec": {"groups": ["x"]}}, False),
        ({"status": {"state": "Disabled"}}, False),
    ],
)
def test_plain_users(value: Any, plain: bool) -> None:
    if plain:
        check_plain("zoe", value)
    else:
        with pytest.raises(StatusError) as caught:
            check_plain("zoe", value)
        assert caught.value.code == 403
