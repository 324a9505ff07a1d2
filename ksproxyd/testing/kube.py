"""A Kubernetes API for the gateway in memory: enough for its watch loops, an echo for everything else."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import msgspec

from ksproxyd.kube.resource import Resource
from ksproxyd.model.selectors import FieldSelector, LabelSelector, parse_fields, parse_labels
from ksproxyd.state.kinds import CONFIG_MAPS, GATEWAY_KINDS, SECRETS
from ksproxyd.testing.backend import Backend, Conversation, answer, echo
from ksproxyd.testing.messages import Request
from ksproxyd.upstream.target import Target

Object = dict[str, Any]

_CREATED = "2020-01-01T00:00:00Z"
_EXTENSIONS = "extensions.kubesphere.io/v1alpha1"


class MemoryAccess:
    """Stands for :class:`ksproxyd.kube.access.ClusterAccess`: an API server that needs no credentials of files."""

    def __init__(self, target: Target, path_prefix: bytes = b"") -> None:
        self.origin = "the test"
        self.problem = ""
        self.target = target
        self.path_prefix = path_prefix
        #: What every request of the gateway's to the API server carries.
        self.credentials: tuple[tuple[bytes, bytes], ...] = ((b"Authorization", b"Bearer gateway"),)
        #: How often the API server's 401 was reported.
        self.refusals = 0
        self._subscribers: list[Callable[[Target, Target], None]] = []

    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """The gateway's own credentials."""
        return self.credentials

    def refused(self) -> None:
        """The API server answered 401."""
        self.refusals += 1

    def subscribe(self, callback: Callable[[Target, Target], None]) -> Callable[[], None]:
        """Have ``callback`` called when :meth:`move` changes the target."""
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback)

    def move(self, target: Target) -> None:
        """The API server is elsewhere from now on."""
        old, self.target = self.target, target
        for callback in tuple(self._subscribers):
            callback(old, target)

    def stop(self) -> None:
        """Nothing goes on here."""


