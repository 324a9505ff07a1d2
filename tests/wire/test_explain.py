"""``/ksproxyd/explain``: what it says is what authorization does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
from support_rights import RightsWorld
from test_worked_examples import EXAMPLES

from ksproxyd.authz.explain import Explanation, lines


@pytest.fixture(scope="module")
def world() -> Iterator[RightsWorld]:
    made = RightsWorld()
    yield made
    made.close()


def explained(world: RightsWorld, user: str, verb: str, path: str, *groups: str) -> Explanation:
    asked = [("user", user), ("verb", verb), ("path", path), *(("group", group) for group in groups)]
    answer = world.ask("admin", "GET", f"/ksproxyd/explain?{urlencode(asked)}")
    assert answer.status == 200, answer.body
    return msgspec.json.decode(answer.body, type=Explanation)


@pytest.mark.parametrize(
    ("row", "who", "method", "target", "allowed"),
    [row for row in EXAMPLES if row[1] and "kapis/version" not in row[3]],
    ids=[row[0] for row in EXAMPLES if row[1] and "kapis/version" not in row[3]],
)
def test_it_agrees_with_authorization(
    world: RightsWorld, row: str, who: str, method: str, target: str, allowed: bool
) -> None:
    groups: Any = () if ":" not in who else ("none",)
    found = explained(world, who, method, target, *groups)
    assert found.allowed is allowed
    assert bool(found.needed) is not allowed
    assert any(seen.allows for asked in found.levels for seen in asked.bindings) is allowed


def test_what_a_person_reads(world: RightsWorld) -> None:
    said = "\n".join(lines(explained(world, "wv", "delete", "/api/v1/namespaces/n1/pods/p")))
    assert "wv (groups: system:authenticated) may not do this" in said
    assert "WorkspaceRoleBindings of ws1:" in said
    assert 'WorkspaceRoleBinding "wv" gives WorkspaceRole "ws1-viewer" to User "wv" (1 rules)' in said
    assert (
        """nearly: {"verbs":["get","list","watch"],"apiGroups":["*"],"resources":["*"]} lacks the verb 'delete'"""
        in said
    )
    assert "RoleBindings of n1: none for this user" in said
    assert "a RoleBinding in namespace 'n1' to a role with verb 'delete' on resource 'pods' in API group ''" in said
    said = "\n".join(lines(explained(world, "wa", "DELETE", "/api/v1/namespaces/n1/pods/p")))
    assert "may do this" in said
    assert 'allows it: {"verbs":["*"],"apiGroups":["*"],"resources":["*"]}' in said
    said = "\n".join(lines(explained(world, "joe", "GET", "/kapis/iam.kubesphere.io/v1beta1/users/joe")))
    assert "allows it: its policy" in said
    said = "\n".join(lines(explained(world, "xr", "get", "/api/v1/namespaces/n1/pods")))
    assert "grants nothing:" in said
    said = "\n".join(lines(explained(world, "dg", "get", "/api/v1/namespaces/n1/pods")))
    assert "grants nothing: there is no such role" in said
    said = "\n".join(lines(explained(world, "joe", "patch", "/apis/tenant.kubesphere.io/v1beta1/workspacetemplates/w")))
    assert "counts for the API below /kapis only" in said


def test_groups_and_other_verbs_can_be_asked_for(world: RightsWorld) -> None:
    assert explained(world, "anybody", "get", "/api/v1/namespaces/n1/pods/p/log", "devs").allowed
    assert not explained(world, "anybody", "get", "/api/v1/namespaces/n1/pods/p/log").allowed
    assert explained(world, "wa", "bind", "/apis/iam.kubesphere.io/v1beta1/namespaces/n1/roles/admin").allowed
    watched = explained(world, "joe", "watch", "/api/v1/nodes")
    assert (watched.request["verb"], watched.allowed) == ("watch", False)


@pytest.mark.parametrize(
    ("who", "target", "status"),
    [
        ("", "/ksproxyd/explain?user=joe&verb=get&path=/api", 403),
        ("joe", "/ksproxyd/explain?user=joe&verb=get&path=/api", 403),
        # Who reads every path of this cluster does not read who is who everywhere.
        ("cv", "/ksproxyd/explain?user=joe&verb=get&path=/api", 403),
        ("admin", "/ksproxyd/explain?user=joe&verb=get", 400),
        ("admin", "/ksproxyd/explain?verb=get&path=/api", 400),
        ("admin", "/ksproxyd/explain?user=joe&verb=get&path=api", 400),
        ("admin", "/ksproxyd/explain?user=joe&verb=get&path=/api/../x", 400),
    ],
)
def test_who_may_ask_and_what(world: RightsWorld, who: str, target: str, status: int) -> None:
    assert world.ask(who, "GET", target).status == status


def test_it_is_read_only(world: RightsWorld) -> None:
    assert world.ask("admin", "POST", "/ksproxyd/explain?user=joe&verb=get&path=/api").status == 405
