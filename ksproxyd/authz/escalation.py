"""Nobody gives what they do not have (spec 03, 8.2): what is asked before a role or a binding is written.

Who writes a role must hold what it grants, in the scope where it counts, or the verb ``escalate`` on it; who gives a
role to somebody must hold it, or the verb ``bind`` on it. What was there before may stay. Policies cannot be compared
with rules: writing one takes ``escalate`` everywhere (D15), giving away a role with one takes ``bind`` or everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, Protocol

from twisted.logger import Logger

from ksproxyd.authz.coverage import TooMany, shown, uncovered
from ksproxyd.authz.grants import NATIVE_GROUP, Granted, granted, is_native
from ksproxyd.authz.roles import POLICY
from ksproxyd.authz.rules import ALL, Rule, rules_from
from ksproxyd.model.identity import Identity
from ksproxyd.model.request_info import CLUSTER, GLOBAL, NAMESPACE, WORKSPACE, WORKSPACE_LABEL
from ksproxyd.model.status import StatusError, forbidden
from ksproxyd.state.store import Object
from ksproxyd.state.validation import field, name_of, text

IAM_GROUP = "iam.kubesphere.io"

Mode = Literal["enforce", "warn", "off"]

#: A message names so many of the rules that are missing.
MOST_SHOWN = 20
_LONGEST_SHOWN = 500

#: Kinds of roles: their plurals, and the scopes in which they may be given away (D16).
_PLURALS = {
    "GlobalRole": "globalroles",
    "ClusterRole": "clusterroles",
    "WorkspaceRole": "workspaceroles",
    "Role": "roles",
    "RoleTemplate": "roletemplates",
    "BuiltinRole": "builtinroles",
}
_IN_SCOPE = {
    GLOBAL: ("GlobalRole",),
    CLUSTER: ("ClusterRole",),
    WORKSPACE: ("WorkspaceRole",),
    NAMESPACE: ("Role", "ClusterRole"),
}


class Rights(Protocol):
    """The part of :class:`ksproxyd.authz.rights.Rights` that is needed here."""

    def allowed(
        self,
        user: Identity,
        verb: str,
        group: str,
        resource: str,
        *,
        subresource: str = "",
        name: str = "",
        namespace: str = "",
        workspace: str = "",
        scope: str = "",
    ) -> bool: ...

    def held(
        self, user: Identity, *, namespace: str = "", workspace: str = "", scope: str = ""
    ) -> tuple[Rule, ...]: ...


class Escalation:
    """The checks. ``roles`` finds a role of KubeSphere's by kind, namespace and name; ``templates`` are all of them.

    In the mode ``warn`` what would be refused is logged, and in ``off`` nothing is looked at.
    """

    log = Logger()

    def __init__(
        self,
        rights: Rights,
        roles: Callable[[str, str, str], Object | None],
        mode: Mode = "enforce",
        templates: Callable[[], Iterable[Object]] = tuple,
    ) -> None:
        self._rights = rights
        self._roles = roles
        self._templates = templates
        self.mode = mode

    def granted_by(self, role: Object) -> Granted:
        """What a role of KubeSphere's, which says its ``kind``, grants with the templates that it takes up."""
        return granted(role, text(role, "kind"), tuple(self._templates()))

    @staticmethod
    def granted_by_template(template: Object) -> Granted:
        """What a RoleTemplate adds to those who take it up."""
        policy = text(template, "metadata", "annotations", POLICY)
        policies = frozenset([policy]) if policy.strip() else frozenset()
        return Granted(rules_from(field(template, "spec", "rules")), policies)

    def check_role(
        self,
        user: Identity,
        role: Object,
        old: Object | None,
        *,
        namespace: str = "",
        workspace: str = "",
        scope: str = "",
    ) -> None:
        """Raises a 403 that lists what ``user`` lacks for writing ``role`` in place of ``old``, in that scope.

        Both are one of KubeSphere's or of Kubernetes' own roles, with ``apiVersion`` and ``kind``.
        """
        if self.mode == "off":
            return
        templates = tuple(self._templates())
        kind, native = text(role, "kind"), is_native(role)
        new = granted(role, kind, templates, native=native)
        before = granted(old, kind, templates, native=native) if old is not None else Granted()
        self.check_grant(user, role, new, before, namespace=namespace, workspace=workspace, scope=scope)

    def check_grant(
        self,
        user: Identity,
        role: Object,
        new: Granted,
        before: Granted,
        *,
        namespace: str = "",
        workspace: str = "",
        scope: str = "",
    ) -> None:
        """The same for an object that grants ``new`` in its own way, and granted ``before``."""
        if self.mode == "off":
            return
        group = _group_of(role)
        kind, name = text(role, "kind"), name_of(role)
        plural = _PLURALS.get(kind, kind.lower() + "s")
        subject = f'{plural}.{group} "{name}"'
        details = {"name": name, "group": group, "kind": plural}
        if new.policies - before.policies and not self._rights.allowed(
            user, "escalate", group, plural, name=name, scope=GLOBAL
        ):
            why = 'policies are added only by those who have the verb "escalate" on it at the Global scope'
            self._refuse(user, f"{subject} is forbidden: {why}", details)
        # Of something new nothing was there before.
        more = self._difference(new.rules, before.rules, subject, details, user) if before.rules else list(new.rules)
        if not more:
            return
        place = {"namespace": namespace, "workspace": workspace, "scope": scope}
        if self._rights.allowed(user, "escalate", group, plural, name=name, **place):
            return
        lacking = self._difference(more, self._rights.held(user, **place), subject, details, user)
        if lacking:
            self._refuse(user, _lacks(subject, user, "escalate", lacking), details)

    def check_binding(
        self,
        user: Identity,
        role_ref: Any,
        *,
        namespace: str = "",
        workspace: str = "",
        scope: str = "",
        role: Object | None = None,
    ) -> None:
        """Raises a 403 that lists what ``user`` lacks for giving away one of KubeSphere's roles in that scope.

        422 for a kind of role that grants nothing there (D16). ``role`` is the role where the caller has just read it.
        """
        if self.mode == "off":
            return
        kind, name = text(role_ref, "kind"), text(role_ref, "name")
        place = scope or (NAMESPACE if namespace else WORKSPACE if workspace else CLUSTER)
        if kind not in _IN_SCOPE.get(place, ()):
            wanted = " or ".join(_IN_SCOPE.get(place, ()))
            message = f'roleRef.kind: Invalid value: "{kind}": a binding in the scope {place} is to a {wanted}'
            self._refuse(user, message, {"name": name, "group": IAM_GROUP}, code=422)
            return
        if role is None:
            role = self._roles(kind, namespace if kind == "Role" else "", name)
        if kind == "WorkspaceRole" and text(role, "metadata", "labels", WORKSPACE_LABEL) != workspace:
            # It grants nothing there, whatever it says.
            role = None
        self.check_bound(user, role_ref, role, namespace=namespace, workspace=workspace, scope=scope)

    def check_bound(
        self,
        user: Identity,
        role_ref: Any,
        role: Object | None,
        *,
        group: str = IAM_GROUP,
        namespace: str = "",
        workspace: str = "",
        scope: str = "",
    ) -> None:
        """The same for ``role``, found by the caller; ``group`` is that of the role. None: there is no such role."""
        if self.mode == "off":
            return
        kind, name = text(role_ref, "kind"), text(role_ref, "name")
        plural = _PLURALS.get(kind, kind.lower() + "s")
        place = {"namespace": namespace, "workspace": workspace, "scope": scope}
        if self._rights.allowed(user, "bind", group, plural, name=name, **place):
            return
        subject = f'{plural}.{group} "{name}"'
        details = {"name": name, "group": group, "kind": plural}
        if role is None:
            why = 'it does not exist; what it will grant is unknown, so that giving it away takes the verb "bind" on it'
            self._refuse(user, f"{subject} is forbidden: {why}", details)
            return
        grant = granted(role, kind, tuple(self._templates()), native=group == NATIVE_GROUP)
        # In namespaces and workspaces there are no URLs of other things to be had.
        everything = ALL[:1] if namespace or workspace else ALL
        wanted = (*grant.rules, *everything) if grant.policies else grant.rules
        lacking = self._difference(wanted, self._rights.held(user, **place), subject, details, user)
        if lacking:
            self._refuse(user, _lacks(subject, user, "bind", lacking), details)

    def check_role_ref(self, user: Identity, new: Object, old: Object) -> None:
        """Raises a 422 where a binding would give another role than before (8.2 rule 3)."""
        if self.mode == "off":
            return
        if any(text(new, "roleRef", key) != text(old, "roleRef", key) for key in ("kind", "name")):
            message = "roleRef: Invalid value: the role of a binding cannot be changed; delete it and create another"
            self._refuse(user, message, {"name": name_of(new), "group": _group_of(new)}, code=422)

    def _difference(
        self, wanted: Iterable[Rule], held: Iterable[Rule], subject: str, details: dict[str, str], user: Identity
    ) -> list[Rule]:
        rules = tuple(wanted)
        try:
            return uncovered(rules, held)
        except TooMany as error:
            self._refuse(user, f"{subject} is forbidden: {error}", details)
            return []

    def _refuse(self, user: Identity, message: str, details: dict[str, str], *, code: int = 403) -> None:
        shown_details = {key: value for key, value in details.items() if value}
        if self.mode == "enforce":
            if code == 403:
                raise forbidden(message, shown_details)
            raise StatusError(code, "Invalid", message, shown_details)
        self.log.warn("{user} would be refused: {message}", user=user.name, message=message)


def _group_of(value: Object) -> str:
    return NATIVE_GROUP if is_native(value) else IAM_GROUP


def _lacks(subject: str, user: Identity, verb: str, rules: list[Rule]) -> str:
    named = map(shown, rules[:MOST_SHOWN])
    lines = [each if len(each) <= _LONGEST_SHOWN else each[:_LONGEST_SHOWN] + "…}" for each in named]
    more = len(rules) - MOST_SHOWN
    if more > 0:
        lines.append(f"and {more} more")
    listed = "\n".join(lines)
    return (
        f'{subject} is forbidden: user "{user.name}" would give rights that they do not hold themselves, and do not '
        f'have the verb "{verb}" on it:\n{listed}'
    )
