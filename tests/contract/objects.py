"""Objects that the checks use."""

from __future__ import annotations

import copy
from typing import Any

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

Object = dict[str, Any]

_SPEC: Object = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "minLength": 2, "maxLength": 5, "pattern": "^[a-z]+$"},
        "size": {"type": "integer", "minimum": 0, "maximum": 10, "default": 1},
        "color": {"type": "string", "enum": ["red", "blue"]},
        "tags": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
        "port": {"x-kubernetes-int-or-string": True},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "when": {"type": "string", "format": "date-time"},
        "note": {"type": "string", "nullable": True},
        "limits": {"type": "object", "maxProperties": 1, "additionalProperties": {"type": "integer"}},
        "parts": {
            "type": "array",
            "maxItems": 2,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["key"],
            "items": {
                "type": "object",
                "required": ["key"],
                "properties": {"key": {"type": "string"}, "value": {"type": "string", "default": "none"}},
            },
        },
    },
}

_STATUS: Object = {
    "type": "object",
    "properties": {"phase": {"type": "string"}, "size": {"type": "integer"}, "selector": {"type": "string"}},
}


def definition(group: str) -> Object:
    """A definition of Widgets."""
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "subresources": {
            "status": {},
            "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"},
        },
        "additionalPrinterColumns": [
            {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
            {"name": "Phase", "type": "string", "jsonPath": ".status.phase"},
            {"name": "Color", "type": "string", "jsonPath": ".spec.color", "priority": 1},
        ],
        "schema": {
            "openAPIV3Schema": {
                "type": "object",
                "required": ["spec"],
                "properties": copy.deepcopy({"spec": _SPEC, "status": _STATUS}),
            }
        },
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"widgets.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "shortNames": ["wd"]},
            "versions": [version],
        },
    }


class Widgets:
    """Where the Widgets of a test are, and what they look like."""

    def __init__(self, group: str, namespace: str) -> None:
        self.group = group
        self.definition = f"{CRDS}/widgets.{group}"
        self.path = f"/apis/{group}/v1/namespaces/{namespace}/widgets"

    def new(self, name: str, /, **spec: Any) -> Object:
        """A Widget; its spec has a good name unless said otherwise."""
        return self.bare(name, {"name": "abc", **spec})

    def bare(self, name: str, spec: Any) -> Object:
        return {
            "apiVersion": f"{self.group}/v1",
            "kind": "Widget",
            "metadata": {"name": name},
            "spec": spec,
        }

    def config(self, **fields: Any) -> Object:
        """A configuration to apply."""
        return {"apiVersion": f"{self.group}/v1", "kind": "Widget", **fields}


def config_maps(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps"


def config_map(name: str, labels: dict[str, str] | None = None, **data: str) -> Object:
    metadata: Object = {"name": name}
    if labels:
        metadata["labels"] = labels
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def deployments(namespace: str) -> str:
    return f"/apis/apps/v1/namespaces/{namespace}/deployments"


def deployment(name: str) -> Object:
    container = {"name": "main", "image": "app:1", "ports": [{"containerPort": 80}]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}},
        },
    }


def names(answer: Any) -> list[str]:
    """The names of a list's objects."""
    return [item["metadata"]["name"] for item in answer.json["items"]]
