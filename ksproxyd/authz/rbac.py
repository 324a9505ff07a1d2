"""Role-based access control over four kinds of roles (spec 03, 2.4 to 2.8).

A request is looked for in what its user is bound to: everywhere, in the workspace, in the namespace, and in this
cluster, in this order. Grants add up and nothing denies; a binding that makes no sense grants nothing and hides
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from ksproxyd.authz.bindings import MAY_REFER, Bindings, Principal, principals_of, role_ref
from ksproxyd.authz.decision import Decision
from ksproxyd.authz.roles import Role, Roles
from ksproxyd.authz.rules import EVERY, Rule, anything_covers
from ksproxyd.model.identity import Identity
from ksproxyd.model.request_info import GLOBAL, NAMESPACE, WORKSPACE, WORKSPACE_LABEL, RequestInfo
from ksproxyd.model.status import service_unavailable
from ksproxyd.state.kinds import (
    CLUSTER_ROLE_BINDINGS,
    GLOBAL_ROLE_BINDINGS,
    ROLE_BINDINGS,
    WORKSPACE_ROLE_BINDINGS,
    Kind,
)
from ksproxyd.state.store import Object, Store
from ksproxyd.state.validation import text

#: A gateway that does not know the roles yet asks to come back, in seconds.
_COME_BACK = 1


class Level(NamedTuple):
    """One of the places where grants are looked for."""

    kind: Kind
    namespace: str = ""
    workspace: str = ""


class Grant(NamedTuple):
    """A binding that names the user: the role it gives, or why it gives none.

    ``role`` is None for one that does not exist, which is nobody's mistake and no ``problem``.
    """

    level: Level
    binding: Object
    subject: str
    ref: tuple[str, str]
    role: Role | None
    problem: str = ""

    def title(self) -> str:
        """``RoleBinding "name/namespace"``."""
        name = text(self.binding, "metadata", "name")
        namespace = text(self.binding, "metadata", "namespace")
        return f'{self.level.kind.name} "{name}/{namespace}"' if namespace else f'{self.level.kind.name} "{name}"'

    def reason(self) -> str:
        """What a SubjectAccessReview says of what this allowed (spec 03, 2.11)."""
        kind, name = self.ref
        return f'RBAC: allowed by {self.title()} of {kind} "{name}" to {self.subject}'


class RBAC:
    """The authorizer. ``namespaces`` are the cluster's."""

    def __init__(self, roles: Roles, bindings: Bindings, namespaces: Store) -> None:
        self.roles = roles
        self.bindings = bindings
        self._namespaces = namespaces

    @property
    def synced(self) -> bool:
        """Whether everything that grants something has been read once."""
        return self.roles.synced and self.bindings.synced and self._namespaces.synced

    def decide(self, user: Identity, info: RequestInfo) -> Decision:
        """Whether ``user`` may do ``info``. Raises a 503 before the roles are known."""
        self.need_sync()
        problems: list[str] = []
        open_: dict[str, None] = {}
        for grant in self.grants(user, info):
            if grant.problem:
                problems.append(grant.problem)
            elif grant.role is not None:
                if allows(grant, user, info):
                    return Decision(True, grant.reason())
                if grant.role.foreign:
                    open_[grant.role.foreign] = None
        if not problems and not open_:
            return REFUSED
        return Decision(False, "RBAC: " + _aggregate(problems) if problems else "", tuple(open_))

    def need_sync(self) -> None:
        """Raises a 503 before the roles are known: what is not known yet is not to be refused for good."""
        if not self.synced:
            raise service_unavailable(
                "roles and their bindings have not been read from the cluster yet; try again", retry_after=_COME_BACK
            )

    def levels(self, info: RequestInfo) -> Iterator[Level]:
        """Where grants for ``info`` are looked for, in order."""
        yield Level(GLOBAL_ROLE_BINDINGS)
        scope = info.scope
        if scope == GLOBAL:
            return
        if scope == WORKSPACE:
            yield Level(WORKSPACE_ROLE_BINDINGS, workspace=info.workspace)
        elif scope == NAMESPACE:
            # The namespace says itself whose it is; a workspace in the path does not count.
            workspace = self.workspace_of(info.namespace)
            if workspace:
                yield Level(WORKSPACE_ROLE_BINDINGS, workspace=workspace)
            yield Level(ROLE_BINDINGS, namespace=info.namespace)
        yield Level(CLUSTER_ROLE_BINDINGS)

    def workspace_of(self, namespace: str) -> str:
        """The workspace that a namespace belongs to; empty for none."""
        found = self._namespaces.get(("", namespace))
        return "" if found is None else text(found, "metadata", "labels", WORKSPACE_LABEL)

    def grants(self, user: Identity, info: RequestInfo) -> Iterator[Grant]:
        """Every binding that names ``user`` on the levels of ``info``, in order."""
        names = principals_of(user)
        for level in self.levels(info):
            for binding in self.bindings.of(level.kind, user, namespace=level.namespace, workspace=level.workspace):
                yield self._grant(level, binding, names)

    def _grant(self, level: Level, binding: Object, names: list[Principal]) -> Grant:
        ref = role_ref(binding)
        subject = _title(self.bindings.subject(level.kind, binding, names), binding)
        kind, name = ref
        if not self.roles.knows(kind):
            return Grant(level, binding, subject, ref, None, f'unsupported role reference kind: "{kind}"')
        if kind not in MAY_REFER[level.kind]:
            found = Grant(level, binding, subject, ref, None)
            return found._replace(problem=f"{found.title()} cannot give a {kind}")
        role = self.roles.get(kind, level.namespace if kind == "Role" else "", name)
        grant = Grant(level, binding, subject, ref, role)
        if role is not None and level.workspace and role.workspace != level.workspace:
            return grant._replace(
                role=None,
                problem=f'{grant.title()} of workspace "{level.workspace}" cannot give {kind} "{name}" of another one',
            )
        return grant


