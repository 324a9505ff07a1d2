"""The roles that are shipped: what the definitions take, what spec 03, 3.4 lists, and nobody more than they should."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_crds import problems, schema_of

from ksproxyd import manifests
from ksproxyd.authz.coverage import missing
from ksproxyd.authz.policy import compile_policy
from ksproxyd.authz.rules import Rule, rules_of
from ksproxyd.cli import main
from ksproxyd.model.identity import Identity
from ksproxyd.model.request_info import RequestInfo

IAM = "iam.kubesphere.io/"
DEFINITIONS = {(d["spec"]["group"], d["spec"]["names"]["kind"]): d for d in manifests.definitions()}
ROLES = manifests.roles()
TEMPLATES = {each["metadata"]["name"]: each for each in ROLES if each["kind"] == "RoleTemplate"}


def of(kind: str, name: str) -> dict[str, Any]:
    (found,) = (each for each in ROLES if each["kind"] == kind and each["metadata"]["name"] == name)
    return found


def names(kind: str) -> list[str]:
    return [each["metadata"]["name"] for each in ROLES if each["kind"] == kind]


def scope(value: dict[str, Any]) -> str:
    return value["metadata"]["labels"][IAM + "scope"]


@pytest.mark.parametrize("value", ROLES, ids=lambda value: f"{value['kind']}-{value['metadata']['name']}")
def test_the_definitions_take_them_as_they_are(value: dict[str, Any]) -> None:
    group = value["apiVersion"].split("/")[0]
    assert not list(problems(value, schema_of(DEFINITIONS[group, value["kind"]])))
    for text in (value["metadata"].get("annotations") or {}).values():
        assert isinstance(text, str)
    assert all(isinstance(text, str) for text in (value["metadata"].get("labels") or {}).values())


def test_what_there_is() -> None:
    assert names("GlobalRole") == [
        "anonymous",
        "authenticated",
        "platform-admin",
        "platform-regular",
        "platform-self-provisioner",
        "pre-registration",
        "ks-console",
    ]
    assert names("GlobalRoleBinding") == ["anonymous", "authenticated", "pre-registration", "ks-console", "admin"]
    assert names("ClusterRole") == ["cluster-admin", "cluster-viewer"]
    assert len(names("BuiltinRole")) == 7
    assert len(TEMPLATES) == 65
    assert len(names("Category")) == 21
    assert names("WorkspaceTemplate") == ["system-workspace"]


def test_names_scopes_and_labels_are_those_of_a_stock_installation() -> None:
    file = Path(__file__).parents[3].parent / "shared" / "golden" / "cluster" / "roletemplates.yaml"
    if not file.is_file():
        pytest.skip(f"no stock templates to compare with: {file} is not there")
    stock = {each["metadata"]["name"]: each for each in yaml.safe_load_all(file.read_text()) if each}
    assert stock.keys() == TEMPLATES.keys()
    changed = {
        name: stock[name]["metadata"]["labels"].keys() ^ each["metadata"]["labels"].keys()
        for name, each in TEMPLATES.items()
        if stock[name]["metadata"]["labels"] != each["metadata"]["labels"]
    }
    viewer = {IAM + "aggregate-to-viewer"}
    assert changed == {"workspace-view-create-app-templates": viewer, "workspace-delete-app-templates": viewer}


def test_templates_refer_to_what_is_there() -> None:
    categories = {each["metadata"]["name"]: scope(each) for each in ROLES if each["kind"] == "Category"}
    for name, value in TEMPLATES.items():
        metadata = value["metadata"]
        assert categories[metadata["labels"][IAM + "category"]] == scope(value), name
        for other in json.loads(metadata["annotations"].get(IAM + "dependencies", "[]")):
            assert scope(TEMPLATES[other]) == scope(value), name
        assert json.loads(metadata["annotations"][IAM + "role-template-rules"])
        assert value["spec"]["displayName"].keys() == {"en", "zh"}
        assert value["spec"]["rules"]
    used = {each["metadata"]["labels"][IAM + "category"] for each in TEMPLATES.values()}
    assert used == categories.keys()


CHANGES = {"create", "update", "patch", "delete", "deletecollection", "*", "post"}


def test_what_goes_to_viewers_only_views() -> None:
    for name, value in TEMPLATES.items():
        hooks = {label.removeprefix(IAM + "aggregate-to-") for label in value["metadata"]["labels"]}
        for rule in value["spec"]["rules"]:
            if hooks & {"viewer", "cluster-viewer", "regular"}:
                assert not CHANGES & set(rule["verbs"]), name
            if "*" not in rule["verbs"]:
                # A GET of it runs a program.
                assert "pods/exec" not in rule.get("resources", ()), name


def test_roles_of_one_level_are_worth_what_the_documents_say() -> None:
    admin = rules_of(of("GlobalRole", "platform-admin"))
    for value in ROLES:
        if value["kind"] in ("GlobalRole", "ClusterRole"):
            assert not missing(rules_of(value), admin)
    builtin = {each["metadata"]["name"]: rules_of(each["role"]) for each in ROLES if each["kind"] == "BuiltinRole"}
    assert not missing(builtin["project-viewer"], builtin["project-operator"])
    assert not missing(builtin["project-operator"], builtin["project-admin"])
    members = [Rule(("create",), ("iam.kubesphere.io",), ("rolebindings",), (), ())]
    assert missing(members, builtin["project-operator"]) and not missing(members, builtin["project-admin"])
    assert not builtin["workspace-regular"] and not builtin["workspace-self-provisioner"]


def test_policies_are_understood() -> None:
    texts = [
        text
        for value in ROLES
        if (text := (value["metadata"].get("annotations") or {}).get(IAM + "rego-override")) is not None
    ]
    assert [len(compile_policy(text).rules) for text in texts] == [1, 1, 6]


def allowed(**info: Any) -> bool:
    text = of("GlobalRole", "authenticated")["metadata"]["annotations"][IAM + "rego-override"]
    return compile_policy(text).allows(Identity("joe"), RequestInfo(**info))


def resource(kind: str, name: str, verb: str, group: str, **more: Any) -> bool:
    given = {"path": "", "is_resource": True, "is_kubernetes": False, "verb": verb, "api_group": group}
    return allowed(**{**given, "resource": kind, "name": name, **more})


def test_everybody_may_see_to_themselves() -> None:
    iam, tenant = "iam.kubesphere.io", "tenant.kubesphere.io"
    assert resource("users", "joe", "update", iam)
    assert not resource("users", "ann", "get", iam)
    assert not resource("users", "joe", "update", iam, is_kubernetes=True)
    assert not resource("users", "joe", "get", "example.com")
    assert resource("namespacemembers", "joe", "get", iam, namespace="n1")
    assert not resource("namespacemembers", "joe", "update", iam, namespace="n1")
    assert not resource("namespacemembers", "ann", "get", iam, namespace="n1")
    assert resource("workspaces", "w", "get", tenant)
    assert not resource("workspaces", "w", "delete", tenant)
    assert resource("workspacetemplates", "w", "patch", tenant)
    assert not resource("workspacetemplates", "w", "patch", tenant, is_kubernetes=True)
    assert not resource("workspacetemplates", "w", "update", tenant)
    assert allowed(verb="GET", path="/api/v1") and not allowed(verb="POST", path="/api/v1")
    shell = {"namespace": "kubesphere-system", "subresource": "exec", "is_kubernetes": True}
    assert resource("pods", "ks-managed-kubectl-joe", "create", "", **shell)
    assert not resource("pods", "ks-managed-kubectl-ann", "create", "", **shell)
    assert not resource("pods", "joe", "create", "", **shell)
    assert not resource("pods", "ks-managed-kubectl-joe", "create", "", **{**shell, "namespace": "other"})


def test_the_command_prints_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["crds", "--with-roles"]) == 0
    printed = list(yaml.safe_load_all(capsys.readouterr().out))
    assert printed == manifests.definitions() + ROLES
    assert main(["crds"]) == 0
    assert list(yaml.safe_load_all(capsys.readouterr().out)) == manifests.definitions()
    assert main(["crds", "--roles"]) == 2
