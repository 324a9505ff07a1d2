"""Discovery: which groups, versions and resources there are, plain and aggregated."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import msgspec

from ksproxyd.model.message import Pairs
from ksproxyd.standalone.endpoints.reviews import REVIEWS, Review
from ksproxyd.standalone.kinds.registry import Kind, Kinds
from ksproxyd.standalone.wire.errors import no_such_resource
from ksproxyd.standalone.wire.negotiation import clauses, form
from ksproxyd.standalone.wire.request import Reply, Request

_SUBRESOURCE_VERBS = ("get", "patch", "update")
_AGGREGATED = "apidiscovery.k8s.io"
_AGGREGATED_KIND = "APIGroupDiscoveryList"
_AGGREGATED_VERSION = "v2"
_AGGREGATED_TYPE = f"application/json;g={_AGGREGATED};v={_AGGREGATED_VERSION};as={_AGGREGATED_KIND}".encode()


class Discovery:
    """Answers discovery requests from the registry. What it makes is kept until the registry changes."""

    def __init__(self, kinds: Kinds) -> None:
        self._kinds = kinds
        self._made: dict[str, bytes] = {}
        self._generation = -1

    def core(self, request: Request) -> Reply:
        """``GET /api``."""
        if _wants_aggregated(request):
            return self._aggregated(request, "core")
        body = {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
        return form(request, transforms=False).reply(200, _encoded(body))

    def groups(self, request: Request) -> Reply:
        """``GET /apis``."""
        if _wants_aggregated(request):
            return self._aggregated(request, "groups")
        groups = [self._group(name, versions) for name, versions in self._groups().items() if name]
        body = {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
        return form(request, transforms=False).reply(200, _encoded(body))

    def group(self, request: Request, name: str) -> Reply | None:
        """``GET /apis/GROUP``; None if there is no such group."""
        versions = self._groups().get(name)
        if versions is None or not name:
            return None
        body = {"kind": "APIGroup", "apiVersion": "v1", **self._group(name, versions)}
        return form(request, transforms=False).reply(200, _encoded(body))

    def resources(self, request: Request, group: str, version: str) -> Reply:
        """``GET /api/v1`` and ``GET /apis/GROUP/VERSION``. 404 if there is no such version."""
        if version not in self._groups().get(group, ()):
            raise no_such_resource()
        found: list[dict[str, Any]] = []
        for kind in self._kinds.at(group, version):
            found += _resource(kind)
        found += [_review(review) for review in REVIEWS.values() if (review.group, review.version) == (group, version)]
        found.sort(key=lambda resource: str(resource["name"]))
        body = {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": f"{group}/{version}" if group else version,
            "resources": found,
        }
        return form(request, transforms=False).reply(200, _encoded(body))

    def _groups(self) -> dict[str, list[str]]:
        groups = self._kinds.groups()
        for review in REVIEWS.values():
            if review.version not in groups.setdefault(review.group, []):
                groups[review.group].append(review.version)
        return groups

    def _group(self, name: str, versions: list[str]) -> dict[str, Any]:
        listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
        return {"name": name, "versions": listed, "preferredVersion": listed[0]}

    # -- aggregated ----------------------------------------------------------------------------------------

    def _aggregated(self, request: Request, which: str) -> Reply:
        if self._generation != self._kinds.generation:
            self._made.clear()
            self._generation = self._kinds.generation
        body = self._made.get(which)
        if body is None:
            items = [
                self._aggregated_group(name, versions)
                for name, versions in self._groups().items()
                if bool(name) is (which == "groups")
            ]
            api_version = f"{_AGGREGATED}/{_AGGREGATED_VERSION}"
            made = {"kind": _AGGREGATED_KIND, "apiVersion": api_version, "metadata": {}, "items": items}
            body = self._made[which] = _encoded(made)
        return tagged(request, body, [(b"Content-Type", _AGGREGATED_TYPE), (b"Vary", b"Accept")])

    def _aggregated_group(self, name: str, versions: list[str]) -> dict[str, Any]:
        listed = []
        for version in versions:
            resources = [_aggregated_resource(kind) for kind in self._kinds.at(name, version)]
            for review in REVIEWS.values():
                if (review.group, review.version) == (name, version):
                    resources.append(_aggregated_review(review))
            resources.sort(key=lambda resource: str(resource["resource"]))
            listed.append({"version": version, "resources": resources, "freshness": "Current"})
        return {"metadata": {"name": name} if name else {}, "versions": listed}


def tagged(request: Request, body: bytes, headers: Pairs) -> Reply:
    """An answer with an entity tag; 304 without a body if the client has it already (RFC 9110, 13.1.2)."""
    tag = '"' + hashlib.sha256(body).hexdigest().upper() + '"'
    headers = [*headers, (b"ETag", tag.encode()), (b"Cache-Control", b"public")]
    known = [each.strip().removeprefix("W/") for each in request.field(b"if-none-match").split(",")]
    if tag in known or "*" in known:
        return Reply(304, headers)
    return Reply(200, headers, body)


def _encoded(body: dict[str, Any]) -> bytes:
    return msgspec.json.encode(body) + b"\n"


def _wants_aggregated(request: Request) -> bool:
    for clause in clauses(request.field(b"accept")):
        wanted = clause.parameters
        if wanted.get("as") == _AGGREGATED_KIND:
            if (wanted.get("g"), wanted.get("v")) == (_AGGREGATED, _AGGREGATED_VERSION):
                return clause.media == "application/json"
        elif clause.media in ("application/json", "*/*"):
            return False
    return False


def _resource(kind: Kind) -> list[dict[str, Any]]:
    resource: dict[str, Any] = {
        "name": kind.plural,
        "singularName": kind.one,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        resource["shortNames"] = list(kind.short_names)
    if kind.categories:
        resource["categories"] = list(kind.categories)
    stored = hashlib.sha256(f"{kind.stored_group_version}/{kind.kind}".encode()).digest()
    resource["storageVersionHash"] = base64.b64encode(stored[:8]).decode()
    found = [resource]
    for name, kind_name, verbs in _subresources(kind):
        sub: dict[str, Any] = {
            "name": f"{kind.plural}/{name}",
            "singularName": "",
            "namespaced": kind.namespaced,
            "kind": kind_name,
            "verbs": list(verbs),
        }
        if name == "scale":
            sub |= {"group": "autoscaling", "version": "v1"}
        found.append(sub)
    return found


def _subresources(kind: Kind) -> list[tuple[str, str, tuple[str, ...]]]:
    found: list[tuple[str, str, tuple[str, ...]]] = []
    if kind.topic == "/namespaces":
        found.append(("finalize", kind.kind, ("update",)))
    if kind.topic == "/pods":
        found.append(("log", kind.kind, ("get",)))
    if kind.scale is not None:
        found.append(("scale", "Scale", _SUBRESOURCE_VERBS))
    if kind.has_status:
        found.append(("status", kind.kind, _SUBRESOURCE_VERBS))
    return found


def _aggregated_resource(kind: Kind) -> dict[str, Any]:
    resource: dict[str, Any] = {
        "resource": kind.plural,
        "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.one,
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        resource["shortNames"] = list(kind.short_names)
    if kind.categories:
        resource["categories"] = list(kind.categories)
    subresources = []
    for name, kind_name, verbs in _subresources(kind):
        group, version = ("autoscaling", "v1") if name == "scale" else (kind.group, kind.version)
        subresources.append(
            {
                "subresource": name,
                "responseKind": {"group": group, "version": version, "kind": kind_name},
                "verbs": list(verbs),
            }
        )
    if subresources:
        resource["subresources"] = subresources
    return resource


def _review(review: Review) -> dict[str, Any]:
    return {
        "name": review.plural,
        "singularName": review.kind.lower(),
        "namespaced": False,
        "kind": review.kind,
        "verbs": ["create"],
    }


def _aggregated_review(review: Review) -> dict[str, Any]:
    return {
        "resource": review.plural,
        "responseKind": {"group": review.group, "version": review.version, "kind": review.kind},
        "scope": "Cluster",
        "singularResource": review.kind.lower(),
        "verbs": ["create"],
    }
