"""Who the users are: an index over User and GroupBinding objects that is kept true as they change.

A request only looks things up here. Records never change; a change of an object makes a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from msgspec.structs import replace
from twisted.logger import Logger

from ksproxyd.authn.user_record import UserRecord, groups_of, read_user, texts
from ksproxyd.state.store import Key, Object, Store, key_of
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
        #: For each user the groups they are bound to, by the binding.
        self._bound: dict[str, dict[Key, str]] = {}
        self._subscribers: list[Subscriber] = []
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
        return self._records.get(name)

    def by_email(self, email: str) -> UserRecord | None:
        """The user with exactly this address; of several the one that was there first, then the first by name.

        Who takes somebody else's address later does not come into their place.
        """
        found = self._by_email.get(email)
        return self._records[found[0]] if found else None

    def by_link(self, provider: str, uid: str) -> tuple[UserRecord, ...]:
        """The users that are linked with ``uid`` at an identity provider; the oldest first. Nobody for an empty uid."""
        if not uid:
            return ()
        return tuple(self._records[name] for name in self._by_link.get((provider, uid), ()))

    def records(self) -> Collection[UserRecord]:
        """Every user, as a live view. For starting: a request looks up."""
        return self._records.values()

    def obj(self, name: str) -> Object | None:
        """The User object itself, with its hash. It must not be changed."""
        return self._users.get(("", name)) if name in self._records else None

    def subscribe(self, callback: Subscriber) -> Callable[[], None]:
        """Have ``callback(name)`` called when a user has come, changed or gone; returns what ends that.

        That is: when the record has. It is the new one already. What a callback raises is logged and disturbs nobody
        else.
        """
        self._subscribers.append(callback)

        def unsubscribe() -> None:
            if callback in self._subscribers:
                self._subscribers.remove(callback)

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
        affected: dict[str, None] = {}
        if old is not None:
            key = key_of(old)
            for user in texts(old.get("users")):
                bound = self._bound.get(user)
                if bound is not None and bound.pop(key, None) is not None:
                    affected[user] = None
                    if not bound:
                        del self._bound[user]
        if new is not None:
            group = texts([text(new, "groupRef", "name")])
            for user in texts(new.get("users")) if group else ():
                self._bound.setdefault(user, {})[key_of(new)] = group[0]
                affected[user] = None
        for user in affected:
            obj, record = self._users.get(("", user)), self._records.get(user)
            if obj is not None and record is not None:
                # Nothing else of it: a binding may have thousands of users.
                groups = groups_of(obj, self._groups(user))
                if groups != record.groups:
                    self._records[user] = replace(record, groups=groups)
                    self._notify(user)

    def _groups(self, name: str) -> tuple[str, ...]:
        return tuple(self._bound.get(name, {}).values())

    def _put(self, name: str, record: UserRecord | None) -> None:
        old = self._records.pop(name, None)
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
        for callback in tuple(self._subscribers):
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
