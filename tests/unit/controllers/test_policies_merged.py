from __future__ import annotations

import pytest

from ksproxyd import manifests
from ksproxyd.authz.policy import compile_policy
from ksproxyd.controllers.policies import merged, own

OWN = 'package authz\n\ndefault allow = false\n\nallow = true {\n  input.Verb == "get"\n}\n'
A = 'package authz\ndefault allow = false\nallow = true {\n  input.Verb == "list"\n}'
B = '# Reading.\npackage authz; default allow := false\nallow = true { input.Name == "b" }'
OTHERS_END = "package authz\n# End of RoleTemplate.\nallow { input.Verb }"


def rules(text: str) -> int:
    return len(compile_policy(text).rules)


def test_own_policy_comes_first_and_is_found_again() -> None:
    text, skipped = merged(OWN, [("a", A), ("none", ""), ("b", B)])
    assert not skipped and rules(text) == 3
    assert text.startswith(OWN.rstrip()) and text.count("package") == 1 and text.count("default") == 1
    assert own(text) == OWN.rstrip()
    assert merged(text, [("a", A), ("b", B)]) == (text, [])


def test_templates_are_taken_back() -> None:
    text, _ = merged(OWN, [("a", A), ("b", B)])
    less, _ = merged(text, [("b", B)])
    assert rules(less) == 2 and "RoleTemplate a" not in less
    assert merged(less, [])[0] == OWN.rstrip()


def test_without_own_policy() -> None:
    text, _ = merged("", [("a", A)])
    assert rules(text) == 1 and own(text) == ""
    assert merged(text, [("a", A)])[0] == text
    assert merged(text, []) == ("", [])


def test_nothing_to_add_changes_nothing() -> None:
    for policy in ("", OWN, "not rego at all\n\n"):
        assert merged(policy, [("x", "")]) == (policy, [])


@pytest.mark.parametrize(
    "bad",
    [
        "package other\nallow = true { input.Verb }",
        "package authz\nallow { http.send({}) }",
        "}",
        "x" * 40_000,
        OTHERS_END,
    ],
)
def test_what_is_not_understood_stays_out(bad: str) -> None:
    text, skipped = merged(OWN, [("bad", bad), ("b", B)])
    assert rules(text) == 2 and "bad" not in text
    assert len(skipped) == 1 and "RoleTemplate bad" in skipped[0]


def test_an_own_policy_that_is_not_understood_stays_alone() -> None:
    text, skipped = merged("package authz\nimport data.x\n", [("a", A)])
    assert text == "package authz\nimport data.x\n" and len(skipped) == 1


def test_what_is_shipped() -> None:
    annotation = "iam.kubesphere.io/rego-override"
    found = [
        (v["metadata"]["name"], v["metadata"].get("annotations", {}).get(annotation, "")) for v in manifests.roles()
    ]
    text, skipped = merged("", [each for each in found if each[1]])
    assert not skipped and rules(text) == 8
