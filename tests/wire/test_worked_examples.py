"""The worked examples of spec 03, 2.12, asked of a gateway: whether the request passes authorization.

Where 8 names something better than the original, that is expected, and the row says so.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
from support_rights import RightsWorld, binding, rule

from ksproxyd.model.identity import Identity
from ksproxyd.model.request_info import classify

USERS = "/kapis/iam.kubesphere.io/v1beta1/users"
IAM = "/kapis/iam.kubesphere.io/v1beta1"
TENANT = "/kapis/tenant.kubesphere.io/v1beta1"
N1, N2, N0 = (f"/api/v1/namespaces/{name}" for name in ("n1", "n2", "n0"))
SYSTEM = "/api/v1/namespaces/kubesphere-system"
ROBOT = "kubesphere:serviceaccount:n1:robot"
BOT2 = "kubesphere:serviceaccount:n1:bot2"

#: Number, who, method, target, whether it is allowed.
EXAMPLES = [
    ("1", "admin", "GET", USERS, True),
    ("2", "joe", "GET", USERS, True),
    ("3", "joe", "GET", f"{USERS}/alice", False),
    ("4", "joe", "GET", f"{USERS}/joe", True),
    ("5", "joe", "DELETE", f"{USERS}/joe", True),
    ("6 D10", "joe", "PATCH", "/apis/iam.kubesphere.io/v1beta1/users/joe", False),
    ("7 D9: without hashes", "joe", "GET", "/apis/iam.kubesphere.io/v1beta1/users", True),
    ("8", "uma", "GET", f"{USERS}/alice", True),
    ("9", "uma", "GET", f"{USERS}/alice/loginrecords", False),
    ("10", "", "GET", "/kapis/config.kubesphere.io/v1alpha2/configs/theme", True),
    ("11", "", "GET", USERS, False),
    ("12", "", "GET", "/version", True),
    ("13", "joe", "GET", "/kapis/version", False),
    ("14", "cv", "GET", "/kapis/version", True),
    ("15", "joe", "GET", "/api/v1", True),
    ("16", "joe", "GET", "/apis", False),
    ("17", "joe", "GET", "/api/v1/nodes", True),
    ("18", "joe", "GET", "/api/v1/nodes?watch=true", False),
    ("19", "joe", "GET", "/api/v1/pods", False),
    ("20", "cv", "GET", "/api/v1/pods", True),
    ("21", "cv", "GET", f"{N1}/secrets", True),
    ("22", "cv", "GET", f"{IAM}/workspaces/ws1/workspacemembers", True),
    ("23", "cv", "GET", f"{IAM}/globalroles", False),
    ("24", "ca", "DELETE", "/apis/cluster.kubesphere.io/v1alpha1/clusters/c1", False),
    ("25", "ca", "POST", "/api/v1/namespaces", True),
    ("26", "wa", "POST", f"{TENANT}/workspaces/ws1/namespaces", True),
    ("27", "wa", "POST", f"{TENANT}/workspaces/ws2/namespaces", False),
    ("28", "wa", "DELETE", f"{N1}/pods/p", True),
    ("29", "wa", "DELETE", f"{N2}/pods/p", False),
    ("30", "wa", "PUT", f"{TENANT}/workspaces/ws1/namespaces/n2", False),
    ("31", "wa", "GET", "/api/v1/pods", False),
    ("32", "wa", "DELETE", f"{N0}/pods/p", False),
    ("33", "wa", "PUT", f"{TENANT}/workspaces/ws1", True),
    ("34", "wa", "POST", f"{TENANT}/workspaces", False),
    ("35", "wv", "POST", f"{TENANT}/workspaces/ws1/namespaces", False),
    ("36", "wv", "GET", f"{N1}/secrets", True),
    ("37", "wsp", "GET", f"{IAM}/workspaces/ws1/workspacemembers", True),
    ("38", "wsp", "DELETE", f"{IAM}/workspaces/ws1/workspacemembers/wv", False),
    ("39", "wsp", "GET", f"{N1}/pods", True),
    ("40", "wsp", "GET", f"{N1}/configmaps", False),
    ("41 D16: another workspace's role", "xr", "DELETE", f"{N1}/pods/p", False),
    ("42", "xr", "DELETE", f"{N2}/pods/p", False),
    ("43", "nl", "GET", f"{IAM}/workspaces/ws1/workspacemembers", False),
    ("44", "op", "PATCH", "/apis/apps/v1/namespaces/n1/deployments/d", True),
    ("45", "op", "POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/n1/roles", False),
    ("46", "op", "GET", f"{N2}/pods", False),
    ("47", "pa", "GET", "/api/v1/namespaces/ghost/pods", False),
    ("49 D11: groups whatever is shown", "dev", "GET", f"{N1}/pods/p/log", True),
    ("50", "dev", "POST", f"{N1}/pods/p/exec", False),
    ("51", "lg", "GET", f"{N2}/pods/p/log", True),
    ("52", "lg", "GET", f"{N2}/pods/p", False),
    ("53", "nm", "GET", f"{N1}/configmaps/app", True),
    ("54", "nm", "GET", f"{N1}/configmaps/other", False),
    ("55", "nm", "GET", f"{N1}/configmaps", False),
    ("56", "nm", "GET", f"{N1}/configmaps?fieldSelector=metadata.name%3Dapp", True),
    ("57", ROBOT, "GET", f"{N1}/pods", True),
    ("58", BOT2, "GET", f"{N1}/pods", False),
    ("59", ROBOT, "GET", USERS, False),
    ("60a", "cr", "GET", f"{N1}/configmaps", True),
    ("60b", "cr", "GET", f"{N2}/configmaps", False),
    ("61a D16: no GlobalRole in a namespace", "gr", "DELETE", f"{N1}/pods/p", False),
    ("61b", "gr", "GET", f"{IAM}/globalroles", False),
    ("62", "rr", "GET", "/api/v1/pods", False),
    ("63 D25: what makes no sense hides nothing", "mal", "DELETE", f"{N1}/pods/p", True),
    ("64", "bk", "GET", f"{USERS}/alice", True),
    ("65", "dg", "GET", "/api/v1/secrets", False),
    ("66", "joe", "GET", f"{TENANT}/workspaces/ws2/namespaces/n2", True),
    ("67", "joe", "GET", "/apis/tenant.kubesphere.io/v1beta1/workspaces/ws2", False),
    ("68", "joe", "PATCH", f"{TENANT}/workspacetemplates/ws2", True),
    ("69 D6", "joe", "PATCH", "/apis/tenant.kubesphere.io/v1beta1/workspacetemplates/ws2", False),
    ("70", "joe", "POST", f"{SYSTEM}/pods/ks-managed-kubectl-joe/exec", True),
    ("71", "joe", "POST", f"{SYSTEM}/pods/ks-managed-kubectl-bob/exec", False),
    ("72", "wv", "GET", "/api/v1/secrets?watch=true&labelSelector=kubesphere.io/workspace%3Dws1", True),
    ("73 D12", "wv", "GET", f"{N2}/secrets?watch=1&labelSelector=kubesphere.io/workspace%3Dws1", False),
    ("73 D12: members", "wv", "GET", f"{IAM}/namespaces/n2/namespacemembers?watch=1&labelSelector="
     "kubesphere.io/workspace%3Dws1", False),
    ("74", "wv", "GET", "/api/v1/secrets?labelSelector=kubesphere.io/workspace%3Dws1", False),
    ("76 D2", "wa", "POST", f"{IAM}/workspaces/ws1/globalrolebindings", False),
    ("77", "pa", "POST", f"{IAM}/namespaces/n1/globalrolebindings", False),
    ("78", "joe", "HEAD", USERS, True),
    ("79a", "joe", "OPTIONS", "/api/v1/pods", False),
    ("79b", "admin", "OPTIONS", "/api/v1/pods", True),
    ("80a", "joe", "GET", "/static/images/logo.svg", True),
    ("80b", "joe", "POST", "/static/images/logo.svg", False),
]  # fmt: skip


@pytest.fixture(scope="module")
def world() -> Iterator[RightsWorld]:
    made = RightsWorld()
    yield made
    made.close()


def identity(world: RightsWorld, name: str) -> Identity:
    """Who ``name`` is to the authorizer, as authentication says it."""
    if ":" in name:
        return Identity(name)
    if not name:
        return Identity("system:anonymous", ("system:unauthenticated",))
    inner = world.gateway.gateway
    assert inner.logins is not None
    record = inner.logins.directory.find(name)
    assert record is not None
    return Identity(name, (*record.groups, "system:authenticated"), record.uid)


@pytest.mark.parametrize(("row", "who", "method", "target", "allowed"), EXAMPLES, ids=[row[0] for row in EXAMPLES])
def test_example(world: RightsWorld, row: str, who: str, method: str, target: str, allowed: bool) -> None:
    path, _, query = target.partition("?")
    info = classify(method, path.encode(), query.encode())
    assert world.authorization.authorizer(identity(world, who), info).allowed is allowed
    # What is not remembered is no other.
    assert world.authorization.rights.decide(identity(world, who), info).allowed is allowed or who == ""


@pytest.mark.parametrize(
    ("row", "who", "method", "target", "allowed"),
    [row for row in EXAMPLES if row[2] in ("GET", "HEAD") and "watch" not in row[3] and ":" not in row[1]],
    ids=[row[0] for row in EXAMPLES if row[2] in ("GET", "HEAD") and "watch" not in row[3] and ":" not in row[1]],
)
def test_example_over_the_wire(world: RightsWorld, row: str, who: str, method: str, target: str, allowed: bool) -> None:
    answer = world.ask(who, method, target)
    assert (answer.status != 403) is allowed, answer.body
    assert answer.status not in (401, 500, 502, 503)
    if not allowed:
        status = msgspec.json.decode(answer.body)
        assert status["reason"] == "Forbidden"
        assert f'User \\"{who or "system:anonymous"}\\" cannot'.replace("\\", "") in status["message"]


def test_a_password_gives_the_same_rights_as_a_token(world: RightsWorld) -> None:
    """48, and T23."""
    for method, target, allowed in ((("GET"), f"{N1}/pods/p/log", True), ("POST", f"{N1}/pods/p/exec", False)):
        assert (world.basic("dev", method, target).status != 403) is allowed


def test_reasons_are_part_of_the_message(world: RightsWorld) -> None:
    """63 where nothing else grants it, 16 and 65."""
    broken = world.ask("mal", "GET", f"{N2}/pods")
    assert b"RBAC" not in broken.body
    broken = world.ask("bk", "DELETE", f"{USERS}/alice")
    assert broken.status == 403
    said = msgspec.json.decode(broken.body)["message"]
    assert said.endswith(': RBAC: unsupported role reference kind: "Foo"'), said
    assert b"RBAC" not in world.ask("dg", "GET", "/api/v1/secrets").body


@pytest.mark.parametrize(
    ("resources", "allowed"),
    [(["pods"], False), (["pods/log"], True), (["*/log"], True), (["*"], True), (["pods/*"], False)],
)
def test_subresources(resources: list[str], allowed: bool) -> None:
    """T18."""
    made = RightsWorld()
    try:
        made.gateway.apply(
            {**_role("logs", [rule([""], resources, ["get"])])},
            binding("ClusterRoleBinding", "logs", ("ClusterRole", "logs"), "alice"),
        )
        # The pod is not there, and nobody says so who may not look.
        answer = made.ask("alice", "GET", f"{N1}/pods/p/log")
        assert (answer.status == 403) is not allowed
    finally:
        made.close()


def test_changes_count_at_once() -> None:
    """T14, T15, T24: bindings, and whose a namespace is."""
    made = RightsWorld()
    try:
        target = f"{N1}/configmaps"
        assert made.ask("wa", "GET", target).status == 200
        moved = made.stored("/api/v1/namespaces/n1")
        moved["metadata"]["labels"]["kubesphere.io/workspace"] = "ws2"
        made.gateway.apply(moved)
        assert made.ask("wa", "GET", target).status == 403
        moved["metadata"]["labels"]["kubesphere.io/workspace"] = "ws1"
        made.gateway.apply(moved)
        assert made.ask("wa", "GET", target).status == 200
        made.gateway.delete(made.stored("/apis/iam.kubesphere.io/v1beta1/workspacerolebindings/wa"))
        assert made.ask("wa", "GET", target).status == 403
        made.gateway.apply(binding("RoleBinding", "wa", ("Role", "later"), "wa", namespace="n1"))
        assert made.ask("wa", "GET", target).status == 403
        later = {**_role("later", [rule([""], ["configmaps"], ["list"])]), "kind": "Role"}
        later["metadata"] = {"name": "later", "namespace": "n1"}
        made.gateway.apply(later)
        assert made.ask("wa", "GET", target).status == 200
        later["rules"] = []
        made.gateway.apply(later)
        assert made.ask("wa", "GET", target).status == 403
    finally:
        made.close()


def _role(name: str, rules: list[dict[str, object]]) -> dict[str, object]:
    return {
        "apiVersion": "iam.kubesphere.io/v1beta1",
        "kind": "ClusterRole",
        "metadata": {"name": name},
        "rules": rules,
    }


@pytest.mark.parametrize("mode", ["AlwaysDeny"])
def test_health_is_for_everybody_in_every_mode(mode: str) -> None:
    """D32, and T7 otherwise."""
    made = RightsWorld(mode=mode)
    try:
        for path in ("/healthz", "/livez", "/readyz", "/version"):
            assert made.ask("", "GET", path).status == 200
        refused = made.ask("admin", "GET", "/api/v1/pods")
        assert refused.status == 403
        assert msgspec.json.decode(refused.body)["message"].endswith(": Everything is forbidden.")
    finally:
        made.close()
