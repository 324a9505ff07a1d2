"""What a role gives in the end (spec 03, 3.6): its rules, those of the templates it takes up, policies."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from ksproxyd.authz.roles import POLICY
from ksproxyd.authz.rules import ALL, Rule, rules_from, rules_of
from ksproxyd.model.selectors import EXISTS, IN, NOT_EXISTS, NOT_IN, LabelSelector, Requirement
from ksproxyd.state.store import Object
from ksproxyd.state.validation import field, name_of, text

#: The label of a RoleTemplate that says for which kind of roles it is.
SCOPE_LABEL = "iam.kubesphere.io/scope"

_SCOPES = {"GlobalRole": "global", "ClusterRole": "cluster", "WorkspaceRole": "workspace", "Role": "namespace"}

#: The kind of the roles of a scope.
KIND_OF_SCOPE = {scope: kind for kind, scope in _SCOPES.items()}

_OPERATORS = {"In": IN, "NotIn": NOT_IN, "Exists": EXISTS, "DoesNotExist": NOT_EXISTS}

NATIVE_GROUP = "rbac.authorization.k8s.io"


class Granted(msgspec.Struct, frozen=True):
    """``policies`` are the texts of the policies, in no order: what they allow cannot be compared."""

    rules: tuple[Rule, ...] = ()
    policies: frozenset[str] = frozenset()


def granted(role: Object, kind: str, templates: Iterable[Object], *, native: bool = False) -> Granted:
    """What ``role`` of ``kind`` grants once controllers have added what it asks for.

    ``native`` says that it is one of Kubernetes' own.
    """
    rules, policies = list(rules_of(role)), [text(role, "metadata", "annotations", POLICY)]
    if native:
        # It takes up whatever will be labelled so.
        return Granted((*rules, *ALL) if field(role, "aggregationRule") else tuple(rules))
    for template in taken_up(role, kind, templates):
        rules += rules_from(field(template, "spec", "rules"))
        policies.append(text(template, "metadata", "annotations", POLICY))
    return Granted(tuple(dict.fromkeys(rules)), frozenset(each for each in policies if each.strip()))


def is_native(role: Object) -> bool:
    """Whether this is one of Kubernetes' own roles or bindings."""
    return text(role, "apiVersion").partition("/")[0] == NATIVE_GROUP


def taken_up(role: Object, kind: str, templates: Iterable[Object]) -> list[Object]:
    """The RoleTemplates whose rules are, or will be, added to ``role`` of ``kind``."""
    wanted = field(role, "aggregationRoleTemplates")
    if not isinstance(wanted, dict):
        return []
    listed = wanted.get("templateNames")
    names = frozenset(each for each in listed if isinstance(each, str)) if isinstance(listed, list) else frozenset()
    given = wanted.get("roleSelector")
    selector = selector_of(given) if isinstance(given, dict) else None
    scope = _SCOPES.get(kind)
    found = []
    for template in templates:
        labels = field(template, "metadata", "labels")
        labels = labels if isinstance(labels, dict) else {}
        # Controllers look at names only without a selector; who asks for both may get either.
        selected = selector is not None and labels.get(SCOPE_LABEL) == scope and selector.matches(labels)
        if selected or name_of(template) in names:
            found.append(template)
    return found


def selector_of(value: dict[str, Any]) -> LabelSelector:
    """A LabelSelector object. Of a condition that is not understood nothing is left: more is selected, not less."""
    requirements = []
    labels = value.get("matchLabels")
    for key, wanted in labels.items() if isinstance(labels, dict) else ():
        if isinstance(wanted, str):
            requirements.append(Requirement(key, IN, (wanted,)))
    expressions = value.get("matchExpressions")
    for each in expressions if isinstance(expressions, list) else ():
        operator, key = _OPERATORS.get(text(each, "operator")), text(each, "key")
        values = field(each, "values")
        if operator and key:
            found = tuple(v for v in values if isinstance(v, str)) if isinstance(values, list) else ()
            requirements.append(Requirement(key, operator, found))
    return LabelSelector(tuple(requirements))
