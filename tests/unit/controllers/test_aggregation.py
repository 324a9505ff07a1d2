from __future__ import annotations

from typing import Any

import pytest
from at_once import whole

from ksproxyd.controllers.aggregation import MOST_RULES, Whole, note_of
from ksproxyd.controllers.labels import workspace_role

IAM = "iam.kubesphere.io/"
NOTE = "ksproxyd.io/aggregated"


def rule(resource: str, *verbs: str) -> dict[str, Any]:
    return {"apiGroups": [""], "resources": [resource], "verbs": list(verbs or ("get",))}


def template(name: str, *rules: dict[str, Any], scope: str = "workspace", hook: str = "", policy: str = "") -> Any:
    labels = {IAM + "scope": scope} | ({IAM + f"aggregate-to-{hook}": ""} if hook else {})
    annotations = {IAM + "rego-override": policy} if policy else {}
    metadata = {"name": name, "labels": labels, "annotations": annotations}
    return {"metadata": metadata, "spec": {"rules": list(rules)}}


def role(*rules: dict[str, Any], names: Any = None, hook: str = "", generation: int = 1, note: str = "") -> Any:
    aggregation: dict[str, Any] = {}
    if names is not None:
        aggregation["templateNames"] = names
    if hook:
        aggregation["roleSelector"] = {"matchLabels": {IAM + f"aggregate-to-{hook}": ""}}
    metadata = {"name": "r", "generation": generation, "annotations": {NOTE: note} if note else {}}
    return {"metadata": metadata, "rules": list(rules)} | (
        {"aggregationRoleTemplates": aggregation} if aggregation else {}
    )


def put(value: Any, *templates: Any, scope: str = "workspace") -> Whole:
    return whole(value, scope, {each["metadata"]["name"]: each for each in templates})


def written(value: Any, found: Whole) -> Any:
    """The role as it is stored afterwards."""
    annotations = {NOTE: found.note, IAM + "rego-override": found.policy}
    aggregation = value.get("aggregationRoleTemplates")
    new = {
        "metadata": value["metadata"] | {"annotations": {k: v for k, v in annotations.items() if v}, "generation": 2},
        "rules": found.rules,
    }
    return (
        new
        if aggregation is None
        else new | {"aggregationRoleTemplates": {**aggregation, "templateNames": found.names}}
    )


A, B, C = template("a", rule("pods")), template("b", rule("secrets", "*")), template("c", rule("pods", "get"), hook="x")


def test_own_rules_first_then_what_is_not_covered() -> None:
    found = put(role(rule("nodes"), names=["b", "a", "gone"]), A, B, C)
    assert found.rules == [rule("nodes"), rule("pods"), rule("secrets", "*")]
    assert found.names == ["b", "a", "gone"]
    covered = put(role(rule("*", "*"), names=["a", "b"]), A, B)
    assert covered.rules == [rule("*", "*")]


def test_templates_are_taken_back() -> None:
    value = role(rule("nodes"), names=["a", "b"])
    stored = written(value, put(value, A, B))
    again = put(stored, A, B)
    assert written(stored, again) == stored
    # One is named no more, one has changed, one is gone.
    stored["aggregationRoleTemplates"]["templateNames"] = ["b"]
    assert put(stored, A, B).rules == [rule("nodes"), rule("secrets", "*")]
    changed = template("b", rule("secrets", "list"))
    assert put(stored, A, changed).rules == [rule("nodes"), rule("secrets", "list")]
    assert put(stored, A).rules == [rule("nodes")]


def test_an_end_of_aggregation_leaves_own_rules() -> None:
    value = role(rule("nodes"), names=["a"])
    stored = written(value, put(value, A))
    del stored["aggregationRoleTemplates"]
    assert put(stored, A) == Whole([rule("nodes")], [], "", "")


def test_own_rules_may_be_edited() -> None:
    value = role(rule("nodes"), names=["a"])
    stored = written(value, put(value, A))
    stored["rules"] = [rule("events"), *stored["rules"][1:]]
    assert put(stored, A).rules == [rule("events"), rule("pods")]
    stored["rules"] = []
    assert put(stored, A).rules == [rule("pods")]


