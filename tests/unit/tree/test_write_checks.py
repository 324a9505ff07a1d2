"""What an object that gives rights, or says whose something is, is asked before it is written."""

from __future__ import annotations

from typing import Any

import pytest

from ksproxyd.authz.coverage import missing
from ksproxyd.authz.decision import Decision
from ksproxyd.authz.escalation import IAM_GROUP, Escalation
from ksproxyd.authz.grants import NATIVE_GROUP
from ksproxyd.authz.rules import ALL, Rule
from ksproxyd.kube.errors import KubeError, failure_status
from ksproxyd.kube.resource import Resource
from ksproxyd.model.identity import Identity
from ksproxyd.model.request_info import CLUSTER, GLOBAL, RequestInfo
from ksproxyd.model.status import StatusError
from ksproxyd.state.kinds import BINDING_KINDS
from ksproxyd.tree.namespace_checks import CREATOR, FINALIZER
from ksproxyd.tree.write_checks import GUARDED, Place, WriteChecks, guarded

JOE = Identity("joe")
PODS = {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}
READ_PODS = Rule(("get",), ("",), ("pods",))
WORKSPACE = "kubesphere.io/workspace"
POLICY = "iam.kubesphere.io/rego-override"


def may(verb: str, group: str, resource: str) -> Rule:
    return Rule((verb,), (group,), (resource,))


class Holds:
    """Rights of joe by scope, workspace and namespace; wider ones count in narrower ones."""

    def __init__(self, **rules: Any) -> None:
        self.rules: dict[str, tuple[Rule, ...]] = {key.replace("_", "-"): tuple(each) for key, each in rules.items()}

    def held(
        self, user: Identity, *, namespace: str = "", workspace: str = "", scope: str = ""
    ) -> tuple[Rule, ...]:
        places = ["Global"] if scope == GLOBAL else ["Global", "Cluster", workspace, namespace]
        return tuple(rule for place in places for rule in self.rules.get(place, ()))

    def decide(self, user: Identity, info: RequestInfo) -> Decision:
        held = self.held(user, namespace=info.namespace, workspace=info.workspace, scope=info.scope)
        return Decision(any(rule.covers(info) for rule in held))

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
        info = RequestInfo(
            "", verb, is_resource=True, api_group=group, resource=resource, name=name,
            namespace=namespace, workspace=workspace, scope=scope,
        )
        return self.decide(user, info).allowed


class Server:
    """Native roles; everything else is not there."""

    def __init__(self, **roles: Any) -> None:
        self.roles = roles

    async def get(self, resource: Resource, name: str, namespace: str = "") -> Any:
        assert bool(namespace) is resource.namespaced
        if resource.group == IAM_GROUP:
            if (resource.kind, namespace, name) not in ROLES:
                raise KubeError(failure_status(404, "NotFound", "no"))
            return ROLES[resource.kind, namespace, name]
        if name == "broken":
            raise KubeError(failure_status(503, "ServiceUnavailable", "away"))
        if name not in self.roles:
            raise KubeError(failure_status(404, "NotFound", "no"))
        return {"apiVersion": f"{NATIVE_GROUP}/v1", "kind": resource.kind, "rules": self.roles[name]}


def thing(plural: str, kind: str, **parts: Any) -> Any:
    group = parts.pop("group", IAM_GROUP)
    metadata: dict[str, Any] = {"name": "x"}
    metadata |= {key: parts.pop(key) for key in ("labels", "annotations", "finalizers") if key in parts}
    return {"apiVersion": f"{group}/v1beta1", "kind": kind, "metadata": metadata, **parts}


ROLES = {
    ("Role", "n1", "reader"): thing("roles", "Role", rules=[PODS]),
    ("WorkspaceRole", "", "wr"): thing("workspaceroles", "WorkspaceRole", rules=[PODS], labels={WORKSPACE: "ws1"}),
    ("ClusterRole", "", "cr"): thing("clusterroles", "ClusterRole", rules=[PODS]),
    ("GlobalRole", "", "gr"): thing("globalroles", "GlobalRole", rules=[PODS]),
}


def checks(rights: Holds, mode: Any = "enforce", server: Server | None = None, **more: Any) -> WriteChecks:
    escalation = Escalation(rights, lambda kind, ns, name: ROLES.get((kind, ns, name)), mode)
    return WriteChecks(escalation, rights, server or Server(), **more)


