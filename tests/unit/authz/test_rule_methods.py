"""The methods that rules about other paths than resources' name."""

from __future__ import annotations

import pytest

from ksproxyd.authz.rules import Rule
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
