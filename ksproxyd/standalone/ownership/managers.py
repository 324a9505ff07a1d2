"""Field ownership: ``metadata.managedFields``, and server-side apply which goes by it.

Every writer is a *manager*: by name, by operation (Apply, or Update for everything else), by API version and by
subresource. An Update takes what it changes from whoever had it. An Apply owns what its configuration says: another
manager's field that it would change is a conflict (409) unless forced, and what its last configuration said and the
new one does not is removed if nobody else owns it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ksproxyd.model.status import StatusError
from ksproxyd.standalone.kinds.registry import Kind, Object
from ksproxyd.standalone.ownership import fieldset
from ksproxyd.standalone.ownership.fieldset import Tree
from ksproxyd.standalone.ownership.typed import compare, field_set, merge, remove

APPLY = "Apply"
UPDATE = "Update"

#: Owns what was there before anybody applied.
BEFORE_FIRST_APPLY = "before-first-apply"

#: Nobody owns these: they say which object it is, or the server sets them.
_UNOWNED = fieldset.decoded(
    {
        "f:apiVersion": {},
        "f:kind": {},
        "f:metadata": {
            ".": {},
            "f:name": {},
            "f:namespace": {},
            "f:creationTimestamp": {},
            "f:deletionGracePeriodSeconds": {},
            "f:deletionTimestamp": {},
            "f:generation": {},
            "f:managedFields": {},
            "f:resourceVersion": {},
            "f:selfLink": {},
            "f:uid": {},
        },
    }
)


class Manager(msgspec.Struct, frozen=True):
    """Who owns fields."""

    name: str
    operation: str
    api_version: str
    subresource: str = ""

    def told(self) -> str:
        """The manager in a message about a conflict."""
        text = f'"{self.name}"'
        if self.subresource:
            text += f' with subresource "{self.subresource}"'
        return text if self.operation == APPLY else f"{text} using {self.api_version}"


class _Owned(msgspec.Struct):
    fields: Tree
    time: str


_Managers = dict[Manager, _Owned]


def _read(entries: Any) -> _Managers | None:
    """The managers of an object, None if the entries make no sense."""
    if not isinstance(entries, list):
        return None
    managers: _Managers = {}
    for entry in entries:
        operation = entry.get("operation") if isinstance(entry, dict) else None
        if operation not in (APPLY, UPDATE) or entry.get("fieldsType") != "FieldsV1":
            return None
        try:
            fields = fieldset.decoded(entry.get("fieldsV1") or {})
        except ValueError:
            return None
        manager = Manager(
            entry.get("manager") or "", operation, entry.get("apiVersion") or "", entry.get("subresource") or ""
        )
        managers[manager] = _Owned(fields, entry.get("time") or "")
    return managers


def _written(managers: _Managers) -> list[Object]:
    entries = []
    for manager, owned in managers.items():
        if not owned.fields:
            continue
        entry: Object = {"manager": manager.name, "operation": manager.operation, "apiVersion": manager.api_version}
        if owned.time:
            entry["time"] = owned.time
        entry |= {"fieldsType": "FieldsV1", "fieldsV1": fieldset.encoded(owned.fields)}
        if manager.subresource:
            entry["subresource"] = manager.subresource
        entries.append(entry)
    entries.sort(key=lambda entry: (entry["operation"], entry.get("time", ""), entry["manager"], entry["apiVersion"]))
    return entries


def _put(value: Object, managers: _Managers) -> None:
    entries = _written(managers)
    if entries:
        value["metadata"]["managedFields"] = entries
    else:
        value["metadata"].pop("managedFields", None)


def updated(kind: Kind, old: Object | None, new: Object, manager: str, subresource: str, now: str) -> None:
    """Record in ``new`` (in place) that ``manager`` made it from ``old`` (None: created it).

    The managers are the ones ``new`` came with, else those of ``old``. A writer who sends an empty list wipes them,
    and an object without any is not tracked again before somebody applies.
    """
    sent = new["metadata"].get("managedFields")
    if sent is not None and not any(sent):
        new["metadata"].pop("managedFields")
        if old is not None:
            return
        sent = None
    before = _read(sent) if sent else None
    if before is None:
        before = _read(old["metadata"].get("managedFields") or []) if old is not None else {}
    if before is None or (old is not None and not before):
        new["metadata"].pop("managedFields", None)
        return
    change = compare(kind.schema, {} if old is None else old, new)
    gained = fieldset.difference(fieldset.union(change.added, change.modified), _UNOWNED)
    me = Manager(manager, UPDATE, kind.group_version, subresource)
    after: _Managers = {}
    for each, owned in before.items():
        fields = fieldset.difference(owned.fields, change.removed)
        if each != me:
            fields = fieldset.difference(fields, gained)
        after[each] = _Owned(fields, owned.time)
    mine = after.get(me, _Owned({}, ""))
    fields = fieldset.union(mine.fields, gained)
    if me not in before or fields != before[me].fields:
        after[me] = _Owned(fields, now)
    _put(new, after)


class Applied(msgspec.Struct):
    """What an apply makes of an object, before defaults and checks."""

    value: Object
    managers: Any


def applied(kind: Kind, live: Object | None, config: Object, manager: str, subresource: str, force: bool) -> Applied:
    """``config`` applied to ``live`` (None: to nothing). 409 for conflicts unless forced."""
    config = _relevant(kind, config, subresource)
    me = Manager(manager, APPLY, kind.group_version, subresource)
    base: Object = {} if live is None else live
    managers = _read(base.get("metadata", {}).get("managedFields") or []) or {}
    if live is not None and not managers:
        everything = fieldset.difference(compare(kind.schema, {}, live).added, _UNOWNED)
        managers = {Manager(BEFORE_FIRST_APPLY, UPDATE, kind.group_version): _Owned(everything, "")}
    said = fieldset.difference(field_set(kind.schema, config), _UNOWNED)
    # An applier is the same one whatever version it applied last.
    former = [each for each in managers if _same_applier(each, me)]
    last = fieldset.union_of(managers.pop(each).fields for each in former)
    value = merge(kind.schema, base, config)
    kept = fieldset.union_of([said, *(owned.fields for owned in managers.values())])
    value = remove(kind.schema, value, last, kept)
    change = compare(kind.schema, base, value)
    gained = fieldset.union(change.added, change.modified)
    conflicts = {each: fieldset.intersection(owned.fields, gained) for each, owned in managers.items()}
    conflicts = {each: fields for each, fields in conflicts.items() if fields}
    if conflicts and not force:
        raise _conflict(conflicts)
    for each, owned in managers.items():
        fields = fieldset.difference(owned.fields, conflicts.get(each, {}))
        managers[each] = _Owned(fieldset.difference(fields, change.removed), owned.time)
    managers[me] = _Owned(said, "")
    return Applied(value, managers)


def settled(value: Object, live: Object | None, applied_: Applied, manager: str, subresource: str, now: str) -> None:
    """Write the managers of an apply into the finished ``value`` (in place)."""
    before = _read(live["metadata"].get("managedFields") or []) or {} if live is not None else {}
    for each, owned in applied_.managers.items():
        if each.operation == APPLY and each.name == manager and each.subresource == subresource:
            former = before.get(each)
            owned.time = former.time if former is not None and former.fields == owned.fields else now
        elif not owned.time:
            owned.time = now
    _put(value, applied_.managers)


def _same_applier(one: Manager, other: Manager) -> bool:
    return one.operation == APPLY and one.name == other.name and one.subresource == other.subresource


def _relevant(kind: Kind, config: Object, subresource: str) -> Object:
    """What an endpoint takes of a configuration: status at its subresource, the rest at the object itself."""
    if not kind.has_status:
        return config
    if subresource == "status":
        return {field: each for field, each in config.items() if field == "status"}
    return {field: each for field, each in config.items() if field != "status"}


def _conflict(conflicts: dict[Manager, Tree]) -> StatusError:
    causes = []
    texts = []
    for manager, fields in sorted(conflicts.items(), key=lambda each: each[0].told()):
        shown = sorted(fieldset.shown(path) for path in fieldset.paths(fields))
        for field in shown:
            message = f"conflict with {manager.told()}"
            causes.append({"reason": "FieldManagerConflict", "message": message, "field": field})
        if len(shown) == 1:
            texts.append(f"conflict with {manager.told()}: {shown[0]}")
        else:
            texts.append("\n- ".join([f"conflicts with {manager.told()}:", *shown]))
    noun = "conflict" if len(causes) == 1 else "conflicts"
    message = f"Apply failed with {len(causes)} {noun}: " + "\n".join(texts)
    return StatusError(409, "Conflict", message, {"causes": causes})