def run(coroutine: Any) -> None:
    """A coroutine that waits for nobody."""
    with pytest.raises(StopIteration):
        coroutine.send(None)


def passes(rights: Holds, place: Place, new: Any, old: Any = None, **more: Any) -> None:
    run(checks(rights, **more).check(JOE, place, new, old))


def refused(rights: Holds, place: Place, new: Any, old: Any = None, **more: Any) -> StatusError:
    with pytest.raises(StatusError) as caught:
        checks(rights, **more).check(JOE, place, new, old).send(None)
    return caught.value


# -- roles -----------------------------------------------------------------------------------------------------

GLOBAL_ROLE = Place(IAM_GROUP, "globalroles")
CLUSTER_ROLE = Place(IAM_GROUP, "clusterroles")
WORKSPACE_ROLE = Place(IAM_GROUP, "workspaceroles")
ROLE = Place(IAM_GROUP, "roles", "n1")


@pytest.mark.parametrize(
    ("place", "kind", "holders"),
    [
        (GLOBAL_ROLE, "GlobalRole", {"Global"}),
        (CLUSTER_ROLE, "ClusterRole", {"Global", "Cluster"}),
        (ROLE, "Role", {"Global", "Cluster", "n1"}),
        (Place(NATIVE_GROUP, "roles", "n1"), "Role", {"Global", "Cluster", "n1"}),
        (Place(NATIVE_GROUP, "clusterroles"), "ClusterRole", {"Global", "Cluster"}),
    ],
)
def test_a_role_takes_rights_where_it_counts(place: Place, kind: str, holders: set[str]) -> None:
    role = thing(place.plural, kind, rules=[PODS], group=place.group)
    for holder in ("Global", "Cluster", "n1", "n2", "ws1"):
        rights = Holds(**{holder: [READ_PODS]})
        if holder in holders:
            passes(rights, place, role)
        else:
            assert refused(rights, place, role).code == 403
    passes(Holds(), place, role, role)


def test_a_workspace_role_belongs_to_its_label() -> None:
    role = thing("workspaceroles", "WorkspaceRole", rules=[PODS], labels={WORKSPACE: "ws1"})
    moved = thing("workspaceroles", "WorkspaceRole", rules=[PODS], labels={WORKSPACE: "ws2"})
    passes(Holds(ws1=[READ_PODS]), WORKSPACE_ROLE, role)
    passes(Holds(), WORKSPACE_ROLE, role, role)
    refused(Holds(ws1=[READ_PODS]), WORKSPACE_ROLE, moved, role)
    nobodys = thing("workspaceroles", "WorkspaceRole", rules=[PODS])
    refused(Holds(ws1=[READ_PODS]), WORKSPACE_ROLE, nobodys)
    passes(Holds(Cluster=[READ_PODS]), WORKSPACE_ROLE, nobodys)


def test_templates_take_rights_everywhere_also_when_only_their_labels_change() -> None:
    place = Place(IAM_GROUP, "roletemplates")
    template = thing("roletemplates", "RoleTemplate", spec={"rules": [PODS]}, labels={"a": "b"})
    refused(Holds(Cluster=ALL), place, template)
    passes(Holds(Global=[READ_PODS]), place, template)
    passes(Holds(), place, {**template, "spec": {"rules": [PODS], "displayName": {"en": "x"}}}, template)
    labelled = thing("roletemplates", "RoleTemplate", spec={"rules": [PODS]}, labels={"a": "b", "more": ""})
    refused(Holds(), place, labelled, template)
    clever = thing("roletemplates", "RoleTemplate", spec={"rules": []}, annotations={POLICY: "package authz"})
    refused(Holds(Global=[READ_PODS]), place, clever)


def test_builtin_roles_take_the_rights_of_their_role() -> None:
    place = Place(IAM_GROUP, "builtinroles")
    inner = thing("", "Role", rules=[PODS])
    builtin = thing("builtinroles", "BuiltinRole", role=inner, targetSelector={})
    refused(Holds(n1=ALL), place, builtin)
    passes(Holds(Cluster=[READ_PODS]), place, builtin)
    passes(Holds(), place, builtin, builtin)
    refused(Holds(), place, {**builtin, "targetSelector": {"matchLabels": {"a": "b"}}}, builtin)
    everywhere = {**builtin, "role": {**inner, "kind": "GlobalRole"}}
    refused(Holds(Cluster=[READ_PODS]), place, everywhere, builtin)
    passes(Holds(Global=[READ_PODS]), place, everywhere, builtin)


