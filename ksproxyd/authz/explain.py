"""Why somebody may do something, or what it would take (``ksproxyd explain``).

The same walk that decides, with everything written down that it saw.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from ksproxyd.authz.rbac import RBAC, Grant, Level, allows
from ksproxyd.authz.rules import EVERY, Rule
from ksproxyd.model.identity import Identity
from ksproxyd.model.request_info import RequestInfo
from ksproxyd.state.kinds import GLOBAL_ROLE_BINDINGS, ROLE_BINDINGS, WORKSPACE_ROLE_BINDINGS


class Seen(msgspec.Struct, omit_defaults=True):
    """One binding that names the user. ``rule`` is what allows it; ``policy``: the role's policy does.

    ``near`` are rules that miss it by one thing only, each with what that is; ``problem`` is why it grants nothing.
    """

    binding: str
    subject: str
    role: str
    rules: int = 0
    allows: bool = False
    rule: dict[str, Any] | None = None
    policy: bool = False
    near: list[str] = []
    problem: str = ""


class Asked(msgspec.Struct):
    """One level: where grants were looked for, and what there was."""

    level: str
    bindings: list[Seen]


class Explanation(msgspec.Struct):
    """``needed`` is what would have to be granted, one way a line; empty if it is allowed."""

    user: str
    groups: tuple[str, ...]
    request: dict[str, Any]
    allowed: bool
    levels: list[Asked]
    needed: list[str]


def explain(rbac: RBAC, user: Identity, info: RequestInfo) -> Explanation:
    """All that RBAC looks at for ``info``, also behind what allows it. Raises a 503 before the roles are known."""
    rbac.need_sync()
    asked = {level: Asked(_level(level), []) for level in rbac.levels(info)}
    allowed = False
    for grant in rbac.grants(user, info):
        seen = _seen(grant, user, info)
        allowed = allowed or seen.allows
        asked[grant.level].bindings.append(seen)
    needed = [] if allowed else list(_needed(list(asked), info))
    return Explanation(user.name, user.groups, _request(info), allowed, list(asked.values()), needed)


def _seen(grant: Grant, user: Identity, info: RequestInfo) -> Seen:
    kind, name = grant.ref
    seen = Seen(grant.title(), grant.subject, f'{kind} "{name}"', problem=grant.problem)
    role = grant.role
    if role is None:
        seen.problem = seen.problem or "there is no such role"
        return seen
    seen.rules = len(role.rules)
    seen.allows = allows(grant, user, info)
    if seen.allows:
        seen.policy = role.policy is not None and role.policy.allows(user, info)
        seen.rule = next((_rule(rule) for rule in role.rules if rule.covers(info)), None) if not seen.policy else None
    else:
        seen.near = [line for rule in role.rules if (line := _near(rule, info))]
        if any(rule.covers(info) for rule in role.rules):
            seen.problem = "counts for the API below /kapis only, not for the stored object as it is"
    return seen


def _rule(rule: Rule) -> dict[str, Any]:
    found = {
        "verbs": rule.verbs,
        "apiGroups": rule.groups,
        "resources": rule.resources,
        "resourceNames": rule.names,
        "nonResourceURLs": rule.urls,
    }
    return {key: list(value) for key, value in found.items() if value}


def _near(rule: Rule, info: RequestInfo) -> str:
    """What the only thing is that keeps ``rule`` from covering ``info``; empty if there are more, or none."""
    widened = {
        f"verb {info.verb!r}": Rule((EVERY,), rule.groups, rule.resources, rule.names, rule.urls),
        f"API group {info.api_group!r}": Rule(rule.verbs, (EVERY,), rule.resources, rule.names, rule.urls),
        f"resource {_resource(info)!r}": Rule(rule.verbs, rule.groups, (EVERY,), rule.names, rule.urls),
        f"name {info.name!r}": Rule(rule.verbs, rule.groups, rule.resources, (), rule.urls),
    }
    if rule.covers(info) or not info.is_resource:
        return ""
    for what, wider in widened.items():
        if wider.covers(info):
            return f"{msgspec.json.encode(_rule(rule)).decode()} lacks the {what}"
    return ""


def _needed(levels: list[Level], info: RequestInfo) -> Iterator[str]:
    """Which grant would do, from the narrowest to the widest."""
    rule = (
        f"verb {info.verb!r} on resource {_resource(info)!r} in API group {info.api_group!r}"
        if info.is_resource
        else f"verb {info.verb!r} on the nonResourceURL {info.path!r}"
    )
    for level in reversed(levels):
        if level.kind is ROLE_BINDINGS:
            yield f"a RoleBinding in namespace {level.namespace!r} to a role with {rule}"
        elif level.kind is WORKSPACE_ROLE_BINDINGS:
            yield f"a WorkspaceRoleBinding labelled with workspace {level.workspace!r} to a role of it with {rule}"
        elif level.kind is GLOBAL_ROLE_BINDINGS:
            yield f"a GlobalRoleBinding to a GlobalRole with {rule}"
        else:
            yield f"a ClusterRoleBinding to a ClusterRole with {rule}"


def _level(level: Level) -> str:
    where = level.namespace or level.workspace
    return f"{level.kind.name}s of {where}" if where else f"{level.kind.name}s"


def _resource(info: RequestInfo) -> str:
    return f"{info.resource}/{info.subresource}" if info.subresource else info.resource


def _request(info: RequestInfo) -> dict[str, Any]:
    members = {
        "path": info.path,
        "verb": info.verb,
        "scope": info.scope,
        "apiGroup": info.api_group,
        "resource": info.resource,
        "subresource": info.subresource,
        "name": info.name,
        "namespace": info.namespace,
        "workspace": info.workspace,
        "cluster": info.cluster,
    }
    return {key: value for key, value in members.items() if value or key == "apiGroup"}


def lines(found: Explanation) -> Iterator[str]:
    """The explanation for people."""
    verdict = "may" if found.allowed else "may not"
    yield f"{found.user} (groups: {', '.join(found.groups) or 'none'}) {verdict} do this:"
    yield "  " + ", ".join(f"{key} {value!r}" for key, value in found.request.items())
    for asked in found.levels:
        yield f"{asked.level}:" + ("" if asked.bindings else " none for this user")
        for seen in asked.bindings:
            yield f"  {seen.binding} gives {seen.role} to {seen.subject} ({seen.rules} rules)"
            if seen.allows:
                by = "its policy" if seen.policy else msgspec.json.encode(seen.rule).decode()
                yield f"    allows it: {by}"
            if seen.problem:
                yield f"    grants nothing: {seen.problem}"
            for near in seen.near:
                yield f"    nearly: {near}"
    if found.needed:
        yield "any of these would allow it:"
        for way in found.needed:
            yield f"  {way}"
