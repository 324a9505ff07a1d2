"""Policies of roles: what is understood, what it means, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.authz.policy import Policy, UnsupportedPolicy, compile_policy, document
from ksproxyd.model.identity import Identity
from ksproxyd.model.request_info import classify

STOCK = Path(__file__).parents[4] / "shared" / "golden" / "cluster" / "globalroles.yaml"


def policy(*rules: str) -> Policy:
    body = "\n".join(f"allow = true {{\n{rule}\n}}" for rule in rules)
    return compile_policy(f"package authz\ndefault allow = false\n{body}\n")


def allowed(found: Policy, method: str, path: str, user: str = "joe", groups: tuple[str, ...] = ()) -> bool:
    path, _, query = path.partition("?")
    return found.allows(Identity(user, groups), classify(method, path.encode(), query.encode()))


@pytest.mark.parametrize(
    ("rule", "path", "expected"),
    [
        ('input.Resource == "pods"', "/api/v1/pods", True),
        ('"pods" == input.Resource', "/api/v1/pods", True),
        ('input.Resource == "pods"', "/api/v1/nodes", False),
        ('input.Resource != "pods"', "/api/v1/nodes", True),
        ('input.Verb == "list"; input.Resource == "pods"', "/api/v1/pods", True),
        ('names := ["a", "b"]\nnames[_] == input.Name', "/api/v1/nodes/b", True),
        ('names := ["a", "b"]\nnames[_] == input.Name', "/api/v1/nodes/c", False),
        ('["a",\n "b",\n][_] == input.Name', "/api/v1/nodes/a", True),
        ("[][_] == input.Name", "/api/v1/nodes", False),
        ('input.User.Groups[_] == "devs"', "/api/v1/nodes", True),
        ('input.User.Groups[_] == "ops"', "/api/v1/nodes", False),
        ("input.KubernetesRequest", "/api/v1/nodes", True),
        ("not input.KubernetesRequest", "/api/v1/nodes", False),
        ("input.KubernetesRequest == false", "/kapis/a.b/v1/nodes", True),
        ('input.KubernetesRequest == "true"', "/api/v1/nodes", False),
        ('startswith(input.Path, "/api/")', "/api/v1/nodes", True),
        ('startswith(input.Path, "/kapis/") == false', "/api/v1/nodes", True),
        ('endswith(input.Path, "/nodes")', "/api/v1/nodes", True),
        ('contains(input.Path, "v2")', "/api/v1/nodes", False),
        ('prefix := "x-"\ninput.User.Name == trim_prefix(input.Name, prefix)', "/api/v1/nodes/x-joe", True),
        ('input.User.Name == trim_prefix(input.Name, "x-")', "/api/v1/nodes/x-bob", False),
        ('input.Nothing == ""', "/api/v1/nodes", False),
        ('input.User.Nothing == "x"', "/api/v1/nodes", False),
        ('startswith(input.KubernetesRequest, "t") == false', "/api/v1/nodes", False),
        ('input.ResourceScope == "Cluster" # said so', "/api/v1/nodes", True),
    ],
)
def test_conditions(rule: str, path: str, expected: bool) -> None:
    assert allowed(policy(rule), "GET", path, groups=("devs",)) is expected


def test_any_rule_is_enough_and_all_conditions_are_needed() -> None:
    found = policy('input.Resource == "pods"', 'input.Resource == "nodes"\ninput.Name == "a"')
    assert allowed(found, "GET", "/api/v1/pods")
    assert allowed(found, "GET", "/api/v1/nodes/a")
    assert not allowed(found, "GET", "/api/v1/nodes/b")


def test_other_ways_to_write_a_rule() -> None:
    for head in ("allow {", "allow if {", "allow := true {", "allow = true {"):
        found = compile_policy(f'package authz\n{head} input.Resource == "pods" }}')
        assert allowed(found, "GET", "/api/v1/pods")


def test_a_policy_without_rules_allows_nothing() -> None:
    assert not allowed(compile_policy("package authz\ndefault allow = false"), "GET", "/api/v1/pods")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "package"),
        ('package other\nallow = true { input.Verb == "get" }', "package authz"),
        ("package authz\nimport data.x", "line 2"),
        ("package authz\ndefault allow = true", "'false'"),
        ("package authz\nallow = true", "'{'"),
        ('package authz\nallow = false { input.Verb == "get" }', "only true"),
        ("package authz\nallow = true { }", "without conditions"),
        ("package authz\nallow = true { true }", "comparison"),
        ("package authz\nallow = true { http.send({}) }", "line 2"),
        ('package authz\nallow = true { input.Verb == "get" } else = true { input.Verb == "x" }', "'allow'"),
        ('package authz\nallow = true { not input.Verb == "get" }', "'not'"),
        ('package authz\nallow = true { x := input.User.Groups[_]\nx == "a" }', "several values"),
        ('package authz\nallow = true { input.Verb == "get" input.Name == "a" }', "end here"),
        ('package authz\nallow = true { input.Verb == "get"', "end here"),
        ('package authz\nallow = true { input == "get" }', "member of input"),
        ("package authz\nallow = true { input.Verb == `get` }", "not understood"),
        ("package authz\n" + "#" * 40000, "characters"),
    ],
)
def test_what_is_not_understood_is_refused(text: str, said: str) -> None:
    with pytest.raises(UnsupportedPolicy, match=said):
        compile_policy(text)


@given(st.text(max_size=200) | st.text('package authz allow=true{}[]_."\n:;!inputVerb', max_size=200))
def test_any_text_is_a_policy_or_refused(text: str) -> None:
    for source in (text, f"package authz\nallow = true {{ {text} }}"):
        try:
            found = compile_policy(source)
        except UnsupportedPolicy:
            continue
        assert allowed(found, "GET", "/api/v1/pods") in (True, False)


def test_the_rule_about_oneself_is_about_this_api() -> None:
    found = policy('input.Resource == "users"\ninput.User.Name == input.Name')
    assert allowed(found, "DELETE", "/kapis/iam.kubesphere.io/v1beta1/users/joe")
    assert not allowed(found, "PATCH", "/apis/iam.kubesphere.io/v1beta1/users/joe")
    assert not allowed(found, "GET", "/kapis/other.io/v1/users/joe")
    assert not allowed(found, "GET", "/kapis/iam.kubesphere.io/v1beta1/users/bob")
    turned = policy('input.Name == input.User.Name\n"users" == input.Resource')
    assert not allowed(turned, "PATCH", "/apis/iam.kubesphere.io/v1beta1/users/joe")


def test_the_document_for_an_engine_has_every_member() -> None:
    found = document(Identity("joe", ("a",), "u1", (("k", ("v",)),)), classify("GET", b"/api/v1/nodes/n", b""))
    assert found["User"] == {"Name": "joe", "UID": "u1", "Groups": ["a"], "Extra": {"k": ["v"]}}
    assert (found["Resource"], found["Name"], found["KubernetesRequest"], found["ResourceScope"]) == (
        ("nodes", "n", True, "Cluster")
    )


@pytest.mark.skipif(not STOCK.is_file(), reason=f"{STOCK} is not there")
@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/kapis/iam.kubesphere.io/v1beta1/users/joe", True),
        ("PUT", "/kapis/iam.kubesphere.io/v1beta1/users/joe/password", True),
        ("GET", "/kapis/iam.kubesphere.io/v1beta1/users/bob", False),
        ("GET", "/kapis/iam.kubesphere.io/v1beta1/clustermembers/joe", True),
        ("DELETE", "/kapis/iam.kubesphere.io/v1beta1/clustermembers/joe", False),
        ("GET", "/api", True),
        ("GET", "/api/v1", True),
        ("POST", "/api/v1", False),
        ("GET", "/apis", False),
        ("GET", "/kapis/tenant.kubesphere.io/v1beta1/workspaces/w/namespaces", True),
        ("POST", "/kapis/tenant.kubesphere.io/v1beta1/workspaces", False),
        ("GET", "/apis/tenant.kubesphere.io/v1beta1/workspaces", False),
        ("POST", "/api/v1/namespaces/kubesphere-system/pods/ks-managed-kubectl-joe/exec", True),
        ("POST", "/api/v1/namespaces/kubesphere-system/pods/ks-managed-kubectl-bob/exec", False),
        ("POST", "/api/v1/namespaces/other/pods/ks-managed-kubectl-joe/exec", False),
        ("DELETE", "/api/v1/namespaces/kubesphere-system/pods/ks-managed-kubectl-joe/exec", False),
    ],
)
def test_what_everybody_gets_from_a_stock_installation(method: str, path: str, expected: bool) -> None:
    for role in yaml.safe_load_all(STOCK.read_text()):
        if role["metadata"]["name"] == "authenticated":
            found = compile_policy(role["metadata"]["annotations"]["iam.kubesphere.io/rego-override"])
            assert allowed(found, method, path) is expected
            return
    raise AssertionError("the stock roles have no authenticated")