class KubeBackend(Backend):
    """An API server: lists and watches of the kinds the gateway follows; other requests are echoed."""

    def __init__(self) -> None:
        super().__init__(self._serve)
        self._objects: dict[tuple[str, str, str], Object] = {}
        self._version = 1
        self._watches: list[_Watch] = []

    def apply(self, value: Object) -> None:
        """Create or replace an object; its watches hear of it when the reactor runs."""
        resource = _resource_of(value)
        metadata = value.setdefault("metadata", {})
        key = resource.plural, metadata.get("namespace", ""), metadata["name"]
        self._version += 1
        known = self._objects.get(key)
        metadata.setdefault("uid", known["metadata"]["uid"] if known else f"uid-{self._version}")
        metadata.setdefault("creationTimestamp", _CREATED)
        metadata["resourceVersion"] = str(self._version)
        self._objects[key] = value
        self._tell("ADDED" if known is None else "MODIFIED", value)

    def delete(self, value: Object) -> None:
        """Delete an object that was applied."""
        resource = _resource_of(value)
        metadata = value["metadata"]
        found = self._objects.pop((resource.plural, metadata.get("namespace", ""), metadata["name"]))
        self._version += 1
        found["metadata"]["resourceVersion"] = str(self._version)
        self._tell("DELETED", found)

    def _tell(self, event: str, value: Object) -> None:
        for watch in self._watches:
            watch.tell(event, value)

    def _serve(self, conversation: Conversation, request: Request) -> bytes | None:
        path, _, query = request.target.decode("latin-1").partition("?")
        if path.endswith("/version"):
            return _json({"major": "1", "minor": "33", "gitVersion": "v1.33.0"})
        if path.endswith("/apis"):
            groups = [{"name": "apps", "versions": [{"groupVersion": "apps/v1", "version": "v1"}]}]
            return _json({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
        for resource in _RESOURCES:
            match = _collection(resource).search(path)
            if match is not None and request.method == b"GET":
                return self._collection(conversation, resource, match.group("namespace") or "", parse_qs(query))
        return echo(conversation, request)

    def _collection(
        self, conversation: Conversation, resource: Resource, namespace: str, query: dict[str, list[str]]
    ) -> bytes | None:
        labels = parse_labels(query.get("labelSelector", [""])[0])
        fields = parse_fields(query.get("fieldSelector", [""])[0])
        selection = _Selection(resource, namespace, labels, fields)
        if query.get("watch", ["false"])[0] in ("true", "1"):
            watch = _Watch(conversation, selection)
            self._watches.append(watch)
            return watch.begin()
        items = [value for value in self._objects.values() if selection.matches(value)]
        return _json(
            {
                "kind": f"{resource.kind}List",
                "apiVersion": resource.api_version,
                "metadata": {"resourceVersion": str(self._version)},
                "items": items,
            }
        )


class _Selection:
    """Which objects a list or watch is about."""

    def __init__(self, resource: Resource, namespace: str, labels: LabelSelector, fields: FieldSelector) -> None:
        self._resource = resource
        self._namespace = namespace
        self._labels = labels
        self._fields = fields

    def matches(self, value: Object) -> bool:
        """Whether ``value`` is one of them."""
        metadata = value["metadata"]
        named = {"metadata.name": metadata["name"], "type": str(value.get("type", ""))}
        return (
            _resource_of(value) == self._resource
            and self._namespace in ("", metadata.get("namespace", ""))
            and self._labels.matches(metadata.get("labels") or {})
            and self._fields.matches(named)
        )


class _Watch:
    """An open watch."""

    def __init__(self, conversation: Conversation, selection: _Selection) -> None:
        self._conversation = conversation
        self._selection = selection

    def begin(self) -> bytes:
        """The head of the answer."""
        return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"

    def tell(self, event: str, value: Object) -> None:
        """Send an event, if it is for this watch."""
        if self._conversation.peer.open and self._selection.matches(value):
            line = msgspec.json.encode({"type": event, "object": value}) + b"\n"
            self._conversation.peer.write(b"%x\r\n%b\r\n" % (len(line), line))


_RESOURCES = tuple(dict.fromkeys(kind.resource for kind in (*GATEWAY_KINDS, SECRETS, CONFIG_MAPS)))


def _resource_of(value: Object) -> Resource:
    for resource in _RESOURCES:
        if (resource.kind, resource.api_version) == (value.get("kind"), value.get("apiVersion")):
            return resource
    raise ValueError(f"the gateway follows no {value.get('kind')} of {value.get('apiVersion')}")


def _collection(resource: Resource) -> re.Pattern[str]:
    root = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
    return re.compile(rf"{re.escape(root)}(?:/namespaces/(?P<namespace>[^/]+))?/{resource.plural}\Z")


def _json(value: Object) -> bytes:
    return answer(200, msgspec.json.encode(value), [(b"Content-Type", b"application/json")])


# -- objects -------------------------------------------------------------------------------------------------------


def api_service(name: str, *, state: str = "Available", metadata: Object | None = None, **spec: Any) -> Object:
    """An APIService called ``<version>.<group>``; ``spec`` adds to and overrides what the name says."""
    version, _, group = name.partition(".")
    return _object("APIService", name, {"group": group, "version": version, **spec}, state, metadata)


def reverse_proxy(
    name: str,
    path: str,
    upstream: str | Object,
    *,
    method: str = "*",
    state: str = "Available",
    metadata: Object | None = None,
    directives: Object | None = None,
    **spec: Any,
) -> Object:
    """A ReverseProxy for ``path`` to ``upstream`` (a URL, or the whole endpoint)."""
    endpoint = {"url": upstream} if isinstance(upstream, str) else upstream
    matcher = {"path": path, "method": method}
    whole = {"matcher": matcher, "upstream": endpoint, "directives": directives or {}, **spec}
    return _object("ReverseProxy", name, whole, state, metadata)


def js_bundle(name: str, link: str, *, state: str = "Available", metadata: Object | None = None, **spec: Any) -> Object:
    """A JSBundle served at ``link``."""
    value = _object("JSBundle", name, spec, state, metadata)
    value["status"]["link"] = link
    return value


def _object(kind: str, name: str, spec: Object, state: str, metadata: Object | None) -> Object:
    return {
        "apiVersion": _EXTENSIONS,
        "kind": kind,
        "metadata": {"name": name, **(metadata or {})},
        "spec": spec,
        "status": {"state": state},
    }