def test_selector_and_names_go_together() -> None:
    value = role(names=["a"], hook="x")
    found = put(value, A, B, C)
    assert found.names == ["a", "c"]
    assert found.rules == [rule("pods")]
    stored = written(value, found)
    note = note_of(stored)
    assert note is not None and note.templates == ("c",)
    # What is selected no more is not named any more, either; what was named by somebody stays.
    unlabelled = template("c", rule("pods"))
    assert put(stored, A, B, unlabelled).names == ["a"]


def test_only_templates_of_the_same_level() -> None:
    other = template("o", rule("nodes", "*"), scope="global", hook="x")
    found = put(role(names=["o"], hook="x"), other)
    assert found.rules == [] and found.names == ["o"]


def test_an_empty_selector_takes_all_of_the_level() -> None:
    value = role()
    value["aggregationRoleTemplates"] = {"roleSelector": {}}
    assert put(value, A, B, template("o", rule("x"), scope="global")).names == ["a", "b"]


def test_what_the_originals_controllers_made() -> None:
    # They have left no note; what templates grant is taken to have come from them.
    value = role(rule("nodes"), rule("pods"), names=["a"], generation=3)
    stored = written(value, put(value, A))
    assert stored["rules"] == [rule("nodes"), rule("pods")]
    stored["aggregationRoleTemplates"]["templateNames"] = []
    assert put(stored, A).rules == [rule("nodes")]
    # A new role has what it says.
    value = role(rule("pods"), names=["a"], generation=1)
    stored = written(value, put(value, A))
    stored["aggregationRoleTemplates"]["templateNames"] = []
    assert put(stored, A).rules == [rule("pods")]


@pytest.mark.parametrize("note", ["{", "[]", '{"rules": 1}'])
def test_a_note_that_makes_no_sense(note: str) -> None:
    assert put(role(rule("nodes"), names=["a"], note=note), A).rules == [rule("nodes"), rule("pods")]


def test_policies_come_along_and_go_again() -> None:
    text = 'package authz\ndefault allow = false\nallow = true {\n  input.Verb == "get"\n}\n'
    p, bad = template("p", rule("x"), policy=text), template("q", rule("y"), policy="package other")
    value = role(names=["p", "q"])
    found = put(value, p, bad)
    assert "RoleTemplate p" in found.policy and len(found.skipped) == 1
    stored = written(value, found)
    stored["aggregationRoleTemplates"]["templateNames"] = []
    assert put(stored, p, bad).policy == ""


def test_malformed_roles_and_templates() -> None:
    odd: Any = {
        "metadata": {"name": "odd", "labels": {IAM + "scope": "workspace"}},
        "spec": {"rules": ["x", {"verbs": 1}]},
    }
    value = role(rule("nodes"), names=["odd", 7])
    value["rules"].append("nonsense")
    found = put(value, odd)
    assert found.rules == [rule("nodes"), "nonsense"]
    with pytest.raises(ValueError, match="operator"):
        put({"metadata": {}, "aggregationRoleTemplates": {"roleSelector": {"matchExpressions": [{"key": "a"}]}}})


def test_a_role_of_very_many_rules_is_left_alone() -> None:
    """Its rules are all compared at once, and nothing else is done meanwhile."""
    rules = [rule(f"r{number}") for number in range(MOST_RULES + 1)]
    with pytest.raises(ValueError, match="rules"):
        put(role(*rules, names=["a"]), A)
    found = put(role(*rules[:-1], names=["a", "c"], generation=2), A, C)
    assert found.rules == [*rules[:-1], rule("pods")]


def test_names() -> None:
    assert workspace_role("w", "admin") == "w-admin"
    assert workspace_role("w" * 57, "admin") == "w" * 57 + "-admin"
    # FNV-1a of 64 bits, known answer: "a" is af63dc4c8601ec8c.
    long = workspace_role("w" * 58, "admin")
    assert long.startswith("admin.") and len(long) == 22 and long != workspace_role("v" * 58, "admin")
    assert workspace_role("a", "r" * 62) == "r" * 62 + ".af63dc4c8601ec8c"
