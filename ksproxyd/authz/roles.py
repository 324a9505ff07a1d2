"""Roles, compiled once for each version of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
from twisted.logger import Logger

from ksproxyd.authz.policy import LIMIT, Policy, UnsupportedPolicy, compile_policy
from ksproxyd.authz.rules import Rule, rules_of
from ksproxyd.model.request_info import WORKSPACE_LABEL
from ksproxyd.state.store import Object, Store
from ksproxyd.state.validation import text

#: The annotation with a role's policy.
POLICY = "iam.kubesphere.io/rego-override"


class Role(msgspec.Struct, frozen=True):
    """What a role grants. ``workspace`` is the one it belongs to, for a WorkspaceRole.

    ``foreign`` is a policy that takes an engine, where there is one.
    """

    rules: tuple[Rule, ...]
    policy: Policy | None = None
    workspace: str = ""
    foreign: str = ""


#: Kind, namespace (empty for what has none) and name.
RoleKey = tuple[str, str, str]


class Roles:
    """The roles of the four kinds; ``stores`` by kind. ``engine``: there is one for policies that take one."""

    log = Logger()

    def __init__(self, stores: Mapping[str, Store], *, engine: bool = False) -> None:
        self._stores = stores
        self._engine = engine
        self._compiled: dict[RoleKey, Role | None] = {}
        #: Policies that are not understood, and why: they grant nothing.
        self.foreign: dict[RoleKey, str] = {}
        self._changed: list[Callable[[RoleKey], object]] = []
        for kind, store in stores.items():
            store.subscribe(self._forgetter(kind), replay=True)

    def get(self, kind: str, namespace: str, name: str) -> Role | None:
        """The role, or None if there is no such one (or no such kind)."""
        key = (kind, namespace, name)
        try:
            return self._compiled[key]
        except KeyError:
            pass
        store = self._stores.get(kind)
        obj = None if store is None else store.get((namespace, name))
        if obj is None:
            # Not remembered: anybody may write a binding to anything.
            return None
        role = self._compiled[key] = self._compile(key, obj)
        return role

    def find(self, kind: str, namespace: str, name: str) -> Object | None:
        """The role as it came from the server."""
        store = self._stores.get(kind)
        return None if store is None else store.get((namespace, name))

    def knows(self, kind: str) -> bool:
        """Whether there is such a kind of role."""
        return kind in self._stores

    @property
    def synced(self) -> bool:
        """Whether every kind has been read."""
        return all(store.synced for store in self._stores.values())

    def on_change(self, callback: Callable[[RoleKey], object]) -> None:
        """Have ``callback`` called with the key of a role that has come, changed or gone."""
        self._changed.append(callback)

    def _forgetter(self, kind: str) -> Callable[[Object | None, Object | None], None]:
        def forget(old: Object | None, new: Object | None) -> None:
            obj = new or old or {}
            key = (kind, text(obj, "metadata", "namespace"), text(obj, "metadata", "name"))
            self._compiled.pop(key, None)
            self.foreign.pop(key, None)
            # First of all: whatever comes of the new one, the old one counts no more.
            for callback in self._changed:
                callback(key)
            if new is not None and text(new, "metadata", "annotations", POLICY):
                # Somebody wants to know of a policy that is not understood before it is asked.
                self._compiled[key] = self._compile(key, new)

        return forget

    def _compile(self, key: RoleKey, obj: Object) -> Role:
        policy, foreign = None, ""
        source = text(obj, "metadata", "annotations", POLICY)
        if source.strip():
            try:
                policy = compile_policy(source)
            except UnsupportedPolicy as error:
                if self._engine and len(source) <= LIMIT:
                    foreign = source
                else:
                    self._grants_nothing(key, error)
            except RecursionError:
                # The role's rules, and everything else that somebody is bound to, count as before.
                self._grants_nothing(key, UnsupportedPolicy("it is nested too deeply"))
        return Role(rules_of(obj), policy, text(obj, "metadata", "labels", WORKSPACE_LABEL), foreign)

    def _grants_nothing(self, key: RoleKey, error: UnsupportedPolicy) -> None:
        self.foreign[key] = str(error)
        self.log.warn(
            "the policy of {kind} {name} grants nothing: {error} (more is understood with the extra rego installed)",
            kind=key[0],
            name="/".join(filter(None, key[1:])),
            error=error,
        )
