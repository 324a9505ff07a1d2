"""The worked examples' gateway with two kinds of somebody's own, one of which is served below ``/kapis``."""

from __future__ import annotations

from typing import Any

from support_guard import GuardWorld

from ksproxyd.model.request_info import WORKSPACE_LABEL


def definition(kind: str, *, served: bool = True, namespaced: bool = False) -> Any:
    """A CustomResourceDefinition in ``example.io/v1``."""
    plural = kind.lower() + "s"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{plural}.example.io",
            "labels": {"kubesphere.io/resource-served": "true"} if served else {},
        },
        "spec": {
            "group": "example.io",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
            "scope": "Namespaced" if namespaced else "Cluster",
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {
                        "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
                    },
                    "subresources": {"status": {}},
                }
            ],
        },
    }


def thing(kind: str, name: str, *, namespace: str = "", workspace: str = "", **spec: Any) -> Any:
    """An object of such a kind."""
    metadata: dict[str, Any] = {"name": name}
    if namespace:
        metadata["namespace"] = namespace
    if workspace:
        metadata["labels"] = {WORKSPACE_LABEL: workspace}
    return {"apiVersion": "example.io/v1", "kind": kind, "metadata": metadata, "spec": spec}


class DynamicWorld(GuardWorld):
    """``Foo`` has no namespaces, ``Bar`` has, ``Hidden`` is not served."""

    def __init__(self, *more: Any) -> None:
        super().__init__(
            definition("Foo"), definition("Bar", namespaced=True), definition("Hidden", served=False), *more
        )

    def make(self, *objects: Any) -> None:
        """Have objects, once the server knows their kinds."""
        self.gateway.apply(*objects)
        self.gateway.wait(1.0)
