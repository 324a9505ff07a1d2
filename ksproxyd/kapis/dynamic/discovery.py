"""Which resources the API server has, and which of them are served below ``/kapis`` (spec 04, 10.1).

Whether a kind has namespaces is what the server says, not what a path looks like: a path with a namespace is authorized
by rights in that namespace (spec 03, D1).
"""

from __future__ import annotations

import re
from typing import Any, Protocol

import msgspec
from twisted.internet.interfaces import IReactorTime

from ksproxyd.kube.errors import KubeError
from ksproxyd.kube.resource import Resource
from ksproxyd.model.status import StatusError
from ksproxyd.state.store import Object
from ksproxyd.state.validation import field, text

#: The label of a CustomResourceDefinition whose resources are served.
SERVED_LABEL = "kubesphere.io/resource-served"

#: Seconds for which an answer of the server is good, and after which one is asked for again that lacks something.
FRESH, AGAIN = 30.0, 1.0

#: At most so many group versions, and so many definitions, are remembered.
MOST = 512

#: Kubernetes' own groups, in whatever version the server has.
_KUBERNETES = frozenset(
    [
        "",
        "admissionregistration.k8s.io",
        "apps",
        "authentication.k8s.io",
        "authorization.k8s.io",
        "autoscaling",
        "batch",
        "certificates.k8s.io",
        "coordination.k8s.io",
        "discovery.k8s.io",
        "events.k8s.io",
        "extensions",
        "flowcontrol.apiserver.k8s.io",
        "internal.apiserver.k8s.io",
        "networking.k8s.io",
        "node.k8s.io",
        "policy",
        "rbac.authorization.k8s.io",
        "resource.k8s.io",
        "scheduling.k8s.io",
        "storage.k8s.io",
        "storagemigration.k8s.io",
    ]
)
_KNOWN = frozenset(
    [
        ("apiextensions.k8s.io", "v1"),
        ("app.k8s.io", "v1beta1"),
        ("application.kubesphere.io", "v2"),
        ("cluster.kubesphere.io", "v1alpha1"),
        ("extensions.kubesphere.io", "v1alpha1"),
        ("gateway.kubesphere.io", "v1alpha2"),
        ("iam.kubesphere.io", "v1beta1"),
        ("kubesphere.io", "v1alpha1"),
        ("quota.kubesphere.io", "v1alpha2"),
        ("storage.kubesphere.io", "v1alpha1"),
        ("tenant.kubesphere.io", "v1beta1"),
    ]
)
_KNOWN_GROUPS = _KUBERNETES | {group for group, _ in _KNOWN}
_DEFINITIONS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition")


_WORD = re.compile(r"[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?")


class Client(Protocol):
    """The part of :class:`ksproxyd.kube.client.KubeClient` that is needed here."""

    async def get(self, resource: Resource, name: str) -> Object: ...

    async def read(self, path: str) -> Any: ...


class Found(msgspec.Struct, frozen=True):
    """A resource, and the kinds of its subresources as ``apiVersion`` and ``kind``.

    ``known`` says that its group is Kubernetes' or KubeSphere's own.
    """

    resource: Resource
    subresources: dict[str, tuple[str, str]]
    known: bool


class Discovery:
    """Asks the server, and remembers for a while."""

    def __init__(self, clock: IReactorTime, client: Client) -> None:
        self._clock = clock
        self._client = client
        self._versions: dict[tuple[str, str], tuple[float, dict[str, Found]]] = {}
        self._served: dict[str, tuple[float, bool]] = {}

    async def find(self, group: str, version: str, plural: str) -> Found | None:
        """The resource, or None where nothing is served. Raises :class:`StatusError` where the server cannot say."""
        # They are parts of paths at the server.
        if not all(map(_WORD.fullmatch, (group or "core", version, plural))):
            return None
        if group not in _KUBERNETES and (group, version) not in _KNOWN and not await self._is_served(plural, group):
            return None
        return (await self._resources(group, version, plural)).get(plural)

    async def _is_served(self, plural: str, group: str) -> bool:
        definition = f"{plural}.{group}"
        now = self._clock.seconds()
        kept = self._served.get(definition)
        # A definition that is being made is looked for again soon.
        if kept is not None and now - kept[0] < (FRESH if kept[1] else AGAIN):
            return kept[1]
        try:
            found = await self._client.get(_DEFINITIONS, definition)
        except KubeError as error:
            if error.code != 404:
                raise _cannot_say(error) from error
            served = False
        else:
            labels = field(found, "metadata", "labels")
            served = isinstance(labels, dict) and labels.get(SERVED_LABEL) == "true"
        if len(self._served) >= MOST:
            self._served.clear()
        self._served[definition] = (now, served)
        return served

    async def _resources(self, group: str, version: str, plural: str) -> dict[str, Found]:
        now = self._clock.seconds()
        kept = self._versions.get((group, version))
        if kept is not None and now - kept[0] < (FRESH if plural in kept[1] else AGAIN):
            return kept[1]
        path = f"/apis/{group}/{version}" if group else f"/api/{version}"
        try:
            found = _read(await self._client.read(path), group, version)
        except KubeError as error:
            if error.code != 404:
                raise _cannot_say(error) from error
            found = {}
        if len(self._versions) >= MOST:
            self._versions.clear()
        self._versions[group, version] = (now, found)
        return found


def _read(document: Any, group: str, version: str) -> dict[str, Found]:
    entries = field(document, "resources")
    known = group in _KNOWN_GROUPS
    found: dict[str, Found] = {}
    parts: list[tuple[str, str, tuple[str, str]]] = []
    for entry in entries if isinstance(entries, list) else ():
        name, kind = text(entry, "name"), text(entry, "kind")
        plural, slash, part = name.partition("/")
        if slash:
            of = text(entry, "group") or ("" if text(entry, "version") else group)
            api = text(entry, "version") or version
            parts.append((plural, part, (f"{of}/{api}" if of else api, kind)))
        elif plural and kind:
            resource = Resource(group, version, plural, kind, namespaced=field(entry, "namespaced") is True)
            found[plural] = Found(resource, {}, known)
    for plural, part, kinds in parts:
        if plural in found:
            found[plural].subresources[part] = kinds
    return found


def _cannot_say(error: KubeError) -> StatusError:
    return StatusError(error.code, error.reason, f"the Kubernetes API does not say what it serves: {error.message}")
