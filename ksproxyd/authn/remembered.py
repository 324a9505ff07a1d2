"""Credentials that have been verified lately, by the header that showed them.

Looking one up is all that authentication costs a request whose token is known. An entry is good for as long as the
token is, and for ``believed_for`` seconds after the common store last confirmed it; what this process itself learns
(a token revoked here, a user changed) takes effect at once.
"""

from __future__ import annotations

from collections.abc import Callable, KeysView

from ksproxyd.authn.tokens.claims import Claims
from ksproxyd.model.identity import Identity

NEVER = float("inf")


class Entry:
    """A verified bearer token. ``until`` is when it must be looked at again, in the clock's seconds."""

    __slots__ = ("claims", "confirming", "expires", "identity", "refresh", "round", "until")

    def __init__(self, identity: Identity, claims: Claims, expires: float, until: float, refresh: float) -> None:
        self.identity = identity
        self.claims = claims
        #: When the token itself ends.
        self.expires = expires
        self.until = until
        #: From then on the store is asked again while the entry is still believed, so that nobody has to wait.
        self.refresh = refresh
        #: The store is being asked.
        self.confirming = False
        #: The round of doubts in which it was confirmed; see :meth:`~.authenticator.Authenticator.doubt`.
        self.round = 0


class Remembered:
    """At most ``most`` entries; the oldest goes first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._entries: dict[bytes, Entry] = {}
        self._by_user: dict[str, set[bytes]] = {}
        #: Looks an entry up by header value.
        self.get: Callable[[bytes], Entry | None] = self._entries.get

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def users(self) -> KeysView[str]:
        """Who has shown something that is remembered, as a live view."""
        return self._by_user.keys()

    def put(self, header: bytes, entry: Entry) -> None:
        """Remember ``entry``; in place of what was there."""
        self.drop(header)
        if len(self._entries) >= self._most:
            self.drop(next(iter(self._entries)))
        self._entries[header] = entry
        self._by_user.setdefault(entry.claims.username, set()).add(header)

    def drop(self, header: bytes) -> None:
        """Forget one, if it is there."""
        entry = self._entries.pop(header, None)
        if entry is not None:
            user = entry.claims.username
            headers = self._by_user[user]
            headers.discard(header)
            if not headers:
                del self._by_user[user]

    def drop_user(self, name: str) -> None:
        """Forget what a user has shown: they may be another now, or nobody."""
        for header in tuple(self._by_user.get(name, ())):
            self.drop(header)
