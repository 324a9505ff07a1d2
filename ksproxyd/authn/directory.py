"""Who the users are: an index over User and GroupBinding objects that is kept true as they change.

A request only looks things up here. Records never change; a change of an object makes a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from collections.abc import Set as AbstractSet
from typing import Any

from msgspec.structs import replace
from twisted.logger import Logger

from ksproxyd.authn.user_record import UserRecord, groups_of, read_user, texts
from ksproxyd.state.store import LONG, Key, Object, Store, key_of
from ksproxyd.state.validation import text

__all__ = ["Directory", "UserRecord"]

Subscriber = Callable[[str], object]

#: Sorts behind every date: an object that does not say when it was made has no claim.
_NEVER = "~"


class Directory:
    """The users by name, e-mail address and link. ``users`` and ``group_bindings`` may be filled before or after."""

    log = Logger()

    def __init__(self, users: Store, group_bindings: Store) -> None:
        self._users = users
        self._bindings = group_bindings
        self._records: dict[str, UserRecord] = {}
        self._by_email: dict[str, list[str]] = {}
        self._by_link: dict[tuple[str, str], list[str]] = {}
        #: For each user the groups they are bound to, by the binding; without the bindings of very many.
        self._bound: dict[str, dict[Key, str]] = {}
        #: These, each with its group.
        self._many: dict[Key, tuple[str, frozenset[str]]] = {}
        #: Whose records have the groups of before: these are made when somebody looks.
        self._stale: set[str] = set()
        self._subscribers: list[tuple[Subscriber, Collection[str] | None]] = []
        self._ends = [
            group_bindings.subscribe(self._binding_changed, replay=True),
            users.subscribe(self._user_changed, replay=True),
        ]

    @property
    def synced(self) -> bool:
        """Whether every user and every group has been read once. Before, nobody is known not to exist."""
        return self._users.synced and self._bindings.synced

    def __len__(self) -> int:
        return len(self._records)

    def find(self, name: str) -> UserRecord | None:
        """The user of that name."""
        if name in self._stale:
            self._regroup(name)
        return self._records.get(name)

    def by_email(self, email: str) -> UserRecord | None:
        """The user with exactly this address; of several the one that was there first, then the first by name.

        Who takes somebody else's address later does not come into their place.
        """
        found = self._by_email.get(email)
        return self.find(found[0]) if found else None

    def by_link(self, provider: str, uid: str) -> tuple[UserRecord, ...]:
        """The users that are linked with ``uid`` at an identity provider; the oldest first. Nobody for an empty uid."""
        if not uid:
            return ()
        found = map(self.find, self._by_link.get((provider, uid), ()))
        return tuple(record for record in found if record is not None)

    def records(self) -> Collection[UserRecord]:
        """Every user, as a live view. For starting: a request looks up."""
        for name in tuple(self._stale):
            self._regroup(name)
        return self._records.values()

    def obj(self, name: str) -> Object | None:
        """The User object itself, with its hash. It must not be changed."""
        return self._users.get(("", name)) if name in self._records else None

    def subscribe(self, callback: Subscriber, of: Collection[str] | None = None) -> Callable[[], None]:
        """Have ``callback(name)`` called when a user has come, changed or gone; returns what ends that.

        That is: when the record has. It is the new one already. What a callback raises is logged and disturbs nobody
        else. When the groups of thousands change at once, and nothing else of them, it is called for those who are in
        ``of`` by then, also for some who had these groups already.
        """
        entry = callback, of
        self._subscribers.append(entry)

        def unsubscribe() -> None:
            # It may be there twice.
            self._subscribers = [each for each in self._subscribers if each is not entry]

        return unsubscribe

    def stop(self) -> None:
        """Hear of no more changes."""
        for end in self._ends:
            end()
        self._ends.clear()
        self._subscribers.clear()

    # -- changes -----------------------------------------------------------------------------------------------

    def _user_changed(self, old: Object | None, new: Object | None) -> None:
        name = text(new if new is not None else old, "metadata", "name")
        record = None if new is None else read_user(new, self._groups(name))
        self._put(name, record)

    def _binding_changed(self, old: Object | None, new: Object | None) -> None:
        obj = new if new is not None else old
        if obj is None:
            return
        key = key_of(obj)
        group_before, before = self._members(old, self._many.pop(key, None))
        if len(before) < LONG:
            for user in before:
                bound = self._bound[user]
                del bound[key]
                if not bound:
                    del self._bound[user]
        group, users = self._members(new, None)
        if len(users) >= LONG:
            self._many[key] = group, users
        else:
            for user in users:
                self._bound.setdefault(user, {})[key] = group
        # Nothing else of them, and nobody else: a binding may have thousands of users.
        if before and users:
            affected = before ^ users if group == group_before else before | users
        else:
            affected = before or users
        # Taking away who is nobody is several times as fast as an intersection with the keys.
        affected -= affected.difference(self._records)
        if len(affected) >= LONG:
            self._stale |= affected
            self._notify_many(affected)
            return
        for user in sorted(affected):
            if self._regroup(user):
                self._notify(user)

    @staticmethod
    def _members(binding: Object | None, known: tuple[str, frozenset[str]] | None) -> tuple[str, frozenset[str]]:
        """The group of a binding and its users; nobody where it is no group for them."""
        if known is not None:
            return known
        group = texts([text(binding, "groupRef", "name")])
        if binding is None or not group:
            return "", frozenset()
        return group[0], frozenset(texts(binding.get("users")))

    def _regroup(self, name: str) -> bool:
        """Give the record of ``name`` the groups of now; whether it had others."""
        self._stale.discard(name)
        obj, record = self._users.get(("", name)), self._records.get(name)
        if obj is None or record is None:
            return False
        groups = groups_of(obj, self._groups(name))
        if groups == record.groups:
            return False
        self._records[name] = replace(record, groups=groups)
        return True

    def _groups(self, name: str) -> tuple[str, ...]:
        found = tuple(self._bound.get(name, {}).values())
        return found + tuple([group for group, users in self._many.values() if name in users])

    def _put(self, name: str, record: UserRecord | None) -> None:
        old = self._records.pop(name, None)
        self._stale.discard(name)
        if old is not None and (record is None or _keys(old) != _keys(record)):
            self._forget(old)
        if record is not None:
            self._records[name] = record
            if old is None or _keys(old) != _keys(record):
                self._note(record)
        # An object also changes in what no record holds, such as the time of the last login.
        if old != record:
            self._notify(name)

    def _notify(self, name: str) -> None:
        for callback, _ in tuple(self._subscribers):
            self._tell(callback, name)

    def _notify_many(self, names: AbstractSet[str]) -> None:
        for callback, of in tuple(self._subscribers):
            if of is None:
                concerned = list(names)
            elif len(of) < len(names):
                concerned = [name for name in of if name in names]
            else:
                concerned = [name for name in names if name in of]
            for name in concerned:
                self._tell(callback, name)

    def _tell(self, callback: Subscriber, name: str) -> None:
        try:
            callback(name)
        except Exception:
            self.log.failure("a subscriber failed at user {name}", name=name)

    def _note(self, record: UserRecord) -> None:
        if record.email:
            self._sort(self._by_email.setdefault(record.email, []), record.name)
        for link in dict.fromkeys(record.links):
            self._sort(self._by_link.setdefault(link, []), record.name)

    def _sort(self, names: list[str], name: str) -> None:
        names.append(name)
        names.sort(key=lambda each: (self._records[each].created or _NEVER, each))

    def _forget(self, record: UserRecord) -> None:
        if record.email:
            _remove(self._by_email, record.email, record.name)
        for link in dict.fromkeys(record.links):
            _remove(self._by_link, link, record.name)


def _keys(record: UserRecord) -> tuple[object, ...]:
    """What the indexes depend on."""
    return record.email, record.links, record.created


def _remove(index: dict[Any, list[str]], key: Any, name: str) -> None:
    names = index[key]
    names.remove(name)
    if not names:
        del index[key]
