"""Creating, updating and patching objects: the order of things that every write goes through."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import msgspec

from ksproxyd.model.status import StatusError, bad_request
from ksproxyd.standalone.kinds.registry import Kind, Object
from ksproxyd.standalone.ownership import managers
from ksproxyd.standalone.ownership.managers import Applied
from ksproxyd.standalone.ownership.typed import SchemaError
from ksproxyd.standalone.ownership.typed import check as check_typed
from ksproxyd.standalone.paths import look
from ksproxyd.standalone.schema.nodes import copied
from ksproxyd.standalone.storage.log import Clock
from ksproxyd.standalone.storage.store import Key, Store
from ksproxyd.standalone.wire import errors
from ksproxyd.standalone.wire.options import WriteOptions
from ksproxyd.standalone.writing import metadata
from ksproxyd.standalone.writing.admission import admit, check_identity, check_object
from ksproxyd.standalone.writing.namespaces import Namespaces
from ksproxyd.standalone.writing.patches import Change

STATUS = "status"

#: So often a name is generated anew if it is taken.
_ATTEMPTS = 8

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class Written:
    """What a write made: the object as it is now, whether it was created, and warnings for the client."""

    __slots__ = ("created", "value", "warnings")

    def __init__(self, value: Object, created: bool, warnings: list[str]) -> None:
        self.value = value
        self.created = created
        self.warnings = warnings


class Writer:
    """Writes to ``store``. ``source`` gives uids and generated names; ``clock`` the time."""

    def __init__(self, store: Store, namespaces: Namespaces, clock: Clock, source: random.Random) -> None:
        self._store = store
        self._namespaces = namespaces
        self._clock = clock
        self._source = source

    def now(self) -> str:
        """The present time as objects carry it."""
        return metadata.timestamp(self._clock.seconds())

    def current(self, kind: Kind, key: Key) -> Object | None:
        """The present state of an object in the version of ``kind``, None if there is none."""
        body = self._store.get(key)
        if body is None:
            return None
        value: Object = msgspec.json.decode(body)
        value["apiVersion"] = kind.group_version
        return value

    # -- create --------------------------------------------------------------------------------------------

    def create(self, kind: Kind, namespace: str, value: Object, options: WriteOptions) -> Written:
        """Create an object from what a client sent."""
        warnings: list[str] = []
        check_identity(kind, value)
        admit(kind, value, options.validation, warnings)
        self._place(kind, namespace, "", value["metadata"])
        return self._create(kind, namespace, value, options, warnings, None)

    def _create(
        self,
        kind: Kind,
        namespace: str,
        value: Object,
        options: WriteOptions,
        warnings: list[str],
        applied: Applied | None,
    ) -> Written:
        self._namespaces.check_open(kind, namespace, value["metadata"].get("name") or "")
        meta = value["metadata"]
        if meta.get("resourceVersion"):
            raise StatusError(500, "InternalError", "resourceVersion should not be set on objects to be created")
        meta.pop("resourceVersion", None)
        metadata.begin(kind, meta, self.now(), metadata.new_uid(self._source))
        base = "" if meta.get("name") else meta.get("generateName") or ""
        if kind.has_status and (kind.custom or kind.initial_status is not None):
            value.pop("status", None)
        if applied is None:
            managers.updated(kind, None, value, options.manager, "", self.now())
        else:
            managers.settled(value, None, applied, options.manager, "", self.now())
        if base:
            meta["name"] = self._free_name(kind, namespace, base)
        key = Key(kind.topic, namespace, meta.get("name") or "")
        kind.prepare(value)
        found = check_object(kind, value, None)
        if found:
            raise errors.invalid(kind.kind, kind.group, meta.get("name") or "", found)
        if self._store.get(key) is not None:
            raise errors.already_exists(kind.plural, kind.group, key.name)
        if kind.initial_status is not None:
            status = kind.initial_status(value)
            if status is not None:
                value["status"] = status
        if not options.dry_run:
            value = self._save(kind, key, value)
        return Written(value, True, warnings)

    def _free_name(self, kind: Kind, namespace: str, base: str) -> str:
        """A generated name that is not taken, if one is found in a few attempts."""
        for _ in range(_ATTEMPTS):
            name = metadata.generated(base, self._source)
            if self._store.get(Key(kind.topic, namespace, name)) is None:
                break
        return name

    # -- update --------------------------------------------------------------------------------------------

    def update(self, kind: Kind, key: Key, value: Object, options: WriteOptions, subresource: str = "") -> Written:
        """Replace an object, or its status, by what a client sent."""
        warnings: list[str] = []
        check_identity(kind, value)
        admit(kind, value, options.validation, warnings)
        self._place(kind, key.namespace, key.name, value["metadata"])
        old = self.current(kind, key)
        if old is None:
            if not kind.create_on_update or subresource or value["metadata"].get("uid"):
                raise errors.no_such_object(kind.plural, kind.group, key.name)
            value["metadata"].pop("resourceVersion", None)
            return self._create(kind, key.namespace, value, options, warnings, None)
        uid, mine = value["metadata"].get("uid"), old["metadata"]["uid"]
        if uid and uid != mine:
            why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {mine}"
            raise errors.conflict(kind.plural, kind.group, key.name, why)
        if not value["metadata"].get("resourceVersion") and not kind.unconditional_update:
            error = errors.invalid_value("metadata.resourceVersion", 0, "must be specified for an update")
            raise errors.invalid(kind.plural, kind.group, key.name, [error])
        return self.replace(kind, key, old, value, options, subresource, warnings, None)

    def patch(self, kind: Kind, key: Key, change: Change, options: WriteOptions, subresource: str = "") -> Written:
        """Change an object, or its status, by a patch."""
        old = self.current(kind, key)
        if old is None:
            raise errors.no_such_object(kind.plural, kind.group, key.name)
        warnings: list[str] = []
        value = change(old)
        value = copied(value) if value is old else value
        uid = look(value, ("metadata", "uid"))
        if uid and uid != old["metadata"]["uid"]:
            error = errors.invalid_value("metadata.uid", uid, "field is immutable")
            raise errors.invalid(kind.kind, kind.group, key.name, [error])
        self._check_patched_identity(kind, key, value)
        admit(kind, value, options.validation, warnings, as_patch=True)
        self._place(kind, key.namespace, key.name, value["metadata"])
        return self.replace(kind, key, old, value, options, subresource, warnings, None)

    def _check_patched_identity(self, kind: Kind, key: Key, value: Object) -> None:
        found = []
        if value.get("apiVersion") != kind.group_version:
            said = value.get("apiVersion")
            found.append(errors.invalid_value("apiVersion", said, f"must be {kind.group_version}"))
        if value.get("kind") != kind.kind:
            found.append(errors.invalid_value("kind", value.get("kind"), f"must be {kind.kind}"))
        if found:
            raise errors.invalid(str(value.get("kind")), kind.group, key.name, found)

    def apply(self, kind: Kind, key: Key, config: Any, options: WriteOptions, subresource: str = "") -> Written:
        """Server-side apply of a configuration."""
        config = self._checked_config(kind, key, config, options)
        old = self.current(kind, key)
        given = config["metadata"]
        if old is None:
            if subresource:
                raise errors.no_such_object(kind.plural, kind.group, key.name)
            if given.get("uid"):
                why = f"the provided object specified uid {given['uid']}, and no existing object was found"
                raise errors.conflict(kind.plural, kind.group, key.name, f"uid mismatch: {why}")
        applied = managers.applied(kind, old, config, options.manager, subresource, options.force)
        value = copied(applied.value)
        warnings: list[str] = []
        admit(kind, value, options.validation, warnings)
        self._place(kind, key.namespace, key.name, value["metadata"])
        if old is None:
            value["metadata"].pop("resourceVersion", None)
            return self._create(kind, key.namespace, value, options, warnings, applied)
        self._refresh_last_applied(value, config, options.manager)
        return self.replace(kind, key, old, value, options, subresource, warnings, applied)

    def _checked_config(self, kind: Kind, key: Key, config: Any, options: WriteOptions) -> Object:
        if not isinstance(config, dict):
            raise bad_request("error decoding YAML: the configuration is not an object")
        if config.get("apiVersion") != kind.group_version or config.get("kind") != kind.kind:
            group, _, version = str(config.get("apiVersion") or "").rpartition("/")
            raise bad_request(f"invalid object type: {group}/{version}, Kind={config.get('kind') or ''}")
        if not isinstance(config.setdefault("metadata", {}), dict):
            raise bad_request("error decoding YAML: metadata is not an object")
        if config["metadata"].get("managedFields"):
            raise bad_request("metadata.managedFields must be nil")
        config["metadata"].setdefault("name", key.name)
        self._place(kind, key.namespace, key.name, config["metadata"])
        try:
            check_typed(kind.schema, config)
        except SchemaError as error:
            what = f"{key.namespace}/{key.name}; {kind.group_version}, Kind={kind.kind}"
            # kube-apiserver calls this an internal error; it is the client's.
            message = f"failed to create typed patch object ({what}): {error}"
            raise StatusError(500, "InternalError", message) from None
        return config

    def _refresh_last_applied(self, value: Object, config: Object, manager: str) -> None:
        """``kubectl apply`` may come again without ``--server-side``: keep what it goes by up to date."""
        annotations = value["metadata"].get("annotations") or {}
        if manager == "kubectl" and _LAST_APPLIED in annotations:
            annotations[_LAST_APPLIED] = msgspec.json.encode(config).decode() + "\n"

    # -- the common part -----------------------------------------------------------------------------------

    def _place(self, kind: Kind, namespace: str, name: str, meta: Object) -> None:
        """That the object belongs where the path says."""
        if meta.get("namespace") and namespace and meta["namespace"] != namespace:
            raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
        if namespace:
            meta["namespace"] = namespace
        else:
            meta.pop("namespace", None)
        if not name:
            return
        if not meta.get("name"):
            message = f"the name of the object ({name} based on URL) was undeterminable: name must be provided"
            raise bad_request(message)
        if meta["name"] != name:
            message = f"the name of the object ({meta['name']}) does not match the name on the URL ({name})"
            raise bad_request(message)

    def replace(
        self,
        kind: Kind,
        key: Key,
        old: Object,
        value: Object,
        options: WriteOptions,
        subresource: str,
        warnings: list[str],
        applied: Applied | None,
    ) -> Written:
        """Make ``value`` (admitted and in its place) of ``old``, as far as ``subresource`` writes it."""
        meta = value["metadata"]
        rv = meta.get("resourceVersion")
        if rv and rv != old["metadata"]["resourceVersion"]:
            raise errors.conflict(kind.plural, kind.group, key.name, errors.MODIFIED)
        value = self._kept(kind, old, value, subresource)
        meta = value["metadata"]
        metadata.carry_over(old["metadata"], meta)
        meta["resourceVersion"] = old["metadata"]["resourceVersion"]
        kind.settle(value, old)
        if applied is not None:
            managers.settled(value, old, applied, options.manager, subresource, self.now())
        else:
            managers.updated(kind, old, value, options.manager, subresource, self.now())
        if metadata.grown(kind, old, value):
            meta["generation"] = old["metadata"].get("generation", 0) + 1
        found = check_object(kind, value, old)
        if found:
            raise errors.invalid(kind.kind, kind.group, key.name, found)
        if options.dry_run:
            return Written(value, False, warnings)
        if finished(value):
            last = copied(value)
            self._store.delete(key, ordered(last, kind.stored_group_version))
        elif value != old:
            value = self._save(kind, key, value)
        return Written(value, False, warnings)

    def _kept(self, kind: Kind, old: Object, value: Object, subresource: str) -> Object:
        """``value`` with what its endpoint does not write as it was."""
        if subresource == STATUS:
            kept = {**old, "metadata": {**old["metadata"]}}
            if "managedFields" in value["metadata"]:
                kept["metadata"]["managedFields"] = value["metadata"]["managedFields"]
            kept.pop("status", None)
            return kept | ({"status": value["status"]} if "status" in value else {})
        if kind.has_status:
            value.pop("status", None)
            if "status" in old:
                value["status"] = old["status"]
        return value

    def _save(self, kind: Kind, key: Key, value: Object) -> Object:
        value = ordered(value, kind.stored_group_version)
        self._store.write(key, value)
        return value

    # -- for the controllers -------------------------------------------------------------------------------

    def rewrite(self, kind: Kind, key: Key, change: Callable[[Object], None]) -> Object | None:
        """Change an object in place on the server's own account: no checks, no managers. None if it is gone.

        An object that is being deleted and has no finalizers left afterwards is removed.
        """
        value = self.current(kind, key)
        if value is None:
            return None
        before = copied(value)
        change(value)
        if finished(value):
            self._store.delete(key, ordered(value, kind.stored_group_version))
        elif value != before:
            value = self._save(kind, key, value)
        return value

    def remove(self, kind: Kind, key: Key, value: Object) -> None:
        """Remove an object at once; ``value`` is its last state."""
        self._store.delete(key, ordered(copied(value), kind.stored_group_version))


def finished(value: Object) -> bool:
    """Whether an object is being deleted and nothing holds it any more."""
    meta = value["metadata"]
    if not meta.get("deletionTimestamp") or meta.get("finalizers"):
        return False
    return value.get("kind") != "Namespace" or not look(value, ("spec", "finalizers"))


def ordered(value: Object, api_version: str) -> Object:
    """An object as it is stored: in its stored version, with what says what it is in front."""
    rest = {key: each for key, each in value.items() if key not in ("apiVersion", "kind", "metadata")}
    return {"apiVersion": api_version, "kind": value["kind"], "metadata": value["metadata"], **rest}
