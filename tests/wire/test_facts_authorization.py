"""The facts of spec 03, 9, row by row: which test shows each, and those that no other file shows.

A row's tests are named as ``file::test``; :func:`test_every_row_has_its_tests` fails when one is not there any more.
Where the gateway does better than the original, the better behaviour is what is shown.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support_rights import IAM, RightsWorld, binding, fixtures, namespace, role, rule, user
from test_worked_examples import EXAMPLES, identity

from ksproxyd.model.request_info import classify
from ksproxyd.state.kinds import GLOBAL_ROLE_BINDINGS
from ksproxyd.state.store import Index
from ksproxyd.testing import Answer

TESTS = Path(__file__).parents[1]

_FILES = {
    "access": "wire/test_access_review.py",
    "bodies": "wire/test_audit_bodies.py",
    "dread": "wire/test_dynamic_reading.py",
    "dwrite": "wire/test_dynamic_writing.py",
    "events": "wire/test_audit_events.py",
    "examples": "wire/test_worked_examples.py",
    "facts2": "wire/test_facts_authentication.py",
    "guard": "wire/test_write_guard_tenancy.py",
    "here": "wire/test_facts_authorization.py",
    "impersonation": "wire/test_impersonation.py",
    "loader": "unit/settings/test_loader.py",
    "lists": "wire/test_tenant_lists.py",
    "members": "wire/test_members_api.py",
    "methods": "unit/authz/test_rule_methods.py",
    "namespaces": "wire/test_tenant_namespaces.py",
    "projects": "wire/test_controllers_workspaces.py",
    "proxied": "wire/test_users_proxied.py",
    "quotas": "wire/test_tenant_quotas.py",
    "templates": "wire/test_tenant_templates.py",
    "roletemplates": "wire/test_role_templates.py",
}

ROWS: dict[int, str] = {
    1: "here::test_001_nobody_and_users",
    2: "here::test_002_003_006_credentials_that_are_none",
    3: "here::test_002_003_006_credentials_that_are_none",
    4: "here::test_004_005_paths_for_everybody",
    5: "here::test_004_005_paths_for_everybody",
    6: "here::test_002_003_006_credentials_that_are_none facts2::test_001_002_public_paths",
    # Health is for everybody in every mode (D32).
    7: "examples::test_health_is_for_everybody_in_every_mode",
    8: "here::test_008_everything_is_allowed_and_lists_are_still_by_roles",
    9: "loader::test_problems_of_the_sections_of_ks_apiserver",
    10: "here::test_010_011_forms_of_a_refusal",
    11: "here::test_010_011_forms_of_a_refusal",
    12: "here::test_012_a_password_of_ones_own",
    13: "here::test_013_roles_of_the_cluster_are_not_global",
    14: "here::test_014_a_namespace_that_is_moved examples::test_changes_count_at_once",
    15: "here::test_015_a_namespace_of_nobody",
    16: "here::test_016_a_role_that_is_not_there",
    # A binding that makes no sense hides nothing (D25).
    17: "here::test_017_a_binding_that_makes_no_sense examples::test_reasons_are_part_of_the_message",
    18: "examples::test_subresources",
    19: "here::test_019_methods_of_paths methods::test_methods_in_upper_and_in_lower_case",
    20: "here::test_020_names_of_resources",
    21: "here::test_021_rules_without_groups",
    22: "here::test_022_service_accounts",
    # Groups are the same whatever is shown (D11).
    23: "examples::test_a_password_gives_the_same_rights_as_a_token",
    24: "here::test_024_what_is_taken_away examples::test_changes_count_at_once",
    25: "members::test_a_cluster_member",
    26: "members::test_another_role_takes_the_place_of_the_one_before",
    27: "members::test_roles_that_are_not_there",
    28: "members::test_those_before_the_one_that_is_refused_are_members",
    29: "members::test_roles_that_are_not_there",
    30: "members::test_updates_are_of_members_by_their_name",
    31: "members::test_updates_are_of_members_by_their_name",
    32: "members::test_who_is_no_member_is_removed_all_the_same",
    33: "members::test_bodies_say_what_they_are",
    34: "members::test_other_methods",
    # No page 0 (7).
    35: "members::test_pages members::test_lists_that_cannot_be_meant",
    36: "members::test_pages here::test_036_a_filter_that_finds_nobody",
    37: "roletemplates::test_ones_own here::test_037_scopes_are_spelt_in_lower_case",
    38: "roletemplates::test_those_of_others_are_for_who_gets_users_of_every_group",
    39: "here::test_039_reviews_say_what_requests_are_told",
    40: "access::test_lists_keep_their_order",
    41: "access::test_nothing_asked_is_nothing_allowed",
    42: "lists::test_others_see_their_own lists::test_who_is_bound_to_nothing_sees_nothing "
    "quotas::test_clusters_that_are_granted_are_seen_without_their_kubeconfig",
    43: "here::test_043_all_workspaces_are_for_rules_of_every_group",
    44: "lists::test_a_label_filter_does_not_replace_the_workspace",
    45: "lists::test_two_bindings_show_a_workspace_once",
    # What Kubernetes refuses keeps its code (D28): 409 for a name that is taken.
    46: "templates::test_who_may_make_workspaces_makes_their_own "
    "templates::test_managers_of_others_workspaces_are_for_others_to_name "
    "templates::test_what_kubernetes_refuses_keeps_its_code",
    47: "templates::test_names_must_match",
    48: "templates::test_deleting_takes_a_body",
    49: "templates::test_what_becomes_of_namespaces_is_noted projects::test_namespaces_stay_when_their_workspace_goes",
    50: "templates::test_a_patch_is_an_array",
    51: "templates::test_placements_are_added_and_removed",
    52: "templates::test_other_types_are_not_supported",
    53: "namespaces::test_the_path_says_in_which_workspace",
    54: "lists::test_a_namespace_is_in_its_workspace_only",
    55: "namespaces::test_a_patch_does_not_take_it_out_of_its_workspace",
    56: "quotas::test_a_quota_counts_what_is_in_its_workspace",
    57: "lists::test_methods_that_are_not_there",
    58: "lists::test_the_old_version_speaks_of_templates",
    59: "events::test_a_pod_is_deleted",
    60: "events::test_denied",
    # Recorded, and called what they are (D34).
    61: "events::test_dry_runs_are_recorded_and_called_so",
    62: "events::test_three_events_of_a_batch",
    63: "events::test_a_receiver_in_trouble_does_not_touch_clients_and_gets_everything_later",
    64: "events::test_a_login_is_recorded_without_the_password",
    65: "events::test_an_unknown_level_is_an_error_at_start",
    66: "bodies::test_an_upgrade_is_two_events_of_one_request",
    67: "dwrite::test_a_kind_without_namespaces_is_not_written_with_rights_in_one",
    68: "dwrite::test_what_is_the_platforms_is_not_written_with_rights_in_a_workspace",
    69: "dwrite::test_it_is_what_the_path_says",
    70: "dwrite::test_what_does_not_belong_to_it_is_not_there",
    71: "dread::test_a_workspace_sees_what_belongs_to_it_and_nothing_else",
    72: "guard::test_workspaces_are_written_by_those_who_may_everywhere proxied::test_lists",
    73: "examples::test_example examples::test_example_over_the_wire here::test_073_a_label_takes_nobody_elsewhere",
    74: "members::test_names_that_no_selector_can_have_touch_nobody",
    75: "members::test_nobody_makes_themselves_stronger members::test_what_one_holds_may_be_given",
    76: "members::test_who_may_bind_a_role_may_give_it",
    77: "here::test_077_078_paths_that_end_early",
    78: "here::test_077_078_paths_that_end_early",
    79: "here::test_079_nobody_says_who_they_are impersonation::test_nobody_by_default",
    80: "here::test_080_others_bindings_cost_nothing",
}


@cache
def names(path: str) -> frozenset[str]:
    """The tests of a file."""
    tree = ast.parse((TESTS / path).read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def test_every_row_has_its_tests() -> None:
    assert sorted(ROWS) == list(range(1, 81))
    missing = []
    for number, said in ROWS.items():
        for each in said.split():
            where, _, name = each.partition("::")
            if not name.startswith("test_") or name not in names(_FILES[where]):
                missing.append(f"T{number}: {_FILES[where]}::{name}")
    assert not missing


# -- what no other file shows --------------------------------------------------------------------------------------

USERS = f"/kapis/{IAM}/users"
TENANT = "/kapis/tenant.kubesphere.io/v1beta1"
N1, N0 = "/api/v1/namespaces/n1", "/api/v1/namespaces/n0"


@pytest.fixture(scope="module")
def world() -> Iterator[RightsWorld]:
    made = RightsWorld()
    yield made
    made.close()


@pytest.fixture
def fresh() -> Iterator[RightsWorld]:
    """One that a test may change."""
    made = RightsWorld()
    yield made
    made.close()


def said(answer: Answer) -> str:
    return str(msgspec.json.decode(answer.body)["message"])


def given(world: RightsWorld, name: str, *rules: dict[str, Any], kind: str = "ClusterRole", **place: str) -> None:
    """Let ``name`` have just these rules."""
    world.gateway.apply(
        role(kind, f"of-{name}", list(rules), **place),
        binding(f"{kind}Binding", name, (kind, f"of-{name}"), name, **place),
    )


def test_001_nobody_and_users(world: RightsWorld) -> None:
    answer = world.ask("", "GET", USERS)
    status = msgspec.json.decode(answer.body)
    assert (answer.status, status["kind"], status["reason"], status["code"]) == (403, "Status", "Forbidden", 403)
    assert status["message"].startswith(
        'users.iam.kubesphere.io is forbidden: User "system:anonymous" cannot list resource "users" '
        'in API group "iam.kubesphere.io" at the cluster scope'
    )
    assert status["details"] == {"group": "iam.kubesphere.io", "kind": "users"}
    assert answer.get("X-Content-Type-Options") == b"nosniff"


def test_002_003_006_credentials_that_are_none(world: RightsWorld) -> None:
    """Also where everybody may go. That there is a way to show who one is, is said as RFC 9110 wants it."""
    for path in (USERS, "/version"):
        for shown in (b"Bearer bad", b"Digest x"):
            answer = world.gateway.request("GET", path, [(b"Authorization", shown)])
            status = msgspec.json.decode(answer.body)
            assert (answer.status, status["reason"], "details" in status) == (401, "Unauthorized", False)
        assert status["message"] == "The request cannot be authenticated."


def test_004_005_paths_for_everybody(world: RightsWorld) -> None:
    for path in ("/version", "/healthz", "/livez", "/metrics", "/oauth/anything", "/dist/x"):
        assert world.ask("", "GET", path).status not in (401, 403), path
    # The body of metrics is kept for a second.
    world.gateway.wait(2.0)
    for path in ("/version/", "/oauth", "/oauthx", "/openapi/v2/x"):
        answer = world.ask("", "GET", path)
        assert (answer.status, said(answer)) == (
            403,
            f'forbidden: User "system:anonymous" cannot GET path "{path}"',
        )
        assert msgspec.json.decode(answer.body)["details"] == {}


def test_008_everything_is_allowed_and_lists_are_still_by_roles() -> None:
    made = RightsWorld(mode="AlwaysAllow")
    try:
        assert made.ask("", "GET", "/api/v1/pods").status == 200
        for who, seen in (("joe", []), ("wv", ["ws1"]), ("admin", ["ws1", "ws2"])):
            answer = made.ask(who, "GET", f"{TENANT}/workspaces?sortBy=name&ascending=true")
            assert [each["metadata"]["name"] for each in answer.json()["items"]] == seen
    finally:
        made.close()


def test_010_011_forms_of_a_refusal(world: RightsWorld) -> None:
    def refused(query: str = "", *headers: tuple[bytes, bytes]) -> Answer:
        answer = world.gateway.request("GET", USERS + query, list(headers))
        assert answer.status == 403
        return answer

    curl = (b"User-Agent", b"curl/8.5.0")
    assert refused("", curl).body.startswith(b'{\n  "kind"')
    for answer in (refused(), refused("?pretty=false", curl)):
        assert answer.body.count(b"\n") <= 1 and answer.json()["code"] == 403
    answer = refused("", (b"Accept", b"application/yaml"))
    assert b"yaml" in (answer.get("Content-Type") or b"")
    assert b"code: 403" in answer.body and b"kind: Status" in answer.body


def test_012_a_password_of_ones_own(world: RightsWorld) -> None:
    for name, status in (("joe", 400), ("alice", 403)):
        assert world.ask("joe", "PUT", f"{USERS}/{name}/password", {}).status == status


def test_013_roles_of_the_cluster_are_not_global(world: RightsWorld) -> None:
    assert world.ask("cv", "GET", f"/kapis/{IAM}/globalroles").status == 403
    assert world.ask("cv", "GET", f"/kapis/{IAM}/clusterroles").status == 200


def test_014_a_namespace_that_is_moved(fresh: RightsWorld) -> None:
    delete = ("wa", "DELETE", f"{N1}/pods/p")
    assert fresh.ask(*delete).status == 404
    fresh.gateway.apply(namespace("n1", "ws2"))
    assert fresh.ask(*delete).status == 403
    fresh.gateway.apply(namespace("n1"))
    assert fresh.ask(*delete).status == 403
    fresh.gateway.apply(namespace("n1", "ws1"))
    assert fresh.ask(*delete).status == 404


def test_015_a_namespace_of_nobody(fresh: RightsWorld) -> None:
    given(fresh, "alice", rule([""], ["pods"], ["delete"]), kind="Role", namespace="n0")
    assert fresh.ask("wa", "DELETE", f"{N0}/pods/p").status == 403
    assert fresh.ask("alice", "DELETE", f"{N0}/pods/p").status == 404


def test_016_a_role_that_is_not_there(fresh: RightsWorld) -> None:
    fresh.gateway.apply(binding("RoleBinding", "alice", ("Role", "missing"), "alice", namespace="n1"))
    answer = fresh.ask("alice", "GET", f"{N1}/pods")
    assert answer.status == 403 and "RBAC" not in said(answer)


def test_017_a_binding_that_makes_no_sense(world: RightsWorld) -> None:
    assert world.ask("mal", "DELETE", f"{N1}/pods/p").status == 404


def test_019_methods_of_paths(fresh: RightsWorld) -> None:
    """In lower case as in Kubernetes' own roles, or in upper case."""
    for number, (verb, allowed) in enumerate((("get", True), ("GET", True), ("POST", False))):
        who = ("alice", "bob", "uma")[number]
        given(fresh, who, {"nonResourceURLs": ["/foo/*"], "verbs": [verb]})
        assert (fresh.ask(who, "GET", "/foo/bar/x").status != 403) is allowed
        assert fresh.ask(who, "GET", "/food").status == 403


