"""What a status should say, whose it is, and the patch that makes it so."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.state.assessment import (
    MANAGER,
    OURS,
    Wanted,
    change,
    free_state,
    managed,
    owns_state,
    says,
    wanted_status,
)
from ksproxyd.state.validation import API_SERVICE, EXTENSION_REF, JS_BUNDLE, Problem
from ksproxyd.upstream.guard import Condition

NOW = 1_800_000_000.9
TIME = "2027-01-15T08:00:00Z"
BEFORE = "2026-01-01T00:00:00Z"


def make(status: Any = None, **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": "x", **metadata}, "status": status or {}}


def condition(type_: str, status: str = "True", since: str = BEFORE, **more: Any) -> dict[str, Any]:
    return {"type": type_, "status": status, "reason": "R", "message": "", "lastTransitionTime": since, **more}


@pytest.mark.parametrize(
    ("value", "auto", "true"),
    [
        (make(), True, True),
        (make(labels={EXTENSION_REF: "e"}), False, True),
        (make(labels={EXTENSION_REF: ""}), True, True),
        (make(ownerReferences=[{"kind": "Extension", "controller": True}]), False, True),
        (make(ownerReferences=[{"kind": "Extension"}, {"controller": False}]), True, True),
        (make(ownerReferences=[None, 5]), True, True),
        (make(ownerReferences={}), True, True),
        (make(deletionTimestamp=BEFORE), False, False),
    ],
)
def test_who_is_managed(value: dict[str, Any], auto: bool, true: bool) -> None:
    assert managed(value, "auto") is auto
    assert managed(value, "true") is true
    assert managed(value, "false") is False


def by(*managers: str, what: Any = None) -> list[dict[str, Any]]:
    fields = what if what is not None else {"f:status": {"f:state": {}}}
    return [{"manager": manager, "fieldsV1": fields} for manager in managers]


@pytest.mark.parametrize(
    ("status", "managers", "auto", "true"),
    [
        ({}, None, True, True),
        ({"state": ""}, by("kubectl"), True, True),
        ({"state": "Available"}, by(MANAGER), True, True),
        ({"state": "Unavailable"}, by(MANAGER), True, True),
        ({"state": "Available"}, by("kubectl"), False, True),
        ({"state": "Available"}, by("kubectl", MANAGER), False, True),
        ({"state": "Available"}, by("kubectl", what={"f:status": {"f:link": {}}}) + by(MANAGER), True, True),
        ({"state": "Disabled"}, by(MANAGER), False, False),
        ({"state": "Enabled"}, by(MANAGER), False, False),
        ({"state": "Whatever"}, None, False, False),
        ({"state": 5}, None, False, False),
        ({"state": "Available"}, None, False, True),
        ({"state": "Available"}, [None, {"manager": 5}], False, True),
        ({"state": "Available", "conditions": [condition("Available")]}, None, True, True),
        ({"state": "Unavailable", "conditions": [condition("Available", "False")]}, None, True, True),
        ({"state": "Available", "conditions": [condition("Available", "False")]}, None, False, True),
        ({"state": "Available", "conditions": [condition("Other")]}, None, False, True),
    ],
)
def test_whose_the_state_is(status: dict[str, Any], managers: Any, auto: bool, true: bool) -> None:
    value = make(status, **({} if managers is None else {"managedFields": managers}))
    assert owns_state(value, "auto") is auto
    assert owns_state(value, "true") is true


FATAL = Problem(API_SERVICE, "x", "spec.group", "wrong")
WARNING = Problem(API_SERVICE, "x", "spec.group", "odd", False)


@pytest.mark.parametrize(
    ("state", "problems", "probe", "owns", "wanted", "accepted", "available"),
    [
        ("", [], "", True, "Available", ("True", "Accepted"), ("True", "Serving")),
        ("Unavailable", [], "", True, "Available", ("True", "Accepted"), ("True", "Serving")),
        ("", [WARNING], "", True, "Available", ("True", "AcceptedWithWarnings"), ("True", "Serving")),
        ("", [WARNING, FATAL], "", True, "Unavailable", ("False", "Invalid"), ("False", "Invalid")),
        ("", [FATAL], None, True, "Unavailable", ("False", "Invalid"), ("False", "Invalid")),
        ("Available", [], "refused", True, "Unavailable", ("True", "Accepted"), ("False", "ProbeFailed")),
        ("", [], None, True, None, ("True", "Accepted"), ("Unknown", "NotProbed")),
        ("Available", [], None, True, None, ("True", "Accepted"), ("True", "Serving")),
        ("Available", [FATAL], "", False, None, ("False", "Invalid"), ("False", "Invalid")),
        ("Available", [], "refused", False, None, ("True", "Accepted"), ("False", "ProbeFailed")),
        ("Available", [], "", False, None, ("True", "Accepted"), ("True", "Serving")),
        ("Disabled", [], "", False, None, ("True", "Accepted"), ("False", "SwitchedOff")),
        ("Enabled", [], "", False, None, ("True", "Accepted"), ("False", "SwitchedOff")),
    ],
)
def test_what_is_wanted(
    state: str, problems: list[Problem], probe: Any, owns: bool, wanted: Any, accepted: Any, available: Any
) -> None:
    evidence = [Condition("UpstreamHealthy", "True", "ProbeSucceeded", "")]
    found = wanted_status(API_SERVICE, make({"state": state}), problems, probe, evidence, owns=owns)
    assert (found.state, found.link) == (wanted, None)
    assert [c.type for c in found.conditions] == ["Accepted", "Available", "UpstreamHealthy"]
    assert {c.type for c in found.conditions} <= OURS
    assert [(c.status, c.reason) for c in found.conditions[:2]] == [accepted, available]
    for problem in problems:
        assert problem.message in found.conditions[0].message


@pytest.mark.parametrize(
    ("kind", "status", "link"),
    [
        (JS_BUNDLE, {}, "/dist/x/index.js"),
        (JS_BUNDLE, {"link": ""}, "/dist/x/index.js"),
        (JS_BUNDLE, {"link": "/dist/y"}, None),
        (API_SERVICE, {}, None),
    ],
)
def test_links_of_bundles(kind: str, status: dict[str, Any], link: str | None) -> None:
    assert wanted_status(kind, make(status), [], "", [], owns=False).link == link


def wanting(*conditions: Condition, state: str | None = "Available", link: str | None = None) -> Wanted:
    return Wanted(state, link, conditions)


YES = Condition("Available", "True", "Serving", "")


def test_the_patch_for_an_empty_status() -> None:
    assert change(make(), wanting(YES, link="/dist/x"), NOW, None) == {
        "state": "Available",
        "link": "/dist/x",
        "conditions": [
            {"type": "Available", "status": "True", "reason": "Serving", "message": "", "lastTransitionTime": TIME}
        ],
    }


def written(value: dict[str, Any], wanted: Wanted, now: float = NOW, generation: int | None = None) -> dict[str, Any]:
    patch = change(value, wanted, now, generation)
    assert patch is not None
    return value | {"status": value["status"] | patch}


def test_nothing_is_written_twice() -> None:
    for generation in (None, 7):
        value = written(make(), wanting(YES), generation=generation)
        assert change(value, wanting(YES), NOW + 1000, generation) is None
        assert says(value, wanting(YES))


def test_times_change_with_the_status_only() -> None:
    value = written(make(), wanting(YES))
    again = written(value, wanting(Condition("Available", "True", "Serving", "words")), NOW + 1000)
    (found,) = again["status"]["conditions"]
    assert (found["message"], found["lastTransitionTime"]) == ("words", TIME)
    no = written(again, wanting(Condition("Available", "False", "Invalid", "")), NOW + 1000)
    assert no["status"]["conditions"][0]["lastTransitionTime"] == "2027-01-15T08:16:40Z"


def test_the_generation_that_was_looked_at() -> None:
    value = written(make(), wanting(YES), generation=3)
    assert value["status"]["conditions"][0]["observedGeneration"] == 3
    assert change(value, wanting(YES), NOW, 4) is not None


def test_only_what_differs_is_in_the_patch() -> None:
    value = written(make({"link": "/dist/x"}), wanting(YES, link="/dist/x"))
    assert change(value, wanting(YES, state="Unavailable", link="/dist/x"), NOW, None) == {"state": "Unavailable"}


def test_conditions_of_others_stay() -> None:
    theirs = [condition("Theirs"), condition("UpstreamHealthy"), condition("Available", "False")]
    (first, second) = written(make({"conditions": theirs}), wanting(YES))["status"]["conditions"]
    assert first == condition("Theirs")
    assert (second["type"], second["status"], second["lastTransitionTime"]) == ("Available", "True", TIME)


@pytest.mark.parametrize("conditions", [None, {}, "x", [None, 5, {}, {"type": 3}]])
def test_what_is_no_condition_is_replaced(conditions: Any) -> None:
    value = written(make({"conditions": conditions}), wanting(YES))
    assert [c["type"] for c in value["status"]["conditions"]] == ["Available"]


def test_a_long_message_is_cut() -> None:
    value = written(make(), wanting(Condition("Available", "False", "Invalid", "x" * 40000)))
    assert len(value["status"]["conditions"][0]["message"]) == 32768
    assert change(value, wanting(Condition("Available", "False", "Invalid", "x" * 40000)), NOW, None) is None


@pytest.mark.parametrize(
    ("status", "still"),
    [
        ({"state": "Available", "conditions": [condition("Available"), condition("Theirs")]}, True),
        ({"state": "Unavailable", "conditions": [condition("Available")]}, False),
        ({"state": "Available", "conditions": [condition("Available", "False")]}, False),
        ({"state": "Available", "conditions": []}, False),
        ({"state": "Available"}, False),
    ],
)
def test_whether_a_status_still_says_what_was_wanted(status: dict[str, Any], still: bool) -> None:
    assert says(make(status), wanting(YES)) is still


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
odd_statuses = st.fixed_dictionaries(
    {},
    optional={
        "state": json_values | st.sampled_from(["Available", "Disabled"]),
        "link": json_values,
        "conditions": json_values
        | st.lists(
            json_values
            | st.fixed_dictionaries({"type": json_values | st.sampled_from(sorted(OURS)), "status": json_values})
        ),
    },
)
odd_objects = st.fixed_dictionaries(
    {},
    optional={
        "metadata": json_values
        | st.fixed_dictionaries(
            {},
            optional={
                "labels": json_values,
                "ownerReferences": json_values | st.lists(json_values),
                "managedFields": json_values | st.lists(st.fixed_dictionaries({"fieldsV1": json_values})),
            },
        ),
        "status": json_values | odd_statuses,
    },
)


@given(odd_objects, st.sampled_from(["auto", "true"]), st.none() | st.sampled_from(["", "refused"]), st.booleans())
def test_any_object_gets_a_status_that_then_stays(value: Any, mode: Any, probe: str | None, wrong: bool) -> None:
    managed(value, mode)
    owns = owns_state(value, mode)
    assert not owns or free_state(value)
    wanted = wanted_status(JS_BUNDLE, value, [FATAL] if wrong else [], probe, [], owns=owns)
    patch = change(value, wanted, NOW, 1)
    status = value.get("status")
    after = value | {"status": (status if isinstance(status, dict) else {}) | (patch or {})}
    assert change(after, wanted, NOW + 9, 1) is None
    assert says(after, wanted)
    if not owns:
        assert patch is None or "state" not in patch
