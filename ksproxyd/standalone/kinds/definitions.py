"""CustomResourceDefinitions: their own rules, and the kinds they make."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from ksproxyd.standalone.kinds import names
from ksproxyd.standalone.kinds.columns import since
from ksproxyd.standalone.kinds.columns_cluster import CUSTOM, CUSTOM_RESOURCE_DEFINITION
from ksproxyd.standalone.kinds.jsonpath import compile_path
from ksproxyd.standalone.kinds.registry import (
    VERBS,
    WITH_SPEC,
    WITH_STATUS,
    WITHOUT_STATUS,
    Column,
    Kind,
    Kinds,
    Object,
    ScalePaths,
)
from ksproxyd.standalone.paths import look, simple
from ksproxyd.standalone.schema.nodes import Node
from ksproxyd.standalone.schema.structural import check_schema, root_node
from ksproxyd.standalone.schema.typetable import type_node
from ksproxyd.standalone.schema.validation import validate
from ksproxyd.standalone.storage.log import Log
from ksproxyd.standalone.storage.store import ADDED, DELETED, Event, Store
from ksproxyd.standalone.wire.errors import FieldError, forbidden_field, invalid_value, not_supported, required

GROUP = "apiextensions.k8s.io"
TOPIC = f"{GROUP}/customresourcedefinitions"

#: Keeps a definition until its objects are gone.
CLEANUP_FINALIZER = "customresourcecleanup.apiextensions.k8s.io"

_COLUMN_TYPES = ("integer", "number", "string", "boolean", "date")
_SIMPLE_PATH = re.compile(r"(\.[A-Za-z0-9_\-]+)+")
_VERSION = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")


def definition_kind(kinds: Kinds) -> Kind:
    """The kind CustomResourceDefinition, whose checks need to know what is served already."""
    return Kind(
        GROUP,
        "v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        False,
        type_node("apiextensions", "CustomResourceDefinition"),
        short_names=("crd", "crds"),
        categories=("api-extensions",),
        has_status=True,
        generation=WITH_SPEC,
        columns=CUSTOM_RESOURCE_DEFINITION,
        initial_status=accepted_status,
        condemn=_hold,
        default=_default,
        settle=_settle,
        check=lambda value: _check(value, kinds),
        check_update=_check_change,
        qualified_finalizers=False,
        unconditional_update=False,
    )


def _hold(value: Object) -> None:
    """A definition that is being deleted stays until its objects are gone."""
    finalizers = value["metadata"].setdefault("finalizers", [])
    if CLEANUP_FINALIZER not in finalizers:
        finalizers.append(CLEANUP_FINALIZER)


def _default(value: Object) -> None:
    spec = value.get("spec")
    if not isinstance(spec, dict):
        return
    spec.setdefault("conversion", {}).setdefault("strategy", "None")
    named = spec.get("names")
    if isinstance(named, dict) and named.get("kind"):
        named.setdefault("singular", named["kind"].lower())
        named.setdefault("listKind", f"{named['kind']}List")


def accepted_status(value: Object) -> Object:
    """The status of a definition that is served from now on."""
    now = value["metadata"]["creationTimestamp"]
    conditions = [
        ("NamesAccepted", "NoConflicts", "no conflicts found"),
        ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
    ]
    return {
        "conditions": [
            {"type": kind, "status": "True", "lastTransitionTime": now, "reason": reason, "message": message}
            for kind, reason, message in conditions
        ],
        "acceptedNames": value["spec"]["names"],
        "storedVersions": [version["name"] for version in value["spec"]["versions"] if version.get("storage")],
    }


def _settle(new: Object, old: Object) -> None:
    """The status follows the spec: what names are served, and in which versions objects may be stored."""
    spec, status = new.get("spec") or {}, new.get("status")
    if status is None or spec == old.get("spec"):
        return
    stored = [version.get("name") for version in spec.get("versions") or [] if version.get("storage")]
    known = status.get("storedVersions") or []
    new["status"] = {
        **status,
        "acceptedNames": spec.get("names") or {},
        "storedVersions": [*known, *(version for version in stored if version not in known)],
    }


# -- checks ----------------------------------------------------------------------------------------------------


def _check(value: Object, kinds: Kinds) -> list[FieldError]:
    spec = value.get("spec") or {}
    named = spec.get("names") or {}
    group = spec.get("group") or ""
    errors = _check_names(value["metadata"].get("name") or "", group, named)
    if spec.get("scope") not in ("Cluster", "Namespaced"):
        errors.append(not_supported("spec.scope", spec.get("scope") or "", ["Cluster", "Namespaced"]))
    strategy = look(spec, ("conversion", "strategy"))
    if strategy != "None":
        errors.append(not_supported("spec.conversion.strategy", strategy, ["None"]))
    if spec.get("preserveUnknownFields"):
        detail = "must be false in order to use defaults in the schema"
        errors.append(invalid_value("spec.preserveUnknownFields", True, detail))
    versions = spec.get("versions") or []
    if not versions:
        errors.append(required("spec.versions", "must have at least one version"))
    elif sum(bool(version.get("storage")) for version in versions) != 1:
        errors.append(invalid_value("spec.versions", [], "must have exactly one version marked as storage version"))
    seen = set()
    for index, version in enumerate(versions):
        field = f"spec.versions[{index}]"
        name = version.get("name") or ""
        if not _VERSION.fullmatch(name):
            errors.append(invalid_value(f"{field}.name", name, "must be a DNS-1035 label"))
        if name in seen:
            errors.append(invalid_value(f"{field}.name", name, "must be unique"))
        seen.add(name)
        errors += _check_version(version, field)
    if not errors:
        errors = _check_free(value["metadata"].get("name") or "", spec, kinds)
    return errors


def _check_names(name: str, group: str, named: Object) -> list[FieldError]:
    errors = []
    if not group:
        errors.append(required("spec.group"))
    elif "." not in group or names.subdomain(group):
        errors.append(invalid_value("spec.group", group, "should be a domain with at least one dot"))
    for key in ("plural", "singular"):
        if not named.get(key):
            errors.append(required(f"spec.names.{key}"))
        else:
            errors += [invalid_value(f"spec.names.{key}", named[key], wrong) for wrong in names.service(named[key])]
    for key in ("kind", "listKind"):
        if not named.get(key):
            errors.append(required(f"spec.names.{key}"))
        else:
            for wrong in names.service(named[key].lower()):
                detail = f"may have mixed case, but should otherwise match: {wrong}"
                errors.append(invalid_value(f"spec.names.{key}", named[key], detail))
    if named.get("kind") and named.get("kind") == named.get("listKind"):
        errors.append(invalid_value("spec.names.listKind", named["kind"], "kind and listKind may not be the same"))
    expected = f"{named.get('plural') or ''}.{group}"
    if name != expected:
        errors.append(invalid_value("metadata.name", name, 'must be spec.names.plural+"."+spec.group'))
    return errors


def _check_version(version: Object, field: str) -> list[FieldError]:
    schema = look(version, ("schema", "openAPIV3Schema"))
    errors = check_schema(schema, f"{field}.schema.openAPIV3Schema")
    for index, column in enumerate(version.get("additionalPrinterColumns") or []):
        where = f"{field}.additionalPrinterColumns[{index}]"
        if not column.get("name"):
            errors.append(required(f"{where}.name"))
        if column.get("type") not in _COLUMN_TYPES:
            errors.append(not_supported(f"{where}.type", column.get("type") or "", sorted(_COLUMN_TYPES)))
        try:
            compile_path(column.get("jsonPath") or "?")
        except ValueError as error:
            errors.append(invalid_value(f"{where}.jsonPath", column.get("jsonPath") or "", str(error)))
    scale = look(version, ("subresources", "scale"))
    if scale is not None:
        for key, root in (("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")):
            path = scale.get(key) or ""
            if not _SIMPLE_PATH.fullmatch(path) or not path.startswith(root):
                errors.append(
                    invalid_value(f"{field}.subresources.scale.{key}", path, f"should be a json path under {root[:-1]}")
                )
    for index, selectable in enumerate(version.get("selectableFields") or []):
        path = selectable.get("jsonPath") or ""
        if not _SIMPLE_PATH.fullmatch(path):
            errors.append(invalid_value(f"{field}.selectableFields[{index}].jsonPath", path, "is an invalid path"))
    return errors


def _check_free(name: str, spec: Object, kinds: Kinds) -> list[FieldError]:
    """Two definitions cannot serve the same kind or resource of a group and version."""
    errors = []
    mine = {id(kind) for kind in kinds.owned(name)}
    for index, version in enumerate(spec["versions"]):
        for other in kinds.at(spec["group"], version["name"]):
            if id(other) in mine:
                continue
            field = f"spec.versions[{index}].name"
            if other.kind == spec["names"]["kind"] or other.plural == spec["names"]["plural"]:
                detail = f"{other.kind} ({other.plural}) is served there already"
                errors.append(invalid_value(field, version["name"], detail))
    return errors


def _check_change(new: Object, old: Object) -> list[FieldError]:
    errors = []
    for path in (("group",), ("scope",), ("names", "plural"), ("names", "kind")):
        value = look(new["spec"], path)
        if value != look(old["spec"], path):
            errors.append(invalid_value(f"spec.{'.'.join(path)}", value, "field is immutable"))
    stored = look(old, ("status", "storedVersions")) or []
    names_ = [version["name"] for version in new["spec"]["versions"]]
    for version in stored:
        if version not in names_:
            detail = f"missing from spec.versions; {version} was previously a storage version, and must remain in it"
            errors.append(invalid_value("status.storedVersions[0]", version, detail))
    for version in new["spec"]["versions"]:
        before = next((each for each in old["spec"]["versions"] if each["name"] == version["name"]), None)
        if before is not None and before.get("storage") and not version.get("storage") and len(stored) > 1:
            errors.append(forbidden_field("spec.versions", "objects are stored in more than one version already"))
    return errors


class Definitions:
    """Keeps the registry true to the stored definitions."""

    def __init__(self, kinds: Kinds, log: Log) -> None:
        self._kinds = kinds
        self._log = log
        log.listen(self._notice)

    def start(self, store: Store) -> None:
        """Serve what is stored."""
        for row in store.page(TOPIC, None, None, -1):
            self._serve(row.name, msgspec.json.decode(row.body))

    def _notice(self, event: Event) -> None:
        if event.key.topic != TOPIC:
            return
        if event.type == DELETED:
            topic = topic_of(event.object)
            self._kinds.replace(event.key.name, [])
            self._log.finish(topic)
        elif event.type == ADDED:
            self._log.begin(topic_of(event.object))
            self._serve(event.key.name, event.object)
        elif event.previous is None or _served(event.previous) != _served(event.object):
            self._serve(event.key.name, event.object)

    def _serve(self, name: str, definition: Object) -> None:
        self._kinds.replace(name, kinds_of(definition))


def _served(definition: Object) -> tuple[Any, bool]:
    return definition["spec"], bool(definition["metadata"].get("deletionTimestamp"))


def topic_of(definition: Object) -> str:
    """The topic of a definition's objects."""
    return f"{definition['spec']['group']}/{definition['spec']['names']['plural']}"


