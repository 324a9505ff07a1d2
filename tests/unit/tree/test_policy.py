"""What objects say about health checks, circuit breaking, flow control and redirects."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ksproxyd.tree.policy import ANNOTATIONS, MAX_ANNOTATION, Policy, parse_policy
from ksproxyd.tree.redirect import RedirectRule
from ksproxyd.upstream.breaker import BreakerLimits
from ksproxyd.upstream.flow import FlowLimits, Rate
from ksproxyd.upstream.guard import Condition, Protection
from ksproxyd.upstream.health import ActiveCheck, PassiveCheck

EVERYTHING: dict[str, Any] = {
    "healthCheck": {
        "active": {
            "path": "/healthz?x=1",
            "method": "HEAD",
            "hostname": "inner.test:8080",
            "interval": "1m30s",
            "timeout": "500ms",
            "healthyThreshold": 2,
            "unhealthyThreshold": 5,
            "expectedStatuses": [200, "204", "300-399"],
        },
        "passive": {"consecutiveErrors": 7, "window": "10s", "ejectionTime": "1m", "maxEjectionTime": "1h"},
    },
    "circuitBreaker": {
        "consecutiveFailures": 3,
        "openDuration": "15s",
        "halfOpenRequests": 2,
        "maxParallelRequests": 100,
    },
    "flowControl": {
        "requestsPerSecond": 12.5,
        "burst": 30,
        "maxConcurrent": 9,
        "perUser": {"requestsPerSecond": 2},
        "perClient": {"maxConcurrent": 4},
    },
    "redirect": {
        "scheme": "https",
        "hostname": "docs.example.org",
        "port": 8443,
        "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/v2"},
        "statusCode": 308,
    },
}
EXPECTED = Policy(
    Protection(
        ActiveCheck(
            "/healthz?x=1", "HEAD", "inner.test:8080", 90.0, 0.5, 2, 5, ((200, 200), (204, 204), (300, 399))
        ),
        PassiveCheck(7, 10.0, 60.0, 3600.0),
        BreakerLimits(3, 15.0, 2, 100),
        FlowLimits(Rate(12.5, 30, 9), Rate(2.0), Rate(max_concurrent=4)),
    ),
    RedirectRule("https", "docs.example.org", 8443, None, "/v2", 308),
)


def annotated(dump: Any) -> dict[str, str]:
    return {ANNOTATIONS[field]: dump(value) for field, value in EVERYTHING.items()}


def test_everything_from_the_spec() -> None:
    assert parse_policy(EVERYTHING, {}) == EXPECTED


@pytest.mark.parametrize("dump", [json.dumps, yaml.safe_dump])
def test_everything_from_annotations(dump: Any) -> None:
    assert parse_policy({"upstream": {"url": "http://b"}}, annotated(dump)) == EXPECTED


@pytest.mark.parametrize("nothing", [None, {}, [], "x", 1])
def test_nothing_configured_is_nothing(nothing: Any) -> None:
    policy = parse_policy(nothing, nothing)
    assert policy == Policy() and not policy.protection and policy.condition() is None


def test_the_defaults() -> None:
    spec = {"healthCheck": {"active": {}, "passive": {}}, "circuitBreaker": {}, "flowControl": {}}
    policy = parse_policy(spec, None)
    assert policy.protection == Protection(ActiveCheck(), PassiveCheck(), BreakerLimits(), None)
    assert not policy.problems
    assert parse_policy({"healthCheck": {}}, None) == Policy()
    slow = parse_policy(spec, None, interval=60.0, timeout=2.0).protection.active
    assert slow is not None and (slow.interval, slow.timeout) == (60.0, 2.0)


def test_a_null_is_nothing() -> None:
    spec = {"healthCheck": {"active": None, "passive": {"window": None}}, "redirect": None}
    spec["flowControl"] = {"perUser": None, "burst": None}
    assert parse_policy(spec, {}) == Policy(Protection(passive=PassiveCheck()))


def test_the_field_wins_over_the_annotation_and_both_are_reported() -> None:
    policy = parse_policy({"circuitBreaker": {}}, {"ksproxyd.io/circuit-breaker": '{"consecutiveFailures": 1}'})
    assert policy.protection.breaker == BreakerLimits()
    assert policy.problems == (
        "annotation ksproxyd.io/circuit-breaker is not looked at: spec.circuitBreaker is there, too",
    )


# Where a member is wrong, what is said, and what is in force instead.
WRONG: list[tuple[dict[str, Any], str, Protection]] = [
    ({"healthCheck": 5}, "spec.healthCheck is 5: write an object", Protection()),
    ({"healthCheck": {"active": []}}, "spec.healthCheck.active is a list: write an object", Protection()),
    (
        {"healthCheck": {"active": {"interval": "10"}}},
        'spec.healthCheck.active.interval is "10": write a duration such as 10s or 1m30s, from 1s to 1h',
        Protection(ActiveCheck()),
    ),
    (
        {"healthCheck": {"active": {"interval": 10}}},
        "spec.healthCheck.active.interval is 10: write a duration such as 10s or 1m30s, from 1s to 1h",
        Protection(ActiveCheck()),
    ),
    (
        {"healthCheck": {"active": {"interval": "10ms", "timeout": "2s"}}},
        'spec.healthCheck.active.interval is "10ms": write a duration such as 10s or 1m30s, from 1s to 1h',
        Protection(ActiveCheck(timeout=2.0)),
    ),
    (
        {"healthCheck": {"active": {"path": "healthz"}}},
        'spec.healthCheck.active.path is "healthz": write a path that starts with / and has no spaces',
        Protection(ActiveCheck()),
    ),
    (
        {"healthCheck": {"active": {"path": "/a\r\nX: y"}}},
        "spec.healthCheck.active.path is '/a\\r\\nX: y': write a path that starts with / and has no spaces",
        Protection(ActiveCheck()),
    ),
    (
        {"healthCheck": {"active": {"method": "POST"}}},
        'spec.healthCheck.active.method is "POST": write GET or HEAD',
        Protection(ActiveCheck()),
    ),
    (
        {"healthCheck": {"active": {"hostname": "a b"}}},
        'spec.healthCheck.active.hostname is "a b": write a host, with a port if need be',
        Protection(ActiveCheck()),
    ),
    (
        {"healthCheck": {"active": {"expectedStatuses": ["200-100"]}}},
        'spec.healthCheck.active.expectedStatuses is "200-100": write a list of at most 32 statuses or ranges such as '
        "200-299",
        Protection(ActiveCheck()),
    ),
    (
        {"healthCheck": {"active": {"unhealthyTreshold": 3}}},
        'spec.healthCheck.active has no member "unhealthyTreshold": did you mean unhealthyThreshold?',
        Protection(ActiveCheck()),
    ),
    (
        {"healthCheck": {"pasive": {}}},
        'spec.healthCheck has no member "pasive": did you mean passive?',
        Protection(),
    ),
    (
        {"healthCheck": {"passive": {"ejectionTime": "10m", "maxEjectionTime": "1m"}}},
        'spec.healthCheck.passive.maxEjectionTime is "1m": write no less than ejectionTime',
        Protection(passive=PassiveCheck(ejection_time=600.0, max_ejection_time=600.0)),
    ),
    (
        {"circuitBreaker": {"consecutiveFailures": 0}},
        "spec.circuitBreaker.consecutiveFailures is 0: write a whole number from 1 to 10000",
        Protection(breaker=BreakerLimits()),
    ),
    (
        {"circuitBreaker": {"halfOpenRequests": True, "consecutiveFailures": 2}},
        "spec.circuitBreaker.halfOpenRequests is true: write a whole number from 1 to 100",
        Protection(breaker=BreakerLimits(consecutive_failures=2)),
    ),
    (
        {"flowControl": {"requestsPerSecond": -1}},
        "spec.flowControl.requestsPerSecond is -1: write a number from 0 to 1e+09",
        Protection(),
    ),
    (
        {"flowControl": {"requestsPerSecond": "5", "maxConcurrent": 2}},
        'spec.flowControl.requestsPerSecond is "5": write a number from 0 to 1e+09',
        Protection(flow=FlowLimits(Rate(max_concurrent=2))),
    ),
    (
        {"flowControl": {"requestsPerSecond": float("inf")}},
        "spec.flowControl.requestsPerSecond is inf: write a number from 0 to 1e+09",
        Protection(),
    ),
    (
        {"flowControl": {"perUser": {"burst": 5}}},
        "spec.flowControl.perUser.burst is 5: write it together with a requestsPerSecond above 0",
        Protection(),
    ),
    (
        {"flowControl": {"perUser": {"perClient": {}}}},
        'spec.flowControl.perUser has no member "perClient": there is requestsPerSecond, burst, maxConcurrent',
        Protection(),
    ),
]


@pytest.mark.parametrize(("spec", "problem", "protection"), WRONG)
def test_a_wrong_member_is_reported_and_the_rest_stays(
    spec: dict[str, Any], problem: str, protection: Protection
) -> None:
    policy = parse_policy(spec, {})
    assert policy.problems == (problem,)
    assert policy.protection == protection
    assert policy.condition() == Condition("PolicyAccepted", "False", "Invalid", problem)


@pytest.mark.parametrize(
    ("redirect", "rule"),
    [
        ({"httpsOnly": True}, RedirectRule(https_only=True)),
        ({"port": 8443}, RedirectRule(port=8443)),
        (
            {"path": {"type": "ReplaceFullPath", "replaceFullPath": "/é"}, "statusCode": 301},
            RedirectRule(full_path="/é", status=301),
        ),
        ({"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": ""}}, RedirectRule(prefix_path="")),
    ],
)
def test_redirects(redirect: dict[str, Any], rule: RedirectRule) -> None:
    assert parse_policy({"redirect": redirect}, {}) == Policy(redirect=rule)


@pytest.mark.parametrize(
    ("redirect", "says"),
    [
        ({}, "leads nowhere"),
        ({"statusCode": 301}, "leads nowhere"),
        ({"httpsOnly": False}, "leads nowhere"),
        ({"statusCode": 303, "scheme": "https"}, "301 or 302 or 307 or 308"),
        ({"statusCode": 200, "scheme": "https"}, "statusCode is 200"),
        ({"scheme": "ftp"}, "http or https"),
        ({"scheme": "http", "httpsOnly": True}, "httpsOnly leads there"),
        ({"hostname": "evil.example/x"}, "a DNS name"),
        ({"hostname": "a\r\nb"}, "a DNS name"),
        ({"hostname": "a:80"}, "a DNS name"),
        ({"port": 0}, "from 1 to 65535"),
        ({"port": 65536}, "from 1 to 65535"),
        ({"path": {}}, "path.type is missing"),
        ({"path": {"type": "Replace"}}, "ReplaceFullPath or ReplacePrefixMatch"),
        ({"path": {"type": "ReplaceFullPath"}}, "replaceFullPath is missing"),
        ({"path": {"type": "ReplaceFullPath", "replaceFullPath": ""}}, "a path that starts with /"),
        ({"path": {"type": "ReplaceFullPath", "replaceFullPath": "new"}}, "a path that starts with /"),
        ({"path": {"type": "ReplaceFullPath", "replaceFullPath": "/a?b"}}, "a path that starts with /"),
        ({"path": {"type": "ReplaceFullPath", "replaceFullPath": "/a\r\nb"}}, "a path that starts with /"),
        ({"path": {"type": "ReplaceFullPath", "replaceFullPath": "/\\evil"}}, "a path that starts with /"),
        ({"path": {"type": "ReplaceFullPath", "replacePrefixMatch": "/a"}}, "replaceFullPath with type"),
        ({"url": "https://x", "scheme": "https"}, 'no member "url"'),
    ],
)
def test_a_redirect_with_anything_wrong_is_off(redirect: dict[str, Any], says: str) -> None:
    policy = parse_policy({"redirect": redirect}, {})
    assert policy.redirect is None
    assert any(says in problem for problem in policy.problems), policy.problems


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: {\n]", "is neither JSON nor YAML (line 2, column 1)"),
        ("a: b: c", "is neither JSON nor YAML"),
        ("[1, 2]", "is a list: write an object"),
        ("5", "is 5: write an object"),
        ("!!python/object/apply:os.system [x]", "is neither JSON nor YAML"),
        ("? [a]\n: b", "is neither JSON nor YAML"),
        ("2001-99-99", "is neither JSON nor YAML"),
        ("[" * MAX_ANNOTATION, "is neither JSON nor YAML"),
        ("{a: " * (MAX_ANNOTATION // 4), "is neither JSON nor YAML"),
        (" " * (MAX_ANNOTATION + 1), "at most 4096 characters"),
        (5, "at most 4096 characters"),
        ("\x00", "is neither JSON nor YAML"),
        ("active: {path: /ok}\nactive: &a [*a]", "is a list"),
        ("1: 2", "has no member 1"),
    ],
)
def test_annotations_of_any_kind_are_reported(text: Any, says: str) -> None:
    policy = parse_policy({}, {"ksproxyd.io/health-check": text})
    assert len(policy.problems) == 1 and says in policy.problems[0], policy.problems
    assert policy.problems[0].startswith("annotation ksproxyd.io/health-check")
    assert policy.problems[0].isprintable()


@pytest.mark.parametrize("text", ["", "null", "# nothing", "{}"])
def test_empty_annotations_are_nothing(text: str) -> None:
    assert parse_policy({}, {"ksproxyd.io/health-check": text}) == Policy()


def test_what_is_in_force_is_accepted() -> None:
    accepted = Condition("PolicyAccepted", "True", "Accepted", "everything is in force")
    assert EXPECTED.condition() == accepted
    assert Policy(redirect=RedirectRule(https_only=True)).condition() == accepted


@pytest.mark.parametrize(
    ("spec", "annotations", "forwarded", "problems"),
    [
        ({}, {}, True, 0),
        ({"forwardAuthorization": True}, {"ksproxyd.io/forward-authorization": "false"}, True, 0),
        ({"forwardAuthorization": False}, {}, False, 0),
        ({}, {"ksproxyd.io/forward-authorization": "false"}, False, 0),
        ({}, {"ksproxyd.io/forward-authorization": "true"}, True, 0),
        ({"forwardAuthorization": "no"}, {}, False, 1),
        ({"forwardAuthorization": None}, {}, False, 1),
        ({}, {"ksproxyd.io/forward-authorization": ""}, False, 1),
    ],
)
def test_whether_tokens_are_forwarded(
    spec: dict[str, Any], annotations: dict[str, Any], forwarded: bool, problems: int
) -> None:
    policy = parse_policy(spec, annotations)
    assert policy.forward_authorization is forwarded
    assert len(policy.problems) == problems
    assert (policy.condition() is None) is forwarded


SPECIMENS = st.sampled_from(["1s", "/x", "GET", 200, 302])
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=10), SPECIMENS)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)


def keys(value: Any) -> set[str]:
    return set(value) | {k for v in value.values() if isinstance(v, dict) for k in keys(v)}


KEYS = sorted(keys(EVERYTHING) | {"replaceFullPath", "httpsOnly"})
SECTIONS = st.recursive(JSON, lambda inner: st.dictionaries(st.sampled_from(KEYS), inner, max_size=6), max_leaves=12)


SPECS = st.dictionaries(st.sampled_from(sorted(EVERYTHING)), SECTIONS, max_size=4)
NOTES = st.one_of(JSON, st.dictionaries(st.sampled_from(sorted(ANNOTATIONS.values())), JSON))


@given(SPECS, NOTES)
@settings(max_examples=400, deadline=None)
def test_no_shape_of_an_object_raises(spec: Any, annotations: Any) -> None:
    policy = parse_policy(spec, annotations)
    assert all(problem.isprintable() and len(problem) < 500 for problem in policy.problems)
    active = policy.protection.active
    if active is not None:
        assert 1 <= active.interval <= 3600 and active.path.startswith("/") and active.expected


def test_what_is_said_of_an_object_is_bounded() -> None:
    spec = {"healthCheck": {f"key-{n}": n for n in range(10_000)}}
    assert len(parse_policy(spec, {}).problems) <= 20


@given(st.text(max_size=200))
@settings(max_examples=300, deadline=None)
def test_no_text_of_an_annotation_raises(text: str) -> None:
    for annotation in ANNOTATIONS.values():
        parse_policy({}, {annotation: text})


def documented() -> list[dict[str, Any]]:
    """The objects that the documentation shows."""
    text = (Path(__file__).parents[3] / "docs" / "resilience.md").read_text()
    blocks = [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)]
    return [block for block in blocks if "ksproxyd" not in block]


@pytest.mark.parametrize("value", documented())
def test_what_the_documentation_shows_is_accepted(value: dict[str, Any]) -> None:
    policy = parse_policy(value.get("spec"), value.get("metadata", {}).get("annotations"))
    assert policy.problems == () and policy.condition() is not None


def test_the_documentation_names_every_member() -> None:
    text = (Path(__file__).parents[3] / "docs" / "resilience.md").read_text()
    for key in KEYS:
        assert f"`{key}" in text or f"{key}:" in text, key
