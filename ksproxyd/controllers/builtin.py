"""Roles that a new workspace or project gets from the BuiltinRoles, and who is bound to them first (spec 03, 3.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from twisted.internet.interfaces import IReactorTime

from ksproxyd.controllers.labels import LONGEST, OWNER, ROLE_REF, SCOPE, USER_REF, label, strings
from ksproxyd.kapis.tenant.placement import parse_selector
from ksproxyd.kube.resource import Resource
from ksproxyd.state.kinds import BUILTIN_ROLES, Kind
from ksproxyd.state.state import State
from ksproxyd.state.store import Object
from ksproxyd.state.validation import field, name_of, text

#: Seconds without a change after which the BuiltinRoles are taken to be all there: they are installed one by one, and
#: what they are copied to is made once.
SETTLE = 3.0


class BuiltinRoles:
    """``changed()`` is called when there are others, and they seem to be complete."""

    def __init__(self, state: State, clock: IReactorTime) -> None:
        self._store = state.store(BUILTIN_ROLES)
        self._clock = clock
        self._changed_at = float("-inf")

    def subscribe(self, changed: Callable[[float], object]) -> Callable[[], None]:
        """``changed(seconds)`` is called when things made of them are to be looked at, in so many seconds."""

        def event(old: Object | None, new: Object | None) -> None:
            self._changed_at = self._clock.seconds()
            changed(SETTLE)

        return self._store.subscribe(event)

    def unsettled(self) -> float:
        """How many seconds to wait until they are taken to be complete."""
        return max(0.0, self._changed_at + SETTLE - self._clock.seconds())

    def of(self, level: str, labels: dict[str, str]) -> Iterator[Object]:
        """The roles for a workspace or namespace with these labels, by the names of the BuiltinRoles."""
        for value in sorted(self._store.values(), key=name_of):
            role = field(value, "role")
            if label(value, SCOPE) != level or not name_of(role) or not _is_for(value, labels):
                continue
            yield role

    def any_of(self, level: str) -> bool:
        """Whether there are any at all."""
        return any(label(value, SCOPE) == level for value in self._store.values())


def _is_for(value: Object, labels: dict[str, str]) -> bool:
    selector = field(value, "targetSelector")
    if selector is None:
        return True
    try:
        return parse_selector(selector).matches(labels)
    except ValueError:
        return False


def role_from(model: Object, resource: Resource, name: str, namespace: str = "", workspace: str = "") -> Object:
    """A role like ``model``, of this name."""
    labels = strings(field(model, "metadata", "labels")) | ({OWNER: workspace} if workspace else {})
    annotations = strings(field(model, "metadata", "annotations"))
    value: Object = {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {"name": name, **({"namespace": namespace} if namespace else {})},
        "rules": field(model, "rules") or [],
    }
    if labels:
        value["metadata"]["labels"] = labels
    if annotations:
        value["metadata"]["annotations"] = annotations
    aggregation = field(model, "aggregationRoleTemplates")
    if aggregation is not None:
        value["aggregationRoleTemplates"] = aggregation
    return value


def binding_of(kind: Kind, name: str, user: str, role: str, namespace: str = "", workspace: str = "") -> Object:
    """What gives ``user`` a role of the kind that goes with these bindings."""
    resource = kind.resource
    group = resource.group
    labels = {USER_REF: user, ROLE_REF: role, OWNER: workspace}
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {
            "name": name,
            **({"namespace": namespace} if namespace else {}),
            # What is no label value would be refused, and is found by the subject as well.
            "labels": {key: value for key, value in labels.items() if value and len(value) <= LONGEST},
        },
        "roleRef": {"apiGroup": group, "kind": resource.kind.removesuffix("Binding"), "name": role},
        "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
    }


def binds(value: Object, user: str) -> bool:
    """Whether ``user``, and nobody else, is bound by ``value``."""
    subjects = field(value, "subjects")
    return (
        isinstance(subjects, list)
        and len(subjects) == 1
        and (text(subjects[0], "kind"), text(subjects[0], "name")) == ("User", user)
    )