# -- kinds -----------------------------------------------------------------------------------------------------


def kinds_of(definition: Object) -> list[Kind]:
    """The kinds that a definition makes: one for each served version."""
    spec = definition["spec"]
    named = spec["names"]
    stored = next(version["name"] for version in spec["versions"] if version.get("storage"))
    # Nothing new comes to a kind that is being removed.
    going = bool(definition["metadata"].get("deletionTimestamp"))
    verbs = tuple(verb for verb in VERBS if verb != "create") if going else VERBS
    return [_kind(spec, named, version, stored, verbs) for version in spec["versions"] if version.get("served")]


def _kind(spec: Object, named: Object, version: Object, stored: str, verbs: tuple[str, ...]) -> Kind:
    schema = version["schema"]["openAPIV3Schema"]
    node = root_node(schema)
    has_status = look(version, ("subresources", "status")) is not None
    deprecation = ""
    if version.get("deprecated"):
        standard = f"{spec['group']}/{version['name']} {named['kind']} is deprecated"
        deprecation = version.get("deprecationWarning") or standard
    selectable = {
        each["jsonPath"].removeprefix("."): simple(each["jsonPath"]) for each in version.get("selectableFields") or []
    }
    return Kind(
        spec["group"],
        version["name"],
        named["plural"],
        named["kind"],
        spec["scope"] == "Namespaced",
        node,
        singular=named.get("singular") or "",
        list_kind=named.get("listKind") or "",
        short_names=tuple(named.get("shortNames") or ()),
        categories=tuple(named.get("categories") or ()),
        stored_version=stored,
        custom=True,
        has_status=has_status,
        scale=_scale(look(version, ("subresources", "scale"))),
        generation=WITHOUT_STATUS if has_status else WITH_STATUS,
        columns=_columns(version.get("additionalPrinterColumns")),
        selectable=selectable,
        check=_checker(node),
        qualified_finalizers=False,
        unconditional_update=False,
        openapi=schema,
        deprecation=deprecation,
        verbs=verbs,
    )