# -- bindings --------------------------------------------------------------------------------------------------


def binding(plural: str, kind: str, role: str, *users: str, **more: Any) -> Any:
    subjects = [{"kind": "User", "name": user} for user in users]
    return thing(plural, "Binding", roleRef={"kind": kind, "name": role}, subjects=subjects, **more)


BINDING = Place(IAM_GROUP, "rolebindings", "n1")
OF_WORKSPACE = Place(IAM_GROUP, "workspacerolebindings")
NATIVE = Place(NATIVE_GROUP, "rolebindings", "n1")


def test_a_binding_takes_what_its_role_grants() -> None:
    given = binding("rolebindings", "Role", "reader", "joe")
    passes(Holds(n1=[READ_PODS]), BINDING, given)
    assert "get" in refused(Holds(n2=ALL), BINDING, given).message
    refused(Holds(Cluster=ALL), Place(IAM_GROUP, "globalrolebindings"), binding("", "GlobalRole", "gr", "joe"))
    passes(Holds(Global=[READ_PODS]), Place(IAM_GROUP, "globalrolebindings"), binding("", "GlobalRole", "gr", "joe"))
    passes(Holds(Cluster=[READ_PODS]), Place(IAM_GROUP, "clusterrolebindings"), binding("", "ClusterRole", "cr", "joe"))


def test_a_role_is_what_it_is_now_and_not_what_was_heard_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    widened = thing("roles", "Role", rules=[PODS, {**PODS, "resources": ["secrets"]}])

    async def get(self: Any, resource: Resource, name: str, namespace: str = "") -> Any:
        return widened

    monkeypatch.setattr(Server, "get", get)
    given = binding("rolebindings", "Role", "reader", "joe")
    assert "secrets" in refused(Holds(n1=[READ_PODS]), BINDING, given).message


@pytest.mark.parametrize("name", ["..", ".", ""])
def test_a_role_that_cannot_be_is_not_there(name: str) -> None:
    given = binding("rolebindings", "Role", name, "joe")
    assert "does not exist" in refused(Holds(n1=[READ_PODS]), BINDING, given).message


def test_who_has_it_already_costs_nothing_who_is_new_does() -> None:
    old = binding("rolebindings", "Role", "reader", "joe", "eve")
    passes(Holds(), BINDING, {**old, "metadata": {"name": "x", "labels": {"a": "b"}}}, old)
    passes(Holds(), BINDING, binding("rolebindings", "Role", "reader", "eve"), old)
    refused(Holds(), BINDING, binding("rolebindings", "Role", "reader", "joe", "eve", "mallory"), old)
    assert refused(Holds(Global=ALL), BINDING, binding("rolebindings", "Role", "admin", "joe"), old).code == 422


def test_a_workspaces_binding_counts_where_its_label_says() -> None:
    old = binding("workspacerolebindings", "WorkspaceRole", "wr", "joe", labels={WORKSPACE: "ws1"})
    passes(Holds(ws1=[READ_PODS]), OF_WORKSPACE, old)
    nowhere = binding("workspacerolebindings", "WorkspaceRole", "wr", "joe")
    passes(Holds(), OF_WORKSPACE, nowhere)
    refused(Holds(), OF_WORKSPACE, old, nowhere)
    moved = binding("workspacerolebindings", "WorkspaceRole", "wr", "joe", labels={WORKSPACE: "ws2"})
    refused(Holds(ws1=ALL), OF_WORKSPACE, moved, old)


