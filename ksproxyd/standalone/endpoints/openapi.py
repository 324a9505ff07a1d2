"""The OpenAPI documents, as far as clients use them: types for ``kubectl explain`` and for merging, and which query
parameters writes take (so that ``kubectl`` leaves validation to the server).
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from ksproxyd.model.message import Pairs
from ksproxyd.standalone.endpoints.discovery import tagged
from ksproxyd.standalone.kinds.registry import Kind, Kinds
from ksproxyd.standalone.schema.nodes import ANY, LEAF, LIST, MAP, MISSING, SET, Node
from ksproxyd.standalone.schema.typetable import type_node
from ksproxyd.standalone.wire.errors import not_acceptable
from ksproxyd.standalone.wire.negotiation import clauses
from ksproxyd.standalone.wire.request import Reply, Request

Schema = dict[str, Any]

_LEAF_SCHEMAS: dict[str, Schema] = {
    "string": {"type": "string"},
    "int32": {"type": "integer", "format": "int32"},
    "int64": {"type": "integer", "format": "int64"},
    "bool": {"type": "boolean"},
    "number": {"type": "number", "format": "double"},
    "bytes": {"type": "string", "format": "byte"},
    "time": {"type": "string", "format": "date-time"},
    "microtime": {"type": "string", "format": "date-time"},
    "intstr": {"oneOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True},
    "quantity": {"oneOf": [{"type": "string"}, {"type": "number"}]},
}

_WRITE_PARAMETERS = ("dryRun", "fieldManager", "fieldValidation")
_LIST_PARAMETERS = ("labelSelector", "fieldSelector", "limit", "continue", "resourceVersion", "watch")


class OpenAPI:
    """Answers ``/openapi/v2`` and ``/openapi/v3`` from the registry; ``version`` is what the documents say we are."""

    def __init__(self, kinds: Kinds, version: str) -> None:
        self._kinds = kinds
        self._version = version
        self._made: dict[str, bytes] = {}
        self._generation = -1

    def index(self, request: Request) -> Reply:
        """``GET /openapi/v3``: where the documents are."""
        paths = {}
        for group, versions in self._kinds.groups().items():
            for version in versions:
                place = _place(group, version)
                mark = hashlib.sha256(f"{self._kinds.generation} {place}".encode()).hexdigest().upper()
                paths[place] = {"serverRelativeURL": f"/openapi/v3/{place}?hash={mark}"}
        body = msgspec.json.encode({"paths": paths}) + b"\n"
        return Reply(200, [(b"Content-Type", b"application/json")], body)

    def version3(self, request: Request, place: str) -> Reply | None:
        """``GET /openapi/v3/apis/GROUP/VERSION``: one document; None if there is no such group and version."""
        for group, versions in self._kinds.groups().items():
            for version in versions:
                if _place(group, version) == place:
                    return self._document(request, place, group, version)
        return None

    def version2(self, request: Request) -> Reply:
        """``GET /openapi/v2``: every type in one document. 406 for a client that wants protobuf only."""
        self._refresh()
        if "v2" not in self._made:
            self._made["v2"] = self._everything()
        return self._answer(request, self._made["v2"])

    def _document(self, request: Request, place: str, group: str, version: str) -> Reply:
        self._refresh()
        if place not in self._made:
            types = _Types("#/components/schemas/")
            paths: Schema = {}
            for kind in self._kinds.at(group, version):
                _add_paths(paths, kind, types.of_kind(kind))
            document = {
                "openapi": "3.0.0",
                "info": {"title": "Kubernetes", "version": self._version},
                "paths": paths,
                "components": {"schemas": types.schemas},
            }
            self._made[place] = msgspec.json.encode(document) + b"\n"
        return self._answer(request, self._made[place])

    def _everything(self) -> bytes:
        types = _Types("#/definitions/")
        for group, versions in self._kinds.groups().items():
            for version in versions:
                for kind in self._kinds.at(group, version):
                    types.of_kind(kind)
        document = {
            "swagger": "2.0",
            "info": {"title": "Kubernetes", "version": self._version},
            "paths": {},
            "definitions": types.schemas,
        }
        return msgspec.json.encode(document) + b"\n"

    def _refresh(self) -> None:
        if self._generation != self._kinds.generation:
            self._made.clear()
            self._generation = self._kinds.generation

    def _answer(self, request: Request, body: bytes) -> Reply:
        accept = request.field(b"accept")
        accepted = not accept or any(
            clause.media in ("application/json", "application/*", "*/*") for clause in clauses(accept)
        )
        if not accepted:
            raise not_acceptable(("application/json",))
        headers: Pairs = [(b"Content-Type", b"application/json"), (b"Vary", b"Accept")]
        return tagged(request, body, headers)


def _place(group: str, version: str) -> str:
    return f"apis/{group}/{version}" if group else f"api/{version}"


class _Types:
    """The named schemas of a document; ``prefix`` begins references to them."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self.schemas: dict[str, Schema] = {}

    def of_kind(self, kind: Kind) -> Schema:
        """A reference to the schema of a kind, which is added with all that it needs."""
        home = ".".join(reversed(kind.group.split("."))) if kind.custom else f"io.k8s.api.{kind.group or 'core'}"
        name = f"{home}.{kind.version}.{kind.kind}"
        schema: Schema
        if kind.openapi is not None:
            properties = {
                **(kind.openapi.get("properties") or {}),
                "apiVersion": {"type": "string"},
                "kind": {"type": "string"},
                "metadata": self.of(type_node("meta", "ObjectMeta")),
            }
            schema = {**kind.openapi, "properties": properties}
        else:
            schema = self._object(kind.schema)
        identity = {"group": kind.group, "version": kind.version, "kind": kind.kind}
        self.schemas[name] = {**schema, "x-kubernetes-group-version-kind": [identity]}
        return {"$ref": self._prefix + name}

    def of(self, node: Node) -> Schema:
        """The schema of one place."""
        if node.shape == LEAF:
            schema = dict(_LEAF_SCHEMAS[node.kind])
        elif node.shape == LIST and node.items is not None:
            schema = {"type": "array", "items": self.of(node.items)}
        elif node.shape == MAP and node.additional is not None:
            schema = {"type": "object", "additionalProperties": self.of(node.additional)}
        elif node.shape == ANY or not node.name:
            schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        else:
            schema = self._named(node)
        return schema | _merging(node)

    def _named(self, node: Node) -> Schema:
        name = f"io.k8s.types.{node.name}"
        if name not in self.schemas:
            self.schemas[name] = {}
            self.schemas[name] = self._object(node)
        # Siblings of a bare reference would not count.
        return {"allOf": [{"$ref": self._prefix + name}]}

    def _object(self, node: Node) -> Schema:
        schema: Schema = {"type": "object"}
        if node.properties:
            schema["properties"] = {key: self.of(child) for key, child in node.properties.items()}
        if node.required:
            schema["required"] = list(node.required)
        if node.atomic:
            schema["x-kubernetes-map-type"] = "atomic"
        return schema


