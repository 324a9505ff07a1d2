"""The definitions are structural, take what stock installations hold, and have the fields that we read."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from pathlib import Path
from string import Template
from typing import Any

import pytest
import yaml

from ksproxyd import manifests

# -- as much of a kube-apiserver's schema handling as the definitions use ------------------------------

_KEYWORDS = {
    "type",
    "description",
    "properties",
    "required",
    "items",
    "additionalProperties",
    "format",
    "enum",
    "default",
    "pattern",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "maxItems",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-int-or-string",
    "x-kubernetes-map-type",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-embedded-resource",
    "anyOf",
}


def structural_problems(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """What makes a schema not structural: a node without type, or a keyword that is none."""
    if not schema.get("x-kubernetes-int-or-string") and "type" not in schema:
        yield f"{path or '/'} has no type"
    if schema.get("x-kubernetes-int-or-string") and "type" in schema:
        yield f"{path} has a type beside int-or-string"
    for keyword in schema.keys() - _KEYWORDS:
        yield f"{path} has the keyword {keyword}"
    if "properties" in schema and "additionalProperties" in schema:
        yield f"{path} has both properties and additionalProperties"
    for name in set(schema.get("required", ())) - schema.get("properties", {}).keys():
        yield f"{path} requires {name}, which it does not have"
    for name, inner in schema.get("properties", {}).items():
        yield from structural_problems(inner, f"{path}.{name}")
    if schema.get("type") == "array" and "items" not in schema:
        yield f"{path} has no items"
    if "items" in schema:
        yield from structural_problems(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        yield from structural_problems(schema["additionalProperties"], f"{path}{{}}")


_TYPES: dict[str, Any] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}


def problems(value: Any, schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """Why ``value`` would be refused, or what of it would be pruned."""
    if schema.get("x-kubernetes-int-or-string"):
        if isinstance(value, bool) or not isinstance(value, int | str):
            yield f"{path}: neither integer nor string"
        return
    kind = schema["type"]
    if not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "boolean"):
        yield f"{path}: {value!r} is no {kind}"
    elif kind == "object":
        yield from _object_problems(value, schema, path)
    elif kind == "array":
        if len(value) > schema.get("maxItems", len(value)):
            yield f"{path}: too many"
        for index, item in enumerate(value):
            yield from problems(item, schema["items"], f"{path}[{index}]")
    else:
        yield from _scalar_problems(value, schema, path)


def _object_problems(value: dict[str, Any], schema: dict[str, Any], path: str) -> Iterator[str]:
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{path}.{name}: required"
    for name, item in value.items():
        inner = schema.get("properties", {}).get(name, schema.get("additionalProperties"))
        if inner is not None:
            yield from problems(item, inner, f"{path}.{name}")
        elif not schema.get("x-kubernetes-preserve-unknown-fields") and path != ".metadata":
            yield f"{path}.{name}: would be pruned"


def _scalar_problems(value: Any, schema: dict[str, Any], path: str) -> Iterator[str]:
    if "enum" in schema and value not in schema["enum"]:
        yield f"{path}: {value!r} is none of {schema['enum']}"
    if isinstance(value, str):
        if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
            yield f"{path}: length {len(value)}"
        if "pattern" in schema and not re.search(schema["pattern"], value):
            yield f"{path}: {value!r} does not match {schema['pattern']}"
        if schema.get("format") == "byte":
            try:
                base64.b64decode(value, validate=True)
            except binascii.Error as error:
                yield f"{path}: {error}"
    elif not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        yield f"{path}: {value} is out of range"


# -- the tests -----------------------------------------------------------------------------------------

SHARED = Path(__file__).parents[3].parent / "shared"
DEFINITIONS = {d["spec"]["names"]["kind"]: d for d in manifests.definitions()}


def schema_of(definition: dict[str, Any]) -> dict[str, Any]:
    (version,) = (version for version in definition["spec"]["versions"] if version["storage"])
    return version["schema"]["openAPIV3Schema"]


def check(value: dict[str, Any]) -> list[str]:
    return list(problems(value, schema_of(DEFINITIONS[value["kind"]])))


def an(kind: str, spec: dict[str, Any], **status: Any) -> dict[str, Any]:
    version = "extensions.kubesphere.io/v1alpha1"
    return {"apiVersion": version, "kind": kind, "metadata": {"name": "x"}, "spec": spec, "status": status}


def test_the_printed_stream_holds_every_definition() -> None:
    printed = list(yaml.safe_load_all(manifests.crds()))
    assert printed == manifests.definitions()
    assert [d["metadata"]["name"] for d in printed] == [
        "apiservices.extensions.kubesphere.io",
        "reverseproxies.extensions.kubesphere.io",
        "jsbundles.extensions.kubesphere.io",
        "extensionentries.extensions.kubesphere.io",
        "clusters.cluster.kubesphere.io",
        "users.iam.kubesphere.io",
        "groups.iam.kubesphere.io",
        "groupbindings.iam.kubesphere.io",
        "loginrecords.iam.kubesphere.io",
        "globalroles.iam.kubesphere.io",
        "globalrolebindings.iam.kubesphere.io",
        "workspaceroles.iam.kubesphere.io",
        "workspacerolebindings.iam.kubesphere.io",
        "clusterroles.iam.kubesphere.io",
        "clusterrolebindings.iam.kubesphere.io",
        "roles.iam.kubesphere.io",
        "rolebindings.iam.kubesphere.io",
        "roletemplates.iam.kubesphere.io",
        "categories.iam.kubesphere.io",
        "builtinroles.iam.kubesphere.io",
        "workspaces.tenant.kubesphere.io",
        "workspacetemplates.tenant.kubesphere.io",
        "resourcequotas.quota.kubesphere.io",
        "serviceaccounts.kubesphere.io",
    ]


NAMESPACED = {"ServiceAccount", "Role", "RoleBinding"}
#: What is served instead of v1beta1 and v1alpha2.
NEW = ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "RoleTemplate", "Category", "BuiltinRole")
VERSIONS: dict[str, list[str]] = {
    **{kind: ["v1beta1"] for kind in NEW},
    "Workspace": ["v1beta1", "v1alpha1"],
    "ResourceQuota": ["v1alpha2"],
}


@pytest.mark.parametrize("kind", DEFINITIONS)
def test_names_and_versions(kind: str) -> None:
    definition = DEFINITIONS[kind]
    spec = definition["spec"]
    names = spec["names"]
    assert definition["apiVersion"] == "apiextensions.k8s.io/v1"
    assert definition["metadata"] == {"name": f"{names['plural']}.{spec['group']}"}
    assert (names["listKind"], names["singular"]) == (kind + "List", kind.lower())
    assert spec["scope"] == ("Namespaced" if kind in NAMESPACED else "Cluster")
    two = spec["group"] in ("iam.kubesphere.io", "tenant.kubesphere.io")
    served = VERSIONS.get(kind, ["v1beta1", "v1alpha2"] if two else ["v1alpha1"])
    assert [version["name"] for version in spec["versions"]] == served
    for place, version in enumerate(spec["versions"]):
        assert (version["served"], version["storage"]) == (True, place == 0)
        # An apply of a whole manifest sets the status; a subresource would drop it.
        assert ("subresources" in version) == (kind == "ResourceQuota")
        columns = [column["name"] for column in version["additionalPrinterColumns"]]
        assert columns[-1] == "Age" and len(set(columns)) == len(columns)


@pytest.mark.parametrize("kind", DEFINITIONS)
def test_schemas_are_structural(kind: str) -> None:
    for version in DEFINITIONS[kind]["spec"]["versions"]:
        assert not list(structural_problems(version["schema"]["openAPIV3Schema"]))


def test_unknown_fields_are_kept_in_menu_entries_and_whole_roles_only() -> None:
    keeping = [
        kind + path
        for kind, definition in DEFINITIONS.items()
        for path, node in leaves(schema_of(definition)).items()
        if "x-kubernetes-preserve-unknown-fields" in node
    ]
    assert keeping == ["ExtensionEntry.spec.entries[]", "BuiltinRole.role"]


def leaves(schema: dict[str, Any], path: str = "") -> dict[str, dict[str, Any]]:
    """Every node by its path, without what is said about it."""
    found = {path: {k: v for k, v in schema.items() if k not in ("description", "properties", "items")}}
    for name, inner in schema.get("properties", {}).items():
        found |= leaves(inner, f"{path}.{name}")
    if "items" in schema:
        found |= leaves(schema["items"], path + "[]")
    return found


def test_every_field_of_a_stock_definition_is_there_and_no_stricter() -> None:
    folder = SHARED / "crds"
    if not folder.is_dir():
        pytest.skip(f"no stock definitions to compare with: {folder} is not there")
    for kind, definition in DEFINITIONS.items():
        name = f"{definition['spec']['group']}_{definition['spec']['names']['plural']}.yaml"
        stock = leaves(schema_of(yaml.safe_load((folder / name).read_text())))
        ours = leaves(schema_of(definition))
        for path, wanted in stock.items():
            have = ours[path]
            if "required" in wanted:
                assert set(have.pop("required")) == set(wanted.pop("required")), f"{kind}{path}"
            assert have == wanted, f"{kind}{path}"


def test_objects_of_a_stock_installation_are_valid() -> None:
    folder = SHARED / "golden" / "fixtures"
    if not folder.is_dir():
        pytest.skip(f"no stock objects to check: {folder} is not there")
    blob = base64.b64encode(b"x").decode()
    values = {"BACKEND_HTTP": "http://b.test", "BACKEND_HTTPS": "https://b.test", "KUBE_APISERVER": "https://k.test"}
    values |= {"CA_B64": blob, "CA_B64_TWICE": blob, "KUBECONFIG_B64": blob}
    seen = set()
    for file in sorted(folder.glob("*.yaml")):
        for value in yaml.safe_load_all(Template(file.read_text()).safe_substitute(values)):
            if value["kind"] in DEFINITIONS:
                seen.add(value["kind"])
                assert not check(value), value["metadata"]["name"]
    # Nothing of these is there.
    none = {"LoginRecord", "ServiceAccount", "RoleTemplate", "Category", "BuiltinRole", "ResourceQuota"}
    assert seen == DEFINITIONS.keys() - none


LIMITS = {"requestsPerSecond": 0.5, "burst": 3, "maxConcurrent": 0}
RESILIENCE = {
    "healthCheck": {
        "active": {
            "path": "/healthz?deep=1",
            "method": "HEAD",
            "hostname": "b.test:81",
            "interval": "10s",
            "timeout": "1m30s",
            "healthyThreshold": 1,
            "unhealthyThreshold": 100,
            "expectedStatuses": ["200-299", 301, "404"],
        },
        "passive": {"consecutiveErrors": 5, "window": "30s", "ejectionTime": "30s", "maxEjectionTime": "5m"},
    },
    "circuitBreaker": {
        "consecutiveFailures": 5,
        "openDuration": "30s",
        "halfOpenRequests": 1,
        "maxParallelRequests": 0,
    },
    "flowControl": {**LIMITS, "perUser": LIMITS, "perClient": LIMITS},
    "redirect": {
        "scheme": "https",
        "hostname": "docs.example.com",
        "port": 443,
        "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/v2", "replaceFullPath": "/new"},
        "statusCode": 308,
        "httpsOnly": True,
    },
}


@pytest.mark.parametrize("kind", ["APIService", "ReverseProxy"])
@pytest.mark.parametrize("spec", [RESILIENCE, {name: {} for name in RESILIENCE}])
def test_the_optional_fields(kind: str, spec: dict[str, Any]) -> None:
    assert not check(an(kind, spec))


@pytest.mark.parametrize("kind", ["APIService", "ReverseProxy"])
@pytest.mark.parametrize(
    "spec",
    [
        {"healthCheck": {"active": {"path": "healthz"}}},
        {"healthCheck": {"active": {"method": "POST"}}},
        {"healthCheck": {"active": {"healthyThreshold": 0}}},
        {"healthCheck": {"active": {"expectedStatuses": [True]}}},
        {"healthCheck": {"passive": {"consecutiveErrors": 10001}}},
        {"circuitBreaker": {"maxParallelRequests": -1}},
        {"circuitBreaker": {"maxConnections": 1}},
        {"flowControl": {"requestsPerSecond": "5"}},
        {"flowControl": {"perUser": {"perUser": {}}}},
        {"redirect": {"scheme": "ftp"}},
        {"redirect": {"hostname": "a b"}},
        {"redirect": {"port": 0}},
        {"redirect": {"path": {}}},
        {"redirect": {"statusCode": 303}},
    ],
)
def test_what_the_optional_fields_refuse(kind: str, spec: dict[str, Any]) -> None:
    assert len(check(an(kind, spec))) == 1


def test_conditions_are_those_of_kubernetes() -> None:
    condition = {
        "type": "Available",
        "status": "True",
        "reason": "Serving",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
        "observedGeneration": 3,
    }
    for kind in ("APIService", "ReverseProxy", "JSBundle", "ExtensionEntry"):
        assert not check(an(kind, {}, state="Available", conditions=[condition]))
        for key, value in {"status": "yes", "reason": "", "type": "a b", "observedGeneration": -1}.items():
            assert check(an(kind, {}, conditions=[condition | {key: value}]))
        for key in ("type", "status", "reason", "message", "lastTransitionTime"):
            assert check(an(kind, {}, conditions=[{k: v for k, v in condition.items() if k != key}]))
