"""The registry of served kinds: built-in ones, and those that CustomResourceDefinitions add while we run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from ksproxyd.standalone.kinds import names
from ksproxyd.standalone.schema.nodes import Node
from ksproxyd.standalone.wire.errors import FieldError

Object = dict[str, Any]

#: When ``metadata.generation`` grows: never, with the spec, with anything but metadata and status, or as the last
#: with status counted too (a custom kind without the status subresource).
NEVER = "never"
WITH_SPEC = "spec"
WITHOUT_STATUS = "all but status"
WITH_STATUS = "all"


class ScalePaths(msgspec.Struct, frozen=True):
    """Where the scale subresource finds its numbers; paths of keys."""

    spec_replicas: tuple[str, ...]
    status_replicas: tuple[str, ...]
    #: A serialized selector (custom kinds) or a LabelSelector object (built-in ones); empty for none.
    selector: tuple[str, ...] = ()


class Column(msgspec.Struct, frozen=True):
    """A column of the Table form. ``cell`` makes the value for an object at a time (seconds since the epoch)."""

    name: str
    cell: Callable[[Object, float], Any]
    type: str = "string"
    description: str = ""
    #: 0 is always shown, 1 with ``-o wide``.
    priority: int = 0
    format: str = ""


def _nothing(_: Object) -> None:
    return None


def _nothing_kept(_: Object, __: Object) -> None:
    return None


def _no_errors(_: Object) -> list[FieldError]:
    return []


def _no_update_errors(_: Object, __: Object) -> list[FieldError]:
    return []


VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


class Kind(msgspec.Struct, frozen=True, eq=False):
    """A kind at one of its versions, and the rules of its objects."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool
    schema: Node
    singular: str = ""
    list_kind: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    #: Objects are stored in this version.
    stored_version: str = ""
    custom: bool = False
    has_status: bool = False
    scale: ScalePaths | None = None
    generation: str = NEVER
    columns: tuple[Column, ...] = ()
    #: Fields that may stand in a field selector besides name and namespace: name → path.
    selectable: dict[str, tuple[str, ...]] = {}
    name_rule: names.NameRule = names.subdomain
    #: Finalizers must have a domain and a name, but for a few.
    qualified_finalizers: bool = True
    #: PUT and apply may come without resourceVersion / create what is not there.
    unconditional_update: bool = True
    create_on_update: bool = False
    #: A delete is answered with the object, not with a Status; as it was, or (graceful) as it became.
    returns_deleted: bool = False
    graceful: bool = False
    #: What becomes of dependents if a delete does not say.
    propagation: str = ""
    #: The status a new object has; None keeps what the client sent.
    initial_status: Callable[[Object], Object | None] | None = None
    #: Complete an object that is being created; in place, once it has its name and uid.
    prepare: Callable[[Object], None] = _nothing
    #: Change an object that begins to be deleted; in place.
    condemn: Callable[[Object], None] = _nothing
    #: Fill in defaults that depend on more than the schema; in place.
    default: Callable[[Object], None] = _nothing
    #: Carry over or derive what an update does not write; in place: (new, old).
    settle: Callable[[Object, Object], None] = _nothing_kept
    check: Callable[[Object], list[FieldError]] = _no_errors
    check_update: Callable[[Object, Object], list[FieldError]] = _no_update_errors
    #: The structural schema as given (custom kinds), for OpenAPI.
    openapi: Object | None = None
    #: Warning for every request, if this version is deprecated.
    deprecation: str = ""
    verbs: tuple[str, ...] = VERBS

    @property
    def group_version(self) -> str:
        """``apps/v1``; just ``v1`` in the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def stored_group_version(self) -> str:
        version = self.stored_version or self.version
        return f"{self.group}/{version}" if self.group else version

    @property
    def protobuf(self) -> Node | None:
        """The type by which protobuf is read; custom kinds and definitions are sent as JSON."""
        return None if self.custom or self.group == "apiextensions.k8s.io" else self.schema

    @property
    def topic(self) -> str:
        """Names the kind in the store, whatever the version: ``apps/deployments``."""
        return f"{self.group}/{self.plural}"

    @property
    def one(self) -> str:
        """The singular name."""
        return self.singular or self.kind.lower()

    @property
    def many(self) -> str:
        """The kind of lists."""
        return self.list_kind or f"{self.kind}List"

    def __repr__(self) -> str:
        return f"<Kind {self.group_version} {self.plural}>"


class Kinds:
    """Who is served, by group, version and plural name.

    ``generation`` grows with every change, for whoever keeps something made from the registry (discovery, OpenAPI).
    """

    def __init__(self, builtin: Iterable[Kind] = ()) -> None:
        self._served: dict[tuple[str, str], dict[str, Kind]] = {}
        self._owned: dict[str, list[Kind]] = {}
        self._topics: dict[str, Kind] = {}
        self.generation = 0
        for kind in builtin:
            self._add(kind)

    def find(self, group: str, version: str, plural: str) -> Kind | None:
        """The kind served at ``/apis/GROUP/VERSION/…/PLURAL``."""
        return self._served.get((group, version), {}).get(plural)

    def serves(self, group: str, version: str) -> bool:
        """Whether there is anything at this group and version."""
        return (group, version) in self._served

    def groups(self) -> dict[str, list[str]]:
        """Every group with its versions, preferred version first; the core group is ``""``."""
        found: dict[str, list[str]] = {}
        for group, version in self._served:
            found.setdefault(group, []).append(version)
        for versions in found.values():
            versions.sort(key=priority)
        return found

    def at(self, group: str, version: str) -> list[Kind]:
        """The kinds of a group and version, by plural name."""
        return [kind for _, kind in sorted(self._served.get((group, version), {}).items())]

    def stored(self) -> list[Kind]:
        """One kind (at any served version) for each topic."""
        return list(self._topics.values())

    def of_topic(self, topic: str) -> Kind | None:
        """The kind (at any served version) of a topic."""
        return self._topics.get(topic)

    def by_name(self, api_version: str, kind_name: str) -> Kind | None:
        """The kind of an object, found by its apiVersion and kind."""
        group, _, version = api_version.rpartition("/")
        for kind in self._served.get((group, version), {}).values():
            if kind.kind == kind_name:
                return kind
        return None

    def replace(self, owner: str, kinds: list[Kind]) -> None:
        """Serve ``kinds`` for the definition named ``owner``, instead of what it had before (none: stop serving)."""
        for old in self._owned.pop(owner, []):
            place = (old.group, old.version)
            self._served[place].pop(old.plural, None)
            self._topics.pop(old.topic, None)
            if not self._served[place]:
                del self._served[place]
        if kinds:
            self._owned[owner] = kinds
            for kind in kinds:
                self._add(kind)
        self.generation += 1

    def owned(self, owner: str) -> list[Kind]:
        """What is served for the definition named ``owner``."""
        return self._owned.get(owner, [])

    def _add(self, kind: Kind) -> None:
        self._served.setdefault((kind.group, kind.version), {})[kind.plural] = kind
        self._topics[kind.topic] = kind


def priority(version: str) -> tuple[int, int, int, str]:
    """Sort key that puts the version to prefer first: ``v2``, ``v1``, ``v1beta2``, ``v1alpha1``, others by name."""
    for stage, word in enumerate(("", "beta", "alpha")):
        major, found, minor = version[1:].partition(word) if word else (version[1:], "", "")
        if version.startswith("v") and major.isdigit() and bool(found) == bool(word) and (not word or minor.isdigit()):
            return (stage, -int(major), -int(minor or 0), version)
    return (3, 0, 0, version)