def test_020_names_of_resources(fresh: RightsWorld) -> None:
    selected = f"{N1}/configmaps?fieldSelector=metadata.name%3Dapp"
    assert fresh.ask("nm", "GET", f"{N1}/configmaps").status == 403
    assert fresh.ask("nm", "GET", selected).status == 200
    assert fresh.ask("nm", "GET", selected.replace("app", "other")).status == 403
    assert fresh.ask("nm", "GET", f"{selected}&watch=1").status == 403


def test_021_rules_without_groups(fresh: RightsWorld) -> None:
    given(fresh, "alice", {"resources": ["pods"], "verbs": ["*"]})
    assert fresh.ask("alice", "GET", "/api/v1/pods").status == 403


def test_022_service_accounts(world: RightsWorld) -> None:
    for name, allowed in (("robot", True), ("bot2", False)):
        account = identity(world, f"kubesphere:serviceaccount:n1:{name}")
        info = classify("GET", f"{N1}/pods".encode(), b"")
        assert world.authorization.authorizer(account, info).allowed is allowed


def test_024_what_is_taken_away(fresh: RightsWorld) -> None:
    assert fresh.ask("uma", "GET", f"{USERS}/alice").status == 200
    fresh.gateway.delete(fresh.stored(f"/apis/{IAM}/globalrolebindings/uma"))
    assert fresh.ask("uma", "GET", f"{USERS}/alice").status == 403


