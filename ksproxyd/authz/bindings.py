"""Which bindings name whom (spec 03, 2.4 and 2.6), by index: what others are bound to costs nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from ksproxyd.model.identity import Identity
from ksproxyd.model.request_info import WORKSPACE_LABEL
from ksproxyd.state.kinds import (
    BINDING_KINDS,
    CLUSTER_ROLE_BINDINGS,
    GLOBAL_ROLE_BINDINGS,
    ROLE_BINDINGS,
    WORKSPACE_ROLE_BINDINGS,
    Kind,
)
from ksproxyd.state.store import Index, Key, Object, Store
from ksproxyd.state.validation import field, text

#: Whom a binding names: ``("User", name)`` (service accounts by their user names) or ``("Group", name)``.
Principal = tuple[str, str]

#: Where a binding counts: a workspace, a namespace, or everywhere (empty).
Place = str

_SERVICE_ACCOUNTS = {
    "rbac.authorization.k8s.io": "system:serviceaccount",
    "kubesphere.io": "kubesphere:serviceaccount",
}


def principals_of(user: Identity) -> list[Principal]:
    """What bindings may call ``user``."""
    return [("User", user.name), *(("Group", group) for group in user.groups)]


def principal(subject: Any, namespace: str) -> Principal | None:
    """Whom one subject of a binding in ``namespace`` (empty outside) names; None if nobody can be that."""
    if not isinstance(subject, dict):
        return None
    # A binding may have thousands.
    kind, name = subject.get("kind"), subject.get("name")
    if not name or not isinstance(name, str):
        return None
    if kind == "User" or kind == "Group":
        return kind, name
    if kind == "ServiceAccount":
        prefix = _SERVICE_ACCOUNTS.get(text(subject, "apiGroup"))
        home = text(subject, "namespace") or namespace
        if prefix and home:
            return "User", f"{prefix}:{home}:{name}"
    return None


def named_in(binding: Object) -> tuple[Principal, ...]:
    """Everybody whom ``binding`` names, in its order."""
    subjects = field(binding, "subjects")
    if not isinstance(subjects, list):
        return ()
    if len(subjects) < _LONG:
        return _named(subjects, binding)
    for known, found in _latest:
        if known is binding:
            return found
    found = _named(subjects, binding)
    # Of one that changes, several want to know.
    _latest.append((binding, found))
    return found


#: So many subjects are read once for everybody, of the latest bindings that have them.
_LONG = 64
_latest: deque[tuple[Object, tuple[Principal, ...]]] = deque(maxlen=4)


def _named(subjects: list[Any], binding: Object) -> tuple[Principal, ...]:
    namespace = text(binding, "metadata", "namespace")
    return tuple([found for each in subjects if (found := principal(each, namespace)) is not None])


#: A binding of so many subjects is long: it is not noted under each of them, but asked whether it has somebody.
LONG = 1000


class Named(NamedTuple):
    """Whom a long binding names: the first subject that does so, by the names of users and of groups."""

    users: dict[str, Any]
    groups: dict[str, Any]

    def get(self, who: Principal) -> Any:
        """The first subject that is ``who``; None if there is none."""
        kind, name = who
        return (self.users if kind == "User" else self.groups).get(name)

    def among(self, known: Mapping[Principal, Any]) -> list[Principal]:
        """Those of ``known`` who are named, in no particular order."""
        users, groups = self
        if len(known) <= len(users) + len(groups):
            return [who for who in known if who[1] in (users if who[0] == "User" else groups)]
        found = [who for name in users if (who := ("User", name)) in known]
        return found + [who for name in groups if (who := ("Group", name)) in known]


def length(binding: Object) -> int:
    """How many subjects ``binding`` has."""
    subjects = binding.get("subjects")
    return len(subjects) if isinstance(subjects, list) else 0


def is_long(binding: Object) -> bool:
    """Whether ``binding`` has :data:`LONG` subjects or more."""
    return length(binding) >= LONG


def named(binding: Object) -> Named:
    """Whom a long binding names."""
    for known, found in _latest_long:
        if known is binding:
            return found
    found = _plainly_named(binding["subjects"]) or _any_named(binding)
    _latest_long.append((binding, found))
    return found


#: Of one that changes, several want to know: what it was, and what it is.
_latest_long: deque[tuple[Object, Named]] = deque(maxlen=4)


def _plainly_named(subjects: list[Any]) -> Named | None:
    """Whom subjects name that are users and groups only; None for all others, which take longer."""
    try:
        # The first of a name stays.
        users = {each["name"]: each for each in reversed(subjects) if each["kind"] == "User"}
        groups = {each["name"]: each for each in reversed(subjects) if each["kind"] == "Group"}
    except (TypeError, KeyError):
        return None
    if len(users) + len(groups) < len(subjects) and any(each["kind"] == "ServiceAccount" for each in subjects):
        return None
    for each in (users, groups):
        if not {*map(type, each)} <= {str}:
            return None
        each.pop("", None)
    return Named(users, groups)


def _any_named(binding: Object) -> Named:
    namespace = text(binding, "metadata", "namespace")
    found = Named({}, {})
    for subject in binding["subjects"]:
        who = principal(subject, namespace)
        if who is not None:
            (found.users if who[0] == "User" else found.groups).setdefault(who[1], subject)
    return found


def named_among(binding: Object, known: Mapping[Principal, Any]) -> list[Principal]:
    """Those of ``known`` whom ``binding`` names, in no particular order."""
    if is_long(binding):
        return named(binding).among(known)
    return [who for who in named_in(binding) if who in known]


def subject_of(binding: Object, who: Collection[Principal]) -> Any:
    """The first subject that names one of ``who``; None if there is none."""
    subjects = field(binding, "subjects")
    if not isinstance(subjects, list):
        return None
    namespace = text(binding, "metadata", "namespace")
    names = {name for _, name in who}
    for subject in subjects:
        if not isinstance(subject, dict):
            continue
        name = subject.get("name")
        # Accounts have other names than their subjects.
        likely = (isinstance(name, str) and name in names) or subject.get("kind") == "ServiceAccount"
        if likely and principal(subject, namespace) in who:
            return subject
    return None


def role_ref(binding: Object) -> tuple[str, str]:
    """Kind and name of the role that ``binding`` gives; its ``apiGroup`` says nothing (spec 03, 2.8)."""
    return text(binding, "roleRef", "kind"), text(binding, "roleRef", "name")


def place_of(kind: Kind, binding: Object) -> Place | None:
    """Where a binding of this kind counts; None for nowhere, as a WorkspaceRoleBinding without its label."""
    if kind is ROLE_BINDINGS:
        return text(binding, "metadata", "namespace") or None
    if kind is WORKSPACE_ROLE_BINDINGS:
        return text(binding, "metadata", "labels", WORKSPACE_LABEL) or None
    return ""


class Bindings:
    """The bindings of the four kinds; ``stores`` by kind."""

    def __init__(self, stores: Mapping[Kind, Store]) -> None:
        self._stores = stores
        #: By whom they name and where they count, by whom alone, and by where alone.
        self._exact = {kind: stores[kind].index(_exact(kind)) for kind in BINDING_KINDS}
        self._anywhere = {
            kind: stores[kind].index(_anywhere(kind)) for kind in (WORKSPACE_ROLE_BINDINGS, ROLE_BINDINGS)
        }
        self._there = {kind: stores[kind].index(_there(kind)) for kind in (WORKSPACE_ROLE_BINDINGS, ROLE_BINDINGS)}
        self._long = {kind: stores[kind].keep(_Long(kind)) for kind in BINDING_KINDS}
        self._of_role: dict[Kind, Index] = {kind: stores[kind].index(_role) for kind in BINDING_KINDS}

    @property
    def synced(self) -> bool:
        """Whether every kind has been read."""
        return all(store.synced for store in self._stores.values())

    def store(self, kind: Kind) -> Store:
        """The store of one kind."""
        return self._stores[kind]

    def of(self, kind: Kind, user: Identity, *, namespace: str = "", workspace: str = "") -> tuple[Object, ...]:
        """The bindings that name ``user`` or one of their groups there, newest first (of a time: by name, last first).

        For RoleBindings and WorkspaceRoleBindings there is nothing without a namespace or workspace.
        """
        if (kind is ROLE_BINDINGS and not namespace) or (kind is WORKSPACE_ROLE_BINDINGS and not workspace):
            return ()
        place = namespace if kind is ROLE_BINDINGS else workspace if kind is WORKSPACE_ROLE_BINDINGS else ""
        names = principals_of(user)
        return _found(self._exact[kind], ((who, place) for who in names), self._long[kind].of(place, names))

    def everywhere(self, kind: Kind, user: Identity) -> tuple[Object, ...]:
        """All bindings of a kind that name ``user``, wherever they count, newest first."""
        index = self._anywhere.get(kind)
        if index is None:
            return self.of(kind, user)
        names = principals_of(user)
        return _found(index, names, self._long[kind].everywhere(names))

    def subject(self, kind: Kind, binding: Object, who: Collection[Principal]) -> Any:
        """The first subject of a binding of this kind that names one of ``who``; None if there is none."""
        long = self._long[kind].named(binding)
        if long is not None:
            found = {id(each): each for name in who if (each := long.get(name)) is not None}
            if len(found) < 2:
                return next(iter(found.values()), None)
        return subject_of(binding, who)

    def named_among(self, binding: Object, known: Mapping[Principal, Any]) -> list[Principal]:
        """Those of ``known`` whom ``binding`` names, in no particular order."""
        if is_long(binding):
            for long in self._long.values():
                found = long.named(binding)
                if found is not None:
                    return found.among(known)
        return named_among(binding, known)

    def workspaces(self, user: Identity) -> list[str]:
        """The names of the workspaces in which ``user`` is bound to something, in order."""
        return self._places(WORKSPACE_ROLE_BINDINGS, user)

    def namespaces(self, user: Identity) -> list[str]:
        """The names of the namespaces in which ``user`` is bound to something, in order."""
        return self._places(ROLE_BINDINGS, user)

    def in_workspace(self, workspace: str) -> tuple[Object, ...]:
        """All WorkspaceRoleBindings of a workspace, in no particular order."""
        return self._there[WORKSPACE_ROLE_BINDINGS].get(workspace)

    def in_namespace(self, namespace: str) -> tuple[Object, ...]:
        """All RoleBindings in a namespace, in no particular order."""
        return self._there[ROLE_BINDINGS].get(namespace)

    def to_role(self, kind: str, namespace: str, name: str) -> Iterator[Object]:
        """Everything that is bound to a role; ``namespace`` is that of a Role, and empty for other kinds."""
        for index in self._of_role.values():
            for binding in index.get((kind, name)):
                if kind != "Role" or text(binding, "metadata", "namespace") == namespace:
                    yield binding

    def _places(self, kind: Kind, user: Identity) -> list[str]:
        return sorted(
            {place for binding in self.everywhere(kind, user) if (place := place_of(kind, binding)) is not None}
        )


class _Long:
    """The long bindings of one kind, by where they count. There are few of them, and a change of one takes little."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._there: dict[Place, dict[Key, Object]] = {}
        self._places: dict[Key, Place] = {}
        #: By the number of the binding, which is kept, so that no other one gets it.
        self._named: dict[int, tuple[Object, Named]] = {}

    def change(self, key: Key, old: Object | None, new: Object | None) -> None:
        """A binding changed. For the store only."""
        place = self._places.pop(key, None)
        if place is not None:
            there = self._there[place]
            gone = there.pop(key)
            if not there:
                del self._there[place]
            # Those who remember something of it are told next.
            _latest_long.append(self._named.pop(id(gone)))
        place = None if new is None or not is_long(new) else place_of(self._kind, new)
        if new is not None and place is not None:
            self._named[id(new)] = new, named(new)
            self._there.setdefault(place, {})[key] = new
            self._places[key] = place

    def of(self, place: Place, who: Collection[Principal]) -> Iterator[Object]:
        """Those that name one of ``who`` and count in ``place``."""
        there = self._there.get(place)
        return self._naming(there.values(), who) if there else iter(())

    def everywhere(self, who: Collection[Principal]) -> Iterator[Object]:
        """Those that name one of ``who``."""
        for there in self._there.values():
            yield from self._naming(there.values(), who)

    def named(self, binding: Object) -> Named | None:
        """Whom one of them names; None for a binding that is none of them."""
        known = self._named.get(id(binding))
        return known[1] if known is not None and known[0] is binding else None

    def _naming(self, bindings: Iterable[Object], who: Collection[Principal]) -> Iterator[Object]:
        for binding in bindings:
            _, found = self._named[id(binding)]
            if any(found.get(name) is not None for name in who):
                yield binding


