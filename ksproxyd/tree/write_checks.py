"""What is asked before an object is written that gives rights to somebody, or says whose something is.

Roles and bindings, KubeSphere's and Kubernetes' own, RoleTemplates, BuiltinRoles, memberships of groups (spec 03, 8.2),
namespaces (D18, D19), and workspaces (D6). Being allowed to write such an object is another matter; that was asked
before. These checks are about what would be in the object, compared with what is in it now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import msgspec

from ksproxyd.authz import escalation
from ksproxyd.authz.bindings import MAY_REFER
from ksproxyd.authz.coverage import missing
from ksproxyd.authz.decision import Decision
from ksproxyd.authz.escalation import IAM_GROUP, Escalation
from ksproxyd.authz.grants import KIND_OF_SCOPE, NATIVE_GROUP, SCOPE_LABEL, Granted
from ksproxyd.authz.rules import ALL
from ksproxyd.kube.errors import KubeError
from ksproxyd.kube.resource import Resource
from ksproxyd.model.identity import Identity
from ksproxyd.model.request_info import CLUSTER, GLOBAL, WORKSPACE_LABEL, RequestInfo
from ksproxyd.model.status import StatusError, bad_request, denied
from ksproxyd.state.kinds import ROLE_KINDS, Kind
from ksproxyd.state.store import Object
from ksproxyd.state.validation import field, text
from ksproxyd.tree.namespace_checks import check_namespace, sign

TENANT_GROUP = "tenant.kubesphere.io"

#: Every resource that is looked at, by its plural: the groups that have it.
GUARDED: dict[str, frozenset[str]] = {
    "globalroles": frozenset([IAM_GROUP]),
    "workspaceroles": frozenset([IAM_GROUP]),
    "clusterroles": frozenset([IAM_GROUP, NATIVE_GROUP]),
    "roles": frozenset([IAM_GROUP, NATIVE_GROUP]),
    "globalrolebindings": frozenset([IAM_GROUP]),
    "workspacerolebindings": frozenset([IAM_GROUP]),
    "clusterrolebindings": frozenset([IAM_GROUP, NATIVE_GROUP]),
    "rolebindings": frozenset([IAM_GROUP, NATIVE_GROUP]),
    "roletemplates": frozenset([IAM_GROUP]),
    "builtinroles": frozenset([IAM_GROUP]),
    "groupbindings": frozenset([IAM_GROUP]),
    "namespaces": frozenset([""]),
    "workspaces": frozenset([TENANT_GROUP]),
    "workspacetemplates": frozenset([TENANT_GROUP]),
}

ALL_RESOURCES = ALL[:1]

_ROLES = frozenset(["globalroles", "workspaceroles", "clusterroles", "roles"])
_BINDINGS = frozenset(["globalrolebindings", "workspacerolebindings", "clusterrolebindings", "rolebindings"])
_NATIVE_ROLES = {
    "ClusterRole": Resource(NATIVE_GROUP, "v1", "clusterroles", "ClusterRole"),
    "Role": Resource(NATIVE_GROUP, "v1", "roles", "Role", namespaced=True),
}
_OUR_ROLES = {kind.resource.kind: kind.resource for kind in ROLE_KINDS}
_KINDS = {resource.plural: resource.kind for resource in _OUR_ROLES.values()}
_KINDS |= {"roletemplates": "RoleTemplate", "builtinroles": "BuiltinRole"}


def guarded(info: RequestInfo) -> bool:
    """Whether ``info`` is about such objects."""
    groups = GUARDED.get(info.resource)
    return groups is not None and info.api_group in groups


class Reader(Protocol):
    """The part of :class:`ksproxyd.kube.client.KubeClient` that is needed here."""

    async def get(self, resource: Resource, name: str, namespace: str = "") -> Object: ...


class Rights(escalation.Rights, Protocol):
    """What those checks need, and whether a request would be let in."""

    def decide(self, user: Identity, info: RequestInfo) -> Decision: ...


class Place(msgspec.Struct, frozen=True):
    """Where an object is: what its path says. ``namespace`` is that of a namespaced object."""

    group: str
    plural: str
    namespace: str = ""


class WriteChecks:
    """``of_group`` finds the bindings that name a group, each with its kind.

    With ``isolation`` false, namespaces and workspaces are anybody's who may write them at all.
    """

    def __init__(
        self,
        escalation: Escalation,
        rights: Rights,
        reader: Reader,
        of_group: Callable[[str], Iterable[tuple[Kind, Object]]] = lambda group: (),
        isolation: bool = True,
    ) -> None:
        self._escalation = escalation
        self._rights = rights
        self._reader = reader
        self._of_group = of_group
        self._isolation = isolation

    def idle(self, place: Place) -> bool:
        """Whether nothing is looked at in objects of this kind."""
        if place.plural == "namespaces" or place.group == TENANT_GROUP:
            return not self._isolation
        return self._escalation.mode == "off"

    def check_request(self, user: Identity, info: RequestInfo) -> None:
        """Raises the 403 for what is refused whatever the object is: a write, by its verb."""
        if info.api_group == TENANT_GROUP:
            # As it is asked of the Kubernetes API: not everything counts there that counts at our own.
            asked = msgspec.structs.replace(info, scope=GLOBAL, workspace="", namespace="", is_kubernetes=True)
            if self._isolation and not self._rights.decide(user, asked).allowed:
                why = (
                    "workspaces are written here only by those who may do so at the Global scope; "
                    f"use /kapis/{TENANT_GROUP}/v1beta1/{info.resource}"
                )
                raise denied(user, info, why)
        elif info.verb == "deletecollection" and not self.idle(Place(info.api_group, info.resource)):
            scope = GLOBAL if info.resource.startswith("global") else ""
            if missing(ALL_RESOURCES, self._rights.held(user, namespace=info.namespace, scope=scope)):
                raise denied(user, info, "all of them are deleted at once only by those who may do everything there")

    def prepare(self, user: Identity, place: Place, new: Object) -> bool:
        """Put into an object that is to be created what it must say; whether that changed it."""
        if place.plural == "namespaces" and self._isolation:
            return sign(self._rights, user, new)
        return False

    async def check(self, user: Identity, place: Place, new: Object, old: Object | None) -> None:
        """Raises the :class:`StatusError` where ``user`` may not make ``new`` of ``old`` (of nothing: None)."""
        if self.idle(place):
            return
        plural = place.plural
        if plural in _KINDS:
            # Of Kubernetes' own kinds a body need not say what it is; what a path leads to is nothing else.
            new = {**new, "apiVersion": f"{place.group}/v1", "kind": _KINDS[plural]}
        if plural == "namespaces":
            check_namespace(self._rights, user, new, old)
        elif plural in _ROLES:
            self._check_role(user, place, new, old)
        elif plural in _BINDINGS:
            await self._check_binding(user, place, new, old)
        elif plural == "roletemplates":
            self._check_template(user, new, old)
        elif plural == "builtinroles":
            self._check_builtin(user, new, old)
        elif plural == "groupbindings":
            self._check_members(user, new, old)

    # -- roles -------------------------------------------------------------------------------------------------

    def _check_role(self, user: Identity, place: Place, new: Object, old: Object | None) -> None:
        check_rules(new.get("rules"))
        if place.plural == "workspaceroles":
            home = _workspace(new)
            # In another workspace it is another role.
            before = old if old is not None and _workspace(old) == home else None
            self._escalation.check_role(user, new, before, workspace=home)
        else:
            if _is_native_cluster_role(place) and old is not None and not _same_labels(new, old):
                # By its labels others take up its rules.
                old = None
            self._escalation.check_role(user, new, old, **_scope(place))

    def _check_template(self, user: Identity, new: Object, old: Object | None) -> None:
        check_rules(field(new, "spec", "rules"))
        # Who takes it up is decided by its name and labels, and may be anybody.
        same = old is not None and _same_labels(new, old)
        before = self._escalation.granted_by_template(old) if old is not None and same else Granted()
        self._escalation.check_grant(user, new, self._escalation.granted_by_template(new), before, scope=GLOBAL)

    def _check_builtin(self, user: Identity, new: Object, old: Object | None) -> None:
        check_rules(field(new, "role", "rules"))
        same = old is not None and all(
            field(old, *path) == field(new, *path)
            for path in (("targetSelector",), ("metadata", "labels"), ("role", "kind"))
        )
        before = self._granted_by_builtin(old) if old is not None and same else Granted()
        kinds = (text(new, "role", "kind"), KIND_OF_SCOPE.get(text(new, "metadata", "labels", SCOPE_LABEL)))
        scope = GLOBAL if "GlobalRole" in kinds else CLUSTER
        self._escalation.check_grant(user, new, self._granted_by_builtin(new), before, scope=scope)

    def _granted_by_builtin(self, value: Object) -> Granted:
        role = value.get("role")
        if not isinstance(role, dict):
            return Granted()
        # What is made of it is decided by the label, whatever it calls itself.
        scope = text(value, "metadata", "labels", SCOPE_LABEL)
        kinds = dict.fromkeys([text(role, "kind"), KIND_OF_SCOPE.get(scope, "")])
        granted = [self._escalation.granted_by({**role, "kind": kind}) for kind in kinds if kind]
        rules = dict.fromkeys(rule for each in granted for rule in each.rules)
        return Granted(tuple(rules), frozenset().union(*(each.policies for each in granted)))

    # -- bindings ----------------------------------------------------------------------------------------------

    async def _check_binding(self, user: Identity, place: Place, new: Object, old: Object | None) -> None:
        native = place.group == NATIVE_GROUP
        if place.plural == "workspacerolebindings":
            home = _workspace(new)
            if not home:
                # It counts nowhere.
                return
            scope: dict[str, Any] = {"workspace": home}
            moved = old is not None and _workspace(old) != home
        else:
            scope = _scope(place)
            moved = False
        if old is not None:
            if not native:
                self._escalation.check_role_ref(user, new, old)
            if not moved and _same_role(new, old) and _subjects(new) <= _subjects(old):
                return
        role_ref = field(new, "roleRef")
        role = await self._role(_NATIVE_ROLES if native else _OUR_ROLES, role_ref, place.namespace)
        if native:
            self._escalation.check_bound(user, role_ref, role, group=NATIVE_GROUP, **scope)
        else:
            self._escalation.check_binding(user, role_ref, role=role, **scope)

    async def _role(self, kinds: Mapping[str, Resource], role_ref: Any, namespace: str) -> Object | None:
        """The role as it is now: it may have been made, or widened, a moment ago."""
        kind, name = text(role_ref, "kind"), text(role_ref, "name")
        resource = kinds.get(kind)
        if resource is None or not name or (resource.namespaced and not namespace):
            return None
        try:
            return await self._reader.get(resource, name, namespace if resource.namespaced else "")
        except KubeError as error:
            if error.code == 404:
                return None
            raise StatusError(error.code, error.reason, error.message) from error
        except ValueError:
            # Nothing can be called that.
            return None

    def _check_members(self, user: Identity, new: Object, old: Object | None) -> None:
        group = text(new, "groupRef", "name")
        same = old is not None and text(old, "groupRef", "name") == group
        if not group or (old is not None and same and _users(new) <= _users(old)):
            return
        # Who comes in gets whatever the group has been given.
        asked = set()
        for kind, binding in self._of_group(group):
            if text(binding, "roleRef", "kind") not in MAY_REFER[kind]:
                # It grants nothing.
                continue
            plural = kind.resource.plural
            if plural == "workspacerolebindings":
                scope: dict[str, Any] = {"workspace": _workspace(binding)}
            else:
                scope = _scope(Place(IAM_GROUP, plural, text(binding, "metadata", "namespace")))
            reference = (text(binding, "roleRef", "kind"), text(binding, "roleRef", "name"), *scope.items())
            if reference not in asked:
                asked.add(reference)
                self._escalation.check_binding(user, field(binding, "roleRef"), **scope)


def check_rules(rules: Any) -> None:
    """Raises a 400 for rules that somebody else could read otherwise than we do (null is a string to Kubernetes)."""
    if rules is None:
        return
    entries = rules if isinstance(rules, list) else [rules]
    for number, rule in enumerate(entries):
        if not isinstance(rule, dict):
            raise bad_request(f"rules[{number}] is not an object")
        for key in ("verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs"):
            value = rule.get(key)
            if value is not None and not (isinstance(value, list) and all(isinstance(each, str) for each in value)):
                raise bad_request(f"rules[{number}].{key} is not a list of strings")
    if not isinstance(rules, list):
        raise bad_request("rules are not a list")


def _scope(place: Place) -> dict[str, Any]:
    """Where a role or a binding counts, for :class:`Escalation`; those of workspaces say so themselves."""
    if place.plural in ("roles", "rolebindings") and place.namespace:
        return {"namespace": place.namespace}
    return {"scope": GLOBAL if place.plural.startswith("global") else CLUSTER}


def _workspace(value: Object) -> str:
    return text(value, "metadata", "labels", WORKSPACE_LABEL)


def _is_native_cluster_role(place: Place) -> bool:
    return place.group == NATIVE_GROUP and place.plural == "clusterroles"


def _same_labels(new: Object, old: Object) -> bool:
    return (field(new, "metadata", "labels") or {}) == (field(old, "metadata", "labels") or {})


def _same_role(new: Object, old: Object) -> bool:
    return all(text(new, "roleRef", key) == text(old, "roleRef", key) for key in ("kind", "name"))


_SUBJECT = ("kind", "apiGroup", "namespace", "name")


def _subjects(binding: Object) -> set[tuple[str, ...]]:
    subjects = field(binding, "subjects")
    if not isinstance(subjects, list):
        return set()
    # What is no text stands for nothing, and there may be thousands of them.
    return {
        tuple([found if isinstance(found := each.get(key), str) else "" for key in _SUBJECT])
        for each in subjects
        if isinstance(each, dict)
    }


def _users(value: Object) -> set[str]:
    users = field(value, "users")
    return {each for each in users if isinstance(each, str)} if isinstance(users, list) else set()