def test_036_a_filter_that_finds_nobody(world: RightsWorld) -> None:
    assert world.ask("admin", "GET", f"/kapis/{IAM}/clustermembers?name=zzz").json() == {"items": [], "totalItems": 0}


def test_037_scopes_are_spelt_in_lower_case(fresh: RightsWorld) -> None:
    made = role("GlobalRole", "made", [])
    made["aggregationRoleTemplates"] = {"templateNames": ["view"]}
    template = {"apiVersion": IAM, "kind": "RoleTemplate", "metadata": {"name": "view"}, "spec": {"rules": []}}
    fresh.gateway.apply(template, made, binding("GlobalRoleBinding", "joe", ("GlobalRole", "made"), "joe"))
    for scope, names_ in (("global", ["view"]), ("Global", []), ("", [])):
        answer = fresh.ask("joe", "GET", f"{USERS}/joe/roletemplates?scope={scope}")
        assert [each["metadata"]["name"] for each in answer.json()["items"]] == names_


@pytest.mark.parametrize(
    ("row", "who", "method", "target", "allowed"),
    # Reviews know no Kubernetes paths, no selectors, and no paths that everybody may go.
    [each for each in EXAMPLES if each[0] not in ("12", "67", "69 D6", "6 D10", "15")],
    ids=[each[0] for each in EXAMPLES if each[0] not in ("12", "67", "69 D6", "6 D10", "15")],
)
def test_039_reviews_say_what_requests_are_told(
    world: RightsWorld, row: str, who: str, method: str, target: str, allowed: bool
) -> None:
    path, _, query = target.partition("?")
    info = classify(method, path.encode(), query.encode())
    asked = identity(world, who)
    spec: dict[str, Any] = {"user": asked.name, "groups": list(asked.groups)}
    if info.is_resource:
        spec["resourceAttributes"] = {
            "resourceScope": info.scope,
            "workspace": info.workspace if info.scope == "Workspace" else "",
            "namespace": info.namespace if info.scope == "Namespace" else "",
            "verb": info.verb,
            "group": info.api_group,
            "resource": info.resource,
            "subresource": info.subresource,
            "name": info.name,
        }
    else:
        spec["nonResourceAttributes"] = {"path": info.path, "verb": info.verb}
    answer = world.ask("admin", "POST", f"/kapis/{IAM}/subjectaccessreviews", {"spec": spec})
    assert answer.status == 200, answer.body
    status = answer.json()["status"]
    assert status["allowed"] is allowed
    assert status.get("reason", "").startswith("RBAC: allowed by") is allowed