def _found(index: Index, values: Iterable[Any], others: Iterable[Object]) -> tuple[Object, ...]:
    found: dict[int, Object] = {id(binding): binding for binding in others}
    for value in values:
        for binding in index.get(value):
            found[id(binding)] = binding
    if len(found) < 2:
        return tuple(found.values())
    return tuple(sorted(found.values(), key=_age, reverse=True))


def _age(binding: Object) -> tuple[str, str]:
    return text(binding, "metadata", "creationTimestamp"), text(binding, "metadata", "name")


def _exact(kind: Kind) -> Any:
    def values(binding: Object) -> Iterator[tuple[Principal, Place]]:
        place = None if is_long(binding) else place_of(kind, binding)
        if place is not None:
            for who in named_in(binding):
                yield who, place

    return values


def _anywhere(kind: Kind) -> Any:
    def values(binding: Object) -> tuple[Principal, ...]:
        return () if is_long(binding) or place_of(kind, binding) is None else named_in(binding)

    return values


def _there(kind: Kind) -> Any:
    def values(binding: Object) -> Iterator[Place]:
        place = place_of(kind, binding)
        if place is not None:
            yield place

    return values


def _role(binding: Object) -> tuple[tuple[str, str]]:
    return (role_ref(binding),)


#: Which roles a binding of each kind may give (spec 03, D16).
MAY_REFER = {
    GLOBAL_ROLE_BINDINGS: frozenset(["GlobalRole"]),
    CLUSTER_ROLE_BINDINGS: frozenset(["ClusterRole"]),
    WORKSPACE_ROLE_BINDINGS: frozenset(["WorkspaceRole"]),
    ROLE_BINDINGS: frozenset(["Role", "ClusterRole"]),
}
