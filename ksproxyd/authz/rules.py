"""Rules of roles, and what they cover (spec 03, 2.7)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from ksproxyd.model.request_info import RequestInfo
from ksproxyd.state.store import Object

EVERY = "*"


class Rule(msgspec.Struct, frozen=True):
    """One rule of a role. ``names`` are resource names (none: every), ``urls`` paths that are no resources'."""

    verbs: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()

    def covers(self, info: RequestInfo) -> bool:
        """Whether a request like ``info`` is what the rule is about.

        Case matters everywhere but in the methods of what is no resource: Kubernetes has them in lower case, KubeSphere
        in upper case, and rules in either (spec 01, 3.4).
        """
        verbs = self.verbs
        if not info.is_resource:
            if info.verb not in verbs and info.verb.lower() not in verbs and EVERY not in verbs:
                return False
            return any(_leads(url, info.path) for url in self.urls)
        if info.verb not in verbs and EVERY not in verbs:
            return False
        if info.api_group not in self.groups and EVERY not in self.groups:
            return False
        if not self._has(info.resource, info.subresource):
            return False
        # Nothing that has no name yet is one of those that are named.
        return not self.names or (bool(info.name) and info.name in self.names)

    def _has(self, resource: str, subresource: str) -> bool:
        resources = self.resources
        if EVERY in resources:
            return True
        if not subresource:
            return resource in resources
        return f"{resource}/{subresource}" in resources or f"*/{subresource}" in resources


#: The rules of somebody who may do everything.
ALL = (Rule((EVERY,), (EVERY,), (EVERY,)), Rule((EVERY,), urls=(EVERY,)))


def _leads(url: str, path: str) -> bool:
    """Whether ``url`` (an exact path, or the beginning of one with asterisks behind it) is about ``path``."""
    return url == path or (url.endswith(EVERY) and path.startswith(url.rstrip(EVERY)))


def rules_of(role: Object) -> tuple[Rule, ...]:
    """The rules of a role as it came from the server. What is malformed grants nothing."""
    return rules_from(role.get("rules"))


def rules_from(value: Any) -> tuple[Rule, ...]:
    """The rules in a list of them."""
    if not isinstance(value, list):
        return ()
    return tuple([rule for entry in value if isinstance(entry, dict) and (rule := _rule_from(entry)) is not None])


_LISTS = ("verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs")


def _rule_from(entry: dict[str, Any]) -> Rule | None:
    """A rule; None for one that names something else than strings.

    That is not guessed at: less names would mean more rights.
    """
    lists: list[tuple[str, ...]] = []
    for key in _LISTS:
        value = entry.get(key)
        if value is None:
            lists.append(())
            continue
        if not isinstance(value, list):
            return None
        for each in value:
            if not isinstance(each, str):
                return None
        lists.append(tuple(value))
    return Rule(*lists)


def anything_covers(rules: Iterable[Rule], info: RequestInfo) -> Rule | None:
    """The first of ``rules`` that covers ``info``."""
    for rule in rules:
        if rule.covers(info):
            return rule
    return None