def test_native_roles_are_read_where_they_are() -> None:
    server = Server(pods=[PODS], wild=[{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}])
    given = binding("rolebindings", "ClusterRole", "pods", "joe", group=NATIVE_GROUP)
    passes(Holds(n1=[READ_PODS]), NATIVE, given, server=server)
    refused(Holds(n1=[READ_PODS]), NATIVE, binding("", "Role", "wild", "joe", group=NATIVE_GROUP), server=server)
    passes(Holds(n1=ALL), NATIVE, binding("", "Role", "wild", "joe", group=NATIVE_GROUP), server=server)
    ghost = binding("", "Role", "ghost", "joe", group=NATIVE_GROUP)
    assert "does not exist" in refused(Holds(n1=[READ_PODS]), NATIVE, ghost, server=server).message
    passes(Holds(n1=[may("bind", NATIVE_GROUP, "roles")]), NATIVE, ghost, server=server)
    broken = binding("", "Role", "broken", "joe", group=NATIVE_GROUP)
    assert refused(Holds(n1=[READ_PODS]), NATIVE, broken, server=server).code == 503
    everywhere = Place(NATIVE_GROUP, "clusterrolebindings")
    refused(Holds(n1=ALL), everywhere, binding("", "ClusterRole", "pods", "joe", group=NATIVE_GROUP), server=server)


def test_who_joins_a_group_gets_what_it_has() -> None:
    place = Place(IAM_GROUP, "groupbindings")
    kinds = {kind.name: kind for kind in BINDING_KINDS}
    of_n1 = binding("rolebindings", "Role", "reader")
    of_n1["metadata"]["namespace"] = "n1"
    given = [
        (kinds["RoleBinding"], of_n1),
        (kinds["RoleBinding"], binding("rolebindings", "GlobalRole", "grants nothing there")),
        (kinds["WorkspaceRoleBinding"], binding("", "WorkspaceRole", "wr", labels={WORKSPACE: "ws1"})),
    ]

    def of_group(group: str) -> Any:
        return given if group == "devs" else []

    def group(name: str, *users: str) -> Any:
        return thing("groupbindings", "GroupBinding", groupRef={"name": name}, users=list(users))

    both = Holds(n1=[READ_PODS], ws1=[READ_PODS])
    passes(both, place, group("devs", "joe"), of_group=of_group)
    for rights in (Holds(n1=ALL), Holds(ws1=ALL), Holds()):
        refused(rights, place, group("devs", "joe"), of_group=of_group)
    passes(Holds(), place, group("others", "joe"), of_group=of_group)
    passes(Holds(), place, group("devs", "joe"), group("devs", "joe", "eve"), of_group=of_group)
    refused(Holds(), place, group("devs", "joe"), group("others", "joe"), of_group=of_group)
    refused(Holds(), place, group("devs", "joe", "eve"), group("devs", "joe"), of_group=of_group)


# -- namespaces ------------------------------------------------------------------------------------------------

NAMESPACE = Place("", "namespaces")
CREATE, DELETE = may("create", "", "namespaces"), may("delete", "", "namespaces")


def namespace(workspace: str = "", creator: str = "", *finalizers: str, **more: Any) -> Any:
    return {
        "metadata": {
            "name": "n1",
            "labels": {WORKSPACE: workspace} if workspace else {},
            "annotations": {CREATOR: creator} if creator else {},
            "finalizers": list(finalizers),
            **more,
        }
    }


def test_a_namespace_is_created_where_one_may_create_them() -> None:
    passes(Holds(), NAMESPACE, namespace())
    passes(Holds(ws1=[CREATE]), NAMESPACE, namespace("ws1", "joe"))
    error = refused(Holds(ws2=[CREATE]), NAMESPACE, namespace("ws1"))
    assert error.code == 403 and "'ws1'" in error.message and error.details == {"name": "n1", "kind": "namespaces"}
    refused(Holds(ws1=ALL), NAMESPACE, namespace("ws1", "eve"))
    passes(Holds(Global=ALL), NAMESPACE, namespace("ws1", "eve"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (namespace("ws1"), namespace("ws2")),
        (namespace("ws1"), namespace()),
        (namespace(), namespace("ws1")),
        (namespace("ws1", "joe"), namespace("ws1", "eve")),
        (namespace("ws1", "", FINALIZER), namespace("ws1")),
        (namespace("ws1"), namespace("ws1", "", FINALIZER, "other")),
    ],
)
def test_what_says_whose_a_namespace_is_changes_with_rights_on_both_sides(old: Any, new: Any) -> None:
    homes = [each["metadata"]["labels"].get(WORKSPACE, "Cluster") for each in (old, new)]
    enough: dict[str, list[Rule]] = {}
    for home, rule in zip(homes, (DELETE, CREATE), strict=True):
        enough.setdefault(home, []).append(rule)
    passes(Holds(**enough), NAMESPACE, new, old)
    for home in enough:
        for rule in enough[home]:
            less = {**enough, home: [each for each in enough[home] if each is not rule]}
            assert refused(Holds(**less), NAMESPACE, new, old).code == 403
    assert refused(Holds(n1=ALL), NAMESPACE, new, old).code == 403


