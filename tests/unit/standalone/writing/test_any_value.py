"""Whatever stands in place of a known field, a write is done or refused, and what was written can be read."""

from __future__ import annotations

from typing import Any

import pytest
from contract.in_memory import MemoryClient
from contract.objects import CRDS, definition
from hypothesis import given, settings
from hypothesis import strategies as st

from ksproxyd.standalone.kinds.registry import Kind
from ksproxyd.standalone.schema.nodes import LIST, MAP, Node, copied

TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
APPLY = {"Content-Type": "application/apply-patch+yaml"}
MERGE = {"Content-Type": "application/merge-patch+json"}

#: Values of every JSON type, and such as look like something.
SCALARS = st.sampled_from(
    [None, True, 0, -1, 2**70, 1.5, "", "a", "1Gi", "2027-01-15T08:00:00Z", "0001", "v1", "é/\x00"]
)
ODD = [None, True, 0, "", [], {}, [None], {"": None}, {"a": None}, [[None]], [{}], [1], [""], {"a": {}}, {"a": 1}]
STRAY = SCALARS | st.sampled_from(ODD)

NUMBERS = st.sampled_from([0, 1, -1, 80])
WORDS = st.sampled_from(["", "a", "odd", "a/b", "None", "ClusterIP", "User", "v1", "Never", "RollingUpdate", "é"])
FITTING: dict[str, st.SearchStrategy[Any]] = {
    "string": WORDS,
    "int32": NUMBERS,
    "int64": NUMBERS,
    "bool": st.booleans(),
    "intstr": NUMBERS | WORDS,
    "quantity": st.sampled_from(["1Gi", "", 0, 1, 1.5, "x"]),
    "bytes": st.sampled_from(["", "YQ=="]),
}

#: So deep a value follows its schema.
DEPTH = 9

EXAMPLES = 30

api = MemoryClient()
api.make(CRDS, definition("odd.example.com"))
KINDS = [kind for kind in api.api.kinds.stored() if "create" in kind.verbs]


def likely(node: Node | None, depth: int = 0) -> st.SearchStrategy[Any]:
    """Values that have the outline of ``node``, with something else here and there."""
    if node is None or depth > DEPTH:
        return STRAY
    if node.properties:
        fields = sorted(node.properties)
        few = st.lists(st.sampled_from(fields), max_size=4, unique=True)

        def chosen(names: list[str]) -> st.SearchStrategy[Any]:
            names = sorted({*names, *(key for key in node.required if key in node.properties)})
            return st.fixed_dictionaries({name: likely(node.properties[name], depth + 1) for name in names})

        good = few.flatmap(chosen)
    elif node.shape == LIST:
        good = st.lists(st.none() | likely(node.items, depth + 1), min_size=1, max_size=3)
    elif node.shape == MAP:
        good = st.dictionaries(st.sampled_from(["a", "a.b/c", "", "ä"]), likely(node.additional, depth + 1), max_size=2)
    else:
        good = FITTING.get(node.kind, SCALARS)
    return st.integers(0, 24).flatmap(lambda roll: good if roll else STRAY)


def bodies(kind: Kind) -> st.SearchStrategy[dict[str, Any]]:
    """Objects of ``kind`` whose fields may be anything."""
    fields = {
        name: likely(node, 1) for name, node in kind.schema.properties.items() if name not in ("apiVersion", "kind")
    }
    # The name is right, or nothing would come further than that. (A version that a new object brings is answered
    # with 500, as kube-apiserver does.)
    known = {"name": "odd", "resourceVersion": None, "namespace": None}
    metadata = fields["metadata"].map(lambda value: {**value, **known} if isinstance(value, dict) else value)
    return st.fixed_dictionaries(
        {"apiVersion": st.just(kind.group_version), "kind": st.just(kind.kind), "metadata": metadata},
        optional={name: value for name, value in fields.items() if name != "metadata"},
    )


def place(kind: Kind) -> str:
    root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    return f"{root}/namespaces/default/{kind.plural}" if kind.namespaced else f"{root}/{kind.plural}"


def write(kind: Kind, body: dict[str, Any], other: dict[str, Any]) -> None:
    """Every way to write ``body`` and ``other``, and to read what came of it."""
    path = place(kind)
    one = f"{path}/odd"
    made = api.post(path, body).status
    assert made in (201, 400, 409, 422), made
    for answer in (
        api.put(one, other),
        api.request("PATCH", one, other, MERGE),
        api.request("PATCH", f"{one}?fieldManager=t&force=true", other, APPLY),
    ):
        typed = answer.status == 500 and "failed to create typed patch object" in answer.text
        assert answer.status in (200, 201, 400, 403, 404, 409, 422) or typed, answer.text
    for status in {api.request("GET", path, None, TABLE).status, api.get(path).status}:
        assert status == 200
    api.request("PATCH", one, {"metadata": {"finalizers": None}}, MERGE)
    assert api.delete(one).status in (200, 202, 404)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.topic)
def test_any_json_in_place_of_a_field_is_written_or_refused(kind: Kind) -> None:
    @settings(max_examples=EXAMPLES)
    @given(bodies(kind), bodies(kind))
    def check(body: dict[str, Any], other: dict[str, Any]) -> None:
        write(kind, body, other)

    check()


