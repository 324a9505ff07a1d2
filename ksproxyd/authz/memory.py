"""Decisions, remembered until something they stand on changes.

A decision stands on what its user is bound to, on the roles of these bindings, and for a namespace on whose it is. Any
of these has the decisions of the users concerned forgotten, and nobody else's.

Requests of one user and path bring the same :class:`~ksproxyd.model.identity.Identity` and
:class:`~ksproxyd.model.request_info.RequestInfo` objects again, so these are looked for as objects first.
"""

from __future__ import annotations

from collections.abc import Iterable

from ksproxyd.authz.bindings import Bindings, Principal, length, principals_of
from ksproxyd.authz.decision import Authorizer, Decision
from ksproxyd.authz.roles import RoleKey, Roles
from ksproxyd.model.identity import Identity
from ksproxyd.model.request_info import WORKSPACE_LABEL, RequestInfo
from ksproxyd.state.kinds import BINDING_KINDS
from ksproxyd.state.store import Object, Store
from ksproxyd.state.validation import text

#: Most users, objects that stand for them, and decisions of one of them that are remembered. A path that is longer is
#: not worth it.
USERS = 4096
OBJECTS = 2 * USERS
DECISIONS = 512
TOTAL = 64 * 1024
PATH = 512

#: A role that more bindings give has everything forgotten: to ask again takes less long than to look for all of them.
MANY = 1000

#: The same for so many looks at whether somebody is named in these bindings.
LOOKS = 20_000

_Decisions = dict[int, tuple[RequestInfo, Decision]]


class Memory:
    """The authorizer on a request's way: what it does not remember, ``authorizer`` says, which stands on the others."""

    def __init__(self, authorizer: Authorizer, roles: Roles, bindings: Bindings, namespaces: Store) -> None:
        self._authorizer = authorizer
        self._bindings = bindings
        #: By identity object. The object is kept, so that no other one gets its number.
        self._objects: dict[int, tuple[Identity, _Decisions]] = {}
        self._users: dict[Identity, _Decisions] = {}
        self._by_principal: dict[Principal, list[_Decisions]] = {}
        self._by_namespace: dict[str, set[Identity]] = {}
        #: How many users stand in these sets together, also such whose decisions were forgotten.
        self._placed = 0
        self._total = 0
        for kind in BINDING_KINDS:
            bindings.store(kind).subscribe(self._binding_changed)
        roles.on_change(self._role_changed)
        namespaces.subscribe(self._namespace_changed)

    def decide(self, user: Identity, info: RequestInfo) -> Decision:
        """What the authorizer says of it. Raises what that raises."""
        known = self._objects.get(id(user))
        if known is not None and known[0] is user:
            found = known[1].get(id(info))
            if found is not None and found[0] is info:
                return found[1]
        return self._ask(user, info)

    def _ask(self, user: Identity, info: RequestInfo) -> Decision:
        if len(info.path) > PATH:
            return self._authorizer(user, info)
        # Two tokens of one user bring two objects that say the same.
        found = self._of(user).get(id(info))
        if found is not None and found[0] is info:
            return found[1]
        decision = self._authorizer(user, info)
        decisions = self._of(user)
        if len(decisions) >= DECISIONS:
            self._total -= len(decisions)
            decisions.clear()
        decisions[id(info)] = (info, decision)
        self._total += 1
        if info.namespace:
            there = self._by_namespace.setdefault(info.namespace, set())
            before = len(there)
            there.add(user)
            self._placed += len(there) - before
        return decision

    def _of(self, user: Identity) -> _Decisions:
        """Where the decisions of ``user`` are remembered."""
        known = self._objects.get(id(user))
        if known is not None and known[0] is user and max(self._total, self._placed) < TOTAL:
            return known[1]
        if (
            len(self._users) >= USERS
            or len(self._objects) >= OBJECTS
            or self._placed >= TOTAL
            or self._total >= TOTAL
        ):
            self.forget_everything()
        decisions = self._users.get(user)
        if decisions is None:
            decisions = self._users[user] = {}
            for name in principals_of(user):
                self._by_principal.setdefault(name, []).append(decisions)
        self._objects[id(user)] = (user, decisions)
        return decisions

    # -- forgetting --------------------------------------------------------------------------------------------

    def forget_everything(self) -> None:
        """Start anew, as when there is too much of it."""
        self._objects.clear()
        self._users.clear()
        self._by_principal.clear()
        self._by_namespace.clear()
        self._placed = self._total = 0

    def _forget(self, decisions: _Decisions | None) -> None:
        if decisions:
            self._total -= len(decisions)
            decisions.clear()

    def _binding_changed(self, old: Object | None, new: Object | None) -> None:
        self._forget_subjects(each for each in (old, new) if each is not None)

    def _forget_subjects(self, bindings: Iterable[Object]) -> None:
        names: dict[Principal, None] = {}
        for binding in bindings:
            names.update(dict.fromkeys(self._bindings.named_among(binding, self._by_principal)))
        for name in names:
            for decisions in self._by_principal[name]:
                self._forget(decisions)

    def _role_changed(self, role: RoleKey) -> None:
        if not self._users:
            return
        looks = 0
        for number, binding in enumerate(self._bindings.to_role(*role)):
            looks += min(len(self._by_principal), length(binding))
            if number == MANY or looks > LOOKS:
                self.forget_everything()
                return
            self._forget_subjects([binding])

    def _namespace_changed(self, old: Object | None, new: Object | None) -> None:
        if _workspace(old) != _workspace(new):
            name = text(new or old, "metadata", "name")
            there = self._by_namespace.pop(name, ())
            self._placed -= len(there)
            for user in there:
                self._forget(self._users.get(user))


def _workspace(namespace: Object | None) -> str:
    return "" if namespace is None else text(namespace, "metadata", "labels", WORKSPACE_LABEL)