def test_the_rest_of_a_namespace_is_free() -> None:
    old = namespace("ws1", "joe", FINALIZER)
    passes(Holds(), NAMESPACE, {**old, "spec": {"a": 1}}, old)
    passes(Holds(), NAMESPACE, namespace("ws1", "joe", FINALIZER, "more"), old)
    leaving = namespace("ws1", "joe", FINALIZER, deletionTimestamp="2025-01-01T00:00:00Z")
    passes(Holds(), NAMESPACE, namespace("ws1", "joe"), leaving)


def test_who_creates_a_namespace_is_its_creator() -> None:
    check = checks(Holds(ws1=ALL))
    for given in (namespace("ws1"), namespace("ws1", "eve"), namespace("", "eve")):
        assert check.prepare(JOE, NAMESPACE, given)
        assert given["metadata"]["annotations"][CREATOR] == "joe"
    plain: Any
    for plain in (namespace(), namespace("ws1", "joe"), {}, {"metadata": []}):
        before = repr(plain)
        assert not check.prepare(JOE, NAMESPACE, plain) and repr(plain) == before
    named = namespace("ws1", "eve")
    assert not checks(Holds(Global=ALL)).prepare(JOE, NAMESPACE, named)
    assert named["metadata"]["annotations"][CREATOR] == "eve"


# -- requests --------------------------------------------------------------------------------------------------


def request(verb: str, group: str, resource: str, **more: Any) -> RequestInfo:
    return RequestInfo("", verb, is_resource=True, api_group=group, resource=resource, **more)


def test_workspaces_are_written_by_those_who_may_do_so_everywhere() -> None:
    for resource in ("workspaces", "workspacetemplates"):
        info = request("patch", "tenant.kubesphere.io", resource, name="ws1", workspace="ws1", scope="Workspace")
        with pytest.raises(StatusError, match="/kapis/tenant.kubesphere.io/v1beta1/" + resource):
            checks(Holds(ws1=ALL)).check_request(JOE, info)
        checks(Holds(Global=[may("patch", "tenant.kubesphere.io", resource)])).check_request(JOE, info)
        checks(Holds(), isolation=False).check_request(JOE, info)


def test_all_roles_go_at_once_only_for_who_may_do_everything_there() -> None:
    info = request("deletecollection", IAM_GROUP, "rolebindings", namespace="n1", scope="Namespace")
    checks(Holds(n1=ALL)).check_request(JOE, info)
    with pytest.raises(StatusError):
        checks(Holds(n1=[may("*", IAM_GROUP, "*")])).check_request(JOE, info)
    checks(Holds(), "off").check_request(JOE, info)
    whole = request("deletecollection", IAM_GROUP, "globalroles", scope=CLUSTER)
    with pytest.raises(StatusError):
        checks(Holds(Cluster=ALL)).check_request(JOE, whole)
    checks(Holds()).check_request(JOE, request("delete", IAM_GROUP, "roles", name="x", namespace="n1"))


def test_what_is_looked_at() -> None:
    assert guarded(request("get", IAM_GROUP, "roles")) and guarded(request("get", NATIVE_GROUP, "roles"))
    assert not guarded(request("get", "example.io", "roles")) and not guarded(request("get", "", "pods"))
    assert not guarded(request("get", NATIVE_GROUP, "globalroles"))
    assert set(GUARDED["namespaces"]) == {""}


def test_off_looks_at_namespaces_still() -> None:
    passes(Holds(), ROLE, thing("roles", "Role", rules=[PODS]), mode="off")
    refused(Holds(), NAMESPACE, namespace("ws2"), namespace("ws1"), mode="off")
    passes(Holds(), NAMESPACE, namespace("ws2"), namespace("ws1"), isolation=False)
    check = checks(Holds(), "off", isolation=False)
    assert check.idle(ROLE) and check.idle(NAMESPACE) and not checks(Holds()).idle(ROLE)


def test_the_rights_of_these_tests_are_rights() -> None:
    assert not missing(ALL, Holds(Global=ALL).held(JOE, namespace="n1"))
    assert missing(ALL, Holds(n1=ALL).held(JOE, scope=GLOBAL))
