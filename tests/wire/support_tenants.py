"""The worked examples' gateway, with clusters, and what tenants are answered."""

from __future__ import annotations

from typing import Any

from support_rights import RightsWorld, binding, fixtures, role, rule

from ksproxyd.testing import Answer

TENANT = "/kapis/tenant.kubesphere.io/v1beta1"
OLD = "/kapis/tenant.kubesphere.io/v1alpha3"
STORED = "/apis/tenant.kubesphere.io/v1beta1"
WORKSPACE = "kubesphere.io/workspace"
MERGE, PATCH = "application/merge-patch+json", "application/json-patch+json"


def cluster(name: str, **labels: str) -> Any:
    """A Cluster with a kubeconfig and a token that nobody may see."""
    return {
        "apiVersion": "cluster.kubesphere.io/v1alpha1",
        "kind": "Cluster",
        "metadata": {"name": name, "labels": {key.replace("__", "/"): value for key, value in labels.items()}},
        "spec": {"enable": True, "connection": {"type": "direct", "kubeconfig": "c2VjcmV0", "token": "t0ken"}},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }


def clusters() -> list[Any]:
    """host (this one), far (in europe), open (public)."""
    host, far, public = cluster("host"), cluster("far", region="eu"), cluster("open", region="us")
    host["metadata"]["labels"]["cluster-role.kubesphere.io/host"] = ""
    public["metadata"]["labels"]["cluster.kubesphere.io/visibility"] = "public"
    return [host, far, public]


class TenantWorld(RightsWorld):
    """``alice`` may make workspaces, and ``bob`` manages those of others, but no clusters."""

    def __init__(self, more: str = "") -> None:
        making = role(
            "GlobalRole", "maker", [rule(["tenant.kubesphere.io"], ["workspaces", "workspacetemplates"], ["create"])]
        )
        managing = role("GlobalRole", "manager", [rule(["*"], ["workspaces", "workspacetemplates"], ["*"])])
        super().__init__(
            more=more,
            objects=[
                *fixtures(),
                *clusters(),
                making,
                managing,
                binding("GlobalRoleBinding", "alice", ("GlobalRole", "maker"), "alice"),
                binding("GlobalRoleBinding", "bob", ("GlobalRole", "manager"), "bob"),
            ],
        )

    def tell(
        self, name: str, path: str, method: str = "GET", body: Any = None, kind: str = "application/json"
    ) -> Answer:
        """What ``name`` is answered below the API group."""
        return self.ask(name, method, TENANT + path, body, kind)

    def names(self, name: str, path: str, root: str = TENANT) -> list[str]:
        """The names in a list, in its order."""
        answer = self.ask(name, "GET", root + path)
        assert answer.status == 200, answer.body
        found = answer.json()
        named = [each["metadata"]["name"] for each in found["items"]]
        assert set(found) == {"items", "totalItems"}
        return named


def refused(answer: Answer, status: int, *told: str) -> None:
    """An error is a Status that says what is wrong."""
    assert answer.status == status, answer.body
    found = answer.json()
    assert (found["kind"], found["code"]) == ("Status", status)
    for each in told:
        assert each in found["message"], found["message"]
