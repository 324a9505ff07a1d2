"""The methods that rules about other paths than resources' name."""

from __future__ import annotations

import pytest

from ksproxyd.authz.rules import Rule, rules_from
from ksproxyd.model.request_info import classify


@pytest.mark.parametrize(
    ("verb", "method", "covered"),
    [
        ("GET", "GET", True),
        ("get", "GET", True),
        ("post", "POST", True),
        ("*", "PUT", True),
        ("Get", "GET", False),
        ("get", "HEAD", False),
        ("POST", "GET", False),
        ("GET", "get", False),
    ],
)
def test_methods_in_upper_and_in_lower_case(verb: str, method: str, covered: bool) -> None:
    rule = Rule((verb,), urls=("/proxy/*",))
    assert rule.covers(classify(method, b"/proxy/x", b"")) is covered


def test_verbs_of_resources_are_as_they_are_written() -> None:
    assert not Rule(("GET",), ("",), ("pods",)).covers(classify("GET", b"/api/v1/namespaces/n1/pods/p", b""))
    assert Rule(("get",), ("",), ("pods",)).covers(classify("GET", b"/api/v1/namespaces/n1/pods/p", b""))


@pytest.mark.parametrize("key", ["verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs"])
def test_a_rule_that_names_something_else_than_strings_grants_nothing(key: str) -> None:
    good = {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"], "nonResourceURLs": []}
    for bad in ("get", 1, {"a": "b"}, {}, "", False, [1], ["a", None], [["a"]], ("a",)):
        assert rules_from([good | {key: bad}, None, "x", good]) == (Rule(("get",), ("",), ("pods",), ("a",)),), bad
    assert len(rules_from([good | {key: None}])) == len(rules_from([good | {key: []}])) == 1
    assert rules_from([{}]) == (Rule(),) and rules_from({"verbs": []}) == rules_from(None) == ()