def _merging(node: Node) -> Schema:
    extra: Schema = {}
    if node.default is not MISSING:
        extra["default"] = node.default
    if node.merge:
        extra["x-kubernetes-patch-strategy"] = "merge,retainKeys" if node.retain_keys else "merge"
        if node.merge_key:
            extra["x-kubernetes-patch-merge-key"] = node.merge_key
    elif node.retain_keys:
        extra["x-kubernetes-patch-strategy"] = "retainKeys"
    if node.shape == LIST:
        extra["x-kubernetes-list-type"] = node.list_type
        if node.keys:
            extra["x-kubernetes-list-map-keys"] = list(node.keys)
        if node.list_type == SET:
            extra["x-kubernetes-list-type"] = "set"
    return extra


def _add_paths(paths: Schema, kind: Kind, reference: Schema) -> None:
    root = f"/{_place(kind.group, kind.version)}"
    if kind.namespaced:
        paths[f"{root}/{kind.plural}"] = {"get": _operation(kind, "list", reference, _LIST_PARAMETERS)}
        root += "/namespaces/{namespace}"
    paths[f"{root}/{kind.plural}"] = {
        "get": _operation(kind, "list", reference, _LIST_PARAMETERS),
        "post": _operation(kind, "post", reference, _WRITE_PARAMETERS),
    }
    paths[f"{root}/{kind.plural}/{{name}}"] = {
        "get": _operation(kind, "get", reference, ()),
        "put": _operation(kind, "put", reference, _WRITE_PARAMETERS),
        "patch": _operation(kind, "patch", reference, (*_WRITE_PARAMETERS, "force")),
        "delete": _operation(kind, "delete", reference, ("dryRun", "propagationPolicy")),
    }


def _operation(kind: Kind, action: str, reference: Schema, parameters: tuple[str, ...]) -> Schema:
    operation: Schema = {
        "operationId": f"{action}{kind.group.title().replace('.', '')}{kind.version.title()}{kind.kind}",
        "parameters": [{"name": name, "in": "query", "schema": {"type": "string"}} for name in parameters],
        "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": reference}}}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
    }
    if action in ("post", "put", "patch"):
        operation["requestBody"] = {"content": {"application/json": {"schema": reference}}}
    return operation