def test_043_all_workspaces_are_for_rules_of_every_group(fresh: RightsWorld) -> None:
    for who, groups, seen in (("alice", ["tenant.kubesphere.io"], 0), ("bob", ["*"], 2)):
        given(fresh, who, rule(groups, ["workspaces"], ["list"]), kind="GlobalRole")
        assert fresh.ask(who, "GET", f"{TENANT}/workspaces").json()["totalItems"] == seen


def test_073_a_label_takes_nobody_elsewhere(world: RightsWorld) -> None:
    label = "watch=1&labelSelector=kubesphere.io/workspace%3Dws1"
    for path in (
        "/api/v1/namespaces/n2/secrets",
        f"/kapis/{IAM}/namespaces/n2/namespacemembers",
        f"/kapis/{IAM}/clustermembers",
        "/kapi/v1/namespaces/n2/secrets",
        "/kapi/v1/secrets",
        f"/apis/{IAM}/users",
        f"/apis/{IAM}/globalroles",
    ):
        # Users are listed by everybody, but not watched.
        assert world.ask("wv", "GET", f"{path}?{label}").status == 403, path


def test_077_078_paths_that_end_early(world: RightsWorld) -> None:
    client = world.gateway.connect()
    for path, status in (
        ("/clusters/x/api", (400, 403, 404)),
        ("/clusters/x/api/v1", (400, 403, 404)),
        ("/clusters/host/kapi", (400, 403, 404)),
        ("/api/v1/watch", (400,)),
        ("/version", (200,)),
    ):
        client.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        answer = client.next_answer("GET")
        assert answer is not None and answer.status in status, path
    client.close()