POD = {
    "containers": [{"name": "a", "image": "b", "ports": [{"containerPort": 1}], "env": [{"name": "A", "value": "b"}]}],
    "initContainers": [{"name": "i", "image": "b", "args": ["x"]}],
    "volumes": [{"name": "v", "configMap": {"name": "c", "items": [{"key": "k", "path": "p"}]}}],
    "tolerations": [{"operator": "Exists"}],
}
LABELS = {"app": "a"}
TEMPLATE = {"metadata": {"labels": LABELS}, "spec": POD}
SUBJECT = {"kind": "User", "name": "u", "apiGroup": "rbac.authorization.k8s.io"}
WORKLOAD = {"selector": {"matchLabels": LABELS, "matchExpressions": [{"key": "app", "operator": "Exists"}]}}

#: Objects that are admitted, by topic.
GOOD: dict[str, dict[str, Any]] = {
    "/pods": {"spec": POD},
    "/replicationcontrollers": {"spec": {"selector": LABELS, "template": TEMPLATE}},
    "/services": {"spec": {"selector": LABELS, "ports": [{"port": 1}], "externalIPs": ["192.0.2.1"]}},
    "/persistentvolumes": {"spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}}},
    "/persistentvolumeclaims": {
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    },
    "apps/deployments": {"spec": {**WORKLOAD, "template": TEMPLATE}},
    "apps/statefulsets": {"spec": {**WORKLOAD, "template": TEMPLATE, "serviceName": "s"}},
    "batch/jobs": {"spec": {"template": {"spec": {**POD, "restartPolicy": "Never"}}}},
    "networking.k8s.io/ingresses": {
        "spec": {"rules": [{"host": "h", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {}}]}}]}
    },
    "rbac.authorization.k8s.io/roles": {"rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]},
    "rbac.authorization.k8s.io/rolebindings": {
        "roleRef": {"kind": "Role", "name": "r", "apiGroup": "rbac.authorization.k8s.io"},
        "subjects": [SUBJECT],
    },
    "odd.example.com/widgets": {
        "spec": {"name": "abc", "tags": ["t"], "parts": [{"key": "k"}], "limits": {"a": 1}, "free": {"x": [None]}}
    },
    "apiextensions.k8s.io/customresourcedefinitions": definition("more.example.com"),
}


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The paths of everything inside ``value``."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [each for key, part in inner for each in ((*path, key), *places(part, (*path, key)))]


def replaced(value: Any, path: tuple[str | int, ...], new: Any) -> Any:
    value = copied(value)
    within = value
    for key in path[:-1]:
        within = within[key]
    within[path[-1]] = new
    return value


@pytest.mark.parametrize("topic", GOOD)
def test_any_json_in_a_good_object_is_written_or_refused(topic: str) -> None:
    kind = next(kind for kind in KINDS if kind.topic == topic)
    given_metadata = {"name": "odd", "labels": LABELS, "annotations": LABELS, "finalizers": ["x.example.com/f"]}
    good = {"apiVersion": kind.group_version, "kind": kind.kind, **copied(GOOD[topic])}
    good["metadata"] = {**given_metadata, **good.get("metadata", {})}
    path, name = place(kind), good["metadata"]["name"]
    assert api.post(path, good).status == 201
    allowed = {200, 201, 400, 404, 409, 422}
    for where in places(good):
        for new in ODD:
            body = replaced(good, where, new)
            try:
                statuses = {
                    api.post(path + "?dryRun=All", replaced(body, ("metadata", "name"), "other")).status
                    if isinstance(body["metadata"], dict)
                    else 400,
                    api.put(f"{path}/{name}", body).status,
                    api.request("GET", path, None, TABLE).status,
                    api.get(f"{path}/{name}").status,
                }
            except Exception as error:
                raise AssertionError(f"{new!r} at {where}") from error
            assert statuses <= allowed, (where, new)
    api.request("PATCH", f"{path}/{name}", {"metadata": {"finalizers": None}}, MERGE)
    assert api.delete(f"{path}/{name}").status in (200, 404)


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/api/v1/namespaces/default/configmaps", {"metadata": {"finalizers": [None]}}, "metadata.finalizers[0]"),
        (
            "/api/v1/namespaces/default/configmaps",
            {"metadata": {"ownerReferences": [None]}},
            "metadata.ownerReferences.uid",
        ),
        ("/apis/rbac.authorization.k8s.io/v1/clusterroles", {"rules": [None]}, "rules[0].verbs"),
        (
            "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
            {**GOOD["rbac.authorization.k8s.io/rolebindings"], "subjects": [SUBJECT, None]},
            "subjects[1].kind",
        ),
        ("/api/v1/namespaces/default/pods", {"spec": {"containers": [None]}}, "spec.containers[0].name"),
        ("/api/v1/namespaces/default/services", {"spec": {"ports": [None]}}, "spec.ports[0].port"),
        (
            "/apis/odd.example.com/v1/namespaces/default/widgets",
            {"spec": {"name": "abc", "tags": [None]}},
            "spec.tags[0]",
        ),
        (
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
            {"spec": {"versions": [None]}},
            "spec.versions[0].name",
        ),
    ],
)
def test_a_null_in_a_list_is_an_empty_element(path: str, body: dict[str, Any], field: str) -> None:
    kind = next(kind for kind in KINDS if path.endswith(kind.plural))
    metadata = {"name": "odd", **body.get("metadata", {})}
    answer = api.post(path, {"apiVersion": kind.group_version, "kind": kind.kind, **body, "metadata": metadata})
    assert (answer.status, answer.reason) == (422, "Invalid")
    assert field in {cause for _, cause in answer.causes}
