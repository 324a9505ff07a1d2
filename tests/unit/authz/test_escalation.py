"""Nobody gives what they do not have."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.logger import globalLogPublisher

from ksproxyd.authz import escalation as escalation_module
from ksproxyd.authz.escalation import IAM_GROUP, MOST_SHOWN, Escalation, Mode
from ksproxyd.authz.grants import NATIVE_GROUP
from ksproxyd.authz.rules import ALL, Rule, rules_of
from ksproxyd.model.identity import Identity
from ksproxyd.model.request_info import CLUSTER, GLOBAL, NAMESPACE, WORKSPACE, RequestInfo
from ksproxyd.model.status import StatusError

JOE = Identity("joe", ("system:authenticated",))
PODS = {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}
SECRETS = {"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"]}
READ_PODS = Rule(("get",), ("",), ("pods",))
POLICY = "package authz\ndefault allow = true"


def may(verb: str, resource: str, *names: str, group: str = IAM_GROUP) -> Rule:
    return Rule((verb,), (group,), (resource,), names)


class Holds:
    """Rights of joe: rules by scope, workspace and namespace. Wider scopes count in narrower ones."""

    def __init__(self, **rules: Any) -> None:
        self.rules: dict[str, tuple[Rule, ...]] = {key: tuple(value) for key, value in rules.items()}

    def held(
        self, user: Identity, *, namespace: str = "", workspace: str = "", scope: str = ""
    ) -> tuple[Rule, ...]:
        assert user is JOE
        found = self.rules.get(GLOBAL, ())
        if scope == GLOBAL:
            return found
        return (*found, *self.rules.get(CLUSTER, ()), *self.rules.get(workspace, ()), *self.rules.get(namespace, ()))

    def allowed(
        self,
        user: Identity,
        verb: str,
        group: str,
        resource: str,
        *,
        subresource: str = "",
        name: str = "",
        namespace: str = "",
        workspace: str = "",
        scope: str = "",
    ) -> bool:
        info = RequestInfo("", verb, is_resource=True, api_group=group, resource=resource, name=name)
        return any(rule.covers(info) for rule in self.held(user, namespace=namespace, workspace=workspace, scope=scope))


def role(*rules: Any, kind: str = "Role", name: str = "r", version: str = "", **more: Any) -> Any:
    metadata: dict[str, Any] = {"name": name}
    for key in ("labels", "annotations"):
        if key in more:
            metadata[key] = more.pop(key)
    return {
        "apiVersion": version or f"{IAM_GROUP}/v1beta1",
        "kind": kind,
        "metadata": metadata,
        "rules": list(rules),
        **more,
    }


def template(name: str, *rules: Any, scope: str = "namespace", policy: str = "", **labels: str) -> Any:
    metadata: dict[str, Any] = {"name": name, "labels": {"iam.kubesphere.io/scope": scope, **labels}}
    if policy:
        metadata["annotations"] = {"iam.kubesphere.io/rego-override": policy}
    return {"kind": "RoleTemplate", "metadata": metadata, "spec": {"rules": list(rules)}}


ROLES = {
    ("Role", "n1", "reader"): role(PODS, name="reader"),
    ("Role", "n1", "admin"): role({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}, name="admin"),
    ("ClusterRole", "", "viewer"): role(PODS, kind="ClusterRole", name="viewer"),
    ("GlobalRole", "", "odd"): role(PODS, kind="GlobalRole", annotations={"iam.kubesphere.io/rego-override": POLICY}),
    ("WorkspaceRole", "", "ws1-r"): role(PODS, kind="WorkspaceRole", labels={"kubesphere.io/workspace": "ws1"}),
}
TEMPLATES = (
    template("see-secrets", SECRETS, give="it"),
    template("see-pods", PODS),
    template("clever", policy=POLICY),
    template("elsewhere", SECRETS, scope="workspace", give="it"),
)


def escalation(rights: Holds, mode: Mode = "enforce") -> Escalation:
    return Escalation(rights, lambda kind, ns, name: ROLES.get((kind, ns, name)), mode, lambda: TEMPLATES)


def refused(call: Any, *args: Any, **kwargs: Any) -> StatusError:
    with pytest.raises(StatusError) as caught:
        call(*args, **kwargs)
    return caught.value


# -- roles -----------------------------------------------------------------------------------------------------


def test_a_role_holds_no_more_than_who_writes_it() -> None:
    check = escalation(Holds(n1=[READ_PODS]))
    check.check_role(JOE, role(PODS), None, namespace="n1")
    error = refused(check.check_role, JOE, role(PODS, SECRETS), None, namespace="n1")
    assert error.code == 403 and error.reason == "Forbidden"
    assert error.message.endswith(':\n{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}')
    assert error.message.startswith('roles.iam.kubesphere.io "r" is forbidden: user "joe"')
    assert error.details == {"name": "r", "group": IAM_GROUP, "kind": "roles"}


def test_rights_count_where_the_role_counts() -> None:
    check = escalation(Holds(n1=[READ_PODS], Cluster=[READ_PODS]))
    check.check_role(JOE, role(PODS, kind="ClusterRole"), None, scope=CLUSTER)
    refused(check.check_role, JOE, role(PODS, kind="GlobalRole"), None, scope=GLOBAL)
    refused(escalation(Holds(n1=[READ_PODS])).check_role, JOE, role(PODS), None, namespace="n2")


def test_what_was_there_may_stay_and_may_go() -> None:
    check = escalation(Holds())
    check.check_role(JOE, role(PODS, SECRETS), role(SECRETS, PODS), namespace="n1")
    check.check_role(JOE, role(PODS), role(SECRETS, PODS), namespace="n1")
    refused(check.check_role, JOE, role(PODS, SECRETS), role(PODS), namespace="n1")


def test_escalate_is_enough_on_its_role_only() -> None:
    check = escalation(Holds(n1=[may("escalate", "roles", "r")]))
    check.check_role(JOE, role(SECRETS), None, namespace="n1")
    refused(check.check_role, JOE, role(SECRETS, name="other"), None, namespace="n1")


def test_templates_count_as_what_they_add() -> None:
    check = escalation(Holds(n1=[READ_PODS]))
    names = role(aggregationRoleTemplates={"templateNames": ["see-pods"]})
    check.check_role(JOE, names, None, namespace="n1")
    more = role(aggregationRoleTemplates={"templateNames": ["see-pods", "see-secrets"]})
    assert "secrets" in refused(check.check_role, JOE, more, names, namespace="n1").message
    exists = {"matchExpressions": [{"key": "give", "operator": "Exists"}]}
    for selector in ({"matchLabels": {"give": "it"}}, exists):
        selected = role(aggregationRoleTemplates={"roleSelector": selector})
        assert "secrets" in refused(check.check_role, JOE, selected, None, namespace="n1").message
    everything = role(aggregationRoleTemplates={"roleSelector": {}})
    refused(check.check_role, JOE, everything, None, namespace="n1")
    check.check_role(JOE, more, more, namespace="n1")


def test_a_selector_finds_templates_of_the_roles_scope_only() -> None:
    check = escalation(Holds())
    selecting = {"roleSelector": {"matchLabels": {"give": "it"}}}
    check.check_role(JOE, role(kind="ClusterRole", aggregationRoleTemplates=selecting), None, scope=CLUSTER)
    of_workspaces = role(kind="WorkspaceRole", aggregationRoleTemplates=selecting)
    refused(check.check_role, JOE, of_workspaces, None, workspace="ws1")


@pytest.mark.parametrize(
    "more",
    [
        {"annotations": {"iam.kubesphere.io/rego-override": POLICY}},
        {"aggregationRoleTemplates": {"templateNames": ["clever"]}},
    ],
)
def test_policies_take_escalate_at_the_global_scope(more: Any) -> None:
    with_policy = role(**more)
    refused(escalation(Holds(n1=ALL)).check_role, JOE, with_policy, None, namespace="n1")
    escalation(Holds(Global=[may("escalate", "roles")])).check_role(JOE, with_policy, None, namespace="n1")
    escalation(Holds()).check_role(JOE, with_policy, with_policy, namespace="n1")


def test_native_roles_are_compared_like_ours_and_take_up_anything() -> None:
    version = f"{NATIVE_GROUP}/v1"
    check = escalation(Holds(n1=[READ_PODS], Cluster=[READ_PODS]))
    check.check_role(JOE, role(PODS, version=version), None, namespace="n1")
    error = refused(check.check_role, JOE, role(SECRETS, version=version), None, namespace="n1")
    assert error.details == {"name": "r", "group": NATIVE_GROUP, "kind": "roles"}
    aggregated = role(kind="ClusterRole", version=version, aggregationRule={"clusterRoleSelectors": []})
    refused(check.check_role, JOE, aggregated, None, scope=CLUSTER)
    escalation(Holds(Cluster=[may("escalate", "clusterroles", group=NATIVE_GROUP)])).check_role(
        JOE, aggregated, None, scope=CLUSTER
    )


# -- bindings --------------------------------------------------------------------------------------------------


def test_a_role_is_given_by_who_holds_it_or_may_bind_it() -> None:
    admin, reader = {"kind": "Role", "name": "admin"}, {"kind": "Role", "name": "reader"}
    check = escalation(Holds(n1=[READ_PODS, may("*", "namespacemembers")]))
    check.check_binding(JOE, reader, namespace="n1")
    error = refused(check.check_binding, JOE, admin, namespace="n1")
    assert error.code == 403 and 'the verb "bind"' in error.message and 'Verbs:["*"]' in error.message
    escalation(Holds(n1=[may("bind", "roles", "admin")])).check_binding(JOE, admin, namespace="n1")
    refused(escalation(Holds(n1=[may("bind", "roles", "reader")])).check_binding, JOE, admin, namespace="n1")
    escalation(Holds(n1=ALL)).check_binding(JOE, admin, namespace="n1")
    # The same rights elsewhere are worth nothing here.
    refused(escalation(Holds(n2=ALL)).check_binding, JOE, admin, namespace="n1")


def test_a_role_that_is_not_there_yet_takes_bind() -> None:
    ghost = {"kind": "Role", "name": "ghost"}
    assert "does not exist" in refused(escalation(Holds()).check_binding, JOE, ghost, namespace="n1").message
    escalation(Holds(n1=[may("bind", "roles")])).check_binding(JOE, ghost, namespace="n1")


def test_a_workspace_role_is_given_in_its_workspace() -> None:
    ref = {"kind": "WorkspaceRole", "name": "ws1-r"}
    rights = Holds(ws1=[READ_PODS], ws2=[READ_PODS])
    escalation(rights).check_binding(JOE, ref, workspace="ws1")
    refused(escalation(rights).check_binding, JOE, ref, workspace="ws2")


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        ("GlobalRole", {"namespace": "n1"}),
        ("WorkspaceRole", {"namespace": "n1"}),
        ("ClusterRole", {"scope": GLOBAL}),
        ("ClusterRole", {"workspace": "ws1"}),
        ("Role", {"scope": CLUSTER}),
        ("GlobalRole", {}),
        ("Foo", {"namespace": "n1"}),
    ],
)
def test_roles_of_other_scopes_are_not_given(kind: str, place: dict[str, str]) -> None:
    error = refused(escalation(Holds(Global=ALL)).check_binding, JOE, {"kind": kind, "name": "viewer"}, **place)
    assert error.code == 422 and kind in error.message
    assert {GLOBAL, CLUSTER, WORKSPACE, NAMESPACE} & set(error.message.replace(":", " ").split())


def test_cluster_roles_are_given_in_namespaces() -> None:
    ref = {"kind": "ClusterRole", "name": "viewer"}
    escalation(Holds(n1=[READ_PODS])).check_binding(JOE, ref, namespace="n1")


def test_a_role_with_a_policy_is_given_by_who_has_everything() -> None:
    ref = {"kind": "GlobalRole", "name": "odd"}
    refused(escalation(Holds(Global=[READ_PODS])).check_binding, JOE, ref, scope=GLOBAL)
    escalation(Holds(Global=ALL)).check_binding(JOE, ref, scope=GLOBAL)
    escalation(Holds(Global=[may("bind", "globalroles")])).check_binding(JOE, ref, scope=GLOBAL)


def test_a_binding_keeps_its_role() -> None:
    old = {"metadata": {"name": "b"}, "roleRef": {"kind": "Role", "name": "reader"}}
    check = escalation(Holds(Global=ALL))
    check.check_role_ref(JOE, old, old)
    changed = {**old, "roleRef": {"kind": "Role", "name": "admin"}}
    assert refused(check.check_role_ref, JOE, changed, old).code == 422


# -- modes -----------------------------------------------------------------------------------------------------


def attempts(check: Escalation) -> None:
    binding = {"roleRef": {"kind": "Role", "name": "admin"}}
    check.check_role(JOE, role(SECRETS), None, namespace="n1")
    check.check_role(JOE, role(annotations={"iam.kubesphere.io/rego-override": POLICY}), None, namespace="n1")
    check.check_binding(JOE, {"kind": "Role", "name": "admin"}, namespace="n1")
    check.check_binding(JOE, {"kind": "Role", "name": "ghost"}, namespace="n1")
    check.check_binding(JOE, {"kind": "Foo", "name": "ghost"}, namespace="n1")
    check.check_role_ref(JOE, binding, {})


def test_warnings_say_what_would_be_refused() -> None:
    said: list[Any] = []
    observe: Any = said.append
    globalLogPublisher.addObserver(observe)
    try:
        attempts(escalation(Holds(), "warn"))
    finally:
        globalLogPublisher.removeObserver(observe)
    messages = [event["message"] for event in said if "would be refused" in event["log_format"]]
    assert len(messages) == 6 and "secrets" in messages[0] and "ghost" in messages[3]


def test_off_looks_at_nothing() -> None:
    attempts(escalation(None, "off"))  # type: ignore[arg-type]


def test_rules_that_are_too_many_are_refused() -> None:
    values = [f"x{number}" for number in range(300)]
    rights = Holds(n1=[Rule((each,), (each,), tuple(values), tuple(values)) for each in values])
    huge = {"verbs": values, "apiGroups": values, "resources": values, "resourceNames": values}
    assert "parts to compare" in refused(escalation(rights).check_role, JOE, role(huge), None, namespace="n1").message


def test_long_refusals_are_short() -> None:
    rules = [{"verbs": ["get"], "apiGroups": [f"g{n}"], "resources": ["x" * 1000]} for n in range(100)]
    message = refused(escalation(Holds()).check_role, JOE, role(*rules), None, namespace="n1").message
    assert message.endswith("and 80 more") and len(message) < 15_000


def test_a_long_role_is_compared_with_what_there_is_only(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = [{"verbs": ["get", "list"], "apiGroups": [f"g{n}"], "resources": [f"r{n}", f"s{n}"]} for n in range(5000)]
    long, nothing = role(*rules), role()
    compared: list[int] = []
    plain = escalation_module.uncovered

    def counted(wanted: Any, held: Any) -> Any:
        compared.append(len(held))
        return plain(wanted, held)

    monkeypatch.setattr(escalation_module, "uncovered", counted)
    for old in (None, nothing):
        escalation(Holds(n1=ALL)).check_role(JOE, long, old, namespace="n1")
        escalation(Holds(n1=rules_of(long))).check_role(JOE, long, old, namespace="n1")
    assert compared == [5000] * 2, "who may escalate is asked nothing more"
    # What says nothing takes nothing.
    escalation(Holds()).check_role(JOE, role({"verbs": ["get"]}), None, namespace="n1")


def test_of_many_rules_that_are_missing_those_that_are_named_are_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Rule] = []
    plain = escalation_module.shown

    def counted(rule: Rule) -> str:
        written.append(rule)
        return plain(rule)

    monkeypatch.setattr(escalation_module, "shown", counted)
    for count, end in ((MOST_SHOWN, f"r{MOST_SHOWN - 1}"), (1000, f"and {1000 - MOST_SHOWN} more")):
        written.clear()
        rules = [{"verbs": ["get"], "apiGroups": [""], "resources": [f"r{n}"]} for n in range(count)]
        message = refused(escalation(Holds()).check_role, JOE, role(*rules), None, namespace="n1").message
        assert end in message.splitlines()[-1] and len(written) == MOST_SHOWN