def test_079_nobody_says_who_they_are(world: RightsWorld) -> None:
    asked = len(world.gateway.embedded.requests)
    claims = [(b"Impersonate-User", b"system:admin"), (b"impersonate-group", b"system:masters")]
    assert world.ask("joe", "GET", "/api/v1/nodes", headers=claims).status == 200
    (request,) = [each for each in world.gateway.embedded.requests[asked:] if each.target.startswith(b"/api/v1/nodes")]
    assert not [name for name, _ in request.headers if name.lower().startswith(b"impersonate")]


def test_080_others_bindings_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """10,000 of them, and one user with two: what is looked at for a decision is the user's own."""
    others = [user("many"), role("GlobalRole", "none", []), role("GlobalRole", "some", [rule([""], ["pods"], ["get"])])]
    made = RightsWorld(objects=[*fixtures(), *others])
    try:
        for name in ("none", "some"):
            made.gateway.apply(binding("GlobalRoleBinding", f"many-{name}", ("GlobalRole", name), "many"))
        looked = 0
        whole = Index.get

        def get(index: Index, value: Any) -> tuple[Any, ...]:
            nonlocal looked
            found = whole(index, value)
            looked += 1 + len(found)
            return found

        monkeypatch.setattr(Index, "get", get)
        monkeypatch.setattr("ksproxyd.state.store.Store.values", lambda store: pytest.fail("everything is looked at"))

        def cost(path: str) -> int:
            nonlocal looked
            looked = 0
            info = classify("GET", path.encode(), b"")
            assert made.authorization.rights.decide(identity(made, "many"), info).allowed
            return looked

        target = "/api/v1/namespaces/n1/pods/p"
        few = cost(target)
        store = made.authorization.bindings.store(GLOBAL_ROLE_BINDINGS)
        for number in range(10_000):
            store.put(binding("GlobalRoleBinding", f"o{number}", ("GlobalRole", "some"), f"somebody-{number}"))
        assert len(store) >= 10_000
        assert cost(target) == few < 20
    finally:
        monkeypatch.undo()
        made.close()