#: Nothing grants it, and nothing is wrong.
REFUSED = Decision(False)


def allows(grant: Grant, user: Identity, info: RequestInfo) -> bool:
    """Whether the role of ``grant`` is about ``info``."""
    role = grant.role
    if role is None:
        return False
    if role.policy is not None and role.policy.allows(user, info):
        return True
    rule = anything_covers(role.rules, info)
    return rule is not None and not (info.is_kubernetes and _only_here(grant, rule, info))


_TEMPLATES = ("tenant.kubesphere.io", "workspacetemplates")
_READS = ("get", "list", "watch")


def _only_here(grant: Grant, rule: Rule, info: RequestInfo) -> bool:
    """Whether a grant counts where the gateway looks at what is written, and not for the stored object as it is.

    Everybody who is logged in may patch workspace templates: what they may change of which is looked at by
    ``/kapis/tenant.kubesphere.io`` (spec 03, D6).
    """
    if (info.api_group, info.resource) != _TEMPLATES or info.verb in _READS:
        return False
    return _of_everybody(grant) and EVERY not in rule.verbs and EVERY not in rule.resources


def _of_everybody(grant: Grant) -> bool:
    return grant.level.kind is GLOBAL_ROLE_BINDINGS and grant.subject.startswith("Group ")


def to_hand_on(grant: Grant) -> Iterator[Rule]:
    """The rules that ``grant`` gives, as far as its bearer may give them to others.

    What counts at one place only would count everywhere in the hands of others, and in one's own by another binding.
    """
    rules = () if grant.role is None else grant.role.rules
    if not _of_everybody(grant):
        yield from rules
        return
    group, plural = _TEMPLATES
    for rule in rules:
        limited = plural in rule.resources and (group in rule.groups or EVERY in rule.groups)
        if not limited or EVERY in rule.verbs or EVERY in rule.resources:
            yield rule
            continue
        yield msgspec.structs.replace(rule, verbs=tuple(each for each in rule.verbs if each in _READS))
        yield msgspec.structs.replace(rule, resources=tuple(each for each in rule.resources if each != plural))


def _title(subject: Any, binding: Object) -> str:
    """A subject of ``binding``, as reasons call it; empty for none."""
    if subject is None:
        return ""
    kind, name = text(subject, "kind"), text(subject, "name")
    if kind == "ServiceAccount":
        home = text(subject, "namespace") or text(binding, "metadata", "namespace")
        return f'{kind} "{name}/{home}"'
    return f'{kind} "{name}"'


def _aggregate(problems: list[str]) -> str:
    """Several errors as one, each of them once, as Kubernetes writes them."""
    each = list(dict.fromkeys(problems))
    return each[0] if len(each) == 1 else "[" + ", ".join(each) + "]"