def _checker(node: Node) -> Any:
    def check(value: Object) -> list[FieldError]:
        errors = validate(node, {key: each for key, each in value.items() if key != "metadata"})
        if node.rules is not None and "metadata" in node.rules.required:
            errors = [error for error in errors if error.field != "metadata"]
        return errors

    return check


def _scale(paths: Any) -> ScalePaths | None:
    if paths is None:
        return None
    return ScalePaths(
        simple(paths["specReplicasPath"]),
        simple(paths["statusReplicasPath"]),
        simple(paths.get("labelSelectorPath") or ""),
    )


def _columns(given: Any) -> tuple[Column, ...]:
    if not given:
        return CUSTOM
    found = []
    for column in given:
        description = column.get("description") or (
            f"Custom resource definition column (in JSONPath format): {column['jsonPath']}"
        )
        found.append(
            Column(
                column["name"],
                _cell(column["jsonPath"], column["type"]),
                column["type"],
                description,
                column.get("priority") or 0,
                column.get("format") or "",
            )
        )
    return tuple(found)


def _cell(path: str, kind: str) -> Any:
    find = compile_path(path)

    def cell(value: Object, now: float) -> Any:
        found = find(value)
        if not found or found[0] is None:
            return None
        first = found[0]
        if kind == "date":
            return since(first, now)
        if kind == "string":
            return ",".join(each if isinstance(each, str) else msgspec.json.encode(each).decode() for each in found)
        if kind == "boolean":
            return first if isinstance(first, bool) else None
        return first if isinstance(first, int | float) and not isinstance(first, bool) else None

    return cell
