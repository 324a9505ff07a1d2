"""The authorizer with its indexes and its memory against one that looks at everything anew, as spec 03, 2 is written.

Roles, bindings, namespaces and requests are drawn from few names, so that they meet; objects change between requests.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock

from ksproxyd.authz import bindings as bindings_module
from ksproxyd.authz.bindings import Bindings
from ksproxyd.authz.decision import Decision
from ksproxyd.authz.memory import Memory
from ksproxyd.authz.rbac import RBAC
from ksproxyd.authz.roles import Roles
from ksproxyd.model.identity import Identity
from ksproxyd.model.request_info import RequestInfo, classify
from ksproxyd.state.kinds import BINDING_KINDS, NAMESPACES, ROLE_KINDS
from ksproxyd.state.store import Store

#: ``HYPOTHESIS_PROFILE=search`` (see conftest) is the nightly mode: as many as the issue asks for.
EXAMPLES = 10_000 if os.environ.get("HYPOTHESIS_PROFILE") == "search" else 300

WORKSPACE = "kubesphere.io/workspace"
USERS = ["ann", "ben", "kubesphere:serviceaccount:n1:bot", "system:serviceaccount:n2:bot"]
GROUPS = ["g1", "g2"]
NAMES = ["x", "y"]
NAMESPACE_NAMES = ["n1", "n2"]
WORKSPACE_NAMES = ["w1", "w2"]
KINDS = {kind.name: kind for kind in (*ROLE_KINDS, *BINDING_KINDS, NAMESPACES)}

POLICY = """package authz
allow { input.Name == input.User.Name; input.Verb == "get" }
"""


def some(values: list[str], *, most: int = 2) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), max_size=most, unique=True)


rules = st.fixed_dictionaries(
    {
        "verbs": some(["get", "list", "create", "*", "GET"]),
        "apiGroups": some(["", "iam.kubesphere.io", "tenant.kubesphere.io", "*"]),
        "resources": some(["pods", "pods/log", "*/log", "users", "workspaces", "*"]),
    },
    optional={
        "resourceNames": some([*NAMES, "ann", ""]),
        "nonResourceURLs": some(["/a", "/a/*", "*", "/b"]),
    },
)
subjects = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["User", "Group", "ServiceAccount", "Robot"]),
        "name": st.sampled_from([*USERS, *GROUPS, "bot"]),
    },
    optional={
        "apiGroup": st.sampled_from(["kubesphere.io", "rbac.authorization.k8s.io", "", "other"]),
        "namespace": st.sampled_from(NAMESPACE_NAMES),
    },
)


@st.composite
def objects(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(sorted(KINDS)))
    metadata: dict[str, Any] = {
        "name": draw(st.sampled_from(NAMESPACE_NAMES if kind == "Namespace" else NAMES)),
        "creationTimestamp": draw(st.sampled_from(["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"])),
    }
    if KINDS[kind].resource.namespaced:
        metadata["namespace"] = draw(st.sampled_from(NAMESPACE_NAMES))
    if draw(st.booleans()):
        metadata["labels"] = {WORKSPACE: draw(st.sampled_from(WORKSPACE_NAMES))}
    obj: dict[str, Any] = {"kind": kind, "metadata": metadata}
    if kind.endswith("Binding"):
        obj["roleRef"] = {
            "kind": draw(st.sampled_from(["GlobalRole", "WorkspaceRole", "ClusterRole", "Role", "Foo"])),
            "name": draw(st.sampled_from(NAMES)),
        }
        obj["subjects"] = draw(st.lists(subjects, max_size=3))
    elif kind != "Namespace":
        obj["rules"] = draw(st.lists(rules, max_size=3))
        if draw(st.integers(0, 9)) == 0:
            metadata["annotations"] = {"iam.kubesphere.io/rego-override": POLICY}
    return obj


PATHS = [
    *(
        f"/api/v1/namespaces/{ns}/pods{rest}"
        for ns in (*NAMESPACE_NAMES, "n3")
        for rest in ("", "/x", "/x/log", "/ann")
    ),
    *("/api/v1/pods", "/api/v1/pods/x/log", "/a", "/a/b", "/b", "/kapis/version"),
    *("/kapis/iam.kubesphere.io/v1beta1/users", "/kapis/iam.kubesphere.io/v1beta1/users/ann"),
    *(f"/kapis/tenant.kubesphere.io/v1beta1/workspaces{rest}" for rest in ("", "/w1", "/w2/pods", "/w1/namespaces/n2")),
]
requests = st.tuples(
    st.builds(
        Identity,
        st.sampled_from(USERS),
        st.lists(st.sampled_from(GROUPS), max_size=2, unique=True).map(tuple),
    ),
    st.sampled_from(["GET", "POST"]),
    st.sampled_from(PATHS),
)

steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), objects()),
        st.tuples(st.just("drop"), st.integers(0, 20)),
        st.tuples(st.just("ask"), requests),
    ),
    min_size=5,
    max_size=40,
)


# -- what the spec says, with nothing remembered ---------------------------------------------------------------


def naive(world: list[dict[str, Any]], user: Identity, info: RequestInfo) -> bool:
    def of(kind: str) -> list[dict[str, Any]]:
        return [obj for obj in world if obj["kind"] == kind]

    def labelled(obj: dict[str, Any]) -> str:
        return str(obj["metadata"].get("labels", {}).get(WORKSPACE, ""))

    def place(kind: str, name: str, namespace: str = "") -> dict[str, Any] | None:
        for obj in of(kind):
            if obj["metadata"]["name"] == name and obj["metadata"].get("namespace", "") == namespace:
                return obj
        return None

    bindings: list[tuple[dict[str, Any], Callable[[dict[str, Any]], bool], tuple[str, ...]]] = []

    def consult(kind: str, test: Callable[[dict[str, Any]], bool], roles: tuple[str, ...]) -> None:
        bindings.extend((obj, lambda _: True, roles) for obj in of(kind) if test(obj))

    consult("GlobalRoleBinding", lambda _: True, ("GlobalRole",))
    if info.scope != "Global":
        workspace = info.workspace if info.scope == "Workspace" else ""
        if info.scope == "Namespace":
            found = place("Namespace", info.namespace)
            workspace = labelled(found) if found else ""
        if workspace:
            bindings.extend(
                (obj, lambda role, ws=workspace: labelled(role) == ws, ("WorkspaceRole",))  # type: ignore[misc]
                for obj in of("WorkspaceRoleBinding")
                if labelled(obj) == workspace
            )
        if info.scope == "Namespace":
            consult("RoleBinding", lambda obj: obj["metadata"]["namespace"] == info.namespace, ("Role", "ClusterRole"))
        consult("ClusterRoleBinding", lambda _: True, ("ClusterRole",))
    for binding, fits, kinds in bindings:
        home = binding["metadata"].get("namespace", "")
        if not any(matches(subject, user, home) for subject in binding["subjects"]):
            continue
        ref = binding["roleRef"]
        if ref["kind"] not in kinds:
            continue
        role = place(ref["kind"], ref["name"], home if ref["kind"] == "Role" else "")
        if role is None or not fits(role):
            continue
        if role["metadata"].get("annotations") and info.name == user.name and info.verb == "get":
            return True
        if any(covers(rule, info) for rule in role["rules"]):
            return True
    return False


def matches(subject: dict[str, Any], user: Identity, home: str) -> bool:
    kind, name = subject["kind"], subject["name"]
    if kind == "User":
        return bool(name == user.name)
    if kind == "Group":
        return name in user.groups
    if kind != "ServiceAccount":
        return False
    namespace = subject.get("namespace") or home
    prefix = {"kubesphere.io": "kubesphere", "rbac.authorization.k8s.io": "system"}.get(subject.get("apiGroup", ""))
    return bool(namespace and prefix) and user.name == f"{prefix}:serviceaccount:{namespace}:{name}"


def covers(rule: dict[str, Any], info: RequestInfo) -> bool:
    verbs = {"*", info.verb} if info.is_resource else {"*", info.verb, info.verb.lower()}
    if not verbs & set(rule["verbs"]):
        return False
    if not info.is_resource:
        return any(
            url == info.path or (url.endswith("*") and info.path.startswith(url.rstrip("*")))
            for url in rule.get("nonResourceURLs", [])
        )
    full = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
    wanted = {"*", full} | ({f"*/{info.subresource}"} if info.subresource else set())
    if not {"*", info.api_group} & set(rule["apiGroups"]) or not wanted & set(rule["resources"]):
        return False
    names = rule.get("resourceNames", [])
    return not names or (info.name != "" and info.name in names)


# -- the comparison --------------------------------------------------------------------------------------------


# Ten thousand take minutes where others are at work, too.
@pytest.mark.timeout(1800)
@settings(max_examples=EXAMPLES, deadline=None)
@given(steps)
def test_nothing_is_decided_otherwise_than_the_spec_says(conversation: list[tuple[str, Any]]) -> None:
    usual = play(conversation)
    with pytest.MonkeyPatch.context() as patch:
        # As if they had thousands of subjects.
        patch.setattr(bindings_module, "LONG", 1)
        assert play(conversation) == usual
        patch.setattr(bindings_module, "LONG", 2)
        assert play(conversation) == usual


def play(conversation: list[tuple[str, Any]]) -> list[Any]:
    """All decisions, and in what places everybody is bound; those that are otherwise than they should be fail."""
    found: list[Any] = []
    stores = {kind: Store(kind.name, Clock()) for kind in KINDS.values()}
    for store in stores.values():
        store.mark_synced()
    roles = Roles({kind.name: stores[kind] for kind in ROLE_KINDS})
    bindings = Bindings({kind: stores[kind] for kind in BINDING_KINDS})
    rbac = RBAC(roles, bindings, stores[NAMESPACES])
    memory = Memory(rbac.decide, roles, bindings, stores[NAMESPACES])
    world: dict[tuple[str, str, str], dict[str, Any]] = {}
    asked: list[tuple[Identity, RequestInfo]] = []

    def check(user: Identity, info: RequestInfo) -> None:
        expected = naive(list(world.values()), user, info)
        decision = memory.decide(user, info)
        assert decision.allowed is expected, (user, info)
        found.extend((decision, rbac.decide(user, info), bindings.workspaces(user), bindings.namespaces(user)))

    for word, value in conversation:
        if word == "put":
            metadata = value["metadata"]
            world[value["kind"], metadata.get("namespace", ""), metadata["name"]] = value
            stores[KINDS[value["kind"]]].put(deepcopy(value))
        elif word == "drop":
            if world:
                key = sorted(world)[value % len(world)]
                del world[key]
                stores[KINDS[key[0]]].remove(key[1:])
        else:
            user, method, path = value
            info = classify(method, path.encode(), b"")
            asked.append((user, info))
            check(user, info)
        # What was asked before is remembered, and must not be by now if it is otherwise.
        for user, info in asked:
            check(user, info)
    return found


def test_what_was_decided_is_not_looked_for_again() -> None:
    calls = []
    stores = {kind: Store(kind.name, Clock()) for kind in KINDS.values()}
    roles = Roles({kind.name: stores[kind] for kind in ROLE_KINDS})
    bindings = Bindings({kind: stores[kind] for kind in BINDING_KINDS})

    def decide(user: Identity, info: RequestInfo) -> Any:
        calls.append((user, info))
        return Decision(True)

    memory = Memory(decide, roles, bindings, stores[NAMESPACES])
    info = classify("GET", b"/api/v1/namespaces/n1/pods", b"")
    ann, ben = Identity("ann"), Identity("ben", ("g1",))
    for _ in range(3):
        memory.decide(ann, info)
        memory.decide(Identity("ann"), info)
        memory.decide(ben, info)
    assert calls == [(ann, info), (ben, info)]
    # A binding of somebody else's, and a namespace that stays whose it is.
    binding = {"metadata": {"name": "x"}, "subjects": [{"kind": "User", "name": "zoe"}], "roleRef": {}}
    stores[KINDS["ClusterRoleBinding"]].put(binding)
    stores[NAMESPACES].put({"metadata": {"name": "n1"}})
    memory.decide(ann, info)
    memory.decide(ben, info)
    assert len(calls) == 2
    stores[KINDS["ClusterRoleBinding"]].put({**binding, "subjects": [{"kind": "Group", "name": "g1"}]})
    memory.decide(ann, info)
    memory.decide(ben, info)
    assert len(calls) == 3
    stores[NAMESPACES].put({"metadata": {"name": "n1", "labels": {WORKSPACE: "w"}}})
    memory.decide(ann, info)
    memory.decide(ben, info)
    assert len(calls) == 5
