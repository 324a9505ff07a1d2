from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from contract.in_memory import MemoryClient

from ksproxyd import manifests
from ksproxyd.model.status import StatusError
from ksproxyd.standalone.roles import LABELS, SYSTEM_WORKSPACE, install_roles
from ksproxyd.standalone.storage.store import Store

IAM = "/apis/iam.kubesphere.io/v1beta1"
NAMES = ("default", "kube-node-lease", "kube-public", "kube-system", "kubesphere-system")


def started(store: Store | None = None) -> MemoryClient:
    client = MemoryClient(store or Store(), manifests.definitions())
    install_roles(client.api, manifests.roles())
    return client


def items(client: MemoryClient, path: str) -> dict[str, Any]:
    return {each["metadata"]["name"]: each for each in client.get(path).json["items"]}


def test_roles_and_templates_are_there() -> None:
    client = started()
    assert {"platform-admin", "authenticated"} < items(client, f"{IAM}/globalroles").keys()
    assert len(items(client, f"{IAM}/roletemplates")) == 65
    assert len(items(client, f"{IAM}/builtinroles")) == 7
    builtin = items(client, f"{IAM}/builtinroles")["project-admin"]["role"]
    assert builtin["kind"] == "Role" and builtin["rules"][0]["verbs"] == ["*"]
    assert "admin" not in items(client, f"{IAM}/globalrolebindings")
    (cluster,) = items(client, "/apis/cluster.kubesphere.io/v1alpha1/clusters").values()
    assert cluster["metadata"]["labels"] == {"cluster-role.kubesphere.io/host": ""}
    assert cluster["status"]["conditions"][0]["status"] == "True"
    spaces = items(client, "/api/v1/namespaces")
    assert all(LABELS.items() <= spaces[name]["metadata"]["labels"].items() for name in NAMES)


def test_what_is_there_stays_as_it_is(tmp_path: Path) -> None:
    path = str(tmp_path / "objects.db")
    client = started(Store(path))
    role = items(client, f"{IAM}/globalroles")["platform-regular"]
    role["rules"] = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
    assert client.put(f"{IAM}/globalroles/platform-regular", role).status == 200
    space = items(client, "/api/v1/namespaces")["default"]
    del space["metadata"]["labels"]["kubesphere.io/workspace"]
    assert client.put("/api/v1/namespaces/default", space).status == 200
    client.delete(f"{IAM}/categories/manage-app")
    client.api.stop()
    client.store.close()

    again = started(Store(path))
    assert items(again, f"{IAM}/globalroles")["platform-regular"]["rules"] == role["rules"]
    assert "kubesphere.io/workspace" not in items(again, "/api/v1/namespaces")["default"]["metadata"]["labels"]
    # What is missing is made again.
    assert "manage-app" in items(again, f"{IAM}/categories")
    assert SYSTEM_WORKSPACE in items(again, "/apis/tenant.kubesphere.io/v1beta1/workspacetemplates")
    again.api.stop()
    again.store.close()


def test_a_role_that_cannot_be_stored_says_which() -> None:
    client = MemoryClient(Store(), manifests.definitions())
    bad = {"apiVersion": "iam.kubesphere.io/v1beta1", "kind": "GlobalRole", "metadata": {"name": "bad"}, "rules": 1}
    with pytest.raises(StatusError, match="GlobalRole bad: "):
        install_roles(client.api, [bad])
